//! The triggers of a table, switched off while a restore writes rows, and on again as they were. Of no other table: a
//! session that fires none at all would let code of others write where they must not.

use pgrx::pg_sys;

use crate::error::Result;
use crate::journal;
use crate::server::sql;
use crate::table::catalog::{Kind, Table};

/// How triggers are kept from firing.
pub enum Silence {
    /// The executor is told to.
    ByExecutor,
    /// They are switched off in the catalogue; these statements switch them on again.
    ByCatalogue(Vec<String>),
}

/// Keeps the triggers of a table, which is locked against writers, from firing. Those that check deferrable keys do fire.
pub fn silence(table: &Table) -> Result<Silence> {
    if table.kind == Kind::Table && !has_deferrable_keys(table.oid)? {
        return Ok(Silence::ByExecutor);
    }
    let query = include_str!("../../sql/query/triggers.sql");
    let statements =
        sql::rows(query, &[table.oid.into()], |row| Ok((row.required::<String>(1)?, row.required::<String>(2)?)))?;
    let (off, on): (Vec<String>, Vec<String>) = statements.into_iter().unzip();
    run(&off)?;
    Ok(Silence::ByCatalogue(on))
}

/// The lock that writing single rows asks for: switching triggers off keeps other writers out.
pub fn lock_for(table: &Table) -> Result<u32> {
    let by_executor = table.kind == Kind::Table && !has_deferrable_keys(table.oid)?;
    Ok(if by_executor { pg_sys::RowExclusiveLock } else { pg_sys::ShareRowExclusiveLock })
}

impl Silence {
    /// Whether the executor has to leave triggers out.
    pub fn is_by_executor(&self) -> bool {
        matches!(self, Silence::ByExecutor)
    }

    /// Switches them on again.
    pub fn end(self) -> Result<()> {
        match self {
            Silence::ByExecutor => Ok(()),
            Silence::ByCatalogue(on) => run(&on),
        }
    }
}

fn run(statements: &[String]) -> Result<()> {
    journal::as_owner(|| statements.iter().try_for_each(|statement| sql::execute(statement, &[]).map(drop)))
}

fn has_deferrable_keys(oid: pg_sys::Oid) -> Result<bool> {
    let query = "SELECT EXISTS (SELECT FROM pg_catalog.pg_constraint \
                                 WHERE conrelid = $1 AND contype IN ('p', 'u', 'x') AND condeferrable)";
    Ok(sql::rows(query, &[oid.into()], |row| row.required::<bool>(1))? == [true])
}
