//! Rows that a trigger is given, as the CSV that a backup would have of them.

use std::ffi::c_char;

use agent_backup_core::codec::{Logged, Logger, RowBatch, wire::NULL_LENGTH};
use agent_backup_core::stream::sha256_hex;
use pgrx::list::List;
use pgrx::tupdesc::PgTupleDesc;
use pgrx::{PgMemoryContexts, memcx, pg_sys};

use crate::error::{Error, Result};
use crate::server::encoding::{self, Encoding};
use crate::table::catalog::TableColumn;
use crate::table::rows::name_of;
use crate::table::scan;
use crate::table::value::{self, Take};

/// What the fields of an image are.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Made of the rest, so that equal shapes have equal numbers.
    pub id: i64,
    pub columns: Vec<String>,
    /// As `format_type` writes them.
    pub types: Vec<String>,
    /// Columns of the primary key, in its order.
    pub key: Vec<String>,
}

impl Shape {
    /// Where the columns of the key stand among the fields.
    pub fn key_places(&self) -> Vec<usize> {
        self.key.iter().filter_map(|name| self.columns.iter().position(|column| column == name)).collect()
    }

    fn new(columns: Vec<String>, types: Vec<String>, key: Vec<String>) -> Self {
        let part = |names: &[String]| names.iter().map(|name| format!("{}:{name}", name.len())).collect::<String>();
        let digest = sha256_hex(format!("{};{};{}", part(&columns), part(&types), part(&key)).as_bytes());
        let id = u64::from_str_radix(&digest[..16], 16).unwrap_or_default().cast_signed();
        Shape { id, columns, types, key }
    }
}

/// How the rows of a relation become images. It lives from one statement to the next.
pub struct Columns {
    /// Where each column stands in a row of the table, and how it is read.
    taken: Vec<(usize, Take)>,
    logger: Logger,
    encoding: Encoding,
    /// Holds what output functions keep from call to call.
    memory: PgMemoryContexts,
    scratch: PgMemoryContexts,
    /// Whether a value's text can depend on settings of the session.
    pub needs_settings: bool,
    pub shape: Shape,
}

impl Columns {
    /// Of an open relation, with the key of the table that it is a partition of, if there is one.
    ///
    /// # Safety
    /// `relation` is open and locked.
    pub unsafe fn of(relation: pg_sys::Relation, parent: Option<pg_sys::Oid>) -> Result<Self> {
        // SAFETY: as the caller promises; both contexts are children of one that lives as long as the session.
        unsafe {
            let [mut memory, scratch] = PgMemoryContexts::TopMemoryContext
                .switch_to(|_| ["agent_backup capture", "agent_backup row"].map(PgMemoryContexts::new));
            let description = PgTupleDesc::from_pg_copy((*relation).rd_att);
            let (mut taken, mut plan, mut types) = (Vec::new(), Vec::new(), Vec::new());
            let encoding = Encoding::of_database();
            for (place, column) in description.iter().enumerate() {
                if column.attisdropped || column.attgenerated != 0 {
                    continue;
                }
                let column = described(column)?;
                types.push(column.type_name.clone());
                let (planned, take) = memory.switch_to(|_| value::plan(&column, false, encoding))?;
                plan.push(planned);
                taken.push((place, take));
            }
            let names = plan.iter().map(|column| column.name.clone()).collect();
            let key = match parent {
                None => key_of(relation, &description)?,
                Some(parent) => key_of_table(parent)?,
            };
            let shape = Shape::new(names, types, key);
            let needs_settings = taken.iter().any(|(_, take)| matches!(take, Take::Output(_)));
            Ok(Columns { taken, logger: Logger::new(&plan), encoding, memory, scratch, needs_settings, shape })
        }
    }

    /// Adds the row of a slot to a batch.
    ///
    /// # Safety
    /// `slot` holds a row of the relation.
    pub unsafe fn take(&mut self, slot: *mut pg_sys::TupleTableSlot, batch: &mut RowBatch) {
        // SAFETY: as the caller promises; deforming fills values and nulls of all columns.
        let used = unsafe {
            let width = (*(*slot).tts_tupleDescriptor).natts;
            if i32::from((*slot).tts_nvalid) < width {
                pg_sys::slot_getsomeattrs_int(slot, width);
            }
            let mut used = false;
            for (place, take) in &mut self.taken {
                if *(*slot).tts_isnull.add(*place) {
                    batch.bytes.extend_from_slice(&NULL_LENGTH.to_le_bytes());
                } else {
                    let datum = *(*slot).tts_values.add(*place);
                    used |= scan::copy(take, datum, self.encoding, &mut self.scratch, &mut batch.bytes);
                }
            }
            used
        };
        batch.rows += 1;
        if used {
            // SAFETY: nothing allocated there is kept.
            unsafe { self.scratch.reset() };
        }
    }

    /// What the log keeps of a batch of rows, of an update with the rows before it; `out` takes their images.
    pub fn logged(
        &self,
        after: &RowBatch,
        before: Option<&RowBatch>,
        key: &[usize],
        out: &mut Vec<u8>,
        table: impl FnOnce() -> String,
    ) -> Result<Vec<Logged>> {
        self.logger.rows(after, before, key, out).map_err(|source| Error::Encode { table: table(), source })
    }
}

impl Drop for Columns {
    fn drop(&mut self) {
        // Functions that were looked up must not outlive the memory that they keep things in.
        self.taken.clear();
        // SAFETY: nothing points into it any more.
        unsafe { self.memory.reset() };
    }
}

fn described(column: &pg_sys::FormData_pg_attribute) -> Result<TableColumn> {
    // SAFETY: looks up the catalogue; the result is palloc'd.
    let type_name = unsafe { encoding::owned(pg_sys::format_type_with_typemod(column.atttypid, column.atttypmod)) };
    Ok(TableColumn {
        name: name_of(column)?,
        type_oid: column.atttypid,
        type_name: type_name.transpose()?.unwrap_or_default(),
        generated: false,
        not_null: column.attnotnull,
    })
}

/// The columns of the primary key, in its order; none where there is no such key.
///
/// # Safety
/// `relation` is open and locked, and `description` is its.
unsafe fn key_of(relation: pg_sys::Relation, description: &PgTupleDesc) -> Result<Vec<String>> {
    // SAFETY: as the caller promises; the list is palloc'd and its indexes cannot go while the table is locked.
    let indexes: Vec<pg_sys::Oid> = unsafe {
        let list = pg_sys::RelationGetIndexList(relation);
        memcx::current_context(|context| {
            let list = List::<pg_sys::Oid>::downcast_ptr_in_memcx(list, context);
            list.map(|list| list.iter().copied().collect()).unwrap_or_default()
        })
    };
    for index in indexes {
        // SAFETY: looks up a row of pg_index and gives it back.
        let columns = unsafe {
            let cache = pg_sys::SysCacheIdentifier::INDEXRELID as i32;
            let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(index));
            if tuple.is_null() {
                continue;
            }
            let form = &*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_index>(tuple);
            let numbers = std::slice::from_raw_parts(form.indkey.values.as_ptr(), form.indnkeyatts as usize);
            let columns = form.indisprimary.then(|| numbers.to_vec());
            pg_sys::ReleaseSysCache(tuple);
            columns
        };
        if let Some(columns) = columns {
            let name = |number: &i16| match description.get(usize::try_from(*number - 1).unwrap_or(usize::MAX)) {
                Some(column) => name_of(column),
                None => Err(Error::Internal { object: "primary key", reason: "a column of it is missing".into() }),
            };
            return columns.iter().map(name).collect();
        }
    }
    Ok(Vec::new())
}

/// As `key_of`, of a table by its oid.
fn key_of_table(table: pg_sys::Oid) -> Result<Vec<String>> {
    // SAFETY: the lock is held to the end of the transaction; what is opened is closed here, or by the abort.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        let key = key_of(relation, &PgTupleDesc::from_pg_copy((*relation).rd_att));
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        key
    }
}

/// Rows of a transition table, one by one.
pub struct Transition {
    store: *mut pg_sys::Tuplestorestate,
    pointer: i32,
    slot: *mut pg_sys::TupleTableSlot,
}

impl Transition {
    /// At its first row.
    ///
    /// # Safety
    /// `store` holds rows of `relation`, for as long as this lives.
    pub unsafe fn open(store: *mut pg_sys::Tuplestorestate, relation: pg_sys::Relation) -> Self {
        // SAFETY: as the caller promises. A read pointer of our own leaves those of other triggers where they are.
        unsafe {
            let pointer = pg_sys::tuplestore_alloc_read_pointer(store, pg_sys::EXEC_FLAG_REWIND as i32);
            pg_sys::tuplestore_select_read_pointer(store, pointer);
            pg_sys::tuplestore_rescan(store);
            let slot = pg_sys::MakeSingleTupleTableSlot((*relation).rd_att, &raw const pg_sys::TTSOpsMinimalTuple);
            Transition { store, pointer, slot }
        }
    }

    /// The slot with the next row; none at the end.
    pub fn next(&mut self) -> Option<*mut pg_sys::TupleTableSlot> {
        // SAFETY: as of `open`.
        unsafe {
            pg_sys::tuplestore_select_read_pointer(self.store, self.pointer);
            pg_sys::tuplestore_gettupleslot(self.store, true, false, self.slot).then_some(self.slot)
        }
    }
}

impl Drop for Transition {
    fn drop(&mut self) {
        // An abort frees it with its memory.
        if !std::thread::panicking() {
            // SAFETY: made by `open`.
            unsafe { pg_sys::ExecDropSingleTupleTableSlot(self.slot) }
        }
    }
}

/// All rows of a table that is about to lose them, seen as nobody else can change it.
pub struct AllRows {
    scan: pg_sys::TableScanDesc,
    slot: *mut pg_sys::TupleTableSlot,
}

impl AllRows {
    /// Of a table with storage.
    ///
    /// # Safety
    /// `relation` is open and locked against writers for as long as this lives.
    pub unsafe fn open(relation: pg_sys::Relation) -> Self {
        // SAFETY: as the caller promises; the snapshot stays active while this lives.
        unsafe {
            pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
            let scan = pg_sys::table_beginscan(relation, pg_sys::GetActiveSnapshot(), 0, std::ptr::null_mut());
            AllRows { scan, slot: pg_sys::table_slot_create(relation, std::ptr::null_mut()) }
        }
    }

    /// The slot with the next row; none at the end.
    pub fn next(&mut self) -> Option<*mut pg_sys::TupleTableSlot> {
        let forward = pg_sys::ScanDirection::ForwardScanDirection;
        // SAFETY: as of `open`.
        unsafe { pg_sys::table_scan_getnextslot(self.scan, forward, self.slot).then_some(self.slot) }
    }
}

impl Drop for AllRows {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: made by `open`, in the reverse order.
            unsafe {
                pg_sys::ExecDropSingleTupleTableSlot(self.slot);
                if let Some(end) = (*(*(*self.scan).rs_rd).rd_tableam).scan_end {
                    end(self.scan);
                }
                pg_sys::PopActiveSnapshot();
            }
        }
    }
}

/// Whether a relation is a partition.
///
/// # Safety
/// `relation` is open.
pub unsafe fn is_partition(relation: pg_sys::Relation) -> bool {
    // SAFETY: as the caller promises.
    unsafe { (*(*relation).rd_rel).relispartition }
}

/// The letter of a relation's kind, as in pg_class.
///
/// # Safety
/// `relation` is open.
pub unsafe fn kind_of(relation: pg_sys::Relation) -> char {
    // SAFETY: as the caller promises.
    let kind: c_char = unsafe { (*(*relation).rd_rel).relkind };
    char::from(kind.cast_unsigned())
}
