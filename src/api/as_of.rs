//! `read_as_of`.

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::api::read::table_of;
use crate::error::{Error, Result};
use crate::run::audit::{self, Act};
use crate::run::capture::as_of;
use crate::run::capture::moment::Moment;
use crate::server::results::Results;
use crate::server::text::Text;

crate::set_returning!(agent_backup_read_as_of, pg_finfo_agent_backup_read_as_of, read_as_of);

/// Gives a tracked table's rows as they were at a moment.
///
/// `SELECT * FROM agent_backup.read_as_of(NULL::agent_approvals, now() - interval '5 minutes');`
///
/// `row_type`: a null of the table's row type; `as_of`: the moment, or `mark`: the name of one. What had committed by then is
/// there; a NOTICE says how that is known (`track_commit_timestamp`, the snapshot of the mark, or the last change of each
/// transaction). Columns that a row had not then are null.
///
/// Errors: 55000 for a table that is not tracked or a moment that its log does not reach, 42501 without the right to read
/// all rows of the table, 42704 for an unknown mark.
unsafe fn read_as_of(call: pg_sys::FunctionCallInfo) -> Result<()> {
    // SAFETY: the server calls it with the three arguments that sql/81_history.sql declares.
    unsafe {
        let time = pgrx::pg_getarg::<TimestampWithTimeZone>(call, 1);
        let mark = pgrx::pg_getarg::<Text>(call, 2);
        let row_type = pg_sys::get_fn_expr_argtype((*call).flinfo, 0);
        if row_type == pg_sys::InvalidOid {
            return Err(Error::NotARowType { name: "unknown".into() });
        }
        let moment = Moment::of(time, mark.as_deref())?;
        audit::act(Act::new("read_as_of").on(table_of(row_type).as_deref()), || {
            as_of::run(row_type, &moment, |description| Results::start(call, description))
        })
    }
}
