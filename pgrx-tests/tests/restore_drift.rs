//! A table that is no more what it was when it was backed up (T61).

use agent_backup_suite::{assert_no_trash, lines, refused, restore, saved, state};

const ALL: &str = "restore('latest', confirm => true, set_name => 's')";

fn table_call(table: &str, more: &str) -> String {
    format!("restore_table('{table}', {more}, confirm => true, set_name => 's')")
}

#[test]
fn an_error_about_a_row_names_the_table() {
    let db = saved("CREATE TABLE t (id int PRIMARY KEY, u text); INSERT INTO t VALUES (1, 'a')", &["t"]);
    db.run("UPDATE t SET u = 'b'; ALTER TABLE t ADD CHECK (u <> 'a')");
    let mut client = db.client();
    let refusal = refused(&mut client, &format!("SELECT * FROM agent_backup.{ALL}"));
    assert!(refusal.message.contains("\"t\""), "{refusal:?}");
    drop(client);
    assert_no_trash(&db, &[]);
}

/// After `change`, a replace must be refused (55000, nothing changed) or, if `allowed`, give these rows.
#[track_caller]
fn assert_drift(change: &str, more: &str, expected: Result<&[&str], &str>) {
    let db = saved(
        "CREATE TABLE t (id int PRIMARY KEY, a int, b text, c numeric(10,4)); INSERT INTO t VALUES (1, 10, 'b1', 1.2345), (2, 20, 'b2', 2.3456)",
        &["t"],
    );
    db.run(change);
    let before = state(&db);
    let mut client = db.client();
    let call = table_call("t", &format!("{more}, safety_backup => false"));
    match expected {
        Ok(rows) => {
            restore(&mut client, &call);
            assert_eq!(lines(&mut client, "SELECT * FROM t ORDER BY 1"), rows, "{change}: {more}");
        }
        Err(code) => {
            let refusal = refused(&mut client, &format!("SELECT * FROM agent_backup.{call}"));
            assert_eq!(refusal.code, code, "{change}: {more}: {refusal:?}");
            let own =
                |state: &str| state.lines().filter(|line| !line.starts_with("files:")).collect::<Vec<_>>().join("\n");
            assert_eq!(own(&state(&db)), own(&before), "{change}: {more}");
        }
    }
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn columns_are_matched_by_name_and_never_by_place() {
    assert_drift(
        "CREATE TABLE n (c numeric(10,4), b text, id int PRIMARY KEY, a int); DROP TABLE t; ALTER TABLE n RENAME TO t; INSERT INTO t VALUES (0, 'x', 9, 9)",
        "mode => 'replace'",
        Ok(&["1.2345|b1|1|10", "2.3456|b2|2|20"]),
    );
    assert_drift("ALTER TABLE t DROP b, ADD b text", "mode => 'replace'", Ok(&["1|10|1.2345|b1", "2|20|2.3456|b2"]));
    assert_drift(
        "ALTER TABLE t RENAME a TO x; ALTER TABLE t RENAME b TO a; ALTER TABLE t RENAME x TO b",
        "mode => 'replace'",
        Err("55000"),
    );
}

#[test]
fn a_table_that_drifted_is_refused_unless_it_is_allowed() {
    for change in [
        "ALTER TABLE t DROP a",
        "ALTER TABLE t RENAME b TO bb",
        "ALTER TABLE t ADD n int NOT NULL DEFAULT 3",
        "ALTER TABLE t ALTER c TYPE numeric(10,2)",
        "ALTER TABLE t ALTER a TYPE text",
    ] {
        assert_drift(change, "mode => 'replace'", Err("55000"));
    }
    assert_drift("ALTER TABLE t DROP a", "allow_drift => true", Ok(&["1|b1|1.2345", "2|b2|2.3456"]));
    assert_drift(
        "ALTER TABLE t ADD n int NOT NULL DEFAULT 3",
        "allow_drift => true",
        Ok(&["1|10|b1|1.2345|3", "2|20|b2|2.3456|3"]),
    );
    assert_drift("ALTER TABLE t ALTER a TYPE text", "allow_drift => true", Ok(&["1|10|b1|1.2345", "2|20|b2|2.3456"]));
    assert_drift("ALTER TABLE t ALTER b TYPE varchar(1) USING 'x'", "allow_drift => true", Err("22001"));
    assert_drift(
        "ALTER TABLE t ADD n int; UPDATE t SET n = 1; ALTER TABLE t ALTER n SET NOT NULL",
        "allow_drift => true",
        Err("23502"),
    );
    assert_drift(
        "UPDATE t SET id = id; ALTER TABLE t ADD n int DEFAULT 5",
        "mode => 'missing_only'",
        Ok(&["1|10|b1|1.2345|5", "2|20|b2|2.3456|5"]),
    );
    assert_drift(
        "ALTER TABLE t ADD n int DEFAULT 5; UPDATE t SET n = 7, b = 'x'",
        "mode => 'merge'",
        Ok(&["1|10|b1|1.2345|7", "2|20|b2|2.3456|7"]),
    );
}

#[test]
fn a_name_that_means_another_kind_of_relation_is_refused() {
    for (change, code) in [
        ("ALTER TABLE t RENAME TO was; CREATE VIEW t AS SELECT * FROM was", "42809"),
        ("ALTER TABLE t RENAME TO was; CREATE SEQUENCE t", "42809"),
        ("ALTER TABLE t RENAME TO was", "55000"),
        ("CREATE SCHEMA o; ALTER TABLE t SET SCHEMA o", "55000"),
        ("DROP TABLE t", "55000"),
    ] {
        assert_drift(change, "mode => 'replace'", Err(code));
    }
    assert_drift(
        "ALTER TABLE t RENAME TO was; CREATE TABLE t (LIKE was) PARTITION BY HASH (id); CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        "mode => 'replace'",
        Ok(&["1|10|b1|1.2345", "2|20|b2|2.3456"]),
    );
}

#[test]
fn another_table_takes_the_rows_when_it_is_named() {
    let db = saved(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b'); CREATE SCHEMA o; CREATE TABLE o.copy (v text, id int, PRIMARY KEY (id)); INSERT INTO o.copy VALUES ('x', 9)",
        &["t"],
    );
    db.run("UPDATE t SET v = 'y'");
    let mut client = db.client();
    restore(&mut client, &table_call("t", "target => 'o.copy'"));
    assert_eq!(lines(&mut client, "SELECT * FROM o.copy ORDER BY id"), ["a|1", "b|2"]);
    assert_eq!(lines(&mut client, "SELECT DISTINCT v FROM t"), ["y"]);
    restore(&mut client, "undo_restore(confirm => true)");
    assert_eq!(lines(&mut client, "SELECT * FROM o.copy"), ["x|9"]);
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_table_that_had_no_column_gets_the_defaults_of_its_new_ones() {
    let db = saved("CREATE TABLE t (); INSERT INTO t DEFAULT VALUES; INSERT INTO t DEFAULT VALUES", &["t"]);
    db.run("ALTER TABLE t ADD n int DEFAULT 7; DELETE FROM t");
    let mut client = db.client();
    restore(&mut client, ALL);
    assert_eq!(lines(&mut client, "SELECT n FROM t"), ["7", "7"]);
    drop(client);
    assert_no_trash(&db, &[]);
}
