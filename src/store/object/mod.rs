//! Object stores: where copies of backups go, off this machine. One trait, and one suite of tests that all stores pass.
//!
//! A key is a path of plain components below the store's place (`cluster/set/file`). An object is put whole or not at all.
//! Every call blocks its thread, for a bounded time, and calls `watch` at least every 50 ms, also while a network stalls;
//! when that says so, the call ends with [`ObjectError::Cancelled`] and what it had begun is taken back.

mod content; // what is put: its size and its hash, checked on the way
mod error; // sorted by what the caller can do
mod folder; // a directory: a mounted disk
mod growing; // what is written piece by piece
mod key; // which keys are acceptable
mod location; // s3://bucket/prefix, file:///path
mod memory; // for tests
pub mod profile; // credentials and settings from the usual places of AWS
mod remote; // ReadAt over an object
pub mod s3; // any S3-compatible store

#[cfg(test)]
mod tests;

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use chrono::{DateTime, Utc};

pub use content::{Content, Measured};
pub use error::{Cancelled, ObjectError};
pub use folder::Folder;
pub use growing::Growing;
pub use location::{Location, LocationError};
pub use memory::Memory;
pub use profile::{Credentials, Environment, S3Options};
pub use remote::RemoteFile;
pub use s3::{Limits, S3};

/// Called at least every 50 ms; its error ends the call.
pub type Watch<'a> = &'a mut dyn FnMut() -> Result<(), Cancelled>;

/// Most bytes that [`ObjectStore::get`] holds at once.
pub const PIECE: u64 = 32 << 20;

/// Where objects are kept. All calls may be made from several threads.
pub trait ObjectStore: Send + Sync {
    /// The place, for messages. Never holds a secret.
    fn place(&self) -> String;

    /// Creates an object if there is none of this key, in one step: of all who try at once one gets [`Claim::Ours`]. A
    /// reply that is lost is asked after, so that our own success is never taken for another's.
    fn put_new(&self, key: &str, bytes: &[u8], watch: Watch<'_>) -> Result<Claim, ObjectError>;

    /// Puts what `source` gives, which must be what `content` says, in the place of what was there.
    ///
    /// # Errors
    /// `Source` when it cannot be read; `Damaged` when it is not what `content` says, or did not arrive as it was sent.
    /// After any error nothing new is under the key.
    fn put(
        &self,
        key: &str,
        content: Content,
        source: &mut dyn std::io::Read,
        watch: Watch<'_>,
    ) -> Result<(), ObjectError>;

    /// Begins an object of a size that nobody knows yet, under a key that nobody uses.
    fn begin(self: Arc<Self>, key: &str) -> Result<Box<dyn Growing>, ObjectError>;

    /// What is known of an object.
    ///
    /// # Errors
    /// `Missing`.
    fn head(&self, key: &str, watch: Watch<'_>) -> Result<ObjectInfo, ObjectError>;

    /// The bytes of a range, all of them.
    ///
    /// # Errors
    /// `Missing`; `Damaged` when the object ends before the range does.
    fn get_range(&self, key: &str, range: Range<u64>, watch: Watch<'_>) -> Result<Vec<u8>, ObjectError>;

    /// The objects below a prefix (a directory; empty for all) in the order of their keys, those after `after` only.
    /// `each` may end the list.
    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        each: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>,
        watch: Watch<'_>,
    ) -> Result<(), ObjectError>;

    /// Removes an object; that there is none is fine.
    fn delete(&self, key: &str, watch: Watch<'_>) -> Result<Removal, ObjectError>;

    /// Removes what writers that died left of unfinished objects below a prefix, if begun before `before`; gives the keys.
    ///
    /// # Errors
    /// `Unsupported` by stores that cannot list them.
    fn sweep(&self, prefix: &str, before: DateTime<Utc>, watch: Watch<'_>) -> Result<Vec<String>, ObjectError>;

    /// Hands the whole object to `each`, in pieces of at most [`PIECE`] bytes, and says how many bytes there were.
    fn get(
        &self,
        key: &str,
        each: &mut dyn FnMut(&[u8]) -> Result<(), ObjectError>,
        watch: Watch<'_>,
    ) -> Result<u64, ObjectError> {
        let size = self.head(key, watch)?.size;
        let mut at = 0;
        while at < size {
            let end = size.min(at + PIECE);
            each(&self.get_range(key, at..end, watch)?)?;
            at = end;
        }
        Ok(size)
    }
}

impl dyn ObjectStore {
    /// Size and hash of an object, by reading all of it.
    pub fn measure(&self, key: &str, watch: Watch<'_>) -> Result<Content, ObjectError> {
        let mut measured = Measured::default();
        let mut each = |bytes: &[u8]| {
            measured.add(bytes);
            Ok(())
        };
        self.get(key, &mut each, watch)?;
        Ok(measured.content())
    }

    /// Whether an object is what `content` says: by what its writer noted, else by reading it.
    pub fn is(&self, key: &str, content: Content, watch: Watch<'_>) -> Result<bool, ObjectError> {
        let info = self.head(key, watch)?;
        Ok(info.size == content.size
            && match info.sha256 {
                Some(noted) => noted == content.sha256,
                None => self.measure(key, watch)? == content,
            })
    }

    /// All of an object that is not large.
    ///
    /// # Errors
    /// `Damaged` where it is larger than `most`.
    pub fn read(&self, key: &str, most: u64, watch: Watch<'_>) -> Result<Vec<u8>, ObjectError> {
        let size = self.head(key, watch)?.size;
        if size > most {
            return Err(ObjectError::Damaged { key: key.into(), reason: format!("it has {size} bytes") });
        }
        self.get_range(key, 0..size, watch)
    }
}

/// Whose an object is that was to be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an object that another claimed is not ours"]
pub enum Claim {
    /// Made by this call.
    Ours,
    /// It was there, or another was quicker.
    Taken,
}

/// What became of an object that was to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an object may be kept by its lock"]
pub enum Removal {
    /// It is not there any more, or never was.
    Gone,
    /// A lock of the store keeps it.
    Retained,
}

/// An object of a list, or of `head`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    pub key: String,
    /// Bytes.
    pub size: u64,
    pub modified: DateTime<Utc>,
    /// What its writer noted as the SHA-256 of its bytes. A list does not tell it, nor does a directory.
    pub sha256: Option<[u8; 32]>,
}
