//! A table beside another one, of the same shape, that takes the rows of a backup before anything is changed.

use crate::error::{Error, Result};
use crate::ident::{self, TableName};
use crate::journal;
use crate::server::pin::Pinned;
use crate::server::sql;
use crate::server::user::{ActingAs, Restriction};
use crate::table::catalog::{self, Kind, Table};
use crate::table::scratch;

/// How the rows reach their table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The staging table's storage takes the place of the table's.
    Swap,
    /// Rows are deleted, inserted and updated.
    Rows,
}

/// A staging table; the end of the transaction removes what is left of it.
pub struct Stage {
    pub table: Table,
    pub name: TableName,
}

/// One line of `staging.sql`.
struct Line {
    kind: String,
    ordinal: i32,
    name: Option<String>,
    definition: Option<String>,
}

impl Stage {
    /// Makes an empty staging table for a locked table, which the caller may read and change. It is the owner's of the table,
    /// in a schema of its own, and made with their rights: to parse a default can run code.
    pub fn create(target: &Table, way: Way) -> Result<Self> {
        let schema = scratch::create("restore", target.owner)?;
        let name = TableName { schema, name: target.name.name.clone() };
        let query = include_str!("../../sql/query/staging.sql");
        let lines = sql::rows(query, &[target.oid.into()], |row| {
            let (name, definition) = (row.optional(3)?, row.optional(4)?);
            Ok(Line { kind: row.required(1)?, ordinal: row.required(2)?, name, definition })
        })?;
        let reader = ident::current_user();
        let settings = Pinned::nothing();
        settings.set("default_tablespace", "")?;
        {
            let _owner = ActingAs::user(target.owner, Restriction::SecurityRestricted);
            for statement in statements(&name, target, way, &lines) {
                sql::execute(&statement, &[])?;
            }
            sql::execute(&format!("GRANT ALL ON {} TO {reader}", name.qualified()), &[])?;
        }
        for line in lines.iter().filter(|line| line.kind == "move" && way == Way::Swap) {
            // The owner may have lost the right on the tablespace since.
            let tablespace = line.definition.as_deref().unwrap_or_default();
            let change = format!("ALTER TABLE {} SET TABLESPACE {tablespace}", name.qualified());
            journal::as_owner(|| sql::execute(&change, &[]))?;
        }
        let gone = || Error::Internal { object: "staging table", reason: "it was not made".into() };
        let oid = ident::oid_of(&name).ok_or_else(gone)?;
        let table = catalog::describe(&[oid])?.pop().ok_or_else(gone)??;
        Ok(Stage { table, name })
    }

    /// Removes what is left of it.
    pub fn finish(self) -> Result<()> {
        scratch::remove(&self.name.schema)
    }
}

fn statements(name: &TableName, target: &Table, way: Way, lines: &[Line]) -> Vec<String> {
    let of = |kind: &'static str| lines.iter().filter(move |line| line.kind == kind);
    let text = |line: &Line| line.definition.clone().unwrap_or_default();
    let swapped = way == Way::Swap;
    let placeholder = |line: &Line| format!("\"........{}\"", line.ordinal);
    let mut columns: Vec<(i32, String)> = of("column").map(|line| (line.ordinal, text(line))).collect();
    let mut then = Vec::new();
    if swapped {
        for line in of("dropped") {
            columns.push((line.ordinal, format!("{} pg_catalog.int4", placeholder(line))));
            then.push(format!("DROP COLUMN {}", placeholder(line)));
        }
    }
    columns.sort();
    for line in of("storage").filter(|_| swapped) {
        let column = ident::quote(line.name.as_deref().unwrap_or_default());
        then.push(format!("ALTER COLUMN {column} SET STORAGE {}", text(line)));
    }
    let checks = of("check").filter(|line| swapped || line.name.is_some()).map(text);
    let body: Vec<String> = columns.into_iter().map(|(_, column)| column).chain(checks).collect();
    let options: Vec<String> = of("option").filter(|_| swapped).map(text).collect();
    // Rows of an unlogged table need no log and are not published; one that takes the place of another is as that is.
    let unlogged = !swapped || target.kind != Kind::Table || target.is_unlogged;
    let place = |kind| of(kind).filter(|_| swapped).map(text).collect::<String>();
    let mut create = format!(
        "CREATE {}TABLE {} ({}){}",
        if unlogged { "UNLOGGED " } else { "" },
        name.qualified(),
        body.join(", "),
        place("place")
    );
    if !options.is_empty() {
        create.push_str(&format!(" WITH ({})", options.join(", ")));
    }
    create.push_str(&place("tablespace"));
    let mut all = vec![create];
    if !then.is_empty() {
        all.push(format!("ALTER TABLE {} {}", name.qualified(), then.join(", ")));
    }
    all
}
