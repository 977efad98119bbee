//! What can be wrong with keys and sealed files. No message holds a secret, nor a line of a file that may hold one.

use std::io;

use super::recipients::KeyId;

/// A failed act of encryption. Messages are lower case; [`CryptError::hint`] says what mends it.
#[derive(Debug, thiserror::Error)]
pub enum CryptError {
    #[error("no recipient is given")]
    NoRecipient,
    #[error("line {line} is not a recipient: {reason}")]
    BadRecipient { line: usize, reason: &'static str },
    #[error("no identity is given")]
    NoIdentity,
    #[error("line {line} is not an identity: {reason}")]
    BadIdentity { line: usize, reason: &'static str },
    #[error("it is not acceptable: {reason}")]
    KeyFile { reason: &'static str, hint: &'static str },
    #[error("it cannot be read: {0}")]
    CannotRead(io::Error),
    #[error("no identity given opens it, it is sealed for {}", wanted_list(wanted))]
    WrongKey { wanted: Vec<KeyId> },
    #[error("it is not encrypted")]
    NotEncrypted,
    #[error("it is damaged: {reason}")]
    Damaged { reason: &'static str },
    #[error("it is encrypted in a way that is not supported: {what}")]
    Unsupported { what: &'static str },
    #[error("cannot seal: {0}")]
    Seal(&'static str),
    #[error(transparent)]
    Io(io::Error),
}

fn wanted_list(wanted: &[KeyId]) -> String {
    match wanted {
        [] => "keys it does not name".into(),
        [one] => format!("key {one}"),
        many => format!("keys {}", many.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

impl CryptError {
    /// A sentence that mends it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoRecipient | Self::BadRecipient { .. } => {
                "A recipients file has a line \"age1...\" for each public key, as age-keygen prints it; lines with \"#\" are comments."
            }
            Self::NoIdentity | Self::BadIdentity { .. } => {
                "An identity file has a line \"AGE-SECRET-KEY-1...\" for each secret key, as age-keygen writes it."
            }
            Self::KeyFile { hint, .. } => hint,
            Self::WrongKey { .. } => {
                "Give the identity file of one of these keys; a key that is lost cannot be replaced."
            }
            Self::NotEncrypted => {
                "It was replaced by a plain file, or written before encryption: look where it came from before using it."
            }
            Self::Damaged { .. } => "Take another copy of it.",
            Self::Unsupported { .. } => "Encrypt it for a key that age-keygen made.",
            Self::CannotRead(_) | Self::Seal(_) | Self::Io(_) => return None,
        })
    }

    /// Gives back the error that [`io::Read`] or `ReadAt` had to wrap; any other error comes back as it was.
    pub fn unwrap_io(error: io::Error) -> Result<Self, io::Error> {
        error.downcast::<Self>()
    }
}

impl From<CryptError> for io::Error {
    fn from(error: CryptError) -> Self {
        match error {
            CryptError::Io(source) => source,
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        }
    }
}
