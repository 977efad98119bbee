//! A backup to be damaged, and what `verify` says of it.
#![allow(dead_code, reason = "each file of tests uses a part")]

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use agent_backup_core::container::{Container, Entry};
use agent_backup_suite::one;
use agent_backup_suite::{Database, Set, assert_clean, backup, database};

/// A line of `verify`.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub table: Option<String>,
    pub format: Option<String>,
    pub check: String,
    pub status: String,
    pub details: String,
}

impl Line {
    pub fn word(&self) -> &str {
        self.details.split(": ").next().unwrap()
    }
}

/// A backup of two tables of the set `s` with chunks of 16 kB, and its files as they were written.
pub struct Backup {
    pub db: Database<'static>,
    pub id: String,
    pub container: PathBuf,
    pub manifest: PathBuf,
    pub good: (Vec<u8>, Vec<u8>),
}

impl Backup {
    pub fn new() -> Self {
        Self::of(1_000)
    }

    /// As `new`, with this number of rows in each table.
    pub fn of(rows: usize) -> Self {
        let db = database();
        Set::create(&db, 2, rows);
        Self::next(db)
    }

    /// One more backup in the same database.
    pub fn next(db: Database<'static>) -> Self {
        let mut client = db.client();
        client.batch_execute("SELECT agent_backup.lock_key('x'); SET agent_backup.chunk_size = '16kB'").unwrap();
        backup(&mut client).unwrap();
        let query = "SELECT backup_id, backup_file, manifest_file FROM agent_backup.backups ORDER BY started_at DESC, backup_id DESC LIMIT 1";
        let row = client.query_one(query, &[]).unwrap();
        let (container, manifest) = (PathBuf::from(row.get::<_, String>(1)), PathBuf::from(row.get::<_, String>(2)));
        let good = (fs::read(&container).unwrap(), fs::read(&manifest).unwrap());
        Backup { db, id: row.get(0), container, manifest, good }
    }

    pub fn verify(&self, level: &str) -> Vec<Line> {
        verify(&self.db, &self.id, level)
    }

    /// The lines that say failed.
    pub fn failed(&self, level: &str) -> Vec<Line> {
        self.verify(level).into_iter().filter(|line| line.status == "failed").collect()
    }

    pub fn mend(&self) {
        fs::write(&self.container, &self.good.0).unwrap();
        fs::write(&self.manifest, &self.good.1).unwrap();
        let owner = fs::metadata(self.db.backup_dir()).unwrap().uid();
        for file in [&self.container, &self.manifest] {
            chown(file, Some(owner), None).unwrap();
        }
    }

    pub fn entry(&self, name: &str) -> Entry {
        Container::open(&self.good.0[..]).unwrap().entry(name).unwrap().clone()
    }

    /// The end of a test: mended, it verifies, and the next backup works.
    #[track_caller]
    pub fn assert_mended(&self) {
        self.mend();
        assert_eq!(self.failed("decode"), []);
        let verdict: String = one(
            &mut self.db.client(),
            &format!("SELECT verification_status FROM agent_backup.backups WHERE backup_id = '{}'", self.id),
        );
        assert_eq!(verdict, "success");
        assert_clean(&self.db, &[]);
    }
}

pub fn verify(db: &Database, backup: &str, level: &str) -> Vec<Line> {
    let query = "SELECT table_name, format, check_name, status, details FROM agent_backup.verify($1, $2, 's')";
    let rows = db.client().query(query, &[&backup, &level]).unwrap();
    let line = |row: &postgres::Row| Line {
        table: row.get(0),
        format: row.get(1),
        check: row.get(2),
        status: row.get(3),
        details: row.get(4),
    };
    rows.iter().map(line).collect()
}

pub fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// What verification knows of a damage: its words, with the table where there is one.
pub fn words(lines: &[Line]) -> Vec<String> {
    let mut words: Vec<String> = lines
        .iter()
        .map(|line| format!("{}{}", line.table.clone().map_or(String::new(), |t| t + " "), line.word()))
        .collect();
    words.dedup();
    words
}
