//! All of a set that is not in another place yet: newest backups first, of each the container, then the manifest, which
//! alone makes it a backup there. What is whole there is not sent again, so a call that was cut short goes on where it was.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use agent_backup_core::store::object::ObjectError;
use agent_backup_core::stream::sha256_hex;

use crate::error::{Error, OffsiteError, Result};
use crate::journal_offsite::{self, Copy, Keys, LocalBackup};
use crate::run::offsite::access::{self, Store};
use crate::run::offsite::destination::{self, Destination};
use crate::run::offsite::local::{self, Whole};
use crate::run::offsite::retain;
use crate::run::offsite::send::Action;
use crate::run::say;
use crate::server::lock::SetLock;
use crate::server::{facts, privilege, snapshot};

/// An object that is there now, or why not.
pub struct Sent {
    pub destination: String,
    pub key: Option<String>,
    pub backup_id: Option<String>,
    pub action: Action,
    pub size: Option<u64>,
    /// None where nothing was sent.
    pub took: Option<Duration>,
    pub error: Option<String>,
}

/// Sends to each destination of a set, or to one, what is not there. One that fails costs that one.
pub fn run(set: &str, only: Option<&str>) -> Result<Vec<Sent>> {
    snapshot::require_writable()?;
    privilege::require_operator()?;
    let destinations = destination::of_set(set, only)?;
    let _lock = SetLock::of_copies(set)?;
    let backups = journal_offsite::local_backups(set)?;
    let mut all = Vec::new();
    for destination in &destinations {
        let mut sent = Vec::new();
        if let Err(error) = to(destination, &backups, &mut sent) {
            let error = unless_cancelled(error)?.to_string();
            say::warning(&format!("{}: {error}", destination.url));
            sent.push(Sent { error: Some(error), ..Sent::failed(destination, None, None) });
        }
        all.extend(sent);
    }
    Ok(all)
}

/// A cancel ends the call, whatever else would go on.
pub fn unless_cancelled(error: Error) -> Result<Error> {
    match error {
        Error::Offsite(OffsiteError::Cancelled) => Err(error),
        other => Ok(other),
    }
}

fn to(destination: &Destination, backups: &[LocalBackup], sent: &mut Vec<Sent>) -> Result<()> {
    let store = access::open(&destination.url, destination.server.as_deref())?;
    let here = facts::server()?;
    let own = local::prefix_of_set(&here.system_identifier, &here.database, &destination.set);
    store.sweep(&own)?;
    let mut prefixes: Vec<String> = backups.iter().map(of_set).chain([own]).collect();
    prefixes.sort();
    prefixes.dedup();
    let mut sizes = HashMap::new();
    for prefix in &prefixes {
        sizes.extend(store.sizes(prefix)?);
    }
    let copies = journal_offsite::copies(&destination.url, &destination.set)?;
    let copies = copies.into_iter().map(|copy| (copy.backup_id.clone(), copy)).collect();
    let mut upload = Upload { destination, store, sizes, copies, sent };
    upload.backups(backups)?;
    upload.incrementals()?;
    upload.tombstones(&here)
}

fn of_set(backup: &LocalBackup) -> String {
    local::prefix_of_set(&backup.system_identifier, &backup.database_name, &backup.set_name)
}

/// What is sent to one destination.
pub(super) struct Upload<'a> {
    pub destination: &'a Destination,
    pub store: Store,
    /// Of all objects of the set that are there.
    pub sizes: HashMap<String, u64>,
    copies: HashMap<String, Copy>,
    pub sent: &'a mut Vec<Sent>,
}

impl Upload<'_> {
    /// Those that the destination keeps, newest first. Where one cannot be sent, the one that would be kept in its place is.
    fn backups(&mut self, backups: &[LocalBackup]) -> Result<()> {
        let (mut tried, mut failed) = (HashSet::new(), Vec::new());
        let mut unwanted = retain::not_wanted(self.destination, backups, &self.copies, &failed)?;
        let next = |tried: &HashSet<String>, unwanted: &[String], copies: &HashMap<String, Copy>| {
            let is_due = |id: &String| !tried.contains(id) && (!unwanted.contains(id) || copies.contains_key(id));
            backups.iter().find(|backup| is_due(&backup.backup_id))
        };
        while let Some(backup) = next(&tried, &unwanted, &self.copies) {
            tried.insert(backup.backup_id.clone());
            let keys = local::keys(backup);
            let Err(error) = self.backup(backup, &keys) else { continue };
            let error = unless_cancelled(error)?;
            self.not_sent(backup, &keys, &error)?;
            if concerns_all(&error) {
                return Ok(());
            }
            failed.push(backup.backup_id.clone());
            unwanted = retain::not_wanted(self.destination, backups, &self.copies, &failed)?;
        }
        Ok(())
    }

    /// Tells of a backup that could not be sent. A copy that was whole before stays listed as it was.
    fn not_sent(&mut self, backup: &LocalBackup, keys: &Keys, error: &Error) -> Result<()> {
        let shown = error.to_string();
        if self.copies.get(&backup.backup_id).is_none_or(|copy| copy.status == "failed") {
            journal_offsite::record(&self.destination.url, backup, keys, None, Err(&shown))?;
        }
        say::warning(&format!("{}: {shown}", keys.object));
        self.failed(&keys.object, Some(&backup.backup_id), shown);
        Ok(())
    }

    fn backup(&mut self, backup: &LocalBackup, keys: &Keys) -> Result<()> {
        let id = Some(backup.backup_id.as_str());
        let sizes = [&keys.object, &keys.manifest].map(|key| self.sizes.get(key).copied());
        let copy = self.copies.get(&backup.backup_id);
        let is_refuted = copy.is_some_and(|copy| copy.is_refuted);
        let is_listed = copy.is_some_and(|copy| {
            ["complete", "retained"].contains(&copy.status.as_str())
                && copy.size_bytes == sizes[0]
                && copy.manifest_sha256 == backup.manifest_sha256
        });
        if let ([Some(object), Some(manifest)], true, false) = (sizes, is_listed, is_refuted) {
            self.done(&keys.object, id, Action::Present, object, None);
            self.done(&keys.manifest, id, Action::Present, manifest, None);
            return Ok(());
        }
        let Whole { file, content, manifest } = local::open(backup)?;
        let before = copy.map(|copy| (copy.object_key.clone(), copy.manifest_sha256.clone()));
        let sent = before.as_ref().map(|(_, sha256)| sha256.as_str());
        let has_manifest = sizes[1].is_some() && self.is_there(&keys.manifest, &manifest, sent)?;
        let is_same = sizes[0] == Some(content.size) && !is_refuted && self.store.is(&keys.object, content)?;
        if is_same {
            self.done(&keys.object, id, Action::Adopted, content.size, None);
        } else {
            let took = self.store.put_file(&keys.object, file, content)?;
            self.done(&keys.object, id, Action::Uploaded, content.size, Some(took));
        }
        let action = if has_manifest { Action::Adopted } else { self.store.create(&keys.manifest, &manifest)? };
        // Another server of the same name may have put its container in the place of ours meanwhile.
        if !self.store.is(&keys.object, content)? {
            if action == Action::Uploaded {
                self.store.remove(&keys.manifest)?;
            }
            return Err(OffsiteError::Conflict { key: keys.object.clone() }.into());
        }
        self.done(&keys.manifest, id, action, manifest.len() as u64, None);
        journal_offsite::record(&self.destination.url, backup, keys, Some(&content.hex()), Ok(content.size))?;
        match before {
            Some((object, _)) if object != keys.object => self.clear(&object, id),
            _ => Ok(()),
        }
    }

    /// Removes what was the copy before it was sealed under another name.
    pub(super) fn clear(&mut self, key: &str, id: Option<&str>) -> Result<()> {
        if let Err(error) = self.store.remove(key) {
            let error = unless_cancelled(error)?;
            say::warning(&format!("{key} was replaced and is still there: {error}"));
            self.failed(key, id, error.to_string());
        }
        Ok(())
    }

    /// Whether this very manifest is there. An older one of the same backup, or the one that was `sent` before (by its
    /// SHA-256), makes room; another is a conflict.
    fn is_there(&self, key: &str, manifest: &[u8], sent: Option<&str>) -> Result<bool> {
        let there = self.store.read(key)?;
        if there == manifest {
            return Ok(true);
        }
        if !local::supersedes(manifest, &there) && sent != Some(sha256_hex(&there).as_str()) {
            return Err(OffsiteError::Conflict { key: key.to_owned() }.into());
        }
        self.store.remove(key)?;
        Ok(false)
    }

    pub(super) fn done(&mut self, key: &str, id: Option<&str>, action: Action, size: u64, took: Option<Duration>) {
        let failed = Sent::failed(self.destination, Some(key), id);
        self.sent.push(Sent { action, size: Some(size), took, ..failed });
    }

    pub(super) fn failed(&mut self, key: &str, id: Option<&str>, error: String) {
        let failed = Sent::failed(self.destination, Some(key), id);
        self.sent.push(Sent { error: Some(error), ..failed });
    }
}

impl Sent {
    fn failed(destination: &Destination, key: Option<&str>, id: Option<&str>) -> Self {
        Sent {
            destination: destination.url.clone(),
            key: key.map(str::to_owned),
            backup_id: id.map(str::to_owned),
            action: Action::Failed,
            size: None,
            took: None,
            error: None,
        }
    }
}

/// Whether what went wrong with one object will go wrong with the next one too.
pub(super) fn concerns_all(error: &Error) -> bool {
    let Error::Offsite(OffsiteError::Object(error)) = error else { return false };
    error.is_passing()
        || matches!(
            error,
            ObjectError::Denied { .. } | ObjectError::NoCredentials { .. } | ObjectError::Misconfigured { .. }
        )
}
