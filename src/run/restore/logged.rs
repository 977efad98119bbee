//! One record back from the log of changes, which has its last row, or the one of a moment, without any backup.

use agent_backup_core::codec::change::Net;
use pgrx::datum::TimestampWithTimeZone;

use crate::error::{Error, Result};
use crate::ident;
use crate::journal_history::{self, Entry, Image};
use crate::journal_tracking::{self, Tracking};
use crate::run::capture::history;
use crate::run::restore::after;
use crate::run::restore::apply::Rows;
use crate::run::restore::fill;
use crate::run::restore::plan::{self, Mapping};
use crate::run::restore::record::{self, Key, Outcome, Wanted};
use crate::server::pin::Pinned;
use crate::server::snapshot::Snapshot;
use crate::server::{lock, privilege, sql};
use crate::table::catalog::Table;
use crate::table::stage::{Stage, Way};
use crate::table::triggers;

/// A row of the log, and when it was the table's.
struct Found {
    image: Image,
    details: String,
}

/// Brings a record back from the log; none where the log does not have it, and a backup may.
pub fn bring(table: &str, key: &Key, wanted: &Wanted, depth: u32) -> Result<Option<Vec<Outcome>>> {
    let Some(oid) = ident::find(table)? else { return Ok(None) };
    let mut trackings = journal_tracking::trackings(Some(oid), "")?;
    if wanted.as_of.is_some() {
        trackings.retain(|tracking| tracking.is_here);
    }
    if trackings.is_empty() {
        return Ok(None);
    }
    let live = plan::described(oid)?;
    privilege::require_reader(oid, &live.name.display())?;
    if live.primary_key.is_empty() {
        return Ok(None);
    }
    let key = record::canonical(&live, key(&live)?)?;
    let entries = journal_history::of_one(&ids(&trackings), &history::key_text(&live, &key))?;
    let condition = record::condition(&live, &key)?;
    match found(&live, &condition, entries, wanted.as_of)? {
        None => Ok(None),
        Some(found) => put(&live, key, &condition, &found, wanted, depth).map(Some),
    }
}

fn ids(trackings: &[Tracking]) -> Vec<i32> {
    trackings.iter().map(|tracking| tracking.id).collect()
}

/// The newest row of the key that is not there, or the one of the moment.
fn found(
    live: &Table,
    condition: &str,
    mut entries: Vec<Entry>,
    as_of: Option<TimestampWithTimeZone>,
) -> Result<Option<Found>> {
    entries.sort_by_key(|entry| entry.seq);
    if let Some(as_of) = as_of {
        let (later, earlier): (Vec<Entry>, Vec<Entry>) = split(entries, as_of)?;
        if later.is_empty() && earlier.is_empty() {
            return Ok(None);
        }
        let mut net = Net::default();
        for entry in later {
            net.change(entry.before, entry.after);
        }
        if let Some(image) = net.sides().and_then(|sides| sides.before) {
            let details = format!("as it was at {as_of}, from the log of changes");
            return Ok(Some(Found { image, details }));
        }
        // Not there then: what it was when it last was, as a backup would have it.
        let newest = earlier.into_iter().rev().find_map(|entry| {
            let image = entry.after.or(entry.before)?;
            Some(Found {
                image,
                details: format!("as change {} of {} left it, from the log of changes", entry.seq, entry.changed_at),
            })
        });
        return Ok(newest);
    }
    if record::is_live(live, condition)? {
        return Ok(None);
    }
    Ok(entries.into_iter().rev().find_map(|entry| {
        let image = entry.before?;
        let details = format!("as it was when it went at {}, from the log of changes", entry.changed_at);
        Some(Found { image, details })
    }))
}

/// The entries whose transactions had not committed by a moment, and the others.
fn split(entries: Vec<Entry>, as_of: TimestampWithTimeZone) -> Result<(Vec<Entry>, Vec<Entry>)> {
    let numbers: Vec<String> = entries.iter().map(|entry| entry.transaction.clone()).collect();
    let query = "SELECT x.n, COALESCE(CASE WHEN pg_catalog.current_setting('track_commit_timestamp') = 'on' \
                          THEN pg_catalog.pg_xact_commit_timestamp(x.n::pg_catalog.xid8::pg_catalog.xid) END, \
                      (SELECT pg_catalog.max(l.changed_at) FROM agent_backup.change_log l WHERE l.xid = x.n::pg_catalog.xid8 \
                         AND l.changed_at > $2)) > $2 \
                 FROM (SELECT DISTINCT n FROM pg_catalog.unnest($1) AS n) AS x";
    let later = crate::journal::as_owner(|| {
        sql::rows(query, &[numbers.into(), as_of.into()], |row| Ok((row.required::<String>(1)?, row.optional(2)?)))
    })?;
    let is_later =
        |entry: &Entry| later.iter().any(|(number, later)| *number == entry.transaction && *later == Some(true));
    Ok(entries.into_iter().partition(is_later))
}

fn put(
    live: &Table,
    key: Vec<(String, String)>,
    filter: &str,
    found: &Found,
    wanted: &Wanted,
    depth: u32,
) -> Result<Vec<Outcome>> {
    lock::table(live.oid, triggers::lock_for(live)?, &live.name.display())?;
    let _snapshot = Snapshot::push()?;
    let _formats = Pinned::formats()?;
    let stage = Stage::create(live, Way::Rows)?;
    let mut row = found.image.row.clone();
    row.push(b'\n');
    fill::fill_images(&stage.table, &live.name.display(), &found.image.shape.columns, &row)?;
    let mut outcomes = parents(live, &stage, filter, wanted, depth)?;
    let is_here = |name: &String| live.columns.iter().any(|column| column.name == *name && !column.generated);
    let columns = found.image.shape.columns.iter().filter(|name| is_here(name)).cloned().collect();
    let mapping = Mapping { new: lacking(live, &found.image), ..Mapping::same(columns) };
    let rows = Rows::new(live, &stage, &mapping, Some(filter))?;
    let status = record::write(&rows, wanted.choices)?;
    rows.silence.end()?;
    stage.finish()?;
    let details = match status {
        "exists" => {
            format!("it is there with other values than {}; overwrite => true brings those back", found.details)
        }
        "unchanged" => format!("it is there {}", found.details),
        _ => found.details.clone(),
    };
    outcomes.push(Outcome { table: live.name.display(), key, status, backup_id: None, details });
    Ok(outcomes)
}

/// Columns of the table that the row had not.
fn lacking(live: &Table, image: &Image) -> Vec<String> {
    let own = live.columns.iter().filter(|column| !column.generated && !image.shape.columns.contains(&column.name));
    own.map(|column| column.name.clone()).collect()
}

/// Every parent that the row refers to is there, or comes with it.
fn parents(live: &Table, stage: &Stage, filter: &str, wanted: &Wanted, depth: u32) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    for key in after::foreign_keys(&[live.oid])?.into_iter().filter(|key| key.child == live.oid) {
        let Some(values) = record::referred(&key, live, stage, filter)? else { continue };
        let parent = ident::name_of(key.parent)?;
        let itself = key.parent == live.oid && record::is_itself(live, stage, &key, filter)?;
        if itself || record::is_there(&key, &values)? {
            continue;
        }
        if !wanted.choices.with_parents || depth >= record::MOST_PARENTS {
            return Err(Error::ParentMissing {
                table: live.name.display(),
                parent: parent.display(),
                constraint: key.name.clone(),
                key: record::shown(&values),
            });
        }
        let of_parent = |_: &Table| Ok(values.clone());
        outcomes.extend(record::bring(&parent.qualified(), &of_parent, wanted, depth + 1)?);
    }
    Ok(outcomes)
}
