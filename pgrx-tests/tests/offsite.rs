//! Copies of backups in a store: sent once, whole or not at all, and never in the place of anybody else's.

use std::path::Path;
use std::sync::OnceLock;

use agent_backup_suite::{Database, S3, SECRET, Set, backup, database, fails_with, lines, one};
use postgres::Client;

/// One store for all tests of this file, each with a prefix of its own.
fn store() -> &'static S3 {
    static STORE: OnceLock<S3> = OnceLock::new();
    STORE.get_or_init(S3::start)
}

/// A database with a set `s` of two tables whose copies go to a prefix of its own; and its place.
fn with_destination() -> (Database<'static>, String) {
    let db = database();
    db.run(&store().setup());
    Set::create(&db, 2, 500);
    let url = store().url(db.name());
    db.run(&format!("SELECT agent_backup.add_destination('s', '{url}')"));
    (db, url)
}

/// `action name` of each object that was sent, in order.
fn upload(client: &mut Client) -> Vec<String> {
    lines(
        client,
        "SELECT concat_ws(' ', action, regexp_replace(object_key, '^.*/', ''), error_message) FROM agent_backup.upload('s')",
    )
}

/// Where the objects of the set `s` are, as files.
fn below(db: &Database) -> String {
    let cluster: String = one(&mut db.client(), "SELECT system_identifier::text FROM pg_control_system()");
    format!("{0}/{cluster}/{0}/s", db.name())
}

fn date() -> String {
    one(&mut shared_client(), "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')")
}

fn shared_client() -> Client {
    agent_backup_suite::shared().client("postgres")
}

fn copies(db: &Database) -> Vec<String> {
    lines(
        &mut db.client(),
        "SELECT concat_ws(' ', c.status, c.uploaded_at IS NOT NULL, c.error_message) FROM agent_backup.offsite_copies c ORDER BY c.started_at",
    )
}

fn same_file(one: &Path, other: &Path) -> bool {
    std::fs::read(one).unwrap() == std::fs::read(other).unwrap()
}

#[test]
fn what_is_not_there_is_sent_and_what_is_there_is_not() {
    let (db, _) = with_destination();
    let mut client = db.client();
    backup(&mut client).unwrap();
    let day = date();
    let (container, manifest) = (format!("s_backup_{day}.tar.gz"), format!("metadata_{day}.json"));
    assert_eq!(upload(&mut client), [format!("uploaded {container}"), format!("uploaded {manifest}")]);
    for name in [&container, &manifest] {
        let there = store().path(&format!("{}/{name}", below(&db)));
        assert!(same_file(&there, &db.backup_dir().join("s").join(name)), "{name}");
    }
    assert_eq!(copies(&db), ["complete t"]);
    assert_eq!(upload(&mut client), [format!("present {container}"), format!("present {manifest}")]);
    client.batch_execute("DELETE FROM agent_backup.offsite_catalog").unwrap();
    assert_eq!(upload(&mut client), [format!("adopted {container}"), format!("adopted {manifest}")]);
    assert_eq!(copies(&db), ["complete t"]);
}

#[test]
fn incrementals_and_records_of_erasures_go_too() {
    let (db, _) = with_destination();
    let mut client = db.client();
    client
        .batch_execute("ALTER TABLE t1 ADD updated_at timestamptz DEFAULT now(); SELECT agent_backup.backup('s')")
        .unwrap();
    client.batch_execute("SELECT agent_backup.incremental('s'); UPDATE t1 SET updated_at = now() + '1 s'").unwrap();
    client.batch_execute("SELECT agent_backup.incremental('s')").unwrap();
    let tombstones = db.backup_dir().join("tombstones");
    let make = format!("COPY (SELECT '{{}}') TO PROGRAM 'mkdir -m 700 {0} && cat > {0}/e1.json'", tombstones.display());
    client.batch_execute(&make).unwrap();
    let sent = upload(&mut client);
    assert!(sent.iter().all(|line| line.starts_with("uploaded ")), "{sent:?}");
    let local = std::fs::read_dir(db.backup_dir().join("s/incremental")).unwrap().count();
    assert!(local >= 2, "{local} incrementals");
    assert_eq!(store().keys(&format!("{}/incremental/", below(&db))).len(), local);
    let tombstone = below(&db).replace("/s", "/tombstones/e1.json");
    assert!(same_file(&store().path(&tombstone), &tombstones.join("e1.json")));
    let again = upload(&mut client);
    assert_eq!(again.len(), sent.len());
    assert!(again.iter().all(|line| line.starts_with("present ")), "{again:?}");
}

#[test]
fn a_damaged_file_is_not_sent_and_the_others_are() {
    let (db, _) = with_destination();
    let mut client = db.client();
    backup(&mut client).unwrap();
    backup(&mut client).unwrap();
    let newest = agent_backup_suite::newest_container(&mut client, "s");
    let mut bytes = std::fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    let sent = upload(&mut client);
    assert_eq!(sent.len(), 3, "{sent:?}");
    assert!(sent[0].starts_with("failed ") && sent[0].contains("is not what was announced"), "{sent:?}");
    assert!(sent[1..].iter().all(|line| line.starts_with("uploaded ")), "{sent:?}");
    assert_eq!(store().keys(&below(&db)).len(), 2);
    assert_eq!(copies(&db).len(), 2);
    // The older one of the day goes in its place.
    assert!(copies(&db)[1].starts_with("failed f object"), "{:?}", copies(&db));
}

#[test]
fn another_object_under_the_same_key_is_never_overwritten() {
    let (db, _) = with_destination();
    let mut client = db.client();
    backup(&mut client).unwrap();
    let manifest = store().path(&format!("{}/metadata_{}.json", below(&db), date()));
    std::fs::create_dir_all(manifest.parent().unwrap()).unwrap();
    std::fs::write(&manifest, "{}").unwrap();
    let sent = upload(&mut client);
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert!(sent[0].starts_with("failed ") && sent[0].contains("with another content"), "{sent:?}");
    assert_eq!(std::fs::read(&manifest).unwrap(), b"{}");
    assert_eq!(store().keys(&below(&db)).len(), 1);
}

#[test]
fn one_destination_that_fails_does_not_stop_another() {
    let (db, url) = with_destination();
    let mut client = db.client();
    backup(&mut client).unwrap();
    client.batch_execute("SELECT agent_backup.add_destination('s', 's3://nobucket/x')").unwrap();
    let query = "SELECT concat_ws(' ', destination, action, count(*), min(error_message)) FROM agent_backup.upload('s') GROUP BY destination, action ORDER BY 1";
    let told = lines(&mut client, query);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0], format!("{url} uploaded 2"));
    assert!(told[1].starts_with("s3://nobucket/x failed 1") && told[1].contains("bucket"), "{told:?}");
    let only = format!("SELECT DISTINCT action FROM agent_backup.upload('s', '{url}/')");
    assert_eq!(lines(&mut client, &only), ["present"]);
}

#[test]
fn a_directory_of_another_disk_is_a_destination_too() {
    let db = database();
    Set::create(&db, 1, 100);
    let dir = db.cluster().create_dir(&format!("{}_mounted", db.name()));
    let mut client = db.client();
    client.batch_execute(&format!("SELECT agent_backup.add_destination('s', 'file://{}')", dir.display())).unwrap();
    backup(&mut client).unwrap();
    assert!(upload(&mut client).iter().all(|line| line.starts_with("uploaded ")));
    client.batch_execute("DELETE FROM agent_backup.offsite_catalog").unwrap();
    assert!(upload(&mut client).iter().all(|line| line.starts_with("adopted ")));
}

#[test]
fn a_set_without_a_destination_takes_that_of_the_setting() {
    let db = database();
    db.run(&store().setup());
    Set::create(&db, 1, 100);
    let mut client = db.client();
    backup(&mut client).unwrap();
    let hint = fails_with(client.batch_execute("SELECT agent_backup.upload('s')"), "55000");
    assert!(hint.contains("agent_backup.add_destination('s',"), "{hint}");
    client.batch_execute(&format!("SET agent_backup.offsite_url = '{}'", store().url(db.name()))).unwrap();
    assert!(upload(&mut client).iter().all(|line| line.starts_with("uploaded ")));
}

#[test]
fn a_job_sends_its_backup_and_keeps_it_when_that_fails() {
    let (db, _) = with_destination();
    let mut client = db.client();
    client.batch_execute("CALL agent_backup.run_job('daily', 's')").unwrap();
    assert_eq!(copies(&db), ["complete t"]);
    let summary: String = one(&mut client, "SELECT summary FROM agent_backup.job_runs ORDER BY run_id DESC LIMIT 1");
    assert!(summary.contains("2 tables") && summary.contains("2 files sent"), "{summary}");
    client.batch_execute("SELECT agent_backup.add_destination('s', 's3://nobucket/x')").unwrap();
    let message = fails_with(client.batch_execute("CALL agent_backup.run_job('daily', 's')"), "P0001");
    assert!(message.contains("copies could not be sent: s3://nobucket/x"), "{message}");
    assert_eq!(copies(&db), ["complete t", "complete t"]);
    let kept: i64 = one(&mut client, "SELECT count(*) FROM agent_backup.backups WHERE status = 'complete'");
    assert_eq!(kept, 2);
    client.batch_execute("SELECT agent_backup.remove_destination('s', 's3://nobucket/x')").unwrap();
    client.batch_execute("CALL agent_backup.run_job('offsite', 's')").unwrap();
}

#[test]
fn two_clusters_share_a_prefix_and_never_meet() {
    let (db, url) = with_destination();
    let other = agent_backup_suite::Cluster::start(agent_backup_suite::Options::default());
    let twin = other.database();
    twin.run(&store().setup());
    Set::create(&twin, 2, 500);
    twin.run(&format!("SELECT agent_backup.add_destination('s', '{url}')"));
    for db in [&db, &twin] {
        let mut client = db.client();
        backup(&mut client).unwrap();
        let sent = upload(&mut client);
        assert!(sent.len() == 2 && sent.iter().all(|line| line.starts_with("uploaded ")), "{sent:?}");
    }
    assert_eq!(store().keys(&format!("{}/", db.name())).len(), 4);
}

#[test]
fn no_secret_is_in_a_log_a_view_or_an_error() {
    let (db, _) = with_destination();
    let mut client = db.client();
    client
        .batch_execute("SET client_min_messages = debug5; SET log_min_messages = debug5; SET log_statement = 'all'; SET debug_print_plan = on")
        .unwrap();
    let before = db.log().len();
    backup(&mut client).unwrap();
    upload(&mut client);
    client.batch_execute("SELECT agent_backup.add_destination('s', 's3://nobucket/x')").unwrap();
    upload(&mut client);
    let known = fails_with(
        client.batch_execute(&format!("SELECT agent_backup.add_destination('s', 's3://me:{SECRET}@bucket/x')")),
        "22023",
    );
    assert!(!known.contains(SECRET), "{known}");
    let log = db.log()[before..].join("\n");
    // The statement that a person wrote a secret into is logged as such; nothing else is.
    let told = log.lines().filter(|line| line.contains(SECRET) && !line.contains("add_destination")).count();
    assert_eq!(told, 0);
    for table in ["offsite_destinations", "offsite_catalog", "offsite_copies", "job_runs", "health"] {
        let all = lines(&mut client, &format!("SELECT t::text FROM agent_backup.{table} t"));
        assert!(!all.join("\n").contains(SECRET), "{table}");
    }
}

#[test]
fn a_copy_gives_way_to_the_same_backup_without_an_erased_person() {
    let (db, _) = with_destination();
    let mut client = db.client();
    backup(&mut client).unwrap();
    upload(&mut client);
    client.batch_execute("SELECT agent_backup.set_subject_columns('s', 't1', '{a}')").unwrap();
    let erase = "SELECT agent_backup.erase_subject('a', md5('a7'), 'a request', set_name => 's', confirm => true)";
    client.batch_execute(erase).unwrap();
    let sent = upload(&mut client);
    let replaced = sent.iter().filter(|line| line.starts_with("uploaded ") && line.contains(&date())).count();
    assert!(replaced >= 2 && !sent.iter().any(|line| line.starts_with("failed")), "{sent:?}");
    let day = date();
    for name in [format!("s_backup_{day}.tar.gz"), format!("metadata_{day}.json")] {
        let there = store().path(&format!("{}/{name}", below(&db)));
        assert!(same_file(&there, &db.backup_dir().join("s").join(&name)), "{name}");
    }
    assert_eq!(
        lines(&mut client, "SELECT DISTINCT status FROM agent_backup.verify_offsite('s', level => 'read')"),
        ["ok"]
    );
}
