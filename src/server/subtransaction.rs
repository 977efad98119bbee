//! A failure that costs one table and not the call: work in a subtransaction whose error becomes a value.

use std::panic::AssertUnwindSafe;

use pgrx::pg_sys::panic::CaughtError;
use pgrx::{PgTryBuilder, pg_sys};

use crate::error::Error;

/// How an attempt failed.
#[derive(Debug)]
pub struct Failure {
    pub message: String,
    pub code: pg_sys::errcodes::PgSqlErrorCode,
}

/// Runs `work` in a subtransaction. An error of ours or of the server rolls it back and is returned; a cancel or
/// a shutdown is not caught. Locks taken by a successful attempt stay with the transaction.
pub fn attempt<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Failure> {
    // SAFETY: called inside a transaction; every path below ends the subtransaction by release or rollback.
    let (context, owner) = unsafe { (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner) };
    // SAFETY: as above.
    unsafe {
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
    }
    let mut work = Some(work);
    let outcome = PgTryBuilder::new(AssertUnwindSafe(|| match work.take() {
        Some(work) => work().map_err(|error| Failure { message: error.to_string(), code: error.code() }),
        None => Err(Failure {
            message: "attempted twice".into(),
            code: pg_sys::errcodes::PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
        }),
    }))
    .catch_others(|caught| if is_for_the_call(&caught) { caught.rethrow() } else { Err(failure_of(&caught)) })
    .execute();
    // SAFETY: ends the subtransaction begun above and restores the context and owner found there.
    unsafe {
        match outcome {
            Ok(_) => pg_sys::ReleaseCurrentSubTransaction(),
            Err(_) => pg_sys::RollbackAndReleaseCurrentSubTransaction(),
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
    }
    outcome
}

/// A cancel, a shutdown or the end of memory or of the session concerns the whole call.
fn is_for_the_call(caught: &CaughtError) -> bool {
    use pg_sys::errcodes::PgSqlErrorCode::*;
    let (CaughtError::PostgresError(report)
    | CaughtError::ErrorReport(report)
    | CaughtError::RustPanic { ereport: report, .. }) = caught;
    matches!(
        report.sql_error_code(),
        ERRCODE_QUERY_CANCELED | ERRCODE_ADMIN_SHUTDOWN | ERRCODE_CRASH_SHUTDOWN | ERRCODE_T_R_DEADLOCK_DETECTED
    )
}

fn failure_of(caught: &CaughtError) -> Failure {
    let (CaughtError::PostgresError(report)
    | CaughtError::ErrorReport(report)
    | CaughtError::RustPanic { ereport: report, .. }) = caught;
    Failure { message: report.message().to_owned(), code: report.sql_error_code() }
}
