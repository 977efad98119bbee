//! The chunks of an entry, read and worked on by threads, given back in their order.
//!
//! Memory is bounded: threads run at most a few chunks ahead of whoever takes the results.

use std::collections::HashMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::error::ContainerError;
use super::manifest::Entry;
use super::read_at::ReadAt;
use super::reader::Container;
use crate::stream::{Chunk, StreamError, thread};

/// What became of a chunk in a thread.
type Done<T> = Result<T, ContainerError>;

/// What `next` found.
#[derive(Debug)]
#[must_use]
pub enum Next<T> {
    /// The next chunk and what was made of it, or why not; the chunks after it come all the same.
    Item(Chunk, Done<T>),
    /// Not ready within the time given; look for interrupts and call again.
    Pending,
    /// All were given.
    End,
}

/// Chunks of one entry in their order. Dropping it stops and joins the threads.
pub struct Ordered<T> {
    shared: Arc<Shared<T>>,
    threads: Vec<JoinHandle<()>>,
    /// Switches interrupts of the container's reads on and off.
    interrupt: Box<dyn Fn(bool) + Send>,
}

struct Shared<T> {
    entry: Entry,
    /// Numbers of the chunks that are wanted.
    wanted: Vec<usize>,
    ahead: usize,
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    /// Place in `wanted` that a thread takes next, and the one that is given next.
    claimed: usize,
    given: usize,
    ready: HashMap<usize, Done<T>>,
    stopped: bool,
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next place to work on; none at the end.
    fn claim(&self) -> Option<usize> {
        let mut state = self.state();
        loop {
            if state.stopped || state.claimed == self.wanted.len() {
                return None;
            }
            if state.claimed < state.given + self.ahead {
                state.claimed += 1;
                return Some(state.claimed - 1);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T: Send + 'static> Ordered<T> {
    /// Starts `threads` (at least one) threads over the chunks `wanted` of an entry; `work` gets each chunk with its plain
    /// bytes. Errors: `Spawn` when the system gives no thread.
    pub fn start<R: ReadAt + Send + Sync + 'static>(
        container: &Arc<Container<R>>,
        entry: &Entry,
        wanted: Vec<usize>,
        threads: usize,
        work: impl Fn(Chunk, Vec<u8>) -> Done<T> + Send + Sync + 'static,
    ) -> Result<Self, StreamError> {
        let threads = threads.clamp(1, wanted.len().max(1));
        let state = State { claimed: 0, given: 0, ready: HashMap::new(), stopped: false };
        let shared = Arc::new(Shared {
            entry: entry.clone(),
            wanted,
            ahead: 2 * threads,
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let work = Arc::new(work);
        container.source.announce(extent(entry, &shared.wanted));
        let of = Arc::clone(container);
        let interrupt = Box::new(move |on| of.source.interrupt(on));
        let mut ordered = Ordered { shared, threads: Vec::new(), interrupt };
        for number in 0..threads {
            let (shared, container, work) = (Arc::clone(&ordered.shared), Arc::clone(container), Arc::clone(&work));
            let run = move || run(&shared, &container, &*work);
            ordered.threads.push(thread::spawn_without_signals(number, run)?);
        }
        Ok(ordered)
    }

    /// The next chunk in order, waiting up to `timeout` for it.
    pub fn next(&mut self, timeout: Duration) -> Next<T> {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.state();
        loop {
            let place = state.given;
            let Some(&number) = self.shared.wanted.get(place) else { return Next::End };
            if let Some(done) = state.ready.remove(&place) {
                state.given += 1;
                self.shared.changed.notify_all();
                let chunk = self.shared.entry.chunks.get(number).copied();
                return match chunk {
                    Some(chunk) => Next::Item(chunk, done),
                    None => Next::End,
                };
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Next::Pending;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl<T> Drop for Ordered<T> {
    fn drop(&mut self) {
        let is_abandoned = {
            let mut state = self.shared.state();
            state.stopped = true;
            state.given < self.shared.wanted.len()
        };
        self.shared.changed.notify_all();
        if is_abandoned {
            (self.interrupt)(true);
        }
        for thread in self.threads.drain(..) {
            // A thread catches its own panics and reports them as its chunk's outcome.
            drop(thread.join());
        }
        if is_abandoned {
            (self.interrupt)(false);
        }
    }
}

/// Where the chunks that are wanted lie. Those that are far apart are not announced: what lies between is not fetched.
fn extent(entry: &Entry, wanted: &[usize]) -> Range<u64> {
    let chunks = || wanted.iter().filter_map(|number| entry.chunks.get(*number));
    let start = chunks().map(|chunk| chunk.offset).min().unwrap_or(0);
    let end = chunks().map(|chunk| chunk.offset + chunk.stored_len).max().unwrap_or(0);
    let bytes: u64 = chunks().map(|chunk| chunk.stored_len).sum();
    if end - start <= bytes + bytes / 20 { start..end } else { 0..0 }
}

fn run<R: ReadAt, T>(
    shared: &Shared<T>,
    container: &Container<R>,
    work: &(impl Fn(Chunk, Vec<u8>) -> Done<T> + ?Sized),
) {
    let mut inflater = container.inflater(&shared.entry);
    let mut stored = Vec::new();
    while let Some(place) = shared.claim() {
        let mut one = || {
            let inflater = match &mut inflater {
                Ok(inflater) => inflater,
                Err(error) => return Err(ContainerError::unreadable(&shared.entry.name, error.to_string())),
            };
            let mut plain = Vec::new();
            let number = shared.wanted[place];
            let chunk = container.read_chunk(&shared.entry, number, inflater, (&mut stored, &mut plain))?;
            work(chunk, plain)
        };
        let done = catch_unwind(AssertUnwindSafe(&mut one))
            .unwrap_or_else(|payload| Err(ContainerError::unreadable(&shared.entry.name, thread::message(&*payload))));
        shared.state().ready.insert(place, done);
        shared.changed.notify_all();
    }
}
