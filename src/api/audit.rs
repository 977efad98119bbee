//! `verify_audit_log`, and the trigger that guards the log of acts.

use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{is_a, pg_sys};

use crate::error::{AuditError, Error, Result as OurResult};
use crate::ident;
use crate::journal_audit;
use crate::run::audit::{self, Act, Line, audited};
use crate::server::message::answer;
use crate::server::text::Text;

/// Proves the log of acts.
///
/// `SELECT * FROM agent_backup.verify_audit_log();`
///
/// Every entry is hashed again and must continue the one before it; the end must be the one that the database noted, and
/// the heads that earlier verifications and the manifests of the listed backups noted must be in it. When all is well one
/// row says so: `check_name` `chain`, `status` `ok`, `entry_id` of the newest entry. Else a row for each finding, with `status`
/// `failed`: `entry` (changed after it was written), `order` (does not continue the one before), `gap` and `tail` (entries are
/// missing), `anchor` (not the one that was noted), `guard` (a trigger is switched off). What it found is kept in audit_checks.
#[pg_extern(schema = "agent_backup", name = "verify_audit_log")]
fn verify_audit_log() -> Result<
    TableIterator<
        'static,
        (
            name!(check_name, &'static str),
            name!(status, &'static str),
            name!(entry_id, Option<i64>),
            name!(details, Text),
        ),
    >,
    ErrorReport,
> {
    let row = |line: Line| (line.check, if line.is_ok { "ok" } else { "failed" }, line.entry_id, line.details.into());
    audited(Act::new("verify_audit_log"), || {
        let lines = audit::verify()?;
        audit::note("findings", lines.iter().filter(|line| !line.is_ok).count());
        Ok(TableIterator::new(lines.into_iter().map(row).collect::<Vec<_>>()))
    })
}

/// Notes what a function of the extension that is written in SQL did to how many things, and the SQLSTATE with which it
/// failed. Only the extension's owner may call it.
#[pg_extern(schema = "agent_backup", name = "note_act")]
pub fn note_act(action: Option<Text>, changed: Option<i64>, code: Option<Text>) -> Result<(), ErrorReport> {
    answer(|| {
        let action = if action.as_deref() == Some("maintain_log") { "maintain_log" } else { "note_act" };
        audit::act(Act::new(action), || {
            audit::note("changed", changed);
            if let Some(code) = &code {
                audit::failed_with(code);
            }
            Ok(())
        })
    })
}

/// Tells the server how the trigger function is called.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_finfo_agent_backup_guard_audit() -> &'static pg_sys::Pg_finfo_record {
    const VERSION_1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
    &VERSION_1
}

#[unsafe(no_mangle)]
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn agent_backup_guard_audit(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the server calls it with the information of this call.
    if let Err(report) = answer(|| unsafe { guard(call) }) {
        report.report(pgrx::PgLogLevel::ERROR);
    }
    // What a trigger for statements returns is not looked at.
    pg_sys::Datum::from(0)
}

/// # Safety
/// `call` is the information of the current call.
unsafe fn guard(call: pg_sys::FunctionCallInfo) -> OurResult<()> {
    // SAFETY: as the caller promises; a trigger's context is its data, and the tag is looked at first.
    let data = unsafe { (*call).context };
    // SAFETY: as above; a node begins with its tag.
    if data.is_null() || unsafe { !is_a(data, pg_sys::NodeTag::T_TriggerData) } {
        return Err(AuditError::NoTrigger { reason: "it is no trigger that called" }.into());
    }
    if journal_audit::is_writing() {
        return Ok(());
    }
    // SAFETY: as above; the relation is open while its trigger runs.
    let (event, table) = unsafe {
        let data = data.cast::<pg_sys::TriggerData>();
        ((*data).tg_event, (*(*data).tg_relation).rd_id)
    };
    let is_insert = event & pg_sys::TRIGGER_EVENT_OPMASK == pg_sys::TRIGGER_EVENT_INSERT;
    let table = ident::name_of(table)?;
    if is_insert && table.name != "audit_chain" && !journal_audit::has_begun()? {
        return Ok(()); // a dump is loaded
    }
    Err(Error::from(AuditError::AppendOnly { table: table.name }))
}
