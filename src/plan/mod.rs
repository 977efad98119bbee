//! What will be done, as plain data.

use serde::{Deserialize, Serialize};

/// The form of a table's data in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Csv,
    Json,
    Sql,
}

/// How the bytes are compressed, with its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "method", content = "level")]
pub enum Compression {
    None,
    /// libdeflate levels 1 to 12.
    Gzip(u8),
    /// zstd levels 1 to 19.
    Zstd(u8),
}
