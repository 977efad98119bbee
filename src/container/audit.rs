//! Level `hash` on threads: the bytes of a whole container against every hash that is known of them. And the way into
//! a container that no longer opens by itself, by a manifest that stood beside it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::error::{ContainerError, Findings};
use super::manifest::{Entry, Manifest};
use super::read_at::ReadAt;
use super::reader::Container;
use crate::stream::{StreamError, thread};

/// Bytes between two looks at whether to stop.
const BLOCK: u64 = 1 << 20;

type Checked = Result<(), ContainerError>;

/// What the hashes say.
#[derive(Debug)]
#[must_use = "a verdict that nobody reads verifies nothing"]
pub struct Hashes {
    /// For each entry of the manifest, whether its stored bytes fit.
    pub entries: Vec<Checked>,
    /// What is wrong outside the entries: headers and padding, or the file cannot be read.
    pub between: Findings,
    /// SHA-256 of the whole file in hex; none where it could not be read to its end.
    pub file_sha256: Option<String>,
}

/// A check that runs on threads. Dropping it stops and joins them.
pub struct Hashing {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Switches interrupts of the container's reads on and off.
    interrupt: Box<dyn Fn(bool) + Send>,
}

struct Shared {
    /// Number of the next task: 0 is the whole file, n the entry n - 1.
    next: AtomicUsize,
    stopped: AtomicBool,
    done: Mutex<Done>,
    changed: Condvar,
}

struct Done {
    left: usize,
    entries: Vec<Option<Checked>>,
    whole: Option<Result<Whole, ContainerError>>,
}

struct Whole {
    content_sha256: String,
    file_sha256: String,
}

impl<R: ReadAt> Container<R> {
    /// Opens a container by a manifest that the caller has and trusts, whatever the file itself says: of a damaged file
    /// it then tells what is still whole. Errors: as `Manifest::parse`.
    pub fn open_by(source: R, manifest_bytes: Vec<u8>) -> Result<Self, ContainerError> {
        let manifest = Manifest::parse(&manifest_bytes)?;
        let method = manifest.compression;
        Ok(Container { source, manifest, manifest_bytes, method })
    }

    /// What it was opened from.
    pub fn into_source(self) -> R {
        self.source
    }

    /// Hashes the bytes of a range block by block; None when it was stopped.
    fn hash_watched(
        &self,
        what: &str,
        (from, to): (u64, u64),
        hash: &mut Sha256,
        stopped: &AtomicBool,
    ) -> Result<Option<()>, ContainerError> {
        let mut at = from;
        while at < to {
            if stopped.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let end = to.min(at + BLOCK);
            self.hash_range(what, at, end, &mut |bytes| hash.update(bytes))?;
            at = end;
        }
        Ok(Some(()))
    }

    fn hash_whole(&self, stopped: &AtomicBool) -> Result<Option<Whole>, ContainerError> {
        let what = "the container";
        let length = self.source.len().map_err(|source| ContainerError::Read { what: what.into(), source })?;
        let content = self.manifest.content_bytes;
        let mut hash = Sha256::new();
        if self.hash_watched(what, (0, content), &mut hash, stopped)?.is_none() {
            return Ok(None);
        }
        let content_sha256 = hex::encode(hash.clone().finalize());
        let rest = self.hash_watched(what, (content, length), &mut hash, stopped)?;
        Ok(rest.map(|()| Whole { content_sha256, file_sha256: hex::encode(hash.finalize()) }))
    }

    fn hash_of(&self, entry: &Entry, stopped: &AtomicBool) -> Result<Option<()>, ContainerError> {
        let what = format!("entry \"{}\"", entry.name);
        let mut hash = Sha256::new();
        let range = (entry.data_offset, entry.data_offset + entry.stored_bytes);
        if self.hash_watched(&what, range, &mut hash, stopped)?.is_none() {
            return Ok(None);
        }
        if hex::encode(hash.finalize()) == entry.sha256 {
            return Ok(Some(()));
        }
        Err(ContainerError::changed(what, "its stored bytes do not fit the manifest's SHA-256"))
    }
}

impl Hashing {
    /// Starts `threads` (at least one) threads over the whole file and each of its entries. Errors: `Spawn`.
    pub fn start<R: ReadAt + Send + Sync + 'static>(
        container: &Arc<Container<R>>,
        threads: usize,
    ) -> Result<Self, StreamError> {
        let entries = container.manifest.entries.len();
        let done = Done { left: entries + 1, entries: (0..entries).map(|_| None).collect(), whole: None };
        let shared = Arc::new(Shared {
            next: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            done: Mutex::new(done),
            changed: Condvar::new(),
        });
        let of = Arc::clone(container);
        let interrupt = Box::new(move |on| of.source.interrupt(on));
        let mut hashing = Hashing { shared, threads: Vec::new(), interrupt };
        for number in 0..threads.clamp(1, entries + 1) {
            let (shared, container) = (Arc::clone(&hashing.shared), Arc::clone(container));
            hashing.threads.push(thread::spawn_without_signals(number, move || run(&shared, &container))?);
        }
        Ok(hashing)
    }

    /// What was found of `container`, the one that it was started with, or None when it is not done within `timeout`.
    pub fn wait<R>(&self, container: &Container<R>, timeout: Duration) -> Option<Hashes> {
        let done = self.shared.done();
        let (mut done, _) = self
            .shared
            .changed
            .wait_timeout_while(done, timeout, |done| done.left > 0)
            .unwrap_or_else(PoisonError::into_inner);
        if done.left > 0 {
            return None;
        }
        let entries: Vec<Checked> = done.entries.iter_mut().map(|entry| entry.take().unwrap_or(Ok(()))).collect();
        let mut between = Findings::default();
        let mut file_sha256 = None;
        match done.whole.take() {
            Some(Ok(whole)) => {
                // Damage of an entry was found there already.
                if whole.content_sha256 != container.manifest.content_sha256 && entries.iter().all(Result::is_ok) {
                    let detail =
                        "its entries are whole, but headers or padding between them do not fit the manifest's SHA-256";
                    between.note(Err(ContainerError::changed("the container", detail)));
                }
                file_sha256 = Some(whole.file_sha256);
            }
            Some(Err(error)) => between.note(Err(error)),
            None => between.note(Err(ContainerError::unreadable("the container", "nothing was read of it"))),
        }
        Some(Hashes { entries, between, file_sha256 })
    }
}

impl Drop for Hashing {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        let is_abandoned = self.shared.done().left > 0;
        if is_abandoned {
            (self.interrupt)(true);
        }
        for thread in self.threads.drain(..) {
            // A thread catches its own panics and reports them as what became of its task.
            drop(thread.join());
        }
        if is_abandoned {
            (self.interrupt)(false);
        }
    }
}

impl Shared {
    fn done(&self) -> MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, into: impl FnOnce(&mut Done)) {
        let mut done = self.done();
        into(&mut done);
        done.left -= 1;
        self.changed.notify_all();
    }
}

fn run<R: ReadAt>(shared: &Shared, container: &Container<R>) {
    loop {
        let task = shared.next.fetch_add(1, Ordering::Relaxed);
        let stopped = &shared.stopped;
        match task.checked_sub(1) {
            None => match caught(|| container.hash_whole(stopped)) {
                Ok(None) => return,
                Ok(Some(whole)) => shared.report(|done| done.whole = Some(Ok(whole))),
                Err(error) => shared.report(|done| done.whole = Some(Err(error))),
            },
            Some(place) => {
                let Some(entry) = container.manifest.entries.get(place) else { return };
                match caught(|| container.hash_of(entry, stopped)) {
                    Ok(None) => return,
                    Ok(Some(())) => shared.report(|done| done.entries[place] = Some(Ok(()))),
                    Err(error) => shared.report(|done| done.entries[place] = Some(Err(error))),
                }
            }
        }
    }
}

fn caught<T>(work: impl FnOnce() -> Result<T, ContainerError>) -> Result<T, ContainerError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|payload| Err(ContainerError::unreadable("the container", thread::message(&*payload))))
}
