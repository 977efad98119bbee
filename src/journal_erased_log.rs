//! The journal's part for what is erased from the log of changes, and for what an erasure cannot reach.

use chrono::{DateTime, Utc};
use pgrx::datum::TimestampWithTimeZone;

use crate::error::Result;
use crate::ident::TableName;
use crate::journal::{as_owner, timestamp, utc};
use crate::server::encoding::{self, Encoding};
use crate::server::sql::{self, Row};
use crate::server::text::Raw;

/// Where an entry of the log stands: its number and its time.
pub type EntryPlace = (i64, TimestampWithTimeZone);

/// What an entry holds of a row, in the encoding of files.
pub struct Logged {
    pub place: EntryPlace,
    pub columns: Vec<String>,
    pub key_columns: Vec<String>,
    pub image: Option<Vec<u8>>,
    /// From 1.
    pub old_columns: Vec<i32>,
    pub old_values: Option<Vec<u8>>,
}

/// Gives each entry of a table, under any of its trackings, that may hold a value to `each`.
pub fn logged(table: &TableName, value: &[u8], mut each: impl FnMut(&Logged) -> Result<()>) -> Result<()> {
    // A text that CSV and JSON write as it is can be looked for in the line before it is taken apart.
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"@.-_ +:/".contains(byte);
    let hint = value.iter().all(is_plain).then(|| String::from_utf8_lossy(value).into_owned());
    as_owner(|| {
        let query = "SELECT l.seq, l.changed_at, s.columns, s.key_columns, l.image, l.old_columns::integer[], l.old_values \
              FROM agent_backup.change_log l JOIN agent_backup.tracked t USING (tracked_id) \
              CROSS JOIN LATERAL (SELECT r.columns, r.key_columns FROM agent_backup.row_shapes r WHERE r.shape_id = l.shape_id LIMIT 1) AS s \
             WHERE t.schema_name = $1 AND t.table_name = $2 AND l.image IS NOT NULL \
               AND ($3 IS NULL OR pg_catalog.strpos(l.image, $3) > 0 OR pg_catalog.strpos(l.old_values, $3) > 0)";
        let arguments = [table.schema.as_str().into(), table.name.as_str().into(), hint.as_deref().into()];
        sql::each(query, &arguments, |row| each(&of_row(row)?))
    })
}

fn of_row(row: &Row) -> Result<Logged> {
    Ok(Logged {
        place: (row.required(1)?, row.required(2)?),
        columns: row.required(3)?,
        key_columns: row.required(4)?,
        image: row.optional(5)?.map(bytes).transpose()?,
        old_columns: row.optional(6)?.unwrap_or_default(),
        old_values: row.optional(7)?.map(bytes).transpose()?,
    })
}

/// A text of the log in the encoding of files.
fn bytes(raw: Raw) -> Result<Vec<u8>> {
    if Encoding::of_database() == Encoding::Converted {
        Ok(encoding::from_server(raw.0)?.into_bytes())
    } else {
        Ok(raw.0)
    }
}

/// Whether a table is or was tracked.
pub fn was_tracked(table: &TableName) -> Result<bool> {
    as_owner(|| {
        let query = "SELECT EXISTS (SELECT FROM agent_backup.tracked WHERE schema_name = $1 AND table_name = $2)";
        let arguments = [table.schema.as_str().into(), table.name.as_str().into()];
        Ok(sql::rows(query, &arguments, |row| row.required::<bool>(1))? == [true])
    })
}

/// Entries stay, without what they held of the row.
pub fn blank(places: &[EntryPlace]) -> Result<()> {
    over(places, "UPDATE agent_backup.change_log SET image = NULL, old_columns = NULL, old_values = NULL")
}

/// Entries go.
pub fn remove(places: &[EntryPlace]) -> Result<()> {
    over(places, "DELETE FROM agent_backup.change_log")
}

fn over(places: &[EntryPlace], what: &str) -> Result<()> {
    for part in places.chunks(10_000) {
        let numbers: Vec<i64> = part.iter().map(|(number, _)| *number).collect();
        let times = || part.iter().map(|(_, time)| utc(*time));
        let (Some(first), Some(last)) = (times().min(), times().max()) else { continue };
        // The times are for the partitions and their indexes; the numbers are each given once.
        let statement = format!("{what} WHERE seq = ANY ($1) AND changed_at BETWEEN $2 AND $3");
        let arguments = [numbers.into(), timestamp(first).into(), timestamp(last).into()];
        as_owner(|| sql::execute(&statement, &arguments).map(drop))?;
    }
    Ok(())
}

/// Fields of the rows of a tracked table, as it was at some time.
pub struct TrackedShape {
    pub table: TableName,
    pub tracked_id: i32,
    pub shape_id: i64,
    columns: Vec<String>,
    key_columns: Vec<String>,
}

impl TrackedShape {
    /// An entry of a file of the log, from the texts of its columns.
    pub fn logged(&self, image: Option<&[u8]>, old_columns: Option<&[u8]>, old_values: Option<&[u8]>) -> Logged {
        let numbers = old_columns.map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default();
        let numbers = numbers.trim_matches(['{', '}']).split(',').filter_map(|number| number.parse().ok());
        Logged {
            place: (0, TimestampWithTimeZone::positive_infinity()),
            columns: self.columns.clone(),
            key_columns: self.key_columns.clone(),
            image: image.map(<[u8]>::to_vec),
            old_columns: numbers.collect(),
            old_values: old_values.map(<[u8]>::to_vec),
        }
    }
}

/// The trackings of tables, with every shape that there is: a file of the log does not tell which are its own.
pub fn tracked_shapes<'t>(tables: impl Iterator<Item = &'t TableName>) -> Result<Vec<TrackedShape>> {
    let query = "SELECT t.tracked_id, r.shape_id, r.columns, r.key_columns \
                   FROM agent_backup.tracked t CROSS JOIN agent_backup.row_shapes r \
                  WHERE t.schema_name = $1 AND t.table_name = $2";
    let mut all = Vec::new();
    for table in tables {
        let arguments = [table.schema.as_str().into(), table.name.as_str().into()];
        all.extend(as_owner(|| {
            sql::rows(query, &arguments, |row| {
                Ok(TrackedShape {
                    table: table.clone(),
                    tracked_id: row.required(1)?,
                    shape_id: row.required(2)?,
                    columns: row.required(3)?,
                    key_columns: row.required(4)?,
                })
            })
        })?);
    }
    Ok(all)
}

/// A day of the log that was written to a file.
pub struct SealedFile {
    pub partition: String,
    pub path: String,
}

/// The days that have files, oldest first.
pub fn sealed_files() -> Result<Vec<SealedFile>> {
    as_owner(|| {
        let query = "SELECT partition_name, file_path FROM agent_backup.sealed_log WHERE file_path IS NOT NULL ORDER BY from_time";
        sql::rows(query, &[], |row| Ok(SealedFile { partition: row.required(1)?, path: row.required(2)? }))
    })
}

/// The rows of a file of the log have another digest now.
pub fn resealed(partition: &str, checksum: &str) -> Result<()> {
    as_owner(|| {
        let statement = "UPDATE agent_backup.sealed_log SET checksum = $2 WHERE partition_name = $1";
        sql::execute(statement, &[partition.into(), checksum.into()]).map(drop)
    })
}

/// When the last backup that is there now is gone at the latest; none where a set keeps some without limit.
pub fn latest_expiry() -> Result<Option<DateTime<Utc>>> {
    as_owner(|| {
        let query = "SELECT CASE WHEN pg_catalog.bool_and(s.max_age IS NOT NULL) THEN max(c.started_at + s.max_age) END \
                       FROM agent_backup.backup_catalog c LEFT JOIN agent_backup.sets s USING (set_name) \
                      WHERE c.file_name IS NOT NULL";
        let found = sql::rows(query, &[], |row| row.optional::<TimestampWithTimeZone>(1))?;
        Ok(found.into_iter().next().flatten().map(utc))
    })
}

/// Copies off-site of backups that an erasure changed here: they are as they were until they are uploaded again. None where
/// this server keeps no such copies.
pub fn offsite_copies(erasure_id: &str) -> Result<Vec<(String, String)>> {
    as_owner(|| {
        let there = "SELECT pg_catalog.to_regclass('agent_backup.offsite_copies') IS NOT NULL";
        if sql::rows(there, &[], |row| row.required::<bool>(1))? != [true] {
            return Ok(Vec::new());
        }
        let query = "SELECT o.backup_id, o.destination FROM agent_backup.offsite_copies o \
                       JOIN agent_backup.erased_backups e USING (backup_id) \
                      WHERE e.erasure_id = $1 AND e.row_count > 0 AND o.status IN ('complete', 'retained') \
                        AND NOT EXISTS (SELECT FROM agent_backup.backup_catalog b WHERE b.backup_id = o.backup_id AND starts_with(b.directory, o.destination || '/')) \
                      ORDER BY 1, 2";
        sql::rows(query, &[erasure_id.into()], |row| Ok((row.required(1)?, row.required(2)?)))
    })
}
