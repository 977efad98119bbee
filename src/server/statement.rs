//! One statement over tables of users: its rights are those of one role, and the code it meets — index expressions, checks,
//! triggers, filters — runs as another, the tables' owner, in a security-restricted operation (T75).

use std::ffi::CStr;

use pgrx::{PgList, pg_guard, pg_sys};

use crate::error::{Error, Result};
use crate::pg_compat;
use crate::server::encoding;
use crate::server::sql;
use crate::server::user::{ActingAs, Restriction};

unsafe extern "C-unwind" {
    /// rewrite/rewriteDefine.h: sets whose rights every table of a query is checked for, in subqueries too.
    fn setRuleCheckAsUser(node: *mut pg_sys::Node, user: pg_sys::Oid);
}

/// A statement whose names are all qualified.
pub struct Statement<'a> {
    pub text: &'a str,
    /// Whose rights and policies count.
    pub rights_of: pg_sys::Oid,
    /// Who runs the code of others.
    pub code_as: pg_sys::Oid,
    /// Whether triggers of the table that it writes are left out, but for those that capture its changes; its partitions'
    /// are not.
    pub skip_triggers: bool,
}

impl<'a> Statement<'a> {
    /// A statement that reads.
    pub fn reading(text: &'a str, rights_of: pg_sys::Oid, code_as: pg_sys::Oid) -> Self {
        Statement { text, rights_of, code_as, skip_triggers: false }
    }

    /// Analyses it, and refuses one whose result can differ from call to call.
    pub fn check_stable(&self) -> Result<()> {
        let text = encoding::c_string(self.text)?;
        let _owner = ActingAs::user(self.code_as, Restriction::SecurityRestricted);
        let query = analyse(&text, self.rights_of)?;
        // SAFETY: walks the tree that was just made.
        if unsafe { pg_sys::contain_volatile_functions(query.cast()) } {
            let reason = "it calls a volatile function, whose answer can differ from row to row".to_owned();
            return Err(Error::InvalidOption { option: "where_clause", reason });
        }
        Ok(())
    }

    /// Runs it; the number of rows that it touched.
    pub fn execute(&self) -> Result<u64> {
        self.run().map(|(count, _)| count)
    }

    /// Runs it; its rows as the texts of their values.
    pub fn rows(&self) -> Result<Vec<Vec<Option<String>>>> {
        self.run().map(|(_, rows)| rows)
    }

    fn run(&self) -> Result<(u64, Vec<Vec<Option<String>>>)> {
        let text = encoding::c_string(self.text)?;
        let _owner = ActingAs::user(self.code_as, Restriction::SecurityRestricted);
        let query = analyse(&text, self.rights_of)?;
        let mut receiver = Receiver::new();
        let capture = if self.skip_triggers { Some(capture_function()?) } else { None };
        // SAFETY: the snapshot sees what this transaction did before and is popped after the executor has ended; the
        // receiver and the text outlive the descriptor. An error on the way is cleaned up by the abort.
        let count = unsafe {
            pg_sys::CommandCounterIncrement();
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
            pg_sys::UpdateActiveSnapshotCommandId();
            let plan = pg_sys::pg_plan_query(query, text.as_ptr(), 0, std::ptr::null_mut());
            let description = pg_sys::CreateQueryDesc(
                plan,
                text.as_ptr(),
                pg_sys::GetActiveSnapshot(),
                std::ptr::null_mut(),
                (&raw mut receiver).cast(),
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                0,
            );
            pg_sys::ExecutorStart(description, 0);
            if let Some(capture) = capture {
                let opened = (*(*description).estate).es_opened_result_relations;
                for relation in PgList::<pg_sys::ResultRelInfo>::from_pg(opened).iter_ptr() {
                    keep_only(capture, (*relation).ri_TrigDesc);
                }
            }
            pg_compat::executor_run(description);
            pg_sys::ExecutorFinish(description);
            let count = (*(*description).estate).es_processed;
            pg_sys::ExecutorEnd(description);
            pg_sys::FreeQueryDesc(description);
            pg_sys::PopActiveSnapshot();
            pg_sys::CommandCounterIncrement();
            count
        };
        receiver.failed.map_or(Ok((count, receiver.rows)), Err)
    }
}

fn capture_function() -> Result<pg_sys::Oid> {
    let found = sql::rows("SELECT 'agent_backup.capture()'::pg_catalog.regprocedure::pg_catalog.oid", &[], |row| {
        row.required(1)
    })?;
    found.first().copied().ok_or(Error::Internal { object: "statement", reason: "the extension is gone".into() })
}

/// Takes all triggers but those of one function out of what the executor knows of a table.
///
/// # Safety
/// `triggers` is null, or the executor's own copy, none of which has fired yet.
unsafe fn keep_only(function: pg_sys::Oid, triggers: *mut pg_sys::TriggerDesc) {
    // SAFETY: as the caller promises.
    let Some(known) = (unsafe { triggers.as_mut() }) else { return };
    let before = std::mem::take(known);
    // SAFETY: it has as many items as it says.
    let all = unsafe { std::slice::from_raw_parts_mut(before.triggers, before.numtriggers as usize) };
    known.triggers = before.triggers;
    for index in 0..all.len() {
        if all[index].tgfoid != function {
            continue;
        }
        let (kind, kept) = (all[index].tgtype as u32, known.numtriggers as usize);
        let (has_old, has_new) = (!all[index].tgoldtable.is_null(), !all[index].tgnewtable.is_null());
        let is_row = kind & pg_sys::TRIGGER_TYPE_ROW != 0;
        if kind & pg_sys::TRIGGER_TYPE_INSERT != 0 {
            known.trig_insert_after_row |= is_row;
            known.trig_insert_after_statement |= !is_row;
            known.trig_insert_new_table |= has_new;
        }
        if kind & pg_sys::TRIGGER_TYPE_UPDATE != 0 {
            known.trig_update_after_row |= is_row;
            known.trig_update_after_statement |= !is_row;
            known.trig_update_old_table |= has_old;
            known.trig_update_new_table |= has_new;
        }
        if kind & pg_sys::TRIGGER_TYPE_DELETE != 0 {
            known.trig_delete_after_row |= is_row;
            known.trig_delete_after_statement |= !is_row;
            known.trig_delete_old_table |= has_old;
        }
        all.swap(kept, index);
        known.numtriggers += 1;
    }
}

fn analyse(text: &CStr, rights_of: pg_sys::Oid) -> Result<*mut pg_sys::Query> {
    // SAFETY: the text is NUL-terminated and lives in the caller; lists are checked for their length before use.
    unsafe {
        let statements = PgList::<pg_sys::RawStmt>::from_pg(pg_sys::pg_parse_query(text.as_ptr()));
        let parsed = pg_sys::parse_analyze_fixedparams(
            only(&statements)?,
            text.as_ptr(),
            std::ptr::null(),
            0,
            std::ptr::null_mut(),
        );
        pg_sys::ffi::pg_guard_ffi_boundary(|| setRuleCheckAsUser(parsed.cast(), rights_of));
        only(&PgList::<pg_sys::Query>::from_pg(pg_sys::pg_rewrite_query(parsed)))
    }
}

/// A rule may have made none or several of one: then this is no statement that a restore may run.
fn only<T>(list: &PgList<T>) -> Result<*mut T> {
    match (list.len(), list.head()) {
        (1, Some(item)) => Ok(item),
        (count, _) => Err(Error::Internal {
            object: "statement",
            reason: format!("it became {count} statements, as by a rule on its table"),
        }),
    }
}

/// A `DestReceiver` that keeps the rows as texts, for statements with few.
#[repr(C)]
struct Receiver {
    base: pg_sys::DestReceiver,
    rows: Vec<Vec<Option<String>>>,
    failed: Option<Error>,
}

impl Receiver {
    fn new() -> Self {
        Receiver {
            base: pg_sys::DestReceiver {
                receiveSlot: Some(receive_slot),
                rStartup: Some(start_up),
                rShutdown: Some(shut_down),
                rDestroy: Some(shut_down),
                mydest: pg_sys::CommandDest::DestNone,
            },
            rows: Vec::new(),
            failed: None,
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn receive_slot(
    slot: *mut pg_sys::TupleTableSlot,
    receiver: *mut pg_sys::DestReceiver,
) -> bool {
    // SAFETY: the executor passes back the receiver that `run` gave it, and a row of the statement's own columns.
    unsafe {
        let row_type = pgrx::PgTupleDesc::from_pg_copy((*slot).tts_tupleDescriptor);
        if usize::from((*slot).tts_nvalid.cast_unsigned()) < row_type.len() {
            pg_sys::slot_getsomeattrs_int(slot, row_type.len() as i32);
        }
        let value = |place: usize| {
            if *(*slot).tts_isnull.add(place) {
                return None;
            }
            let (mut output, mut is_varlena) = (pg_sys::InvalidOid, false);
            pg_sys::getTypeOutputInfo(row_type.get(place)?.atttypid, &mut output, &mut is_varlena);
            encoding::owned(pg_sys::OidOutputFunctionCall(output, *(*slot).tts_values.add(place)))
        };
        let row: Result<Vec<Option<String>>> = (0..row_type.len()).map(|place| value(place).transpose()).collect();
        let receiver = &mut *receiver.cast::<Receiver>();
        match row {
            Ok(row) => receiver.rows.push(row),
            Err(error) => receiver.failed = Some(error),
        }
    }
    true
}

#[pg_guard]
unsafe extern "C-unwind" fn start_up(_receiver: *mut pg_sys::DestReceiver, _operation: i32, _row: pg_sys::TupleDesc) {}

#[pg_guard]
unsafe extern "C-unwind" fn shut_down(_receiver: *mut pg_sys::DestReceiver) {}
