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

#[test]
fn a_backup_that_stands_in_a_store_alone_is_looked_through_and_told() {
    let db = database();
    db.run(&store().setup());
    make_person(&db, 2_000, "");
    let url = store().url(db.name());
    db.run(&format!(
        "SELECT agent_backup.add_destination('s', '{url}'); SELECT agent_backup.backup('s', destination => '{url}')"
    ));
    let found = erase(&mut db.client(), &ERASE.replace("true", "false")).unwrap();
    let found: Vec<_> = found.iter().filter(|place| place.place == "backup").collect();
    assert_eq!((found.len(), found[0].rows, found[0].action.as_str()), (1, Some(2), "found"), "{found:#?}");
    let erased = erase(&mut db.client(), ERASE).unwrap();
    let left = erased.iter().find(|place| place.place == "backup").unwrap();
    assert_eq!((left.rows, left.action.as_str()), (Some(2), "left"), "{left:?}");
    assert!(left.details.contains("prune_offsite"), "{left:?}");
    let read = format!(
        "SELECT count(*) FROM agent_backup.read_backup(NULL::t, 'latest', set_name => 's') WHERE email = '{CANARY}'"
    );
    assert_eq!(one::<i64>(&mut db.client(), &read), 0, "the tombstone keeps the person out");
}
