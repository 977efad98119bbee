//! The journal's part for copies in other places: destinations, the copies there, and stores that were imported from.

use agent_backup_core::container::Manifest;
use agent_backup_core::container::manifest::Server;
use chrono::{DateTime, Utc};
use pgrx::datum::Interval;

use crate::error::{Error, Result};
use crate::journal::{FileFacts, as_owner, timestamp, utc};
use crate::server::sql::{self, Row};

/// What a destination keeps: daily, weekly, monthly, last.
#[derive(Clone)]
pub struct Numbers {
    pub keep: [i32; 4],
    pub max_age: Option<Interval>,
}

/// A place that copies of a set go to.
#[derive(Clone)]
pub struct Destination {
    pub set: String,
    pub url: String,
    pub server: Option<String>,
    /// None of the default place: the set's own.
    pub numbers: Option<Numbers>,
}

/// A backup whose files are on this machine.
#[derive(Debug, Clone)]
pub struct LocalBackup {
    pub backup_id: String,
    pub set_name: String,
    pub kind: String,
    pub started_at: DateTime<Utc>,
    pub directory: String,
    pub file_name: String,
    pub manifest_name: String,
    /// None of one that was adopted from disk and not verified yet.
    pub file_sha256: Option<String>,
    pub manifest_sha256: String,
    pub system_identifier: String,
    pub database_name: String,
}

/// A copy, as it is listed.
#[derive(Debug, Clone)]
pub struct Copy {
    pub backup_id: String,
    pub set_name: String,
    pub kind: String,
    pub started_at: DateTime<Utc>,
    pub object_key: String,
    pub manifest_key: String,
    pub size_bytes: Option<u64>,
    pub file_sha256: Option<String>,
    pub manifest_sha256: String,
    pub status: String,
    pub is_refuted: bool,
    pub system_identifier: String,
    pub database_name: String,
}

/// How a place begins that is no directory of this machine.
const REMOTE: &str = "^(s3|file)://";

/// The numbers of a set.
pub fn numbers_of_set(set: &str) -> Result<Numbers> {
    as_owner(|| {
        let query = "SELECT keep_daily, keep_weekly, keep_monthly, keep_last, max_age FROM agent_backup.sets WHERE set_name = $1";
        let found = sql::rows(query, &[set.into()], |row| numbers(row, 1))?;
        found.into_iter().next().ok_or_else(|| Error::UnknownSet { set: set.to_owned(), near: Vec::new() })
    })
}

fn numbers(row: &Row, first: usize) -> Result<Numbers> {
    let keep = [row.required(first)?, row.required(first + 1)?, row.required(first + 2)?, row.required(first + 3)?];
    Ok(Numbers { keep, max_age: row.optional(first + 4)? })
}

/// Adds a destination; false where the set has it already.
pub fn add(set: &str, url: &str, server: Option<&str>, numbers: &Numbers) -> Result<bool> {
    as_owner(|| {
        let statement = "INSERT INTO agent_backup.offsite_destinations \
                (set_name, url, server_name, keep_daily, keep_weekly, keep_monthly, keep_last, max_age) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING RETURNING true";
        let [daily, weekly, monthly, last] = numbers.keep.map(Into::into);
        let arguments = [set.into(), url.into(), server.into(), daily, weekly, monthly, last, numbers.max_age.into()];
        Ok(!sql::changed_rows(statement, &arguments, |row| row.required::<bool>(1))?.is_empty())
    })
}

/// Takes a destination away; false where there is none.
pub fn remove(set: &str, url: &str) -> Result<bool> {
    as_owner(|| {
        let statement = "DELETE FROM agent_backup.offsite_destinations WHERE set_name = $1 AND url = $2 RETURNING true";
        Ok(!sql::changed_rows(statement, &[set.into(), url.into()], |row| row.required::<bool>(1))?.is_empty())
    })
}

/// The destinations of a set, in the order in which they were added.
pub fn destinations(set: &str) -> Result<Vec<Destination>> {
    as_owner(|| {
        let query = "SELECT url, server_name, keep_daily, keep_weekly, keep_monthly, keep_last, max_age \
                       FROM agent_backup.offsite_destinations WHERE set_name = $1 ORDER BY created_at, url";
        sql::rows(query, &[set.into()], |row| {
            Ok(Destination {
                set: set.to_owned(),
                url: row.required(1)?,
                server: row.optional(2)?,
                numbers: Some(numbers(row, 3)?),
            })
        })
    })
}

/// The server by which a place is reached, where a destination or an import at or above it names one; the longest counts.
pub fn server_of(url: &str) -> Result<Option<String>> {
    as_owner(|| {
        let query = "SELECT server_name FROM (SELECT url, server_name FROM agent_backup.offsite_destinations \
                            UNION ALL SELECT url, server_name FROM agent_backup.offsite_imports) AS known \
                      WHERE server_name IS NOT NULL AND ($1 = url OR starts_with($1, url || '/')) \
                      ORDER BY length(url) DESC, server_name LIMIT 1";
        Ok(sql::rows(query, &[url.into()], |row| row.optional(1))?.into_iter().next().flatten())
    })
}

/// Whether a place is at or below one that somebody with the right to do so made known here.
pub fn is_known(url: &str) -> Result<bool> {
    as_owner(|| {
        let query = "SELECT EXISTS (SELECT FROM (SELECT url FROM agent_backup.offsite_destinations \
                            UNION ALL SELECT url FROM agent_backup.offsite_imports) AS known \
                      WHERE $1 = url OR starts_with($1, url || '/'))";
        Ok(sql::rows(query, &[url.into()], |row| row.required(1))?.contains(&true))
    })
}

/// Whether a place is at or below a destination.
pub fn is_destination(url: &str) -> Result<bool> {
    as_owner(|| {
        let query = "SELECT EXISTS (SELECT FROM agent_backup.offsite_destinations WHERE $1 = url OR starts_with($1, url || '/'))";
        Ok(sql::rows(query, &[url.into()], |row| row.required(1))?.contains(&true))
    })
}

/// Notes that backups below a place were listed here.
pub fn imported(url: &str, server: Option<&str>) -> Result<()> {
    as_owner(|| {
        let statement = "INSERT INTO agent_backup.offsite_imports AS i (url, server_name) VALUES ($1, $2) \
            ON CONFLICT (url) DO UPDATE SET (server_name, imported_at, imported_by) = (coalesce($2, i.server_name), now(), session_user)";
        sql::execute(statement, &[url.into(), server.into()]).map(drop)
    })
}

/// Names of containers and manifests that are listed in a place, or anywhere of a set of this database.
pub fn names_taken(set: &str, place: &str, here: &Server) -> Result<Vec<String>> {
    as_owner(|| {
        let query = "SELECT unnest(ARRAY[file_name, manifest_name]) FROM agent_backup.backup_catalog \
                      WHERE file_name IS NOT NULL AND (directory = $1 OR (set_name = $2 AND system_identifier = $3 AND database_name = $4))";
        let arguments =
            [place.into(), set.into(), here.system_identifier.as_str().into(), here.database.as_str().into()];
        sql::rows(query, &arguments, |row| row.required(1))
    })
}

/// Complete backups of a set on this machine that no verification refuted, newest first.
pub fn local_backups(set: &str) -> Result<Vec<LocalBackup>> {
    as_owner(|| {
        let query = "SELECT backup_id, kind, started_at, directory, file_name, manifest_name, file_sha256, manifest_sha256, \
                            system_identifier, database_name FROM agent_backup.backup_catalog \
                      WHERE set_name = $1 AND status = 'complete' AND verification_status IS DISTINCT FROM 'failed' AND directory !~ $2 \
                      ORDER BY started_at DESC, backup_id COLLATE \"C\" DESC";
        sql::rows(query, &[set.into(), REMOTE.into()], |row| {
            Ok(LocalBackup {
                backup_id: row.required(1)?,
                set_name: set.to_owned(),
                kind: row.required(2)?,
                started_at: utc(row.required(3)?),
                directory: row.required(4)?,
                file_name: row.required(5)?,
                manifest_name: row.required(6)?,
                file_sha256: row.optional(7)?,
                manifest_sha256: row.required(8)?,
                system_identifier: row.required(9)?,
                database_name: row.required(10)?,
            })
        })
    })
}

const COPIES: &str = "SELECT backup_id, set_name, kind, started_at, object_key, manifest_key, size_bytes, file_sha256, manifest_sha256, status, \
                             verification_status IS NOT DISTINCT FROM 'failed', system_identifier, database_name \
                        FROM agent_backup.offsite_catalog WHERE destination = $1 AND set_name = $2 \
                       ORDER BY started_at DESC, backup_id COLLATE \"C\" DESC";

/// The copies of a set that are listed for a destination, newest first.
pub fn copies(destination: &str, set: &str) -> Result<Vec<Copy>> {
    as_owner(|| {
        sql::rows(COPIES, &[destination.into(), set.into()], |row| {
            Ok(Copy {
                backup_id: row.required(1)?,
                set_name: row.required(2)?,
                kind: row.required(3)?,
                started_at: utc(row.required(4)?),
                object_key: row.required(5)?,
                manifest_key: row.required(6)?,
                size_bytes: row.optional::<i64>(7)?.map(i64::unsigned_abs),
                file_sha256: row.optional(8)?,
                manifest_sha256: row.required(9)?,
                status: row.required(10)?,
                is_refuted: row.required(11)?,
                system_identifier: row.required(12)?,
                database_name: row.required(13)?,
            })
        })
    })
}

/// Where a complete copy of a backup is: destinations, those that were verified last first.
pub fn copies_of(backup_id: &str) -> Result<Vec<(String, String)>> {
    as_owner(|| {
        let query = "SELECT destination, object_key FROM agent_backup.offsite_catalog \
                      WHERE backup_id = $1 AND status IN ('complete', 'retained') AND verification_status IS DISTINCT FROM 'failed' \
                      ORDER BY verified_at DESC NULLS LAST, destination";
        sql::rows(query, &[backup_id.into()], |row| Ok((row.required(1)?, row.required(2)?)))
    })
}

/// Keys of a copy: container and manifest.
#[derive(Debug, Clone)]
pub struct Keys {
    pub object: String,
    pub manifest: String,
}

/// Lists a copy that is whole, or that could not be sent and why. What was verified of a whole one stays.
pub fn record(
    destination: &str,
    backup: &LocalBackup,
    keys: &Keys,
    file_sha256: Option<&str>,
    outcome: std::result::Result<u64, &str>,
) -> Result<()> {
    as_owner(|| {
        let statement = "INSERT INTO agent_backup.offsite_catalog AS c (destination, backup_id, set_name, kind, started_at, system_identifier, \
                database_name, object_key, manifest_key, size_bytes, file_sha256, manifest_sha256, status, uploaded_at, error_message) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, CASE WHEN $13 IS NULL THEN 'complete' ELSE 'failed' END, \
                    CASE WHEN $13 IS NULL THEN agent_backup.clock() END, $13) \
            ON CONFLICT (destination, backup_id) DO UPDATE SET (object_key, manifest_key, size_bytes, file_sha256, manifest_sha256, status, uploaded_at, error_message) \
                = (excluded.object_key, excluded.manifest_key, coalesce(excluded.size_bytes, c.size_bytes), excluded.file_sha256, excluded.manifest_sha256, \
                   excluded.status, CASE WHEN c.status = 'complete' AND $13 IS NULL THEN c.uploaded_at ELSE coalesce(excluded.uploaded_at, c.uploaded_at) END, \
                   excluded.error_message), \
                (verified_at, verification_status, verification_level) = (SELECT c.verified_at, c.verification_status, c.verification_level \
                   WHERE $13 IS NOT NULL OR c.verification_status = 'success')";
        let (size, error) = (outcome.ok().map(u64::cast_signed), outcome.err());
        let arguments = [
            destination.into(),
            backup.backup_id.as_str().into(),
            backup.set_name.as_str().into(),
            backup.kind.as_str().into(),
            timestamp(backup.started_at).into(),
            backup.system_identifier.as_str().into(),
            backup.database_name.as_str().into(),
            keys.object.as_str().into(),
            keys.manifest.as_str().into(),
            size.into(),
            file_sha256.into(),
            backup.manifest_sha256.as_str().into(),
            error.into(),
        ];
        sql::execute(statement, &arguments).map(drop)
    })
}

/// Lists a copy that was found whole, or written, in a place below a destination.
pub fn record_pair(
    destination: &str,
    below: &str,
    manifest: &Manifest,
    container: &FileFacts,
    beside: &FileFacts,
) -> Result<()> {
    let key = |name: &str| if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
    let keys = Keys { object: key(&container.name), manifest: key(&beside.name) };
    let backup = LocalBackup {
        backup_id: manifest.backup_id.clone(),
        set_name: manifest.set_name.clone(),
        kind: manifest.kind.clone(),
        started_at: manifest.started_at,
        directory: String::new(),
        file_name: container.name.clone(),
        manifest_name: beside.name.clone(),
        file_sha256: container.sha256.clone(),
        manifest_sha256: beside.sha256.clone().unwrap_or_default(),
        system_identifier: manifest.server.system_identifier.clone(),
        database_name: manifest.server.database.clone(),
    };
    record(destination, &backup, &keys, container.sha256.as_deref(), Ok(container.size))
}

/// Lists a copy under the names that its files have now, where it was at `path`, the destination's URL and all.
pub fn moved(backup_id: &str, path: &str, container: &FileFacts, beside: &FileFacts) -> Result<()> {
    as_owner(|| {
        let statement = "UPDATE agent_backup.offsite_catalog SET object_key = regexp_replace(object_key, '[^/]*$', $3), \
                manifest_key = regexp_replace(manifest_key, '[^/]*$', $4), size_bytes = $5, file_sha256 = $6, manifest_sha256 = $7, \
                verified_at = NULL, verification_status = NULL, verification_level = NULL \
            WHERE backup_id = $1 AND destination || '/' || object_key = $2";
        let arguments = [
            backup_id.into(),
            path.into(),
            container.name.as_str().into(),
            beside.name.as_str().into(),
            container.size.cast_signed().into(),
            container.sha256.as_deref().into(),
            beside.sha256.as_deref().into(),
        ];
        sql::execute(statement, &arguments).map(drop)
    })
}

/// What a verification of a copy says.
pub struct Verdict<'a> {
    pub level: &'static str,
    /// What is wrong; none for nothing.
    pub error: Option<&'a str>,
    pub is_missing: bool,
}

/// Keeps a verdict with its copy. A good one of a lower level does not take the place of one of a higher level.
pub fn record_verdict(destination: &str, backup_id: &str, verdict: &Verdict) -> Result<()> {
    as_owner(|| {
        let statement = "UPDATE agent_backup.offsite_catalog \
            SET verified_at = agent_backup.clock(), verification_status = CASE WHEN $4 IS NULL THEN 'success' ELSE 'failed' END, \
                verification_level = $3, error_message = $4, \
                status = CASE WHEN $5 THEN 'missing' WHEN status = 'missing' THEN 'complete' ELSE status END \
            WHERE destination = $1 AND backup_id = $2 AND ($4 IS NOT NULL OR verification_level IS NULL OR status = 'missing' \
                OR array_position('{exists,size,checksum,sample,read}'::text[], verification_level) \
                   <= array_position('{exists,size,checksum,sample,read}'::text[], $3))";
        let arguments = [
            destination.into(),
            backup_id.into(),
            verdict.level.into(),
            verdict.error.into(),
            verdict.is_missing.into(),
        ];
        sql::execute(statement, &arguments).map(drop)
    })
}

/// Notes that a copy should have gone, and that a lock of its store keeps it.
pub fn retain(destination: &str, backup_id: &str) -> Result<()> {
    as_owner(|| {
        let statement =
            "UPDATE agent_backup.offsite_catalog SET status = 'retained' WHERE destination = $1 AND backup_id = $2";
        sql::execute(statement, &[destination.into(), backup_id.into()]).map(drop)
    })
}

/// Takes a copy that is gone from the list.
pub fn forget(destination: &str, backup_id: &str) -> Result<()> {
    as_owner(|| {
        let statement = "DELETE FROM agent_backup.offsite_catalog WHERE destination = $1 AND backup_id = $2";
        sql::execute(statement, &[destination.into(), backup_id.into()]).map(drop)
    })
}

/// Backups of a set that are pinned.
pub fn pinned(set: &str) -> Result<Vec<String>> {
    as_owner(|| {
        let query = "SELECT backup_id FROM agent_backup.backup_catalog WHERE set_name = $1 AND pinned";
        sql::rows(query, &[set.into()], |row| row.required(1))
    })
}

/// How often a backup of a set is expected, in seconds; none of a set that was dropped.
pub fn backup_interval(set: &str) -> Result<Option<f64>> {
    as_owner(|| {
        let query =
            "SELECT extract(epoch FROM backup_interval)::double precision FROM agent_backup.sets WHERE set_name = $1";
        Ok(sql::rows(query, &[set.into()], |row| row.required(1))?.into_iter().next())
    })
}
