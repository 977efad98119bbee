//! The only writer of the rows about drills, and the reader of what they need.

use std::time::Duration;

use pgrx::datum::Interval;
use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::ident;
use crate::journal::{self, as_owner};
use crate::server::sql;

/// A drill that ended.
pub struct DrillRecord {
    pub set_name: String,
    pub backup_id: Option<String>,
    /// `success`, `warning` or `failed`.
    pub status: &'static str,
    pub took: Duration,
    pub rto: Option<Duration>,
    pub within_rto: Option<bool>,
    pub row_count: i64,
    pub steps: Vec<serde_json::Value>,
    pub error: Option<String>,
}

/// Writes it down.
pub fn record(drill: &DrillRecord) -> Result<()> {
    let who = ident::session_role()?;
    let interval = |took: Duration| Interval::new(0, 0, i64::try_from(took.as_micros()).unwrap_or(i64::MAX)).ok();
    let steps = serde_json::Value::Array(drill.steps.clone()).to_string();
    as_owner(|| {
        let statement = "INSERT INTO agent_backup.drills (set_name, backup_id, status, started_at, finished_at, duration, rto, \
                             within_rto, row_count, steps, drilled_by, error_message) \
                         SELECT $1, $2, $3, t.now - $4, t.now, $4, $5, $6, $7, $8::pg_catalog.jsonb, $9, $10 \
                           FROM (SELECT pg_catalog.clock_timestamp() AS now) AS t";
        let arguments = [
            drill.set_name.as_str().into(),
            drill.backup_id.as_deref().into(),
            drill.status.into(),
            interval(drill.took).into(),
            drill.rto.and_then(interval).into(),
            drill.within_rto.into(),
            drill.row_count.into(),
            steps.as_str().into(),
            who.as_str().into(),
            drill.error.as_deref().into(),
        ];
        sql::execute(statement, &arguments).map(drop)
    })
}

/// The set's recovery time objective. Errors: `UnknownSet`.
pub fn objective(set: &str) -> Result<Option<Duration>> {
    let found = as_owner(|| {
        let query = "SELECT pg_catalog.date_part('epoch', rto) FROM agent_backup.sets WHERE set_name = $1";
        sql::rows(query, &[set.into()], |row| row.optional::<f64>(1))
    })?;
    match found.into_iter().next() {
        Some(seconds) => Ok(seconds.map(Duration::from_secs_f64)),
        None => Err(journal::unknown_set(set)?),
    }
}

/// The sample queries of a set: name, text, and whose rights it runs with.
pub fn queries(set: &str) -> Result<Vec<(String, String, String)>> {
    as_owner(|| {
        let query = "SELECT query_name, query, defined_by::text FROM agent_backup.drill_queries WHERE set_name = $1 ORDER BY query_name";
        sql::rows(query, &[set.into()], |row| Ok((row.required(1)?, row.required(2)?, row.required(3)?)))
    })
}

/// A function of the application.
pub struct Function {
    oid: pg_sys::Oid,
    pub owner: pg_sys::Oid,
    /// Qualified and quoted.
    pub name: String,
}

/// The function of this name without arguments in the first of the schemas that has one.
pub fn function(name: &str, schemas: &[String]) -> Result<Option<Function>> {
    let query = "SELECT p.oid, p.proowner, pg_catalog.format('%I.%I', n.nspname, p.proname) FROM pg_catalog.pg_proc p \
                 JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
                 WHERE p.proname = $1 AND p.pronargs = 0 AND p.prokind = 'f' AND n.nspname = ANY ($2) \
                 ORDER BY pg_catalog.array_position($2, n.nspname::text) LIMIT 1";
    let found = sql::rows(query, &[name.into(), schemas.to_vec().into()], |row| {
        Ok(Function { oid: row.required(1)?, owner: row.required(2)?, name: row.required(3)? })
    })?;
    Ok(found.into_iter().next())
}

/// The same function in another schema, whose tables it finds first. Its owner stays: it runs with their rights.
pub fn copy_function(function: &Function, schema: &str) -> Result<()> {
    let here = function.name.rsplit_once('.').map_or(function.name.as_str(), |(_, name)| name);
    as_owner(|| {
        let query = "SELECT pg_catalog.pg_get_functiondef($1), pg_catalog.quote_ident(pg_catalog.pg_get_userbyid($2)), \
                            pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
                     WHERE p.oid = $1";
        let found = sql::rows(query, &[function.oid.into(), function.owner.into()], |row| {
            Ok((row.required::<String>(1)?, row.required::<String>(2)?, row.required::<String>(3)?))
        })?;
        let Some((definition, owner, of_schema)) = found.into_iter().next() else {
            return Err(Error::Internal { object: "function", reason: format!("{} is gone", function.name) });
        };
        let copy = format!("{schema}.{here}");
        let (start, rest) = definition.split_once(function.name.as_str()).unwrap_or(("", ""));
        sql::execute(&format!("{start}{copy}{rest}"), &[])?;
        sql::execute(&format!("ALTER FUNCTION {copy}() OWNER TO {owner}"), &[])?;
        let path = format!("ALTER FUNCTION {copy}() SET search_path = pg_catalog, {schema}, {of_schema}, pg_temp");
        sql::execute(&path, &[]).map(drop)
    })
}
