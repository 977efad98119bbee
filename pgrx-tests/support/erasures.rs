//! What tests of erasure share: a set with a person in it, a call and its rows, and a search through every byte.

use std::path::{Path, PathBuf};
use std::process::Command;

use postgres::Client;

use crate::database::{Database, database};

/// Who is erased: a text that stands nowhere else.
pub const CANARY: &str = "canary.person@example.org";

/// A row of `erase_subject`.
#[derive(Debug, Clone, PartialEq)]
pub struct Erased {
    pub place: String,
    pub object: String,
    pub backup_id: Option<String>,
    pub rows: Option<i64>,
    pub chunks: Option<i64>,
    pub bytes: Option<i64>,
    pub action: String,
    pub details: String,
}

/// Calls `erase_subject` with these arguments, as they stand in SQL.
pub fn erase(client: &mut Client, arguments: &str) -> Result<Vec<Erased>, postgres::Error> {
    let rows = client.query(&format!("SELECT * FROM agent_backup.erase_subject({arguments})"), &[])?;
    let row = |row: &postgres::Row| Erased {
        place: row.get(0),
        object: row.get(1),
        backup_id: row.get(2),
        rows: row.get(3),
        chunks: row.get(4),
        bytes: row.get(5),
        action: row.get(6),
        details: row.get(7),
    };
    Ok(rows.iter().map(row).collect())
}

/// Rows by place and action, summed, without those of nothing.
pub fn summed(erased: &[Erased]) -> Vec<(String, String, i64)> {
    let mut sums: Vec<(String, String, i64)> = Vec::new();
    for row in erased.iter().filter(|row| row.action != "nothing") {
        let rows = row.rows.unwrap_or(0);
        match sums.iter_mut().find(|(place, action, _)| *place == row.place && *action == row.action) {
            Some((_, _, sum)) => *sum += rows,
            None => sums.push((row.place.clone(), row.action.clone(), rows)),
        }
    }
    sums.sort();
    sums
}

/// A set `s` with table `t` of this many rows, of which every thousandth is the canary's, in column `email` and in the JSON
/// of `data`. `options` are of `create_set`.
pub fn with_person(rows: u32, options: &str) -> Database<'static> {
    let db = database();
    make_person(&db, rows, options);
    db
}

/// The same in a database that is there.
pub fn make_person(db: &Database, rows: u32, options: &str) {
    db.run(&format!(
        "CREATE TABLE t (id int PRIMARY KEY, email text, note text, data jsonb);
         INSERT INTO t SELECT n, CASE WHEN n % 1000 = 7 THEN '{CANARY}' ELSE 'p' || n || '@example.org' END, md5(n::text),
             jsonb_build_object('email', CASE WHEN n % 1000 = 7 THEN '{CANARY}' ELSE 'p' || n || '@example.org' END, 'n', n)
           FROM generate_series(1, {rows}) n;
         SELECT agent_backup.create_set('s'{options});
         SELECT agent_backup.add_table('s', 't', subject_columns => ARRAY['email', 'data->>''email'''])"
    ));
}

/// The files below a directory.
pub fn all_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let Ok(entries) = std::fs::read_dir(directory) else { return files };
    for entry in entries.filter_map(Result::ok) {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(all_files(&entry.path())),
            Ok(_) => files.push(entry.path()),
            Err(_) => (),
        }
    }
    files.sort();
    files
}

/// Files below a directory that have a text somewhere, as they are or decompressed.
pub fn files_with(directory: &Path, text: &str) -> Vec<PathBuf> {
    let has = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap_or_default();
        let plain = match bytes.get(..4) {
            Some([0x1f, 0x8b, ..]) => Command::new("zcat").arg(path).output().expect("zcat").stdout,
            Some([0x28, 0xb5, 0x2f, 0xfd]) => Command::new("zstdcat").arg(path).output().expect("zstdcat").stdout,
            _ => Vec::new(),
        };
        [&bytes, &plain].into_iter().any(|bytes| memmem(bytes, text.as_bytes()))
    };
    all_files(directory).into_iter().filter(has).collect()
}

fn memmem(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}
