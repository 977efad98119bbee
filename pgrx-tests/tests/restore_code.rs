//! Code of others while a restore runs (T75): it runs as the owner of its table in a security-restricted operation, or not
//! at all.

use agent_backup_suite::{back_up, end_with, lines, one, refused, restore, singers, state, try_restore, with_mallory};

#[test]
fn the_canary_can_sing_as_us() {
    let (db, mallory) = with_mallory();
    assert_eq!(singers(&db, || db.run("SELECT evil_volatile('x')")), ["postgres"]);
    end_with(&db, &[&mallory], &[]);
}

/// Makes `t (n int PRIMARY KEY, …)` as mallory by `definition`, backs it up, changes it by `later` and restores it in
/// every way; who sang.
fn sang_at_restore(definition: &str, later: &str) -> (Vec<String>, String) {
    let (db, mallory) = with_mallory();
    db.run(&format!("SET ROLE {mallory}; {definition}"));
    back_up(&db, &["t"]);
    db.run(&format!("SET ROLE {mallory}; {later}"));
    let mut client = db.client();
    let sang = singers(&db, || {
        for call in [
            "restore_plan('latest', set_name => 's')",
            "restore('latest', confirm => true, allow_drift => true, set_name => 's')",
            "restore_table('t', mode => 'merge', confirm => true, set_name => 's')",
            "restore_table('t', where_clause => 'n > 0', confirm => true, allow_drift => true, set_name => 's')",
            "restore_table('t', mode => 'missing_only', confirm => true, set_name => 's')",
            "undo_restore(confirm => true)",
        ] {
            try_restore(&mut client, call).unwrap_or_else(|error| panic!("{definition}: {call}: {error:?}"));
        }
    });
    drop(client);
    end_with(&db, &[&mallory], &[]);
    (sang, mallory)
}

/// Code that must run, runs as the owner.
#[track_caller]
fn assert_owner_sang(definition: &str) {
    let (sang, mallory) = sang_at_restore(definition, "DELETE FROM t WHERE n > 1");
    assert_eq!(sang, [mallory], "{definition}");
}

/// Code that need not run, runs as the owner if at all.
#[track_caller]
fn assert_no_other_sang(definition: &str) {
    let (sang, mallory) = sang_at_restore(definition, "DELETE FROM t WHERE n > 1");
    assert!(sang.is_empty() || sang == [mallory], "{definition}: {sang:?}");
}

#[test]
fn a_check_runs_as_the_owner() {
    assert_owner_sang(
        "CREATE TABLE t (n int PRIMARY KEY, CHECK (evil_volatile('check') = 1)); INSERT INTO t VALUES (1), (2)",
    );
}

#[test]
fn a_generated_column_runs_as_the_owner() {
    assert_owner_sang(
        "CREATE TABLE t (n int PRIMARY KEY, g int GENERATED ALWAYS AS (n + evil_immutable('generated')) STORED); INSERT INTO t VALUES (1), (2)",
    );
}

#[test]
fn a_default_runs_as_the_owner() {
    let (sang, mallory) = sang_at_restore(
        "CREATE TABLE t (n int PRIMARY KEY); INSERT INTO t VALUES (1), (2)",
        "DELETE FROM t WHERE n = 1; ALTER TABLE t ADD COLUMN d int DEFAULT evil_volatile('default'), ADD COLUMN e int DEFAULT evil_immutable('folded')",
    );
    assert_eq!(sang, [mallory]);
}

#[test]
fn an_index_expression_and_predicate_run_as_the_owner() {
    assert_owner_sang(
        "CREATE TABLE t (n int PRIMARY KEY, s text); INSERT INTO t VALUES (1, 'a'), (2, 'b');
         CREATE INDEX ON t ((n + evil_immutable('index'))) WHERE evil_immutable('predicate') = 1",
    );
}

#[test]
fn extended_statistics_run_as_the_owner() {
    assert_no_other_sang(
        "CREATE TABLE t (n int PRIMARY KEY, s text); INSERT INTO t VALUES (1, 'a'), (2, 'b'); CREATE STATISTICS st ON (n + evil_immutable('st')), s FROM t",
    );
}

#[test]
fn a_domains_check_runs_as_the_owner() {
    assert_owner_sang(
        "CREATE DOMAIN guarded AS int CHECK (public.evil_volatile('domain') = 1); CREATE TABLE t (n int PRIMARY KEY, d guarded); INSERT INTO t VALUES (1, 1)",
    );
}

#[test]
fn a_literal_of_the_owners_type_in_a_default_or_check_is_read_as_the_owner() {
    for column in [
        "c pair DEFAULT '(1)'::pair",
        "c pair, CHECK (c <> '(7)'::pair)",
        "c guarded[] DEFAULT '{1}'::guarded[]",
        "c pair, g boolean GENERATED ALWAYS AS (c = '(3)'::pair) STORED",
    ] {
        assert_no_other_sang(&format!(
            "CREATE DOMAIN guarded AS int CHECK (public.evil_volatile('domain') = 1); CREATE TYPE pair AS (g guarded);
             CREATE TABLE t (n int PRIMARY KEY, {column}); INSERT INTO t (n) VALUES (1)"
        ));
    }
}

#[test]
fn a_partition_key_and_a_partition_bound_run_as_the_owner() {
    assert_no_other_sang(
        "CREATE TABLE t (n int PRIMARY KEY, k int) PARTITION BY LIST (n); CREATE TABLE t1 PARTITION OF t FOR VALUES IN (0 + evil_immutable('bound'));
         CREATE TABLE t2 PARTITION OF t DEFAULT PARTITION BY HASH (n); CREATE TABLE t3 PARTITION OF t2 FOR VALUES WITH (MODULUS 1, REMAINDER 0);
         CREATE INDEX ON t ((k + evil_immutable('index'))); INSERT INTO t VALUES (1, 1), (2, 2)",
    );
}

#[test]
fn triggers_of_the_owner_do_not_run() {
    let (db, mallory) = with_mallory();
    db.run(&format!(
        "SET ROLE {mallory}; CREATE TABLE t (n int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2);
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM evil_volatile('trigger'); NEW.v := 999; RETURN NEW; END $$;
         CREATE TRIGGER r BEFORE INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION f();
         CREATE TRIGGER s AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON t FOR EACH STATEMENT EXECUTE FUNCTION f();
         CREATE CONSTRAINT TRIGGER c AFTER INSERT OR UPDATE ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION f()"
    ));
    back_up(&db, &["t"]);
    db.run("ALTER TABLE t DISABLE TRIGGER ALL; UPDATE t SET v = 0; DELETE FROM t WHERE n = 2; ALTER TABLE t ENABLE TRIGGER ALL");
    let mut client = db.client();
    let sang = singers(&db, || {
        restore(&mut client, "restore_table('t', mode => 'merge', confirm => true, set_name => 's')");
        assert_eq!(lines(&mut client, "SELECT * FROM t ORDER BY n"), ["1|1", "2|2"]);
        restore(&mut client, "restore_table('t', where_clause => 'n = 1', confirm => true, set_name => 's')");
        restore(&mut client, "restore_table('t', confirm => true, set_name => 's')");
        assert_eq!(lines(&mut client, "SELECT * FROM t ORDER BY n"), ["1|1", "2|2"]);
    });
    assert_eq!(sang, [] as [&str; 0]);
    drop(client);
    end_with(&db, &[&mallory], &[]);
}

#[test]
fn checking_a_foreign_key_runs_the_code_of_each_owner_as_that_owner() {
    let (db, mallory) = with_mallory();
    let victim = format!("{}_victim", db.name());
    db.run(&format!(
        "CREATE ROLE {victim}; GRANT CREATE ON SCHEMA public TO {victim}; SET ROLE {mallory};
         CREATE TABLE parent (id int PRIMARY KEY, x int); INSERT INTO parent VALUES (1, 1), (2, 2); GRANT REFERENCES, SELECT ON parent TO {victim};
         CREATE INDEX ON parent ((x + evil_immutable('index'))) WHERE evil_immutable('predicate') = 1; RESET ROLE; SET ROLE {victim};
         CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent); INSERT INTO child VALUES (1, 1)"
    ));
    back_up(&db, &["parent", "child"]);
    let mut client = db.client();
    for call in ["restore_table('child'", "restore_table('parent'", "restore('latest'"] {
        let sang = singers(&db, || drop(restore(&mut client, &format!("{call}, confirm => true, set_name => 's')"))));
        assert!(sang.is_empty() || sang == [mallory.clone()], "{call}: {sang:?}");
    }
    drop(client);
    end_with(&db, &[&victim, &mallory], &[]);
}

#[test]
fn code_of_the_owner_does_not_run_with_the_triggers_of_others_switched_off() {
    let (db, mallory) = with_mallory();
    db.run(&format!(
        "CREATE TABLE ledger (x int, who text); GRANT INSERT ON ledger TO {mallory};
         CREATE FUNCTION closed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'the ledger is closed'; END $$;
         CREATE TRIGGER closed BEFORE INSERT ON ledger FOR EACH ROW EXECUTE FUNCTION closed();
         SET ROLE {mallory};
         CREATE FUNCTION sneak() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
             IF current_setting('session_replication_role') = 'replica' THEN INSERT INTO public.ledger VALUES (1, current_user); END IF; RETURN true; END $$;
         CREATE TABLE t (n int PRIMARY KEY, CHECK (sneak())); INSERT INTO t VALUES (1), (2)"
    ));
    back_up(&db, &["t"]);
    db.run("DELETE FROM t WHERE n = 1");
    let mut client = db.client();
    restore(&mut client, "restore_table('t', mode => 'merge', confirm => true, set_name => 's')");
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM ledger"), 0);
    drop(client);
    end_with(&db, &[&mallory], &[]);
}

#[test]
fn a_sequence_of_others_is_not_moved() {
    let (db, mallory) = with_mallory();
    db.run(&format!(
        "CREATE SCHEMA victim; CREATE SEQUENCE victim.numbers; GRANT USAGE ON SCHEMA victim TO {mallory}; SET ROLE {mallory};
         CREATE TABLE t (n int PRIMARY KEY, v bigint DEFAULT nextval('victim.numbers')); INSERT INTO t VALUES (1, 9223372036854775806)"
    ));
    back_up(&db, &["t"]);
    let mut client = db.client();
    for call in ["restore('latest'", "restore_table('t', mode => 'merge'"] {
        restore(&mut client, &format!("{call}, confirm => true, set_name => 's')"));
        assert_eq!(one::<i64>(&mut client, "SELECT last_value FROM victim.numbers"), 1, "{call}");
    }
    drop(client);
    end_with(&db, &[&mallory], &[]);
}

#[test]
fn the_table_owners_code_cannot_become_us_or_change_our_settings() {
    for attempt in ["RESET ROLE", "SET ROLE postgres", "RESET SESSION AUTHORIZATION", "CREATE TEMP TABLE planted ()"] {
        let (db, mallory) = with_mallory();
        db.run(&format!(
            "SET ROLE {mallory}; CREATE TABLE armed (); CREATE FUNCTION climb() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
                 IF to_regclass('public.armed') IS NULL THEN EXECUTE '{attempt}'; END IF; RETURN true; END $$;
             CREATE TABLE t (n int PRIMARY KEY, CHECK (climb())); INSERT INTO t VALUES (1)"
        ));
        back_up(&db, &["t"]);
        db.run("DROP TABLE armed");
        let before = state(&db);
        let mut client = db.client();
        for mode in ["replace", "missing_only"] {
            let call = format!(
                "SELECT * FROM agent_backup.restore_table('t', mode => '{mode}', confirm => true, set_name => 's', safety_backup => false)"
            );
            assert_eq!(refused(&mut client, &call).code, "42501", "{attempt} in mode {mode}");
            assert_eq!(one::<String>(&mut client, "SELECT current_user"), "postgres");
        }
        assert_eq!(state(&db), before);
        drop(client);
        end_with(&db, &[&mallory], &[]);
    }
}

/// Functions of mallory: `plant` makes an index with a canary on mallory's own table of this name in a schema like this,
/// `front` calls it and says that it is immutable.
fn planter(schemas: &str, table: &str) -> String {
    format!(
        "CREATE FUNCTION plant() RETURNS int LANGUAGE plpgsql AS $f$ DECLARE r regclass; BEGIN
             FOR r IN SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace
                      WHERE nspname LIKE '{schemas}' AND relkind = 'r' AND relname = '{table}' AND pg_catalog.pg_has_role(relowner, 'USAGE') LOOP
                 RAISE LOG 'planted on %', r; EXECUTE 'CREATE INDEX ON ' || r || ' ((1)) WHERE public.evil_immutable(''planted'') = 1';
             END LOOP; RETURN 1; END $f$;
         CREATE FUNCTION front() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $f$ BEGIN PERFORM public.plant(); RETURN 1; END $f$;"
    )
}

#[test]
#[ignore = "fault R33: the copy belongs to the parent's owner"]
fn a_copy_of_the_parents_keys_takes_no_code_of_its_owner() {
    let (db, mallory) = with_mallory();
    db.run(&format!(
        "SET ROLE {mallory}; {} CREATE TABLE parent (id int PRIMARY KEY, x int); INSERT INTO parent VALUES (1, 1), (2, 2);
         CREATE INDEX ON parent (x) WHERE public.front() = 1; RESET ROLE;
         CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent); INSERT INTO child VALUES (1, 1)",
        planter("agent\\_backup\\_%", "parent")
    ));
    back_up(&db, &["parent", "child"]);
    let mut client = db.client();
    for call in ["restore_table('child'", "restore_table('parent'", "restore_table('child', mode => 'merge'"] {
        let sang = singers(&db, || drop(restore(&mut client, &format!("{call}, confirm => true, set_name => 's')"))));
        assert!(sang.is_empty() || sang == [mallory.clone()], "{call}: {sang:?}");
    }
    drop(client);
    db.run("DROP TABLE child");
    end_with(&db, &[&mallory], &[]);
}

#[test]
#[ignore = "fault R34: keys between copies of two owners are made by the child's owner"]
fn a_drill_runs_no_code_planted_on_another_owners_copy() {
    let (db, mallory) = with_mallory();
    db.run(&format!(
        "SET ROLE {mallory}; {} CREATE TABLE parent (id int PRIMARY KEY, x int); INSERT INTO parent VALUES (1, 1), (2, 2);
         CREATE TABLE zz (id int PRIMARY KEY, CHECK (public.plant() = 1)); INSERT INTO zz VALUES (1); RESET ROLE;
         CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent); INSERT INTO child VALUES (1, 1)",
        planter("agent\\_backup\\_drill%", "parent")
    ));
    back_up(&db, &["parent", "child", "zz"]);
    let mut client = db.client();
    let sang = singers(&db, || drop(lines(&mut client, "SELECT * FROM agent_backup.drill('s')")));
    assert!(sang.is_empty() || sang == [mallory.clone()], "{sang:?}");
    assert!(db.log().iter().any(|line| line.contains("planted on")), "the attack was none");
    drop(client);
    db.run("DROP TABLE child");
    end_with(&db, &[&mallory], &[]);
}

#[test]
#[ignore = "fault R32: names are looked up with the owner's rights"]
fn an_owner_without_usage_of_the_schema_does_not_stop_a_restore() {
    let (db, mallory) = with_mallory();
    db.run(&format!(
        "CREATE SCHEMA private; CREATE TYPE private.mood AS ENUM ('a', 'b'); CREATE TABLE private.t (id int PRIMARY KEY, v text); INSERT INTO private.t VALUES (1, 'a');
         CREATE TABLE u (id int PRIMARY KEY, m private.mood DEFAULT 'b'); INSERT INTO u VALUES (1, 'a'); ALTER TABLE private.t OWNER TO {mallory}; ALTER TABLE u OWNER TO {mallory}"
    ));
    back_up(&db, &["private.t", "u"]);
    let mut client = db.client();
    for mode in ["replace", "merge"] {
        for (table, damage) in [("private.t", "v = 'x'"), ("u", "m = 'b'")] {
            db.run(&format!("UPDATE {table} SET {damage}"));
            restore(
                &mut client,
                &format!("restore_table('{table}', mode => '{mode}', confirm => true, set_name => 's')"),
            );
            assert_eq!(lines(&mut client, &format!("SELECT * FROM {table}")), ["1|a"], "{table} in mode {mode}");
        }
    }
    drop(client);
    end_with(&db, &[&mallory], &[]);
}
