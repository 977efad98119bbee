//! The only writer of the log of changes. It is written from inside the statements of users, so its plans are kept.

use std::cell::RefCell;

use agent_backup_core::codec::change::Changed;
use pgrx::datum::{DatumWithOid, TimestampWithTimeZone};
use pgrx::pg_sys::{self, BuiltinOid, PgOid};
use pgrx::spi::{OwnedPreparedStatement, Spi};
use pgrx::IntoDatum;

use crate::error::{Error, Result};
use crate::ident::TableName;
use crate::journal;
use crate::server::encoding::{self, Encoding};
use crate::server::sql;
use crate::server::subtransaction;
use crate::server::text::Raw;
use crate::server::user::{ActingAs, Restriction};
use crate::table::capture::Shape;

/// What tracking a table means.
#[derive(Debug, Clone)]
pub struct Tracked {
    pub id: i32,
    pub on_failure: OnFailure,
    pub on_truncate: OnTruncate,
    pub truncate_limit: i64,
}

/// When a change cannot be captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// The writer's statement fails.
    Fail,
    /// It goes on, and the gap is recorded.
    Gap,
}

/// When a table above the limit is truncated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnTruncate {
    Capture,
    Refuse,
    Mark,
}

impl OnFailure {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "fail" => Some(OnFailure::Fail),
            "gap" => Some(OnFailure::Gap),
            _ => None,
        }
    }
}

impl OnTruncate {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "capture" => Some(OnTruncate::Capture),
            "refuse" => Some(OnTruncate::Refuse),
            "mark" => Some(OnTruncate::Mark),
            _ => None,
        }
    }
}

/// The tracking that a trigger carries the number of, while it goes on.
pub fn tracked(id: i32) -> Result<Option<Tracked>> {
    let query = "SELECT on_failure, on_truncate, truncate_limit FROM agent_backup.tracked \
                 WHERE tracked_id = $1 AND ended_at IS NULL";
    let found = sql::rows(query, &[id.into()], |row| {
        let unknown = || Error::Internal { object: "tracking", reason: "its policy is unknown".into() };
        Ok(Tracked {
            id,
            on_failure: OnFailure::parse(&row.required::<String>(1)?).ok_or_else(unknown)?,
            on_truncate: OnTruncate::parse(&row.required::<String>(2)?).ok_or_else(unknown)?,
            truncate_limit: row.required(3)?,
        })
    })?;
    Ok(found.into_iter().next())
}

/// Makes sure that a shape is known; whether it was written just now.
pub fn know_shape(shape: &Shape) -> Result<bool> {
    let known = "SELECT true FROM agent_backup.row_shapes WHERE shape_id = $1";
    if !sql::rows(known, &[shape.id.into()], |row| row.required::<bool>(1))?.is_empty() {
        return Ok(false);
    }
    let statement = "INSERT INTO agent_backup.row_shapes (shape_id, columns, types, key_columns) \
                     VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    let arguments =
        [shape.id.into(), shape.columns.clone().into(), shape.types.clone().into(), shape.key.clone().into()];
    let written = subtransaction::attempt(|| sql::execute(statement, &arguments));
    match written {
        Ok(rows) => Ok(rows > 0),
        // Another session wrote the same just now, and this transaction's snapshot is older.
        Err(failure) if failure.code == pgrx::PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE => Ok(false),
        Err(failure) => Err(failure.error.unwrap_or(Error::Capture { reason: failure.message })),
    }
}

/// Says that changes are not in the log.
pub fn record_gap(id: i32, reason: &str) -> Result<()> {
    journal::as_owner(|| {
        let statement = "INSERT INTO agent_backup.capture_gaps (tracked_id, reason) VALUES ($1, $2)";
        sql::execute(statement, &[id.into(), reason.into()]).map(drop)
    })
}

/// One changed row.
pub struct Change<'a> {
    pub key: Option<Vec<u8>>,
    pub old_key: Option<Vec<u8>>,
    pub image: &'a [u8],
    pub changed: Option<Changed>,
}

/// What the changes of a statement have in common.
pub struct Statement {
    pub tracked_id: i32,
    pub shape_id: i64,
    /// I, U, D or T.
    pub operation: u8,
    /// Who owns the log.
    pub owner: pg_sys::Oid,
}

const COLUMNS: &str = "INSERT INTO agent_backup.change_log (changed_at, xid, tracked_id, shape_id, operation, \
    session_user_name, application_name, row_key, old_key, image, old_columns, old_values)";

thread_local! {
    static ONE: RefCell<Option<OwnedPreparedStatement>> = const { RefCell::new(None) };
    static MANY: RefCell<Option<OwnedPreparedStatement>> = const { RefCell::new(None) };
}

/// Appends changes to the log, in their order.
pub fn append(statement: &Statement, changes: &[Change]) -> Result<()> {
    let user = Raw(encoding::to_server(&crate::ident::session_role()?)?.into_owned());
    // SAFETY: both read this backend's state; the name is NUL-terminated.
    let (now, xid, application) = unsafe {
        let name = pg_sys::application_name;
        let name = if name.is_null() { Vec::new() } else { std::ffi::CStr::from_ptr(name).to_bytes().to_vec() };
        (pg_sys::GetCurrentTimestamp(), pg_sys::GetTopFullTransactionId().value, Raw(name))
    };
    // SAFETY: a full transaction id is a word, and a moment is one.
    let (moment, transaction) = unsafe {
        (DatumWithOid::new(now, pg_sys::TIMESTAMPTZOID), DatumWithOid::new(xid.cast_signed(), pg_sys::XID8OID))
    };
    let mut arguments: Vec<DatumWithOid> = vec![
        moment,
        transaction,
        statement.tracked_id.into(),
        statement.shape_id.into(),
        statement.operation.cast_signed().into(),
        user.into(),
        application.into(),
    ];
    let _owner = ActingAs::user(statement.owner, Restriction::OwnStatements);
    if let [change] = changes {
        let (columns, values) = old(change)?;
        arguments.extend([
            raw(change.key.as_deref())?.into(),
            raw(change.old_key.as_deref())?.into(),
            raw(Some(change.image))?.into(),
            columns.into(),
            values.into(),
        ]);
        let query = format!("{COLUMNS} VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::pg_catalog.int2[], $12)");
        return run(&ONE, &query, &types(false), &arguments);
    }
    let texts = |of: &dyn Fn(&Change) -> Result<Option<Raw>>| changes.iter().map(of).collect::<Result<Vec<_>>>();
    let (mut columns, mut values) = (Vec::with_capacity(changes.len()), Vec::with_capacity(changes.len()));
    for change in changes {
        let (numbers, before) = old(change)?;
        columns.push(numbers);
        values.push(before);
    }
    arguments.extend([
        texts(&|change| raw(change.key.as_deref()))?.into(),
        texts(&|change| raw(change.old_key.as_deref()))?.into(),
        texts(&|change| raw(Some(change.image)))?.into(),
        columns.into(),
        values.into(),
    ]);
    let query = format!(
        "{COLUMNS} SELECT $1, $2, $3, $4, $5, $6, $7, c.row_key, c.old_key, c.image, c.old_columns::pg_catalog.int2[], \
         c.old_values FROM ROWS FROM (pg_catalog.unnest($8), pg_catalog.unnest($9), pg_catalog.unnest($10), pg_catalog.unnest($11), \
         pg_catalog.unnest($12)) AS c(row_key, old_key, image, old_columns, old_values)"
    );
    run(&MANY, &query, &types(true), &arguments)
}

/// The fields that an update changed, as an array in text, and their values before.
fn old(change: &Change) -> Result<(Option<Raw>, Option<Raw>)> {
    let Some(changed) = &change.changed else { return Ok((None, None)) };
    let numbers: Vec<String> = changed.columns.iter().map(usize::to_string).collect();
    Ok((Some(Raw(format!("{{{}}}", numbers.join(",")).into_bytes())), raw(Some(&changed.before))?))
}

/// A text of ours in the encoding of the database, where all of it comes from.
fn raw(text: Option<&[u8]>) -> Result<Option<Raw>> {
    let Some(text) = text else { return Ok(None) };
    if Encoding::of_database() != Encoding::Converted {
        return Ok(Some(Raw(text.to_vec())));
    }
    let text = std::str::from_utf8(text).map_err(|_| Error::not_utf8(encoding::shown(text)))?;
    Ok(Some(Raw(encoding::to_server(text)?.into_owned())))
}

fn types(many: bool) -> Vec<PgOid> {
    use BuiltinOid::*;
    let text = PgOid::Custom(if many { <Vec<Raw> as IntoDatum>::type_oid() } else { <Raw as IntoDatum>::type_oid() });
    let one = PgOid::Custom(<Raw as IntoDatum>::type_oid());
    let mut all: Vec<PgOid> = [TIMESTAMPTZOID, XID8OID, INT4OID, INT8OID, CHAROID].map(PgOid::BuiltIn).to_vec();
    all.extend([one, one]);
    all.extend([text; 5]);
    all
}

fn run(
    kept: &'static std::thread::LocalKey<RefCell<Option<OwnedPreparedStatement>>>,
    query: &str,
    types: &[PgOid],
    arguments: &[DatumWithOid],
) -> Result<()> {
    let failed = |error: pgrx::spi::SpiError| Error::Internal { object: "log of changes", reason: error.to_string() };
    Spi::connect_mut(|client| {
        let plan = match kept.take() {
            Some(plan) => plan,
            None => client.prepare_mut(query, types).map_err(failed)?.keep(),
        };
        let written = client.update(&plan, None, arguments).map(drop).map_err(failed);
        // Not put back after an error, which unwinds from here: the next statement makes it again.
        kept.set(Some(plan));
        written
    })
}

/// A tracking that begins.
pub struct NewTracking<'a> {
    pub relation: pg_sys::Oid,
    pub table: &'a TableName,
    pub level: &'a str,
    pub on_failure: &'a str,
    pub on_truncate: &'a str,
    pub truncate_limit: i64,
}

/// The number of the next tracking.
pub fn next_id() -> Result<i32> {
    journal::as_owner(|| {
        let query = "SELECT pg_catalog.nextval('agent_backup.tracked_tracked_id_seq')::pg_catalog.int4";
        let ids = sql::changed_rows(query, &[], |row| row.required(1))?;
        ids.first().copied().ok_or(Error::Internal { object: "tracking", reason: "it has no number".into() })
    })
}

/// Records that a table is tracked from now on under this number. Its triggers are there already: the watch over them
/// looks at the tables that are recorded.
pub fn begin(id: i32, tracking: &NewTracking) -> Result<()> {
    journal::as_owner(|| {
        let statement = "INSERT INTO agent_backup.tracked (tracked_id, relation, schema_name, table_name, level, on_failure, on_truncate, \
                truncate_limit, since, since_xid) OVERRIDING SYSTEM VALUE \
             VALUES ($8, $1, $2, $3, $4, $5, $6, $7, pg_catalog.clock_timestamp(), pg_catalog.pg_current_xact_id())";
        let arguments = [
            tracking.relation.into(),
            tracking.table.schema.as_str().into(),
            tracking.table.name.as_str().into(),
            tracking.level.into(),
            tracking.on_failure.into(),
            tracking.on_truncate.into(),
            tracking.truncate_limit.into(),
            id.into(),
        ];
        sql::execute(statement, &arguments).map(drop)
    })
}

/// Records that the triggers of a tracking are whole again after a gap.
pub fn mended(id: i32) -> Result<()> {
    journal::as_owner(|| {
        let statement = "UPDATE agent_backup.tracked SET broken_since = NULL WHERE tracked_id = $1 AND broken_since IS NOT NULL";
        sql::execute(statement, &[id.into()])?;
        let statement = "INSERT INTO agent_backup.capture_gaps (tracked_id, reason) VALUES ($1, 'its triggers were missing until now')";
        sql::execute(statement, &[id.into()]).map(drop)
    })
}

/// Changes the policies of a tracking that goes on.
pub fn change_policies(id: i32, tracking: &NewTracking) -> Result<()> {
    journal::as_owner(|| {
        let statement = "UPDATE agent_backup.tracked SET on_failure = $2, on_truncate = $3, truncate_limit = $4 WHERE tracked_id = $1";
        let arguments =
            [id.into(), tracking.on_failure.into(), tracking.on_truncate.into(), tracking.truncate_limit.into()];
        sql::execute(statement, &arguments).map(drop)
    })
}

/// Notes the backup that a tracking begins with.
pub fn note_baseline(id: i32, backup_id: &str) -> Result<()> {
    journal::as_owner(|| {
        let statement = "UPDATE agent_backup.tracked SET backup_id = $2 WHERE tracked_id = $1";
        sql::execute(statement, &[id.into(), backup_id.into()]).map(drop)
    })
}

/// Records that a table is tracked no longer.
pub fn end(id: i32) -> Result<()> {
    journal::as_owner(|| {
        let statement = "UPDATE agent_backup.tracked SET ended_at = pg_catalog.clock_timestamp() WHERE tracked_id = $1";
        sql::execute(statement, &[id.into()]).map(drop)
    })
}

/// A tracking, as one asks for it by its table.
#[derive(Debug, Clone)]
pub struct Tracking {
    pub id: i32,
    pub since: TimestampWithTimeZone,
    pub broken_since: Option<TimestampWithTimeZone>,
    pub ended_at: Option<TimestampWithTimeZone>,
    pub backup_id: Option<String>,
}

/// The trackings of a table, newest first; by its name as well, since it may be gone.
pub fn trackings(relation: Option<pg_sys::Oid>, table: &str) -> Result<Vec<Tracking>> {
    journal::as_owner(|| {
        let query = "SELECT tracked_id, since, broken_since, ended_at, backup_id FROM agent_backup.tracked \
             WHERE CASE WHEN $1 IS NOT NULL THEN relation = $1 ELSE table_name = $2 OR schema_name || '.' || table_name = $2 END \
             ORDER BY tracked_id DESC";
        sql::rows(query, &[relation.into(), table.into()], |row| {
            Ok(Tracking {
                id: row.required(1)?,
                since: row.required(2)?,
                broken_since: row.optional(3)?,
                ended_at: row.optional(4)?,
                backup_id: row.optional(5)?,
            })
        })
    })
}

/// Writes a mark down; when it was made.
pub fn make_mark(name: &str, note: Option<&str>) -> Result<TimestampWithTimeZone> {
    journal::as_owner(|| {
        let statement = "INSERT INTO agent_backup.marks (mark_name, snapshot, note) \
                         VALUES ($1, pg_catalog.pg_current_snapshot(), $2) RETURNING marked_at";
        let times = sql::changed_rows(statement, &[name.into(), note.into()], |row| row.required(1))?;
        times.first().copied().ok_or(Error::Internal { object: "mark", reason: "it was not made".into() })
    })
}

/// Removes a mark.
pub fn forget_mark(name: &str) -> Result<()> {
    journal::as_owner(|| sql::execute("DELETE FROM agent_backup.marks WHERE mark_name = $1", &[name.into()]).map(drop))
}

/// The tables that are tracked now and are still there.
pub fn tracked_relations() -> Result<Vec<pg_sys::Oid>> {
    journal::as_owner(|| {
        let query = "SELECT t.relation::pg_catalog.oid FROM agent_backup.tracked t JOIN pg_catalog.pg_class c ON c.oid = t.relation \
                     WHERE t.ended_at IS NULL";
        sql::rows(query, &[], |row| row.required(1))
    })
}
