//! Backups of a set with recipients are sealed: rows come back with the key, and nothing plain of them reaches the disk.

mod canary;

use std::fs;

use agent_backup_core::container::{Container, Increment, ReadAt};
use agent_backup_core::crypt::{self, Identities};
use agent_backup_suite::{
    Database, KeyFiles, assert_equal_tables, assert_no_trash, backup_files, database, incremental_of_s, lines,
    newest_container, one, quiet_database, refused, restore, sealed_set,
};
use canary::Canary;

const ROWS: &str = "CREATE TABLE t (id int PRIMARY KEY, v text, updated_at timestamptz DEFAULT now());
    INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1, 2000) g;
    CREATE TABLE kept AS SELECT * FROM t";

/// A database with an encrypted set `s` of the table `t`, and the key, which the server may use.
fn with_sealed_set() -> (Database<'static>, KeyFiles) {
    let db = database();
    db.run(ROWS);
    let key = KeyFiles::make(&db, "main");
    sealed_set(&db, &key, &["t"]);
    key.give_to(&db);
    (db, key)
}

fn back_up(db: &Database) {
    let rows = lines(&mut db.client(), "SELECT status FROM agent_backup.backup('s')");
    assert_eq!(rows, ["ok"]);
}

#[test]
fn a_backup_of_an_encrypted_set_is_an_age_file_and_its_manifest_names_the_key() {
    let (db, key) = with_sealed_set();
    back_up(&db);
    let path = newest_container(&mut db.client(), "s");
    assert!(path.ends_with(".tar.gz.age"), "{path}");
    assert!(fs::read(&path).unwrap().starts_with(b"age-encryption.org/v1\n"));
    let container = Container::open(key.open(&path).unwrap()).unwrap();
    assert!(container.verify_content().is_clean());
    let told = container.manifest.encryption.as_ref().expect("it says that it is encrypted");
    assert_eq!((told.format.as_str(), &told.key_ids[..]), ("age-encryption.org/v1", &[key.id()][..]));
    let seen = lines(
        &mut db.client(),
        "SELECT encrypted, key_ids, manifest_file LIKE '%/metadata_%.json' FROM agent_backup.backups",
    );
    assert_eq!(seen, [format!("t|{{{}}}|t", key.id())]);
    let manifest: String = one(&mut db.client(), "SELECT manifest_file FROM agent_backup.backups");
    assert_eq!(fs::read(manifest).unwrap(), container.manifest_bytes);
    // The catalogue's hash is that of the bytes on disk.
    let sha256: String = one(&mut db.client(), "SELECT file_sha256 FROM agent_backup.backup_catalog");
    assert_eq!(sha256, agent_backup_core::stream::sha256_hex(&fs::read(&path).unwrap()));
    assert_no_trash(&db, &[]);
}

#[test]
fn with_the_key_everything_works_as_for_a_plain_backup() {
    let (db, _key) = with_sealed_set();
    back_up(&db);
    let mut client = db.client();
    for level in ["exists", "hash", "decode", "restore"] {
        let bad = format!("SELECT details FROM agent_backup.verify('latest', '{level}', 's') WHERE status <> 'ok'");
        assert_eq!(lines(&mut client, &bad), [""; 0], "{level}");
    }
    assert_eq!(
        one::<i64>(&mut client, "SELECT count(*) FROM agent_backup.read_backup(NULL::t, 'latest', set_name => 's')"),
        2000
    );
    client.batch_execute("DELETE FROM t WHERE id <= 10; UPDATE t SET v = 'x' WHERE id = 11").unwrap();
    let differing = "SELECT count(*) FROM agent_backup.diff('t', 'latest', set_name => 's')";
    assert_eq!(one::<i64>(&mut client, differing), 11);
    assert_eq!(
        lines(&mut client, "SELECT status FROM agent_backup.restore_record('t', '5', set_name => 's')"),
        ["restored"]
    );
    restore(&mut client, "restore_table('t', 'latest', set_name => 's', confirm => true)");
    assert_equal_tables(&mut client, "t", "kept");
    assert_eq!(lines(&mut client, "SELECT DISTINCT status FROM agent_backup.drill('s')"), ["ok"]);
    let path = newest_container(&mut client, "s");
    let by_path = format!("SELECT count(*) FROM agent_backup.read_backup(NULL::t, '{path}', set_name => 's')");
    assert_eq!(one::<i64>(&mut client, &by_path), 2000);
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn zstd_is_sealed_as_gzip_is() {
    let db = database();
    db.run(ROWS);
    let key = KeyFiles::make(&db, "main");
    let file = key.recipients.display();
    db.run(&format!("SELECT agent_backup.create_set('s', compression => 'zstd', recipients_file => '{file}'); SELECT agent_backup.add_table('s', 't')"));
    key.give_to(&db);
    back_up(&db);
    assert!(newest_container(&mut db.client(), "s").ends_with(".tar.zst.age"));
    db.run("TRUNCATE t");
    restore(&mut db.client(), "restore_table('t', 'latest', set_name => 's', confirm => true)");
    assert_equal_tables(&mut db.client(), "t", "kept");
    assert_no_trash(&db, &[]);
}

#[test]
fn the_default_file_holds_for_sets_that_name_none_and_switching_is_for_who_reads_server_files() {
    let db = database();
    db.run(ROWS);
    db.run("SELECT agent_backup.create_set('s'); SELECT agent_backup.add_table('s', 't')");
    let key = KeyFiles::make(&db, "main");
    let file = key.recipients.display().to_string();
    back_up(&db);
    db.run(&format!("ALTER DATABASE {} SET agent_backup.recipients_file = '{file}'", db.name()));
    back_up(&db);
    let mut client = db.client();
    let all = "SELECT encrypted FROM agent_backup.backups ORDER BY started_at";
    assert_eq!(lines(&mut client, all), ["f", "t"]);
    let own = KeyFiles::make(&db, "own");
    let switch = format!("SELECT agent_backup.set_encryption('s', '{}')", own.recipients.display());
    assert_eq!(lines(&mut client, &switch), [format!("{{{}}}", own.id())]);
    assert_eq!(lines(&mut client, "SELECT agent_backup.set_encryption('s', NULL)"), [format!("{{{}}}", key.id())]);
    let operator = format!("{}_operator", db.name());
    client
        .batch_execute(&format!("CREATE ROLE {operator} IN ROLE agent_backup_operator; SET ROLE {operator}"))
        .unwrap();
    for denied in [
        switch.as_str(),
        "SELECT agent_backup.set_encryption('s', NULL)",
        "SELECT agent_backup.create_set('o', recipients_file => '/x')",
    ] {
        let refusal = refused(&mut client, denied);
        assert_eq!(refusal.code, "42501");
        assert!(refusal.hint.contains("GRANT pg_read_server_files"), "{refusal:?}");
    }
    for setting in ["recipients_file", "identity_file"] {
        assert_eq!(refused(&mut client, &format!("SET agent_backup.{setting} = '/x'")).code, "42501");
    }
    client.batch_execute(&format!("RESET ROLE; DROP ROLE {operator}")).unwrap();
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_safety_backup_of_a_member_is_sealed_for_its_set_and_undone_with_the_key() {
    let (db, key) = with_sealed_set();
    back_up(&db);
    db.run("UPDATE t SET v = 'mine'; CREATE TABLE mine AS SELECT * FROM t");
    let mut client = db.client();
    restore(&mut client, "restore_table('t', 'latest', set_name => 's', confirm => true)");
    let safety = newest_container(&mut client, "restore_safety");
    assert!(safety.ends_with(".age") && key.open(&safety).is_ok(), "{safety}");
    restore(&mut client, "undo_restore(confirm => true)");
    assert_equal_tables(&mut client, "t", "mine");
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_baseline_is_sealed_and_the_table_comes_back_as_of_a_moment() {
    let (db, key) = with_sealed_set();
    db.run("SELECT agent_backup.track('t')");
    let baseline = newest_container(&mut db.client(), "capture_baseline");
    assert!(baseline.ends_with(".age") && key.open(&baseline).is_ok(), "{baseline}");
    let then: String = one(&mut db.client(), "SELECT clock_timestamp()::text");
    db.run("DELETE FROM t");
    let back = format!("SELECT count(*) FROM agent_backup.read_as_of(NULL::t, '{then}')");
    assert_eq!(one::<i64>(&mut db.client(), &back), 2000);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_partition_of_a_member_is_saved_for_the_set_of_the_whole() {
    let db = database();
    db.run(
        "CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
         CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); INSERT INTO p SELECT g, 'v' FROM generate_series(1, 9) g",
    );
    let key = KeyFiles::make(&db, "main");
    sealed_set(&db, &key, &["p"]);
    db.run("SELECT agent_backup.track('p1')");
    assert!(newest_container(&mut db.client(), "capture_baseline").ends_with(".age"));
    assert_no_trash(&db, &[]);
}

#[test]
fn incrementals_are_sealed_with_the_keys_of_rows_that_are_gone() {
    let db = quiet_database();
    db.run("CREATE TABLE t (id text PRIMARY KEY, v text, updated_at timestamptz DEFAULT now()); INSERT INTO t VALUES ('alice@example.org', 'x'), ('bob', 'y')");
    let key = KeyFiles::make(&db, "main");
    sealed_set(&db, &key, &["t"]);
    key.give_to(&db);
    db.run("SELECT agent_backup.backup('s'); DELETE FROM t WHERE id LIKE 'alice%'; UPDATE t SET v = 'z'");
    let row = lines(
        &mut db.client(),
        "SELECT status, rows_backed_up, tombstones, file_name FROM agent_backup.incremental('s', with_deletes => true)",
    );
    let file = row[0].rsplit('|').next().unwrap().to_owned();
    assert!(row[0].starts_with("ok|1|1|") && file.ends_with(".json.gz.age"), "{row:?}");
    let folder = db.backup_dir().join("s/incremental");
    let opened = key.open(folder.join(&file)).unwrap();
    let mut gzip = vec![0; opened.len().unwrap() as usize];
    opened.read_exact_at(0, &mut gzip).unwrap();
    let mut text = String::new();
    let reader = agent_backup_core::stream::plain_reader(&gzip[..], 1 << 20).unwrap();
    std::io::Read::read_to_string(&mut { reader }, &mut text).unwrap();
    assert!(text.contains("bob") && !text.contains("alice"), "{text}");
    let manifest = fs::read(folder.join(file.replace(".json.gz.age", ".manifest.json"))).unwrap();
    assert!(!String::from_utf8_lossy(&manifest).contains("alice"), "keys of rows are rows");
    let told = Increment::parse(&manifest).unwrap();
    assert_eq!(told.encryption.unwrap().key_ids, [key.id()]);
    let identities = Identities::parse(&key.secret).unwrap();
    let tombstones = crypt::open_text(&told.sealed_tombstones.unwrap(), &identities).unwrap();
    assert_eq!(tombstones, br#"["alice@example.org"]"#);
    assert_eq!(told.file_sha256, agent_backup_core::stream::sha256_hex(&fs::read(folder.join(&file)).unwrap()));
    assert_no_trash(&db, &[]);
}

#[test]
fn expired_incrementals_go_by_the_names_of_sealed_ones() {
    let db = quiet_database();
    db.run("CREATE TABLE t (id int PRIMARY KEY, v text, updated_at timestamptz DEFAULT now()); INSERT INTO t VALUES (1, 'x')");
    let key = KeyFiles::make(&db, "main");
    sealed_set(&db, &key, &["t"]);
    let file = incremental_of_s(&db).file.expect("a file");
    let shown = lines(&mut db.client(), "SELECT file_name FROM agent_backup.expire_incrementals('s')");
    assert_eq!(shown, [file]);
    assert_no_trash(&db, &[]);
}

#[test]
fn days_of_the_log_are_sealed_for_the_sets_of_the_tracked_tables() {
    let (db, key) = with_sealed_set();
    db.run(
        "SELECT agent_backup.track('t', baseline => false);
         CREATE TABLE agent_backup.change_log_20250101 PARTITION OF agent_backup.change_log
             FOR VALUES FROM ('2025-01-01 00:00:00+00') TO ('2025-01-02 00:00:00+00');
         INSERT INTO t VALUES (5000, 'x'); UPDATE agent_backup.change_log SET changed_at = '2025-01-01 12:00:00+00'",
    );
    let sealed = "SELECT file_path FROM agent_backup.maintain_log(keep => '2 days') WHERE action = 'sealed'";
    let file: String = one(&mut db.client(), sealed);
    assert!(file.ends_with("change_log_20250101.csv.gz.age") && key.open(&file).is_ok(), "{file}");
    assert_no_trash(&db, &[]);
}

#[test]
fn an_export_below_the_backup_directory_is_sealed_and_elsewhere_it_is_as_asked_for() {
    let (db, key) = with_sealed_set();
    let mut client = db.client();
    let elsewhere = db.cluster().create_dir(&format!("{}_elsewhere", db.name()));
    let export =
        |destination: &str| format!("SELECT export_file FROM agent_backup.export_table('t', 'csv', {destination})");
    for destination in ["NULL", "'mine/t.csv.gz'", "'mine/t2.csv.gz.age'"] {
        let file: String = one(&mut client, &export(destination));
        assert!(file.ends_with(".age") && !file.ends_with(".age.age") && key.open(&file).is_ok(), "{file}");
    }
    let file: String = one(&mut client, "SELECT backup_file FROM backup_agent_table_to_json('t')");
    assert!(file.ends_with(".json.age"), "{file}");
    let outside: String = one(&mut client, &export(&format!("'{}/t.csv'", elsewhere.display())));
    assert!(fs::read_to_string(&outside).unwrap().starts_with("id,v"), "{outside}");
    let asked: String = one(&mut client, &export(&format!("'{}/t.csv.age'", elsewhere.display())));
    assert!(key.open(&asked).is_ok());
    let refusal = refused(&mut client, "SELECT * FROM agent_backup.export_table('kept', 'csv', 'kept.csv.age')");
    assert_eq!(refusal.code, "22023");
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn nothing_plain_of_the_rows_is_in_a_file_below_the_backup_directory_while_and_after() {
    for sealed in [false, true] {
        let db = database();
        let key = KeyFiles::make(&db, "main");
        let canary = Canary::table(&db, "t", 120_000);
        sealed_set(&db, &key, &[]);
        if !sealed {
            db.run("SELECT agent_backup.set_encryption('s', NULL)");
        }
        db.run("SELECT agent_backup.add_table('s', 't', row_filter => 'id <> 110000 OR pg_advisory_xact_lock_shared(4711) IS NOT NULL')");
        let mut holder = db.client();
        holder.batch_execute("SELECT pg_advisory_lock(4711)").unwrap();
        let mut worker = db.client();
        let pid = db.cluster().backend_pid(&mut worker);
        let work = std::thread::spawn(move || worker.batch_execute("SELECT * FROM agent_backup.backup('s')"));
        let waits = format!("SELECT wait_event = 'advisory' FROM pg_stat_activity WHERE pid = {pid}");
        agent_backup_suite::wait_until("the scan to wait", std::time::Duration::from_secs(60), || {
            one::<Option<bool>>(&mut holder, &waits).filter(|waits| *waits)
        });
        assert_eq!(canary.is_in_open_files(pid, db.backup_dir()), !sealed, "while it runs, sealed: {sealed}");
        holder.batch_execute("SELECT pg_advisory_unlock(4711)").unwrap();
        work.join().unwrap().unwrap();
        assert_eq!(canary.is_in_any_of(&backup_files(&db)), !sealed, "after it, sealed: {sealed}");
        let scratch = db.cluster().data_dir().join("base/pgsql_tmp");
        if sealed {
            assert_eq!(fs::read_dir(scratch).unwrap().count(), 0, "spools have no names");
        }
        assert_no_trash(&db, &[]);
    }
}
