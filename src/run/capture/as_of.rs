//! `read_as_of`: the rows of a table as they were at a moment: the live ones, but for those of keys that changed since.

use std::collections::{HashMap, HashSet};

use agent_backup_core::codec::{CsvFields, Encoder, RowBatch, change};
use pgrx::pg_sys;
use pgrx::tupdesc::PgTupleDesc;

use crate::error::{Error, Result};
use crate::ident;
use crate::journal_history::{Image, Shape};
use crate::run::capture::moment::{self, Moment};
use crate::run::capture::net::{self, NetChange};
use crate::run::{export, read, say};
use crate::server::encoding::Encoding;
use crate::server::pin::Pinned;
use crate::server::privilege;
use crate::server::results::Results;
use crate::server::snapshot::Snapshot;
use crate::server::user::{ActingAs, Restriction};
use crate::table::catalog::Table;
use crate::table::rows::{Place, RowMaker};
use crate::table::scan::{RowSink, Scan};
use crate::table::select::Selection;
use crate::table::value;

/// Bytes of live rows that are looked through at once.
const BATCH_BYTES: usize = 256 << 10;

/// Reads the rows into what `make` makes for rows of this description.
pub fn run(
    row_type: pg_sys::Oid,
    moment: &Moment,
    make: impl FnOnce(pg_sys::TupleDesc) -> Result<Results>,
) -> Result<()> {
    let relation = read::relation_of(row_type)?;
    let display = ident::name_of(relation)?.display();
    let table = export::lock_and_describe(relation)?;
    privilege::require_reader(relation, &display)?;
    let tracking = moment::covered(&display, Some(relation), moment)?;
    // SAFETY: the relation is locked, so its row type stays as it is.
    let description = unsafe { PgTupleDesc::from_pg_is_copy(pg_sys::lookup_rowtype_tupdesc_copy(row_type, -1)) };
    let results = make(description.as_ptr())?;
    let _formats = Pinned::formats()?;
    // The live rows first, then the log: what commits in between is in the log and its keys are told by it alone.
    let _snapshot = Snapshot::push()?;
    let mut reading = Reading {
        // SAFETY: reads this backend's state.
        memory: unsafe { pg_sys::CurrentMemoryContext },
        table: &table,
        description: &description,
        results,
        makers: HashMap::new(),
        place: None,
        fields: CsvFields::default(),
        keys: HashSet::new(),
        rows: HashMap::new(),
    };
    net::of(&table, moment.later(tracking.id)?.selection(), |change| reading.change(change))?;
    reading.live()?;
    say::notice(&format!("{display} as of {}, {}", moment.shown()?, moment.order()?));
    Ok(())
}

/// Another memory context for a while; dropping it goes back. After an error the server's abort does so.
struct Switched(pg_sys::MemoryContext);

impl Switched {
    fn to(context: pg_sys::MemoryContext) -> Self {
        // SAFETY: the context is of the call, which goes on.
        Switched(unsafe { pg_sys::MemoryContextSwitchTo(context) })
    }
}

impl Drop for Switched {
    fn drop(&mut self) {
        // SAFETY: the context that was current before.
        unsafe { pg_sys::MemoryContextSwitchTo(self.0) };
    }
}

struct Reading<'a> {
    /// The memory of the call.
    memory: pg_sys::MemoryContext,
    table: &'a Table,
    description: &'a PgTupleDesc<'a>,
    results: Results,
    makers: HashMap<i64, RowMaker<'a>>,
    place: Option<Place>,
    fields: CsvFields,
    /// Keys whose live row is not the one of the moment.
    keys: HashSet<Vec<u8>>,
    /// The same for rows without a key: how often each is to be left out.
    rows: HashMap<Vec<u8>, u64>,
}

impl<'a> Reading<'a> {
    fn change(&mut self, change: NetChange) -> Result<()> {
        match (change.key, change.after) {
            (Some(key), _) => drop(self.keys.insert(key)),
            (None, Some(after)) => *self.rows.entry(after.row).or_insert(0) += 1,
            (None, None) => (),
        }
        match change.before {
            Some(before) => self.put(&before),
            None => Ok(()),
        }
    }

    fn put(&mut self, image: &Image) -> Result<()> {
        let Shape { id, columns, .. } = &*image.shape;
        let _owner = ActingAs::user(self.table.owner, Restriction::SecurityRestricted);
        self.fields.read(&image.row).map_err(|error| unexpected(&error.to_string()))?;
        self.row(*id, columns)
    }

    /// Makes a row of the fields that were read; those of one shape are read by one maker. The caller acts as the owner.
    fn row(&mut self, shape: i64, columns: &[String]) -> Result<()> {
        if !self.makers.contains_key(&shape) {
            let names: Vec<&str> = columns.iter().map(String::as_str).collect();
            let (maker, place) = {
                // What it keeps outlives the row that is being read, and the query that found it.
                let _memory = Switched::to(self.memory);
                let maker = RowMaker::plan(self.description, self.table.oid, &names, conversion())?;
                let place = self.place.is_none().then(|| maker.place(self.table.name.display())).transpose()?;
                (maker, place)
            };
            self.place = self.place.take().or(place);
            self.makers.insert(shape, maker);
        }
        let (Some(maker), Some(place)) = (self.makers.get_mut(&shape), self.place.as_mut()) else {
            return Err(unexpected("no maker"));
        };
        maker.put(&self.fields, 0, place, &mut self.results);
        Ok(())
    }

    /// The live rows that nothing changed since.
    fn live(mut self) -> Result<()> {
        let encoding = Encoding::of_database();
        let plans = self.table.columns.iter().map(|column| value::plan(column, false, encoding));
        let (columns, takes): (Vec<_>, Vec<_>) = plans.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let names: Vec<String> = columns.iter().filter(|c| !c.generated).map(|c| c.name.clone()).collect();
        let key = self.table.primary_key.iter().filter_map(|name| names.iter().position(|known| known == name));
        let table = self.table;
        let query = Selection::default().query(table)?;
        let mut sink = Live { key: key.collect(), encoder: Encoder::csv(&columns), names, reading: &mut self };
        Scan { query, table, others_code: false, takes, encoding, batch_bytes: BATCH_BYTES, sink: &mut sink }.run()?;
        if self.rows.values().any(|left| *left > 0) {
            let reason =
                "rows that the log says are there are not: they changed in between, or past the log".to_owned();
            return Err(Error::Internal { object: "log of changes", reason });
        }
        Ok(())
    }
}

/// No shape of the log has this number: it has 64 bits of a digest.
const LIVE: i64 = 0;

struct Live<'r, 'a> {
    encoder: Encoder,
    names: Vec<String>,
    /// Fields of the key.
    key: Vec<usize>,
    reading: &'r mut Reading<'a>,
}

impl RowSink for Live<'_, '_> {
    fn pass(&mut self, mut batch: RowBatch) -> Result<Vec<u8>> {
        pgrx::check_for_interrupts!();
        let mut text = Vec::new();
        let table = self.reading.table.name.display();
        let rows = self.encoder.encode_rows(&batch, &mut text).map_err(|source| Error::Encode { table, source })?;
        for range in rows {
            let row = &text[range];
            if let Some(left) = self.reading.rows.get_mut(row).filter(|left| **left > 0) {
                *left -= 1;
                continue;
            }
            self.reading.fields.read(row).map_err(|error| unexpected(&error.to_string()))?;
            let changed =
                change::key(&self.reading.fields, &self.key).is_some_and(|key| self.reading.keys.contains(&key));
            if !changed {
                self.reading.row(LIVE, &self.names)?;
            }
        }
        batch.bytes.clear();
        Ok(batch.bytes)
    }
}

/// The encoding of images, where it is not that of the database.
pub fn conversion() -> Option<i32> {
    (Encoding::of_database() == Encoding::Converted).then_some(pg_sys::pg_enc::PG_UTF8 as i32)
}

fn unexpected(reason: &str) -> Error {
    Error::Internal { object: "log of changes", reason: reason.to_owned() }
}
