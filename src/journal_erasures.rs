//! The journal's part for erasures: who was erased (by a keyed hash), from what, and the certificate.

use agent_backup_core::container::tombstone::{Grave, Tombstone, VERSION};
use chrono::{DateTime, Utc};
use pgrx::datum::TimestampWithTimeZone;

use crate::error::Result;
use crate::ident::TableName;
use crate::journal::{BackupRecord, EntryRecord, as_owner, timestamp, utc};
use crate::server::sql;

/// An erasure that was done.
pub struct ErasureRecord<'a> {
    pub erasure_id: &'a str,
    pub set_name: &'a str,
    pub subjects: Vec<String>,
    pub reason: &'a str,
    pub erased_at: DateTime<Utc>,
    pub rows: i64,
    pub files: i32,
    pub left: i32,
    /// JSON.
    pub certificate: String,
}

/// Tables of a set, now or in a backup of it, with what names a person in each as the set has it.
pub fn tables(set: &str) -> Result<Vec<(TableName, Vec<String>)>> {
    as_owner(|| {
        let query = "SELECT schema_name, table_name, coalesce(max(subject_columns), '{}') FROM ( \
               SELECT schema_name, table_name, subject_columns FROM agent_backup.set_tables WHERE set_name = $1 \
               UNION ALL \
               SELECT e.schema_name, e.table_name, NULL FROM agent_backup.backup_entry e \
                 JOIN agent_backup.backup_catalog c USING (backup_id) WHERE c.set_name = $1 \
               GROUP BY 1, 2) AS t GROUP BY 1, 2 ORDER BY 1, 2";
        sql::rows(query, &[set.into()], |row| {
            Ok((TableName { schema: row.required(1)?, name: row.required(2)? }, row.required(3)?))
        })
    })
}

/// Records an erasure.
pub fn record(erasure: &ErasureRecord) -> Result<()> {
    as_owner(|| {
        let statement = "INSERT INTO agent_backup.erasures (erasure_id, set_name, subject_columns, reason, erased_at, status, \
            rows_removed, files_rewritten, files_left, certificate) \
            VALUES ($1, $2, $3, $4, $5, CASE $8 WHEN 0 THEN 'complete' ELSE 'partial' END, $6, $7, $8, $9::jsonb)";
        let arguments = [
            erasure.erasure_id.into(),
            erasure.set_name.into(),
            erasure.subjects.clone().into(),
            erasure.reason.into(),
            timestamp(erasure.erased_at).into(),
            erasure.rows.into(),
            erasure.files.into(),
            erasure.left.into(),
            erasure.certificate.as_str().into(),
        ];
        sql::execute(statement, &arguments).map(drop)
    })
}

/// Writes down that a backup was looked through to its end.
pub fn searched(erasure_id: &str, backup_id: &str, rows: i64) -> Result<()> {
    as_owner(|| {
        let statement =
            "INSERT INTO agent_backup.erased_backups (erasure_id, backup_id, row_count) VALUES ($1, $2, $3)";
        sql::execute(statement, &[erasure_id.into(), backup_id.into(), rows.into()]).map(drop)
    })
}

/// The erasures that a backup was looked through for.
pub fn searched_for(backup_id: &str) -> Result<Vec<String>> {
    as_owner(|| {
        let query = "SELECT erasure_id FROM agent_backup.erased_backups WHERE backup_id = $1";
        sql::rows(query, &[backup_id.into()], |row| row.required(1))
    })
}

/// Writes a tombstone down, if it is not yet.
pub fn bury(tombstone: &Tombstone) -> Result<usize> {
    as_owner(|| {
        let statement = "INSERT INTO agent_backup.tombstones \
            (erasure_id, schema_name, table_name, subject, set_name, erased_at, key, mac) \
            SELECT $1, g.*, $5, $6, $7, $8 FROM unnest($2::text[], $3::text[], $4::text[]) AS g ON CONFLICT DO NOTHING";
        let texts =
            |of: fn(&Grave) -> &String| tombstone.places.iter().map(|grave| of(grave).clone()).collect::<Vec<_>>();
        let arguments = [
            tombstone.erasure_id.as_str().into(),
            texts(|grave| &grave.schema).into(),
            texts(|grave| &grave.name).into(),
            texts(|grave| &grave.subject).into(),
            tombstone.set_name.as_str().into(),
            timestamp(tombstone.erased_at).into(),
            tombstone.key.as_str().into(),
            tombstone.mac.as_str().into(),
        ];
        sql::execute(statement, &arguments)
    })
}

/// The tombstones that the catalogue has.
pub fn tombstones() -> Result<Vec<Tombstone>> {
    as_owner(|| {
        let query = "SELECT erasure_id, set_name, erased_at, key, mac, pg_catalog.array_agg(schema_name ORDER BY schema_name, table_name, subject), \
                            pg_catalog.array_agg(table_name ORDER BY schema_name, table_name, subject), \
                            pg_catalog.array_agg(subject ORDER BY schema_name, table_name, subject) \
                       FROM agent_backup.tombstones GROUP BY 1, 2, 3, 4, 5";
        sql::rows(query, &[], |row| {
            let (schemas, names): (Vec<String>, Vec<String>) = (row.required(6)?, row.required(7)?);
            let subjects: Vec<String> = row.required(8)?;
            let places = schemas.into_iter().zip(names).zip(subjects);
            Ok(Tombstone {
                version: VERSION,
                erasure_id: row.required(1)?,
                set_name: row.required(2)?,
                erased_at: utc(row.required::<TimestampWithTimeZone>(3)?),
                key: row.required(4)?,
                mac: row.required(5)?,
                places: places.map(|((schema, name), subject)| Grave { schema, name, subject }).collect(),
            })
        })
    })
}

/// Lists a backup as its new manifest tells it; what is known of it besides stays, but for its verification.
pub fn relist(backup: &BackupRecord) -> Result<()> {
    as_owner(|| {
        let statement = "UPDATE agent_backup.backup_catalog SET row_count = $2, size_bytes = $3, file_sha256 = $4, manifest_sha256 = $5, \
            verified_at = NULL, verification_status = NULL, verification_level = NULL WHERE backup_id = $1";
        let arguments = [
            backup.backup_id.as_str().into(),
            backup.row_count.into(),
            backup.size_bytes.into(),
            backup.file_sha256.as_deref().into(),
            backup.manifest_sha256.as_deref().into(),
        ];
        sql::execute(statement, &arguments)?;
        backup.entries.iter().try_for_each(|entry| relist_entry(&backup.backup_id, entry))
    })
}

/// Lists a backup under the names that its files have now.
pub fn renamed(backup: &BackupRecord) -> Result<()> {
    as_owner(|| {
        let statement =
            "UPDATE agent_backup.backup_catalog SET file_name = $2, manifest_name = $3 WHERE backup_id = $1";
        let [file, manifest] = [&backup.file_name, &backup.manifest_name].map(|name| name.as_deref().into());
        sql::execute(statement, &[backup.backup_id.as_str().into(), file, manifest]).map(drop)
    })
}

fn relist_entry(backup_id: &str, entry: &EntryRecord) -> Result<()> {
    let statement = "UPDATE agent_backup.backup_entry SET row_count = $5, plain_bytes = $6, stored_bytes = $7, checksum = $8, sha256 = $9 \
        WHERE backup_id = $1 AND schema_name = $2 AND table_name = $3 AND format = $4";
    let arguments = [
        backup_id.into(),
        entry.table.schema.as_str().into(),
        entry.table.name.as_str().into(),
        entry.format.as_str().into(),
        entry.row_count.into(),
        entry.plain_bytes.into(),
        entry.stored_bytes.into(),
        entry.checksum.as_str().into(),
        entry.sha256.as_str().into(),
    ];
    sql::execute(statement, &arguments).map(drop)
}

/// What the catalogue lists of a file: its backup, and the SHA-256 of its manifest.
pub fn listed_file(directory: &str, file: &str) -> Result<Option<(String, String)>> {
    as_owner(|| {
        let query = "SELECT backup_id, manifest_sha256 FROM agent_backup.backup_catalog WHERE directory = $1 AND file_name = $2";
        let found = sql::rows(query, &[directory.into(), file.into()], |row| Ok((row.required(1)?, row.required(2)?)))?;
        Ok(found.into_iter().next())
    })
}

/// Whether an erasure was committed here.
pub fn is_done(erasure_id: &str) -> Result<bool> {
    as_owner(|| {
        let query = "SELECT EXISTS (SELECT FROM agent_backup.erasures WHERE erasure_id = $1)";
        Ok(sql::rows(query, &[erasure_id.into()], |row| row.required::<bool>(1))? == [true])
    })
}
