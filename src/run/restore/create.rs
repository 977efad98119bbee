//! Tables that are not here, made by the statements in the backup. Such statements can do anything, so only a superuser
//! has them run, and only for objects that were not here before.

use std::collections::HashSet;

use agent_backup_core::container::Manifest;
use agent_backup_core::container::manifest::Ddl;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;

use crate::error::{Error, Result};
use crate::run::restore::plan::{Item, Status, Step};
use crate::run::source::{self, Source};
use crate::server::pin::Pinned;
use crate::server::subtransaction::attempt;
use crate::server::{privilege, sql};

/// Sections that come before the data.
const BEFORE: &[&str] = &["schema", "extension", "type", "function", "sequence", "table"];
/// Settings of the script's own session.
const PREAMBLE: &str = "preamble";
/// Sections that name roles, which another cluster may not have.
const OF_ROLES: &[&str] = &["policy", "owner", "grant"];

/// The statements of a backup for what is not here.
pub struct Creation<'a> {
    statements: Vec<&'a Ddl>,
}

impl<'a> Creation<'a> {
    /// Chooses the statements for the tables that are missing; none if none is. Errors: 42501 for who is no superuser.
    pub fn plan(source: &'a Source, items: &[Item]) -> Result<Option<Self>> {
        let missing: Vec<&Item> = items.iter().filter(|item| item.live.is_none()).collect();
        if missing.is_empty() {
            return Ok(None);
        }
        privilege::require_superuser("run the statements of a backup that make a table")?;
        let manifest = source.manifest();
        // With all tables of the backup gone, this is a bare database: rights on its schemas are part of the set.
        let is_bare = missing.len() == source.members().count();
        let here = objects_here(manifest)?;
        let wanted = wanted_tables(manifest, &missing);
        let belongs = |ddl: &Ddl| {
            let is_schema = ddl.section == "grant" && !ddl.object.contains('.');
            (!here.contains(&ddl.object) && wanted(ddl)) || (is_bare && is_schema)
        };
        let statements = manifest.ddl.iter().filter(|ddl| ddl.section != PREAMBLE && belongs(ddl)).collect();
        Ok(Some(Creation { statements }))
    }

    /// How many statements there are.
    pub fn len(&self) -> usize {
        self.statements.len()
    }

    /// Makes the tables, empty.
    pub fn before_data(&self) -> Result<()> {
        let _settings = replay_settings()?;
        let before = self.statements.iter().filter(|ddl| BEFORE.contains(&ddl.section.as_str()));
        before.copied().try_for_each(execute)
    }

    /// Completes them: keys, indexes, triggers, policies, grants. What names a role that is not here is told.
    pub fn after_data(&self) -> Result<Vec<Step>> {
        let _settings = replay_settings()?;
        let mut told = Vec::new();
        for &ddl in self.statements.iter().filter(|ddl| !BEFORE.contains(&ddl.section.as_str())) {
            if !OF_ROLES.contains(&ddl.section.as_str()) {
                execute(ddl)?;
                continue;
            }
            match attempt(|| execute(ddl)) {
                Ok(()) => (),
                Err(failure) if failure.code == PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT => told.push(Step {
                    table: Some(ddl.object.clone()),
                    action: "definition",
                    rows: None,
                    status: Status::Warning,
                    details: format!("not run, {}: {}", failure.message, ddl.statement),
                }),
                Err(failure) => {
                    let reason = format!("{}: {}", failure.message, ddl.statement);
                    return Err(Error::Internal { object: "definition in the backup", reason });
                }
            }
        }
        Ok(told)
    }
}

fn execute(ddl: &Ddl) -> Result<()> {
    pgrx::check_for_interrupts!();
    sql::execute(&ddl.statement, &[]).map(drop)
}

/// As the script's preamble sets them.
fn replay_settings() -> Result<Pinned> {
    let pinned = Pinned::nothing();
    for (name, value) in [
        ("check_function_bodies", "off"),
        ("default_tablespace", ""),
        ("default_table_access_method", "heap"),
        ("search_path", ""),
        ("client_min_messages", "warning"),
    ] {
        pinned.set(name, value)?;
    }
    Ok(pinned)
}

/// Which statements belong to the missing tables: those of the tables themselves, and those of no table (types, functions,
/// sequences, views), which are made where they are not here.
fn wanted_tables<'m>(manifest: &'m Manifest, missing: &[&Item]) -> impl Fn(&Ddl) -> bool + 'm {
    let all: HashSet<String> = source_names(manifest);
    let missing: HashSet<String> = missing.iter().map(|item| item.target.qualified()).collect();
    move |ddl| !all.contains(&ddl.object) || missing.contains(&ddl.object)
}

fn source_names(manifest: &Manifest) -> HashSet<String> {
    manifest.members.iter().map(|member| source::name_of(member).qualified()).collect()
}

/// The objects of the statements that exist before any of them runs.
fn objects_here(manifest: &Manifest) -> Result<HashSet<String>> {
    let objects: HashSet<&str> = manifest.ddl.iter().map(|ddl| ddl.object.as_str()).collect();
    let (routines, others): (Vec<&str>, Vec<&str>) = objects.into_iter().partition(|object| object.ends_with(')'));
    let mut here = found(
        &others,
        "SELECT o FROM pg_catalog.unnest($1::text[]) AS o \
          WHERE pg_catalog.to_regclass(o) IS NOT NULL OR pg_catalog.to_regtype(o) IS NOT NULL \
             OR EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE pg_catalog.quote_ident(nspname) = o) \
             OR EXISTS (SELECT FROM pg_catalog.pg_extension WHERE pg_catalog.quote_ident(extname) = o)",
    )?;
    for routine in routines {
        // A routine over a type that is not here is not here either; the server says so with an error.
        let query = "SELECT o FROM pg_catalog.unnest($1::text[]) AS o WHERE pg_catalog.to_regprocedure(o) IS NOT NULL";
        here.extend(attempt(|| found(&[routine], query)).unwrap_or_default());
    }
    Ok(here)
}

fn found(objects: &[&str], query: &str) -> Result<HashSet<String>> {
    let objects: Vec<String> = objects.iter().map(|object| (*object).to_owned()).collect();
    Ok(sql::rows(query, &[objects.into()], |row| row.required::<String>(1))?.into_iter().collect())
}
