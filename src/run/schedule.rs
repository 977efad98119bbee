//! Jobs of a set given to pg_cron, and taken back. All is checked before anything is changed. Where pg_cron is in another
//! database the change there is committed at once: what a rollback here then leaves behind, the next call puts right.

use agent_backup_core::plan::cron::{CronError, Dialect, Schedule};
use agent_backup_core::plan::jobs::{self, Job};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::ident;
use crate::journal;
use crate::journal_jobs::{self, Scheduled};
use crate::run::offsite::destination;
use crate::run::say;
use crate::server::cron::{CronJob, NewJob, PgCron};
use crate::server::{privilege, snapshot};

/// When each job of a set is to run; none: not at all.
pub type Wanted = Vec<(Job, Option<String>)>;

/// What became of a job.
pub struct Changed {
    pub job: Job,
    pub schedule: Option<String>,
    pub next_run: Option<TimestampWithTimeZone>,
    /// `scheduled`, `changed`, `unchanged` or `removed`.
    pub action: &'static str,
}

/// Schedules the jobs of a set.
pub fn schedule(set: &str, wanted: &Wanted) -> Result<Vec<Changed>> {
    snapshot::require_writable()?;
    privilege::require_operator()?;
    require_set(set)?;
    let cron = PgCron::find()?;
    check(wanted, cron.dialect)?;
    if wanted.iter().any(|(job, schedule)| *job == Job::Offsite && schedule.is_some()) {
        destination::require_any(set)?;
    }
    let changed = apply(set, wanted, &cron)?;
    if let Some(daily) = changed.iter().find(|changed| changed.job == Job::Daily) {
        tell_time_zone(&cron.time_zone, daily.next_run)?;
    }
    Ok(changed)
}

/// Takes a job of a set, or all, from pg_cron.
pub fn unschedule(set: &str, job: Option<&str>) -> Result<Vec<Changed>> {
    snapshot::require_writable()?;
    privilege::require_operator()?;
    require_set(set)?;
    let jobs = match job {
        None => Job::ALL.to_vec(),
        Some(name) => vec![Job::parse(name).ok_or_else(|| {
            let near = ident::near(name, Job::ALL.map(|job| job.name().to_owned()));
            Error::UnknownJob { job: name.to_owned(), near }
        })?],
    };
    apply(set, &jobs.into_iter().map(|job| (job, None)).collect(), &PgCron::find()?)
}

/// Takes the jobs of a set that is dropped from pg_cron. Without scheduled jobs pg_cron need not be there.
pub fn forget(set: &str) -> Result<()> {
    if journal_jobs::scheduled(set)?.is_empty() {
        return Ok(());
    }
    unschedule(set, None).map(drop)
}

/// Checks the schedules of jobs as `dialect` reads them.
pub fn check(wanted: &Wanted, dialect: Dialect) -> Result<()> {
    for (job, schedule) in wanted {
        if let Some(schedule) = schedule {
            let invalid = |error: CronError| Error::InvalidOption { option: job.name(), reason: error.to_string() };
            Schedule::parse(schedule, dialect).map_err(invalid)?;
        }
    }
    Ok(())
}

/// A set that does not exist has no jobs.
pub fn require_set(set: &str) -> Result<()> {
    if journal::has_set(set)? { Ok(()) } else { Err(journal::unknown_set(set)?) }
}

/// Makes pg_cron and the catalogue have what is wanted; a row for each job that there is or was.
fn apply(set: &str, wanted: &Wanted, cron: &PgCron) -> Result<Vec<Changed>> {
    let database = ident::current_database()?;
    let name = |job: Job| jobs::cron_name(&database, set, job);
    let known = journal_jobs::scheduled(set)?;
    let role = ident::current_role()?;
    require_own(set, wanted, &known, &role)?;
    let present = cron.jobs(&wanted.iter().map(|(job, _)| name(*job)).collect::<Vec<_>>())?;
    let (mut remove, mut add, mut changed) = (Vec::new(), Vec::new(), Vec::new());
    for (job, schedule) in wanted {
        let of_job: Vec<&CronJob> = present.iter().filter(|present| present.name == name(*job)).collect();
        let was = !of_job.is_empty() || known.iter().any(|known| known.job == *job);
        let new = schedule.as_ref().map(|schedule| NewJob {
            name: name(*job),
            schedule: schedule.clone(),
            command: jobs::command(*job, set),
        });
        let is_so = |new: &NewJob| {
            let same = |job: &CronJob| {
                job.is_active && job.schedule == new.schedule && job.command == new.command && job.role == role
            };
            of_job.len() == 1 && same(of_job[0])
        };
        let action = match &new {
            Some(new) if is_so(new) => "unchanged",
            Some(_) if was => "changed",
            Some(_) => "scheduled",
            None if was => "removed",
            None => continue,
        };
        if action != "unchanged" {
            remove.extend(of_job.iter().map(|job| job.id));
            add.extend(new);
        }
        changed.push(Changed { job: *job, schedule: schedule.clone(), next_run: None, action });
    }
    cron.change(&remove, &add)?;
    for Changed { job, schedule, .. } in &changed {
        match schedule {
            Some(schedule) => journal_jobs::schedule(set, *job, schedule, &cron.time_zone, &name(*job))?,
            None => journal_jobs::unschedule(set, *job)?,
        }
    }
    let next = journal_jobs::next_runs(set)?;
    for row in &mut changed {
        row.next_run = next.iter().find(|(job, _)| *job == row.job).map(|(_, next)| *next);
    }
    Ok(changed)
}

/// pg_cron keeps the jobs of each role apart: those of another one would run beside ours.
fn require_own(set: &str, wanted: &Wanted, known: &[Scheduled], role: &str) -> Result<()> {
    // SAFETY: reads this backend's state.
    if unsafe { pg_sys::superuser() } {
        return Ok(());
    }
    let of_others = known.iter().find(|known| known.role != role && wanted.iter().any(|(job, _)| *job == known.job));
    match of_others {
        Some(other) => Err(Error::ScheduledByOther { set: set.to_owned(), role: other.role.clone() }),
        None => Ok(()),
    }
}

fn tell_time_zone(time_zone: &str, daily: Option<TimestampWithTimeZone>) -> Result<()> {
    let Some(daily) = daily else { return Ok(()) };
    let (clock, here) = journal_jobs::on_the_wall(daily)?;
    say::notice(&format!("pg_cron goes by time zone {time_zone}: the next daily backup begins at {clock} in {here}"));
    Ok(())
}
