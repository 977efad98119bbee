//! `schedule`, `unschedule`, `crontab`, and what the view `schedules` is made with.

use agent_backup_core::plan::cron::{CronError, Dialect, Schedule};
use agent_backup_core::plan::jobs::Job;
use chrono::NaiveDateTime;
use pgrx::datum::{Timestamp, TimestampWithTimeZone};
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::api::argument::required;
use crate::error::{Error, Result as OurResult};
use crate::journal;
use crate::journal_jobs;
use crate::run::audit::{Act, audited};
use crate::run::crontab;
use crate::run::schedule::{self, Changed, Wanted};
use crate::server::message::answer;
use crate::server::text::Text;

/// Gives the jobs of a set to pg_cron, each with the five fields of a crontab; null: that job does not run by itself.
///
/// `SELECT * FROM agent_backup.schedule(daily => '30 1 * * *', weekly => NULL);`
///
/// `daily`: full backup; `hourly`: incremental; `verify`: verification of the day's backup; `weekly`: archive backup;
/// `monthly`: drill; `prune`: removal of old backups. The times are in pg_cron's time zone, which a NOTICE states. The jobs
/// run as the caller. pg_cron may be in another database of the cluster. One row per job: `action` is `scheduled`,
/// `changed`, `unchanged` or `removed`.
///
/// Errors: 55000 without pg_cron (the hint says how to get it), 42501 without the right to write backups or to use pg_cron,
/// or for jobs of another role, 42704 for an unknown set, 22023 for what is no schedule.
#[allow(clippy::too_many_arguments, reason = "a job each")]
#[pg_extern(schema = "agent_backup", name = "schedule")]
fn schedule_jobs(
    set_name: default!(Option<Text>, "'agent_sdk'"),
    daily: default!(Option<Text>, "'0 2 * * *'"),
    hourly: default!(Option<Text>, "'0 * * * *'"),
    verify: default!(Option<Text>, "'30 4 * * *'"),
    weekly: default!(Option<Text>, "'0 3 * * 0'"),
    monthly: default!(Option<Text>, "'0 5 1 * *'"),
    prune: default!(Option<Text>, "'30 5 * * *'"),
    offsite: default!(Option<Text>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(job, &'static str),
            name!(schedule, Option<Text>),
            name!(next_run, Option<TimestampWithTimeZone>),
            name!(action, &'static str),
        ),
    >,
    ErrorReport,
> {
    audited(Act::new("schedule").of(set_name.as_ref()), || {
        let wanted = wanted([daily, hourly, verify, weekly, monthly, prune, offsite]);
        Ok(rows(schedule::schedule(&required(set_name, "set_name")?, &wanted)?))
    })
}

/// Takes the jobs of a set, or one of them, from pg_cron.
///
/// `SELECT * FROM agent_backup.unschedule(job => 'monthly');`
///
/// One row per job that was scheduled. Errors: as of `schedule`.
#[pg_extern(schema = "agent_backup", name = "unschedule")]
fn unschedule_jobs(
    set_name: default!(Option<Text>, "'agent_sdk'"),
    job: default!(Option<Text>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(job, &'static str),
            name!(schedule, Option<Text>),
            name!(next_run, Option<TimestampWithTimeZone>),
            name!(action, &'static str),
        ),
    >,
    ErrorReport,
> {
    audited(Act::new("unschedule").on(job.as_ref()).of(set_name.as_ref()), || {
        Ok(rows(schedule::unschedule(&required(set_name, "set_name")?, job.as_deref())?))
    })
}

/// A file for `/etc/cron.d` that runs the jobs of a set by psql, for a server without pg_cron.
///
/// `SELECT agent_backup.crontab();`
///
/// The schedules are as of `schedule`, in the time zone of the machine. A run takes a lock per job and set (flock), appends to
/// `agent_backup.log` in `log_directory` (null: `/var/log/postgresql` where the server may write there, else the data
/// directory) and ends with psql's exit code. The jobs connect by the socket as the caller.
///
/// Errors: 42704 for an unknown set, 22023 for what is no schedule or cannot stand in a crontab.
#[allow(clippy::too_many_arguments, reason = "a job each")]
#[pg_extern(schema = "agent_backup", name = "crontab")]
fn crontab_file(
    set_name: default!(Option<Text>, "'agent_sdk'"),
    daily: default!(Option<Text>, "'0 2 * * *'"),
    hourly: default!(Option<Text>, "'0 * * * *'"),
    verify: default!(Option<Text>, "'30 4 * * *'"),
    weekly: default!(Option<Text>, "'0 3 * * 0'"),
    monthly: default!(Option<Text>, "'0 5 1 * *'"),
    prune: default!(Option<Text>, "'30 5 * * *'"),
    offsite: default!(Option<Text>, "NULL"),
    log_directory: default!(Option<Text>, "NULL"),
) -> Result<Text, ErrorReport> {
    answer(|| {
        let wanted = wanted([daily, hourly, verify, weekly, monthly, prune, offsite]);
        Ok(crontab::file(&required(set_name, "set_name")?, &wanted, log_directory.as_deref())?.into())
    })
}

/// The first moment after one that a schedule names; both are in the time zone of the schedule.
///
/// `SELECT agent_backup.next_due('0 2 * * *', localtimestamp);`
///
/// Errors: 22023 for what is no schedule.
#[pg_extern(schema = "agent_backup", name = "next_due", immutable, parallel_safe)]
pub fn next_due(schedule: Text, after: Timestamp) -> Result<Option<Timestamp>, ErrorReport> {
    answer(|| {
        let schedule = parse(&schedule)?;
        Ok(naive(after).and_then(|after| schedule.next_after(after)).and_then(timestamp))
    })
}

/// The last moment until one that a schedule names; both are in the time zone of the schedule.
///
/// `SELECT agent_backup.last_due('0 2 * * *', localtimestamp);`
///
/// Errors: 22023 for what is no schedule.
#[pg_extern(schema = "agent_backup", name = "last_due", immutable, parallel_safe)]
pub fn last_due(schedule: Text, until: Timestamp) -> Result<Option<Timestamp>, ErrorReport> {
    answer(|| {
        let schedule = parse(&schedule)?;
        Ok(naive(until).and_then(|until| schedule.last_until(until)).and_then(timestamp))
    })
}

/// Whether pg_cron has a job as it was scheduled; null where it is in another database.
#[pg_extern(schema = "agent_backup", name = "job_is_active", stable)]
pub fn job_is_active(set_name: Text, job: Text) -> Result<Option<bool>, ErrorReport> {
    answer(|| journal_jobs::is_active(&set_name, &job))
}

/// A time of no zone is laid out as one in UTC; none for infinity.
fn naive(time: Timestamp) -> Option<NaiveDateTime> {
    let micros = pg_sys::Timestamp::from(time);
    let finite = micros != i64::MAX && micros != i64::MIN;
    let moment = TimestampWithTimeZone::try_from(micros).ok().filter(|_| finite)?;
    Some(journal::utc(moment).naive_utc())
}

fn timestamp(time: NaiveDateTime) -> Option<Timestamp> {
    Timestamp::try_from(pg_sys::Timestamp::from(journal::timestamp(time.and_utc()))).ok()
}

fn parse(schedule: &str) -> OurResult<Schedule> {
    let invalid = |error: CronError| Error::InvalidOption { option: "schedule", reason: error.to_string() };
    Schedule::parse(schedule, Dialect::LastDay).map_err(invalid)
}

/// The schedules in the order of `Job::ALL`.
fn wanted(schedules: [Option<Text>; 7]) -> Wanted {
    Job::ALL.into_iter().zip(schedules.map(|schedule| schedule.map(String::from))).collect()
}

type Row = (&'static str, Option<Text>, Option<TimestampWithTimeZone>, &'static str);

fn rows(changed: Vec<Changed>) -> TableIterator<'static, Row> {
    let row =
        |changed: Changed| (changed.job.name(), changed.schedule.map(Text::from), changed.next_run, changed.action);
    TableIterator::new(changed.into_iter().map(row).collect::<Vec<_>>())
}
