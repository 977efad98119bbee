//! The journal's part for verification: what the catalogue has of a backup, verdicts, and backup_verification_log.

use std::time::{Duration, SystemTime};

use pgrx::pg_sys;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::ident::{self, TableName};
use crate::journal::as_owner;
use crate::run::verify::finding::Part;
use crate::server::pin::Pinned;
use crate::server::sql;
use crate::server::subtransaction::attempt;
use crate::server::user::{ActingAs, Restriction};

/// How the checksums of the log are computed.
const DIGEST: &str = "md5 of each row, summed modulo 2^128";

/// What the catalogue has of one backup's files.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Of both files together.
    pub size_bytes: u64,
    pub file_sha256: Option<String>,
    /// The day in UTC when it began, as `2025-10-12`.
    pub day: String,
}

/// The catalogue's facts of a backup, if it is listed.
pub fn facts(backup_id: &str) -> Result<Option<Facts>> {
    as_owner(|| {
        let query = "SELECT size_bytes, file_sha256, (started_at AT TIME ZONE 'UTC')::date::text \
                     FROM agent_backup.backup_catalog WHERE backup_id = $1";
        let found = sql::rows(query, &[backup_id.into()], |row| {
            Ok(Facts {
                size_bytes: row.required::<i64>(1)?.unsigned_abs(),
                file_sha256: row.optional(2)?,
                day: row.required(3)?,
            })
        })?;
        Ok(found.into_iter().next())
    })
}

/// The tables and formats that the catalogue has for a backup.
pub fn entries(backup_id: &str) -> Result<Vec<Part>> {
    as_owner(|| {
        let query = "SELECT schema_name, table_name, format, stored_bytes FROM agent_backup.backup_entry \
                     WHERE backup_id = $1 ORDER BY schema_name, table_name, format";
        sql::rows(query, &[backup_id.into()], |row| {
            Ok(Part {
                table: TableName { schema: row.required(1)?, name: row.required(2)? },
                format: row.optional(3)?,
                stored_bytes: row.optional::<i64>(4)?.map(i64::unsigned_abs),
            })
        })
    })
}

/// A table in one of the backups of a set.
#[derive(Debug, Clone)]
pub struct Holding {
    pub table: TableName,
    pub backup_id: String,
    pub status: String,
    pub row_count: i64,
    /// When the backup began, in UTC: `2025-10-12 14:30:05`, and its day.
    pub started_at: String,
    pub day: String,
    /// It was verified, and failed.
    pub is_bad: bool,
}

/// Every table in every backup of a set that has files, the newest backups first.
pub fn holdings(set: &str) -> Result<Vec<Holding>> {
    as_owner(|| {
        let query = "SELECT e.schema_name, e.table_name, c.backup_id, c.status, max(e.row_count), \
                            to_char(c.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), \
                            (c.started_at AT TIME ZONE 'UTC')::date::text, c.verification_status IS NOT DISTINCT FROM 'failed' \
                     FROM agent_backup.backup_entry e JOIN agent_backup.backup_catalog c USING (backup_id) \
                     WHERE c.set_name = $1 AND c.file_name IS NOT NULL \
                     GROUP BY e.schema_name, e.table_name, c.backup_id ORDER BY c.started_at DESC, c.backup_id DESC";
        sql::rows(query, &[set.into()], |row| {
            Ok(Holding {
                table: TableName { schema: row.required(1)?, name: row.required(2)? },
                backup_id: row.required(3)?,
                status: row.required(4)?,
                row_count: row.required(5)?,
                started_at: row.required(6)?,
                day: row.required(7)?,
                is_bad: row.required(8)?,
            })
        })
    })
}

/// For each table of a set the day of the newest complete backup that is not known to be bad, `except` one.
pub fn last_good(set: &str, except: &str) -> Result<Vec<(TableName, String)>> {
    let mut days: Vec<(TableName, String)> = Vec::new();
    for holding in holdings(set)? {
        let known = days.iter().any(|(table, _)| *table == holding.table);
        if !known && holding.backup_id != except && holding.status == "complete" && !holding.is_bad {
            days.push((holding.table, holding.day));
        }
    }
    Ok(days)
}

/// Whether a session works on the set now.
pub fn is_worked_on(set: &str) -> Result<bool> {
    as_owner(|| {
        let query = "SELECT true FROM agent_backup.running WHERE set_name = $1";
        Ok(!sql::rows(query, &[set.into()], |row| row.required::<bool>(1))?.is_empty())
    })
}

/// When this transaction began.
pub fn transaction_start() -> Result<SystemTime> {
    let query = "SELECT extract(epoch FROM pg_catalog.now())::double precision";
    let seconds = sql::rows(query, &[], |row| row.required::<f64>(1))?.into_iter().next().unwrap_or_default();
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds.max(0.0)))
}

/// Keeps a verdict with its backup. A good one of a lower level does not take the place of one of a higher level. A
/// file's hash that was not known is filled in.
pub fn record_verdict(backup_id: &str, level: &str, status: &str, file_sha256: Option<&str>) -> Result<()> {
    as_owner(|| {
        let statement = "UPDATE agent_backup.backup_catalog \
            SET verified_at = clock_timestamp(), verification_status = $2, verification_level = $3, \
                file_sha256 = coalesce(file_sha256, $4) \
            WHERE backup_id = $1 AND ($2 = 'failed' OR verification_level IS NULL \
                OR array_position('{exists,hash,decode,restore}'::text[], verification_level) \
                   <= array_position('{exists,hash,decode,restore}'::text[], $3))";
        sql::execute(statement, &[backup_id.into(), status.into(), level.into(), file_sha256.into()]).map(drop)
    })
}

/// One row of backup_verification_log.
#[derive(Debug, Clone)]
pub struct LogRow {
    pub table: TableName,
    /// `success`, `warning` or `failed`.
    pub status: &'static str,
    /// The day that the row vouches for, as `2025-10-12`; none where there is no good backup.
    pub day: Option<String>,
    pub rows: Option<u64>,
    /// Bytes stored.
    pub size: Option<u64>,
    pub checksum: Option<String>,
    pub error: Option<String>,
    pub backup_id: Option<String>,
    pub format: Option<String>,
    pub level: &'static str,
    pub took: Duration,
    pub details: Value,
}

/// Writes rows into backup_verification_log. A log that cannot be written (it may be the application's own table) costs
/// the log, not the verdict, and a WARNING says so.
pub fn log(rows: &[LogRow]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    attempt(|| write(rows)).unwrap_or_else(|failure| {
        crate::run::say::warning(&format!("backup_verification_log could not be written: {}", failure.message));
    });
    Ok(())
}

/// The log as it stands here.
struct Log {
    schema: String,
    owner: pg_sys::Oid,
    /// Most that its row_count can hold.
    limit: i64,
    /// A table of the extension's own, with nothing yet that keeps it from being dropped with it.
    unguarded: bool,
}

/// Has `work` read the log, by the name that it is given; nothing where there is no such table. It may be the
/// application's: casts of its columns run as its owner, restricted. A time in it without a zone is taken as UTC.
pub fn read_log<T>(work: impl FnOnce(&str) -> Result<T>) -> Result<Option<T>> {
    let Some(log) = as_owner(find)? else { return Ok(None) };
    let pinned = Pinned::search_path()?;
    pinned.set("TimeZone", "UTC")?;
    let _user = ActingAs::user(log.owner, Restriction::SecurityRestricted);
    work(&format!("{}.backup_verification_log", ident::quote(&log.schema))).map(Some)
}

fn missing() -> Error {
    Error::Internal { object: "backup_verification_log", reason: "there is no such table".into() }
}

fn write(rows: &[LogRow]) -> Result<()> {
    let log = as_owner(find)?.ok_or_else(missing)?;
    if log.unguarded {
        as_owner(|| guard(&log))?;
    }
    let _path = Pinned::search_path()?;
    // The table may be the application's: its triggers, checks and defaults run as its owner, restricted.
    let _user = ActingAs::user(log.owner, Restriction::SecurityRestricted);
    insert(&log, rows)
}

fn find() -> Result<Option<Log>> {
    let query = "SELECT n.nspname::text, c.relowner, a.atttypid = 'pg_catalog.int4'::regtype, \
                        d.objid IS NOT NULL AND to_regclass('agent_backup.keeps_verification_log') IS NULL \
                 FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace \
                 JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = 'backup_verification_log' AND c.relkind IN ('r', 'p') \
                 JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = 'row_count' AND NOT a.attisdropped \
                 LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e' \
                      AND d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.refobjid = e.oid \
                 WHERE e.extname = 'agent_backup'";
    let found = sql::rows(query, &[], |row| {
        Ok(Log {
            schema: row.required(1)?,
            owner: row.required(2)?,
            limit: if row.required(3)? { i64::from(i32::MAX) } else { i64::MAX },
            unguarded: row.required(4)?,
        })
    })?;
    Ok(found.into_iter().next())
}

/// A view that is no member of the extension stands on the log once it has rows, so that DROP EXTENSION asks for
/// CASCADE before it takes them along.
fn guard(log: &Log) -> Result<()> {
    let table = format!("{}.backup_verification_log", ident::quote(&log.schema));
    // Two sessions may have the first row at the same moment.
    sql::execute(&format!("LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE"), &[])?;
    if !find()?.ok_or_else(missing)?.unguarded {
        return Ok(());
    }
    sql::execute(&format!("CREATE VIEW agent_backup.keeps_verification_log AS SELECT id FROM {table}"), &[])?;
    let comment = "Keeps DROP EXTENSION from taking the rows of backup_verification_log along without CASCADE";
    sql::execute(&format!("COMMENT ON VIEW agent_backup.keeps_verification_log IS {}", ident::literal(comment)), &[])?;
    Ok(())
}

fn insert(log: &Log, rows: &[LogRow]) -> Result<()> {
    let statement = format!(
        "INSERT INTO {}.backup_verification_log (id, backup_date, table_name, verification_status, row_count, size_bytes, \
            checksum, verified_at, error_message, backup_id, format, level, duration, digest_algorithm, details) \
         SELECT gen_random_uuid(), r.backup_date::date, r.table_name, r.status, CASE WHEN r.row_count <= $13 THEN r.row_count END, \
                r.size_bytes, r.checksum, clock_timestamp(), r.error, r.backup_id, r.format, r.level, \
                make_interval(secs => r.seconds), CASE WHEN r.checksum IS NOT NULL THEN $14 END, r.details::jsonb \
         FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::text[], \
                     $9::text[], $10::text[], $11::double precision[], $12::text[]) \
              AS r(backup_date, table_name, status, row_count, size_bytes, checksum, error, backup_id, format, level, seconds, details)",
        ident::quote(&log.schema)
    );
    let texts = |of: &dyn Fn(&LogRow) -> Option<String>| rows.iter().map(of).collect::<Vec<Option<String>>>();
    let numbers = |of: fn(&LogRow) -> Option<u64>| rows.iter().map(|r| of(r).map(u64::cast_signed)).collect::<Vec<_>>();
    let day = |row: &LogRow| Some(row.day.clone().unwrap_or_else(|| "-infinity".into()));
    let arguments = [
        texts(&day).into(),
        texts(&|row| Some(plain_name(&row.table))).into(),
        texts(&|row| Some(row.status.to_owned())).into(),
        numbers(|row| row.rows).into(),
        numbers(|row| row.size).into(),
        texts(&|row| row.checksum.clone()).into(),
        texts(&|row| row.error.clone()).into(),
        texts(&|row| row.backup_id.clone()).into(),
        texts(&|row| row.format.clone()).into(),
        texts(&|row| Some(row.level.to_owned())).into(),
        rows.iter().map(|row| row.took.as_secs_f64()).collect::<Vec<f64>>().into(),
        texts(&|row| Some(row.details.to_string())).into(),
        log.limit.into(),
        DIGEST.into(),
    ];
    sql::execute(&statement, &arguments).map(drop)
}

/// A table's name as the seed's queries have it: as it is spelt, with its schema unless that is `public`.
pub fn plain_name(table: &TableName) -> String {
    if table.schema == "public" { table.name.clone() } else { format!("{}.{}", table.schema, table.name) }
}
