//! Changes taken back: of each key that they changed the row before them comes into the place of the row after. A row that is
//! not as they left it is a conflict, told and left alone.

use std::collections::HashMap;
use std::rc::Rc;

use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::ident;
use crate::journal;
use crate::journal_history::{Image, Selection, Shape};
use crate::run::capture::net;
use crate::run::restore::apply::Rows;
use crate::run::restore::fill;
use crate::run::restore::plan::{self, Mapping};
use crate::server::pin::Pinned;
use crate::server::snapshot::Snapshot;
use crate::server::statement::Statement;
use crate::server::subtransaction::{self, Failure};
use crate::server::{lock, privilege, sql};
use crate::table::catalog::{Kind, Table};
use crate::table::stage::{Stage, Way};

/// Keys of conflicts that are told.
const SHOWN: usize = 20;

/// Bytes of images that are staged at once.
const PENDING_BYTES: usize = 1 << 20;

/// What taking changes back means for one table, or meant.
#[derive(Debug, Default)]
pub struct Outcome {
    pub table: String,
    /// Rows that come back, go, and change back.
    pub restored: u64,
    pub removed: u64,
    pub reverted: u64,
    pub conflicts: u64,
    /// Keys of the first of them.
    pub keys: Vec<String>,
}

/// Whether it is only looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    Plan,
    Apply,
}

/// Which rows are to be there in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Those before the changes.
    Back,
    /// Those after them.
    Forward,
}

/// Locks a table for this; what it is. Errors: the caller must be its owner.
pub fn lock(oid: pg_sys::Oid, doing: Doing) -> Result<Table> {
    let display = ident::name_of(oid)?.display();
    let mode = if doing == Doing::Apply { pg_sys::ShareRowExclusiveLock } else { pg_sys::AccessShareLock };
    lock::table(oid, mode, &display)?;
    let live = plan::described(oid)?;
    privilege::require_owner(live.owner, &display)?;
    Ok(live)
}

/// Takes the selected changes of a locked table back, or makes them again. Foreign keys are the caller's to check.
pub fn table(live: &Table, selection: Selection, direction: Direction, doing: Doing) -> Result<Outcome> {
    let _formats = Pinned::formats()?;
    let _snapshot = Snapshot::push()?;
    let (mut before, mut after) = (Staging::new(live)?, Staging::new(live)?);
    let mut broken = Vec::new();
    net::of(live, selection, |change| {
        if change.is_broken {
            broken.push(String::from_utf8_lossy(&change.key.unwrap_or_default()).into_owned());
            return Ok(());
        }
        let (wanted, expected) = match direction {
            Direction::Back => (change.before, change.after),
            Direction::Forward => (change.after, change.before),
        };
        if let Some(image) = wanted {
            before.put(image)?;
        }
        expected.map_or(Ok(()), |image| after.put(image))
    })?;
    let pair = Pair { live, before: before.finish()?, after: after.finish()? };
    let mut outcome = if live.primary_key.is_empty() { pair.without_key(doing)? } else { pair.by_key(doing)? };
    outcome.conflicts += broken.len() as u64;
    let room = SHOWN.saturating_sub(outcome.keys.len());
    outcome.keys.extend(broken.into_iter().take(room));
    pair.before.finish()?;
    pair.after.finish()?;
    Ok(outcome)
}

/// A staging table that is filled with images of any shapes.
struct Staging<'a> {
    live: &'a Table,
    stage: Stage,
    pending: HashMap<i64, (Rc<Shape>, Vec<u8>)>,
}

impl<'a> Staging<'a> {
    fn new(live: &'a Table) -> Result<Self> {
        Ok(Staging { live, stage: Stage::create(live, Way::Rows)?, pending: HashMap::new() })
    }

    fn put(&mut self, image: Image) -> Result<()> {
        let (shape, rows) = self.pending.entry(image.shape.id).or_insert_with(|| (Rc::clone(&image.shape), Vec::new()));
        rows.extend_from_slice(&image.row);
        rows.push(b'\n');
        if rows.len() < PENDING_BYTES {
            return Ok(());
        }
        let rows = std::mem::take(rows);
        fill::fill_images(&self.stage.table, &self.live.name.display(), &shape.columns, &rows)
    }

    fn finish(self) -> Result<Stage> {
        for (shape, rows) in self.pending.values().filter(|(_, rows)| !rows.is_empty()) {
            fill::fill_images(&self.stage.table, &self.live.name.display(), &shape.columns, rows)?;
        }
        Ok(self.stage)
    }
}

/// A table, the rows that are to be there, and those that are expected in their place.
struct Pair<'a> {
    live: &'a Table,
    before: Stage,
    after: Stage,
}

impl Pair<'_> {
    fn read(&self, text: &str) -> Result<Vec<Vec<Option<String>>>> {
        Statement::reading(text, self.rights(), self.live.owner).rows()
    }

    fn count(&self, text: &str) -> Result<u64> {
        let rows = self.read(&format!("SELECT pg_catalog.count(*) FROM ({text}) AS counted"))?;
        let first = rows.into_iter().next().and_then(|row| row.into_iter().next().flatten());
        first.and_then(|count| count.parse().ok()).ok_or(unexpected("a count is no number"))
    }

    fn run(&self, text: &str) -> Result<u64> {
        Statement::reading(text, self.rights(), self.live.owner).execute()
    }

    fn rights(&self) -> pg_sys::Oid {
        // SAFETY: reads this backend's state.
        unsafe { pg_sys::GetUserId() }
    }

    fn live_name(&self) -> String {
        let only = if self.live.kind == Kind::Table { "ONLY " } else { "" };
        format!("{only}{}", self.live.name.qualified())
    }

    fn outcome(&self) -> Outcome {
        Outcome { table: self.live.name.display(), ..Outcome::default() }
    }

    /// Columns that have a value of their own.
    fn columns(&self) -> Vec<String> {
        let own = self.live.columns.iter().filter(|column| !column.generated);
        own.map(|column| column.name.clone()).collect()
    }

    fn by_key(&self, doing: Doing) -> Result<Outcome> {
        let keys = Keys::of(self.live)?;
        let (live, before, after) = (self.live_name(), self.before.name.qualified(), self.after.name.qualified());
        let differs = keys.differ("l", "a", &self.columns());
        let (of_after, of_before, both) = (keys.same("l", "a"), keys.same("l", "b"), keys.same("b", "a"));
        let not_as_left = format!(
            "SELECT {} FROM {after} AS a LEFT JOIN {live} AS l ON {of_after} WHERE {} OR {differs}",
            keys.shown("a"),
            keys.is_missing("l"),
        );
        let in_the_way = format!(
            "SELECT {} FROM {before} AS b JOIN {live} AS l ON {of_before} WHERE NOT EXISTS (SELECT FROM {after} AS a WHERE {both})",
            keys.shown("b"),
        );
        let mut outcome = self.outcome();
        self.conflicts(&mut outcome, &format!("{not_as_left} UNION {in_the_way}"))?;
        if outcome.conflicts > 0 {
            // What is in conflict is left out of both.
            self.run(&format!(
                "DELETE FROM {before} AS b WHERE EXISTS (SELECT FROM {after} AS a LEFT JOIN {live} AS l ON {of_after} \
                     WHERE {both} AND ({} OR {differs})) \
                 OR (EXISTS (SELECT FROM {live} AS l WHERE {of_before}) AND NOT EXISTS (SELECT FROM {after} AS a WHERE {both}))",
                keys.is_missing("l"),
            ))?;
            let unchanged = format!("SELECT FROM {live} AS l WHERE {of_after} AND NOT ({differs})");
            self.run(&format!("DELETE FROM {after} AS a WHERE NOT EXISTS ({unchanged})"))?;
        }
        let gone = format!("NOT EXISTS (SELECT FROM {before} AS b WHERE {both})");
        if doing == Doing::Plan {
            let all = self.count(&format!("SELECT FROM {before}"))?;
            outcome.removed = self.count(&format!("SELECT FROM {after} AS a WHERE {gone}"))?;
            outcome.reverted = self.count(&format!("SELECT FROM {after} AS a WHERE NOT ({gone})"))?;
            outcome.restored = all - outcome.reverted.min(all);
            return Ok(outcome);
        }
        let mapping = Mapping::same(self.columns());
        let rows = Rows::new(self.live, &self.before, &mapping, None)?;
        let gone = format!("DELETE FROM {live} AS l USING {after} AS a WHERE {of_after} AND {gone}");
        let in_place = || -> Result<(u64, u64, u64)> {
            let removed = rows.execute(&gone)?;
            let overwritten = rows.overwrite()?;
            let inserted = rows.execute(&rows.insert(&rows.is_absent()))?;
            Ok((
                removed,
                overwritten,
                if rows.updates_in_place() { inserted } else { inserted.saturating_sub(overwritten) },
            ))
        };
        (outcome.removed, outcome.reverted, outcome.restored) = match subtransaction::attempt(in_place) {
            Ok(counts) => counts,
            Err(failure) if is_taken(&failure) => {
                // Values that changed places meet each other on the way: all go, and then all come.
                let all = rows.execute(&format!("DELETE FROM {live} AS l USING {after} AS a WHERE {of_after}"))?;
                let inserted = rows.execute(&rows.insert("true"))?;
                let reverted = self.count(&format!("SELECT FROM {before} AS b JOIN {after} AS a ON {both}"))?;
                (all - reverted.min(all), reverted, inserted - reverted.min(inserted))
            }
            Err(Failure { error: Some(error), .. }) => return Err(error),
            // Once more, for the server's own error.
            Err(_) => in_place()?,
        };
        rows.silence.end()?;
        Ok(outcome)
    }

    fn conflicts(&self, outcome: &mut Outcome, query: &str) -> Result<()> {
        outcome.conflicts = self.count(query)?;
        if outcome.conflicts > 0 {
            let some = self.read(&format!("{query} ORDER BY 1 LIMIT {SHOWN}"))?;
            outcome.keys = some.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect();
        }
        Ok(())
    }

    /// Rows are told apart by the texts of all their values; of equal ones any will do.
    fn without_key(&self, doing: Doing) -> Result<Outcome> {
        let (live, before, after) = (self.live_name(), self.before.name.qualified(), self.after.name.qualified());
        let columns: Vec<String> = self.columns().iter().map(|column| ident::quote(column)).collect();
        let text = |of: &str| {
            let values: Vec<String> = columns.iter().map(|column| format!("{of}.{column}")).collect();
            format!("ROW({})::pg_catalog.text COLLATE pg_catalog.\"C\"", values.join(", "))
        };
        let expected = format!("SELECT {} AS t, pg_catalog.count(*) AS m FROM {after} AS a GROUP BY 1", text("a"));
        let found = format!(
            "SELECT n.place, n.own FROM (SELECT l.ctid AS place, l.tableoid AS own, {0} AS t, \
                 pg_catalog.row_number() OVER (PARTITION BY {0}) AS n FROM {live} AS l WHERE {0} IN (SELECT {1} FROM {after} AS a)) AS n \
             JOIN ({expected}) AS e ON e.t = n.t AND n.n <= e.m",
            text("l"),
            text("a"),
        );
        let mut outcome = self.outcome();
        let all = self.count(&format!("SELECT FROM {after}"))?;
        outcome.conflicts = all - self.count(&found)?.min(all);
        outcome.restored = self.count(&format!("SELECT FROM {before}"))?;
        outcome.removed = all - outcome.conflicts;
        if doing == Doing::Plan {
            return Ok(outcome);
        }
        let mapping = Mapping::same(self.columns());
        let rows = Rows::new(self.live, &self.before, &mapping, None)?;
        outcome.removed = rows.execute(&format!("DELETE FROM {live} AS l WHERE (l.ctid, l.tableoid) IN ({found})"))?;
        outcome.restored = rows.execute(&rows.insert("true"))?;
        rows.silence.end()?;
        Ok(outcome)
    }
}

/// Whether a value is there already that may be there once only.
fn is_taken(failure: &Failure) -> bool {
    use pgrx::PgSqlErrorCode::{ERRCODE_EXCLUSION_VIOLATION, ERRCODE_UNIQUE_VIOLATION};
    [ERRCODE_EXCLUSION_VIOLATION, ERRCODE_UNIQUE_VIOLATION].contains(&failure.code)
}

/// The columns of a primary key, quoted, with their operators.
struct Keys(Vec<(String, String)>);

impl Keys {
    fn of(live: &Table) -> Result<Self> {
        let query = include_str!("../../../sql/query/primary_key.sql");
        let row = |row: &sql::Row| Ok((ident::quote(&row.required::<String>(1)?), row.required::<String>(2)?));
        let keys = journal::as_owner(|| sql::rows(query, &[live.oid.into()], row))?;
        if keys.is_empty() { Err(unexpected("it has no key")) } else { Ok(Keys(keys)) }
    }

    fn same(&self, one: &str, other: &str) -> String {
        let each = self.0.iter().map(|(column, equal)| format!("{one}.{column} {equal} {other}.{column}"));
        each.collect::<Vec<_>>().join(" AND ")
    }

    fn is_missing(&self, of: &str) -> String {
        self.0.first().map_or_else(String::new, |(column, _)| format!("{of}.{column} IS NULL"))
    }

    fn shown(&self, of: &str) -> String {
        let each: Vec<String> = self.0.iter().map(|(column, _)| format!("{of}.{column}")).collect();
        format!("pg_catalog.concat_ws(', ', {})", each.join(", "))
    }

    /// By the texts of the values: not every type can be compared.
    fn differ(&self, one: &str, other: &str, columns: &[String]) -> String {
        let each = columns.iter().map(|column| {
            let (one, other) = (format!("{one}.{}", ident::quote(column)), format!("{other}.{}", ident::quote(column)));
            let text = |value: &str| format!("pg_catalog.format('%s', {value}) COLLATE pg_catalog.\"C\"");
            format!(
                "pg_catalog.num_nulls({one}) <> pg_catalog.num_nulls({other}) OR {} <> {}",
                text(&one),
                text(&other)
            )
        });
        format!("({})", each.collect::<Vec<_>>().join(" OR "))
    }
}

fn unexpected(reason: &str) -> Error {
    Error::Internal { object: "undo", reason: reason.to_owned() }
}
