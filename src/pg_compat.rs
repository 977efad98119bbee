//! Where the versions of PostgreSQL differ.

use pgrx::pg_sys;

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
