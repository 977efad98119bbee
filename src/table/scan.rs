//! A table's rows, streamed through the executor by a receiver of our own, so that partitioned and foreign tables read
//! like heaps and nothing is materialised. The receiver copies values into batches; threads decode them.

use std::ffi::CString;

use agent_backup_core::codec::RowBatch;
use agent_backup_core::codec::wire::NULL_LENGTH;
use pgrx::{PgList, PgMemoryContexts, pg_guard, pg_sys};

use crate::error::{Error, Result};
use crate::pg_compat;
use crate::server::encoding::{Encoding, c_string};
use crate::server::user::{ActingAs, Restriction};
use crate::table::catalog::Table;
use crate::table::value::Take;

/// Takes full batches and gives back buffers to fill.
pub trait RowSink {
    /// Passes a batch on and returns an empty buffer; waits, and answers interrupts, while all threads are busy.
    fn pass(&mut self, batch: RowBatch) -> Result<Vec<u8>>;
}

/// One scan: what to run and how to copy each column of its result.
pub struct Scan<'a> {
    /// A `SELECT` of the columns, built by `plan`.
    pub query: String,
    /// The table, whose owner's rights code of others runs with (index expressions, casts, filters, masks).
    pub table: &'a Table,
    /// Whether the query holds expressions of a person: then its analysis may run code, too.
    pub others_code: bool,
    pub takes: Vec<Take>,
    pub encoding: Encoding,
    /// Bytes of copied rows that fill a batch.
    pub batch_bytes: usize,
    pub sink: &'a mut dyn RowSink,
}

impl Scan<'_> {
    /// Runs it under the active snapshot; the number of rows.
    pub fn run(self) -> Result<u64> {
        let query = c_string(&self.query)?;
        let analysed = analyse(&query, self.table, self.others_code)?;
        // From here on the planner and the executor may run code of the table's owner.
        let _owner = self.as_owner();
        let mut receiver = Receiver::new(self.takes, self.encoding, self.batch_bytes, self.sink);
        // SAFETY: the query is planned; receiver and query text outlive the descriptor, which is freed here.
        // An error on the way is cleaned up by the abort of the (sub)transaction that the caller runs it in.
        unsafe {
            let plan = pg_sys::pg_plan_query(analysed, query.as_ptr(), 0, std::ptr::null_mut());
            let description = pg_sys::CreateQueryDesc(
                plan,
                query.as_ptr(),
                pg_sys::GetActiveSnapshot(),
                std::ptr::null_mut(),
                (&raw mut receiver).cast(),
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                0,
            );
            pg_sys::ExecutorStart(description, 0);
            pg_compat::executor_run(description);
            pg_sys::ExecutorFinish(description);
            pg_sys::ExecutorEnd(description);
            pg_sys::FreeQueryDesc(description);
        }
        receiver.finish()
    }

    fn as_owner(&self) -> ActingAs {
        ActingAs::user(self.table.owner, Restriction::SecurityRestricted)
    }
}

/// Checks a query over a table as a backup would read it: names, types, and that it is one of this table.
pub fn check(query: &str, table: &Table, others_code: bool) -> Result<()> {
    analyse(&c_string(query)?, table, others_code).map(drop)
}

/// Parses and analyses a query, which must have come to mean the table that was locked: names are looked up again, and
/// a lock on a table does not keep its schema in place. Where it holds expressions of a person that is the owner's work.
fn analyse(query: &CString, table: &Table, others_code: bool) -> Result<*mut pg_sys::Query> {
    // SAFETY: reads this backend's state.
    let caller = unsafe { pg_sys::GetUserId() };
    let _owner = others_code.then(|| ActingAs::user(table.owner, Restriction::SecurityRestricted));
    // SAFETY: the text is NUL-terminated and lives in the caller; lists are checked for their length before use.
    unsafe {
        let statements = PgList::<pg_sys::RawStmt>::from_pg(pg_sys::pg_parse_query(query.as_ptr()));
        let parsed = pg_sys::parse_analyze_fixedparams(
            only(&statements)?,
            query.as_ptr(),
            std::ptr::null(),
            0,
            std::ptr::null_mut(),
        );
        if (*parsed).hasTargetSRFs || (*parsed).hasAggs || (*parsed).hasWindowFuncs {
            let reason = "each must give one value for its row, without aggregate, window or set-returning function";
            return Err(Error::InvalidOption { option: "masked_columns", reason: reason.into() });
        }
        // Rights, policies and user mappings are the caller's, as in a view of theirs; only code runs as the owner.
        pg_compat::check_as(parsed, caller);
        let analysed = only(&PgList::<pg_sys::Query>::from_pg(pg_sys::pg_rewrite_query(parsed)))?;
        let read = PgList::<pg_sys::RangeTblEntry>::from_pg((*analysed).rtable).head();
        match read.map(|entry| (*entry).relid) {
            Some(relation) if relation == table.oid => Ok(analysed),
            _ => Err(Error::Replaced { table: table.name.display() }),
        }
    }
}

fn only<T>(list: &PgList<T>) -> Result<*mut T> {
    match (list.len(), list.head()) {
        (1, Some(item)) => Ok(item),
        (n, _) => Err(Error::Internal { object: "table scan", reason: format!("it has {n} statements") }),
    }
}

/// A `DestReceiver` with what it needs behind it, as the executor's C side expects.
#[repr(C)]
struct Receiver<'a> {
    base: pg_sys::DestReceiver,
    takes: Vec<Take>,
    encoding: Encoding,
    batch_bytes: usize,
    sink: &'a mut dyn RowSink,
    batch: RowBatch,
    rows: u64,
    /// For what output functions and detoasting allocate; emptied after each row that used it.
    scratch: PgMemoryContexts,
    failed: Option<Error>,
}

impl<'a> Receiver<'a> {
    fn new(takes: Vec<Take>, encoding: Encoding, batch_bytes: usize, sink: &'a mut dyn RowSink) -> Self {
        Receiver {
            base: pg_sys::DestReceiver {
                receiveSlot: Some(receive_slot),
                rStartup: Some(start_up),
                rShutdown: Some(shut_down),
                rDestroy: Some(shut_down),
                mydest: pg_sys::CommandDest::DestNone,
            },
            takes,
            encoding,
            batch_bytes,
            sink,
            batch: RowBatch::default(),
            rows: 0,
            scratch: PgMemoryContexts::new("agent_backup row"),
            failed: None,
        }
    }

    fn finish(mut self) -> Result<u64> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.batch.rows > 0 {
            let batch = std::mem::take(&mut self.batch);
            self.sink.pass(batch)?;
        }
        Ok(self.rows)
    }

    /// Copies one row; whether to go on.
    ///
    /// # Safety
    /// `slot` holds a row of as many columns as there are takes.
    unsafe fn row(&mut self, slot: *mut pg_sys::TupleTableSlot) -> bool {
        // SAFETY: as the caller promises; deforming fills tts_values and tts_isnull for all columns.
        let used_scratch = unsafe {
            let wanted = self.takes.len() as i32;
            if i32::from((*slot).tts_nvalid) < wanted {
                pg_sys::slot_getsomeattrs_int(slot, wanted);
            }
            let mut used = false;
            for (place, take) in self.takes.iter_mut().enumerate() {
                if *(*slot).tts_isnull.add(place) {
                    self.batch.bytes.extend_from_slice(&NULL_LENGTH.to_le_bytes());
                } else {
                    let datum = *(*slot).tts_values.add(place);
                    used |= copy(take, datum, self.encoding, &mut self.scratch, &mut self.batch.bytes);
                }
            }
            used
        };
        if used_scratch {
            // SAFETY: nothing allocated there is kept.
            unsafe { self.scratch.reset() };
        }
        self.batch.rows += 1;
        self.rows += 1;
        if self.batch.bytes.len() < self.batch_bytes {
            return true;
        }
        let next = RowBatch { sequence: self.batch.sequence + 1, first_row: self.rows, ..RowBatch::default() };
        match self.sink.pass(std::mem::replace(&mut self.batch, next)) {
            Ok(buffer) => {
                self.batch.bytes = buffer;
                true
            }
            Err(error) => {
                self.failed = Some(error);
                false
            }
        }
    }
}

/// Appends one value in the wire form; whether the scratch context was used.
///
/// # Safety
/// `datum` is a non-null value of the column that `take` was planned for.
pub(super) unsafe fn copy(
    take: &mut Take,
    datum: pg_sys::Datum,
    encoding: Encoding,
    scratch: &mut PgMemoryContexts,
    out: &mut Vec<u8>,
) -> bool {
    match take {
        Take::ByValue(size) => {
            append(out, &datum.value().to_ne_bytes()[by_value_range(*size)]);
            false
        }
        Take::Fixed(size) => {
            // SAFETY: a by-reference datum of a fixed length points to that many bytes.
            append(out, unsafe { std::slice::from_raw_parts(datum.cast_mut_ptr::<u8>(), *size) });
            false
        }
        // SAFETY: as the caller promises.
        Take::Varlena => unsafe { copy_varlena(datum, scratch, out) },
        Take::VarlenaText => {
            // SAFETY: as above; the detoasted copy lives in scratch.
            unsafe {
                scratch.switch_to(|_| {
                    let plain = pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr());
                    let text = pgrx::varlena_to_byte_slice(plain);
                    append_converted(out, text, encoding);
                });
            }
            true
        }
        Take::Output(function) => {
            // SAFETY: as above.
            unsafe { scratch.switch_to(|_| append_converted(out, output(function, datum), encoding)) };
            true
        }
        Take::OutputAndJson(function, to_json) => {
            // SAFETY: as above; to_json returns a text varlena.
            unsafe {
                scratch.switch_to(|_| {
                    let start = out.len();
                    append(out, &[]);
                    append_converted(out, output(function, datum), encoding);
                    let json = pg_sys::FunctionCall1Coll(&mut **to_json, pg_sys::InvalidOid, datum);
                    let json = pg_sys::pg_detoast_datum_packed(json.cast_mut_ptr());
                    extend_converted(out, pgrx::varlena_to_byte_slice(json), encoding);
                    let length = length_of(out.len() - start - 4);
                    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
                });
            }
            true
        }
    }
}

/// Where the significant bytes of a by-value datum stand in it.
fn by_value_range(size: usize) -> std::ops::Range<usize> {
    let word = std::mem::size_of::<usize>();
    if cfg!(target_endian = "big") { word - size..word } else { 0..size }
}

/// # Safety
/// `datum` is a varlena.
unsafe fn copy_varlena(datum: pg_sys::Datum, scratch: &mut PgMemoryContexts, out: &mut Vec<u8>) -> bool {
    let pointer = datum.cast_mut_ptr::<pg_sys::varlena>();
    // SAFETY: as the caller promises; only a toasted or compressed value is copied first.
    unsafe {
        if pgrx::varatt_is_1b_e(pointer) || pgrx::varatt_is_4b_c(pointer) {
            scratch.switch_to(|_| append(out, pgrx::varlena_to_byte_slice(pg_sys::pg_detoast_datum(pointer))));
            true
        } else {
            append(out, pgrx::varlena_to_byte_slice(pointer));
            false
        }
    }
}

/// # Safety
/// `function` is the output function of the datum's type; the result lives in the current memory context.
unsafe fn output<'a>(function: &mut pg_sys::FmgrInfo, datum: pg_sys::Datum) -> &'a [u8] {
    // SAFETY: an output function returns a NUL-terminated string.
    unsafe { std::ffi::CStr::from_ptr(pg_sys::OutputFunctionCall(function, datum)) }.to_bytes()
}

fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&length_of(bytes.len()).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn append_converted(out: &mut Vec<u8>, text: &[u8], encoding: Encoding) {
    let start = out.len();
    append(out, &[]);
    extend_converted(out, text, encoding);
    let length = length_of(out.len() - start - 4);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

fn extend_converted(out: &mut Vec<u8>, text: &[u8], encoding: Encoding) {
    if encoding != Encoding::Converted || text.is_ascii() {
        out.extend_from_slice(text);
        return;
    }
    // SAFETY: the text is in the server's encoding; the result is NUL-terminated, or the input itself.
    let converted = unsafe {
        let pointer = pg_sys::pg_server_to_any(text.as_ptr().cast(), text.len() as i32, pg_sys::pg_enc::PG_UTF8 as i32);
        if std::ptr::eq(pointer.cast(), text.as_ptr()) { text } else { std::ffi::CStr::from_ptr(pointer).to_bytes() }
    };
    out.extend_from_slice(converted);
}

/// A value is below 1 GiB, twice that as text and JSON; neither reaches the length that stands for NULL.
fn length_of(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(NULL_LENGTH - 1)
}

#[pg_guard]
unsafe extern "C-unwind" fn receive_slot(
    slot: *mut pg_sys::TupleTableSlot,
    receiver: *mut pg_sys::DestReceiver,
) -> bool {
    // SAFETY: the executor passes back the receiver that `run` gave it.
    unsafe { (*receiver.cast::<Receiver>()).row(slot) }
}

#[pg_guard]
unsafe extern "C-unwind" fn start_up(
    _receiver: *mut pg_sys::DestReceiver,
    _operation: i32,
    _row_type: pg_sys::TupleDesc,
) {
}

#[pg_guard]
unsafe extern "C-unwind" fn shut_down(_receiver: *mut pg_sys::DestReceiver) {}
