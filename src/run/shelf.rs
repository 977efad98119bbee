//! Where the files of backups stand: a directory of this machine, or a part of a store. What reads them asks here, and reads
//! both in the same way.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use agent_backup_core::container::Blob;
use agent_backup_core::store::object::{Location, ObjectError};
use agent_backup_core::store::{Directory, StoreError};

use crate::error::{Error, OffsiteError, Result};
use crate::run::offsite::access::{self, Store};
use crate::run::offsite::local;
use crate::run::{blob, place};

/// A place of files.
#[derive(Clone)]
pub enum Shelf {
    Local(Directory),
    Remote(Remote),
}

/// A part of a store, whose URL is the place's.
#[derive(Clone)]
pub struct Remote {
    pub store: Store,
    /// What last went wrong with reading, of which the reader may have made damage.
    pub trouble: Trouble,
}

/// What went wrong while threads read.
pub type Trouble = Arc<Mutex<Option<ObjectError>>>;

/// Whether a text is a place in a store, and not a path.
pub fn is_url(text: &str) -> bool {
    text.starts_with("s3://") || text.starts_with("file://")
}

impl Shelf {
    /// The part of a store that `store` was opened at.
    pub fn of(store: Store) -> Self {
        Shelf::Remote(Remote { store, trouble: Trouble::default() })
    }

    /// Opens a place to read from, as the catalogue has it. Errors: a right that is missing; `Store` where it is not there.
    pub fn open(path: &Path) -> Result<Self> {
        let text = path.to_string_lossy();
        if !is_url(&text) {
            return Ok(Shelf::Local(place::for_reading(path)?));
        }
        place::require_store_reader(&text)?;
        if let Location::File { path } = access::parse(&text)?.0
            && path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound)
        {
            return Err(StoreError::DirectoryMissing { path }.into());
        }
        Ok(Shelf::of(access::open(&text, None)?))
    }

    /// The path or URL.
    pub fn path(&self) -> PathBuf {
        match self {
            Shelf::Local(directory) => directory.path().to_owned(),
            Shelf::Remote(remote) => PathBuf::from(&remote.store.url),
        }
    }

    /// The bytes of a file, as they are stored.
    pub fn blob(&self, name: &str) -> Result<Blob> {
        match self {
            Shelf::Local(directory) => Ok(blob::of_file(directory, name)?),
            Shelf::Remote(remote) => blob::of_object(remote, name).map_err(access::raised),
        }
    }

    /// A whole small file.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        match self {
            Shelf::Local(directory) => local::read(directory, name),
            Shelf::Remote(remote) => remote.store.read(name),
        }
    }

    /// Raises what went wrong with the store since the last call: it is no damage of a backup, and must not be taken for it.
    pub fn trouble(&self) -> Result<()> {
        let Shelf::Remote(remote) = self else { return Ok(()) };
        match remote.trouble.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(access::raised(error)),
            None => Ok(()),
        }
    }
}

/// Whether an error says that a file or its place is not there.
pub fn is_missing(error: &Error) -> bool {
    matches!(
        error,
        Error::Store(StoreError::Missing { .. } | StoreError::DirectoryMissing { .. })
            | Error::Offsite(OffsiteError::Object(ObjectError::Missing { .. }))
    )
}
