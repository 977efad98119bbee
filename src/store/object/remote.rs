//! An object as bytes that can be read at any place, so that a container is read straight from a store.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Cancelled, ObjectError, ObjectStore};
use crate::container::ReadAt;

type Watcher = Box<dyn FnMut() -> Result<(), Cancelled> + Send>;

/// Bytes fetched at once of a range that was announced.
const PIECE: u64 = 16 << 20;

/// Pieces that are held: threads that read side by side are in two of them at most, and a last one is the file's end.
const HELD: usize = 3;

/// An object, read by ranges. A read fetches what it asks for and no more, except below a range that was announced: that is
/// fetched in pieces, each once, and never beyond its end.
pub struct RemoteFile {
    store: Arc<dyn ObjectStore>,
    key: String,
    size: u64,
    stopped: AtomicBool,
    state: Mutex<State>,
}

struct State {
    watch: Watcher,
    announced: Range<u64>,
    held: VecDeque<(u64, Vec<u8>)>,
    moved: u64,
}

impl RemoteFile {
    /// Asks the store for the object's size. `watch` is called during all reads.
    ///
    /// # Errors
    /// `Missing`, and what the store says.
    pub fn open(store: Arc<dyn ObjectStore>, key: &str, mut watch: Watcher) -> Result<Self, ObjectError> {
        let size = store.head(key, &mut watch)?.size;
        let state = State { watch, announced: 0..0, held: VecDeque::new(), moved: 0 };
        Ok(RemoteFile { store, key: key.into(), size, stopped: AtomicBool::new(false), state: Mutex::new(state) })
    }

    /// How many bytes were fetched so far.
    pub fn moved(&self) -> u64 {
        self.state().moved
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is fetched for a read of `wanted` bytes.
    fn piece(&self, announced: &Range<u64>, offset: u64, wanted: u64) -> Range<u64> {
        if !announced.contains(&offset) {
            return offset..(offset + wanted).min(self.size);
        }
        let start = announced.start + (offset - announced.start) / PIECE * PIECE;
        start..(start + PIECE).min(announced.end).min(self.size)
    }
}

impl State {
    /// Copies what is held of a place; none where nothing is.
    fn give(&self, offset: u64, buffer: &mut [u8]) -> Option<usize> {
        let holds = |(at, bytes): &&(u64, Vec<u8>)| (*at..*at + bytes.len() as u64).contains(&offset);
        let (at, bytes) = self.held.iter().find(holds)?;
        let ready = bytes.get((offset - at) as usize..)?;
        let count = ready.len().min(buffer.len());
        buffer[..count].copy_from_slice(&ready[..count]);
        Some(count)
    }
}

impl ReadAt for RemoteFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = (buffer.len() as u64).min(self.size.saturating_sub(offset)).min(PIECE);
        if wanted == 0 {
            return Ok(0);
        }
        let buffer = &mut buffer[..wanted as usize];
        let mut state = self.state();
        let state = &mut *state;
        if let Some(count) = state.give(offset, buffer) {
            return Ok(count);
        }
        let piece = self.piece(&state.announced, offset, wanted);
        // What is dropped before the fetch is not held beside what comes.
        while state.held.len() >= HELD {
            state.held.pop_front();
        }
        let watch = &mut state.watch;
        let mut watch = || if self.stopped.load(Ordering::Relaxed) { Err(Cancelled) } else { watch() };
        let bytes = self.store.get_range(&self.key, piece.clone(), &mut watch)?;
        state.moved += bytes.len() as u64;
        state.held.push_back((piece.start, bytes));
        state.give(offset, buffer).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn announce(&self, range: Range<u64>) {
        self.state().announced = range;
    }

    fn interrupt(&self, on: bool) {
        self.stopped.store(on, Ordering::Relaxed);
    }
}
