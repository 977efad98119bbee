//! What can go wrong with the evidence of a period.

use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;

/// An error of `evidence_report`.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    #[error("permission denied to read the evidence of backups")]
    MayNotRead { grantable: String },
}

impl EvidenceError {
    pub fn code(&self) -> Code {
        match self {
            EvidenceError::MayNotRead { .. } => Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
        }
    }

    pub fn hint(&self) -> String {
        match self {
            EvidenceError::MayNotRead { grantable } => {
                format!("Ask a superuser to run: GRANT {grantable} TO {};", crate::ident::current_user())
            }
        }
    }
}
