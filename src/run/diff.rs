//! `diff`, `verify_backup` and `assess`: which sides are meant, locked and read in one snapshot.

use std::rc::Rc;

use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::ident;
use crate::run::compare::{self, Difference, Sums};
use crate::run::differences::{Counts, Teller, Told};
use crate::run::export;
use crate::run::say;
use crate::run::sides::{self, Filter, Matched, Remark, Side};
use crate::run::source::{self, Source};
use crate::server::pin::Pinned;
use crate::server::snapshot::{self, Snapshot};
use crate::server::{lock, privilege};
use crate::table::catalog;
use crate::table::select::Selection;

/// Gives each row in which a live table differs from a backup of it to `each`; a NOTICE says what was not compared.
pub fn diff(table: &str, backup: &str, set: &str, mut each: impl FnMut(Told) -> Result<()>) -> Result<()> {
    let source = Rc::new(source::find(backup, set)?);
    let oid = ident::resolve(table)?;
    let display = lock_tables(&[oid])?.remove(0);
    let number = source.member(table)?.0;
    let _formats = Pinned::formats()?;
    let _snapshot = snapshot_of(&[oid])?;
    let (live, filter) = live(oid, Some((&source, number)))?;
    let saved = Side::Backup { source, number };
    let matched = sides::matched(&saved, &live)?;
    notice(&display, &matched, filter.as_deref());
    let mut teller = Teller::new(&matched);
    compare::sides((&saved, &live), &matched, &mut |difference: Difference| each(teller.tell(&difference)?))?;
    Ok(())
}

/// Two sides compared, for a verdict.
pub struct Compared {
    pub matched: Matched,
    pub sums: Sums,
    pub counts: Counts,
    /// Why the filter of a backed-up table was not applied to the live one.
    pub filter: Option<String>,
}

/// Compares a member of a backup with a live table that is locked, under the active snapshot.
pub fn count(source: &Rc<Source>, number: usize, oid: pg_sys::Oid) -> Result<Compared> {
    let (live, filter) = live(oid, Some((source, number)))?;
    let saved = Side::Backup { source: Rc::clone(source), number };
    Ok(Compared { filter, ..counted(&saved, &live)? })
}

/// Compares two sides and counts.
pub fn counted(left: &Side, right: &Side) -> Result<Compared> {
    let matched = sides::matched(left, right)?;
    let (mut teller, mut counts) = (Teller::new(&matched), Counts::default());
    let sums =
        compare::sides((left, right), &matched, &mut |difference: Difference| counts.add(&difference, &mut teller))?;
    drop(teller);
    Ok(Compared { matched, sums, counts, filter: None })
}

/// Locks tables for reading; their names.
pub fn lock_tables(oids: &[pg_sys::Oid]) -> Result<Vec<String>> {
    let lock = |oid: &pg_sys::Oid| {
        let display = ident::name_of(*oid)?.display();
        lock::table_for_reading(*oid, &display)?;
        privilege::require_reader(*oid, &display)?;
        Ok(display)
    };
    oids.iter().map(lock).collect()
}

/// The one snapshot of a comparison, younger than the locks or checked to see the tables as they are.
pub fn snapshot_of(oids: &[pg_sys::Oid]) -> Result<Snapshot> {
    let snapshot = Snapshot::push()?;
    if snapshot::is_fixed() {
        catalog::refuse_rewritten(oids)?;
    }
    Ok(snapshot)
}

/// A locked table as a side, with the filter of a backup of it; why the filter is not applied, if there is one.
pub fn live(oid: pg_sys::Oid, backup: Option<(&Source, usize)>) -> Result<(Side, Option<String>)> {
    let table = Box::new(export::lock_and_describe(oid)?);
    let filter = match backup {
        None => Filter::None,
        Some((source, number)) => sides::filter(source, number, &table)?,
    };
    Ok(match filter {
        Filter::None => (Side::Table { table, selection: Selection::default() }, None),
        Filter::Applied(selection) => (Side::Table { table, selection }, None),
        Filter::Unknown(reason) => (Side::Table { table, selection: Selection::default() }, Some(reason)),
    })
}

fn notice(table: &str, matched: &Matched, filter: Option<&str>) {
    if let Some(reason) = filter {
        say::notice(&format!(
            "{table}: the backup's row filter is not applied to the live rows ({reason}): \
             rows that it left out show as extra"
        ));
    }
    if !matched.remarks.is_empty() {
        let remarks: Vec<String> = matched.remarks.iter().map(|remark| said(remark, "backup", "table")).collect();
        say::notice(&format!("{table}: {}", remarks.join("; ")));
    }
    if matched.key.is_empty() {
        say::notice(&format!("{table}: no primary key that both have: whole rows are compared"));
    }
}

/// A remark in words; `left` and `right` are what the sides are called.
pub fn said(remark: &Remark, left: &str, right: &str) -> String {
    let column = ident::quote(&remark.column);
    match (&remark.left, &remark.right, remark.why) {
        (Some(_), None, "on one side only") => format!("column {column} is only in the {left}"),
        (None, Some(_), "on one side only") => format!("column {column} is only in the {right}"),
        (Some(one), Some(other), "compared as text") => {
            format!("column {column} is {one} in the {left} and {other} in the {right}, compared as text")
        }
        (_, _, why) => format!("column {column} is not compared ({why})"),
    }
}

/// A table or a backup that a text names, for `verify_backup`.
pub enum Named {
    Table(pg_sys::Oid),
    Backup { source: Rc<Source>, table: Option<String> },
}

/// What `text` names: `latest` and listed backups first, so that no table can take their place, then tables, then files.
/// Errors: `UnknownTable` or `UnknownBackup` with near names.
pub fn named(text: &str, set: &str) -> Result<Named> {
    let head = text.rsplit_once(':').map_or(text, |(head, _)| head);
    let is_backup =
        head == source::LATEST || crate::journal::listed(None)?.iter().any(|listed| listed.backup_id == head);
    if !is_backup && let Some(oid) = ident::find(text)? {
        return Ok(Named::Table(oid));
    }
    match source::find_with_table(text, set)? {
        Some((source, table)) => Ok(Named::Backup { source: Rc::new(source), table }),
        None if text.contains([':', '/']) => Err(source::locate(head, set)
            .err()
            .unwrap_or_else(|| Error::UnknownBackup { backup: head.to_owned(), near: vec![] })),
        None => ident::resolve(text).map(Named::Table),
    }
}
