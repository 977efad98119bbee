//! A server that lost everything is rebuilt from a store alone, and one that lost a file goes on with its copy.

use std::sync::OnceLock;
use std::time::Duration;

use agent_backup_suite::{
    Cluster, Database, Options, S3, Set, assert_equal_tables, backup, begun, cancel, database, fails_with, lines,
    newest_container, one, wait_until,
};
use postgres::Client;

fn store() -> &'static S3 {
    static STORE: OnceLock<S3> = OnceLock::new();
    STORE.get_or_init(S3::start)
}

/// The cluster that takes over.
fn other() -> &'static Cluster {
    static OTHER: OnceLock<Cluster> = OnceLock::new();
    OTHER.get_or_init(|| Cluster::start(Options::default()))
}

/// A database whose set `s` of three tables was backed up and sent; and its place.
fn sent(rows: usize) -> (Database<'static>, String) {
    let db = database();
    db.run(&store().setup());
    Set::create(&db, 3, rows);
    let url = store().url(db.name());
    db.run(&format!("SELECT agent_backup.add_destination('s', '{url}')"));
    backup(&mut db.client()).unwrap();
    let failed =
        lines(&mut db.client(), "SELECT error_message FROM agent_backup.upload('s') WHERE action <> 'uploaded'");
    assert!(failed.is_empty(), "{failed:?}");
    (db, url)
}

/// An empty database of the other cluster that imported from a place; what the import said.
fn taken_over(url: &str) -> (Database<'static>, Vec<String>) {
    let db = other().database();
    db.run(&store().setup());
    let said = import(&mut db.client(), url);
    (db, said)
}

fn import(client: &mut Client, url: &str) -> Vec<String> {
    let query = "SELECT concat_ws(' ', action, regexp_replace(backup_file, '^.*/', ''), details) FROM agent_backup.import_offsite";
    lines(client, &format!("{query}('{url}', server_name => 'offsite')"))
}

/// Digest of a table's rows, to compare across servers.
fn digest(client: &mut Client, table: &str) -> String {
    one(client, &format!("SELECT count(*) || ' ' || md5(string_agg(t::text, ',' ORDER BY id)) FROM {table} t"))
}

#[test]
fn an_empty_server_lists_restores_and_verifies_straight_from_the_store() {
    let (db, url) = sent(2000);
    let (new, said) = taken_over(&url);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("adopted s_backup_") && said[0].contains("3 table(s), 6000 rows"), "{said:?}");
    let mut client = new.client();
    let file: String = one(&mut client, "SELECT backup_file FROM agent_backup.backups");
    assert!(file.starts_with(&format!("{url}/")), "{file}");
    let restored = "SELECT count(*) FROM agent_backup.restore('latest', set_name => 's', create_missing => true, confirm => true) WHERE action = 'restored' AND status = 'done'";
    assert_eq!(one::<i64>(&mut client, restored), 1);
    for table in ["t1", "t2", "t3"] {
        assert_eq!(digest(&mut client, table), digest(&mut db.client(), table), "{table}");
    }
    let verdict = "SELECT DISTINCT status FROM agent_backup.verify('latest', 'decode', 's')";
    assert_eq!(lines(&mut client, verdict), ["ok"]);
    assert_eq!(one::<String>(&mut client, "SELECT verification_status FROM agent_backup.backups"), "success");
    let checked =
        "SELECT concat_ws(' ', v.row_count_match, v.checksum_match) FROM verify_backup('latest:t1', 't1', 's') v";
    assert_eq!(lines(&mut client, checked), ["t t"]);
    // Again, there is nothing to do.
    assert!(import(&mut client, &url).is_empty());
}

#[test]
fn tables_records_rows_and_differences_come_from_the_store_too() {
    let (db, url) = sent(500);
    let (new, _) = taken_over(&url);
    let mut client = new.client();
    client
        .batch_execute(
            "SELECT agent_backup.restore('latest', set_name => 's', create_missing => true, confirm => true)",
        )
        .unwrap();
    client.batch_execute("DELETE FROM t1 WHERE id = 7; DELETE FROM t2; UPDATE t3 SET a = 'x' WHERE id = 9").unwrap();
    client.batch_execute("SELECT agent_backup.restore_record('t1', '7', set_name => 's')").unwrap();
    client
        .batch_execute("SELECT agent_backup.restore_table('t2', 'latest', set_name => 's', confirm => true)")
        .unwrap();
    for table in ["t1", "t2"] {
        assert_eq!(digest(&mut client, table), digest(&mut db.client(), table), "{table}");
    }
    client
        .batch_execute(
            "CREATE TABLE saved AS SELECT * FROM agent_backup.read_backup(NULL::t3, 'latest', set_name => 's')",
        )
        .unwrap();
    assert_eq!(digest(&mut client, "saved"), digest(&mut db.client(), "t3"));
    let changed: i64 = one(&mut client, "SELECT count(*) FROM agent_backup.diff('t3', 'latest', set_name => 's')");
    assert!(changed >= 1);
}

#[test]
fn one_table_moves_no_more_than_its_own_part() {
    let (_db, url) = sent(60_000);
    let (new, _) = taken_over(&url);
    let mut client = new.client();
    client.batch_execute("CREATE TABLE t2 (id int PRIMARY KEY, a text, b text)").unwrap();
    let stored: i64 =
        one(&mut client, "SELECT size_bytes FROM agent_backup.backup_files WHERE table_name = 't2' AND format = 'csv'");
    let key = "t2's own";
    let before = given(&url);
    client
        .batch_execute("SELECT agent_backup.restore_table('t2', 'latest', set_name => 's', confirm => true)")
        .unwrap();
    let moved = given(&url) - before;
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM t2"), 60_000);
    assert!(stored > 2_000_000, "{stored} bytes are too few to tell");
    assert!(moved as f64 <= 1.1 * stored as f64, "{moved} bytes moved for {key} {stored}");
}

/// Bytes that the store gave of objects below a place.
fn given(url: &str) -> u64 {
    let prefix = url.trim_start_matches("s3://bucket/");
    let calls = store().calls();
    calls.iter().filter(|call| call.key.starts_with(&format!("{prefix}/"))).map(|call| call.bytes).sum()
}

#[test]
fn a_file_that_is_gone_here_is_read_from_its_copy() {
    let (db, _) = sent(300);
    let mut client = db.client();
    std::fs::remove_file(newest_container(&mut client, "s")).unwrap();
    client.batch_execute("CREATE TABLE t1_then AS TABLE t1; DELETE FROM t1").unwrap();
    let output = db.psql("SELECT * FROM agent_backup.restore_table('t1', 'latest', set_name => 's', confirm => true)");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("its copy \"s3://bucket/") && said.contains("is read"), "{said}");
    assert_equal_tables(&mut client, "t1", "t1_then");
    let verdict =
        lines(&mut client, "SELECT details FROM agent_backup.verify('latest', 'exists', 's') WHERE status = 'failed'");
    assert!(
        verdict.iter().any(|line| line.starts_with("missing")),
        "a verification looks at the file here: {verdict:?}"
    );
}

#[test]
fn copies_of_what_stands_here_are_noted() {
    let (db, url) = sent(100);
    let mut client = db.client();
    client.batch_execute("DELETE FROM agent_backup.offsite_catalog").unwrap();
    let said = import(&mut client, &url);
    assert!(said.len() == 1 && said[0].contains("a copy of \""), "{said:?}");
    assert_eq!(
        one::<i64>(&mut client, "SELECT count(*) FROM agent_backup.offsite_copies WHERE status = 'complete'"),
        1
    );
    assert!(import(&mut client, &url).is_empty());
    let listed: String = one(&mut client, "SELECT backup_file FROM agent_backup.backups");
    assert!(listed.starts_with('/'), "{listed}");
}

#[test]
fn what_is_no_whole_backup_is_told_and_left_alone() {
    let (db, url) = sent(100);
    let cluster: String = one(&mut db.client(), "SELECT system_identifier::text FROM pg_control_system()");
    let below = format!("{0}/{cluster}/{0}/s", db.name());
    let container = store().keys(&below).into_iter().find(|key| key.ends_with(".tar.gz")).unwrap();
    let bytes = std::fs::read(store().path(&container)).unwrap();
    std::fs::write(store().path(&container), &bytes[..bytes.len() - 10]).unwrap();
    std::fs::write(store().path(&format!("{below}/metadata_20200101.json")), "{}").unwrap();
    let (new, said) = taken_over(&url);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said.iter().all(|line| line.starts_with("unreadable metadata_")), "{said:?}");
    assert_eq!(one::<i64>(&mut new.client(), "SELECT count(*) FROM agent_backup.backups"), 0);
}

#[test]
fn a_store_that_does_not_answer_is_no_damage() {
    let own = S3::start();
    let db = database();
    db.run(&own.setup());
    Set::create(&db, 1, 100);
    db.run(&format!("SELECT agent_backup.add_destination('s', '{}')", own.url("x")));
    backup(&mut db.client()).unwrap();
    db.run("SELECT agent_backup.upload('s')");
    let new = other().database();
    new.run(&own.setup());
    let mut client = new.client();
    assert_eq!(import(&mut client, &own.url("x")).len(), 1);
    drop(own);
    let told = fails_with(client.batch_execute("SELECT agent_backup.verify('latest', 'decode', 's')"), "08006");
    assert!(told.contains("cannot be reached"), "{told}");
    let verdict: i64 = one(&mut client, "SELECT count(*) FROM agent_backup.backups WHERE verification_status IS NULL");
    assert_eq!(verdict, 1);
}

#[test]
fn a_cancel_ends_a_restore_that_waits_for_the_store() {
    let own = S3::start();
    let db = database();
    db.run(&own.setup());
    Set::create(&db, 1, 20_000);
    db.run(&format!("SELECT agent_backup.add_destination('s', '{}')", own.url("x")));
    backup(&mut db.client()).unwrap();
    db.run("SELECT agent_backup.upload('s')");
    let new = other().database();
    new.run(&own.setup());
    import(&mut new.client(), &own.url("x"));
    own.forget();
    own.stall("GetObject");
    let call = "SELECT agent_backup.restore('latest', set_name => 's', create_missing => true, confirm => true)";
    let (pid, thread) = begun(new.client(), call);
    wait_until("a read of the store", Duration::from_secs(20), || (!own.calls().is_empty()).then_some(()));
    let took = cancel(pid, thread);
    assert!(took < Duration::from_secs(1), "{took:?}");
}
