//! Files that go, or give way to others, when the transaction commits, as the server removes those of dropped tables: not
//! before, for a rollback brings the rows back, and not without it. A crash in between leaves whole backups: those that
//! should have gone are listed again by reconcile, and what should have given way does so before the next writer writes.

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Once;

use agent_backup_core::store::{Directory, DirectoryLock, Doomed, StoreError, Swap};
use pgrx::pg_sys::panic::ErrorReportable;
use pgrx::prelude::*;

use crate::error::Error;
use crate::run::audit;
use crate::server::{encoding, message};

/// Backups of one directory that go or change. Its lock is held until that is done.
struct Pending {
    /// Of the subtransaction that they go with, counted from the outermost.
    level: i32,
    directory: Directory,
    lock: Rc<DirectoryLock>,
    work: Work,
    /// What is said of a file that could not be removed: when it is known, texts cannot be converted any more.
    said: CString,
}

enum Work {
    Remove(Vec<Doomed>),
    Swap(Vec<Swap>),
}

impl Work {
    fn do_in(&self, directory: &Directory) -> Vec<StoreError> {
        match self {
            Work::Remove(doomed) => directory.remove_backups(doomed),
            Work::Swap(swaps) => swaps.iter().filter_map(|swap| directory.swap_in(swap).err()).collect(),
        }
    }

    /// What was prepared for it goes; what cannot be removed, the next writer removes.
    fn give_up_in(&self, directory: &Directory) {
        if let Work::Swap(swaps) = self {
            swaps.iter().filter_map(|swap| directory.drop_waiting(swap).err()).for_each(drop);
        }
    }

    /// Of a file that could not be removed or renamed.
    fn hint(&self) -> &'static CStr {
        match self {
            Work::Remove(_) => {
                c"They are whole: agent_backup.reconcile() lists them again, and the next prune removes them."
            }
            Work::Swap(_) => c"They are whole: agent_backup.reconcile() puts the new files into place.",
        }
    }
}

thread_local! {
    /// In the order in which they go.
    static PENDING: RefCell<Vec<Pending>> = const { RefCell::new(Vec::new()) };
}

/// Puts backups on the list. Those that were put on it before go before.
pub fn at_commit(directory: &Directory, lock: &Rc<DirectoryLock>, doomed: Vec<Doomed>) {
    if !doomed.is_empty() {
        put_on_list(directory, lock, Work::Remove(doomed), "remove all pruned backups from");
    }
}

/// Puts backups on the list whose new files wait beside the old ones. Where the transaction is rolled back, the new ones go.
pub fn swap_at_commit(directory: &Directory, lock: &Rc<DirectoryLock>, swap: Swap) {
    put_on_list(directory, lock, Work::Swap(vec![swap]), "put new files into place in");
}

fn put_on_list(directory: &Directory, lock: &Rc<DirectoryLock>, work: Work, what: &str) {
    listen();
    let shown = directory.path().display();
    // SAFETY: both only touch this backend's state. The commit has to be on disk before the files go, whatever
    // synchronous_commit says: or a crash would leave rows without files.
    let level = unsafe {
        pg_sys::ForceSyncCommit();
        pg_sys::GetCurrentTransactionNestLevel()
    };
    let said = encoding::c_string_to_show(&format!("could not {what} \"{shown}\""));
    let pending = Pending { level, directory: directory.clone(), lock: Rc::clone(lock), work, said };
    PENDING.with_borrow_mut(|all| all.push(pending));
}

/// Whether a file of a directory is on the list: it is no stray.
pub fn is_going(directory: &Directory, name: &str) -> bool {
    is_pending(directory, |work| match work {
        Work::Remove(doomed) => doomed.iter().any(|doomed| doomed.manifest == name || doomed.data == name),
        Work::Swap(swaps) => swaps.iter().any(|swap| swap.concerns(name)),
    })
}

/// Whether a file of a directory that the catalogue lists takes its name, or its place, when the transaction commits.
pub fn is_coming(directory: &Directory, name: &str) -> bool {
    is_pending(directory, |work| match work {
        Work::Remove(_) => false,
        Work::Swap(swaps) => swaps.iter().any(|swap| swap.becomes == name),
    })
}

fn is_pending(directory: &Directory, concerns: impl Fn(&Work) -> bool) -> bool {
    PENDING.with_borrow(|all| all.iter().any(|pending| pending.directory.is_same(directory) && concerns(&pending.work)))
}

/// The lock of a directory, if this transaction holds it for files on the list.
pub fn held_lock(directory: &Directory) -> Option<Rc<DirectoryLock>> {
    PENDING.with_borrow(|all| {
        all.iter().find(|pending| pending.directory.is_same(directory)).map(|pending| Rc::clone(&pending.lock))
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
        pg_sys::XactEvent::XACT_EVENT_COMMIT => {
            // Others need not wait until the files are gone.
            audit::let_go();
            remove_all();
        }
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

/// What a subtransaction that is rolled back wanted gone stays, and what those within it did.
fn forget_from(level: i32) {
    let given_up: Vec<Pending> =
        PENDING.with_borrow_mut(|all| all.extract_if(.., |pending| pending.level >= level).collect());
    let removed = catch_unwind(AssertUnwindSafe(|| {
        given_up.iter().for_each(|pending| pending.work.give_up_in(&pending.directory));
    }));
    if removed.is_err() {
        eprintln!("agent_backup: files of a backup that was rolled back could not be removed");
    }
}

/// The transaction has committed: an error would take the server down, and none leaves this.
fn remove_all() {
    let removed = catch_unwind(|| {
        for pending in PENDING.take() {
            for error in pending.work.do_in(&pending.directory) {
                warn(&pending.said, &error, pending.work.hint());
            }
        }
    });
    if removed.is_err() {
        // The standard error of a backend is the server's log.
        eprintln!("agent_backup: files of backups could not be removed or renamed");
    }
}

/// Tells of a file that stays, in letters that need no conversion.
fn warn(said: &CString, error: &StoreError, hint: &CStr) {
    let why = error.errno().map(|errno| std::io::Error::from_raw_os_error(errno).kind().to_string());
    let mut text = said.as_bytes().to_vec();
    text.extend(b": ");
    text.extend(why.unwrap_or_else(|| "its name is not acceptable".to_owned()).bytes());
    let Ok(text) = CString::new(text) else { return };
    // A broken list of messages must not keep other files from going.
    if catch_unwind(AssertUnwindSafe(|| message::say_as_it_is(PgLogLevel::WARNING, &text, hint))).is_err() {
        eprintln!("agent_backup: {}", text.to_string_lossy());
    }
}
