//! Ready rows into an open table, in batches: defaults, generated columns, constraints.

use std::collections::HashMap;

use agent_backup_core::codec::load::Cell;
use pgrx::tupdesc::PgTupleDesc;
use pgrx::{PgMemoryContexts, pg_sys};

use crate::error::Result;
use crate::table::load::{Load, Part};
use crate::table::rows::{Input, Place, name_of};
use crate::table::targets::find;

/// Rows, and bytes of them on average, that are given to the table at once, as COPY does it.
const BATCH_ROWS: usize = 1000;
const BATCH_BYTES: usize = 64 << 10;

/// Where the value of a column of the table comes from.
enum Source {
    /// A column that is dropped, or generated, or without a default.
    Null,
    Default(*mut pg_sys::ExprState),
    Cell(usize),
}

/// How a cell that is a text becomes a value.
struct Reader {
    input: Input,
    /// The values of the labels of an enum that were met: to look one up in the catalogue is slow.
    labels: Option<HashMap<Vec<u8>, pg_sys::Datum>>,
}

/// The table, open, with the rows that wait to be given to it.
pub(super) struct Writer {
    relation: pg_sys::Relation,
    state: *mut pg_sys::EState,
    context: *mut pg_sys::ExprContext,
    target: *mut pg_sys::ResultRelInfo,
    bulk: pg_sys::BulkInsertState,
    command: pg_sys::CommandId,
    options: i32,
    sources: Vec<Source>,
    readers: Vec<Reader>,
    generated: Vec<(usize, *mut pg_sys::ExprState)>,
    has_constraints: bool,
    is_partition: bool,
    convert_from: Option<i32>,
    slots: Vec<*mut pg_sys::TupleTableSlot>,
    /// Slots that hold a row that waits.
    waiting: usize,
    /// For values; emptied when the rows are in the table.
    scratch: PgMemoryContexts,
}

impl Writer {
    /// Opens the table of a load, whose owner the caller acts as.
    pub(super) fn open(load: &Load) -> Result<Self> {
        // SAFETY: the relation is locked by the caller, and what is made here is freed by Drop, or by an abort with its
        // memory context. Preparing an expression can run code of the owner, whom the caller acts as.
        unsafe {
            let relation = pg_sys::table_open(load.relation, pg_sys::NoLock as i32);
            let state = pg_sys::CreateExecutorState();
            let target = pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast::<pg_sys::ResultRelInfo>();
            pg_sys::InitResultRelInfo(target, relation, 0, std::ptr::null_mut(), 0);
            // Rows that all see at once, as REFRESH MATERIALIZED VIEW writes them: who reads with an older snapshot sees
            // them when the table is in its place, and not an empty one. Only where no abort can keep such a table.
            let is_ours = (*relation).rd_createSubid == pg_sys::GetCurrentSubTransactionId();
            let frozen = if is_ours { pg_sys::TABLE_INSERT_SKIP_FSM | pg_sys::TABLE_INSERT_FROZEN } else { 0 };
            let mut writer = Writer {
                relation,
                state,
                context: pg_sys::CreateExprContext(state),
                target,
                bulk: pg_sys::GetBulkInsertState(),
                command: pg_sys::GetCurrentCommandId(true),
                options: frozen as i32,
                sources: Vec::new(),
                readers: Vec::new(),
                generated: Vec::new(),
                has_constraints: !(*(*relation).rd_att).constr.is_null(),
                is_partition: (*(*relation).rd_rel).relispartition,
                convert_from: load.convert_from,
                slots: Vec::new(),
                waiting: 0,
                scratch: PgMemoryContexts::new("agent_backup load"),
            };
            writer.plan(load.columns)?;
            Ok(writer)
        }
    }

    /// # Safety
    /// The relation is open.
    unsafe fn plan(&mut self, columns: &[String]) -> Result<()> {
        // SAFETY: as the caller promises; expressions are of the executor state's memory.
        unsafe {
            let description = PgTupleDesc::from_pg_copy((*self.relation).rd_att);
            for name in columns {
                let (_, column) = find(&description, name)?;
                let labels = pg_sys::type_is_enum(column.atttypid).then(HashMap::new);
                let is_enum = pg_sys::get_typtype(column.atttypid) == pg_sys::TYPTYPE_ENUM as std::ffi::c_char;
                self.readers.push(Reader { input: Input::of(column), labels: labels.filter(|_| is_enum) });
            }
            for (place, column) in description.iter().enumerate() {
                let name = name_of(column)?;
                let cell = columns.iter().position(|taken| *taken == name).filter(|_| !column.attisdropped);
                let source = match cell {
                    Some(cell) => Source::Cell(cell),
                    None if column.attisdropped => Source::Null,
                    None => self.computed(place, column),
                };
                self.sources.push(source);
            }
        }
        Ok(())
    }

    /// # Safety
    /// As `plan`.
    unsafe fn computed(&mut self, place: usize, column: &pg_sys::FormData_pg_attribute) -> Source {
        const STORED: std::ffi::c_char = b's' as std::ffi::c_char;
        if column.attgenerated != 0 && column.attgenerated != STORED {
            return Source::Null;
        }
        // SAFETY: as the caller promises.
        let expression = unsafe {
            let expression = pg_sys::build_column_default(self.relation, place as i32 + 1);
            if expression.is_null() {
                return Source::Null;
            }
            pg_sys::ExecPrepareExpr(expression.cast(), self.state)
        };
        if column.attgenerated == STORED {
            self.generated.push((place, expression));
            return Source::Null;
        }
        Source::Default(expression)
    }

    /// Gives the rows to the table; when it returns all are there.
    pub(super) fn put(&mut self, part: &Part, place: &mut Place) {
        let aligned = Aligned::of(&part.loaded.bytes);
        let width = self.readers.len();
        let batch = (BATCH_BYTES * part.loaded.rows.len() / part.loaded.bytes.len().max(1)).clamp(1, BATCH_ROWS);
        for (index, number) in part.loaded.rows.iter().enumerate() {
            let row = &part.loaded.cells[index * width..(index + 1) * width];
            place.at_row(part.first_row + number + 1);
            // SAFETY: the cells and bytes are of one part, which stays until they are flushed below.
            unsafe {
                self.row(row, aligned.bytes(), place);
                if self.waiting == batch {
                    self.flush();
                }
            }
        }
        // SAFETY: as above.
        unsafe { self.flush() }
    }

    /// # Safety
    /// Cells point into `bytes`, whose first is aligned to 8; both stay until the next `flush`.
    unsafe fn row(&mut self, row: &[Cell], bytes: &[u8], place: &mut Place) {
        // SAFETY: as the caller promises; a slot has a value for each column of the table.
        unsafe {
            let slot = self.slot();
            let width = self.sources.len();
            let values = std::slice::from_raw_parts_mut((*slot).tts_values, width);
            let nulls = std::slice::from_raw_parts_mut((*slot).tts_isnull, width);
            for (number, source) in self.sources.iter().enumerate() {
                (values[number], nulls[number]) = match source {
                    Source::Null => (pg_sys::Datum::from(0), true),
                    Source::Default(expression) => evaluate(*expression, self.context, &mut self.scratch),
                    Source::Cell(cell) => match row[*cell] {
                        Cell::Word(word) => (pg_sys::Datum::from(word), false),
                        Cell::At(at) => (pg_sys::Datum::from(bytes.as_ptr().add(at as usize)), false),
                        Cell::Null => {
                            place.at_column(Some(*cell));
                            let reader = &mut self.readers[*cell];
                            (self.scratch.switch_to(|_| reader.input.read(None, None)), true)
                        }
                        Cell::Text(at, length) => {
                            place.at_column(Some(*cell));
                            let text = &bytes[at as usize..=(at + length) as usize];
                            (self.readers[*cell].read(text, self.convert_from, &mut self.scratch), false)
                        }
                    },
                };
            }
            place.at_column(None);
            pg_sys::ExecStoreVirtualTuple(slot);
            (*slot).tts_tableOid = (*self.relation).rd_id;
            if !self.generated.is_empty() {
                (*self.context).ecxt_scantuple = slot;
                for (number, expression) in &self.generated {
                    let computed = evaluate(*expression, self.context, &mut self.scratch);
                    (values[*number], nulls[*number]) = computed;
                }
            }
            if self.has_constraints {
                pg_sys::ExecConstraints(self.target, slot, self.state);
            }
            if self.is_partition {
                pg_sys::ExecPartitionCheck(self.target, slot, self.state, true);
            }
            self.waiting += 1;
        }
    }

    /// An empty slot behind those that wait.
    ///
    /// # Safety
    /// The relation is open.
    unsafe fn slot(&mut self) -> *mut pg_sys::TupleTableSlot {
        if self.waiting == self.slots.len() {
            // SAFETY: as the caller promises; Drop frees it.
            self.slots.push(unsafe { pg_sys::table_slot_create(self.relation, std::ptr::null_mut()) });
        }
        self.slots[self.waiting]
    }

    /// Gives the rows that wait to the table.
    ///
    /// # Safety
    /// What they point to is there still.
    unsafe fn flush(&mut self) {
        if self.waiting == 0 {
            return;
        }
        // SAFETY: as the caller promises; the server copies the rows, and slots are cleared before their values go.
        unsafe {
            let (slots, count) = (self.slots.as_mut_ptr(), self.waiting as i32);
            pg_sys::table_multi_insert(self.relation, slots, count, self.command, self.options, self.bulk);
            for slot in &self.slots[..self.waiting] {
                pg_sys::ExecClearTuple(*slot);
            }
            self.waiting = 0;
            self.scratch.reset();
            for context in [self.context, (*self.state).es_per_tuple_exprcontext] {
                if !context.is_null() {
                    pg_sys::MemoryContextReset((*context).ecxt_per_tuple_memory);
                }
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: frees and closes what `open` made; the lock stays with the transaction.
            unsafe {
                pg_sys::FreeBulkInsertState(self.bulk);
                for slot in &self.slots {
                    pg_sys::ExecDropSingleTupleTableSlot(*slot);
                }
                pg_sys::table_finish_bulk_insert(self.relation, self.options);
                pg_sys::FreeExecutorState(self.state);
                pg_sys::table_close(self.relation, pg_sys::NoLock as i32);
            }
        }
    }
}

impl Reader {
    /// # Safety
    /// `text` ends in its only zero byte.
    unsafe fn read(&mut self, text: &[u8], from: Option<i32>, scratch: &mut PgMemoryContexts) -> pg_sys::Datum {
        // SAFETY: as the caller promises. The value of a label is a word, so that it can be kept.
        let mut read = || unsafe { scratch.switch_to(|_| self.input.read(Some(text), from)) };
        match &mut self.labels {
            None => read(),
            Some(labels) => match labels.get(text) {
                Some(value) => *value,
                None => *labels.entry(text.to_vec()).or_insert_with(read),
            },
        }
    }
}

/// # Safety
/// The expression was prepared for the context's executor state.
unsafe fn evaluate(
    expression: *mut pg_sys::ExprState,
    context: *mut pg_sys::ExprContext,
    scratch: &mut PgMemoryContexts,
) -> (pg_sys::Datum, bool) {
    // SAFETY: as the caller promises.
    unsafe {
        let mut is_null = true;
        let value = (*expression).evalfunc.map_or(pg_sys::Datum::from(0), |evaluate| {
            scratch.switch_to(|_| pg_sys::ffi::pg_guard_ffi_boundary(|| evaluate(expression, context, &mut is_null)))
        });
        (value, is_null)
    }
}

/// Bytes whose first is aligned as a value's first must be.
enum Aligned<'a> {
    Borrowed(&'a [u8]),
    Copied(Vec<u64>, usize),
}

impl<'a> Aligned<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        if bytes.as_ptr().cast::<u64>().is_aligned() {
            return Aligned::Borrowed(bytes);
        }
        let mut copied = vec![0u64; bytes.len().div_ceil(8)];
        for (word, bytes) in copied.iter_mut().zip(bytes.chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_ne_bytes(whole);
        }
        Aligned::Copied(copied, bytes.len())
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Aligned::Borrowed(bytes) => bytes,
            // SAFETY: the words hold at least that many bytes.
            Aligned::Copied(words, length) => unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), *length) },
        }
    }
}
