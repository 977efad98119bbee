//! What the tests share: private clusters, a fresh database per test, faults, and checks that can fail.
//!
//! A test in `pgrx-tests/tests/<verb>.rs` starts with `let db = database();` and has a database of its own, with the
//! extension and an empty backup directory, in a cluster that its test binary shares. A test that needs settings, an
//! encoding or a crash of its own starts its own [`Cluster`]. All of it is gone when the test binary is, however it ends.
//!
//! What takes long is `#[ignore = "long: …"]`, so that it is counted as skipped; `make test-long` runs it and sets
//! `AGENT_BACKUP_LONG`, which a sampled test reads by [`long`] to take every point instead of some.

mod answers;
mod backups;
pub mod browser;
mod canaries;
mod cluster;
mod compare;
mod database;
mod erasures;
mod exact;
mod faults;
mod garage;
pub mod history;
mod incrementals;
mod keys;
mod reaper;
mod restores;
mod retention;
mod s3;
mod schema;
mod server;
mod trash;

pub use answers::{Refusal, entries, entry, lines, one, refused};
pub use backups::{
    Row, Set, assert_backups_whole, assert_clean, backup, begun, cancel, fails_with, files, sqlstate, statuses,
    wait_for_pause,
};
pub use canaries::{end_with, singers, with_mallory};
pub use cluster::{Cluster, Options};
pub use compare::{assert_equal_tables, equal_tables};
pub use database::{Database, database, shared};
pub use erasures::{CANARY, Erased, all_files, erase, files_with, make_person, summed, with_person};
pub use exact::{
    Export, Reads, assert_exact, assert_same_bytes, copy_csv, csv_digest, export, has_xml, json_array, json_digest,
    pin, try_export,
};
pub use faults::{Strace, kill_backend, strace_backend, wait_for_recovery};
pub use garage::Garage;
pub use incrementals::{
    Incremental, archived, ids_in, incremental_of_s, incremental_with, quiet_database, rows_in, tombstones_in, with_set,
};
pub use keys::{KeyFiles, sealed_set};
pub use nix::sys::signal::Signal;
pub use restores::{
    Step, assert_sound, back_up, backup_files, newest_container, restore, said, saved, state, try_restore,
};
pub use retention::{Pruned, backups_at, listed_days, noted, prune, set_clock};
pub use s3::{BUCKET, Call, KEY_ID, S3, SECRET, connection};
pub use schema::{SCHEMA_STATE, column_of, difference, empty_database, of_project, pg_dump};
pub use server::{pg_config, server_major};
pub use trash::{assert_no_trash, trash};

use std::time::{Duration, Instant};

/// True under `make test-long`: take every point instead of a sample.
pub fn long() -> bool {
    std::env::var_os("AGENT_BACKUP_LONG").is_some_and(|value| value != "0" && !value.is_empty())
}

/// Asks until there is an answer; panics with `what` when there is none within `limit`.
pub fn wait_until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
