//! Runs futures on the calling thread, so that a backend can look for interrupts while a network stalls.

use std::io;
use std::pin::pin;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow};
use tokio::runtime::{Builder, Runtime};

use super::super::{Cancelled, Watch};

/// Between two calls of `watch`.
const SLICE: Duration = Duration::from_millis(40);

/// Why a future was dropped before its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    Cancelled,
    /// After so long.
    TimedOut(Duration),
}

impl From<Cancelled> for Stopped {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

/// A runtime without threads of its own. Names are looked up on threads that it makes meanwhile.
pub(super) struct Driver {
    runtime: Option<Runtime>,
}

impl Driver {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Driver { runtime: Some(Builder::new_current_thread().enable_all().build()?) })
    }

    /// Runs `work` to its end, or drops it when `watch` says so or the deadline has passed.
    pub(super) fn run<T>(
        &self,
        deadline: Duration,
        watch: Watch<'_>,
        work: impl Future<Output = T>,
    ) -> Result<T, Stopped> {
        let start = Instant::now();
        let mut work = pin!(work);
        loop {
            watch()?;
            if start.elapsed() >= deadline {
                return Err(Stopped::TimedOut(deadline));
            }
            let Some(runtime) = &self.runtime else { return Err(Stopped::Cancelled) };
            let slice = SLICE.min(deadline.saturating_sub(start.elapsed()));
            let _guard = Signals::blocked();
            let outcome = runtime.block_on(async { tokio::time::timeout(slice, work.as_mut()).await });
            if let Ok(done) = outcome {
                return Ok(done);
            }
        }
    }
}

impl Drop for Driver {
    /// Without waiting for a name that is being looked up.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// All signals wait until this is dropped, and threads that are made meanwhile never get one: the server's handlers must
/// run on the thread of the backend only.
struct Signals {
    before: Option<SigSet>,
}

impl Signals {
    fn blocked() -> Self {
        Signals { before: SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).ok() }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // It cannot fail: the mask is one that was set before.
        let _ = self.before.as_ref().map(SigSet::thread_set_mask);
    }
}
