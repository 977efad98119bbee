//! An object as bytes that can be read at any place, so that a container is read straight from a store.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Cancelled, ObjectError, ObjectStore, PIECE};
use crate::container::ReadAt;

type Watcher = Box<dyn FnMut() -> Result<(), Cancelled> + Send>;

/// An object, read by ranges. A read fetches what it asks for and no more, except below a range that was announced: there
/// it fetches up to [`PIECE`] bytes ahead, never beyond the announced end.
pub struct RemoteFile {
    store: Arc<dyn ObjectStore>,
    key: String,
    size: u64,
    state: Mutex<State>,
}

struct State {
    watch: Watcher,
    announced: Range<u64>,
    at: u64,
    fetched: Vec<u8>,
    moved: u64,
}

impl RemoteFile {
    /// Asks the store for the object's size. `watch` is called during all reads.
    ///
    /// # Errors
    /// `Missing`, and what the store says.
    pub fn open(store: Arc<dyn ObjectStore>, key: &str, mut watch: Watcher) -> Result<Self, ObjectError> {
        let size = store.head(key, &mut watch)?.size;
        let state = State { watch, announced: 0..0, at: 0, fetched: Vec::new(), moved: 0 };
        Ok(RemoteFile { store, key: key.into(), size, state: Mutex::new(state) })
    }

    /// Says that all of a range will be read, from its start on.
    pub fn announce(&self, range: Range<u64>) {
        self.state().announced = range;
    }

    /// How many bytes were fetched so far.
    pub fn moved(&self) -> u64 {
        self.state().moved
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadAt for RemoteFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = (buffer.len() as u64).min(self.size.saturating_sub(offset)).min(PIECE);
        if wanted == 0 {
            return Ok(0);
        }
        let mut state = self.state();
        let state = &mut *state;
        if !(state.at..state.at + state.fetched.len() as u64).contains(&offset) {
            let announced = &state.announced;
            let ahead = if announced.contains(&offset) { announced.end.min(offset + PIECE) } else { 0 };
            let end = ahead.max(offset + wanted).min(self.size);
            // What is dropped before the fetch is not held beside what comes.
            state.fetched = Vec::new();
            state.fetched = self.store.get_range(&self.key, offset..end, &mut state.watch)?;
            state.at = offset;
            state.moved += end - offset;
        }
        let ready = state.fetched.get((offset - state.at) as usize..).unwrap_or_default();
        let count = ready.len().min(wanted as usize);
        buffer[..count].copy_from_slice(&ready[..count]);
        Ok(count)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.size)
    }
}
