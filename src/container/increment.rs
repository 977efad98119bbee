//! The manifest of an incremental: which rows of one table changed between two watermarks, in a file beside it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::error::ContainerError;
use super::manifest::{ColumnInfo, Encryption, Server, item_per_line, sealed};
use super::parse::{check_hash, distinct_keys, is_plain_name};

/// The version that this program writes, and the highest that it reads.
pub const VERSION: u32 = 1;

/// One incremental of one table. Times are in UTC, lengths in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Increment {
    /// Version of this form.
    pub version: u32,
    pub set_name: String,
    pub schema: String,
    pub name: String,
    /// `capture`, `snapshot` or `timestamp`.
    pub source: String,
    /// Which rows are in it, in words.
    pub selected: String,
    /// The newest complete backup of the set then; none where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extends: Option<String>,
    pub server: Server,
    pub extension_version: String,
    /// None of a first run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark_before: Option<Watermark>,
    pub watermark_after: Watermark,
    pub started_at: DateTime<Utc>,
    pub finished_at: DateTime<Utc>,
    /// The settings under which the texts were made.
    #[serde(deserialize_with = "distinct_keys")]
    pub settings: BTreeMap<String, String>,
    #[serde(serialize_with = "item_per_line")]
    pub columns: Vec<ColumnInfo>,
    pub excluded_columns: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_filter: Option<String>,
    pub primary_key: Vec<String>,
    /// Name of the file with the rows: a JSON array, one `row_to_json` object a line.
    pub file: String,
    pub file_bytes: u64,
    /// SHA-256 in hex of the file.
    pub file_sha256: String,
    pub plain_bytes: u64,
    pub rows: u64,
    /// 32 hex digits.
    pub row_digest: String,
    /// Keys of rows that are gone: the text of one column, a line of CSV of several.
    #[serde(serialize_with = "item_per_line")]
    pub tombstones: Vec<String>,
    /// None of a file that anybody can read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// Where the file is encrypted, its tombstones too: an age file as text, of a JSON array. `tombstones` is empty then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_tombstones: Option<String>,
}

/// A moment in the order of commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    /// As `pg_current_snapshot()` writes it.
    pub snapshot: String,
    /// When the snapshot was taken, as the server writes it.
    pub taken_at: String,
}

const WHAT: &str = "the manifest";

impl Increment {
    /// The text form, with its hash. Errors: serde cannot write it.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ContainerError> {
        sealed(self)
    }

    /// Reads what `to_bytes` wrote. Errors: as `Manifest::parse`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ContainerError> {
        #[derive(Deserialize)]
        struct VersionOnly {
            version: u64,
        }
        check_hash(bytes)?;
        let unreadable = |error: serde_json::Error| ContainerError::unreadable(WHAT, error.to_string());
        let found = serde_json::from_slice::<VersionOnly>(bytes).map_err(unreadable)?.version;
        if found != u64::from(VERSION) {
            return Err(ContainerError::UnsupportedVersion { what: WHAT.into(), found, known: VERSION });
        }
        let increment: Increment = serde_json::from_slice(bytes).map_err(unreadable)?;
        if !is_plain_name(&increment.file) || increment.file.contains('/') {
            return Err(ContainerError::unreadable(WHAT, format!("its file may not be named {:?}", increment.file)));
        }
        Ok(increment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn increment() -> Increment {
        let watermark =
            |snapshot: &str| Watermark { snapshot: snapshot.into(), taken_at: "2025-10-12 14:30:05+00".into() };
        Increment {
            version: VERSION,
            set_name: "agent_sdk".into(),
            schema: "public".into(),
            name: "AgentQuery".into(),
            source: "snapshot".into(),
            selected: "rows that changed".into(),
            extends: Some("20251012T020000Z-96b51e7c".into()),
            server: Server::default(),
            extension_version: "0.1.0".into(),
            watermark_before: Some(watermark("10:12:11")),
            watermark_after: watermark("20:20:"),
            started_at: "2025-10-12T14:30:05Z".parse().unwrap(),
            finished_at: "2025-10-12T14:30:06Z".parse().unwrap(),
            settings: BTreeMap::from([("TimeZone".into(), "UTC".into())]),
            columns: vec![ColumnInfo { name: "id".into(), r#type: "bigint".into(), ..ColumnInfo::default() }],
            excluded_columns: vec![],
            row_filter: None,
            primary_key: vec!["id".into()],
            file: "AgentQuery_inc_20251012_143005.json.gz".into(),
            file_bytes: 60,
            file_sha256: "0".repeat(64),
            plain_bytes: 100,
            rows: 2,
            row_digest: "0".repeat(32),
            tombstones: vec!["7".into(), "a,\"b\"".into()],
            encryption: None,
            sealed_tombstones: None,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = increment().to_bytes().unwrap();
        assert_eq!(Increment::parse(&bytes).unwrap(), increment());
    }

    #[test]
    fn a_changed_byte_is_seen() {
        let mut bytes = increment().to_bytes().unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        assert!(matches!(Increment::parse(&bytes), Err(ContainerError::Changed { .. })));
        assert!(Increment::parse(b"").is_err() && Increment::parse(b"{}\n").is_err());
    }

    #[test]
    fn a_higher_version_and_a_file_elsewhere_are_refused() {
        let newer = Increment { version: VERSION + 1, ..increment() }.to_bytes().unwrap();
        assert!(matches!(Increment::parse(&newer), Err(ContainerError::UnsupportedVersion { .. })));
        for file in ["../x", "/etc/passwd", "", "a/b"] {
            let away = Increment { file: file.into(), ..increment() }.to_bytes().unwrap();
            assert!(Increment::parse(&away).is_err(), "{file}");
        }
    }
}
