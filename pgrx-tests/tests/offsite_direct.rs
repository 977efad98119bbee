//! Backups that are written straight to a store: whole there or not there, and nothing of them here.

use std::sync::OnceLock;
use std::time::Duration;

use agent_backup_suite::{
    Cluster, Database, KeyFiles, Options, S3, Set, Signal, assert_equal_tables, assert_no_trash, backup, begun, cancel,
    database, fails_with, files, kill_backend, lines, one, refused, restore, wait_for_recovery,
};
use postgres::Client;

/// A store for the tests that do nothing to it, each with a prefix of its own.
fn store() -> &'static S3 {
    static STORE: OnceLock<S3> = OnceLock::new();
    STORE.get_or_init(S3::start)
}

/// A database with a set `s` of so many rows in each of two tables that goes straight to a prefix of its own.
fn direct<'a>(db: Database<'a>, store: &S3, rows: usize) -> (Database<'a>, String) {
    db.run(&store.setup());
    Set::create(&db, 2, rows);
    let url = store.url(db.name());
    db.run(&format!("SELECT agent_backup.add_destination('s', '{url}', keep_daily => 0, keep_weekly => 0, keep_monthly => 0, keep_last => 1)"));
    (db, url)
}

fn call(url: &str) -> String {
    format!(
        "SELECT concat_ws(' ', table_name, status, row_count, error_message) FROM agent_backup.backup('s', destination => '{url}')"
    )
}

/// Every file below the backup directory, which a backup in a store does not even make.
fn assert_nothing_here(db: &Database) {
    let here = if db.backup_dir().join("s").exists() { files(db) } else { Vec::new() };
    assert_eq!(here, [] as [&str; 0]);
}

fn listed(client: &mut Client) -> Vec<String> {
    lines(
        client,
        "SELECT concat_ws(' ', status, row_count, verification_status) FROM agent_backup.backups ORDER BY started_at, backup_id",
    )
}

#[test]
fn a_backup_stands_in_the_store_alone_and_everything_reads_it_there() {
    let (db, url) = direct(database(), store(), 3_000);
    let mut client = db.client();
    assert_eq!(lines(&mut client, &call(&url)), ["t1 ok 3000", "t2 ok 3000"]);
    assert_nothing_here(&db);
    let cluster: String = one(&mut client, "SELECT system_identifier::text FROM pg_control_system()");
    let place = format!("{url}/{cluster}/{}/s", db.name());
    let file: String = one(&mut client, "SELECT backup_file FROM agent_backup.backups");
    assert!(file.starts_with(&format!("{place}/s_backup_")) && file.ends_with(".tar.gz"), "{file}");
    let keys = store().keys(&format!("{}/", db.name()));
    assert_eq!(keys.len(), 2, "{keys:?}");
    assert_eq!(lines(&mut client, "SELECT status FROM agent_backup.offsite_copies"), ["complete"]);
    let verdict = "SELECT concat_ws(' ', verification_status, row_count_match, checksum_match) FROM verify_backup('latest:t1', 't1', 's')";
    assert_eq!(lines(&mut client, verdict), ["VERIFIED t t"]);
    let there = "SELECT DISTINCT status FROM agent_backup.verify_offsite('s', level => 'read')";
    assert_eq!(lines(&mut client, there), ["ok"]);
    assert_eq!(
        one::<i64>(&mut client, "SELECT count(*) FROM agent_backup.read_backup(NULL::t1, 'latest', set_name => 's')"),
        3000
    );
    let drilled = lines(&mut client, "SELECT DISTINCT status FROM agent_backup.drill('s')");
    assert_eq!(drilled, ["ok"]);
    client.batch_execute("CREATE TABLE kept AS TABLE t1; DELETE FROM t1 WHERE id % 3 = 0; DROP TABLE t2").unwrap();
    restore(&mut client, "restore('latest', confirm => true, create_missing => true, set_name => 's')");
    assert_equal_tables(&mut client, "t1", "kept");
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM t2"), 3000);
    assert_no_trash(&db, &[]);
}

#[test]
fn what_is_large_goes_in_parts_and_the_next_one_takes_another_name() {
    let store = S3::start();
    let (db, url) = direct(database(), &store, 120_000);
    let mut client = db.client();
    for round in 1..=2 {
        store.forget();
        assert_eq!(lines(&mut client, &call(&url)), ["t1 ok 120000", "t2 ok 120000"]);
        let parts = store.calls().iter().filter(|call| call.name == "UploadPart").count();
        assert!(parts >= 2, "{parts}");
        assert_eq!(store.keys("").len(), 2 * round);
        assert!(store.unfinished().is_empty(), "{:?}", store.unfinished());
    }
    // One that stands here, and its copy, meet none of them.
    backup(&mut client).unwrap();
    assert_eq!(lines(&mut client, "SELECT DISTINCT action FROM agent_backup.upload('s')"), ["uploaded"]);
    assert_eq!(store.keys("").len(), 6);
    client.batch_execute("CREATE TABLE kept AS TABLE t2; TRUNCATE t2").unwrap();
    let first: String = one(
        &mut client,
        "SELECT backup_id FROM agent_backup.backups WHERE backup_file LIKE 's3:%' ORDER BY started_at LIMIT 1",
    );
    restore(&mut client, &format!("restore_table('t2', '{first}', confirm => true)"));
    assert_equal_tables(&mut client, "t2", "kept");
}

#[test]
fn a_step_that_fails_leaves_nothing_in_the_store() {
    let store = S3::start();
    let (db, url) = direct(database(), &store, 120_000);
    let mut client = db.client();
    for step in ["scan", "manifest", "publish", "publish_manifest"] {
        for fault in ["error", "panic"] {
            client.batch_execute(&format!("SET agent_backup.debug_failpoint = '{step}={fault}'")).unwrap();
            let outcome = client.batch_execute(&call(&url));
            assert!(outcome.is_err() || step == "scan", "{step}={fault}");
            client.batch_execute("RESET agent_backup.debug_failpoint").unwrap();
            assert_eq!(store.keys(""), [""; 0], "{step}={fault}");
            assert!(store.unfinished().is_empty(), "{step}={fault}");
            assert_nothing_here(&db);
        }
    }
    client.batch_execute("DELETE FROM agent_backup.backup_catalog").unwrap();
    for call_of_s3 in ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"] {
        store.fail(call_of_s3);
        let told = refused(&mut client, &call(&url));
        assert!(["58030", "08006", "53400", "58000"].contains(&told.code.as_str()), "{call_of_s3}: {told:?}");
        store.release();
        assert_eq!(store.keys(""), [""; 0], "{call_of_s3}");
    }
    assert_eq!(listed(&mut client), [""; 0]);
    assert_eq!(lines(&mut client, &call(&url)), ["t1 ok 120000", "t2 ok 120000"]);
}

#[test]
fn a_cancel_on_the_line_ends_at_once_and_leaves_nothing() {
    let store = S3::start();
    let (db, url) = direct(database(), &store, 120_000);
    store.stall("UploadPart");
    let (pid, thread) = begun(db.client(), &call(&url));
    store.wait_for("UploadPart");
    let took = cancel(pid, thread);
    assert!(took < Duration::from_millis(1500), "{took:?}");
    assert!(store.unfinished().is_empty(), "{:?}", store.unfinished());
    store.release();
    assert_eq!(lines(&mut db.client(), &call(&url)), ["t1 ok 120000", "t2 ok 120000"]);
}

#[test]
fn what_a_killed_session_left_there_is_swept_by_the_next() {
    let cluster = Cluster::start(Options::default());
    let store = S3::start();
    let (db, url) = direct(cluster.database(), &store, 120_000);
    store.stall("UploadPart");
    let (pid, thread) = begun(db.client(), &call(&url));
    store.wait_for("UploadPart");
    kill_backend(pid, Signal::SIGKILL);
    drop(thread.join().unwrap());
    store.release();
    assert_eq!(store.unfinished().len(), 1, "a killed writer cannot clean up");
    let mut client = wait_for_recovery(&cluster, db.name(), pid);
    assert_eq!(lines(&mut client, &call(&url)), ["t1 ok 120000", "t2 ok 120000"]);
    assert!(store.unfinished().is_empty(), "{:?}", store.unfinished());
    assert_eq!(store.keys("").len(), 2);
}

#[test]
fn a_rollback_leaves_a_whole_backup_that_the_next_one_lists() {
    let (db, url) = direct(database(), store(), 100);
    let mut client = db.client();
    client.batch_execute(&format!("BEGIN; {}; ROLLBACK", call(&url))).unwrap();
    assert_eq!(listed(&mut client), [""; 0]);
    assert_eq!(store().keys(&format!("{}/", db.name())).len(), 2);
    assert_eq!(lines(&mut client, &call(&url)), ["t1 ok 100", "t2 ok 100"]);
    assert_eq!(listed(&mut client), ["complete 200", "complete 200"]);
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM agent_backup.offsite_copies"), 2);
}

#[test]
fn one_for_recipients_is_sealed_before_it_leaves_and_opens_with_their_key() {
    let db = database();
    let key = KeyFiles::make(&db, "key");
    let (db, url) = direct(db, store(), 2_000);
    let mut client = db.client();
    client.batch_execute(&format!("SELECT agent_backup.set_encryption('s', '{}')", key.recipients.display())).unwrap();
    assert_eq!(lines(&mut client, &call(&url)), ["t1 ok 2000", "t2 ok 2000"]);
    let container = store().keys(&format!("{}/", db.name())).into_iter().find(|key| key.contains("_backup_")).unwrap();
    assert!(container.ends_with(".tar.gz.age"), "{container}");
    assert!(std::fs::read(store().path(&container)).unwrap().starts_with(b"age-encryption.org/v1"));
    assert_nothing_here(&db);
    client.batch_execute(&format!("SET agent_backup.identity_file = '{}'", key.identity.display())).unwrap();
    client.batch_execute("CREATE TABLE kept AS TABLE t1; TRUNCATE t1").unwrap();
    restore(&mut client, "restore_table('t1', 'latest', confirm => true, set_name => 's')");
    assert_equal_tables(&mut client, "t1", "kept");
}

#[test]
fn an_operator_writes_to_destinations_and_nowhere_else() {
    let (db, url) = direct(database(), store(), 100);
    let operator = format!("{}_operator", db.name());
    db.run(&format!(
        "CREATE ROLE {operator} LOGIN IN ROLE agent_backup_operator; GRANT SELECT ON t1, t2 TO {operator}"
    ));
    let mut client = db.client_as(&operator);
    assert_eq!(lines(&mut client, &call(&url)), ["t1 ok 100", "t2 ok 100"]);
    let elsewhere = store().url("elsewhere");
    let told = fails_with(client.batch_execute(&call(&elsewhere)), "42501");
    assert!(told.contains("send backups to") && told.contains(&elsewhere), "{told}");
    let export = |url: &str| format!("SELECT agent_backup.export_table('t1', 'csv', '{url}/t1.csv')");
    fails_with(client.batch_execute(&export(&elsewhere)), "42501");
    client.batch_execute(&export(&url)).unwrap();
    fails_with(client.batch_execute(&call("/tmp/backups")), "22023");
    fails_with(client.batch_execute("SET agent_backup.backup_url = 's3://bucket/x'"), "42501");
    db.run(&format!("DROP OWNED BY {operator}; DROP ROLE {operator}"));
}

#[test]
fn jobs_go_there_by_the_setting_and_the_numbers_of_the_place_say_what_stays() {
    let (db, url) = direct(database(), store(), 100);
    db.run(&format!("ALTER DATABASE {} SET agent_backup.backup_url = '{url}'", db.name()));
    let mut client = db.client();
    for _ in 0..2 {
        client.batch_execute("CALL agent_backup.run_job('daily', 's')").unwrap();
    }
    assert_nothing_here(&db);
    let plan = "SELECT keep AND reasons::text LIKE '%prune_offsite removes it%' FROM agent_backup.retention_plan('s')";
    assert_eq!(lines(&mut client, plan), ["t", "t"]);
    assert_eq!(lines(&mut client, "SELECT backup_id FROM agent_backup.prune('s', confirm => true)"), [""; 0]);
    client.batch_execute("SELECT agent_backup.prune_offsite('s', confirm => true)").unwrap();
    assert_eq!(listed(&mut client).len(), 1);
    assert_eq!(store().keys(&format!("{}/", db.name())).len(), 2);
    client.batch_execute("CALL agent_backup.run_job('verify', 's')").unwrap();
    let good = "SELECT DISTINCT verification_status FROM agent_backup.backups";
    assert_eq!(lines(&mut client, good), ["success"]);
    // What is written before a restore stays here, setting or not.
    restore(&mut client, "restore_table('t1', 'latest', confirm => true, set_name => 's')");
    let safe =
        "SELECT count(*) FROM agent_backup.backups WHERE set_name = 'restore_safety' AND backup_file NOT LIKE 's3:%'";
    assert_eq!(one::<i64>(&mut client, safe), 1);
    let told = refused(
        &mut client,
        "SET agent_backup.directory = 's3://bucket/x'; SET agent_backup.backup_url = ''; SELECT agent_backup.backup('s')",
    );
    assert!(told.code == "22023" && told.message.contains("agent_backup.backup_url"), "{told:?}");
}

#[test]
fn a_table_is_exported_straight_to_a_store_once() {
    let (db, url) = direct(database(), store(), 1_000);
    let mut client = db.client();
    let export =
        |name: &str| format!("SELECT export_file FROM agent_backup.export_table('t1', 'csv', '{url}/out/{name}')");
    assert_eq!(one::<String>(&mut client, &export("t1.csv")), format!("{url}/out/t1.csv"));
    one::<String>(&mut client, &export("t1.csv.gz"));
    let there = std::fs::read(store().path(&format!("{}/out/t1.csv", db.name()))).unwrap();
    let mut copied = Vec::new();
    std::io::Read::read_to_end(&mut client.copy_out("COPY t1 TO STDOUT (FORMAT csv, HEADER)").unwrap(), &mut copied)
        .unwrap();
    assert!(there == copied, "{} bytes and {}", there.len(), copied.len());
    fails_with(client.batch_execute(&export("t1.csv")), "22023");
    assert_eq!(std::fs::read(store().path(&format!("{}/out/t1.csv", db.name()))).unwrap().len(), copied.len());
    let seeds = format!("SELECT backup_file FROM backup_agent_table_to_json('t1', '{url}/seed')");
    let (one_file, other) = (one::<String>(&mut client, &seeds), one::<String>(&mut client, &seeds));
    assert!(one_file.starts_with(&format!("{url}/seed/t1_2")) && one_file != other, "{one_file} {other}");
    assert_nothing_here(&db);
}

#[test]
fn a_standby_writes_straight_to_a_store_and_the_primary_lists_it() {
    let cluster = Cluster::start(Options::default());
    let store = S3::start();
    let (db, url) = direct(cluster.database(), &store, 500);
    let standby = cluster.create_standby();
    let mut there = standby.client(db.name());
    assert_eq!(lines(&mut there, &call(&url)), ["t1 ok 500", "t2 ok 500"]);
    assert_eq!(listed(&mut db.client()), [""; 0]);
    db.run(&format!("SELECT agent_backup.import_offsite('{url}')"));
    assert_eq!(listed(&mut db.client()), ["complete 1000"]);
}

#[test]
fn a_mounted_disk_is_a_store_too() {
    let db = database();
    Set::create(&db, 2, 1_000);
    let disk = db.cluster().create_dir(&format!("{}_disk", db.name()));
    let url = format!("file://{}", disk.display());
    let mut client = db.client();
    assert_eq!(lines(&mut client, &call(&url)), ["t1 ok 1000", "t2 ok 1000"]);
    assert_nothing_here(&db);
    client.batch_execute("CREATE TABLE kept AS TABLE t1; TRUNCATE t1").unwrap();
    restore(&mut client, "restore_table('t1', 'latest', confirm => true, set_name => 's')");
    assert_equal_tables(&mut client, "t1", "kept");
    let noted = "SELECT details->>'destination' FROM agent_backup.audit_log WHERE action = 'backup'";
    assert_eq!(one::<String>(&mut client, noted), url);
}
