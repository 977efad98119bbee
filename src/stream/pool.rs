//! The threads that encode, digest, compress, check and spool, while the backend thread scans.
//!
//! They never call PostgreSQL, and every signal is blocked in them before they start, so that the server's handlers run
//! on the backend's own thread alone. The first error or panic of any of them stops the others and is the pool's error.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::thread;
use super::{ChunkEncoder, ChunkMeta, Compressor, RowDigest, Spool, StreamError};
use crate::codec::RowBatch;
use crate::plan::Compression;

/// Buffers that one huge row made larger than this are given back.
const KEPT_BUFFER: usize = 8 << 20;

/// One format of the table in work: every batch becomes one chunk of each entry.
#[derive(Clone)]
pub struct EntryPlan {
    pub encoder: Arc<dyn ChunkEncoder>,
    pub compression: Compression,
    pub spool: Arc<Spool>,
}

/// What became of a batch.
#[derive(Debug)]
#[must_use]
pub enum Submit {
    Taken,
    /// No room within the time given; here it is again.
    Full(RowBatch),
}

/// How far `finish` came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Finish {
    /// Work is left; look for interrupts and call again.
    Pending,
    /// Every batch is in every spool, and the threads have ended.
    Done,
}

#[derive(Default)]
struct State {
    queue: VecDeque<RowBatch>,
    running: usize,
    closed: bool,
    failure: Option<StreamError>,
    spare: Vec<Vec<u8>>,
}

struct Shared {
    depth: usize,
    state: Mutex<State>,
    /// There is a batch, or an end.
    work: Condvar,
    /// There is room, or a batch is done.
    progress: Condvar,
    cancelled: AtomicBool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cancel(&self) {
        self.stop(&mut self.state());
    }

    /// Under the lock, so that nobody sees a failed batch as done before the end is announced.
    fn stop(&self, state: &mut State) {
        self.cancelled.store(true, Ordering::Release);
        state.queue.clear();
        self.work.notify_all();
        self.progress.notify_all();
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Waits for progress until `ready` or the deadline. A cancel and a failure are errors.
    fn wait(
        &self,
        timeout: Duration,
        ready: impl Fn(&State) -> bool,
    ) -> Result<(MutexGuard<'_, State>, bool), StreamError> {
        let deadline = Instant::now() + timeout;
        let mut state = self.state();
        loop {
            if self.is_cancelled() {
                return Err(state.failure.take().unwrap_or(StreamError::Cancelled));
            }
            if ready(&state) {
                return Ok((state, true));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok((state, false));
            }
            state = self.progress.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A pool for one scan. Dropping it cancels what is left and joins the threads.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts `threads` (at least one) threads over a queue of `queue_depth` (at least one) batches.
    /// Errors: `Level` for a wrong compression level, `Spawn` when the system gives no thread.
    pub fn start(threads: usize, entries: Vec<EntryPlan>, queue_depth: usize) -> Result<Self, StreamError> {
        Pool::start_with(threads, entries, queue_depth, Compressor::new)
    }

    pub(crate) fn start_with(
        threads: usize,
        entries: Vec<EntryPlan>,
        queue_depth: usize,
        make: impl Fn(Compression) -> Result<Compressor, StreamError>,
    ) -> Result<Self, StreamError> {
        let shared = Arc::new(Shared {
            depth: queue_depth.max(1),
            state: Mutex::default(),
            work: Condvar::new(),
            progress: Condvar::new(),
            cancelled: AtomicBool::new(false),
        });
        let mut pool = Pool { shared, threads: Vec::new() };
        for number in 0..threads.max(1) {
            let compressors = entries.iter().map(|entry| make(entry.compression)).collect::<Result<Vec<_>, _>>()?;
            let worker = Worker {
                shared: Arc::clone(&pool.shared),
                entries: entries.iter().cloned().zip(compressors).collect(),
                plain: Vec::new(),
                stored: Vec::new(),
            };
            pool.threads.push(thread::spawn_without_signals(number, move || worker.run())?);
        }
        Ok(pool)
    }

    /// Offers a batch, waiting up to `timeout` for room. Errors: the first error of any thread; `Cancelled`.
    pub fn submit(&self, batch: RowBatch, timeout: Duration) -> Result<Submit, StreamError> {
        let (mut state, room) = self.shared.wait(timeout, |state| state.queue.len() < self.shared.depth)?;
        if !room {
            return Ok(Submit::Full(batch));
        }
        state.queue.push_back(batch);
        self.shared.work.notify_one();
        Ok(Submit::Taken)
    }

    /// An empty buffer for the next batch, used before if there is one.
    pub fn take_buffer(&self) -> Vec<u8> {
        self.shared.state().spare.pop().unwrap_or_default()
    }

    /// No more batches come: waits up to `timeout` for the rest. Errors as of `submit`.
    pub fn finish(&mut self, timeout: Duration) -> Result<Finish, StreamError> {
        self.shared.state().closed = true;
        self.shared.work.notify_all();
        let done = self.shared.wait(timeout, |state| state.queue.is_empty() && state.running == 0)?.1;
        if !done {
            return Ok(Finish::Pending);
        }
        self.join();
        Ok(Finish::Done)
    }

    /// Tells the threads to stop: each looks between batches, entries and pieces of 4 MiB. Does not wait.
    pub fn cancel(&self) {
        self.shared.cancel();
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            // A worker catches its own panics and reports them; there is nothing left to learn from the handle.
            drop(thread.join());
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.cancel();
        self.join();
    }
}

struct Worker {
    shared: Arc<Shared>,
    entries: Vec<(EntryPlan, Compressor)>,
    plain: Vec<u8>,
    stored: Vec<u8>,
}

impl Worker {
    fn run(mut self) {
        while let Some(batch) = self.next() {
            let outcome = catch_unwind(AssertUnwindSafe(|| self.work(&batch)))
                .unwrap_or_else(|payload| Err(StreamError::Panicked(thread::message(&*payload))));
            self.done(batch, outcome);
        }
    }

    fn next(&self) -> Option<RowBatch> {
        let mut state = self.shared.state();
        loop {
            if self.shared.is_cancelled() {
                return None;
            }
            if let Some(batch) = state.queue.pop_front() {
                state.running += 1;
                self.shared.progress.notify_all();
                return Some(batch);
            }
            if state.closed {
                return None;
            }
            state = self.shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn work(&mut self, batch: &RowBatch) -> Result<(), StreamError> {
        for (entry, compressor) in &mut self.entries {
            if self.shared.is_cancelled() {
                return Err(StreamError::Cancelled);
            }
            self.plain.clear();
            self.stored.clear();
            let mut digest = RowDigest::default();
            entry.encoder.encode(batch, &mut digest, &mut self.plain).map_err(|source| StreamError::Encode {
                first_row: batch.first_row,
                last_row: batch.first_row + u64::from(batch.rows).saturating_sub(1),
                source,
            })?;
            compressor.compress_checked(&self.plain, &mut self.stored, &|| self.shared.is_cancelled())?;
            let meta = ChunkMeta {
                sequence: batch.sequence,
                first_row: batch.first_row,
                rows: batch.rows.into(),
                plain_len: self.plain.len() as u64,
                digest,
            };
            entry.spool.append(meta, &self.stored)?;
            recycle(&mut self.plain);
            recycle(&mut self.stored);
        }
        Ok(())
    }

    fn done(&self, batch: RowBatch, outcome: Result<(), StreamError>) {
        let mut state = self.shared.state();
        state.running -= 1;
        if let Err(error) = outcome {
            if !self.shared.is_cancelled() {
                state.failure = Some(error);
            }
            self.shared.stop(&mut state);
        }
        if state.spare.len() < self.shared.depth {
            let mut buffer = batch.bytes;
            recycle(&mut buffer);
            state.spare.push(buffer);
        }
        self.shared.progress.notify_all();
    }
}

fn recycle(buffer: &mut Vec<u8>) {
    buffer.clear();
    if buffer.capacity() > KEPT_BUFFER {
        *buffer = Vec::new();
    }
}
