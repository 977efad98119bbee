//! A manifest's text back to a manifest that can be relied on: hash first, then version, then shape, then bounds.
//!
//! The file may come from anybody. Nothing here panics, and memory is bounded by the length of the text.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};

use super::error::ContainerError;
use super::manifest::{ColumnInfo, Entry, Manifest, Member, VERSION};
use crate::plan::Compression;

/// No manifest is longer: 512 MiB hold the chunks of more than 10 TB.
pub const MAX_BYTES: u64 = 512 << 20;

/// Deflate makes at most this many bytes of one.
const GZIP_RATIO: u64 = 1032;

const WHAT: &str = "the manifest";
const HASH_KEY: &str = "  \"manifest_sha256\": \"";
const END: &str = "\"\n}\n";
const TAIL: usize = HASH_KEY.len() + 64 + END.len();

#[derive(Deserialize)]
struct VersionOnly {
    version: u64,
}

impl Manifest {
    /// Reads what `to_bytes` wrote. Errors: `Missing` (no byte), `Truncated` (no last line), `Changed` (the hash does
    /// not fit), `UnsupportedVersion`, `Unreadable` (not such JSON, a key twice, a size or a name that cannot be).
    pub fn parse(bytes: &[u8]) -> Result<Self, ContainerError> {
        check_hash(bytes)?;
        let unreadable = |error: serde_json::Error| ContainerError::unreadable(WHAT, error.to_string());
        let found = serde_json::from_slice::<VersionOnly>(bytes).map_err(unreadable)?.version;
        if found != u64::from(VERSION) {
            return Err(ContainerError::UnsupportedVersion { what: WHAT.into(), found, known: VERSION });
        }
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(unreadable)?;
        if has_zero_byte(&manifest) {
            return Err(ContainerError::unreadable(WHAT, "a name or a statement in it holds a zero byte"));
        }
        check_entries(&manifest).map_err(|detail| ContainerError::unreadable(WHAT, detail))?;
        Ok(manifest)
    }
}

/// No text of a server has one, and none takes it.
fn has_zero_byte(manifest: &Manifest) -> bool {
    let zero = |text: &String| text.contains('\0');
    let of_column = |column: &ColumnInfo| zero(&column.name) || zero(&column.r#type);
    let of_member = |member: &Member| {
        [&member.schema, &member.name, &member.display].into_iter().any(zero)
            || member.columns.iter().any(of_column)
            || member.primary_key.iter().chain(&member.excluded_columns).chain(&member.row_filter).any(zero)
            || member.error.iter().any(zero)
    };
    let of_keys = manifest.encryption.iter().flat_map(|it| it.key_ids.iter().chain([&it.format]));
    [&manifest.backup_id, &manifest.set_name, &manifest.kind, &manifest.snapshot].into_iter().any(zero)
        || [&manifest.server.version, &manifest.server.database, &manifest.server.system_identifier]
            .into_iter()
            .any(zero)
        || manifest.members.iter().any(of_member)
        || manifest.ddl.iter().any(|ddl| [&ddl.section, &ddl.object, &ddl.statement].into_iter().any(zero))
        || manifest.left_out.iter().any(|left| [&left.object, &left.reason].into_iter().any(zero))
        || manifest.notes.iter().chain(&manifest.ddl_fingerprint).chain(of_keys).any(zero)
}

pub(super) fn check_hash(bytes: &[u8]) -> Result<(), ContainerError> {
    if bytes.is_empty() {
        return Err(ContainerError::Missing { what: WHAT.into() });
    }
    if bytes.len() as u64 > MAX_BYTES {
        let detail = format!("{} bytes are more than a manifest may have", bytes.len());
        return Err(ContainerError::unreadable(WHAT, detail));
    }
    let hash = bytes.len().checked_sub(TAIL).and_then(|start| {
        let (body, tail) = bytes.split_at(start);
        let hash = tail.strip_prefix(HASH_KEY.as_bytes())?.strip_suffix(END.as_bytes())?;
        Some((body, hash))
    });
    let Some((body, told)) = hash else {
        let detail = "its last two lines are not its hash and the closing brace".into();
        return Err(if bytes.ends_with(b"}\n") {
            ContainerError::Unreadable { what: WHAT.into(), detail }
        } else {
            ContainerError::Truncated { what: WHAT.into(), detail }
        });
    };
    if hex::encode(Sha256::digest(body)).as_bytes() == told {
        Ok(())
    } else {
        Err(ContainerError::changed(WHAT, "it does not fit the SHA-256 in its last line"))
    }
}

/// Whether a name may stand in a tar that anybody unpacks: relative, of plain components that fit a file system
/// (255 bytes each), printable.
pub fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 1024
        && !name.contains(|c: char| c.is_control() || c == '\\')
        && name.split('/').all(|part| part.len() <= 255 && !matches!(part, "" | "." | ".."))
}

fn check_entries(manifest: &Manifest) -> Result<(), String> {
    let mut names = HashSet::new();
    let mut end = 0;
    for entry in &manifest.entries {
        if !is_plain_name(&entry.name) || !names.insert(entry.name.as_str()) {
            return Err(format!("an entry may not be named {:?}, or not twice", entry.name));
        }
        if entry.table.is_some_and(|table| table >= manifest.members.len()) {
            return Err(format!("entry \"{}\" belongs to no member", entry.name));
        }
        end = check_entry(entry, end, manifest.compression)
            .ok_or_else(|| format!("the sizes or offsets of entry \"{}\" cannot be", entry.name))?;
    }
    if end > manifest.content_bytes || i64::try_from(manifest.content_bytes).is_err() {
        return Err(format!("the entries end at {end}, beyond the content of {} bytes", manifest.content_bytes));
    }
    Ok(())
}

/// Where the entry ends, if it starts at `start` or later and its chunks lie in it, in order.
fn check_entry(entry: &Entry, start: u64, compression: Compression) -> Option<u64> {
    let end = entry.data_offset.checked_add(entry.stored_bytes)?;
    let mut at = entry.data_offset;
    let (mut plain, mut rows) = (0_u64, 0_u64);
    for chunk in &entry.chunks {
        let possible = match compression {
            Compression::None => chunk.plain_len == chunk.stored_len,
            Compression::Gzip(_) => chunk.plain_len <= chunk.stored_len.checked_mul(GZIP_RATIO)?,
            Compression::Zstd(_) => true,
        };
        if !possible || chunk.offset < at || chunk.first_row != rows {
            return None;
        }
        at = chunk.offset.checked_add(chunk.stored_len)?;
        plain = plain.checked_add(chunk.plain_len)?;
        rows = rows.checked_add(chunk.rows)?;
    }
    let hex = |text: &str, digits| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let hashes = hex(&entry.sha256, 64) && entry.row_digest.as_deref().is_none_or(|digest| hex(digest, 32));
    let ordered = start <= entry.header_offset && entry.header_offset < entry.data_offset;
    let bounded = at <= end && plain <= entry.plain_bytes && rows == entry.rows;
    (hashes && ordered && bounded && i64::try_from(entry.plain_bytes).is_ok()).then_some(end)
}

/// A map in which a key twice is an error, as it is for the fields of a struct.
pub(super) fn distinct_keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Distinct;
    impl<'de> Visitor<'de> for Distinct {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of texts")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((key, value)) = access.next_entry::<String, String>()? {
                if map.contains_key(&key) {
                    return Err(A::Error::custom(format!("key \"{key}\" stands twice")));
                }
                map.insert(key, value);
            }
            Ok(map)
        }
    }
    deserializer.deserialize_map(Distinct)
}
