//! Rights of a restore (T72–T76, T82): refused without the owner's, and no statement out of a file or a clause.

use agent_backup_suite::{
    back_up, end_with, lines, newest_container, one, refused, restore, state, try_restore, with_mallory,
};

#[test]
fn who_does_not_own_the_table_restores_nothing() {
    let (db, mallory) = with_mallory();
    db.run(&format!(
        "CREATE TABLE t (n int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1); GRANT ALL ON t TO {mallory};
         GRANT pg_read_server_files, pg_write_server_files, agent_backup_operator TO {mallory}"
    ));
    back_up(&db, &["t"]);
    db.run("UPDATE t SET v = 5");
    let before = state(&db);
    let mut client = db.client_as(&mallory);
    for call in [
        "restore_plan('latest', set_name => 's')",
        "restore('latest', confirm => true, set_name => 's')",
        "restore_table('t', mode => 'merge', confirm => true, set_name => 's')",
        "restore_table('t', mode => 'missing_only', confirm => true, set_name => 's')",
        "restore_table('t', where_clause => 'false', confirm => true, set_name => 's')",
        "restore_table('t', confirm => true, safety_backup => false, set_name => 's')",
    ] {
        let refusal = refused(&mut client, &format!("SELECT * FROM agent_backup.{call}"));
        assert_eq!((refusal.code.as_str(), refusal.message.contains("\"t\"")), ("42501", true), "{call}: {refusal:?}");
    }
    drop(client);
    assert_eq!(state(&db), before);
    end_with(&db, &[&mallory], &[]);
}

#[test]
fn an_owner_who_may_not_read_backups_restores_nothing_and_one_who_may_does() {
    let (db, mallory) = with_mallory();
    db.run(&format!("SET ROLE {mallory}; CREATE TABLE t (n int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)"));
    back_up(&db, &["t"]);
    db.run("UPDATE t SET v = 5");
    let file = newest_container(&mut db.client(), "s");
    let before = state(&db);
    let mut client = db.client_as(&mallory);
    for backup in ["latest", &file] {
        let call =
            format!("SELECT * FROM agent_backup.restore_table('t', '{backup}', confirm => true, set_name => 's')");
        let refusal = refused(&mut client, &call);
        assert_eq!(refusal.code, "42501", "{refusal:?}");
        assert!(refusal.hint.contains("GRANT"), "{refusal:?}");
    }
    assert_eq!(state(&db), before);
    db.run(&format!("GRANT pg_read_server_files, pg_write_server_files TO {mallory}"));
    for mode in ["merge", "replace"] {
        restore(&mut client, &format!("restore_table('t', mode => '{mode}', confirm => true, set_name => 's')"));
        assert_eq!(lines(&mut client, "SELECT * FROM t"), ["1|1"], "{mode}");
    }
    drop(client);
    end_with(&db, &[&mallory], &[]);
}

#[test]
fn row_security_that_hides_rows_refuses_a_restore() {
    let (db, mallory) = with_mallory();
    db.run(&format!(
        "GRANT pg_read_server_files, pg_write_server_files TO {mallory}; SET ROLE {mallory};
         CREATE TABLE t (n int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2)"
    ));
    back_up(&db, &["t"]);
    db.run(
        "UPDATE t SET v = 5; ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (n = 1)",
    );
    let before = state(&db);
    let mut client = db.client_as(&mallory);
    for mode in ["replace", "merge", "missing_only"] {
        let call = format!(
            "SELECT * FROM agent_backup.restore_table('t', mode => '{mode}', confirm => true, set_name => 's')"
        );
        assert_eq!(refused(&mut client, &call).code, "42501", "{mode}");
    }
    drop(client);
    assert_eq!(state(&db), before);
    let mut client = db.client();
    restore(&mut client, "restore_table('t', mode => 'merge', confirm => true, set_name => 's')");
    assert_eq!(lines(&mut client, "SELECT * FROM t ORDER BY n"), ["1|1", "2|2"]);
    restore(&mut client, "restore_table('t', confirm => true, set_name => 's')");
    let kept = "SELECT relrowsecurity, relforcerowsecurity, (SELECT count(*) FROM pg_policy WHERE polrelid = c.oid) FROM pg_class c WHERE relname = 't'";
    assert_eq!(lines(&mut client, kept), ["t|t|1"]);
    drop(client);
    end_with(&db, &[&mallory], &[]);
}

#[test]
fn who_does_not_own_a_materialized_view_does_not_have_it_refreshed() {
    let (db, mallory) = with_mallory();
    db.run(&format!(
        "CREATE TABLE t (n int PRIMARY KEY); INSERT INTO t VALUES (1); CREATE MATERIALIZED VIEW mv AS SELECT count(*) FROM t;
         GRANT pg_read_server_files TO {mallory}"
    ));
    back_up(&db, &["t", "mv"]);
    db.run("INSERT INTO t VALUES (2)");
    let before = state(&db);
    let mut client = db.client_as(&mallory);
    let refusal =
        refused(&mut client, "SELECT * FROM agent_backup.restore_table('mv', confirm => true, set_name => 's')");
    assert_eq!(refusal.code, "42501", "{refusal:?}");
    drop(client);
    assert_eq!(state(&db), before);
    end_with(&db, &[&mallory], &[]);
}

#[test]
fn a_where_clause_is_one_expression_or_an_error() {
    let (db, mallory) = with_mallory();
    db.run("CREATE TABLE t (n int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2); CREATE TABLE other (x int); INSERT INTO other VALUES (1)");
    back_up(&db, &["t"]);
    db.run("UPDATE t SET v = 5");
    let mut client = db.client();
    let rows =
        "SELECT (SELECT string_agg(t::text, ' ' ORDER BY n) FROM t) || (SELECT string_agg(o::text, '') FROM other o)";
    let before: String = one(&mut client, rows);
    for clause in [
        "true; DROP TABLE other",
        "true); DELETE FROM other; SELECT (true",
        "true /*",
        "true */",
        "",
        "   ",
        "--",
        ")",
        "n = 1 LIMIT 1",
        "true) RETURNING (n",
        "true UNION SELECT true",
        "nope = 1",
        "$1",
        "count(*) > 0",
        "row_number() OVER () = 1",
        "generate_series(1, 2) > 0",
        "n",
        "'x'",
        "(DELETE FROM other RETURNING true)",
        "(WITH d AS (DELETE FROM other RETURNING 1) SELECT true)",
        "EXISTS (WITH d AS (DELETE FROM other RETURNING 1) SELECT FROM d)",
        "the live row.n = 1",
        "\u{0}",
    ] {
        if clause.contains('\0') {
            continue;
        }
        for mode in ["replace", "merge", "missing_only"] {
            let call = format!(
                "SELECT * FROM agent_backup.restore_table('t', mode => '{mode}', where_clause => {}, confirm => true, set_name => 's')",
                postgres_literal(clause)
            );
            let refusal = refused(&mut client, &call);
            assert_ne!(refusal.code, "XX000", "{clause}: {refusal:?}");
            assert_eq!(one::<String>(&mut client, rows), before, "{mode}: {clause}");
        }
    }
    drop(client);
    end_with(&db, &[&mallory], &[]);
}

fn postgres_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[test]
fn other_text_arguments_cannot_leave_their_quotes() {
    let (db, mallory) = with_mallory();
    db.run("CREATE TABLE t (n int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)");
    back_up(&db, &["t"]);
    let before = state(&db);
    let mut client = db.client();
    for text in [
        "'; DROP TABLE t; --",
        "%I",
        "\"",
        "a\"b'c",
        "../../x",
        "t; DROP TABLE t",
        "$$",
        "t\nDROP",
        "public.",
        ".t",
        "",
    ] {
        let text = postgres_literal(text);
        for call in [
            format!("restore_table({text}, confirm => true, set_name => 's')"),
            format!("restore_table('t', {text}, confirm => true, set_name => 's')"),
            format!("restore_table('t', target => {text}, confirm => true, set_name => 's')"),
            format!("restore_table('t', mode => {text}, confirm => true, set_name => 's')"),
            format!("restore_table('t', confirm => true, set_name => {text})"),
            format!("restore(tables => ARRAY[{text}], confirm => true, set_name => 's')"),
            format!("restore({text}, confirm => true)"),
            format!("restore_plan({text})"),
        ] {
            let refusal = refused(&mut client, &format!("SELECT * FROM agent_backup.{call}"));
            assert_ne!(refusal.code, "XX000", "{call}: {refusal:?}");
        }
    }
    drop(client);
    assert_eq!(state(&db), before);
    end_with(&db, &[&mallory], &[]);
}

#[test]
fn statements_in_a_backup_run_only_for_a_superuser_who_asks() {
    let (db, mallory) = with_mallory();
    db.run(&format!(
        "SET ROLE {mallory}; CREATE TABLE t (n int PRIMARY KEY DEFAULT evil_volatile('ddl')); INSERT INTO t VALUES (1)"
    ));
    back_up(&db, &["t"]);
    db.run(&format!("DROP TABLE t; GRANT pg_read_server_files, pg_write_server_files TO {mallory}"));
    let before = state(&db);
    let (mut client, mut ours) = (db.client_as(&mallory), db.client());
    let blocked = try_restore(&mut client, "restore('latest', set_name => 's')").unwrap();
    assert!(blocked.iter().any(|step| step.status == "blocked"), "{blocked:?}");
    for call in ["restore('latest'", "restore_table('t'"] {
        let plain = format!("SELECT * FROM agent_backup.{call}, confirm => true, set_name => 's')");
        assert_eq!(refused(&mut client, &plain).code, "55000");
        assert_eq!(refused(&mut ours, &plain).code, "55000");
        let asked = plain.replace("confirm", "create_missing => true, confirm");
        let refusal = refused(&mut client, &asked);
        assert_eq!((refusal.code.as_str(), refusal.hint.is_empty()), ("42501", false), "{refusal:?}");
    }
    assert_eq!(state(&db), before);
    restore(&mut ours, "restore('latest', create_missing => true, confirm => true, set_name => 's')");
    let owner: String = one(&mut ours, "SELECT relowner::regrole::text FROM pg_class WHERE oid = 't'::regclass");
    assert_eq!((lines(&mut ours, "SELECT * FROM t"), owner), (vec!["1".to_owned()], mallory.clone()));
    drop((client, ours));
    end_with(&db, &[&mallory], &[]);
}
