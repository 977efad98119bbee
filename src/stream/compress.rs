//! Compression of chunks into whole gzip members or zstd frames, and the proof of each one by inflating it.
//!
//! A chunk longer than `PIECE` becomes several members, so that a cancel can be seen between them and the check needs
//! little memory. Members carry no time and no name: the same bytes give the same file.

use super::error::StreamError;
use super::inflate::Inflater;
use crate::plan::Compression;

/// Most plain bytes in one gzip member or zstd frame.
pub const PIECE: usize = 4 << 20;

enum Engine {
    None,
    Gzip(Box<libdeflater::Compressor>),
    Zstd(zstd::bulk::Compressor<'static>),
    /// Stores the first byte wrong: the failing part that the check must catch.
    #[cfg(test)]
    Lying(Box<libdeflater::Compressor>),
}

/// Compresses with one method and level. One per thread.
pub struct Compressor {
    engine: Engine,
    inflater: Inflater,
    inflated: Vec<u8>,
}

impl Compressor {
    /// Errors: a level outside 0..=12 (gzip) or 1..=19 (zstd); no memory for zstd's context.
    pub fn new(method: Compression) -> Result<Self, StreamError> {
        let engine = match method {
            Compression::None => Engine::None,
            Compression::Gzip(level) => {
                let known = libdeflater::CompressionLvl::new(level.into())
                    .map_err(|_| StreamError::Level { method: "gzip", level })?;
                Engine::Gzip(Box::new(libdeflater::Compressor::new(known)))
            }
            Compression::Zstd(level) if (1..=19).contains(&level) => {
                Engine::Zstd(zstd_engine(level).map_err(|error| failed("zstd", 0, error))?)
            }
            Compression::Zstd(level) => return Err(StreamError::Level { method: "zstd", level }),
        };
        let inflater = Inflater::new(method).map_err(|error| failed("zstd", 0, error))?;
        Ok(Compressor { engine, inflater, inflated: Vec::new() })
    }

    #[cfg(test)]
    pub(crate) fn lying() -> Self {
        let engine = Engine::Lying(Box::new(libdeflater::Compressor::new(libdeflater::CompressionLvl::fastest())));
        Compressor { engine, inflater: Inflater::Gzip(Box::default()), inflated: Vec::new() }
    }

    /// Appends `plain` to `out` as whole members; empty input gives one empty member (no byte with `None`).
    pub fn compress(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), StreamError> {
        if plain.is_empty() {
            return self.compress_piece(plain, out);
        }
        plain.chunks(PIECE).try_for_each(|piece| self.compress_piece(piece, out))
    }

    /// `compress` and `check`, piece by piece, asking `cancelled` before each.
    pub fn compress_checked(
        &mut self,
        plain: &[u8],
        out: &mut Vec<u8>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), StreamError> {
        for (number, piece) in plain.chunks(PIECE).enumerate() {
            if cancelled() {
                return Err(StreamError::Cancelled);
            }
            let start = out.len();
            self.compress_piece(piece, out)?;
            self.check_piece(number, piece, &out[start..])?;
        }
        Ok(())
    }

    /// Proves that `stored`, written by one `compress` call, holds exactly `plain`.
    /// Errors: `WrongBytes` with the number of the piece and what differs.
    pub fn check(&mut self, plain: &[u8], stored: &[u8]) -> Result<(), StreamError> {
        self.check_piece(0, plain, stored)
    }

    fn compress_piece(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), StreamError> {
        let start = out.len();
        let length = match &mut self.engine {
            Engine::None => {
                out.extend_from_slice(piece);
                return Ok(());
            }
            Engine::Gzip(engine) => {
                out.resize(start + engine.gzip_compress_bound(piece.len()), 0);
                engine.gzip_compress(piece, &mut out[start..]).map_err(|error| failed("gzip", piece.len(), error))?
            }
            Engine::Zstd(engine) => {
                out.resize(start + zstd::zstd_safe::compress_bound(piece.len()), 0);
                engine
                    .compress_to_buffer(piece, &mut out[start..])
                    .map_err(|error| failed("zstd", piece.len(), error))?
            }
            #[cfg(test)]
            Engine::Lying(engine) => {
                let mut wrong = piece.to_vec();
                wrong.first_mut().into_iter().for_each(|byte| *byte ^= 1);
                out.resize(start + engine.gzip_compress_bound(piece.len()), 0);
                engine.gzip_compress(&wrong, &mut out[start..]).unwrap()
            }
        };
        out.truncate(start + length);
        Ok(())
    }

    fn check_piece(&mut self, piece: usize, plain: &[u8], stored: &[u8]) -> Result<(), StreamError> {
        if matches!(self.inflater, Inflater::None) {
            return same(piece, plain, stored);
        }
        self.inflater
            .inflate(stored, plain.len() as u64, &mut self.inflated)
            .map_err(|error| StreamError::WrongBytes { piece, reason: error.to_string() })?;
        same(piece, plain, &self.inflated)
    }
}

fn same(piece: usize, plain: &[u8], back: &[u8]) -> Result<(), StreamError> {
    if plain == back {
        return Ok(());
    }
    let at = plain.iter().zip(back).position(|(left, right)| left != right).unwrap_or(plain.len().min(back.len()));
    Err(StreamError::WrongBytes { piece, reason: format!("it differs from byte {at} on") })
}

fn zstd_engine(level: u8) -> std::io::Result<zstd::bulk::Compressor<'static>> {
    let mut engine = zstd::bulk::Compressor::new(level.into())?;
    engine.set_parameter(zstd::zstd_safe::CParameter::ContentSizeFlag(true))?;
    engine.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true))?;
    Ok(engine)
}

fn failed(method: &'static str, bytes: usize, reason: impl std::fmt::Display) -> StreamError {
    StreamError::Compress { method, bytes, reason: reason.to_string() }
}
