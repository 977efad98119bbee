//! The end of a transaction, when its acts are written down.

use std::cell::RefCell;
use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use agent_backup_core::plan::audit::Entry;
use pgrx::pg_sys::panic::ErrorReportable;
use pgrx::{PgLogLevel, pg_guard, pg_sys};

use super::{ledger, pending, worker};
use crate::error::Result;
use crate::journal_audit;
use crate::server::{lock, message, snapshot};

thread_local! {
    /// Files whose entries this transaction has added to the chain; none where it has added nothing.
    static ADDED: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// From now on this session hears of the ends of its transactions.
pub fn listen() {
    static REGISTERED: Once = Once::new();
    // SAFETY: both functions live as long as the process.
    REGISTERED.call_once(|| unsafe {
        pg_sys::RegisterXactCallback(Some(at_end), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(at_end_of_subtransaction), std::ptr::null_mut());
    });
}

#[pg_guard]
unsafe extern "C-unwind" fn at_end(event: pg_sys::XactEvent::Type, _argument: *mut std::ffi::c_void) {
    match event {
        pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT if !ledger::is_empty() && can_write() => {
            // What was done is done: a cancel that comes now would only have it told as failed.
            // SAFETY: a counter of this backend; an error sets it to 0.
            unsafe { pg_sys::InterruptHoldoffCount += 1 }
            message::answer(|| {
                let added = add_to_chain(&ledger::ended())?;
                ADDED.set(Some(added));
                Ok(())
            })
            .unwrap_or_report();
            // SAFETY: as above.
            unsafe { pg_sys::InterruptHoldoffCount -= 1 }
        }
        pg_sys::XactEvent::XACT_EVENT_COMMIT => unerring(let_go),
        pg_sys::XactEvent::XACT_EVENT_PREPARE => unerring(|| keep(prepared(ledger::take()))),
        pg_sys::XactEvent::XACT_EVENT_ABORT => unerring(roll_back),
        _ => (),
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn at_end_of_subtransaction(
    event: pg_sys::SubXactEvent::Type,
    _own: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _argument: *mut std::ffi::c_void,
) {
    // SAFETY: reads this backend's state; the subtransaction that ends is still the current one.
    let level = unsafe { pg_sys::GetCurrentTransactionNestLevel() };
    match event {
        pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => ledger::end_level(level, true),
        pg_sys::SubXactEvent::SUBXACT_EVENT_COMMIT_SUB => ledger::end_level(level, false),
        _ => (),
    }
}

/// Whether entries can be written in this very transaction: it may write, it sees what others have just committed, and
/// the log is there.
fn can_write() -> bool {
    snapshot::read_only().is_none() && !snapshot::is_fixed() && journal_audit::is_there()
}

/// Adds what waits in files to the chain, where the extension is; the files.
pub fn add_waiting() -> Result<Vec<String>> {
    if can_write() { add_to_chain(&[]) } else { Ok(Vec::new()) }
}

/// Adds what waits in files and then `entries` to the chain, whose lock is held from now on; the files.
fn add_to_chain(entries: &[Entry]) -> Result<Vec<String>> {
    lock::take_chain();
    let (waiting, unreadable) = pending::waiting()?;
    for name in unreadable {
        message::say(PgLogLevel::LOG, &format!("acts in \"{}/{name}\" cannot be read", pending::shown()));
    }
    // SAFETY: taken under the lock, so it sees the end of the chain; popped below, or by the abort after an error.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot()) };
    for file in &waiting {
        journal_audit::append(&file.entries)?;
    }
    journal_audit::append(entries)?;
    // SAFETY: pops what was pushed above.
    unsafe { pg_sys::PopActiveSnapshot() };
    Ok(waiting.into_iter().map(|file| file.name).collect())
}

/// The transaction has committed: the chain is free for others, before what else is done then.
pub fn let_go() {
    let entries = ledger::take();
    match ADDED.take() {
        Some(files) => forget(&files),
        None => keep(entries),
    }
    lock::release_chain();
}

/// Removes files whose entries are in the chain, while its lock is held.
pub fn forget(files: &[String]) {
    for name in files {
        if let Err(error) = pending::forget(name) {
            log(&format!("agent_backup: could not remove \"{}/{name}\": {error}", pending::shown()));
        }
    }
}

fn roll_back() {
    ADDED.take();
    lock::release_chain();
    let mut entries = ledger::take();
    entries.iter_mut().for_each(Entry::roll_back);
    keep(entries);
}

/// What is prepared is committed or rolled back by another session, or never.
fn prepared(mut entries: Vec<Entry>) -> Vec<Entry> {
    for entry in &mut entries {
        entry.details.insert("prepared".into(), true.into());
    }
    entries
}

/// Puts entries into a file, and has a worker take them into the chain. What cannot be kept so stands in the server's log.
fn keep(entries: Vec<Entry>) {
    if entries.is_empty() {
        return;
    }
    if let Err(error) = pending::keep(&entries) {
        let json = serde_json::to_string(&entries).unwrap_or_default();
        log(&format!("agent_backup: acts could not be kept for audit_log ({error}): {json}"));
        return;
    }
    // SAFETY: looks at this backend's state.
    if unsafe { pg_sys::RecoveryInProgress() } {
        return;
    }
    if !worker::run() {
        let first = entries.first().map_or("", |entry| entry.action.as_str());
        log(&format!("agent_backup: {first} and what else was done wait in \"{}\" for the next act", pending::shown()));
    }
}

/// A line in the server's log, in letters that need no conversion.
pub fn log(text: &str) {
    let ascii: String =
        text.chars()
            .flat_map(|letter| {
                if letter.is_ascii() && letter != '\0' { vec![letter] } else { letter.escape_default().collect() }
            })
            .collect();
    let Ok(line) = CString::new(ascii) else { return };
    if catch_unwind(AssertUnwindSafe(|| message::say_as_it_is(PgLogLevel::LOG, &line, c""))).is_err() {
        // The standard error of a backend is the server's log.
        eprintln!("{}", line.to_string_lossy());
    }
}

/// The transaction is over: an error would take the server down, and none leaves this.
fn unerring(work: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        eprintln!("agent_backup: acts could not be written down");
    }
}
