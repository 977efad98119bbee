//! `assess`: every table of a set against the newest backup that holds it and is whole.

use std::collections::HashMap;
use std::rc::Rc;

use agent_backup_core::codec::Projection;
use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::ident::{self, TableName};
use crate::journal::{self, Listed};
use crate::journal_archive;
use crate::run::diff::{self, Compared};
use crate::run::place;
use crate::run::sides::{Shape, Side};
use crate::run::source::{self, Source};
use crate::run::sweep::{self, SweptRow, Work};
use crate::server::pin::Pinned;
use crate::server::{privilege, subtransaction};

/// A table of the set.
pub struct Assessed {
    pub table: String,
    pub status: &'static str,
    pub live_rows: Option<u64>,
    pub backup_rows: Option<u64>,
    /// Missing, extra and changed rows.
    pub differing: Option<(u64, u64, u64)>,
    pub backup: Option<Listed>,
    pub details: Option<String>,
}

/// Assesses all members of a set, all in one snapshot.
pub fn set(set: &str) -> Result<Vec<Assessed>> {
    let members: Vec<TableName> = journal::set(set)?.members.into_iter().map(|member| member.table).collect();
    privilege::require_backup_reader(&place::path_of_set(set))?;
    let mut backups = Backups { listed: journal::listed(Some(set))?, open: HashMap::new() };
    let own_view = journal_archive::own_view()?;
    let lock = |table: &TableName| match ident::oid_of(table).filter(|oid| Some(*oid) != own_view) {
        None => Live::Absent,
        Some(oid) => match subtransaction::attempt(|| diff::lock_tables(&[oid])) {
            Ok(_) => Live::Locked(oid),
            Err(failure) => Live::Closed(failure.message),
        },
    };
    let live: Vec<Live> = members.iter().map(lock).collect();
    let _formats = Pinned::formats()?;
    let locked: Vec<pg_sys::Oid> = live.iter().filter_map(Live::oid).collect();
    let _snapshot = diff::snapshot_of(&locked)?;
    let mut all = Vec::new();
    for (table, live) in members.iter().zip(&live) {
        let assessed = subtransaction::attempt(|| one(table, live, &mut backups));
        all.push(assessed.unwrap_or_else(|failure| Assessed::new(table, "failed", Some(failure.message))));
    }
    Ok(all)
}

/// A member on the side of the live database.
enum Live {
    Absent,
    Locked(pg_sys::Oid),
    /// It cannot be read, and why.
    Closed(String),
}

impl Live {
    fn oid(&self) -> Option<pg_sys::Oid> {
        match self {
            Live::Locked(oid) => Some(*oid),
            Live::Absent | Live::Closed(_) => None,
        }
    }
}

impl Assessed {
    fn new(table: &TableName, status: &'static str, details: Option<String>) -> Self {
        let table = table.display();
        Assessed { table, status, live_rows: None, backup_rows: None, differing: None, backup: None, details }
    }

    fn of(table: &TableName, compared: &Compared, backup: Listed, mut notes: Vec<String>) -> Self {
        let counts = &compared.counts;
        let status = match (compared.sums.are_equal(), counts.missing.rows) {
            (true, _) => "ok",
            (false, 0) => "changed",
            (false, _) => "lost rows",
        };
        notes.extend(compared.matched.remarks.iter().map(|remark| diff::said(remark, "backup", "table")));
        notes.extend(compared.filter.as_ref().map(|reason| format!("the row filter is not applied: {reason}")));
        Assessed {
            live_rows: Some(compared.sums.right.rows),
            backup_rows: Some(compared.sums.left.rows),
            differing: Some((counts.missing.rows, counts.extra.rows, counts.changed.rows)),
            backup: Some(backup),
            ..Self::new(table, status, joined(notes))
        }
    }
}

fn joined(notes: Vec<String>) -> Option<String> {
    (!notes.is_empty()).then(|| notes.join("; "))
}

/// The set's backups, each opened once.
struct Backups {
    /// Newest first.
    listed: Vec<Listed>,
    open: HashMap<String, std::result::Result<Rc<Source>, String>>,
}

impl Backups {
    fn open(&mut self, listed: &Listed) -> std::result::Result<Rc<Source>, String> {
        let open = || source::find(&listed.backup_id, &listed.set_name).map(Rc::new).map_err(|error| error.to_string());
        self.open.entry(listed.backup_id.clone()).or_insert_with(open).clone()
    }
}

/// Goes back from the newest backup to one that holds the table and is whole; says what was wrong with those before.
fn one(table: &TableName, live: &Live, backups: &mut Backups) -> Result<Assessed> {
    if let Live::Closed(reason) = live {
        return Ok(Assessed::new(table, "failed", Some(reason.clone())));
    }
    let mut notes = Vec::new();
    for listed in backups.listed.clone() {
        let source = match backups.open(&listed) {
            Ok(source) => source,
            Err(problem) => {
                notes.push(problem);
                continue;
            }
        };
        let Some((number, rows)) = held(&source, table) else { continue };
        let Live::Locked(oid) = live else {
            let missing = Assessed::new(table, "table missing", joined(notes));
            return Ok(Assessed { backup_rows: Some(rows), backup: Some(listed), ..missing });
        };
        match diff::count(&source, number, *oid) {
            Ok(compared) => return Ok(Assessed::of(table, &compared, listed, notes)),
            Err(error @ (Error::Damaged { .. } | Error::NotRestorable { .. })) => notes.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    Ok(match live {
        Live::Locked(oid) => {
            let live_rows = Some(rows_of(*oid)?);
            Assessed { live_rows, ..Assessed::new(table, "no backup", joined(notes)) }
        }
        Live::Absent | Live::Closed(_) => Assessed::new(table, "absent", joined(notes)),
    })
}

fn held(source: &Source, table: &TableName) -> Option<(usize, u64)> {
    let found = source.members().find(|(_, member)| source::name_of(member) == *table);
    found.map(|(number, member)| (number, member.rows))
}

/// The rows of a locked table.
fn rows_of(oid: pg_sys::Oid) -> Result<u64> {
    struct Nothing;
    impl Work for Nothing {
        type Item = ();
        const DIGESTS: bool = false;
        fn row(&self, _: &Shape, _: &SweptRow, _: &mut Vec<u8>, _: &mut Vec<()>) {}
    }
    let (side, _): (Side, _) = diff::live(oid, None)?;
    let none = Projection::default;
    let shape = Shape { width: 0, compared: none(), key: none(), rest: none(), rest_names: Vec::new() };
    sweep::all(&side, &[], &shape, Nothing, |_| Ok(()))
}
