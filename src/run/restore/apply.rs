//! Staged rows into their table: as a whole, or row by row. Triggers do not fire and nothing cascades: foreign keys are
//! checked when all is in place.

use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::ident;
use crate::run::restore::plan::{Item, Mapping, Mode, Request};
use crate::server::sql;
use crate::server::statement::Statement;
use crate::table::catalog::{Kind, Table};
use crate::table::stage::{Stage, Way};
use crate::table::swap;
use crate::table::triggers::{self, Silence};

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
        stage.finish()?;
        return Ok(Changed { inserted: staged_rows, deleted: item.live_rows.cast_unsigned(), updated: 0 });
    }
    let rows = Rows::new(live, &stage, &item.mapping, request.where_clause)?;
    // Which rows are meant is decided before any is changed: the filter may ask the table itself.
    rows.keep_filtered()?;
    let changed = match request.mode {
        Mode::Replace => {
            let deleted = rows.execute(&rows.delete())?;
            Changed { inserted: rows.execute(&rows.insert("true"))?, deleted, updated: 0 }
        }
        Mode::Merge => {
            let updated = rows.overwrite()?;
            let inserted = rows.execute(&rows.insert(&rows.is_absent()))?;
            // A row that could not be updated in place went, and came back among the inserted.
            let inserted = if rows.updates_in_place() { inserted } else { inserted.saturating_sub(updated) };
            Changed { updated, inserted, deleted: 0 }
        }
        Mode::MissingOnly => Changed { inserted: rows.execute(&rows.insert(&rows.is_absent()))?, ..Changed::default() },
    };
    rows.silence.end()?;
    stage.finish()?;
    Ok(changed)
}

impl Mapping {
    /// Of rows that have these columns of a table.
    pub fn same(columns: Vec<String>) -> Self {
        Mapping { in_file: columns.len(), taken: columns.into_iter().enumerate().collect(), ..Mapping::default() }
    }
}

/// The name of the other table in a statement of two.
const STAGED: &str = "\"the staged row\"";

/// The statements of one table. The table is called by its own name, so that a filter may name it.
pub struct Rows<'a> {
    live: &'a Table,
    stage: &'a Stage,
    /// Quoted.
    columns: Vec<String>,
    /// Columns outside the key.
    pub plain: Vec<String>,
    /// Columns of the key with their operator.
    key: Vec<(String, String)>,
    /// Columns that the server gives values to, and takes none for in an UPDATE.
    fixed: Vec<String>,
    /// The table has columns that the staged rows say nothing of.
    has_others: bool,
    filter: Option<String>,
    pub silence: Silence,
}

impl<'a> Rows<'a> {
    pub fn new(live: &'a Table, stage: &'a Stage, mapping: &Mapping, filter: Option<&str>) -> Result<Self> {
        let columns: Vec<String> = mapping.names().iter().map(|name| ident::quote(name)).collect();
        let query = include_str!("../../../sql/query/primary_key.sql");
        let mut key = sql::rows(query, &[live.oid.into()], |row| {
            Ok((ident::quote(&row.required::<String>(1)?), row.required::<String>(2)?))
        })?;
        if key.is_empty() {
            let equal = "OPERATOR(pg_catalog.=)".to_owned();
            key = live.primary_key.iter().map(|column| (ident::quote(column), equal.clone())).collect();
        }
        let plain = columns.iter().filter(|column| !key.iter().any(|(name, _)| name == *column)).cloned().collect();
        let query = "SELECT attname::text FROM pg_catalog.pg_attribute WHERE attrelid = $1 AND attidentity = 'a'";
        let fixed = sql::rows(query, &[live.oid.into()], |row| Ok(ident::quote(&row.required::<String>(1)?)))?;
        Ok(Rows {
            live,
            stage,
            columns,
            plain,
            key,
            fixed,
            has_others: !mapping.new.is_empty(),
            filter: filter.map(str::to_owned),
            silence: triggers::silence(live)?,
        })
    }

    pub fn execute(&self, text: &str) -> Result<u64> {
        // SAFETY: reads this backend's state.
        let rights_of = unsafe { pg_sys::GetUserId() };
        let skip_triggers = self.silence.is_by_executor();
        Statement { text, rights_of, code_as: self.live.owner, skip_triggers }.execute()
    }

    fn only(&self) -> &'static str {
        if self.live.kind == Kind::Table { "ONLY " } else { "" }
    }

    fn name(&self) -> String {
        ident::quote(&self.live.name.name)
    }

    /// Takes the staged rows away that the filter does not name; how many are left.
    pub fn keep_filtered(&self) -> Result<u64> {
        let (stage, name) = (self.stage.name.qualified(), self.name());
        if let Some(filter) = &self.filter {
            self.execute(&format!("DELETE FROM {stage} AS {name} WHERE ((\n{filter}\n) IS NOT TRUE)"))?;
        }
        self.execute(&format!("SELECT 1 FROM {stage}"))
    }

    /// How many rows of the table a condition names.
    pub fn meant(&self, condition: &str) -> Result<u64> {
        let (only, table, name) = (self.only(), self.live.name.qualified(), self.name());
        self.execute(&format!("SELECT 1 FROM {only}{table} AS {name} WHERE {condition}"))
    }

    fn delete(&self) -> String {
        let (only, table, name) = (self.only(), self.live.name.qualified(), self.name());
        let condition = self.filter.as_ref().map_or("true".to_owned(), |filter| format!("(\n{filter}\n)"));
        format!("DELETE FROM {only}{table} AS {name} WHERE {condition}")
    }

    /// Staged rows for which `condition` holds; the staged row has the table's own name in it.
    pub fn insert(&self, condition: &str) -> String {
        let (table, stage, name) = (self.live.name.qualified(), self.stage.name.qualified(), self.name());
        let columns = self.columns.join(", ");
        // Without a column that both have, each row is one of defaults.
        let list = if columns.is_empty() { String::new() } else { format!("({columns}) OVERRIDING SYSTEM VALUE ") };
        format!("INSERT INTO {table} {list}SELECT {columns} FROM {stage} AS {name} WHERE {condition}")
    }

    /// No row of the table has the key of the staged row.
    pub fn is_absent(&self) -> String {
        let name = self.name();
        let same: Vec<String> = (self.key.iter())
            .map(|(column, equal)| format!("\"the live row\".{column} {equal} {name}.{column}"))
            .collect();
        let (only, table) = (self.only(), self.live.name.qualified());
        format!("NOT EXISTS (SELECT FROM {only}{table} AS \"the live row\" WHERE {})", same.join(" AND "))
    }

    /// How many rows of the table have the key of a staged row, and other values.
    pub fn differing(&self) -> Result<u64> {
        let (only, table, name, stage) =
            (self.only(), self.live.name.qualified(), self.name(), self.stage.name.qualified());
        self.execute(&format!("SELECT 1 FROM {only}{table} AS {name}, {stage} AS {STAGED} WHERE {}", self.differs()))
    }

    /// Gives rows of the same key whose values differ those of the staged row; how many. Where they cannot be updated in
    /// place they are deleted, and the insert of what is absent brings them back.
    pub fn overwrite(&self) -> Result<u64> {
        if self.plain.is_empty() {
            return Ok(0);
        }
        let (only, table, name, stage) =
            (self.only(), self.live.name.qualified(), self.name(), self.stage.name.qualified());
        let differs = self.differs();
        if !self.updates_in_place() {
            return self
                .execute(&format!("DELETE FROM {only}{table} AS {name} USING {stage} AS {STAGED} WHERE {differs}"));
        }
        // Those of the key, too: equal values may be written in two ways.
        let set: Vec<String> = (self.columns.iter().filter(|column| !self.fixed.contains(column)))
            .map(|column| format!("{column} = {STAGED}.{column}"))
            .collect();
        if set.is_empty() {
            return Ok(0);
        }
        let set = set.join(", ");
        self.execute(&format!("UPDATE {only}{table} AS {name} SET {set} FROM {stage} AS {STAGED} WHERE {differs}"))
    }

    /// False where a column outside the key is always the server's to give, and no other column would be lost.
    pub fn updates_in_place(&self) -> bool {
        self.has_others || !self.plain.iter().any(|column| self.fixed.contains(column))
    }

    /// A live row has the key of a staged one and other values, by their texts: not every type can be compared, and texts
    /// that a collation calls equal are not the same.
    fn differs(&self) -> String {
        let name = self.name();
        let same: Vec<String> =
            self.key.iter().map(|(column, equal)| format!("{name}.{column} {equal} {STAGED}.{column}")).collect();
        let differs: Vec<String> = (self.columns.iter())
            .map(|column| {
                let text = |table: &str| format!("pg_catalog.format('%s', {table}.{column}) COLLATE pg_catalog.\"C\"");
                format!(
                    "pg_catalog.num_nulls({name}.{column}) <> pg_catalog.num_nulls({STAGED}.{column}) OR {} <> {}",
                    text(&name),
                    text(STAGED)
                )
            })
            .collect();
        format!("{} AND ({})", same.join(" AND "), differs.join(" OR "))
    }
}

/// Refuses a filter with a replace by storage: it would be ignored. (`plan` never makes one.)
pub fn require_consistent(request: &Request, item: &Item) -> Result<()> {
    if item.way == Way::Swap && request.where_clause.is_some() {
        return Err(Error::Internal { object: "restore plan", reason: "a part is to be restored as a whole".into() });
    }
    Ok(())
}
