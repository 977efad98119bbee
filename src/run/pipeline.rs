//! One table from scan to spools: scan → (threads: encode → digest → compress → check) → spool.

use std::sync::Arc;
use std::time::Duration;

use agent_backup_core::codec::{EncodeError, Encoder, RowBatch};
use agent_backup_core::plan::{Compression, Format};
use agent_backup_core::store::Directory;
use agent_backup_core::stream::{EntryPlan, Finish, Frame, Pool, Spool, Spooled, StreamError, Submit};
use pgrx::check_for_interrupts;

use crate::error::{Error, Result};
use crate::server::progress::Progress;
use crate::server::{failpoint, pin::Pinned, privilege};
use crate::settings;
use crate::table::catalog::{Kind, Table};
use crate::table::scan::{RowSink, Scan};
use crate::table::select::Selection;
use crate::table::value::{self, Encoding};

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
}

/// Reads a locked table under the active snapshot into spools, all formats in one scan.
pub fn read(
    table: &Table,
    selection: &Selection,
    formats: &[Format],
    compression: Compression,
    scratch: &Directory,
) -> Result<TableData> {
    privilege::require_reader(table.oid, &table.name.display())?;
    if let Some(role) = &selection.defined_by {
        privilege::require_still_definer(role, table.owner, &table.name.display())?;
    }
    let _kinds = refuse_swapped_relations(table.kind)?;
    failpoint::reach("scan")?;
    let encoding = Encoding::of_database();
    let wants_json = formats.contains(&Format::Json);
    let planned = selection.columns(table)?.into_iter().map(|column| value::plan(column, wants_json, encoding));
    let (columns, takes): (Vec<_>, Vec<_>) = planned.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    let encoders = formats.iter().map(|&format| match format {
        Format::Csv => Encoder::csv(&columns),
        Format::Json => Encoder::json(&columns),
        Format::Sql => Encoder::sql(&columns, &table.name.qualified()),
    });
    let plans: Vec<EntryPlan> = encoders.map(|encoder| entry_plan(encoder, compression, scratch)).collect();
    let batch_bytes = settings::chunk_bytes() / 4 * 3;
    let mut sink = PoolSink::start(table, plans.clone())?;
    let query = selection.query(table)?;
    let others_code = selection.has_expressions();
    let rows = Scan { query, table, others_code, takes, encoding, batch_bytes, sink: &mut sink }.run()?;
    sink.finish()?;
    let entries = plans.iter().zip(formats).map(|(plan, &format)| {
        let spooled = plan.spool.finish().map_err(|error| stream_error(table, error))?;
        Ok(Entry { format, frame: Frame::of(&*plan.encoder), spooled })
    });
    Ok(TableData { rows, entries: entries.collect::<Result<Vec<_>>>()? })
}

/// What was planned as a table must not be read as a view or foreign table that took its place (CVE-2024-7348).
pub fn refuse_swapped_relations(kind: Kind) -> Result<Pinned> {
    let pinned = Pinned::nothing();
    let restricted = if matches!(kind, Kind::Table | Kind::MaterializedView) { "view, foreign-table" } else { "view" };
    pinned.set_if_known("restrict_nonsystem_relation_kind", restricted)?;
    Ok(pinned)
}

fn entry_plan(encoder: Encoder, compression: Compression, scratch: &Directory) -> EntryPlan {
    let scratch = scratch.clone();
    let open = Box::new(move || scratch.scratch_file().map_err(std::io::Error::from));
    EntryPlan { encoder: Arc::new(encoder), compression, spool: Arc::new(Spool::new(SPOOL_MEMORY, open)) }
}

/// The scan's end of the pool.
struct PoolSink<'a> {
    table: &'a Table,
    pool: Pool,
    progress: Progress,
    rows: u64,
    bytes: u64,
}

impl<'a> PoolSink<'a> {
    fn start(table: &'a Table, plans: Vec<EntryPlan>) -> Result<Self> {
        let threads = settings::workers();
        let pool = Pool::start(threads, plans, threads + 1).map_err(|error| stream_error(table, error))?;
        let progress = Progress::start(table.oid, table.bytes);
        Ok(PoolSink { table, pool, progress, rows: 0, bytes: 0 })
    }

    fn finish(mut self) -> Result<()> {
        loop {
            check_for_interrupts!();
            match self.pool.finish(PATIENCE).map_err(|error| stream_error(self.table, error))? {
                Finish::Done => return Ok(()),
                Finish::Pending => (),
            }
        }
    }
}

impl RowSink for PoolSink<'_> {
    fn pass(&mut self, mut batch: RowBatch) -> Result<Vec<u8>> {
        self.rows += u64::from(batch.rows);
        self.bytes += batch.bytes.len() as u64;
        self.progress.show(self.rows, self.bytes);
        loop {
            check_for_interrupts!();
            match self.pool.submit(batch, PATIENCE).map_err(|error| stream_error(self.table, error))? {
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
