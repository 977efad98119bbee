//! `drill`.

use pgrx::datum::Interval;
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::api::argument::required;
use crate::api::interval;
use crate::run::audit::{self, Act, audited};
use crate::run::drill;
use crate::server::text::Text;

/// Restores the newest backup of a set into a scratch schema, compares it, measures it, and removes it again.
///
/// `SELECT * FROM agent_backup.drill();`
///
/// Each table goes through the steps of a restore, is compared with the manifest's digest, and gets its keys, indexes,
/// checks, foreign keys and policies; then run the application's `run_all_quality_checks()` and the queries of
/// `agent_backup.drill_queries` over it. One row per step with its duration, `status` `ok`, `warning` or `failed`; the last
/// is the verdict against the set's RTO. Each drill is a row of `agent_backup.drills`. A drill that fails does not raise an
/// error, so that its row stays. The live tables are only read.
///
/// Errors: 42704 for an unknown set or one without a backup, 42501 without the right to read backups, 25006 on a standby.
#[pg_extern(schema = "agent_backup", name = "drill")]
fn run_drill(
    set_name: default!(Option<Text>, "'agent_sdk'"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(step, &'static str),
            name!(object, Option<Text>),
            name!(row_count, Option<i64>),
            name!(duration, Option<Interval>),
            name!(status, &'static str),
            name!(details, Text),
        ),
    >,
    ErrorReport,
> {
    audited(Act::new("drill").of(set_name.as_ref()), || {
        let steps = drill::run(&required(set_name, "set_name")?)?.steps;
        audit::note("verdict", steps.last().map(|step| step.status));
        let row = |step: drill::Step| {
            (step.action, step.object.map(Text::from), step.rows, interval(step.took), step.status, step.details.into())
        };
        Ok(TableIterator::new(steps.into_iter().map(row).collect::<Vec<_>>()))
    })
}
