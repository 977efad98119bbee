//! Tables that are partitioned, inherited, altered, renamed or dropped while they are tracked: no change is lost unseen.

mod tracked;

use agent_backup_suite::{Database, assert_no_trash, lines, one, refused, try_restore};
use postgres::Client;
use tracked::{FIVE, all, as_of, assert_captured, assert_captured_while, back, log, mark, rows, track, tracked};

const PARTED: &str = "CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
    CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (10);
    CREATE TABLE high (old int, v text, id int NOT NULL); ALTER TABLE high DROP COLUMN old;
    ALTER TABLE t ATTACH PARTITION high FOR VALUES FROM (10) TO (20);
    INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 19) g";

#[test]
fn partitioned_tables_are_captured_whole() {
    let db = tracked(PARTED, &["t"]);
    assert_captured(
        &db,
        &["t"],
        "UPDATE t SET v = v || '!'; DELETE FROM t WHERE id IN (1, 11); INSERT INTO t VALUES (1, 'a'), (0, 'b')",
    );
    assert_captured(&db, &["t"], "TRUNCATE t; INSERT INTO t VALUES (5, 'x'), (15, 'x')");
    assert_no_trash(&db, &[]);
}

#[test]
fn a_row_that_moves_to_another_partition_is_followed() {
    let db = tracked(PARTED, &["t"]);
    assert_captured(&db, &["t"], "DELETE FROM t WHERE id >= 15; UPDATE t SET id = id + 14 WHERE id < 4");
    assert_captured(
        &db,
        &["t"],
        "UPDATE t SET id = 1, v = 'back' WHERE id = 15; UPDATE t SET id = 18 WHERE id = 1; UPDATE t SET id = 1 WHERE id = 18",
    );
}

#[test]
fn a_row_that_moves_keeps_foreign_keys() {
    let db = tracked(
        &format!(
            "{PARTED}; CREATE TABLE child (id int PRIMARY KEY, t int REFERENCES t ON UPDATE CASCADE ON DELETE CASCADE); INSERT INTO child VALUES (1, 1), (2, 2)"
        ),
        &["t", "child"],
    );
    assert_captured(
        &db,
        &["t", "child"],
        "DELETE FROM t WHERE id > 15; UPDATE t SET id = 16 WHERE id = 1; DELETE FROM t WHERE id = 2",
    );
}

#[test]
fn rows_written_into_a_partition_are_captured() {
    let db = tracked(PARTED, &["t"]);
    assert_captured(
        &db,
        &["t"],
        "INSERT INTO high (id, v) VALUES (10, 'ten') ON CONFLICT DO NOTHING; UPDATE low SET v = 'low'; DELETE FROM high WHERE id > 12",
    );
    assert_captured(&db, &["t"], "TRUNCATE high");
}

#[test]
fn partitions_attached_later_are_captured() {
    let db = tracked(PARTED, &["t"]);
    db.run("CREATE TABLE later PARTITION OF t FOR VALUES FROM (20) TO (30); CREATE TABLE last (v text, id int NOT NULL); ALTER TABLE t ATTACH PARTITION last DEFAULT");
    assert_captured(&db, &["t"], "INSERT INTO t VALUES (20, 'a'), (30, 'b'), (31, 'c')");
    assert_captured(
        &db,
        &["t"],
        "UPDATE t SET id = id + 15 WHERE id = 20; UPDATE later SET v = 'x'; DELETE FROM last WHERE id = 31",
    );
}

#[test]
fn truncate_reaches_partitions_attached_later() {
    let db = tracked(PARTED, &["t"]);
    db.run("CREATE TABLE later PARTITION OF t FOR VALUES FROM (20) TO (30); INSERT INTO t VALUES (20, 'a')");
    assert_captured(&db, &["t"], "TRUNCATE t");
    db.run("INSERT INTO t VALUES (1, 'b'), (21, 'b')");
    assert_captured(&db, &["t"], "TRUNCATE later");
}

#[test]
fn partitions_of_partitions_are_captured() {
    let db = tracked(
        "CREATE TABLE t (a int, b int, v text, PRIMARY KEY (a, b)) PARTITION BY LIST (a);
         CREATE TABLE one PARTITION OF t FOR VALUES IN (1) PARTITION BY HASH (b);
         CREATE TABLE even PARTITION OF one FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE odd PARTITION OF one FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         CREATE TABLE rest PARTITION OF t DEFAULT; INSERT INTO t SELECT g % 3, g, 'v' FROM generate_series(1, 30) g",
        &["t"],
    );
    assert_captured(
        &db,
        &["t"],
        "UPDATE t SET a = (a + 1) % 3; DELETE FROM odd; TRUNCATE one; INSERT INTO t VALUES (1, 100, 'x')",
    );
}

#[test]
fn partitions_without_a_common_key_are_told_apart_by_their_rows() {
    let db = tracked(&PARTED.replace(" PRIMARY KEY", " NOT NULL"), &["t"]);
    assert_captured(
        &db,
        &["t"],
        "INSERT INTO t VALUES (1, 'v1'), (11, 'v11'); DELETE FROM t WHERE id IN (2, 12); UPDATE t SET v = 'x' WHERE id IN (3, 13)",
    );
    assert_captured(&db, &["t"], "UPDATE t SET id = id + 10 WHERE id = 4");
}

#[test]
fn a_key_of_one_partition_is_no_key_of_the_table() {
    let db = tracked(
        &format!("{}; ALTER TABLE low ADD PRIMARY KEY (id)", PARTED.replace(" PRIMARY KEY", " NOT NULL")),
        &["t"],
    );
    assert_captured(
        &db,
        &["t"],
        "UPDATE t SET v = 'x' WHERE id IN (3, 13); DELETE FROM t WHERE id IN (4, 14); INSERT INTO t VALUES (0, 'new')",
    );
}

/// The rows as of the mark, or an error that says why they are not known.
fn as_of_or_refused(client: &mut Client, table: &str, mark: &str) -> Result<Vec<String>, String> {
    let query = format!("SELECT ROW(t.*)::text FROM agent_backup.read_as_of(NULL::{table}, mark => '{mark}') AS t");
    match client.query(&query, &[]) {
        Ok(found) => {
            let mut found: Vec<String> =
                found.iter().map(|row| format!("{table}: {}", row.get::<_, String>(0))).collect();
            found.sort();
            Ok(found)
        }
        Err(error) => {
            let error = error.as_db_error().expect("an error of the server");
            assert_eq!(error.code().code(), "55000", "{error:?}");
            Err(error.message().to_owned())
        }
    }
}

/// What the statements do is in the log, or the moments before them are refused: never other rows than there were.
#[track_caller]
fn assert_captured_or_a_gap(db: &Database, table: &str, statements: &str) {
    let mut client = db.client();
    let before = all(&mut client, &[table]);
    mark(db, "before");
    db.run(statements);
    if let Ok(found) = as_of_or_refused(&mut client, table, "before") {
        assert_eq!(found, before, "{statements}");
    }
}

#[test]
fn partitions_that_come_and_go_are_known_of() {
    for statements in [
        "ALTER TABLE t DETACH PARTITION low",
        "DROP TABLE low",
        "CREATE TABLE more (id int NOT NULL, v text); INSERT INTO more VALUES (25, 'x'); ALTER TABLE t ATTACH PARTITION more FOR VALUES FROM (20) TO (30)",
    ] {
        assert_captured_or_a_gap(&tracked(PARTED, &["t"]), "t", statements);
    }
}

#[test]
fn a_detached_partition_is_the_tables_no_longer() {
    let db = tracked(PARTED, &["t"]);
    db.run("ALTER TABLE t DETACH PARTITION low");
    mark(&db, "m");
    let mut client = db.client();
    let before = all(&mut client, &["t"]);
    db.run("UPDATE low SET v = 'x'; DELETE FROM low WHERE id = 1; TRUNCATE low");
    assert_eq!(as_of(&mut client, &["t"], "m"), before);
}

#[test]
fn a_table_that_becomes_a_partition_is_still_captured() {
    let db = tracked("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b')", &["t"]);
    db.run("CREATE TABLE whole (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); ALTER TABLE whole ATTACH PARTITION t FOR VALUES FROM (0) TO (10)");
    assert_captured_or_a_gap(
        &db,
        "t",
        "UPDATE whole SET v = 'x' WHERE id = 1; DELETE FROM whole WHERE id = 2; INSERT INTO whole VALUES (3, 'c')",
    );
}

#[test]
fn children_are_tables_of_their_own() {
    let db = tracked(
        &format!(
            "{FIVE}; CREATE TABLE child (extra int) INHERITS (t); INSERT INTO child VALUES (1, 'child', 1, 1), (9, 'child', 9, 9)"
        ),
        &["t", "child"],
    );
    assert_captured(
        &db,
        &["t", "child"],
        "UPDATE t SET v = 'both'; DELETE FROM t WHERE id = 1; INSERT INTO child VALUES (2, 'c', 2, 2)",
    );
    assert_captured(&db, &["t", "child"], "TRUNCATE t");
}

#[test]
fn rows_of_a_child_made_later_are_none_of_the_parent() {
    let db = tracked(FIVE, &["t"]);
    db.run("CREATE TABLE child () INHERITS (t); INSERT INTO child VALUES (9, 'child', 9)");
    assert_captured_or_a_gap(&db, "t", "UPDATE t SET v = 'both'; DELETE FROM t WHERE id IN (1, 9)");
}

#[test]
fn a_table_that_becomes_a_child_is_still_captured() {
    let db = tracked(FIVE, &["t"]);
    db.run("CREATE TABLE parent (id int NOT NULL, v text); ALTER TABLE t INHERIT parent");
    assert_captured_or_a_gap(&db, "t", "UPDATE parent SET v = 'x' WHERE id < 3; DELETE FROM parent WHERE id = 5");
}

#[test]
fn a_partition_and_its_table_are_not_both_tracked() {
    for (first, second) in [("low", "t"), ("t", "low")] {
        let db = tracked(PARTED, &[first]);
        let refusal = refused(&mut db.client(), &format!("SELECT agent_backup.track('{second}', baseline => false)"));
        assert_eq!((refusal.code.as_str(), refusal.hint.contains("untrack")), ("42809", true), "{second}: {refusal:?}");
        assert_captured(&db, &[first], "UPDATE t SET v = 'x'; DELETE FROM t WHERE id IN (1, 11)");
    }
}

#[test]
fn triggers_that_are_off_are_a_gap() {
    for statements in [
        "ALTER TABLE t DISABLE TRIGGER ALL; UPDATE t SET v = 'unseen'; ALTER TABLE t ENABLE TRIGGER ALL",
        "ALTER TABLE t DISABLE TRIGGER ALL; UPDATE t SET v = 'unseen'",
        "ALTER TABLE t DISABLE TRIGGER USER; ALTER TABLE t ENABLE TRIGGER USER; SET session_replication_role = replica; UPDATE t SET v = 'unseen'",
        "DROP TRIGGER agent_backup_update ON t; UPDATE t SET v = 'unseen'",
    ] {
        assert_captured_or_a_gap(&tracked(FIVE, &["t"]), "t", statements);
    }
}

#[test]
fn a_renamed_table_is_the_same_table() {
    let db = tracked(FIVE, &["t"]);
    assert_captured_while(&db, &["t"], || {
        db.run("UPDATE t SET n = 7; CREATE SCHEMA s; ALTER TABLE t RENAME TO u; ALTER TABLE u SET SCHEMA s; UPDATE s.u SET n = 8 WHERE id = 1");
        db.run("ALTER TABLE s.u SET SCHEMA public; ALTER TABLE u RENAME TO t");
    });
    db.run("ALTER TABLE t RENAME TO u");
    assert_captured(&db, &["u"], "DELETE FROM u WHERE id = 1");
    let history = "SELECT operation FROM agent_backup.record_history('u', '1')";
    assert_eq!(lines(&mut db.client(), history)[..2], ["UPDATE", "UPDATE"]);
}

#[test]
fn a_dropped_table_is_told_of_and_its_name_is_free() {
    let db = tracked(FIVE, &["t"]);
    mark(&db, "m");
    db.run("UPDATE t SET n = 1; DROP TABLE t");
    let mut client = db.client();
    assert_eq!(lines(&mut client, "SELECT kind FROM agent_backup.recovery_points('t')"), ["continuous"]);
    assert_eq!(log(&mut client).len(), 5);
    assert!(try_restore(&mut client, "undo('m')").is_ok_and(|steps| steps.is_empty()));
    db.run(FIVE);
    let refusal = refused(&mut client, "SELECT * FROM agent_backup.restore_table_as_of('t', mark => 'm')");
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    track(&db, "t");
    drop(client);
    assert_captured(&db, &["t"], "UPDATE t SET n = 2");
    assert_no_trash(&db, &[]);
}

#[test]
fn the_extension_stays_while_a_table_is_tracked() {
    let db = tracked(FIVE, &["t"]);
    assert_eq!(refused(&mut db.client(), "DROP EXTENSION agent_backup").code, "2BP01");
    assert_captured(&db, &["t"], "UPDATE t SET n = 2");
    db.run("SELECT agent_backup.untrack('t')");
    assert_eq!(refused(&mut db.client(), "DROP EXTENSION agent_backup").code, "2BP01", "the log would go");
    db.run("DROP EXTENSION agent_backup CASCADE; UPDATE t SET n = 3");
    db.run("CREATE EXTENSION agent_backup; SELECT agent_backup.track('t', baseline => false); DROP EXTENSION agent_backup CASCADE; UPDATE t SET n = 4");
}

#[test]
fn tables_that_cannot_be_tracked_are_refused() {
    let db = tracked(
        "CREATE UNLOGGED TABLE u (id int); CREATE VIEW v AS SELECT 1 AS id; CREATE MATERIALIZED VIEW m AS SELECT 1 AS id; CREATE SEQUENCE s;
         CREATE FOREIGN DATA WRAPPER w; CREATE SERVER far FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE f (id int) SERVER far;
         CREATE TABLE p (id int) PARTITION BY LIST (id); CREATE FOREIGN TABLE fp PARTITION OF p FOR VALUES IN (1) SERVER far",
        &[],
    );
    let mut client = db.client();
    for table in ["u", "v", "m", "f", "p", "s", "agent_backup.change_log", "pg_catalog.pg_class"] {
        let refusal = refused(&mut client, &format!("SELECT agent_backup.track('{table}', baseline => false)"));
        assert_eq!(refusal.code, "42809", "{table}: {refusal:?}");
    }
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM agent_backup.tracked"), 0);
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM pg_trigger WHERE tgname ~ '^agent_backup'"), 0);
    let mut session = db.client();
    assert_eq!(rows(&mut session, "v"), ["(1)"]);
    session.batch_execute("CREATE TEMP TABLE mine (id int)").unwrap();
    let temporary = session.batch_execute("SELECT agent_backup.track('mine', baseline => false)");
    assert_eq!(temporary.unwrap_err().code().map(|code| code.code()), Some("42809"));
}

#[test]
fn a_table_that_becomes_unlogged_or_is_rewritten_keeps_its_log() {
    let db = tracked(FIVE, &["t"]);
    assert_captured_while(&db, &["t"], || {
        db.run("UPDATE t SET n = 7 WHERE id < 3");
        db.run("VACUUM FULL t");
        db.run(
            "CLUSTER t USING t_pkey; ALTER TABLE t SET UNLOGGED; ALTER TABLE t SET LOGGED; DELETE FROM t WHERE id = 5",
        );
    });
    let mut client = db.client();
    mark(&db, "m");
    db.run("DELETE FROM t");
    back(&mut client, "restore_table_as_of('t', mark => 'm', confirm => true)");
}
