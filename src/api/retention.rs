//! `retention_plan`, `prune`, `pin`, `unpin`, `set_retention`, `disk_space`, `room_for`.

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::api::argument::required;
use crate::journal_sets::{self, NewRetention};
use crate::run::audit::{self, Act, audited};
use crate::run::retention::prune::{self, Pruned};
use crate::run::retention::{self, Planned, space};
use crate::server::message::answer;
use crate::server::text::Text;
use crate::server::{privilege, snapshot};
use crate::{journal, journal_retention};

/// Says what becomes of each backup of a set, newest first, and why. Removes nothing.
///
/// `SELECT * FROM agent_backup.retention_plan();`
///
/// Of each of the last days, ISO weeks and months (UTC) that have a good backup the newest one stays; `set_name` null
/// means all sets. Good is what is complete and did not fail its last verification.
///
/// Errors: 42501 without the right to read backups, 42704 for an unknown set.
#[pg_extern(schema = "agent_backup", name = "retention_plan")]
fn retention_plan(
    set_name: default!(Option<Text>, "'agent_sdk'"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(backup_id, Text),
            name!(started_at, TimestampWithTimeZone),
            name!(kind, Text),
            name!(keep, bool),
            name!(reasons, Vec<Text>),
            name!(size_bytes, i64),
        ),
    >,
    ErrorReport,
> {
    answer(|| {
        privilege::require_overseer()?;
        let row = |Planned { backup, keep, reasons }| {
            let started_at = journal::timestamp(backup.started_at);
            (backup.backup_id.into(), started_at, backup.kind.into(), keep, texts(reasons), backup.size_bytes)
        };
        let planned = retention::plan(set_name.as_deref())?;
        Ok(TableIterator::new(planned.into_iter().map(row).collect::<Vec<_>>()))
    })
}

/// Removes the backups that the retention of a set does not keep, with their incrementals; without `confirm` it only says
/// which.
///
/// `SELECT * FROM agent_backup.prune(confirm => true);`
///
/// One row per backup and incremental that goes: `action` is `remove`, `removed` when confirmed, or `failed` (it stays,
/// and the first reason says why). Files go when the transaction commits. `set_name` null means all sets, those of
/// restores and tracking included; a set that is busy is then a row that says `failed`.
///
/// Errors: 42501 without the right to write backups, 42704 for an unknown set, 55P03 while another session works on the
/// set, 25006 when confirmed on a standby or in a read-only transaction, 0A000 at PREPARE TRANSACTION after it.
#[pg_extern(schema = "agent_backup", name = "prune")]
fn prune(
    set_name: default!(Option<Text>, "'agent_sdk'"),
    confirm: default!(Option<bool>, "false"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(backup_id, Option<Text>),
            name!(kind, Option<Text>),
            name!(backup_file, Option<Text>),
            name!(started_at, Option<TimestampWithTimeZone>),
            name!(size_bytes, Option<i64>),
            name!(action, &'static str),
            name!(reasons, Vec<Text>),
            name!(set_name, Text),
        ),
    >,
    ErrorReport,
> {
    audited(Act::new("prune").of(set_name.as_ref()), || {
        let confirm = required(confirm, "confirm")?;
        audit::note("confirm", confirm);
        let row = |pruned: Pruned| {
            let (id, kind, path) = (pruned.backup_id, pruned.kind, pruned.path);
            let started_at = pruned.started_at.map(journal::timestamp);
            let (id, kind, path) = (id.map(Text::from), kind.map(Text::from), path.map(Text::from));
            (id, kind, path, started_at, pruned.size, pruned.action, texts(pruned.reasons), pruned.set.into())
        };
        let pruned = prune::run(set_name.as_deref(), confirm)?;
        Ok(TableIterator::new(pruned.into_iter().map(row).collect::<Vec<_>>()))
    })
}

fn texts(reasons: Vec<String>) -> Vec<Text> {
    reasons.into_iter().map(Text::from).collect()
}

/// Keeps a backup whatever the retention of its set says, but for the maximum age; a NOTICE says when that takes it.
///
/// `SELECT agent_backup.pin('20251012T020000Z-96b51e7c', 'before the migration');`
///
/// Errors: 42501 without the right to write backups, 42704 for an unknown backup.
#[pg_extern(schema = "agent_backup", name = "pin")]
fn pin(backup_id: Option<Text>, reason: default!(Option<Text>, "NULL")) -> Result<(), ErrorReport> {
    audited(Act::new("pin").on(backup_id.as_ref()), || {
        snapshot::require_writable()?;
        privilege::require_operator()?;
        retention::pin(&required(backup_id, "backup_id")?, reason.as_deref().filter(|reason| !reason.is_empty()))
    })
}

/// Leaves a backup to the retention of its set again.
///
/// `SELECT agent_backup.unpin('20251012T020000Z-96b51e7c');`
///
/// Errors: as `agent_backup.pin`.
#[pg_extern(schema = "agent_backup", name = "unpin")]
fn unpin(backup_id: Option<Text>) -> Result<(), ErrorReport> {
    audited(Act::new("unpin").on(backup_id.as_ref()), || {
        snapshot::require_writable()?;
        privilege::require_operator()?;
        journal_retention::unpin(&required(backup_id, "backup_id")?)
    })
}

/// Changes what a set keeps. Null leaves a rule as it is; `interval '0'` takes `keep_within` or `max_age` away.
///
/// `SELECT agent_backup.set_retention('billing', keep_daily => 14, max_age => '365 days');`
///
/// Errors: 42501 without the right to write backups, 42704 for an unknown set, 22023 for a value out of its range and for
/// a policy that keeps nothing.
#[pg_extern(schema = "agent_backup", name = "set_retention")]
fn set_retention(
    set_name: Option<Text>,
    keep_daily: default!(Option<i32>, "NULL"),
    keep_weekly: default!(Option<i32>, "NULL"),
    keep_monthly: default!(Option<i32>, "NULL"),
    keep_last: default!(Option<i32>, "NULL"),
    keep_within: default!(Option<Interval>, "NULL"),
    max_age: default!(Option<Interval>, "NULL"),
    backup_interval: default!(Option<Interval>, "NULL"),
) -> Result<(), ErrorReport> {
    audited(Act::new("set_retention").of(set_name.as_ref()), || {
        snapshot::require_writable()?;
        privilege::require_operator()?;
        let set = required(set_name, "set_name")?;
        let counts = [keep_daily, keep_weekly, keep_monthly, keep_last];
        journal_sets::set_retention(&set, &NewRetention { counts, keep_within, max_age, backup_interval })
    })
}

/// Room on the disk of `agent_backup.directory`, what its files take of it, and whether the data directory is on it too.
///
/// `SELECT * FROM agent_backup.disk_space();`
///
/// Errors: 42501 without the right to read backups, 42501 or 58030 where the disk cannot be looked at.
#[pg_extern(schema = "agent_backup", name = "disk_space")]
fn disk_space() -> Result<
    TableIterator<
        'static,
        (
            name!(directory, Text),
            name!(free_bytes, i64),
            name!(total_bytes, i64),
            name!(used_by_backups_bytes, i64),
            name!(same_disk_as_database, bool),
        ),
    >,
    ErrorReport,
> {
    answer(|| {
        privilege::require_overseer()?;
        let disk = space::disk()?;
        let [free, total, used] = [disk.free, disk.total, disk.used].map(u64::cast_signed);
        let directory = disk.directory.display().to_string();
        Ok(TableIterator::once((directory.into(), free, total, used, disk.is_shared_with_database)))
    })
}

/// Whether there is room for another backup of a set: a fifth more than the newest good one takes. Where there is none to
/// go by, `needed_bytes` is null.
///
/// `SELECT is_enough FROM agent_backup.room_for('agent_sdk');`
///
/// Errors: as `agent_backup.disk_space`.
#[pg_extern(schema = "agent_backup", name = "room_for")]
fn room_for(
    set_name: default!(Option<Text>, "'agent_sdk'"),
) -> Result<
    TableIterator<'static, (name!(free_bytes, i64), name!(needed_bytes, Option<i64>), name!(is_enough, bool))>,
    ErrorReport,
> {
    answer(|| {
        privilege::require_overseer()?;
        let room = space::room_for(&required(set_name, "set_name")?)?;
        Ok(TableIterator::once((room.free.cast_signed(), room.needed.map(u64::cast_signed), room.is_enough())))
    })
}
