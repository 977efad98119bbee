//! The last bytes of a container, of one size per method: where the manifest is, and the hash of what lies between.
//!
//! For gzip an empty member with an extra field, for zstd a skippable frame, for a plain tar one more block after its
//! end. Unpackers pass over all three.

use flate2::GzBuilder;

use super::error::ContainerError;
use super::header::BLOCK;
use crate::plan::Compression;

const MAGIC: &[u8; 8] = b"agentbak";
const VERSION: u32 = 1;
const BODY: usize = MAGIC.len() + 4 + 4 * 8 + 32;
/// The extra field's subfield: `A`, `B`, length.
const SUBFIELD: [u8; 4] = [b'A', b'B', BODY as u8, 0];
const ZSTD_SKIPPABLE: u32 = 0x184D_2A50;
const WHAT: &str = "the trailer";

/// Where the manifest is. Offsets are from the start of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// Where the manifest's tar header starts: the end of the content.
    pub header_offset: u64,
    pub data_offset: u64,
    pub stored_len: u64,
    pub plain_len: u64,
    /// SHA-256 of all bytes from `header_offset` up to the trailer.
    pub tail_sha256: [u8; 32],
}

impl Trailer {
    fn body(&self) -> Vec<u8> {
        let mut body = MAGIC.to_vec();
        body.extend_from_slice(&VERSION.to_le_bytes());
        for number in [self.header_offset, self.data_offset, self.stored_len, self.plain_len] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        body.extend_from_slice(&self.tail_sha256);
        body
    }

    /// The trailer's bytes in a container of this method.
    pub fn to_bytes(&self, method: Compression) -> Result<Vec<u8>, ContainerError> {
        wrap(method, self.body())
    }

    /// Reads the trailer from the last bytes of a file (`size(method)` or more of them).
    /// Errors: `Truncated` (no trailer here), `UnsupportedVersion`, `Changed` (more bytes follow, or bits differ).
    pub fn parse(method: Compression, tail: &[u8]) -> Result<Self, ContainerError> {
        let found = tail.windows(MAGIC.len()).rposition(|window| window == MAGIC);
        let Some(start) = found else {
            let detail = "the file does not end with one: it was cut off, or never finished".into();
            return Err(ContainerError::Truncated { what: "the container".into(), detail });
        };
        let body = tail
            .get(start..start + BODY)
            .ok_or_else(|| ContainerError::Truncated { what: WHAT.into(), detail: "the file ends inside it".into() })?;
        let number = |at: usize| body[at..at + 8].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let version = number(8) & u64::from(u32::MAX);
        if version != u64::from(VERSION) {
            return Err(ContainerError::UnsupportedVersion { what: WHAT.into(), found: version, known: VERSION });
        }
        let mut tail_sha256 = [0; 32];
        tail_sha256.copy_from_slice(&body[BODY - 32..]);
        let trailer = Trailer {
            header_offset: number(12),
            data_offset: number(20),
            stored_len: number(28),
            plain_len: number(36),
            tail_sha256,
        };
        let exact = trailer.to_bytes(method)?;
        if tail.ends_with(&exact) {
            return Ok(trailer);
        }
        match tail.windows(exact.len()).rposition(|window| window == exact) {
            Some(at) => {
                let extra = tail.len() - at - exact.len();
                Err(ContainerError::changed("the container", format!("{extra} bytes follow its end")))
            }
            None => Err(ContainerError::changed(WHAT, "its bytes are not those that were written, or not all")),
        }
    }
}

/// Bytes of a trailer.
pub fn size(method: Compression) -> Result<u64, ContainerError> {
    Ok(wrap(method, vec![0; BODY])?.len() as u64)
}

fn wrap(method: Compression, body: Vec<u8>) -> Result<Vec<u8>, ContainerError> {
    match method {
        Compression::None => {
            let mut block = body;
            block.resize(BLOCK, 0);
            Ok(block)
        }
        Compression::Gzip(_) => {
            let extra = [&SUBFIELD[..], &body].concat();
            let member = GzBuilder::new().extra(extra).write(Vec::new(), flate2::Compression::none());
            member.finish().map_err(|source| ContainerError::Write { what: WHAT.into(), source })
        }
        Compression::Zstd(_) => {
            let mut frame = ZSTD_SKIPPABLE.to_le_bytes().to_vec();
            frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
            frame.extend_from_slice(&body);
            Ok(frame)
        }
    }
}
