//! Columns that come, go and change while a table is tracked: rows of before and after are told from one log.

mod tracked;

use agent_backup_suite::{assert_no_trash, lines, refused};
use tracked::{FIVE, all, as_of, assert_captured, assert_captured_while, back, log, mark, rows, track, tracked};

const CHANGES: &str = "INSERT INTO t (id, v) VALUES (6, 'new'); UPDATE t SET v = 'x' WHERE id = 1; DELETE FROM t WHERE id = 2; UPDATE t SET id = 30 WHERE id = 3";

/// Changes, then `ddl`, then changes of the same rows again; the columns that stay read as they did, and come back.
#[track_caller]
fn assert_told_across(script: &str, ddl: &str, columns: &str) {
    let db = tracked(script, &["t"]);
    let mut client = db.client();
    let columns_of = |from: &str| format!("(SELECT {columns} FROM {from})");
    let before = rows(&mut client, &columns_of("t"));
    mark(&db, "before");
    db.run(CHANGES);
    mark(&db, "between");
    let between = rows(&mut client, &columns_of("t"));
    db.run(ddl);
    let read = |mark: &str| columns_of(&format!("agent_backup.read_as_of(NULL::t, mark => '{mark}')"));
    assert_eq!(rows(&mut client, &read("before")), before, "after the DDL");
    db.run("UPDATE t SET v = v || '!'; DELETE FROM t WHERE id IN (1, 6); INSERT INTO t (id, v) VALUES (2, 'again')");
    assert_eq!(rows(&mut client, &read("before")), before, "after more changes: {:#?}", log(&mut client));
    assert_eq!(rows(&mut client, &read("between")), between, "between");
    back(&mut client, "restore_table_as_of('t', mark => 'between', confirm => true)");
    assert_eq!(rows(&mut client, &columns_of("t")), between, "restored to between");
    back(&mut client, "restore_table_as_of('t', mark => 'before', confirm => true)");
    assert_eq!(rows(&mut client, &columns_of("t")), before, "restored to before");
}

const UNKEYED: &str = "CREATE TABLE t (id int, v text, n int DEFAULT 0); INSERT INTO t SELECT g, 'v' || g, g FROM generate_series(1, 5) g";

#[test]
fn a_column_may_be_added() {
    assert_told_across(FIVE, "ALTER TABLE t ADD c int", "id, v, n");
}

#[test]
fn a_column_may_be_added_with_a_default() {
    assert_told_across(FIVE, "ALTER TABLE t ADD c int NOT NULL DEFAULT 5", "id, v, n");
}

#[test]
fn a_column_may_be_dropped() {
    assert_told_across(FIVE, "ALTER TABLE t DROP n", "id, v");
}

/// Changes on both sides of `ddl`: moments before it are refused, and nothing is written; those after it are known.
#[track_caller]
fn assert_refused_across(script: &str, ddl: &str) {
    let db = tracked(script, &["t"]);
    let mut client = db.client();
    mark(&db, "early");
    db.run(CHANGES);
    db.run(ddl);
    db.run("UPDATE t SET v = v || '!'");
    let now = rows(&mut client, "t");
    for call in [
        "read_as_of(NULL::t, mark => 'early')",
        "restore_table_as_of('t', mark => 'early', confirm => true)",
        "undo('early', confirm => true)",
    ] {
        let refusal = refused(&mut client, &format!("SELECT * FROM agent_backup.{call}"));
        assert_eq!(
            (refusal.code.as_str(), refusal.hint.contains("recovery_points")),
            ("55000", true),
            "{ddl}: {call}: {refusal:?}"
        );
        assert_eq!(rows(&mut client, "t"), now, "{ddl}: {call}");
    }
    drop(client);
    assert_captured(&db, &["t"], "UPDATE t SET v = v || ' later'");
}

#[test]
fn moments_before_a_column_was_renamed_are_refused() {
    assert_refused_across(FIVE, "ALTER TABLE t RENAME n TO renamed");
    assert_refused_across(UNKEYED, "ALTER TABLE t RENAME n TO renamed");
    assert_refused_across(FIVE, "BEGIN; ALTER TABLE t RENAME n TO m; ALTER TABLE t ADD n int; COMMIT");
}

#[test]
fn a_type_may_change() {
    assert_told_across(FIVE, "ALTER TABLE t ALTER n TYPE bigint", "id, v, n");
    assert_told_across(FIVE, "ALTER TABLE t ALTER n TYPE text", "id, v, n");
    assert_told_across(FIVE, "ALTER TABLE t ALTER id TYPE bigint", "id, v, n");
}

#[test]
fn moments_before_the_columns_of_a_table_without_a_key_changed_are_refused() {
    for ddl in ["ADD c int", "ADD c int DEFAULT 5", "DROP n", "ALTER n TYPE bigint"] {
        assert_refused_across(UNKEYED, &format!("ALTER TABLE t {ddl}"));
    }
}

#[test]
fn moments_before_the_key_changed_are_refused() {
    assert_refused_across(UNKEYED, "ALTER TABLE t ADD PRIMARY KEY (id)");
    assert_refused_across(FIVE, "ALTER TABLE t DROP CONSTRAINT t_pkey");
    assert_refused_across(FIVE, "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id, n)");
    assert_refused_across(
        FIVE,
        "ALTER TABLE t RENAME id TO key; ALTER TABLE t RENAME key TO id; ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (v)",
    );
}

#[test]
fn a_row_that_came_before_the_ddl_and_went_after_it_was_never_there() {
    for ddl in ["ALTER TABLE t ADD c int", "ALTER TABLE t DROP n", "ALTER TABLE t ALTER n TYPE float8"] {
        let db = tracked(FIVE, &["t"]);
        mark(&db, "m");
        db.run("INSERT INTO t VALUES (6, 'six', 6)");
        db.run(ddl);
        db.run("DELETE FROM t WHERE id = 6");
        let mut client = db.client();
        assert_eq!(as_of(&mut client, &["t"], "m"), all(&mut client, &["t"]), "{ddl}");
    }
}

#[test]
fn a_row_that_changed_before_the_ddl_and_went_after_it_comes_back() {
    let db = tracked(FIVE, &["t"]);
    mark(&db, "m");
    db.run("UPDATE t SET v = 'x' WHERE id = 1");
    db.run("ALTER TABLE t ADD c int");
    db.run("DELETE FROM t WHERE id = 1");
    let mut client = db.client();
    back(&mut client, "restore_table_as_of('t', mark => 'm', confirm => true)");
    assert_eq!(lines(&mut client, "SELECT id, v FROM t WHERE id = 1"), ["1|v1"]);
}

#[test]
fn ddl_and_changes_may_be_one_transaction() {
    for begin in ["BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ", "BEGIN ISOLATION LEVEL SERIALIZABLE"] {
        let db = tracked(FIVE, &["t"]);
        let mut client = db.client();
        mark(&db, "m");
        let before = rows(&mut client, "(SELECT id, v FROM t)");
        db.run(&format!(
            "{begin}; UPDATE t SET n = 9 WHERE id = 1; ALTER TABLE t ADD c text; UPDATE t SET c = 'c', v = 'x' WHERE id < 3; SAVEPOINT a;
             ALTER TABLE t DROP c; UPDATE t SET v = 'y'; ROLLBACK TO a; UPDATE t SET c = 'd' WHERE id = 4; ALTER TABLE t DROP n; DELETE FROM t WHERE id = 5; COMMIT"
        ));
        let columns = "SELECT columns::text FROM agent_backup.row_shapes s WHERE EXISTS (SELECT FROM agent_backup.change_log l WHERE l.shape_id = s.shape_id) ORDER BY 1";
        assert_eq!(lines(&mut client, columns), ["{id,v,c}", "{id,v,n,c}", "{id,v,n}"]);
        let read = "(SELECT id, v FROM agent_backup.read_as_of(NULL::t, mark => 'm'))";
        assert_eq!(rows(&mut client, read), before, "{begin}");
        assert_no_trash(&db, &[]);
    }
}

#[test]
fn a_shape_that_was_rolled_back_is_written_again() {
    let db = tracked(FIVE, &["t"]);
    let mut client = db.client();
    client.batch_execute("BEGIN; UPDATE t SET n = 1; ROLLBACK").unwrap();
    client
        .batch_execute("BEGIN; SAVEPOINT a; UPDATE t SET n = 1; ROLLBACK TO a; UPDATE t SET n = 1 WHERE id = 1; COMMIT")
        .unwrap();
    assert_eq!(lines(&mut client, "SELECT count(*) FROM agent_backup.row_shapes"), ["1"]);
    assert_captured_while(&db, &["t"], || client.batch_execute("UPDATE t SET n = 2").unwrap());
}

#[test]
fn prepared_statements_know_of_the_ddl() {
    let db = tracked(FIVE, &["t"]);
    let mut client = db.client();
    let change = client.prepare("UPDATE t SET v = v || '.' WHERE id = $1").unwrap();
    for _ in 0..7 {
        client.execute(&change, &[&1]).unwrap();
    }
    db.run("ALTER TABLE t ADD c int DEFAULT 5; ALTER TABLE t DROP n");
    mark(&db, "m");
    let before = all(&mut client, &["t"]);
    client.execute(&change, &[&1]).unwrap();
    client.execute(&change, &[&2]).unwrap();
    assert_eq!(as_of(&mut client, &["t"], "m"), before);
    assert_eq!(log(&mut client).last().map(String::as_str), Some("U|2|2,v2.,5|2|v2"));
}

#[test]
fn enum_labels_may_be_added_and_renamed() {
    let enumerated = "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE t (id int PRIMARY KEY, v text, m mood DEFAULT 'sad', many mood[]);
        INSERT INTO t SELECT g, 'v', 'sad', '{ok,sad}' FROM generate_series(1, 5) g";
    assert_told_across(enumerated, "ALTER TYPE mood ADD VALUE 'glad' BEFORE 'ok'", "id, v, m, many");
}

#[test]
fn a_renamed_label_is_a_gap() {
    let db = tracked(
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE t (id int PRIMARY KEY, m mood, v int); INSERT INTO t VALUES (1, 'sad'), (2, 'sad')",
        &["t"],
    );
    mark(&db, "m");
    db.run("UPDATE t SET v = 1 WHERE id = 1; ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'");
    let refusal = refused(&mut db.client(), "SELECT * FROM agent_backup.read_as_of(NULL::t, mark => 'm')");
    assert_eq!(refusal.code, "55000");
    assert!(refusal.message.contains("labels of an enum were renamed"), "{}", refusal.message);
    mark(&db, "after");
    db.run("UPDATE t SET v = 2 WHERE id = 1");
    assert_eq!(as_of(&mut db.client(), &["t"], "after"), ["t: (1,blue,1)", "t: (2,blue,)"]);
}

#[test]
fn a_row_that_came_before_a_label_was_renamed_and_went_after_it_is_not_shown() {
    let db = tracked(
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE t (id int PRIMARY KEY, m mood); INSERT INTO t VALUES (1, 'ok')",
        &["t"],
    );
    mark(&db, "m");
    db.run("INSERT INTO t VALUES (2, 'sad')");
    db.run("ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'");
    db.run("DELETE FROM t WHERE id = 2");
    assert_eq!(refused(&mut db.client(), "SELECT * FROM agent_backup.read_as_of(NULL::t, mark => 'm')").code, "55000");
}

#[test]
fn generated_identity_and_dropped_columns_are_no_trouble() {
    let db = tracked(
        "CREATE TABLE t (gone int, id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text, g text GENERATED ALWAYS AS (v || '!') STORED, other int GENERATED BY DEFAULT AS IDENTITY);
         ALTER TABLE t DROP gone; INSERT INTO t (v) VALUES ('a'), ('b'), ('c')",
        &["t"],
    );
    assert_captured(
        &db,
        &["t"],
        "INSERT INTO t (v) VALUES ('d'); UPDATE t SET v = 'x' WHERE id = 1; DELETE FROM t WHERE id = 2",
    );
    assert_eq!(log(&mut db.client())[0], "I|4|4,d,4||");
    let always = tracked(
        "CREATE TABLE t (k text PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY, v int); INSERT INTO t (k) VALUES ('a'), ('b')",
        &["t"],
    );
    assert_captured(&always, &["t"], "UPDATE t SET v = 1; DELETE FROM t WHERE k = 'b'; INSERT INTO t (k) VALUES ('b')");
}

#[test]
fn names_of_any_kind_are_quoted() {
    let db = tracked(
        r#"CREATE SCHEMA "S ""1"; CREATE TABLE "S ""1"."it's; DROP--" ("Key, one" int, "a""b" text, "ключ" text, PRIMARY KEY ("ключ", "Key, one"));
           INSERT INTO "S ""1"."it's; DROP--" VALUES (1, 'a', 'x'), (2, 'b', 'y')"#,
        &[],
    );
    let table = r#""S ""1"."it's; DROP--""#;
    track(&db, table);
    assert_captured(
        &db,
        &[table],
        &format!(
            r#"UPDATE {table} SET "a""b" = 'z'; DELETE FROM {table} WHERE "Key, one" = 1; INSERT INTO {table} VALUES (3, 'c', '')"#
        ),
    );
    db.run(&format!("TRUNCATE {table}; SELECT agent_backup.untrack($${table}$$)"));
    let mixed = tracked(
        r#"CREATE TABLE "AgentApproval" ("Id" int PRIMARY KEY, "V" text); INSERT INTO "AgentApproval" VALUES (1, 'a')"#,
        &["AgentApproval"],
    );
    assert_captured(&mixed, &[r#""AgentApproval""#], r#"UPDATE "AgentApproval" SET "V" = 'b'"#);
}
