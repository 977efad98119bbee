//! Staged rows into their table: as a whole, or row by row. Triggers do not fire and nothing cascades: foreign keys are
//! checked when all is in place.

use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::ident;
use crate::run::restore::plan::{Item, Mode, Request};
use crate::server::pin::Pinned;
use crate::server::sql;
use crate::server::statement::Statement;
use crate::table::catalog::{Kind, Table};
use crate::table::select;
use crate::table::stage::{Stage, Way};
use crate::table::swap;

/// How many rows changed.
#[derive(Debug, Default, Clone, Copy)]
pub struct Changed {
    pub inserted: u64,
    pub updated: u64,
    pub deleted: u64,
}

/// Puts the staged rows in place. The table is locked against writers.
pub fn apply(request: &Request, item: &Item, live: &Table, stage: Stage, staged_rows: u64) -> Result<Changed> {
    if item.way == Way::Swap {
        swap::swap(live, stage.table.oid)?;
        return Ok(Changed { inserted: staged_rows, deleted: item.live_rows.cast_unsigned(), updated: 0 });
    }
    let pinned = Pinned::nothing();
    pinned.set_privileged("session_replication_role", "replica")?;
    let rows = Rows::new(request, item, live, &stage)?;
    let changed = match request.mode {
        Mode::Replace => {
            let deleted = rows.execute(&rows.delete())?;
            Changed { inserted: rows.execute(&rows.insert("true"))?, deleted, updated: 0 }
        }
        Mode::Merge => {
            let updated = if rows.plain.is_empty() { 0 } else { rows.execute(&rows.update())? };
            Changed { updated, inserted: rows.execute(&rows.insert(&rows.is_absent()))?, deleted: 0 }
        }
        Mode::MissingOnly => Changed { inserted: rows.execute(&rows.insert(&rows.is_absent()))?, ..Changed::default() },
    };
    stage.drop_table()?;
    Ok(changed)
}

/// The statements of one table. The table is called by its own name, so that a filter may name it.
pub(super) struct Rows<'a> {
    live: &'a Table,
    stage: &'a Stage,
    /// Quoted.
    columns: Vec<String>,
    /// Columns outside the key.
    pub(super) plain: Vec<String>,
    /// Columns of the key with their operator.
    key: Vec<(String, String)>,
    /// In parentheses; `true` where there is none.
    filter: String,
}

impl<'a> Rows<'a> {
    pub(super) fn new(request: &Request, item: &Item, live: &'a Table, stage: &'a Stage) -> Result<Self> {
        let filter = match request.where_clause {
            None => "true".to_owned(),
            Some(text) => {
                select::require_expression("where_clause", text)?;
                format!("(\n{text}\n)")
            }
        };
        let columns: Vec<String> = item.mapping.names().iter().map(|name| ident::quote(name)).collect();
        let query = include_str!("../../../sql/query/primary_key.sql");
        let key = sql::rows(query, &[live.oid.into()], |row| {
            Ok((ident::quote(&row.required::<String>(1)?), row.required::<String>(2)?))
        })?;
        // The server takes no value for an identity column that it always makes itself, but in an INSERT that says so.
        let query = "SELECT pg_catalog.quote_ident(attname) FROM pg_catalog.pg_attribute WHERE attrelid = $1 AND attidentity = 'a'";
        let fixed = sql::rows(query, &[live.oid.into()], |row| row.required::<String>(1))?;
        let is_plain = |column: &&String| !fixed.contains(column) && !key.iter().any(|(name, _)| name == *column);
        let plain = columns.iter().filter(is_plain).cloned().collect();
        Ok(Rows { live, stage, columns, plain, key, filter })
    }

    pub(super) fn execute(&self, text: &str) -> Result<u64> {
        // SAFETY: reads this backend's state.
        let caller = unsafe { pg_sys::GetUserId() };
        Statement { text, rights_of: caller, code_as: self.live.owner }.execute()
    }

    fn only(&self) -> &'static str {
        if self.live.kind == Kind::Table { "ONLY " } else { "" }
    }

    fn name(&self) -> String {
        ident::quote(&self.live.name.name)
    }

    fn delete(&self) -> String {
        let (only, table, name) = (self.only(), self.live.name.qualified(), self.name());
        format!("DELETE FROM {only}{table} AS {name} WHERE {}", self.filter)
    }

    pub(super) fn insert(&self, condition: &str) -> String {
        let columns = self.columns.join(", ");
        format!(
            "INSERT INTO {} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {} AS {} WHERE {} AND {condition}",
            self.live.name.qualified(),
            self.stage.name.qualified(),
            self.name(),
            self.filter
        )
    }

    /// No row of the table has the key of the staged row.
    pub(super) fn is_absent(&self) -> String {
        let name = self.name();
        let same: Vec<String> = self
            .key
            .iter()
            .map(|(column, equal)| format!("\"the live row\".{column} {equal} {name}.{column}"))
            .collect();
        let (only, table) = (self.only(), self.live.name.qualified());
        format!("NOT EXISTS (SELECT FROM {only}{table} AS \"the live row\" WHERE {})", same.join(" AND "))
    }

    /// How many staged rows pass the filter.
    pub(super) fn staged(&self) -> Result<u64> {
        let (stage, name) = (self.stage.name.qualified(), self.name());
        self.execute(&format!("SELECT 1 FROM {stage} AS {name} WHERE {}", self.filter))
    }

    /// How many rows of the table have the key of a staged row, and other values.
    pub(super) fn differing(&self) -> Result<u64> {
        let (only, table, name) = (self.only(), self.live.name.qualified(), self.name());
        let stage = self.stage.name.qualified();
        let condition = self.differs();
        self.execute(&format!("SELECT 1 FROM {only}{table} AS {name}, {stage} AS \"the staged row\" WHERE {condition}"))
    }

    /// Overwrites rows of the same key whose values differ, by their texts: not every type can be compared.
    pub(super) fn update(&self) -> String {
        let (only, table, name) = (self.only(), self.live.name.qualified(), self.name());
        let staged = "\"the staged row\"";
        let set: Vec<String> = self.plain.iter().map(|column| format!("{column} = {staged}.{column}")).collect();
        format!(
            "UPDATE {only}{table} AS {name} SET {} FROM {} AS {staged} WHERE {}",
            set.join(", "),
            self.stage.name.qualified(),
            self.differs(),
        )
    }

    /// A live row has the key of a staged one and other values.
    fn differs(&self) -> String {
        let (name, staged) = (self.name(), "\"the staged row\"");
        let same = self.key.iter().map(|(column, equal)| format!("{name}.{column} {equal} {staged}.{column}"));
        let differs: Vec<String> = self
            .plain
            .iter()
            .map(|column| {
                format!(
                    "pg_catalog.num_nulls({name}.{column}) <> pg_catalog.num_nulls({staged}.{column}) \
                     OR pg_catalog.format('%s', {name}.{column}) <> pg_catalog.format('%s', {staged}.{column})"
                )
            })
            .collect();
        let same = same.collect::<Vec<_>>().join(" AND ");
        format!("{same} AND ({}) AND {}", differs.join(" OR "), self.filter_of_both())
    }

    /// A filter names columns without their table: in an update it is asked of the live row inside a query of its own.
    fn filter_of_both(&self) -> String {
        if self.filter == "true" {
            return self.filter.clone();
        }
        let (staged, name) = (self.stage.name.qualified(), self.name());
        let key = self.key.iter().map(|(column, equal)| format!("{name}.{column} {equal} \"the staged row\".{column}"));
        format!(
            "EXISTS (SELECT FROM {staged} AS {name} WHERE {} AND {})",
            key.collect::<Vec<_>>().join(" AND "),
            self.filter
        )
    }
}

/// Refuses a filter with a replace by storage: it would be ignored. (`plan` never makes one.)
pub fn require_consistent(request: &Request, item: &Item) -> Result<()> {
    if item.way == Way::Swap && request.where_clause.is_some() {
        return Err(Error::Internal { object: "restore plan", reason: "a part is to be restored as a whole".into() });
    }
    Ok(())
}
