//! Whether every table of a set has a good backup of the day: the newest one that holds it is verified, and compared
//! with the last good one and with the live table.

use std::collections::HashMap;

use agent_backup_core::container::Manifest;
use agent_backup_core::container::manifest::{Member as ManifestMember, MemberStatus};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use crate::error::Result;
use crate::ident::TableName;
use crate::journal::{self, Member};
use crate::journal_checks::{self, Holding, LogRow};
use crate::run::drift::{self, Live};
use crate::run::source::{self, Location};
use crate::run::verify::finding::{Line, Problem, Status};
use crate::run::verify::{self, Level, Verdict};
use crate::run::{place, say};
use crate::server::pin::Pinned;
use crate::server::snapshot::Snapshot;
use crate::server::{privilege, snapshot};

const LEVEL: Level = Level::Decode;

/// Verifies and logs; a row per expected table, its details as JSON.
pub fn run(set: &str, now: DateTime<Utc>) -> Result<Vec<LogRow>> {
    privilege::require_backup_reader(&place::path_of_set(set))?;
    let members = journal::set(set)?.members;
    let holdings = journal_checks::holdings(set)?;
    let expected = expected(&members, &holdings);
    let live = live(&expected)?;
    let mut day = Day { set, now, today: now.format("%Y-%m-%d").to_string(), holdings, verdicts: HashMap::new() };
    let rows = expected.iter().zip(live).map(|(table, live)| {
        let member = members.iter().find(|member| member.table == *table);
        day.row(table, member, live)
    });
    let rows = rows.collect::<Result<Vec<_>>>()?;
    if let Some(reason) = snapshot::read_only() {
        say::not_logged(reason);
    } else {
        day.verdicts.values().try_for_each(Verdict::record)?;
        journal_checks::log(&rows)?;
    }
    Ok(rows)
}

/// The members, then what else the newest backup holds.
fn expected(members: &[Member], holdings: &[Holding]) -> Vec<TableName> {
    let mut expected: Vec<TableName> = members.iter().map(|member| member.table.clone()).collect();
    let newest = holdings.first().map(|holding| &holding.backup_id);
    let in_newest = holdings.iter().filter(|holding| Some(&holding.backup_id) == newest);
    for holding in in_newest {
        if !expected.contains(&holding.table) {
            expected.push(holding.table.clone());
        }
    }
    expected
}

/// The live tables as one snapshot has them.
fn live(expected: &[TableName]) -> Result<Vec<Live>> {
    let formats = Pinned::formats()?;
    formats.set("jit", "off")?;
    let locked: Vec<_> = expected.iter().map(drift::lock).collect();
    let _snapshot = Snapshot::push()?;
    Ok(locked.into_iter().zip(expected).map(|(locked, table)| drift::look(locked, table)).collect())
}

/// One day's verification of a set.
struct Day<'a> {
    set: &'a str,
    now: DateTime<Utc>,
    today: String,
    holdings: Vec<Holding>,
    /// Each backup is verified once.
    verdicts: HashMap<String, Verdict>,
}

/// What is said of one table.
#[derive(Default)]
struct Account {
    problems: Vec<String>,
    notes: Vec<String>,
    /// The newest backup of the table cannot be relied on; a late one can.
    is_bad: bool,
    details: Map<String, Value>,
}

impl Account {
    fn tell(&mut self, key: &str, value: impl Into<Value>) {
        self.details.insert(key.to_owned(), value.into());
    }

    fn status(&self) -> Status {
        match (self.problems.is_empty(), self.notes.is_empty()) {
            (false, _) => Status::Failed,
            (true, false) => Status::Warning,
            (true, true) => Status::Ok,
        }
    }
}

impl Day<'_> {
    fn row(&mut self, table: &TableName, member: Option<&Member>, live: Live) -> Result<LogRow> {
        let mut account = Account::default();
        account.tell("day", self.today.as_str());
        account.tell("time_zone", "UTC");
        account.tell("set_name", self.set);
        account.tell("schema_name", table.schema.as_str());
        account.tell("table_name", table.name.as_str());
        let of_table: Vec<Holding> = self.holdings.iter().filter(|h| h.table == *table).cloned().collect();
        let mut row = LogRow {
            table: table.clone(),
            status: Status::Failed.kept(),
            day: None,
            rows: None,
            size: None,
            checksum: None,
            error: None,
            backup_id: None,
            format: None,
            level: LEVEL.name(),
            took: std::time::Duration::ZERO,
            details: Value::Null,
        };
        if matches!(live, Live::Absent) {
            account.notes.push("the table does not exist here".into());
        }
        match of_table.split_first() {
            None if matches!(live, Live::Absent) => account.notes.push("it was never backed up".into()),
            None => account.problems.push("it was never backed up".into()),
            Some((newest, older)) => self.judge(newest, older, member, &live, &mut account, &mut row)?,
        }
        let status = account.status();
        let good = of_table.iter().find(|h| {
            let judged_now = row.backup_id.as_ref() == Some(&h.backup_id);
            if judged_now { !account.is_bad } else { !h.is_bad && h.status == "complete" }
        });
        let said = if status == Status::Failed { &account.problems } else { &account.notes };
        let error = (!said.is_empty()).then(|| said.join("; "));
        account.details.insert("problems".into(), account.problems.clone().into());
        account.details.insert("notes".into(), account.notes.clone().into());
        Ok(LogRow {
            status: status.kept(),
            day: good.map(|holding| holding.day.clone()),
            error,
            details: Value::Object(account.details),
            ..row
        })
    }

    /// The newest backup of the table, verified, and against the last good one and the live table.
    fn judge(
        &mut self,
        newest: &Holding,
        older: &[Holding],
        member: Option<&Member>,
        live: &Live,
        account: &mut Account,
        row: &mut LogRow,
    ) -> Result<()> {
        self.of_today(newest, account);
        if newest.status != "complete" {
            account.notes.push(format!("the backup is {}", newest.status));
        }
        let late = account.problems.len();
        let verdict = self.verdict(&newest.backup_id)?;
        row.backup_id = Some(newest.backup_id.clone());
        account.tell("backup_file", verdict.location.path().display().to_string());
        account.tell("does_not_prove", LEVEL.unproven());
        for part in verdict.parts().into_iter().filter(|part| part.table == newest.table) {
            let lines: Vec<&Line> = verdict.lines_of(part).collect();
            for problem in lines.iter().filter_map(|line| line.problem.as_ref()) {
                let shown = problem.shown();
                if !account.problems.contains(&shown) {
                    account.problems.push(shown);
                }
            }
            row.size = Some(row.size.unwrap_or(0) + part.stored_bytes.unwrap_or(0));
            row.rows = row.rows.or(lines.iter().find_map(|line| line.rows));
            // The first format is csv, where there is one: the form to restore from.
            row.checksum = row.checksum.take().or(lines.iter().find_map(|line| line.checksum.clone()));
            row.took += lines.iter().map(|line| line.took).sum();
        }
        account.is_bad = account.problems.len() > late;
        account.notes.extend(verdict.definitions().map(Problem::shown));
        account.tell("row_count", row.rows);
        let manifest = verdict.manifest.as_ref();
        let saved = manifest.and_then(|manifest| saved(manifest, &newest.table)).cloned();
        not_empty(newest, older, live, account);
        drifted(live, saved.as_ref(), member, row.rows, account);
        Ok(())
    }

    fn of_today(&self, newest: &Holding, account: &mut Account) {
        account.tell("backup_id", newest.backup_id.as_str());
        account.tell("started_at", format!("{} UTC", newest.started_at));
        let started = chrono::NaiveDateTime::parse_from_str(&newest.started_at, "%Y-%m-%d %H:%M:%S");
        let age = started.map_or(0, |started| (self.now.naive_utc() - started).num_seconds());
        account.tell("age_seconds", age);
        if newest.day < self.today {
            let (days, hours) = (age / 86_400, age % 86_400 / 3_600);
            account.problems.push(format!(
                "there is no backup of {} (UTC): the newest is of {}, {days} days and {hours} hours old",
                self.today, newest.started_at
            ));
        }
        let newer = self.holdings.first().filter(|holding| holding.backup_id != newest.backup_id);
        if let Some(newer) = newer.filter(|holding| holding.status == "incomplete") {
            account.notes.push(format!("backup \"{}\" is newer, incomplete, and does not hold it", newer.backup_id));
        }
    }

    fn verdict(&mut self, id: &str) -> Result<&Verdict> {
        if !self.verdicts.contains_key(id) {
            let location: Location = source::locate(id, self.set)?;
            self.verdicts.insert(id.to_owned(), verify::check(location, LEVEL)?);
        }
        Ok(&self.verdicts[id])
    }
}

fn saved<'m>(manifest: &'m Manifest, table: &TableName) -> Option<&'m ManifestMember> {
    let mut members = manifest.members.iter().filter(|member| member.status == MemberStatus::Ok);
    members.find(|member| source::name_of(member) == *table)
}

/// A table that was full and is empty in the backup is suspicious, unless it is empty here too.
fn not_empty(newest: &Holding, older: &[Holding], live: &Live, account: &mut Account) {
    let Some(good) = older.iter().find(|holding| !holding.is_bad) else { return };
    account.tell("last_good", json!({"backup_id": good.backup_id, "row_count": good.row_count}));
    if newest.row_count == 0 && good.row_count > 0 {
        let text = format!("the backup has no row of it, \"{}\" had {}", good.backup_id, good.row_count);
        match live {
            Live::There { rows: Ok(0), .. } => account.notes.push(format!("{text}; the table is empty")),
            _ => {
                account.is_bad = true;
                account.problems.push(text);
            }
        }
    }
}

/// Drift is told and fails nothing.
fn drifted(
    live: &Live,
    saved: Option<&ManifestMember>,
    member: Option<&Member>,
    rows: Option<u64>,
    account: &mut Account,
) {
    let (columns, live_rows) = match live {
        Live::Absent => return,
        Live::Unknown(reason) => return account.tell("live", reason.as_str()),
        Live::There { columns, rows } => (columns, rows),
    };
    match (live_rows, rows) {
        _ if saved.is_some_and(|saved| saved.row_filter.is_some()) => {
            account.tell("live", "the backup holds filtered rows")
        }
        (Ok(live), rows) => {
            account.tell("live_row_count", *live);
            account.tell("live_difference", rows.map(|rows| live - rows.cast_signed()));
        }
        (Err(reason), _) => account.tell("live", reason.as_str()),
    }
    if let Some(saved) = saved {
        let excluded = member.map(|member| member.excluded.as_slice()).unwrap_or_default();
        account.tell("schema_drift", drift::of_columns(&saved.columns, columns, excluded));
    }
}
