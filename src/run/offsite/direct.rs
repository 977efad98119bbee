//! Backups that are written straight to a store and never stand on a disk of this machine: the container part by part while
//! the tables are read, then its manifest, which alone makes it a backup there. Keys are those of a copy.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_backup_core::container::Manifest;
use agent_backup_core::plan::names;
use agent_backup_core::store::object::{Cancelled, Content, Growing};
use agent_backup_core::stream::sha256_hex;

use crate::error::{Error, OffsiteError, Result};
use crate::journal::FileFacts;
use crate::journal_offsite;
use crate::run::adopt::{self, Found};
use crate::run::offsite::access::{self, Store};
use crate::run::offsite::destination::{self, Destination};
use crate::run::offsite::send::Action;
use crate::run::offsite::{import, local};
use crate::run::say;
use crate::run::shelf::Shelf;
use crate::server::lock::SetLock;
use crate::server::progress::Progress;
use crate::server::{facts, interrupt, snapshot};

/// How long what failed may take to be removed again.
const PATIENCE: Duration = Duration::from_secs(2);

/// A set's part of a store, held alone by this database.
pub struct Direct {
    destination: Destination,
    store: Store,
    /// Its place below the destination.
    below: String,
    files: Vec<Found>,
    _set: SetLock,
    _copies: SetLock,
}

impl Direct {
    /// Opens it for writing. What killed writers left there is taken away, and whole backups that a rollback left are listed.
    pub fn open(set: &str, url: &str) -> Result<Self> {
        let destination = destination::to_write(set, url)?;
        let (_set, _copies) = (SetLock::acquire(set)?, SetLock::of_copies(set)?);
        let here = facts::server()?;
        let below = local::prefix_of_set(&here.system_identifier, &here.database, set);
        let store = access::open(&format!("{}/{below}", destination.url), destination.server.as_deref())?;
        store.sweep("")?;
        let found = |(name, size): (String, u64)| (!name.contains('/')).then_some(Found { name, size });
        let files = store.sizes("")?.into_iter().filter_map(found).collect();
        let direct = Direct { destination, store, below, files, _set, _copies };
        if !snapshot::is_standby() {
            direct.adopt(set)?;
        }
        Ok(direct)
    }

    fn adopt(&self, set: &str) -> Result<()> {
        let copies = journal_offsite::copies(&self.destination.url, set)?;
        let is_copy = |name: &str| copies.iter().any(|copy| copy.manifest_key == self.key(name));
        // Copies of what the retention removed here are no strays.
        let mut files = self.files.clone();
        files.retain(|file| !names::is_manifest(&file.name) || !is_copy(&file.name));
        if !files.iter().any(|file| names::is_manifest(&file.name)) {
            return Ok(());
        }
        let Destination { url, server, .. } = &self.destination;
        for finding in import::directory(url, &self.below, &files, server.as_deref())? {
            say::notice(&format!("{}: {} ({})", finding.file, finding.action, finding.details));
        }
        Ok(())
    }

    /// Its URL, which the catalogue has as the directory.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(&self.store.url)
    }

    pub fn shelf(&self) -> Shelf {
        Shelf::of(self.store.clone())
    }

    /// Names that are there.
    pub fn names(&self) -> HashSet<OsString> {
        self.files.iter().map(|file| OsString::from(&file.name)).collect()
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Lists it as a copy, too: the destination's retention and verification are for it as for all that is there.
    pub fn note(&self, manifest: &Manifest, container: &FileFacts, beside: &FileFacts) -> Result<()> {
        journal_offsite::record_pair(&self.destination.url, &self.below, manifest, container, beside)
    }

    fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.below)
    }
}

/// What is no backup yet: it goes again unless it is completed.
pub struct Unfinished<'a> {
    store: &'a Store,
    container: &'a FileFacts,
    /// In the order in which they go.
    names: Vec<String>,
}

impl<'a> Unfinished<'a> {
    pub fn new(store: &'a Store, container: &'a FileFacts) -> Self {
        Unfinished { store, container, names: vec![container.name.clone()] }
    }

    /// Puts the manifest beside the finished container, and sees to it that they are found together.
    pub fn complete(mut self, name: &str, manifest: &[u8]) -> Result<FileFacts> {
        let beside =
            FileFacts { name: name.to_owned(), size: manifest.len() as u64, sha256: Some(sha256_hex(manifest)) };
        let found = |file: &FileFacts| Found { name: file.name.clone(), size: file.size };
        if self.store.create(name, manifest)? != Action::Uploaded {
            return Err(OffsiteError::Conflict { key: name.to_owned() }.into());
        }
        self.names.insert(0, name.to_owned());
        adopt::open(&Shelf::of(self.store.clone()), &found(self.container), &found(&beside))?;
        self.names.clear();
        Ok(beside)
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        // A cancel has brought us here, maybe: it does not end this, a store that does not answer does.
        let begun = Instant::now();
        let mut watch = || if begun.elapsed() > PATIENCE { Err(Cancelled) } else { Ok(()) };
        for name in &self.names {
            if let Err(error) = self.store.store.delete(name, &mut watch) {
                let url = &self.store.url;
                say::warning(&format!("could not remove \"{url}/{name}\", of a backup that did not end: {error}"));
            }
        }
    }
}

/// An object that is written to as a file is, and shown as it grows. Dropped before it is finished, it leaves nothing.
pub struct Object {
    growing: Box<dyn Growing>,
    name: String,
    url: String,
    written: u64,
}

impl Object {
    pub fn begin(store: &Store, name: &str) -> Result<Self> {
        let growing = Arc::clone(&store.store).begin(name).map_err(access::raised)?;
        Ok(Object { growing, name: name.to_owned(), url: store.url.clone(), written: 0 })
    }

    /// Makes it an object.
    pub fn finish(self) -> Result<FileFacts> {
        let content: Content = self.growing.finish(&mut interrupt::watch).map_err(access::raised)?;
        say::notice(&format!("{}: {} written to {}", self.name, say::bytes(content.size as f64), self.url));
        Ok(FileFacts { name: self.name, size: content.size, sha256: Some(content.hex()) })
    }
}

impl Write for Object {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.growing.append(bytes, &mut interrupt::watch)?;
        self.written += bytes.len() as u64;
        Ok(bytes.len())
    }

    /// Waits until what is on its way has arrived.
    fn flush(&mut self) -> io::Result<()> {
        let progress = Progress::sending(0);
        progress.show(0, self.written);
        Ok(self.growing.settle(&mut interrupt::watch)?)
    }
}

/// Names that are listed in a place, or of backups of a set here or in any store: none is given twice, or a copy would meet
/// another.
pub fn names_taken(set: &str, place: &Path) -> Result<HashSet<OsString>> {
    let known = journal_offsite::names_taken(set, &place.display().to_string(), &facts::server()?)?;
    Ok(known.into_iter().map(OsString::from).collect())
}

/// Refuses what cannot be written to.
pub fn require_place(url: &str) -> Result<()> {
    if crate::run::shelf::is_url(url) {
        return Ok(());
    }
    let reason = "it is no place in a store, as s3://bucket/prefix; agent_backup.directory is where files go".into();
    Err(Error::InvalidOption { option: "destination", reason })
}
