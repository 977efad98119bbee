//! Entries that wait in files: of what was rolled back, and of what was done where nothing can be written. A file has those
//! of one transaction; it goes when they are in the chain.

use std::io::Read;
use std::sync::atomic::{AtomicU32, Ordering};

use agent_backup_core::plan::audit::{self, Entry};
use agent_backup_core::store::{Directory, FileKind, StoreError};
use pgrx::pg_sys;

use crate::run::place;
use crate::settings;

/// In the extension's own place inside the data directory. No set has a directory of this name: names of sets are encoded.
const DIRECTORY: &str = ".audit_pending";

/// A file, and what is in it.
pub struct Waiting {
    pub name: String,
    pub entries: Vec<Entry>,
}

/// Why entries could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// Writes entries into a file that is safe on disk. Calls nothing of the server: the transaction is over.
pub fn keep(entries: &[Entry]) -> Result<(), Lost> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let path = settings::default_directory().join(DIRECTORY);
    let directory = Directory::open_or_create(&path, place::rule())?;
    let json = serde_json::to_vec(entries)?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // SAFETY: reads this backend's state.
    let name = audit::pending_name(database(), unsafe { pg_sys::MyProcPid }, super::now(), number);
    let mut staged = directory.stage(&name)?;
    staged.append(&json)?;
    staged.publish(&name)?;
    Ok(())
}

/// What waits for this database, in the order of its moments, and the names of files that cannot be read.
pub fn waiting() -> Result<(Vec<Waiting>, Vec<String>), StoreError> {
    let directory = match open() {
        Ok(directory) => directory,
        Err(StoreError::DirectoryMissing { .. }) => return Ok((Vec::new(), Vec::new())),
        Err(error) => return Err(error),
    };
    let regular = directory.list()?.into_iter().filter(|file| file.kind == FileKind::Regular);
    let names = regular.filter_map(|file| file.name.into_string().ok());
    let (mut waiting, mut unreadable) = (Vec::new(), Vec::new());
    for name in names.filter(|name| audit::is_pending_of(database(), name)) {
        match read(&directory, &name) {
            Some(entries) => waiting.push(Waiting { name, entries }),
            None => unreadable.push(name),
        }
    }
    Ok((waiting, unreadable))
}

fn read(directory: &Directory, name: &str) -> Option<Vec<Entry>> {
    let mut json = Vec::new();
    directory.open_file(name).ok()?.read_to_end(&mut json).ok()?;
    serde_json::from_slice(&json).ok()
}

/// Removes a file whose entries are in the chain. One that stays is known by its entries, which are not added again.
pub fn forget(name: &str) -> Result<(), StoreError> {
    open()?.remove(name)
}

/// Where the files are, for a person.
pub fn shown() -> String {
    settings::default_directory().join(DIRECTORY).display().to_string()
}

fn open() -> Result<Directory, StoreError> {
    Directory::open(&settings::default_directory().join(DIRECTORY), place::rule())
}

fn database() -> u32 {
    // SAFETY: reads this backend's state.
    unsafe { pg_sys::MyDatabaseId }.to_u32()
}
