//! The journal's part for jobs: their runs, and what is scheduled.

use agent_backup_core::plan::jobs::Job;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::ident;
use crate::journal::{self, as_owner};
use crate::server::{clock, sql};

/// A run that began.
pub struct Run {
    pub job: Job,
    pub set: String,
    pub started_at: TimestampWithTimeZone,
}

/// How a run ended.
pub struct Ending<'a> {
    pub summary: Option<&'a str>,
    pub error: Option<&'a str>,
    /// SQLSTATE; none where a part of the work failed.
    pub code: Option<&'a str>,
}

/// A row of scheduled_jobs.
pub struct Scheduled {
    pub job: Job,
    pub role: String,
}

/// Notes that runs ended whose sessions ended: nobody has their lock, and their sessions are gone or do nothing. A run has no
/// lock for a moment between two of its transactions. Of this session none is running: it begins one.
pub fn bury_the_dead() -> Result<()> {
    let now = journal::timestamp(clock::now()?);
    as_owner(|| {
        let statement = "UPDATE agent_backup.job_runs r SET status = 'failed', finished_at = greatest($1, r.started_at), \
                error_message = 'its session ended before it did' \
            WHERE r.status = 'running' \
              AND NOT EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.pid = r.pid AND l.classid::bigint = 1634165355 \
                    AND l.objid::bigint = agent_backup.lock_key(r.set_name || '/job/' || r.job)) \
              AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.pid = r.pid AND a.pid <> pg_catalog.pg_backend_pid() \
                    AND a.backend_start IS NOT DISTINCT FROM r.session_start AND coalesce(a.state, '') NOT LIKE 'idle%')";
        sql::execute(statement, &[now.into()]).map(drop)
    })
}

/// The process of the session that runs a job, after the dead are buried.
pub fn runner(job: Job, set: &str) -> Result<Option<i32>> {
    as_owner(|| {
        let query =
            "SELECT pid FROM agent_backup.job_runs WHERE set_name = $1 AND job = $2 AND status = 'running' LIMIT 1";
        Ok(sql::rows(query, &[set.into(), job.name().into()], |row| row.required(1))?.into_iter().next())
    })
}

/// Writes down a run that begins, or one that was refused; its number.
pub fn begin(job: Job, set: &str, refusal: Option<&Error>) -> Result<i64> {
    let (role, now) = (ident::current_role()?, journal::timestamp(clock::now()?));
    let (error, code) = (refusal.map(Error::to_string), refusal.map(sqlstate));
    as_owner(|| {
        let statement = "INSERT INTO agent_backup.job_runs \
                (set_name, job, status, started_at, finished_at, error_message, error_code, pid, run_by, session_start) \
            SELECT $1, $2, CASE WHEN $4 IS NULL THEN 'running' ELSE 'failed' END, $3, CASE WHEN $4 IS NOT NULL THEN $3 END, \
                   $4, $5, pg_catalog.pg_backend_pid(), $6, \
                   (SELECT a.backend_start FROM pg_catalog.pg_stat_activity a WHERE a.pid = pg_catalog.pg_backend_pid()) \
            RETURNING run_id";
        let arguments = [
            set.into(),
            job.name().into(),
            now.into(),
            error.as_deref().into(),
            code.as_deref().into(),
            role.as_str().into(),
        ];
        let ids = sql::changed_rows(statement, &arguments, |row| row.required(1))?;
        ids.into_iter().next().ok_or(Error::Internal { object: "job_runs", reason: "the run has no number".into() })
    })
}

/// A run of this session that has not ended.
pub fn running(id: i64) -> Result<Run> {
    let query = "SELECT job, set_name, started_at FROM agent_backup.job_runs \
                 WHERE run_id = $1 AND status = 'running' AND pid = pg_catalog.pg_backend_pid()";
    let found = as_owner(|| sql::rows(query, &[id.into()], of))?;
    found
        .into_iter()
        .next()
        .ok_or_else(|| Error::Internal { object: "job", reason: format!("run {id} is not running here") })
}

/// A run that has ended, and when.
pub fn ended(id: i64) -> Result<Option<(Run, TimestampWithTimeZone)>> {
    let query = "SELECT job, set_name, started_at, finished_at FROM agent_backup.job_runs \
                 WHERE run_id = $1 AND finished_at IS NOT NULL";
    as_owner(|| Ok(sql::rows(query, &[id.into()], |row| Ok((of(row)?, row.required(4)?)))?.into_iter().next()))
}

fn of(row: &sql::Row) -> Result<Run> {
    Ok(Run { job: job(&row.required::<String>(1)?)?, set: row.required(2)?, started_at: row.required(3)? })
}

fn job(name: &str) -> Result<Job> {
    Job::parse(name).ok_or_else(|| Error::Internal { object: "job", reason: format!("\"{name}\" is none") })
}

/// Writes down how a run ended.
pub fn end(id: i64, ending: &Ending) -> Result<()> {
    let now = journal::timestamp(clock::now()?);
    as_owner(|| {
        let statement = "UPDATE agent_backup.job_runs SET status = CASE WHEN $3 IS NULL THEN 'success' ELSE 'failed' END, \
                finished_at = greatest($5, started_at), summary = $2, error_message = $3, error_code = $4 \
            WHERE run_id = $1";
        let arguments = [id.into(), ending.summary.into(), ending.error.into(), ending.code.into(), now.into()];
        sql::execute(statement, &arguments).map(drop)
    })
}

/// An SQLSTATE as five letters.
pub fn sqlstate(error: &Error) -> String {
    sqlstate_of(error.code() as i32)
}

/// The same of the server's number for it.
pub fn sqlstate_of(code: i32) -> String {
    // SAFETY: a buffer of the server that the next call overwrites; it is copied.
    let text = unsafe { std::ffi::CStr::from_ptr(pg_sys::unpack_sql_state(code)) };
    text.to_string_lossy().into_owned()
}

/// Forgets runs that ended long ago: more than a year is kept.
pub fn forget_old_runs() -> Result<()> {
    as_owner(|| {
        for table in ["job_runs", "incremental_runs"] {
            let statement = format!(
                "DELETE FROM agent_backup.{table} WHERE finished_at < agent_backup.clock() - '400 days'::interval"
            );
            sql::execute(&statement, &[])?;
        }
        Ok(())
    })
}

/// Jobs of any set that should have run and have not, once for each time: set, job, and when.
pub fn newly_overdue() -> Result<Vec<(String, String, TimestampWithTimeZone)>> {
    as_owner(|| {
        let statement = "UPDATE agent_backup.scheduled_jobs s SET told_due = d.due \
            FROM (SELECT v.set_name, v.job, agent_backup.last_due(v.schedule, \
                         (agent_backup.clock() - '10 minutes'::interval) AT TIME ZONE v.time_zone) AT TIME ZONE v.time_zone AS due \
                    FROM agent_backup.schedules v WHERE v.overdue) d \
            WHERE d.set_name = s.set_name AND d.job = s.job AND s.told_due IS DISTINCT FROM d.due \
            RETURNING s.set_name, s.job, d.due";
        sql::changed_rows(statement, &[], |row| Ok((row.required(1)?, row.required(2)?, row.required(3)?)))
    })
}

/// What is scheduled of a set.
pub fn scheduled(set: &str) -> Result<Vec<Scheduled>> {
    as_owner(|| {
        let query = "SELECT job, scheduled_by FROM agent_backup.scheduled_jobs WHERE set_name = $1";
        sql::rows(query, &[set.into()], |row| {
            Ok(Scheduled { job: job(&row.required::<String>(1)?)?, role: row.required(2)? })
        })
    })
}

/// Writes down that a job is scheduled. As of when stays, where nothing changed.
pub fn schedule(set: &str, job: Job, schedule: &str, time_zone: &str, cron_job: &str) -> Result<()> {
    let (role, now) = (ident::current_role()?, journal::timestamp(clock::now()?));
    as_owner(|| {
        let statement = "INSERT INTO agent_backup.scheduled_jobs AS s (set_name, job, schedule, time_zone, cron_job, scheduled_at, scheduled_by) \
            VALUES ($1, $2, $3, $4, $5, $6, $7) \
            ON CONFLICT (set_name, job) DO UPDATE SET schedule = $3, time_zone = $4, cron_job = $5, scheduled_at = $6, scheduled_by = $7 \
            WHERE (s.schedule, s.time_zone, s.cron_job, s.scheduled_by) IS DISTINCT FROM ($3, $4, $5, $7)";
        let arguments = [
            set.into(),
            job.name().into(),
            schedule.into(),
            time_zone.into(),
            cron_job.into(),
            now.into(),
            role.as_str().into(),
        ];
        sql::execute(statement, &arguments).map(drop)
    })
}

/// Writes down that a job is scheduled no longer.
pub fn unschedule(set: &str, job: Job) -> Result<()> {
    as_owner(|| {
        let statement = "DELETE FROM agent_backup.scheduled_jobs WHERE set_name = $1 AND job = $2";
        sql::execute(statement, &[set.into(), job.name().into()]).map(drop)
    })
}

/// When each scheduled job of a set runs next.
pub fn next_runs(set: &str) -> Result<Vec<(Job, TimestampWithTimeZone)>> {
    as_owner(|| {
        let query = "SELECT job, next_run FROM agent_backup.schedules WHERE set_name = $1 AND next_run IS NOT NULL";
        sql::rows(query, &[set.into()], |row| Ok((job(&row.required::<String>(1)?)?, row.required(2)?)))
    })
}

/// A moment as a clock on the wall of the session's time zone shows it, and the name of that.
pub fn on_the_wall(moment: TimestampWithTimeZone) -> Result<(String, String)> {
    let query = "SELECT pg_catalog.to_char($1, 'HH24:MI'), pg_catalog.current_setting('TimeZone')";
    let told = sql::rows(query, &[moment.into()], |row| Ok((row.required(1)?, row.required(2)?)))?;
    Ok(told.into_iter().next().unwrap_or_default())
}

/// Whether pg_cron, if it is in this database, still has a job as it was scheduled.
pub fn is_active(set: &str, name: &str) -> Result<Option<bool>> {
    as_owner(|| {
        let query = "SELECT pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT') \
                            AND NOT pg_catalog.row_security_active(c.oid) \
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
            WHERE n.nspname = 'cron' AND c.relname = 'job'";
        if !sql::rows(query, &[], |row| row.required::<bool>(1))?.contains(&true) {
            return Ok(None);
        }
        let statement = "SELECT EXISTS (SELECT FROM agent_backup.scheduled_jobs s JOIN cron.job j \
                ON j.jobname::text = s.cron_job AND j.username = s.scheduled_by AND j.database = pg_catalog.current_database() \
            WHERE s.set_name = $1 AND s.job = $2 AND j.active AND j.schedule = s.schedule AND j.command = $3 \
              AND EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = s.scheduled_by))";
        let command = agent_backup_core::plan::jobs::command(job(name)?, set);
        let found = sql::rows(statement, &[set.into(), name.into(), command.as_str().into()], |row| row.required(1))?;
        Ok(found.into_iter().next())
    })
}
