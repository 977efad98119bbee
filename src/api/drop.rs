//! The event trigger that asks before DROP EXTENSION takes the catalogue and the logs along.

use std::ffi::CStr;

use pgrx::{PgList, is_a, pg_sys};

use crate::error::{AuditError, Result};
use crate::journal_kept;
use crate::server::message::answer;

/// Tells the server how the trigger function is called.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_finfo_agent_backup_watch_drop() -> &'static pg_sys::Pg_finfo_record {
    const VERSION_1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
    &VERSION_1
}

#[unsafe(no_mangle)]
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn agent_backup_watch_drop(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the server calls it with the information of this call.
    if let Err(report) = answer(|| unsafe { watch(call) }) {
        report.report(pgrx::PgLogLevel::ERROR);
    }
    pg_sys::Datum::from(0)
}

/// # Safety
/// `call` is the information of the current call.
unsafe fn watch(call: pg_sys::FunctionCallInfo) -> Result<()> {
    // SAFETY: as the caller promises; an event trigger's context is its data, and the tag is looked at first.
    let data = unsafe { (*call).context };
    // SAFETY: as above; a node begins with its tag.
    if data.is_null() || unsafe { !is_a(data, pg_sys::NodeTag::T_EventTriggerData) } {
        return Err(AuditError::NoTrigger { reason: "it is no event trigger that called" }.into());
    }
    // SAFETY: as above; the statement stays while it is carried out.
    if unsafe { drops_us((*data.cast::<pg_sys::EventTriggerData>()).parsetree) } {
        let kept = journal_kept::kept()?;
        if !kept.is_empty() {
            return Err(AuditError::StillKept { kept }.into());
        }
    }
    Ok(())
}

/// Whether a statement is DROP EXTENSION of ours without CASCADE.
///
/// # Safety
/// `statement` is null or a parse tree.
unsafe fn drops_us(statement: *mut pg_sys::Node) -> bool {
    // SAFETY: as the caller promises; each node is looked at by its tag first, and the names are NUL-terminated.
    unsafe {
        if statement.is_null() || !is_a(statement, pg_sys::NodeTag::T_DropStmt) {
            return false;
        }
        let drop = &*statement.cast::<pg_sys::DropStmt>();
        let names = PgList::<pg_sys::Node>::from_pg(drop.objects);
        let is_ours = |name: *mut pg_sys::Node| {
            is_a(name, pg_sys::NodeTag::T_String)
                && CStr::from_ptr((*name.cast::<pg_sys::String>()).sval) == c"agent_backup"
        };
        drop.removeType == pg_sys::ObjectType::OBJECT_EXTENSION
            && drop.behavior == pg_sys::DropBehavior::DROP_RESTRICT
            && names.iter_ptr().any(is_ours)
    }
}
