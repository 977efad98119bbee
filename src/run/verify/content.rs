//! Levels `hash` and `decode`: the stored bytes, and the rows that they hold, on threads.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_backup_core::codec::split;
use agent_backup_core::container::{Blob, Container, ContainerError, Entry, Hashes, Hashing, Tally, sha256_hex_of};
use agent_backup_core::plan::names;
use agent_backup_core::stream::Chunk;
use pgrx::check_for_interrupts;

use crate::error::{Error, Result};
use crate::journal_checks::Facts;
use crate::run::source::{self, Source};
use crate::run::unpack;
use crate::run::verify::Level;
use crate::run::verify::finding::{Line, Part, Problem};
use crate::settings;

/// Damaged chunks of one entry that get a line each; the others are counted.
const LINES: usize = 20;

/// How long the backend thread waits before it looks for a cancel again.
const PATIENCE: Duration = Duration::from_millis(50);

/// What was found of the content.
pub struct Checked {
    pub lines: Vec<Line>,
    /// SHA-256 of the container in hex, where it was computed.
    pub file_sha256: Option<String>,
}

/// Checks every entry up to `level`.
pub fn check(source: &Source, level: Level, facts: Option<&Facts>) -> Result<Checked> {
    let mut checked = Checked { lines: Vec::new(), file_sha256: None };
    let mut of_entries: Vec<Option<ContainerError>> = Vec::new();
    if level >= Level::Hash {
        let mut hashes = hash(&source.container, &source.location.file_name)?;
        if source.is_sealed() {
            // The catalogue's is that of the bytes on disk.
            hashes.file_sha256 = stored_sha256(&source.stored).ok();
        }
        checked.lines.extend(whole(source, &hashes, facts));
        of_entries = hashes.entries.into_iter().map(std::result::Result::err).collect();
        checked.file_sha256 = hashes.file_sha256;
    }
    of_entries.resize_with(source.manifest().entries.len(), || None);
    for (entry, changed) in source.manifest().entries.iter().zip(of_entries) {
        checked.lines.extend(of_entry(source, entry, changed, level)?);
    }
    Ok(checked)
}

/// All hashes of a container, on threads; answers interrupts.
pub fn hash(container: &Arc<Container<Blob>>, file: &str) -> Result<Hashes> {
    let failed = |error: agent_backup_core::stream::StreamError| Error::Worker {
        table: file.to_owned(),
        message: error.to_string(),
    };
    let hashing = Hashing::start(container, settings::workers()).map_err(failed)?;
    loop {
        check_for_interrupts!();
        if let Some(hashes) = hashing.wait(container, PATIENCE) {
            return Ok(hashes);
        }
    }
}

/// The SHA-256 of all bytes as they are stored, in hex; answers interrupts.
pub fn stored_sha256(stored: &Blob) -> std::result::Result<String, ContainerError> {
    let watch = &mut || {
        check_for_interrupts!();
    };
    sha256_hex_of(stored, watch).map_err(|source| ContainerError::Read { what: "the container".into(), source })
}

/// The file as a whole: what lies between the entries, and the hash that the catalogue has. Damage of an entry is told
/// with it and is no other table's.
fn whole(source: &Source, hashes: &Hashes, facts: Option<&Facts>) -> Option<Line> {
    const CHECK: &str = "hash";
    let path = source.location.path();
    let told = facts.and_then(|facts| facts.file_sha256.as_deref());
    let entries_fit = hashes.entries.iter().all(std::result::Result::is_ok);
    if let Some(first) = hashes.between.0.first() {
        return Some(Line::bad_file(CHECK, Problem::in_file(first, &path)));
    }
    match (&hashes.file_sha256, told) {
        (Some(found), Some(told)) if told != found => {
            let text = format!("the SHA-256 of file \"{}\" is {found}, the catalogue says {told}", path.display());
            let line = Line::bad(None, CHECK, Problem::new("changed", text));
            Some(Line { spreads: entries_fit, ..line })
        }
        (_, Some(told)) => Some(Line::good(None, CHECK, format!("the SHA-256 of the file is the listed {told}"))),
        (_, None) if entries_fit => {
            Some(Line::good(None, CHECK, "the SHA-256 of the file's content is the manifest's"))
        }
        (_, None) => None,
    }
}

/// The table and format of an entry; none for one that belongs to no table.
fn part_of(source: &Source, entry: &Entry) -> Option<Part> {
    let member = source.manifest().members.get(entry.table?)?;
    let format = entry.format.map(|format| names::extension(format).to_owned());
    Some(Part { table: source::name_of(member), format, stored_bytes: Some(entry.stored_bytes) })
}

fn of_entry(source: &Source, entry: &Entry, changed: Option<ContainerError>, level: Level) -> Result<Vec<Line>> {
    let part = part_of(source, entry);
    let path = source.location.path();
    let bad = |check, error: &ContainerError| Line::bad(part.as_ref(), check, Problem::in_file(error, &path));
    let mut lines: Vec<Line> = changed.iter().map(|error| bad("hash", error)).collect();
    let good = |remark: String| {
        let mut line = Line::good(part.as_ref(), level.min(Level::Decode).name(), remark);
        if part.is_some() {
            (line.rows, line.checksum) = (Some(entry.rows), entry.row_digest.clone());
        }
        line
    };
    match level {
        Level::Exists => lines.push(good(format!("\"{}\" is in the manifest", entry.name))),
        Level::Hash if changed.is_none() => {
            lines
                .push(good(format!("the {} stored bytes of \"{}\" fit their SHA-256", entry.stored_bytes, entry.name)));
        }
        Level::Hash => {}
        Level::Decode | Level::Restore => {
            let begun = Instant::now();
            let (tally, damage, more) = decode(source, entry)?;
            let took = begun.elapsed();
            if damage.is_empty() {
                let what = if part.is_some() { "rows and digest" } else { "length" };
                let remark = format!("{} bytes of \"{}\" have their {what}", entry.plain_bytes, entry.name);
                lines.push(Line { took, ..good(remark) });
            }
            for error in &damage {
                let found = part.as_ref().map(|_| (tally.0, tally.1.clone()));
                let (rows, checksum) = found.unzip();
                lines.push(Line { rows, checksum, ..bad("decode", error) });
            }
            if more > 0 {
                let text = format!("{more} more chunks of \"{}\" are damaged", entry.name);
                lines.push(Line::bad(part.as_ref(), "decode", Problem::new("changed", text)));
            }
            if let Some(last) = lines.last_mut() {
                last.took = took;
            }
        }
    }
    Ok(lines)
}

/// Rows and digest that were found, up to `LINES` damages, and the number of those beyond.
fn decode(source: &Source, entry: &Entry) -> Result<((u64, String), Vec<ContainerError>, usize)> {
    let mut tally = Tally::default();
    let format = entry.format;
    let work = move |chunk: Chunk, plain: Vec<u8>| {
        let lines = format.and_then(|format| split::digest_of_lines(format, &plain, chunk.rows));
        Ok(lines.unwrap_or_else(|| unpack::digest(format, &plain)))
    };
    unpack::chunks(source, entry, unpack::all(entry), work, |chunk, part| {
        tally.add(entry, chunk, part);
        Ok(ControlFlow::Continue(()))
    })?;
    let found = (tally.rows, tally.digest.to_string());
    let mut findings = tally.verdict(entry).0;
    let plain: u64 = entry.chunks.iter().map(|chunk| chunk.plain_len).sum();
    if entry.table.is_none() && findings.is_empty() && plain != entry.plain_bytes {
        let (what, detail) =
            (format!("entry \"{}\"", entry.name), format!("its chunks hold {plain} bytes of {}", entry.plain_bytes));
        findings.push(ContainerError::Truncated { what, detail });
    }
    let more = findings.len().saturating_sub(LINES);
    findings.truncate(LINES);
    Ok((found, findings, more))
}
