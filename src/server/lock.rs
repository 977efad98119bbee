//! Locks that die with their holder: one per backup set (a session advisory lock, seen in `pg_locks`), one per table.

use std::cell::{Cell, RefCell};

use agent_backup_core::plan::jobs::Job;
use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::server::{pin::Pinned, sql, subtransaction};
use crate::settings;

/// First key of our advisory locks: "agbk" as a number.
const CLASS: u32 = 0x6167_626b;

thread_local! {
    /// Keys of the sets that this session works on now.
    static RUNNING: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// The lock of one backup set in this database. It is held twice: for the session until this is dropped, so that an
/// error in a caught block does not let others in, and for the transaction, so that nobody sees files whose catalogue
/// rows are not committed yet.
#[must_use]
pub struct SetLock {
    tag: pg_sys::LOCKTAG,
}

impl SetLock {
    /// Takes it, or says which session holds it.
    pub fn acquire(set: &str) -> Result<Self> {
        Self::acquire_key(set, key(set))
    }

    /// The same for the incrementals of the set, which a backup of it does not keep out.
    pub fn of_incrementals(set: &str) -> Result<Self> {
        Self::acquire_key(set, key(&format!("{set}/incremental")))
    }

    /// The same for the copies of the set in other places.
    pub fn of_copies(set: &str) -> Result<Self> {
        Self::acquire_key(set, key(&format!("{set}/copies")))
    }

    fn acquire_key(set: &str, key: u32) -> Result<Self> {
        let tag = advisory_tag(key);
        let take = |level: Level| {
            // SAFETY: the tag is whole; session locks end with the session at the latest, others with the transaction.
            unsafe { pg_sys::LockAcquire(&tag, pg_sys::ExclusiveLock as i32, level == Level::Session, true) }
        };
        if RUNNING.with_borrow(|running| running.contains(&tag.locktag_field3)) {
            // A backup called from inside a backup.
            // SAFETY: reads a plain variable of this backend.
            return Err(Error::Busy { set: set.to_owned(), holder: Some(unsafe { pg_sys::MyProcPid }) });
        }
        if take(Level::Session) == pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL {
            return Err(Error::Busy { set: set.to_owned(), holder: holder(key)? });
        }
        let lock = SetLock { tag };
        RUNNING.with_borrow_mut(|running| running.push(tag.locktag_field3));
        take(Level::Transaction);
        Ok(lock)
    }
}

/// Takes the lock of a set's job until the transaction ends, if nobody has it; else who has it.
pub fn try_job(job: Job, set: &str) -> Result<()> {
    let key = job_key(job, set);
    if take_job(key, true) {
        return Ok(());
    }
    Err(Error::JobBusy { job: job.name(), set: set.to_owned(), holder: holder(key)? })
}

/// Takes the lock of a set's job until the transaction ends. Whoever has it has it for a moment: it looks whether the
/// job is running.
pub fn wait_for_job(job: Job, set: &str) {
    take_job(job_key(job, set), false);
}

fn take_job(key: u32, give_up: bool) -> bool {
    let tag = advisory_tag(key);
    // SAFETY: the tag is whole; the lock ends with the transaction, and the wait answers interrupts.
    let taken = unsafe { pg_sys::LockAcquire(&tag, pg_sys::ExclusiveLock as i32, false, give_up) };
    taken != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}

fn job_key(job: Job, set: &str) -> u32 {
    key(&job_lock(job, set))
}

/// What the lock of a set's job is made from.
pub fn job_lock(job: Job, set: &str) -> String {
    format!("{set}/job/{}", job.name())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Session,
    Transaction,
}

impl Drop for SetLock {
    fn drop(&mut self) {
        RUNNING.with_borrow_mut(|running| running.retain(|key| *key != self.tag.locktag_field3));
        // SAFETY: releases what `acquire` took; also while an error unwinds, since a session lock survives an abort.
        unsafe { pg_sys::LockRelease(&self.tag, pg_sys::ExclusiveLock as i32, true) };
    }
}

thread_local! {
    /// Whether this session holds the lock of the chain of acts.
    static HOLDS_CHAIN: Cell<bool> = const { Cell::new(false) };
}

/// Takes the lock of the chain of acts: until it is released, and not only until the transaction ends, so that it can be
/// released before what else a commit does.
pub fn take_chain() {
    // SAFETY: the tag is whole; the wait answers interrupts.
    unsafe { pg_sys::LockAcquire(&chain_tag(), pg_sys::ExclusiveLock as i32, true, false) };
    HOLDS_CHAIN.set(true);
}

/// Releases it, if this session holds it.
pub fn release_chain() {
    if HOLDS_CHAIN.replace(false) {
        // SAFETY: releases what `take_chain` took.
        unsafe { pg_sys::LockRelease(&chain_tag(), pg_sys::ExclusiveLock as i32, true) };
    }
}

/// No lock that SQL can take, nor any of a set, has a fourth field of 3.
fn chain_tag() -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG { locktag_field4: 3, ..advisory_tag(0) }
}

/// The second key of a set's advisory lock.
pub fn key(set: &str) -> u32 {
    // FNV-1a: any spread will do, two sets with one key only wait for each other.
    set.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Locks a table for reading (ACCESS SHARE) until the transaction ends, under `agent_backup.lock_timeout`.
pub fn table_for_reading(oid: pg_sys::Oid, display: &str) -> Result<()> {
    table(oid, pg_sys::AccessShareLock, display)
}

/// Locks a table in a mode until the transaction ends, under `agent_backup.lock_timeout`.
pub fn table(table: pg_sys::Oid, mode: u32, display: &str) -> Result<()> {
    let locked = subtransaction::attempt(|| {
        let pinned = Pinned::nothing();
        if let Some(ms) = settings::lock_timeout_ms() {
            pinned.set("lock_timeout", &ms.to_string())?;
        }
        // SAFETY: waits like LOCK TABLE does and answers interrupts; the lock passes to the transaction.
        unsafe { pg_sys::LockRelationOid(table, mode as i32) };
        Ok(())
    });
    locked.map_err(|failure| match failure.code {
        pg_sys::errcodes::PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE => {
            Error::LockTimeout { table: display.to_owned() }
        }
        _ => Error::Internal { object: "table lock", reason: format!("\"{display}\": {}", failure.message) },
    })
}

fn holder(key: u32) -> Result<Option<i32>> {
    let arguments = [i64::from(CLASS).into(), i64::from(key).into()];
    let query = "SELECT pid FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2 \
                 AND classid::bigint = $1 AND objid::bigint = $2 \
                 AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())";
    Ok(sql::rows(query, &arguments, |row| row.optional::<i32>(1))?.into_iter().next().flatten())
}

fn advisory_tag(key: u32) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        // SAFETY: reads a plain variable of this backend.
        locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field2: CLASS,
        locktag_field3: key,
        locktag_field4: 2,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    }
}
