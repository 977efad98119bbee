//! `add_destination`, `remove_destination`, `upload`, `verify_offsite`, `import_offsite`, `prune_offsite`, and the validator of `agent_backup_s3`.

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::api::argument::{items, required};
use crate::api::interval;
use crate::journal;
use crate::run::audit::{self, Act, audited};
use crate::run::offsite::access::{self, Owner};
use crate::run::offsite::destination::{self, NewDestination};
use crate::run::offsite::import;
use crate::run::offsite::retain::{self, Pruned};
use crate::run::offsite::send::Action;
use crate::run::offsite::upload::{self, Sent};
use crate::run::offsite::verify::{self, Level};
use crate::run::reconcile::Finding;
use crate::server::message::answer;
use crate::server::text::Text;

/// Part of the foreign-data wrapper `agent_backup_s3`: checks the options of a server or a user mapping.
///
/// Errors: HV00D for an option that there is not, 22023 for a value that cannot be.
#[pg_extern(schema = "agent_backup", name = "s3_validator")]
pub fn s3_validator(options: Vec<Option<Text>>, catalog: pg_sys::Oid) -> Result<(), ErrorReport> {
    answer(|| {
        let owner = match catalog {
            pg_sys::ForeignServerRelationId => Owner::Server,
            pg_sys::UserMappingRelationId => Owner::Mapping,
            _ => Owner::Wrapper,
        };
        access::check_options(owner, &items(options, "options")?)
    })
}

/// Adds a place that copies of the backups of a set go to; returns it as it is kept.
///
/// `SELECT agent_backup.add_destination('agent_sdk', 's3://backups/production', server_name => 'offsite');`
///
/// `url`: `s3://bucket/prefix` or `file:///directory`; `server_name`: a foreign server of `agent_backup_s3`, null for that of
/// `agent_backup.offsite_server`, else what the environment says to the server; `keep_…` and `max_age`: what is kept there, null
/// for the set's own. Nothing is sent yet: `upload` and each backup of a job do so.
///
/// Errors: 42501 without the right to write any server file (rows could be sent anywhere), 42704 for an unknown set or
/// server, 42710 for a destination that the set has, 22023 for a place or number that cannot be.
#[allow(clippy::too_many_arguments, reason = "an option each")]
#[pg_extern(schema = "agent_backup", name = "add_destination")]
fn add_destination(
    set_name: Option<Text>,
    url: Option<Text>,
    server_name: default!(Option<Text>, "NULL"),
    keep_daily: default!(Option<i32>, "NULL"),
    keep_weekly: default!(Option<i32>, "NULL"),
    keep_monthly: default!(Option<i32>, "NULL"),
    keep_last: default!(Option<i32>, "NULL"),
    max_age: default!(Option<Interval>, "NULL"),
) -> Result<Text, ErrorReport> {
    audited(Act::new("add_destination").of(set_name.as_ref()), || {
        let added = destination::add(NewDestination {
            set: &required(set_name, "set_name")?,
            url: &required(url, "url")?,
            server: server_name.as_deref(),
            keep: [keep_daily, keep_weekly, keep_monthly, keep_last],
            max_age,
        })?;
        Ok(added.into())
    })
}

/// Takes a destination from a set. What is there stays there, and stays listed in `offsite_copies`.
///
/// `SELECT agent_backup.remove_destination('agent_sdk', 's3://backups/production');`
///
/// Errors: 42501 without the right to write backups, 42704 for a destination that the set has not.
#[pg_extern(schema = "agent_backup", name = "remove_destination")]
fn remove_destination(set_name: Option<Text>, url: Option<Text>) -> Result<(), ErrorReport> {
    audited(Act::new("remove_destination").of(set_name.as_ref()), || {
        destination::remove(&required(set_name, "set_name")?, &required(url, "url")?)
    })
}

/// Sends to the destinations of a set what is not there yet: complete backups, incrementals, and records of erasures.
///
/// `SELECT * FROM agent_backup.upload();`
///
/// `destination`: one of them; null for all. One row per object: `action` is `uploaded`, `present`, `adopted` (it was there
/// and was not listed) or `failed`, with `error_message`. A backup is there when its manifest is, which comes last. What is
/// whole there is not sent again, so a call that was cut short is simply repeated. A file that is damaged here is not
/// sent; an object of another content is never overwritten. One destination that fails does not stop another.
///
/// Errors: 42501 without the right to write backups, 42704 for an unknown set or destination, 55000 where the set has no
/// destination, 55P03 while another session sends copies of the set, 25006 on a standby or in a read-only transaction.
#[pg_extern(schema = "agent_backup", name = "upload")]
fn run_upload(
    set_name: default!(Option<Text>, "'agent_sdk'"),
    destination: default!(Option<Text>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(destination, Text),
            name!(object_key, Option<Text>),
            name!(backup_id, Option<Text>),
            name!(action, &'static str),
            name!(size_bytes, Option<i64>),
            name!(duration, Option<Interval>),
            name!(error_message, Option<Text>),
        ),
    >,
    ErrorReport,
> {
    audited(Act::new("upload").of(set_name.as_ref()), || {
        let row = |sent: Sent| {
            let (key, id) = (sent.key.map(Text::from), sent.backup_id.map(Text::from));
            let (size, took) = (sent.size.map(u64::cast_signed), sent.took.and_then(interval));
            (sent.destination.into(), key, id, sent.action.name(), size, took, sent.error.map(Text::from))
        };
        let sent = upload::run(&required(set_name, "set_name")?, destination.as_deref())?;
        audit::note("uploaded", sent.iter().filter(|sent| sent.action == Action::Uploaded).count());
        if let Some(error) = sent.iter().find_map(|sent| sent.error.as_deref()) {
            audit::failed(error);
        }
        Ok(TableIterator::new(sent.into_iter().map(row).collect::<Vec<_>>()))
    })
}

/// Lists the backups that stand in a store, of any cluster and database, as if they stood here: a server that lost everything
/// restores straight from there, and one table reads no more than its own part.
///
/// `SELECT * FROM agent_backup.import_offsite('s3://backups/production', server_name => 'offsite');`
///
/// `url`: a destination, or a place below it; `set_name`: one set only; `server_name`: as for `add_destination`. One row per
/// backup that was not listed: `adopted`, or `unreadable` (it is no whole backup: it is left alone). A backup whose files stand
/// here too gets its copy noted. Nothing in the store is changed.
///
/// Errors: 42501 without the right to write backups, and, for a place that is no destination here, to read any server file;
/// 08006 where the store cannot be reached, 25006 on a standby or in a read-only transaction.
#[pg_extern(schema = "agent_backup", name = "import_offsite")]
fn import_offsite(
    url: Option<Text>,
    set_name: default!(Option<Text>, "NULL"),
    server_name: default!(Option<Text>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (name!(backup_file, Text), name!(backup_id, Option<Text>), name!(action, &'static str), name!(details, Text)),
    >,
    ErrorReport,
> {
    audited(Act::new("import_offsite").of(set_name.as_ref()), || {
        let row =
            |found: Finding| (found.file.into(), found.backup_id.map(Text::from), found.action, found.details.into());
        let found = import::run(&required(url, "url")?, set_name.as_deref(), server_name.as_deref())?;
        Ok(TableIterator::new(found.into_iter().map(row).collect::<Vec<_>>()))
    })
}

/// Proves that the copies of a set are there, whole and young enough.
///
/// `SELECT * FROM agent_backup.verify_offsite(level => 'read') WHERE status = 'failed';`
///
/// `destination`: one of them; null for all. `level`: `exists`, `size`, `checksum` (the manifest is read, and the container has
/// the SHA-256 that its writer noted), `sample` (some chunks are read back and inflated), `read` (all bytes are read back and
/// hashed, which alone finds a store that lies). One row per backup and destination, and one without a backup for the age of the
/// newest good copy: `status` is `ok` or `failed`; `details` of what is wrong begin with `missing`, `changed` or `too old`. The
/// verdict is kept in `offsite_copies` and in backup_verification_log, unless nothing may be written. A failed copy is a row and no
/// error, for an error would undo that. A destination that cannot be reached is one row that says so.
///
/// Errors: 42501 without the right to write backups, 42704 for an unknown set or destination, 55000 where the set has no
/// destination, 22023 for an unknown level.
#[pg_extern(schema = "agent_backup", name = "verify_offsite")]
fn verify_offsite(
    set_name: default!(Option<Text>, "'agent_sdk'"),
    destination: default!(Option<Text>, "NULL"),
    level: default!(Option<Text>, "'checksum'"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(destination, Text),
            name!(backup_id, Option<Text>),
            name!(level, &'static str),
            name!(status, &'static str),
            name!(size_bytes, Option<i64>),
            name!(duration, Option<Interval>),
            name!(details, Text),
        ),
    >,
    ErrorReport,
> {
    audited(Act::new("verify_offsite").of(set_name.as_ref()), || {
        let row = |found: verify::Finding| {
            let (size, took) = (found.size.map(u64::cast_signed), interval(found.took));
            let (id, status) = (found.backup_id.map(Text::from), if found.is_ok { "ok" } else { "failed" });
            (found.destination.into(), id, found.level.name(), status, size, took, found.details.into())
        };
        let level = Level::parse(&required(level, "level")?)?;
        let found = verify::run(&required(set_name, "set_name")?, destination.as_deref(), level)?;
        if let Some(bad) = found.iter().find(|found| !found.is_ok) {
            audit::failed(&bad.details);
        }
        Ok(TableIterator::new(found.into_iter().map(row).collect::<Vec<_>>()))
    })
}

/// Removes the copies that the numbers of their destination do not keep; without `confirm` it only says which.
///
/// `SELECT * FROM agent_backup.prune_offsite(confirm => true);`
///
/// The rules are those of `retention_plan`; the newest good copy always stays, and so does what another database made. An
/// incremental goes when its file here is gone and the copy that it extends, too. One row per copy and incremental that goes: `action` is `remove`, `removed` when confirmed, `retained` (a lock of the store keeps it: no error), or
/// `failed`. Objects go at once and not at commit, the manifest first.
///
/// Errors: as `agent_backup.upload`.
#[pg_extern(schema = "agent_backup", name = "prune_offsite")]
fn prune_offsite(
    set_name: default!(Option<Text>, "'agent_sdk'"),
    destination: default!(Option<Text>, "NULL"),
    confirm: default!(Option<bool>, "false"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(destination, Text),
            name!(backup_id, Option<Text>),
            name!(object_key, Option<Text>),
            name!(started_at, Option<TimestampWithTimeZone>),
            name!(size_bytes, Option<i64>),
            name!(action, &'static str),
            name!(reasons, Vec<Text>),
        ),
    >,
    ErrorReport,
> {
    audited(Act::new("prune_offsite").of(set_name.as_ref()), || {
        let row = |pruned: Pruned| {
            let started_at = pruned.started_at.map(journal::timestamp);
            let (size, key) = (pruned.size.map(u64::cast_signed), pruned.key.map(Text::from));
            let reasons: Vec<Text> = pruned.reasons.into_iter().map(Text::from).collect();
            (pruned.destination.into(), pruned.backup_id.map(Text::from), key, started_at, size, pruned.action, reasons)
        };
        let confirm = required(confirm, "confirm")?;
        let pruned = retain::run(&required(set_name, "set_name")?, destination.as_deref(), confirm)?;
        Ok(TableIterator::new(pruned.into_iter().map(row).collect::<Vec<_>>()))
    })
}
