//! The trigger that captures changes.

use pgrx::{is_a, pg_sys};

use crate::error::{Error, Result};
use crate::run::capture::{self, Fired};
use crate::server::message::answer;

/// Tells the server how the trigger function is called.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_finfo_agent_backup_capture() -> &'static pg_sys::Pg_finfo_record {
    const VERSION_1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
    &VERSION_1
}

#[unsafe(no_mangle)]
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn agent_backup_capture(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the server calls it with the information of this call.
    if let Err(report) = answer(|| unsafe { fire(call) }) {
        report.report(pgrx::PgLogLevel::ERROR);
    }
    // What a trigger that is no BEFORE ROW trigger returns is not looked at.
    pg_sys::Datum::from(0)
}

/// # Safety
/// `call` is the information of the current call.
unsafe fn fire(call: pg_sys::FunctionCallInfo) -> Result<()> {
    // SAFETY: as the caller promises; a trigger's context is its data.
    let data = unsafe { (*call).context };
    // SAFETY: as above; the tag is looked at first.
    if data.is_null() || unsafe { !is_a(data, pg_sys::NodeTag::T_TriggerData) } {
        return Err(Error::Capture { reason: "it is no trigger that called".into() });
    }
    // SAFETY: the data stays while the trigger runs.
    capture::fire(&unsafe { Fired::new(data.cast()) })
}
