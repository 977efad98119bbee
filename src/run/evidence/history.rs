//! Verifications, drills, restores and jobs of the period.

use agent_backup_core::report::data::{Backup, Checks, Drill, Finding, Job, Listed, Period, Restore, Verdict};
use chrono::TimeDelta;

use super::{bounds, judge, listed, maybe_moment, maybe_shown, moment, owned, texts};
use crate::error::Result;
use crate::journal::{self, as_owner};
use crate::server::sql;

/// What the log of verifications has of the period, and of backups that were removed since. `log` is the table, which
/// is read with the rights of its owner.
pub fn log(log: &str, period: Period, backups: &mut [Backup]) -> Result<(Vec<Checks>, Listed<Finding>)> {
    let query = format!(
        "SELECT (verified_at::timestamptz)::date - date '1970-01-01', COALESCE(verification_status::text, ''), COALESCE(level::text, ''), count(*) \
           FROM {log} WHERE verified_at::timestamptz >= $1 AND verified_at::timestamptz < $2 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    );
    let checks = sql::rows(&query, &bounds(period), |row| {
        let day = TimeDelta::days(row.required::<i32>(1)?.into());
        let day = chrono::NaiveDate::default().checked_add_signed(day).unwrap_or_default();
        Ok(Checks { day, status: row.shown(2)?, level: row.shown(3)?, count: row.required(4)? })
    })?;
    let query = format!(
        "SELECT verified_at::timestamptz, table_name::text, backup_id::text, COALESCE(verification_status::text, ''), \
                COALESCE(error_message::text, ''), count(*) OVER () \
           FROM {log} WHERE verified_at::timestamptz >= $1 AND verified_at::timestamptz < $2 AND verification_status::text <> 'success' \
          ORDER BY verified_at DESC, table_name::text, id::text LIMIT $3"
    );
    let findings = listed(&query, period, 6, |row| {
        Ok(Finding {
            at: moment(row, 1)?,
            table: row.shown(2)?,
            backup: maybe_shown(row, 3)?,
            status: row.shown(4)?,
            message: row.shown(5)?,
        })
    })?;
    let gone: Vec<String> =
        backups.iter().filter(|backup| backup.removed.is_some()).map(|backup| backup.id.clone()).collect();
    judge(backups, verdicts(log, gone)?);
    Ok((checks, findings))
}

fn verdicts(log: &str, ids: Vec<String>) -> Result<Vec<(String, Verdict)>> {
    let query = format!(
        "SELECT backup_id::text, max(verified_at::timestamptz), \
                CASE WHEN bool_or(verification_status::text = 'failed') THEN 'failed' WHEN bool_or(verification_status::text = 'warning') THEN 'warning' ELSE 'success' END, \
                COALESCE((array_agg(level::text ORDER BY array_position('{{restore,decode,hash,exists}}'::text[], level::text)))[1], '') \
           FROM {log} WHERE backup_id::text = ANY ($1) GROUP BY 1"
    );
    sql::rows(&query, &[ids.into()], |row| {
        let verdict = Verdict { at: maybe_moment(row, 2)?, status: row.shown(3)?, level: row.shown(4)? };
        Ok((row.shown(1)?, verdict))
    })
}

/// Those of the period, and of the time before it in which one is expected.
pub fn drills(period: Period) -> Result<Vec<Drill>> {
    let early = period.from.checked_sub_signed(TimeDelta::days(36)).unwrap_or(period.from);
    let bounds = bounds(Period { from: early, ..period });
    owned(include_str!("../../../sql/query/evidence_drills.sql"), &bounds, |row| {
        Ok(Drill {
            id: row.required(1)?,
            set: row.shown(2)?,
            backup: maybe_shown(row, 3)?,
            status: row.shown(4)?,
            started_at: moment(row, 5)?,
            seconds: row.required(6)?,
            rto: row.optional(7)?,
            within_rto: row.optional(8)?,
            rows: row.required(9)?,
            by: row.shown(10)?,
            error: maybe_shown(row, 11)?,
        })
    })
}

pub fn restores(period: Period) -> Result<Listed<Restore>> {
    as_owner(|| {
        listed(include_str!("../../../sql/query/evidence_restores.sql"), period, 12, |row| {
            Ok(Restore {
                id: row.required(1)?,
                set: maybe_shown(row, 2)?,
                backup: maybe_shown(row, 3)?,
                mode: row.shown(4)?,
                tables: texts(row, 5)?,
                rows: row.required(6)?,
                started_at: moment(row, 7)?,
                seconds: row.required(8)?,
                by: row.shown(9)?,
                safety: maybe_shown(row, 10)?,
                undoes: row.optional(11)?,
            })
        })
    })
}

pub fn jobs(period: Period) -> Result<Vec<Job>> {
    owned(include_str!("../../../sql/query/evidence_jobs.sql"), &bounds(period), |row| {
        Ok(Job {
            set: row.shown(1)?,
            job: row.shown(2)?,
            schedule: maybe_shown(row, 3)?,
            succeeded: row.required(4)?,
            failed: row.required(5)?,
            last_at: row.optional(6)?.map(journal::utc),
            open_since: maybe_moment(row, 7)?,
            last_error: maybe_shown(row, 8)?,
        })
    })
}
