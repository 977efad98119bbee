//! The extension's own statements, run with a pinned search path by their callers.

use pgrx::datum::DatumWithOid;
use pgrx::spi::{Spi, SpiHeapTupleData};
use pgrx::{FromDatum, IntoDatum};

use crate::error::{Error, Result};

/// Runs a query and turns each row into a `T`.
pub fn rows<T>(query: &str, arguments: &[DatumWithOid], mut row: impl FnMut(&Row) -> Result<T>) -> Result<Vec<T>> {
    Spi::connect(|client| {
        let table = client.select(query, None, arguments).map_err(internal)?;
        let mut all = Vec::with_capacity(table.len());
        for tuple in table {
            all.push(row(&Row(tuple))?);
        }
        Ok(all)
    })
}

/// Runs a statement that writes; the number of rows it touched.
pub fn execute(statement: &str, arguments: &[DatumWithOid]) -> Result<usize> {
    Spi::connect_mut(|client| Ok(client.update(statement, None, arguments).map_err(internal)?.len()))
}

/// Runs a statement that writes and returns rows, and turns each into a `T`.
pub fn changed_rows<T>(
    statement: &str,
    arguments: &[DatumWithOid],
    mut row: impl FnMut(&Row) -> Result<T>,
) -> Result<Vec<T>> {
    Spi::connect_mut(|client| {
        let table = client.update(statement, None, arguments).map_err(internal)?;
        table.map(|tuple| row(&Row(tuple))).collect()
    })
}

/// The first column of the first row as text, if there is one.
pub fn text(query: &str, arguments: &[DatumWithOid]) -> Result<Option<String>> {
    Ok(rows(query, arguments, |row| row.optional::<String>(1))?.into_iter().next().flatten())
}

/// One row of a result; columns count from 1.
pub struct Row<'conn>(SpiHeapTupleData<'conn>);

impl Row<'_> {
    /// A column that may be null.
    pub fn optional<T: FromDatum + IntoDatum>(&self, column: usize) -> Result<Option<T>> {
        self.0.get::<T>(column).map_err(internal)
    }

    /// A column that is never null.
    pub fn required<T: FromDatum + IntoDatum>(&self, column: usize) -> Result<T> {
        self.optional(column)?
            .ok_or_else(|| Error::Internal { object: "catalogue query", reason: format!("column {column} is null") })
    }
}

fn internal(error: pgrx::spi::SpiError) -> Error {
    Error::Internal { object: "catalogue query", reason: error.to_string() }
}
