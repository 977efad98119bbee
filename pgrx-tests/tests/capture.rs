//! Every statement that changes a tracked table is in the log as what it did to each row (T43).

mod tracked;

use agent_backup_suite::{assert_no_trash, lines, one, refused};
use tracked::{FIVE, all, as_of, assert_captured, log, mark, track, tracked};

#[test]
fn each_change_is_in_the_log_with_its_row() {
    let db = tracked(FIVE, &["t"]);
    db.run("INSERT INTO t VALUES (6, 'six, \"quoted\"', NULL); UPDATE t SET v = NULL, n = 60 WHERE id = 6; DELETE FROM t WHERE id = 6");
    let expected = ["I|6|6,\"six, \"\"quoted\"\"\",||", "U|6|6,,60|2,3|\"six, \"\"quoted\"\"\",", "D|6|6,,60||"];
    assert_eq!(log(&mut db.client()), expected);
    assert_no_trash(&db, &[]);
}

#[test]
fn rows_are_inserted_changed_and_deleted() {
    let db = tracked(FIVE, &["t"]);
    assert_captured(&db, &["t"], "INSERT INTO t SELECT g, 'x', g FROM generate_series(6, 2500) g");
    assert_captured(&db, &["t"], "UPDATE t SET v = v || '!', n = n + 1 WHERE id % 2 = 0");
    assert_captured(&db, &["t"], "DELETE FROM t WHERE id % 3 = 0");
    assert_captured(
        &db,
        &["t"],
        "INSERT INTO t SELECT g, 'y' FROM generate_series(3, 2500, 3) g; UPDATE t SET n = 1; DELETE FROM t WHERE id > 9",
    );
    assert_no_trash(&db, &[]);
}

#[test]
fn a_table_that_was_empty_is_empty_as_of_then() {
    let db = tracked("CREATE TABLE t (id int PRIMARY KEY, v text)", &["t"]);
    assert_captured(&db, &["t"], "INSERT INTO t VALUES (1, 'a')");
    assert_captured(&db, &["t"], "DELETE FROM t");
}

#[test]
fn an_update_that_changes_nothing_is_an_entry_without_columns() {
    let db = tracked(FIVE, &["t"]);
    mark(&db, "m");
    db.run("UPDATE t SET v = v WHERE id = 1");
    let mut client = db.client();
    assert_eq!(log(&mut client), ["U|1|1,v1,1||"]);
    assert_eq!(as_of(&mut client, &["t"], "m"), all(&mut client, &["t"]));
}

#[test]
fn copy_is_captured() {
    let db = tracked(FIVE, &["t"]);
    assert_captured(&db, &["t"], "COPY t (id, v) FROM PROGRAM 'printf \"6\\tsix\\n7\\t\\\\\\\\N\\n\"'");
    assert_eq!(log(&mut db.client())[..2], ["I|6|6,six,0||", "I|7|7,,0||"]);
}

#[test]
fn merge_is_captured() {
    let db = tracked(FIVE, &["t"]);
    let merge = "MERGE INTO t USING (VALUES (1, 'gone'), (2, 'changed'), (9, 'new')) AS s(id, v) ON t.id = s.id
        WHEN MATCHED AND s.v = 'gone' THEN DELETE WHEN MATCHED THEN UPDATE SET v = s.v WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.v, 9)";
    assert_captured(&db, &["t"], merge);
    let mut client = db.client();
    let mut operations =
        lines(&mut client, "SELECT operation::text || row_key FROM agent_backup.change_log ORDER BY seq LIMIT 3");
    operations.sort();
    assert_eq!(operations, ["D1", "I9", "U2"]);
}

#[test]
fn on_conflict_is_an_insert_or_an_update() {
    let db = tracked(FIVE, &["t"]);
    assert_captured(
        &db,
        &["t"],
        "INSERT INTO t VALUES (5, 'five', 50), (6, 'six', 6) ON CONFLICT (id) DO UPDATE SET v = excluded.v",
    );
    let mut operations = log(&mut db.client())[..2].to_vec();
    operations.sort();
    assert_eq!(operations, ["I|6|6,six,6||", "U|5|5,five,5|2|v5"]);
    let before = log(&mut db.client());
    db.run("INSERT INTO t VALUES (1, 'nothing', 0) ON CONFLICT DO NOTHING");
    assert_eq!(log(&mut db.client()), before);
}

#[test]
fn writable_ctes_are_captured() {
    let db = tracked(FIVE, &["t"]);
    assert_captured(
        &db,
        &["t"],
        "WITH gone AS (DELETE FROM t WHERE id < 3 RETURNING *), changed AS (UPDATE t SET v = 'u' WHERE id = 3 RETURNING 1) INSERT INTO t SELECT id + 100, v, n FROM gone",
    );
    assert_captured(&db, &["t"], "WITH a AS (UPDATE t SET v = 'a' WHERE id = 4) UPDATE t SET v = 'b' WHERE id = 5");
    assert_captured(
        &db,
        &["t"],
        "WITH a AS (INSERT INTO t VALUES (6, '6')), b AS (INSERT INTO t VALUES (7, '7')) INSERT INTO t VALUES (8, '8')",
    );
}

#[test]
fn one_key_may_go_and_come_in_one_statement() {
    let db = tracked(
        "CREATE TABLE t (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, v text); INSERT INTO t VALUES (1, 'one'), (2, 'two')",
        &["t"],
    );
    assert_captured(
        &db,
        &["t"],
        "WITH gone AS (DELETE FROM t WHERE id = 1 RETURNING id) INSERT INTO t SELECT id, 'again' FROM gone",
    );
}

#[test]
fn a_key_that_changes_is_followed() {
    let db = tracked(FIVE, &["t"]);
    assert_captured(&db, &["t"], "UPDATE t SET id = 50 WHERE id = 5");
    assert_eq!(log(&mut db.client())[..2], ["D|5|5,v5,5||", "I|50|50,v5,5||"]);
    assert_captured(
        &db,
        &["t"],
        "UPDATE t SET id = 51, v = 'x' WHERE id = 50; UPDATE t SET id = 5 WHERE id = 51; INSERT INTO t VALUES (50, 'other')",
    );
    assert_captured(
        &db,
        &["t"],
        "DELETE FROM t WHERE id = 5; UPDATE t SET id = 5 WHERE id = 4; UPDATE t SET id = 4 WHERE id = 3",
    );
}

#[test]
fn keys_are_swapped_and_shifted_in_one_statement() {
    let db = tracked(
        "CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, v text); INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 9) g",
        &["t"],
    );
    assert_captured(&db, &["t"], "UPDATE t SET id = 3 - id WHERE id < 3");
    assert_captured(&db, &["t"], "UPDATE t SET id = id % 9 + 1");
}

#[test]
fn keys_of_several_columns_are_told_apart() {
    let db = tracked(
        "CREATE TABLE t (a text, v int, b text, PRIMARY KEY (b, a)); INSERT INTO t VALUES ('x,y', 1, 'z'), ('x', 2, 'y,z'), ('', 3, '\"')",
        &["t"],
    );
    assert_captured(
        &db,
        &["t"],
        "UPDATE t SET v = v + 10; UPDATE t SET a = 'y', b = 'x' WHERE v = 11; DELETE FROM t WHERE v = 13",
    );
}

#[test]
fn a_key_keeps_its_spelling() {
    let db =
        tracked("CREATE TABLE t (id numeric PRIMARY KEY, v text); INSERT INTO t VALUES (1.0, 'a'), (2.0, 'b')", &["t"]);
    assert_captured(&db, &["t"], "UPDATE t SET id = 1.000 WHERE id = 1");
    assert_captured(&db, &["t"], "UPDATE t SET id = 2, v = 'c' WHERE id = 2");
}

#[test]
fn cascades_reach_the_log_once_for_each_row() {
    let db = tracked(
        "CREATE TABLE parent (id int PRIMARY KEY);
         CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE);
         CREATE TABLE loose (id int PRIMARY KEY, p int DEFAULT 1 REFERENCES parent ON DELETE SET NULL ON UPDATE SET DEFAULT);
         INSERT INTO parent SELECT generate_series(1, 40); INSERT INTO child SELECT g, g % 40 + 1 FROM generate_series(1, 120) g;
         INSERT INTO loose SELECT g, g % 40 + 1 FROM generate_series(1, 120) g",
        &["parent", "child", "loose"],
    );
    let tables = ["parent", "child", "loose"];
    assert_captured(&db, &tables, "DELETE FROM parent WHERE id BETWEEN 2 AND 20");
    let counts = "SELECT operation, count(*) FROM (SELECT operation FROM agent_backup.change_log ORDER BY seq LIMIT 19 + 57 + 57) AS l GROUP BY 1 ORDER BY 1";
    assert_eq!(lines(&mut db.client(), counts), ["D|76", "U|57"]);
    assert_captured(&db, &tables, "UPDATE parent SET id = id + 100 WHERE id > 30");
}

#[test]
fn a_table_may_cascade_to_itself() {
    for action in ["CASCADE", "SET NULL"] {
        let db = tracked(
            &format!(
                "CREATE TABLE t (id int PRIMARY KEY, up int REFERENCES t ON DELETE {action});
                      INSERT INTO t SELECT g, nullif(g / 2, 0) FROM generate_series(1, 31) g"
            ),
            &["t"],
        );
        assert_captured(&db, &["t"], "DELETE FROM t WHERE id IN (2, 5, 7)");
    }
}

#[test]
fn deferred_constraints_do_not_defer_the_log() {
    let db = tracked(
        "CREATE TABLE parent (id int PRIMARY KEY);
         CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED);
         INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (1, 1), (2, 2)",
        &["parent", "child"],
    );
    assert_captured(
        &db,
        &["parent", "child"],
        "BEGIN; INSERT INTO child VALUES (3, 3); DELETE FROM parent WHERE id = 1; INSERT INTO parent VALUES (3); COMMIT",
    );
}

#[test]
fn what_is_rolled_back_is_not_in_the_log() {
    let db = tracked(FIVE, &["t"]);
    db.run("BEGIN; UPDATE t SET v = 'never'; TRUNCATE t; ROLLBACK");
    assert!(log(&mut db.client()).is_empty());
    let statements = "BEGIN; UPDATE t SET n = 11 WHERE id = 1; SAVEPOINT a; DELETE FROM t; SAVEPOINT b; INSERT INTO t VALUES (9, 'x'); ROLLBACK TO a;
        UPDATE t SET n = 12 WHERE id = 2; RELEASE a; SAVEPOINT c; UPDATE t SET n = 13 WHERE id = 3; RELEASE c; COMMIT";
    assert_captured(&db, &["t"], statements);
    assert_eq!(log(&mut db.client())[..3], ["U|1|1,v1,11|3|1", "U|2|2,v2,12|3|2", "U|3|3,v3,13|3|3"]);
}

#[test]
fn a_caught_error_takes_its_changes_along() {
    let db = tracked(FIVE, &["t"]);
    let block = "DO $$ BEGIN
        FOR i IN 1..5 LOOP
            BEGIN UPDATE t SET n = 10 / (i % 2) WHERE id = i; UPDATE t SET v = 'after ' || i WHERE id = i; EXCEPTION WHEN division_by_zero THEN NULL; END;
            BEGIN INSERT INTO t VALUES (10 + i); RAISE 'x'; EXCEPTION WHEN raise_exception THEN NULL; END;
        END LOOP; END $$";
    assert_captured(&db, &["t"], block);
}

#[test]
fn truncate_leaves_its_rows_in_the_log() {
    let db = tracked(FIVE, &["t"]);
    assert_captured(&db, &["t"], "TRUNCATE t");
    assert_captured(&db, &["t"], "INSERT INTO t VALUES (1, 'a'), (2, 'b')");
    assert_captured(
        &db,
        &["t"],
        "BEGIN; INSERT INTO t VALUES (8, 'x'); UPDATE t SET v = 'y' WHERE id = 1; TRUNCATE t RESTART IDENTITY; INSERT INTO t VALUES (1, 'new'); COMMIT",
    );
    db.run("BEGIN; TRUNCATE t; SAVEPOINT a; INSERT INTO t VALUES (2); TRUNCATE t; ROLLBACK TO a; ROLLBACK");
    assert_captured(&db, &["t"], "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1; TRUNCATE t; COMMIT");
}

#[test]
fn truncate_of_several_tables_is_captured_for_each() {
    let db = tracked(
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a); CREATE TABLE c (id int);
         INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (1, 2); INSERT INTO c VALUES (1), (1)",
        &["a", "b", "c"],
    );
    assert_captured(&db, &["a", "b", "c"], "TRUNCATE a, c CASCADE");
}

#[test]
fn truncate_of_a_large_table_may_be_refused() {
    let db = tracked(FIVE, &[]);
    db.run("SELECT agent_backup.track('t', on_truncate => 'refuse', truncate_limit => 0, baseline => false)");
    let mut client = db.client();
    let refusal = refused(&mut client, "TRUNCATE t");
    assert_eq!((refusal.code.as_str(), refusal.hint.is_empty()), ("55000", false), "{refusal:?}");
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM t"), 5);
    db.run("SELECT agent_backup.track('t', on_truncate => 'refuse', truncate_limit => 1000000, baseline => false)");
    assert_captured(&db, &["t"], "TRUNCATE t");
}

#[test]
fn truncate_of_a_large_table_may_be_a_gap() {
    let db = tracked(FIVE, &[]);
    db.run("SELECT agent_backup.track('t', on_truncate => 'mark', truncate_limit => 0, baseline => false)");
    mark(&db, "early");
    db.run("TRUNCATE t");
    let mut client = db.client();
    let refusal = refused(&mut client, "SELECT * FROM agent_backup.read_as_of(NULL::t, mark => 'early')");
    assert!(refusal.code == "55000" && refusal.message.contains("TRUNCATE"), "{refusal:?}");
    let kinds = lines(&mut client, "SELECT kind FROM agent_backup.recovery_points('t')");
    assert_eq!(kinds, ["continuous", "gap", "continuous"]);
    assert!(log(&mut client).is_empty());
    drop(client);
    assert_captured(&db, &["t"], "INSERT INTO t VALUES (1, 'after the gap')");
}

#[test]
fn a_gap_is_one_for_moments_before_its_commit() {
    let db = tracked(FIVE, &[]);
    db.run("SELECT agent_backup.track('t', on_truncate => 'mark', truncate_limit => 0, baseline => false)");
    let mut other = db.client();
    other.batch_execute("BEGIN; TRUNCATE t").unwrap();
    mark(&db, "between");
    other.batch_execute("COMMIT").unwrap();
    refused(&mut db.client(), "SELECT * FROM agent_backup.read_as_of(NULL::t, mark => 'between')");
}

#[test]
fn rows_without_a_key_are_counted() {
    let db = tracked(
        "CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x'), (1, 'x'), (1, 'x'), (NULL, NULL), (2, '')",
        &["t"],
    );
    assert_captured(&db, &["t"], "DELETE FROM t WHERE ctid = '(0,1)'");
    assert_captured(
        &db,
        &["t"],
        "INSERT INTO t VALUES (1, 'x'), (1, 'x'), (NULL, NULL), (NULL, ''); UPDATE t SET a = 7 WHERE ctid = '(0,2)'",
    );
    assert_captured(&db, &["t"], "UPDATE t SET a = a + 1; UPDATE t SET a = a - 1 WHERE b = 'x'");
    assert_captured(&db, &["t"], "TRUNCATE t");
}

#[test]
fn rows_of_one_column_or_none_are_told_from_nothing() {
    let db = tracked("CREATE TABLE one (v text); INSERT INTO one VALUES (NULL), ('')", &["one"]);
    assert_captured(&db, &["one"], "INSERT INTO one VALUES (NULL), (''), ('x'); DELETE FROM one WHERE v = ''");
    let none = tracked("CREATE TABLE nil (); INSERT INTO nil DEFAULT VALUES", &["nil"]);
    assert_captured(&none, &["nil"], "INSERT INTO nil DEFAULT VALUES; INSERT INTO nil DEFAULT VALUES");
}

#[test]
fn replicas_are_captured_too() {
    let db = tracked(FIVE, &["t"]);
    assert_captured(
        &db,
        &["t"],
        "SET session_replication_role = replica; UPDATE t SET n = 7; DELETE FROM t WHERE id = 1; TRUNCATE t; INSERT INTO t VALUES (3, 'x')",
    );
}

#[test]
fn a_statement_of_a_hundred_thousand_rows_is_captured() {
    let db = tracked(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1, 100000) g",
        &["t"],
    );
    mark(&db, "m");
    db.run("CREATE TABLE kept AS TABLE t; UPDATE t SET v = id || v");
    let mut client = db.client();
    assert_eq!(one::<i64>(&mut client, "SELECT count(DISTINCT row_key) FROM agent_backup.change_log"), 100_000);
    client.batch_execute("CREATE TABLE read AS SELECT * FROM agent_backup.read_as_of(NULL::t, mark => 'm')").unwrap();
    agent_backup_suite::assert_equal_tables(&mut client, "read", "kept");
}

#[test]
fn values_of_twenty_megabytes_are_captured() {
    let db = tracked("CREATE TABLE t (id int PRIMARY KEY, v text, b bytea)", &["t"]);
    let big = "SELECT string_agg(md5(g::text), '') FROM generate_series(1, 655360) g";
    mark(&db, "empty");
    db.run(&format!("INSERT INTO t SELECT 1, ({big}), NULL; INSERT INTO t SELECT 2, 'x', decode(v, 'hex') FROM t"));
    db.run("CREATE TABLE kept AS TABLE t");
    mark(&db, "big");
    db.run("UPDATE t SET id = id + 10; DELETE FROM t WHERE id = 12");
    let mut client = db.client();
    client.batch_execute("CREATE TABLE read AS SELECT * FROM agent_backup.read_as_of(NULL::t, mark => 'big')").unwrap();
    agent_backup_suite::assert_equal_tables(&mut client, "read", "kept");
    assert!(as_of(&mut client, &["t"], "empty").is_empty());
}

#[test]
fn a_table_is_tracked_again_after_a_rest() {
    let db = tracked(FIVE, &["t"]);
    mark(&db, "first");
    db.run("UPDATE t SET n = 1; SELECT agent_backup.untrack('t'); UPDATE t SET n = 2");
    let mut client = db.client();
    assert_eq!(log(&mut client).len(), 5);
    assert!(lines(&mut client, "SELECT tgname FROM pg_trigger WHERE tgrelid = 't'::regclass").is_empty());
    track(&db, "t");
    let refusal = refused(&mut client, "SELECT * FROM agent_backup.read_as_of(NULL::t, mark => 'first')");
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    drop(client);
    assert_captured(&db, &["t"], "UPDATE t SET n = 3; DELETE FROM t WHERE id = 1");
    assert_no_trash(&db, &[]);
}
