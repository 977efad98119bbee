//! Copies follow what becomes of their backups: sealed for other keys, or without a person.

use std::path::PathBuf;
use std::sync::OnceLock;

use agent_backup_suite::{
    CANARY, Database, KeyFiles, S3, backup, database, erase, files_with, incremental_of_s, lines, make_person, one,
};

const ERASE: &str = "'email', 'canary.person@example.org', 'request 1', 's', confirm => true";

fn store() -> &'static S3 {
    static STORE: OnceLock<S3> = OnceLock::new();
    STORE.get_or_init(S3::start)
}

/// A person's set `s` with a backup and an incremental, all of it sent.
fn sent() -> Database<'static> {
    let db = database();
    db.run(&store().setup());
    make_person(&db, 2_000, "");
    db.run(&format!("SELECT agent_backup.add_destination('s', '{}')", store().url(db.name())));
    backup(&mut db.client()).unwrap();
    incremental_of_s(&db);
    assert_eq!(upload(&db), ["uploaded"]);
    db
}

/// How the objects of an upload ended, each word once.
fn upload(db: &Database) -> Vec<String> {
    let said = lines(
        &mut db.client(),
        "SELECT DISTINCT concat_ws(' ', action, error_message) FROM agent_backup.upload('s') ORDER BY 1",
    );
    said.into_iter().filter(|said| said != "present").collect()
}

/// The names of the objects that hold rows, or are manifests, without what tells one run from another.
fn kinds(db: &Database) -> Vec<String> {
    let kind =
        |key: &String| key.rsplit('/').next().and_then(|name| name.split_once('.')).map(|(_, kind)| kind.to_owned());
    let mut kinds: Vec<String> = store().keys(&format!("{}/", db.name())).iter().filter_map(kind).collect();
    kinds.sort();
    kinds
}

fn there(db: &Database) -> PathBuf {
    store().path(db.name())
}

fn assert_copies_are_good(db: &Database) {
    let bad = "SELECT status, details FROM agent_backup.verify_offsite('s', level => 'read') WHERE status <> 'ok'";
    assert_eq!(lines(&mut db.client(), bad), [""; 0]);
    assert_eq!(upload(db), [""; 0], "all of it is there");
}

#[test]
fn what_was_sealed_takes_the_place_of_its_plain_copies() {
    let db = sent();
    assert_eq!(kinds(&db), ["json", "json.gz", "manifest.json", "tar.gz"]);
    assert_eq!(files_with(&there(&db), CANARY).len(), 2);
    for name in ["one", "two"] {
        let key = KeyFiles::make(&db, name);
        db.run(&format!("SELECT agent_backup.set_encryption('s', '{}')", key.recipients.display()));
        db.run("SELECT agent_backup.reseal(set_name => 's', confirm => true)");
        assert_eq!(upload(&db), ["uploaded"], "{name}");
        assert_eq!(kinds(&db), ["json", "json.gz.age", "manifest.json", "tar.gz.age"], "{name}");
        assert_eq!(files_with(&there(&db), CANARY), [] as [PathBuf; 0], "{name}");
        let copy =
            store().keys(&format!("{}/", db.name())).into_iter().find(|key| key.ends_with(".tar.gz.age")).unwrap();
        assert!(key.open(store().path(&copy)).is_ok(), "{name}");
        key.give_to(&db);
        assert_copies_are_good(&db);
    }
}

#[test]
fn what_a_person_was_erased_from_takes_the_place_of_its_copies() {
    let db = sent();
    let erased = erase(&mut db.client(), ERASE).unwrap();
    let left: Vec<&str> =
        erased.iter().filter(|place| place.place == "off-site").map(|place| place.action.as_str()).collect();
    assert_eq!(left, ["left", "left"], "{erased:#?}");
    assert_eq!(files_with(&db.backup_dir().join("s"), CANARY), [] as [PathBuf; 0]);
    assert_eq!(files_with(&there(&db), CANARY).len(), 2);
    assert_eq!(upload(&db), ["uploaded"]);
    assert_eq!(files_with(&there(&db), CANARY), [] as [PathBuf; 0]);
    assert_eq!(files_with(&there(&db), "p8@example.org").len(), 2);
    assert_copies_are_good(&db);
}

#[test]
fn an_object_of_somebody_else_makes_no_room() {
    let db = sent();
    let container: String = one(&mut db.client(), "SELECT object_key FROM agent_backup.offsite_copies");
    let manifest: String = one(&mut db.client(), "SELECT manifest_key FROM agent_backup.offsite_catalog");
    let path = there(&db).join(&manifest);
    let theirs = std::fs::read_to_string(&path).unwrap().replacen("\"rows\"", "\"rows\" ", 1);
    std::fs::write(&path, &theirs).unwrap();
    db.run("DELETE FROM agent_backup.offsite_catalog");
    let said = upload(&db);
    assert!(said.iter().any(|said| said.starts_with("failed object") && said.contains("another content")), "{said:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), theirs);
    assert!(there(&db).join(container).exists());
}

/// A person's set with a backup that stands in the store alone.
fn direct() -> Database<'static> {
    let db = database();
    db.run(&store().setup());
    make_person(&db, 2_000, "");
    let url = store().url(db.name());
    db.run(&format!("SELECT agent_backup.add_destination('s', '{url}')"));
    db.run(&format!("SELECT agent_backup.backup('s', destination => '{url}')"));
    db
}

/// `place action rows` of what the erasure did in backups and copies.
fn told(db: &Database, arguments: &str) -> Vec<String> {
    let erased = erase(&mut db.client(), arguments).unwrap();
    let of_files = erased.iter().filter(|place| ["backup", "off-site"].contains(&place.place.as_str()));
    of_files.map(|place| format!("{} {} {:?}", place.place, place.action, place.rows)).collect()
}

fn pruned(db: &Database) -> Vec<String> {
    let prune = "SELECT concat_ws(' ', action, reasons[1] LIKE 'replaced by %') FROM agent_backup.prune_offsite('s', confirm => true)";
    lines(&mut db.client(), prune)
}

#[test]
fn a_backup_that_stands_in_a_store_alone_is_written_anew_there() {
    let db = direct();
    assert_eq!(told(&db, &ERASE.replace("true", "false")), ["backup found Some(2)"]);
    assert_eq!(files_with(&there(&db), CANARY).len(), 1);
    assert_eq!(told(&db, ERASE), ["backup erased Some(2)", "off-site left None"]);
    assert_eq!(pruned(&db), ["removed t"]);
    assert_eq!(files_with(&there(&db), CANARY), [] as [PathBuf; 0]);
    assert_eq!(upload(&db), ["uploaded"], "a record of the erasure");
    assert_eq!(kinds(&db), ["json", "json", "tar.gz"]);
    let good = "SELECT DISTINCT status FROM agent_backup.verify('latest', 'decode', 's')";
    assert_eq!(lines(&mut db.client(), good), ["ok"]);
    assert_copies_are_good(&db);
    let rows = "SELECT count(*), count(*) FILTER (WHERE email LIKE 'canary%') FROM agent_backup.read_backup(NULL::t, 'latest', set_name => 's')";
    assert_eq!(lines(&mut db.client(), rows), ["1998|0"]);
    assert_eq!(told(&db, ERASE), ["backup nothing Some(0)"], "once is enough");
    assert_eq!(pruned(&db), [""; 0]);
}

#[test]
fn what_a_rolled_back_erasure_wrote_is_removed_and_the_backup_is_as_it_was() {
    let db = direct();
    let before = lines(&mut db.client(), "SELECT backup_file FROM agent_backup.backups");
    let call = format!("BEGIN; SELECT agent_backup.erase_subject({ERASE}); ROLLBACK");
    db.client().batch_execute(&call).unwrap();
    assert_eq!(pruned(&db), ["removed t"]);
    assert_eq!(lines(&mut db.client(), "SELECT backup_file FROM agent_backup.backups"), before);
    assert_eq!(kinds(&db), ["json", "tar.gz"]);
    assert_eq!(told(&db, &ERASE.replace("true", "false")), ["backup found Some(2)"]);
    let good = "SELECT DISTINCT status FROM agent_backup.verify('latest', 'decode', 's')";
    assert_eq!(lines(&mut db.client(), good), ["ok"]);
}

#[test]
fn another_server_lists_the_one_without_the_person() {
    let db = direct();
    assert_eq!(told(&db, ERASE), ["backup erased Some(2)", "off-site left None"]);
    let newest = lines(&mut db.client(), "SELECT backup_file FROM agent_backup.backups");
    // Before the old one is removed there are two.
    assert_eq!(kinds(&db), ["json", "json", "tar.gz", "tar.gz"]);
    let other = database();
    other.run(&store().setup());
    let url = store().url(db.name());
    let said = lines(
        &mut other.client(),
        &format!(
            "SELECT concat_ws(' ', action, CASE WHEN action <> 'adopted' THEN details END) FROM agent_backup.import_offsite('{url}', server_name => 'offsite')"
        ),
    );
    assert_eq!(said, ["adopted"]);
    assert_eq!(lines(&mut other.client(), "SELECT backup_file FROM agent_backup.backups"), newest);
}
