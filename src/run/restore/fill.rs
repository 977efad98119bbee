//! Rows of a backup into a table that nobody reads yet: checked chunks → COPY → the same rows, or an error.

use std::time::Duration;

use agent_backup_core::codec::{CsvFields, NotCsv, Projection, split};
use agent_backup_core::container::{ContainerError, Entry, Next, Tally};
use agent_backup_core::plan::Format;
use agent_backup_core::stream::{Chunk, RowDigest};
use pgrx::{check_for_interrupts, pg_sys};

use crate::error::{Error, Result};
use crate::run::pipeline;
use crate::run::restore::plan::Mapping;
use crate::run::source::Source;
use crate::run::unpack::{self, Checked};
use crate::server::encoding::Encoding;
use crate::server::snapshot::Snapshot;
use crate::server::statement::Statement;
use crate::table::catalog::Table;
use crate::table::load::Load;

/// How long the backend thread waits before it looks for a cancel again.
const PATIENCE: Duration = Duration::from_millis(50);

/// How a load ended.
pub struct Filled {
    pub rows: u64,
    /// Whether the rows were read again from the table and their digest is the manifest's.
    pub is_proved: bool,
}

/// A chunk on its way: text for COPY, rows, digest.
type Piece = (Vec<u8>, u64, RowDigest);

/// Loads the rows of member `number` into `table`, whose owner's rights its code runs with. `table` is empty, and of the
/// caller's making. Errors: `Damaged`, `Mismatch`, and what the server says of a row.
pub fn fill(source: &Source, number: usize, table: &Table, mapping: &Mapping) -> Result<Filled> {
    let entry = source.csv(number)?;
    let rows = load(source, entry, table, mapping, None)?;
    // SAFETY: makes the loaded rows visible to what this transaction reads next.
    unsafe { pg_sys::CommandCounterIncrement() };
    if rows != entry.rows {
        let (expected, found) = (entry.rows.to_string(), rows.to_string());
        return Err(Error::Mismatch { table: table.name.display(), what: "number of rows", expected, found });
    }
    if !mapping.is_exact() {
        return Ok(Filled { rows, is_proved: false });
    }
    prove(entry, table, mapping)?;
    Ok(Filled { rows, is_proved: true })
}

/// Rows that are looked for: fields of the file, by number, with the very text that they have there.
pub type Wanted = Vec<(usize, Vec<u8>)>;

/// Loads only the rows that have the wanted fields; how many there were. Chunks that cannot hold one are not read.
pub fn fill_matching(source: &Source, number: usize, table: &Table, mapping: &Mapping, wanted: Wanted) -> Result<u64> {
    let rows = load(source, source.csv(number)?, table, mapping, Some(wanted))?;
    // SAFETY: as above.
    unsafe { pg_sys::CommandCounterIncrement() };
    Ok(rows)
}

fn load(source: &Source, entry: &Entry, table: &Table, mapping: &Mapping, wanted: Option<Wanted>) -> Result<u64> {
    let (keep, is_whole) = (kept(mapping), wanted.is_none());
    let work = move |chunk: Chunk, plain: Vec<u8>| -> Checked<Piece> {
        let (rows, digest) = match &wanted {
            None => split::digest(Format::Csv, &plain),
            Some(_) => (chunk.rows, RowDigest::default()),
        };
        let plain = match &wanted {
            None => plain,
            Some(wanted) => matching(&plain, wanted),
        };
        let text = match &keep {
            None => plain,
            Some(keep) => projected(&plain, keep)?,
        };
        Ok((text, rows, digest))
    };
    let mut chunks = unpack::start(source, entry, unpack::all(entry), work)?;
    let mut tally = Tally::default();
    let mut next = || loop {
        check_for_interrupts!();
        match chunks.next(PATIENCE) {
            Next::Pending => (),
            Next::End => return Ok(None),
            Next::Item(chunk, done) => {
                let (text, rows, digest) = done.map_err(|problem| source.damaged(problem))?;
                tally.add(entry, chunk, Ok((rows, digest)));
                return Ok(Some(text));
            }
        }
    };
    let columns = mapping.names();
    if columns.is_empty() && !table.columns.is_empty() {
        // To COPY no column means every column.
        while next()?.is_some() {}
        let damage = tally.verdict(entry).0.into_iter().next();
        return damage.map_or_else(|| rows_of_defaults(table, entry.rows), |problem| Err(source.damaged(problem)));
    }
    let load = Load { relation: table.oid, owner: table.owner, columns: &columns, encoding: encoding(source) };
    let rows = load.run(&mut next)?;
    match tally.verdict(entry).0.into_iter().next() {
        Some(problem) if is_whole => Err(source.damaged(problem)),
        _ => Ok(rows),
    }
}

/// Rows that the backup says nothing of but that they are there.
fn rows_of_defaults(table: &Table, count: u64) -> Result<u64> {
    let text = format!("INSERT INTO {} SELECT FROM pg_catalog.generate_series(1, {count})", table.name.qualified());
    // SAFETY: reads this backend's state.
    let rights_of = unsafe { pg_sys::GetUserId() };
    Statement::reading(&text, rights_of, table.owner).execute()
}

/// The rows of a chunk that have the wanted fields, each with its line end. A row that is no CSV matches nothing.
fn matching(plain: &[u8], wanted: &Wanted) -> Vec<u8> {
    let (mut fields, mut out) = (CsvFields::default(), Vec::new());
    for row in split::rows(Format::Csv, plain) {
        let found = fields.read(row).is_ok()
            && wanted.iter().all(|(number, value)| fields.get(*number) == Some(value.as_slice()));
        if found {
            out.extend_from_slice(row);
            out.push(b'\n');
        }
    }
    out
}

/// The fields that are kept; none where all are.
fn kept(mapping: &Mapping) -> Option<Projection> {
    let places = || mapping.taken.iter().map(|(number, _)| *number).collect();
    (mapping.taken.len() < mapping.in_file).then(|| Projection::new(places()))
}

fn projected(plain: &[u8], keep: &Projection) -> Checked<Vec<u8>> {
    let (mut fields, mut out) = (CsvFields::default(), Vec::with_capacity(plain.len()));
    for row in split::rows(Format::Csv, plain) {
        let unreadable = |error: NotCsv| ContainerError::Unreadable { what: "a row".into(), detail: error.to_string() };
        fields.read(row).map_err(unreadable)?;
        keep.row(&fields, &mut out);
        out.push(b'\n');
    }
    Ok(out)
}

/// Files are in UTF-8, but for those of a SQL_ASCII database.
fn encoding(source: &Source) -> Encoding {
    if source.manifest().server.encoding == "SQL_ASCII" { Encoding::Unknown } else { Encoding::Utf8 }
}

/// Reads the loaded rows back: their digest must be the manifest's.
fn prove(entry: &Entry, table: &Table, mapping: &Mapping) -> Result<()> {
    let Some(expected) = &entry.row_digest else { return Ok(()) };
    let column = |name: &String| table.columns.iter().find(|column| column.name == *name).cloned();
    let in_order = Table { columns: mapping.names().iter().filter_map(column).collect(), ..table.clone() };
    let _snapshot = Snapshot::push()?;
    let (_, digest) = pipeline::digest(&in_order)?;
    let found = digest.to_string();
    if found == *expected {
        return Ok(());
    }
    Err(Error::Mismatch { table: table.name.display(), what: "row digest", expected: expected.clone(), found })
}
