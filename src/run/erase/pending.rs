//! What an erasure does to files when its transaction commits: not before, for a rollback brings the rows back, and then
//! for certain. Until then each file has a redo file beside it and is locked; none of its own bytes is touched. A crash
//! before the commit leaves redo files that count for nothing, a crash after it redo files that are followed (`settle`).

use std::cell::RefCell;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Once;

use agent_backup_core::container::Redo;
use agent_backup_core::store::{Directory, DirectoryLock, StagedFile, StoreError};
use pgrx::pg_sys::panic::ErrorReportable;
use pgrx::prelude::*;

use crate::error::Error;
use crate::run::erase::settle;
use crate::server::message;

/// A thing to do when the transaction commits.
enum Act {
    /// Follow a redo file. The file's lock is held by the open file.
    Redo { directory: Directory, file: File, redo: String, lock: Option<Rc<DirectoryLock>> },
    /// Give a tombstone its name, in a directory whose lock is held: what dead writers left there can be told.
    Tombstone { directory: Directory, staged: StagedFile, name: String, lock: Rc<DirectoryLock> },
}

struct Pending {
    /// Of the subtransaction that it goes with, counted from the outermost.
    level: i32,
    act: Act,
}

thread_local! {
    static PENDING: RefCell<Vec<Pending>> = const { RefCell::new(Vec::new()) };
}

/// Has the redo file of `file` followed, which is open for writing and locked.
pub fn redo_at_commit(directory: &Directory, lock: Option<&Rc<DirectoryLock>>, file: File, redo: String) {
    at_commit(Act::Redo { directory: directory.clone(), file, redo, lock: lock.map(Rc::clone) });
}

/// Has a tombstone put into place.
pub fn tombstone_at_commit(directory: &Directory, lock: &Rc<DirectoryLock>, staged: StagedFile, name: String) {
    at_commit(Act::Tombstone { directory: directory.clone(), staged, name, lock: Rc::clone(lock) });
}

/// The lock of a directory, if this transaction holds it for what it is to change.
pub fn held_lock(directory: &Directory) -> Option<Rc<DirectoryLock>> {
    PENDING.with_borrow(|all| {
        all.iter().find_map(|pending| match &pending.act {
            Act::Redo { directory: other, lock, .. } if other.is_same(directory) => lock.clone(),
            Act::Tombstone { directory: other, lock, .. } if other.is_same(directory) => Some(Rc::clone(lock)),
            Act::Redo { .. } | Act::Tombstone { .. } => None,
        })
    })
}

fn at_commit(act: Act) {
    listen();
    // SAFETY: both only touch this backend's state. The commit has to be on disk before a file changes, whatever
    // synchronous_commit says: or a crash would leave changed files and a catalogue that knows nothing of it.
    let level = unsafe {
        pg_sys::ForceSyncCommit();
        pg_sys::GetCurrentTransactionNestLevel()
    };
    PENDING.with_borrow_mut(|all| all.push(Pending { level, act }));
}

/// Whether this transaction changes a file of a directory.
pub fn changes(directory: &Directory, name: &str) -> bool {
    let redo = settle::redo_name(name);
    PENDING.with_borrow(|all| {
        all.iter().any(|pending| {
            matches!(&pending.act, Act::Redo { directory: other, redo: held, .. } if *held == redo && other.is_same(directory))
        })
    })
}

fn listen() {
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
        pg_sys::XactEvent::XACT_EVENT_COMMIT => do_all(),
        pg_sys::XactEvent::XACT_EVENT_ABORT => forget_from(0),
        // What is prepared is committed by another session, which has no list.
        pg_sys::XactEvent::XACT_EVENT_PRE_PREPARE if PENDING.with_borrow(|all| !all.is_empty()) => {
            message::answer(|| Err::<(), _>(Error::CannotPrepare)).unwrap_or_report();
        }
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
        pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => forget_from(level),
        pg_sys::SubXactEvent::SUBXACT_EVENT_COMMIT_SUB => PENDING.with_borrow_mut(|all| {
            all.iter_mut().filter(|pending| pending.level >= level).for_each(|pending| pending.level = level - 1);
        }),
        _ => (),
    }
}

/// What a subtransaction that is rolled back wanted is not done: its redo files go.
fn forget_from(level: i32) {
    let gone: Vec<Pending> =
        PENDING.with_borrow_mut(|all| all.extract_if(.., |pending| pending.level >= level).collect());
    for pending in gone {
        if let Act::Redo { directory, redo, .. } = &pending.act
            && let Err(error) = directory.remove(redo)
        {
            // The standard error of a backend is the server's log; the next backup of the set removes it.
            eprintln!("agent_backup: could not remove \"{redo}\": {error}");
        }
    }
}

/// The transaction has committed: an error would take the server down, and none leaves this. What fails is tried again by
/// whoever opens the backup next.
fn do_all() {
    for pending in PENDING.take() {
        let done = catch_unwind(AssertUnwindSafe(|| do_one(pending.act)));
        let failed = match done {
            Ok(Ok(())) => continue,
            Ok(Err(reason)) => reason,
            Err(_panic) => "it panicked".to_owned(),
        };
        warn(&failed);
    }
}

fn do_one(act: Act) -> Result<(), String> {
    match act {
        Act::Redo { directory, file, redo, lock: _held } => {
            let source = directory.open_file(&redo).map_err(|error| error.to_string())?;
            let is_gone = |plan: &Redo| matches!(directory.open_file(&plan.file), Err(StoreError::Missing { .. }));
            let plan = Redo::open(&source).map_err(|error| error.to_string())?;
            // The same transaction may have removed the backup.
            if is_gone(&plan) {
                return directory.remove(&redo).map_err(|error| error.to_string());
            }
            settle::follow(&directory, &plan, &source, &file).map_err(|error| error.to_string())
        }
        Act::Tombstone { staged, name, lock: _held, .. } => {
            staged.publish(&name).map(drop).map_err(|error| error.to_string())
        }
    }
}

/// In letters that need no conversion: nothing can be looked up any more.
fn warn(reason: &str) {
    let ascii: String = reason.chars().map(|c| if c.is_ascii() && c != '\0' { c } else { '?' }).collect();
    let text = std::ffi::CString::new(format!("erased rows are still in a file: {ascii}")).unwrap_or_default();
    let hint = c"The erasure has been recorded and its tombstone holds; the file is changed when it is opened next, or by agent_backup.reconcile().";
    // A broken list of messages must not keep other files from being changed.
    if catch_unwind(AssertUnwindSafe(|| message::say_as_it_is(PgLogLevel::WARNING, &text, hint))).is_err() {
        eprintln!("agent_backup: {}", text.to_string_lossy());
    }
}
