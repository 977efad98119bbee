//! One text that changes with every change to what the `ddl_*.sql` queries read: per catalogue the number of its rows
//! and the sum of their inserting transactions. A changed or new row has a younger transaction than any before it, so
//! with the same number of rows the sum only grows.
//!
//! The catalogues are read directly: a query over all of them takes longer to plan than to run.

use pgrx::pg_sys;

/// The catalogues that the queries read, by their oids, which are the same in every version.
const CATALOGUES: &[(&str, u32)] = &[
    ("pg_class", 1259),
    ("pg_attribute", 1249),
    ("pg_attrdef", 2604),
    ("pg_constraint", 2606),
    ("pg_index", 2610),
    ("pg_trigger", 2620),
    ("pg_policy", 3256),
    ("pg_rewrite", 2618),
    ("pg_inherits", 2611),
    ("pg_depend", 2608),
    ("pg_type", 1247),
    ("pg_enum", 3501),
    ("pg_range", 3541),
    ("pg_proc", 1255),
    ("pg_sequence", 2224),
    ("pg_statistic_ext", 3381),
    ("pg_description", 2609),
    ("pg_seclabel", 3596),
    ("pg_collation", 3456),
    ("pg_partitioned_table", 3350),
    ("pg_foreign_table", 3118),
    ("pg_operator", 2617),
    ("pg_opclass", 2616),
    ("pg_opfamily", 2753),
    ("pg_cast", 2605),
    ("pg_am", 2601),
    ("pg_ts_config", 3602),
    ("pg_ts_dict", 3600),
    ("pg_conversion", 2607),
    ("pg_transform", 3576),
    ("pg_namespace", 2615),
    ("pg_extension", 3079),
    ("pg_language", 2612),
    ("pg_foreign_server", 1417),
    ("pg_event_trigger", 3466),
    ("pg_publication", 6104),
    ("pg_publication_rel", 6106),
    ("pg_tablespace", 1213),
    ("pg_authid", 1260),
];

/// The fingerprint of the catalogues as the active snapshot sees them, for these relations: 64 hex digits.
pub fn of(relations: &[pg_sys::Oid], server_version: &str) -> String {
    let mut text = format!("{server_version} {relations:?}");
    for (name, oid) in CATALOGUES {
        pgrx::check_for_interrupts!();
        let (rows, transactions) = count(pg_sys::Oid::from(*oid));
        text.push_str(&format!(" {name} {rows} {transactions}"));
    }
    agent_backup_core::stream::sha256_hex(text.as_bytes())
}

/// The number of rows of a catalogue, and the sum of their inserting transactions.
fn count(catalogue: pg_sys::Oid) -> (u64, u64) {
    let (mut rows, mut transactions) = (0, 0);
    let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
    // SAFETY: the oid is a catalogue's; a snapshot is active, of which the queries see the same rows; a tuple that the
    // scan gave has a header. An error on the way is cleaned up by the abort of the transaction.
    unsafe {
        let relation = pg_sys::table_open(catalogue, lock);
        let snapshot = pg_sys::GetActiveSnapshot();
        let scan = pg_sys::systable_beginscan(relation, pg_sys::InvalidOid, false, snapshot, 0, std::ptr::null_mut());
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            rows += 1;
            transactions += u64::from((*(*tuple).t_data).t_choice.t_heap.t_xmin.into_inner());
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, lock);
    }
    (rows, transactions)
}
