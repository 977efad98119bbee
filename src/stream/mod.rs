//! The way of the bytes between a row and a file: encode and digest, compress and check, worker pool, spool.
//!
//! A scan hands `RowBatch`es to a `Job` of a `Pool`; the threads turn each batch into one compressed chunk per format, read the
//! chunk back, and append it to a `Spool`; the spool gives the chunks back in the order of the scan.

use std::error::Error;

use crate::codec::RowBatch;

mod beside;
pub mod compress;
pub mod crew;
pub mod digest;
pub mod error;
pub mod inflate;
mod md5_lanes;
pub mod pool;
pub mod spool;
pub(crate) mod thread;

pub use compress::Compressor;
pub use crew::{Crew, Offered};
pub use digest::{RowDigest, sha256_hex};
pub use error::StreamError;
pub use inflate::{Inflater, plain_reader};
pub use pool::{EntryPlan, Finish, Job, Pool, Submit};
pub use spool::{Chunk, ChunkMeta, Copied, Spool, Spooled};

/// One format of one table: how its rows read, and what stands around them.
pub trait ChunkEncoder: Send + Sync {
    /// What stands before the first row (the CSV header line, `[` and a line end, ...). May be empty.
    fn prologue(&self) -> Vec<u8> {
        Vec::new()
    }

    /// What stands after the last row. May be empty.
    fn epilogue(&self) -> Vec<u8> {
        Vec::new()
    }

    /// What stands between two chunks that both hold bytes. May be empty.
    fn separator(&self) -> &'static [u8] {
        b""
    }

    /// Appends the text of all rows of `batch` to `out` and adds each row to `digest`.
    fn encode(
        &self,
        batch: &RowBatch,
        digest: &mut RowDigest,
        out: &mut Vec<u8>,
    ) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// What stands around and between the chunks of an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frame {
    pub prologue: Vec<u8>,
    pub separator: Vec<u8>,
    pub epilogue: Vec<u8>,
}

impl Frame {
    /// The frame that an encoder asks for.
    pub fn of(encoder: &dyn ChunkEncoder) -> Self {
        Frame { prologue: encoder.prologue(), separator: encoder.separator().to_vec(), epilogue: encoder.epilogue() }
    }
}

#[cfg(test)]
mod tests;
