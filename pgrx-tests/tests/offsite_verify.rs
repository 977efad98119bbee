//! Copies are proved, kept by their own numbers, and missed where they are missing or too old.

use std::sync::OnceLock;

use agent_backup_suite::{Database, S3, Set, backup, database, lines, newest_container, one, set_clock};
use postgres::Client;

fn store() -> &'static S3 {
    static STORE: OnceLock<S3> = OnceLock::new();
    STORE.get_or_init(S3::start)
}

/// A database with a set `s` whose copies go to a prefix of its own; and its place.
fn with_destination() -> (Database<'static>, String) {
    let db = database();
    db.run(&store().setup());
    Set::create(&db, 2, 3000);
    let url = store().url(db.name());
    db.run(&format!("SELECT agent_backup.add_destination('s', '{url}')"));
    (db, url)
}

fn sent(db: &Database) {
    backup(&mut db.client()).unwrap();
    let failed = lines(&mut db.client(), "SELECT error_message FROM agent_backup.upload('s') WHERE action = 'failed'");
    assert!(failed.is_empty(), "{failed:?}");
}

/// `status details` of each backup, then of the destination as a whole.
fn verify(client: &mut Client, level: &str) -> Vec<String> {
    let query = "SELECT concat_ws(' ', status, details) FROM agent_backup.verify_offsite('s', level =>";
    lines(client, &format!("{query} '{level}')"))
}

/// The key of the newest container there.
fn key(db: &Database) -> String {
    one(&mut db.client(), "SELECT object_key FROM agent_backup.offsite_copies ORDER BY started_at DESC LIMIT 1")
}

fn kept(db: &Database) -> Vec<String> {
    lines(
        &mut db.client(),
        "SELECT concat_ws(' ', status, verification_status, verification_level) FROM agent_backup.offsite_copies ORDER BY started_at",
    )
}

/// Damages an object without changing its length or what is noted with it.
fn damage(db: &Database) {
    let path = store().path(&format!("{}/{}", db.name(), key(db)));
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].iter_mut().for_each(|byte| *byte ^= 0x55);
    std::fs::write(&path, bytes).unwrap();
}

#[test]
fn a_good_copy_passes_every_level_and_the_verdict_is_kept() {
    let (db, _) = with_destination();
    sent(&db);
    let mut client = db.client();
    for level in ["exists", "size", "checksum", "sample", "read"] {
        let found = verify(&mut client, level);
        assert!(found.len() == 2 && found.iter().all(|line| line.starts_with("ok ")), "{level}: {found:?}");
        assert_eq!(kept(&db), [format!("complete success {level}")]);
    }
    // A lower level proves less and takes the place of nothing.
    verify(&mut client, "exists");
    assert_eq!(kept(&db), ["complete success read"]);
    let logged = lines(
        &mut client,
        "SELECT DISTINCT verification_status, details ->> 'offsite_level' FROM backup_verification_log WHERE details ->> 'destination' IS NOT NULL ORDER BY 2",
    );
    assert_eq!(logged.len(), 5, "{logged:?}");
}

#[test]
fn a_store_that_lies_is_found_by_reading_and_mended_by_sending_again() {
    let (db, _) = with_destination();
    sent(&db);
    damage(&db);
    let mut client = db.client();
    assert!(verify(&mut client, "checksum").iter().all(|line| line.starts_with("ok ")), "what is noted fits");
    let found = verify(&mut client, "read");
    assert!(found[0].starts_with("failed changed: what is read of object"), "{found:?}");
    assert!(found[1].starts_with("failed missing: no good copy"), "{found:?}");
    assert_eq!(kept(&db), ["complete failed read"]);
    assert!(verify(&mut client, "checksum")[0].starts_with("ok "));
    assert_eq!(kept(&db), ["complete failed read"], "a lower level does not hide it");
    let health = "SELECT severity || ' ' || reason FROM agent_backup.health WHERE subject LIKE 's: off-site%'";
    let told: String = one(&mut client, health);
    assert!(told.starts_with("FAILED 1 of 1 copies are missing or damaged"), "{told}");
    let again = lines(&mut client, "SELECT action FROM agent_backup.upload('s')");
    assert_eq!(again, ["uploaded", "adopted"]);
    assert!(verify(&mut client, "read").iter().all(|line| line.starts_with("ok ")));
}

#[test]
fn damage_is_found_in_what_a_sample_reads() {
    let (db, _) = with_destination();
    sent(&db);
    let path = store().path(&format!("{}/{}", db.name(), key(&db)));
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len() - 70_000;
    bytes[2000..end].iter_mut().for_each(|byte| *byte ^= 0x55);
    std::fs::write(&path, bytes).unwrap();
    let found = verify(&mut db.client(), "sample");
    assert!(found[0].starts_with("failed ") && found[0].contains("changed"), "{found:?}");
}

#[test]
fn what_is_missing_cut_or_swapped_is_said_to_be_so() {
    let (db, _) = with_destination();
    sent(&db);
    let mut client = db.client();
    let path = |key: &str| store().path(&format!("{}/{key}", db.name()));
    let manifest = path(&key(&db).replace("s_backup_", "metadata_").replace(".tar.gz", ".json"));
    let (whole, there) = (std::fs::read(path(&key(&db))).unwrap(), std::fs::read(&manifest).unwrap());
    std::fs::write(path(&key(&db)), &whole[..whole.len() - 1]).unwrap();
    assert!(verify(&mut client, "exists")[0].starts_with("ok "));
    let found = verify(&mut client, "size");
    assert!(found[0].starts_with("failed changed: object"), "{found:?}");
    std::fs::write(path(&key(&db)), &whole).unwrap();
    std::fs::write(&manifest, [&there[..], b" "].concat()).unwrap();
    let found = verify(&mut client, "checksum");
    assert!(found[0].contains("is not the listed manifest"), "{found:?}");
    std::fs::remove_file(&manifest).unwrap();
    let found = verify(&mut client, "exists");
    assert!(found[0].starts_with("failed missing: object"), "{found:?}");
    assert_eq!(kept(&db), ["missing failed exists"]);
    // What is whole here is sent again, and is a copy again.
    client.batch_execute("SELECT agent_backup.upload('s')").unwrap();
    assert!(verify(&mut client, "read").iter().all(|line| line.starts_with("ok ")));
    assert_eq!(kept(&db), ["complete success read"]);
}

#[test]
fn a_backup_that_was_not_sent_and_a_copy_that_is_too_old_fail() {
    let (db, url) = with_destination();
    sent(&db);
    let mut client = db.client();
    backup(&mut client).unwrap();
    let found = verify(&mut client, "size");
    assert!(found[1].starts_with("failed missing: it was not uploaded"), "{found:?}");
    let mut late = db.client();
    let now: String = one(
        &mut late,
        "SELECT to_char(now() AT TIME ZONE 'UTC' + interval '3 days', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')",
    );
    set_clock(&mut late, &now);
    let found = verify(&mut late, "size");
    assert!(found[2].starts_with("failed too old: the newest good copy is of "), "{found:?}");
    let health: String =
        one(&mut late, "SELECT severity || ' ' || subject FROM agent_backup.health WHERE subject LIKE 's: off-site%'");
    assert_eq!(health, format!("FAILED s: off-site copies in {url}"));
}

#[test]
fn copies_are_kept_by_the_numbers_of_their_destination() {
    let (db, url) = with_destination();
    let mut client = db.client();
    client
        .batch_execute(&format!(
            "SELECT agent_backup.remove_destination('s', '{url}'), agent_backup.add_destination('s', '{url}', keep_daily => 2, keep_weekly => 0, keep_monthly => 0)"
        ))
        .unwrap();
    for day in 1..=4 {
        set_clock(&mut client, &format!("2026-03-0{day}T02:00:00Z"));
        backup(&mut client).unwrap();
        client.batch_execute("SELECT agent_backup.upload('s')").unwrap();
    }
    let planned = lines(&mut client, "SELECT action FROM agent_backup.prune_offsite('s')");
    assert_eq!(planned, ["remove", "remove"]);
    assert_eq!(store().keys(&format!("{}/", db.name())).len(), 8);
    let done = lines(
        &mut client,
        "SELECT action || ' ' || started_at::date FROM agent_backup.prune_offsite('s', confirm => true)",
    );
    assert_eq!(done, ["removed 2026-03-02", "removed 2026-03-01"]);
    assert_eq!(store().keys(&format!("{}/", db.name())).len(), 4);
    // What the destination would remove again is not sent again, though it is still here.
    let sent = lines(&mut client, "SELECT DISTINCT action FROM agent_backup.upload('s')");
    assert_eq!(sent, ["present"]);
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM agent_backup.backups WHERE status = 'complete'"), 4);
}

#[test]
fn a_copy_that_a_lock_keeps_is_retained_and_no_error() {
    let (db, url) = with_destination();
    let mut client = db.client();
    client
        .batch_execute(&format!(
            "SELECT agent_backup.remove_destination('s', '{url}'), agent_backup.add_destination('s', '{url}', keep_daily => 1, keep_weekly => 0, keep_monthly => 0)"
        ))
        .unwrap();
    for day in 1..=2 {
        set_clock(&mut client, &format!("2026-03-0{day}T02:00:00Z"));
        backup(&mut client).unwrap();
        client.batch_execute("SELECT agent_backup.upload('s')").unwrap();
    }
    store().lock(&format!("{}/", db.name()));
    let prune = "SELECT action || ' ' || reasons[1] FROM agent_backup.prune_offsite('s', confirm => true)";
    assert_eq!(lines(&mut client, prune), ["retained a lock of the store keeps it"]);
    let status = lines(&mut client, "SELECT status FROM agent_backup.offsite_copies ORDER BY started_at");
    assert_eq!(status, ["retained", "complete"]);
    let health: String =
        one(&mut client, "SELECT severity || ' ' || reason FROM agent_backup.health WHERE subject LIKE 's: off-site%'");
    assert!(health.starts_with("OK ") && health.contains("1 of 2 copies are retained by the store"), "{health}");
    client.batch_execute("CALL agent_backup.run_job('offsite', 's')").unwrap();
}

#[test]
fn reports_know_of_copies() {
    let (db, url) = with_destination();
    let mut client = db.client();
    let loss =
        "SELECT met, reason FROM agent_backup.rpo_rto_report WHERE scenario = 'complete data loss' AND set_name = 's'";
    let item = "SELECT status FROM agent_backup.checklist WHERE item LIKE '%off-site' AND set_name = 's'";
    sent(&db);
    client.batch_execute("SELECT agent_backup.drill('s')").unwrap();
    assert_eq!(lines(&mut client, loss), ["f|no off-site copy was verified"]);
    assert_eq!(lines(&mut client, item), ["not yet"]);
    verify(&mut client, "read");
    assert_eq!(lines(&mut client, loss), ["t|within both objectives"]);
    assert_eq!(lines(&mut client, item), ["yes"]);
    let metrics: String = one(&mut client, "SELECT agent_backup.metrics()");
    assert!(
        metrics
            .contains(&format!("agent_backup_offsite_copies{{destination=\"{url}\",set=\"s\",status=\"complete\"}} 1")),
        "{metrics}"
    );
    let steps = lines(
        &mut client,
        "SELECT command FROM agent_backup.runbook('disaster', 's') WHERE command LIKE '%import_offsite%'",
    );
    assert!(steps.len() == 1 && steps[0].contains(&url), "{steps:?}");
    assert!(newest_container(&mut client, "s").starts_with('/'));
}
