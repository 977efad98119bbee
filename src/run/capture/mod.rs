//! Changes of tracked tables: transition tables → images → the log, in the writer's own transaction. And back: what the log
//! says of a row, a table, a moment.

pub mod as_of;
pub mod back;
pub mod history;
mod known;
pub mod marks;
pub mod moment;
pub mod net;
pub mod track;
pub mod undo;

use std::ops::Range;

use agent_backup_core::codec::{Before, Logged, RowBatch};
use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::ident;
use crate::journal_changes::{self, Change, OnFailure, OnTruncate, Statement, Tracked};
use crate::server::pin::Pinned;
use crate::server::subtransaction::{self, is_for_the_call};
use crate::table::capture::{self, AllRows, Transition};
use known::Known;

/// Bytes of rows that are written to the log at once, and rows.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_ROWS: u32 = 1000;

/// What fired a trigger.
pub struct Fired {
    data: *const pg_sys::TriggerData,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Insert,
    Update,
    Delete,
    Truncate,
}

impl Operation {
    fn letter(self) -> u8 {
        match self {
            Operation::Insert => b'I',
            Operation::Update => b'U',
            Operation::Delete => b'D',
            Operation::Truncate => b'T',
        }
    }
}

impl Fired {
    /// # Safety
    /// `data` is what the server calls a trigger with, for as long as this lives.
    pub unsafe fn new(data: *const pg_sys::TriggerData) -> Self {
        Fired { data }
    }

    fn data(&self) -> &pg_sys::TriggerData {
        // SAFETY: as of `new`.
        unsafe { &*self.data }
    }

    fn relation(&self) -> pg_sys::Relation {
        self.data().tg_relation
    }

    fn oid(&self) -> pg_sys::Oid {
        // SAFETY: the relation is open while its trigger runs.
        unsafe { (*self.relation()).rd_id }
    }

    fn table(&self) -> String {
        ident::name_of(self.oid()).map_or_else(|_| self.oid().to_u32().to_string(), |name| name.display())
    }

    fn operation(&self) -> Operation {
        match self.data().tg_event & pg_sys::TRIGGER_EVENT_OPMASK {
            pg_sys::TRIGGER_EVENT_INSERT => Operation::Insert,
            pg_sys::TRIGGER_EVENT_UPDATE => Operation::Update,
            pg_sys::TRIGGER_EVENT_DELETE => Operation::Delete,
            _ => Operation::Truncate,
        }
    }

    fn is_row(&self) -> bool {
        self.data().tg_event & pg_sys::TRIGGER_EVENT_ROW != 0
    }

    /// What the trigger's arguments say of the tracking.
    fn tracked(&self) -> Result<Tracked> {
        // SAFETY: the trigger is there while it runs, with as many arguments as it says.
        let arguments: Vec<String> = unsafe {
            let trigger = &*self.data().tg_trigger;
            let texts = (0..trigger.tgnargs).map(|number| *trigger.tgargs.add(number as usize));
            texts.map(|text| std::ffi::CStr::from_ptr(text).to_string_lossy().into_owned()).collect()
        };
        Tracked::of_arguments(&arguments).ok_or_else(|| Error::NotTracked { table: self.table() })
    }
}

/// Writes what a statement changed to the log. Errors: as the table's policy says, or it is recorded as a gap.
pub fn fire(fired: &Fired) -> Result<()> {
    let tracked = fired.tracked()?;
    let id = tracked.id;
    if tracked.on_failure == OnFailure::Fail {
        return write(fired, known::of(fired, tracked)?);
    }
    let Err(failure) = subtransaction::attempt(|| write(fired, known::of(fired, tracked)?)) else { return Ok(()) };
    if is_for_the_call(failure.code) {
        return Err(failure.error.unwrap_or(Error::Capture { reason: failure.message }));
    }
    let table = fired.table();
    crate::run::say::warning(&format!("a change of \"{table}\" could not be captured: {}", failure.message));
    journal_changes::record_gap(id, &failure.message)
}

fn write(fired: &Fired, mut known: Known) -> Result<()> {
    if fired.operation() == Operation::Truncate {
        return truncated(fired, known);
    }
    let written = {
        let _settings = known.columns.needs_settings.then(Pinned::formats).transpose()?;
        if fired.is_row() { row(fired, &mut known) } else { rows(fired, &mut known) }
    };
    known.keep();
    written
}

/// The rows of a statement, from its transition tables.
fn rows(fired: &Fired, known: &mut Known) -> Result<()> {
    let data = fired.data();
    // SAFETY: the tables are those of this trigger's relation, and stay while it runs.
    let open = |store| unsafe { Transition::open(store, fired.relation()) };
    let (mut first, mut second) = match fired.operation() {
        Operation::Insert => (open(data.tg_newtable), None),
        Operation::Update => (open(data.tg_newtable), Some(open(data.tg_oldtable))),
        Operation::Delete | Operation::Truncate => (open(data.tg_oldtable), None),
    };
    let mut pending = Pending::default();
    while let Some(slot) = first.next() {
        pgrx::check_for_interrupts!();
        // SAFETY: the slot holds a row of the relation.
        unsafe { known.columns.take(slot, &mut pending.after) };
        if let Some(second) = &mut second {
            let slot = second.next().ok_or_else(|| unexpected("an update has fewer old rows than new ones"))?;
            // SAFETY: as above.
            unsafe { known.columns.take(slot, &mut pending.before) };
        }
        if pending.is_full() {
            pending.write(fired, known)?;
        }
    }
    pending.write(fired, known)
}

/// The row of a row-level trigger.
fn row(fired: &Fired, known: &mut Known) -> Result<()> {
    let data = fired.data();
    let (after, before) = match fired.operation() {
        Operation::Update => (data.tg_newslot, Some(data.tg_trigslot)),
        _ => (data.tg_trigslot, None),
    };
    let mut pending = Pending::default();
    // SAFETY: the slots hold rows of the relation while the trigger runs.
    unsafe {
        known.columns.take(after, &mut pending.after);
        if let Some(before) = before {
            known.columns.take(before, &mut pending.before);
        }
    }
    pending.write(fired, known)
}

/// A table that is about to be emptied: its rows, or what the policy for a large one says.
fn truncated(fired: &Fired, mut known: Known) -> Result<()> {
    // SAFETY: the relation is open, and locked by TRUNCATE against all others.
    let (kind, bytes) = unsafe { (capture::kind_of(fired.relation()), size(fired.relation())) };
    let table = fired.table();
    if bytes > known.tracked.truncate_limit {
        match known.tracked.on_truncate {
            OnTruncate::Refuse => {
                return Err(Error::TruncateRefused { table, bytes, limit: known.tracked.truncate_limit });
            }
            OnTruncate::Mark => {
                return journal_changes::record_gap(known.tracked.id, &format!("TRUNCATE of {bytes} bytes"));
            }
            OnTruncate::Capture => (),
        }
    }
    if kind != 'r' {
        // Its partitions have triggers of their own.
        known.keep();
        return Ok(());
    }
    let written = {
        let _settings = known.columns.needs_settings.then(Pinned::formats).transpose()?;
        // SAFETY: as above.
        let mut all = unsafe { AllRows::open(fired.relation()) };
        let mut pending = Pending::default();
        while let Some(slot) = all.next() {
            pgrx::check_for_interrupts!();
            // SAFETY: the slot holds a row of the relation.
            unsafe { known.columns.take(slot, &mut pending.after) };
            if pending.is_full() {
                pending.write(fired, &known)?;
            }
        }
        pending.write(fired, &known)
    };
    known.keep();
    written
}

/// Bytes of a table with its TOAST; 0 where it has no storage.
///
/// # Safety
/// `relation` is open and locked.
unsafe fn size(relation: pg_sys::Relation) -> i64 {
    // SAFETY: as the caller promises.
    unsafe {
        if capture::kind_of(relation) != 'r' {
            return 0;
        }
        let oid = pg_sys::Datum::from((*relation).rd_id);
        let size = pgrx::direct_function_call::<i64>(pg_sys::pg_table_size, &[Some(oid)]);
        size.unwrap_or(0)
    }
}

/// Rows that wait to be written: after the change (or before it, if they are gone), and of updates before it.
#[derive(Default)]
struct Pending {
    after: RowBatch,
    before: RowBatch,
    images: Vec<u8>,
}

impl Pending {
    fn is_full(&self) -> bool {
        self.after.bytes.len() + self.before.bytes.len() >= BATCH_BYTES || self.after.rows >= BATCH_ROWS
    }

    fn write(&mut self, fired: &Fired, known: &Known) -> Result<()> {
        if self.after.rows == 0 {
            return Ok(());
        }
        let before = (self.before.rows > 0).then_some(&self.before);
        self.images.clear();
        // The table's name is looked up for an error only: this is run for every statement.
        let logged = known.columns.logged(&self.after, before, &known.key, &mut self.images, || fired.table())?;
        let statement =
            Statement { tracked_id: known.tracked.id, shape_id: known.columns.shape.id, owner: known.owner };
        journal_changes::append(&statement, &changes(fired.operation(), logged, &self.images))?;
        for batch in [&mut self.after, &mut self.before] {
            batch.rows = 0;
            batch.bytes.clear();
        }
        Ok(())
    }
}

/// The rows of a batch as changes. An update that changes the key takes a row from one key and brings one to another.
fn changes(operation: Operation, logged: Vec<Logged>, images: &[u8]) -> Vec<Change<'_>> {
    let mut all = Vec::with_capacity(logged.len());
    for Logged { key, image, before } in logged {
        let one = |of: Operation, key, image: Range<usize>, changed| Change {
            operation: of.letter(),
            key,
            image: &images[image],
            changed,
        };
        match before {
            Before::Nothing => all.push(one(operation, key, image, None)),
            Before::Fields(changed) => all.push(one(operation, key, image, Some(changed))),
            Before::Row { key: old_key, image: old_image } => {
                all.push(one(Operation::Delete, old_key, old_image, None));
                all.push(one(Operation::Insert, key, image, None));
            }
        }
    }
    all
}

fn unexpected(reason: &str) -> Error {
    Error::Internal { object: "captured row", reason: reason.to_owned() }
}
