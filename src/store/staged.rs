//! The one way a file comes into being: staging name → write → sync → read back → rename to a free name → sync directory.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, FallocateFlags, OFlag, RenameFlags, fallocate, openat, renameat, renameat2};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat};
use nix::unistd::{UnlinkatFlags, fdatasync, fsync, linkat, unlinkat};
use sha2::{Digest, Sha256};

use super::error::StoreError;
use super::file::Directory;
use super::registry;
use super::rule::check_name;
use crate::container::ReadAt;

const BLOCK: usize = 256 * 1024; // bytes between two looks at the cancel flag
const SYNC_EVERY: u64 = 32 * 1024 * 1024; // bytes, so that no sync is long
const HINT_LIMIT: usize = 200; // bytes of the hint, so that the staging name fits in 255
const RANDOM_TRIES: u32 = 16;

/// A file being written, invisible to [`Directory::list`] as a backup until it is published. Dropping it removes it.
#[derive(Debug)]
#[must_use = "a staged file that is dropped is removed"]
pub struct StagedFile {
    directory: Directory,
    name: String,
    file: File,
    /// None where the caller hashes what it writes.
    digest: Option<Sha256>,
    size: u64,
    unsynced: u64,
    failed: bool,
    cancel: Option<Arc<AtomicBool>>,
    watch: Option<fn() -> bool>,
}

/// A file that is complete, durable and read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its name in the directory.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
    pub inode: u64,
}

impl Published {
    /// The SHA-256 in hex.
    pub fn sha256_hex(&self) -> String {
        hex::encode(self.sha256)
    }
}

impl StagedFile {
    pub(super) fn create(directory: Directory, hint: &str) -> Result<Self, StoreError> {
        let (name, file) = create_exclusive(&directory, hint)?;
        registry::register(&directory, &name);
        let staged = Self {
            directory,
            name,
            file,
            digest: Some(Sha256::new()),
            size: 0,
            unsynced: 0,
            failed: false,
            cancel: None,
            watch: None,
        };
        // Exactly 0600, whatever the umask took away.
        fchmod(&staged.file, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|errno| staged.error("set the mode of", 0, errno))?;
        Ok(staged)
    }

    /// Makes writing and reading back end with [`StoreError::Cancelled`] soon after the flag is set.
    pub fn cancelled_by(mut self, flag: Arc<AtomicBool>) -> Self {
        self.cancel = Some(flag);
        self
    }

    /// Calls `watch` between the blocks that are written and read back; when it says so, or unwinds, that is the end.
    pub fn watched_by(mut self, watch: fn() -> bool) -> Self {
        self.watch = Some(watch);
        self
    }

    /// Leaves the hashing of what is written to the caller, who publishes with [`StagedFile::publish_hashed`].
    pub fn hashed_by_caller(mut self) -> Self {
        self.digest = None;
        self
    }

    /// Bytes written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends all of `bytes`. After an error the file is of no more use: every further call fails.
    ///
    /// # Errors
    /// The variant of the errno (`NoSpace`, `Quota`, `FileTooLarge`, …) with the bytes needed so far, `Sync`, `Cancelled`.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::AlreadyFailed { path: self.path() });
        }
        let result = self.append_blocks(bytes);
        self.failed = result.is_err();
        result
    }

    fn append_blocks(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let needed = self.size + bytes.len() as u64;
        for block in bytes.chunks(BLOCK) {
            self.check_cancel()?;
            self.append_block(block, needed)?;
            if self.unsynced >= SYNC_EVERY {
                self.unsynced = 0;
                fdatasync(&self.file).map_err(|errno| self.sync_error(errno))?;
            }
        }
        Ok(())
    }

    fn append_block(&mut self, mut block: &[u8], needed: u64) -> Result<(), StoreError> {
        while !block.is_empty() {
            let count = match retry(|| nix::unistd::write(&self.file, block)) {
                Ok(0) => return Err(self.error("write", needed, Errno::EIO)),
                Ok(count) => count.min(block.len()),
                Err(errno) => return Err(self.error("write", needed, errno)),
            };
            if let Some(digest) = &mut self.digest {
                digest.update(&block[..count]);
            }
            self.size += count as u64;
            self.unsynced += count as u64;
            block = &block[count..];
        }
        Ok(())
    }

    /// Makes the file durable, reads it back, and gives it its name.
    ///
    /// # Errors
    /// `BadName`; `Exists` when the name is taken: nothing is ever overwritten; `Sync` when the disk refused, after which
    /// the file is thrown away and not synced again; `ReadBackSize`, `ReadBackDigest`, `Replaced` when the file is not what
    /// was written; `DirectorySwapped`. Whatever the error, neither the staging nor the final name is left.
    pub fn publish(self, final_name: &str) -> Result<Published, StoreError> {
        self.publish_unique(std::iter::once(final_name.to_owned()))
    }

    /// As [`StagedFile::publish`], under the first of the names that is free.
    ///
    /// # Errors
    /// As `publish`; `Exists` with the last name when none is free, `NoName` when there were none.
    pub fn publish_unique(mut self, names: impl IntoIterator<Item = String>) -> Result<Published, StoreError> {
        match self.digest.take() {
            Some(digest) => self.publish_as(names, digest.finalize().into()),
            None => Err(StoreError::ReadBackDigest { path: self.path() }),
        }
    }

    /// As [`StagedFile::publish`], for a caller that has the SHA-256 of all bytes it wrote.
    ///
    /// # Errors
    /// As `publish`.
    pub fn publish_hashed(self, final_name: &str, sha256: [u8; 32]) -> Result<Published, StoreError> {
        self.publish_as(std::iter::once(final_name.to_owned()), sha256)
    }

    /// As [`StagedFile::publish`], but takes the place of a file of this name, in one step. What that one held is not
    /// overwritten by it.
    ///
    /// # Errors
    /// As `publish`, but for `Exists`.
    pub fn publish_over(mut self, final_name: &str) -> Result<Published, StoreError> {
        let Some(digest) = self.digest.take() else { return Err(StoreError::ReadBackDigest { path: self.path() }) };
        let sha256 = digest.finalize().into();
        let inode = self.settle(sha256)?;
        check_name(final_name)?;
        let path = self.directory.path().join(final_name);
        renameat(&self.directory, self.name.as_str(), &self.directory, final_name)
            .map_err(|errno| StoreError::from_errno("rename the staging file to", path, self.size, errno))?;
        registry::unregister(&self.directory, &self.name);
        self.name.clear(); // nothing left for Drop
        self.directory.sync()?;
        Ok(Published { name: final_name.to_owned(), size: self.size, sha256, inode })
    }

    fn publish_as(
        mut self,
        names: impl IntoIterator<Item = String>,
        sha256: [u8; 32],
    ) -> Result<Published, StoreError> {
        let inode = self.settle(sha256)?;
        let name = self.rename_to_free(names)?;
        registry::unregister(&self.directory, &self.name);
        self.name.clear(); // nothing left for Drop
        if let Err(error) = self.directory.sync() {
            // Not durable, so not published: take the name back.
            remove_entry(&self.directory, &name);
            return Err(error);
        }
        Ok(Published { name, size: self.size, sha256, inode })
    }

    /// Makes it durable and reads it back; its inode.
    fn settle(&mut self, sha256: [u8; 32]) -> Result<u64, StoreError> {
        if self.failed {
            return Err(StoreError::AlreadyFailed { path: self.path() });
        }
        let written = fstat(&self.file).map_err(|errno| self.error("look at", self.size, errno))?;
        fsync(&self.file).map_err(|errno| self.sync_error(errno))?;
        // From here the file is only open for reading: the assignment closes the descriptor that could write.
        self.file = self.reopen_for_reading()?;
        self.read_back(&written, sha256)?;
        self.directory.check_not_swapped()?;
        Ok(written.st_ino)
    }

    fn reopen_for_reading(&self) -> Result<File, StoreError> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        match retry(|| openat(&self.directory, self.name.as_str(), flags, Mode::empty())) {
            Ok(fd) => Ok(File::from(fd)),
            Err(Errno::ENOENT | Errno::ELOOP | Errno::ENXIO) => Err(StoreError::Replaced { path: self.path() }),
            Err(errno) => Err(self.error("open", self.size, errno)),
        }
    }

    /// Compares what is stored with what was written.
    fn read_back(&mut self, written: &FileStat, sha256: [u8; 32]) -> Result<(), StoreError> {
        let found = fstat(&self.file).map_err(|errno| self.error("look at", self.size, errno))?;
        if (found.st_dev, found.st_ino) != (written.st_dev, written.st_ino) || found.st_nlink != 1 {
            return Err(StoreError::Replaced { path: self.path() });
        }
        if found.st_size as u64 != self.size {
            return Err(StoreError::ReadBackSize {
                path: self.path(),
                written: self.size,
                found: found.st_size as u64,
            });
        }
        let mut digest = Sha256::new();
        let mut block = vec![0; BLOCK];
        let mut read = 0;
        loop {
            self.check_cancel()?;
            match self.file.read(&mut block) {
                Ok(0) => break,
                Ok(count) => {
                    digest.update(&block[..count]);
                    read += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(StoreError::Io { action: "read back", path: self.path(), source }),
            }
        }
        if read != self.size {
            return Err(StoreError::ReadBackSize { path: self.path(), written: self.size, found: read });
        }
        let found: [u8; 32] = digest.finalize().into();
        if found != sha256 { Err(StoreError::ReadBackDigest { path: self.path() }) } else { Ok(()) }
    }

    fn rename_to_free(&self, names: impl IntoIterator<Item = String>) -> Result<String, StoreError> {
        let mut outcome = Err(StoreError::NoName { path: self.directory.path().to_owned() });
        for name in names {
            check_name(&name)?;
            match self.rename_to(&name) {
                Ok(()) => return Ok(name),
                Err(Errno::EEXIST) => outcome = Err(StoreError::Exists { path: self.directory.path().join(name) }),
                Err(errno) => {
                    let path = self.directory.path().join(name);
                    return Err(StoreError::from_errno("rename the staging file to", path, self.size, errno));
                }
            }
        }
        outcome
    }

    fn rename_to(&self, name: &str) -> Result<(), Errno> {
        let (directory, staging) = (&self.directory, self.name.as_str());
        match renameat2(directory, staging, directory, name, RenameFlags::RENAME_NOREPLACE) {
            // The file system knows no RENAME_NOREPLACE; a second link refuses a taken name as well.
            Err(Errno::EINVAL | Errno::ENOSYS) => {
                linkat(directory, staging, directory, name, AtFlags::empty())?;
                unlinkat(directory, staging, UnlinkatFlags::NoRemoveDir).inspect_err(|_| remove_entry(directory, name))
            }
            result => result,
        }
    }

    fn check_cancel(&self) -> Result<(), StoreError> {
        let flagged = self.cancel.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed));
        if flagged || self.watch.is_some_and(|watch| watch()) {
            return Err(StoreError::Cancelled { path: self.path() });
        }
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join(&self.name)
    }

    fn error(&self, action: &'static str, needed: u64, errno: Errno) -> StoreError {
        StoreError::from_errno(action, self.path(), needed, errno)
    }

    fn sync_error(&self, errno: Errno) -> StoreError {
        match StoreError::from_errno("sync", self.path(), self.size, errno) {
            StoreError::Io { path, source, .. } => StoreError::Sync { path, source },
            sorted => sorted, // delayed allocation: the disk was full or the quota used up after all
        }
    }
}

/// What was written so far can be read again.
impl ReadAt for StagedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.size)
    }
}

/// Accepts all bytes or fails; [`StoreError::unwrap_io`] gives the cause back.
impl Write for StagedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes)?;
        Ok(bytes.len())
    }

    /// Nothing is buffered here; durability is the work of [`StagedFile::publish`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            remove_entry(&self.directory, &self.name);
            registry::unregister(&self.directory, &self.name);
        }
    }
}

/// Best effort on the way out of a failure, which is the error to report; a sweep finds what could not be removed.
fn remove_entry(directory: &Directory, name: &str) {
    let _ = unlinkat(directory, name, UnlinkatFlags::NoRemoveDir);
}

/// Makes sure that a file can grow to this length later, without growing it. File systems that cannot promise it are taken
/// at their word.
pub fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    let length = i64::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
    match retry(|| fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, length)) {
        Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Creates `.<hint>.<16 hex digits>.staging`, which nobody had.
pub(super) fn create_exclusive(directory: &Directory, hint: &str) -> Result<(String, File), StoreError> {
    check_name(hint)?;
    let hint = &hint[..hint.floor_char_boundary(HINT_LIMIT)];
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    for attempt in 0..RANDOM_TRIES {
        let random = RandomState::new().hash_one((std::process::id(), attempt));
        let name = format!(".{hint}.{random:016x}.staging");
        match retry(|| openat(directory, name.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)) {
            Ok(fd) => return Ok((name, File::from(fd))),
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(StoreError::from_errno("create", directory.path().join(name), 0, errno)),
        }
    }
    Err(StoreError::Exists { path: directory.path().join(hint) })
}

/// Calls again while a signal interrupts. Never for a sync, of which any failure is final.
pub(super) fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}
