//! A failure that costs one table and not the call: work in a subtransaction whose error becomes a value.

use std::panic::AssertUnwindSafe;

use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::pg_sys::panic::{CaughtError, ErrorReportWithLevel};
use pgrx::{PgTryBuilder, pg_sys};

use crate::error::Error;
use crate::server::message;

/// How an attempt failed.
#[derive(Debug)]
pub struct Failure {
    pub message: String,
    pub code: PgSqlErrorCode,
    /// The error itself where it is one of ours.
    pub error: Option<Error>,
}

enum Outcome<T> {
    Done(T),
    Failed(Failure),
    /// By an error of the server.
    Server(CaughtError),
    /// For the whole call: handed on once the subtransaction is rolled back.
    ForTheCall(CaughtError),
}

/// Runs `work` in a subtransaction. An error of ours or of the server rolls it back and is returned; a cancel, a
/// shutdown or a full disk of the server is handed on. Locks taken by a successful attempt stay with the transaction.
pub fn attempt<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Failure> {
    // SAFETY: called inside a transaction; whatever becomes of the work, the subtransaction is ended below.
    let (context, owner) = unsafe {
        let before = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(before.0);
        before
    };
    let outcome = caught(work);
    // SAFETY: ends the subtransaction begun above and restores the context and owner found there.
    unsafe {
        match outcome {
            Outcome::Done(_) => pg_sys::ReleaseCurrentSubTransaction(),
            Outcome::Failed(_) | Outcome::Server(_) | Outcome::ForTheCall(_) => {
                pg_sys::RollbackAndReleaseCurrentSubTransaction()
            }
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
    }
    match outcome {
        Outcome::Done(value) => Ok(value),
        Outcome::Failed(failure) => Err(failure),
        // Only now: to convert its message the catalogue may be read.
        Outcome::Server(caught) => {
            let report = report_of(&caught);
            Err(Failure { message: message::original(report), code: report.sql_error_code(), error: None })
        }
        Outcome::ForTheCall(caught) => caught.rethrow(),
    }
}

/// The same, with writes refused by the server: its subtransaction is read-only, and ends so whatever becomes of the work.
pub fn attempt_reading<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Failure> {
    attempt(|| {
        // SAFETY: a flag of this backend that the server puts back at the end of each subtransaction. (The setting
        // `transaction_read_only` cannot be saved and put back by a level of settings since PostgreSQL 16.)
        unsafe { pg_sys::XactReadOnly = true }
        work()
    })
}

fn caught<T>(work: impl FnOnce() -> Result<T, Error>) -> Outcome<T> {
    let mut work = Some(work);
    PgTryBuilder::new(AssertUnwindSafe(|| match work.take().map(|work| work()) {
        Some(Ok(value)) => Outcome::Done(value),
        Some(Err(error)) => {
            Outcome::Failed(Failure { message: error.to_string(), code: error.code(), error: Some(error) })
        }
        None => Outcome::Failed(Failure {
            message: "attempted twice".into(),
            code: PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            error: None,
        }),
    }))
    .catch_others(|caught| {
        let report = report_of(&caught);
        if is_for_the_call(report.sql_error_code()) && !is_of_another_server(report) {
            Outcome::ForTheCall(caught)
        } else {
            Outcome::Server(caught)
        }
    })
    .execute()
}

/// A cancel, a shutdown, a deadlock or a full disk concerns the whole call.
pub fn is_for_the_call(code: PgSqlErrorCode) -> bool {
    use PgSqlErrorCode::*;
    matches!(
        code,
        ERRCODE_QUERY_CANCELED
            | ERRCODE_ADMIN_SHUTDOWN
            | ERRCODE_CRASH_SHUTDOWN
            | ERRCODE_T_R_DEADLOCK_DETECTED
            | ERRCODE_DISK_FULL
    )
}

/// What a foreign server says of itself, a shutdown or a cancel there, concerns what is read from it.
fn is_of_another_server(report: &ErrorReportWithLevel) -> bool {
    report.function_name().is_some_and(|function| function.starts_with("pgfdw_"))
}

/// Whether a connection to another server broke that was in use: the server then refuses to commit.
pub fn is_lost_connection(code: PgSqlErrorCode) -> bool {
    use PgSqlErrorCode::*;
    matches!(
        code,
        ERRCODE_CONNECTION_FAILURE
            | ERRCODE_CONNECTION_DOES_NOT_EXIST
            | ERRCODE_CONNECTION_EXCEPTION
            | ERRCODE_ADMIN_SHUTDOWN
            | ERRCODE_CRASH_SHUTDOWN
    )
}

/// What an error that was caught says.
pub fn report_of(caught: &CaughtError) -> &ErrorReportWithLevel {
    match caught {
        CaughtError::PostgresError(report)
        | CaughtError::ErrorReport(report)
        | CaughtError::RustPanic { ereport: report, .. } => report,
    }
}
