//! What age reads from. It reads in small steps; a source may be far away, so a step fetches all that will be wanted.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{BLOCK, TAG};
use crate::container::ReadAt;

/// Most bytes fetched at once.
const MOST: u64 = 4 << 20;

/// What the one who asks tells the cursor, and is told.
#[derive(Debug, Default)]
pub(super) struct Wish {
    /// Up to where the source will be wanted.
    end: AtomicU64,
    /// Up to where it has been read.
    position: AtomicU64,
    /// Whether it was the source that failed.
    failed: AtomicBool,
}

impl Wish {
    pub(super) fn until(&self, end: u64) {
        self.end.store(end, Ordering::Relaxed);
    }

    pub(super) fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    pub(super) fn source_failed(&self) -> bool {
        self.failed.swap(false, Ordering::Relaxed)
    }
}

/// A place in a source, with the last bytes that were fetched.
pub(super) struct Cursor<R> {
    source: R,
    length: u64,
    at: u64,
    wish: Arc<Wish>,
    fetched_at: u64,
    fetched: Vec<u8>,
}

impl<R: ReadAt> Cursor<R> {
    pub(super) fn new(source: R, length: u64, wish: Arc<Wish>) -> Self {
        Cursor { source, length, at: 0, wish, fetched_at: 0, fetched: Vec::new() }
    }

    fn fetch(&mut self) -> io::Result<()> {
        let wanted = match self.wish.end.load(Ordering::Relaxed) {
            end if end > self.at => end - self.at,
            _ => BLOCK + TAG,
        };
        let count = wanted.min(MOST).min(self.length - self.at);
        self.fetched.resize(count as usize, 0);
        self.fetched_at = self.at;
        self.source.read_exact_at(self.at, &mut self.fetched).inspect_err(|_| {
            self.fetched.clear();
            self.wish.failed.store(true, Ordering::Relaxed);
        })
    }
}

impl<R: ReadAt> Read for Cursor<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.length || buffer.is_empty() {
            return Ok(0);
        }
        let end = self.fetched_at + self.fetched.len() as u64;
        if !(self.fetched_at..end).contains(&self.at) {
            self.fetch()?;
        }
        let ready = self.fetched.get((self.at - self.fetched_at) as usize..).unwrap_or_default();
        let count = ready.len().min(buffer.len());
        buffer[..count].copy_from_slice(&ready[..count]);
        self.at += count as u64;
        self.wish.position.store(self.at, Ordering::Relaxed);
        Ok(count)
    }
}

impl<R> Seek for Cursor<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(step) => self.at.checked_add_signed(step),
            SeekFrom::End(step) => self.length.checked_add_signed(step),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
