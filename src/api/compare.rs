//! `diff`, `verify_backup`, `assess`.

use pgrx::PgMemoryContexts;
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::api::argument::required;
use crate::error;
use crate::run::assess::{self, Assessed};
use crate::run::audit::{self, Act, audited};
use crate::run::differences::Told;
use crate::run::{diff, verdict};
use crate::server::convert::Jsonb;
use crate::server::results::Results;
use crate::server::text::Text;

crate::set_returning!(agent_backup_diff, pg_finfo_agent_backup_diff, diff_with_backup);

/// Shows row by row what a live table and a backup of it differ in.
///
/// `SELECT change, key, columns FROM agent_backup.diff('agent_approvals');`
///
/// `backup`: `latest`, an id or a path; `set_name`: the set whose latest backup is meant. One row per row that differs:
/// `change` is `missing` (in the backup, not in the table), `extra` (in the table, not in the backup) or `changed`, with
/// the names of its `columns` that differ; `key` is the primary key, null where whole rows are compared because there is
/// none that both have. Values are compared, and shown, as the text of their type's output function; in the JSON,
/// numbers, booleans and jsonb stand as such. Excluded, masked and generated columns, and those that only one side has,
/// are not compared: a NOTICE names them.
///
/// Errors: 42501 without the right to read backups or all rows of the table, 42P01 for an unknown table, 42704 for an
/// unknown backup or a table that is not in it, XX001 for a damaged file.
unsafe fn diff_with_backup(call: pg_sys::FunctionCallInfo) -> error::Result<()> {
    // SAFETY: the server calls it with the three arguments that sql/55_compare.sql declares.
    let (table, backup, set) = unsafe {
        let argument = |number| pgrx::pg_getarg::<Text>(call, number);
        (argument(0), argument(1), argument(2))
    };
    let table = required(table, "table_name")?;
    let (backup, set) = (required(backup, "backup")?, required(set, "set_name")?);
    // SAFETY: as above.
    let mut results = unsafe { Results::of_declared(call)? };
    let mut scratch = PgMemoryContexts::new("agent_backup difference");
    let act = Act::new("diff").on(Some(&table)).of(Some(&set));
    let put = |told: Told| {
        // SAFETY: the values are those of the declared columns; the results copy them out of scratch.
        unsafe {
            scratch.switch_to(|_| {
                let columns: Vec<Text> = told.columns.into_iter().map(Text::from).collect();
                let columns = (!columns.is_empty()).then(|| columns.into_datum()).flatten();
                let values = [
                    told.change.word().into_datum(),
                    told.key.map(Jsonb).into_datum(),
                    columns,
                    told.left.map(Jsonb).into_datum(),
                    told.right.map(Jsonb).into_datum(),
                ];
                let mut nulls = values.map(|value| value.is_none());
                results.put(&mut values.map(|value| value.unwrap_or(pg_sys::Datum::from(0))), &mut nulls);
            });
            scratch.reset();
        }
        Ok(())
    };
    audit::act(act, || diff::diff(&table, &backup, &set, put))
}

/// Says whether a copy of a table holds the same rows: both are read in one snapshot and compared by the digest of
/// their rows over the columns that both have.
///
/// `SELECT * FROM verify_backup('latest:agent_approvals', 'agent_approvals');`
///
/// Each argument is a table in any form of its name, or a table in a backup: `latest:<table>` (of `set_name`),
/// `<backup id>:<table>` or `<path>:<table>`; without a table that of the other argument. One row:
/// `verification_status` is `VERIFIED` or `MISMATCH`; `row_count_match`, `checksum_match`; `details` has both counts and
/// digests, the columns that differ, and of missing (only in the backup), extra (only in the original) and changed rows
/// the number and the keys of the first 20.
///
/// Errors: 42P01 for an unknown table, 42704 for an unknown backup or a table that is not in it (the hint names near
/// ones), 42501 without the right to read them, XX001 for a damaged file.
#[pg_extern(name = "verify_backup")]
fn verify_backup(
    backup_table: Option<Text>,
    original_table: Option<Text>,
    set_name: default!(Option<Text>, "'agent_sdk'"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(verification_status, &'static str),
            name!(row_count_match, bool),
            name!(checksum_match, bool),
            name!(details, Jsonb),
        ),
    >,
    ErrorReport,
> {
    audited(Act::new("verify_backup").on(backup_table.as_ref()).of(set_name.as_ref()), || {
        let backup = required(backup_table, "backup_table")?;
        let original = required(original_table, "original_table")?;
        let verdict = verdict::verify(&backup, &original, &required(set_name, "set_name")?)?;
        let status = if verdict.rows_match && verdict.checksum_matches { "VERIFIED" } else { "MISMATCH" };
        audit::note("verdict", status);
        Ok(TableIterator::once((status, verdict.rows_match, verdict.checksum_matches, Jsonb(verdict.details))))
    })
}

/// Compares every table of a set with the newest backup that holds it and is whole, all in one snapshot.
///
/// `SELECT * FROM agent_backup.assess();`
///
/// One row per member. `status`: `ok` (the same rows), `changed` (rows were added or changed since), `lost rows` (rows
/// of the backup are not in the table; some may have been deleted on purpose), `no backup`, `table missing`, `absent`
/// (neither here nor in a backup), `failed` (see `details`). Counts are of rows; `missing` are in the backup only,
/// `extra` in the table only. `backup_age` is the time since the backup began. `details` names newer backups that are
/// damaged, and columns that are not compared.
///
/// Errors: 42704 for an unknown set, 42501 without the right to read backups.
#[pg_extern(schema = "agent_backup", name = "assess")]
fn assess(
    set_name: default!(Option<Text>, "'agent_sdk'"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(table_name, Text),
            name!(status, &'static str),
            name!(live_rows, Option<i64>),
            name!(backup_rows, Option<i64>),
            name!(missing, Option<i64>),
            name!(extra, Option<i64>),
            name!(changed, Option<i64>),
            name!(backup_id, Option<Text>),
            name!(backup_age, Option<Interval>),
            name!(details, Option<Text>),
        ),
    >,
    ErrorReport,
> {
    let row = |assessed: Assessed| {
        let differing = |of: fn((u64, u64, u64)) -> u64| assessed.differing.map(of).map(u64::cast_signed);
        let (missing, extra, changed) = (differing(|d| d.0), differing(|d| d.1), differing(|d| d.2));
        let age = assessed.backup.as_ref().and_then(|backup| age(backup.started_at));
        let rows = |rows: Option<u64>| rows.map(u64::cast_signed);
        (
            assessed.table.into(),
            assessed.status,
            rows(assessed.live_rows),
            rows(assessed.backup_rows),
            missing,
            extra,
            changed,
            assessed.backup.map(|backup| backup.backup_id.into()),
            age,
            assessed.details.map(Text::from),
        )
    };
    audited(Act::new("assess").of(set_name.as_ref()), || {
        let assessed = assess::set(&required(set_name, "set_name")?)?;
        Ok(TableIterator::new(assessed.into_iter().map(row).collect::<Vec<_>>()))
    })
}

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// The time since then, in days and what is left of one.
fn age(then: TimestampWithTimeZone) -> Option<Interval> {
    // SAFETY: reads the clock.
    let passed = unsafe { pg_sys::GetCurrentTimestamp() } - pg_sys::TimestampTz::from(then);
    Interval::new(0, i32::try_from(passed / DAY).ok()?, passed % DAY).ok()
}
