//! pg_cron, wherever in the cluster it is: whether it can be used, its jobs, and changes of them.

use agent_backup_core::plan::cron::Dialect;
use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::server::elsewhere::{self, Place};
use crate::server::encoding;
use crate::server::sql::{self, Texts};
use crate::{ident, settings};

/// pg_cron, and that the caller may use it.
pub struct PgCron {
    /// None: in this database.
    elsewhere: Option<Place>,
    pub time_zone: String,
    pub dialect: Dialect,
}

/// A job as pg_cron has it.
pub struct CronJob {
    pub id: i64,
    pub name: String,
    pub schedule: String,
    pub command: String,
    pub is_active: bool,
    pub role: String,
}

/// A job that pg_cron is to have.
pub struct NewJob {
    pub name: String,
    pub schedule: String,
    pub command: String,
}

/// Names in the schema cron cannot be looked up without the right to use it.
const HERE: &str = "SELECT e.extversion, pg_catalog.has_schema_privilege('cron', 'USAGE'), \
    (SELECT coalesce(pg_catalog.bool_or(pg_catalog.has_function_privilege(p.oid, 'EXECUTE')), false) \
       FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace \
      WHERE n.nspname OPERATOR(pg_catalog.=) 'cron' AND p.proname OPERATOR(pg_catalog.=) 'schedule_in_database') \
    FROM pg_catalog.pg_extension e WHERE e.extname OPERATOR(pg_catalog.=) 'pg_cron'";

impl PgCron {
    /// Finds it; an error says what is missing and how to get it.
    pub fn find() -> Result<Self> {
        let name = settings::of_server("cron.database_name").ok_or_else(not_loaded)?;
        // SAFETY: looks up the catalogue by a NUL-terminated name, and reads this backend's state.
        let (database, here, role) =
            unsafe { (pg_sys::get_database_oid(name.as_ptr(), true), pg_sys::MyDatabaseId, pg_sys::GetUserId()) };
        let shown = encoding::shown(name.as_bytes());
        if database == pg_sys::InvalidOid {
            let reason = format!("the database \"{shown}\", which cron.database_name names, does not exist");
            return Err(Error::NoCron { reason, hint: "Set cron.database_name and restart the server.".into() });
        }
        let elsewhere = (database != here).then_some(Place { database, role });
        let time_zone =
            settings::of_server("cron.timezone").map_or("GMT".into(), |zone| encoding::shown(zone.as_bytes()));
        let mut cron = PgCron { elsewhere, time_zone, dialect: Dialect::Crontab };
        let found = cron.run(HERE)?.into_iter().next().map(|row| {
            let is = |column: usize| row.get(column).cloned().flatten().is_some_and(|value| value == "t");
            (row.first().cloned().flatten().unwrap_or_default(), is(1), is(2))
        });
        let Some((version, has_schema, has_function)) = found else {
            return Err(Error::NoCron {
                reason: format!("the extension pg_cron does not exist in database \"{shown}\""),
                hint: format!("Ask a superuser to run in database \"{shown}\": CREATE EXTENSION pg_cron;"),
            });
        };
        cron.dialect = dialect(&version);
        let role = ident::current_user();
        if !has_schema {
            return Err(may_not(&shown, &format!("GRANT USAGE ON SCHEMA cron TO {role};")));
        }
        if cron.elsewhere.is_some() && !has_function {
            let function = "cron.schedule_in_database(text, text, text, text, text, boolean)";
            return Err(may_not(&shown, &format!("GRANT EXECUTE ON FUNCTION {function} TO {role};")));
        }
        Ok(cron)
    }

    /// The jobs of this database with one of these names that the caller may see: their own, or all for a superuser.
    pub fn jobs(&self, names: &[String]) -> Result<Vec<CronJob>> {
        let names: Vec<String> = names.iter().map(|name| ident::literal(name)).collect();
        let statement = format!(
            "SELECT j.jobid, j.jobname, j.schedule, j.command, j.active, j.username FROM cron.job j \
             WHERE j.database OPERATOR(pg_catalog.=) {} AND j.jobname::pg_catalog.text OPERATOR(pg_catalog.=) ANY (ARRAY[{}]::pg_catalog.text[])",
            database_literal()?,
            names.join(", ")
        );
        let job = |row: Vec<Option<String>>| {
            let [id, name, schedule, command, active, role] =
                <[_; 6]>::try_from(row).unwrap_or_default().map(Option::unwrap_or_default);
            let id =
                id.parse().map_err(|_| Error::Internal { object: "cron.job", reason: format!("number \"{id}\"") })?;
            Ok(CronJob { id, name, schedule, command, is_active: active == "t", role })
        };
        self.run(&statement)?.into_iter().map(job).collect()
    }

    /// Takes jobs out and puts others in, all or none.
    pub fn change(&self, remove: &[i64], add: &[NewJob]) -> Result<()> {
        let mut parts = Vec::new();
        if !remove.is_empty() {
            let ids: Vec<String> = remove.iter().map(|id| format!("({id}::pg_catalog.int8)")).collect();
            parts.push(format!(
                "SELECT pg_catalog.count(cron.unschedule(v.id)) FROM (VALUES {}) AS v(id)",
                ids.join(", ")
            ));
        }
        if !add.is_empty() {
            let row =
                |job: &NewJob| [&job.name, &job.schedule, &job.command].map(|text| ident::literal(text)).join(", ");
            let rows: Vec<String> = add.iter().map(|job| format!("({})", row(job))).collect();
            let call = match self.elsewhere {
                None => "cron.schedule(v.name, v.schedule, v.command)".to_owned(),
                Some(_) => format!("cron.schedule_in_database(v.name, v.schedule, v.command, {})", database_literal()?),
            };
            let values = rows.join(", ");
            parts.push(format!("SELECT pg_catalog.count({call}) FROM (VALUES {values}) AS v(name, schedule, command)"));
        }
        if parts.is_empty() { Ok(()) } else { self.run(&parts.join(" UNION ALL ")).map(drop) }
    }

    /// As the caller, in pg_cron's database.
    fn run(&self, statement: &str) -> Result<Texts> {
        match self.elsewhere {
            None => sql::texts(statement),
            Some(place) => elsewhere::run(place, statement),
        }
    }
}

/// This database as an SQL literal, in a text of type `text`.
fn database_literal() -> Result<String> {
    Ok(format!("{}::pg_catalog.text", ident::literal(&ident::current_database()?)))
}

/// From 1.5 on pg_cron knows the last day of a month.
fn dialect(version: &str) -> Dialect {
    let parts: Vec<u32> = version.split(['.', '-']).map_while(|part| part.parse().ok()).collect();
    if parts.as_slice() >= [1, 5].as_slice() { Dialect::LastDay } else { Dialect::Crontab }
}

fn may_not(database: &str, grant: &str) -> Error {
    Error::MayNotSchedule { database: database.to_owned(), grant: grant.to_owned() }
}

/// Not there, or there and not loaded.
fn not_loaded() -> Error {
    let query = "SELECT 'there' FROM pg_catalog.pg_available_extensions \
                 WHERE name OPERATOR(pg_catalog.=) 'pg_cron' LIMIT 1";
    let or_crontab = "or run the jobs by cron: SELECT agent_backup.crontab();";
    match sql::text(query, &[]) {
        Err(error) => error,
        Ok(Some(_)) => Error::NoCron {
            reason: "pg_cron is installed but not loaded".into(),
            hint: format!(
                "Add pg_cron to shared_preload_libraries, set cron.database_name, restart the server and run CREATE EXTENSION pg_cron; {or_crontab}"
            ),
        },
        Ok(None) => Error::NoCron {
            reason: "pg_cron is not installed".into(),
            hint: format!(
                "Install it (on Debian the package postgresql-{}-cron), add it to shared_preload_libraries, restart the server and run CREATE EXTENSION pg_cron; {or_crontab}",
                pg_sys::PG_MAJORVERSION_NUM
            ),
        },
    }
}
