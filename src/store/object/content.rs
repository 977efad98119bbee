//! What is put: known by its size and hash before, and checked on its way.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

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
