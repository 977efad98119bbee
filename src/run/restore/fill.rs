//! Rows of a backup into a table that nobody reads yet: checked chunks → (threads: values) → the table → the same rows, or
//! an error.

use agent_backup_core::codec::keys;
use agent_backup_core::codec::load::{Letters, LoadPlan, Target};
use agent_backup_core::codec::{CsvFields, NotCsv, Projection, split};
use agent_backup_core::container::search::candidates;
use agent_backup_core::container::{ContainerError, Entry, Ordered, Tally};
use agent_backup_core::plan::Format;
use agent_backup_core::stream::{Chunk, RowDigest};
use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::run::capture::as_of;
use crate::run::erase::tombstones::{self, Hidden};
use crate::run::restore::plan::Mapping;
use crate::run::source::{self, Source};
use crate::run::unpack::{self, Checked};
use crate::run::{pipeline, read};
use crate::server::encoding::Encoding;
use crate::server::snapshot::Snapshot;
use crate::server::statement::Statement;
use crate::table::catalog::Table;
use crate::table::copy::Copy;
use crate::table::load::{Load, Part};
use crate::table::targets;

/// How a load ended.
pub struct Filled {
    pub rows: u64,
    /// Whether the rows were read again from the table and their digest is the manifest's.
    pub is_proved: bool,
    /// Rows of erased persons, which stayed out; the digest is then that of the others.
    pub left_out: u64,
}

/// Loads the rows of member `number` into `table`, whose owner's rights its code runs with. `table` is empty, and of the
/// caller's making. Errors: `Damaged`, `Mismatch`, and what the server says of a row.
pub fn fill(source: &Source, number: usize, table: &Table, mapping: &Mapping) -> Result<Filled> {
    let entry = source.csv(number)?;
    let (rows, left_out) = load(source, number, table, mapping, None)?;
    // SAFETY: makes the loaded rows visible to what this transaction reads next.
    unsafe { pg_sys::CommandCounterIncrement() };
    if rows + left_out.rows != entry.rows {
        let (expected, found) = (entry.rows.to_string(), rows.to_string());
        return Err(Error::Mismatch { table: table.name.display(), what: "number of rows", expected, found });
    }
    tombstones::tell(source, number, left_out.rows);
    if mapping.is_exact() {
        prove(entry, table, mapping, left_out)?;
    }
    Ok(Filled { rows, is_proved: mapping.is_exact(), left_out: left_out.rows })
}

/// Loads rows that are at hand: CSV in the encoding of files, of these columns; those that the table has not are left out.
pub fn fill_images(table: &Table, display: &str, columns: &[String], rows: &[u8]) -> Result<()> {
    let is_here = |name: &String| table.columns.iter().any(|column| column.name == *name && !column.generated);
    let taken: Vec<(usize, String)> = columns.iter().cloned().enumerate().filter(|(_, name)| is_here(name)).collect();
    let names: Vec<String> = taken.iter().map(|(_, name)| name.clone()).collect();
    let unexpected = |reason: String| Error::Internal { object: "staging table", reason };
    let targets = targets::of(table.oid, &names)?.ok_or_else(|| unexpected("it has indexes or triggers".into()))?;
    let taken = taken.into_iter().map(|(place, _)| place).zip(targets).collect();
    let plan = LoadPlan { width: columns.len().max(1), taken, letters: letters() };
    let loaded = plan.read(rows, |_| true).map_err(|bad| unexpected(bad.reason.to_owned()))?;
    let mut part = Some(Part { first_row: 0, text_bytes: rows.len() as u64, loaded });
    let load = Load {
        relation: table.oid,
        owner: table.owner,
        table: display.to_owned(),
        columns: &names,
        convert_from: as_of::conversion(),
        bytes: rows.len() as i64,
    };
    load.run(&mut || Ok(part.take()))?;
    // SAFETY: makes the loaded rows visible to what this transaction reads next.
    unsafe { pg_sys::CommandCounterIncrement() };
    Ok(())
}

/// Which bytes of a file the threads can take for texts of the database.
fn letters() -> Letters {
    match Encoding::of_database() {
        Encoding::Utf8 => Letters::Utf8,
        Encoding::Unknown => Letters::Any,
        Encoding::Converted => Letters::Ascii,
    }
}

/// Rows that are looked for: fields of the file, by number, with the very text that they have there.
pub type Wanted = Vec<(usize, Vec<u8>)>;

/// Loads only the rows that have the wanted fields; how many there were. Chunks that cannot hold one are not read.
pub fn fill_matching(source: &Source, number: usize, table: &Table, mapping: &Mapping, wanted: Wanted) -> Result<u64> {
    let (rows, _) = load(source, number, table, mapping, Some(wanted))?;
    // SAFETY: as above.
    unsafe { pg_sys::CommandCounterIncrement() };
    Ok(rows)
}

/// The rows that were loaded, and those of erased persons.
fn load(
    source: &Source,
    number: usize,
    table: &Table,
    mapping: &Mapping,
    wanted: Option<Wanted>,
) -> Result<(u64, Hidden)> {
    let entry = source.csv(number)?;
    let columns = mapping.names();
    if columns.is_empty() && !table.columns.is_empty() {
        let mut feed = Feed::start(source, number, None, |_, _| Ok(()))?;
        while feed.next()?.is_some() {}
        let left_out = feed.verdict()?;
        return Ok((rows_of_defaults(table, entry.rows - left_out.rows)?, left_out));
    }
    if encoding(source) == Encoding::Unknown && Encoding::of_database() != Encoding::Unknown {
        // Bytes of no encoding: COPY checks them, and says what they are not.
        return copy_text(source, number, (table, mapping), wanted);
    }
    match targets::of(table.oid, &columns)? {
        Some(targets) => load_values(source, number, (table, mapping), targets, wanted),
        None => copy_text(source, number, (table, mapping), wanted),
    }
}

fn load_values(
    source: &Source,
    number: usize,
    (table, mapping): (&Table, &Mapping),
    targets: Vec<Target>,
    wanted: Option<Wanted>,
) -> Result<(u64, Hidden)> {
    let entry = source.csv(number)?;
    let taken = mapping.taken.iter().map(|(number, _)| *number).zip(targets).collect();
    let plan = LoadPlan { width: mapping.in_file.max(1), taken, letters: letters() };
    let some = wanted.as_ref().map(|wanted| chunks_with(source, number, entry, wanted));
    let work = move |chunk: Chunk, plain: Vec<u8>| -> Checked<Part> {
        let is_wanted = |fields: &CsvFields| wanted.as_ref().is_none_or(|wanted| matches(fields, wanted));
        let loaded = plan.read(&plain, is_wanted).map_err(|bad| read::unreadable(chunk, bad.row + 1, bad.reason))?;
        Ok(Part { first_row: chunk.first_row, text_bytes: plain.len() as u64, loaded })
    };
    let mut feed = Feed::start(source, number, some, work)?;
    let member = source.manifest().members.get(number).map(|member| source::name_of(member).display());
    let load = Load {
        relation: table.oid,
        owner: table.owner,
        table: member.unwrap_or_default(),
        columns: &mapping.names(),
        convert_from: read::conversion(source),
        bytes: entry.plain_bytes.cast_signed(),
    };
    let rows = load.run(&mut || feed.next())?;
    Ok((rows, feed.verdict()?))
}

fn copy_text(
    source: &Source,
    number: usize,
    (table, mapping): (&Table, &Mapping),
    wanted: Option<Wanted>,
) -> Result<(u64, Hidden)> {
    let entry = source.csv(number)?;
    let keep = kept(mapping);
    let some = wanted.as_ref().map(|_| unpack::all(entry));
    let work = move |_: Chunk, plain: Vec<u8>| -> Checked<Vec<u8>> {
        let plain = match &wanted {
            None => plain,
            Some(wanted) => matching(&plain, wanted),
        };
        match &keep {
            None => Ok(plain),
            Some(keep) => projected(&plain, keep),
        }
    };
    let mut feed = Feed::start(source, number, some, work)?;
    let columns = mapping.names();
    let copy = Copy { relation: table.oid, owner: table.owner, columns: &columns, encoding: encoding(source) };
    let rows = copy.run(&mut || feed.next())?;
    Ok((rows, feed.verdict()?))
}

/// The chunks of an entry in their order, checked against the manifest, and what threads made of them.
struct Feed<'a, T> {
    source: &'a Source,
    entry: &'a Entry,
    chunks: Ordered<((T, u64, RowDigest), Hidden)>,
    tally: Tally,
    left_out: Hidden,
    is_whole: bool,
}

impl<'a, T: Send + 'static> Feed<'a, T> {
    /// Of the chunks in `some`; without, of all, and then their rows and digest are to be those of the manifest.
    fn start(
        source: &'a Source,
        number: usize,
        some: Option<Vec<usize>>,
        work: impl Fn(Chunk, Vec<u8>) -> Checked<T> + Send + Sync + 'static,
    ) -> Result<Self> {
        let entry = source.csv(number)?;
        let is_whole = some.is_none();
        let digested = move |chunk: Chunk, plain: Vec<u8>| -> Checked<(T, u64, RowDigest)> {
            let (rows, digest) = match is_whole {
                true => split::digest_of_lines(Format::Csv, &plain, chunk.rows)
                    .unwrap_or_else(|| split::digest(Format::Csv, &plain)),
                // Not counted: the rows that are wanted are few.
                false => (chunk.rows, RowDigest::default()),
            };
            Ok((work(chunk, plain)?, rows, digest))
        };
        let chunks = unpack::rows(source, number, entry, some.unwrap_or_else(|| unpack::all(entry)), digested)?;
        Ok(Feed { source, entry, chunks, tally: Tally::default(), left_out: Hidden::default(), is_whole })
    }

    /// The next; none at the end.
    fn next(&mut self) -> Result<Option<T>> {
        let Some((chunk, done)) = unpack::next(&mut self.chunks)? else { return Ok(None) };
        let ((made, rows, digest), hidden) = done.map_err(|problem| self.source.damaged(problem))?;
        self.tally.add(self.entry, chunk, Ok(hidden.and(rows, digest)));
        self.left_out.add(hidden);
        Ok(Some(made))
    }

    /// Whether all of it was as the manifest says; what was left out.
    fn verdict(self) -> Result<Hidden> {
        match self.tally.verdict(self.entry).0.into_iter().next() {
            Some(problem) if self.is_whole => Err(self.source.damaged(problem)),
            _ => Ok(self.left_out),
        }
    }
}

/// The chunks that may hold a row with the wanted fields, by the filters of their keys; all where those cannot tell.
fn chunks_with(source: &Source, number: usize, entry: &Entry, wanted: &Wanted) -> Vec<usize> {
    filtered(source, number, entry, wanted).unwrap_or_else(|| unpack::all(entry))
}

fn filtered(source: &Source, number: usize, entry: &Entry, wanted: &Wanted) -> Option<Vec<usize>> {
    let keys = entry.keys.as_ref()?;
    let fields: Vec<&str> = read::held(source.manifest().members.get(number)?).map(|c| c.name.as_str()).collect();
    let text_of = |column: &String| {
        let place = fields.iter().position(|name| name == column)?;
        wanted.iter().find(|(number, _)| *number == place).map(|(_, text)| text.as_slice())
    };
    let hash = keys::hash(&keys.columns.iter().map(text_of).collect::<Option<Vec<_>>>()?.join(&b','));
    candidates(&source.container, entry, keys, hash)
}

fn matches(fields: &CsvFields, wanted: &Wanted) -> bool {
    wanted.iter().all(|(number, value)| fields.get(*number) == Some(value.as_slice()))
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
        if fields.read(row).is_ok() && matches(&fields, wanted) {
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
fn prove(entry: &Entry, table: &Table, mapping: &Mapping, left_out: Hidden) -> Result<()> {
    let Some(expected) = &entry.row_digest else { return Ok(()) };
    let mut without = expected.parse::<RowDigest>().unwrap_or_default();
    without.remove(left_out.digest);
    let expected = without.to_string();
    let column = |name: &String| table.columns.iter().find(|column| column.name == *name).cloned();
    let in_order = Table { columns: mapping.names().iter().filter_map(column).collect(), ..table.clone() };
    let _snapshot = Snapshot::push()?;
    let (_, digest) = pipeline::digest(&in_order)?;
    let found = digest.to_string();
    if found == expected {
        return Ok(());
    }
    Err(Error::Mismatch { table: table.name.display(), what: "row digest", expected, found })
}
