//! Code that belongs to others (T74, T75): what a table's owner or a set's editor wrote runs as the table's owner in a
//! security-restricted operation, or not at all; never with the rights of whoever runs the backup.

use std::time::Duration;

use agent_backup_suite::{Database, assert_no_trash, database, lines, one, refused, wait_until};

/// A table `t` of a role that is no superuser, a log that anybody may write, and functions that log who runs them.
fn with_canaries() -> (Database<'static>, String) {
    let db = database();
    let owner = format!("{}_owner", db.name());
    let function = |volatility: &str| {
        format!(
            "CREATE FUNCTION evil_{volatility}(tag text) RETURNS int LANGUAGE plpgsql {volatility} AS $f$ BEGIN
                 RAISE LOG 'canary % sings as %', tag, current_user; RETURN 1; END $f$;"
        )
    };
    db.run(&format!(
        "CREATE ROLE {owner} LOGIN; GRANT CREATE ON SCHEMA public TO {owner}; SELECT agent_backup.create_set('s'); SET ROLE {owner};
         {}{}{}
         CREATE TABLE t (n int, s text); INSERT INTO t VALUES (1, 'a'), (2, 'b');",
        function("immutable"),
        function("stable"),
        function("volatile")
    ));
    db.let_call(&owner);
    (db, owner)
}

/// Backs up as the superuser; the roles that the canaries sang as since the last call, and the statuses.
fn back_up(db: &Database) -> (Vec<String>, Vec<String>) {
    let before = db.log().len();
    let status = lines(&mut db.client(), "SELECT status, error_message FROM agent_backup.backup('s')");
    let log = db.log();
    let sang =
        log[before..].iter().filter_map(|line| Some(line.split_once(" sings as ")?.1.split(' ').next()?.to_owned()));
    let mut sang: Vec<String> = sang.collect();
    sang.sort();
    sang.dedup();
    (sang, status)
}

fn clean_up(db: &Database, owner: &str) {
    db.run(&format!("DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}"));
}

#[test]
fn the_canary_can_sing() {
    let (db, owner) = with_canaries();
    let before = db.log().len();
    db.run("SELECT evil_volatile('x')");
    assert!(db.log()[before..].iter().any(|line| line.contains("canary x sings as postgres")));
    clean_up(&db, &owner);
}

#[test]
fn an_index_of_the_owner_runs_nothing_as_us_when_the_scan_is_planned() {
    let (db, owner) = with_canaries();
    db.run(&format!(
        "SET ROLE {owner}; CREATE INDEX ON t ((evil_immutable('index')), n); CREATE INDEX ON t (n) WHERE evil_immutable('predicate') = 1;
         CREATE STATISTICS st ON (n + evil_immutable('statistics')), s FROM t; ANALYZE t"
    ));
    db.run("SELECT agent_backup.add_table('s', 't')");
    let (sang, status) = back_up(&db);
    clean_up(&db, &owner);
    assert_eq!(status, ["ok|"]);
    assert!(sang.is_empty() || sang == [owner], "sang as {sang:?}");
}

#[test]
fn a_filter_runs_as_the_owner_of_the_table_at_every_stage() {
    for filter in ["evil_volatile('v') = 1", "evil_stable('s') = 1", "evil_immutable('i') = 1"] {
        let (db, owner) = with_canaries();
        db.run(&format!("SELECT agent_backup.add_table('s', 't', row_filter => $f$public.{filter}$f$)"));
        let (sang, status) = back_up(&db);
        clean_up(&db, &owner);
        assert_eq!(status, ["ok|"], "{filter}");
        assert_eq!(sang, [owner], "{filter}");
    }
}

#[test]
fn a_mask_runs_as_the_owner_of_the_table_at_every_stage() {
    for mask in ["public.evil_volatile('v')::text", "public.evil_stable('s')::text", "public.evil_immutable('i')::text"]
    {
        let (db, owner) = with_canaries();
        db.run(&format!(
            "SELECT agent_backup.add_table('s', 't', masked_columns => jsonb_build_object('s', $m${mask}$m$))"
        ));
        let (sang, status) = back_up(&db);
        clean_up(&db, &owner);
        assert_eq!(status, ["ok|"], "{mask}");
        assert_eq!(sang, [owner], "{mask}");
    }
}

#[test]
fn pruning_of_partitions_runs_as_the_owner() {
    let (db, owner) = with_canaries();
    db.run(&format!(
        "SET ROLE {owner}; CREATE TABLE p (k int) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); INSERT INTO p VALUES (1)"
    ));
    db.run("SELECT agent_backup.add_table('s', 'p', row_filter => $$k = public.evil_stable('prune')$$)");
    let (sang, status) = back_up(&db);
    clean_up(&db, &owner);
    assert_eq!((status, sang), (vec!["ok|".to_owned()], vec![owner]));
}

#[test]
fn a_literal_of_the_owners_type_is_read_as_the_owner() {
    let (db, owner) = with_canaries();
    db.run(&format!(
        "SET ROLE {owner}; CREATE DOMAIN guarded AS int CHECK (public.evil_volatile('domain') = 1); CREATE TYPE pair AS (g guarded);
         CREATE TABLE d (c pair); INSERT INTO d VALUES (ROW(1))"
    ));
    let before = db.log().len();
    db.run(r#"SELECT agent_backup.add_table('s', 'd', masked_columns => '{"c": "''(1)''"}')"#);
    assert!(!db.log()[before..].iter().any(|line| line.contains("sings as postgres")), "add_table ran it");
    let (sang, status) = back_up(&db);
    clean_up(&db, &owner);
    assert_eq!((status, sang), (vec!["ok|".to_owned()], vec![owner]));
}

#[test]
fn a_cast_to_json_runs_as_the_owner() {
    let (db, owner) = with_canaries();
    db.run(&format!(
        "SET ROLE {owner}; CREATE TYPE colour AS (c text); CREATE FUNCTION colour_json(colour) RETURNS json LANGUAGE plpgsql AS
             $$ BEGIN PERFORM public.evil_volatile('cast'); RETURN to_json($1.c); END $$;
         CREATE CAST (colour AS json) WITH FUNCTION colour_json(colour); CREATE TABLE c (n int, v colour); INSERT INTO c VALUES (1, ROW('red'))"
    ));
    db.run("SELECT agent_backup.add_table('s', 'c')");
    let (sang, status) = back_up(&db);
    clean_up(&db, &owner);
    assert_eq!(status, ["ok|"]);
    assert!(sang.is_empty() || sang == [owner], "sang as {sang:?}");
}

#[test]
fn code_of_the_owner_cannot_become_us_again_or_change_our_settings() {
    for attempt in [
        "RESET ROLE",
        "SET ROLE postgres",
        "RESET SESSION AUTHORIZATION",
        "CREATE TEMP TABLE planted ()",
        "SET SESSION AUTHORIZATION postgres",
    ] {
        let (db, owner) = with_canaries();
        db.run(&format!(
            "SET ROLE {owner}; CREATE FUNCTION climb() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN EXECUTE '{attempt}'; RETURN true; END $$"
        ));
        db.run("SELECT agent_backup.add_table('s', 't', row_filter => 'public.climb()')");
        let (_, status) = back_up(&db);
        clean_up(&db, &owner);
        assert!(status[0].starts_with("failed|"), "{attempt}: {status:?}");
    }
}

#[test]
fn a_trigger_a_rule_and_a_policy_of_the_owner_run_nothing() {
    let (db, owner) = with_canaries();
    db.run(&format!(
        "SET ROLE {owner}; ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (evil_volatile('policy') = 1);
         ALTER TABLE t ADD CHECK (evil_immutable('check') = 1) NOT VALID, ALTER s SET DEFAULT evil_volatile('default')::text"
    ));
    db.run("SELECT agent_backup.add_table('s', 't')");
    let (sang, status) = back_up(&db);
    clean_up(&db, &owner);
    assert_eq!((status, sang), (vec!["ok|".to_owned()], vec![]));
}

#[test]
fn an_operator_does_not_become_the_owner_of_a_table_by_a_filter_or_a_mask() {
    let (db, owner) = with_canaries();
    let operator = format!("{}_op", db.name());
    db.run(&format!(
        "CREATE ROLE {operator} LOGIN; GRANT agent_backup_operator TO {operator}; CREATE TABLE ours AS SELECT 1 AS n; GRANT SELECT ON ours TO {operator}"
    ));
    let mut client = db.client_as(&operator);
    for option in [
        "row_filter => $$public.evil_volatile('op') = 1$$",
        "masked_columns => '{\"n\": \"public.evil_volatile(''op'')\"}'",
    ] {
        let before = db.log().len();
        let call = format!("SELECT agent_backup.add_table('s', 'ours', {option})");
        let refusal = client.batch_execute(&call).err();
        let statuses = lines(&mut client, "SELECT status FROM agent_backup.backup('s')");
        let climbed = db.log()[before..].iter().any(|line| line.contains("sings as postgres"));
        client.batch_execute("SELECT agent_backup.remove_table('s', 'ours')").ok();
        assert!(!climbed, "{option}: the operator's choice ran as postgres ({statuses:?})");
        assert_eq!(
            refusal.and_then(|error| Some(error.code()?.code().to_owned())).as_deref(),
            Some("42501"),
            "{option}"
        );
    }
    drop(client);
    db.run(&format!("DROP OWNED BY {operator}; DROP ROLE {operator}"));
    clean_up(&db, &owner);
}

#[test]
fn a_filter_does_not_pass_to_a_table_of_another_owner_that_takes_the_name() {
    let (db, owner) = with_canaries();
    db.run(&format!("GRANT agent_backup_operator TO {owner}"));
    db.client_as(&owner)
        .batch_execute("SELECT agent_backup.add_table('s', 't', row_filter => $$public.evil_volatile('late') = 1$$)")
        .unwrap();
    db.run("ALTER TABLE t RENAME TO was; CREATE TABLE t AS SELECT 1 AS n, 'x' AS s");
    let (sang, status) = back_up(&db);
    clean_up(&db, &owner);
    assert!(!sang.contains(&"postgres".to_owned()), "{sang:?}");
    assert!(status[0].starts_with("failed|"), "{status:?}");
}

/// Swaps what `swapped.t` means while a backup waits in the filter of an earlier member of the set.
fn swap_while_running(replacement: &str) -> (Vec<String>, Vec<String>) {
    let (db, owner) = with_canaries();
    db.run(&format!(
        "CREATE SCHEMA swapped AUTHORIZATION {owner}; SET ROLE {owner}; CREATE TABLE swapped.t AS SELECT 1 AS n, 'true' AS s"
    ));
    db.run("SELECT agent_backup.add_table('s', 't', row_filter => 'pg_advisory_xact_lock_shared(7) IS NOT NULL'), agent_backup.add_table('s', 'swapped.t')");
    let mut holder = db.client();
    holder.batch_execute("SELECT pg_advisory_lock(7)").unwrap();
    let mut runner = db.client();
    let before = db.log().len();
    let thread = std::thread::spawn(move || {
        lines(&mut runner, "SELECT status, row_count, error_message FROM agent_backup.backup('s')")
    });
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    wait_until("the backup to wait", Duration::from_secs(20), || (one::<i64>(&mut holder, waits) == 1).then_some(()));
    let swap = format!(
        "SET lock_timeout = '2s'; ALTER SCHEMA swapped RENAME TO aside; CREATE SCHEMA swapped; GRANT ALL ON SCHEMA swapped TO {owner}; SET ROLE {owner}; {replacement}"
    );
    let swapped = db.client().batch_execute(&swap);
    holder.batch_execute("SELECT pg_advisory_unlock(7)").unwrap();
    let rows = thread.join().unwrap();
    let sang = db.log()[before..].iter().filter(|line| line.contains("sings as postgres")).cloned().collect();
    // A server that does not let the schema be renamed has no such fault.
    let rows = if swapped.is_ok() { rows } else { vec!["ok|2".into(), "refused to swap".into()] };
    clean_up(&db, &owner);
    (rows, sang)
}

#[test]
fn a_view_that_takes_the_place_of_a_locked_table_is_not_read() {
    let (rows, sang) = swap_while_running(
        "CREATE VIEW swapped.t AS SELECT public.evil_volatile('view') AS n, 'fake' AS s FROM generate_series(1, 9)",
    );
    assert!(sang.is_empty(), "{sang:?}");
    assert!(rows[1] != "ok|9", "{rows:?}");
}

#[test]
fn a_table_that_takes_the_place_of_a_locked_one_is_not_saved_under_its_name() {
    let (rows, _) = swap_while_running("CREATE TABLE swapped.t AS SELECT n, 'fake' AS s FROM generate_series(1, 9) n");
    assert!(rows[1] != "ok|9", "{rows:?}");
}

#[test]
fn functions_and_operators_in_the_callers_search_path_shadow_nothing() {
    let (db, owner) = with_canaries();
    db.run(&format!(
        "CREATE SCHEMA trap; GRANT ALL ON SCHEMA trap TO {owner}; SET ROLE {owner};
         CREATE FUNCTION trap.no(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM public.evil_volatile('operator'); RETURN $1 OPERATOR(pg_catalog.=) $2; END $$;
         CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.no);
         CREATE FUNCTION trap.pg_size_pretty(bigint) RETURNS text LANGUAGE sql AS $$ SELECT public.evil_volatile('size')::text $$;"
    ));
    db.run("SELECT agent_backup.add_table('s', 't')");
    let before = db.log().len();
    let mut client = db.client();
    client.batch_execute("SET search_path = trap, pg_catalog, public").unwrap();
    client
        .batch_execute("SELECT agent_backup.backup('s'); SELECT public.backup_agent_table_to_json('t'); SELECT agent_backup.export_table('t', 'sql');
             SELECT agent_backup.create_set('x'); SELECT agent_backup.add_table('x', 't'); SELECT agent_backup.remove_table('x', 't'); SELECT agent_backup.drop_set('x'); SELECT agent_backup.reconcile('s')")
        .unwrap();
    refused(&mut client, "SELECT agent_backup.export_table('tt')");
    let sang: Vec<String> = db.log()[before..].iter().filter(|line| line.contains(" sings as ")).cloned().collect();
    clean_up(&db, &owner);
    assert!(sang.is_empty(), "{sang:?}");
    assert_no_trash(&db, &[]);
}
