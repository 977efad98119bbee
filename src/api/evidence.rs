//! `evidence_report`.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::api::argument::required;
use crate::run::audit::{Act, audited};
use crate::run::evidence;
use crate::server::privilege;
use crate::server::text::Text;

/// The evidence of a period for an auditor: one HTML page that needs nothing from outside.
///
/// `\copy (SELECT agent_backup.evidence_report()) TO 'evidence.html'`
///
/// From the first moment to before the last one: a calendar of backups with verdicts, sizes and durations, verification,
/// drills and restores, objectives, retention, copies off-site, erasures, rights, the audit log, and the criteria of SOC 2
/// with what there is to show for each. The page is ASCII on one line without tabs and backslashes, so that COPY leaves it as
/// it is. It is read as the owner of the extension, after the caller was found to be an auditor, an operator or a superuser.
///
/// Errors: 42501 for anybody else, 22004 for a null, 22023 where `to_time` is not after `from_time` or one of them is infinite.
#[pg_extern(schema = "agent_backup", name = "evidence_report", stable)]
fn evidence_report(
    from_time: default!(Option<TimestampWithTimeZone>, "now() - interval '30 days'"),
    to_time: default!(Option<TimestampWithTimeZone>, "now()"),
) -> Result<Text, ErrorReport> {
    audited(Act::new("evidence_report"), || {
        privilege::require_auditor()?;
        let period = evidence::period(required(from_time, "from_time")?, required(to_time, "to_time")?)?;
        evidence::page(period).map(Text::from)
    })
}
