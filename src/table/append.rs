//! Rows appended to a table of ours from inside the statements of users: past the planner and the executor, which would take
//! longer than the statement itself. The table has plain indexes, and neither constraint nor trigger.

use pgrx::{IntoDatum, PgMemoryContexts, pg_sys};

use crate::error::{Error, Result};

/// A table that rows are appended to, with its indexes.
pub struct Appending {
    relation: pg_sys::Relation,
    /// A copy, which no owner of resources counts.
    description: pg_sys::TupleDesc,
    indexes: pg_sys::CatalogIndexState,
    /// For the rows of one call; emptied after it.
    scratch: PgMemoryContexts,
}

/// Rows that go into the table at once.
const AT_ONCE: usize = 1000;

impl Appending {
    /// Opens a table of `width` columns; none where it is gone.
    pub fn open(table: pg_sys::Oid, width: usize) -> Result<Option<Self>> {
        // SAFETY: the lock is held to the end of the transaction; Drop closes what is opened, or the abort does.
        unsafe {
            let relation = pg_sys::try_table_open(table, pg_sys::RowExclusiveLock as i32);
            if relation.is_null() {
                return Ok(None);
            }
            if (*(*relation).rd_att).natts as usize != width {
                return Err(Error::Internal {
                    object: "log of changes",
                    reason: "a partition has other columns".into(),
                });
            }
            let indexes = pg_sys::CatalogOpenIndexes(relation);
            let description = pg_sys::CreateTupleDescCopy((*relation).rd_att);
            Ok(Some(Appending { relation, description, indexes, scratch: PgMemoryContexts::new("agent_backup log") }))
        }
    }

    /// Appends a row for each of `items`. What they have in columns of a BRIN index is the same in all of them.
    ///
    /// # Safety
    /// `row` gives, in memory that it finds as the current one, as many values as the table has columns, of their types.
    pub unsafe fn put_all<T>(
        &mut self,
        items: &[T],
        row: impl Fn(&T) -> Result<Vec<Option<pg_sys::Datum>>>,
    ) -> Result<()> {
        let (relation, description, indexes) = (self.relation, self.description, self.indexes);
        for some in items.chunks(AT_ONCE) {
            let mut slots = Slots(Vec::with_capacity(some.len()));
            // SAFETY: as the caller promises; the rows are copied into the table, and the slots go before their memory.
            unsafe {
                let put = self.scratch.switch_to(|_| -> Result<()> {
                    for item in some {
                        slots.0.push(slot_of(description, row(item)?));
                    }
                    let command = pg_sys::GetCurrentCommandId(true);
                    let (first, count) = (slots.0.as_mut_ptr(), slots.0.len() as i32);
                    pg_sys::heap_multi_insert(relation, first, count, command, 0, std::ptr::null_mut());
                    index(relation, indexes, &slots.0);
                    Ok(())
                });
                drop(slots);
                self.scratch.reset();
                put?;
            }
        }
        Ok(())
    }
}

/// Slots of rows that are being appended.
struct Slots(Vec<*mut pg_sys::TupleTableSlot>);

impl Drop for Slots {
    fn drop(&mut self) {
        // An abort frees them with their memory.
        if !std::thread::panicking() {
            // SAFETY: made by `slot_of`, and not dropped before.
            self.0.iter().for_each(|slot| unsafe { pg_sys::ExecDropSingleTupleTableSlot(*slot) });
        }
    }
}

/// A slot with a row of these values.
///
/// # Safety
/// They are those of the described columns.
unsafe fn slot_of(description: pg_sys::TupleDesc, values: Vec<Option<pg_sys::Datum>>) -> *mut pg_sys::TupleTableSlot {
    let mut nulls: Vec<bool> = values.iter().map(Option::is_none).collect();
    let mut values: Vec<pg_sys::Datum> =
        values.into_iter().map(|value| value.unwrap_or(pg_sys::Datum::from(0))).collect();
    // SAFETY: as the caller promises; the tuple lives in the current context, and longer than the slot.
    unsafe {
        let tuple = pg_sys::heap_form_tuple(description, values.as_mut_ptr(), nulls.as_mut_ptr());
        let slot = pg_sys::MakeSingleTupleTableSlot(description, &raw const pg_sys::TTSOpsHeapTuple);
        pg_sys::ExecStoreHeapTuple(tuple, slot, false)
    }
}

/// Enters rows that are in the table into its indexes, into one after the other.
///
/// # Safety
/// `indexes` are those of the relation, and each slot says where its row is.
unsafe fn index(relation: pg_sys::Relation, indexes: pg_sys::CatalogIndexState, slots: &[*mut pg_sys::TupleTableSlot]) {
    // SAFETY: as the caller promises; the arrays have as many fields as an index can have columns.
    unsafe {
        let mut values = [pg_sys::Datum::from(0); pg_sys::INDEX_MAX_KEYS as usize];
        let mut nulls = [false; pg_sys::INDEX_MAX_KEYS as usize];
        for number in 0..(*indexes).ri_NumIndices as usize {
            let index = *(*indexes).ri_IndexRelationDescs.add(number);
            let info = *(*indexes).ri_IndexRelationInfo.add(number);
            if !(*info).ii_ReadyForInserts {
                continue;
            }
            let is_by_block = (*(*index).rd_rel).relam == pg_sys::BRIN_AM_OID;
            let mut block = None;
            for slot in slots {
                let place = &raw mut (**slot).tts_tid;
                let own = pgrx::itemptr::item_pointer_get_block_number(place);
                // The same values again on the same page would tell it nothing.
                if is_by_block && block.replace(own) == Some(own) {
                    continue;
                }
                pg_sys::FormIndexDatum(info, *slot, std::ptr::null_mut(), values.as_mut_ptr(), nulls.as_mut_ptr());
                let unchecked = pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO;
                pg_sys::index_insert(
                    index,
                    values.as_mut_ptr(),
                    nulls.as_mut_ptr(),
                    place,
                    relation,
                    unchecked,
                    false,
                    info,
                );
            }
        }
    }
}

impl Drop for Appending {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: opened by `open`; the lock stays until the transaction ends.
            unsafe {
                pg_sys::CatalogCloseIndexes(self.indexes);
                pg_sys::FreeTupleDesc(self.description);
                pg_sys::table_close(self.relation, pg_sys::NoLock as i32);
            }
        }
    }
}

/// The next number of a sequence that the current user may use.
pub fn next_number(sequence: pg_sys::Oid) -> Result<i64> {
    // SAFETY: calls the server's own function with the argument that it asks for.
    let number = unsafe { pgrx::direct_function_call::<i64>(pg_sys::nextval_oid, &[sequence.into_datum()]) };
    number.ok_or(Error::Internal { object: "log of changes", reason: "its sequence gives no number".into() })
}
