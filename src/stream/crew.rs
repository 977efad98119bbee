//! Threads that make something of each item they are handed; the results are taken as they come, in no order.
//!
//! Memory is bounded: as many items wait as the queue is deep, and results are taken whenever one is handed in.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{StreamError, thread};

/// What became of an item.
#[derive(Debug)]
#[must_use]
pub enum Offered<T> {
    Taken,
    /// No room within the time given; here it is again.
    Full(T),
}

struct State<T, R> {
    queue: VecDeque<T>,
    done: Vec<R>,
    running: usize,
    stopped: bool,
    failure: Option<StreamError>,
}

struct Shared<T, R> {
    depth: usize,
    state: Mutex<State<T, R>>,
    changed: Condvar,
}

impl<T, R> Shared<T, R> {
    fn state(&self) -> MutexGuard<'_, State<T, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `ready` or the deadline; whether it is ready. Errors: what a thread failed with.
    fn wait(
        &self,
        timeout: Duration,
        ready: impl Fn(&State<T, R>) -> bool,
    ) -> Result<(MutexGuard<'_, State<T, R>>, bool), StreamError> {
        let deadline = Instant::now() + timeout;
        let mut state = self.state();
        loop {
            if state.stopped {
                return Err(state.failure.take().unwrap_or(StreamError::Cancelled));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if ready(&state) || left.is_zero() {
                let is_ready = ready(&state);
                return Ok((state, is_ready));
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn stop(&self, failure: Option<StreamError>) {
        let mut state = self.state();
        state.failure = state.failure.take().or(failure);
        state.stopped = true;
        state.queue.clear();
        self.changed.notify_all();
    }
}

/// A crew for one scan. Dropping it gives up what is left and joins the threads.
pub struct Crew<T, R> {
    shared: Arc<Shared<T, R>>,
    threads: Vec<JoinHandle<()>>,
}

impl<T: Send + 'static, R: Send + 'static> Crew<T, R> {
    /// Starts `threads` (at least one) threads that do `work`. Errors: `Spawn` when the system gives no thread.
    pub fn start(
        threads: usize,
        work: impl Fn(T) -> Result<R, StreamError> + Send + Sync + 'static,
    ) -> Result<Self, StreamError> {
        let threads = threads.max(1);
        let state = State { queue: VecDeque::new(), done: Vec::new(), running: 0, stopped: false, failure: None };
        let shared = Arc::new(Shared { depth: threads + 1, state: Mutex::new(state), changed: Condvar::new() });
        let work = Arc::new(work);
        let mut crew = Crew { shared, threads: Vec::new() };
        for number in 0..threads {
            let (shared, work) = (Arc::clone(&crew.shared), Arc::clone(&work));
            crew.threads.push(thread::spawn_without_signals(number, move || run(&shared, &*work))?);
        }
        Ok(crew)
    }

    /// Offers an item, waiting up to `timeout` for room. Errors: the first error or panic of any thread.
    pub fn offer(&self, item: T, timeout: Duration) -> Result<Offered<T>, StreamError> {
        let (mut state, room) = self.shared.wait(timeout, |state| state.queue.len() < self.shared.depth)?;
        if !room {
            return Ok(Offered::Full(item));
        }
        state.queue.push_back(item);
        self.shared.changed.notify_all();
        Ok(Offered::Taken)
    }

    /// The results since the last call.
    pub fn take(&self) -> Vec<R> {
        std::mem::take(&mut self.shared.state().done)
    }

    /// Whether everything offered is done, waiting up to `timeout` for it. Errors: as `offer`.
    pub fn is_idle(&self, timeout: Duration) -> Result<bool, StreamError> {
        Ok(self.shared.wait(timeout, |state| state.queue.is_empty() && state.running == 0)?.1)
    }
}

impl<T, R> Drop for Crew<T, R> {
    fn drop(&mut self) {
        self.shared.stop(None);
        for thread in self.threads.drain(..) {
            // A thread catches the panics of its work and reports them as the crew's failure.
            drop(thread.join());
        }
    }
}

fn run<T, R>(shared: &Shared<T, R>, work: &(impl Fn(T) -> Result<R, StreamError> + ?Sized)) {
    while let Some(item) = next(shared) {
        let outcome = catch_unwind(AssertUnwindSafe(|| work(item)))
            .unwrap_or_else(|payload| Err(StreamError::Panicked(thread::message(&*payload))));
        match outcome {
            Ok(result) => {
                let mut state = shared.state();
                state.running -= 1;
                state.done.push(result);
                shared.changed.notify_all();
            }
            Err(error) => shared.stop(Some(error)),
        }
    }
}

fn next<T, R>(shared: &Shared<T, R>) -> Option<T> {
    let mut state = shared.state();
    loop {
        if state.stopped {
            return None;
        }
        if let Some(item) = state.queue.pop_front() {
            state.running += 1;
            shared.changed.notify_all();
            return Some(item);
        }
        state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn offer<T: Send + 'static, R: Send + 'static>(crew: &Crew<T, R>, item: T) -> Result<(), StreamError> {
        match crew.offer(item, SOON)? {
            Offered::Taken => Ok(()),
            Offered::Full(_) => panic!("no room within {SOON:?}"),
        }
    }

    #[test]
    fn every_item_has_its_result() {
        let crew = Crew::start(3, |n: u64| Ok(n * n)).unwrap();
        let mut results = vec![];
        for n in 0..100 {
            offer(&crew, n).unwrap();
            results.extend(crew.take());
        }
        assert!(crew.is_idle(SOON).unwrap());
        results.extend(crew.take());
        results.sort_unstable();
        assert_eq!(results, (0..100).map(|n| n * n).collect::<Vec<_>>());
    }

    #[test]
    fn the_first_error_and_a_panic_are_the_crews() {
        for panics in [false, true] {
            let crew = Crew::start(2, move |_: u8| -> Result<(), _> {
                assert!(!panics, "on purpose");
                Err(StreamError::SpoolFinished)
            });
            let crew = crew.unwrap();
            offer(&crew, 1).unwrap();
            let failed = crew.is_idle(SOON);
            match panics {
                true => assert!(matches!(failed, Err(StreamError::Panicked(said)) if said.contains("on purpose"))),
                false => assert!(matches!(failed, Err(StreamError::SpoolFinished))),
            }
        }
    }

    #[test]
    fn a_full_queue_gives_the_item_back_and_a_dropped_crew_ends() {
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let crew = Crew::start(1, move |n: u8| {
            let _ = wait.lock().unwrap().recv();
            Ok(n)
        });
        let crew = crew.unwrap();
        let full = (0..9).find_map(|n| match crew.offer(n, Duration::from_millis(20)).unwrap() {
            Offered::Taken => None,
            Offered::Full(item) => Some(item),
        });
        assert_eq!(full, Some(3));
        drop(release);
        drop(crew);
    }
}
