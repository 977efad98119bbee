//! `clock`.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::journal;
use crate::server::clock;
use crate::server::message::answer;

/// The moment by which ages are judged: now, unless a superuser has set another one for a test (`agent_backup.debug_clock`).
///
/// `SELECT agent_backup.clock();`
///
/// Errors: 22023 when that setting is no time in RFC 3339.
#[pg_extern(schema = "agent_backup", name = "clock", stable, parallel_safe)]
pub fn moment() -> Result<TimestampWithTimeZone, ErrorReport> {
    answer(|| clock::now().map(journal::timestamp))
}
