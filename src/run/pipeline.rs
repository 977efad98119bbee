//! One table from scan to spools: scan → (threads: encode → digest → compress → check) → spool. The threads may still be
//! at work on it while the next table is scanned.

use std::sync::Arc;
use std::time::Duration;

use agent_backup_core::codec::keys::{KeyFilter, SubjectFilter};
use agent_backup_core::codec::subject::Subject;
use agent_backup_core::codec::{Column, EncodeError, Encoder, RowBatch};
use agent_backup_core::plan::{Compression, Format};
use agent_backup_core::store::Directory;
use agent_backup_core::stream::{
    ChunkEncoder, EntryPlan, Finish, Frame, Job, Pool, RowDigest, Spool, Spooled, StreamError, Submit,
};
use pgrx::check_for_interrupts;

use crate::error::{Error, Result};
use crate::server::encoding::Encoding;
use crate::server::progress::Progress;
use crate::server::{failpoint, pin::Pinned, privilege};
use crate::settings;
use crate::table::catalog::{Kind, Table, TableColumn};
use crate::table::scan::{RowSink, Scan};
use crate::table::select::Selection;
use crate::table::value;

/// Stored bytes of one entry that stay in memory before a file is used.
const SPOOL_MEMORY: usize = 4 << 20;

/// How long the backend thread waits before it looks for a cancel again.
const PATIENCE: Duration = Duration::from_millis(50);

/// One format of a table, compressed and checked, not yet in a file.
pub struct Entry {
    pub format: Format,
    pub frame: Frame,
    pub spooled: Spooled,
}

/// A table that was read.
pub struct TableData {
    pub rows: u64,
    pub entries: Vec<Entry>,
    /// The filters of the CSV's chunks, and the columns that they are of.
    pub keys: Option<(Vec<String>, Spooled)>,
    /// The same of what names a person, one for each.
    pub subjects: Vec<(String, Spooled)>,
}

/// A table whose rows all were handed to the threads.
pub struct Scanned {
    job: Job,
    /// Of the formats, and then of the key filters if there are any.
    plans: Vec<EntryPlan>,
    formats: Vec<Format>,
    /// Columns of what `plans` has behind the formats: filters of keys, or keys; none where it has neither.
    key: Option<Vec<String>>,
    /// Behind that in `plans`.
    subjects: Vec<String>,
    rows: u64,
}

/// Starts the threads of a call.
pub fn start_pool() -> Result<Pool> {
    let threads = settings::workers();
    Pool::start(threads, threads + 1).map_err(|source| Error::Write(std::io::Error::other(source)))
}

/// Scans a locked table under the active snapshot, all formats at once.
pub fn scan(
    pool: &Pool,
    table: &Table,
    selection: &Selection,
    formats: &[Format],
    compression: Compression,
    scratch: &Directory,
) -> Result<Scanned> {
    require_rights(table, selection)?;
    let encode = |format, columns: &[Column]| -> Arc<dyn ChunkEncoder> {
        Arc::new(match format {
            Format::Csv => Encoder::csv(columns),
            Format::Json => Encoder::json(columns),
            Format::Sql => Encoder::sql(columns, &table.name.qualified()),
        })
    };
    let (key, subjects) = match formats.contains(&Format::Csv) {
        true => (filtered_key(table, selection), filtered_subjects(table, selection)),
        false => (Vec::new(), Vec::new()),
    };
    scan_into(pool, table, selection, formats, &|columns| {
        let mut encoders: Vec<_> = formats.iter().map(|&format| encode(format, columns)).collect();
        if !key.is_empty() {
            encoders.push(Arc::new(KeyFilter::new(columns, &key)));
        }
        for subject in &subjects {
            encoders.push(Arc::new(SubjectFilter::new(columns, subject)));
        }
        encoders.into_iter().map(|encoder| entry_plan(encoder, compression, scratch.clone())).collect()
    })
    .map(|scanned| {
        let subjects = subjects.iter().map(ToString::to_string).collect();
        Scanned { key: (!key.is_empty()).then_some(key), subjects, ..scanned }
    })
}

/// Scans a locked table as JSON and, row for row in the same chunks, the texts of its columns `key`, which stand in
/// `TableData::keys`; those are not compressed.
pub fn scan_with_keys(
    pool: &Pool,
    table: &Table,
    selection: &Selection,
    key: &[String],
    compression: Compression,
    scratch: &Directory,
) -> Result<Scanned> {
    require_rights(table, selection)?;
    let scanned = scan_into(pool, table, selection, &[Format::Json], &|columns| {
        let only_key = |column: &Column| Column { generated: !key.contains(&column.name), ..column.clone() };
        let keys: Vec<Column> = columns.iter().map(only_key).collect();
        let json = entry_plan(Arc::new(Encoder::json(columns)), compression, scratch.clone());
        vec![json, entry_plan(Arc::new(Encoder::csv(&keys)), Compression::None, scratch.clone())]
    });
    scanned.map(|scanned| Scanned { key: Some(key.to_vec()), ..scanned })
}

/// The caller may read all rows, and whoever gave filter and masks still may.
pub fn require_rights(table: &Table, selection: &Selection) -> Result<()> {
    privilege::require_reader(table.oid, &table.name.display())?;
    match &selection.defined_by {
        Some(role) => privilege::require_still_definer(role, table.owner, &table.name.display()),
        None => Ok(()),
    }
}

/// The columns of the primary key that a filter can tell keys by: equal values have equal texts.
fn filtered_key(table: &Table, selection: &Selection) -> Vec<String> {
    let usable = |column: &&TableColumn| {
        table.primary_key.contains(&column.name)
            && !column.generated
            && !selection.excluded.contains(&column.name)
            && value::has_one_text(column.type_oid)
    };
    table.columns.iter().filter(usable).map(|column| column.name.clone()).collect()
}

/// The subjects of which filters are made: those whose column is in the files as it is.
fn filtered_subjects(table: &Table, selection: &Selection) -> Vec<Subject> {
    let is_held = |subject: &Subject| {
        let known = table.columns.iter().any(|column| column.name == subject.column && !column.generated);
        known
            && !selection.excluded.contains(&subject.column)
            && !selection.masked.iter().any(|(column, _)| *column == subject.column)
    };
    selection.subjects.iter().filter_map(|text| Subject::parse(text).ok()).filter(is_held).collect()
}

/// The number of rows of a locked table under the active snapshot, and their digest as CSV with its columns in the order
/// that `table` gives them.
pub fn digest(table: &Table) -> Result<(u64, RowDigest)> {
    privilege::require_reader(table.oid, &table.name.display())?;
    let pool = start_pool()?;
    let scanned = scan_into(&pool, table, &Selection::default(), &[Format::Csv], &|columns| {
        vec![EntryPlan {
            encoder: Arc::new(DigestOnly(Encoder::csv(columns))),
            compression: Compression::None,
            spool: Arc::new(Spool::new(0, Box::new(|| Err(std::io::ErrorKind::Unsupported.into())))),
        }]
    })?;
    let data = scanned.settle(table)?;
    Ok((data.rows, data.entries.first().map(|entry| entry.spooled.digest).unwrap_or_default()))
}

/// Digests the rows of a batch and keeps none of their text.
struct DigestOnly(Encoder);

impl ChunkEncoder for DigestOnly {
    fn encode(
        &self,
        batch: &RowBatch,
        digest: &mut RowDigest,
        out: &mut Vec<u8>,
    ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let done = self.0.encode(batch, digest, out);
        out.clear();
        Ok(done?)
    }
}

/// Scans a table once into the spools that `plan` makes, one for each format first.
fn scan_into(
    pool: &Pool,
    table: &Table,
    selection: &Selection,
    formats: &[Format],
    plan: &dyn Fn(&[Column]) -> Vec<EntryPlan>,
) -> Result<Scanned> {
    let _kinds = refuse_swapped_relations(table.kind)?;
    failpoint::reach("scan")?;
    let encoding = Encoding::of_database();
    let wants_json = formats.contains(&Format::Json);
    let planned = selection.columns(table)?.into_iter().map(|column| value::plan(column, wants_json, encoding));
    let (columns, takes): (Vec<_>, Vec<_>) = planned.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    let plans = plan(&columns);
    let batch_bytes = settings::chunk_bytes() / 4 * 3;
    let job = pool.job(plans.clone());
    let progress = Progress::start(table.oid, table.bytes);
    let mut sink = PoolSink { table, pool, job: &job, progress, rows: 0, bytes: 0 };
    let query = selection.query(table)?;
    // Values of keys are made by the input functions of their types.
    let others_code = selection.has_expressions() || selection.changed.is_some();
    let rows = Scan { query, table, others_code, takes, encoding, batch_bytes, sink: &mut sink }.run()?;
    drop(sink);
    Ok(Scanned { job, plans, formats: formats.to_vec(), key: None, subjects: Vec::new(), rows })
}

impl Scanned {
    /// Whether the threads have nothing left to do for it.
    pub fn is_over(&self) -> bool {
        self.job.is_over()
    }

    /// Bytes of memory that its spools hold.
    pub fn in_memory(&self) -> usize {
        self.plans.iter().map(|plan| plan.spool.in_memory()).sum()
    }

    /// Waits for the threads.
    pub fn settle(self, table: &Table) -> Result<TableData> {
        loop {
            check_for_interrupts!();
            match self.job.finish(PATIENCE).map_err(|error| stream_error(table, error))? {
                Finish::Done => break,
                Finish::Pending => (),
            }
        }
        let spooled = |plan: &EntryPlan| plan.spool.finish().map_err(|error| stream_error(table, error));
        let behind = self.formats.len() + usize::from(self.key.is_some());
        let keys = self.key.zip(self.plans.get(self.formats.len()));
        let keys: Result<_> = keys.map(|(key, plan)| Ok((key, spooled(plan)?))).transpose();
        let behind = self.plans.iter().skip(behind);
        let subjects = behind.zip(self.subjects).map(|(plan, subject)| Ok((subject, spooled(plan)?)));
        let subjects = subjects.collect::<Result<Vec<_>>>()?;
        let entries = self.plans.iter().zip(self.formats).map(|(plan, format)| {
            let spooled = spooled(plan)?;
            Ok(Entry { format, frame: Frame::of(&*plan.encoder), spooled })
        });
        Ok(TableData { rows: self.rows, entries: entries.collect::<Result<Vec<_>>>()?, keys: keys?, subjects })
    }
}

/// What was planned as a table must not be read as a view or foreign table that took its place (CVE-2024-7348).
pub fn refuse_swapped_relations(kind: Kind) -> Result<Pinned> {
    let pinned = Pinned::nothing();
    let restricted = if matches!(kind, Kind::Table | Kind::MaterializedView) { "view, foreign-table" } else { "view" };
    pinned.set_if_known("restrict_nonsystem_relation_kind", restricted)?;
    Ok(pinned)
}

fn entry_plan(encoder: Arc<dyn ChunkEncoder>, compression: Compression, scratch: Directory) -> EntryPlan {
    let open = Box::new(move || scratch.scratch_file().map_err(std::io::Error::from));
    EntryPlan { encoder, compression, spool: Arc::new(Spool::new(SPOOL_MEMORY, open)) }
}

/// The scan's end of the pool.
struct PoolSink<'a> {
    table: &'a Table,
    pool: &'a Pool,
    job: &'a Job,
    progress: Progress,
    rows: u64,
    bytes: u64,
}

impl RowSink for PoolSink<'_> {
    fn pass(&mut self, mut batch: RowBatch) -> Result<Vec<u8>> {
        self.rows += u64::from(batch.rows);
        self.bytes += batch.bytes.len() as u64;
        self.progress.show(self.rows, self.bytes);
        loop {
            check_for_interrupts!();
            match self.job.submit(batch, PATIENCE).map_err(|error| stream_error(self.table, error))? {
                Submit::Taken => return Ok(self.pool.take_buffer()),
                Submit::Full(returned) => batch = returned,
            }
        }
    }
}

/// Gives a stream's error the table's name, and its own variant where a person can do something about it.
pub fn stream_error(table: &Table, error: StreamError) -> Error {
    let table = table.name.display();
    match error {
        StreamError::Encode { source, .. } => match source.downcast::<EncodeError>() {
            Ok(error) => match *error {
                EncodeError::RowTooLong { row } => Error::RowTooLong { table, row: row + 1 },
                source => Error::Encode { table, source },
            },
            Err(other) => Error::Worker { table, message: other.to_string() },
        },
        StreamError::Spill { bytes, source } if source.raw_os_error().is_some() => {
            Error::Spill { table, bytes, source }
        }
        StreamError::Spill { source, .. } | StreamError::Write(source) => crate::run::publish::write_error(source),
        other => Error::Worker { table, message: other.to_string() },
    }
}
