//! Removing what the retention does not keep. Rows go in the transaction, files when it commits; of a set all that can be
//! looked at before is looked at before, so that a row whose files have to stay stays with them.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::rc::Rc;

use agent_backup_core::container::{Container, Manifest};
use agent_backup_core::plan::incrementals::Full;
use agent_backup_core::store::{Directory, DirectoryLock, Doomed, StoreError};
use chrono::{DateTime, Utc};
use pgrx::check_for_interrupts;

use super::Planned;
use crate::error::{Error, Result};
use crate::journal_retention::{self, Candidate};
use crate::run::incremental::expire::{self, Expired};
use crate::run::{blob, place, removal};
use crate::server::lock::SetLock;
use crate::server::subtransaction::attempt;
use crate::server::{clock, failpoint, privilege, snapshot};
use crate::settings;

/// A backup or an incremental that goes, or should have.
#[derive(Default)]
pub struct Pruned {
    /// None of an incremental.
    pub backup_id: Option<String>,
    /// `full`, `archive`, `safety` or `incremental`; none where a whole set could not be looked at.
    pub kind: Option<String>,
    pub path: Option<String>,
    pub started_at: Option<DateTime<Utc>>,
    pub size: Option<i64>,
    /// `remove`, `removed` or `failed`.
    pub action: &'static str,
    pub reasons: Vec<String>,
    pub set: String,
}

/// Says what of a set, or of all, is not kept, and removes it when that is confirmed.
pub fn run(set: Option<&str>, confirmed: bool) -> Result<Vec<Pruned>> {
    privilege::require_file_writer(&settings::directory())?;
    if confirmed {
        snapshot::require_writable()?;
    }
    let Some(set) = set else {
        let mut all = Vec::new();
        for set in journal_retention::all_sets()? {
            // One set that is busy, or whose disk is gone, costs that set.
            all.extend(attempt(|| of_set(&set, confirmed)).unwrap_or_else(|failure| {
                vec![Pruned { action: "failed", reasons: vec![failure.message], set, ..Pruned::default() }]
            }));
        }
        return Ok(all);
    };
    of_set(set, confirmed)
}

fn of_set(set: &str, confirmed: bool) -> Result<Vec<Pruned>> {
    let now = clock::now()?;
    if !confirmed {
        let planned = super::decide(set, journal_retention::candidates(set)?, now)?;
        let (stay, go): (Vec<Planned>, Vec<Planned>) = planned.into_iter().partition(|planned| planned.keep);
        let incrementals = expire::planned(set, &fulls(stay.iter().map(|planned| &planned.backup)), now)?;
        let backups = go.into_iter().map(|planned| pruned(set, planned, "remove"));
        return Ok(of_incrementals(set, incrementals).chain(backups).collect());
    }
    let _lock = SetLock::acquire(set)?;
    let planned = super::decide(set, journal_retention::locked_candidates(set)?, now)?;
    failpoint::reach("prune")?;
    let mut opened = Opened::default();
    let (mut stay, mut done) = (Vec::new(), Vec::new());
    for planned in planned {
        check_for_interrupts!();
        if planned.keep {
            stay.push(planned.backup);
            continue;
        }
        match opened.prepare(set, &planned.backup) {
            Ok(()) => {
                journal_retention::remove(&planned.backup, &planned.reasons, now)?;
                done.push(pruned(set, planned, "removed"));
            }
            Err(error) => {
                stay.push(planned.backup.clone());
                let failed = pruned(set, planned, "failed");
                let reasons = std::iter::once(error.to_string()).chain(failed.reasons).collect();
                done.push(Pruned { reasons, ..failed });
            }
        }
    }
    // What extends a backup goes before it.
    let incrementals = expire::removed(set, &fulls(stay.iter()), now)?;
    opened.remove_at_commit();
    failpoint::reach("pruned")?;
    Ok(of_incrementals(set, incrementals).chain(done).collect())
}

/// The directories that files go from.
#[derive(Default)]
struct Opened {
    places: HashMap<String, Place>,
}

struct Place {
    directory: Directory,
    lock: Rc<DirectoryLock>,
    doomed: Vec<Doomed>,
}

impl Opened {
    /// Makes sure, as far as can be told now, that a backup's files can be removed and are its own.
    fn prepare(&mut self, set: &str, backup: &Candidate) -> Result<()> {
        let Some((file, manifest)) = &backup.files else { return Ok(()) };
        if !self.places.contains_key(&backup.directory) {
            let (directory, lock) = place::to_remove(Path::new(&backup.directory), set)?;
            self.places.insert(backup.directory.clone(), Place { directory, lock, doomed: Vec::new() });
        }
        let missing = || Error::Internal { object: "directory", reason: "it was not opened".into() };
        let place = self.places.get_mut(&backup.directory).ok_or_else(missing)?;
        let doomed = Doomed { manifest: manifest.clone(), data: file.clone() };
        require_own(&place.directory, &doomed, &backup.backup_id)?;
        place.doomed.push(doomed);
        Ok(())
    }

    fn remove_at_commit(self) {
        for Place { directory, lock, doomed } in self.places.into_values() {
            removal::at_commit(&directory, &lock, doomed);
        }
    }
}

/// Refuses files that say they are another backup: one of another database may have taken the name of a file that was
/// lost. What says nothing any more is damaged or sealed, and ours.
fn require_own(directory: &Directory, files: &Doomed, backup_id: &str) -> Result<()> {
    let another = |file: &str, id: &str| {
        if id == backup_id {
            return Ok(());
        }
        let file = directory.path().join(file).display().to_string();
        Err(Error::Swapped { file, backup: backup_id.to_owned() })
    };
    match directory.open_file(&files.manifest) {
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(MANIFEST_LIMIT).read_to_end(&mut bytes).map_err(Error::Write)?;
            if let Ok(manifest) = Manifest::parse(&bytes) {
                return another(&files.manifest, &manifest.backup_id);
            }
        }
        Err(StoreError::Missing { .. }) => (),
        Err(error) => return Err(error.into()),
    }
    match blob::of_file(directory, &files.data) {
        Ok(file) => match blob::opened(file, &files.data).ok().and_then(|plain| Container::open(plain).ok()) {
            Some(container) => another(&files.data, &container.manifest.backup_id),
            None => Ok(()),
        },
        Err(StoreError::Missing { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Bytes of the largest manifest that is read.
const MANIFEST_LIMIT: u64 = 1 << 30;

/// The backups that incrementals can extend.
fn fulls<'a>(backups: impl Iterator<Item = &'a Candidate>) -> Vec<Full> {
    let full = |backup: &Candidate| Full { id: backup.backup_id.clone(), started_at: backup.started_at };
    backups.filter(|backup| backup.files.is_some()).map(full).collect()
}

fn pruned(set: &str, Planned { backup, reasons, .. }: Planned, action: &'static str) -> Pruned {
    Pruned {
        path: backup.path(),
        backup_id: Some(backup.backup_id),
        kind: Some(backup.kind),
        started_at: Some(backup.started_at),
        size: Some(backup.size_bytes),
        action,
        reasons,
        set: set.to_owned(),
    }
}

/// Those that go, newest first.
fn of_incrementals(set: &str, all: Vec<Expired>) -> impl Iterator<Item = Pruned> {
    let one = move |(set, expired): (String, Expired)| Pruned {
        backup_id: None,
        kind: Some("incremental".to_owned()),
        path: Some(expired.path()),
        started_at: Some(expired.started_at),
        size: Some(expired.size.cast_signed()),
        action: expired.action,
        reasons: vec![expired.reason],
        set,
    };
    let set = set.to_owned();
    all.into_iter().rev().filter(|expired| expired.action != "keep").map(move |expired| one((set.clone(), expired)))
}
