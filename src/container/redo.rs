//! A redo file: the bytes that a file of a backup gets, gathered, durable and checked before any of its own is touched. As
//! long as it is there, the change can be done again from its beginning, however far it came.
//!
//! New bytes, then JSON that tells where they go, then 48 bytes: `agentredo` and its version, where the JSON stands and how
//! long it is, and the SHA-256 of it. A change begins with the end of the file: the manifest that stands there tells
//! whether it has begun.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::ContainerError;
use super::patch::Range;
use super::read_at::ReadAt;

const MAGIC: &[u8; 16] = b"agentredo\0\0\0\0\0\0\x01";
const FOOTER: u64 = 16 + 2 * 8 + 32;
const BLOCK: usize = 256 << 10;
const WHAT: &str = "the redo file";
/// No plan is longer: a range takes some 120 bytes.
const MOST: u64 = 1 << 30;

/// What is to be done to a file, and to the manifest beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redo {
    /// The file's name.
    pub file: String,
    /// Name of the manifest beside it.
    pub manifest_file: String,
    pub erasure_id: String,
    pub backup_id: String,
    /// SHA-256 of the manifests in hex.
    pub old_manifest_sha256: String,
    pub new_manifest_sha256: String,
    pub old_bytes: u64,
    pub new_bytes: u64,
    /// Where the manifest's text stands here.
    pub manifest: Place,
    /// Of the file, in its order.
    pub ranges: Vec<Place>,
}

/// Bytes that go to `offset`, which is without meaning for a manifest, and stand at `at`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64, u64, String)", into = "(u64, u64, u64, String)")]
pub struct Place {
    pub offset: u64,
    pub length: u64,
    pub at: u64,
    pub sha256: String,
}

impl Place {
    /// The bytes of a redo file between two places, which go where they stand.
    pub fn of(source: &impl ReadAt, from: u64, to: u64) -> Result<Self, ContainerError> {
        let mut place = Place { offset: from, length: to.saturating_sub(from), at: from, sha256: String::new() };
        place.sha256 = hash(source, from, place.length)?;
        Ok(place)
    }
}

impl From<(u64, u64, u64, String)> for Place {
    fn from((offset, length, at, sha256): (u64, u64, u64, String)) -> Self {
        Place { offset, length, at, sha256 }
    }
}

impl From<Place> for (u64, u64, u64, String) {
    fn from(place: Place) -> Self {
        (place.offset, place.length, place.at, place.sha256)
    }
}

impl From<&Range> for Place {
    fn from(range: &Range) -> Self {
        Place { offset: range.offset, length: range.length, at: range.at, sha256: hex::encode(range.sha256) }
    }
}

/// A file that is changed.
pub trait Target: ReadAt {
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync(&self) -> io::Result<()>;
    fn set_len(&self, bytes: u64) -> io::Result<()>;
}

impl Target for std::fs::File {
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        std::fs::File::set_len(self, bytes)
    }
}

impl Redo {
    /// Ends a redo file whose new bytes, `at` of them, were written.
    pub fn seal(&self, at: u64, out: &mut impl Write) -> Result<(), ContainerError> {
        let failed = |error: serde_json::Error| ContainerError::unreadable(WHAT, error.to_string());
        let text = serde_json::to_vec(self).map_err(failed)?;
        let mut footer = MAGIC.to_vec();
        footer.extend_from_slice(&at.to_le_bytes());
        footer.extend_from_slice(&(text.len() as u64).to_le_bytes());
        footer.extend_from_slice(&Sha256::digest(&text));
        let write = |source| ContainerError::Write { what: WHAT.into(), source };
        out.write_all(&text).and_then(|()| out.write_all(&footer)).map_err(write)
    }

    /// Reads what `seal` wrote, and checks all bytes. Errors: `Truncated`, `Changed`, `Unreadable`, `Read`.
    pub fn open(source: &impl ReadAt) -> Result<Self, ContainerError> {
        let length = source.len().map_err(read)?;
        let cut = || ContainerError::Truncated { what: WHAT.into(), detail: "it has no end".into() };
        let start = length.checked_sub(FOOTER).ok_or_else(cut)?;
        let mut footer = [0; FOOTER as usize];
        source.read_exact_at(start, &mut footer).map_err(read)?;
        let body = footer.strip_prefix(MAGIC).ok_or_else(cut)?;
        let number = |at: usize| body[at..at + 8].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let (at, bytes) = (number(0), number(8));
        if bytes > MOST || at.checked_add(bytes) != Some(start) {
            return Err(ContainerError::changed(WHAT, "its end does not fit its length"));
        }
        let mut text = vec![0; bytes as usize];
        source.read_exact_at(at, &mut text).map_err(read)?;
        if Sha256::digest(&text)[..] != body[16..] {
            return Err(ContainerError::changed(WHAT, "it does not fit the SHA-256 in its last bytes"));
        }
        let unreadable = |error: serde_json::Error| ContainerError::unreadable(WHAT, error.to_string());
        let redo: Redo = serde_json::from_slice(&text).map_err(unreadable)?;
        for place in redo.ranges.iter().chain([&redo.manifest]) {
            let ends = place.at.checked_add(place.length).zip(place.offset.checked_add(place.length));
            if ends.is_none_or(|(end, target)| end > at || target > redo.new_bytes.max(redo.manifest.length)) {
                return Err(ContainerError::changed(WHAT, "a range in it lies outside"));
            }
            check(source, place.at, place)?;
        }
        Ok(redo)
    }

    /// The manifest's text.
    pub fn manifest_bytes(&self, source: &impl ReadAt) -> Result<Vec<u8>, ContainerError> {
        let mut bytes = vec![0; self.manifest.length as usize];
        source.read_exact_at(self.manifest.at, &mut bytes).map_err(read)?;
        Ok(bytes)
    }

    /// Does what `source` tells to the file; again, if that was begun before. Old bytes are overwritten, those behind a
    /// shorter end too. Errors: `Write`, `Read`, `Changed` when what was written does not come back.
    pub fn apply(&self, source: &impl ReadAt, file: &impl Target) -> Result<(), ContainerError> {
        let write = |source| ContainerError::Write { what: format!("\"{}\"", self.file), source };
        for place in self.ranges.iter().rev() {
            let mut done = 0;
            while done < place.length {
                let mut block = vec![0; (place.length - done).min(BLOCK as u64) as usize];
                source.read_exact_at(place.at + done, &mut block).map_err(read)?;
                file.write_all_at(place.offset + done, &block).map_err(write)?;
                done += block.len() as u64;
            }
            // The end of the file is there before anything else is touched.
            if self.ranges.last() == Some(place) {
                file.sync().map_err(write)?;
            }
        }
        let length = file.len().map_err(read)?;
        let mut at = self.new_bytes;
        while at < length {
            let zeros = vec![0; (length - at).min(BLOCK as u64) as usize];
            file.write_all_at(at, &zeros).map_err(write)?;
            at += zeros.len() as u64;
        }
        file.sync().map_err(write)?;
        if length != self.new_bytes {
            file.set_len(self.new_bytes).map_err(write)?;
            file.sync().map_err(write)?;
        }
        self.ranges.iter().try_for_each(|place| check(file, place.offset, place))
    }
}

/// The bytes at `at` are those of the place.
fn check(source: &impl ReadAt, at: u64, place: &Place) -> Result<(), ContainerError> {
    if hash(source, at, place.length)? == place.sha256 {
        Ok(())
    } else {
        Err(ContainerError::changed("what was written anew", format!("the bytes at {at} do not fit their SHA-256")))
    }
}

fn hash(source: &impl ReadAt, at: u64, length: u64) -> Result<String, ContainerError> {
    let mut hash = Sha256::new();
    let mut block = vec![0; length.min(BLOCK as u64) as usize];
    let mut done = 0;
    while done < length {
        let count = (length - done).min(BLOCK as u64) as usize;
        source.read_exact_at(at + done, &mut block[..count]).map_err(read)?;
        hash.update(&block[..count]);
        done += count as u64;
    }
    Ok(hex::encode(hash.finalize()))
}

fn read(source: io::Error) -> ContainerError {
    match source.kind() {
        io::ErrorKind::UnexpectedEof => {
            ContainerError::Truncated { what: WHAT.into(), detail: "it ends inside a range".into() }
        }
        _ => ContainerError::Read { what: WHAT.into(), source },
    }
}
