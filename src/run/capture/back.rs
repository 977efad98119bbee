//! Tables brought back: to a moment, or to what they were before some changes since a mark.

use std::time::Instant;

use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::ident::{self, TableName};
use crate::journal_history::{self, BackupOf};
use crate::journal_restores::{self, RestoreRecord};
use crate::journal_tracking::{self, Tracking};
use crate::run::capture::moment::{self, Moment};
use crate::run::capture::undo::{self, Direction, Doing, Outcome};
use crate::run::restore::plan::{self, Mode, Request, Step, Tables};
use crate::run::restore::{self, after};
use crate::run::source::{self, Source};
use crate::server::pin::Pinned;
use crate::server::{failpoint, snapshot, sql};
use crate::table::catalog::Table;

/// Whose changes are taken back; all where nothing is named.
#[derive(Debug, Default)]
pub struct Whose<'a> {
    pub application: Option<&'a str>,
    pub session_user: Option<&'a str>,
    pub transaction: Option<&'a str>,
}

/// What became of the tables, or would.
pub struct Report {
    pub outcomes: Vec<Outcome>,
    /// What was checked and refreshed then.
    pub steps: Vec<Step>,
    /// How it is known what had committed.
    pub order: &'static str,
}

/// Brings one table back to a moment; one that is gone is made and filled from a backup first.
pub fn table_as_of(table: &str, moment: &Moment, doing: Doing) -> Result<Report> {
    let Some(oid) = ident::find(table)? else { return forward(table, moment, doing) };
    run(&[oid], moment, "as_of", &Whose::default(), doing)
}

/// Brings the rows that a table had at a moment into another one, which is made like it or is empty.
pub fn into_table(table: &str, target: &str, moment: &Moment, doing: Doing) -> Result<Report> {
    snapshot::require_writable()?;
    let relation = ident::resolve(table)?;
    let source = ident::name_of(relation)?;
    let described = plan::described(relation)?;
    moment::covered(&source.display(), Some(relation), moment)?;
    let (as_of, mark) = match moment {
        Moment::Time(time) => (Some(*time), None),
        Moment::Mark { name, .. } => (None, Some(name.as_str())),
    };
    let rows = format!("agent_backup.read_as_of(NULL::{}, $1, $2)", source.qualified());
    let found = match ident::find(target)? {
        Some(oid) if oid == relation => return table_as_of(table, moment, doing),
        Some(oid) => Some(ident::name_of(oid)?.qualified()),
        None => None,
    };
    let mut outcome = Outcome { table: target.to_owned(), ..Outcome::default() };
    if doing == Doing::Plan {
        let count = format!("SELECT pg_catalog.count(*) FROM {rows}");
        let counted = sql::rows(&count, &[as_of.into(), mark.into()], |row| row.required::<i64>(1))?;
        outcome.restored = counted.first().copied().unwrap_or(0).unsigned_abs();
        return Ok(Report { outcomes: vec![outcome], steps: Vec::new(), order: moment.order()? });
    }
    let name = match found {
        Some(name) => {
            let any = format!("SELECT EXISTS (SELECT FROM {name})");
            if sql::rows(&any, &[], |row| row.required::<bool>(1))? == [true] {
                let reason = format!("\"{target}\" has rows; name an empty table, or one that is not there yet");
                return Err(Error::InvalidOption { option: "target", reason });
            }
            name
        }
        None => make_like(target, &source)?,
    };
    let own = described.columns.iter().filter(|column| !column.generated);
    let columns: Vec<String> = own.map(|column| ident::quote(&column.name)).collect();
    let columns = columns.join(", ");
    let insert = format!("INSERT INTO {name} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {rows}");
    outcome.restored = sql::execute(&insert, &[as_of.into(), mark.into()])? as u64;
    Ok(Report { outcomes: vec![outcome], steps: Vec::new(), order: moment.order()? })
}

/// Makes a table of the caller's like another one; its name as SQL takes it.
fn make_like(target: &str, source: &TableName) -> Result<String> {
    let name = match target.split_once('.') {
        Some((schema, name)) => TableName { schema: schema.to_owned(), name: name.to_owned() },
        None => TableName { schema: source.schema.clone(), name: target.to_owned() },
    }
    .qualified();
    sql::execute(&format!("CREATE TABLE {name} (LIKE {} INCLUDING ALL)", source.qualified()), &[])?;
    Ok(name)
}

/// Takes changes since a mark back, of the tables named or of all that are tracked.
pub fn undo(mark: &str, tables: Option<&[String]>, whose: &Whose, doing: Doing) -> Result<Report> {
    let moment = Moment::marked(mark)?;
    let oids = match tables {
        Some([]) => {
            let reason = "it is empty; null means all tracked tables".to_owned();
            return Err(Error::InvalidOption { option: "tables", reason });
        }
        Some(tables) => tables.iter().map(|table| ident::resolve(table)).collect::<Result<Vec<_>>>()?,
        None => journal_tracking::tracked_relations()?,
    };
    run(&oids, &moment, "undo", whose, doing)
}

fn run(oids: &[pg_sys::Oid], moment: &Moment, mode: &'static str, whose: &Whose, doing: Doing) -> Result<Report> {
    let begun = Instant::now();
    snapshot::require_writable()?;
    if snapshot::is_fixed() {
        return Err(Error::FixedSnapshot);
    }
    let plans = Pinned::nothing();
    plans.set("jit", "off")?;
    let mut oids = oids.to_vec();
    // In one order for all, and each once.
    oids.sort_by_key(|oid| oid.to_u32());
    oids.dedup();
    let tables = oids.iter().map(|oid| undo::lock(*oid, doing)).collect::<Result<Vec<Table>>>()?;
    let condition = condition(whose)?;
    let mut outcomes = Vec::new();
    for table in &tables {
        let tracking = moment::covered(&table.name.display(), Some(table.oid), moment)?;
        let mut later = moment.later(tracking.id)?;
        if let Some(condition) = &condition {
            later = later.and(condition);
        }
        outcomes.push(undo::table(table, later.selection(), Direction::Back, doing)?);
        failpoint::reach("undone")?;
    }
    if doing == Doing::Plan {
        return Ok(Report { outcomes, steps: Vec::new(), order: moment.order()? });
    }
    let steps = finish(&oids)?;
    let changed: u64 = outcomes.iter().map(|outcome| outcome.restored + outcome.removed + outcome.reverted).sum();
    if changed > 0 {
        journal_restores::record(&RestoreRecord {
            backup_id: None,
            set_name: None,
            mode,
            tables: outcomes.iter().map(|outcome| outcome.table.clone()).collect(),
            where_clause: Some(moment.shown()?),
            row_count: changed.cast_signed(),
            took: begun.elapsed(),
            safety_backup_id: None,
            undoes: None,
        })?;
    }
    Ok(Report { outcomes, steps, order: moment.order()? })
}

/// A table that is gone: restored from the newest backup before the moment, and then the changes from there to the moment.
fn forward(table: &str, moment: &Moment, doing: Doing) -> Result<Report> {
    snapshot::require_writable()?;
    if snapshot::is_fixed() {
        return Err(Error::FixedSnapshot);
    }
    let (tracking, source) = base(table, moment)?;
    let mut outcome = Outcome { table: table.to_owned(), ..Outcome::default() };
    let request = Request {
        source: &source,
        tables: Tables::One { table, target: None },
        mode: Mode::Replace,
        where_clause: None,
        create_missing: true,
        safety_backup: false,
        allow_drift: false,
        count_rows: false,
        told_by: &[],
        is_drill: false,
    };
    let mut steps = if doing == Doing::Plan { restore::show(&request)? } else { restore::run(&request, None)? };
    if doing == Doing::Apply {
        let oid = ident::resolve(table)?;
        let live = undo::lock(oid, doing)?;
        let mut since = moment.later(tracking.id)?;
        let seen = ident::literal(&source.manifest().snapshot);
        since.condition = format!(
            "NOT ({}) AND NOT pg_catalog.pg_visible_in_snapshot(l.xid, {seen}::pg_catalog.pg_snapshot)",
            since.condition
        );
        outcome = undo::table(&live, since.selection(), Direction::Forward, doing)?;
        if outcome.conflicts > 0 {
            let reason = format!("{} of its rows are not as the log says", outcome.conflicts);
            return Err(not_covered(table, reason));
        }
        steps.extend(finish(&[oid])?);
    }
    Ok(Report { outcomes: vec![outcome], steps, order: moment.order()? })
}

/// The tracking of a table that is gone, and the newest backup before the moment that its log reaches on from.
fn base(table: &str, moment: &Moment) -> Result<(Tracking, Source)> {
    let trackings = journal_tracking::trackings(None, table)?;
    let Some(tracking) = trackings.into_iter().find(|tracking| tracking.is_here && tracking.since <= moment.at())
    else {
        return Err(Error::UnknownTable { name: table.to_owned(), near: Vec::new() });
    };
    let gaps = journal_history::gaps(tracking.id)?;
    let (schema, name) = table.split_once('.').map_or((None, table), |(schema, name)| (Some(schema), name));
    let backups = journal_history::backups_of(schema, name)?;
    let is_base = |backup: &&BackupOf| {
        // The baseline is made in the transaction that began the tracking, a moment later.
        let reaches = backup.started_at >= tracking.since || tracking.backup_id.as_ref() == Some(&backup.id);
        let gap = gaps.iter().any(|(at, _)| *at >= backup.started_at && *at <= moment.at());
        reaches && backup.started_at <= moment.at() && !gap
    };
    let Some(backup) = backups.iter().rev().find(is_base) else {
        return Err(not_covered(
            table,
            "no backup since tracking began is older, or changes are missing after it".into(),
        ));
    };
    Ok((tracking.clone(), source::find(&backup.id, &backup.set_name)?))
}

fn not_covered(table: &str, reason: String) -> Error {
    let hint = format!("See agent_backup.recovery_points({}).", ident::literal(table));
    Error::NotCovered { table: table.to_owned(), reason, hint }
}

fn finish(oids: &[pg_sys::Oid]) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    steps.extend(after::check_foreign_keys(&after::foreign_keys(oids)?)?);
    steps.extend(after::refresh_views(oids)?);
    Ok(steps)
}

/// SQL over the entry `l`.
fn condition(whose: &Whose) -> Result<Option<String>> {
    let mut all = Vec::new();
    if let Some(application) = whose.application {
        all.push(format!("l.application_name = {}", ident::literal(application)));
    }
    if let Some(user) = whose.session_user {
        all.push(format!("l.session_user_name = {}", ident::literal(user)));
    }
    if let Some(transaction) = whose.transaction {
        let number: u64 = transaction.parse().map_err(|_| Error::InvalidOption {
            option: "transaction",
            reason: format!("\"{transaction}\" is no number of a transaction, as record_history shows it"),
        })?;
        all.push(format!("l.xid = '{number}'::pg_catalog.xid8"));
    }
    Ok((!all.is_empty()).then(|| all.join(" AND ")))
}
