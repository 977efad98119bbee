//! Where nothing may be written (T97), plans that outlive a change, and forced parallel queries.

use std::time::Duration;

use agent_backup_suite::{
    Cluster, Database, Options, Set, assert_clean, backup, database, fails_with, files, server_major, statuses,
    wait_until,
};
use postgres::NoTls;

/// Functions that write rows, and perhaps files.
const OF_ROWS: &[&str] = &[
    "SELECT agent_backup.reconcile('s')",
    "SELECT agent_backup.create_set('x')",
    "SELECT agent_backup.remove_table('s', 't1')",
    "SELECT backup_agent_incremental()",
];

/// Every function that writes.
fn calls(db: &Database) -> Vec<String> {
    let directory = db.backup_dir().display();
    let mut calls = vec![
        "SELECT agent_backup.backup('s')".into(),
        "SELECT agent_backup.export_table('t1')".into(),
        format!("SELECT agent_backup.export_table('t1', 'csv', '{directory}/new/t1.csv')"),
        format!("SELECT backup_agent_table_to_json('t1', '{directory}/new')"),
    ];
    calls.extend(OF_ROWS.iter().map(|call| (*call).to_owned()));
    calls
}

fn entries(db: &Database) -> usize {
    std::fs::read_dir(db.backup_dir()).unwrap().count()
}

#[test]
fn a_read_only_transaction_refuses_before_any_file_is_made() {
    let db = database();
    Set::create(&db, 1, 10);
    let mut client = db.client();
    for call in calls(&db) {
        for (default, begin) in
            [("on", "BEGIN"), ("off", "BEGIN READ ONLY"), ("off", "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY")]
        {
            client.batch_execute(&format!("SET default_transaction_read_only = {default}")).unwrap();
            client.batch_execute(begin).unwrap();
            let outcome = client.batch_execute(&call);
            assert!(outcome.is_err(), "{begin}: {call} is not refused");
            let said = fails_with(outcome, "25006");
            assert!(said.contains("read-only transaction"), "{call}: {said}");
            client.batch_execute("ROLLBACK").unwrap();
            assert_eq!(entries(&db), 0, "{call}");
        }
    }
    client.batch_execute("SET default_transaction_read_only = on").unwrap();
    fails_with(backup(&mut client), "25006");
    assert_eq!(entries(&db), 0);
    drop(client);
    assert_clean(&db, &[]);
}

#[test]
fn a_standby_writes_no_row_and_refuses_before_any_file_is_made_and_still_lists() {
    let cluster = Cluster::start(Options::default());
    let db = cluster.database();
    Set::create(&db, 1, 10);
    backup(&mut db.client()).unwrap();
    let standby = cluster.create_standby();
    let mut client = standby.config("postgres", db.name()).connect(NoTls).unwrap();
    let directory = db.cluster().create_dir("of_the_standby");
    client.batch_execute(&format!("SET agent_backup.directory = '{}'", directory.display())).unwrap();
    for call in OF_ROWS {
        let said = fails_with(client.batch_execute(call), "25006");
        assert!(said.contains("standby") || said.contains("read-only transaction"), "{call}: {said}");
    }
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
    assert_eq!((entries(&db), files(&db).len()), (1, 2));
    let listed: i64 = client.query_one("SELECT count(*) FROM agent_backup.backups", &[]).unwrap().get(0);
    assert_eq!(listed, 1);
    drop(client);
    standby.stop("immediate");
    wait_until("the standby to be gone", Duration::from_secs(20), || {
        let gone = db.client().query("SELECT 1 FROM pg_stat_replication", &[]).unwrap().is_empty();
        gone.then_some(())
    });
    assert_clean(&db, &[]);
}

#[test]
fn a_prepared_plan_follows_a_change_of_the_table() {
    let db = database();
    Set::create(&db, 2, 100);
    let mut client = db.client();
    client
        .batch_execute("PREPARE p AS SELECT status, row_count FROM agent_backup.backup('s'); PREPARE e AS SELECT agent_backup.export_table('t1')")
        .unwrap();
    for change in [
        "SELECT 1",
        "ALTER TABLE t1 ADD COLUMN extra int DEFAULT 7",
        "ALTER TABLE t1 ALTER id TYPE numeric",
        "ALTER TABLE t1 DROP COLUMN a",
        "DROP TABLE t1; CREATE TABLE t1 AS SELECT n AS other FROM generate_series(1, 100) n",
    ] {
        db.run(change);
        for _ in 0..6 {
            let rows = client.query("EXECUTE p", &[]);
            // EXECUTE needs the simple protocol's text where the driver cannot prepare it.
            let rows = rows.unwrap_or_else(|error| panic!("{change}: {error:?}"));
            let told: Vec<(String, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
            assert_eq!(told, [("ok".to_owned(), 100), ("ok".to_owned(), 100)], "{change}");
        }
        client.batch_execute("EXECUTE e").unwrap_or_else(|error| panic!("{change}: {error:?}"));
    }
    let file: String = client
        .query_one("SELECT backup_file FROM agent_backup.backups WHERE backup_file IS NOT NULL ORDER BY started_at DESC LIMIT 1", &[])
        .unwrap()
        .get(0);
    let output = std::process::Command::new("tar").args(["-xzOf", &file, "t1.csv"]).output().unwrap();
    assert!(output.stdout.starts_with(b"other\n1\n2\n"), "{}", String::from_utf8_lossy(&output.stdout));
    drop(client);
    assert_clean(&db, &[]);
}

#[test]
fn a_forced_parallel_query_changes_nothing() {
    let db = database();
    Set::create(&db, 2, 2_000);
    let setting = if server_major() >= 16 { "debug_parallel_query" } else { "force_parallel_mode" };
    let mut client = db.client();
    for value in ["on", "regress"] {
        client
            .batch_execute(&format!(
                "SET {setting} = {value}; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
                 SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 4"
            ))
            .unwrap();
        assert_eq!(statuses(&backup(&mut client).unwrap()), ["ok", "ok"]);
        client
            .batch_execute("SELECT agent_backup.export_table('t1', 'sql'); SELECT backup_agent_table_to_json('t2')")
            .unwrap();
        client
            .batch_execute(
                "SELECT agent_backup.reconcile('s'); TABLE agent_backup.backups; TABLE agent_backup.backup_files",
            )
            .unwrap();
    }
    drop(client);
    assert_clean(&db, &[]);
}
