//! The journal's part for encryption: which files of keys hold for what.

use pgrx::pg_sys;

use crate::error::Result;
use crate::ident::TableName;
use crate::journal::{self, as_owner};
use crate::server::sql;
use crate::settings;

/// The recipients files that hold for copies of these tables outside a set: of every encrypted set that one of them is a
/// member of, by itself or by its partitions or what it is a partition of, and the default one.
pub fn files_of_tables(tables: &[TableName]) -> Result<Vec<String>> {
    let query = "WITH given AS (SELECT * FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) AS g(schema_name, table_name)), \
             kin AS (SELECT k.relid FROM given g \
                       JOIN pg_catalog.pg_namespace n ON n.nspname = g.schema_name \
                       JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = g.table_name \
                      CROSS JOIN LATERAL (SELECT pg_catalog.pg_partition_ancestors(c.oid) \
                                           UNION SELECT t.relid FROM pg_catalog.pg_partition_tree(c.oid) t) AS k(relid)), \
             named AS (SELECT schema_name, table_name FROM given \
                       UNION SELECT n.nspname, c.relname FROM kin JOIN pg_catalog.pg_class c ON c.oid = kin.relid \
                               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace) \
        SELECT DISTINCT s.recipients_file FROM named JOIN agent_backup.set_tables m USING (schema_name, table_name) \
          JOIN agent_backup.sets s USING (set_name) WHERE s.recipients_file IS NOT NULL ORDER BY 1";
    let schemas: Vec<String> = tables.iter().map(|table| table.schema.clone()).collect();
    let names: Vec<String> = tables.iter().map(|table| table.name.clone()).collect();
    let of_sets = as_owner(|| sql::rows(query, &[schemas.into(), names.into()], |row| row.required(1)))?;
    Ok(and_default(of_sets))
}

/// Whether a table is the log of changes, or a day of it.
pub fn is_log(table: pg_sys::Oid) -> Result<bool> {
    let query = "SELECT EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors($1) AS a(relid) \
                                 WHERE a.relid = 'agent_backup.change_log'::pg_catalog.regclass)";
    Ok(as_owner(|| sql::rows(query, &[table.into()], |row| row.required(1)))?.into_iter().any(|is_log| is_log))
}

/// The same for the log of changes, which holds rows of every table that is or was tracked.
pub fn files_of_log() -> Result<Vec<String>> {
    let query = "SELECT DISTINCT schema_name, table_name FROM agent_backup.tracked";
    let tracked =
        as_owner(|| sql::rows(query, &[], |row| Ok(TableName { schema: row.required(1)?, name: row.required(2)? })))?;
    files_of_tables(&tracked)
}

fn and_default(mut files: Vec<String>) -> Vec<String> {
    files.extend(settings::recipients_file());
    files.dedup();
    files
}

/// Gives a set its recipients file; none leaves it to the default one.
pub fn set_file(set: &str, file: Option<&str>) -> Result<()> {
    journal::set(set)?;
    as_owner(|| {
        let statement = "UPDATE agent_backup.sets SET seeded = false, recipients_file = $2 WHERE set_name = $1";
        sql::execute(statement, &[set.into(), file.into()]).map(drop)
    })
}

/// A listed backup with files, as sealing it anew looks at it.
#[derive(Debug, Clone)]
pub struct Held {
    pub backup_id: String,
    pub kind: String,
    pub directory: String,
    pub file_name: String,
    pub manifest_name: String,
    pub manifest_sha256: String,
    pub key_ids: Vec<String>,
}

/// The backups of a set that have files, newest first; only one of them where it is named.
pub fn held(set: &str, only: Option<&str>) -> Result<Vec<Held>> {
    let query = "SELECT backup_id, kind, directory, file_name, manifest_name, manifest_sha256, key_ids \
                   FROM agent_backup.backup_catalog \
                  WHERE set_name = $1 AND file_name IS NOT NULL AND ($2 IS NULL OR backup_id = $2) \
                  ORDER BY started_at DESC, backup_id DESC";
    as_owner(|| {
        sql::rows(query, &[set.into(), only.into()], |row| {
            Ok(Held {
                backup_id: row.required(1)?,
                kind: row.required(2)?,
                directory: row.required(3)?,
                file_name: row.required(4)?,
                manifest_name: row.required(5)?,
                manifest_sha256: row.required(6)?,
                key_ids: row.required(7)?,
            })
        })
    })
}

/// The recipients files that hold for a listed backup: those of its set, or, where the catalogue has no such set, of its
/// tables.
pub fn files_of_backup(set: &str, backup_id: &str) -> Result<Vec<String>> {
    if journal::has_set(set)? {
        return Ok(journal::set(set)?.recipients_files);
    }
    let query = "SELECT DISTINCT schema_name, table_name FROM agent_backup.backup_entry WHERE backup_id = $1";
    let tables = as_owner(|| {
        sql::rows(query, &[backup_id.into()], |row| Ok(TableName { schema: row.required(1)?, name: row.required(2)? }))
    })?;
    files_of_tables(&tables)
}

/// The files of a backup after it was sealed anew.
pub struct Resealed<'a> {
    pub backup_id: &'a str,
    pub file_name: &'a str,
    pub file_sha256: String,
    pub manifest_sha256: String,
    pub size_bytes: u64,
    pub key_ids: Vec<String>,
    /// It was read back with a key, every byte of it.
    pub is_proved: bool,
}

/// Lists the new files of a backup. What was verified before were other bytes.
pub fn resealed(new: &Resealed) -> Result<()> {
    let statement = "UPDATE agent_backup.backup_catalog \
        SET file_name = $2, file_sha256 = $3, manifest_sha256 = $4, size_bytes = $5, key_ids = $6, encrypted = true, \
            verified_at = CASE WHEN $7 THEN clock_timestamp() END, \
            verification_status = CASE WHEN $7 THEN 'success' END, \
            verification_level = CASE WHEN $7 THEN 'hash' END \
        WHERE backup_id = $1";
    let arguments = [
        new.backup_id.into(),
        new.file_name.into(),
        new.file_sha256.as_str().into(),
        new.manifest_sha256.as_str().into(),
        new.size_bytes.cast_signed().into(),
        new.key_ids.clone().into(),
        new.is_proved.into(),
    ];
    as_owner(|| sql::execute(statement, &arguments).map(drop))
}

/// Whether the catalogue lists a manifest of this name and content in a directory.
pub fn lists_manifest(directory: &str, name: &str, sha256: &str) -> Result<bool> {
    let query = "SELECT true FROM agent_backup.backup_catalog \
                  WHERE directory = $1 AND manifest_name = $2 AND manifest_sha256 = $3";
    let found =
        as_owner(|| sql::rows(query, &[directory.into(), name.into(), sha256.into()], |row| row.required::<bool>(1)))?;
    Ok(!found.is_empty())
}

/// The last file of a table is called otherwise.
pub fn incremental_renamed(set: &str, table: &TableName, from: &str, to: &str) -> Result<()> {
    let statement = "UPDATE agent_backup.watermarks SET file_name = $5 \
                      WHERE set_name = $1 AND schema_name = $2 AND table_name = $3 AND file_name = $4";
    let arguments = [set.into(), table.schema.as_str().into(), table.name.as_str().into(), from.into(), to.into()];
    as_owner(|| sql::execute(statement, &arguments).map(drop))
}

/// A set whose backups are sealed from now on.
pub struct EncryptedSet {
    pub name: String,
    pub recipients_file: String,
    /// Directory and name of its newest sealed container.
    pub newest: Option<(String, String)>,
    /// Its backups that anybody can read.
    pub plain: i64,
}

/// All of them, by name.
pub fn encrypted_sets() -> Result<Vec<EncryptedSet>> {
    let query = "SELECT s.set_name, coalesce(s.recipients_file, $1), newest.directory, newest.file_name, \
            (SELECT pg_catalog.count(*) FROM agent_backup.backup_catalog c \
              WHERE c.set_name = s.set_name AND c.file_name IS NOT NULL AND NOT c.encrypted) \
          FROM agent_backup.sets s \
          LEFT JOIN LATERAL (SELECT c.directory, c.file_name FROM agent_backup.backup_catalog c \
                              WHERE c.set_name = s.set_name AND c.encrypted ORDER BY c.started_at DESC LIMIT 1) AS newest ON true \
         WHERE coalesce(s.recipients_file, $1) IS NOT NULL ORDER BY 1";
    as_owner(|| {
        sql::rows(query, &[settings::recipients_file().as_deref().into()], |row| {
            Ok(EncryptedSet {
                name: row.required(1)?,
                recipients_file: row.required(2)?,
                newest: row.optional(3)?.zip(row.optional(4)?),
                plain: row.required(5)?,
            })
        })
    })
}
