//! A running scan or load shows in the server's own view, `pg_stat_progress_copy`.

use pgrx::pg_sys;

// Slots of pg_stat_progress_copy, from commands/progress.h.
const BYTES_PROCESSED: i32 = 0;
const BYTES_TOTAL: i32 = 1;
const TUPLES_PROCESSED: i32 = 2;
const COMMAND: i32 = 4;
const TYPE: i32 = 5;
const COMMAND_FROM: i64 = 1;
const COMMAND_TO: i64 = 2;
const TYPE_FILE: i64 = 1;
const TYPE_CALLBACK: i64 = 4;

/// A row of the view for as long as it lives. After an error the server's abort removes it.
#[must_use]
pub struct Progress;

impl Progress {
    /// Starts the row for a table of `bytes` bytes (0: not known).
    pub fn start(table: pg_sys::Oid, bytes: i64) -> Self {
        Self::show_as(table, COMMAND_TO, TYPE_FILE, bytes)
    }

    /// Starts the row for a table that takes `bytes` bytes of text.
    pub fn loading(table: pg_sys::Oid, bytes: i64) -> Self {
        Self::show_as(table, COMMAND_FROM, TYPE_CALLBACK, bytes)
    }

    /// Starts the row for a file of `bytes` bytes that is sent elsewhere; it names no table.
    pub fn sending(bytes: i64) -> Self {
        Self::show_as(pg_sys::InvalidOid, COMMAND_TO, TYPE_CALLBACK, bytes)
    }

    fn show_as(table: pg_sys::Oid, command: i64, kind: i64, bytes: i64) -> Self {
        // SAFETY: writes this backend's own status entry.
        unsafe {
            pg_sys::pgstat_progress_start_command(pg_sys::ProgressCommandType::PROGRESS_COMMAND_COPY, table);
            for (slot, value) in [(COMMAND, command), (TYPE, kind), (BYTES_TOTAL, bytes)] {
                pg_sys::pgstat_progress_update_param(slot, value);
            }
        }
        Progress
    }

    /// Shows how far it is.
    pub fn show(&self, rows: u64, bytes: u64) {
        // SAFETY: as above.
        unsafe {
            pg_sys::pgstat_progress_update_param(TUPLES_PROCESSED, rows.cast_signed());
            pg_sys::pgstat_progress_update_param(BYTES_PROCESSED, bytes.cast_signed());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: as above.
            unsafe { pg_sys::pgstat_progress_end_command() }
        }
    }
}
