//! Backups that stand in a store, listed here as if they stood here: what an empty server begins with.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use agent_backup_core::plan::names;

use crate::error::Result;
use crate::journal::{self, FileFacts};
use crate::journal_offsite;
use crate::run::adopt::{self, Found};
use crate::run::audit;
use crate::run::offsite::access;
use crate::run::place;
use crate::run::reconcile::{Finding, unreadable};
use crate::run::shelf::Shelf;
use crate::server::subtransaction::attempt;
use crate::server::{privilege, snapshot};

/// Lists what stands below a place, of any cluster and database, or of one set.
pub fn run(url: &str, set: Option<&str>, server: Option<&str>) -> Result<Vec<Finding>> {
    snapshot::require_writable()?;
    privilege::require_operator()?;
    let (_, url) = access::parse(url)?;
    audit::object(&url);
    place::require_store_reader(&url)?;
    let store = access::open(&url, server)?;
    let directories = directories(store.sizes("")?, set);
    journal_offsite::imported(&url, server)?;
    let mut findings = Vec::new();
    for (below, files) in directories {
        findings.extend(directory(&url, &below, &files, server)?);
    }
    Ok(findings)
}

/// Lists what stands in one directory of a store and is not listed.
pub fn directory(url: &str, below: &str, files: &[Found], server: Option<&str>) -> Result<Vec<Finding>> {
    let place = if below.is_empty() { url.to_owned() } else { format!("{url}/{below}") };
    let shelf = Shelf::of(access::open(&place, server)?);
    let known = journal::files_in(&place)?;
    let mut directory = Directory { url, below, shelf, files, listed: HashSet::new() };
    let mut findings = Vec::new();
    // Of two that are of one backup the later name is that of what became of it.
    for manifest in files.iter().rev().filter(|file| names::is_manifest(&file.name)) {
        if known.iter().any(|known| known.manifest_name == manifest.name && !known.is_missing_files) {
            continue;
        }
        findings.extend(directory.one(manifest)?);
    }
    findings.reverse();
    Ok(findings)
}

/// The files of each directory that can hold backups: of the set that is named, where one is.
fn directories(sizes: std::collections::HashMap<String, u64>, set: Option<&str>) -> BTreeMap<String, Vec<Found>> {
    let mut all: BTreeMap<String, Vec<Found>> = BTreeMap::new();
    for (key, size) in sizes {
        let (below, name) = key.rsplit_once('/').unwrap_or(("", &key));
        let last = below.rsplit('/').next().unwrap_or_default();
        let is_of_set = set.is_none_or(|set| last.is_empty() || last == names::encode(set));
        if is_of_set && last != names::INCREMENTALS {
            all.entry(below.to_owned()).or_default().push(Found { name: name.to_owned(), size });
        }
    }
    all.values_mut().for_each(|files| files.sort_by(|one, other| one.name.cmp(&other.name)));
    all
}

/// One directory of the store.
struct Directory<'a> {
    url: &'a str,
    below: &'a str,
    shelf: Shelf,
    files: &'a [Found],
    /// Backups that this call listed: it does not see their rows yet.
    listed: HashSet<String>,
}

impl Directory<'_> {
    /// A manifest that no row tells of. One that cannot be used costs that backup; a store that cannot be reached, the call.
    fn one(&mut self, manifest: &Found) -> Result<Option<Finding>> {
        let shown = self.shelf.path().join(&manifest.name).display().to_string();
        let found = attempt(|| self.adopt(manifest));
        self.shelf.trouble()?;
        Ok(found.unwrap_or_else(|failure| Some(unreadable(&shown, failure.message))))
    }

    fn adopt(&mut self, beside: &Found) -> Result<Option<Finding>> {
        let Some(file) = self.container(&beside.name) else {
            let shown = self.shelf.path().join(&beside.name).display().to_string();
            return Ok(Some(unreadable(&shown, "its container is missing".into())));
        };
        let pair = adopt::open(&self.shelf, file, beside)?;
        let id = pair.manifest.backup_id.clone();
        let shown = self.shelf.path().join(&file.name).display().to_string();
        let finding =
            |action, details| Some(Finding { file: shown.clone(), backup_id: Some(id.clone()), action, details });
        let listed = journal::place_of(&id)?;
        if self.listed.contains(&id)
            || listed.as_ref().is_some_and(|(directory, name)| self.has_other(directory, name, &file.name))
        {
            return Ok(None);
        }
        if let Some((directory, name)) = listed
            && Path::new(&directory).join(&name).exists()
        {
            let is_new = self.note_copy(&pair, file, beside)?;
            let details = format!("a copy of \"{directory}/{name}\", which is listed");
            return Ok(is_new.then(|| finding("adopted", details)).flatten());
        }
        let details = adopt::list(&self.shelf, &pair)?;
        self.note_copy(&pair, file, beside)?;
        self.listed.insert(id.clone());
        Ok(finding("adopted", details))
    }

    /// Whether a backup is listed here under another name, and stands there.
    fn has_other(&self, directory: &str, name: &str, than: &str) -> bool {
        let is_here = Path::new(directory) == self.shelf.path();
        is_here && name != than && self.files.iter().any(|file| file.name == name)
    }

    /// The container that a manifest stands beside.
    fn container(&self, manifest: &str) -> Option<&Found> {
        self.files.iter().find(|file| names::manifest_of_container(&file.name).as_deref() == Some(manifest))
    }

    /// Notes it as a copy, too; false where it was noted.
    fn note_copy(&self, pair: &adopt::Pair, file: &Found, beside: &Found) -> Result<bool> {
        let manifest = &pair.manifest;
        let known = journal_offsite::copies(self.url, &manifest.set_name)?;
        if known.iter().any(|copy| copy.backup_id == manifest.backup_id && copy.status == "complete") {
            return Ok(false);
        }
        let facts = |file: &Found, sha256| FileFacts { name: file.name.clone(), size: file.size, sha256 };
        let (container, beside) = (facts(file, None), facts(beside, Some(pair.manifest_sha256())));
        journal_offsite::record_pair(self.url, self.below, manifest, &container, &beside)?;
        Ok(true)
    }
}
