//! Catalogue and disk that disagree (T12): both sides are reported and mended, nothing is deleted silently.

use std::fs;
use std::path::PathBuf;

use agent_backup_suite::{
    Database, Set, assert_backups_whole, assert_clean, assert_equal_tables, backup, database, files, statuses,
};

/// A database with two backups of two tables.
fn two_backups() -> Database<'static> {
    let db = database();
    Set::create(&db, 2, 100);
    backup(&mut db.client()).unwrap();
    backup(&mut db.client()).unwrap();
    db
}

fn path(db: &Database, name: &str) -> PathBuf {
    db.backup_dir().join("s").join(name)
}

/// What reconcile('s') did, ordered.
fn reconcile(db: &Database) -> Vec<String> {
    let query = "SELECT action FROM agent_backup.reconcile('s') ORDER BY 1";
    db.client().query(query, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

fn count(db: &Database, query: &str) -> i64 {
    db.client().query_one(&format!("SELECT count(*) FROM {query}"), &[]).unwrap().get(0)
}

const INCOMPLETE: &str = "agent_backup.backups WHERE status = 'incomplete'";

#[test]
fn nothing_lost_is_nothing_found() {
    let db = two_backups();
    assert!(reconcile(&db).is_empty());
    assert_clean(&db, &[]);
}

#[test]
fn a_backup_whose_container_is_gone_is_incomplete_and_is_restored_with_it() {
    let db = two_backups();
    let name = files(&db).into_iter().find(|name| name.ends_with(".tar.gz")).unwrap();
    db.run("UPDATE agent_backup.backup_catalog SET pinned = true");
    let kept = db.cluster().dir().join(format!("{}_kept", db.name()));
    fs::rename(path(&db, &name), &kept).unwrap();
    let row = db.client().query_one("SELECT action, details FROM agent_backup.reconcile('s')", &[]).unwrap();
    assert_eq!(row.get::<_, String>(0), "incomplete");
    assert!(row.get::<_, String>(1).contains(&name), "{}", row.get::<_, String>(1));
    assert_eq!((count(&db, INCOMPLETE), reconcile(&db).len()), (1, 0));
    fs::rename(&kept, path(&db, &name)).unwrap();
    assert_eq!(reconcile(&db), ["restored"]);
    assert_eq!((count(&db, INCOMPLETE), assert_backups_whole(&db)), (0, 2));
    assert_eq!(count(&db, "agent_backup.backups WHERE pinned"), 2, "a pin was lost");
    assert_clean(&db, &[]);
}

#[test]
fn a_listed_backup_whose_manifest_is_gone_is_completed() {
    let db = two_backups();
    let name = files(&db).into_iter().find(|name| name.starts_with("metadata")).unwrap();
    let before = fs::read(path(&db, &name)).unwrap();
    fs::remove_file(path(&db, &name)).unwrap();
    assert_eq!(reconcile(&db), ["completed"]);
    assert!(fs::read(path(&db, &name)).unwrap() == before);
    assert_eq!((count(&db, INCOMPLETE), assert_backups_whole(&db)), (0, 2));
    assert_clean(&db, &[]);
}

#[test]
fn a_backup_whose_files_are_all_gone_is_incomplete_and_stops_no_later_one() {
    let db = two_backups();
    files(&db).iter().for_each(|name| fs::remove_file(path(&db, name)).unwrap());
    assert_eq!(statuses(&backup(&mut db.client()).unwrap()), ["ok", "ok"]);
    db.run("SELECT agent_backup.reconcile('s')");
    assert_eq!(count(&db, INCOMPLETE), 2);
    assert_eq!(count(&db, "agent_backup.backups WHERE status = 'complete'"), 1);
    db.run("DELETE FROM agent_backup.backup_catalog WHERE status = 'incomplete'");
    assert_clean(&db, &[]);
}

#[test]
fn a_directory_moved_away_and_back_is_lost_and_found() {
    let db = two_backups();
    let away = db.backup_dir().with_extension("away");
    fs::rename(db.backup_dir().join("s"), &away).unwrap();
    assert_eq!(reconcile(&db), ["incomplete", "incomplete"]);
    assert_eq!(count(&db, INCOMPLETE), 2);
    fs::remove_dir(db.backup_dir().join("s")).unwrap();
    fs::rename(&away, db.backup_dir().join("s")).unwrap();
    assert_eq!(reconcile(&db), ["restored", "restored"]);
    assert_eq!((count(&db, INCOMPLETE), assert_backups_whole(&db)), (0, 2));
    assert_clean(&db, &[]);
}

#[test]
fn a_directory_moved_to_another_place_goes_on_there() {
    let db = two_backups();
    let place = db.backup_dir().join("new");
    fs::create_dir(&place).unwrap();
    std::os::unix::fs::chown(&place, Some(owner(&db)), None).unwrap();
    fs::rename(db.backup_dir().join("s"), place.join("s")).unwrap();
    db.run(&format!("ALTER DATABASE {} SET agent_backup.directory = '{}'", db.name(), place.display()));
    assert_eq!(statuses(&backup(&mut db.client()).unwrap()), ["ok", "ok"]);
    db.run("SELECT agent_backup.reconcile('s')");
    assert_eq!(assert_backups_whole(&db), 3);
    assert_clean(&db, &[]);
}

fn owner(db: &Database) -> u32 {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata(db.backup_dir()).unwrap())
}

#[test]
fn a_row_that_was_deleted_comes_back_from_the_manifest() {
    let db = two_backups();
    db.run("CREATE TABLE kept AS TABLE agent_backup.backup_catalog; CREATE TABLE kept_entries AS TABLE agent_backup.backup_entry");
    db.run("DELETE FROM agent_backup.backup_catalog WHERE backup_id = (SELECT min(backup_id) FROM kept)");
    assert_eq!(reconcile(&db), ["adopted"]);
    same_catalogue(&db);
    assert_clean(&db, &[]);
}

#[test]
fn an_empty_catalogue_is_rebuilt() {
    let db = two_backups();
    db.run("CREATE TABLE kept AS TABLE agent_backup.backup_catalog; CREATE TABLE kept_entries AS TABLE agent_backup.backup_entry");
    db.run("TRUNCATE agent_backup.backup_catalog CASCADE");
    assert_eq!(reconcile(&db), ["adopted", "adopted"]);
    same_catalogue(&db);
    assert_clean(&db, &[]);
}

/// The catalogue is as `kept`; only the container's hash is not known before it is verified.
fn same_catalogue(db: &Database) {
    let client = &mut db.client();
    let columns = "backup_id, set_name, kind, status, started_at, tables, row_count, size_bytes, directory, file_name, manifest_name, manifest_sha256, error_message";
    let rows = |table: &str| format!("(SELECT {columns} FROM {table})");
    assert_equal_tables(client, &rows("kept"), &rows("agent_backup.backup_catalog"));
    assert_equal_tables(client, "kept_entries", "agent_backup.backup_entry");
    assert_eq!(assert_backups_whole(db), 2);
}

#[test]
fn entries_that_were_deleted_come_back_from_the_manifest() {
    let db = two_backups();
    db.run("CREATE TABLE kept AS TABLE agent_backup.backup_catalog; CREATE TABLE kept_entries AS TABLE agent_backup.backup_entry");
    db.run("DELETE FROM agent_backup.backup_entry WHERE table_name = 't1'");
    assert_eq!(reconcile(&db).len(), 2);
    same_catalogue(&db);
    assert_clean(&db, &[]);
}

#[test]
fn a_container_without_its_manifest_is_completed_from_its_own() {
    let db = two_backups();
    let name = files(&db).into_iter().find(|name| name.starts_with("metadata")).unwrap();
    let before = fs::read(path(&db, &name)).unwrap();
    fs::remove_file(path(&db, &name)).unwrap();
    db.run("TRUNCATE agent_backup.backup_catalog CASCADE");
    assert_eq!(reconcile(&db), ["adopted", "completed"]);
    assert!(fs::read(path(&db, &name)).unwrap() == before);
    assert_eq!(assert_backups_whole(&db), 2);
    assert_clean(&db, &[]);
}

#[test]
fn a_manifest_without_its_container_is_reported() {
    let db = two_backups();
    let name = files(&db).into_iter().find(|name| name.ends_with(".tar.gz")).unwrap();
    db.run("TRUNCATE agent_backup.backup_catalog CASCADE");
    fs::remove_file(path(&db, &name)).unwrap();
    assert_eq!(reconcile(&db), ["adopted", "unreadable"]);
    assert_eq!(files(&db).len(), 3);
    assert_eq!(statuses(&backup(&mut db.client()).unwrap()), ["ok", "ok"]);
}

#[test]
fn broken_and_foreign_files_are_named_and_left_alone() {
    let db = two_backups();
    let name = files(&db).into_iter().find(|name| name.ends_with(".tar.gz")).unwrap();
    let good = fs::read(path(&db, &name)).unwrap();
    let manifest = fs::read(path(&db, &name.replace("s_backup", "metadata").replace("tar.gz", "json"))).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 3] ^= 1;
    let broken: [(&str, &[u8]); 6] = [
        ("s_backup_20200101.tar.gz", b""),
        ("s_backup_20200102.tar.gz", b"no gzip at all"),
        ("s_backup_20200103.tar.gz", &good[..good.len() - 1]),
        ("s_backup_20200104.tar.gz", &good[..good.len() / 2]),
        ("s_backup_20200105.tar.gz", &flipped),
        ("s_backup_20200106.tar.gz", b"with a manifest that is none"),
    ];
    for (name, bytes) in &broken {
        fs::write(path(&db, name), bytes).unwrap();
    }
    fs::write(path(&db, "metadata_20200106.json"), &manifest[..manifest.len() / 2]).unwrap();
    fs::write(path(&db, "README"), "a person's note").unwrap();
    fs::create_dir(path(&db, "s_backup_20200107.tar.gz")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", path(&db, "s_backup_20200108.tar.gz")).unwrap();
    make_all_readable(&db);
    let found = reconcile(&db);
    assert_eq!(found, vec!["unreadable"; 6]);
    assert_eq!(statuses(&backup(&mut db.client()).unwrap()), ["ok", "ok"]);
    for (name, bytes) in &broken {
        assert!(fs::read(path(&db, name)).unwrap() == *bytes, "{name}");
        fs::remove_file(path(&db, name)).unwrap();
    }
    for name in ["README", "metadata_20200106.json", "s_backup_20200108.tar.gz"] {
        fs::remove_file(path(&db, name)).unwrap();
    }
    fs::remove_dir(path(&db, "s_backup_20200107.tar.gz")).unwrap();
    assert_eq!(assert_backups_whole(&db), 3);
    assert_clean(&db, &[]);
}

/// Files written by the test belong to its user.
fn make_all_readable(db: &Database) {
    use std::os::unix::fs::PermissionsExt;
    for name in files(db) {
        let path = path(db, &name);
        if path.symlink_metadata().unwrap().is_file() {
            fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        }
    }
}

#[test]
fn a_cut_container_beside_a_good_manifest_is_not_adopted() {
    for cut in [1, 20, 200] {
        let db = two_backups();
        let name = files(&db).into_iter().find(|name| name.ends_with(".tar.gz")).unwrap();
        let whole = fs::read(path(&db, &name)).unwrap();
        db.run("TRUNCATE agent_backup.backup_catalog CASCADE");
        fs::write(path(&db, &name), &whole[..whole.len() - cut]).unwrap();
        assert_eq!(reconcile(&db), ["adopted", "unreadable"], "{cut} bytes");
        fs::write(path(&db, &name), &whole).unwrap();
        assert_eq!(reconcile(&db), ["adopted"], "{cut} bytes");
        assert_clean(&db, &[]);
    }
}

#[test]
fn a_manifest_of_another_backup_is_not_adopted() {
    let db = two_backups();
    db.run("TRUNCATE agent_backup.backup_catalog CASCADE");
    let names: Vec<String> = files(&db).into_iter().filter(|name| name.starts_with("metadata")).collect();
    let (one, other) = (fs::read(path(&db, &names[0])).unwrap(), fs::read(path(&db, &names[1])).unwrap());
    fs::write(path(&db, &names[0]), &other).unwrap();
    fs::write(path(&db, &names[1]), &one).unwrap();
    assert_eq!(reconcile(&db), ["unreadable", "unreadable"]);
    assert_eq!(count(&db, "agent_backup.backups"), 0);
    fs::write(path(&db, &names[0]), &one).unwrap();
    fs::write(path(&db, &names[1]), &other).unwrap();
    assert_eq!(reconcile(&db), ["adopted", "adopted"]);
    assert_clean(&db, &[]);
}

#[test]
fn a_copy_of_a_backup_beside_it_stops_no_later_backup() {
    let db = two_backups();
    let name = files(&db).into_iter().find(|name| name.ends_with(".tar.gz")).unwrap();
    let manifest = name.replace("s_backup", "metadata").replace("tar.gz", "json");
    fs::copy(path(&db, &name), path(&db, "s_backup_20200101.tar.gz")).unwrap();
    fs::copy(path(&db, &manifest), path(&db, "metadata_20200101.json")).unwrap();
    make_all_readable(&db);
    assert_eq!(statuses(&backup(&mut db.client()).unwrap()), ["ok", "ok"]);
    assert_eq!(reconcile(&db).len(), 1);
    assert_eq!(count(&db, "agent_backup.backups"), 3);
    fs::remove_file(path(&db, "s_backup_20200101.tar.gz")).unwrap();
    fs::remove_file(path(&db, "metadata_20200101.json")).unwrap();
    assert_clean(&db, &[]);
}
