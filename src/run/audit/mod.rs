//! Acts and the log of them. An act is noted when it ends and written down when its transaction ends: with it where that
//! commits, so that there is no act without its entry; else, where a rollback would take the entry along, through a file
//! that a worker at once takes into the chain in a transaction of its own.
//!
//! ```text
//! act → ledger → PRE_COMMIT: chain's lock, entries → COMMIT: lock released
//!              → ABORT (or read-only, or a fixed snapshot): file in .audit_pending → worker → the same
//! ```

mod ending; // at the end of the transaction
mod ledger; // what this session's transaction has done
mod pending; // entries in files, until they are in the chain
mod verify; // the proof
mod worker; // takes files into the chain

use std::cell::OnceCell;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use agent_backup_core::plan::audit::{Entry, SEE_THE_LOG, Status, is_plain_message};
use chrono::{DateTime, Utc};
use pgrx::pg_sys::panic::{CaughtError, ErrorReport};
use pgrx::{PgTryBuilder, pg_sys};
use serde_json::{Map, Value};

use crate::error::{AuditError, Error, Result};
use crate::server::subtransaction::report_of;
use crate::server::{encoding, message, sql};
use crate::{ident, journal_audit, journal_jobs, settings};

pub use ending::let_go;
pub use ledger::{failed, failed_with, note, object, set};
pub use verify::{Line, look, verify};

/// What is about to be done, to what, and of which set. Neither a name nor a detail of it is data of a row or a secret.
#[derive(Debug, Clone)]
pub struct Act {
    pub action: &'static str,
    pub object: Option<String>,
    pub set: Option<String>,
}

impl Act {
    pub fn new(action: &'static str) -> Self {
        Act { action, object: None, set: None }
    }

    /// To what: a table, a backup, a job.
    pub fn on(self, object: Option<impl ToString>) -> Self {
        Act { object: object.map(|object| object.to_string()), ..self }
    }

    /// Of which set.
    pub fn of(self, set: Option<impl ToString>) -> Self {
        Act { set: set.map(|set| set.to_string()), ..self }
    }
}

/// Does what an SQL function is called for, as `message::answer`, and has it written down.
#[track_caller]
pub fn audited<T>(act: Act, work: impl FnOnce() -> Result<T>) -> std::result::Result<T, ErrorReport> {
    message::answer(|| self::act(act, work))
}

/// Does it, and has it written down however it ends.
pub fn act<T>(act: Act, work: impl FnOnce() -> Result<T>) -> Result<T> {
    if is_install_script() {
        return work();
    }
    if !journal_audit::is_there() {
        return Err(AuditError::NotUpdated.into());
    }
    ending::listen();
    let begun = Instant::now();
    ledger::open(begin(act)?);
    let mut work = Some(work);
    let done = PgTryBuilder::new(AssertUnwindSafe(|| match work.take().map(|work| work()) {
        Some(Ok(value)) => Done::Well(value),
        Some(Err(error)) => Done::Badly(error),
        None => Done::Badly(Error::Internal { object: "act", reason: "it was begun twice".into() }),
    }))
    .catch_others(|caught| Done::Server(caught))
    .execute();
    let failure = match &done {
        Done::Well(_) => None,
        Done::Badly(error) => Some(Failure::of_ours(error)),
        Done::Server(caught) => Some(Failure::of_server(caught)),
    };
    ledger::close(begun.elapsed(), failure);
    match done {
        Done::Well(value) => Ok(value),
        Done::Badly(error) => Err(error),
        Done::Server(caught) => caught.rethrow(),
    }
}

/// Whether our own CREATE EXTENSION calls: a dump is loaded into the log that it made, which must be empty then.
fn is_install_script() -> bool {
    // SAFETY: reads this backend's state, and looks up the catalogue by a NUL-terminated name.
    unsafe {
        pg_sys::creating_extension
            && pg_sys::CurrentExtensionObject == pg_sys::get_extension_oid(c"agent_backup".as_ptr(), true)
    }
}

enum Done<T> {
    Well(T),
    Badly(Error),
    Server(CaughtError),
}

/// How an act failed, as the log may have it.
struct Failure {
    status: Status,
    code: String,
    message: String,
}

impl Failure {
    fn of_ours(error: &Error) -> Self {
        let code = journal_jobs::sqlstate(error);
        let status = match error {
            // A right that the server lacks, not the caller.
            Error::Store(_) | Error::Write(_) | Error::Spill { .. } | Error::Damaged { .. } => Status::Failed,
            _ => Status::of_failure(&code),
        };
        let message = match error {
            // These can quote what was read.
            Error::NotUtf8 { .. } | Error::NotInDatabase { .. } | Error::Elsewhere { .. } | Error::Internal { .. } => {
                SEE_THE_LOG.to_owned()
            }
            Error::Encode { table, .. } | Error::Worker { table, .. } => format!("table \"{table}\": {SEE_THE_LOG}"),
            Error::InvalidOption { option, .. } => format!("invalid {option}"),
            _ => error.to_string(),
        };
        Failure { status, code, message }
    }

    fn of_server(caught: &CaughtError) -> Self {
        let report = report_of(caught);
        let code = journal_jobs::sqlstate_of(report.sql_error_code() as i32);
        let message = if is_plain_message(&code) { report.message() } else { SEE_THE_LOG };
        Failure { status: Status::of_failure(&code), message: message.to_owned(), code }
    }
}

/// The entry of an act that begins: who, and from where.
fn begin(act: Act) -> Result<Entry> {
    thread_local! {
        static CLIENT: OnceCell<Option<String>> = const { OnceCell::new() };
    }
    let client_addr = match CLIENT.with(|client| client.get().cloned()) {
        Some(known) => known,
        None => {
            let address = sql::text("SELECT pg_catalog.host(pg_catalog.inet_client_addr())", &[])?;
            CLIENT.with(|client| client.get_or_init(|| address).clone())
        }
    };
    Ok(Entry {
        happened_at: now(),
        action: act.action.to_owned(),
        object: act.object,
        set_name: act.set,
        status: Status::Ok,
        session_user: ident::session_role()?,
        current_user: ident::current_role()?,
        client_addr,
        application_name: settings::of_server("application_name")
            .map_or_else(String::new, |name| encoding::shown(name.as_bytes())),
        // SAFETY: reads this backend's state.
        backend_pid: unsafe { pg_sys::MyProcPid },
        transaction: None,
        details: Map::<String, Value>::new(),
        error_code: None,
        error_message: None,
    })
}

/// The machine's clock, whatever a test has set for ages.
fn now() -> DateTime<Utc> {
    let now = Utc::now();
    DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now)
}
