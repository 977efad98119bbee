//! What can go wrong with a file or a directory, one variant per cause, each with its path and its errno.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

const EACCES: i32 = Errno::EACCES as i32;
const EPERM: i32 = Errno::EPERM as i32;

/// A failed act of the store. Messages are lower case; [`StoreError::hint`] says what mends it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("path {path:?} is not absolute")]
    NotAbsolute { path: PathBuf },
    #[error("path {path:?} contains a NUL byte")]
    NulInPath { path: PathBuf },
    #[error("path {path:?} contains \"..\"")]
    ParentComponent { path: PathBuf },
    #[error("path of {bytes} bytes is longer than the {limit} that the system allows")]
    PathTooLong { path: PathBuf, bytes: usize, limit: usize },
    #[error("file name {name:?} is not acceptable: {reason}")]
    BadName { name: String, reason: &'static str },
    #[error("directory {path:?} does not exist")]
    DirectoryMissing { path: PathBuf },
    #[error("{path:?} is not a directory but a {found}")]
    NotADirectory { path: PathBuf, found: &'static str },
    #[error("{path:?} is a symbolic link")]
    SymbolicLink { path: PathBuf, target: PathBuf },
    #[error("directory {path:?} belongs to user id {owner}")]
    ForeignOwner { path: PathBuf, owner: u32, expected: u32 },
    #[error("directory {path:?} can be written by group or others (mode {mode:04o})")]
    WritableByOthers { path: PathBuf, mode: u32 },
    #[error("directory {path:?} is inside {root:?}, where backups must not be written")]
    Forbidden { path: PathBuf, root: PathBuf },
    #[error("the path {path:?} no longer leads to the directory that was opened")]
    DirectorySwapped { path: PathBuf },
    #[error("directory {path:?} is in use by {}", holder.map_or_else(|| "another backup".to_owned(), |pid| format!("process {pid}")))]
    Busy { path: PathBuf, holder: Option<u32> },
    #[error("the lock given is not that of directory {path:?}")]
    WrongLock { path: PathBuf },
    #[error("file {path:?} already exists")]
    Exists { path: PathBuf },
    #[error("no free name was offered for a file in {path:?}")]
    NoName { path: PathBuf },
    #[error("file {path:?} does not exist")]
    Missing { path: PathBuf },
    #[error("{path:?} is not a regular file but a {found}")]
    NotRegular { path: PathBuf, found: &'static str },
    #[error("cannot open {path:?}: {source}")]
    CannotOpen { path: PathBuf, source: io::Error },
    #[error("no space left for {path:?}{}", at_least(*needed))]
    NoSpace { path: PathBuf, needed: u64, source: io::Error },
    #[error("the disk quota is used up by {path:?}, at least {needed} bytes are needed")]
    Quota { path: PathBuf, needed: u64, source: io::Error },
    #[error("file {path:?} grows beyond the size allowed, at least {needed} bytes are needed")]
    FileTooLarge { path: PathBuf, needed: u64, source: io::Error },
    #[error("{path:?} is on a read-only file system")]
    ReadOnly { path: PathBuf, source: io::Error },
    #[error("too many open files to open {path:?}")]
    TooManyOpenFiles { path: PathBuf, source: io::Error },
    #[error("cannot sync {path:?}: {source}")]
    Sync { path: PathBuf, source: io::Error },
    #[error("staging file {path:?} was replaced while it was written")]
    Replaced { path: PathBuf },
    #[error("staging file {path:?} holds {found} bytes after {written} were written")]
    ReadBackSize { path: PathBuf, written: u64, found: u64 },
    #[error("staging file {path:?} does not read back as it was written")]
    ReadBackDigest { path: PathBuf },
    #[error("staging file {path:?} has failed before and cannot be used")]
    AlreadyFailed { path: PathBuf },
    #[error("writing {path:?} was cancelled")]
    Cancelled { path: PathBuf },
    #[error("cannot {action} {path:?}: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

fn at_least(bytes: u64) -> String {
    if bytes == 0 { String::new() } else { format!(", at least {bytes} bytes are needed") }
}

impl StoreError {
    /// The system's error number, where the cause is a system call.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::CannotOpen { source, .. }
            | Self::NoSpace { source, .. }
            | Self::Quota { source, .. }
            | Self::FileTooLarge { source, .. }
            | Self::ReadOnly { source, .. }
            | Self::TooManyOpenFiles { source, .. }
            | Self::Sync { source, .. }
            | Self::Io { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// A sentence or a command that mends it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotAbsolute { .. } => "Give a path that begins with \"/\".".into(),
            Self::ParentComponent { .. } => "Write the path out without \"..\".".into(),
            Self::DirectoryMissing { path } => format!("Create it: install -d -m 0700 {}", path.display()),
            Self::Missing { .. } => {
                "It was moved or removed: agent_backup.reconcile() shows what is still there.".into()
            }
            Self::SymbolicLink { target, .. } => format!("Name its target instead: {}", target.display()),
            Self::ForeignOwner { path, expected, .. } => format!("Run: chown {expected} {}", path.display()),
            Self::WritableByOthers { path, .. } => format!("Run: chmod go-w {}", path.display()),
            Self::Forbidden { root, .. } => format!("Choose a directory outside {}.", root.display()),
            Self::DirectorySwapped { .. } => "Someone moved or replaced it during the run; run again.".into(),
            Self::Busy { .. } => "Wait for it to end, or end it, and run again.".into(),
            Self::Exists { .. } => "Remove or rename the file, or choose another name.".into(),
            Self::CannotOpen { .. } | Self::Io { .. } if matches!(self.errno(), Some(EACCES | EPERM)) => {
                "Check the permissions of the file and its directory.".into()
            }
            Self::NoSpace { needed: 0, .. } => "Free space or inodes (df -h, df -i) on that file system.".into(),
            Self::NoSpace { .. } => "Free space on that file system, or choose another directory.".into(),
            Self::Quota { .. } => "Free space, or raise the quota of the server's user.".into(),
            Self::FileTooLarge { .. } => "Raise the server's file size limit (ulimit -f).".into(),
            Self::ReadOnly { .. } => "Mount it read-write, or choose another directory.".into(),
            Self::TooManyOpenFiles { .. } => "Raise the server's limit of open files (ulimit -n).".into(),
            Self::Sync { .. } | Self::ReadBackSize { .. } | Self::ReadBackDigest { .. } => {
                "The disk did not keep what was written; check it (dmesg) before trusting it with backups.".into()
            }
            _ => return None,
        })
    }

    /// Sorts a failed system call by what the caller can do about it. `needed` is in bytes, as far as is known.
    pub(super) fn from_errno(action: &'static str, path: PathBuf, needed: u64, errno: Errno) -> Self {
        let source = io::Error::from(errno);
        match errno {
            Errno::ENOSPC => Self::NoSpace { path, needed, source },
            Errno::EDQUOT => Self::Quota { path, needed, source },
            Errno::EFBIG => Self::FileTooLarge { path, needed, source },
            Errno::EROFS => Self::ReadOnly { path, source },
            Errno::EMFILE | Errno::ENFILE => Self::TooManyOpenFiles { path, source },
            _ => Self::Io { action, path, source },
        }
    }

    /// Gives back the error that [`io::Write`] of a staged file had to wrap; any other error comes back as it was.
    pub fn unwrap_io(error: io::Error) -> Result<Self, io::Error> {
        error.downcast::<Self>()
    }
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        // Never `Interrupted`, which a caller's write_all would try again for ever.
        let kind = error.errno().map_or(io::ErrorKind::Other, |errno| io::Error::from_raw_os_error(errno).kind());
        let kind = if kind == io::ErrorKind::Interrupted { io::ErrorKind::Other } else { kind };
        io::Error::new(kind, error)
    }
}
