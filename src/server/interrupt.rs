//! Interrupts while a call of a library blocks: it asks here whether to go on, and the answer is given by
//! `check_for_interrupts!` once it has come back.

use agent_backup_core::store::object::Cancelled;
use pgrx::{check_for_interrupts, pg_sys};

/// Whether a cancel or the end of the session waits to be answered. May be asked on any thread.
pub fn is_pending() -> bool {
    let set = |flag: *const pg_sys::sig_atomic_t| {
        // SAFETY: a flag of the server that lives as long as the process; handlers of signals write it at once.
        unsafe { flag.read_volatile() != 0 }
    };
    set(&raw const pg_sys::InterruptPending)
        && (set(&raw const pg_sys::QueryCancelPending) || set(&raw const pg_sys::ProcDiePending))
}

/// On the backend's thread: whether to go on. Other interrupts than those that end the call are answered here.
pub fn watch() -> Result<(), Cancelled> {
    if is_pending() {
        return Err(Cancelled);
    }
    check_for_interrupts!();
    Ok(())
}

/// Answers what waits: an error of the server, where a call ended for it.
pub fn answer() {
    check_for_interrupts!();
}
