//! Who writes a tracked table, under which settings, rights and policies, and at the same time as whom.

mod tracked;

use std::time::Duration;

use agent_backup_suite::{Cluster, Options, assert_no_trash, begun, export, lines, one, refused, sqlstate, wait_until};
use tracked::{FIVE, all, as_of, assert_captured, assert_captured_while, log, mark, tracked};

/// Values whose texts depend on settings.
const TEXTS: &str = r#"CREATE TABLE t (id int PRIMARY KEY, d date, z timestamptz, i interval, f float8, b bytea, m money, a timestamptz[], r tstzrange, j json, s text);
    INSERT INTO t VALUES (1, '2024-12-31', '2024-12-31 23:00+02', '1 year -2 days', 0.1::float8 + 0.2, '\x00ff5c', 12.34, '{"2024-01-01 00:00Z",NULL}', '[2024-01-01 00:00Z,)', '{"a": "é"}', E'back\\slash ''é"')"#;

const HOSTILE: &str = "SET DateStyle = 'German, DMY'; SET IntervalStyle = sql_standard; SET extra_float_digits = -15; SET bytea_output = escape; SET TimeZone = 'Asia/Kolkata';
    SET search_path = nowhere; SET standard_conforming_strings = off; SET escape_string_warning = off; SET client_encoding = LATIN1; SET xmloption = document; SET array_nulls = off;
    SET quote_all_identifiers = on; SET row_security = off; SET default_transaction_deferrable = on; SET jit = on; SET work_mem = '64kB'";

#[test]
fn an_image_has_the_bytes_of_a_backup_whatever_the_session_has_set() {
    let db = tracked(TEXTS, &["t"]);
    let mut client = db.client();
    let csv = String::from_utf8(export(&mut client, "t", "csv").bytes).unwrap();
    let (_, first) = csv.split_once('\n').unwrap();
    client.batch_execute(HOSTILE).unwrap();
    client.batch_execute("UPDATE public.t SET d = d WHERE id = 1; DELETE FROM public.t; ").unwrap();
    let images = lines(&mut db.client(), "SELECT image FROM agent_backup.change_log ORDER BY seq");
    assert_eq!(images, [first.trim_end_matches('\n'); 2]);
    let shown = lines(
        &mut client,
        "SELECT current_setting('DateStyle'), current_setting('extra_float_digits'), current_setting('search_path'), current_setting('TimeZone')",
    );
    assert_eq!(shown, ["German, DMY|-15|nowhere|Asia/Kolkata"]);
    assert_no_trash(&db, &[]);
}

#[test]
fn settings_of_the_session_change_no_row_that_is_read() {
    let db = tracked(TEXTS, &["t"]);
    assert_captured_while(&db, &["t"], || {
        let mut client = db.client();
        client.batch_execute(HOSTILE).unwrap();
        client.batch_execute("UPDATE public.t SET s = 'x', z = now(), i = '3 days'; INSERT INTO public.t (id, f, b) VALUES (2, 1e-7, 'abc')").unwrap();
    });
}

/// A role of one database, with no right on anything of ours.
fn role(db: &agent_backup_suite::Database, name: &str) -> String {
    let role = format!("{}_{name}", db.name());
    db.run(&format!("CREATE ROLE {role} LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON t TO {role}"));
    role
}

#[test]
fn who_writes_needs_no_right_on_the_log() {
    let db = tracked(FIVE, &["t"]);
    db.run(
        "REVOKE ALL ON SCHEMA agent_backup FROM PUBLIC; REVOKE ALL ON ALL FUNCTIONS IN SCHEMA agent_backup FROM PUBLIC",
    );
    let writer = role(&db, "writer");
    assert_captured_while(&db, &["t"], || {
        let mut client = db.client_as(&writer);
        client
            .batch_execute("UPDATE t SET n = 1; DELETE FROM t WHERE id = 1; TRUNCATE t; INSERT INTO t VALUES (2)")
            .unwrap();
        for table in ["change_log", "change_log_default", "row_shapes", "tracked", "marks", "capture_gaps"] {
            assert_eq!(refused(&mut client, &format!("SELECT * FROM agent_backup.{table}")).code, "42501", "{table}");
        }
        let role: String = one(&mut client, "SELECT current_user::text");
        assert_eq!(role, writer);
    });
    db.run(&format!("DROP OWNED BY {writer}; DROP ROLE {writer}"));
    assert_no_trash(&db, &[]);
}

#[test]
fn nobody_writes_the_log_by_hand() {
    let db = tracked(FIVE, &["t"]);
    let writer = role(&db, "writer");
    let mut client = db.client_as(&writer);
    for statement in [
        "INSERT INTO agent_backup.marks (mark_name, snapshot) VALUES ('x', pg_current_snapshot())",
        "DELETE FROM agent_backup.change_log",
        "UPDATE agent_backup.tracked SET ended_at = now()",
        "SELECT nextval('agent_backup.change_seq')",
        "CREATE TABLE pg_temp.x (id int); CREATE TRIGGER x AFTER INSERT ON x FOR EACH ROW EXECUTE FUNCTION agent_backup.capture('1')",
    ] {
        assert_eq!(refused(&mut client, statement).code, "42501", "{statement}");
    }
    drop(client);
    db.run(&format!("DROP OWNED BY {writer}; DROP ROLE {writer}"));
}

#[test]
fn the_log_names_who_was_logged_in() {
    let db = tracked(FIVE, &["t"]);
    let (writer, other) = (role(&db, "writer"), role(&db, "other"));
    db.run("CREATE FUNCTION definer() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'UPDATE public.t SET n = 50 WHERE id = 5'");
    db.run(&format!("GRANT {other} TO {writer}"));
    let mut client = db.client_as(&writer);
    client
        .batch_execute(&format!(
            "SET application_name = 'agent é'; SELECT definer(); SET ROLE {other}; UPDATE t SET n = 1 WHERE id = 1"
        ))
        .unwrap();
    let mut root = db.client();
    root.batch_execute(&format!("SET SESSION AUTHORIZATION {other}; UPDATE t SET n = 2 WHERE id = 1")).unwrap();
    let who =
        lines(&mut db.client(), "SELECT session_user_name, application_name FROM agent_backup.change_log ORDER BY seq");
    // The server keeps no letter of application_name that is not ASCII.
    let agent: String = one(&mut client, "SELECT current_setting('application_name')");
    assert_eq!(who, [format!("{writer}|{agent}"), format!("{writer}|{agent}"), format!("{other}|suite")]);
    drop((client, root));
    db.run(&format!("DROP OWNED BY {writer}, {other}; DROP ROLE {writer}; DROP ROLE {other}"));
}

#[test]
fn policies_hide_no_row_from_the_log() {
    let db = tracked(FIVE, &["t"]);
    let writer = role(&db, "writer");
    db.run("ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY; CREATE POLICY low ON t USING (id < 4) WITH CHECK (true)");
    assert_captured_while(&db, &["t"], || {
        let mut client = db.client_as(&writer);
        client
            .batch_execute(
                "UPDATE t SET n = 9; INSERT INTO t VALUES (8, 'hidden'); DELETE FROM t WHERE id = 1; TRUNCATE t",
            )
            .unwrap();
    });
    let query = "SELECT * FROM agent_backup.read_as_of(NULL::t, mark => 'm')";
    mark(&db, "m");
    db.let_call(&writer);
    assert_eq!(refused(&mut db.client_as(&writer), query).code, "42501");
    assert_eq!(
        refused(&mut db.client_as(&writer), "SELECT * FROM agent_backup.record_history('t', '1')").code,
        "42501"
    );
    db.run(&format!("DROP OWNED BY {writer} CASCADE; DROP ROLE {writer}"));
}

#[test]
fn triggers_of_the_application_may_change_the_row_again() {
    let function = |name: &str, body: &str| {
        format!("CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NEW; END $$")
    };
    let after = "IF pg_trigger_depth() < 3 THEN UPDATE t SET n = n + 1 WHERE id = NEW.id; END IF";
    let first = format!(
        "{}; CREATE TRIGGER a AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()",
        function("f", after)
    );
    let last = first.replace("TRIGGER a ", "TRIGGER zzz ");
    let before = format!(
        "{}; CREATE TRIGGER a BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()",
        function("f", "NEW.v := NEW.v || '+'")
    );
    let none = format!(
        "{}; CREATE TRIGGER a BEFORE UPDATE ON t FOR EACH ROW WHEN (OLD.id < 3) EXECUTE FUNCTION f()",
        function("f", "RETURN NULL")
    );
    let statement = format!(
        "{}; CREATE TRIGGER a AFTER INSERT OR UPDATE ON t FOR EACH STATEMENT EXECUTE FUNCTION f()",
        function("f", "IF pg_trigger_depth() < 3 THEN UPDATE t SET n = n + 1; DELETE FROM t WHERE id = 4; END IF")
    );
    let again = "IF NEW.n < 100 THEN UPDATE t SET n = n + 100 WHERE id = NEW.id; END IF";
    let deferred = format!(
        "{}; CREATE CONSTRAINT TRIGGER a AFTER INSERT OR UPDATE ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION f()",
        function("f", again)
    );
    for script in [first, last, before, none, statement, deferred] {
        let db = tracked(&format!("{FIVE}; {script}"), &["t"]);
        assert_captured(
            &db,
            &["t"],
            "INSERT INTO t VALUES (6, 'six', 6); UPDATE t SET v = 'u' WHERE id < 4; UPDATE t SET n = 0",
        );
        assert_captured(
            &db,
            &["t"],
            "INSERT INTO t VALUES (1, 'one', 1) ON CONFLICT (id) DO UPDATE SET n = -1; DELETE FROM t WHERE id = 2",
        );
    }
}

#[test]
fn a_transition_table_of_the_application_is_whole() {
    let db = tracked(
        &format!("{FIVE}; CREATE TABLE seen (n bigint); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen SELECT count(*) FROM fresh; RETURN NULL; END $$;
             CREATE TRIGGER a AFTER UPDATE ON t REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION f();
             CREATE TRIGGER z AFTER UPDATE ON t REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION f()"),
        &["t"],
    );
    assert_captured(&db, &["t"], "UPDATE t SET n = n + 1");
    assert_eq!(lines(&mut db.client(), "SELECT DISTINCT n FROM seen"), ["5"]);
}

#[test]
fn one_writer_does_not_wait_for_another() {
    let db = tracked(FIVE, &["t"]);
    let (mut one, mut two) = (db.client(), db.client());
    one.batch_execute("BEGIN; UPDATE t SET n = 1 WHERE id = 1").unwrap();
    two.batch_execute("SET lock_timeout = '2s'; SET statement_timeout = '3s'; UPDATE t SET n = 2 WHERE id = 2")
        .unwrap();
    one.batch_execute("COMMIT").unwrap();
    db.run("ALTER TABLE t ADD c int");
    one.batch_execute("BEGIN; UPDATE t SET n = 1 WHERE id = 1").unwrap();
    two.batch_execute("UPDATE t SET n = 2 WHERE id = 2").unwrap();
}

#[test]
fn ddl_of_other_tables_does_not_wait_for_tracked_ones() {
    let db = tracked(
        &format!(
            "{FIVE}; CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE p_low PARTITION OF p DEFAULT; CREATE TABLE other (id int)"
        ),
        &["t", "p"],
    );
    let (mut one, mut two) = (db.client(), db.client());
    one.batch_execute("BEGIN; TRUNCATE t, p").unwrap();
    two.batch_execute("SET lock_timeout = '2s'; CREATE TEMP TABLE mine (id int)").unwrap();
    two.batch_execute("ALTER TABLE other ADD c int; DROP TABLE other").unwrap();
}

#[test]
fn what_commits_after_a_mark_is_later_whatever_began_first() {
    let db = tracked(FIVE, &["t"]);
    db.run("UPDATE t SET n = n");
    let (mut one, mut two) = (db.client(), db.client());
    one.batch_execute("BEGIN; UPDATE t SET n = 100 WHERE id = 1").unwrap();
    two.batch_execute("BEGIN; UPDATE t SET n = 200 WHERE id = 2; COMMIT").unwrap();
    assert_captured_while(&db, &["t"], || {
        one.batch_execute("UPDATE t SET n = 101 WHERE id IN (1, 3); COMMIT").unwrap();
        two.batch_execute("UPDATE t SET n = 201 WHERE id = 1; DELETE FROM t WHERE id = 3").unwrap();
    });
}

#[test]
fn a_mark_is_of_what_had_committed_not_of_its_own_transaction() {
    let db = tracked(FIVE, &["t"]);
    let mut client = db.client();
    let before = all(&mut client, &["t"]);
    client.batch_execute("BEGIN; UPDATE t SET n = 100 WHERE id = 1").unwrap();
    db.run("CREATE TABLE other (); DROP TABLE other");
    client.batch_execute("SELECT agent_backup.mark('m'); UPDATE t SET n = 100 WHERE id = 2; COMMIT").unwrap();
    assert_eq!(as_of(&mut client, &["t"], "m"), before);
}

#[test]
fn a_mark_in_an_old_snapshot_is_of_what_had_committed_then() {
    let db = tracked(FIVE, &["t"]);
    let mut client = db.client();
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").unwrap();
    db.run("UPDATE t SET n = 100 WHERE id = 2");
    let now = all(&mut db.client(), &["t"]);
    match client.batch_execute("SELECT agent_backup.mark('m'); COMMIT") {
        Ok(()) => assert_eq!(as_of(&mut db.client(), &["t"], "m"), now),
        Err(error) => assert_eq!(sqlstate(&error), "25000"),
    }
}

#[test]
fn the_changes_of_one_row_are_in_the_order_of_their_commits() {
    let db = tracked(FIVE, &["t"]);
    db.run("UPDATE t SET n = n");
    let mut one = db.client();
    one.batch_execute("BEGIN; UPDATE t SET n = 10 WHERE id = 1").unwrap();
    let (pid, waiting) = begun(db.client(), "UPDATE t SET n = n + 1 WHERE id = 1");
    let mut watch = db.client();
    wait_until("the second writer to wait", Duration::from_secs(20), || {
        let query = format!("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = {pid}");
        watch.query_one(&query, &[]).unwrap().get::<_, Option<bool>>(0).unwrap_or(false).then_some(())
    });
    one.batch_execute("COMMIT").unwrap();
    waiting.join().unwrap().1.unwrap();
    let history = "SELECT new_row ->> 'n' FROM agent_backup.record_history('t', '1')";
    assert_eq!(lines(&mut watch, history), ["1", "10", "11"]);
}

#[test]
fn writers_in_a_fixed_snapshot_are_captured() {
    let db = tracked(FIVE, &["t"]);
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let mut client = db.client();
        client.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}; SELECT 1")).unwrap();
        db.run(&format!(
            "ALTER TABLE t ADD \"{level}\" int; INSERT INTO t VALUES (100) ON CONFLICT (id) DO UPDATE SET n = 7"
        ));
        assert_captured_while(&db, &["t"], || {
            client
                .batch_execute(
                    "UPDATE t SET n = n + 1 WHERE id < 5; DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (2); COMMIT",
                )
                .unwrap();
        });
    }
}

#[test]
fn a_transaction_that_is_older_than_the_tracking_may_write() {
    let db = tracked(FIVE, &[]);
    let mut client = db.client();
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").unwrap();
    tracked::track(&db, "t");
    assert_captured_while(&db, &["t"], || client.batch_execute("UPDATE t SET n = 9; COMMIT").unwrap());
}

#[test]
fn policies_reach_sessions_that_know_the_table() {
    let db = tracked(FIVE, &["t"]);
    let mut client = db.client();
    client.batch_execute("UPDATE t SET n = 1").unwrap();
    db.run("SELECT agent_backup.track('t', on_truncate => 'refuse', truncate_limit => 0, baseline => false)");
    assert_eq!(refused(&mut client, "TRUNCATE t").code, "55000");
}

#[test]
fn a_prepared_transaction_is_captured_when_it_commits() {
    let cluster = Cluster::start(Options::default().setting("max_prepared_transactions = 5"));
    let db = cluster.database();
    db.run(FIVE);
    tracked::track(&db, "t");
    db.run("BEGIN; UPDATE t SET n = 100 WHERE id = 1; PREPARE TRANSACTION 'x'");
    assert_captured_while(&db, &["t"], || db.run("COMMIT PREPARED 'x'"));
    db.run("BEGIN; DELETE FROM t; PREPARE TRANSACTION 'x'");
    let before = log(&mut db.client());
    db.run("ROLLBACK PREPARED 'x'");
    assert_eq!(log(&mut db.client()), before);
}

#[test]
fn databases_of_other_encodings_are_captured() {
    for (encoding, value) in [
        ("LATIN1", r"convert_from('\xe9ff', 'LATIN1')"),
        ("SQL_ASCII", r"convert_from('\xe9ff41', 'SQL_ASCII')"),
        ("EUC_JP", r"convert_from('\xc6fc', 'EUC_JP')"),
    ] {
        let cluster = Cluster::start(Options::default().encoding(encoding));
        let db = cluster.database();
        db.run(&format!("CREATE TABLE t (id text PRIMARY KEY, v text, a text[]); INSERT INTO t VALUES ({value}, {value}, ARRAY[{value}]), ('x', 'y', NULL)"));
        tracked::track(&db, "t");
        mark(&db, "m");
        db.run(&format!("CREATE TABLE kept AS TABLE t; UPDATE t SET v = v || {value} || ','; DELETE FROM t WHERE id = {value}; INSERT INTO t VALUES ('new', {value})"));
        let differ = "SELECT (SELECT count(*) FROM kept) - (SELECT count(*) FROM agent_backup.read_as_of(NULL::t, mark => 'm'))
            + (SELECT count(*) FROM (TABLE kept EXCEPT ALL SELECT * FROM agent_backup.read_as_of(NULL::t, mark => 'm')) AS d)";
        assert_eq!(one::<i64>(&mut db.client(), differ), 0, "{encoding}");
        db.run("SELECT agent_backup.restore_table_as_of('t', mark => 'm', confirm => true)");
        assert_eq!(
            one::<i64>(&mut db.client(), "SELECT count(*) FROM (TABLE kept EXCEPT ALL TABLE t) AS d"),
            0,
            "{encoding}"
        );
    }
}
