//! What this session's transaction has done: acts that run, the innermost last, and acts that ended.

use std::cell::RefCell;
use std::time::Duration;

use agent_backup_core::plan::audit::{Entry, SEE_THE_LOG, Status};
use pgrx::pg_sys;
use serde_json::Value;

use super::Failure;

/// An act, and the level of the subtransaction that it is of, counted from the outermost.
struct Noted {
    level: i32,
    entry: Entry,
}

struct Ledger {
    running: Vec<Noted>,
    ended: Vec<Noted>,
}

thread_local! {
    static LEDGER: RefCell<Ledger> = const { RefCell::new(Ledger { running: Vec::new(), ended: Vec::new() }) };
}

/// An act begins.
pub fn open(entry: Entry) {
    // SAFETY: reads this backend's state.
    let level = unsafe { pg_sys::GetCurrentTransactionNestLevel() };
    LEDGER.with_borrow_mut(|ledger| ledger.running.push(Noted { level, entry }));
}

/// Adds a detail to the act that runs: an option, a name, a count.
pub fn note(name: &str, value: impl Into<Value>) {
    with_running(|entry| {
        entry.details.insert(name.to_owned(), value.into());
    });
}

/// Says to what the act that runs is done, where that was not known when it began.
pub fn object(name: &str) {
    with_running(|entry| entry.object = Some(name.to_owned()));
}

/// Says of which set the act that runs is.
pub fn set(name: &str) {
    with_running(|entry| entry.set_name = Some(name.to_owned()));
}

/// Makes the act that runs one that failed, though it returns rows and no error.
pub fn failed(message: &str) {
    with_running(|entry| {
        entry.status = Status::Failed;
        entry.error_message = Some(message.to_owned());
    });
}

/// Makes the act that runs one that failed with an SQLSTATE, which is raised by who calls.
pub fn failed_with(code: &str) {
    with_running(|entry| {
        entry.status = Status::of_failure(code);
        entry.error_code = Some(code.to_owned());
        entry.error_message = Some(SEE_THE_LOG.to_owned());
    });
}

fn with_running(change: impl FnOnce(&mut Entry)) {
    LEDGER.with_borrow_mut(|ledger| {
        if let Some(running) = ledger.running.last_mut() {
            change(&mut running.entry);
        }
    });
}

/// The innermost act ends.
pub fn close(took: Duration, failure: Option<Failure>) {
    // SAFETY: reads this backend's state; zero where the transaction has no number.
    let transaction = unsafe { pg_sys::GetTopFullTransactionIdIfAny() }.value;
    LEDGER.with_borrow_mut(|ledger| {
        let Some(mut noted) = ledger.running.pop() else { return };
        let entry = &mut noted.entry;
        entry.happened_at = super::now();
        entry.transaction = Some(transaction).filter(|transaction| *transaction != 0);
        entry.details.insert("duration_ms".into(), u64::try_from(took.as_millis()).unwrap_or(u64::MAX).into());
        if let Some(Failure { status, code, message }) = failure {
            entry.status = status;
            entry.error_code = Some(code);
            entry.error_message = Some(message);
        }
        let last = ledger.ended.last_mut().filter(|last| last.level == noted.level);
        if !last.is_some_and(|last| last.entry.absorbs(&noted.entry)) {
            ledger.ended.push(noted);
        }
    });
}

/// Whether there is anything to write down.
pub fn is_empty() -> bool {
    LEDGER.with_borrow(|ledger| ledger.running.is_empty() && ledger.ended.is_empty())
}

/// The acts that ended.
pub fn ended() -> Vec<Entry> {
    LEDGER.with_borrow(|ledger| ledger.ended.iter().map(|noted| noted.entry.clone()).collect())
}

/// All acts, and forgets them: those that run are cut off by the end of the session.
pub fn take() -> Vec<Entry> {
    let (running, ended) =
        LEDGER.with_borrow_mut(|ledger| (std::mem::take(&mut ledger.running), std::mem::take(&mut ledger.ended)));
    let cut_off = running.into_iter().map(|noted| Entry {
        happened_at: super::now(),
        status: Status::Failed,
        error_code: Some("57P01".into()),
        error_message: Some("its session ended before it did".into()),
        ..noted.entry
    });
    ended.into_iter().map(|noted| noted.entry).chain(cut_off).collect()
}

/// A subtransaction ends: its acts become those of the one around it.
pub fn end_level(level: i32, is_rolled_back: bool) {
    LEDGER.with_borrow_mut(|ledger| {
        for noted in ledger.ended.iter_mut().filter(|noted| noted.level >= level) {
            noted.level = level - 1;
            if is_rolled_back {
                noted.entry.roll_back();
            }
        }
    });
}
