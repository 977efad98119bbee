//! Which rows of a table changed since its watermark: the source that tells so, and the condition that finds them.

use crate::error::{Error, Result};
use crate::ident;
use crate::journal_watermarks::{self, Moment, Since, Watermark};
use crate::run::incremental::keys;
use crate::server::sql;
use crate::table::catalog::{Table, TableColumn};
use crate::table::select::Selection;

/// By what changed rows are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The log of captured changes.
    Capture,
    /// The transactions that wrote the rows.
    Snapshot,
    /// `updated_at` and `created_at`.
    Timestamp,
}

impl Source {
    pub fn name(self) -> &'static str {
        match self {
            Source::Capture => "capture",
            Source::Snapshot => "snapshot",
            Source::Timestamp => "timestamp",
        }
    }
}

/// What is known before a table is looked at.
pub struct Known<'a> {
    pub watermark: Option<&'a Watermark>,
    /// What set_change_source chose.
    pub chosen: Option<&'a str>,
    /// What the call asked for.
    pub since: Option<&'a Moment>,
    /// The snapshot that is read.
    pub snapshot: &'a str,
    /// The caller's time zone, for columns without one.
    pub time_zone: &'a str,
}

/// The rows to copy.
pub struct Choice {
    pub source: Source,
    /// None for all rows.
    pub condition: Option<String>,
    /// Which rows those are, in words.
    pub said: String,
    /// Keys of rows that the log tells are gone.
    pub tombstones: Vec<String>,
    /// Whether the log of changes holds all of the rows.
    pub is_in_log: bool,
    pub storage: Vec<Storage>,
}

/// The table or one of its partitions.
pub struct Storage {
    pub oid: pgrx::pg_sys::Oid,
    /// Whether its rows tell the transaction that wrote them.
    pub has_xmin: bool,
}

/// Transactions after which numbers come again, less some.
const HORIZON: u64 = 2_000_000_000;

/// Keys that are looked up one by one; with more of them the table is read.
const KEYS: i64 = 100_000;

/// Chooses for a locked table.
pub fn choose(table: &Table, selection: &Selection, known: &Known) -> Result<Choice> {
    let storage = sql::rows(include_str!("../../../sql/query/storage.sql"), &[table.oid.into()], |row| {
        Ok(Storage { oid: row.required(1)?, has_xmin: row.required(2)? })
    })?;
    let watermark = known.watermark.filter(|watermark| is_usable(watermark, table, known.snapshot));
    let chooser = Chooser { table, selection, known, watermark, times: times(table), storage };
    let tracked = journal_watermarks::tracked(table.oid, watermark, known.snapshot)?;
    match (tracked, known.chosen) {
        (Some(tracked), _) => chooser.by_log(&tracked),
        (None, Some("timestamp")) if chooser.times.is_empty() => {
            Err(Error::NoTimestamps { table: table.name.display() })
        }
        (None, Some("timestamp")) => Ok(chooser.by_time()),
        // A table of which nothing is a heap.
        (None, None) if !chooser.storage.is_empty() && chooser.storage.iter().all(|storage| !storage.has_xmin) => {
            Ok(chooser.by_time())
        }
        (None, _) => Ok(chooser.by_transactions(Source::Snapshot)),
    }
}

/// A watermark of another table of the name, of a server that was set back, or of very long ago tells nothing.
fn is_usable(watermark: &Watermark, table: &Table, snapshot: &str) -> bool {
    let (Some((oldest, _)), Some((_, next))) = (bounds(&watermark.snapshot), bounds(snapshot)) else { return false };
    watermark.relation == table.oid && oldest <= next && next - oldest < HORIZON
}

/// The oldest transaction that ran, and the next one to begin.
fn bounds(snapshot: &str) -> Option<(u64, u64)> {
    let mut parts = snapshot.split(':');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The columns that tell when a row was made or changed.
fn times(table: &Table) -> Vec<&TableColumn> {
    let is_time = |column: &&TableColumn| {
        let name = column.name.replace('_', "").to_lowercase();
        ["updatedat", "createdat"].contains(&name.as_str())
            && (column.type_name.starts_with("timestamp") || column.type_name == "date")
    };
    table.columns.iter().filter(is_time).collect()
}

struct Chooser<'a> {
    table: &'a Table,
    selection: &'a Selection,
    known: &'a Known<'a>,
    /// If it is of use.
    watermark: Option<&'a Watermark>,
    times: Vec<&'a TableColumn>,
    storage: Vec<Storage>,
}

impl Chooser<'_> {
    fn choice(self, source: Source, condition: Option<String>, said: String) -> Choice {
        Choice { source, condition, said, tombstones: Vec::new(), is_in_log: false, storage: self.storage }
    }

    /// The argument, where it asks for more than the watermark does.
    fn wider(&self) -> Option<&Moment> {
        self.known.since.filter(|since| self.watermark.is_none_or(|watermark| since.at < watermark.taken_at.at))
    }

    /// Rows of which a column says that they are no older.
    fn younger(&self, than: &Moment) -> String {
        let moment = format!("CAST({} AS timestamp with time zone)", ident::literal(&than.text));
        let here = format!("({moment} AT TIME ZONE {})", ident::literal(self.known.time_zone));
        let compare = |column: &&TableColumn| {
            let bound = match column.type_name.as_str() {
                "date" => format!("CAST({here} AS date)"),
                zoned if zoned.ends_with("with time zone") => moment.clone(),
                _ => here.clone(),
            };
            format!("{} >= {bound}", ident::quote(&column.name))
        };
        self.times.iter().map(compare).collect::<Vec<_>>().join(" OR ")
    }

    /// The same, and rows of which no column says anything.
    fn younger_or_unknown(&self, than: &Moment) -> String {
        let empty = self.times.iter().map(|column| format!("{} IS NULL", ident::quote(&column.name)));
        format!("{} OR ({})", self.younger(than), empty.collect::<Vec<_>>().join(" AND "))
    }

    fn times_said(&self) -> String {
        let names: Vec<String> = self.times.iter().map(|column| ident::quote(&column.name)).collect();
        names.join(" or ")
    }

    fn first_run(self, source: Source) -> Choice {
        match self.known.since {
            Some(since) if !self.times.is_empty() => {
                let said = format!("first run: rows whose {} is {} or later, or null", self.times_said(), since.text);
                let condition = self.younger_or_unknown(since);
                self.choice(source, Some(condition), said)
            }
            _ => self.choice(source, None, "first run: all rows".into()),
        }
    }

    fn by_time(self) -> Choice {
        let Some(watermark) = self.watermark else { return self.first_run(Source::Timestamp) };
        if self.times.is_empty() {
            return self.choice(Source::Timestamp, None, "all rows: nothing tells which of them changed".into());
        }
        let wider = self.known.since.filter(|since| since.at < watermark.oldest.at).unwrap_or(&watermark.oldest);
        let said = format!("rows whose {} is {} or later, or null", self.times_said(), wider.text);
        let condition = self.younger_or_unknown(wider);
        self.choice(Source::Timestamp, Some(condition), said)
    }

    /// The number of a transaction that ran at the watermark is not below the oldest that did, nor is that of any that
    /// began later; those of their subtransactions are higher still.
    fn by_transactions(self, source: Source) -> Choice {
        let Some(watermark) = self.watermark else { return self.first_run(source) };
        let oldest = bounds(&watermark.snapshot).map_or(0, |(oldest, _)| oldest) % (1 << 32);
        let mut conditions =
            vec![format!("pg_catalog.age(xmin) <= pg_catalog.age(CAST('{oldest}' AS pg_catalog.xid))")];
        let mut said = format!("rows written since {}", watermark.taken_at.text);
        let is_new = |storage: &&Storage| !storage.has_xmin || !watermark.storage.contains(&storage.oid);
        let new: Vec<String> =
            self.storage.iter().filter(is_new).map(|storage| storage.oid.to_u32().to_string()).collect();
        if !new.is_empty() {
            // First: where it is so, a partition that knows no xmin is not asked for it.
            conditions.insert(0, format!("tableoid = ANY (CAST('{{{}}}' AS pg_catalog.oid[]))", new.join(",")));
            said.push_str(&format!(", and all of {} partitions that are new or foreign", new.len()));
        }
        match self.wider() {
            Some(_) if self.times.is_empty() => {
                said.push_str("; no column tells which are younger than the argument");
            }
            Some(since) => {
                conditions.push(self.younger(since));
                said.push_str(&format!(", or whose {} is {} or later", self.times_said(), since.text));
            }
            None => (),
        }
        self.choice(source, Some(conditions.join(" OR ")), said)
    }

    fn by_log(self, tracked: &journal_watermarks::Tracked) -> Result<Choice> {
        let Some(watermark) = self.watermark else { return Ok(self.by_transactions(Source::Capture)) };
        let since = Since {
            tracked: tracked.id,
            before: &watermark.snapshot,
            after: self.known.snapshot,
            oldest: &watermark.oldest.text,
        };
        let (changes, keyless) = since.count(&self.table.primary_key)?;
        let is_whole = tracked.at_watermark == Some(true) && tracked.gaps == 0 && !tracked.is_cut;
        if keyless > 0 || !keys::are_shown(self.table, self.selection) {
            let mut choice = self.by_transactions(Source::Capture);
            choice.is_in_log = is_whole;
            choice.said.push_str("; deleted rows have no key to be named by");
            return Ok(choice);
        }
        let touched = since.keys()?;
        let (gone, there): (Vec<_>, Vec<_>) = touched.into_iter().partition(|(_, gone)| *gone);
        let there: Vec<String> = there.into_iter().map(|(key, _)| key).collect();
        let condition = (is_whole && changes <= KEYS && self.wider().is_none_or(|_| self.times.is_empty()))
            .then(|| keys::condition(self.table, &there))
            .transpose()?
            .flatten();
        let taken_at = watermark.taken_at.text.clone();
        let mut choice = match condition {
            Some(condition) => {
                self.choice(Source::Capture, Some(condition), format!("rows in the log since {taken_at}"))
            }
            None => self.by_transactions(Source::Capture),
        };
        choice.tombstones = gone.into_iter().map(|(key, _)| key).collect();
        choice.is_in_log = is_whole;
        if tracked.gaps > 0 {
            choice
                .said
                .push_str(&format!("; the log misses {} changes: deletes among them are not known", tracked.gaps));
        } else if !is_whole {
            choice.said.push_str("; the log begins later: earlier deletes are not known");
        }
        Ok(choice)
    }
}
