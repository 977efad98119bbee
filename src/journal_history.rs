//! Reads the log of changes.

use std::collections::HashMap;
use std::rc::Rc;

use agent_backup_core::codec::CsvFields;
use agent_backup_core::codec::change::{Shaped, image_before};
use pgrx::datum::TimestampWithTimeZone;

use crate::error::{Error, Result};
use crate::journal;
use crate::journal_changes;
use crate::server::encoding::{self, Encoding};
use crate::server::sql::{self, Argument, Row};
use crate::server::text::Raw;

/// What the fields of an image are.
#[derive(Debug)]
pub struct Shape {
    pub id: i64,
    pub columns: Vec<String>,
    pub types: Vec<String>,
    pub key: Vec<String>,
}

/// A row as the log has it: a line of CSV in the encoding of files.
#[derive(Debug, Clone)]
pub struct Image {
    pub shape: Rc<Shape>,
    pub row: Vec<u8>,
}

impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        self.shape.id == other.shape.id && self.row == other.row
    }
}

impl Eq for Image {}

impl Shaped for Image {
    fn is_like(&self, other: &Self) -> bool {
        self.shape.id == other.shape.id
    }
}

/// One entry of the log.
pub struct Entry {
    pub seq: i64,
    pub changed_at: TimestampWithTimeZone,
    /// The transaction, as `pg_current_xact_id` shows it.
    pub transaction: String,
    /// I, U, D or T.
    pub operation: char,
    pub key: Option<Vec<u8>>,
    /// The row before and after; none where there was none.
    pub before: Option<Image>,
    pub after: Option<Image>,
    /// Names of the columns that an update changed.
    pub changed: Vec<String>,
    pub session_user: String,
    pub application: String,
}

/// Which entries are meant: those of one tracking for which the condition holds.
pub struct Selection<'a> {
    pub tracked_id: i32,
    /// SQL over the entry `l`, in which `$1` is the tracking and `$2` is `value`.
    pub condition: &'a str,
    pub value: Argument<'a>,
}

const FIELDS: &str = "l.seq, l.changed_at, l.xid::pg_catalog.text, l.operation::pg_catalog.text, l.row_key, l.image, \
    l.old_columns::pg_catalog.int8[], l.old_values, l.session_user_name, l.application_name, l.shape_id";

/// Entries in an order that brings those of one key together, and in the order of their changes among those.
pub fn by_key(selection: Selection, mut each: impl FnMut(Entry) -> Result<()>) -> Result<()> {
    let (id, condition) = (selection.tracked_id, selection.condition);
    let query = format!(
        "SELECT {FIELDS} FROM agent_backup.change_log l WHERE l.tracked_id = $1 AND ({condition}) \
         ORDER BY l.row_key COLLATE pg_catalog.\"C\", l.seq"
    );
    let mut shapes = Shapes::default();
    sql::each(&query, &[id.into(), selection.value], |row| each(entry(row, &mut shapes)?))
}

/// Entries of one key, in the order of their changes.
pub fn of_one(tracked_ids: &[i32], key: &[u8]) -> Result<Vec<Entry>> {
    let query = format!(
        "SELECT {FIELDS} FROM agent_backup.change_log l WHERE l.tracked_id = ANY ($1) AND l.row_key = $2 ORDER BY l.seq"
    );
    let mut shapes = Shapes::default();
    journal::as_owner(|| {
        sql::rows(&query, &[tracked_ids.to_vec().into(), journal_changes::raw(key)?.into()], |row| {
            entry(row, &mut shapes)
        })
    })
}

fn entry(row: &Row, shapes: &mut Shapes) -> Result<Entry> {
    let text = |column| row.optional::<Raw>(column)?.map(bytes).transpose();
    let operation = row.required::<String>(4)?.chars().next().unwrap_or(' ');
    let shape = shapes.get(row.required(11)?)?;
    let (image, columns) = (text(6)?, row.optional::<Vec<i64>>(7)?.unwrap_or_default());
    let columns: Vec<usize> = columns.into_iter().filter_map(|column| usize::try_from(column).ok()).collect();
    let changed = columns.iter().filter_map(|column| shape.columns.get(column - 1).cloned()).collect();
    let image = image.map(|row| Image { shape: Rc::clone(&shape), row });
    let (before, after) = match operation {
        'I' => (None, image),
        'U' => (image.as_ref().map(|image| before(image, &columns, text(8)?)).transpose()?, image),
        _ => (image, None),
    };
    Ok(Entry {
        seq: row.required(1)?,
        changed_at: row.required(2)?,
        transaction: row.required(3)?,
        operation,
        key: text(5)?,
        before,
        after,
        changed,
        session_user: row.shown(9)?,
        application: row.shown(10)?,
    })
}

fn before(image: &Image, columns: &[usize], values: Option<Vec<u8>>) -> Result<Image> {
    let (mut new, mut old) = (CsvFields::default(), CsvFields::default());
    let broken = |reason: String| Error::Internal { object: "log of changes", reason };
    new.read(&image.row).map_err(|error| broken(error.to_string()))?;
    old.read(&values.unwrap_or_default()).map_err(|error| broken(error.to_string()))?;
    let row = image_before(&new, columns, &old).ok_or_else(|| broken("an update does not fit its row".into()))?;
    Ok(Image { shape: Rc::clone(&image.shape), row })
}

/// A text of the log in the encoding of files.
fn bytes(raw: Raw) -> Result<Vec<u8>> {
    if Encoding::of_database() == Encoding::Converted {
        Ok(encoding::from_server(raw.0)?.into_bytes())
    } else {
        Ok(raw.0)
    }
}

#[derive(Default)]
struct Shapes(HashMap<i64, Rc<Shape>>);

impl Shapes {
    fn get(&mut self, id: i64) -> Result<Rc<Shape>> {
        if let Some(known) = self.0.get(&id) {
            return Ok(Rc::clone(known));
        }
        let shape = Rc::new(shape(id)?);
        self.0.insert(id, Rc::clone(&shape));
        Ok(shape)
    }
}

fn shape(id: i64) -> Result<Shape> {
    let query = "SELECT columns, types, key_columns FROM agent_backup.row_shapes WHERE shape_id = $1 LIMIT 1";
    let found = sql::rows(query, &[id.into()], |row| {
        Ok(Shape { id, columns: row.required(1)?, types: row.required(2)?, key: row.required(3)? })
    })?;
    found.into_iter().next().ok_or(Error::Internal { object: "log of changes", reason: "a shape is missing".into() })
}

/// Gaps of a tracking: when and why, oldest first.
pub fn gaps(tracked_id: i32) -> Result<Vec<(TimestampWithTimeZone, String)>> {
    gaps_where(Selection { tracked_id, condition: "$2", value: true.into() })
}

/// Those for which a condition over the entry `l` holds.
pub fn gaps_where(selection: Selection) -> Result<Vec<(TimestampWithTimeZone, String)>> {
    journal::as_owner(|| {
        let query = format!(
            "SELECT l.noted_at, l.reason FROM (SELECT g.*, g.noted_at AS changed_at FROM agent_backup.capture_gaps g) AS l \
             WHERE l.tracked_id = $1 AND ({}) ORDER BY l.noted_at",
            selection.condition
        );
        sql::rows(&query, &[selection.tracked_id.into(), selection.value], |row| Ok((row.required(1)?, row.shown(2)?)))
    })
}

/// A restore point.
#[derive(Debug, Clone)]
pub struct Mark {
    pub snapshot: String,
    pub marked_at: TimestampWithTimeZone,
    pub marked_by: String,
}

/// A mark by its name, if there is one.
pub fn mark(name: &str) -> Result<Option<Mark>> {
    journal::as_owner(|| {
        let query =
            "SELECT snapshot::pg_catalog.text, marked_at, marked_by FROM agent_backup.marks WHERE mark_name = $1";
        let marks = sql::rows(query, &[name.into()], |row| {
            Ok(Mark { snapshot: row.required(1)?, marked_at: row.required(2)?, marked_by: row.required(3)? })
        })?;
        Ok(marks.into_iter().next())
    })
}

/// All names of marks.
pub fn mark_names() -> Result<Vec<String>> {
    journal::as_owner(|| sql::rows("SELECT mark_name FROM agent_backup.marks", &[], |row| row.required(1)))
}

/// A complete backup that holds a table.
pub struct BackupOf {
    pub id: String,
    pub kind: String,
    pub set_name: String,
    pub started_at: TimestampWithTimeZone,
    pub rows: i64,
}

/// The complete backups that hold a table in its restorable form, oldest first.
pub fn backups_of(schema: Option<&str>, table: &str) -> Result<Vec<BackupOf>> {
    journal::as_owner(|| {
        let query = "SELECT b.backup_id, b.kind, b.set_name, b.started_at, e.row_count FROM agent_backup.backup_entry e \
                     JOIN agent_backup.backup_catalog b USING (backup_id) \
                     WHERE b.status = 'complete' AND e.format = 'csv' AND e.table_name = $2 AND e.schema_name = COALESCE($1, e.schema_name) \
                     ORDER BY b.started_at";
        sql::rows(query, &[schema.into(), table.into()], |row| {
            Ok(BackupOf {
                id: row.required(1)?,
                kind: row.required(2)?,
                set_name: row.required(3)?,
                started_at: row.required(4)?,
                rows: row.required(5)?,
            })
        })
    })
}

/// Until when days of the log were written to files and dropped; none while all is there.
pub fn sealed_until() -> Result<Option<TimestampWithTimeZone>> {
    journal::as_owner(|| {
        let query = "SELECT pg_catalog.max(until_time) FROM agent_backup.sealed_log";
        Ok(sql::rows(query, &[], |row| row.optional(1))?.into_iter().next().flatten())
    })
}
