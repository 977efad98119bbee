//! What can go wrong with the log of acts, and with all that the extension keeps.

use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum AuditError {
    #[error("table \"{table}\" takes no changes: the log of acts can only grow, by acts")]
    AppendOnly { table: String },
    #[error("the log of acts is guarded by a trigger only: {reason}")]
    NoTrigger { reason: &'static str },
    #[error("extension \"agent_backup\" cannot be dropped without CASCADE: it keeps {}", kept.join(", "))]
    StillKept { kept: Vec<String> },
    #[error("extension \"agent_backup\" of this database is older than its library")]
    NotUpdated,
}

impl AuditError {
    /// The SQLSTATE, as a client sees it.
    pub fn code(&self) -> Code {
        match self {
            AuditError::AppendOnly { .. } => Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
            AuditError::StillKept { .. } => Code::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
            AuditError::NotUpdated => Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            AuditError::NoTrigger { .. } => Code::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
        }
    }

    /// A sentence or a command that mends it.
    pub fn hint(&self) -> Option<String> {
        match self {
            AuditError::AppendOnly { .. } => Some(
                "Entries are never changed or removed; a dump is loaded into a new database before the first act."
                    .into(),
            ),
            AuditError::StillKept { .. } => Some(
                "Dump the database first, then: DROP EXTENSION agent_backup CASCADE; backup files stay on disk, the rest is lost."
                    .into(),
            ),
            AuditError::NotUpdated => Some("Ask a superuser to run: ALTER EXTENSION agent_backup UPDATE;".into()),
            AuditError::NoTrigger { .. } => None,
        }
    }
}
