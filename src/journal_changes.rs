//! The only writer of the log of changes. It is written from inside the statements of users.

use std::cell::Cell;

use agent_backup_core::codec::change::Changed;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::{FromDatum, IntoDatum, pg_sys};

use crate::error::{Error, Result};
use crate::ident::TableName;
use crate::journal;
use crate::server::encoding::{self, Encoding};
use crate::server::sql;
use crate::server::text::Raw;
use crate::server::user::{ActingAs, Restriction};
use crate::table::append::{self, Appending};
use crate::table::capture::Shape;

/// What tracking a table means.
#[derive(Debug, Clone, PartialEq, Eq)]
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

impl Tracked {
    /// What the arguments of a trigger say: the number, the policies, the limit. So a writer needs to read no table, which
    /// its snapshot may be too old for.
    pub fn of_arguments(arguments: &[String]) -> Option<Self> {
        let [id, on_failure, on_truncate, limit] = arguments else { return None };
        Some(Tracked {
            id: id.parse().ok()?,
            on_failure: OnFailure::parse(on_failure)?,
            on_truncate: OnTruncate::parse(on_truncate)?,
            truncate_limit: limit.parse().ok()?,
        })
    }
}

/// Makes sure that a shape is known; whether it was written just now. Two sessions may write the same: neither waits for the
/// other.
pub fn know_shape(shape: &Shape) -> Result<bool> {
    let known = "SELECT true FROM agent_backup.row_shapes WHERE shape_id = $1 LIMIT 1";
    if !sql::rows(known, &[shape.id.into()], |row| row.required::<bool>(1))?.is_empty() {
        return Ok(false);
    }
    let statement =
        "INSERT INTO agent_backup.row_shapes (shape_id, columns, types, key_columns) VALUES ($1, $2, $3, $4)";
    let arguments =
        [shape.id.into(), shape.columns.clone().into(), shape.types.clone().into(), shape.key.clone().into()];
    Ok(sql::execute(statement, &arguments)? > 0)
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
    /// I, U, D or T.
    pub operation: u8,
    pub key: Option<Vec<u8>>,
    pub image: &'a [u8],
    /// Of an update.
    pub changed: Option<Changed>,
}

/// What the changes of a statement have in common.
pub struct Statement {
    pub tracked_id: i32,
    pub shape_id: i64,
    /// Who owns the log.
    pub owner: pg_sys::Oid,
}

/// Columns of `agent_backup.change_log`.
const WIDTH: usize = 12;

/// Appends changes to the log, in their order.
pub fn append(statement: &Statement, changes: &[Change]) -> Result<()> {
    let user = encoding::to_server(&crate::ident::session_role()?)?.into_owned();
    // SAFETY: both read this backend's state; the name is NUL-terminated.
    let (now, xid, application) = unsafe {
        let name = pg_sys::application_name;
        let name = if name.is_null() { Vec::new() } else { std::ffi::CStr::from_ptr(name).to_bytes().to_vec() };
        (pg_sys::GetCurrentTimestamp(), pg_sys::GetTopFullTransactionId().value, name)
    };
    let _owner = ActingAs::user(statement.owner, Restriction::OwnStatements);
    let (mut log, sequence) = open(now)?;
    for change in changes {
        let number = append::next_number(sequence)?;
        let row = || {
            let (columns, values) = old(change)?;
            Ok(vec![
                number.into_datum(),
                now.into_datum(),
                xid.cast_signed().into_datum(),
                statement.tracked_id.into_datum(),
                statement.shape_id.into_datum(),
                change.operation.cast_signed().into_datum(),
                raw(change.key.as_deref())?.into_datum(),
                raw(Some(change.image))?.into_datum(),
                columns.into_datum(),
                values.into_datum(),
                Raw(user.clone()).into_datum(),
                Raw(application.clone()).into_datum(),
            ])
        };
        // SAFETY: the values are those of the columns of the log, which sql/80_capture.sql makes.
        unsafe { log.put(row)? };
    }
    Ok(())
}

thread_local! {
    /// The day that was written to last, the partition that takes it, and the sequence.
    static LEAF: Cell<Option<(i64, pg_sys::Oid, pg_sys::Oid)>> = const { Cell::new(None) };
}

/// Forgets which partition takes which day: partitions were made or dropped.
pub fn forget_partition() {
    LEAF.set(None);
}

/// The partition of the log that takes a moment, and the sequence of its numbers.
fn open(now: i64) -> Result<(Appending, pg_sys::Oid)> {
    const DAY: i64 = 86_400_000_000;
    let day = now.div_euclid(DAY);
    loop {
        let known = LEAF.get().filter(|(known, ..)| *known == day);
        let (_, leaf, sequence) = match known {
            Some(known) => known,
            None => {
                let (leaf, sequence) = leaf(now)?;
                (day, leaf, sequence)
            }
        };
        LEAF.set(Some((day, leaf, sequence)));
        let log = Appending::open(leaf, WIDTH)?;
        // While we waited for its lock another partition may have been made for the day, or this one dropped.
        let is_still = LEAF.get() == Some((day, leaf, sequence));
        match log {
            Some(log) if is_still => return Ok((log, sequence)),
            _ => LEAF.set(None),
        }
    }
}

fn leaf(now: i64) -> Result<(pg_sys::Oid, pg_sys::Oid)> {
    let query = "SELECT COALESCE((SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid \
                                   WHERE i.inhparent = 'agent_backup.change_log'::pg_catalog.regclass AND c.relname = 'change_log_' \
                                         || pg_catalog.to_char($1 AT TIME ZONE 'UTC', 'YYYYMMDD')), \
                                 'agent_backup.change_log_default'::pg_catalog.regclass), \
                        'agent_backup.change_seq'::pg_catalog.regclass::pg_catalog.oid";
    // SAFETY: a moment is a word of microseconds.
    let moment = unsafe { TimestampWithTimeZone::from_datum(pg_sys::Datum::from(now), false) };
    let found = journal::as_owner(|| {
        sql::rows(query, &[moment.into()], |row| Ok((row.required::<pg_sys::Oid>(1)?, row.required::<pg_sys::Oid>(2)?)))
    })?;
    found.first().copied().ok_or(Error::Internal { object: "log of changes", reason: "it has no partition".into() })
}

/// The fields that an update changed, and their values before.
fn old(change: &Change) -> Result<(Option<Vec<i16>>, Option<Raw>)> {
    let Some(changed) = &change.changed else { return Ok((None, None)) };
    let numbers = changed.columns.iter().filter_map(|number| i16::try_from(*number).ok()).collect();
    Ok((Some(numbers), raw(Some(&changed.before))?))
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
        sql::execute(statement, &arguments)?;
        sql::execute(NOTE_FACTS, &[id.into()])?;
        guard()
    })
}

/// Notes what a tracked table is, for the watch to compare with.
const NOTE_FACTS: &str = "UPDATE agent_backup.tracked t SET remade = false, leaves = n.leaves, columns = n.columns \
                          FROM agent_backup.tracked_now n WHERE n.tracked_id = t.tracked_id AND t.tracked_id = $1";

/// The triggers of a tracking are made anew; whether they were broken before.
pub fn watched(id: i32) -> Result<bool> {
    journal::as_owner(|| {
        sql::execute(NOTE_FACTS, &[id.into()])?;
        let query = "SELECT broken_since IS NOT NULL FROM agent_backup.tracked WHERE tracked_id = $1";
        Ok(sql::rows(query, &[id.into()], |row| row.required::<bool>(1))? == [true])
    })
}

/// A view that is no member of the extension stands on the log once a table is tracked, so that DROP EXTENSION asks for
/// CASCADE before it takes the log along.
fn guard() -> Result<()> {
    let missing = "SELECT pg_catalog.to_regclass('agent_backup.keeps_change_log') IS NULL";
    if sql::rows(missing, &[], |row| row.required::<bool>(1))? != [true] {
        return Ok(());
    }
    // Two sessions may track the first table at the same moment.
    sql::execute("LOCK TABLE agent_backup.tracked IN SHARE ROW EXCLUSIVE MODE", &[])?;
    if sql::rows(missing, &[], |row| row.required::<bool>(1))? != [true] {
        return Ok(());
    }
    sql::execute("CREATE VIEW agent_backup.keeps_change_log AS SELECT seq FROM agent_backup.change_log", &[])?;
    let comment = "COMMENT ON VIEW agent_backup.keeps_change_log IS \
                   'Keeps DROP EXTENSION from taking the log of changes along without CASCADE'";
    sql::execute(comment, &[]).map(drop)
}

/// Records that the triggers of a tracking are whole again after a gap.
pub fn mended(id: i32) -> Result<()> {
    journal::as_owner(|| {
        let statement =
            "UPDATE agent_backup.tracked SET broken_since = NULL WHERE tracked_id = $1 AND broken_since IS NOT NULL";
        sql::execute(statement, &[id.into()])?;
        let statement = "INSERT INTO agent_backup.capture_gaps (tracked_id, reason) VALUES ($1, 'its triggers were missing until now')";
        sql::execute(statement, &[id.into()]).map(drop)
    })
}

/// Changes the policies of a tracking that goes on. Until `watched` its triggers are being made anew.
pub fn change_policies(id: i32, tracking: &NewTracking) -> Result<()> {
    journal::as_owner(|| {
        let statement = "UPDATE agent_backup.tracked SET on_failure = $2, on_truncate = $3, truncate_limit = $4, level = $5, remade = true \
                         WHERE tracked_id = $1";
        let arguments = [
            id.into(),
            tracking.on_failure.into(),
            tracking.on_truncate.into(),
            tracking.truncate_limit.into(),
            tracking.level.into(),
        ];
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
        // A snapshot does not list its own transaction as running.
        let statement = "INSERT INTO agent_backup.marks (mark_name, snapshot, note) \
             SELECT $1, pg_catalog.format('%s:%s:%s', LEAST(pg_catalog.pg_snapshot_xmin(c.s), c.own), \
                        GREATEST(pg_catalog.pg_snapshot_xmax(c.s), c.own), \
                        (SELECT pg_catalog.string_agg(x.xid::pg_catalog.text, ',' ORDER BY x.xid) \
                           FROM (SELECT pg_catalog.pg_snapshot_xip(c.s) AS xid UNION SELECT c.own) AS x \
                          WHERE x.xid < GREATEST(pg_catalog.pg_snapshot_xmax(c.s), c.own)))::pg_catalog.pg_snapshot, $2 \
               FROM (SELECT pg_catalog.pg_current_snapshot() AS s, pg_catalog.pg_current_xact_id_if_assigned() AS own) AS c RETURNING marked_at";
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

/// The table that a partition is tracked with; none where it is tracked by itself.
pub fn tracked_parent(partition: pg_sys::Oid, id: i32) -> Result<Option<pg_sys::Oid>> {
    let query = "SELECT a.relid::pg_catalog.oid FROM agent_backup.tracked t \
                 JOIN pg_catalog.pg_partition_ancestors($1) AS a ON a.relid = t.relation \
                 WHERE t.tracked_id = $2 AND t.relation <> $1";
    Ok(sql::rows(query, &[partition.into(), id.into()], |row| row.required(1))?.into_iter().next())
}
