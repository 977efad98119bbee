//! The evidence of a period: read from the catalogue and the logs, for the page that `agent_backup_core::report` makes.
//! All is read as the extension's owner, after the caller's right was checked: views, and what they are made of.

mod backups;
mod compliance;
mod history;
mod now;

use agent_backup_core::report;
use agent_backup_core::report::data::{Backup, Listed, Made, Period, Report, Verdict};
use chrono::{DateTime, Utc};
use pgrx::datum::TimestampWithTimeZone;

use crate::error::{Error, Result};
use crate::journal::{self, as_owner};
use crate::journal_checks;
use crate::server::sql::{Argument, Row};

/// More rows than this of one kind are left to the views.
const MOST: i64 = 60;

/// The page of a period.
pub fn page(period: Period) -> Result<String> {
    let made = now::made()?;
    Ok(report::page(&collect(period, made)?))
}

/// From the first moment to before the last one; both must be moments that a calendar has.
pub fn period(from: TimestampWithTimeZone, to: TimestampWithTimeZone) -> Result<Period> {
    let wrong = |option, reason: &str| Error::InvalidOption { option, reason: reason.into() };
    let moment = |time: TimestampWithTimeZone, option| {
        let at = journal::utc(time);
        let is_exact = journal::timestamp(at) == time;
        if is_exact { Ok(at) } else { Err(wrong(option, "it is no moment of a calendar")) }
    };
    let period = Period { from: moment(from, "from_time")?, to: moment(to, "to_time")? };
    if period.from >= period.to {
        return Err(wrong("to_time", "it is not after from_time"));
    }
    Ok(period)
}

fn collect(period: Period, made: Made) -> Result<Report> {
    let mut backups = backups::all(period)?;
    let (checks, findings) = match journal_checks::read_log(|log| history::log(log, period, &mut backups))? {
        Some((checks, findings)) => (Some(checks), findings),
        None => (None, Listed::default()),
    };
    Ok(Report {
        sets: backups::sets()?,
        points: backups::points(period)?,
        checks,
        findings,
        drills: history::drills(period)?,
        restores: history::restores(period)?,
        jobs: history::jobs(period)?,
        objectives: now::objectives()?,
        tracked: now::tracked(period)?,
        plan: now::plan()?,
        copies: compliance::copies()?,
        erasures: compliance::erasures(period)?,
        grants: compliance::grants()?,
        members: compliance::members()?,
        audit: compliance::audit(period)?,
        health: now::health()?,
        disk: now::disk()?,
        backups,
        made,
        period,
    })
}

/// A removed backup takes the verdict that the log of verifications has of it.
fn judge(backups: &mut [Backup], verdicts: Vec<(String, Verdict)>) {
    let verdicts: std::collections::HashMap<String, Verdict> = verdicts.into_iter().collect();
    for backup in backups.iter_mut().filter(|backup| backup.removed.is_some() && backup.verdict.is_none()) {
        // What was good when it was removed had passed, whatever stands in the log.
        backup.verdict = verdicts.get(&backup.id).filter(|verdict| verdict.status != "failed").cloned();
    }
}

/// `$1` and `$2`.
fn bounds(period: Period) -> [Argument<'static>; 2] {
    [journal::timestamp(period.from).into(), journal::timestamp(period.to).into()]
}

/// The rows of a query that ends with how many there are.
fn listed<T>(query: &str, period: Period, total: usize, row: impl Fn(&Row) -> Result<T>) -> Result<Listed<T>> {
    let [from, to] = bounds(period);
    let mut all = 0;
    let rows = crate::server::sql::rows(query, &[from, to, MOST.into()], |found| {
        all = found.required(total)?;
        row(found)
    })?;
    Ok(Listed { rows, total: all })
}

/// A moment of a row.
fn moment(row: &Row, column: usize) -> Result<DateTime<Utc>> {
    row.required(column).map(journal::utc)
}

fn maybe_moment(row: &Row, column: usize) -> Result<Option<DateTime<Utc>>> {
    Ok(row.optional(column)?.map(journal::utc))
}

/// A text of a row that is only shown, and may be null.
fn maybe_shown(row: &Row, column: usize) -> Result<Option<String>> {
    Ok(row.optional::<crate::server::sql::Shown>(column)?.map(|shown| shown.0))
}

fn texts(row: &Row, column: usize) -> Result<Vec<String>> {
    let shown = row.optional::<Vec<crate::server::sql::Shown>>(column)?.unwrap_or_default();
    Ok(shown.into_iter().map(|shown| shown.0).collect())
}

/// A query of the catalogue as the extension's owner.
fn owned<T>(query: &str, arguments: &[Argument], row: impl FnMut(&Row) -> Result<T>) -> Result<Vec<T>> {
    as_owner(|| crate::server::sql::rows(query, arguments, row))
}
