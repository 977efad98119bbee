//! Rows appended to a table of ours from inside the statements of users: past the planner and the executor, which would take
//! longer than the statement itself. The table has plain indexes, and neither constraint nor trigger.

use pgrx::{IntoDatum, PgMemoryContexts, pg_sys};

use crate::error::{Error, Result};

/// A table that rows are appended to, with its indexes.
pub struct Appending {
    relation: pg_sys::Relation,
    indexes: pg_sys::CatalogIndexState,
    /// For the values of a row; emptied after each.
    scratch: PgMemoryContexts,
}

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
            Ok(Some(Appending { relation, indexes, scratch: PgMemoryContexts::new("agent_backup log") }))
        }
    }

    /// Appends a row.
    ///
    /// # Safety
    /// `row` gives, in memory that it finds as the current one, as many values as the table has columns, of their types.
    pub unsafe fn put(&mut self, row: impl FnOnce() -> Result<Vec<Option<pg_sys::Datum>>>) -> Result<()> {
        let (relation, indexes) = (self.relation, self.indexes);
        // SAFETY: as the caller promises; the tuple is copied into the table.
        unsafe {
            let put = self.scratch.switch_to(|_| -> Result<()> {
                let values = row()?;
                let mut nulls: Vec<bool> = values.iter().map(Option::is_none).collect();
                let mut values: Vec<pg_sys::Datum> =
                    values.into_iter().map(|value| value.unwrap_or(pg_sys::Datum::from(0))).collect();
                let tuple = pg_sys::heap_form_tuple((*relation).rd_att, values.as_mut_ptr(), nulls.as_mut_ptr());
                pg_sys::CatalogTupleInsertWithInfo(relation, tuple, indexes);
                Ok(())
            });
            self.scratch.reset();
            put
        }
    }
}

impl Drop for Appending {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: opened by `open`; the lock stays until the transaction ends.
            unsafe {
                pg_sys::CatalogCloseIndexes(self.indexes);
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
