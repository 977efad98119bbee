//! What a server without the right key, or with a file that is not what was sealed, says and still can.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use agent_backup_core::container::ReadAt;
use agent_backup_suite::{
    Cluster, Database, KeyFiles, Options, Refusal, assert_no_trash, backup_files, database, lines, newest_container,
    one, refused, sealed_set,
};

const ROWS: &str = "CREATE TABLE t (id int PRIMARY KEY, v text);
    INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1, 3000) g";

/// A database with a sealed backup of the set `s`, whose key the server has not.
fn without_key() -> (Database<'static>, KeyFiles) {
    let db = database();
    db.run(ROWS);
    let key = KeyFiles::make(&db, "main");
    sealed_set(&db, &key, &["t"]);
    back_up(&db);
    (db, key)
}

fn back_up(db: &Database) {
    assert_eq!(lines(&mut db.client(), "SELECT status FROM agent_backup.backup('s')"), ["ok"]);
}

/// What reading the newest backup is refused with.
#[track_caller]
fn unread(db: &Database) -> Refusal {
    refused(&mut db.client(), "SELECT * FROM agent_backup.read_backup(NULL::t, 'latest', set_name => 's')")
}

/// Statuses and details of a verification, the scope left out.
fn verified(db: &Database, level: &str) -> Vec<String> {
    let query = format!(
        "SELECT DISTINCT status, details FROM agent_backup.verify('latest', '{level}', 's') WHERE check_name <> 'scope' ORDER BY 1, 2"
    );
    lines(&mut db.client(), &query)
}

fn container(db: &Database) -> PathBuf {
    newest_container(&mut db.client(), "s").into()
}

/// Writes over a file in place, so that its owner and mode stay.
fn overwrite(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

#[test]
fn a_server_without_a_key_backs_up_lists_and_proves_the_stored_bytes() {
    let (db, key) = without_key();
    let refusal = unread(&db);
    assert_eq!(refusal.code, "55000");
    let said = format!("is encrypted for key {}, and agent_backup.identity_file is not set", key.id());
    assert!(refusal.message.ends_with(&said) && refusal.hint.contains("level hash"), "{refusal:?}");
    for level in ["exists", "hash"] {
        let found = verified(&db, level);
        assert!(found.iter().all(|line| line.starts_with("ok|")), "{level}: {found:?}");
    }
    let verdict = "SELECT verification_status, verification_level FROM agent_backup.backups";
    assert_eq!(lines(&mut db.client(), verdict), ["success|hash"]);
    // A level that needs the key proves what needs none, and says what it did not.
    for level in ["decode", "restore"] {
        let found = verified(&db, level);
        assert!(
            found.iter().any(|line| line.starts_with(&format!("warning|cannot open: level {level} was not tried"))),
            "{found:?}"
        );
        assert!(!found.iter().any(|line| line.starts_with("failed|")), "{found:?}");
    }
    assert_eq!(lines(&mut db.client(), verdict), ["warning|hash"]);
    let refusal = refused(
        &mut db.client(),
        "SELECT * FROM agent_backup.restore_table('t', 'latest', set_name => 's', confirm => true)",
    );
    assert_eq!(refusal.code, "55000");
    assert_no_trash(&db, &[]);
}

#[test]
fn a_changed_byte_is_found_without_a_key() {
    let (db, _key) = without_key();
    let path = container(&db);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    overwrite(&path, &bytes);
    let found = verified(&db, "hash");
    assert!(found.iter().any(|line| line.starts_with("failed|changed: the SHA-256 of file")), "{found:?}");
    assert_no_trash(&db, &[]);
}

#[test]
fn a_backup_that_was_adopted_without_a_key_is_never_called_proved() {
    let (db, key) = without_key();
    db.run("DELETE FROM agent_backup.backup_catalog");
    let found = lines(&mut db.client(), "SELECT action, details FROM agent_backup.reconcile('s')");
    assert!(found.len() == 1 && found[0].starts_with("adopted|1 table(s), 3000 rows"), "{found:?}");
    assert!(found[0].contains("its content could not be compared with its manifest"), "{found:?}");
    assert_eq!(
        lines(&mut db.client(), "SELECT encrypted, key_ids FROM agent_backup.backups"),
        [format!("t|{{{}}}", key.id())]
    );
    let found = verified(&db, "hash");
    assert!(
        found.iter().any(|line| line.starts_with("warning|cannot open: its bytes could not be proved")),
        "{found:?}"
    );
    assert_eq!(lines(&mut db.client(), "SELECT verification_status FROM agent_backup.backups"), ["warning"]);
    // With the key it is proved, and from then on without it.
    key.give_to(&db);
    assert!(verified(&db, "decode").iter().all(|line| line.starts_with("ok|")));
    KeyFiles::take_from(&db);
    assert!(verified(&db, "hash").iter().all(|line| line.starts_with("ok|")));
    assert_no_trash(&db, &[]);
}

#[test]
fn a_manifest_that_was_lost_comes_back_with_the_key_only() {
    let (db, key) = without_key();
    let manifest: String = one(&mut db.client(), "SELECT manifest_file FROM agent_backup.backups");
    let before = fs::read(&manifest).unwrap();
    fs::remove_file(&manifest).unwrap();
    let found = lines(&mut db.client(), "SELECT action, details FROM agent_backup.reconcile('s')");
    assert!(found[0].starts_with("unreadable|") && found[0].contains("identity_file is not set"), "{found:?}");
    key.give_to(&db);
    let found = lines(&mut db.client(), "SELECT action FROM agent_backup.reconcile('s')");
    assert_eq!(found, ["completed"]);
    assert_eq!(fs::read(&manifest).unwrap(), before);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_wrong_key_is_told_with_the_one_that_is_wanted() {
    let (db, key) = without_key();
    let other = KeyFiles::make(&db, "other");
    other.give_to(&db);
    let refusal = unread(&db);
    assert_eq!(refusal.code, "55000");
    let said = format!("is encrypted for key {}, and the identity file holds key {}", key.id(), other.id());
    assert!(refusal.message.ends_with(&said), "{refusal:?}");
    let health =
        lines(&mut db.client(), "SELECT severity, reason FROM agent_backup.health WHERE subject = 's: encryption'");
    assert!(health[0].starts_with("WARNING|the newest backup cannot be opened"), "{health:?}");
    assert_no_trash(&db, &[]);
}

#[test]
fn an_identity_file_that_others_may_read_or_that_is_gone_is_refused() {
    let (db, key) = without_key();
    key.give_to(&db);
    fs::set_permissions(&key.identity, fs::Permissions::from_mode(0o640)).unwrap();
    let refusal = unread(&db);
    assert_eq!(refusal.code, "F0000");
    assert!(
        refusal.message.contains("others than its owner may use it") && refusal.hint.contains("chmod 0600"),
        "{refusal:?}"
    );
    fs::remove_file(&key.identity).unwrap();
    let refusal = unread(&db);
    assert_eq!(refusal.code, "58P01");
    assert!(refusal.message.contains("it cannot be read"), "{refusal:?}");
    // Neither keeps the server from backing up.
    back_up(&db);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_recipients_file_that_cannot_be_used_fails_the_backup_and_nothing_plain_is_written() {
    let (db, key) = without_key();
    let before = backup_files(&db);
    let mut client = db.client();
    let attempt = |why: &str, code: &str| {
        let refusal = refused(&mut db.client(), "SELECT * FROM agent_backup.backup('s')");
        assert_eq!(refusal.code, code, "{refusal:?}");
        assert!(refusal.message.starts_with("recipients file") && refusal.message.contains(why), "{refusal:?}");
        assert!(!refusal.hint.is_empty());
        assert_eq!(backup_files(&db), before);
    };
    fs::set_permissions(&key.recipients, fs::Permissions::from_mode(0o664)).unwrap();
    attempt("others than its owner may write it", "F0000");
    fs::set_permissions(&key.recipients, fs::Permissions::from_mode(0o644)).unwrap();
    overwrite(&key.recipients, b"# nobody\n");
    attempt("no recipient is given", "F0000");
    overwrite(&key.recipients, format!("{}\n{}\n", key.public, key.secret).as_bytes());
    attempt("line 2 is not a recipient: it is a secret key", "F0000");
    fs::remove_file(&key.recipients).unwrap();
    attempt("it cannot be read", "58P01");
    let health = lines(&mut client, "SELECT severity, reason FROM agent_backup.health WHERE subject = 's: encryption'");
    assert!(health[0].starts_with("FAILED|no backup can be made: recipients file"), "{health:?}");
    let refusal = refused(&mut client, "SELECT * FROM agent_backup.incremental('s')");
    assert_eq!(refusal.code, "58P01");
    for wrong in ["recipients", "/nowhere/recipients"] {
        let refusal =
            refused(&mut client, &format!("SELECT agent_backup.create_set('x', recipients_file => '{wrong}')"));
        assert!(["F0000", "58P01"].contains(&refusal.code.as_str()), "{refusal:?}");
    }
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn another_backups_sealed_file_under_this_name_is_not_taken() {
    let (db, key) = without_key();
    let first = container(&db);
    db.run("INSERT INTO t VALUES (9999, 'x')");
    back_up(&db);
    let second = container(&db);
    overwrite(&second, &fs::read(&first).unwrap());
    key.give_to(&db);
    let refusal = unread(&db);
    assert_eq!(refusal.code, "XX001");
    assert!(refusal.message.contains("is not the one that the catalogue lists as"), "{refusal:?}");
    assert!(verified(&db, "hash").iter().any(|line| line.starts_with("failed|changed:")));
    assert_no_trash(&db, &[]);
}

#[test]
fn a_plain_container_where_a_sealed_one_should_be_is_refused() {
    let (db, key) = without_key();
    key.give_to(&db);
    let path = container(&db);
    let opened = key.open(&path).unwrap();
    let mut plain = vec![0; opened.len().unwrap() as usize];
    opened.read_exact_at(0, &mut plain).unwrap();
    let sealed = fs::read(&path).unwrap();
    overwrite(&path, &plain);
    let refusal = unread(&db);
    assert_eq!(refusal.code, "XX001");
    assert!(refusal.message.ends_with("is not encrypted, though its name says that it is"), "{refusal:?}");
    assert!(
        verified(&db, "exists")
            .iter()
            .any(|line| line.starts_with("failed|") && line.contains("is not encrypted, though its name says"))
    );
    // The same under a plain name: the catalogue does not move to it.
    let plain_name = PathBuf::from(path.display().to_string().trim_end_matches(".age"));
    fs::rename(&path, &plain_name).unwrap();
    let found = lines(&mut db.client(), "SELECT action, details FROM agent_backup.reconcile('s') ORDER BY 1");
    assert!(
        found
            .iter()
            .any(|line| line.starts_with("unreadable|") && line.contains("is not encrypted, though its manifest says")),
        "{found:?}"
    );
    assert!(!found.iter().any(|line| line.starts_with("adopted") || line.starts_with("restored")), "{found:?}");
    let by_path =
        format!("SELECT * FROM agent_backup.read_backup(NULL::t, '{}', set_name => 's')", plain_name.display());
    assert!(refused(&mut db.client(), &by_path).message.contains("is not encrypted, though its manifest says"));
    fs::rename(&plain_name, &path).unwrap();
    overwrite(&path, &sealed);
    assert_eq!(lines(&mut db.client(), "SELECT action FROM agent_backup.reconcile('s')"), ["restored"]);
    assert_no_trash(&db, &[]);
}

#[test]
fn an_altered_block_a_cut_end_and_an_edited_header_are_told_apart() {
    let (db, key) = without_key();
    key.give_to(&db);
    let path = container(&db);
    let sealed = fs::read(&path).unwrap();
    let refused_with = |bytes: &[u8], why: &str| {
        overwrite(&path, bytes);
        let refusal = unread(&db);
        assert_eq!(refusal.code, "XX001", "{why}: {refusal:?}");
        assert!(refusal.message.contains(why), "{why}: {refusal:?}");
        let found = verified(&db, "decode");
        assert!(found.iter().any(|line| line.starts_with("failed|")), "{why}: {found:?}");
    };
    let mut altered = sealed.clone();
    altered[70_000] ^= 1;
    refused_with(&altered, "a block of it was altered, moved or cut");
    refused_with(&sealed[..sealed.len() - 100], "its end is missing or was altered");
    let mut edited = sealed.clone();
    // In what only the key opens, and in what authenticates the whole.
    edited[60] ^= 2;
    refused_with(&edited, "its header");
    let mut edited = sealed.clone();
    let mac = sealed.windows(5).position(|window| window == b"\n--- ").expect("the header's end");
    edited[mac + 10] ^= 2;
    refused_with(&edited, "its header");
    overwrite(&path, &sealed);
    assert!(verified(&db, "decode").iter().all(|line| line.starts_with("ok|")));
    assert_no_trash(&db, &[]);
}

#[test]
fn a_record_is_brought_back_reading_a_small_part_of_a_large_file() {
    let db = database();
    db.run(
        "CREATE TABLE large (id int PRIMARY KEY, v text); INSERT INTO large SELECT g, md5(g::text) || md5('x' || g) || md5('y' || g) || md5('z' || g) FROM generate_series(1, 150000) g;
         CREATE TABLE small (id int PRIMARY KEY, v text); INSERT INTO small SELECT g, 'v' FROM generate_series(1, 100) g",
    );
    let key = KeyFiles::make(&db, "main");
    sealed_set(&db, &key, &["large", "small"]);
    db.run("SET agent_backup.chunk_size = '256kB'; SELECT agent_backup.backup('s', formats => '{csv}')");
    key.give_to(&db);
    let path = container(&db);
    let size = fs::metadata(&path).unwrap().len();
    let mut client = db.client();
    client.batch_execute("DELETE FROM small; SELECT agent_backup.clock()").unwrap();
    let pid = db.cluster().backend_pid(&mut client);
    let output = db.cluster().dir().join(format!("{}_trace", db.name()));
    let strace = agent_backup_suite::strace_backend(pid, output, &["-e", "trace=pread64,read"]);
    client
        .batch_execute("SELECT agent_backup.restore_table('small', 'latest', set_name => 's', confirm => true)")
        .unwrap();
    let trace = strace.finish();
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let of_file = trace.lines().filter(|line| line.contains(&name));
    let read: u64 = of_file.filter_map(|line| line.rsplit_once("= ")?.1.trim().parse::<u64>().ok()).sum();
    assert!(read > 0 && read < size / 5, "{read} of {size} bytes were read");
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM small"), 100);
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn nothing_shows_a_secret_key() {
    let cluster =
        Cluster::start(Options::default().setting("log_min_messages = debug5").setting("log_statement = 'all'"));
    let db = cluster.database();
    db.run(ROWS);
    let (key, other) = (KeyFiles::make(&db, "main"), KeyFiles::make(&db, "other"));
    sealed_set(&db, &key, &["t"]);
    back_up(&db);
    key.give_to(&db);
    let mut told = verified(&db, "decode").join("\n");
    told += &format!(
        "{:?}",
        lines(
            &mut db.client(),
            "SELECT * FROM agent_backup.health; SELECT * FROM agent_backup.backups; SELECT * FROM pg_stat_activity; SELECT * FROM pg_settings WHERE name LIKE 'agent_backup%'"
        )
    );
    other.give_to(&db);
    told += &format!("{:?}", unread(&db));
    // A key with a letter too much, and one in the wrong file.
    let broken = format!("{}X\n", key.secret);
    overwrite(&key.identity, broken.as_bytes());
    key.give_to(&db);
    told += &format!("{:?}", unread(&db));
    overwrite(&key.recipients, key.secret.as_bytes());
    told += &format!("{:?}", refused(&mut db.client(), "SELECT * FROM agent_backup.backup('s')"));
    told += &cluster.log();
    for secret in [&key.secret, &other.secret] {
        for part in [&secret[..], &secret[16..40], &secret[40..]] {
            assert!(!told.contains(part), "a part of a key is told");
        }
    }
    assert!(told.contains("identity file") && told.len() > 10_000, "there is something to look into");
}

/// The program age, which `scripts/exporters` fetches.
fn age() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package stands in a workspace");
    let program = root.join("target/exporters/usr/bin/age");
    assert!(program.exists(), "{} is missing: run scripts/exporters", program.display());
    program
}

#[test]
fn age_opens_our_files_and_what_age_seals_is_read() {
    let (db, key) = without_key();
    let path = container(&db);
    let script = format!("'{}' -d -i '{}' '{}' | tar -tz", age().display(), key.identity.display(), path.display());
    let listed = Command::new("bash").args(["-o", "pipefail", "-c", &script]).output().unwrap();
    let names = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.status.success(), "{listed:?}");
    assert_eq!(names.lines().collect::<Vec<_>>(), ["t.csv", "t.csv.keys", "t.json", "schema.sql", "manifest.json"]);
    // A plain container that somebody sealed by hand.
    db.run("SELECT agent_backup.set_encryption('s', NULL)");
    back_up(&db);
    let plain = container(&db);
    let sealed = PathBuf::from(format!("{}.age", plain.display()));
    let done = Command::new(age()).args(["-r", &key.public, "-o"]).args([&sealed, &plain]).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let facts = fs::metadata(&plain).unwrap();
    std::os::unix::fs::chown(&sealed, Some(std::os::unix::fs::MetadataExt::uid(&facts)), None).unwrap();
    key.give_to(&db);
    let read =
        format!("SELECT count(*) FROM agent_backup.read_backup(NULL::t, '{}', set_name => 's')", sealed.display());
    assert_eq!(one::<i64>(&mut db.client(), &read), 3000);
    fs::remove_file(&sealed).unwrap();
    assert_no_trash(&db, &[]);
}
