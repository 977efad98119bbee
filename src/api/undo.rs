//! `undo`, `restore_table_as_of`.

use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::api::argument::{optional_items, required};
use crate::error::Result as OurResult;
use crate::run::audit::{self, Act, audited};
use crate::run::capture::back::{self, Report, Whose};
use crate::run::capture::moment::Moment;
use crate::run::capture::undo::{Doing, Outcome};
use crate::server::text::Text;

type Row = (Option<Text>, &'static str, Option<i64>, &'static str, Text);

/// Takes the changes back that were made since a mark: all, or those of one application, user or transaction. Shows what it
/// would do unless `confirm => true`.
///
/// `SELECT * FROM agent_backup.undo('before the nightly agent', application_name => 'agent', confirm => true);`
///
/// `tables`: null means all tracked tables. Rows that came go, rows that went come back, changed ones change back. A row that
/// somebody else changed afterwards is a conflict: it is listed with its key, and left as it is. Triggers of the tables do
/// not fire and nothing cascades; foreign keys are checked at the end. The undo is captured like any change, so a mark made
/// before it can take it back.
///
/// Rows: table, `action` (`bring back`, `take away`, `change back`, `conflict`), how many rows, `status` (`planned`, `done`,
/// `warning`), details.
///
/// Errors: 42704 for an unknown mark, 55000 for a table that is not tracked, or not since the mark, 42501 for who is not
/// owner of a table, 23503 where a foreign key would be broken.
#[pg_extern(schema = "agent_backup", name = "undo")]
fn undo_since(
    mark: Option<Text>,
    tables: default!(Option<Vec<Option<Text>>>, "NULL"),
    confirm: default!(Option<bool>, "false"),
    application_name: default!(Option<Text>, "NULL"),
    session_user_name: default!(Option<Text>, "NULL"),
    transaction: default!(Option<Text>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(table_name, Option<Text>),
            name!(action, &'static str),
            name!(row_count, Option<i64>),
            name!(status, &'static str),
            name!(details, Text),
        ),
    >,
    ErrorReport,
> {
    audited(Act::new("undo").on(mark.as_ref()), || {
        let tables = optional_items(tables, "tables")?;
        let whose = Whose {
            application: application_name.as_deref(),
            session_user: session_user_name.as_deref(),
            transaction: transaction.as_deref(),
        };
        let doing = doing(confirm);
        audit::note("confirm", doing == Doing::Apply);
        let report = back::undo(&required(mark, "mark")?, tables.as_deref(), &whose, doing)?;
        rows(report, doing)
    })
}

/// Brings a tracked table back to what it was at a moment. Shows what it would do unless `confirm => true`.
///
/// `SELECT * FROM agent_backup.restore_table_as_of('agent_approvals', now() - interval '5 minutes', confirm => true);`
///
/// `as_of`: the moment, or `mark`: the name of one. Only rows that changed since are touched, as `undo` does it. A table that
/// is gone is made and filled from the newest backup before the moment, which only a superuser may, and brought forward from
/// there; it is not tracked then. `target`: another table to bring the rows into, which is made like the first if it is not
/// there, and must be empty. To look first, use `read_as_of`.
///
/// Errors: as `undo`; 22023 for a moment in the future.
#[pg_extern(schema = "agent_backup", name = "restore_table_as_of")]
fn restore_table_as_of(
    table_name: Option<Text>,
    as_of: default!(Option<TimestampWithTimeZone>, "NULL"),
    target: default!(Option<Text>, "NULL"),
    confirm: default!(Option<bool>, "false"),
    mark: default!(Option<Text>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(table_name, Option<Text>),
            name!(action, &'static str),
            name!(row_count, Option<i64>),
            name!(status, &'static str),
            name!(details, Text),
        ),
    >,
    ErrorReport,
> {
    audited(Act::new("restore_table_as_of").on(table_name.as_ref()), || {
        let moment = Moment::of(as_of, mark.as_deref())?;
        let doing = doing(confirm);
        audit::note("confirm", doing == Doing::Apply);
        let table = required(table_name, "table_name")?;
        let report = match target {
            None => back::table_as_of(&table, &moment, doing)?,
            Some(target) => back::into_table(&table, &target, &moment, doing)?,
        };
        rows(report, doing)
    })
}

fn doing(confirm: Option<bool>) -> Doing {
    if confirm.unwrap_or(false) { Doing::Apply } else { Doing::Plan }
}

fn rows(report: Report, doing: Doing) -> OurResult<TableIterator<'static, Row>> {
    let status = if doing == Doing::Apply { "done" } else { "planned" };
    let mut rows: Vec<Row> = Vec::new();
    for outcome in report.outcomes {
        rows.extend(of_table(outcome, status, report.order));
    }
    let step = |step: crate::run::restore::plan::Step| {
        (step.table.map(Text::from), step.action, step.rows, step.status.name(), Text::from(step.details))
    };
    rows.extend(report.steps.into_iter().map(step));
    Ok(TableIterator::new(rows))
}

fn of_table(outcome: Outcome, status: &'static str, order: &str) -> Vec<Row> {
    let line = |action, count: u64, status, details: String| {
        (Some(Text::from(outcome.table.clone())), action, Some(count.cast_signed()), status, Text::from(details))
    };
    let mut rows = vec![
        line("bring back", outcome.restored, status, format!("rows that went, {order}")),
        line("take away", outcome.removed, status, "rows that came".to_owned()),
        line("change back", outcome.reverted, status, "rows that changed".to_owned()),
    ];
    if outcome.conflicts > 0 {
        let keys = match outcome.keys.is_empty() {
            true => "rows that are not there any more".to_owned(),
            false => format!("changed again by others, and left as they are: {}", outcome.keys.join("; ")),
        };
        rows.push(line("conflict", outcome.conflicts, "warning", keys));
    }
    rows
}
