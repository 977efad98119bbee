//! What is put: known by its size and hash before, and checked on its way.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

use super::Watch;
use super::error::ObjectError;

/// Size and SHA-256 of the bytes to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Bytes.
    pub size: u64,
    pub sha256: [u8; 32],
}

impl Content {
    /// Of bytes that are at hand.
    pub fn of(bytes: &[u8]) -> Self {
        Content { size: bytes.len() as u64, sha256: Sha256::digest(bytes).into() }
    }

    /// Of bytes whose hash is written down in hex; none where that is no SHA-256.
    pub fn known(size: u64, sha256: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(sha256, &mut bytes).ok()?;
        Some(Content { size, sha256: bytes })
    }

    /// Of all that a source gives.
    ///
    /// # Errors
    /// `Source` when it cannot be read.
    pub fn measure(key: &str, source: &mut dyn Read, watch: Watch<'_>) -> Result<Self, ObjectError> {
        let (mut measured, mut buffer) = (Measured::default(), vec![0; 1 << 20]);
        loop {
            watch()?;
            match source.read(&mut buffer) {
                Ok(0) => return Ok(measured.content()),
                Ok(count) => measured.add(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ObjectError::Source { key: key.into(), source }),
            }
        }
    }

    /// The hash in hex.
    pub fn hex(&self) -> String {
        hex::encode(self.sha256)
    }
}

/// Bytes as they come by.
#[derive(Default)]
pub struct Measured {
    size: u64,
    hash: Sha256,
}

impl Measured {
    pub fn add(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.hash.update(bytes);
    }

    pub fn content(self) -> Content {
        Content { size: self.size, sha256: self.hash.finalize().into() }
    }
}

/// Reads a source in pieces and sees to it that it is what was announced.
pub(super) struct Checked<'a> {
    key: &'a str,
    source: &'a mut dyn Read,
    content: Content,
    hash: Sha256,
    left: u64,
}

impl<'a> Checked<'a> {
    pub(super) fn new(key: &'a str, content: Content, source: &'a mut dyn Read) -> Self {
        Checked { key, source, content, hash: Sha256::new(), left: content.size }
    }

    /// The next bytes, `most` of them unless the end comes before; none at the end. The last piece is given only after
    /// all of the source proved right, so nothing wrong is ever complete.
    pub(super) fn next(&mut self, most: u64) -> Result<Vec<u8>, ObjectError> {
        let count = self.left.min(most);
        let mut bytes = vec![0; count as usize];
        self.source.read_exact(&mut bytes).map_err(|error| self.explain(error))?;
        self.hash.update(&bytes);
        self.left -= count;
        if self.left == 0 {
            self.finish()?;
        }
        Ok(bytes)
    }

    fn finish(&mut self) -> Result<(), ObjectError> {
        let mut one = [0];
        loop {
            match self.source.read(&mut one) {
                Ok(0) => break,
                Ok(_) => return Err(self.differs("longer than")),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.explain(error)),
            }
        }
        let found: [u8; 32] = self.hash.clone().finalize().into();
        if found == self.content.sha256 { Ok(()) } else { Err(self.differs("not")) }
    }

    fn explain(&self, source: io::Error) -> ObjectError {
        if source.kind() == io::ErrorKind::UnexpectedEof {
            self.differs("shorter than")
        } else {
            ObjectError::Source { key: self.key.into(), source }
        }
    }

    fn differs(&self, how: &str) -> ObjectError {
        let reason = format!("what was to be put is {how} what was announced");
        ObjectError::Damaged { key: self.key.into(), reason }
    }
}
