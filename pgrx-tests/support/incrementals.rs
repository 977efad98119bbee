//! What tests of incrementals share: a call and its rows, and what the files and the archive hold.

use std::cell::RefCell;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use postgres::Client;

use crate::cluster::{Cluster, Options};
use crate::database::Database;
use crate::lines;

/// A fresh database in a cluster where nothing else runs until the test's thread ends: a transaction of another test would
/// be one that ran at the watermark, and what it could have hidden would be copied once more.
pub fn quiet_database() -> Database<'static> {
    static QUIET: OnceLock<Cluster> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::new(());
    thread_local! {
        static MINE: RefCell<Option<MutexGuard<'static, ()>>> = const { RefCell::new(None) };
    }
    if MINE.with_borrow(Option::is_none) {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        MINE.set(Some(turn));
    }
    QUIET.get_or_init(|| Cluster::start(Options::default().setting("autovacuum = off"))).database()
}

/// One row of `agent_backup.incremental`.
#[derive(Debug, Clone, PartialEq)]
pub struct Incremental {
    pub table: String,
    pub source: Option<String>,
    pub rows: Option<i64>,
    pub tombstones: Option<i64>,
    pub file: Option<String>,
    pub status: String,
    pub details: String,
}

/// Runs it with these arguments.
pub fn incremental_with(client: &mut Client, arguments: &str) -> Vec<Incremental> {
    let query = format!(
        "SELECT table_name, source, rows_backed_up, tombstones, file_name, status, coalesce(details, '') FROM agent_backup.incremental({arguments})"
    );
    let row = |row: &postgres::Row| Incremental {
        table: row.get(0),
        source: row.get(1),
        rows: row.get(2),
        tombstones: row.get(3),
        file: row.get(4),
        status: row.get(5),
        details: row.get(6),
    };
    client.query(&query, &[]).unwrap_or_else(|error| panic!("{query}: {error:?}")).iter().map(row).collect()
}

/// Of the set `s`, whose only table it is.
#[track_caller]
pub fn incremental_of_s(db: &Database) -> Incremental {
    let mut rows = incremental_with(&mut db.client(), "'s'");
    assert_eq!(rows.len(), 1, "{rows:?}");
    let row = rows.remove(0);
    assert_eq!(row.status, "ok", "{row:?}");
    row
}

/// A database with a set `s` of the tables that a script makes.
pub fn with_set(script: &str, tables: &[&str]) -> Database<'static> {
    let db = quiet_database();
    db.run(&format!("{script}; SELECT agent_backup.create_set('s')"));
    for table in tables {
        db.run(&format!("SELECT agent_backup.add_table('s', '{table}')"));
    }
    db
}

/// The rows in a file, as any tool reads them.
#[track_caller]
pub fn rows_in(db: &Database, set: &str, file: &str) -> Vec<String> {
    let path = db.backup_dir().join(set).join("incremental").join(file);
    let output = Command::new("zcat").arg(&path).output().expect("zcat");
    assert!(output.status.success(), "{}: {output:?}", path.display());
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let text = text.strip_prefix('[').and_then(|text| text.strip_suffix("\n]\n")).unwrap_or_else(|| panic!("{text}"));
    text.split('\n').filter(|line| !line.is_empty()).map(|line| line.trim_end_matches(',').to_owned()).collect()
}

/// The ids in the file of a row, ordered.
#[track_caller]
pub fn ids_in(db: &Database, row: &Incremental) -> Vec<i64> {
    let Some(file) = &row.file else { return Vec::new() };
    let rows = rows_in(db, "s", file);
    let query = "SELECT (r::jsonb ->> 'id')::bigint FROM unnest($1::text[]) r ORDER BY 1";
    db.client().query(query, &[&rows]).unwrap().iter().map(|row| row.get(0)).collect()
}

/// The tombstones in the manifest of a file.
#[track_caller]
pub fn tombstones_in(db: &Database, file: &str) -> Vec<String> {
    let path = db.backup_dir().join("s/incremental").join(file.replace(".json.gz", ".manifest.json"));
    let manifest = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let manifest = agent_backup_core::container::Increment::parse(&manifest).unwrap();
    let bytes = std::fs::read(path.with_file_name(file)).unwrap();
    assert_eq!(manifest.file_sha256, agent_backup_core::stream::sha256_hex(&bytes));
    assert_eq!((manifest.file.as_str(), manifest.file_bytes), (file, bytes.len() as u64));
    assert_eq!(manifest.rows, rows_in(db, "s", file).len() as u64);
    manifest.tombstones
}

/// What incrementals archived, oldest first.
pub fn archived(db: &Database) -> Vec<String> {
    lines(
        &mut db.client(),
        "SELECT original_table, original_id, data FROM agent_training_archive WHERE archive_reason = 'incremental_backup' ORDER BY archived_at, original_table, original_id",
    )
}
