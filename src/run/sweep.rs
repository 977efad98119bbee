//! All rows of one side of a comparison, read once: a live table by a scan, a backup by its chunks; threads work on the
//! text of the rows, which is the same for equal rows wherever they come from.

use std::sync::Arc;
use std::time::Duration;

use agent_backup_core::codec::{CsvFields, Encoder, NotCsv, RowBatch, split};
use agent_backup_core::container::Tally;
use agent_backup_core::plan::Format;
use agent_backup_core::stream::{Crew, Offered, RowDigest, StreamError};
use pgrx::check_for_interrupts;

use crate::error::Result;
use crate::run::erase::tombstones::{self, Hidden};
use crate::run::sides::{Common, Shape, Side};
use crate::run::source::Source;
use crate::run::{pipeline, read, unpack};
use crate::server::encoding::Encoding;
use crate::server::privilege;
use crate::server::progress::Progress;
use crate::settings;
use crate::table::catalog::Table;
use crate::table::scan::{RowSink, Scan};
use crate::table::select::Selection;
use crate::table::value;

/// Of a thread, where errors of the server do not exist.
type Outcome<T, E> = std::result::Result<T, E>;

/// How long the backend thread waits before it looks for a cancel again.
const PATIENCE: Duration = Duration::from_millis(50);

/// A row on a thread.
pub struct SweptRow<'a> {
    /// The text of the columns that are compared.
    pub compared: &'a [u8],
    /// Its digest, if the work asks for it.
    pub digest: RowDigest,
    /// The row's fields; empty where the text is all that is looked at.
    pub fields: &'a CsvFields,
}

/// What a thread makes of a row.
pub trait Work: Send + Sync + 'static {
    type Item: Send + 'static;
    /// Whether it looks at the digest of a row. Without, the rows of a backup are not checked by theirs either: that is
    /// for a second reading.
    const DIGESTS: bool;
    /// `buffer` holds anything, and is there so that not every row needs one.
    fn row(&self, shape: &Shape, row: &SweptRow, buffer: &mut Vec<u8>, out: &mut Vec<Self::Item>);
}

/// Reads all rows of a side under the active snapshot, has `work` done on each, and gives what it made, in no order, to
/// `take`. Rows of a backup are checked against its manifest: damage is an error. Returns the number of rows.
pub fn all<W: Work>(
    side: &Side,
    common: &[Common],
    shape: &Shape,
    work: W,
    mut take: impl FnMut(Vec<W::Item>) -> Result<()>,
) -> Result<u64> {
    let job = Arc::new(Job { shape: shape.clone(), parses: parses(shape), work });
    match side {
        Side::Backup { source, number } => of_backup(source, *number, &job, &mut take),
        Side::Table { table, selection } => of_table(table, selection, common, &job, &mut take),
    }
}

/// Rows whose whole text is compared and that have no key are not taken apart.
fn parses(shape: &Shape) -> bool {
    !shape.key.is_empty() || !shape.compared.is_identity(shape.width)
}

struct Job<W> {
    shape: Shape,
    parses: bool,
    work: W,
}

/// What a thread needs again for each row.
#[derive(Default)]
struct Scratch {
    fields: CsvFields,
    compared: Vec<u8>,
    buffer: Vec<u8>,
}

impl<W: Work> Job<W> {
    /// `digest` is that of the row as it stands.
    fn row(&self, row: &[u8], digest: RowDigest, scratch: &mut Scratch, out: &mut Vec<W::Item>) -> Outcome<(), NotCsv> {
        if self.parses {
            scratch.fields.read(row)?;
        }
        let (compared, digest) = if self.shape.compared.is_identity(self.shape.width) {
            (row, digest)
        } else {
            scratch.compared.clear();
            self.shape.compared.row(&scratch.fields, &mut scratch.compared);
            (scratch.compared.as_slice(), Self::digest(&scratch.compared))
        };
        self.work.row(&self.shape, &SweptRow { compared, digest, fields: &scratch.fields }, &mut scratch.buffer, out);
        Ok(())
    }

    fn digest(row: &[u8]) -> RowDigest {
        if W::DIGESTS { RowDigest::of_row(row) } else { RowDigest::default() }
    }

    fn is_whole(&self, scratch: &Scratch) -> bool {
        !self.parses || scratch.fields.len() == self.shape.width.max(1)
    }
}

fn of_backup<W: Work>(
    source: &Source,
    number: usize,
    job: &Arc<Job<W>>,
    take: &mut dyn FnMut(Vec<W::Item>) -> Result<()>,
) -> Result<u64> {
    let entry = source.csv(number)?;
    let is_utf8 = source.manifest().server.encoding != "SQL_ASCII";
    let mut tally = Tally::default();
    let job = Arc::clone(job);
    let work = move |chunk, plain: Vec<u8>| {
        read::check_text(chunk, &plain, is_utf8)?;
        let (mut scratch, mut out) = (Scratch::default(), Vec::new());
        let (mut rows, mut digest) = (0, RowDigest::default());
        for row in split::rows(Format::Csv, &plain) {
            rows += 1;
            let own = Job::<W>::digest(row);
            digest.merge(own);
            job.row(row, own, &mut scratch, &mut out)
                .map_err(|error| read::unreadable(chunk, rows, &error.to_string()))?;
            if !job.is_whole(&scratch) {
                return Err(read::unreadable(chunk, rows, read::WRONG_WIDTH));
            }
        }
        Ok((rows, digest, out))
    };
    let mut chunks = unpack::rows(source, number, entry, unpack::all(entry), work)?;
    let mut left_out = Hidden::default();
    while let Some((chunk, part)) = unpack::next(&mut chunks)? {
        let ((rows, digest, items), hidden) = part.map_err(|problem| source.damaged(problem))?;
        let hidden = if W::DIGESTS { hidden } else { Hidden { rows: hidden.rows, ..Hidden::default() } };
        tally.add(entry, chunk, Ok(hidden.and(rows, digest)));
        left_out.add(hidden);
        take(items)?;
    }
    if W::DIGESTS {
        tombstones::tell(source, number, left_out.rows);
    }
    let rows = tally.rows - left_out.rows;
    match tally.verdict(entry).0.into_iter().next() {
        Some(problem) if W::DIGESTS => Err(source.damaged(problem)),
        _ => Ok(rows),
    }
}

fn of_table<W: Work>(
    table: &Table,
    selection: &Selection,
    common: &[Common],
    job: &Arc<Job<W>>,
    take: &mut dyn FnMut(Vec<W::Item>) -> Result<()>,
) -> Result<u64> {
    let display = table.name.display();
    privilege::require_reader(table.oid, &display)?;
    if let Some(role) = &selection.defined_by {
        privilege::require_still_definer(role, table.owner, &display)?;
    }
    let _kinds = pipeline::refuse_swapped_relations(table.kind)?;
    let names = table.columns.iter().map(|column| &column.name);
    let unread = names.filter(|name| common.iter().all(|common| common.name != **name)).cloned();
    let selection = Selection { excluded: unread.collect(), ..selection.clone() };
    let encoding = Encoding::of_database();
    let planned = selection.columns(table)?.into_iter().map(|column| value::plan(column, false, encoding));
    let (mut columns, takes): (Vec<_>, Vec<_>) = planned.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    for column in &mut columns {
        // Here the values count, not how COPY would load them.
        column.generated = false;
    }
    let (encoder, job) = (Encoder::csv(&columns), Arc::clone(job));
    let crew = Crew::start(settings::workers(), move |batch: RowBatch| encode(&encoder, &job, &batch))
        .map_err(|error| pipeline::stream_error(table, error))?;
    let mut sink = CrewSink { table, crew, take, progress: Progress::start(table.oid, table.bytes), rows: 0, bytes: 0 };
    let scan = Scan {
        query: selection.query(table)?,
        table,
        others_code: selection.has_expressions(),
        takes,
        encoding,
        batch_bytes: batch_bytes(),
        sink: &mut sink,
    };
    let rows = scan.run()?;
    sink.finish()?;
    Ok(rows)
}

/// On a thread: the rows of a batch as text, each worked on.
fn encode<W: Work>(encoder: &Encoder, job: &Job<W>, batch: &RowBatch) -> Outcome<Vec<W::Item>, StreamError> {
    let (mut scratch, mut out, mut text) = (Scratch::default(), Vec::new(), Vec::new());
    let mut fault: Option<NotCsv> = None;
    let failed = |source| StreamError::Encode {
        first_row: batch.first_row,
        last_row: batch.first_row + u64::from(batch.rows).saturating_sub(1),
        source,
    };
    for row in encoder.encode_rows(batch, &mut text).map_err(|error| failed(Box::new(error)))? {
        let row = &text[row];
        fault = fault.or(job.row(row, Job::<W>::digest(row), &mut scratch, &mut out).err());
    }
    match fault {
        None => Ok(out),
        Some(fault) => Err(failed(Box::new(fault))),
    }
}

fn batch_bytes() -> usize {
    settings::chunk_bytes() / 4 * 3
}

/// The scan's end of the crew.
struct CrewSink<'a, T> {
    table: &'a Table,
    crew: Crew<RowBatch, Vec<T>>,
    take: &'a mut dyn FnMut(Vec<T>) -> Result<()>,
    progress: Progress,
    rows: u64,
    bytes: u64,
}

impl<T: Send + 'static> CrewSink<'_, T> {
    fn finish(mut self) -> Result<()> {
        loop {
            check_for_interrupts!();
            let idle = self.crew.is_idle(PATIENCE).map_err(|error| pipeline::stream_error(self.table, error))?;
            self.pass_on()?;
            if idle {
                return Ok(());
            }
        }
    }

    fn pass_on(&mut self) -> Result<()> {
        self.crew.take().into_iter().try_for_each(|items| (self.take)(items))
    }
}

impl<T: Send + 'static> RowSink for CrewSink<'_, T> {
    fn pass(&mut self, mut batch: RowBatch) -> Result<Vec<u8>> {
        self.rows += u64::from(batch.rows);
        self.bytes += batch.bytes.len() as u64;
        self.progress.show(self.rows, self.bytes);
        loop {
            check_for_interrupts!();
            self.pass_on()?;
            match self.crew.offer(batch, PATIENCE).map_err(|error| pipeline::stream_error(self.table, error))? {
                Offered::Taken => return Ok(Vec::with_capacity(batch_bytes() + batch_bytes() / 8)),
                Offered::Full(returned) => batch = returned,
            }
        }
    }
}
