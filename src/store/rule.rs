//! Which paths, file names and directories are acceptable. A path is a wish of a user; a descriptor is a fact, so the
//! facts are read from the descriptor after it is open.

use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, readlinkat};
use nix::sys::stat::{FileStat, SFlag, fstat, fstatat};
use nix::unistd::geteuid;

use super::error::StoreError;

const PATH_LIMIT: usize = 4095; // PATH_MAX less its NUL
const NAME_LIMIT: usize = 255;

/// Where backups may not be written. The default forbids nothing.
#[derive(Debug, Clone, Default)]
pub struct DirectoryRule {
    /// The server's data directory: nothing in it is acceptable …
    pub forbidden_root: Option<PathBuf>,
    /// … except at or below these.
    pub allowed_below: Vec<PathBuf>,
}

impl DirectoryRule {
    /// Refuses a canonical path at or inside the forbidden root that is not at or below an exception.
    pub(super) fn check(&self, canonical: &Path) -> Result<(), StoreError> {
        let Some(root) = &self.forbidden_root else { return Ok(()) };
        let root = resolve(root);
        let excepted = self.allowed_below.iter().any(|exception| canonical.starts_with(resolve(exception)));
        if canonical.starts_with(&root) && !excepted {
            return Err(StoreError::Forbidden { path: canonical.to_owned(), root });
        }
        Ok(())
    }
}

/// The canonical form of a path of which the last components may not exist yet.
fn resolve(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let (Ok(canonical), Ok(rest)) = (ancestor.canonicalize(), path.strip_prefix(ancestor)) {
            return canonical.join(rest).components().collect();
        }
    }
    path.to_owned()
}

/// The path without "." and without a trailing slash (which would make the system follow a final symbolic link).
pub(super) fn checked_path(path: &Path) -> Result<PathBuf, StoreError> {
    let bytes = path.as_os_str().as_bytes();
    let owned = || path.to_owned();
    if bytes.len() > PATH_LIMIT {
        return Err(StoreError::PathTooLong { path: owned(), bytes: bytes.len(), limit: PATH_LIMIT });
    }
    if bytes.contains(&0) {
        return Err(StoreError::NulInPath { path: owned() });
    }
    if !path.is_absolute() {
        return Err(StoreError::NotAbsolute { path: owned() });
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(StoreError::ParentComponent { path: owned() });
    }
    Ok(path.components().collect())
}

/// Refuses a name that is not exactly one entry of a directory.
pub(super) fn check_name(name: &str) -> Result<(), StoreError> {
    let reason = match name {
        "" => "it is empty",
        "." | ".." => "it names a directory",
        _ if name.contains('/') => "it contains \"/\"",
        _ if name.contains('\0') => "it contains a NUL byte",
        _ if name.len() > NAME_LIMIT => "it is longer than 255 bytes",
        _ => return Ok(()),
    };
    Err(StoreError::BadName { name: name.to_owned(), reason })
}

/// What a directory is looked at for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Files will be written in it.
    Hold,
    /// A directory will be made in it. Others may write here if the sticky bit keeps them from moving what is ours.
    Parent,
}

/// Checks owner and mode of an open directory, and returns its facts.
pub(super) fn check_directory(fd: impl AsFd, path: &Path, purpose: Purpose) -> Result<FileStat, StoreError> {
    let facts = fstat(fd).map_err(|errno| StoreError::from_errno("look at directory", path.to_owned(), 0, errno))?;
    let expected = geteuid().as_raw();
    if facts.st_uid != expected && facts.st_uid != 0 {
        return Err(StoreError::ForeignOwner { path: path.to_owned(), owner: facts.st_uid, expected });
    }
    let sticky_parent = purpose == Purpose::Parent && facts.st_mode & 0o1000 != 0;
    if facts.st_mode & 0o022 != 0 && !sticky_parent {
        return Err(StoreError::WritableByOthers { path: path.to_owned(), mode: facts.st_mode & 0o7777 });
    }
    Ok(facts)
}

/// Says why `open(O_DIRECTORY | O_NOFOLLOW)` of a path failed.
pub(super) fn explain_open(dir: impl AsFd, name: &Path, path: &Path, errno: Errno) -> StoreError {
    let path = path.to_owned();
    match errno {
        Errno::ENOENT => return StoreError::DirectoryMissing { path },
        Errno::EACCES | Errno::EPERM => return StoreError::CannotOpen { path, source: errno.into() },
        Errno::ENAMETOOLONG => {
            return StoreError::BadName {
                name: path.display().to_string(),
                reason: "a component is longer than 255 bytes",
            };
        }
        Errno::ENOTDIR | Errno::ELOOP => {}
        _ => return StoreError::from_errno("open directory", path, 0, errno),
    }
    match fstatat(&dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).map(|facts| kind_word(&facts)) {
        Ok("symbolic link") => {
            let target = readlinkat(&dir, name).map(PathBuf::from).unwrap_or_default();
            StoreError::SymbolicLink { path, target }
        }
        Ok(found) => StoreError::NotADirectory { path, found },
        Err(_) => StoreError::NotADirectory { path, found: "path below a file" },
    }
}

/// The word for what an entry is.
pub(super) fn kind_word(facts: &FileStat) -> &'static str {
    match SFlag::from_bits_truncate(facts.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFREG => "regular file",
        SFlag::S_IFDIR => "directory",
        SFlag::S_IFLNK => "symbolic link",
        SFlag::S_IFIFO => "named pipe",
        SFlag::S_IFSOCK => "socket",
        SFlag::S_IFCHR => "character device",
        SFlag::S_IFBLK => "block device",
        _ => "special file",
    }
}

/// Whether the path leads, without a final link, to the directory with these facts.
pub(super) fn leads_to(path: &Path, facts: &FileStat) -> bool {
    fstatat(AT_FDCWD, path, AtFlags::AT_SYMLINK_NOFOLLOW)
        .is_ok_and(|now| now.st_dev == facts.st_dev && now.st_ino == facts.st_ino)
}
