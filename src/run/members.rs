//! Reading the members of a set: each is scanned after the one before, and what the threads still have of it then is
//! waited for later, while the next is scanned and the definitions are read.

use std::collections::VecDeque;
use std::time::Instant;

use agent_backup_core::plan::{Compression, Format, names};
use agent_backup_core::store::Directory;
use agent_backup_core::stream::Pool;
use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::ident::TableName;
use crate::journal::Member;
use crate::journal_archive;
use crate::run::backup::parse_formats;
use crate::run::outcome::{Outcome, State};
use crate::run::pipeline::{self, Scanned};
use crate::run::publish::Writing;
use crate::run::say;
use crate::server::snapshot;
use crate::server::subtransaction::{Failure, attempt, is_for_the_call, is_lost_connection};
use crate::table::catalog::{self, Table};
use crate::table::select::Selection;

/// Stored bytes in memory of tables that were scanned and are not in the container.
const WAITING_MEMORY: usize = 8 << 20;

/// Tables whose spools may have a file open at once.
const WAITING_TABLES: usize = 16;

/// A member under its lock, or why not.
pub struct Locked {
    pub member: Member,
    pub oid: Result<Option<pg_sys::Oid>>,
}

/// What of a member's table belongs to the set.
pub fn selection_of(member: &Member) -> Selection {
    Selection {
        filter: member.row_filter.clone(),
        excluded: member.excluded.clone(),
        masked: member.masked.clone(),
        defined_by: member.defined_by.clone(),
        changed: None,
        subjects: member.subjects.clone(),
    }
}

/// Reads one member after another into a container.
pub struct Reader<'a, 'w> {
    pool: Pool,
    compression: Compression,
    directory: &'a Directory,
    writing: &'a mut Writing<'w>,
    /// In the order of the members, after those that have an outcome.
    waiting: VecDeque<Waiting>,
    outcomes: Vec<Outcome>,
}

struct Waiting {
    table: TableName,
    selection: Selection,
    begun: Instant,
    progress: Progress,
}

enum Progress {
    Ended(State),
    Scanned(Box<Table>, Scanned),
}

impl<'a, 'w> Reader<'a, 'w> {
    /// Starts the threads.
    pub fn start(
        compression: Compression,
        directory: &'a Directory,
        writing: &'a mut Writing<'w>,
    ) -> Result<Reader<'a, 'w>> {
        let pool = pipeline::start_pool()?;
        Ok(Reader { pool, compression, directory, writing, waiting: VecDeque::new(), outcomes: Vec::new() })
    }

    /// Scans a member: its table, none where there is none, or why it cannot be read.
    pub fn read(&mut self, member: Member, table: Result<Option<Table>>, formats: &[String]) -> Result<()> {
        let begun = Instant::now();
        let selection = selection_of(&member);
        let progress = match table {
            Ok(None) => Progress::Ended(State::Absent),
            Err(Error::NotBackedUp { kind: journal_archive::OWN_VIEW, .. }) => Progress::Ended(State::OwnView),
            Err(error) => Progress::Ended(State::Failed(error.to_string())),
            Ok(Some(table)) => self.scan(table, &selection, formats)?,
        };
        self.waiting.push_back(Waiting { table: member.table, selection, begun, progress });
        while self.waiting.front().is_some_and(Waiting::is_over) || self.too_many_wait() {
            self.settle_next()?;
        }
        Ok(())
    }

    fn scan(&self, table: Table, selection: &Selection, formats: &[String]) -> Result<Progress> {
        let scanned = attempt(|| {
            if snapshot::is_fixed() {
                catalog::refuse_rewritten(&[table.oid])?;
            }
            let formats = parse_formats(formats)?;
            pipeline::scan(&self.pool, &table, selection, &formats, self.compression, self.directory)
        });
        match scanned {
            Ok(scanned) => Ok(Progress::Scanned(Box::new(table), scanned)),
            Err(Failure { error: Some(error), code, .. }) if is_for_the_call(code) => Err(error),
            Err(failure) => {
                if is_lost_connection(failure.code) {
                    say::connection_lost(&table.name.display());
                }
                Ok(Progress::Ended(State::Failed(failure.message)))
            }
        }
    }

    fn too_many_wait(&self) -> bool {
        let in_memory: usize = self.waiting.iter().map(Waiting::in_memory).sum();
        self.waiting.len() > WAITING_TABLES || in_memory > WAITING_MEMORY
    }

    /// The tables that were scanned to their end, and so far did not fail.
    pub fn scanned(&self) -> Vec<pg_sys::Oid> {
        let waiting = self.waiting.iter().filter_map(|waiting| match &waiting.progress {
            Progress::Ended(_) => None,
            Progress::Scanned(table, _) => Some(table.oid),
        });
        self.outcomes.iter().filter_map(Outcome::oid).chain(waiting).collect()
    }

    /// Waits for the threads; what became of each member.
    pub fn finish(mut self) -> Result<Vec<Outcome>> {
        while !self.waiting.is_empty() {
            self.settle_next()?;
        }
        Ok(self.outcomes)
    }

    fn settle_next(&mut self) -> Result<()> {
        let Some(Waiting { table, selection, begun, progress }) = self.waiting.pop_front() else { return Ok(()) };
        let state = match progress {
            Progress::Ended(state) => state,
            Progress::Scanned(described, scanned) => self.settle(described, scanned)?,
        };
        let outcome = Outcome { table, selection, state, took: begun.elapsed() };
        announce(&outcome);
        self.outcomes.push(outcome);
        Ok(())
    }

    /// Puts the data of the next member into the container.
    fn settle(&mut self, described: Box<Table>, scanned: Scanned) -> Result<State> {
        let data = match scanned.settle(&described) {
            Ok(data) => data,
            Err(error) if is_for_the_call(error.code()) => return Err(error),
            Err(error) => return Ok(State::Failed(error.to_string())),
        };
        let (ordinal, name) = (self.outcomes.len(), &described.name);
        let (mut plain, mut stored) = (0, 0);
        for entry in &data.entries {
            self.writing.add(&names::entry(&name.schema, &name.name, entry.format, ordinal), ordinal, entry)?;
            if let (Format::Csv, Some((columns, keys))) = (entry.format, &data.keys) {
                self.writing.add_keys(columns, keys)?;
            }
            if entry.format == Format::Csv {
                let of = names::entry(&name.schema, &name.name, entry.format, ordinal);
                data.subjects
                    .iter()
                    .try_for_each(|(subject, filters)| self.writing.add_subject(&of, subject, filters))?;
            }
            plain += entry.spooled.plain_bytes;
            stored += entry.spooled.stored_bytes;
        }
        Ok(State::Done { described, rows: data.rows, plain, stored })
    }
}

impl Waiting {
    fn is_over(&self) -> bool {
        match &self.progress {
            Progress::Ended(_) => true,
            Progress::Scanned(_, scanned) => scanned.is_over(),
        }
    }

    fn in_memory(&self) -> usize {
        match &self.progress {
            Progress::Ended(_) => 0,
            Progress::Scanned(_, scanned) => scanned.in_memory(),
        }
    }
}

fn announce(outcome: &Outcome) {
    let name = outcome.table.display();
    match &outcome.state {
        State::Absent | State::OwnView => say::table_absent(&name),
        State::Failed(reason) => say::table_failed(&name, reason),
        State::Done { rows, plain, stored, .. } => say::table_done(&name, *rows, *plain, *stored, outcome.took),
    }
}
