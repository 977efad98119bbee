//! What a restore owes once the rows are in place: foreign keys hold, sequences are past the rows, statistics are fresh,
//! materialized views show the rows, and what hangs on the tables is compared with the backup.

use agent_backup_core::container::manifest::Ddl;
use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::ident::{self, TableName};
use crate::journal;
use crate::run::restore::plan::{Status, Step};
use crate::run::source::{self, Source};
use crate::server::pin::Pinned;
use crate::server::sql;
use crate::server::statement::Statement;
use crate::server::subtransaction::attempt;
use crate::server::user::{ActingAs, Restriction};
use crate::table::catalog::{Kind, Table};
use crate::table::{ddl, scratch};

/// One foreign key, at the top of its partitions.
pub struct ForeignKey {
    pub name: String,
    pub child: pg_sys::Oid,
    pub child_owner: pg_sys::Oid,
    child_kind: String,
    child_name: String,
    pub parent: pg_sys::Oid,
    parent_kind: String,
    pub parent_name: String,
    pub columns: Vec<String>,
    pub keys: Vec<String>,
    pub operators: Vec<String>,
    /// What the child's value is compared under; empty where its own collation serves.
    pub collations: Vec<String>,
    /// A row refers by all of its columns or by none.
    is_full: bool,
    pub parent_owner: pg_sys::Oid,
}

/// The foreign keys into and out of tables.
pub fn foreign_keys(tables: &[pg_sys::Oid]) -> Result<Vec<ForeignKey>> {
    sql::rows(include_str!("../../../sql/query/foreign_keys.sql"), &[tables.to_vec().into()], |row| {
        Ok(ForeignKey {
            name: row.required(1)?,
            child: row.required(2)?,
            child_owner: row.required(3)?,
            child_kind: row.required(4)?,
            child_name: row.required(5)?,
            parent: row.required(6)?,
            parent_kind: row.required(7)?,
            parent_name: row.required(8)?,
            columns: row.required(9)?,
            keys: row.required(10)?,
            operators: row.required(11)?,
            collations: row.required(12)?,
            is_full: row.required(13)?,
            parent_owner: row.required(14)?,
        })
    })
}

impl ForeignKey {
    /// `parent.key = child.column` for each column, under the names given.
    pub fn equalities(&self, parent: &str, child: &str) -> String {
        let both = self.columns.iter().zip(&self.keys).zip(self.operators.iter().zip(&self.collations));
        let one = |((column, key), (operator, collation)): ((&String, &String), (&String, &String))| {
            format!("{parent}{key} {operator} {child}{column}{collation}")
        };
        both.map(one).collect::<Vec<_>>().join(" AND ")
    }

    /// Every row that refers to another finds it. Triggers did not fire, so this is the check.
    pub fn check(&self) -> Result<()> {
        let only = |kind: &str| if kind == "r" { "ONLY " } else { "" };
        let columns: Vec<String> = self.columns.iter().map(|column| format!("f.{column}")).collect();
        let columns = columns.join(", ");
        let copied = self.copy_of_parent()?;
        let parent = match &copied {
            Some(copied) => copied.qualified(),
            None => format!("{}{}", only(&self.parent_kind), self.parent_name),
        };
        let same = self.equalities("p.", "f.");
        let lost = format!("NOT EXISTS (SELECT FROM {parent} AS p WHERE {same})");
        let refers = if self.is_full {
            let count = self.columns.len();
            format!("pg_catalog.num_nulls({columns}) < {count} AND (pg_catalog.num_nulls({columns}) > 0 OR {lost})")
        } else {
            format!("pg_catalog.num_nulls({columns}) = 0 AND {lost}")
        };
        let text = format!(
            "SELECT pg_catalog.count(*), pg_catalog.min(pg_catalog.concat_ws(', ', {columns})) FROM {}{} AS f WHERE {refers}",
            only(&self.child_kind),
            self.child_name,
        );
        let rows = Statement::reading(&text, journal::owner()?, self.child_owner).rows()?;
        if let Some(copied) = copied {
            scratch::remove(&copied.schema)?;
        }
        let first = rows.into_iter().next().unwrap_or_default();
        let value = |place: usize| first.get(place).cloned().flatten().unwrap_or_default();
        if value(0) == "0" {
            return Ok(());
        }
        Err(Error::ForeignKey {
            constraint: self.name.clone(),
            table: self.child_name.clone(),
            parent: self.parent_name.clone(),
            rows: value(0),
            sample: value(1),
        })
    }

    /// The parent's keys in a table of their own where it has another owner than the child: to plan a query over both, the
    /// server runs code in the indexes of either, and one owner's code must not run with the other's rights.
    fn copy_of_parent(&self) -> Result<Option<TableName>> {
        if self.parent_owner == self.child_owner {
            return Ok(None);
        }
        let name = TableName { schema: scratch::create("keys", self.parent_owner)?, name: "parent".to_owned() };
        scratch::allow(&name.schema, self.child_owner)?;
        let (target, keys) = (name.qualified(), self.keys.join(", "));
        let only = if self.parent_kind == "r" { "ONLY " } else { "" };
        {
            let _owner = ActingAs::user(self.parent_owner, Restriction::SecurityRestricted);
            let create =
                format!("CREATE UNLOGGED TABLE {target} AS SELECT {keys} FROM {} WITH NO DATA", self.parent_name);
            sql::execute(&create, &[])?;
        }
        let fill = format!("INSERT INTO {target} SELECT {keys} FROM {only}{}", self.parent_name);
        Statement::reading(&fill, journal::owner()?, self.parent_owner).execute()?;
        {
            let _owner = ActingAs::user(self.parent_owner, Restriction::SecurityRestricted);
            sql::execute(&format!("ANALYZE {target}"), &[])?;
        }
        Ok(Some(name))
    }
}

/// Checks them all; how many there are.
pub fn check_foreign_keys(keys: &[ForeignKey]) -> Result<Option<Step>> {
    let plans = Pinned::nothing();
    plans.set("enable_nestloop", "off")?;
    for key in keys {
        pgrx::check_for_interrupts!();
        key.check()?;
    }
    if keys.is_empty() {
        return Ok(None);
    }
    let details = format!("{} foreign keys into and out of the tables hold", keys.len());
    Ok(Some(Step { table: None, action: "foreign keys", rows: None, status: Status::Done, details }))
}

/// Moves sequences past the rows of a table; never back.
pub fn advance_sequences(table: &Table) -> Result<Vec<Step>> {
    let query = include_str!("../../../sql/query/table_sequences.sql");
    let used = sql::rows(query, &[table.oid.into()], |row| {
        let column: String = row.required(3)?;
        Ok(Sequence {
            may_be_set: row.required(7)?,
            name: row.required(2)?,
            column,
            rises: row.required(4)?,
            bounds: (row.required(5)?, row.required(6)?),
        })
    })?;
    let mut steps = Vec::new();
    for sequence in used {
        if let Some(value) = sequence.advance(table)? {
            steps.push(Step {
                table: Some(table.name.display()),
                action: "sequence",
                rows: None,
                status: Status::Done,
                details: format!("{} goes on after {value}", sequence.name),
            });
        }
    }
    Ok(steps)
}

struct Sequence {
    /// Qualified and quoted.
    name: String,
    column: String,
    rises: bool,
    /// The table's owner may: nobody moves sequences of others by a default of theirs.
    may_be_set: bool,
    bounds: (i64, i64),
}

impl Sequence {
    fn advance(&self, table: &Table) -> Result<Option<i64>> {
        let (most, only) =
            (if self.rises { "max" } else { "min" }, if table.kind == Kind::Table { "ONLY " } else { "" });
        let column = ident::quote(&self.column);
        let text = format!("SELECT pg_catalog.{most}({column}) FROM {only}{}", table.name.qualified());
        let rows = Statement::reading(&text, journal::owner()?, table.owner).rows()?;
        let found =
            rows.first().and_then(|row| row.first().cloned().flatten()).and_then(|text| text.parse::<i64>().ok());
        let Some(last) = found.filter(|last| (self.bounds.0..=self.bounds.1).contains(last)) else { return Ok(None) };
        if !self.may_be_set {
            return Ok(None);
        }
        journal::as_owner(|| {
            let behind = if self.rises { "<" } else { ">" };
            let query = format!(
                "SELECT pg_catalog.setval($1::pg_catalog.regclass, $2) FROM {} \
                 WHERE last_value {behind} $2 OR (last_value = $2 AND NOT is_called)",
                self.name
            );
            let moved =
                sql::changed_rows(&query, &[self.name.as_str().into(), last.into()], |row| row.required::<i64>(1))?;
            Ok(moved.into_iter().next())
        })
    }
}

/// Fresh statistics. A foreign table's server may have none to give: that costs the statistics alone.
pub fn analyze(table: &TableName) -> Option<Step> {
    let failed =
        attempt(|| journal::as_owner(|| sql::execute(&format!("ANALYZE {}", table.qualified()), &[]))).err()?;
    Some(Step {
        table: Some(table.display()),
        action: "analyze",
        rows: None,
        status: Status::Warning,
        details: failed.message,
    })
}

/// Refreshes what shows the rows of the tables, in order. One that fails costs itself: it still shows what it showed.
pub fn refresh_views(tables: &[pg_sys::Oid]) -> Result<Vec<Step>> {
    let query = include_str!("../../../sql/query/dependent_views.sql");
    let views = sql::rows(query, &[tables.to_vec().into()], |row| row.required::<String>(1))?;
    let refresh = |view: String| {
        let statement = format!("REFRESH MATERIALIZED VIEW {view}");
        let done = attempt(|| journal::as_owner(|| sql::execute(&statement, &[])));
        let (status, details) = match done {
            Ok(_) => (Status::Done, "shows the restored rows".to_owned()),
            Err(failure) => (Status::Warning, format!("not refreshed: {}", failure.message)),
        };
        Step { table: Some(view), action: "refresh", rows: None, status, details }
    };
    Ok(views.into_iter().map(refresh).collect())
}

/// Sections of the definitions that a restore of rows leaves as they are.
const KEPT: &[&str] = &["constraint", "index", "foreign_key", "rule", "trigger", "policy", "owner", "grant"];

/// What hangs on the tables now and did not, or the other way round: named, and left as it is.
pub fn compare_definitions(source: &Source, tables: &[&Table]) -> Result<Vec<Step>> {
    // The statements depend on which tables they are made for, so they are made for those of the backup.
    let members: Vec<pg_sys::Oid> =
        source.members().filter_map(|(_, member)| ident::oid_of(&source::name_of(member))).collect();
    let same: Vec<&&Table> = tables.iter().filter(|table| members.contains(&table.oid)).collect();
    if same.is_empty() {
        return Ok(Vec::new());
    }
    let manifest = source.manifest();
    let now = ddl::definitions(&members, || Some(manifest.clone()))?.statements;
    Ok(same
        .into_iter()
        .flat_map(|table| difference(&table.name, &of_table(&manifest.ddl, &table.name), &of_table(&now, &table.name)))
        .collect())
}

fn of_table<'a>(all: &'a [Ddl], table: &TableName) -> Vec<&'a Ddl> {
    let (qualified, on) = (table.qualified(), format!(" ON {} ", table.qualified()));
    let kept = all.iter().filter(|ddl| KEPT.contains(&ddl.section.as_str()));
    kept.filter(|ddl| ddl.object == qualified || ddl.statement.contains(&on)).collect()
}

fn difference(table: &TableName, before: &[&Ddl], now: &[&Ddl]) -> Vec<Step> {
    let step = |ddl: &&Ddl, words: &str| Step {
        table: Some(table.display()),
        action: "definition",
        rows: None,
        status: Status::Warning,
        details: format!("{} {words}: {}", ddl.section.replace('_', " "), ddl.statement),
    };
    let gone = before.iter().filter(|ddl| !now.contains(ddl)).map(|ddl| step(ddl, "of the backup is not here"));
    let new = now.iter().filter(|ddl| !before.contains(ddl)).map(|ddl| step(ddl, "is not in the backup"));
    gone.chain(new).collect()
}
