//! The journal's part for retention: policies, pins, what is decided on, and the record of what went.

use agent_backup_core::plan::age::Age;
use agent_backup_core::plan::retention::Policy;
use agent_backup_core::plan::retention::passing::Use;
use chrono::{DateTime, Utc};
use pgrx::datum::{Interval, TimestampWithTimeZone};

use crate::error::{Error, Result};
use crate::ident;
use crate::journal::{as_owner, timestamp, utc};
use crate::server::sql::{self, Row};

/// A listed backup, as retention looks at it.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub backup_id: String,
    pub kind: String,
    pub status: String,
    /// Its last verification failed.
    pub is_refuted: bool,
    pub started_at: DateTime<Utc>,
    pub size_bytes: i64,
    pub directory: String,
    /// Container and manifest; none of a backup that failed altogether.
    pub files: Option<(String, String)>,
    pub is_pinned: bool,
    pub system_identifier: String,
    pub database_name: String,
}

impl Candidate {
    /// Complete, and not refuted.
    pub fn is_good(&self) -> bool {
        self.status == "complete" && !self.is_refuted
    }

    /// Path of its container.
    pub fn path(&self) -> Option<String> {
        self.files.as_ref().map(|(file, _)| format!("{}/{file}", self.directory))
    }
}

const CANDIDATES: &str = "SELECT backup_id, kind, status, verification_status IS NOT DISTINCT FROM 'failed', started_at, size_bytes, \
                                 directory, file_name, manifest_name, pinned, system_identifier, database_name \
                            FROM agent_backup.backup_catalog WHERE set_name = $1 ORDER BY started_at DESC, backup_id COLLATE \"C\" DESC";

/// The backups of a set, newest first.
pub fn candidates(set: &str) -> Result<Vec<Candidate>> {
    as_owner(|| sql::rows(CANDIDATES, &[set.into()], candidate))
}

/// The same, and until the transaction ends nobody verifies, pins or removes one of them.
pub fn locked_candidates(set: &str) -> Result<Vec<Candidate>> {
    as_owner(|| sql::changed_rows(&format!("{CANDIDATES} FOR UPDATE"), &[set.into()], candidate))
}

fn candidate(row: &Row) -> Result<Candidate> {
    Ok(Candidate {
        backup_id: row.required(1)?,
        kind: row.required(2)?,
        status: row.required(3)?,
        is_refuted: row.required(4)?,
        started_at: utc(row.required(5)?),
        size_bytes: row.required(6)?,
        directory: row.required(7)?,
        files: row.optional(8)?.zip(row.optional(9)?),
        is_pinned: row.required(10)?,
        system_identifier: row.required(11)?,
        database_name: row.required(12)?,
    })
}

/// The policy of a set; none where the catalogue has no such set.
pub fn policy(set: &str) -> Result<Option<Policy>> {
    as_owner(|| {
        let query = "SELECT keep_daily, keep_weekly, keep_monthly, keep_last, keep_within, max_age \
                     FROM agent_backup.sets WHERE set_name = $1";
        let found = sql::rows(query, &[set.into()], |row| {
            let count = |column| Ok::<_, Error>(usize::try_from(row.required::<i32>(column)?).unwrap_or(0));
            let limit = |column| Ok::<_, Error>(row.optional::<Interval>(column)?.map(|interval| age(&interval)));
            Ok(Policy {
                daily: count(1)?,
                weekly: count(2)?,
                monthly: count(3)?,
                last: count(4)?,
                within: limit(5)?,
                max_age: limit(6)?,
            })
        })?;
        Ok(found.into_iter().next())
    })
}

/// An interval as an age.
pub fn age(interval: &Interval) -> Age {
    Age::new(interval.months(), interval.days(), interval.micros())
}

/// Every set that there is, and every one of which a backup is listed.
pub fn all_sets() -> Result<Vec<String>> {
    as_owner(|| {
        let query =
            "SELECT set_name FROM agent_backup.sets UNION SELECT set_name FROM agent_backup.backup_catalog ORDER BY 1";
        sql::rows(query, &[], |row| row.required(1))
    })
}

/// What the backups of a set that tracking began with are there for, by their ids.
pub fn uses_of_baselines(set: &str) -> Result<Vec<(String, Use)>> {
    as_owner(|| {
        // By the table too: the log before a gap goes on from the baseline before it.
        let query = "SELECT c.backup_id, bool_or(t.ended_at IS NULL), max(t.ended_at) FROM agent_backup.backup_catalog c \
                       JOIN agent_backup.tracked t ON t.backup_id = c.backup_id OR EXISTS (SELECT FROM agent_backup.backup_entry e \
                            WHERE e.backup_id = c.backup_id AND (e.schema_name, e.table_name) = (t.schema_name, t.table_name)) \
                      WHERE c.set_name = $1 GROUP BY c.backup_id";
        sql::rows(query, &[set.into()], |row| {
            let ended: Option<TimestampWithTimeZone> = row.optional(3)?;
            let used = match (row.required(2)?, ended) {
                (true, _) => Use::Tracked,
                (false, Some(ended)) => Use::TrackedUntil(utc(ended)),
                (false, None) => Use::Unknown,
            };
            Ok((row.required(1)?, used))
        })
    })
}

/// Takes a backup out of the catalogue and notes it among those that went.
pub fn remove(backup: &Candidate, reasons: &[String], now: DateTime<Utc>) -> Result<()> {
    as_owner(|| {
        // One whose files could not be removed was listed again, and goes once more.
        let statement = "WITH gone AS (DELETE FROM agent_backup.backup_catalog WHERE backup_id = $1 RETURNING *) \
            INSERT INTO agent_backup.pruned_backups (backup_id, set_name, kind, status, was_good, started_at, finished_at, \
                row_count, size_bytes, backup_file, reasons, pruned_at, pruned_by) \
            SELECT backup_id, set_name, kind, status, $2, started_at, finished_at, row_count, size_bytes, \
                   directory || '/' || file_name, $3, $4, SESSION_USER FROM gone \
            ON CONFLICT (backup_id) DO UPDATE SET (status, was_good, backup_file, reasons, pruned_at, pruned_by) = \
                (excluded.status, excluded.was_good, excluded.backup_file, excluded.reasons, excluded.pruned_at, excluded.pruned_by)";
        let arguments =
            [backup.backup_id.as_str().into(), backup.is_good().into(), reasons.to_vec().into(), timestamp(now).into()];
        sql::execute(statement, &arguments).map(drop)
    })
}

/// A backup that is listed again did not go.
pub fn is_back(backup_id: &str) -> Result<()> {
    as_owner(|| {
        sql::execute("DELETE FROM agent_backup.pruned_backups WHERE backup_id = $1", &[backup_id.into()]).map(drop)
    })
}

/// Why a backup is kept, if anybody said.
pub struct Pin {
    pub reason: Option<String>,
}

/// Removes a listed backup from the catalogue (its files are left to the caller); its pin, if it had one.
pub fn forget(backup_id: &str) -> Result<Option<Pin>> {
    as_owner(|| {
        let statement = "DELETE FROM agent_backup.backup_catalog WHERE backup_id = $1 RETURNING pinned, pin_reason";
        let pins = sql::changed_rows(statement, &[backup_id.into()], |row| {
            Ok(row.required::<bool>(1)?.then_some(Pin { reason: row.optional(2)? }))
        })?;
        Ok(pins.into_iter().next().flatten())
    })
}

/// A backup that was pinned: its set, and when it began.
pub struct Pinned {
    pub set_name: String,
    pub started_at: DateTime<Utc>,
}

/// Keeps a listed backup whatever the retention says.
pub fn pin(backup_id: &str, reason: Option<&str>) -> Result<Pinned> {
    set_pin(backup_id, true, reason)
}

/// Leaves it to the retention again.
pub fn unpin(backup_id: &str) -> Result<()> {
    set_pin(backup_id, false, None).map(drop)
}

fn set_pin(backup_id: &str, pinned: bool, reason: Option<&str>) -> Result<Pinned> {
    as_owner(|| {
        let statement = "UPDATE agent_backup.backup_catalog SET (pinned, pin_reason) = ($2, $3) WHERE backup_id = $1 \
                         RETURNING set_name, started_at";
        let arguments = [backup_id.into(), pinned.into(), reason.into()];
        let row = |row: &Row| Ok(Pinned { set_name: row.required(1)?, started_at: utc(row.required(2)?) });
        match sql::changed_rows(statement, &arguments, row)?.into_iter().next() {
            Some(pinned) => Ok(pinned),
            None => {
                let ids = sql::rows("SELECT backup_id FROM agent_backup.backup_catalog", &[], |row| row.required(1))?;
                Err(Error::UnknownBackup { backup: backup_id.to_owned(), near: ident::near(backup_id, ids) })
            }
        }
    })
}

/// Bytes of the newest good backup of a set.
pub fn newest_size(set: &str) -> Result<Option<u64>> {
    let newest = candidates(set)?.into_iter().find(Candidate::is_good);
    Ok(newest.map(|backup| backup.size_bytes.unsigned_abs()))
}
