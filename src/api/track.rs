//! `track`, `untrack`.

use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::api::argument::required;
use crate::error::Error;
use crate::journal_changes::{OnFailure, OnTruncate};
use crate::run::audit::{Act, audited};
use crate::run::capture::track::{self, Policies};
use crate::server::text::Text;

/// Captures every change of a table from now on, in the transaction that makes it, and backs the table up first.
///
/// `SELECT * FROM agent_backup.track('agent_approvals');`
///
/// `on_failure`: when a change cannot be captured the writer's statement fails (`fail`), or it goes on and the gap is
/// recorded (`gap`). `on_truncate`: what becomes of a TRUNCATE of more than `truncate_limit` bytes: `capture` (its rows go
/// to the log), `refuse`, or `mark` (it is recorded as a gap). `baseline => false` leaves the backup out: then moments from
/// now on can be reached only while the table is there. One row: the table, whether its triggers are of `statement` or `row`
/// level, the backup. A table that is tracked already gets the policies.
///
/// Errors: 42501 for who is not the table's owner, 42809 for a table that cannot be tracked (foreign, unlogged, a view),
/// 22023 for an unknown policy, 25000 in another isolation level than READ COMMITTED.
#[pg_extern(schema = "agent_backup", name = "track")]
fn begin_tracking(
    table_name: Option<Text>,
    on_failure: default!(Option<Text>, "'fail'"),
    on_truncate: default!(Option<Text>, "'capture'"),
    truncate_limit: default!(Option<i64>, "1073741824"),
    baseline: default!(Option<bool>, "true"),
) -> Result<
    TableIterator<
        'static,
        (name!(table_name, Text), name!(level, &'static str), name!(backup_id, Option<Text>), name!(details, Text)),
    >,
    ErrorReport,
> {
    audited(Act::new("track").on(table_name.as_ref()), || {
        let table = required(table_name, "table_name")?;
        let (on_failure, on_truncate) = (required(on_failure, "on_failure")?, required(on_truncate, "on_truncate")?);
        let unknown = |option, text: &Text, known| Error::InvalidOption {
            option,
            reason: format!("\"{text}\" is none of {known}"),
        };
        OnFailure::parse(&on_failure).ok_or_else(|| unknown("on_failure", &on_failure, "fail, gap"))?;
        OnTruncate::parse(&on_truncate).ok_or_else(|| unknown("on_truncate", &on_truncate, "capture, refuse, mark"))?;
        let truncate_limit = required(truncate_limit, "truncate_limit")?;
        if truncate_limit < 0 {
            let reason = format!("{truncate_limit} is below 0");
            return Err(Error::InvalidOption { option: "truncate_limit", reason });
        }
        let policies = Policies { on_failure: &on_failure, on_truncate: &on_truncate, truncate_limit };
        let begun = track::track(&table, &policies, required(baseline, "baseline")?)?;
        let row = (begun.table.into(), begun.level, begun.backup_id.map(Text::from), begun.details.into());
        Ok(TableIterator::once(row))
    })
}

/// Captures the changes of a table no longer; what was captured stays, and moments until now can still be reached.
/// Returns the table's name.
///
/// `SELECT agent_backup.untrack('agent_approvals');`
///
/// Errors: 42501 for who is not the table's owner, 55000 for a table that is not tracked.
#[pg_extern(schema = "agent_backup", name = "untrack")]
fn end_tracking(table_name: Option<Text>) -> Result<Text, ErrorReport> {
    audited(Act::new("untrack").on(table_name.as_ref()), || {
        Ok(track::untrack(&required(table_name, "table_name")?)?.into())
    })
}
