//! What a directory holds: listing, opening, removing, and sweeping what dead writers left.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::error::StoreError;
use super::file::{Directory, DirectoryLock};
use super::registry;
use super::rule::{check_name, kind_word};
use super::staged::retry;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A published or foreign regular file.
    Regular,
    /// A file being written, or what a dead writer left: never a backup.
    Staging,
    Directory,
    Symlink,
    /// A named pipe, socket or device.
    Other,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    pub name: OsString,
    /// Bytes.
    pub size: u64,
    pub modified: SystemTime,
    pub inode: u64,
    pub kind: FileKind,
}

impl Directory {
    /// All entries but "." and "..", ordered by name. An entry that vanishes meanwhile is left out.
    pub fn list(&self) -> Result<Vec<FileInfo>, StoreError> {
        let mut dir = Dir::from_fd(self.reopen()?).map_err(|errno| self.failed("list directory", errno))?;
        let mut infos = Vec::new();
        for entry in dir.iter() {
            let entry = entry.map_err(|errno| self.failed("list directory", errno))?;
            let name = std::ffi::OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            match fstatat(self, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(facts) => infos.push(info(name.to_owned(), &facts)),
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(self.failed("look at an entry of", errno)),
            }
        }
        infos.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(infos)
    }

    /// Opens a regular file for reading. Never follows a link, and never waits for the other end of a pipe.
    ///
    /// # Errors
    /// `BadName`, `Missing`, `CannotOpen` (permissions), `NotRegular`.
    pub fn open_file(&self, name: &str) -> Result<File, StoreError> {
        self.open_regular(name, OFlag::O_RDONLY)
    }

    /// The same for reading and writing: a file that is there is changed where it stands.
    ///
    /// # Errors
    /// As `open_file`.
    pub fn open_to_change(&self, name: &str) -> Result<File, StoreError> {
        self.open_regular(name, OFlag::O_RDWR)
    }

    fn open_regular(&self, name: &str, mode: OFlag) -> Result<File, StoreError> {
        check_name(name)?;
        let path = || self.path().join(name);
        let explain = |errno| match errno {
            Errno::ENOENT => StoreError::Missing { path: path() },
            Errno::EACCES | Errno::EPERM => StoreError::CannotOpen { path: path(), source: errno.into() },
            Errno::ELOOP => StoreError::NotRegular { path: path(), found: "symbolic link" },
            errno => StoreError::from_errno("open", path(), 0, errno),
        };
        let refuse = |facts: &FileStat| match kind_word(facts) {
            "regular file" => Ok(()),
            found => Err(StoreError::NotRegular { path: path(), found }),
        };
        // Before opening, since to open a device can already act on it; and after, since the name may have changed hands.
        refuse(&fstatat(self, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(explain)?)?;
        let flags = mode | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let fd = retry(|| openat(self, name, flags, Mode::empty())).map_err(explain)?;
        refuse(&fstat(&fd).map_err(explain)?)?;
        Ok(File::from(fd))
    }

    /// Removes an entry (a link itself, not its target) and makes that durable.
    ///
    /// # Errors
    /// `BadName`, `Missing`, `NotRegular` for a directory, `Sync`, or what the system says.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        check_name(name)?;
        let path = || self.path().join(name);
        unlinkat(self, name, UnlinkatFlags::NoRemoveDir).map_err(|errno| match errno {
            Errno::ENOENT => StoreError::Missing { path: path() },
            Errno::EISDIR => StoreError::NotRegular { path: path(), found: "directory" },
            errno => StoreError::from_errno("remove", path(), 0, errno),
        })?;
        self.sync()
    }

    /// Removes the staging files of writers that died, and returns their names. The lock shows that no other writer lives;
    /// what this process is writing is spared.
    ///
    /// # Errors
    /// `WrongLock`, or what the system says.
    pub fn sweep_staging(&self, lock: &DirectoryLock) -> Result<Vec<String>, StoreError> {
        self.check_lock(lock)?;
        let mut swept = Vec::new();
        for entry in self.list()?.into_iter().filter(|entry| entry.kind == FileKind::Staging) {
            let Some(name) = entry.name.to_str().filter(|name| !registry::is_registered(self, name)) else { continue };
            match unlinkat(self, name, UnlinkatFlags::NoRemoveDir) {
                Ok(()) => swept.push(name.to_owned()),
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(StoreError::from_errno("remove", self.path().join(name), 0, errno)),
            }
        }
        if !swept.is_empty() {
            self.sync()?;
        }
        Ok(swept)
    }
}

fn info(name: OsString, facts: &FileStat) -> FileInfo {
    let kind = match SFlag::from_bits_truncate(facts.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFREG if is_staging(name.as_bytes()) => FileKind::Staging,
        SFlag::S_IFREG => FileKind::Regular,
        SFlag::S_IFDIR => FileKind::Directory,
        SFlag::S_IFLNK => FileKind::Symlink,
        _ => FileKind::Other,
    };
    let since_epoch = Duration::new(facts.st_mtime.max(0) as u64, facts.st_mtime_nsec as u32);
    FileInfo {
        name,
        size: facts.st_size as u64,
        modified: SystemTime::UNIX_EPOCH + since_epoch,
        inode: facts.st_ino,
        kind,
    }
}

/// Whether a name is of the form `.<hint>.<16 hex digits>.staging`.
fn is_staging(name: &[u8]) -> bool {
    let random = name.strip_suffix(b".staging").and_then(|rest| rest.last_chunk::<17>());
    name.starts_with(b".") && random.is_some_and(|part| part[0] == b'.' && part[1..].iter().all(u8::is_ascii_hexdigit))
}
