//! How a live table differs from what was saved of it: its columns and its number of rows.

use agent_backup_core::container::manifest::ColumnInfo;
use pgrx::pg_sys;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::ident::{self, TableName};
use crate::journal_archive;
use crate::server::subtransaction::attempt;
use crate::server::{lock, privilege, sql};
use crate::table::catalog::{self, Kind, TableColumn};

/// A table as it is here now.
pub enum Live {
    Absent,
    /// It is here, and why no more is known.
    Unknown(String),
    /// Its columns and its rows, or why they could not be counted.
    There {
        columns: Vec<TableColumn>,
        rows: std::result::Result<i64, String>,
    },
}

/// Locks a table for reading, if it is here; before the snapshot is taken.
pub fn lock(table: &TableName) -> Result<Option<pg_sys::Oid>> {
    let Some(oid) = ident::oid_of(table) else { return Ok(None) };
    if journal_archive::is_own_view(oid)? {
        return Ok(None);
    }
    lock::table_for_reading(oid, &table.display())?;
    // While we waited the name may have come to mean another table.
    if ident::oid_of(table) == Some(oid) { Ok(Some(oid)) } else { Err(Error::Replaced { table: table.display() }) }
}

/// Looks at a table that `lock` locked. Every row is counted, or the reason is said why not.
pub fn look(locked: Result<Option<pg_sys::Oid>>, table: &TableName) -> Live {
    let oid = match locked {
        Ok(None) => return Live::Absent,
        Ok(Some(oid)) => oid,
        Err(error) => return Live::Unknown(error.to_string()),
    };
    let described = attempt(|| catalog::describe(&[oid])?.remove(0));
    let described = match described {
        Ok(described) => described,
        Err(failure) => return Live::Unknown(failure.message),
    };
    let counted = attempt(|| {
        privilege::require_reader(oid, &table.display())?;
        // As a backup reads it: a plain table without its inheritance children.
        let only = if described.kind == Kind::Table { "ONLY " } else { "" };
        let query = format!("SELECT pg_catalog.count(*) FROM {only}{}", table.qualified());
        Ok(sql::rows(&query, &[], |row| row.required::<i64>(1))?.into_iter().sum())
    });
    Live::There { columns: described.columns, rows: counted.map_err(|failure| failure.message) }
}

/// Columns added, dropped and of another type since they were saved; null where there are none.
pub fn of_columns(saved: &[ColumnInfo], live: &[TableColumn], excluded: &[String]) -> Value {
    let was = |name: &str| saved.iter().find(|column| column.name == name);
    let is = |name: &str| live.iter().find(|column| column.name == name);
    let added = live.iter().filter(|column| was(&column.name).is_none() && !excluded.contains(&column.name));
    let added: Vec<&str> = added.map(|column| column.name.as_str()).collect();
    let dropped: Vec<&str> =
        saved.iter().map(|column| column.name.as_str()).filter(|name| is(name).is_none()).collect();
    let retyped = saved.iter().filter_map(|column| {
        let now = is(&column.name).filter(|now| now.type_name != column.r#type)?;
        Some(json!({"column": column.name, "saved": column.r#type, "live": now.type_name}))
    });
    let retyped: Vec<Value> = retyped.collect();
    if added.is_empty() && dropped.is_empty() && retyped.is_empty() {
        return Value::Null;
    }
    json!({"added": added, "dropped": dropped, "retyped": retyped})
}
