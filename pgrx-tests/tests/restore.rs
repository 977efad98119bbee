//! The calls of a restore: nothing without confirm, one transaction, only the named tables, and taking it back.

use agent_backup_suite::{
    assert_equal_tables, assert_no_trash, assert_sound, lines, one, refused, restore, saved, state, try_restore,
};

const PLAIN: &str = "CREATE TABLE t (id int PRIMARY KEY, v text, n numeric); INSERT INTO t SELECT n, 'v' || n, n / 7.0 FROM generate_series(1, 100) n";
const DAMAGE: &str = "UPDATE t SET v = 'broken', n = NULL WHERE id <= 10; DELETE FROM t WHERE id BETWEEN 11 AND 20; INSERT INTO t VALUES (1001, 'new', 1)";

#[test]
fn without_confirm_nothing_is_written() {
    let db = saved(PLAIN, &["t"]);
    db.run(DAMAGE);
    let mut client = db.client();
    restore(&mut client, "restore('latest', confirm => true, set_name => 's')");
    db.run(DAMAGE);
    let before = state(&db);
    for call in [
        "restore('latest', set_name => 's')",
        "restore('latest', confirm => NULL, set_name => 's')",
        "restore('latest', confirm => false, create_missing => true, set_name => 's')",
        "restore_table('t', set_name => 's')",
        "restore_table('t', mode => 'merge', set_name => 's')",
        "restore_table('t', mode => 'missing_only', set_name => 's')",
        "restore_table('t', where_clause => 'id < 50', set_name => 's')",
        "restore_plan('latest', set_name => 's')",
        "undo_restore()",
        "undo_restore(confirm => false)",
    ] {
        let steps = try_restore(&mut client, call).unwrap_or_else(|error| panic!("{call}: {error:?}"));
        assert!(steps.iter().all(|step| step.status != "done"), "{call}: {steps:?}");
        assert!(steps.iter().any(|step| step.status == "planned"), "{call}: {steps:?}");
        assert_eq!(state(&db), before, "{call}");
    }
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn undo_gives_back_what_each_mode_overwrote() {
    for call in [
        "restore('latest', confirm => true, set_name => 's')",
        "restore_table('t', confirm => true, set_name => 's')",
        "restore_table('t', mode => 'merge', confirm => true, set_name => 's')",
        "restore_table('t', where_clause => 'id < 50', confirm => true, set_name => 's')",
        "restore_table('t', mode => 'merge', where_clause => 'id < 50', confirm => true, set_name => 's')",
    ] {
        let db = saved(PLAIN, &["t"]);
        db.run(&format!("{DAMAGE}; CREATE TABLE before AS TABLE t"));
        let mut client = db.client();
        restore(&mut client, call);
        db.run("INSERT INTO t VALUES (5000, 'later', 5); DELETE FROM t WHERE id = 30; CREATE TABLE between AS TABLE t");
        let steps = restore(&mut client, "undo_restore(confirm => true)");
        assert_equal_tables(&mut client, "t", "before");
        let again = refused(&mut client, "SELECT * FROM agent_backup.undo_restore(confirm => true)");
        assert_eq!((again.code.as_str(), again.hint.is_empty()), ("55000", false), "{call}: {again:?}");
        // What was written since is not lost: the undo is undone by its number.
        let id: i64 = one(&mut client, "SELECT max(restore_id) FROM agent_backup.restores");
        assert!(
            steps.iter().any(|step| step.details.contains(&format!("undo_restore({id}, confirm => true)"))),
            "{steps:?}"
        );
        restore(&mut client, &format!("undo_restore({id}, confirm => true)"));
        assert_equal_tables(&mut client, "t", "between");
        let twice = refused(&mut client, &format!("SELECT * FROM agent_backup.undo_restore({id}, confirm => true)"));
        assert_eq!(twice.code, "55000", "{twice:?}");
        drop(client);
        assert_no_trash(&db, &[]);
    }
}

#[test]
fn there_is_an_error_where_nothing_can_be_undone() {
    let db = saved(PLAIN, &["t"]);
    let mut client = db.client();
    let undo = |id: &str| format!("SELECT * FROM agent_backup.undo_restore({id}, confirm => true)");
    assert_eq!(refused(&mut client, &undo("NULL")).code, "55000");
    assert_eq!(refused(&mut client, &undo("17")).code, "55000");
    db.run("DELETE FROM t WHERE id = 1");
    restore(&mut client, "restore_table('t', mode => 'missing_only', confirm => true, set_name => 's')");
    restore(&mut client, "restore_table('t', safety_backup => false, confirm => true, set_name => 's')");
    for id in ["NULL", "1", "2"] {
        let refusal = refused(&mut client, &undo(id));
        assert_eq!((refusal.code.as_str(), refusal.hint.is_empty()), ("55000", false), "{id}: {refusal:?}");
    }
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn undo_empties_tables_that_were_empty() {
    for key in ["", "REFERENCES a"] {
        let db = saved(
            &format!(
                "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1), (2);
                 CREATE TABLE b (id int PRIMARY KEY, a int {key}); INSERT INTO b VALUES (1, 2)"
            ),
            &["a", "b"],
        );
        db.run("DELETE FROM b; DELETE FROM a WHERE id = 2");
        let mut client = db.client();
        restore(&mut client, "restore('latest', confirm => true, set_name => 's')");
        restore(&mut client, "undo_restore(confirm => true)");
        assert_eq!(lines(&mut client, "SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)"), ["1|0"]);
        drop(client);
        assert_no_trash(&db, &[]);
    }
}

#[test]
fn restore_and_undo_in_one_transaction_and_in_savepoints() {
    let db = saved(PLAIN, &["t"]);
    db.run(&format!("{DAMAGE}; CREATE TABLE before AS TABLE t"));
    let mut client = db.client();
    let call = "SELECT * FROM agent_backup.restore('latest', confirm => true, set_name => 's')";
    client.batch_execute(&format!("BEGIN; {call}; {call}")).unwrap();
    assert_equal_tables(&mut client, "t", "kept.t");
    let undo = "SELECT * FROM agent_backup.undo_restore(confirm => true)";
    client.batch_execute(&format!("{undo}; {undo}; COMMIT")).unwrap();
    assert_equal_tables(&mut client, "t", "before");
    client.batch_execute(&format!("BEGIN; SAVEPOINT a; {call}; ROLLBACK TO a")).unwrap();
    assert_equal_tables(&mut client, "t", "before");
    client
        .batch_execute(&format!("SAVEPOINT b; {call}; RELEASE b; INSERT INTO t VALUES (7000, 'x', 1); COMMIT"))
        .unwrap();
    assert_equal_tables(&mut client, "(SELECT * FROM t WHERE id < 7000)", "kept.t");
    assert_sound(&mut client, "t");
    let caught = format!(
        "DO $$ BEGIN PERFORM 1 FROM ({call}) AS x; RAISE 'no'; EXCEPTION WHEN raise_exception THEN NULL; END $$"
    );
    let rows = lines(&mut client, "SELECT count(*) FROM t");
    client.batch_execute(&caught).unwrap();
    assert_eq!(lines(&mut client, "SELECT count(*) FROM t"), rows);
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_restore_that_is_rolled_back_leaves_its_safety_backup_to_reconcile() {
    let db = saved(PLAIN, &["t"]);
    db.run(DAMAGE);
    let before = state(&db);
    let mut client = db.client();
    client
        .batch_execute(
            "BEGIN; SELECT * FROM agent_backup.restore('latest', confirm => true, set_name => 's'); ROLLBACK",
        )
        .unwrap();
    let rows = |state: &str| state.lines().filter(|line| !line.starts_with("files:")).collect::<Vec<_>>().join("\n");
    assert_eq!(rows(&state(&db)), rows(&before));
    let adopted = lines(&mut client, "SELECT action FROM agent_backup.reconcile('restore_safety')");
    assert_eq!(adopted, ["adopted"]);
    assert_eq!(
        lines(&mut client, "SELECT status FROM agent_backup.backups WHERE set_name = 'restore_safety'"),
        ["complete"]
    );
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_table_that_this_session_is_reading_is_refused() {
    let db = saved(PLAIN, &["t"]);
    let before = state(&db);
    let mut client = db.client();
    let call = "agent_backup.restore('latest', confirm => true, safety_backup => false, set_name => 's')";
    assert_eq!(refused(&mut client, &format!("SELECT * FROM t, {call}")).code, "55006");
    let cursor = format!("BEGIN; DECLARE c CURSOR FOR SELECT * FROM t; FETCH 1 FROM c; SELECT * FROM {call}");
    assert_eq!(refused(&mut client, &cursor).code, "55006");
    client.batch_execute("ROLLBACK").unwrap();
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let refusal = refused(&mut client, &format!("BEGIN ISOLATION LEVEL {level}; SELECT * FROM {call}"));
        assert_eq!((refusal.code.as_str(), refusal.hint.is_empty()), ("25000", false), "{refusal:?}");
        client.batch_execute("ROLLBACK").unwrap();
    }
    assert_eq!(refused(&mut client, &format!("BEGIN READ ONLY; SELECT * FROM {call}")).code, "25006");
    client.batch_execute("ROLLBACK").unwrap();
    assert_eq!(state(&db), before);
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn an_empty_list_of_tables_is_refused_as_a_backup_refuses_it() {
    let db = saved(PLAIN, &["t"]);
    let mut client = db.client();
    for confirm in ["false", "true"] {
        let refusal = refused(
            &mut client,
            &format!("SELECT * FROM agent_backup.restore(tables => '{{}}', confirm => {confirm}, set_name => 's')"),
        );
        assert_eq!(refusal.code, "22023", "{refusal:?}");
    }
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn only_the_named_tables_are_touched() {
    let db = saved(&format!("{PLAIN}; CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (1)"), &["t", "u"]);
    db.run(&format!("{DAMAGE}; DELETE FROM u"));
    let mut client = db.client();
    restore(&mut client, "restore('latest', tables => '{t, public.t, \"t\"}', confirm => true, set_name => 's')");
    assert_equal_tables(&mut client, "t", "kept.t");
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM u"), 0);
    let refusal = refused(
        &mut client,
        "SELECT * FROM agent_backup.restore('latest', tables => '{u, tt}', confirm => true, set_name => 's')",
    );
    assert_eq!((refusal.code.as_str(), refusal.message.contains("\"tt\"")), ("42704", true), "{refusal:?}");
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM u"), 0);
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn the_name_of_the_safety_backups_is_not_for_a_set() {
    let db = saved(PLAIN, &["t"]);
    assert_eq!(refused(&mut db.client(), "SELECT agent_backup.create_set('restore_safety')").code, "22023");
    assert_no_trash(&db, &[]);
}
