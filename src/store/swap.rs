//! New files of a backup in place of the old ones, which stay until the new are named.
//!
//! Both new files stand beside the old ones, under names that end in `.resealed`, whole and synced: the container first.
//! Then the container takes its name, what it replaces goes, and the manifest takes its name. So a manifest that waits
//! alone is one whose container was named: only who had decided for the new files did that.

use nix::errno::Errno;
use nix::fcntl::renameat;

use super::error::StoreError;
use super::file::Directory;
use super::rule::check_name;

/// What stands at the end of the name of a file that waits.
pub const WAITING: &str = ".resealed";

/// The names of a backup's files, as they are and as they will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swap {
    pub container: String,
    /// What the container is called afterwards; it may be the same.
    pub becomes: String,
    pub manifest: String,
}

impl Swap {
    /// The new container until it takes its name.
    pub fn waiting_container(&self) -> String {
        waiting(&self.becomes)
    }

    /// The new manifest until it takes its name.
    pub fn waiting_manifest(&self) -> String {
        waiting(&self.manifest)
    }

    /// Whether a file is one of those that wait, or the one that goes.
    pub fn concerns(&self, file: &str) -> bool {
        file == self.waiting_container()
            || file == self.waiting_manifest()
            || (file == self.container && self.container != self.becomes)
    }
}

/// The name of a file that waits to be called `name`.
pub fn waiting(name: &str) -> String {
    format!("{name}{WAITING}")
}

impl Directory {
    /// Puts the new files into place, durably. What was done before a crash is not done again.
    ///
    /// # Errors
    /// What the system says; what was not done yet can be done later.
    pub fn swap_in(&self, swap: &Swap) -> Result<(), StoreError> {
        self.take_name(&swap.waiting_container(), &swap.becomes)?;
        self.sync()?;
        if swap.container != swap.becomes {
            self.forget(&swap.container)?;
            self.sync()?;
        }
        self.take_name(&swap.waiting_manifest(), &swap.manifest)?;
        self.sync()
    }

    /// Removes the new files, which nobody decided for: the manifest first.
    ///
    /// # Errors
    /// What the system says.
    pub fn drop_waiting(&self, swap: &Swap) -> Result<(), StoreError> {
        self.forget(&swap.waiting_manifest())?;
        self.sync()?;
        self.forget(&swap.waiting_container())?;
        self.sync()
    }

    fn take_name(&self, waiting: &str, name: &str) -> Result<(), StoreError> {
        check_name(waiting)?;
        check_name(name)?;
        match renameat(self, waiting, self, name) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(StoreError::from_errno("rename", self.path().join(waiting), 0, errno)),
        }
    }
}
