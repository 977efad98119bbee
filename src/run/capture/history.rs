//! What became of one record, and which moments of a table can be reached.

use agent_backup_core::codec::{CsvFields, Shown, change, json_object};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::ident;
use crate::journal_history::{self, Entry, Image};
use crate::journal_tracking;
use crate::run::export;
use crate::run::restore::record;
use crate::server::pin::Pinned;
use crate::server::privilege;
use crate::table::catalog::Table;

/// A change of a record, for people.
pub struct Told {
    pub entry: Entry,
    pub operation: &'static str,
    /// JSON objects.
    pub old_row: Option<Vec<u8>>,
    pub new_row: Option<Vec<u8>>,
}

/// The changes of the record of a table that has this key, oldest first.
pub fn run(table: &str, key: &dyn Fn(&Table) -> Result<Vec<(String, String)>>) -> Result<Vec<Told>> {
    let oid = ident::resolve(table)?;
    let live = readable(oid)?;
    let ids: Vec<i32> = journal_tracking::trackings(Some(oid), "")?.into_iter().map(|tracking| tracking.id).collect();
    if ids.is_empty() {
        return Err(Error::NotTracked { table: live.name.display() });
    }
    let key = key_text(&live, &record::canonical(&live, key(&live)?)?);
    let mut entries = journal_history::of_one(&ids, &key)?;
    entries.sort_by_key(|entry| entry.seq);
    entries.into_iter().map(told).collect()
}

/// A table whose rows the caller may read, all of them.
fn readable(oid: pg_sys::Oid) -> Result<Table> {
    let _formats = Pinned::formats()?;
    let live = export::lock_and_describe(oid)?;
    privilege::require_reader(oid, &live.name.display())?;
    Ok(live)
}

/// The key as the log has it, of values in the form that their types write.
pub fn key_text(live: &Table, key: &[(String, String)]) -> Vec<u8> {
    let value = |name: &String| key.iter().find(|(column, _)| column == name).map(|(_, value)| value.as_bytes());
    let values: Vec<&[u8]> = live.primary_key.iter().filter_map(value).collect();
    change::key_of(&values)
}

fn told(entry: Entry) -> Result<Told> {
    let operation = match entry.operation {
        'I' => "INSERT",
        'U' => "UPDATE",
        'D' => "DELETE",
        _ => "TRUNCATE",
    };
    let row = |image: &Option<Image>| image.as_ref().map(json).transpose();
    Ok(Told { operation, old_row: row(&entry.before)?, new_row: row(&entry.after)?, entry })
}

fn json(image: &Image) -> Result<Vec<u8>> {
    let (mut fields, mut out) = (CsvFields::default(), Vec::new());
    let broken = |error: agent_backup_core::codec::NotCsv| Error::Internal {
        object: "log of changes",
        reason: error.to_string(),
    };
    fields.read(&image.row).map_err(broken)?;
    let columns = image.shape.columns.iter().zip(&image.shape.types).enumerate();
    json_object(columns.map(|(at, (name, of))| (name.as_str(), Shown::of_type(of), fields.get(at))), &mut out);
    Ok(out)
}

/// A moment, or a range of them, that a table can be brought back to.
pub struct Point {
    /// `backup`, `continuous` or `gap`.
    pub kind: &'static str,
    pub from: TimestampWithTimeZone,
    /// None while it goes on.
    pub until: Option<TimestampWithTimeZone>,
    pub backup_id: Option<String>,
    pub details: String,
}

/// The backups of a table, and the time that its log covers without a gap; oldest first.
pub fn recovery_points(table: &str) -> Result<Vec<Point>> {
    let oid = ident::find(table)?;
    let name = oid.map(ident::name_of).transpose()?;
    if let Some(oid) = oid {
        readable(oid)?;
    } else {
        privilege::require_operator()?;
    }
    let typed = name.as_ref().map_or(table, |name| name.name.as_str());
    let mut points = Vec::new();
    for backup in journal_history::backups_of(name.as_ref().map(|name| name.schema.as_str()), typed)? {
        let details = format!("{} backup of set {}, {} rows", backup.kind, backup.set_name, backup.rows);
        let (from, until) = (backup.started_at, Some(backup.started_at));
        points.push(Point { kind: "backup", from, until, backup_id: Some(backup.id), details });
    }
    let trackings = journal_tracking::trackings(oid, table)?;
    if points.is_empty() && trackings.is_empty() && oid.is_none() {
        return Err(Error::UnknownTable { name: table.to_owned(), near: Vec::new() });
    }
    for tracking in trackings.into_iter().filter(|tracking| tracking.is_here) {
        let mut from = tracking.since;
        let covered = |from, until| Point {
            kind: "continuous",
            from,
            until,
            backup_id: tracking.backup_id.clone(),
            details: "every change is in the log".to_owned(),
        };
        for (at, reason) in journal_history::gaps(tracking.id)? {
            points.push(covered(from, Some(at)));
            points.push(Point { kind: "gap", from: at, until: Some(at), backup_id: None, details: reason });
            from = at;
        }
        if tracking.broken_since.is_none() {
            points.push(covered(from, tracking.ended_at));
        }
    }
    points.sort_by(|a, b| a.from.partial_cmp(&b.from).unwrap_or(std::cmp::Ordering::Equal));
    Ok(points)
}
