//! `reconcile`.

use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::api::argument::required;
use crate::run::{place, reconcile};
use crate::server::snapshot;

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
    set_name: default!(Option<&str>, "'agent_sdk'"),
    elsewhere: default!(Option<bool>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(backup_file, String),
            name!(backup_id, Option<String>),
            name!(action, &'static str),
            name!(details, String),
        ),
    >,
    ErrorReport,
> {
    snapshot::require_writable()?;
    let set = required(set_name, "set_name")?;
    place::require_known(set)?;
    let place = place::of_set(set)?;
    let findings = reconcile::set(set, &place.directory, elsewhere)?;
    let rows = findings.into_iter().map(|found| (found.file, found.backup_id, found.action, found.details));
    Ok(TableIterator::new(rows.collect::<Vec<_>>()))
}
