//! What a restore asks of a table that is here before it changes any row of it.

use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::ident;
use crate::server::sql;
use crate::server::statement::Statement;
use crate::table::catalog::{Kind, Table};
use crate::table::select;

/// Subscribers get rows, not storage, and so does the log of changes.
pub fn needs_rows(oid: pg_sys::Oid) -> Result<bool> {
    let query = "SELECT EXISTS (SELECT FROM pg_catalog.pg_publication p CROSS JOIN LATERAL pg_catalog.pg_get_publication_tables(p.pubname::text) AS t \
                 WHERE t.relid = $1 OR t.relid IN (SELECT relid FROM pg_catalog.pg_partition_ancestors($1))) \
         OR EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = $1 AND tgfoid = 'agent_backup.capture()'::pg_catalog.regprocedure)";
    Ok(sql::rows(query, &[oid.into()], |row| row.required::<bool>(1))? == [true])
}

/// Refuses a filter that is not one expression, that asks for more than the columns of the row (where it is stored, say), or
/// whose answer changes: it is asked of the live rows and of the staged ones.
pub fn check_filter(live: &Table, filter: &str) -> Result<()> {
    select::require_expression("where_clause", filter)?;
    let text = format!("SELECT 1 FROM {} WHERE (\n{filter}\n)", rows_of(live));
    // SAFETY: reads this backend's state.
    let rights_of = unsafe { pg_sys::GetUserId() };
    Statement::reading(&text, rights_of, live.owner).check_stable()
}

/// The rows of a table under its own name, without its system columns.
fn rows_of(live: &Table) -> String {
    let only = if live.kind == Kind::Table { "ONLY " } else { "" };
    format!("(SELECT * FROM {only}{}) AS {}", live.name.qualified(), ident::quote(&live.name.name))
}

pub fn count(live: &Table, filter: Option<&str>) -> Result<i64> {
    let condition = filter.map_or("true".to_owned(), |filter| format!("(\n{filter}\n)"));
    let text = format!("SELECT pg_catalog.count(*) FROM {} WHERE {condition}", rows_of(live));
    // SAFETY: reads this backend's state.
    let rights_of = unsafe { pg_sys::GetUserId() };
    let rows = Statement::reading(&text, rights_of, live.owner).rows()?;
    let counted = rows.first().and_then(|row| row.first().cloned().flatten()).and_then(|text| text.parse().ok());
    counted.ok_or_else(|| Error::Internal { object: "count", reason: format!("none of \"{}\"", live.name.display()) })
}

/// Rules would have the rows written elsewhere.
pub fn has_rules(oid: pg_sys::Oid) -> Result<bool> {
    let query = "SELECT EXISTS (SELECT FROM pg_catalog.pg_rewrite WHERE ev_class = $1 AND ev_enabled <> 'D')";
    Ok(sql::rows(query, &[oid.into()], |row| row.required::<bool>(1))? == [true])
}

/// What a person should know of rows that are on other servers; none where all are here.
pub fn elsewhere(live: &Table) -> Result<Option<String>> {
    if !matches!(live.kind, Kind::Foreign | Kind::Partitioned) {
        return Ok(None);
    }
    let servers = sql::rows(include_str!("../../../sql/query/servers.sql"), &[live.oid.into()], |row| row.required(1))?;
    let servers: Vec<String> = servers;
    Ok((!servers.is_empty()).then(|| {
        format!(
            "rows of it are on other servers ({}): triggers there fire, who writes there is not kept out, and each of them \
             commits for itself",
            servers.join(", ")
        )
    }))
}
