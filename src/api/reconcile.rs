//! `reconcile`.

use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::api::argument::required;
use crate::run::audit::{self, Act, audited};
use crate::run::reconcile::Finding;
use crate::run::{place, reconcile};
use crate::server::snapshot;
use crate::server::text::Text;

/// Brings the catalogue in line with the files of a set's directory. The manifests on disk are the truth.
///
/// `SELECT * FROM agent_backup.reconcile();`
///
/// One row per thing that was not in line: `adopted` (a backup that was not listed), `completed` (its manifest was put
/// beside it again), `incomplete` (a listed file is gone), `restored` (it is back), `foreign` (made by another database or
/// cluster), `unreadable` (a file that is no backup: it is left alone). `elsewhere` says whether to list backups of other
/// databases and clusters; null does so only while none are listed here, as on a server that takes over. Nothing but leftovers of writers that died is deleted. On an empty server it rebuilds the catalogue.
///
/// Errors: 42501 without the right to write backups, 55P03 while another session works on the set, 25006 on a standby.
#[pg_extern(schema = "agent_backup", name = "reconcile")]
fn reconcile(
    set_name: default!(Option<Text>, "'agent_sdk'"),
    elsewhere: default!(Option<bool>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (name!(backup_file, Text), name!(backup_id, Option<Text>), name!(action, &'static str), name!(details, Text)),
    >,
    ErrorReport,
> {
    audited(Act::new("reconcile").of(set_name.as_ref()), || {
        snapshot::require_writable()?;
        let set = required(set_name, "set_name")?;
        place::require_known(&set)?;
        let place = place::of_set(&set)?;
        let findings = reconcile::set(&set, &place.directory, elsewhere)?;
        audit::note("findings", findings.len());
        let row =
            |found: Finding| (found.file.into(), found.backup_id.map(Text::from), found.action, found.details.into());
        Ok(TableIterator::new(findings.into_iter().map(row).collect::<Vec<_>>()))
    })
}
