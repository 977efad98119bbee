//! `incremental`, the seed's `backup_agent_incremental`, `set_change_source`, `expire_incrementals`, `image_to_jsonb`.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::api::argument::{items, required};
use crate::error::Error;
use crate::journal;
use crate::journal_checks::plain_name;
use crate::run::audit::{self, Act, audited};
use crate::run::incremental::expire::{self, Expired};
use crate::run::incremental::{self, Incremented, Request};
use crate::server::clock;
use crate::server::convert::Jsonb;
use crate::server::message::answer;
use crate::server::text::Text;

/// Copies what changed in the tables of a set since the last time, into agent_training_archive and into files.
///
/// `SELECT * FROM agent_backup.incremental();`
///
/// `since`: rows that are no older are copied too, where the last time was later; `with_deletes`: rows of the newest
/// backup that are gone are noted as tombstones (those of a tracked table are known without). One row per member:
/// `source` is `capture`, `snapshot` or `timestamp`; `file_name` is null where nothing had changed; `status` is `ok`,
/// `failed` (its next run begins where the last good one ended) or `absent`; `details` say which rows were taken.
///
/// Errors: 42501 without the right to write backups, 42704 for an unknown set, 55P03 while another session does this,
/// 53100 when the disk is full, 25006 on a standby or in a read-only transaction.
#[pg_extern(schema = "agent_backup", name = "incremental")]
fn run_incremental(
    set_name: default!(Option<Text>, "'agent_sdk'"),
    since: default!(Option<TimestampWithTimeZone>, "NULL"),
    with_deletes: default!(Option<bool>, "false"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(table_name, Text),
            name!(source, Option<&'static str>),
            name!(rows_backed_up, Option<i64>),
            name!(tombstones, Option<i64>),
            name!(file_name, Option<Text>),
            name!(status, &'static str),
            name!(details, Option<Text>),
        ),
    >,
    ErrorReport,
> {
    audited(Act::new("incremental").of(set_name.as_ref()), || {
        let (set, with_deletes) = (required(set_name, "set_name")?, required(with_deletes, "with_deletes")?);
        let done = incremental::run(&Request { set: &set, since, with_deletes })?;
        let row = |done: Incremented| {
            let count = |count: Option<u64>| count.map(u64::cast_signed);
            let (table, file, details) =
                (done.table.display().into(), done.file.map(Text::from), done.details.map(Text::from));
            (table, done.source, count(done.rows), count(done.tombstones), file, done.status, details)
        };
        Ok(TableIterator::new(done.into_iter().map(row).collect::<Vec<_>>()))
    })
}

/// Copies what changed in the tables of the set agent_sdk since the last time, and since `since_timestamp` where that is
/// earlier.
///
/// `SELECT backup_agent_incremental(NOW() - INTERVAL '1 hour');`
///
/// One row per table that is here; a table that failed has null for its rows, and a WARNING says why.
///
/// Errors: as `agent_backup.incremental`.
#[pg_extern(name = "backup_agent_incremental")]
pub fn backup_agent_incremental(
    since_timestamp: default!(Option<TimestampWithTimeZone>, "pg_catalog.now() - '1 hour'::interval"),
) -> Result<TableIterator<'static, (name!(table_name, Text), name!(rows_backed_up, Option<i64>))>, ErrorReport> {
    audited(Act::new("incremental").of(Some("agent_sdk")), || {
        let done = incremental::run(&Request { set: "agent_sdk", since: since_timestamp, with_deletes: false })?;
        let here = done.into_iter().filter(|done| done.status != "absent");
        let rows = here.map(|done| (plain_name(&done.table).into(), done.rows.map(u64::cast_signed)));
        Ok(TableIterator::new(rows.collect::<Vec<_>>()))
    })
}

/// Chooses by what the changed rows of a table are told.
///
/// `SELECT agent_backup.set_change_source('agent_approvals', 'timestamp');`
///
/// `source`: `snapshot` (the transactions that wrote the rows: no change is missed), `timestamp` (`updated_at` and
/// `created_at`), or null for what fits the table. A tracked table is told by its log whatever is chosen.
///
/// Errors: 42501 without the right to write backups, 42704 for an unknown set or a table that is no member, 22023 for an
/// unknown source.
#[pg_extern(schema = "agent_backup", name = "set_change_source")]
fn set_change_source(
    table_name: Option<Text>,
    source: Option<Text>,
    set_name: default!(Option<Text>, "'agent_sdk'"),
) -> Result<(), ErrorReport> {
    audited(Act::new("set_change_source").on(table_name.as_ref()).of(set_name.as_ref()), || {
        let (table, set) = (required(table_name, "table_name")?, required(set_name, "set_name")?);
        incremental::set_source(&table, source.as_deref(), &set)?;
        audit::note("source", source.as_deref());
        Ok(())
    })
}

/// Says which incrementals of a set may go, and removes those with `confirm => true`.
///
/// `SELECT * FROM agent_backup.expire_incrementals();`
///
/// An incremental stays as long as the full backup that it extends, and 24 hours at the least. One row per incremental:
/// bytes of its two files, `action` (`keep`, `remove`, or `removed` when confirmed) and the reason.
///
/// Errors: 42501 without the right to write backups, 42704 for an unknown set, 55P03 while an incremental runs.
#[pg_extern(schema = "agent_backup", name = "expire_incrementals")]
fn expire_incrementals(
    set_name: default!(Option<Text>, "'agent_sdk'"),
    confirm: default!(Option<bool>, "false"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(file_name, Text),
            name!(table_name, Option<Text>),
            name!(started_at, TimestampWithTimeZone),
            name!(size_bytes, i64),
            name!(action, &'static str),
            name!(reason, Text),
        ),
    >,
    ErrorReport,
> {
    audited(Act::new("expire_incrementals").of(set_name.as_ref()), || {
        let (set, confirm) = (required(set_name, "set_name")?, required(confirm, "confirm")?);
        audit::note("confirm", confirm);
        let row = |expired: Expired| {
            let (file, table) = (expired.file_name().into(), expired.table.map(Text::from));
            let started_at = journal::timestamp(expired.started_at);
            (file, table, started_at, expired.size.cast_signed(), expired.action, expired.reason.into())
        };
        let expired = expire::run(&set, confirm, clock::now()?)?;
        Ok(TableIterator::new(expired.into_iter().map(row).collect::<Vec<_>>()))
    })
}

/// The object of a captured row: its fields by name, as `row_to_json` writes them; values of domains and composite types
/// are texts. Null where the image was erased.
///
/// `SELECT agent_backup.image_to_jsonb(columns, types, image) FROM agent_backup.change_log JOIN agent_backup.row_shapes USING (shape_id);`
///
/// Errors: 22023 for an image that is no line of CSV with these columns.
#[pg_extern(schema = "agent_backup", name = "image_to_jsonb", stable, parallel_safe)]
pub fn image_to_jsonb(
    columns: Option<Vec<Option<Text>>>,
    types: Option<Vec<Option<Text>>>,
    image: Option<Text>,
) -> Result<Option<Jsonb>, ErrorReport> {
    answer(|| {
        let (Some(columns), Some(types), Some(image)) = (columns, types, image) else { return Ok(None) };
        let (columns, types) = (items(columns, "columns")?, items(types, "types")?);
        let invalid = |reason: String| Error::InvalidOption { option: "image", reason };
        if columns.len() != types.len() {
            return Err(invalid("there are not as many types as columns".into()));
        }
        let mut out = Vec::new();
        let named = columns.iter().map(String::as_str).zip(types.iter().map(String::as_str));
        agent_backup_core::codec::image::json(named, image.as_bytes(), &mut out)
            .map_err(|fault| invalid(fault.to_string()))?;
        Ok(Some(Jsonb(out)))
    })
}
