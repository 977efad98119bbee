//! The journal's part for incrementals: how far each table was copied, and what the log of changes says since.

use std::collections::HashMap;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::ident::TableName;
use crate::journal::as_owner;
use crate::server::sql::{self, Row};

/// A moment: to compare, and as the server writes it in UTC.
#[derive(Debug, Clone)]
pub struct Moment {
    pub at: i64,
    pub text: String,
}

/// How far a table was copied.
#[derive(Debug, Clone)]
pub struct Watermark {
    pub relation: pg_sys::Oid,
    /// The table, or its partitions.
    pub storage: Vec<pg_sys::Oid>,
    /// As `pg_current_snapshot` shows it.
    pub snapshot: String,
    /// When the oldest transaction began that ran then.
    pub oldest: Moment,
    pub taken_at: Moment,
}

/// What a run writes down of a table.
pub struct Copied<'a> {
    pub set: &'a str,
    pub table: &'a TableName,
    pub source: &'static str,
    pub watermark: &'a Watermark,
    pub rows: u64,
    pub tombstones: u64,
    pub file: Option<&'a str>,
}

/// Before the snapshot of a run is taken: the time, and when the oldest transaction began.
pub struct Now {
    pub taken_at: Moment,
    pub oldest: Moment,
    /// Whether there may be an older one that does not say when it began.
    pub is_unsure: bool,
}

/// A moment that an argument gives.
pub fn moment(time: TimestampWithTimeZone) -> Result<Moment> {
    let text = sql::text("SELECT $1::text", &[time.into()])?.unwrap_or_default();
    Ok(Moment { at: pg_sys::TimestampTz::from(time), text })
}

/// The columns `first` (a time) and the next (its text).
fn of_row(row: &Row, first: usize) -> Result<Moment> {
    let time: TimestampWithTimeZone = row.required(first)?;
    Ok(Moment { at: pg_sys::TimestampTz::from(time), text: row.required(first + 1)? })
}

/// The time now. A transaction tells of its start a little later than it began, hence the seconds.
pub fn now() -> Result<Now> {
    let query = "SELECT t.now, t.now::text, t.oldest, t.oldest::text, t.unsure FROM ( \
                     SELECT clock_timestamp() AS now, least(min(a.xact_start), clock_timestamp()) - interval '5 seconds' AS oldest, \
                            coalesce(bool_or(a.xact_start IS NULL AND (a.backend_xid IS NOT NULL OR a.backend_xmin IS NOT NULL)), false) \
                            OR EXISTS (SELECT FROM pg_catalog.pg_prepared_xacts p WHERE p.database = pg_catalog.current_database()) AS unsure \
                       FROM pg_catalog.pg_stat_activity a \
                      WHERE a.datid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()) \
                        AND a.backend_type IS DISTINCT FROM 'autovacuum worker') AS t";
    let found = as_owner(|| {
        sql::rows(query, &[], |row| {
            Ok(Now { taken_at: of_row(row, 1)?, oldest: of_row(row, 3)?, is_unsure: row.required(5)? })
        })
    })?;
    found.into_iter().next().ok_or(Error::Internal { object: "clock", reason: "it gave no time".into() })
}

/// How far the tables of a set were copied.
pub fn of_set(set: &str) -> Result<HashMap<TableName, Watermark>> {
    let query = "SELECT schema_name, table_name, relation, storage, snapshot::text, oldest_xact_start, oldest_xact_start::text, \
                        taken_at, taken_at::text FROM agent_backup.watermarks WHERE set_name = $1";
    let found = as_owner(|| {
        sql::rows(query, &[set.into()], |row| {
            let watermark = Watermark {
                relation: row.required(3)?,
                storage: row.required(4)?,
                snapshot: row.required(5)?,
                oldest: of_row(row, 6)?,
                taken_at: of_row(row, 8)?,
            };
            Ok((TableName { schema: row.required(1)?, name: row.required(2)? }, watermark))
        })
    })?;
    Ok(found.into_iter().collect())
}

/// Writes down how far a table was copied.
pub fn record(copied: &Copied) -> Result<()> {
    as_owner(|| {
        let statement = "INSERT INTO agent_backup.watermarks (set_name, schema_name, table_name, source, relation, storage, snapshot, \
                             oldest_xact_start, taken_at, row_count, tombstones, file_name) \
                         VALUES ($1, $2, $3, $4, $5, $6, $7::text::pg_snapshot, $8::text::timestamptz, $9::text::timestamptz, $10, $11, $12) \
                         ON CONFLICT (set_name, schema_name, table_name) DO UPDATE \
                         SET (source, relation, storage, snapshot, oldest_xact_start, taken_at, row_count, tombstones, file_name) = \
                             (excluded.source, excluded.relation, excluded.storage, excluded.snapshot, excluded.oldest_xact_start, \
                              excluded.taken_at, excluded.row_count, excluded.tombstones, coalesce(excluded.file_name, watermarks.file_name))";
        let arguments = [
            copied.set.into(),
            copied.table.schema.as_str().into(),
            copied.table.name.as_str().into(),
            copied.source.into(),
            copied.watermark.relation.into(),
            copied.watermark.storage.clone().into(),
            copied.watermark.snapshot.as_str().into(),
            copied.watermark.oldest.text.as_str().into(),
            copied.watermark.taken_at.text.as_str().into(),
            copied.rows.cast_signed().into(),
            copied.tombstones.cast_signed().into(),
            copied.file.into(),
        ];
        sql::execute(statement, &arguments).map(drop)
    })
}

/// A run over all tables of a set: how many were copied and could not be, and the rows with the tombstones.
pub struct Tally {
    pub tables: usize,
    pub failed: usize,
    pub rows: i64,
}

/// Writes down that a run ended.
pub fn record_run(
    set: &str,
    started: TimestampWithTimeZone,
    finished: TimestampWithTimeZone,
    tally: &Tally,
) -> Result<()> {
    as_owner(|| {
        let statement = "INSERT INTO agent_backup.incremental_runs (set_name, started_at, finished_at, tables, failed, row_count) \
                         VALUES ($1, $2, $3, $4, $5, $6)";
        let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let arguments = [
            set.into(),
            started.into(),
            finished.into(),
            count(tally.tables).into(),
            count(tally.failed).into(),
            tally.rows.into(),
        ];
        sql::execute(statement, &arguments).map(drop)
    })
}

/// The sources that were chosen for tables of a set.
pub fn sources(set: &str) -> Result<HashMap<TableName, String>> {
    let query = "SELECT schema_name, table_name, source FROM agent_backup.change_sources WHERE set_name = $1";
    let found = as_owner(|| {
        sql::rows(query, &[set.into()], |row| {
            Ok((TableName { schema: row.required(1)?, name: row.required(2)? }, row.required(3)?))
        })
    })?;
    Ok(found.into_iter().collect())
}

/// Chooses the source of a member, or leaves it to be chosen again.
pub fn set_source(set: &str, table: &TableName, source: Option<&str>) -> Result<()> {
    as_owner(|| {
        let key = [set.into(), table.schema.as_str().into(), table.name.as_str().into()];
        let delete = "DELETE FROM agent_backup.change_sources WHERE (set_name, schema_name, table_name) = ($1, $2, $3)";
        sql::execute(delete, &key)?;
        let Some(source) = source else { return Ok(()) };
        let [set, schema, name] = key;
        sql::execute(
            "INSERT INTO agent_backup.change_sources VALUES ($1, $2, $3, $4)",
            &[set, schema, name, source.into()],
        )
        .map(drop)
    })
}

/// The tracking of a table, as the log can be used from a watermark on.
pub struct Tracked {
    pub id: i32,
    /// Whether it was tracked at the watermark already; none without one.
    pub at_watermark: Option<bool>,
    /// Changes since the watermark that the log does not hold.
    pub gaps: i64,
    /// Whether days since the watermark were taken out of the log.
    pub is_cut: bool,
}

/// The tracking of a relation whose changes are captured now, as seen from a watermark; `after` is the snapshot that is
/// read.
pub fn tracked(relation: pg_sys::Oid, watermark: Option<&Watermark>, after: &str) -> Result<Option<Tracked>> {
    let query = "SELECT t.tracked_id, pg_catalog.pg_visible_in_snapshot(t.since_xid, $2::text::pg_snapshot), \
                        (SELECT count(*) FROM agent_backup.capture_gaps g WHERE g.tracked_id = t.tracked_id \
                            AND pg_catalog.pg_visible_in_snapshot(g.xid, $3::text::pg_snapshot) \
                            AND NOT pg_catalog.pg_visible_in_snapshot(g.xid, $2::text::pg_snapshot)), \
                        EXISTS (SELECT FROM agent_backup.sealed_log s WHERE s.row_count > 0 AND s.until_time > $4::text::timestamptz) \
                   FROM agent_backup.tracked t WHERE t.relation = $1 AND t.ended_at IS NULL";
    let found = as_owner(|| {
        let (before, oldest) = watermark.map(|w| (w.snapshot.as_str(), w.oldest.text.as_str())).unzip();
        sql::rows(query, &[relation.into(), before.into(), after.into(), oldest.into()], |row| {
            let at_watermark = row.optional(2)?;
            Ok(Tracked { id: row.required(1)?, at_watermark, gaps: row.required(3)?, is_cut: row.required(4)? })
        })
    })?;
    Ok(found.into_iter().next())
}

/// A part of the log: the changes of a tracking that committed between two snapshots.
pub struct Since<'a> {
    pub tracked: i32,
    pub before: &'a str,
    pub after: &'a str,
    /// No change in it is older.
    pub oldest: &'a str,
}

/// What `Since` means in SQL, over `c` and the arguments of `Since::arguments`.
const SINCE: &str = "c.tracked_id = $1 AND c.changed_at >= $4::text::timestamptz \
                     AND pg_catalog.pg_visible_in_snapshot(c.xid, $3::text::pg_snapshot) \
                     AND NOT pg_catalog.pg_visible_in_snapshot(c.xid, $2::text::pg_snapshot)";

impl<'a> Since<'a> {
    fn arguments(&self) -> Vec<sql::Argument<'a>> {
        vec![self.tracked.into(), self.before.into(), self.after.into(), self.oldest.into()]
    }

    /// How many changes there are, and how many of them tell no key of these columns.
    pub fn count(&self, key: &[String]) -> Result<(i64, i64)> {
        let query = format!(
            "SELECT count(*), count(*) FILTER (WHERE c.row_key IS NULL OR s.key_columns IS DISTINCT FROM $5::text[]) \
               FROM agent_backup.change_log c CROSS JOIN LATERAL (SELECT r.key_columns FROM agent_backup.row_shapes r \
                      WHERE r.shape_id = c.shape_id LIMIT 1) AS s WHERE {SINCE}"
        );
        let mut arguments = self.arguments();
        arguments.push(key.to_vec().into());
        let counts = as_owner(|| sql::rows(&query, &arguments, |row| Ok((row.required(1)?, row.required(2)?))))?;
        Ok(counts.into_iter().next().unwrap_or_default())
    }

    /// The keys that were changed, each with whether its row is gone by the last of its changes.
    pub fn keys(&self) -> Result<Vec<(String, bool)>> {
        let query = format!(
            "SELECT DISTINCT ON (c.row_key) c.row_key, c.operation IN ('D', 'T') FROM agent_backup.change_log c \
              WHERE {SINCE} AND c.row_key IS NOT NULL ORDER BY c.row_key, c.seq DESC"
        );
        as_owner(|| sql::rows(&query, &self.arguments(), |row| Ok((row.required(1)?, row.required(2)?))))
    }
}
