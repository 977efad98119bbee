//! Where the versions of PostgreSQL differ.

use pgrx::{PgList, pg_sys};

/// Runs a started query to its end.
///
/// # Safety
/// `description` was started by `ExecutorStart` and not ended.
pub unsafe fn executor_run(description: *mut pg_sys::QueryDesc) {
    let forward = pg_sys::ScanDirection::ForwardScanDirection;
    // SAFETY: as the caller promises. A count of 0 means all rows.
    #[cfg(not(feature = "pg18"))]
    unsafe {
        pg_sys::ExecutorRun(description, forward, 0, true);
    }
    // SAFETY: as above.
    #[cfg(feature = "pg18")]
    unsafe {
        pg_sys::ExecutorRun(description, forward, 0);
    }
}

/// Makes the tables of an analysed query be checked for the rights of `user`, whoever runs it.
///
/// # Safety
/// `query` is a parse tree that has not been rewritten.
pub unsafe fn check_as(query: *mut pg_sys::Query, user: pg_sys::Oid) {
    // SAFETY: as the caller promises; the list belongs to the tree.
    #[cfg(feature = "pg15")]
    unsafe {
        for entry in PgList::<pg_sys::RangeTblEntry>::from_pg((*query).rtable).iter_ptr() {
            (*entry).checkAsUser = user;
        }
    }
    // SAFETY: as above.
    #[cfg(not(feature = "pg15"))]
    unsafe {
        for info in PgList::<pg_sys::RTEPermissionInfo>::from_pg((*query).rteperminfos).iter_ptr() {
            (*info).checkAsUser = user;
        }
    }
}

// The server's own handler, as a handler must be typed.
unsafe extern "C-unwind" {
    fn die(signal: i32);
}

/// A background worker ends on SIGTERM as a session does, at its next check for interrupts.
pub fn end_on_sigterm() {
    const SIGTERM: i32 = 15;
    // SAFETY: what sessions and parallel workers do.
    #[cfg(not(feature = "pg18"))]
    unsafe {
        pg_sys::pqsignal(SIGTERM, Some(die));
    }
    // SAFETY: as above.
    #[cfg(feature = "pg18")]
    unsafe {
        pg_sys::pqsignal_be(SIGTERM, Some(die));
    }
}
