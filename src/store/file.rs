//! A directory for backups: checked once when it is opened, then held by its descriptor.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, Flock, FlockArg, OFlag, openat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, fchmodat, major, minor, mkdirat};
use nix::unistd::{UnlinkatFlags, fsync, unlinkat};

use super::error::StoreError;
use super::rule::{DirectoryRule, Purpose, check_directory, check_name, checked_path, explain_open, leads_to};
use super::staged::{StagedFile, create_exclusive, retry};

const OPEN_DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
const ONLY_OWNER: Mode = Mode::S_IRWXU;

/// An open, acceptable directory. Clones share the descriptor; threads may share a `Directory`.
#[derive(Debug, Clone)]
pub struct Directory {
    held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    fd: OwnedFd,
    path: PathBuf,
    canonical: PathBuf,
    facts: FileStat,
    rule: DirectoryRule,
}

/// The exclusive right to write in a directory, until dropped or until its process dies. Leaves nothing on disk.
#[derive(Debug)]
#[must_use = "the lock ends when this is dropped"]
pub struct DirectoryLock {
    _held: Flock<OwnedFd>,
    device: u64,
    inode: u64,
}

impl Directory {
    /// Opens an existing directory.
    ///
    /// # Errors
    /// One variant per reason to refuse the path (see [`StoreError`]): its form, a symbolic link at its end, not a
    /// directory, a foreign owner, writable by others, or inside the rule's forbidden root.
    pub fn open(path: &Path, rule: DirectoryRule) -> Result<Self, StoreError> {
        let path = checked_path(path)?;
        let fd = retry(|| openat(AT_FDCWD, &path, OPEN_DIRECTORY, Mode::empty()))
            .map_err(|errno| explain_open(AT_FDCWD, &path, &path, errno))?;
        let facts = check_directory(&fd, &path, Purpose::Hold)?;
        let canonical = path.canonicalize().map_err(|source| StoreError::Io {
            action: "resolve path",
            path: path.clone(),
            source,
        })?;
        // The canonical path is judged, so it must lead to what was opened.
        if !leads_to(&canonical, &facts) {
            return Err(StoreError::DirectorySwapped { path });
        }
        rule.check(&canonical)?;
        Ok(Self { held: Arc::new(Held { fd, path, canonical, facts, rule }) })
    }

    /// Opens a directory after creating what is missing of it with mode 0700, whatever the umask.
    ///
    /// # Errors
    /// As [`Directory::open`], also about the existing directory below which the first one is created. That one may be
    /// writable by others only if it is sticky, as /tmp is.
    pub fn open_or_create(path: &Path, rule: DirectoryRule) -> Result<Self, StoreError> {
        let path = checked_path(path)?;
        let exists = |part: &&Path| part.symlink_metadata().map_or_else(|e| e.raw_os_error() != Some(2), |_| true);
        let existing = path.ancestors().find(exists).unwrap_or(Path::new("/"));
        let missing = path.strip_prefix(existing).map(Path::to_owned).unwrap_or_default();
        if missing.as_os_str().is_empty() {
            return Self::open(&path, rule);
        }
        let parent = existing.canonicalize().map_err(|e| {
            let errno = Errno::from_raw(e.raw_os_error().unwrap_or_default());
            explain_open(AT_FDCWD, existing, existing, errno)
        })?;
        rule.check(&parent.join(&missing))?;
        let mut fd = retry(|| openat(AT_FDCWD, &parent, OPEN_DIRECTORY, Mode::empty()))
            .map_err(|errno| explain_open(AT_FDCWD, &parent, existing, errno))?;
        let mut at = existing.to_owned();
        for name in missing.components() {
            check_directory(&fd, &at, Purpose::Parent)?;
            at.push(name);
            fd = make_directory(&fd, Path::new(name.as_os_str()), &at)?;
        }
        Self::open(&path, rule)
    }

    /// Opens the directory `name` below this one, creating it with mode 0700 if it is missing.
    ///
    /// # Errors
    /// [`StoreError::BadName`], or as [`Directory::open`].
    pub fn subdirectory(&self, name: &str) -> Result<Self, StoreError> {
        check_name(name)?;
        let (path, canonical) = (self.held.path.join(name), self.held.canonical.join(name));
        self.held.rule.check(&canonical)?;
        let fd = make_directory(&self.held.fd, Path::new(name), &path)?;
        let facts = check_directory(&fd, &path, Purpose::Hold)?;
        Ok(Self { held: Arc::new(Held { fd, path, canonical, facts, rule: self.held.rule.clone() }) })
    }

    /// Whether both hold one directory, by whatever path.
    pub fn is_same(&self, other: &Directory) -> bool {
        self.identity() == other.identity()
    }

    /// The path as it was given, for messages and catalogue rows; never for opening.
    pub fn path(&self) -> &Path {
        &self.held.path
    }

    /// Takes the directory's lock without waiting. It is on an open file description that children do not inherit, so it
    /// ends with its holder however that dies.
    ///
    /// # Errors
    /// [`StoreError::Busy`], with the holder's process id where the kernel tells it.
    pub fn lock_exclusive(&self) -> Result<DirectoryLock, StoreError> {
        let fd = self.reopen()?;
        let (device, inode) = self.identity();
        match Flock::lock(fd, FlockArg::LockExclusiveNonblock) {
            Ok(held) => Ok(DirectoryLock { _held: held, device, inode }),
            Err((_, Errno::EWOULDBLOCK)) => {
                let holder = lock_holder(&self.held.facts);
                Err(StoreError::Busy { path: self.held.path.clone(), holder })
            }
            Err((_, errno)) => Err(self.failed("lock directory", errno)),
        }
    }

    /// The process that holds the directory's lock now, as the kernel lists it. The lock itself is not touched.
    pub fn lock_holder(&self) -> Option<u32> {
        lock_holder(&self.held.facts)
    }

    /// Creates a file to write, under a staging name that contains `final_name_hint`.
    ///
    /// # Errors
    /// [`StoreError::BadName`] for a hint that is no file name; what the system says of creating a file.
    pub fn stage(&self, final_name_hint: &str) -> Result<StagedFile, StoreError> {
        StagedFile::create(self.clone(), final_name_hint)
    }

    /// An anonymous read-write file on the directory's file system, for spools: it is gone when it is closed.
    pub fn scratch_file(&self) -> Result<File, StoreError> {
        let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
        match retry(|| openat(&self.held.fd, ".", flags, Mode::S_IRUSR | Mode::S_IWUSR)) {
            Ok(fd) => Ok(File::from(fd)),
            // File systems without O_TMPFILE say so in one of these ways.
            Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::EINVAL) => {
                let (name, file) = create_exclusive(self, "scratch")?;
                unlinkat(&self.held.fd, name.as_str(), UnlinkatFlags::NoRemoveDir)
                    .map_err(|errno| self.failed("unlink the scratch file in", errno))?;
                Ok(file)
            }
            Err(errno) => Err(self.failed("create a scratch file in", errno)),
        }
    }

    /// Makes the directory's entries durable.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        sync_directory(&self.held.fd, &self.held.path)
    }

    /// Fails when the path has come to lead to another directory.
    pub(super) fn check_not_swapped(&self) -> Result<(), StoreError> {
        if leads_to(&self.held.path, &self.held.facts) {
            Ok(())
        } else {
            Err(StoreError::DirectorySwapped { path: self.held.path.clone() })
        }
    }

    /// Fails when the lock is another directory's.
    pub(super) fn check_lock(&self, lock: &DirectoryLock) -> Result<(), StoreError> {
        if (lock.device, lock.inode) == self.identity() {
            Ok(())
        } else {
            Err(StoreError::WrongLock { path: self.held.path.clone() })
        }
    }

    /// Device and inode.
    pub(super) fn identity(&self) -> (u64, u64) {
        (self.held.facts.st_dev, self.held.facts.st_ino)
    }

    /// A descriptor of its own offset and its own locks.
    pub(super) fn reopen(&self) -> Result<OwnedFd, StoreError> {
        retry(|| openat(&self.held.fd, ".", OPEN_DIRECTORY, Mode::empty()))
            .map_err(|errno| self.failed("open directory", errno))
    }

    /// A failed call on the directory itself.
    pub(super) fn failed(&self, action: &'static str, errno: Errno) -> StoreError {
        StoreError::from_errno(action, self.held.path.clone(), 0, errno)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.held.fd.as_fd()
    }
}

/// Opens the directory `name` in `parent`, creating it first if it is missing.
fn make_directory(parent: &OwnedFd, name: &Path, path: &Path) -> Result<OwnedFd, StoreError> {
    match mkdirat(parent, name, ONLY_OWNER) {
        Ok(()) => {
            // Against a umask that takes from the owner, and bits that a directory inherits.
            let made = fchmodat(parent, name, ONLY_OWNER, FchmodatFlags::FollowSymlink)
                .map_err(|errno| StoreError::from_errno("set the mode of directory", path.to_owned(), 0, errno))
                .and_then(|()| sync_directory(parent, path.parent().unwrap_or(path)));
            if made.is_err() {
                // Best effort: the next run makes it again, and a directory left here would never be synced.
                let _ = unlinkat(parent, name, UnlinkatFlags::RemoveDir);
            }
            made?;
        }
        // A run that was killed between making and syncing may have left it.
        Err(Errno::EEXIST) => sync_directory(parent, path.parent().unwrap_or(path))?,
        Err(Errno::EACCES) => {
            return Err(StoreError::CannotOpen { path: path.to_owned(), source: Errno::EACCES.into() });
        }
        Err(Errno::ENAMETOOLONG) => return Err(explain_open(parent, name, path, Errno::ENAMETOOLONG)),
        Err(errno) => return Err(StoreError::from_errno("create directory", path.to_owned(), 0, errno)),
    }
    retry(|| openat(parent, name, OPEN_DIRECTORY, Mode::empty()))
        .map_err(|errno| explain_open(parent, name, path, errno))
}

/// Some network file systems answer EINVAL to the sync of a directory; as the server does, that is taken for "no need".
fn sync_directory(fd: &OwnedFd, path: &Path) -> Result<(), StoreError> {
    match fsync(fd) {
        Ok(()) | Err(Errno::EINVAL) => Ok(()),
        Err(errno) => Err(StoreError::Sync { path: path.to_owned(), source: errno.into() }),
    }
}

/// The process that holds the flock on this inode, as the kernel lists it.
fn lock_holder(facts: &FileStat) -> Option<u32> {
    let wanted = format!("{:02x}:{:02x}:{}", major(facts.st_dev), minor(facts.st_dev), facts.st_ino);
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields.as_slice() {
            [_, "FLOCK", _, "WRITE", pid, place, ..] if *place == wanted => pid.parse().ok(),
            _ => None,
        }
    })
}
