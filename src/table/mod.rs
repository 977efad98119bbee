//! The only door to user tables.

pub mod append; // rows into a table of ours, past the executor
pub mod capture; // rows that a trigger is given
pub mod catalog; // what a table is
pub mod computed; // generated columns of rows that are in no table
pub mod copy; // rows into a partitioned or foreign table, by COPY
pub mod ddl; // how it would be made again
pub mod fingerprint; // whether its definition may have changed
mod insert; // ready rows, in batches
pub mod load; // rows into a table of our own making
pub mod rows; // fields of a backup as values
pub mod scan; // its rows, copied off the backend
pub mod scratch; // schemas that live as long as a call
pub mod select; // what of a table is read
pub mod sorted; // rows in order, in bounded memory
pub mod stage; // a table beside it that takes rows first
pub mod swap; // that table into its place
pub mod targets; // what the columns of a loaded table take
pub mod triggers; // switched off while rows are restored
pub mod value; // how one column's values travel

use pgrx::pg_sys;

use crate::error::Result;
use crate::ident::TableName;
use crate::server::{lock, pin::Pinned, privilege, snapshot::Snapshot};
use select::Selection;

/// Checks that a table can be a member of a set with this selection; its name.
pub fn check_member(oid: pg_sys::Oid, selection: &Selection) -> Result<TableName> {
    let _path = Pinned::search_path()?;
    lock::table_for_reading(oid, &crate::ident::name_of(oid)?.display())?;
    let mut described = catalog::describe(&[oid])?;
    let table = described.remove(0)?;
    privilege::require_reader(oid, &table.name.display())?;
    if selection.has_expressions() {
        privilege::require_definer(table.owner, &table.name.display())?;
    }
    let query = selection.query(&table)?;
    let _formats = Pinned::formats()?;
    let _snapshot = Snapshot::push()?;
    scan::check(&query, &table, selection.has_expressions())?;
    Ok(table.name)
}
