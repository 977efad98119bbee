//! `record_history`, `recovery_points`.

use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::api::argument::{json, required};
use crate::api::record::{columns, single};
use crate::error::Result as OurResult;
use crate::run::audit::{Act, audited};
use crate::run::capture::history::{self, Point, Told};
use crate::server::convert::Jsonb;
use crate::server::message::answer;
use crate::server::text::{Json, Text};
use crate::table::catalog::Table;

/// A change as the function returns it.
type Row =
    (TimestampWithTimeZone, &'static str, Option<Vec<Text>>, Option<Jsonb>, Option<Jsonb>, Text, Text, Text, i64);

/// What became of one record: who changed it, when, and what, oldest first.
///
/// `SELECT * FROM agent_backup.record_history('agent_approvals', '4b0d1a3e-…');`
///
/// `key` is the value of its primary key. One row per captured change: when its statement ended, INSERT, UPDATE, DELETE or
/// TRUNCATE, the columns that an update changed, the row before and after as JSON, who was logged in with which
/// application_name, the transaction (as `pg_current_xact_id` shows it), and the number of the change.
///
/// Errors: 55000 for a table that was never tracked, 42501 without the right to read all of its rows, 22023 for a key of
/// several columns.
#[pg_extern(schema = "agent_backup", name = "record_history")]
fn record_history(
    table_name: Option<Text>,
    key: Option<Text>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(changed_at, TimestampWithTimeZone),
            name!(operation, &'static str),
            name!(changed_columns, Option<Vec<Text>>),
            name!(old_row, Option<Jsonb>),
            name!(new_row, Option<Jsonb>),
            name!(changed_by, Text),
            name!(application_name, Text),
            name!(transaction, Text),
            name!(seq, i64),
        ),
    >,
    ErrorReport,
> {
    audited(Act::new("record_history").on(table_name.as_ref()), || {
        let value = required(key, "key")?;
        run(table_name, &|table| single(table, &value))
    })
}

/// As record_history with a text, for a key of several columns: an object of column and value.
#[pg_extern(schema = "agent_backup", name = "record_history")]
fn record_history_by_columns(
    table_name: Option<Text>,
    key: Option<Json>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(changed_at, TimestampWithTimeZone),
            name!(operation, &'static str),
            name!(changed_columns, Option<Vec<Text>>),
            name!(old_row, Option<Jsonb>),
            name!(new_row, Option<Jsonb>),
            name!(changed_by, Text),
            name!(application_name, Text),
            name!(transaction, Text),
            name!(seq, i64),
        ),
    >,
    ErrorReport,
> {
    audited(Act::new("record_history").on(table_name.as_ref()), || {
        let value = json(&required(key, "key")?, "key")?;
        run(table_name, &|table| columns(table, &value))
    })
}

fn run(
    table_name: Option<Text>,
    key: &dyn Fn(&Table) -> OurResult<Vec<(String, String)>>,
) -> OurResult<TableIterator<'static, Row>> {
    let told = history::run(&required(table_name, "table_name")?, key)?;
    Ok(TableIterator::new(told.into_iter().map(row).collect::<Vec<_>>()))
}

fn row(told: Told) -> Row {
    let Told { entry, operation, old_row, new_row } = told;
    let changed = (entry.operation == 'U').then(|| entry.changed.into_iter().map(Text::from).collect());
    (
        entry.changed_at,
        operation,
        changed,
        old_row.map(Jsonb),
        new_row.map(Jsonb),
        entry.session_user.into(),
        entry.application.into(),
        entry.transaction.into(),
        entry.seq,
    )
}

/// The moments that a table can be brought back to: its complete backups, and the ranges of time in which every change is in
/// the log, oldest first; gaps are shown.
///
/// `SELECT * FROM agent_backup.recovery_points('agent_approvals');`
///
/// `kind`: `backup`, `continuous` (until is null while it goes on) or `gap`.
///
/// Errors: 42P01 for a table that is neither here nor in a backup, 42501 without the right to read all of its rows.
#[pg_extern(schema = "agent_backup", name = "recovery_points")]
fn recovery_points(
    table_name: Option<Text>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(kind, &'static str),
            name!(from_time, TimestampWithTimeZone),
            name!(until_time, Option<TimestampWithTimeZone>),
            name!(backup_id, Option<Text>),
            name!(details, Text),
        ),
    >,
    ErrorReport,
> {
    answer(|| {
        let points = history::recovery_points(&required(table_name, "table_name")?)?;
        let row = |point: Point| {
            (point.kind, point.from, point.until, point.backup_id.map(Text::from), Text::from(point.details))
        };
        Ok(TableIterator::new(points.into_iter().map(row).collect::<Vec<_>>()))
    })
}
