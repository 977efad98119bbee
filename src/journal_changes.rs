//! The only writer of the log of changes. It is written from inside the statements of users.

use std::cell::Cell;

use agent_backup_core::codec::change::Changed;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::{FromDatum, IntoDatum, pg_sys};

use crate::error::{Error, Result};
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
    let row = |change: &Change| {
        let (columns, values) = old(change)?;
        Ok(vec![
            append::next_number(sequence)?.into_datum(),
            now.into_datum(),
            xid.cast_signed().into_datum(),
            statement.tracked_id.into_datum(),
            statement.shape_id.into_datum(),
            change.operation.cast_signed().into_datum(),
            change.key.as_deref().map(raw).transpose()?.into_datum(),
            raw(change.image)?.into_datum(),
            columns.into_datum(),
            values.into_datum(),
            Raw(user.clone()).into_datum(),
            Raw(application.clone()).into_datum(),
        ])
    };
    // SAFETY: the values are those of the columns of the log, which sql/80_capture.sql makes.
    unsafe { log.put_all(changes, row) }
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
    Ok((Some(numbers), Some(raw(&changed.before)?)))
}

/// A text of ours in the encoding of the database, where all of it comes from.
pub fn raw(text: &[u8]) -> Result<Raw> {
    if Encoding::of_database() != Encoding::Converted {
        return Ok(Raw(text.to_vec()));
    }
    let text = std::str::from_utf8(text).map_err(|_| Error::not_utf8(encoding::shown(text)))?;
    Ok(Raw(encoding::to_server(text)?.into_owned()))
}
