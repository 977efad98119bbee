//! The extension's own rows travel with pg_dump and pg_restore.

use std::path::PathBuf;
use std::process::Command;

use agent_backup_suite::{
    Cluster, Database, Options, assert_no_trash, database, equal_tables, lines, one, pg_config, refused,
};

const CHANGED: &str = r#"
    CREATE TABLE agent_approvals AS SELECT n AS id, 'row ' || n AS note FROM generate_series(1, 20) n;
    CREATE TABLE other AS SELECT 1 AS id;
    SELECT agent_backup.remove_table('agent_sdk', 'data_quality_log');
    SELECT agent_backup.create_set('second', formats => '{json}', keep_daily => 30);
    SELECT agent_backup.add_table('second', 'other', row_filter => 'id > 0', masked_columns => '{"id": "7"}');
    SELECT agent_backup.backup(), agent_backup.backup('second');"#;

const TABLES: [&str; 4] = ["sets", "set_tables", "backup_catalog", "backup_entry"];

fn program(name: &str) -> PathBuf {
    let output = Command::new(pg_config()).arg("--bindir").output().unwrap();
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()).join(name)
}

/// Dumps a database and restores it into a new one of the same cluster; the new one's name.
fn travelled(db: &Database, format: &str) -> String {
    let dump = db.cluster().dir().join(format!("{}.{format}", db.name()));
    let copy = format!("{}_copy", db.name());
    let socket = db.cluster().socket_dir();
    let call = |name: &str, arguments: &[&str]| {
        let output =
            Command::new(program(name)).args(["-U", "postgres", "-h"]).arg(&socket).args(arguments).output().unwrap();
        assert!(output.status.success(), "{name} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let dump = dump.to_str().unwrap();
    call("pg_dump", &["-F", format, "-f", dump, db.name()]);
    db.run(&format!("CREATE DATABASE {copy} TEMPLATE template0"));
    match format {
        "p" => call("psql", &["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", dump, &copy]),
        _ => call("pg_restore", &["--exit-on-error", "-d", &copy, dump]),
    }
    copy
}

fn assert_travels(format: &str) {
    let db = database();
    db.run(CHANGED);
    let copy = travelled(&db, format);
    let mut there = db.cluster().client(&copy);
    // Both sides in one database: the copy's rows are brought over as text.
    for table in TABLES {
        let query = format!("SELECT ROW(t.*)::text FROM agent_backup.{table} t ORDER BY 1");
        let (ours, theirs) = (lines(&mut db.client(), &query), lines(&mut there, &query));
        assert!(!ours.is_empty(), "{table} is empty, so nothing is compared");
        assert_eq!(ours, theirs, "{table}");
    }
    assert!(equal_tables(&mut there, "public.agent_approvals", "public.agent_approvals").is_ok());
    drop(there);
    db.run(&format!("DROP DATABASE {copy} WITH (FORCE)"));
    assert_no_trash(&db, &[]);
}

#[test]
fn changed_sets_and_backups_travel_with_pg_restore() {
    assert_travels("c");
}

#[test]
fn changed_sets_and_backups_travel_with_a_plain_dump() {
    assert_travels("p");
}

#[test]
fn an_unchanged_set_travels_too_and_is_there_once() {
    let db = database();
    let copy = travelled(&db, "c");
    let mut there = db.cluster().client(&copy);
    assert_eq!(one::<i64>(&mut there, "SELECT count(*) FROM agent_backup.sets"), 1);
    assert_eq!(one::<i64>(&mut there, "SELECT count(*) FROM agent_backup.set_tables"), 8);
    drop(there);
    db.run(&format!("DROP DATABASE {copy} WITH (FORCE)"));
}

#[test]
fn a_restored_database_backs_up_at_once() {
    let db = database();
    db.run(CHANGED);
    let copy = travelled(&db, "c");
    let directory = db.cluster().create_dir(&copy);
    db.run(&format!("ALTER DATABASE {copy} SET agent_backup.directory = '{}'", directory.display()));
    let mut there = db.cluster().client(&copy);
    assert_eq!(
        lines(&mut there, "SELECT table_name, status, row_count FROM agent_backup.backup('second')"),
        ["other|ok|1"]
    );
    drop(there);
    db.run(&format!("DROP DATABASE {copy} WITH (FORCE)"));
}

#[test]
fn a_second_database_has_sets_of_its_own() {
    let (one_db, other) = (database(), database());
    one_db.run("SELECT agent_backup.create_set('mine')");
    assert_eq!(one::<i64>(&mut other.client(), "SELECT count(*) FROM agent_backup.sets WHERE set_name = 'mine'"), 0);
    other.run("SELECT agent_backup.create_set('mine')");
}

#[test]
fn two_databases_of_a_new_server_can_make_the_extension_at_the_same_moment() {
    // A cluster of its own: in the shared one the role is there already.
    let cluster = Cluster::start(Options::default());
    let mut client = cluster.client("postgres");
    let names = ["a", "b", "c", "d"];
    names.iter().for_each(|name| client.batch_execute(&format!("CREATE DATABASE {name}")).unwrap());
    let mut clients: Vec<_> = names.iter().map(|name| cluster.client(name)).collect();
    std::thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| client.batch_execute("CREATE EXTENSION agent_backup").unwrap());
        }
    });
}

/// A database whose log has some acts, archived rows and captured changes, and a verification of it.
fn with_acts() -> Database<'static> {
    let db = database();
    db.run(CHANGED);
    db.run("INSERT INTO agent_training_archive (original_table, original_id, data) VALUES ('t', '1', '{}'); SELECT agent_backup.track('other'); UPDATE other SET id = 2");
    db.client().batch_execute("SELECT agent_backup.pin('none')").unwrap_err();
    db.run("SELECT agent_backup.verify_audit_log()");
    db
}

/// The log of acts, the archive and the log of changes are the same, and all goes on where they came.
fn assert_acts_travel(format: &str) {
    let db = with_acts();
    let copy = travelled(&db, format);
    let directory = db.cluster().create_dir(&copy);
    db.run(&format!("ALTER DATABASE {copy} SET agent_backup.directory = '{}'", directory.display()));
    let mut there = db.cluster().client(&copy);
    for table in ["audit_log", "audit_checks", "archive_rows", "change_log", "marks", "job_runs"] {
        let query = format!("SELECT ROW(t.*)::text FROM agent_backup.{table} t ORDER BY 1");
        let (ours, theirs) = (lines(&mut db.client(), &query), lines(&mut there, &query));
        assert!(!ours.is_empty() || ["marks", "job_runs"].contains(&table), "{table} is empty, so nothing is compared");
        assert_eq!(ours, theirs, "{table}");
    }
    let last: i64 = one(&mut there, "SELECT max(entry_id) FROM agent_backup.audit_log");
    let whole = "SELECT check_name, status, entry_id FROM agent_backup.verify_audit_log()";
    assert_eq!(lines(&mut there, whole), [format!("chain|ok|{last}")]);
    // The chain goes on over what came, and from the first act on nothing can be loaded any more.
    there.batch_execute("SELECT agent_backup.backup('second')").unwrap();
    assert_eq!(lines(&mut there, whole), [format!("chain|ok|{}", last + 2)]);
    assert_eq!(
        one::<String>(&mut there, "SELECT action FROM agent_backup.audit_log ORDER BY entry_id DESC OFFSET 1 LIMIT 1"),
        "backup"
    );
    assert_eq!(refused(&mut there, "INSERT INTO agent_backup.audit_log DEFAULT VALUES").code, "42501");
    // A backup that was made before is as good as it was.
    let old = "SELECT DISTINCT v.status FROM agent_backup.backups b, agent_backup.verify(b.backup_id, set_name => b.set_name) v WHERE b.set_name = 'agent_sdk' AND v.table_name IS NOT NULL";
    assert_eq!(lines(&mut there, old), ["ok"]);
    let rights = "SELECT count(*) FROM agent_backup.access_matrix";
    assert_eq!(one::<i64>(&mut there, rights), one::<i64>(&mut db.client(), rights));
    drop(there);
    db.run(&format!("DROP DATABASE {copy} WITH (FORCE)"));
}

#[test]
fn the_log_of_acts_the_archive_and_captured_changes_travel_with_pg_restore() {
    assert_acts_travel("c");
}

#[test]
fn the_log_of_acts_the_archive_and_captured_changes_travel_with_a_plain_dump() {
    assert_acts_travel("p");
}
