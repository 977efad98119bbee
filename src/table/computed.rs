//! Generated columns: their expressions evaluated over a row that is in no table. Whoever runs this acts as the table's
//! owner, whose code the expressions are.

use pgrx::{PgMemoryContexts, pg_sys};

/// The generated columns of a locked table that are to be computed.
pub struct Computed {
    relation: pg_sys::Relation,
    state: *mut pg_sys::EState,
    context: *mut pg_sys::ExprContext,
    slot: *mut pg_sys::TupleTableSlot,
    columns: Vec<(usize, *mut pg_sys::ExprState)>,
}

impl Computed {
    /// Prepares the columns at `places` (from 0) of a table that the caller has locked.
    ///
    /// # Safety
    /// `description` is the table's and stays as long as this.
    pub unsafe fn prepare(table: pg_sys::Oid, description: pg_sys::TupleDesc, places: &[usize]) -> Self {
        // SAFETY: the lock is held; executor state and slot are freed by Drop, or with their context by an abort.
        unsafe {
            let relation = pg_sys::relation_open(table, pg_sys::NoLock as i32);
            let state = pg_sys::CreateExecutorState();
            let context = pg_sys::CreateExprContext(state);
            let slot = pg_sys::MakeSingleTupleTableSlot(description, &raw const pg_sys::TTSOpsVirtual);
            (*slot).tts_tableOid = table;
            (*context).ecxt_scantuple = slot;
            let prepared = places.iter().map(|&place| {
                let expression = pg_sys::build_column_default(relation, place as i32 + 1);
                (place, pg_sys::ExecPrepareExpr(expression.cast(), state))
            });
            let columns = prepared.collect();
            Computed { relation, state, context, slot, columns }
        }
    }

    /// Fills in the columns from the others of the row; what they allocate is in `scratch`.
    ///
    /// # Safety
    /// Both have an item for each column of the table.
    pub unsafe fn fill(&mut self, values: &mut [pg_sys::Datum], nulls: &mut [bool], scratch: &mut PgMemoryContexts) {
        // SAFETY: as the caller promises; the slot only points to the values while the expressions run.
        unsafe {
            pg_sys::ExecClearTuple(self.slot);
            std::ptr::copy_nonoverlapping(values.as_ptr(), (*self.slot).tts_values, values.len());
            std::ptr::copy_nonoverlapping(nulls.as_ptr(), (*self.slot).tts_isnull, nulls.len());
            pg_sys::ExecStoreVirtualTuple(self.slot);
            for &(place, expression) in &self.columns {
                let context = self.context;
                if let Some(evaluate) = (*expression).evalfunc {
                    scratch.switch_to(|_| {
                        let null = &mut nulls[place];
                        values[place] = pg_sys::ffi::pg_guard_ffi_boundary(|| evaluate(expression, context, null));
                    });
                }
            }
        }
    }
}

impl Drop for Computed {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: closes and frees what `prepare` made; the lock stays with the transaction.
            unsafe {
                pg_sys::ExecDropSingleTupleTableSlot(self.slot);
                pg_sys::FreeExecutorState(self.state);
                pg_sys::relation_close(self.relation, pg_sys::NoLock as i32);
            }
        }
    }
}
