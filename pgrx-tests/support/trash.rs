//! The no-trash check: what a call that failed, or one that worked, must not leave behind.

use std::fs;
use std::path::Path;

use crate::database::Database;

/// Everything found that should not be there, a line each; an empty list is a pass. Looks for staging files under the
/// backup directory, advisory locks and open files of the database's backends, and lines of WARNING, FATAL or PANIC in
/// the server's log; a log line that contains one of `expected` is no trash. Call it when the database is at rest.
pub fn trash(database: &Database, expected: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    staging_files(database.backup_dir(), &mut found);
    let mut client = database.client();
    let locks = "SELECT format('advisory lock %s/%s/%s of process %s', classid, objid, objsubid, pid) FROM pg_locks
                 WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    found.extend(client.query(locks, &[]).expect("the locks").iter().map(|row| row.get::<_, String>(0)));
    let backends = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()";
    for row in client.query(backends, &[]).expect("the backends") {
        open_files(row.get(0), database.backup_dir(), &mut found);
    }
    for line in database.log() {
        // DROP DATABASE … WITH (FORCE) of another test says this, of no database.
        let neighbour = line.contains("terminating autovacuum process due to administrator command");
        if is_alarm(&line) && !neighbour && !expected.iter().any(|pattern| line.contains(pattern)) {
            found.push(format!("log: {line}"));
        }
    }
    found
}

/// Panics with all that [`trash`] finds. A lock is looked for again: the server tells of an error before it ends the
/// transaction.
#[track_caller]
pub fn assert_no_trash(database: &Database, expected: &[&str]) {
    let mut found = trash(database, expected);
    for _ in 0..20 {
        if found.is_empty() || !found.iter().all(|trash| trash.starts_with("advisory lock")) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        found = trash(database, expected);
    }
    assert!(found.is_empty(), "trash:\n{}", found.join("\n"));
}

fn is_alarm(line: &str) -> bool {
    ["WARNING:  ", "FATAL:  ", "PANIC:  ", "was terminated by signal", "panicked at"]
        .iter()
        .any(|level| line.contains(level))
}

fn staging_files(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
        let entry = entry.expect("a directory entry");
        if entry.file_name().to_string_lossy().contains(".staging") {
            found.push(format!("staging file {}", entry.path().display()));
        } else if entry.file_type().expect("its type").is_dir() {
            staging_files(&entry.path(), found);
        }
    }
}

fn open_files(pid: i32, dir: &Path, found: &mut Vec<String>) {
    // A backend that ended in between holds nothing.
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return };
    for entry in entries.flatten() {
        if let Ok(file) = fs::read_link(entry.path())
            && file.starts_with(dir)
        {
            found.push(format!("process {pid} has {} open", file.display()));
        }
    }
}
