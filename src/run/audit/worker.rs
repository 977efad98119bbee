//! A background worker that takes the files of a database into the chain, in a transaction of its own.

use std::time::{Duration, Instant};

use pgrx::bgworkers::BackgroundWorkerBuilder;
use pgrx::{pg_guard, pg_sys};

use super::ending;
use crate::pg_compat;
use crate::server::{elsewhere, lock};

/// How long a session waits, so that who is told of an error finds it in the log: it is safe in its file already.
const PATIENCE: Duration = Duration::from_secs(2);

/// Starts it and waits a while for its end; whether it could be started.
pub fn run() -> bool {
    let mut handle = std::ptr::null_mut();
    // SAFETY: the description is copied; the handle lives in this call's memory. An oid has no more bits than a datum.
    let is_started = unsafe {
        let builder = BackgroundWorkerBuilder::new("agent_backup audit")
            .set_type("agent_backup audit")
            .set_library("$libdir/agent_backup")
            .set_function("agent_backup_audit_worker")
            .set_argument(Some(pg_sys::Datum::from(pg_sys::MyDatabaseId)))
            .set_notify_pid(pg_sys::MyProcPid)
            .enable_spi_access();
        let mut worker = pg_sys::BackgroundWorker::from(&builder);
        pg_sys::RegisterDynamicBackgroundWorker(&mut worker, &mut handle)
    };
    let begun = Instant::now();
    // SAFETY: the handle is that of the worker; the flags are this backend's own, set by its signal handlers.
    while is_started && begun.elapsed() < PATIENCE && unsafe { !is_in_a_hurry() && !has_ended(handle) } {
        std::thread::sleep(Duration::from_micros(500));
    }
    is_started
}

/// Whether this session is to end.
unsafe fn is_in_a_hurry() -> bool {
    // SAFETY: plain variables of this backend.
    unsafe { std::ptr::read_volatile(&raw const pg_sys::ProcDiePending) != 0 || pg_sys::proc_exit_inprogress }
}

/// # Safety
/// `handle` is that of a worker that was registered.
unsafe fn has_ended(handle: *mut pg_sys::BackgroundWorkerHandle) -> bool {
    let mut pid = 0;
    // SAFETY: as the caller promises.
    let status = unsafe { pg_sys::GetBackgroundWorkerPid(handle, &mut pid) };
    status == pg_sys::BgwHandleStatus::BGWH_STOPPED
}

/// Where the worker begins.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn agent_backup_audit_worker(database: pg_sys::Datum) {
    // SAFETY: what a worker does first; the argument is the oid that `run` gave. No role means the first superuser.
    unsafe {
        pg_compat::end_on_sigterm();
        pg_sys::BackgroundWorkerUnblockSignals();
        let database = pg_sys::Oid::from(database.value() as u32);
        pg_sys::BackgroundWorkerInitializeConnectionByOid(database, pg_sys::InvalidOid, 0);
    }
    let added = elsewhere::in_transaction(|| {
        // SAFETY: whatever the database's settings are, this transaction writes, and sees what others have committed.
        unsafe {
            pg_sys::XactReadOnly = false;
            pg_sys::XactIsoLevel = pg_sys::XACT_READ_COMMITTED as i32;
        }
        ending::add_waiting()
    });
    match added {
        Ok(files) => ending::forget(&files),
        // They stay in their files, for the next act.
        Err(failed) => {
            ending::log(&format!("agent_backup: acts could not be taken into audit_log: {}", failed.message()))
        }
    }
    lock::release_chain();
}
