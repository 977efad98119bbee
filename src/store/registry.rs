//! The staging files of this process, so that an exit that runs no destructors can still remove them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::unistd::{UnlinkatFlags, unlinkat};

use super::file::Directory;

static STAGED: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

struct Entry {
    directory: Directory,
    name: String,
}

impl Entry {
    fn is(&self, directory: &Directory, name: &str) -> bool {
        self.name == name && self.directory.identity() == directory.identity()
    }
}

/// A list of names stays sound when a thread that held it panicked.
fn staged() -> MutexGuard<'static, Vec<Entry>> {
    STAGED.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn register(directory: &Directory, name: &str) {
    staged().push(Entry { directory: directory.clone(), name: name.to_owned() });
}

pub(super) fn unregister(directory: &Directory, name: &str) {
    staged().retain(|entry| !entry.is(directory, name));
}

pub(super) fn is_registered(directory: &Directory, name: &str) -> bool {
    staged().iter().any(|entry| entry.is(directory, name))
}

/// Removes every staging file that this process has not published or dropped, and returns the names of those that it
/// could not remove, each with the reason. For the callback of an exit or an abort; calling it again does nothing.
pub fn remove_all_staged() -> Vec<(String, std::io::Error)> {
    let entries = std::mem::take(&mut *staged());
    let remove = |entry: Entry| match unlinkat(&entry.directory, entry.name.as_str(), UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(nix::errno::Errno::ENOENT) => None,
        Err(errno) => Some((entry.name, errno.into())),
    };
    entries.into_iter().filter_map(remove).collect()
}
