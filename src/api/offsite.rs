//! `add_destination`, `remove_destination`, `upload`, and the validator of `agent_backup_s3`.

use pgrx::datum::Interval;
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::api::argument::{items, required};
use crate::api::interval;
use crate::run::offsite::access::{self, Owner};
use crate::run::offsite::destination::{self, NewDestination};
use crate::run::offsite::import;
use crate::run::offsite::upload::{self, Sent};
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
    answer(|| {
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
    answer(|| destination::remove(&required(set_name, "set_name")?, &required(url, "url")?))
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
    answer(|| {
        let row = |sent: Sent| {
            let (key, id) = (sent.key.map(Text::from), sent.backup_id.map(Text::from));
            let (size, took) = (sent.size.map(u64::cast_signed), sent.took.and_then(interval));
            (sent.destination.into(), key, id, sent.action.name(), size, took, sent.error.map(Text::from))
        };
        let sent = upload::run(&required(set_name, "set_name")?, destination.as_deref())?;
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
    answer(|| {
        let row =
            |found: Finding| (found.file.into(), found.backup_id.map(Text::from), found.action, found.details.into());
        let found = import::run(&required(url, "url")?, set_name.as_deref(), server_name.as_deref())?;
        Ok(TableIterator::new(found.into_iter().map(row).collect::<Vec<_>>()))
    })
}
