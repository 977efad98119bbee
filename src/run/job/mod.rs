//! A run of a job, in three parts that the procedure `run_job` commits one by one: begin, do, end. Locks end with each
//! transaction; between two of them the row of the run keeps others out, as long as its session works.

mod offsite;
mod told;
mod work;

use agent_backup_core::plan::jobs::Job;
use agent_backup_core::plan::payload::Payload;
use chrono::{DateTime, SecondsFormat, Utc};
use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::ident;
use crate::journal::{self, utc};
use crate::journal_jobs::{self, Ending, Run};
use crate::run::audit;
use crate::run::offsite::destination;
use crate::server::{lock, privilege, snapshot, sql};

pub use work::Done;

/// The channel of NOTIFY.
const CHANNEL: &str = "agent_backup";

/// A run that has a row, and why it goes no further.
pub struct Begun {
    pub run_id: i64,
    pub refused: Option<Error>,
}

/// Begins a run. One that is refused is written down and told of, too: its row must be committed before the error is raised.
pub fn begin(job: &str, set: &str) -> Result<Begun> {
    snapshot::require_writable()?;
    privilege::require_operator()?;
    let job = Job::parse(job).ok_or_else(|| unknown(job))?;
    // SAFETY: both read this backend's state: whether the procedure that called us may commit.
    let may_commit = unsafe { pg_sys::SPI_inside_nonatomic_context() && !pg_sys::IsTransactionBlock() };
    if !may_commit {
        return Err(Error::InTransaction);
    }
    let refused = refusal(job, set)?;
    let run_id = journal_jobs::begin(job, set, refused.as_ref())?;
    if let Some(error) = &refused {
        tell_end(run_id, Some(&error.to_string()), "")?;
    }
    Ok(Begun { run_id, refused })
}

fn unknown(job: &str) -> Error {
    let near = ident::near(job, Job::ALL.map(|job| job.name().to_owned()));
    let near = if near.is_empty() { Job::ALL.map(|job| job.name().to_owned()).to_vec() } else { near };
    Error::UnknownJob { job: job.to_owned(), near }
}

/// Why a job of a set cannot run now.
fn refusal(job: Job, set: &str) -> Result<Option<Error>> {
    if !journal::has_set(set)? {
        return journal::unknown_set(set).map(Some);
    }
    if let Err(error) = lock::try_job(job, set) {
        return Ok(Some(error));
    }
    journal_jobs::bury_the_dead()?;
    if let Some(pid) = journal_jobs::runner(job, set)? {
        return Ok(Some(Error::JobBusy { job: job.name(), set: set.to_owned(), holder: Some(pid) }));
    }
    match job {
        Job::Offsite => Ok(destination::require_any(set).err()),
        _ => Ok(None),
    }
}

/// Does the next part of a run's work.
pub fn step(run_id: i64, steps: i32) -> Result<Done> {
    privilege::require_operator()?;
    let run = journal_jobs::running(run_id)?;
    audit::object(run.job.name());
    audit::set(&run.set);
    audit::note("run_id", run_id);
    lock::wait_for_job(run.job, &run.set);
    work::of(run_id, &run, steps)
}

/// Ends a run: writes down how, tells listeners of it, and of what is overdue.
pub fn end(run_id: i64, ending: &Ending) -> Result<()> {
    privilege::require_operator()?;
    journal_jobs::running(run_id)?;
    journal_jobs::end(run_id, ending)?;
    tell_end(run_id, ending.error, ending.summary.unwrap_or_default())?;
    for (set, job, due) in journal_jobs::newly_overdue()? {
        let due = rfc3339(utc(due));
        tell(&Payload {
            event: "overdue",
            job: &job,
            set_name: &set,
            run_id: None,
            database: &ident::current_database()?,
            started_at: due.clone(),
            finished_at: None,
            message: &format!("job \"{job}\" of backup set \"{set}\" should have run at {due} and has not"),
        })?;
    }
    Ok(())
}

fn tell_end(run_id: i64, error: Option<&str>, summary: &str) -> Result<()> {
    let Some((run, finished_at)) = journal_jobs::ended(run_id)? else { return Ok(()) };
    let Run { job, set, started_at, .. } = run;
    tell(&Payload {
        event: if error.is_some() { "failed" } else { "finished" },
        job: job.name(),
        set_name: &set,
        run_id: Some(run_id),
        database: &ident::current_database()?,
        started_at: rfc3339(utc(started_at)),
        finished_at: Some(rfc3339(utc(finished_at))),
        message: error.unwrap_or(summary),
    })
}

fn tell(payload: &Payload) -> Result<()> {
    let json = payload.json();
    let json = json.map_err(|error| Error::Internal { object: "notification", reason: error.to_string() })?;
    sql::rows("SELECT pg_catalog.pg_notify($1, $2)", &[CHANNEL.into(), json.as_str().into()], |_| Ok(())).map(drop)
}

fn rfc3339(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::Secs, true)
}
