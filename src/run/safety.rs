//! Backups of tables as they are, which belong to no set: before a restore overwrites them, and when tracking begins.

use agent_backup_core::store::Directory;

use crate::error::{Error, Result};
use crate::ident::TableName;
use crate::journal::{Member, Set};
use crate::journal_encryption;
use crate::run::backup::{self, Request};
use crate::run::outcome::State;
use crate::run::say;
use crate::run::site::{self, Site};
use crate::server::pin::Pinned;

/// The set that backups made before a restore are listed under.
pub const SAFETY_SET: &str = "restore_safety";

/// The set that backups made when tracking begins are listed under.
pub const BASELINE_SET: &str = "capture_baseline";

/// A safety backup. Dropped, its files go again, unless it is kept: what was not overwritten needs no copy.
#[must_use]
pub struct Saved {
    pub backup_id: String,
    pub rows: i64,
    directory: Directory,
    files: Vec<String>,
}

impl Saved {
    /// Keeps the files; the backup's id.
    pub fn keep(mut self) -> String {
        self.files.clear();
        std::mem::take(&mut self.backup_id)
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        for file in &self.files {
            if let Err(error) = self.directory.remove(file) {
                say::warning(&format!("could not remove \"{file}\", saved before a restore that failed: {error}"));
            }
        }
    }
}

/// Saves tables that are about to be overwritten, each as it is. One that cannot be saved is an error.
pub fn safety(tables: &[TableName]) -> Result<Saved> {
    of_tables(SAFETY_SET, "safety", tables)
}

/// Saves a table whose changes are captured from now on; the backup's id.
pub fn baseline(table: &TableName) -> Result<String> {
    of_tables(BASELINE_SET, "full", std::slice::from_ref(table)).map(Saved::keep)
}

/// Saves tables as they are under a set that has no members of its own.
fn of_tables(name: &'static str, kind: &str, tables: &[TableName]) -> Result<Saved> {
    let member = |table: &TableName| Member {
        table: table.clone(),
        formats: None,
        row_filter: None,
        excluded: Vec::new(),
        masked: Vec::new(),
        defined_by: None,
        subjects: Vec::new(),
    };
    let set = Set {
        name: name.to_owned(),
        formats: vec!["csv".to_owned()],
        compression: "zstd".to_owned(),
        level: 1,
        recipients_files: journal_encryption::files_of_tables(tables)?,
        members: tables.iter().map(member).collect(),
    };
    // Who asked for it tells of it in a line of its own.
    let quiet = Pinned::nothing();
    quiet.set("client_min_messages", "warning")?;
    let request = Request { set: name, kind, formats: None, tables: None, destination: None };
    let prepared = backup::prepare(&request, &set)?;
    let place = site::directory_of(name)?;
    let directory = place.directory.clone();
    let report = backup::run_set(&request, &set, prepared, &Site::Here(place))?;
    let failed = report.outcomes.iter().find(|outcome| !outcome.is_done());
    if let Some(outcome) = failed {
        let reason = format!("it could not be saved first: {}", outcome.error().unwrap_or("it is gone"));
        return Err(Error::RestoreBlocked { table: outcome.table.display(), reason });
    }
    let rows = report.outcomes.iter().map(|outcome| match outcome.state {
        State::Done { rows, .. } => rows.cast_signed(),
        State::Absent | State::OwnView | State::Failed(_) => 0,
    });
    let rows = rows.sum();
    let placed = report.placed.ok_or(Error::Internal { object: "safety backup", reason: "it has no file".into() })?;
    // In the order of a removal: without its manifest it is no backup.
    let files = vec![placed.manifest_file.name, placed.container.name];
    Ok(Saved { backup_id: placed.manifest.backup_id, rows, directory, files })
}
