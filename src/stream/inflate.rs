//! The way back: stored bytes to plain bytes, never more of them than were announced.

use std::io::{self, BufRead, Read};

use super::compress::PIECE;
use super::error::InflateError;
use crate::plan::Compression;

/// Up to this announced length a buffer is made at once; beyond it the buffer grows with the bytes that really come,
/// so that a forged length costs no memory.
const TRUSTED: usize = 64 << 20;

/// Inflates chunks: whole gzip members or zstd frames held in memory. One per thread.
pub enum Inflater {
    None,
    Gzip(Box<libdeflater::Decompressor>),
    Zstd(zstd::bulk::Decompressor<'static>),
}

impl Inflater {
    /// An inflater of this method; the level does not matter. Errors: no memory for zstd's context.
    pub fn new(method: Compression) -> io::Result<Self> {
        Ok(match method {
            Compression::None => Inflater::None,
            Compression::Gzip(_) => Inflater::Gzip(Box::default()),
            Compression::Zstd(_) => Inflater::Zstd(zstd::bulk::Decompressor::new()?),
        })
    }

    /// Replaces `out` by the plain bytes of `stored`, which must be whole members that hold exactly `plain_len` bytes
    /// (a gzip chunk of at most `PIECE` bytes is one member). Writes at most `plain_len` bytes, whatever `stored` says.
    pub fn inflate(&mut self, stored: &[u8], plain_len: u64, out: &mut Vec<u8>) -> Result<(), InflateError> {
        out.clear();
        let wanted = usize::try_from(plain_len)
            .map_err(|_| InflateError::Damaged(format!("a chunk of {plain_len} bytes fits no memory")))?;
        match self {
            Inflater::None => copy(stored, plain_len, out),
            Inflater::Gzip(inflater) if wanted <= PIECE => one_member(inflater, stored, wanted, out),
            Inflater::Gzip(_) => stream(flate2::bufread::MultiGzDecoder::new(stored), plain_len, out),
            Inflater::Zstd(inflater) if wanted <= TRUSTED => frames(inflater, stored, wanted, out),
            Inflater::Zstd(_) => {
                let reader = zstd::stream::read::Decoder::with_buffer(stored)
                    .map_err(|error| InflateError::Damaged(error.to_string()))?;
                stream(reader, plain_len, out)
            }
        }
    }
}

fn copy(stored: &[u8], plain_len: u64, out: &mut Vec<u8>) -> Result<(), InflateError> {
    match (stored.len() as u64).cmp(&plain_len) {
        std::cmp::Ordering::Greater => Err(InflateError::TooLong { expected: plain_len }),
        std::cmp::Ordering::Less => Err(InflateError::TooShort { expected: plain_len, found: stored.len() as u64 }),
        std::cmp::Ordering::Equal => {
            out.extend_from_slice(stored);
            Ok(())
        }
    }
}

/// libdeflate inflates the first member and does not say where it ended, so the end is recognised by the member's own
/// last eight bytes: CRC and length.
fn one_member(
    inflater: &mut libdeflater::Decompressor,
    stored: &[u8],
    wanted: usize,
    out: &mut Vec<u8>,
) -> Result<(), InflateError> {
    use libdeflater::DecompressionError::{BadData, InsufficientSpace};
    out.resize(wanted, 0);
    let found = inflater.gzip_decompress(stored, out).map_err(|error| match error {
        BadData => InflateError::Damaged("gzip".into()),
        InsufficientSpace => InflateError::TooLong { expected: wanted as u64 },
    })?;
    if found != wanted {
        return Err(InflateError::TooShort { expected: wanted as u64, found: found as u64 });
    }
    let mut end = [0; 8];
    end[..4].copy_from_slice(&libdeflater::crc32(out).to_le_bytes());
    end[4..].copy_from_slice(&(wanted as u32).to_le_bytes());
    let Some(before) = stored.strip_suffix(&end) else {
        return Err(InflateError::Trailing);
    };
    // The same end once more, earlier: only the streaming decoder can tell whether a twin of the member follows it.
    if memchr::memmem::find(before, &end).is_some() {
        out.clear();
        return stream(flate2::bufread::MultiGzDecoder::new(stored), wanted as u64, out);
    }
    Ok(())
}

fn frames(
    inflater: &mut zstd::bulk::Decompressor<'static>,
    stored: &[u8],
    wanted: usize,
    out: &mut Vec<u8>,
) -> Result<(), InflateError> {
    out.resize(wanted, 0);
    let found = inflater
        .decompress_to_buffer(stored, out.as_mut_slice())
        .map_err(|error| InflateError::Damaged(error.to_string()))?;
    if found == wanted { Ok(()) } else { Err(InflateError::TooShort { expected: wanted as u64, found: found as u64 }) }
}

fn stream(reader: impl Read, plain_len: u64, out: &mut Vec<u8>) -> Result<(), InflateError> {
    let found = reader
        .take(plain_len.saturating_add(1))
        .read_to_end(out)
        .map_err(|error| InflateError::Damaged(error.to_string()))? as u64;
    match found.cmp(&plain_len) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => Err(InflateError::TooShort { expected: plain_len, found }),
        std::cmp::Ordering::Greater => Err(InflateError::TooLong { expected: plain_len }),
    }
}

/// Reads a file that need not be ours as plain bytes: gzip (any number of members), zstd (any number of frames) or
/// neither, told by its first bytes. Reading past `limit` plain bytes is an error, as is anything after the last member.
pub fn plain_reader<'a>(mut source: impl BufRead + 'a, limit: u64) -> io::Result<Box<dyn Read + 'a>> {
    let start = source.fill_buf()?;
    Ok(if start.starts_with(&[0x1f, 0x8b]) {
        Box::new(Bounded { inner: flate2::bufread::MultiGzDecoder::new(source), left: limit })
    } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Box::new(Bounded { inner: zstd::stream::read::Decoder::with_buffer(source)?, left: limit })
    } else {
        Box::new(Bounded { inner: source, left: limit })
    })
}

struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "the file holds more plain bytes than were announced")
        })?;
        Ok(count)
    }
}
