//! The formats of a backup, by their names.

use agent_backup_core::plan::Format;

use crate::error::{Error, Result};

/// Reads names of formats; each once.
pub fn parse_formats(formats: &[String]) -> Result<Vec<Format>> {
    let parse = |name: &String| {
        Format::parse(name).ok_or_else(|| Error::InvalidOption {
            option: "formats",
            reason: format!("\"{name}\" is none of csv, json, sql"),
        })
    };
    let mut parsed = formats.iter().map(parse).collect::<Result<Vec<_>>>()?;
    parsed.sort();
    parsed.dedup();
    if parsed.is_empty() {
        return Err(Error::InvalidOption {
            option: "formats",
            reason: "at least one of csv, json, sql is needed".into(),
        });
    }
    Ok(parsed)
}
