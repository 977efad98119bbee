//! A spool gathers the compressed chunks of one entry while the table is scanned, and gives them back in order.
//!
//! Chunks come from any thread in any order. The first few megabytes stay in memory, so that a small table touches no
//! disk; beyond that, chunks go to a spill file, in the order in which they came. Each carries a CRC of its stored
//! bytes, so that a disk which lies is found when they are read again.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Compressor, Frame, Inflater, RowDigest, StreamError, beside};

/// Most bytes read from a spill file at once.
const BLOCK: usize = 1 << 20;

/// Stored bytes from which on a copy has a thread beside it.
const BESIDE: u64 = 8 << 20;

/// Makes the spill file: open for reading and writing, and already without a name.
pub type OpenSpill = Box<dyn Fn() -> io::Result<File> + Send + Sync>;

/// What a worker knows of a chunk when it hands it over.
#[derive(Debug, Clone, Copy)]
pub struct ChunkMeta {
    /// Place in the scan, from 0 without gap.
    pub sequence: u64,
    pub first_row: u64,
    pub rows: u64,
    pub plain_len: u64,
    pub digest: RowDigest,
}

/// A chunk in a file: `offset` in stored bytes, from the start of the file in a manifest and from the start of the
/// copy in `Copied`. In JSON an array of these five numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64, u64, u64, u64)", into = "(u64, u64, u64, u64, u64)")]
pub struct Chunk {
    pub offset: u64,
    pub stored_len: u64,
    pub plain_len: u64,
    pub first_row: u64,
    pub rows: u64,
}

impl From<(u64, u64, u64, u64, u64)> for Chunk {
    fn from((offset, stored_len, plain_len, first_row, rows): (u64, u64, u64, u64, u64)) -> Self {
        Chunk { offset, stored_len, plain_len, first_row, rows }
    }
}

impl From<Chunk> for (u64, u64, u64, u64, u64) {
    fn from(chunk: Chunk) -> Self {
        (chunk.offset, chunk.stored_len, chunk.plain_len, chunk.first_row, chunk.rows)
    }
}

struct Held {
    meta: ChunkMeta,
    at: u64,
    stored_len: u64,
    crc: u32,
}

#[derive(Default)]
struct State {
    held: Vec<Held>,
    /// The last bytes, not yet in the file; they start at `tail_at`.
    tail: Vec<u8>,
    tail_at: u64,
    file: Option<Arc<File>>,
    finished: bool,
}

/// The collecting side, shared by the threads of a pool.
pub struct Spool {
    limit: usize,
    open: OpenSpill,
    state: Mutex<State>,
}

impl Spool {
    /// A spool that keeps up to `limit` stored bytes in memory and asks `open` for a file when there are more.
    pub fn new(limit: usize, open: OpenSpill) -> Self {
        Spool { limit, open, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over one chunk. Errors: `Spill` when the file cannot be made or written; the chunk is then missing.
    pub fn append(&self, meta: ChunkMeta, stored: &[u8]) -> Result<(), StreamError> {
        let held = |at| Held { meta, at, stored_len: stored.len() as u64, crc: libdeflater::crc32(stored) };
        let mut state = self.state();
        if state.finished {
            return Err(StreamError::SpoolFinished);
        }
        let base = state.tail_at;
        let at = base + state.tail.len() as u64;
        if state.tail.len() + stored.len() <= self.limit {
            state.tail.extend_from_slice(stored);
            state.held.push(held(at));
            return Ok(());
        }
        let spill = |source| StreamError::Spill { bytes: stored.len(), source };
        let file = match &state.file {
            Some(file) => Arc::clone(file),
            None => Arc::clone(state.file.insert(Arc::new((self.open)().map_err(spill)?))),
        };
        let mut tail = std::mem::take(&mut state.tail);
        state.tail_at = at + stored.len() as u64;
        drop(state);
        file.write_all_at(&tail, base).map_err(spill)?;
        file.write_all_at(stored, at).map_err(spill)?;
        tail.clear();
        let mut state = self.state();
        if state.tail.capacity() == 0 {
            state.tail = tail;
        }
        state.held.push(held(at));
        Ok(())
    }

    /// Bytes held in memory now.
    pub fn in_memory(&self) -> usize {
        self.state().tail.capacity()
    }

    /// Ends the collecting. Errors: `Gap` when the chunks are not 0..n, or their rows do not follow one another.
    pub fn finish(&self) -> Result<Spooled, StreamError> {
        let mut state = std::mem::replace(&mut *self.state(), State { finished: true, ..State::default() });
        if state.finished {
            return Err(StreamError::SpoolFinished);
        }
        state.held.sort_unstable_by_key(|held| held.meta.sequence);
        let mut spooled = Spooled {
            held: state.held,
            tail: state.tail,
            tail_at: state.tail_at,
            file: state.file,
            rows: 0,
            plain_bytes: 0,
            stored_bytes: 0,
            digest: RowDigest::default(),
        };
        for (expected, held) in spooled.held.iter().enumerate() {
            let meta = held.meta;
            if meta.sequence != expected as u64 || meta.first_row != spooled.rows {
                let found = format!("chunk {} from row {}", meta.sequence, meta.first_row);
                return Err(StreamError::Gap { expected: expected as u64, found });
            }
            spooled.rows += meta.rows;
            spooled.plain_bytes += meta.plain_len;
            spooled.stored_bytes += held.stored_len;
            spooled.digest.merge(meta.digest);
        }
        Ok(spooled)
    }
}

/// All chunks of an entry, in order. The totals are of the chunks alone, without frame.
pub struct Spooled {
    held: Vec<Held>,
    tail: Vec<u8>,
    tail_at: u64,
    file: Option<Arc<File>>,
    pub rows: u64,
    pub plain_bytes: u64,
    pub stored_bytes: u64,
    pub digest: RowDigest,
}

/// What a copy wrote. Lengths are in bytes, offsets from the start of the copy; the hash is of the stored bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    pub plain_bytes: u64,
    pub stored_bytes: u64,
    pub sha256: [u8; 32],
    pub chunks: Vec<Chunk>,
}

impl Spooled {
    /// The plain bytes of chunk number `index` in `out`; false beyond the last. Errors: the disk lies.
    pub fn read(&self, index: usize, inflater: &mut Inflater, out: &mut Vec<u8>) -> Result<bool, StreamError> {
        let Some(held) = self.held.get(index) else { return Ok(false) };
        let mut stored = Vec::new();
        let mut copy = Copy { out: &mut stored, hash: Sha256::new(), written: 0 };
        self.copy_chunk(held, &mut Vec::new(), &mut copy)?;
        let changed = |_| StreamError::SpillChanged { sequence: held.meta.sequence };
        inflater.inflate(&stored, held.meta.plain_len, out).map_err(changed)?;
        Ok(true)
    }

    /// Plain length with the frame around the chunks.
    pub fn plain_len(&self, frame: &Frame) -> u64 {
        let filled = self.held.iter().filter(|held| held.meta.plain_len > 0).count() as u64;
        let separators = filled.saturating_sub(1) * frame.separator.len() as u64;
        frame.prologue.len() as u64 + self.plain_bytes + separators + frame.epilogue.len() as u64
    }

    /// Writes prologue, chunks with separators, and epilogue. Prologue, separators and epilogue are members of their
    /// own, of the method of `compressor`, which must be that of the chunks. An interrupt can be raised by `out`: no
    /// write is longer than 1 MiB, except of a chunk that never left memory. What is large is read and hashed on a thread
    /// beside, while the calling one writes.
    pub fn copy_to(
        &self,
        frame: &Frame,
        compressor: &mut Compressor,
        out: &mut dyn Write,
    ) -> Result<Copied, StreamError> {
        if self.stored_bytes < BESIDE {
            return self.copy_in_order(frame, compressor, out);
        }
        beside::copy(out, |out| self.copy_in_order(frame, compressor, out))
    }

    fn copy_in_order(
        &self,
        frame: &Frame,
        compressor: &mut Compressor,
        out: &mut dyn Write,
    ) -> Result<Copied, StreamError> {
        let mut copy = Copy { out, hash: Sha256::new(), written: 0 };
        let mut small = |plain: &[u8]| -> Result<Vec<u8>, StreamError> {
            let mut stored = Vec::new();
            compressor.compress_checked(plain, &mut stored, &|| false)?;
            Ok(stored)
        };
        let separator = small(&frame.separator)?;
        copy.write(&small(&frame.prologue)?)?;
        let mut chunks = Vec::with_capacity(self.held.len());
        let mut block = Vec::new();
        let mut filled = false;
        for held in &self.held {
            let meta = held.meta;
            if filled && meta.plain_len > 0 {
                copy.write(&separator)?;
            }
            filled |= meta.plain_len > 0;
            chunks.push(Chunk {
                offset: copy.written,
                stored_len: held.stored_len,
                plain_len: meta.plain_len,
                first_row: meta.first_row,
                rows: meta.rows,
            });
            self.copy_chunk(held, &mut block, &mut copy)?;
        }
        copy.write(&small(&frame.epilogue)?)?;
        Ok(Copied {
            plain_bytes: self.plain_len(frame),
            stored_bytes: copy.written,
            sha256: copy.hash.finalize().into(),
            chunks,
        })
    }

    /// The plain form for an export: one stream of members, never of no bytes at all when it is compressed.
    pub fn copy_stream(
        &self,
        frame: &Frame,
        compressor: &mut Compressor,
        out: &mut dyn Write,
    ) -> Result<Copied, StreamError> {
        let mut copied = self.copy_to(frame, compressor, out)?;
        if copied.stored_bytes == 0 {
            let mut empty = Vec::new();
            compressor.compress(&[], &mut empty)?;
            compressor.check(&[], &empty)?;
            out.write_all(&empty).map_err(StreamError::Write)?;
            copied.stored_bytes = empty.len() as u64;
            copied.sha256 = Sha256::digest(&empty).into();
        }
        Ok(copied)
    }

    fn copy_chunk(&self, held: &Held, block: &mut Vec<u8>, copy: &mut Copy<'_>) -> Result<(), StreamError> {
        let mut crc = libdeflater::Crc::new();
        match held.at.checked_sub(self.tail_at) {
            Some(start) => {
                let start = start as usize;
                let stored = &self.tail[start..start + held.stored_len as usize];
                crc.update(stored);
                copy.write(stored)?;
            }
            None => self.copy_spilled(held, block, &mut crc, copy)?,
        }
        if crc.sum() == held.crc { Ok(()) } else { Err(StreamError::SpillChanged { sequence: held.meta.sequence }) }
    }

    fn copy_spilled(
        &self,
        held: &Held,
        block: &mut Vec<u8>,
        crc: &mut libdeflater::Crc,
        copy: &mut Copy<'_>,
    ) -> Result<(), StreamError> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "there is no spill file");
        let mut done = 0;
        while done < held.stored_len {
            let bytes = (held.stored_len - done).min(BLOCK as u64) as usize;
            let read = |source| StreamError::SpillRead { bytes, source };
            block.resize(bytes, 0);
            let file = self.file.as_ref().ok_or_else(|| read(missing()))?;
            file.read_exact_at(block, held.at + done).map_err(read)?;
            crc.update(block);
            copy.write(block)?;
            done += bytes as u64;
        }
        Ok(())
    }
}

struct Copy<'a> {
    out: &'a mut dyn Write,
    hash: Sha256,
    written: u64,
}

impl Copy<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        self.out.write_all(bytes).map_err(StreamError::Write)?;
        self.hash.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }
}
