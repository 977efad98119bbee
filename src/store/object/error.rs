//! What can go wrong with an object store, sorted by what the caller can do. A message is made of our own words, the key and
//! the place; nothing that a server said is in it but codes of a known list, so no secret can be.

use std::io;

use crate::store::StoreError;

/// The one who waits wants no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancelled;

/// A failed act. `what` names it: `put "key"`. Messages are lower case; [`ObjectError::hint`] says what mends it.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    #[error("key \"{key}\" is not acceptable: {reason}")]
    BadKey { key: String, reason: &'static str },
    #[error("permission denied to {what}{}", in_brackets(code))]
    Denied { what: String, code: String },
    #[error("no credentials for {what}")]
    NoCredentials { what: String },
    #[error("object \"{key}\" does not exist")]
    Missing { key: String },
    #[error("object \"{key}\" is kept by a lock of the store")]
    Retained { key: String },
    #[error("the store is too busy to {what}{}", in_brackets(code))]
    Busy { what: String, code: String },
    #[error("the store cannot be reached to {what}: {reason}")]
    Unreachable { what: String, reason: &'static str },
    #[error("the store did not {what} within {seconds} seconds")]
    TimedOut { what: String, seconds: u64 },
    #[error("cancelled")]
    Cancelled,
    #[error("object \"{key}\" is damaged: {reason}")]
    Damaged { key: String, reason: String },
    #[error("the store is not set up to {what}: {reason}")]
    Misconfigured { what: String, reason: String },
    #[error("the store is not able to {what}")]
    Unsupported { what: String },
    #[error("cannot read what is to be put as \"{key}\": {source}")]
    Source { key: String, source: io::Error },
    #[error(transparent)]
    Local(#[from] StoreError),
    #[error("the store failed to {what}{}", in_brackets(code))]
    Failed { what: String, code: String },
}

fn in_brackets(code: &str) -> String {
    if code.is_empty() { String::new() } else { format!(" ({code})") }
}

impl From<Cancelled> for ObjectError {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

impl ObjectError {
    /// Whether the same call may succeed later without anybody's doing.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Unreachable { .. } | Self::TimedOut { .. })
    }

    /// A sentence that mends it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Denied { code, .. } if code.contains("RequestTimeTooSkewed") => {
                "Set this machine's clock: it differs too much from the store's.".into()
            }
            Self::Denied { code, .. } if code.contains("Expired") => "Renew the credentials; these have expired.".into(),
            Self::Denied { .. } => {
                "Check the credentials and what they may do: list the bucket; get, put and delete its objects.".into()
            }
            Self::NoCredentials { .. } => {
                "Give them to the server as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, as ~/.aws/credentials, by its instance's role, or by a user mapping.".into()
            }
            Self::Missing { .. } => "It was removed, or never uploaded.".into(),
            Self::Retained { .. } => "It can be removed when its lock ends.".into(),
            Self::Busy { .. } | Self::TimedOut { .. } => "Try again later.".into(),
            Self::Unreachable { .. } => "Check the endpoint, the network and the store.".into(),
            Self::Damaged { .. } => "Upload it again from a copy that verifies.".into(),
            Self::Misconfigured { .. } => "Check bucket, region, endpoint and path style.".into(),
            Self::Local(error) => return error.hint(),
            Self::BadKey { .. }
            | Self::Cancelled
            | Self::Unsupported { .. }
            | Self::Source { .. }
            | Self::Failed { .. } => return None,
        })
    }

    /// Gives back the error that `ReadAt` had to wrap; any other error comes back as it was.
    pub fn unwrap_io(error: io::Error) -> Result<Self, io::Error> {
        error.downcast::<Self>()
    }
}

impl From<ObjectError> for io::Error {
    fn from(error: ObjectError) -> Self {
        io::Error::other(error)
    }
}
