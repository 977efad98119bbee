//! Room on the disk of a directory, and what its files take of it.

use std::path::Path;

use nix::sys::stat::stat;
use nix::sys::statvfs::statvfs;

use super::error::StoreError;

/// The file system of a path, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What the server's user may still write.
    pub free: u64,
    pub total: u64,
    device: u64,
}

impl Space {
    /// Of the file system that a path is on, or will be on when it is made.
    ///
    /// # Errors
    /// What the system says of the nearest directory that exists.
    pub fn of(path: &Path) -> Result<Self, StoreError> {
        let place = path.ancestors().find(|place| place.exists()).unwrap_or(Path::new("/"));
        let failed = |errno| StoreError::from_errno("look at the file system of", place.to_owned(), 0, errno);
        let (facts, system) = (stat(place).map_err(failed)?, statvfs(place).map_err(failed)?);
        let unit = system.fragment_size();
        Ok(Space { free: system.blocks_available() * unit, total: system.blocks() * unit, device: facts.st_dev })
    }

    /// Whether both are one file system.
    pub fn is_shared_with(&self, other: &Space) -> bool {
        self.device == other.device
    }
}

/// Bytes of all regular files at and below a directory; links are not followed. None where there is no directory.
///
/// # Errors
/// `CannotOpen` for a directory that cannot be read.
pub fn bytes_below(directory: &Path) -> Result<u64, StoreError> {
    let (mut bytes, mut folders) = (0, vec![directory.to_owned()]);
    while let Some(folder) = folders.pop() {
        let failed = |source| StoreError::CannotOpen { path: folder.clone(), source };
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            // One that went meanwhile takes no room.
            let Ok(facts) = entry.metadata() else { continue };
            if facts.is_dir() {
                folders.push(entry.path());
            } else if facts.is_file() {
                bytes += facts.len();
            }
        }
    }
    Ok(bytes)
}
