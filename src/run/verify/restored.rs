//! Level `restore`: each table is loaded beside the live one, by the steps of a restore, and removed again.

use std::time::Instant;

use agent_backup_core::plan::{Format, names};

use crate::error::{Error, Result};
use crate::ident::{self, TableName};
use crate::journal;
use crate::run::restore::plan;
use crate::run::restore::trial::Copy;
use crate::run::source::{self, Source};
use crate::run::verify::finding::{Line, Part, Problem, Status};
use crate::server::pin::Pinned;
use crate::server::subtransaction::{Failure, attempt};
use crate::table::catalog::Kind;
use crate::table::scratch;

/// A line for each table that is in the backup as CSV and not known to be damaged.
pub fn check(source: &Source, known: &[Line]) -> Vec<Line> {
    let damaged = |name: &TableName| {
        let of_it = |line: &&Line| line.part.as_ref().is_none_or(|part| part.table == *name);
        known.iter().filter(of_it).any(|line| line.status == Status::Failed)
    };
    let members = source.members().map(|(number, member)| (number, source::name_of(member)));
    members.filter(|(_, name)| !damaged(name)).map(|(number, name)| one(source, number, name)).collect()
}

fn one(source: &Source, number: usize, name: TableName) -> Line {
    let entry = source.csv(number).ok();
    let part = Part {
        table: name.clone(),
        format: entry.map(|_| names::extension(Format::Csv).to_owned()),
        stored_bytes: entry.map(|entry| entry.stored_bytes),
    };
    let begun = Instant::now();
    // In a subtransaction that is rolled back whatever comes: nothing of it stays.
    let tried: std::result::Result<(), Failure> = attempt(|| match restore(source, &name) {
        Ok(told) => Err(Error::RolledBack { told }),
        Err(error) => Err(error),
    });
    let line = match tried {
        Err(Failure { error: Some(Error::RolledBack { told }), .. }) => {
            let rows = entry.map(|entry| entry.rows);
            Line { rows, checksum: entry.and_then(|e| e.row_digest.clone()), ..Line::good(Some(&part), CHECK, told) }
        }
        Err(Failure { error: Some(Error::UnknownTable { .. }), .. }) => {
            let text = "it is not here, so that there is no table to try it on";
            Line { status: Status::Warning, ..Line::bad(Some(&part), CHECK, Problem::new("missing", text)) }
        }
        Err(failure) => Line::bad(Some(&part), CHECK, Problem::new("unreadable", failure.message)),
        Ok(()) => Line::bad(Some(&part), CHECK, Problem::new("unreadable", "it was not tried")),
    };
    Line { took: begun.elapsed(), ..line }
}

const CHECK: &str = "restore";

/// Loads a table beside the live one; what was proved.
fn restore(source: &Source, name: &TableName) -> Result<String> {
    let plans = Pinned::nothing();
    plans.set("jit", "off")?;
    let oid = ident::oid_of(name).ok_or_else(|| Error::UnknownTable { name: name.display(), near: vec![] })?;
    let live = plan::described(oid)?;
    if live.kind == Kind::MaterializedView {
        return Ok("it is refreshed from its tables".into());
    }
    let schema = scratch::create("verify", journal::owner()?)?;
    let _formats = Pinned::formats()?;
    let target = TableName { schema, name: name.name.clone() };
    let steps = Copy::make(live, target)?.fill(source)?;
    Ok(steps.into_iter().map(|step| step.details).collect::<Vec<_>>().join("; "))
}
