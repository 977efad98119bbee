//! DROP EXTENSION (T99): it asks before it takes backups, sets and logs along, and an unused extension just goes.

use agent_backup_suite::{Database, assert_no_trash, database, lines, one, refused};

fn is_installed(db: &Database) -> bool {
    one(&mut db.client(), "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'agent_backup')")
}

#[test]
fn an_unused_extension_goes_without_a_question() {
    let db = database();
    db.run("DROP EXTENSION agent_backup; CREATE EXTENSION agent_backup; SELECT * FROM agent_backup.health; DROP EXTENSION agent_backup");
    assert!(!is_installed(&db));
    db.run("DROP EXTENSION IF EXISTS agent_backup");
    assert_no_trash(&db, &[]);
}

#[test]
fn what_would_be_lost_is_named_and_a_command_that_loses_it() {
    let db = database();
    db.run("CREATE TABLE t AS SELECT 1 AS id; SELECT agent_backup.create_set('s'); SELECT agent_backup.add_table('s', 't'); SELECT agent_backup.backup('s')");
    for statement in [
        "DROP EXTENSION agent_backup",
        "DROP EXTENSION IF EXISTS plpgsql, agent_backup RESTRICT",
        "SET session_replication_role = replica; DROP EXTENSION \"agent_backup\"",
    ] {
        let refusal = refused(&mut db.client(), statement);
        assert_eq!(refusal.code, "2BP01", "{statement}");
        assert_eq!(
            refusal.message,
            "extension \"agent_backup\" cannot be dropped without CASCADE: it keeps 1 backup, 1 set, 3 entries of audit_log",
            "{statement}"
        );
        assert!(refusal.hint.contains("DROP EXTENSION agent_backup CASCADE;"), "{refusal:?}");
    }
    assert!(is_installed(&db));
    let files = std::fs::read_dir(db.backup_dir().join("s")).unwrap().count();
    db.run("DROP EXTENSION agent_backup CASCADE");
    assert!(!is_installed(&db));
    // The files stay, and the roles: other databases have them too.
    assert_eq!(std::fs::read_dir(db.backup_dir().join("s")).unwrap().count(), files);
    let roles = "SELECT count(*) FROM pg_roles WHERE rolname IN ('agent_backup_operator', 'agent_backup_restorer', 'agent_backup_auditor', 'agent_backup_admin')";
    assert_eq!(one::<i64>(&mut db.client(), roles), 4);
    db.run("CREATE EXTENSION agent_backup; SELECT agent_backup.reconcile('s', true)");
    assert_eq!(lines(&mut db.client(), "SELECT status FROM agent_backup.backups"), ["complete"]);
}

#[test]
fn each_thing_that_is_kept_is_enough() {
    let db = database();
    for (make, kept) in [
        ("SELECT agent_backup.add_table('agent_sdk', 'pg_catalog.pg_class')", "1 entry of audit_log"),
        ("SELECT agent_backup.set_retention('agent_sdk', keep_daily => 3)", "1 set, 1 entry of audit_log"),
        ("INSERT INTO agent_training_archive (original_table) VALUES ('t')", "1 archived row"),
    ] {
        // What is refused is in the log, too.
        let _ = db.client().batch_execute(make);
        let refusal = refused(&mut db.client(), "DROP EXTENSION agent_backup");
        assert!(refusal.message.ends_with(&format!("it keeps {kept}")), "{make}: {refusal:?}");
        db.run("DROP EXTENSION agent_backup CASCADE; CREATE EXTENSION agent_backup");
    }
}

#[test]
fn other_extensions_come_and_go() {
    let db = database();
    db.run("SELECT agent_backup.create_set('s'); CREATE EXTENSION citext; DROP EXTENSION citext");
    assert!(is_installed(&db));
}
