//! What can go wrong when a person is erased. The value that names the person stands in none of these.

use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum EraseError {
    #[error("backup set \"{set}\" names no subject columns")]
    NoSubjects { set: String },
    #[error("\"{subject}\" is no column and no path to a text: {reason}")]
    NotASubject { subject: String, reason: String },
    #[error("no table of backup set \"{set}\" has column \"{column}\"")]
    NoSuchColumn { set: String, column: String, near: Vec<String> },
    #[error("backup \"{backup}\" is changed by this very transaction, which erases rows from it")]
    Pending { backup: String },
    #[error("the erasure that was begun in \"{file}\" cannot be ended: {reason}")]
    Unfinished { file: String, reason: String },
}

impl EraseError {
    pub fn code(&self) -> Code {
        match self {
            EraseError::NoSubjects { .. } | EraseError::Pending { .. } => {
                Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
            EraseError::NotASubject { .. } => Code::ERRCODE_INVALID_PARAMETER_VALUE,
            EraseError::NoSuchColumn { .. } => Code::ERRCODE_UNDEFINED_COLUMN,
            EraseError::Unfinished { .. } => Code::ERRCODE_DATA_CORRUPTED,
        }
    }

    pub fn hint(&self) -> Option<String> {
        Some(match self {
            EraseError::NoSubjects { .. } => "Give a column or a path, or name them for good: \
                 SELECT agent_backup.set_subject_columns('agent_sdk', 'agent_approvals', '{customer_email}');"
                .into(),
            EraseError::NotASubject { .. } => "Write it as customer_email, or as data->>'customer_email'.".into(),
            EraseError::NoSuchColumn { near, .. } => return super::did_you_mean(near),
            EraseError::Pending { .. } => "End it with COMMIT first.".into(),
            EraseError::Unfinished { .. } => {
                "Mend that and read the backup again: the rest is done then. Until then the backup is not to be read."
                    .into()
            }
        })
    }
}
