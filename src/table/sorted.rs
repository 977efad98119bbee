//! Rows sorted by the server's own sort, which keeps to work_mem and goes on in temporary files.

use pgrx::{IntoDatum, PgMemoryContexts, pg_sys};

/// A row to sort: by `key`, then by `text`, byte by byte.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SortedRow {
    pub key: Vec<u8>,
    pub text: Vec<u8>,
    /// Goes along.
    pub rest: Vec<u8>,
    /// Goes along.
    pub is_left: bool,
}

const COLUMNS: [(&std::ffi::CStr, pg_sys::Oid); 4] = [
    (c"key", pg_sys::BYTEAOID),
    (c"text", pg_sys::BYTEAOID),
    (c"rest", pg_sys::BYTEAOID),
    (c"is_left", pg_sys::BOOLOID),
];

/// `<` of bytea.
const BYTEA_LESS: u32 = 1957;

/// A sort that takes rows, and after `finish` gives them.
pub struct Sorted {
    state: *mut pg_sys::Tuplesortstate,
    slot: *mut pg_sys::TupleTableSlot,
    scratch: PgMemoryContexts,
}

impl Sorted {
    /// Begins a sort in the current memory context.
    pub fn begin() -> Self {
        let less = pg_sys::Oid::from(BYTEA_LESS);
        // SAFETY: all arrays have two items and are copied; what is made is freed by Drop, or by the abort.
        unsafe {
            let description = pg_sys::CreateTemplateTupleDesc(COLUMNS.len() as i32);
            for (number, (name, of_type)) in (1..).zip(COLUMNS) {
                pg_sys::TupleDescInitEntry(description, number, name.as_ptr(), of_type, -1, 0);
            }
            let state = pg_sys::tuplesort_begin_heap(
                description,
                2,
                [1, 2].as_mut_ptr(),
                [less, less].as_mut_ptr(),
                [pg_sys::InvalidOid; 2].as_mut_ptr(),
                [false; 2].as_mut_ptr(),
                pg_sys::work_mem,
                std::ptr::null_mut(),
                0,
            );
            let slot = pg_sys::MakeSingleTupleTableSlot(description, &raw const pg_sys::TTSOpsVirtual);
            Sorted { state, slot, scratch: PgMemoryContexts::new("agent_backup sort") }
        }
    }

    /// Adds a row; it is copied.
    pub fn put(&mut self, row: &SortedRow) {
        let (state, slot) = (self.state, self.slot);
        // SAFETY: the slot has four columns, whose values live in scratch until the sort has copied them.
        unsafe {
            self.scratch.switch_to(|_| {
                let texts = [&row.key, &row.text, &row.rest].map(|text| text.as_slice().into_datum());
                let values = texts.into_iter().chain([row.is_left.into_datum()]);
                pg_sys::ExecClearTuple(slot);
                for (place, value) in values.enumerate() {
                    *(*slot).tts_isnull.add(place) = value.is_none();
                    *(*slot).tts_values.add(place) = value.unwrap_or(pg_sys::Datum::from(0));
                }
                pg_sys::ExecStoreVirtualTuple(slot);
                pg_sys::tuplesort_puttupleslot(state, slot);
            });
            pg_sys::ExecClearTuple(slot);
            self.scratch.reset();
        }
    }

    /// Sorts what was put, and gives it.
    pub fn finish(self) -> SortedRows {
        // SAFETY: the sort is begun, and a slot of its own takes what it gives.
        unsafe {
            pg_sys::tuplesort_performsort(self.state);
            let description = (*self.slot).tts_tupleDescriptor;
            let slot = pg_sys::MakeSingleTupleTableSlot(description, &raw const pg_sys::TTSOpsMinimalTuple);
            SortedRows { _sorted: self, slot }
        }
    }
}

impl Drop for Sorted {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: frees what `begin` made.
            unsafe {
                pg_sys::ExecDropSingleTupleTableSlot(self.slot);
                pg_sys::tuplesort_end(self.state);
            }
        }
    }
}

/// The rows in order.
pub struct SortedRows {
    _sorted: Sorted,
    slot: *mut pg_sys::TupleTableSlot,
}

impl Iterator for SortedRows {
    type Item = SortedRow;

    fn next(&mut self) -> Option<SortedRow> {
        // SAFETY: the sort was performed; a tuple has the four columns, and is copied before the next is asked for.
        unsafe {
            let state = self._sorted.state;
            if !pg_sys::tuplesort_gettupleslot(state, true, false, self.slot, std::ptr::null_mut()) {
                return None;
            }
            pg_sys::slot_getallattrs(self.slot);
            let value = |place: usize| *(*self.slot).tts_values.add(place);
            let bytes = |place: usize| pgrx::varlena_to_byte_slice(value(place).cast_mut_ptr()).to_vec();
            Some(SortedRow { key: bytes(0), text: bytes(1), rest: bytes(2), is_left: value(3).value() != 0 })
        }
    }
}

impl Drop for SortedRows {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: made by `finish`; the sort, whose memory it points to, ends after it.
            unsafe { pg_sys::ExecDropSingleTupleTableSlot(self.slot) }
        }
    }
}
