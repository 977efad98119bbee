//! The parts of the procedure `run_job`, which sql/88_run_job.sql puts together: `begin_job`, `do_job`, `end_job`.

use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::api::argument::required;
use crate::journal_jobs::{self, Ending};
use crate::run::audit::{self, Act, audited};
use crate::run::job;
use crate::server::message::answer;
use crate::server::text::Text;

/// Begins a run of a job, to be committed. `refused`, `code` and `hint`: the error to raise then, with the run failed.
///
/// Errors: 42704 for an unknown job, 42501 without the right to write backups, 25001 where the caller cannot commit,
/// 25006 on a standby.
#[pg_extern(schema = "agent_backup", name = "begin_job")]
pub fn begin_job(
    job: Option<Text>,
    set_name: Option<Text>,
) -> Result<
    TableIterator<
        'static,
        (name!(run_id, i64), name!(refused, Option<Text>), name!(code, Option<Text>), name!(hint, Option<Text>)),
    >,
    ErrorReport,
> {
    audited(Act::new("run_job").on(job.as_ref()).of(set_name.as_ref()), || {
        let begun = job::begin(&required(job, "job")?, &required(set_name, "set_name")?)?;
        let error = begun.refused.as_ref();
        audit::note("run_id", begun.run_id);
        match error {
            Some(error) => audit::failed(&error.to_string()),
            None => audit::note("step", "begin"),
        }
        let hint = error.map(|error| error.hint().unwrap_or_else(|| "agent_backup.job_runs has all runs.".into()));
        let (message, code) = (error.map(|error| error.to_string().into()), error.map(journal_jobs::sqlstate));
        Ok(TableIterator::once((begun.run_id, message, code.map(Text::from), hint.map(Text::from))))
    })
}

/// Does the next part of a run that this session began; `parts_done` were done before. `failure`: what of it failed.
#[pg_extern(schema = "agent_backup", name = "do_job")]
pub fn do_job(
    run_id: Option<i64>,
    parts_done: Option<i32>,
) -> Result<
    TableIterator<'static, (name!(summary, Text), name!(failure, Option<Text>), name!(is_last, bool))>,
    ErrorReport,
> {
    audited(Act::new("run_job"), || {
        let done = job::step(required(run_id, "run_id")?, required(parts_done, "parts_done")?)?;
        if done.failure.is_some() {
            audit::failed("a part of the work failed: job_runs has which");
        }
        Ok(TableIterator::once((done.summary.into(), done.failure.map(Text::from), done.is_last)))
    })
}

/// Ends a run that this session began: its row, and what listeners on the channel `agent_backup` are told.
///
/// `failure` and `code`: why it failed, and the SQLSTATE of an error (`P0001`: a part of the work failed).
#[pg_extern(schema = "agent_backup", name = "end_job")]
pub fn end_job(
    run_id: Option<i64>,
    summary: Option<Text>,
    failure: Option<Text>,
    code: Option<Text>,
) -> Result<(), ErrorReport> {
    answer(|| {
        let code = code.as_deref().filter(|code| failure.is_some() && *code != "P0001");
        let summary = summary.as_deref().filter(|summary| !summary.is_empty());
        let ending = Ending { summary, error: failure.as_deref(), code };
        job::end(required(run_id, "run_id")?, &ending)
    })
}
