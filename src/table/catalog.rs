//! What a table is: its kind, owner, key and columns, read under its lock.

use std::collections::HashMap;

use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::ident::{self, TableName};
use crate::server::sql::{self, Row};

/// A relation that can be backed up.
#[derive(Debug, Clone)]
pub struct Table {
    pub oid: pg_sys::Oid,
    pub name: TableName,
    pub kind: Kind,
    pub is_unlogged: bool,
    pub owner: pg_sys::Oid,
    /// Bytes of the heap with TOAST, without indexes; 0 where it has no storage of its own.
    pub bytes: i64,
    pub primary_key: Vec<String>,
    pub columns: Vec<TableColumn>,
}

#[derive(Debug, Clone)]
pub struct TableColumn {
    pub name: String,
    pub type_oid: pg_sys::Oid,
    /// As `format_type` writes it.
    pub type_name: String,
    pub generated: bool,
    pub not_null: bool,
}

/// The kinds of relation whose rows can be backed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Table,
    Partitioned,
    Foreign,
    MaterializedView,
}

impl Kind {
    /// As `pg_class.relkind`.
    pub fn relkind(self) -> char {
        match self {
            Kind::Table => 'r',
            Kind::Partitioned => 'p',
            Kind::Foreign => 'f',
            Kind::MaterializedView => 'm',
        }
    }

    fn of(name: &TableName, relkind: &str, persistence: &str, system: bool) -> Result<Self> {
        let refuse = |kind, hint| Err(Error::NotBackedUp { name: name.display(), kind, hint });
        if system {
            return refuse(
                "a system catalog",
                "Its content is made again by the statements that made the objects in it.",
            );
        }
        if persistence == "t" {
            return refuse("a temporary table", "It is gone with its session; copy it into an ordinary table first.");
        }
        match relkind {
            "r" => Ok(Kind::Table),
            "p" => Ok(Kind::Partitioned),
            "f" => Ok(Kind::Foreign),
            "m" => Ok(Kind::MaterializedView),
            "v" => refuse("a view", "It has no rows of its own; back up the tables that it reads."),
            "S" => refuse("a sequence", "Its value is saved with the table that owns it."),
            "i" | "I" => refuse("an index", "It is made again from its table's definition."),
            "c" => refuse("a composite type", "It has no rows; its definition is saved with the tables that use it."),
            "t" => refuse("a TOAST table", "Its values are saved with the table that it belongs to."),
            _ => refuse(
                "no table",
                "Tables, partitioned tables, foreign tables and materialized views can be backed up.",
            ),
        }
    }
}

/// Describes relations that the caller has locked, in the caller's order. One that cannot be backed up, or is gone,
/// is its own error.
pub fn describe(oids: &[pg_sys::Oid]) -> Result<Vec<Result<Table>>> {
    let mut columns = columns_of(oids)?;
    let argument = [oids.to_vec().into()];
    let mut found = HashMap::new();
    sql::rows(include_str!("../../sql/query/relation.sql"), &argument, |row| {
        let oid = row.required(1)?;
        found.insert(oid, table(oid, row, columns.remove(&oid)));
        Ok(())
    })?;
    // The locks prove that it exists: what the snapshot does not see was made after it.
    let missing = |oid: &pg_sys::Oid| Err(Error::Rewritten { table: ident::name_of(*oid)?.display() });
    Ok(oids.iter().map(|oid| found.remove(oid).unwrap_or_else(|| missing(oid))).collect())
}

/// One table; a name in it that is not UTF-8 is its own error, and none of the others.
fn table(oid: pg_sys::Oid, row: &Row, columns: Option<Vec<Result<TableColumn>>>) -> Result<Table> {
    let name = ident::name_of(oid)?;
    let in_table = |error: Error| error.in_object(|| format!("a name in table \"{}\"", name.display()));
    let persistence: String = row.required(3)?;
    let kind = Kind::of(&name, &row.required::<String>(2)?, &persistence, row.required(7)?)?;
    Ok(Table {
        oid,
        kind,
        is_unlogged: persistence == "u",
        owner: row.required(4)?,
        bytes: row.optional(5)?.unwrap_or(0),
        primary_key: row.optional(6).map_err(in_table)?.unwrap_or_default(),
        columns: columns.into_iter().flatten().collect::<Result<_>>().map_err(in_table)?,
        name,
    })
}

fn columns_of(oids: &[pg_sys::Oid]) -> Result<HashMap<pg_sys::Oid, Vec<Result<TableColumn>>>> {
    let mut columns: HashMap<pg_sys::Oid, Vec<Result<TableColumn>>> = HashMap::new();
    sql::rows(include_str!("../../sql/query/column.sql"), &[oids.to_vec().into()], |row| {
        columns.entry(row.required(1)?).or_default().push(column(row));
        Ok(())
    })?;
    Ok(columns)
}

fn column(row: &Row) -> Result<TableColumn> {
    Ok(TableColumn {
        name: row.required(2)?,
        type_oid: row.required(3)?,
        type_name: row.required(4)?,
        generated: row.required(5)?,
        not_null: row.required(6)?,
    })
}

/// Refuses tables that were truncated or rewritten after the active snapshot (T32). Only a transaction with a fixed
/// snapshot can meet one: otherwise the snapshot is younger than the locks.
pub fn refuse_rewritten(oids: &[pg_sys::Oid]) -> Result<()> {
    let argument = [oids.to_vec().into()];
    let rewritten = sql::rows(include_str!("../../sql/query/rewritten.sql"), &argument, |row| row.required(1))?;
    match rewritten.first() {
        None => Ok(()),
        Some(&oid) => Err(Error::Rewritten { table: ident::name_of(oid)?.display() }),
    }
}
