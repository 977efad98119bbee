//! What can go wrong between a row and a spooled chunk.

use std::error::Error;
use std::io;

/// Errors of the stream. The first error of any thread of a pool is the pool's error.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error("the encoder failed on rows {first_row} to {last_row}: {source}")]
    Encode { first_row: u64, last_row: u64, source: Box<dyn Error + Send + Sync> },
    #[error("{method} has no level {level}")]
    Level { method: &'static str, level: u8 },
    #[error("{method} could not compress {bytes} bytes: {reason}")]
    Compress { method: &'static str, bytes: usize, reason: String },
    #[error("piece {piece} of a chunk did not come back as it was compressed: {reason}")]
    WrongBytes { piece: usize, reason: String },
    #[error("could not write {bytes} bytes to the spill file: {source}")]
    Spill { bytes: usize, source: io::Error },
    #[error("chunk {sequence} was read back from the spill file with other bytes than were written")]
    SpillChanged { sequence: u64 },
    #[error("could not read {bytes} bytes from the spill file: {source}")]
    SpillRead { bytes: usize, source: io::Error },
    #[error("chunk {expected} is missing: the spool holds {found} next")]
    Gap { expected: u64, found: String },
    #[error("the spool is already finished")]
    SpoolFinished,
    #[error("could not write: {0}")]
    Write(io::Error),
    #[error("could not start a worker thread: {0}")]
    Spawn(io::Error),
    #[error("a worker thread panicked: {0}")]
    Panicked(String),
    #[error("the work was cancelled")]
    Cancelled,
}

/// Why stored bytes did not inflate to what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    #[error("the compressed data is damaged: {0}")]
    Damaged(String),
    #[error("it inflates to more than the {expected} bytes expected")]
    TooLong { expected: u64 },
    #[error("it inflates to {found} bytes, not the {expected} expected")]
    TooShort { expected: u64, found: u64 },
    #[error("other bytes follow its end")]
    Trailing,
}
