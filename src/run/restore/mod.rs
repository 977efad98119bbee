//! Rows back from a backup: plan → locks → safety backup → per table (checked chunks → staging → compared → in place) →
//! foreign keys, sequences, statistics, views. One transaction: all of it, or nothing.

pub mod after;
pub mod apply;
mod create;
pub mod fill;
mod live;
mod logged;
pub mod plan;
pub mod record;
pub mod trial;

use std::time::Instant;

use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::ident;
use crate::journal_archive;
use crate::journal_restores::{self, RestoreRecord};
use crate::run::safety::{self, Saved};
use crate::server::pin::Pinned;
use crate::server::snapshot::{self, Snapshot};
use crate::server::{failpoint, lock};
use crate::table::catalog::{self, Kind, Table};
use crate::table::stage::{Stage, Way};
use create::Creation;
use plan::{Item, Mode, Request, Status, Step};

/// What a restore would do; nothing is changed.
pub fn show(request: &Request) -> Result<Vec<Step>> {
    let items = plan::items(request)?;
    let creation = create_or_none(request, &items)?;
    let mut steps = Vec::new();
    if let Some(creation) = &creation {
        steps.push(step(None, "create", None, Status::Planned, format!("{} statements of the backup", creation.len())));
    }
    if needs_safety(request, &items) {
        let details = "the rows that are there now, so that undo_restore can put them back".to_owned();
        steps.push(step(None, "safety backup", None, Status::Planned, details));
    }
    for item in &items {
        steps.extend(shown(request, item));
    }
    let blocked = steps.iter().any(|step| step.status == Status::Blocked);
    let details = if blocked { "nothing would be done" } else { "nothing was changed; confirm => true does it" };
    steps.push(step(None, "plan", None, Status::Planned, details.to_owned()));
    Ok(steps)
}

fn create_or_none<'a>(request: &Request<'a>, items: &[Item]) -> Result<Option<Creation<'a>>> {
    if request.create_missing { Creation::plan(request.source, items) } else { Ok(None) }
}

/// Only what would be overwritten needs to be saved.
fn needs_safety(request: &Request, items: &[Item]) -> bool {
    request.safety_backup && request.mode != Mode::MissingOnly && items.iter().any(|item| item.live_rows > 0)
}

fn shown(request: &Request, item: &Item) -> Vec<Step> {
    let table = Some(item.target.display());
    let rows = request.source.csv(item.number).ok().map(|entry| entry.rows.cast_signed());
    let mut steps: Vec<Step> = Vec::new();
    let of = |status, details| step(table.clone(), request.mode.name(), rows, status, details);
    match &item.blocked {
        Some(reason) => steps.push(of(Status::Blocked, reason.clone())),
        None => steps.push(of(Status::Planned, what_happens(request, item))),
    }
    for warning in &item.warnings {
        steps.push(step(table.clone(), "risk", None, Status::Warning, warning.clone()));
    }
    steps
}

fn what_happens(request: &Request, item: &Item) -> String {
    let live = item.live_rows;
    match (&item.live, request.mode) {
        (None, _) => "the table is made and gets the rows of the backup".into(),
        (Some(table), _) if table.kind == Kind::MaterializedView => "it is refreshed from its tables".into(),
        (_, Mode::Replace) if let Some(meant) = item.meant_rows => {
            format!(
                "of {live} rows that are there, {meant} give way to those of the backup that the where clause names"
            )
        }
        (_, Mode::Replace) => format!("{live} rows that are there give way to the rows of the backup"),
        (_, Mode::Merge) => {
            format!("rows of the backup are added to the {live} that are there, or overwrite them by key")
        }
        (_, Mode::MissingOnly) => format!("rows whose key is not among the {live} that are there are added"),
    }
}

/// Does it; what was done. Errors: `RestoreBlocked` with the first reason, `Damaged`, `Mismatch`, `ForeignKey`; then nothing is changed.
pub fn run(request: &Request, undoes: Option<i64>) -> Result<Vec<Step>> {
    snapshot::require_writable()?;
    if snapshot::is_fixed() {
        return Err(Error::FixedSnapshot);
    }
    let begun = Instant::now();
    let plans = Pinned::nothing();
    // The catalogue queries are wide and return little: compiling them would take many times their run.
    plans.set("jit", "off")?;
    // Without a look at their rows, which would take a lock that then has to grow: two restores would wait for each other.
    lock_tables(request, &plan::items(&Request { count_rows: false, ..*request })?)?;
    // While we waited the tables may have changed: what counts is what they are under their locks.
    let _snapshot = Snapshot::push()?;
    let mut items = plan::items(request)?;
    if let Some(item) = items.iter().find(|item| item.blocked.is_some()) {
        let reason = item.blocked.clone().unwrap_or_default();
        return Err(Error::RestoreBlocked { table: item.target.display(), reason });
    }
    // What is there, and yet no table, is the extension's own view.
    for item in items.iter().filter(|item| item.live.is_none() && ident::oid_of(&item.target).is_some()) {
        journal_archive::give_way(&item.target)?;
    }
    let creation = create_or_none(request, &items)?;
    let mut steps = Vec::new();
    let safety = if needs_safety(request, &items) { Some(save(&items, &mut steps)?) } else { None };
    let _formats = Pinned::formats()?;
    failpoint::reach("restore")?;
    if let Some(creation) = &creation {
        creation.before_data()?;
        describe_created(&mut items)?;
    }
    for item in &items {
        steps.extend(restore_table(request, item)?);
    }
    steps.extend(finish(request, &items, creation.as_ref())?);
    let saved = safety.as_ref().map(|safety| safety.backup_id.clone());
    let record = record(request, &items, saved, undoes, begun);
    let restore_id = journal_restores::record(&record)?;
    // Last, since what moves a sequence is not taken back by an error.
    for table in items.iter().filter_map(|item| item.live.as_ref()) {
        steps.extend(after::advance_sequences(table)?);
    }
    let undo = if record.safety_backup_id.is_some() {
        format!("undo it with agent_backup.undo_restore({restore_id}, confirm => true)")
    } else if request.mode != Mode::MissingOnly && items.iter().any(|item| item.live_rows > 0) {
        "no safety backup was asked for, so it cannot be undone".to_owned()
    } else {
        "nothing was overwritten".to_owned()
    };
    let details = format!("restore {restore_id} took {:.1} s; {undo}", begun.elapsed().as_secs_f64());
    steps.push(step(None, "restored", Some(record.row_count), Status::Done, details));
    safety.map(Saved::keep);
    Ok(steps)
}

/// Locks the tables, and those that a foreign key ties to them, in one order for all restores.
fn lock_tables(request: &Request, items: &[Item]) -> Result<()> {
    let live: Vec<&Table> = items.iter().filter_map(|item| item.live.as_ref()).collect();
    let oids: Vec<pg_sys::Oid> = live.iter().map(|table| table.oid).collect();
    let mut wanted: Vec<(pg_sys::Oid, u32)> = Vec::new();
    for item in items {
        let strongest = if item.way == Way::Swap { pg_sys::AccessExclusiveLock } else { pg_sys::ShareRowExclusiveLock };
        let view = item.live.as_ref().is_some_and(|table| table.kind == Kind::MaterializedView);
        wanted.extend(item.live.iter().filter(|_| !view).map(|table| (table.oid, strongest)));
    }
    for key in after::foreign_keys(&oids)? {
        wanted.extend([key.child, key.parent].map(|oid| (oid, pg_sys::ShareRowExclusiveLock)));
    }
    // Strongest first for each table: a lock that grows later can deadlock.
    wanted.sort_by_key(|(oid, mode)| (oid.to_u32(), std::cmp::Reverse(*mode)));
    wanted.dedup_by_key(|(oid, _)| *oid);
    for (oid, mode) in wanted {
        lock::table(oid, mode, &ident::name_of(oid)?.display())?;
    }
    for item in items.iter().filter(|item| item.live.is_some()) {
        if ident::oid_of(&item.target) != item.live.as_ref().map(|table| table.oid) {
            return Err(Error::Replaced { table: item.target.display() });
        }
    }
    apply_checks(request, items)
}

fn apply_checks(request: &Request, items: &[Item]) -> Result<()> {
    items.iter().try_for_each(|item| apply::require_consistent(request, item))
}

/// Saves what is about to be overwritten.
fn save(items: &[Item], steps: &mut Vec<Step>) -> Result<Saved> {
    // Empty ones too: to undo the restore is to empty them again.
    let is_table = |item: &&Item| item.live.as_ref().is_some_and(|table| table.kind != Kind::MaterializedView);
    let tables: Vec<_> = items.iter().filter(is_table).map(|item| item.target.clone()).collect();
    let saved = safety::safety(&tables)?;
    let details = format!("backup {} in set {}", saved.backup_id, safety::SAFETY_SET);
    steps.push(step(None, "safety backup", Some(saved.rows), Status::Done, details));
    Ok(saved)
}

/// The tables that were just made are described, so that they can be filled.
fn describe_created(items: &mut [Item]) -> Result<()> {
    for item in items.iter_mut().filter(|item| item.live.is_none()) {
        let missing = || Error::Internal {
            object: "backup",
            reason: format!("its statements do not make \"{}\"", item.target.display()),
        };
        let oid = ident::oid_of(&item.target).ok_or_else(missing)?;
        item.live = Some(catalog::describe(&[oid])?.pop().ok_or_else(missing)??);
        item.is_new = true;
    }
    Ok(())
}

/// One table: staged, checked, put in place.
pub fn restore_table(request: &Request, item: &Item) -> Result<Vec<Step>> {
    let Some(live) = &item.live else { return Ok(Vec::new()) };
    let table = Some(item.target.display());
    if live.kind == Kind::MaterializedView {
        return Ok(Vec::new());
    }
    let (filled, changed) = if item.is_new {
        let filled = fill::fill(request.source, item.number, live, &item.mapping)?;
        let inserted = filled.rows;
        (filled, apply::Changed { inserted, ..apply::Changed::default() })
    } else {
        let stage = Stage::create(live, item.way)?;
        let filled = fill::fill(request.source, item.number, &stage.table, &item.mapping)?;
        failpoint::reach("staged")?;
        let changed = apply::apply(request, item, live, stage, filled.rows)?;
        (filled, changed)
    };
    failpoint::reach("applied")?;
    let proved = if filled.is_proved && filled.left_out > 0 {
        "row digest equals the manifest's without the rows of erased persons"
    } else if filled.is_proved {
        "row digest equals the manifest's"
    } else {
        "rows counted; the digest cannot be compared, since columns differ"
    };
    let counts =
        format!("{} inserted, {} updated, {} deleted; {proved}", changed.inserted, changed.updated, changed.deleted);
    let counts = match filled.left_out {
        0 => counts,
        rows => format!("{counts}; {rows} rows of erased persons were left out"),
    };
    let mut steps =
        vec![step(table.clone(), request.mode.name(), Some(filled.rows.cast_signed()), Status::Done, counts)];
    steps.extend(item.warnings.iter().map(|text| step(table.clone(), "risk", None, Status::Warning, text.clone())));
    Ok(steps)
}

fn finish(request: &Request, items: &[Item], creation: Option<&Creation>) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let tables: Vec<(&Item, &Table)> = items.iter().filter_map(|item| Some((item, item.live.as_ref()?))).collect();
    let loaded = || tables.iter().filter(|(_, table)| table.kind != Kind::MaterializedView);
    // Keys of tables that were made are made, and so checked, by the server.
    if let Some(creation) = creation {
        steps.extend(creation.after_data()?);
    }
    for (_, table) in loaded() {
        steps.extend(after::analyze(&table.name));
    }
    // After the statistics, without which the checks could be planned as if the tables were empty.
    let here: Vec<pg_sys::Oid> = loaded().filter(|(item, _)| !item.is_new).map(|(_, table)| table.oid).collect();
    steps.extend(after::check_foreign_keys(&after::foreign_keys(&here)?)?);
    let oids: Vec<pg_sys::Oid> = tables.iter().map(|(_, table)| table.oid).collect();
    steps.extend(after::refresh_views(&oids)?);
    let kept: Vec<&Table> = loaded().filter(|(item, _)| !item.is_new).map(|(_, table)| *table).collect();
    steps.extend(after::compare_definitions(request.source, &kept)?);
    Ok(steps)
}

fn record(
    request: &Request,
    items: &[Item],
    safety: Option<String>,
    undoes: Option<i64>,
    begun: Instant,
) -> RestoreRecord {
    let rows =
        items.iter().filter_map(|item| request.source.csv(item.number).ok()).map(|entry| entry.rows).sum::<u64>();
    RestoreRecord {
        backup_id: Some(request.source.id().to_owned()),
        set_name: Some(request.source.manifest().set_name.clone()),
        mode: request.mode.name(),
        tables: items.iter().map(|item| item.target.display()).collect(),
        where_clause: request.where_clause.map(str::to_owned),
        row_count: rows.cast_signed(),
        took: begun.elapsed(),
        safety_backup_id: safety,
        undoes,
    }
}

fn step(table: Option<String>, action: &'static str, rows: Option<i64>, status: Status, details: String) -> Step {
    Step { table, action, rows, status, details }
}
