//! Disk and catalogue: the manifests on disk are the truth. A backup that the catalogue does not list is adopted
//! (a rollback, a crash, another server's directory); one that is listed and not there is marked incomplete.

use agent_backup_core::container::Manifest;
use agent_backup_core::container::manifest::Server;
use agent_backup_core::plan::names;
use agent_backup_core::store::Directory;

use crate::error::Result;
use crate::journal::{self, KnownFile};
use crate::run::adopt::{self, Found, Pair};
use crate::run::erase::{settle, tombstones};
use crate::run::shelf::Shelf;
use crate::run::{removal, say};
use crate::server::facts;
use crate::server::subtransaction::attempt;

/// One thing that was found and what was done about it.
pub struct Finding {
    pub file: String,
    pub backup_id: Option<String>,
    /// `adopted`, `completed`, `incomplete`, `restored`, `erased`, `foreign` or `unreadable`.
    pub action: &'static str,
    pub details: String,
}

/// What to do with backups that another database or cluster made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elsewhere {
    /// List them: this server takes over from another.
    Adopt,
    /// Name them and leave them alone.
    Report,
}

/// Adopts what the catalogue does not list and looks for what it lists and the disk has not. The directory is locked.
/// `elsewhere` none adopts backups of others only while the catalogue lists nothing here, as on a new server.
pub fn set(set: &str, directory: &Directory, elsewhere: Option<bool>) -> Result<Vec<Finding>> {
    let known = journal::files_in(&directory.path().display().to_string())?;
    let elsewhere = if elsewhere.unwrap_or(known.is_empty()) { Elsewhere::Adopt } else { Elsewhere::Report };
    let mut files = adopt::regular_files(directory)?;
    files.retain(|file| !removal::is_going(directory, &file.name));
    tombstones::reconcile()?;
    let reconciler = Reconciler { set, directory, files, known, elsewhere };
    reconciler.run()
}

/// What each backup begins with: this database's own strays are listed, and what is gone is marked.
pub fn before_backup(set: &str, directory: &Directory) -> Result<()> {
    for finding in self::set(set, directory, Some(false))? {
        if finding.action != "foreign" {
            say::notice(&format!("{}: {} ({})", finding.file, finding.action, finding.details));
        }
    }
    Ok(())
}

struct Reconciler<'a> {
    set: &'a str,
    directory: &'a Directory,
    files: Vec<Found>,
    known: Vec<KnownFile>,
    elsewhere: Elsewhere,
}

impl Reconciler<'_> {
    fn run(&self) -> Result<Vec<Finding>> {
        let here = facts::server()?;
        let mut findings = Vec::new();
        for file in &self.files {
            let listed = self.known.iter().any(|k| k.file_name == file.name || k.manifest_name == file.name);
            if listed {
                continue;
            }
            if let Some(suffix) = names::suffix_of_container(self.set, &file.name) {
                let (beside, file) = (names::manifest(suffix), file.clone());
                findings.push(self.one(&file, || self.stray(&file, &beside, &here)));
            } else if names::is_manifest(&file.name) && !self.has_container(&file.name) {
                findings.push(unreadable(&file.name, "its container is missing".into()));
            }
        }
        for backup in self.known.iter().filter(|backup| !removal::is_coming(self.directory, &backup.file_name)) {
            let file = Found { name: backup.file_name.clone(), size: 0 };
            findings.extend(self.one_of(&file, || self.listed(backup)));
        }
        Ok(findings)
    }

    fn shelf(&self) -> Shelf {
        Shelf::Local(self.directory.clone())
    }

    /// A file that cannot be read or listed costs that file, and never the others or a backup.
    fn one(&self, file: &Found, work: impl FnOnce() -> Result<Finding>) -> Finding {
        attempt(work).unwrap_or_else(|failure| unreadable(&file.name, failure.message))
    }

    fn one_of(&self, file: &Found, work: impl FnOnce() -> Result<Option<Finding>>) -> Option<Finding> {
        attempt(work).unwrap_or_else(|failure| Some(unreadable(&file.name, failure.message)))
    }

    fn find(&self, name: &str) -> Option<&Found> {
        self.files.iter().find(|file| file.name == name)
    }

    fn has_container(&self, manifest: &str) -> bool {
        let of = |file: &Found| names::suffix_of_container(self.set, &file.name).map(names::manifest);
        self.files.iter().any(|file| of(file).as_deref() == Some(manifest))
    }

    /// A container that no row tells of.
    fn stray(&self, file: &Found, beside: &str, here: &Server) -> Result<Finding> {
        let (pair, action) = match self.find(beside) {
            Some(beside) => (adopt::open(&self.shelf(), file, beside)?, "adopted"),
            None => (adopt::complete(self.directory, file, beside)?, "completed"),
        };
        if self.elsewhere == Elsewhere::Report && !facts::is_same(here, &pair.manifest.server) {
            return Ok(foreign(file, &pair.manifest));
        }
        self.list(file, &pair, action)
    }

    fn list(&self, file: &Found, pair: &Pair, action: &'static str) -> Result<Finding> {
        let details = adopt::list(&self.shelf(), pair)?;
        let backup_id = Some(pair.manifest.backup_id.clone());
        Ok(Finding { file: file.name.clone(), backup_id, action, details })
    }

    /// A row of what was before rows were erased from the file.
    fn erased(&self, backup: &KnownFile) -> Result<Option<Finding>> {
        if !tombstones::any() {
            return Ok(None);
        }
        let relisted = settle::relist(self.directory, &backup.file_name, &backup.manifest_name)?;
        let backup_id = Some(backup.backup_id.clone());
        Ok(relisted.map(|details| Finding { file: backup.file_name.clone(), backup_id, action: "erased", details }))
    }

    /// A row whose files are gone, there again, or whose entries were lost.
    fn listed(&self, backup: &KnownFile) -> Result<Option<Finding>> {
        match (self.find(&backup.file_name), self.find(&backup.manifest_name)) {
            (Some(file), Some(beside)) => {
                if !backup.is_missing_files && !backup.lacks_entries {
                    return self.erased(backup);
                }
                let pair = adopt::open(&self.shelf(), file, beside)?;
                self.list(file, &pair, "restored").map(Some)
            }
            (Some(file), None) if !backup.is_missing_files => {
                let completed = adopt::complete(self.directory, file, &backup.manifest_name);
                completed.and_then(|pair| self.list(file, &pair, "completed")).map(Some)
            }
            _ if backup.is_missing_files => Ok(None),
            (file, _) => {
                let name = if file.is_none() { &backup.file_name } else { &backup.manifest_name };
                let details = format!("{} {name}", journal::MISSING);
                journal::mark_incomplete(&backup.backup_id, &details)?;
                let backup_id = Some(backup.backup_id.clone());
                Ok(Some(Finding { file: backup.file_name.clone(), backup_id, action: "incomplete", details }))
            }
        }
    }
}

pub fn unreadable(file: &str, details: String) -> Finding {
    Finding { file: file.to_owned(), backup_id: None, action: "unreadable", details }
}

pub fn foreign(file: &Found, manifest: &Manifest) -> Finding {
    let Server { database, system_identifier, .. } = &manifest.server;
    Finding {
        file: file.name.clone(),
        backup_id: Some(manifest.backup_id.clone()),
        action: "foreign",
        details: format!(
            "made by database \"{database}\" of cluster {system_identifier}; reconcile(elsewhere => true) lists it here"
        ),
    }
}
