//! What can go wrong with copies in other places. No message or hint holds a secret: what a person gave as a place is told
//! only after it was found to hold none.

use agent_backup_core::store::object::{LocationError, ObjectError};
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;
use thiserror::Error;

use super::did_you_mean;

#[derive(Debug, Error)]
pub enum OffsiteError {
    #[error("no off-site place is configured for backup set \"{set}\"")]
    NoDestination { set: String },
    #[error("backup set \"{set}\" has no destination \"{url}\"")]
    UnknownDestination { set: String, url: String, near: Vec<String> },
    #[error("backup set \"{set}\" has the destination \"{url}\" already")]
    DestinationExists { set: String, url: String },
    #[error(transparent)]
    Location(#[from] LocationError),
    #[error("permission denied to {what} \"{url}\"")]
    MayNotReach { what: &'static str, url: String, grantable: &'static str },
    #[error("foreign server \"{server}\" does not exist")]
    UnknownServer { server: String },
    #[error("foreign server \"{server}\" is not one of agent_backup_s3")]
    WrongServer { server: String },
    #[error("invalid option \"{option}\" of a {what}")]
    UnknownOption { option: String, what: &'static str, valid: String },
    #[error("invalid value of option \"{option}\": {reason}")]
    InvalidOption { option: String, reason: &'static str },
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error("object \"{key}\" is there with another content, which another server may have put")]
    Conflict { key: String },
    #[error("cancelled")]
    Cancelled,
}

impl OffsiteError {
    /// The SQLSTATE, as a client sees it.
    pub fn code(&self) -> Code {
        match self {
            Self::NoDestination { .. } => Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::UnknownDestination { .. } | Self::UnknownServer { .. } => Code::ERRCODE_UNDEFINED_OBJECT,
            Self::DestinationExists { .. } | Self::Conflict { .. } => Code::ERRCODE_DUPLICATE_OBJECT,
            Self::Location(_) | Self::InvalidOption { .. } => Code::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::MayNotReach { .. } => Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::WrongServer { .. } => Code::ERRCODE_WRONG_OBJECT_TYPE,
            Self::UnknownOption { .. } => Code::ERRCODE_FDW_INVALID_OPTION_NAME,
            Self::Cancelled => Code::ERRCODE_QUERY_CANCELED,
            Self::Object(error) => object_code(error),
        }
    }

    /// A sentence or a command that mends it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoDestination { set } => Some(format!(
                "Add one: SELECT agent_backup.add_destination({}, 's3://bucket/prefix');",
                crate::ident::literal(set)
            )),
            Self::UnknownDestination { near, .. } => did_you_mean(near)
                .or_else(|| Some("agent_backup.offsite_destinations lists those that there are.".into())),
            Self::Location(error) => Some(error.hint().into()),
            Self::MayNotReach { grantable, .. } => {
                Some(format!("Ask a superuser to run: GRANT {grantable} TO {};", crate::ident::current_user()))
            }
            Self::UnknownServer { .. } | Self::WrongServer { .. } => Some(
                "Make one: CREATE SERVER offsite FOREIGN DATA WRAPPER agent_backup_s3 OPTIONS (endpoint 'https://…', region '…');"
                    .into(),
            ),
            Self::UnknownOption { valid, .. } => Some(format!("Valid options are {valid}.")),
            Self::Object(error) => error.hint(),
            Self::Conflict { .. } => Some(
                "Give each server a prefix of its own, or remove the object if it is of no use; it is never overwritten.".into(),
            ),
            Self::DestinationExists { .. } | Self::InvalidOption { .. } | Self::Cancelled => None,
        }
    }
}

fn object_code(error: &ObjectError) -> Code {
    match error {
        ObjectError::Denied { .. } | ObjectError::NoCredentials { .. } => Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
        ObjectError::Missing { .. } => Code::ERRCODE_UNDEFINED_FILE,
        ObjectError::Retained { .. } => Code::ERRCODE_OBJECT_IN_USE,
        ObjectError::Busy { .. } | ObjectError::Unreachable { .. } | ObjectError::TimedOut { .. } => {
            Code::ERRCODE_CONNECTION_FAILURE
        }
        ObjectError::Cancelled => Code::ERRCODE_QUERY_CANCELED,
        ObjectError::Damaged { .. } => Code::ERRCODE_DATA_CORRUPTED,
        ObjectError::BadKey { .. } | ObjectError::Misconfigured { .. } => Code::ERRCODE_INVALID_PARAMETER_VALUE,
        ObjectError::Unsupported { .. } => Code::ERRCODE_FEATURE_NOT_SUPPORTED,
        ObjectError::Source { .. } => Code::ERRCODE_IO_ERROR,
        ObjectError::Local(error) => super::store_code(error.errno()),
        ObjectError::Failed { .. } => Code::ERRCODE_SYSTEM_ERROR,
    }
}
