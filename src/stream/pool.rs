//! The threads that encode, digest, compress, check and spool, while the backend thread scans.
//!
//! They never call PostgreSQL, and every signal is blocked in them before they start, so that the server's handlers run
//! on the backend's own thread alone. They serve one job after another, a job being one table: while the last batches
//! of a table are compressed, the next table can be scanned. The first error or panic in a job ends that job.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::thread;
use super::{ChunkEncoder, ChunkMeta, Compressor, RowDigest, Spool, StreamError};
use crate::codec::RowBatch;
use crate::plan::Compression;

/// Buffers that one huge row made larger than this are given back.
const KEPT_BUFFER: usize = 8 << 20;

/// One format of a table: every batch becomes one chunk of each entry.
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
    /// Every batch of the job is in every spool.
    Done,
}

/// Makes a thread's compressor of a method, when it first needs one.
type MakeCompressor = dyn Fn(Compression) -> Result<Compressor, StreamError> + Send + Sync;

/// A table in work. What of it changes, changes under the lock of `Shared::state`.
struct Work {
    entries: Vec<EntryPlan>,
    /// Batches in the queue and on the threads.
    open: AtomicUsize,
    ended: AtomicBool,
    failure: Mutex<Option<StreamError>>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(Arc<Work>, RowBatch)>,
    spare: Vec<Vec<u8>>,
}

impl State {
    /// Ends a job: its batches leave the queue, and threads drop what they have of it.
    fn end(&mut self, work: &Arc<Work>) {
        work.ended.store(true, Ordering::Release);
        self.queue.retain(|(other, _)| !Arc::ptr_eq(other, work));
    }
}

struct Shared {
    depth: usize,
    make: Box<MakeCompressor>,
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
        let mut state = self.state();
        self.cancelled.store(true, Ordering::Release);
        state.queue.clear();
        self.work.notify_all();
        self.progress.notify_all();
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    fn is_over(&self, work: &Work) -> bool {
        self.is_cancelled() || work.ended.load(Ordering::Acquire)
    }

    /// Waits for progress until `ready` or the deadline. A cancel and a failure of the job are errors.
    fn wait(
        &self,
        work: &Work,
        timeout: Duration,
        ready: impl Fn(&State) -> bool,
    ) -> Result<(MutexGuard<'_, State>, bool), StreamError> {
        let deadline = Instant::now() + timeout;
        let mut state = self.state();
        loop {
            if self.is_over(work) {
                let failure = work.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
                return Err(failure.unwrap_or(StreamError::Cancelled));
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

/// A pool of threads. Dropping it cancels what is left and joins them.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// One table in the pool. Dropping it drops what the threads have not done of it.
pub struct Job {
    shared: Arc<Shared>,
    work: Arc<Work>,
}

impl Pool {
    /// Starts `threads` (at least one) threads over a queue of `queue_depth` (at least one) batches.
    /// Errors: `Spawn` when the system gives no thread.
    pub fn start(threads: usize, queue_depth: usize) -> Result<Self, StreamError> {
        Pool::start_with(threads, queue_depth, Box::new(Compressor::new))
    }

    pub(crate) fn start_with(
        threads: usize,
        queue_depth: usize,
        make: Box<MakeCompressor>,
    ) -> Result<Self, StreamError> {
        let shared = Arc::new(Shared {
            depth: queue_depth.max(1),
            make,
            state: Mutex::default(),
            work: Condvar::new(),
            progress: Condvar::new(),
            cancelled: AtomicBool::new(false),
        });
        let mut pool = Pool { shared, threads: Vec::new() };
        for number in 0..threads.max(1) {
            let worker = Worker {
                shared: Arc::clone(&pool.shared),
                compressors: Vec::new(),
                plain: Vec::new(),
                stored: Vec::new(),
            };
            pool.threads.push(thread::spawn_without_signals(number, move || worker.run())?);
        }
        Ok(pool)
    }

    /// A new job, whose batches become chunks of `entries`.
    pub fn job(&self, entries: Vec<EntryPlan>) -> Job {
        let (open, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
        let work = Arc::new(Work { entries, open, ended, failure: Mutex::default() });
        Job { shared: Arc::clone(&self.shared), work }
    }

    /// An empty buffer for the next batch, used before if there is one.
    pub fn take_buffer(&self) -> Vec<u8> {
        self.shared.state().spare.pop().unwrap_or_default()
    }

    /// Tells the threads to stop: each looks between batches, entries and pieces of 4 MiB. Does not wait.
    pub fn cancel(&self) {
        self.shared.cancel();
    }
}

impl Job {
    /// Offers a batch, waiting up to `timeout` for room. Errors: the job's first error, `Level` for a wrong compression
    /// level among them; `Cancelled`.
    pub fn submit(&self, batch: RowBatch, timeout: Duration) -> Result<Submit, StreamError> {
        let room = |state: &State| state.queue.len() < self.shared.depth;
        let (mut state, room) = self.shared.wait(&self.work, timeout, room)?;
        if !room {
            return Ok(Submit::Full(batch));
        }
        self.work.open.fetch_add(1, Ordering::AcqRel);
        state.queue.push_back((Arc::clone(&self.work), batch));
        self.shared.work.notify_one();
        Ok(Submit::Taken)
    }

    /// Waits up to `timeout` for the batches that were submitted. Errors as of `submit`.
    pub fn finish(&self, timeout: Duration) -> Result<Finish, StreamError> {
        let none_open = |_: &State| self.work.open.load(Ordering::Acquire) == 0;
        let done = self.shared.wait(&self.work, timeout, none_open)?.1;
        Ok(if done { Finish::Done } else { Finish::Pending })
    }

    /// Whether `finish` would answer at once.
    pub fn is_over(&self) -> bool {
        let _state = self.shared.state();
        self.shared.is_over(&self.work) || self.work.open.load(Ordering::Acquire) == 0
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.shared.state().end(&self.work);
        self.shared.progress.notify_all();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.cancel();
        for thread in self.threads.drain(..) {
            // A worker catches its own panics and reports them; there is nothing left to learn from the handle.
            drop(thread.join());
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    compressors: Vec<(Compression, Compressor)>,
    plain: Vec<u8>,
    stored: Vec<u8>,
}

impl Worker {
    fn run(mut self) {
        while let Some((work, batch)) = self.next() {
            let outcome = catch_unwind(AssertUnwindSafe(|| self.work(&work, &batch)))
                .unwrap_or_else(|payload| Err(StreamError::Panicked(thread::message(&*payload))));
            self.done(&work, batch, outcome);
        }
    }

    fn next(&self) -> Option<(Arc<Work>, RowBatch)> {
        let mut state = self.shared.state();
        loop {
            if self.shared.is_cancelled() {
                return None;
            }
            if let Some(next) = state.queue.pop_front() {
                self.shared.progress.notify_all();
                return Some(next);
            }
            state = self.shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn work(&mut self, work: &Work, batch: &RowBatch) -> Result<(), StreamError> {
        for entry in &work.entries {
            if self.shared.is_over(work) {
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
            let compressor = compressor(&mut self.compressors, entry.compression, &*self.shared.make)?;
            compressor.compress_checked(&self.plain, &mut self.stored, &|| self.shared.is_over(work))?;
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

    fn done(&self, work: &Arc<Work>, batch: RowBatch, outcome: Result<(), StreamError>) {
        let mut state = self.shared.state();
        work.open.fetch_sub(1, Ordering::AcqRel);
        if let Err(error) = outcome
            && !self.shared.is_over(work)
        {
            *work.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            state.end(work);
        }
        if state.spare.len() < self.shared.depth {
            let mut buffer = batch.bytes;
            recycle(&mut buffer);
            state.spare.push(buffer);
        }
        self.shared.progress.notify_all();
    }
}

/// The thread's compressor of this method.
fn compressor<'a>(
    known: &'a mut Vec<(Compression, Compressor)>,
    method: Compression,
    make: &MakeCompressor,
) -> Result<&'a mut Compressor, StreamError> {
    let place = match known.iter().position(|(other, _)| *other == method) {
        Some(place) => place,
        None => {
            known.push((method, make(method)?));
            known.len() - 1
        }
    };
    Ok(&mut known[place].1)
}

fn recycle(buffer: &mut Vec<u8>) {
    buffer.clear();
    if buffer.capacity() > KEPT_BUFFER {
        *buffer = Vec::new();
    }
}
