//! What will be done, as plain data.

pub mod age;
pub mod audit;
pub mod cron;
pub mod crontab;
pub mod incrementals;
pub mod jobs;
pub mod names;
pub mod payload;
pub mod retention;

use std::fmt;

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

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(names::extension(*self))
    }
}

impl Format {
    /// Reads `csv`, `json` or `sql`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "csv" => Some(Format::Csv),
            "json" => Some(Format::Json),
            "sql" => Some(Format::Sql),
            _ => None,
        }
    }
}

impl Compression {
    /// Reads `gzip` or `zstd` with a level in its range.
    pub fn parse(method: &str, level: i16) -> Option<Self> {
        let level = u8::try_from(level).ok()?;
        match (method, level) {
            ("gzip", 1..=12) => Some(Compression::Gzip(level)),
            ("zstd", 1..=19) => Some(Compression::Zstd(level)),
            _ => None,
        }
    }
}
