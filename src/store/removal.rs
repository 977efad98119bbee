//! Removing backups: each is its manifest and its data, and without the manifest it is no backup. So the manifests go
//! first, then the directory is synced, and only then does the data go.

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::{AccessFlags, UnlinkatFlags, faccessat, unlinkat};

use super::error::StoreError;
use super::file::Directory;
use super::rule::check_name;

/// The two files of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doomed {
    pub manifest: String,
    pub data: String,
}

impl Directory {
    /// Whether entries can be removed here, as far as the system tells before it is tried.
    ///
    /// # Errors
    /// What the system would say.
    pub fn check_writable(&self) -> Result<(), StoreError> {
        faccessat(self, ".", AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::AT_EACCESS)
            .map_err(|errno| self.failed("remove a file from", errno))
    }

    /// Removes backups and makes that durable. What is gone already is fine. Where a manifest cannot be removed, its data
    /// stays too: such a backup is whole. Returns what could not be done.
    pub fn remove_backups(&self, doomed: &[Doomed]) -> Vec<StoreError> {
        let mut errors = Vec::new();
        let mut gone = Vec::new();
        for backup in doomed {
            match self.forget(&backup.manifest) {
                Ok(()) => gone.push(&backup.data),
                Err(error) => errors.push(error),
            }
        }
        // Until the manifests are durably gone, a crash could bring them back beside no data.
        if gone.is_empty() {
            return errors;
        }
        if let Err(error) = self.sync() {
            errors.push(error);
            return errors;
        }
        errors.extend(gone.into_iter().filter_map(|data| self.forget(data).err()));
        errors.extend(self.sync().err());
        errors
    }

    /// Removes an entry; what is gone already is fine.
    pub(super) fn forget(&self, name: &str) -> Result<(), StoreError> {
        check_name(name)?;
        match unlinkat(self, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(StoreError::from_errno("remove", self.path().join(name), 0, errno)),
        }
    }
}
