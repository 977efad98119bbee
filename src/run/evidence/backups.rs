//! Sets, and backups of all times.

use agent_backup_core::report::data::{Backup, Period, Point, Removed, Set, Status, Verdict};
use pgrx::datum::Interval;

use super::{bounds, maybe_moment, maybe_shown, moment, owned, texts};
use crate::error::Result;
use crate::journal;
use crate::journal_retention::age;
use crate::run::safety::{BASELINE_SET, SAFETY_SET};
use crate::server::sql::Row;

pub fn sets() -> Result<Vec<Set>> {
    owned(include_str!("../../../sql/query/evidence_sets.sql"), &[], |row| {
        let max_age =
            row.optional::<Interval>(15)?.map(|limit| age(&limit).length().num_milliseconds() as f64 / 1000.0);
        Ok(Set {
            name: row.shown(1)?,
            created_at: moment(row, 2)?,
            tables: row.required(3)?,
            present: row.required(4)?,
            filtered: row.required(5)?,
            masked: row.required(6)?,
            interval: row.required(7)?,
            rto: row.required(8)?,
            rpo: row.required(9)?,
            keeps: keeps(row)?,
            max_age,
        })
    })
}

/// The numbers of a policy in words.
fn keeps(row: &Row) -> Result<String> {
    let mut parts = Vec::new();
    for (column, word) in [(10, "daily"), (11, "weekly"), (12, "monthly"), (13, "of the newest")] {
        let count: i32 = row.required(column)?;
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    parts.extend(row.optional::<Interval>(14)?.map(|within| format!("all of the last {}", age(&within))));
    Ok(parts.join(", "))
}

/// Backups that began before the end of the period, oldest first.
pub fn all(period: Period) -> Result<Vec<Backup>> {
    let arguments = [journal::timestamp(period.to).into()];
    owned(include_str!("../../../sql/query/evidence_backups.sql"), &arguments, |row| {
        let (set, kind) = (row.shown(2)?, row.shown(3)?);
        Ok(Backup {
            id: row.shown(1)?,
            is_regular: kind != "safety" && set != BASELINE_SET && set != SAFETY_SET,
            set,
            kind,
            status: match row.shown(4)?.as_str() {
                "complete" => Status::Complete,
                "incomplete" => Status::Incomplete,
                _ => Status::Failed,
            },
            started_at: moment(row, 5)?,
            finished_at: moment(row, 6)?,
            rows: row.required(7)?,
            bytes: row.required(8)?,
            is_sealed: row.required(9)?,
            is_pinned: row.required(10)?,
            error: maybe_shown(row, 11)?,
            verdict: verdict(row)?,
            removed: removed(row)?,
        })
    })
}

fn verdict(row: &Row) -> Result<Option<Verdict>> {
    let Some(status) = maybe_shown(row, 13)? else { return Ok(None) };
    Ok(Some(Verdict { at: maybe_moment(row, 12)?, status, level: maybe_shown(row, 14)?.unwrap_or_default() }))
}

fn removed(row: &Row) -> Result<Option<Removed>> {
    let Some(at) = maybe_moment(row, 15)? else { return Ok(None) };
    Ok(Some(Removed { at, by: row.shown(16)?, reasons: texts(row, 17)? }))
}

/// Moments that each set could be brought back to.
pub fn points(period: Period) -> Result<Vec<Point>> {
    owned(include_str!("../../../sql/query/evidence_points.sql"), &bounds(period), |row| {
        Ok(Point { set: row.shown(1)?, at: moment(row, 2)? })
    })
}
