//! One snapshot for everything a call reads, pushed explicitly: after a first write SPI would take a new one per
//! statement, and two tables would be read at two moments (T40).

use pgrx::pg_sys;

use crate::error::{Error, Result};

/// The snapshot that is active until this is dropped.
#[must_use]
pub struct Snapshot {
    name: String,
}

impl Snapshot {
    /// Takes the transaction's snapshot (a new one in READ COMMITTED) and makes it the active one.
    pub fn push() -> Result<Self> {
        // SAFETY: we are inside a transaction; the pushed snapshot is popped by Drop, or by the abort after an error.
        unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot()) };
        let name = super::sql::text("SELECT pg_catalog.pg_current_snapshot()::text", &[])?;
        Ok(Snapshot { name: name.ok_or(Error::Internal { object: "snapshot", reason: "it has no name".into() })? })
    }

    /// `xmin:xmax:xip_list`, as `pg_current_snapshot` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: pops what `push` pushed; every executor run under it has ended by then.
            unsafe { pg_sys::PopActiveSnapshot() }
        }
    }
}

/// Whether all statements of this transaction share one snapshot (REPEATABLE READ, SERIALIZABLE), so that it may be
/// older than the locks.
pub fn is_fixed() -> bool {
    // SAFETY: reads a plain variable of this backend.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}

/// Refuses to write where the server or the transaction only reads.
pub fn require_writable() -> Result<()> {
    read_only().map_or(Ok(()), |reason| Err(Error::ReadOnly { reason }))
}

/// Refuses to write files in a transaction that only reads. On a standby each does, and files are no rows: there they may
/// be written.
pub fn require_writable_files() -> Result<()> {
    if is_standby() { Ok(()) } else { require_writable() }
}

/// Whether this server follows another one, so that no row can be written.
pub fn is_standby() -> bool {
    // SAFETY: looks at this backend's state.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// Where nothing may be written, in words; none where all may.
pub fn read_only() -> Option<&'static str> {
    // SAFETY: reads a plain variable of this backend.
    let transaction = unsafe { pg_sys::XactReadOnly };
    match (is_standby(), transaction) {
        (true, _) => Some("on a standby"),
        (false, true) => Some("in a read-only transaction"),
        (false, false) => None,
    }
}
