//! `mark`, `drop_mark`.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::api::argument::required;
use crate::run::audit::{Act, audited};
use crate::run::capture::marks;
use crate::server::text::Text;

/// Makes a restore point of what has committed until now, to come back to with `undo` or to read with `read_as_of`. Returns
/// when it was made.
///
/// `SELECT agent_backup.mark('before the nightly agent');`
///
/// What this very transaction changed is not part of it. Errors: 42710 when there is such a mark, 22023 for an empty name,
/// 25006 in a read-only transaction, 25000 in another isolation level than READ COMMITTED.
#[pg_extern(schema = "agent_backup", name = "mark")]
fn make_mark(
    mark_name: Option<Text>,
    note: default!(Option<Text>, "NULL"),
) -> Result<TimestampWithTimeZone, ErrorReport> {
    audited(Act::new("mark").on(mark_name.as_ref()), || {
        marks::mark(&required(mark_name, "mark_name")?, note.as_deref())
    })
}

/// Forgets a restore point; nothing else changes. Returns when it was made.
///
/// `SELECT agent_backup.drop_mark('before the nightly agent');`
///
/// Errors: 42704 for an unknown mark, 42501 for who neither made it nor is an operator.
#[pg_extern(schema = "agent_backup", name = "drop_mark")]
fn drop_mark(mark_name: Option<Text>) -> Result<TimestampWithTimeZone, ErrorReport> {
    audited(Act::new("drop_mark").on(mark_name.as_ref()), || {
        Ok(marks::drop_mark(&required(mark_name, "mark_name")?)?.marked_at)
    })
}
