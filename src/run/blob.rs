//! The bytes of a backup's container, wherever they are, and as they were before they were sealed.

use std::io;
use std::ops::Range;
use std::sync::{Arc, PoisonError};

use agent_backup_core::container::{Blob, ReadAt};
use agent_backup_core::crypt::{self, CryptError, Opened};
use agent_backup_core::plan::names::Form;
use agent_backup_core::store::object::{Cancelled, ObjectError, RemoteFile};
use agent_backup_core::store::{Directory, StoreError};

use crate::error::EncryptionError;
use crate::run::erase::{pending, settle};
use crate::run::keys;
use crate::run::shelf::{Remote, Trouble};
use crate::server::interrupt;

/// Of a file in a directory, as they are stored. Nobody changes the file while it is open.
pub fn of_file(directory: &Directory, name: &str) -> Result<Blob, StoreError> {
    let file = directory.open_file(name)?;
    let path = || directory.path().join(name);
    // This transaction's own lock on what it changes would keep us out for ever.
    if !pending::changes(directory, name)
        && !settle::lock(&file, settle::Hold::Shared).map_err(|error| refused(path(), error))?
    {
        return Err(StoreError::Busy { path: path(), holder: None });
    }
    Ok(Arc::new(file))
}

fn refused(path: std::path::PathBuf, error: crate::error::Error) -> StoreError {
    StoreError::Io { action: "lock", path, source: std::io::Error::other(error) }
}

/// Of an object of a store, as they are stored. Reads answer a cancel, on any thread.
pub fn of_object(remote: &Remote, key: &str) -> Result<Blob, ObjectError> {
    let watch = || if interrupt::is_pending() { Err(Cancelled) } else { Ok(()) };
    let file = RemoteFile::open(Arc::clone(&remote.store.store), key, Box::new(watch))?;
    Ok(Arc::new(Noted { file, trouble: Arc::clone(&remote.trouble) }))
}

/// Bytes of a store that note what went wrong with it: who reads them takes any error for damage.
struct Noted {
    file: RemoteFile,
    trouble: Trouble,
}

impl ReadAt for Noted {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer).map_err(|error| match ObjectError::unwrap_io(error) {
            // These are of the object.
            Ok(error @ (ObjectError::Missing { .. } | ObjectError::Damaged { .. })) => error.into(),
            Ok(error) => {
                let told = io::Error::other(error.to_string());
                *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                told
            }
            Err(error) => error,
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn announce(&self, range: Range<u64>) {
        self.file.announce(range);
    }

    fn interrupt(&self, on: bool) {
        self.file.interrupt(on);
    }
}

/// The plain bytes of a file, sealed or not. `shown` is its path or name: where that ends as a sealed file's does, plain
/// bytes are refused. Errors: `NoIdentityFile`, `Identity`, `WrongKey`, `File`, `Downgraded`.
pub fn opened(stored: Blob, shown: &str) -> Result<Blob, EncryptionError> {
    let failed = |problem| EncryptionError::of_file(shown, problem, Vec::new());
    match (crypt::is_sealed(&stored), Form::of(shown)) {
        (Ok(true), _) => (),
        // Who reads on finds what is wrong, and has the words for it.
        (Ok(false) | Err(_), Form::Plain) => return Ok(stored),
        (Err(error), Form::Sealed) => return Err(failed(CryptError::Io(error))),
        (Ok(false), Form::Sealed) => return Err(not_sealed(stored, shown)),
    }
    let Some(identities) = keys::identities()? else {
        let wanted = crypt::key_ids(stored).map_err(failed)?;
        return Err(EncryptionError::NoIdentityFile { file: shown.to_owned(), wanted });
    };
    let opened = Opened::new(stored, &identities)
        .map_err(|problem| EncryptionError::of_file(shown, problem, identities.key_ids()))?;
    Ok(Arc::new(opened))
}

/// What is wrong with a file of a sealed one's name: plain, another kind of age file, or cut off in its first line.
fn not_sealed(stored: Blob, shown: &str) -> EncryptionError {
    match crypt::key_ids(stored) {
        Err(CryptError::NotEncrypted) | Ok(_) => {
            EncryptionError::Downgraded { file: shown.to_owned(), told: "its name" }
        }
        Err(problem) => EncryptionError::of_file(shown, problem, Vec::new()),
    }
}
