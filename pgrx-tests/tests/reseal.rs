//! `reseal`: backups for other keys, and plain ones sealed, with a good copy at every moment.

use std::fs;

use agent_backup_suite::{
    Database, KeyFiles, Signal, assert_equal_tables, assert_no_trash, backup_files, begun, database, kill_backend,
    lines, newest_container, one, quiet_database, refused, restore, sealed_set, wait_for_pause,
};

const ROWS: &str = "CREATE TABLE t (id int PRIMARY KEY, v text, updated_at timestamptz DEFAULT now());
    INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1, 3000) g;
    CREATE TABLE kept AS SELECT * FROM t";

const DO_IT: &str = "SELECT kind, action, details FROM agent_backup.reseal(set_name => 's', confirm => true)";

fn back_up(db: &Database) {
    assert_eq!(lines(&mut db.client(), "SELECT status FROM agent_backup.backup('s')"), ["ok"]);
}

fn with_backup(sealed: bool) -> (Database<'static>, KeyFiles) {
    let db = database();
    db.run(ROWS);
    let key = KeyFiles::make(&db, "main");
    if sealed {
        sealed_set(&db, &key, &["t"]);
    } else {
        db.run("SELECT agent_backup.create_set('s'); SELECT agent_backup.add_table('s', 't')");
    }
    back_up(&db);
    (db, key)
}

fn encrypt(db: &Database, key: &KeyFiles) {
    db.run(&format!("SELECT agent_backup.set_encryption('s', '{}')", key.recipients.display()));
}

/// The backup is whole, sealed for `key`, and what the catalogue says.
#[track_caller]
fn assert_sealed_for(db: &Database, key: &KeyFiles) {
    key.give_to(db);
    let mut client = db.client();
    let bad = "SELECT status, details FROM agent_backup.verify('latest', 'decode', 's') WHERE status <> 'ok'";
    assert_eq!(lines(&mut client, bad), [""; 0]);
    let listed =
        lines(&mut client, "SELECT DISTINCT encrypted, key_ids FROM agent_backup.backups WHERE set_name = 's'");
    assert_eq!(listed, [format!("t|{{{}}}", key.id())]);
    client.batch_execute("TRUNCATE t").unwrap();
    restore(&mut client, "restore_table('t', 'latest', set_name => 's', confirm => true)");
    assert_equal_tables(&mut client, "t", "kept");
    assert_eq!(lines(&mut client, "SELECT * FROM agent_backup.reconcile('s')"), [""; 0], "disk and catalogue agree");
    let left: Vec<String> = backup_files(db).into_iter().filter(|file| file.contains("resealed")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_plan_changes_nothing_and_says_what_would_be_done() {
    let (db, key) = with_backup(false);
    encrypt(&db, &key);
    let before = backup_files(&db);
    let plan = "SELECT kind, action, key_ids_before, key_ids_after FROM agent_backup.reseal(set_name => 's')";
    assert_eq!(lines(&mut db.client(), plan), [format!("full|seal|{{}}|{{{}}}", key.id())]);
    assert_eq!(backup_files(&db), before);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_plain_backup_is_sealed_without_a_key_and_its_plain_file_goes() {
    let (db, key) = with_backup(false);
    let plain = newest_container(&mut db.client(), "s");
    encrypt(&db, &key);
    let done = lines(&mut db.client(), DO_IT);
    assert!(done[0].starts_with("full|sealed|its stored bytes were read back; they were not decrypted"), "{done:?}");
    assert!(!fs::exists(&plain).unwrap(), "nothing plain is left");
    assert_eq!(newest_container(&mut db.client(), "s"), format!("{plain}.age"));
    assert_sealed_for(&db, &key);
    assert_no_trash(&db, &[]);
}

#[test]
fn after_a_change_of_keys_the_old_one_opens_nothing() {
    let (db, old) = with_backup(true);
    back_up(&db);
    let path = newest_container(&mut db.client(), "s");
    let (both, new) = (KeyFiles::make(&db, "both"), KeyFiles::make(&db, "new"));
    // Old and new key in one identity file, the new one alone in the recipients file.
    fs::write(&both.identity, format!("{}\n{}\n", old.secret, new.secret)).unwrap();
    both.give_to(&db);
    encrypt(&db, &new);
    let done = lines(&mut db.client(), DO_IT);
    assert_eq!(done, ["full|resealed|read back with its key and found whole"; 2]);
    assert_eq!(newest_container(&mut db.client(), "s"), path, "its name stays");
    assert!(old.open(&path).is_err() && new.open(&path).is_ok());
    assert_eq!(
        lines(&mut db.client(), "SELECT DISTINCT verification_status, verification_level FROM agent_backup.backups"),
        ["success|hash"]
    );
    let again = lines(&mut db.client(), DO_IT);
    assert_eq!(again, ["full|keep|it is sealed for these keys"; 2]);
    assert_sealed_for(&db, &new);
    assert_no_trash(&db, &[]);
}

#[test]
fn without_the_old_key_a_sealed_backup_stays_as_it_is() {
    let (db, _old) = with_backup(true);
    let before = backup_files(&db);
    encrypt(&db, &KeyFiles::make(&db, "new"));
    let done = lines(&mut db.client(), DO_IT);
    assert!(done[0].starts_with("full|failed|") && done[0].contains("identity_file is not set"), "{done:?}");
    assert_eq!(backup_files(&db), before);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_damaged_backup_is_not_sealed_anew() {
    let (db, key) = with_backup(false);
    encrypt(&db, &key);
    let path = newest_container(&mut db.client(), "s");
    let mut bytes = fs::read(&path).unwrap();
    bytes[2000] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let done = lines(&mut db.client(), DO_IT);
    assert!(done[0].starts_with("full|failed|") && done[0].contains("damaged"), "{done:?}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_rollback_leaves_all_as_it_was() {
    for savepoint in [false, true] {
        let (db, key) = with_backup(false);
        encrypt(&db, &key);
        let before = backup_files(&db);
        let mut client = db.client();
        let (begin, end) =
            if savepoint { ("BEGIN; SAVEPOINT a", "ROLLBACK TO a; COMMIT") } else { ("BEGIN", "ROLLBACK") };
        client.batch_execute(begin).unwrap();
        assert!(lines(&mut client, DO_IT)[0].starts_with("full|sealed"));
        let read = "SELECT count(*) FROM agent_backup.reconcile('s')";
        assert_eq!(one::<i64>(&mut client, read), 0, "what is about to change is no stray");
        client.batch_execute(end).unwrap();
        assert_eq!(backup_files(&db), before);
        drop(client);
        db.run("TRUNCATE t");
        restore(&mut db.client(), "restore_table('t', 'latest', set_name => 's', confirm => true)");
        assert_equal_tables(&mut db.client(), "t", "kept");
        assert_no_trash(&db, &[]);
    }
}

#[test]
fn what_was_sealed_in_a_transaction_is_read_in_it() {
    let (db, key) = with_backup(false);
    encrypt(&db, &key);
    key.give_to(&db);
    let mut client = db.client();
    client.batch_execute("BEGIN").unwrap();
    assert!(lines(&mut client, DO_IT)[0].starts_with("full|sealed"));
    let read = "SELECT count(*) FROM agent_backup.read_backup(NULL::t, 'latest', set_name => 's')";
    assert_eq!(one::<i64>(&mut client, read), 3000);
    client.batch_execute("COMMIT").unwrap();
    drop(client);
    assert_sealed_for(&db, &key);
    assert_no_trash(&db, &[]);
}

#[test]
fn incrementals_are_sealed_anew_with_their_tombstones() {
    let db = quiet_database();
    db.run("CREATE TABLE t (id text PRIMARY KEY, v text, updated_at timestamptz DEFAULT now()); INSERT INTO t VALUES ('alice', 'x'), ('bob', 'y');
            SELECT agent_backup.create_set('s'); SELECT agent_backup.add_table('s', 't'); SELECT agent_backup.backup('s');
            DELETE FROM t WHERE id = 'alice'; UPDATE t SET v = 'z'");
    let made = lines(&mut db.client(), "SELECT tombstones FROM agent_backup.incremental('s', with_deletes => true)");
    assert_eq!(made, ["1"]);
    let (old, new) = (KeyFiles::make(&db, "old"), KeyFiles::make(&db, "new"));
    encrypt(&db, &old);
    let done = lines(&mut db.client(), DO_IT);
    assert!(done.len() == 2 && done[1].starts_with("incremental|sealed|"), "{done:?}");
    old.give_to(&db);
    encrypt(&db, &new);
    let done = lines(&mut db.client(), DO_IT);
    assert!(done[1].starts_with("incremental|resealed|"), "{done:?}");
    let folder = db.backup_dir().join("s/incremental");
    let names: Vec<String> =
        fs::read_dir(&folder).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    let rows = names.iter().find(|name| name.ends_with(".json.gz.age")).expect("sealed rows");
    assert!(
        names.len() == 2 && new.open(folder.join(rows)).is_ok() && old.open(folder.join(rows)).is_err(),
        "{names:?}"
    );
    let manifest = fs::read(folder.join(rows.replace(".json.gz.age", ".manifest.json"))).unwrap();
    let told = agent_backup_core::container::Increment::parse(&manifest).unwrap();
    let identities = agent_backup_core::crypt::Identities::parse(&new.secret).unwrap();
    let keys = agent_backup_core::crypt::open_text(&told.sealed_tombstones.unwrap(), &identities).unwrap();
    assert_eq!((keys.as_slice(), told.tombstones.len()), (&br#"["alice"]"#[..], 0));
    assert_eq!(lines(&mut db.client(), "SELECT file_name FROM agent_backup.watermarks"), std::slice::from_ref(rows));
    assert_no_trash(&db, &[]);
}

#[test]
fn one_backup_can_be_named_and_a_safety_backup_is_sealed_for_the_set_of_its_table() {
    let (db, key) = with_backup(false);
    back_up(&db);
    restore(&mut db.client(), "restore_table('t', 'latest', set_name => 's', confirm => true)");
    encrypt(&db, &key);
    let one_of_two = "SELECT action FROM agent_backup.reseal('latest', 's', confirm => true)";
    assert_eq!(lines(&mut db.client(), one_of_two), ["sealed"]);
    let listed = "SELECT encrypted FROM agent_backup.backups WHERE set_name = 's' ORDER BY started_at";
    assert_eq!(lines(&mut db.client(), listed), ["f", "t"]);
    let health =
        lines(&mut db.client(), "SELECT severity, reason FROM agent_backup.health WHERE subject = 's: encryption'");
    assert_eq!(health, ["WARNING|1 of its backups are not encrypted"]);
    let safety = "SELECT action FROM agent_backup.reseal(set_name => 'restore_safety', confirm => true)";
    assert_eq!(lines(&mut db.client(), safety), ["sealed"]);
    assert!(key.open(newest_container(&mut db.client(), "restore_safety")).is_ok());
    let unknown = refused(&mut db.client(), "SELECT * FROM agent_backup.reseal('20200101T000000Z-00000000', 's')");
    assert_eq!(unknown.code, "42704");
    assert_no_trash(&db, &[]);
}

/// The names of the files of the set, and what stands in them.
type Files = Vec<(String, Vec<u8>)>;

fn contents(db: &Database) -> Files {
    backup_files(db).into_iter().map(|file| (file.clone(), fs::read(&file).unwrap())).collect()
}

/// Puts these files where others are: what a crash between two steps would have left.
fn put_back(db: &Database, files: &Files) {
    use std::os::unix::fs::{MetadataExt, chown};
    for file in backup_files(db) {
        fs::remove_file(file).unwrap();
    }
    let owner = fs::metadata(db.backup_dir()).unwrap();
    for (file, bytes) in files {
        fs::write(file, bytes).unwrap();
        chown(file, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
}

/// A crash after each step of the exchange, before or after the commit: the backup is read at once, and the next writer
/// ends what was begun.
#[test]
fn a_crash_at_any_step_loses_nothing() {
    for sealed in [false, true] {
        let (db, old) = with_backup(sealed);
        let new = KeyFiles::make(&db, "new");
        let both = KeyFiles::make(&db, "both");
        fs::write(&both.identity, format!("{}\n{}\n", old.secret, new.secret)).unwrap();
        both.give_to(&db);
        encrypt(&db, &new);
        let before = contents(&db);
        let mut client = db.client();
        client.batch_execute("BEGIN").unwrap();
        lines(&mut client, DO_IT);
        let prepared = contents(&db);
        client.batch_execute("COMMIT").unwrap();
        drop(client);
        let after = contents(&db);
        assert_eq!((before.len(), prepared.len(), after.len()), (2, 4, 2));
        let find = |files: &Files, end: &str| files.iter().find(|(name, _)| name.ends_with(end)).unwrap().clone();
        let (container, manifest) = (find(&after, ".age"), find(&after, ".json"));
        let (old_container, old_manifest) =
            (before.iter().find(|(name, _)| name.contains("_backup_")).unwrap().clone(), find(&before, ".json"));
        let waiting = find(&prepared, ".json.resealed");
        // After the commit: nothing renamed; the container renamed; the plain one gone.
        let mut states = vec![prepared.clone(), vec![container.clone(), old_manifest.clone(), waiting.clone()]];
        if !sealed {
            states.push(vec![container.clone(), old_container.clone(), old_manifest.clone(), waiting.clone()]);
        }
        for state in &states {
            put_back(&db, state);
            let read = "SELECT count(*) FROM agent_backup.read_backup(NULL::t, 'latest', set_name => 's')";
            assert_eq!(one::<i64>(&mut db.client(), read), 3000);
            lines(&mut db.client(), "SELECT * FROM agent_backup.reconcile('s')");
            assert_eq!(contents(&db), after);
        }
        assert_eq!(manifest, find(&after, ".json"));
        assert_sealed_for(&db, &new);
        assert_no_trash(&db, &[]);
    }
}

#[test]
fn a_crash_before_the_commit_leaves_the_old_files_and_the_next_backup_removes_the_new() {
    let (db, key) = with_backup(false);
    encrypt(&db, &key);
    let before = contents(&db);
    for step in ["reseal", "resealed"] {
        let mut client = db.client();
        client.batch_execute(&format!("SET agent_backup.debug_failpoint = '{step}=pause'")).unwrap();
        let (pid, thread) = begun(client, "SELECT * FROM agent_backup.reseal(set_name => 's', confirm => true)");
        wait_for_pause(&db, pid, step);
        kill_backend(pid, Signal::SIGTERM);
        assert!(thread.join().unwrap().1.is_err());
        db.run("SELECT agent_backup.reconcile('s')");
        assert_eq!(contents(&db), before, "{step}");
    }
    assert_no_trash(&db, &["terminating connection due to administrator command", "FATAL:"]);
}
