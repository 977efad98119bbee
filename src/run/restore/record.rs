//! One record back: found in the newest backup that has it, written at once where it is absent. Its parents must be there,
//! or come with it.

use std::collections::HashSet;
use std::time::Instant;

use pgrx::datum::TimestampWithTimeZone;

use crate::error::{Error, Result};
use crate::ident::{self, TableName};
use crate::journal;
use crate::journal_restores::{self, RestoreRecord};
use crate::run::restore::after::{self, ForeignKey};
use crate::run::restore::apply::Rows;
use crate::run::restore::fill;
use crate::run::restore::logged;
use crate::run::restore::plan::{self, Item, Mode, Request, Tables};
use crate::run::source::{self, Location, Source};
use crate::server::pin::Pinned;
use crate::server::snapshot::{self, Snapshot};
use crate::server::statement::Statement;
use crate::server::{lock, sql};
use crate::table::catalog::Table;
use crate::table::stage::{Stage, Way};
use crate::table::{triggers, value};

/// What to do with a record that is there, and with parents that are not.
#[derive(Debug, Clone, Copy)]
pub struct Choices {
    pub overwrite: bool,
    pub with_parents: bool,
}

/// What became of one record.
pub struct Outcome {
    pub table: String,
    /// Column and text, in the order of the key.
    pub key: Vec<(String, String)>,
    /// `restored`, `overwritten`, `exists` (and differs), `unchanged`.
    pub status: &'static str,
    /// None where it came from the log of changes.
    pub backup_id: Option<String>,
    pub details: String,
}

/// Gives the columns and values of a key, of the table that it is of.
pub type Key<'a> = dyn Fn(&Table) -> Result<Vec<(String, String)>> + 'a;

/// What is wanted of a record.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub set: &'a str,
    pub as_of: Option<TimestampWithTimeZone>,
    pub choices: Choices,
}

/// Parents of parents that come along, at most.
pub const MOST_PARENTS: u32 = 32;

/// Brings a record back: from the log of changes where its table is tracked, else from the newest backup before `as_of`
/// that has it. Errors: `RecordNotFound`, `ParentMissing`.
pub fn run(table: &str, key: &Key, wanted: &Wanted) -> Result<Vec<Outcome>> {
    snapshot::require_writable()?;
    if snapshot::is_fixed() {
        return Err(Error::FixedSnapshot);
    }
    let begun = Instant::now();
    let plans = Pinned::nothing();
    plans.set("jit", "off")?;
    let outcomes = bring(table, key, wanted, 0)?;
    record(wanted.set, &outcomes, begun)?;
    Ok(outcomes)
}

/// As `run`, within another.
pub fn bring(table: &str, key: &Key, wanted: &Wanted, depth: u32) -> Result<Vec<Outcome>> {
    if let Some(outcomes) = logged::bring(table, key, wanted, depth)? {
        return Ok(outcomes);
    }
    let mut looked = 0;
    for listed in journal::listed(Some(wanted.set))? {
        let is_later = wanted.as_of.is_some_and(|as_of| listed.started_at > as_of);
        if listed.status != "complete" || is_later {
            continue;
        }
        let source = source::open(Location::of(listed))?;
        let mut bringing =
            Bringing { source: &source, choices: wanted.choices, outcomes: Vec::new(), seen: HashSet::new() };
        if bringing.find(table, key)? {
            return Ok(bringing.outcomes);
        }
        looked += 1;
    }
    if looked == 0 {
        return Err(Error::NoBackup { set: wanted.set.to_owned() });
    }
    Err(Error::RecordNotFound { table: table.to_owned(), backups: looked })
}

fn record(set: &str, outcomes: &[Outcome], begun: Instant) -> Result<()> {
    let written: Vec<&Outcome> =
        outcomes.iter().filter(|outcome| ["restored", "overwritten"].contains(&outcome.status)).collect();
    if written.is_empty() {
        return Ok(());
    }
    let of_first = written.first().map(|outcome| shown(&outcome.key));
    journal_restores::record(&RestoreRecord {
        backup_id: written.iter().find_map(|outcome| outcome.backup_id.clone()),
        set_name: Some(set.to_owned()),
        mode: "record",
        tables: written.iter().map(|outcome| outcome.table.clone()).collect(),
        where_clause: of_first,
        row_count: i64::try_from(written.len()).unwrap_or(i64::MAX),
        took: begun.elapsed(),
        safety_backup_id: None,
        undoes: None,
    })
    .map(drop)
}

/// A key as a person reads it.
pub fn shown(key: &[(String, String)]) -> String {
    key.iter().map(|(column, value)| format!("{column} = {value}")).collect::<Vec<_>>().join(", ")
}

/// Records that come from one backup.
struct Bringing<'a> {
    source: &'a Source,
    choices: Choices,
    outcomes: Vec<Outcome>,
    /// Records on their way, so that a circle of parents ends.
    seen: HashSet<(String, String)>,
}

impl Bringing<'_> {
    /// False where the backup has no such table or no such record.
    fn find(&mut self, table: &str, key: &Key) -> Result<bool> {
        let number = match self.source.member(table) {
            Ok((number, _)) => number,
            Err(Error::NotInBackup { near, .. }) if ident::find(table)?.is_none() => {
                return Err(Error::UnknownTable { name: table.to_owned(), near });
            }
            Err(Error::NotInBackup { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let unknown = || Error::UnknownTable { name: table.to_owned(), near: vec![] };
        let name = self.source.manifest().members.get(number).map(source::name_of).ok_or_else(unknown)?;
        let key = key(&plan::described(ident::oid_of(&name).ok_or_else(unknown)?)?)?;
        let told_by = columns_of(&key);
        let request = self.request(table, "true", &told_by);
        let item = plan::items(&request)?.pop().ok_or_else(|| unexpected("no table"))?;
        let live = item.live.as_ref().ok_or_else(unknown)?;
        let key = canonical(live, key)?;
        if let Some(reason) = &item.blocked {
            return Err(Error::RestoreBlocked { table: live.name.display(), reason: reason.clone() });
        }
        self.bring(&live.name, number, key)
    }

    fn request<'r>(&self, table: &'r str, filter: &'r str, told_by: &'r [String]) -> Request<'r>
    where
        Self: 'r,
    {
        Request {
            source: self.source,
            tables: Tables::One { table, target: None },
            mode: if self.choices.overwrite { Mode::Merge } else { Mode::MissingOnly },
            where_clause: Some(filter),
            create_missing: false,
            safety_backup: false,
            allow_drift: true,
            count_rows: false,
            told_by,
            is_drill: false,
        }
    }

    /// The record of a table that has these values in these columns.
    fn bring(&mut self, name: &TableName, number: usize, key: Vec<(String, String)>) -> Result<bool> {
        if !self.seen.insert((name.qualified(), shown(&key))) {
            return Ok(true);
        }
        let oid = ident::oid_of(name).ok_or_else(|| unexpected("no table"))?;
        let live = plan::described(oid)?;
        let filter = condition(&live, &key)?;
        let (qualified, told_by) = (name.qualified(), columns_of(&key));
        let request = self.request(&qualified, &filter, &told_by);
        lock::table(oid, triggers::lock_for(&live)?, &name.display())?;
        let _snapshot = Snapshot::push()?;
        let item = plan::items(&request)?.pop().ok_or_else(|| unexpected("no table"))?;
        let live = item.live.as_ref().ok_or_else(|| Error::Replaced { table: name.display() })?;
        let _formats = Pinned::formats()?;
        let stage = Stage::create(live, Way::Rows)?;
        let wanted = wanted_fields(self.source, number, live, &key)?;
        fill::fill_matching(self.source, number, &stage.table, &item.mapping, wanted)?;
        let rows = Rows::new(live, &stage, &item.mapping, request.where_clause)?;
        let found = rows.keep_filtered()?;
        if found == 0 {
            rows.silence.end()?;
            stage.finish()?;
            return Ok(false);
        }
        require_one("the backup", found)?;
        if self.choices.overwrite {
            require_one("the table", rows.meant(&filter)?)?;
        }
        self.parents(live, &stage, &filter)?;
        let status = write(&rows, self.choices)?;
        rows.silence.end()?;
        stage.finish()?;
        self.outcomes.push(Outcome {
            table: name.display(),
            status,
            backup_id: Some(self.source.id().to_owned()),
            details: self.details(&item, status),
            key,
        });
        Ok(true)
    }

    fn details(&self, item: &Item, status: &str) -> String {
        let when = self.source.manifest().started_at.format("%Y-%m-%d %H:%M:%S UTC");
        let mut details = match status {
            "exists" => format!("it is there with other values than at {when}; overwrite => true brings those back"),
            "unchanged" => format!("it is there as it was at {when}"),
            _ => format!("as it was at {when}"),
        };
        for warning in &item.warnings {
            details.push_str("; ");
            details.push_str(warning);
        }
        details
    }

    /// Every parent that the staged record refers to is there and stays there, or comes with it.
    fn parents(&mut self, live: &Table, stage: &Stage, filter: &str) -> Result<()> {
        for key in after::foreign_keys(&[live.oid])?.into_iter().filter(|key| key.child == live.oid) {
            let Some(values) = referred(&key, live, stage, filter)? else { continue };
            let parent = ident::name_of(key.parent)?;
            if is_there(&key, &values)? {
                continue;
            }
            let missing = || Error::ParentMissing {
                table: live.name.display(),
                parent: parent.display(),
                constraint: key.name.clone(),
                key: shown(&values),
            };
            // A row may refer to itself.
            if key.parent == live.oid && is_itself(live, stage, &key, filter)? {
                continue;
            }
            if !self.choices.with_parents {
                return Err(missing());
            }
            let number = self.source.member(&parent.qualified()).map_err(|_| missing())?.0;
            if !self.bring(&parent, number, values.clone())? {
                return Err(missing());
            }
        }
        Ok(())
    }
}

/// The columns of a key.
fn columns_of(key: &[(String, String)]) -> Vec<String> {
    key.iter().map(|(column, _)| column.clone()).collect()
}

/// Without a primary key a record is told by any columns, and those may not tell it.
fn require_one(place: &str, rows: u64) -> Result<()> {
    if rows <= 1 {
        return Ok(());
    }
    let reason = format!("{rows} rows of {place} have it: give columns that one row alone has");
    Err(Error::InvalidOption { option: "key", reason })
}

/// Writes the staged record where it is absent, or other; what became of it.
pub fn write(rows: &Rows, choices: Choices) -> Result<&'static str> {
    if rows.execute(&rows.insert(&rows.is_absent()))? > 0 {
        return Ok("restored");
    }
    if rows.plain.is_empty() || rows.differing()? == 0 {
        return Ok("unchanged");
    }
    if !choices.overwrite {
        return Ok("exists");
    }
    rows.overwrite()?;
    rows.execute(&rows.insert(&rows.is_absent()))?;
    Ok("overwritten")
}

/// Whether the staged record is the very row that it refers to.
pub fn is_itself(live: &Table, stage: &Stage, key: &ForeignKey, filter: &str) -> Result<bool> {
    let same = key.equalities("", "");
    let name = ident::quote(&live.name.name);
    let text = format!("SELECT 1 FROM {} AS {name} WHERE {filter} AND {same}", stage.name.qualified());
    Ok(!Statement::reading(&text, journal::owner()?, live.owner).rows()?.is_empty())
}

/// The values that the staged record refers to by a key; none where one is null.
pub fn referred(key: &ForeignKey, live: &Table, stage: &Stage, filter: &str) -> Result<Option<Vec<(String, String)>>> {
    let name = ident::quote(&live.name.name);
    let columns: Vec<String> = key.columns.iter().map(|column| format!("{name}.{column}")).collect();
    let text = format!("SELECT {} FROM {} AS {name} WHERE {filter}", columns.join(", "), stage.name.qualified());
    let rows = Statement::reading(&text, journal::owner()?, live.owner).rows()?;
    let values: Option<Vec<String>> = rows.into_iter().next().unwrap_or_default().into_iter().collect();
    let unquoted = |column: &String| column.trim_matches('"').replace("\"\"", "\"");
    Ok(values.map(|values| key.keys.iter().map(unquoted).zip(values).collect()))
}

/// Whether the parent is there, locked as the server's own check locks it.
pub fn is_there(key: &ForeignKey, values: &[(String, String)]) -> Result<bool> {
    let parent = plan::described(key.parent)?;
    let text = format!("SELECT 1 FROM {} WHERE {} FOR KEY SHARE", key.parent_name, condition(&parent, values)?);
    Ok(!Statement::reading(&text, journal::owner()?, key.parent_owner).rows()?.is_empty())
}

/// Whether the table has a row of this key.
pub fn is_live(live: &Table, condition: &str) -> Result<bool> {
    let text = format!("SELECT 1 FROM {} WHERE {condition}", live.name.qualified());
    Ok(!Statement::reading(&text, journal::owner()?, live.owner).rows()?.is_empty())
}

/// The key as the types of its columns write it, so that `00042` finds 42.
pub fn canonical(live: &Table, key: Vec<(String, String)>) -> Result<Vec<(String, String)>> {
    let _formats = Pinned::formats()?;
    key.into_iter()
        .map(|(column, value)| {
            let text = format!("SELECT {}", literal(live, &column, &value)?);
            let rows = Statement::reading(&text, journal::owner()?, live.owner).rows()?;
            let written = rows.into_iter().next().and_then(|row| row.into_iter().next().flatten());
            Ok((column, written.unwrap_or(value)))
        })
        .collect()
}

fn literal(live: &Table, column: &str, value: &str) -> Result<String> {
    let found = live.columns.iter().find(|known| known.name == column);
    let column = found.ok_or_else(|| Error::UnknownColumn {
        table: live.name.display(),
        column: column.to_owned(),
        near: ident::near(column, live.columns.iter().map(|known| known.name.clone())),
    })?;
    Ok(format!("{}::{}", ident::literal(value), column.type_name))
}

/// The condition that a row has the key, by the operators of the primary key where the columns are its.
pub fn condition(live: &Table, key: &[(String, String)]) -> Result<String> {
    let query = include_str!("../../../sql/query/primary_key.sql");
    let operators =
        sql::rows(query, &[live.oid.into()], |row| Ok((row.required::<String>(1)?, row.required::<String>(2)?)))?;
    let one = |(column, value): &(String, String)| {
        let operator = operators.iter().find(|(known, _)| known == column).map_or("OPERATOR(pg_catalog.=)", |(_, o)| o);
        Ok(format!("{} {operator} {}", ident::quote(column), literal(live, column, value)?))
    };
    let all = key.iter().map(one).collect::<Result<Vec<_>>>()?;
    Ok(format!("({})", all.join(" AND ")))
}

/// The fields of the file that tell the record, of columns whose equal values have equal texts; the others are
/// compared by the server.
fn wanted_fields(source: &Source, number: usize, live: &Table, key: &[(String, String)]) -> Result<fill::Wanted> {
    let member = source.manifest().members.get(number).ok_or_else(|| unexpected("no member"))?;
    let stored: Vec<&str> = member.columns.iter().filter(|c| !c.generated).map(|c| c.name.as_str()).collect();
    let mut wanted = Vec::new();
    for (column, value) in key {
        let Some(place) = stored.iter().position(|name| name == column) else {
            return Err(Error::RestoreBlocked {
                table: live.name.display(),
                reason: format!("the backup lacks column \"{column}\" of the key"),
            });
        };
        let type_oid = live.columns.iter().find(|known| known.name == *column).map(|known| known.type_oid);
        if type_oid.is_some_and(value::has_one_text) {
            wanted.push((place, value.as_bytes().to_vec()));
        }
    }
    Ok(wanted)
}

fn unexpected(reason: &str) -> Error {
    Error::Internal { object: "record restore", reason: reason.to_owned() }
}
