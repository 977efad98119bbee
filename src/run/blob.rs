//! The bytes of a backup's container, wherever they are.

use std::sync::Arc;

use agent_backup_core::container::Blob;
use agent_backup_core::store::{Directory, StoreError};

use crate::run::erase::{pending, settle};

/// Of a file in a directory. Nobody changes the file while it is open.
pub fn of_file(directory: &Directory, name: &str) -> Result<Blob, StoreError> {
    let file = directory.open_file(name)?;
    let path = || directory.path().join(name);
    // This transaction's own lock on what it changes would keep us out for ever.
    if !pending::changes(directory, name) && !settle::lock(&file, settle::Hold::Shared).map_err(|error| refused(path(), error))? {
        return Err(StoreError::Busy { path: path(), holder: None });
    }
    Ok(Arc::new(file))
}

fn refused(path: std::path::PathBuf, error: crate::error::Error) -> StoreError {
    StoreError::Io { action: "lock", path, source: std::io::Error::other(error) }
}
