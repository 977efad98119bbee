//! What can go wrong with keys and encrypted backups. No message holds a secret, nor a line of a file of keys.

use agent_backup_core::crypt::{CryptError, KeyId};
use agent_backup_core::store::StoreError;
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;
use thiserror::Error;

use super::store_code;

#[derive(Debug, Error)]
pub enum EncryptionError {
    #[error("recipients file \"{path}\" cannot be used: {problem}")]
    Recipients { path: String, problem: CryptError },
    #[error("identity file \"{path}\" cannot be used: {problem}")]
    Identity { path: String, problem: CryptError },
    #[error("backup file \"{file}\" is encrypted{}, and agent_backup.identity_file is not set", for_keys(wanted))]
    NoIdentityFile { file: String, wanted: Vec<KeyId> },
    #[error(
        "backup file \"{file}\" is encrypted{}, and the identity file holds key {}",
        for_keys(wanted),
        list(present)
    )]
    WrongKey { file: String, wanted: Vec<KeyId>, present: Vec<KeyId> },
    #[error("backup file \"{file}\" cannot be decrypted: {problem}")]
    File { file: String, problem: CryptError },
    #[error("backup file \"{file}\" is not encrypted, though {told} says that it is")]
    /// `told`: what says so.
    Downgraded { file: String, told: &'static str },
    #[error("backup file \"{file}\" is changed by this transaction already")]
    Changing { file: String },
    #[error("could not encrypt the backup: {0}")]
    Seal(CryptError),
    #[error("permission denied to say how backups are encrypted")]
    MayNotChange,
}

fn for_keys(keys: &[KeyId]) -> String {
    if keys.is_empty() { String::new() } else { format!(" for key {}", list(keys)) }
}

fn list(keys: &[KeyId]) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl EncryptionError {
    /// Of opening a file with the keys `present`.
    pub fn of_file(file: &str, problem: CryptError, present: Vec<KeyId>) -> Self {
        let file = file.to_owned();
        match problem {
            // The header names a key that is here, which does not open it.
            CryptError::WrongKey { wanted } if wanted.iter().any(|id| present.contains(id)) => {
                EncryptionError::File { file, problem: CryptError::Damaged { reason: "its header" } }
            }
            CryptError::WrongKey { wanted } => EncryptionError::WrongKey { file, wanted, present },
            problem => EncryptionError::File { file, problem },
        }
    }

    /// Whether only a key is wanting: the file may be as good as any.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Identity { .. } | Self::NoIdentityFile { .. } | Self::WrongKey { .. })
    }

    pub fn code(&self) -> Code {
        match self {
            Self::Recipients { problem, .. } | Self::Identity { problem, .. } => match problem {
                CryptError::CannotRead(source) => store_code(source.raw_os_error()),
                _ => Code::ERRCODE_CONFIG_FILE_ERROR,
            },
            Self::NoIdentityFile { .. } | Self::WrongKey { .. } | Self::Changing { .. } => {
                Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
            Self::File { problem: CryptError::Io(source), .. } => store_code(source.raw_os_error()),
            Self::File { problem: CryptError::Unsupported { .. }, .. } => Code::ERRCODE_FEATURE_NOT_SUPPORTED,
            Self::File { .. } | Self::Downgraded { .. } => Code::ERRCODE_DATA_CORRUPTED,
            Self::Seal(CryptError::Io(source)) => match source.get_ref().and_then(|it| it.downcast_ref::<StoreError>())
            {
                Some(store) => store_code(store.errno()),
                None => store_code(source.raw_os_error()),
            },
            Self::Seal(_) => Code::ERRCODE_INTERNAL_ERROR,
            Self::MayNotChange => Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
        }
    }

    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Recipients { problem, .. } => problem.hint().unwrap_or(
                "Make it with age-keygen -y on the machine that holds the identity, or name another with agent_backup.set_encryption().",
            ),
            Self::Identity { problem, .. } => problem.hint().unwrap_or("agent_backup.identity_file names it."),
            Self::NoIdentityFile { .. } => {
                "Set agent_backup.identity_file to the file that age-keygen wrote, on a server that may read the backups; verify() at level hash needs no key."
            }
            Self::WrongKey { .. } => {
                "Give the identity file of one of these keys in agent_backup.identity_file; a key that is lost cannot be replaced."
            }
            Self::Downgraded { .. } => {
                "Somebody may have replaced it: find out who, and use another backup or another copy of this one."
            }
            Self::Changing { .. } => "COMMIT, and call it again.",
            Self::File { problem: CryptError::Io(_), .. } => return None,
            Self::File { .. } => "Use another copy of it, or another backup (see agent_backup.backups).",
            Self::Seal(problem) => return problem.hint().map(str::to_owned),
            Self::MayNotChange => {
                return Some(format!(
                    "Ask a superuser to run: GRANT pg_read_server_files TO {};",
                    crate::ident::current_user()
                ));
            }
        };
        Some(hint.to_owned())
    }
}
