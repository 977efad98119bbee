//! `diff`: row by row, what a live table and a backup of it differ in.

use std::time::{Duration, Instant};

use agent_backup_suite::{Cluster, Database, Options, assert_no_trash, database, lines, one, refused};

const TABLE: &str = "SELECT agent_backup.create_set('s');
    CREATE TABLE t (id int PRIMARY KEY, name text, price numeric, ok boolean, doc jsonb);
    INSERT INTO t SELECT n, 'name ' || n, n + 0.50, n % 2 = 0, jsonb_build_object('n', n) FROM generate_series(1, 1000) n;
    SELECT agent_backup.add_table('s', 't'); SELECT agent_backup.backup('s')";

fn with_backup() -> Database<'static> {
    let db = database();
    db.run(TABLE);
    db
}

const DIFF: &str = "SELECT change, key, columns, backup_row, live_row FROM agent_backup.diff('t', set_name => 's') ORDER BY change, key";

/// The result of a query, and the notices on the way.
fn told(db: &Database, query: &str) -> (Vec<String>, Vec<String>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut config = db.cluster().config("postgres", db.name());
    let mut client = config
        .notice_callback(move |notice| drop(sender.send(notice.message().to_owned())))
        .connect(postgres::NoTls)
        .expect("a connection");
    (lines(&mut client, query), receiver.try_iter().collect())
}

#[test]
fn an_untouched_table_differs_in_nothing() {
    let db = with_backup();
    assert_eq!(told(&db, DIFF), (vec![], vec![]));
    assert_no_trash(&db, &[]);
}

#[test]
fn missing_extra_and_changed_rows_are_told_with_key_and_columns() {
    let db = with_backup();
    db.run(
        "DELETE FROM t WHERE id IN (7, 500); INSERT INTO t VALUES (1001, NULL, 'NaN', NULL, 'null');
         UPDATE t SET name = 'x\"', ok = NULL WHERE id = 3; UPDATE t SET price = 4.5 WHERE id = 4",
    );
    let (rows, notices) = told(&db, DIFF);
    assert_eq!(notices, Vec::<String>::new());
    assert_eq!(
        rows,
        [
            r#"changed|{"id": 3}|{name,ok}|{"id": 3, "ok": false, "doc": {"n": 3}, "name": "name 3", "price": 3.50}|{"id": 3, "ok": null, "doc": {"n": 3}, "name": "x\"", "price": 3.50}"#,
            r#"changed|{"id": 4}|{price}|{"id": 4, "ok": true, "doc": {"n": 4}, "name": "name 4", "price": 4.50}|{"id": 4, "ok": true, "doc": {"n": 4}, "name": "name 4", "price": 4.5}"#,
            r#"extra|{"id": 1001}|||{"id": 1001, "ok": null, "doc": null, "name": null, "price": "NaN"}"#,
            r#"missing|{"id": 7}||{"id": 7, "ok": false, "doc": {"n": 7}, "name": "name 7", "price": 7.50}|"#,
            r#"missing|{"id": 500}||{"id": 500, "ok": true, "doc": {"n": 500}, "name": "name 500", "price": 500.50}|"#,
        ]
    );
    assert_no_trash(&db, &[]);
}

#[test]
fn a_composite_key_of_any_order_and_a_null_are_told() {
    let db = database();
    db.run(
        "SELECT agent_backup.create_set('s'); CREATE TABLE t (note text, b text, a int, PRIMARY KEY (a, b));
         INSERT INTO t SELECT NULL, 'b,' || n, n / 2 FROM generate_series(1, 20) n; SELECT agent_backup.add_table('s', 't'); SELECT agent_backup.backup('s');
         UPDATE t SET note = '' WHERE b = 'b,7'; DELETE FROM t WHERE b = 'b,8'",
    );
    let (rows, _) =
        told(&db, "SELECT change, key, columns FROM agent_backup.diff('public.t', set_name => 's') ORDER BY 1");
    assert_eq!(rows, [r#"changed|{"a": 3, "b": "b,7"}|{note}"#, r#"missing|{"a": 4, "b": "b,8"}|"#]);
}

#[test]
fn without_a_key_whole_rows_are_counted() {
    let db = database();
    db.run(
        "SELECT agent_backup.create_set('s'); CREATE TABLE t (n int, s text); INSERT INTO t SELECT n % 3, 'x' FROM generate_series(1, 30) n;
         SELECT agent_backup.add_table('s', 't'); SELECT agent_backup.backup('s');
         DELETE FROM t WHERE ctid = ANY (ARRAY(SELECT ctid FROM t WHERE n = 1 LIMIT 4)); INSERT INTO t VALUES (2, 'x'), (9, NULL)",
    );
    let (rows, notices) = told(
        &db,
        "SELECT change, key, coalesce(backup_row, live_row), count(*) FROM agent_backup.diff('t', set_name => 's') GROUP BY 1, 2, 3 ORDER BY 1, 3",
    );
    assert_eq!(
        rows,
        [r#"extra||{"n": 2, "s": "x"}|1"#, r#"extra||{"n": 9, "s": null}|1"#, r#"missing||{"n": 1, "s": "x"}|4"#]
    );
    assert_eq!(notices, ["t: no primary key that both have: whole rows are compared"]);
}

#[test]
fn rows_that_share_what_became_the_key_later_are_paired_and_the_rest_is_missing() {
    let db = database();
    db.run(
        "SELECT agent_backup.create_set('s'); CREATE TABLE t (id int NOT NULL, s text); INSERT INTO t VALUES (1, 'a'), (1, 'b'), (1, 'b'), (2, 'c'), (3, 'd'), (3, 'd');
         SELECT agent_backup.add_table('s', 't'); SELECT agent_backup.backup('s');
         DELETE FROM t WHERE s IN ('b', 'd'); INSERT INTO t VALUES (3, 'e'); ALTER TABLE t ADD PRIMARY KEY (id)",
    );
    let query = "SELECT change, key, backup_row ->> 's', live_row ->> 's' FROM agent_backup.diff('t', set_name => 's') ORDER BY 2, 1, 3";
    assert_eq!(
        told(&db, query).0,
        [r#"missing|{"id": 1}|b|"#, r#"missing|{"id": 1}|b|"#, r#"changed|{"id": 3}|d|e"#, r#"missing|{"id": 3}|d|"#]
    );
}

#[test]
fn a_table_that_changed_shape_is_compared_by_what_both_have() {
    let db = with_backup();
    db.run(
        "ALTER TABLE t DROP COLUMN ok, ADD COLUMN more int DEFAULT 1, ALTER id TYPE bigint; DELETE FROM t WHERE id = 9",
    );
    let (rows, notices) = told(&db, DIFF);
    assert_eq!(
        rows,
        [r#"missing|{"id": 9}||{"id": 9, "ok": false, "doc": {"n": 9}, "name": "name 9", "price": 9.50}|"#],
        "a row of the backup shows all that it holds"
    );
    assert_eq!(
        notices,
        [
            "t: column id is integer in the backup and bigint in the table, compared as text; column more is only in the table; column ok is only in the backup"
        ]
    );
}

#[test]
fn masked_excluded_and_generated_columns_are_not_compared() {
    let db = database();
    db.run(
        r#"SELECT agent_backup.create_set('s'); CREATE TABLE t (id int PRIMARY KEY, email text, note text, twofold int GENERATED ALWAYS AS (2 * id) STORED);
         INSERT INTO t SELECT n, 'e' || n, 'n' FROM generate_series(1, 100) n;
         SELECT agent_backup.add_table('s', 't', excluded_columns => '{note}', masked_columns => '{"email": "''***''"}'); SELECT agent_backup.backup('s');
         UPDATE t SET email = 'other', note = 'other'; DELETE FROM t WHERE id = 5"#,
    );
    let (rows, notices) = told(&db, DIFF);
    assert_eq!(rows, [r#"missing|{"id": 5}||{"id": 5, "email": "***"}|"#]);
    assert_eq!(
        notices,
        [
            "t: column email is not compared (masked in the backup); column note is not compared (excluded from the backup); column twofold is not compared (generated, so not in the backup)"
        ]
    );
}

#[test]
fn a_row_filter_holds_for_the_live_rows_too_while_the_set_has_it() {
    let db = database();
    db.run(
        "SELECT agent_backup.create_set('s'); CREATE TABLE t (id int PRIMARY KEY, kept boolean); INSERT INTO t SELECT n, n > 50 FROM generate_series(1, 100) n;
         SELECT agent_backup.add_table('s', 't', row_filter => 'kept'); SELECT agent_backup.backup('s'); DELETE FROM t WHERE id IN (3, 60)",
    );
    let keys = "SELECT change, key FROM agent_backup.diff('t', set_name => 's')";
    assert_eq!(told(&db, keys), (vec![r#"missing|{"id": 60}"#.into()], vec![]));
    db.run(
        "SELECT agent_backup.remove_table('s', 't'); SELECT agent_backup.add_table('s', 't', row_filter => 'id > 50')",
    );
    let (rows, notices) = told(&db, keys);
    assert_eq!(rows.len(), 50);
    assert_eq!(
        notices,
        [
            "t: the backup's row filter is not applied to the live rows (the set has another filter by now): rows that it left out show as extra"
        ]
    );
    assert_no_trash(&db, &[]);
}

#[test]
fn the_filter_runs_as_the_owner_and_casts_and_operators_of_users_not_at_all() {
    let db = database();
    let owner = format!("{}_owner", db.name());
    db.run(&format!(
        "CREATE ROLE {owner}; GRANT CREATE ON SCHEMA public TO {owner}; SELECT agent_backup.create_set('s'); SET ROLE {owner};
         CREATE FUNCTION sing(tag text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'canary % sings as %', tag, current_user; RETURN true; END $$;
         CREATE TYPE colour AS (c text); CREATE FUNCTION say(colour) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM public.sing('cast'); RETURN ($1).c; END $$;
         CREATE CAST (colour AS text) WITH FUNCTION say(colour);
         CREATE FUNCTION same(colour, colour) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM public.sing('operator'); RETURN true; END $$;
         CREATE OPERATOR = (LEFTARG = colour, RIGHTARG = colour, FUNCTION = same);
         CREATE TABLE t (id int PRIMARY KEY, v colour); INSERT INTO t SELECT n, '(red)' FROM generate_series(1, 5) n; RESET ROLE;
         SELECT agent_backup.add_table('s', 't', row_filter => 'public.sing(''filter'')'); SELECT agent_backup.backup('s'); UPDATE t SET v = '(blue)' WHERE id = 2"
    ));
    let before = db.log().len();
    assert_eq!(
        told(&db, "SELECT change, key, columns FROM agent_backup.diff('t', set_name => 's')").0,
        [r#"changed|{"id": 2}|{v}"#]
    );
    let log = db.log();
    let sang: Vec<&String> = log[before..].iter().filter(|line| line.contains(" sings as ")).collect();
    assert!(
        !sang.is_empty() && sang.iter().all(|line| line.contains(&format!("canary filter sings as {owner}"))),
        "{sang:?}"
    );
    db.run(&format!("DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}"));
}

#[test]
fn an_older_backup_and_a_table_that_is_gone_are_told_apart() {
    let db = with_backup();
    db.run("CREATE TABLE u (n int)");
    let mut client = db.client();
    let first: String = one(&mut client, "SELECT backup_id FROM agent_backup.backups");
    client.batch_execute("DELETE FROM t WHERE id > 990; SELECT agent_backup.backup('s')").unwrap();
    let count = |backup: &str| format!("SELECT count(*) FROM agent_backup.diff('t', '{backup}', 's')");
    assert_eq!(one::<i64>(&mut client, &count("latest")), 0);
    assert_eq!(one::<i64>(&mut client, &count(&first)), 10);
    assert_eq!(
        one::<i64>(&mut client, &format!("SELECT count(*) FROM agent_backup.diff('t'::regclass, '{first}', 's')")),
        10
    );
    for (call, code, part) in [
        ("diff('tt', set_name => 's')", "42P01", "table \"tt\" does not exist"),
        ("diff('u', set_name => 's')", "42704", "holds no table \"u\""),
        ("diff('t', 'nothing')", "42704", "backup \"nothing\" does not exist"),
        ("diff(NULL::text)", "22004", "argument \"table_name\" must not be null"),
        ("diff('t', NULL)", "22004", "argument \"backup\" must not be null"),
        ("diff('t', 'latest', NULL)", "22004", "argument \"set_name\" must not be null"),
    ] {
        let refusal = refused(&mut client, &format!("SELECT * FROM agent_backup.{call}"));
        assert!(refusal.code == code && refusal.message.contains(part), "{call}: {refusal:?}");
    }
    assert_no_trash(&db, &[]);
}

#[test]
fn it_reads_one_snapshot_in_a_read_only_and_in_a_repeatable_read_transaction() {
    let db = with_backup();
    let mut client = db.client();
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1").unwrap();
    db.run("DELETE FROM t WHERE id = 1");
    assert_eq!(lines(&mut client, DIFF), [""; 0]);
    client.batch_execute("COMMIT").unwrap();
    assert_eq!(lines(&mut client, DIFF).len(), 1);
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").unwrap();
    db.run("TRUNCATE t");
    assert_eq!(refused(&mut client, DIFF).code, "40001");
}

#[test]
fn a_standby_compares_reads_and_assesses() {
    let cluster = Cluster::start(Options::default());
    let db = cluster.database();
    db.run(TABLE);
    db.run("CREATE TABLE copied AS TABLE t; DELETE FROM t WHERE id = 5");
    let standby = cluster.create_standby();
    let mut client = standby.client(db.name());
    assert_eq!(
        lines(&mut client, "SELECT change, key FROM agent_backup.diff('t', set_name => 's')"),
        [r#"missing|{"id": 5}"#]
    );
    assert_eq!(
        one::<i64>(&mut client, "SELECT count(*) FROM agent_backup.read_backup(NULL::t, set_name => 's')"),
        1000
    );
    assert_eq!(
        lines(&mut client, "SELECT verification_status FROM verify_backup('latest:t', 'copied', 's')"),
        ["VERIFIED"]
    );
    assert_eq!(lines(&mut client, "SELECT status FROM agent_backup.assess('s')"), ["lost rows"]);
}

#[test]
fn a_wholly_different_table_keeps_to_work_mem_and_can_be_cancelled() {
    let db = database();
    db.run(
        "SELECT agent_backup.create_set('s'); CREATE TABLE t AS SELECT n AS id, md5(n::text) AS a, md5(n::text || 'x') AS b FROM generate_series(1, 100000) n;
         ALTER TABLE t ADD PRIMARY KEY (id); SELECT agent_backup.add_table('s', 't', formats => '{csv}'); SELECT agent_backup.backup('s'); UPDATE t SET b = 'y'",
    );
    let mut client = db.client();
    client.batch_execute("SET work_mem = '1MB'; SET log_temp_files = 0").unwrap();
    let count = "SELECT count(*), count(*) FILTER (WHERE change = 'changed' AND columns = '{b}') FROM agent_backup.diff('t', set_name => 's')";
    assert_eq!(lines(&mut client, count), ["100000|100000"]);
    assert!(db.log().iter().any(|line| line.contains("temporary file")), "nothing went to disk");
    client.batch_execute("SET statement_timeout = '200ms'").unwrap();
    let begun = Instant::now();
    assert_eq!(refused(&mut client, count).code, "57014");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_no_trash(&db, &[]);
}
