//! Stored bytes of an exact length: members, and behind them members of no plain byte, which unpackers pass over. So what
//! stands in a container can be replaced by something shorter without anything behind it moving.

use crate::plan::Compression;
use crate::stream::{Compressor, StreamError};

const GZIP_HEADER: usize = 10;
/// Where in it the flags are.
const FLAGS: usize = 3;
/// An empty gzip member: header, an empty block, CRC and length of nothing.
const GZIP_EMPTY: usize = GZIP_HEADER + 2 + 8;
/// Most bytes of an extra field that are used.
const GZIP_EXTRA: usize = 60 << 10;
/// A skippable frame of zstd: magic number and length.
const ZSTD_SKIPPABLE: usize = 8;

/// Appends `bytes` stored bytes that hold no plain byte; false where that cannot be: fewer than a member has.
pub fn fill(method: Compression, mut bytes: usize, out: &mut Vec<u8>) -> bool {
    match method {
        Compression::None => bytes == 0,
        Compression::Zstd(_) if bytes == 0 => true,
        Compression::Zstd(_) => {
            let Some(length) = bytes.checked_sub(ZSTD_SKIPPABLE).and_then(|length| u32::try_from(length).ok()) else {
                return false;
            };
            out.extend_from_slice(&0x184D_2A50_u32.to_le_bytes());
            out.extend_from_slice(&length.to_le_bytes());
            out.resize(out.len() + length as usize, 0);
            true
        }
        Compression::Gzip(_) => {
            const MOST: usize = GZIP_EMPTY + 6 + GZIP_EXTRA;
            if bytes != 0 && bytes < GZIP_EMPTY {
                return false;
            }
            while bytes > 0 {
                // What is left must be enough for one more.
                let now = if bytes <= MOST { bytes } else { MOST.min(bytes - GZIP_EMPTY) };
                empty_member(now - GZIP_EMPTY, out);
                bytes -= now;
            }
            true
        }
    }
}

/// A gzip member of nothing that takes `more` bytes than it must: in an extra field, or where those are too few for one in
/// a comment.
fn empty_member(more: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    match more.checked_sub(6) {
        None => comment(more, start, out),
        Some(extra) => {
            let (field, all) = ((extra as u16).to_le_bytes(), (extra as u16 + 4).to_le_bytes());
            let mut bytes = vec![all[0], all[1], b'A', b'Z', field[0], field[1]];
            bytes.resize(more, 0);
            out[start + FLAGS] |= 4;
            out.splice(start + GZIP_HEADER..start + GZIP_HEADER, bytes);
        }
    }
}

/// Makes the gzip member at `start` longer by a comment of spaces and its zero byte.
fn comment(bytes: usize, start: usize, out: &mut Vec<u8>) {
    if bytes > 0 {
        out[start + FLAGS] |= 16;
        let spaces = std::iter::repeat_n(b' ', bytes - 1).chain([0]);
        out.splice(start + GZIP_HEADER..start + GZIP_HEADER, spaces);
    }
}

/// Makes the zstd frame that `out` begins with longer by so few bytes that no frame of its own fits: with a window
/// descriptor, a wider content size and blocks of nothing. False where these do not add up.
fn lengthen(bytes: usize, out: &mut Vec<u8>) -> bool {
    let Some(&descriptor) = out.get(4) else { return false };
    let (width, single) = (descriptor >> 6, descriptor & 0x20 != 0);
    // A content size of one byte is there with a single segment only.
    let size_at = if single { 5 } else { 6 };
    let size = match width {
        1 => out.get(size_at..size_at + 2).map(|size| 256 + u64::from(size[0]) + (u64::from(size[1]) << 8)),
        2 => {
            out.get(size_at..size_at + 4).map(|size| size.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
        }
        _ => None,
    };
    let Some(size) = size else { return empty_blocks(bytes, size_at + usize::from(single && width == 0), out) };
    let length = if width == 1 { 2 } else { 4 };
    for wider in [length, 4, 8].into_iter().filter(|wider| *wider >= length) {
        for window in [false, single] {
            let Some(left) = bytes.checked_sub(wider - length + usize::from(window)) else { continue };
            if left % 3 != 0 {
                continue;
            }
            let mut header = vec![(descriptor & 0x3f) | [1, 2, 3][wider / 4] << 6];
            if window {
                header[0] &= !0x20;
                // From 1 KiB on, in powers of two.
                header.push((size.next_power_of_two().trailing_zeros().saturating_sub(10) as u8) << 3);
            } else if !single {
                header.push(out[5]);
            }
            let stored = if wider == 2 { size - 256 } else { size };
            header.extend_from_slice(&stored.to_le_bytes()[..wider]);
            let end = 4 + header.len();
            out.splice(4..size_at + length, header);
            return empty_blocks(left, end, out);
        }
    }
    false
}

/// Puts raw blocks of no bytes, three bytes each, behind a frame's header.
fn empty_blocks(bytes: usize, at: usize, out: &mut Vec<u8>) -> bool {
    let fits = bytes.is_multiple_of(3) && at <= out.len();
    if fits {
        out.splice(at..at, std::iter::repeat_n(0, bytes));
    }
    fits
}

/// Makes stored bytes of an exact length, with the method and level of a container or a higher level.
pub struct Filler {
    method: Compression,
    compressors: Vec<Compressor>,
}

impl Filler {
    /// Errors: a wrong level.
    pub fn new(method: Compression) -> Result<Self, StreamError> {
        Ok(Filler { method, compressors: vec![Compressor::new(method)?] })
    }

    /// `plain` in exactly `length` stored bytes, and how many of them are its own members: each is read back. None where
    /// no level makes it fit.
    pub fn fit(&mut self, plain: &[u8], length: usize) -> Result<Option<(Vec<u8>, usize)>, StreamError> {
        let method = self.method;
        for number in 0.. {
            let Some(compressor) = self.compressor(number)? else { break };
            let mut stored = Vec::with_capacity(length);
            if plain.is_empty() {
                compressor.compress(plain, &mut stored)?;
            } else {
                compressor.compress_checked(plain, &mut stored, &|| false)?;
            }
            let own = stored.len();
            let Some(room) = length.checked_sub(own) else { continue };
            if fill(method, room, &mut stored) {
                return Ok(Some((stored, own)));
            }
            // Too little for a member of its own: the first one can be a little longer.
            let longer = match method {
                Compression::Gzip(_) => {
                    comment(room, 0, &mut stored);
                    true
                }
                Compression::Zstd(_) => lengthen(room, &mut stored),
                Compression::None => false,
            };
            if longer {
                compressor.check(plain, &stored)?;
                return Ok(Some((stored, length)));
            }
        }
        Ok(None)
    }

    /// The compressor of the container's level, then those of every higher level.
    fn compressor(&mut self, number: usize) -> Result<Option<&mut Compressor>, StreamError> {
        if number == self.compressors.len() {
            let higher = |level: u8| u8::try_from(number).ok().and_then(|number| level.checked_add(number));
            let method = match self.method {
                Compression::None => None,
                Compression::Gzip(level) => higher(level).filter(|level| *level <= 12).map(Compression::Gzip),
                Compression::Zstd(level) => higher(level).filter(|level| *level <= 19).map(Compression::Zstd),
            };
            let Some(method) = method else { return Ok(None) };
            self.compressors.push(Compressor::new(method)?);
        }
        Ok(self.compressors.get_mut(number))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::stream::plain_reader;

    fn plain(stored: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        plain_reader(stored, 1 << 30).unwrap().read_to_end(&mut out).unwrap();
        out
    }

    #[test]
    fn every_length_that_a_member_can_have_is_filled_and_reads_as_nothing() {
        for (method, least) in [(Compression::Gzip(1), 20), (Compression::Zstd(1), 8)] {
            for length in (0..400).chain([61_439, 61_440, 61_466, 61_467, 61_500, 200_000, 1 << 20]) {
                let mut out = Vec::new();
                Compressor::new(method).unwrap().compress(b"abc", &mut out).unwrap();
                let own = out.len();
                let done = fill(method, length, &mut out);
                assert_eq!(done, length == 0 || length >= least, "{method:?} {length}");
                if done {
                    assert_eq!(out.len(), own + length, "{method:?} {length}");
                    Compressor::new(method).unwrap().compress(b"def", &mut out).unwrap();
                    assert_eq!(plain(&out), b"abcdef", "{method:?} {length}");
                }
            }
        }
    }

    #[test]
    fn what_is_a_little_shorter_than_its_room_still_fills_it() {
        for method in [Compression::Gzip(1), Compression::Zstd(1)] {
            let mut missed = Vec::new();
            for size in [1, 200, 255, 256, 257, 5_000, 65_791, 65_792, 300_000, 3_000_000, 5_000_000] {
                let text: Vec<u8> = (0..size).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 27) as u8).collect();
                let mut own = Vec::new();
                Compressor::new(method).unwrap().compress(&text, &mut own).unwrap();
                for room in 0..30 {
                    let mut filler = Filler::new(method).unwrap();
                    match filler.fit(&text, own.len() + room).unwrap() {
                        Some((stored, _)) => {
                            assert_eq!(stored.len(), own.len() + room);
                            assert_eq!(plain(&stored), text, "{method:?} {size} {room}");
                        }
                        None => missed.push((size, room)),
                    }
                }
            }
            assert!(missed.iter().all(|(size, _)| *size < 256), "{method:?} {missed:?}");
        }
    }

    #[test]
    fn what_does_not_fit_says_so() {
        for method in [Compression::Gzip(1), Compression::Zstd(1)] {
            let mut filler = Filler::new(method).unwrap();
            assert_eq!(filler.fit(&[7; 1000], 10).unwrap(), None, "{method:?}");
            let (stored, own) = filler.fit(&[7; 1000], 100).unwrap().unwrap();
            assert_eq!(stored.len(), 100);
            assert_eq!(plain(&stored), [7; 1000]);
            assert_eq!(plain(&stored[..own]), [7; 1000]);
        }
    }
}
