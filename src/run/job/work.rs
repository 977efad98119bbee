//! What each job does.

use std::time::Instant;

use agent_backup_core::plan::jobs::Job;

use super::{offsite, told};
use crate::error::{Error, Result};
use crate::journal_audit;
use crate::journal_checks::plain_name;
use crate::journal_jobs::{self, Run};
use crate::run::backup::{self, Report};
use crate::run::incremental::{self, Incremented};
use crate::run::retention::{prune, space};
use crate::run::safety;
use crate::run::{audit, daily, drill};
use crate::server::{clock, sql};

/// A part of the work that was done.
pub struct Done {
    /// For a person, in one line.
    pub summary: String,
    /// What of it failed; the rest stays.
    pub failure: Option<String>,
    /// Whether nothing is left to do.
    pub is_last: bool,
}

impl Done {
    pub(super) fn all(summary: String, failure: Option<String>) -> Self {
        Done { summary, failure, is_last: true }
    }
}

/// Does the part of a run's work that comes after `steps` others.
pub fn of(run_id: i64, run: &Run, steps: i32) -> Result<Done> {
    let set = run.set.as_str();
    match run.job {
        // Files are removed at the commit: it comes before the backup that needs the room.
        Job::Daily if steps == 0 && !space::room_for(set)?.is_enough() => {
            // What could not be removed is told, and the backup is tried all the same.
            let (summary, failure) = prune(set)?;
            let failure = failure.map(|failure| format!(", but {failure}")).unwrap_or_default();
            Ok(Done { summary: format!("little room: {summary}{failure}"), failure: None, is_last: false })
        }
        Job::Daily | Job::Weekly | Job::Hourly if offsite::is_left(run_id) => offsite::sent(set),
        Job::Daily => offsite::after(run_id, set, full(set, "full")?),
        Job::Weekly => offsite::after(run_id, set, full(set, "archive")?),
        Job::Hourly => offsite::after(run_id, set, changes(set)?),
        Job::Verify => verify(set),
        Job::Monthly => drilled(set),
        Job::Prune => pruned(set),
        Job::Offsite => offsite::copied(set),
    }
}

fn full(set: &str, kind: &str) -> Result<Done> {
    let begun = Instant::now();
    let Report { outcomes, placed, .. } =
        backup::run(&backup::Request { set, kind, formats: None, tables: None, destination: None })?;
    let failures: Vec<(String, String)> =
        outcomes.iter().filter_map(|outcome| Some((outcome.table.display(), outcome.error()?.to_owned()))).collect();
    let tables = outcomes.iter().filter(|outcome| outcome.is_done()).count();
    let rows = outcomes.iter().map(|outcome| outcome.to_manifest().rows).sum();
    let bytes = placed.map(|placed| placed.container.size);
    let here = outcomes.iter().filter(|outcome| outcome.status() != "absent").count();
    let summary = told::saved(tables, rows, bytes, begun.elapsed());
    Ok(Done::all(summary, none_here(set, here).or_else(|| told::failed(here, &failures))))
}

fn changes(set: &str) -> Result<Done> {
    let begun = Instant::now();
    let done = incremental::run(&incremental::Request { set, since: None, with_deletes: false })?;
    let of_status = |status: &'static str| done.iter().filter(move |table| table.status == status);
    let why = |table: &Incremented| (table.table.display(), table.details.clone().unwrap_or_default());
    let failures: Vec<(String, String)> = of_status("failed").map(why).collect();
    let rows = done.iter().map(|table| table.rows.unwrap_or(0) + table.tombstones.unwrap_or(0)).sum();
    let (tables, here) = (of_status("ok").count(), done.len() - of_status("absent").count());
    let summary = format!("changes of {}", told::saved(tables, rows, None, begun.elapsed()));
    Ok(Done::all(summary, none_here(set, here).or_else(|| told::failed(here, &failures))))
}

fn none_here(set: &str, here: usize) -> Option<String> {
    (here == 0).then(|| format!("no table of backup set \"{set}\" exists here"))
}

fn verify(set: &str) -> Result<Done> {
    let begun = Instant::now();
    let rows = daily::run(set, clock::now()?)?;
    let of_status = |status: &'static str| rows.iter().filter(move |row| row.status == status);
    let failures: Vec<(String, String)> =
        of_status("failed").map(|row| (plain_name(&row.table), row.error.clone().unwrap_or_default())).collect();
    let warned = match of_status("warning").count() {
        0 => String::new(),
        count => format!(", {}", told::count(count, "warning", "warnings")),
    };
    let good = told::count(rows.len() - failures.len(), "table", "tables");
    let summary = format!("{good} verified{warned} in {:.1} s", begun.elapsed().as_secs_f64());
    let empty = rows.is_empty().then(|| format!("backup set \"{set}\" has no tables"));
    // The log of acts is of all sets; whichever set's job finds it damaged says so.
    let log = if journal_audit::is_there() { audit::verify()? } else { Vec::new() };
    let log = log.into_iter().find(|line| !line.is_ok);
    let log = log.map(|line| format!("the log of acts is damaged: {}", line.details));
    let failures: Vec<String> =
        [empty.or_else(|| told::failed(rows.len(), &failures)), log].into_iter().flatten().collect();
    Ok(Done::all(summary, (!failures.is_empty()).then(|| failures.join("; "))))
}

fn drilled(set: &str) -> Result<Done> {
    let drill::Drilled { steps, is_late } = drill::run(set)?;
    let restored = steps.iter().filter(|step| step.action == "restore").count();
    let Some(verdict) = steps.last() else {
        return Err(Error::Internal { object: "drill", reason: "it has no verdict".into() });
    };
    let rows = verdict.rows.unwrap_or_default().unsigned_abs();
    let summary = format!("restored {}, {}", told::saved(restored, rows, None, verdict.took), verdict.details);
    let failed = verdict.status == "failed" || is_late;
    Ok(Done::all(summary, failed.then(|| format!("the drill failed: {}", verdict.details))))
}

/// What the retention does not keep of a set, and of what restores and tracking made.
fn prune(set: &str) -> Result<(String, Option<String>)> {
    let mut pruned = prune::run(Some(set), true)?;
    let ours = [safety::SAFETY_SET, safety::BASELINE_SET];
    for own in ours.into_iter().filter(|own| *own != set) {
        match prune::run(Some(own), true) {
            Ok(more) => pruned.extend(more),
            // It has no backup yet; or the job of another set is at it.
            Err(Error::UnknownSet { .. } | Error::Busy { .. }) => (),
            Err(error) => return Err(error),
        }
    }
    let (failed, removed): (Vec<_>, Vec<_>) = pruned.into_iter().partition(|pruned| pruned.action == "failed");
    let (incrementals, backups): (Vec<_>, Vec<_>) =
        removed.into_iter().partition(|pruned| pruned.kind.as_deref() == Some("incremental"));
    let summary = format!(
        "{} and {} removed",
        told::count(backups.len(), "backup", "backups"),
        told::count(incrementals.len(), "incremental", "incrementals")
    );
    let why = |pruned: &prune::Pruned| {
        let name = pruned.backup_id.clone().or_else(|| pruned.path.clone()).unwrap_or_default();
        format!("{name}: {}", pruned.reasons.first().map_or("it could not be removed", String::as_str))
    };
    let failure = (!failed.is_empty()).then(|| failed.iter().map(why).collect::<Vec<_>>().join("; "));
    Ok((summary, failure))
}

fn pruned(set: &str) -> Result<Done> {
    let (summary, failure) = prune(set)?;
    journal_jobs::forget_old_runs()?;
    Ok(Done::all(format!("{summary}; {}", maintain_log()?), failure))
}

fn maintain_log() -> Result<String> {
    let query = "SELECT pg_catalog.count(*) FROM agent_backup.maintain_log() WHERE action = 'sealed'";
    let days = sql::changed_rows(query, &[], |row| row.required::<i64>(1))?.into_iter().sum::<i64>();
    Ok(format!("{} of the log put away", told::count(days.unsigned_abs() as usize, "day", "days")))
}
