//! The bytes of a backup's container, wherever they are.

use std::sync::Arc;

use agent_backup_core::container::Blob;
use agent_backup_core::store::{Directory, StoreError};

/// Of a file in a directory.
pub fn of_file(directory: &Directory, name: &str) -> Result<Blob, StoreError> {
    Ok(Arc::new(directory.open_file(name)?))
}
