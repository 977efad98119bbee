//! A recovery drill: the newest backup goes through the very steps of a restore, into tables of a scratch schema that are
//! made like the live ones, and what is proved and how long it took is kept. The live tables are only looked at.

use std::time::{Duration, Instant};

use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::ident::{self, TableName};
use crate::journal;
use crate::journal_drills::{self, DrillRecord};
use crate::run::restore::after::{self, ForeignKey};
use crate::run::restore::plan;
use crate::run::restore::trial::Copy;
use crate::run::source::{self, Source};
use crate::server::pin::Pinned;
use crate::server::snapshot;
use crate::server::statement::Statement;
use crate::server::subtransaction::{Failure, attempt, attempt_reading, is_for_the_call};
use crate::server::user::{ActingAs, Restriction};
use crate::server::{failpoint, sql};
use crate::table::catalog::Kind;
use crate::table::scratch;

/// The application's own checks, where it has them.
const QUALITY_CHECKS: &str = "run_all_quality_checks";

/// One step of a drill.
pub struct Step {
    pub action: &'static str,
    pub object: Option<String>,
    pub rows: Option<i64>,
    pub took: Duration,
    /// `ok`, `warning` or `failed`.
    pub status: &'static str,
    pub details: String,
}

/// A drill that ended; its last step is the verdict.
pub struct Drilled {
    pub steps: Vec<Step>,
    /// It took longer than the set's RTO.
    pub is_late: bool,
}

/// Drills the newest complete backup of a set. A drill that fails is a row that says so: the log of it must stay.
pub fn run(set: &str) -> Result<Drilled> {
    snapshot::require_writable()?;
    if snapshot::is_fixed() {
        return Err(Error::FixedSnapshot);
    }
    let objective = journal_drills::objective(set)?;
    let location = source::locate(source::LATEST, set)?;
    let begun = Instant::now();
    let mut drill = Drill { set, steps: Vec::new(), backup_id: location.listed.as_ref().map(|l| l.backup_id.clone()) };
    let done = attempt(|| drill.all(location));
    let took = begun.elapsed();
    let error = match done {
        Ok(()) => None,
        Err(Failure { error: Some(error), code, .. }) if is_for_the_call(code) => return Err(error),
        Err(failure) => Some(failure.message),
    };
    drill.conclude(objective, took, error)
}

struct Drill<'a> {
    set: &'a str,
    backup_id: Option<String>,
    steps: Vec<Step>,
}

impl Drill<'_> {
    /// In a subtransaction: whatever ends it early takes the scratch schema with it.
    fn all(&mut self, location: source::Location) -> Result<()> {
        let plans = Pinned::nothing();
        plans.set("jit", "off")?;
        let begun = Instant::now();
        let source = source::open(location)?;
        source.check_beside()?;
        self.step("open", None, None, begun, "ok", "manifest and container belong together".into());
        let schema = scratch::create("drill", journal::owner()?)?;
        let _formats = Pinned::formats()?;
        let copies = self.make_tables(&source, &schema)?;
        self.fill(&source, &copies)?;
        self.complete(&copies)?;
        failpoint::reach("drill")?;
        self.quality_checks(&schema, &copies)?;
        self.sample_queries(&schema)?;
        scratch::remove(&schema)
    }

    fn step(
        &mut self,
        action: &'static str,
        object: Option<String>,
        rows: Option<i64>,
        begun: Instant,
        status: &'static str,
        details: String,
    ) {
        self.steps.push(Step { action, object, rows, took: begun.elapsed(), status, details });
    }

    /// A table like each live one, empty, with its keys, indexes and checks.
    fn make_tables(&mut self, source: &Source, schema: &str) -> Result<Vec<Copy>> {
        let begun = Instant::now();
        let mut copies = Vec::new();
        for (number, member) in source.members() {
            let name = source::name_of(member);
            let Some(oid) = ident::oid_of(&name) else {
                let details = "it is not here; its statements in the backup make it (restore with create_missing)";
                self.step("create", Some(name.display()), None, begun, "warning", details.into());
                continue;
            };
            let live = plan::described(oid)?;
            if live.kind == Kind::MaterializedView {
                continue;
            }
            // Two tables of two schemas may have one name.
            let target = TableName { schema: schema.to_owned(), name: free_name(&copies, &name, number) };
            copies.push(Copy::make(live, target)?);
        }
        if copies.is_empty() {
            return Err(unexpected("the backup has no table that is here"));
        }
        self.step("create", None, None, begun, "ok", format!("{} tables in schema {schema}", copies.len()));
        Ok(copies)
    }

    /// Each table through the steps of a restore: checked, staged, compared, swapped in, its indexes built.
    fn fill(&mut self, source: &Source, copies: &[Copy]) -> Result<()> {
        for copy in copies {
            pgrx::check_for_interrupts!();
            let begun = Instant::now();
            let steps = copy.fill(source)?;
            after::advance_sequences(&plan::described(copy.oid)?)?;
            let rows = steps.first().and_then(|step| step.rows);
            let details: Vec<String> = steps.into_iter().map(|step| step.details).collect();
            self.step("restore", Some(copy.live.name.display()), rows, begun, "ok", details.join("; "));
        }
        Ok(())
    }

    /// Foreign keys among the tables, which the server checks as it makes them, and policies.
    fn complete(&mut self, copies: &[Copy]) -> Result<()> {
        let begun = Instant::now();
        let live: Vec<pg_sys::Oid> = copies.iter().map(|copy| copy.live.oid).collect();
        let of = |oid: pg_sys::Oid| copies.iter().find(|copy| copy.live.oid == oid);
        let mut made = 0;
        for key in after::foreign_keys(&live)? {
            if let (Some(child), Some(parent)) = (of(key.child), of(key.parent)) {
                make_key(&key, child, parent)?;
                made += 1;
            }
        }
        self.step("foreign keys", None, None, begun, "ok", format!("{made} made and valid"));
        let begun = Instant::now();
        let mut policies = 0;
        for copy in copies {
            policies += copy_policies(copy)?;
        }
        self.step("policies", None, None, begun, "ok", format!("{policies} made"));
        Ok(())
    }

    /// The application's checks over the restored rows: a copy of its function that finds them first.
    fn quality_checks(&mut self, schema: &str, copies: &[Copy]) -> Result<()> {
        let begun = Instant::now();
        let schemas: Vec<String> = copies.iter().map(|copy| copy.live.name.schema.clone()).collect();
        let Some(found) = journal_drills::function(QUALITY_CHECKS, &schemas)? else { return Ok(()) };
        let checked = attempt(|| {
            journal_drills::copy_function(&found, schema)?;
            let query = format!("SELECT pg_catalog.to_jsonb(c) FROM {}.{QUALITY_CHECKS}() AS c", ident::quote(schema));
            Statement::reading(&query, found.owner, found.owner).rows()
        });
        let (status, rows, details) = match checked {
            Err(failure) => ("warning", None, format!("could not run: {}", failure.message)),
            Ok(rows) => {
                let failed: Vec<&String> =
                    rows.iter().flatten().flatten().filter(|row| row.contains("\"status\": \"fail\"")).collect();
                let count = i64::try_from(rows.len()).ok();
                match failed.first() {
                    None => ("ok", count, format!("{} checks of the application pass", rows.len())),
                    Some(first) => ("warning", count, format!("{} checks fail, such as {first}", failed.len())),
                }
            }
        };
        self.step("quality checks", Some(found.name), rows, begun, status, details);
        Ok(())
    }

    fn sample_queries(&mut self, schema: &str) -> Result<()> {
        for (name, query, role) in journal_drills::queries(self.set)? {
            let begun = Instant::now();
            let ran = attempt_reading(|| {
                let role = ident::role_oid(&role).ok_or_else(|| unexpected("the role that gave it is gone"))?;
                let path = Pinned::nothing();
                path.set("search_path", &format!("{}, public", ident::quote(schema)))?;
                Statement::reading(&query, role, role).execute()
            });
            let (status, rows, details) = match ran {
                Ok(rows) => ("ok", Some(rows.cast_signed()), "ran".to_owned()),
                Err(failure) => ("warning", None, failure.message),
            };
            self.step("query", Some(name), rows, begun, status, details);
        }
        Ok(())
    }

    /// Writes it down, and adds the verdict.
    fn conclude(mut self, rto: Option<Duration>, took: Duration, error: Option<String>) -> Result<Drilled> {
        let within_rto = rto.map(|rto| took <= rto);
        let warned = self.steps.iter().any(|step| step.status == "warning") || within_rto == Some(false);
        let status = match (&error, warned) {
            (Some(_), _) => "failed",
            (None, true) => "warning",
            (None, false) => "success",
        };
        let objective = match (rto, within_rto) {
            (Some(rto), Some(true)) => format!("within the RTO of {}", words(rto)),
            (Some(rto), _) => format!("longer than the RTO of {}", words(rto)),
            _ => "the set has no RTO".to_owned(),
        };
        let details = error.clone().unwrap_or(objective);
        let rows = self.steps.iter().filter(|step| step.action == "restore").filter_map(|step| step.rows).sum();
        let verdict = if error.is_some() {
            "failed"
        } else if warned {
            "warning"
        } else {
            "ok"
        };
        self.steps.push(Step { action: "drill", object: None, rows: Some(rows), took, status: verdict, details });
        journal_drills::record(&DrillRecord {
            set_name: self.set.to_owned(),
            backup_id: self.backup_id.clone(),
            status,
            took,
            rto,
            within_rto,
            row_count: rows,
            steps: self.steps.iter().map(json).collect(),
            error,
        })?;
        Ok(Drilled { steps: self.steps, is_late: within_rto == Some(false) })
    }
}

fn json(step: &Step) -> serde_json::Value {
    serde_json::json!({
        "step": step.action, "object": step.object, "row_count": step.rows, "seconds": step.took.as_secs_f64(),
        "status": step.status, "details": step.details,
    })
}

fn words(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds % 3600 == 0 && seconds > 0 => format!("{} h", seconds / 3600),
        seconds if seconds % 60 == 0 && seconds > 0 => format!("{} min", seconds / 60),
        _ => format!("{:.3} s", duration.as_secs_f64()),
    }
}

fn free_name(copies: &[Copy], name: &TableName, number: usize) -> String {
    if copies.iter().any(|copy| copy.target.name == name.name) {
        format!("{number}.{}", name.name)
    } else {
        name.name.clone()
    }
}

/// Between tables of two owners the server does not check it: its query would run code of the one as the other.
fn make_key(key: &ForeignKey, child: &Copy, parent: &Copy) -> Result<()> {
    let child_owner = ident::role_name(child.live.owner)?;
    journal::as_owner(|| {
        let (target, role) = (parent.target.qualified(), ident::quote(&child_owner));
        sql::execute(&format!("GRANT SELECT, REFERENCES ON {target} TO {role}"), &[]).map(drop)
    })?;
    let add = format!(
        "ALTER TABLE {} ADD CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {} ({}){}",
        child.target.qualified(),
        ident::quote(&key.name),
        key.columns.join(", "),
        parent.target.qualified(),
        key.keys.join(", "),
        if key.is_of_one_owner() { "" } else { " NOT VALID" }
    );
    {
        let _owner = ActingAs::user(child.live.owner, Restriction::SecurityRestricted);
        sql::execute(&add, &[])?;
    }
    if key.is_of_one_owner() { Ok(()) } else { key.between(&child.target, &parent.target).check() }
}

fn copy_policies(copy: &Copy) -> Result<usize> {
    let (oid, target) = (copy.live.oid, copy.target.qualified());
    let query = include_str!("../../sql/query/policies.sql");
    let policies = sql::rows(query, &[oid.into(), target.as_str().into()], |row| row.required::<String>(1))?;
    if policies.is_empty() {
        return Ok(0);
    }
    let _owner = ActingAs::user(copy.live.owner, Restriction::SecurityRestricted);
    for policy in &policies {
        sql::execute(policy, &[])?;
    }
    sql::execute(&format!("ALTER TABLE {target} ENABLE ROW LEVEL SECURITY"), &[])?;
    Ok(policies.len())
}

fn unexpected(reason: &str) -> Error {
    Error::Internal { object: "drill", reason: reason.to_owned() }
}
