//! What tests of backups share: a set with rows, a call and its rows, and the check that catalogue and disk agree.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use agent_backup_core::codec::split;
use agent_backup_core::container::Container;
use postgres::{Client, Error};

use crate::database::Database;
use crate::{Signal, assert_no_trash, kill_backend, wait_until};

/// The set that [`Set::create`] makes.
pub const NAME: &str = "s";

/// A set named `s` with the tables t1, t2, … of some rows each.
pub struct Set;

impl Set {
    /// Rows are incompressible enough to be some 120 bytes each in a container.
    pub fn create(db: &Database, tables: usize, rows: usize) {
        db.run(&format!("SELECT agent_backup.create_set('{NAME}')"));
        for number in 1..=tables {
            db.run(&format!(
                "CREATE TABLE t{number} (id int PRIMARY KEY, a text, b text);
                 INSERT INTO t{number} SELECT n, md5('a' || n * {number}), md5('b' || n) || md5('c' || n * {number}) FROM generate_series(1, {rows}) n;
                 SELECT agent_backup.add_table('{NAME}', 't{number}')"
            ));
        }
    }
}

/// One row of `agent_backup.backup`.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub table: String,
    pub status: String,
    pub rows: Option<i64>,
    pub file: Option<String>,
    pub error: Option<String>,
}

/// Backs up the set `s`.
pub fn backup(client: &mut Client) -> Result<Vec<Row>, Error> {
    let query = "SELECT table_name, status, row_count, backup_file, error_message FROM agent_backup.backup('s')";
    let row = |row: &postgres::Row| Row {
        table: row.get(0),
        status: row.get(1),
        rows: row.get(2),
        file: row.get(3),
        error: row.get(4),
    };
    Ok(client.query(query, &[])?.iter().map(row).collect())
}

/// The statuses of a backup's rows, in their order.
pub fn statuses(rows: &[Row]) -> Vec<&str> {
    rows.iter().map(|row| row.status.as_str()).collect()
}

/// The error's SQLSTATE; of a connection that broke, "lost".
pub fn sqlstate(error: &Error) -> String {
    error.code().map_or("lost".to_owned(), |code| code.code().to_owned())
}

/// The server's message, detail and hint of a call that must fail with `state`.
#[track_caller]
pub fn fails_with<T: std::fmt::Debug>(result: Result<T, Error>, state: &str) -> String {
    let error = result.expect_err(&format!("an error {state}"));
    assert_eq!(sqlstate(&error), state, "{error:?}");
    error.as_db_error().map_or(error.to_string(), |e| {
        [Some(e.message()), e.detail(), e.hint()].into_iter().flatten().collect::<Vec<_>>().join(" | ")
    })
}

/// Starts `statement` in a thread of its own; its session's process id, and what comes of it.
pub fn begun(mut client: Client, statement: &str) -> (i32, std::thread::JoinHandle<(Client, Result<(), Error>)>) {
    let pid = client.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get(0);
    let statement = statement.to_owned();
    let thread = std::thread::spawn(move || {
        let result = client.batch_execute(&statement);
        (client, result)
    });
    (pid, thread)
}

/// Cancels what was begun, while it waits for something; how long that took to end it with 57014.
#[track_caller]
pub fn cancel(pid: i32, thread: std::thread::JoinHandle<(Client, Result<(), Error>)>) -> Duration {
    std::thread::sleep(Duration::from_millis(200));
    let cancelled = Instant::now();
    kill_backend(pid, Signal::SIGINT);
    let (_, result) = thread.join().expect("the session's thread");
    let took = cancelled.elapsed();
    fails_with(result, "57014");
    took
}

/// Waits until this process says in the log that it pauses at `step`.
pub fn wait_for_pause(db: &Database, pid: i32, step: &str) {
    let (process, said) = (format!("[{pid}]"), format!("pauses at step \"{step}\""));
    wait_until(&format!("{pid} to pause at {step}"), Duration::from_secs(60), || {
        db.log().iter().any(|line| line.contains(&process) && line.contains(&said)).then_some(())
    });
}

/// The names of the files in the directory of the set `s`, ordered.
pub fn files(db: &Database) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(db.backup_dir().join(NAME)) else { return Vec::new() };
    let files = entries.map(|entry| entry.expect("an entry")).filter(|entry| entry.path().is_file());
    let mut names: Vec<String> = files.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Every backup that the catalogue lists with files is whole and every file in the set's directory is listed; their
/// number. Whole: container and manifest stand there and agree, each chunk decodes to its rows, and tar reads it.
#[track_caller]
pub fn assert_backups_whole(db: &Database) -> usize {
    let query = "SELECT backup_id, directory, file_name, manifest_name, row_count, status,
                        (SELECT count(*) FROM agent_backup.backup_entry e WHERE e.backup_id = c.backup_id)
                 FROM agent_backup.backup_catalog c WHERE set_name = 's' AND file_name IS NOT NULL";
    let listed = db.client().query(query, &[]).expect("the catalogue");
    let mut names = BTreeSet::new();
    for row in &listed {
        let (id, directory): (String, String) = (row.get(0), row.get(1));
        let (file, manifest): (String, String) = (row.get(2), row.get(3));
        let path = format!("{directory}/{file}");
        let open = File::open(&path).unwrap_or_else(|error| panic!("{id}: {path}: {error}"));
        let container = Container::open(open).unwrap_or_else(|error| panic!("{id}: {path}: {error}"));
        assert_eq!(container.manifest.backup_id, id, "{path}");
        let beside = std::fs::read(format!("{directory}/{manifest}")).unwrap_or_else(|error| panic!("{id}: {error}"));
        assert!(beside == container.manifest_bytes, "{id}: the manifest beside it differs");
        if is_new(&path) {
            assert_decodes(&container, &path);
        }
        let rows: u64 = container.manifest.members.iter().map(|member| member.rows).sum();
        assert_eq!(row.get::<_, i64>(4), rows as i64, "{id}: rows in the catalogue and in the manifest");
        let entries = container.manifest.entries.iter().filter(|entry| entry.format.is_some()).count();
        assert_eq!(row.get::<_, i64>(6), entries as i64, "{id}: entries in the catalogue and in the manifest");
        let tar = Command::new("tar").arg("-tf").arg(&path).output().expect("tar");
        let list = String::from_utf8_lossy(&tar.stdout).into_owned();
        assert!(tar.status.success() && list.contains("manifest.json"), "{path}: {list} {:?}", tar.stderr);
        assert!(names.insert(file.clone()) && names.insert(manifest), "{file} is listed twice");
    }
    let stray: Vec<String> = files(db).into_iter().filter(|name| !names.contains(name)).collect();
    assert!(stray.is_empty(), "on disk and not listed: {stray:?}");
    listed.len()
}

/// Whether this very file is seen for the first time: decoding it again and again is slow in a test's build.
fn is_new(path: &str) -> bool {
    static SEEN: Mutex<BTreeSet<(u64, i64, i64, u64)>> = Mutex::new(BTreeSet::new());
    let facts = std::fs::metadata(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let identity = (facts.ino(), facts.ctime(), facts.ctime_nsec(), facts.size());
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).insert(identity)
}

fn assert_decodes(container: &Container<File>, path: &str) {
    let found = container.verify_content();
    assert!(found.is_clean(), "{path}: {found:?}");
    for entry in &container.manifest.entries {
        let Some(format) = entry.format else { continue };
        let found = container.verify_decoded(entry, |plain| Ok(split::digest(format, plain)));
        assert!(found.is_clean(), "{path}: {}: {found:?}", entry.name);
    }
}

/// The end of every test: a further backup of `s` works without help, all backups are whole, and there is no trash.
/// `expected` are the log lines that the test provoked.
#[track_caller]
pub fn assert_clean(db: &Database, expected: &[&str]) {
    let before = assert_backups_listed(db);
    let rows = backup(&mut db.client()).unwrap_or_else(|error| panic!("the next backup: {error:?}"));
    assert!(rows.iter().all(|row| row.status == "ok"), "the next backup: {rows:?}");
    assert!(assert_backups_whole(db) > before, "the next backup is not listed");
    assert_no_trash(db, expected);
}

fn assert_backups_listed(db: &Database) -> usize {
    let query = "SELECT count(*) FROM agent_backup.backup_catalog WHERE set_name = 's' AND file_name IS NOT NULL";
    db.client().query_one(query, &[]).expect("the catalogue").get::<_, i64>(0) as usize
}
