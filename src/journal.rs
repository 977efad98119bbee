//! The only writer, and reader, of the extension's own tables. It acts as the extension's owner with a pinned search
//! path, so that an operator needs no right on the tables; who may call what is checked before.

use std::path::Path;

use agent_backup_core::container::manifest::{Entry, Manifest, Member as ManifestMember, MemberStatus};
use agent_backup_core::plan::names::{self, Form};
use agent_backup_core::store::Published;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::ident::{self, TableName};
pub use crate::server::clock::{timestamp, utc};
use crate::server::pin::Pinned;
use crate::server::sql;
use crate::server::user::{ActingAs, Restriction};
use crate::settings;

/// A backup set.
#[derive(Debug, Clone)]
pub struct Set {
    pub name: String,
    pub formats: Vec<String>,
    pub compression: String,
    pub level: i16,
    /// Files with the keys that its backups are sealed for; none where they are not.
    pub recipients_files: Vec<String>,
    pub members: Vec<Member>,
}

/// A table of a set, there or not.
#[derive(Debug, Clone)]
pub struct Member {
    pub table: TableName,
    pub formats: Option<Vec<String>>,
    pub row_filter: Option<String>,
    pub excluded: Vec<String>,
    pub masked: Vec<(String, String)>,
    pub defined_by: Option<String>,
    /// What names a person in it.
    pub subjects: Vec<String>,
}

/// A finished backup, as the catalogue keeps it.
#[derive(Debug, Clone)]
pub struct BackupRecord {
    pub backup_id: String,
    pub set_name: String,
    pub kind: String,
    pub status: &'static str,
    pub started_at: TimestampWithTimeZone,
    pub finished_at: TimestampWithTimeZone,
    pub tables: i32,
    pub row_count: i64,
    pub size_bytes: i64,
    pub directory: String,
    /// None of a backup that failed altogether.
    pub file_name: Option<String>,
    pub manifest_name: Option<String>,
    pub file_sha256: Option<String>,
    pub manifest_sha256: Option<String>,
    pub error_message: Option<String>,
    /// The cluster and the database that made it.
    pub system_identifier: String,
    pub database_name: String,
    pub encrypted: bool,
    pub key_ids: Vec<String>,
    pub entries: Vec<EntryRecord>,
}

/// One table in one format inside a backup.
#[derive(Debug, Clone)]
pub struct EntryRecord {
    pub table: TableName,
    pub format: String,
    pub entry_name: String,
    pub row_count: i64,
    pub plain_bytes: i64,
    pub stored_bytes: i64,
    pub checksum: String,
    pub sha256: String,
}

/// A file as the catalogue keeps it.
#[derive(Debug, Clone)]
pub struct FileFacts {
    pub name: String,
    pub size: u64,
    /// In hex; none where it was not computed.
    pub sha256: Option<String>,
}

impl From<&Published> for FileFacts {
    fn from(file: &Published) -> Self {
        FileFacts { name: file.name.clone(), size: file.size, sha256: Some(file.sha256_hex()) }
    }
}

/// What the catalogue holds of one file.
#[derive(Debug, Clone)]
pub struct KnownFile {
    pub backup_id: String,
    pub file_name: String,
    pub manifest_name: String,
    /// Marked as incomplete because a file was not there.
    pub is_missing_files: bool,
    /// Some of its entries are not listed.
    pub lacks_entries: bool,
}

/// How the reason of a backup that misses files begins.
pub const MISSING: &str = "missing on disk:";

/// Runs `work` as the owner of the extension.
pub fn as_owner<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let _path = Pinned::search_path()?;
    let owner = owner()?;
    let _user = ActingAs::user(owner, Restriction::OwnStatements);
    work()
}

/// The owner of the extension.
pub fn owner() -> Result<pg_sys::Oid> {
    let query = "SELECT extowner FROM pg_catalog.pg_extension WHERE extname OPERATOR(pg_catalog.=) 'agent_backup'";
    let owner = sql::rows(query, &[], |row| row.required::<pg_sys::Oid>(1))?;
    owner.first().copied().ok_or(Error::Internal { object: "extension", reason: "it is not installed".into() })
}

/// Reads a set with its members in their order.
pub fn set(name: &str) -> Result<Set> {
    as_owner(|| {
        let query = "SELECT formats, compression, compression_level, recipients_file FROM agent_backup.sets WHERE set_name = $1";
        let found = sql::rows(query, &[name.into()], |row| {
            Ok(Set {
                name: name.to_owned(),
                formats: row.required(1)?,
                compression: row.required(2)?,
                level: row.required(3)?,
                recipients_files: row.optional(4)?.or_else(settings::recipients_file).into_iter().collect(),
                members: members(name)?,
            })
        })?;
        match found.into_iter().next() {
            Some(set) => Ok(set),
            None => Err(Error::UnknownSet { set: name.to_owned(), near: ident::near(name, set_names()?) }),
        }
    })
}

fn members(set: &str) -> Result<Vec<Member>> {
    let query = "SELECT schema_name, table_name, formats, row_filter, excluded_columns, \
                        (SELECT pg_catalog.array_agg(key ORDER BY key) FROM pg_catalog.jsonb_each_text(masked_columns)), \
                        (SELECT pg_catalog.array_agg(value ORDER BY key) FROM pg_catalog.jsonb_each_text(masked_columns)), \
                        defined_by, subject_columns \
                 FROM agent_backup.set_tables WHERE set_name = $1 ORDER BY ordinal";
    sql::rows(query, &[set.into()], |row| {
        let columns: Vec<String> = row.optional(6)?.unwrap_or_default();
        let masks: Vec<String> = row.optional(7)?.unwrap_or_default();
        Ok(Member {
            table: TableName { schema: row.required(1)?, name: row.required(2)? },
            formats: row.optional(3)?,
            row_filter: row.optional(4)?,
            excluded: row.required(5)?,
            masked: columns.into_iter().zip(masks).collect(),
            defined_by: row.optional(8)?,
            subjects: row.required(9)?,
        })
    })
}

fn set_names() -> Result<Vec<String>> {
    sql::rows("SELECT set_name FROM agent_backup.sets", &[], |row| row.required(1))
}

/// The names of all sets.
pub fn all_sets() -> Result<Vec<String>> {
    as_owner(set_names)
}

/// Records a finished backup with its entries.
pub fn record(backup: &BackupRecord) -> Result<()> {
    as_owner(|| {
        let statement = "INSERT INTO agent_backup.backup_catalog (backup_id, set_name, kind, status, started_at, finished_at, \
            tables, row_count, size_bytes, directory, file_name, manifest_name, file_sha256, manifest_sha256, error_message, system_identifier, database_name, encrypted, key_ids) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)";
        let arguments = [
            backup.backup_id.as_str().into(),
            backup.set_name.as_str().into(),
            backup.kind.as_str().into(),
            backup.status.into(),
            backup.started_at.into(),
            backup.finished_at.into(),
            backup.tables.into(),
            backup.row_count.into(),
            backup.size_bytes.into(),
            backup.directory.as_str().into(),
            backup.file_name.as_deref().into(),
            backup.manifest_name.as_deref().into(),
            backup.file_sha256.as_deref().into(),
            backup.manifest_sha256.as_deref().into(),
            backup.error_message.as_deref().into(),
            backup.system_identifier.as_str().into(),
            backup.database_name.as_str().into(),
            backup.encrypted.into(),
            backup.key_ids.clone().into(),
        ];
        sql::execute(statement, &arguments)?;
        record_entries(&backup.backup_id, &backup.entries)
    })
}

fn record_entries(backup_id: &str, entries: &[EntryRecord]) -> Result<()> {
    let statement = "INSERT INTO agent_backup.backup_entry \
        SELECT $1, e.* FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], \
            $8::bigint[], $9::text[], $10::text[]) AS e";
    let texts = |of: fn(&EntryRecord) -> &String| entries.iter().map(|entry| of(entry).clone()).collect::<Vec<_>>();
    let numbers = |of: fn(&EntryRecord) -> i64| entries.iter().map(of).collect::<Vec<_>>();
    let arguments = [
        backup_id.into(),
        texts(|entry| &entry.table.schema).into(),
        texts(|entry| &entry.table.name).into(),
        texts(|entry| &entry.format).into(),
        texts(|entry| &entry.entry_name).into(),
        numbers(|entry| entry.row_count).into(),
        numbers(|entry| entry.plain_bytes).into(),
        numbers(|entry| entry.stored_bytes).into(),
        texts(|entry| &entry.checksum).into(),
        texts(|entry| &entry.sha256).into(),
    ];
    sql::execute(statement, &arguments).map(drop)
}

/// What the catalogue lists in a directory.
pub fn files_in(directory: &str) -> Result<Vec<KnownFile>> {
    as_owner(|| {
        let query = "SELECT backup_id, file_name, manifest_name, \
             status = 'incomplete' AND pg_catalog.starts_with(error_message, $2), \
             tables <> (SELECT pg_catalog.count(DISTINCT (e.schema_name, e.table_name)) FROM agent_backup.backup_entry e \
                       WHERE e.backup_id = c.backup_id) FROM agent_backup.backup_catalog c \
             WHERE directory = $1 AND file_name IS NOT NULL";
        sql::rows(query, &[directory.into(), MISSING.into()], |row| {
            Ok(KnownFile {
                backup_id: row.required(1)?,
                file_name: row.required(2)?,
                manifest_name: row.required(3)?,
                is_missing_files: row.required(4)?,
                lacks_entries: row.required(5)?,
            })
        })
    })
}

/// Where the catalogue has a backup: directory and file name.
pub fn place_of(backup_id: &str) -> Result<Option<(String, String)>> {
    as_owner(|| {
        let query = "SELECT directory, file_name FROM agent_backup.backup_catalog \
                     WHERE backup_id = $1 AND file_name IS NOT NULL";
        let found = sql::rows(query, &[backup_id.into()], |row| Ok((row.required(1)?, row.required(2)?)))?;
        Ok(found.into_iter().next())
    })
}

/// File name and SHA-256 of the manifest of a set's newest complete backup in a directory.
pub fn newest_manifest(set: &str, directory: &str) -> Result<Option<(String, String)>> {
    as_owner(|| {
        let query = "SELECT manifest_name, manifest_sha256 FROM agent_backup.backup_catalog \
                     WHERE set_name = $1 AND directory = $2 AND status = 'complete' ORDER BY started_at DESC LIMIT 1";
        let found = sql::rows(query, &[set.into(), directory.into()], |row| Ok((row.required(1)?, row.required(2)?)))?;
        Ok(found.into_iter().next())
    })
}

/// A listed backup that has files.
#[derive(Debug, Clone)]
pub struct Listed {
    pub backup_id: String,
    pub set_name: String,
    pub status: String,
    pub started_at: TimestampWithTimeZone,
    pub directory: String,
    pub file_name: String,
    pub manifest_name: String,
    pub manifest_sha256: String,
}

/// The backups of a set that have files, newest first; of any set where none is named.
pub fn listed(set: Option<&str>) -> Result<Vec<Listed>> {
    as_owner(|| {
        let query = "SELECT backup_id, set_name, status, started_at, directory, file_name, manifest_name, manifest_sha256 \
                     FROM agent_backup.backup_catalog WHERE file_name IS NOT NULL AND ($1 IS NULL OR set_name = $1) \
                     ORDER BY started_at DESC, backup_id DESC";
        sql::rows(query, &[set.into()], |row| {
            Ok(Listed {
                backup_id: row.required(1)?,
                set_name: row.required(2)?,
                status: row.required(3)?,
                started_at: row.required(4)?,
                directory: row.required(5)?,
                file_name: row.required(6)?,
                manifest_name: row.required(7)?,
                manifest_sha256: row.required(8)?,
            })
        })
    })
}

/// Whether the catalogue has a set of this name.
pub fn has_set(name: &str) -> Result<bool> {
    as_owner(|| Ok(set_names()?.iter().any(|known| known == name)))
}

/// The error for a set that does not exist.
pub fn unknown_set(name: &str) -> Result<Error> {
    Ok(Error::UnknownSet { set: name.to_owned(), near: ident::near(name, as_owner(set_names)?) })
}

/// Marks a listed backup as damaged: its status becomes incomplete, with the reason.
pub fn mark_incomplete(backup_id: &str, reason: &str) -> Result<()> {
    as_owner(|| {
        let statement =
            "UPDATE agent_backup.backup_catalog SET status = 'incomplete', error_message = $2 WHERE backup_id = $1";
        sql::execute(statement, &[backup_id.into(), reason.into()]).map(drop)
    })
}

/// The catalogue's row of a backup as its manifest tells it.
pub fn from_manifest(
    manifest: &Manifest,
    directory: &Path,
    container: &FileFacts,
    manifest_file: &FileFacts,
    error: Option<String>,
) -> BackupRecord {
    let present: Vec<&ManifestMember> =
        manifest.members.iter().filter(|member| member.status == MemberStatus::Ok).collect();
    let encrypted = Form::of(&container.name) == Form::Sealed;
    let keys = manifest.encryption.as_ref().filter(|_| encrypted);
    let entries = manifest.entries.iter().filter_map(|entry| entry_record(manifest, entry)).collect();
    BackupRecord {
        backup_id: manifest.backup_id.clone(),
        set_name: manifest.set_name.clone(),
        kind: manifest.kind.clone(),
        status: if error.is_none() { "complete" } else { "incomplete" },
        started_at: timestamp(manifest.started_at),
        finished_at: timestamp(manifest.finished_at),
        tables: i32::try_from(present.len()).unwrap_or(i32::MAX),
        row_count: present.iter().map(|member| member.rows).sum::<u64>().cast_signed(),
        size_bytes: (container.size + manifest_file.size).cast_signed(),
        directory: directory.display().to_string(),
        file_name: Some(container.name.clone()),
        manifest_name: Some(manifest_file.name.clone()),
        file_sha256: container.sha256.clone(),
        manifest_sha256: manifest_file.sha256.clone(),
        error_message: error,
        system_identifier: manifest.server.system_identifier.clone(),
        database_name: manifest.server.database.clone(),
        encrypted,
        key_ids: keys.map(|it| it.key_ids.clone()).unwrap_or_default(),
        entries,
    }
}

/// The catalogue's row of a backup of which nothing came to be.
pub fn of_failure(manifest: &Manifest, directory: &Path, error: Option<String>) -> BackupRecord {
    let none = FileFacts { name: String::new(), size: 0, sha256: None };
    BackupRecord {
        status: "failed",
        file_name: None,
        manifest_name: None,
        ..from_manifest(manifest, directory, &none, &none, error.or_else(|| Some("nothing was backed up".into())))
    }
}

fn entry_record(manifest: &Manifest, entry: &Entry) -> Option<EntryRecord> {
    let member = manifest.members.get(entry.table?)?;
    Some(EntryRecord {
        table: TableName { schema: member.schema.clone(), name: member.name.clone() },
        format: names::extension(entry.format?).to_owned(),
        entry_name: entry.name.clone(),
        row_count: entry.rows.cast_signed(),
        plain_bytes: entry.plain_bytes.cast_signed(),
        stored_bytes: entry.stored_bytes.cast_signed(),
        checksum: entry.row_digest.clone()?,
        sha256: entry.sha256.clone(),
    })
}
