//! `restore_plan`, `restore_table`, `restore`, `undo_restore`.

use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::api::argument::{optional_items, required};
use crate::error::Result as OurResult;
use crate::journal_restores;
use crate::run::audit::{self, Act, audited};
use crate::run::restore::plan::{Mode, Request, Step, Tables};
use crate::run::{restore, source};
use crate::server::text::Text;

/// Shows what a restore would do, and changes nothing.
///
/// `SELECT * FROM agent_backup.restore_plan('latest', tables => '{agent_approvals}');`
///
/// Arguments as of `restore`, and `mode` and `where_clause` as of `restore_table`. One row per step: `row_count` in the
/// backup, `status` `planned`, `warning` (a risk) or `blocked` (then nothing of the restore is done), `details` in words.
///
/// Errors: as of `restore`.
#[pg_extern(schema = "agent_backup", name = "restore_plan")]
fn restore_plan(
    backup: default!(Option<Text>, "'latest'"),
    tables: default!(Option<Vec<Option<Text>>>, "NULL"),
    mode: default!(Option<Text>, "'replace'"),
    where_clause: default!(Option<Text>, "NULL"),
    create_missing: default!(Option<bool>, "false"),
    allow_drift: default!(Option<bool>, "false"),
    set_name: default!(Option<Text>, "'agent_sdk'"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(step, i32),
            name!(table_name, Option<Text>),
            name!(action, &'static str),
            name!(row_count, Option<i64>),
            name!(status, &'static str),
            name!(details, Text),
        ),
    >,
    ErrorReport,
> {
    audited(Act::new("restore_plan").on(backup.as_ref()).of(set_name.as_ref()), || {
        let source = source::find(&required(backup, "backup")?, &required(set_name, "set_name")?)?;
        let tables = optional_items(tables, "tables")?;
        let request = Request {
            source: &source,
            tables: tables.as_deref().map_or(Tables::All, Tables::Some),
            mode: Mode::parse(&required(mode, "mode")?)?,
            where_clause: where_clause.as_deref(),
            create_missing: create_missing.unwrap_or(false),
            safety_backup: true,
            allow_drift: allow_drift.unwrap_or(false),
            count_rows: true,
            told_by: &[],
            is_drill: false,
        };
        Ok(steps(restore::show(&request)?))
    })
}

/// Restores tables of a backup, all together: either every one is as it was, or nothing is changed.
///
/// `SELECT * FROM agent_backup.restore('latest', confirm => true);`
///
/// `backup`: `latest`, an id of `agent_backup.backups`, or a path; `tables`: some of it only; without `confirm` the plan is
/// shown. `allow_drift` restores also
/// where columns were dropped, retyped or added since. `create_missing` makes tables that are not here by the statements in the backup, which only a superuser may.
/// What is there now is saved first (`safety_backup`), and `undo_restore` puts it back. One row per step with its rows
/// and what was proved.
///
/// Errors: 42501 without the rights of a table's owner, 55000 for what is blocked, XX001 for a damaged backup or rows
/// that are not those of the manifest, 23503 for a foreign key that would not hold, 55P03 for a lock that is not given
/// in `agent_backup.lock_timeout`, 25006 on a standby. Nothing is changed then.
#[pg_extern(schema = "agent_backup", name = "restore")]
fn restore_set(
    backup: default!(Option<Text>, "'latest'"),
    tables: default!(Option<Vec<Option<Text>>>, "NULL"),
    confirm: default!(Option<bool>, "false"),
    create_missing: default!(Option<bool>, "false"),
    allow_drift: default!(Option<bool>, "false"),
    safety_backup: default!(Option<bool>, "true"),
    set_name: default!(Option<Text>, "'agent_sdk'"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(step, i32),
            name!(table_name, Option<Text>),
            name!(action, &'static str),
            name!(row_count, Option<i64>),
            name!(status, &'static str),
            name!(details, Text),
        ),
    >,
    ErrorReport,
> {
    audited(Act::new("restore").on(backup.as_ref()).of(set_name.as_ref()), || {
        let source = source::find(&required(backup, "backup")?, &required(set_name, "set_name")?)?;
        let tables = optional_items(tables, "tables")?;
        let request = Request {
            source: &source,
            tables: tables.as_deref().map_or(Tables::All, Tables::Some),
            mode: Mode::Replace,
            where_clause: None,
            create_missing: create_missing.unwrap_or(false),
            safety_backup: safety_backup.unwrap_or(true),
            allow_drift: allow_drift.unwrap_or(false),
            count_rows: true,
            told_by: &[],
            is_drill: false,
        };
        Ok(steps(planned_or_done(&request, confirm, None)?))
    })
}

/// Restores one table, or a part of it.
///
/// `SELECT * FROM agent_backup.restore_table('agent_approvals', mode => 'missing_only', confirm => true);`
///
/// `mode`: `replace` (the rows that are there go), `merge` (rows of the backup are added or overwrite those of their key) or
/// `missing_only` (only rows whose key is gone come back); `target`: another table to restore into; `where_clause`: an SQL
/// expression over the table's columns, which limits all of that to the rows for which it is true. Without `confirm` the
/// plan is shown. Triggers do not fire; foreign keys, checks and keys hold, or nothing is changed.
///
/// Errors: as of `restore`.
#[pg_extern(schema = "agent_backup", name = "restore_table")]
#[allow(clippy::too_many_arguments, reason = "each is a named argument in SQL")]
fn restore_table(
    table_name: Option<Text>,
    backup: default!(Option<Text>, "'latest'"),
    mode: default!(Option<Text>, "'replace'"),
    target: default!(Option<Text>, "NULL"),
    where_clause: default!(Option<Text>, "NULL"),
    confirm: default!(Option<bool>, "false"),
    create_missing: default!(Option<bool>, "false"),
    allow_drift: default!(Option<bool>, "false"),
    safety_backup: default!(Option<bool>, "true"),
    set_name: default!(Option<Text>, "'agent_sdk'"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(step, i32),
            name!(table_name, Option<Text>),
            name!(action, &'static str),
            name!(row_count, Option<i64>),
            name!(status, &'static str),
            name!(details, Text),
        ),
    >,
    ErrorReport,
> {
    audited(Act::new("restore_table").on(table_name.as_ref()).of(set_name.as_ref()), || {
        let table = required(table_name, "table_name")?;
        let source = source::find(&required(backup, "backup")?, &required(set_name, "set_name")?)?;
        let request = Request {
            source: &source,
            tables: Tables::One { table: &table, target: target.as_deref() },
            mode: Mode::parse(&required(mode, "mode")?)?,
            where_clause: where_clause.as_deref(),
            create_missing: create_missing.unwrap_or(false),
            safety_backup: safety_backup.unwrap_or(true),
            allow_drift: allow_drift.unwrap_or(false),
            count_rows: true,
            told_by: &[],
            is_drill: false,
        };
        Ok(steps(planned_or_done(&request, confirm, None)?))
    })
}

/// Puts back what a restore overwrote, from the backup that was made before it.
///
/// `SELECT * FROM agent_backup.undo_restore(confirm => true);`
///
/// `restore_id`: of `agent_backup.restores`; null means the newest that overwrote anything. Rows written since are
/// overwritten, after they were saved in turn. Rows as of `restore`.
///
/// Errors: 55000 where there is nothing to undo, else as of `restore`.
#[pg_extern(schema = "agent_backup", name = "undo_restore")]
fn undo_restore(
    restore_id: default!(Option<i64>, "NULL"),
    confirm: default!(Option<bool>, "false"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(step, i32),
            name!(table_name, Option<Text>),
            name!(action, &'static str),
            name!(row_count, Option<i64>),
            name!(status, &'static str),
            name!(details, Text),
        ),
    >,
    ErrorReport,
> {
    audited(Act::new("undo_restore"), || {
        let (undone, safety) = journal_restores::to_undo(restore_id)?;
        let source = source::find(&safety, crate::run::safety::SAFETY_SET)?;
        let request = Request {
            source: &source,
            tables: Tables::All,
            mode: Mode::Replace,
            where_clause: None,
            create_missing: false,
            safety_backup: true,
            allow_drift: true,
            count_rows: true,
            told_by: &[],
            is_drill: false,
        };
        Ok(steps(planned_or_done(&request, confirm, Some(undone))?))
    })
}

fn planned_or_done(request: &Request, confirm: Option<bool>, undoes: Option<i64>) -> OurResult<Vec<Step>> {
    audit::note("confirm", confirm.unwrap_or(false));
    audit::note("mode", request.mode.name());
    audit::note("backup_id", request.source.manifest().backup_id.as_str());
    if confirm.unwrap_or(false) { restore::run(request, undoes) } else { restore::show(request) }
}

/// The rows of a plan or a report.
type Row = (i32, Option<Text>, &'static str, Option<i64>, &'static str, Text);

fn steps(steps: Vec<Step>) -> TableIterator<'static, Row> {
    let row = |(number, step): (usize, Step)| {
        let number = i32::try_from(number + 1).unwrap_or(i32::MAX);
        (number, step.table.map(Text::from), step.action, step.rows, step.status.name(), step.details.into())
    };
    TableIterator::new(steps.into_iter().enumerate().map(row).collect::<Vec<_>>())
}
