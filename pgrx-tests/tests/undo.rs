//! Changes of one application, user or transaction are taken back; what others did since is left alone and told; records
//! come with their history.

mod tracked;

use agent_backup_suite::{
    Database, Step, assert_no_trash, back_up, lines, one, refused, restore, singers, try_restore, with_mallory,
};
use tracked::{FIVE, all, as_of, back, log, mark, rows, track, tracked};

fn agent(db: &Database, statements: &str) {
    db.run(&format!("SET application_name = 'agent'; {statements}"));
}

fn conflicts(steps: &[Step]) -> Vec<String> {
    let listed = steps.iter().filter(|step| step.action == "conflict");
    listed.map(|step| format!("{} {} {}", step.rows.unwrap_or(0), step.status, step.details)).collect()
}

const UNDO: &str = "undo('m', application_name => 'agent', confirm => true)";

#[test]
fn only_the_changes_of_one_application_go() {
    let db = tracked(FIVE, &["t"]);
    mark(&db, "m");
    agent(
        &db,
        "UPDATE t SET n = -1 WHERE id IN (1, 2); DELETE FROM t WHERE id = 3; INSERT INTO t VALUES (6, 'agent'), (7, 'agent')",
    );
    db.run("UPDATE t SET v = 'person' WHERE id = 4; INSERT INTO t VALUES (8, 'person'); DELETE FROM t WHERE id = 5");
    let mut client = db.client();
    back(&mut client, UNDO);
    assert_eq!(rows(&mut client, "t"), ["(1,v1,1)", "(2,v2,2)", "(3,v3,3)", "(4,person,4)", "(8,person,0)"]);
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn only_the_changes_of_one_user_or_transaction_go() {
    let (db, mallory) = with_mallory();
    db.run(&format!("{FIVE}; GRANT ALL ON t TO {mallory}"));
    track(&db, "t");
    mark(&db, "m");
    db.client_as(&mallory).batch_execute("UPDATE t SET n = -1 WHERE id = 1").unwrap();
    db.run(&format!("SET ROLE {mallory}; UPDATE t SET n = -1 WHERE id = 2"));
    db.run("BEGIN; UPDATE t SET n = -1 WHERE id = 3; SAVEPOINT a; DELETE FROM t WHERE id = 4; COMMIT");
    let mut client = db.client();
    let transaction: String = one(&mut client, "SELECT transaction FROM agent_backup.record_history('t', '4')");
    back(&mut client, &format!("undo('m', transaction => '{transaction}', confirm => true)"));
    assert_eq!(lines(&mut client, "SELECT n FROM t ORDER BY id"), ["-1", "-1", "3", "4", "5"]);
    back(&mut client, &format!("undo('m', session_user_name => '{mallory}', confirm => true)"));
    assert_eq!(lines(&mut client, "SELECT n FROM t ORDER BY id"), ["1", "-1", "3", "4", "5"]);
    drop(client);
    agent_backup_suite::end_with(&db, &[&mallory], &[]);
}

#[test]
fn a_row_that_others_changed_afterwards_is_told_and_left_alone() {
    let db = tracked(FIVE, &["t"]);
    mark(&db, "m");
    agent(
        &db,
        "UPDATE t SET n = -1 WHERE id < 3; INSERT INTO t VALUES (6, 'agent'), (7, 'agent'); DELETE FROM t WHERE id IN (4, 5)",
    );
    db.run(
        "UPDATE t SET v = 'person' WHERE id IN (1, 6); INSERT INTO t VALUES (4, 'person'); DELETE FROM t WHERE id = 7",
    );
    let mut client = db.client();
    let plan = try_restore(&mut client, "undo('m', application_name => 'agent')").unwrap();
    let done = try_restore(&mut client, UNDO).unwrap();
    assert_eq!(conflicts(&plan), conflicts(&done));
    let told = conflicts(&done).join("");
    assert!(told.starts_with("4 warning") && told.ends_with(": 1; 4; 6; 7"), "{told}");
    let expected = ["(1,person,-1)", "(2,v2,2)", "(3,v3,3)", "(4,person,0)", "(5,v5,5)", "(6,person,0)"];
    assert_eq!(rows(&mut client, "t"), expected);
}

#[test]
fn what_others_did_between_two_changes_is_not_lost() {
    let db = tracked(FIVE, &["t"]);
    mark(&db, "m");
    agent(&db, "UPDATE t SET n = -1 WHERE id = 1; DELETE FROM t WHERE id = 2");
    db.run("UPDATE t SET v = 'person' WHERE id = 1; INSERT INTO t VALUES (2, 'person', 20)");
    agent(&db, "UPDATE t SET n = -2 WHERE id = 1; DELETE FROM t WHERE id = 2");
    let mut client = db.client();
    let steps = try_restore(&mut client, UNDO).unwrap();
    let first: String = one(&mut client, "SELECT v FROM t WHERE id = 1");
    assert_eq!(first, "person", "{steps:#?}");
    let second = lines(&mut client, "SELECT v FROM t WHERE id = 2");
    assert!(second == ["person"] || conflicts(&steps).iter().any(|told| told.contains('2')), "{second:?}: {steps:#?}");
}

#[test]
fn rows_without_a_key_are_taken_back_by_their_values() {
    let db = tracked("CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x'), (1, 'x'), (2, 'y')", &["t"]);
    mark(&db, "m");
    agent(&db, "INSERT INTO t VALUES (1, 'x'), (3, 'agent'), (4, 'agent'); UPDATE t SET b = 'z' WHERE a = 2");
    db.run("DELETE FROM t WHERE a = 4; INSERT INTO t VALUES (3, 'agent')");
    let mut client = db.client();
    let steps = try_restore(&mut client, UNDO).unwrap();
    assert!(conflicts(&steps).join("").starts_with("1 warning"), "{steps:#?}");
    assert_eq!(rows(&mut client, "t"), ["(1,x)", "(1,x)", "(2,y)", "(3,agent)"]);
}

#[test]
fn unique_values_that_were_swapped_are_swapped_back() {
    for constraint in ["UNIQUE (u)", "UNIQUE (u) DEFERRABLE", "EXCLUDE USING btree (u WITH =)"] {
        let db = tracked(
            &format!(
                "CREATE TABLE t (id int PRIMARY KEY, u int, {constraint}); INSERT INTO t SELECT g, g FROM generate_series(1, 5) g"
            ),
            &["t"],
        );
        let mut client = db.client();
        mark(&db, "m");
        let before = rows(&mut client, "t");
        db.run("UPDATE t SET u = 100 WHERE id = 1; UPDATE t SET u = 1 WHERE id = 2; UPDATE t SET u = 2 WHERE id = 1; DELETE FROM t WHERE id = 5; UPDATE t SET u = 5 WHERE id = 4; INSERT INTO t VALUES (6, 4)");
        back(&mut client, "undo('m', confirm => true)");
        assert_eq!(rows(&mut client, "t"), before, "{constraint}");
    }
}

#[test]
fn a_foreign_key_that_would_break_stops_it_and_nothing_changes() {
    let script = "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent ON DELETE CASCADE);
        INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1, 1)";
    let db = tracked(script, &["parent", "child"]);
    mark(&db, "m");
    db.run("INSERT INTO parent VALUES (2); INSERT INTO child VALUES (2, 2); DELETE FROM parent WHERE id = 1");
    let mut client = db.client();
    let before = all(&mut client, &["parent", "child"]);
    for (table, code) in [("parent", "23503"), ("child", "23503")] {
        let call = format!("SELECT * FROM agent_backup.restore_table_as_of('{table}', mark => 'm', confirm => true)");
        let refusal = refused(&mut client, &call);
        assert_eq!(refusal.code, code, "{table}: {refusal:?}");
        assert_eq!(all(&mut client, &["parent", "child"]), before, "{table}");
    }
    back(&mut client, "undo('m', tables => '{child,parent}', confirm => true)");
    assert_eq!(all(&mut client, &["parent", "child"]), ["parent: (1)", "child: (1,1)"]);
    assert_eq!(as_of(&mut client, &["parent"], "m"), ["parent: (1)"]);
}

#[test]
fn an_undo_that_fails_or_panics_changes_nothing() {
    let db = tracked(FIVE, &["t"]);
    mark(&db, "m");
    db.run("UPDATE t SET n = -1; DELETE FROM t WHERE id = 1");
    let mut client = db.client();
    let (before, told) = (rows(&mut client, "t"), log(&mut client).len());
    for how in ["error", "panic"] {
        client.batch_execute(&format!("SET agent_backup.debug_failpoint = 'undone={how}'")).unwrap();
        try_restore(&mut client, "undo('m', confirm => true)").unwrap_err();
        client.batch_execute("RESET agent_backup.debug_failpoint").unwrap();
        assert_eq!((rows(&mut client, "t"), log(&mut client).len()), (before.clone(), told), "{how}");
    }
    drop(client);
    assert_no_trash(&db, &["panicked"]);
}

#[test]
fn triggers_of_the_application_do_not_fire_and_ours_do() {
    for parted in ["", " PARTITION BY RANGE (id); CREATE TABLE p PARTITION OF t DEFAULT"] {
        let db = tracked(
            &format!("CREATE TABLE t (id int PRIMARY KEY, v text){parted}; INSERT INTO t VALUES (1, 'a'), (2, 'b');
                CREATE FUNCTION loud() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'canary sings as %', TG_OP; RETURN NEW; END $$;
                CREATE TRIGGER loud BEFORE INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION loud(); ALTER TABLE t ENABLE ALWAYS TRIGGER loud"),
            &["t"],
        );
        mark(&db, "m");
        agent(&db, "UPDATE t SET v = 'x' WHERE id = 1; INSERT INTO t VALUES (3, 'c')");
        let mut client = db.client();
        let entries = log(&mut client).len();
        assert!(singers(&db, || drop(back(&mut client, UNDO))).is_empty());
        assert_eq!(log(&mut client).len(), entries + 2);
        let enabled: i64 = one(
            &mut client,
            "SELECT count(*) FROM pg_trigger WHERE tgname IN ('loud', 'agent_backup_truncate') AND tgenabled <> 'A'",
        );
        assert_eq!(enabled, 0);
    }
}

#[test]
fn a_restore_from_a_backup_is_captured_too() {
    for script in
        [FIVE, "CREATE TABLE t (id int, v text, n int); INSERT INTO t SELECT g, 'v', g FROM generate_series(1, 5) g"]
    {
        let db = tracked(&format!("{script}; SELECT agent_backup.create_set('s')"), &["t"]);
        back_up(&db, &["t"]);
        db.run("UPDATE t SET n = -1; DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (9)");
        let mut client = db.client();
        mark(&db, "m");
        let before = all(&mut client, &["t"]);
        restore(&mut client, "restore_table('t', confirm => true, set_name => 's')");
        assert_ne!(all(&mut client, &["t"]), before);
        assert_eq!(as_of(&mut client, &["t"], "m"), before);
        back(&mut client, "undo('m', confirm => true)");
        assert_eq!(all(&mut client, &["t"]), before);
    }
}

#[test]
fn a_table_that_is_gone_comes_back_as_of_a_mark() {
    let db = tracked(FIVE, &[]);
    db.run("SELECT agent_backup.track('t')");
    db.run("UPDATE t SET n = n + 10 WHERE id < 4; DELETE FROM t WHERE id = 5; UPDATE t SET id = 40 WHERE id = 4");
    mark(&db, "m");
    let mut client = db.client();
    let before = rows(&mut client, "t");
    db.run("UPDATE t SET n = 0; INSERT INTO t VALUES (6); DROP TABLE t");
    try_restore(&mut client, "restore_table_as_of('t', mark => 'm')").unwrap();
    assert_eq!(lines(&mut client, "SELECT to_regclass('t')"), [""]);
    back(&mut client, "restore_table_as_of('t', mark => 'm', confirm => true)");
    assert_eq!(rows(&mut client, "t"), before);
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn the_history_of_a_record_says_who_changed_what() {
    let db = tracked(FIVE, &["t"]);
    agent(
        &db,
        "INSERT INTO t VALUES (6, 'six', NULL); UPDATE t SET v = 'x', n = 7 WHERE id = 6; UPDATE t SET id = 60 WHERE id = 6; DELETE FROM t WHERE id = 60",
    );
    let mut client = db.client();
    let query = |key: &str| {
        format!(
            "SELECT operation, changed_columns::text, old_row::text, new_row::text, changed_by, application_name FROM agent_backup.record_history('t', '{key}')"
        )
    };
    let expected = [
        r#"INSERT|||{"n": null, "v": "six", "id": 6}|postgres|agent"#,
        r#"UPDATE|{v,n}|{"n": null, "v": "six", "id": 6}|{"n": 7, "v": "x", "id": 6}|postgres|agent"#,
        r#"DELETE||{"n": 7, "v": "x", "id": 6}||postgres|agent"#,
    ];
    assert_eq!(lines(&mut client, &query("6")), expected);
    let moved = lines(&mut client, &query(" 060"));
    assert_eq!(moved.iter().filter_map(|line| line.split('|').next()).collect::<Vec<_>>(), ["INSERT", "DELETE"]);
    assert!(lines(&mut client, &query("12345")).is_empty());
    db.run("TRUNCATE t");
    assert_eq!(lines(&mut client, &query("1")), [r#"TRUNCATE||{"n": 1, "v": "v1", "id": 1}||postgres|suite"#]);
}

#[test]
fn the_history_of_a_key_of_several_columns_is_asked_by_name() {
    let db = tracked(
        "CREATE TABLE t (a text, b int, v int, PRIMARY KEY (b, a)); INSERT INTO t VALUES ('x,\"y', 1, 0)",
        &["t"],
    );
    db.run("UPDATE t SET v = 1; UPDATE t SET v = 2");
    let mut client = db.client();
    let query = r#"SELECT new_row ->> 'v' FROM agent_backup.record_history('t', '{"a": "x,\"y", "b": 1}'::jsonb)"#;
    assert_eq!(lines(&mut client, query), ["1", "2"]);
    assert_eq!(refused(&mut client, "SELECT agent_backup.record_history('t', '1')").code, "22023");
}

#[test]
fn values_that_jsonb_has_not_do_not_hide_the_history() {
    for (of, value) in [
        ("json", r#"{"a": "\u0000"}"#),
        ("json", "[1e1000000]"),
        ("float8", "NaN"),
        ("numeric", "Infinity"),
        ("json", r#"{"a": "\ud800"}"#),
    ] {
        let db = tracked(
            &format!("CREATE TABLE t (id int PRIMARY KEY, v {of}); INSERT INTO t VALUES (1, '{value}')"),
            &["t"],
        );
        db.run("UPDATE t SET id = id; DELETE FROM t");
        let rows = db.client().query("SELECT operation FROM agent_backup.record_history('t', '1')", &[]);
        assert_eq!(rows.unwrap_or_else(|error| panic!("{of} {value}: {error:?}")).len(), 2, "{of} {value}");
    }
}
