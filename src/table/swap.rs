//! A loaded table takes the place of another, as REFRESH MATERIALIZED VIEW does it: the table keeps its OID, and with it
//! grants, policies, triggers and foreign keys; its indexes are built anew, once.

use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::server::sql;
use crate::table::catalog::Table;

unsafe extern "C-unwind" {
    /// commands/cluster.h: swaps the storage of two tables of the same shape, rebuilds the indexes of the first and
    /// drops the second. The header is not among those that are bound.
    fn finish_heap_swap(
        old_heap: pg_sys::Oid,
        new_heap: pg_sys::Oid,
        is_system_catalog: bool,
        swap_toast_by_content: bool,
        check_constraints: bool,
        is_internal: bool,
        frozen_xid: pg_sys::TransactionId,
        cutoff_multi: pg_sys::MultiXactId,
        new_persistence: std::ffi::c_char,
    );
}

/// Refuses a table that this session is using: an open cursor, or a trigger that waits for the end of the transaction.
pub fn require_unused(target: &Table) -> Result<()> {
    // SAFETY: the caller holds the strongest lock; the relation is closed again.
    unsafe {
        let relation = pg_sys::table_open(target.oid, pg_sys::NoLock as i32);
        pg_sys::CheckTableNotInUse(relation, c"RESTORE".as_ptr());
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
    }
    Ok(())
}

/// Puts the rows of `staged`, a table of the same shape, into the place of those of `target`, which is locked in ACCESS
/// EXCLUSIVE mode. `staged` is gone afterwards.
pub fn swap(target: &Table, staged: pg_sys::Oid) -> Result<()> {
    require_unused(target)?;
    require_same_shape(target.oid, staged)?;
    let persistence =
        if target.is_unlogged { pg_sys::RELPERSISTENCE_UNLOGGED } else { pg_sys::RELPERSISTENCE_PERMANENT };
    // SAFETY: both are ordinary tables of one shape, which was checked, locked by this transaction; no row in the staging
    // table is older than this transaction, so its horizon is a true lower bound.
    unsafe {
        let multi = pg_sys::ReadNextMultiXactId();
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            finish_heap_swap(
                target.oid,
                staged,
                false,
                false,
                true,
                true,
                pg_sys::RecentXmin,
                multi,
                persistence as std::ffi::c_char,
            );
        });
    }
    Ok(())
}

/// Rows are read by the table's own description from now on: number, type and place of each column must be the same.
fn require_same_shape(one: pg_sys::Oid, other: pg_sys::Oid) -> Result<()> {
    let query = "SELECT NOT EXISTS (SELECT FROM (SELECT attnum, attisdropped, CASE WHEN NOT attisdropped THEN atttypid END, \
                                                        CASE WHEN NOT attisdropped THEN attlen END, \
                                                        CASE WHEN NOT attisdropped THEN attalign END, attrelid \
                                                   FROM pg_catalog.pg_attribute WHERE attnum > 0 AND attrelid IN ($1, $2)) \
                                             AS c(number, dropped, type, length, align, relation) \
                                     GROUP BY number, dropped, type, length, align \
                                    HAVING pg_catalog.count(*) <> 2)";
    if sql::rows(query, &[one.into(), other.into()], |row| row.required::<bool>(1))? == [true] {
        return Ok(());
    }
    Err(Error::Internal { object: "staging table", reason: "its columns are not those of the table".into() })
}
