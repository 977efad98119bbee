//! The SELECT that reads a table: its columns with masks, its rows with the set's filter.

use pgrx::{PgList, is_a, pg_sys};

use crate::error::{Error, Result};
use crate::ident;
use crate::server::encoding::c_string;
use crate::table::catalog::{Kind, Table, TableColumn};

/// What of a table is read.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// An SQL expression over the table's columns; rows for which it is not true stay out.
    pub filter: Option<String>,
    pub excluded: Vec<String>,
    /// Column and the SQL expression that stands in for its value.
    pub masked: Vec<(String, String)>,
    /// The role that gave filter and masks; none where there are none.
    pub defined_by: Option<String>,
    /// A condition of ours besides: the rows that changed.
    pub changed: Option<String>,
    /// Columns and paths that name a person: filters tell of their values.
    pub subjects: Vec<String>,
}

impl Selection {
    /// Whether it holds expressions of a person.
    pub fn has_expressions(&self) -> bool {
        self.filter.is_some() || !self.masked.is_empty()
    }

    /// The columns that are read, in the table's order.
    pub fn columns<'t>(&self, table: &'t Table) -> Result<Vec<&'t TableColumn>> {
        for name in self.excluded.iter().chain(self.masked.iter().map(|(name, _)| name)) {
            require_column(table, name)?;
        }
        if let Some((name, _)) = self.masked.iter().find(|(name, _)| self.excluded.contains(name)) {
            let reason = format!("column \"{name}\" is excluded already");
            return Err(Error::InvalidOption { option: "masked_columns", reason });
        }
        Ok(table.columns.iter().filter(|column| !self.excluded.contains(&column.name)).collect())
    }

    /// The query. Expressions were checked to be single expressions when the set was made, and are checked again here:
    /// the catalogue may have been edited.
    pub fn query(&self, table: &Table) -> Result<String> {
        let mut wanted = Vec::new();
        for column in self.columns(table)? {
            let quoted = ident::quote(&column.name);
            wanted.push(match self.masked.iter().find(|(name, _)| *name == column.name) {
                None => quoted,
                Some((_, mask)) => {
                    require_expression(&format!("mask of column \"{}\"", column.name), mask)?;
                    format!("CAST((\n{mask}\n) AS {}) AS {quoted}", column.type_name)
                }
            });
        }
        // COPY reads a plain table without its inheritance children; they are tables of their own.
        let only = if table.kind == Kind::Table { "ONLY " } else { "" };
        let mut query = format!("SELECT {} FROM {only}{}", wanted.join(", "), table.name.qualified());
        if let Some(filter) = &self.filter {
            require_expression("row filter", filter)?;
        }
        let conditions: Vec<String> =
            [&self.filter, &self.changed].into_iter().flatten().map(|condition| format!("(\n{condition}\n)")).collect();
        if !conditions.is_empty() {
            query.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
        }
        Ok(query)
    }
}

/// Refuses a column name that the table has not.
pub fn require_column(table: &Table, name: &str) -> Result<()> {
    if table.columns.iter().any(|column| column.name == name) {
        return Ok(());
    }
    Err(Error::UnknownColumn {
        table: table.name.display(),
        column: name.to_owned(),
        near: ident::near(name, table.columns.iter().map(|column| column.name.clone())),
    })
}

/// Refuses a text that is anything but one SQL expression, by itself and once it stands in parentheses (T76). A syntax
/// error in it is the server's own error.
pub fn require_expression(option: &str, text: &str) -> Result<()> {
    // By itself too: `true) OR (true` is one expression only between the parentheses that are not its own.
    for query in [format!("SELECT (\n{text}\n)"), format!("SELECT\n{text}\n")] {
        if !is_one_expression(&query)? {
            return Err(Error::NotAnExpression { option: option.to_owned(), text: text.to_owned() });
        }
    }
    Ok(())
}

fn is_one_expression(query: &str) -> Result<bool> {
    let query = c_string(query)?;
    // SAFETY: parses a NUL-terminated text; the tree is only looked at, each node after a check of its tag.
    let plain = unsafe {
        let statements = PgList::<pg_sys::RawStmt>::from_pg(pg_sys::pg_parse_query(query.as_ptr()));
        match (statements.len(), statements.head()) {
            (1, Some(raw)) if is_a((*raw).stmt, pg_sys::NodeTag::T_SelectStmt) => {
                is_plain_select(&*(*raw).stmt.cast::<pg_sys::SelectStmt>())
            }
            _ => false,
        }
    };
    Ok(plain)
}

/// `SELECT <one expression>` and nothing else.
fn is_plain_select(select: &pg_sys::SelectStmt) -> bool {
    // SAFETY: the list belongs to the tree that the caller holds.
    let targets = unsafe { PgList::<pg_sys::ResTarget>::from_pg(select.targetList) };
    // SAFETY: as above.
    let named = targets.head().is_some_and(|target| unsafe { !(*target).name.is_null() });
    targets.len() == 1
        && !named
        && select.op == pg_sys::SetOperation::SETOP_NONE
        && [
            select.distinctClause,
            select.fromClause,
            select.groupClause,
            select.windowClause,
            select.valuesLists,
            select.sortClause,
            select.lockingClause,
        ]
        .iter()
        .all(|clause| clause.is_null())
        && [select.whereClause, select.havingClause, select.limitOffset, select.limitCount].iter().all(|c| c.is_null())
        && select.intoClause.is_null()
        && select.withClause.is_null()
}
