//! The manifest: what a backup is, as serde structs, and its one text form.
//!
//! The text is JSON for people: an item of a long list stands on one line. Its last two lines are the SHA-256 of all
//! bytes before them and the closing brace, so `head -n -2 metadata.json | sha256sum` checks it without this program.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::ser::{Error, SerializeSeq};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::error::ContainerError;
use crate::crypt::{self, Recipients};
use crate::plan::{Compression, Format};
use crate::stream::Chunk;

/// The version that this program writes, and the highest that it reads.
pub const VERSION: u32 = 1;

/// One backup. Times are in UTC, lengths in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this form.
    pub version: u32,
    pub backup_id: String,
    pub set_name: String,
    /// `full` or `incremental`.
    pub kind: String,
    pub server: Server,
    pub extension_version: String,
    /// The snapshot of all tables, as `pg_current_snapshot()` writes it.
    pub snapshot: String,
    pub started_at: DateTime<Utc>,
    pub finished_at: DateTime<Utc>,
    /// The settings under which the texts were made.
    #[serde(deserialize_with = "super::parse::distinct_keys")]
    pub settings: BTreeMap<String, String>,
    pub compression: Compression,
    /// None of a backup that anybody can read. Offsets are those of the plain container, whatever this says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    pub members: Vec<Member>,
    #[serde(serialize_with = "item_per_line")]
    pub ddl: Vec<Ddl>,
    #[serde(serialize_with = "item_per_line")]
    pub left_out: Vec<LeftOut>,
    /// Stands for all that `ddl` and `left_out` were read from: while it is the same, they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ddl_fingerprint: Option<String>,
    pub notes: Vec<String>,
    /// How often rows were erased from it since it was made.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generation: u32,
    /// One for each time.
    #[serde(default, skip_serializing_if = "Vec::is_empty", serialize_with = "item_per_line")]
    pub erasures: Vec<Erasure>,
    /// The newest entry of the log of acts when the backup was made: its hash, and its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_head: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_entry: Option<i64>,
    /// SHA-256 in hex of all bytes of the container before the manifest's own tar header. Set by the writer.
    pub content_sha256: String,
    /// Length of what `content_sha256` is of. Set by the writer.
    pub content_bytes: u64,
    /// In file order. Set by the writer.
    pub entries: Vec<Entry>,
}

/// How the file of the rows is encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encryption {
    /// The first line of the file.
    pub format: String,
    /// Ids of the keys that open it.
    pub key_ids: Vec<String>,
}

impl Encryption {
    /// For these keys.
    pub fn of(recipients: &Recipients) -> Self {
        let key_ids = recipients.key_ids().iter().map(ToString::to_string).collect();
        Encryption { format: crypt::FORMAT.into(), key_ids }
    }

    /// Whether it is for exactly these keys, in whatever order.
    pub fn is_for(&self, recipients: &Recipients) -> bool {
        let sorted = |mut ids: Vec<String>| {
            ids.sort();
            ids
        };
        self.format == crypt::FORMAT && sorted(self.key_ids.clone()) == sorted(Self::of(recipients).key_ids)
    }
}

/// The server that was backed up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// `server_version`.
    pub version: String,
    /// `server_version_num`.
    pub version_num: u32,
    /// A 64-bit number as text.
    pub system_identifier: String,
    pub database: String,
    pub encoding: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_recovery: Option<bool>,
}

/// A table of the set, backed up or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub schema: String,
    pub name: String,
    /// Schema and name, quoted as SQL needs it.
    pub display: String,
    /// `pg_class.relkind`.
    pub relation_kind: char,
    pub status: MemberStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub rows: u64,
    #[serde(serialize_with = "item_per_line")]
    pub columns: Vec<ColumnInfo>,
    pub excluded_columns: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_filter: Option<String>,
    pub primary_key: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ddl_sha256: Option<String>,
    #[serde(serialize_with = "item_per_line")]
    pub sequences: Vec<SequenceValue>,
}

/// What became of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberStatus {
    Ok,
    Failed,
    Absent,
}

/// A column that is in the files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnInfo {
    pub name: String,
    /// As `format_type` writes it.
    pub r#type: String,
    pub generated: bool,
    pub not_null: bool,
    pub masked: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collation: Option<String>,
}

/// A sequence of a table, read after its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceValue {
    /// Schema and name, quoted as SQL needs it.
    pub name: String,
    /// None if the sequence was not readable.
    pub last_value: Option<i64>,
    pub is_called: bool,
}

/// One statement of `schema.sql`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ddl {
    pub section: String,
    pub object: String,
    pub statement: String,
}

/// Something that is not in the backup, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    pub object: String,
    pub reason: String,
}

/// A file in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Name in the tar.
    pub name: String,
    /// Index into `members`; none for `schema.sql`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    pub rows: u64,
    /// 32 hex digits; none where there are no rows to digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_digest: Option<String>,
    /// Where the tar header's member starts in the container.
    pub header_offset: u64,
    /// Where the data's first member starts.
    pub data_offset: u64,
    pub stored_bytes: u64,
    /// The size that the tar header tells.
    pub plain_bytes: u64,
    /// SHA-256 in hex of the stored bytes of the data.
    pub sha256: String,
    /// `[offset in the container, stored length, plain length, first row, rows]`, without prologue, separators, epilogue.
    #[serde(serialize_with = "item_per_line")]
    pub chunks: Vec<Chunk>,
    /// Where filters tell which chunk may hold a key; none where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Keys>,
    /// The same for what names a person: one for each subject column of the table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<Keys>,
}

/// That rows of a person were erased; what names the person is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    pub erasure_id: String,
    pub erased_at: DateTime<Utc>,
    /// Over all tables.
    pub rows: u64,
    /// SHA-256 of the manifest that this one took the place of.
    pub replaced_sha256: String,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The filters of the chunks of an entry: `codec::keys` says what they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// Name of the entry whose chunks they are.
    pub entry: String,
    /// The columns that make the key, in the order of the file; of a subject its one column or path.
    pub columns: Vec<String>,
}

impl Manifest {
    /// The text form, with its hash. Errors: serde cannot write it.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ContainerError> {
        sealed(self)
    }

    /// The entry of this name.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }
}

/// A manifest's text with the hash of it in its last lines.
pub(super) fn sealed(manifest: &impl Serialize) -> Result<Vec<u8>, ContainerError> {
    let failed = |error: serde_json::Error| ContainerError::unreadable("the manifest", error.to_string());
    let mut bytes = serde_json::to_vec_pretty(manifest).map_err(failed)?;
    bytes.truncate(bytes.len().saturating_sub("\n}".len()));
    bytes.extend_from_slice(b",\n");
    let hash = hex::encode(Sha256::digest(&bytes));
    bytes.extend_from_slice(format!("  \"manifest_sha256\": \"{hash}\"\n}}\n").as_bytes());
    Ok(bytes)
}

pub(super) fn item_per_line<T: Serialize, S: Serializer>(items: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    let mut sequence = serializer.serialize_seq(Some(items.len()))?;
    for item in items {
        let line = serde_json::to_string(item).and_then(RawValue::from_string).map_err(S::Error::custom)?;
        sequence.serialize_element(&line)?;
    }
    sequence.end()
}
