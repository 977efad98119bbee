//! Threads beside the backend's own: they never call PostgreSQL, and no signal reaches them.

use std::any::Any;
use std::thread::{JoinHandle, Scope, ScopedJoinHandle};

use nix::sys::signal::{SigSet, SigmaskHow};

use super::StreamError;

/// Starts a thread in which every signal is blocked. It inherits the mask of its maker, so the mask is full while it is
/// made, and then as it was.
pub(crate) fn spawn_without_signals(
    number: usize,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StreamError> {
    let before =
        SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(|errno| StreamError::Spawn(errno.into()))?;
    let spawned = std::thread::Builder::new().name(format!("agent_backup {number}")).spawn(work);
    before.thread_set_mask().map_err(|errno| StreamError::Spawn(errno.into()))?;
    spawned.map_err(StreamError::Spawn)
}

/// As `spawn_without_signals`, of a thread that ends before `scope` does.
pub(crate) fn scoped_without_signals<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, StreamError> {
    let before =
        SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(|errno| StreamError::Spawn(errno.into()))?;
    let spawned = std::thread::Builder::new().name("agent_backup".into()).spawn_scoped(scope, work);
    before.thread_set_mask().map_err(|errno| StreamError::Spawn(errno.into()))?;
    spawned.map_err(StreamError::Spawn)
}

/// What a panic said.
pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
