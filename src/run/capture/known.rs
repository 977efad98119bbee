//! What is known of a tracked table, kept from statement to statement until its definition or its policies change.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::mem::ManuallyDrop;

use pgrx::pg_sys;

use crate::error::Result;
use crate::journal;
use crate::journal_changes::{self, Tracked};
use crate::journal_tracking;
use crate::table::capture::{self, Columns};

use super::Fired;

/// How the rows of a table become entries of the log.
pub struct Known {
    oid: pg_sys::Oid,
    pub tracked: Tracked,
    pub columns: Columns,
    /// Fields of the key.
    pub key: Vec<usize>,
    /// Owner of the log.
    pub owner: pg_sys::Oid,
    /// The transaction and subtransaction that wrote the shape down: once that is undone the shape is not known.
    made_in: Option<(u64, u32)>,
}

/// Tables that changed, above which it is simpler to forget all.
const MANY: usize = 1000;

thread_local! {
    /// Never dropped: when the process ends the memory that it points into is gone.
    static KNOWN: ManuallyDrop<RefCell<HashMap<pg_sys::Oid, Known>>> = ManuallyDrop::new(RefCell::new(HashMap::new()));
    /// Tables that changed since; the server may say so at any time, so nothing else is done then.
    static STALE: RefCell<HashSet<pg_sys::Oid>> = RefCell::new(HashSet::new());
    static ALL_STALE: Cell<bool> = const { Cell::new(false) };
    static IS_LISTENING: Cell<bool> = const { Cell::new(false) };
}

/// Of the table that fired a trigger. It is taken out of what is kept: a trigger inside of this one finds its own.
pub fn of(fired: &Fired, tracked: Tracked) -> Result<Known> {
    listen();
    forget_stale();
    let oid = fired.oid();
    let kept = KNOWN.with(|known| known.borrow_mut().remove(&oid));
    if let Some(known) = kept.filter(|known| known.tracked == tracked && known.is_still_written()) {
        return Ok(known);
    }
    journal::as_owner(|| {
        // SAFETY: the relation is open and locked while its trigger runs.
        let columns = unsafe {
            let is_partition = capture::is_partition(fired.relation());
            let parent = if is_partition { journal_tracking::tracked_parent(oid, tracked.id)? } else { None };
            Columns::of(fired.relation(), parent)?
        };
        let made_in = journal_changes::know_shape(&columns.shape)?.then(now);
        let key = columns.shape.key_places();
        Ok(Known { oid, tracked, key, columns, owner: journal::owner()?, made_in })
    })
}

impl Known {
    /// Keeps it for the next statement.
    pub fn keep(self) {
        KNOWN.with(|known| known.borrow_mut().insert(self.oid, self));
    }

    fn is_still_written(&self) -> bool {
        match self.made_in {
            None => true,
            Some(made_in) => made_in == now(),
        }
    }
}

/// The transaction, and the subtransaction in it.
fn now() -> (u64, u32) {
    // SAFETY: reads this backend's state; the transaction writes, so it has an id.
    unsafe { (pg_sys::GetTopFullTransactionId().value, pg_sys::GetCurrentSubTransactionId()) }
}

fn forget_stale() {
    let stale = STALE.take();
    if ALL_STALE.replace(false) {
        KNOWN.with(|known| known.borrow_mut().clear());
    } else if !stale.is_empty() {
        KNOWN.with(|known| known.borrow_mut().retain(|oid, _| !stale.contains(oid)));
    }
}

fn listen() {
    if IS_LISTENING.replace(true) {
        return;
    }
    // SAFETY: both functions stay for the life of the process, and do no more than note what they are told.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), pg_sys::Datum::from(0));
        let labels = pg_sys::SysCacheIdentifier::ENUMOID as i32;
        pg_sys::CacheRegisterSyscacheCallback(labels, Some(labels_changed), pg_sys::Datum::from(0));
    }
}

unsafe extern "C-unwind" fn relation_changed(_argument: pg_sys::Datum, relation: pg_sys::Oid) {
    // The log's own partitions may be among what changed.
    journal_changes::forget_partition();
    STALE.with_borrow_mut(|stale| {
        if relation == pg_sys::InvalidOid || stale.len() >= MANY {
            stale.clear();
            ALL_STALE.set(true);
        } else {
            stale.insert(relation);
        }
    });
}

unsafe extern "C-unwind" fn labels_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    ALL_STALE.set(true);
}
