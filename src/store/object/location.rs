//! Where a store is: `s3://bucket/prefix` or `file:///path`. No credential is ever taken from it, or shown of it.

use std::fmt;
use std::path::PathBuf;

use super::key;

/// A place that copies go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A bucket, and the prefix below which all keys are; empty for none.
    S3 { bucket: String, prefix: String },
    /// A directory.
    File { path: PathBuf },
}

/// Why a text is no location. The text may hold a secret, so none of it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    #[error("the location begins neither with \"s3://\" nor with \"file:///\"")]
    Scheme,
    #[error("the location holds credentials, which do not belong there")]
    Credentials,
    #[error("the location's bucket is not acceptable: 3 to 63 lower case letters, digits, \"-\" and \".\"")]
    Bucket,
    #[error("the location's prefix is not acceptable: {0}")]
    Prefix(&'static str),
    #[error("the location's path is not acceptable: {0}")]
    Path(&'static str),
    #[error("the location has a query or a fragment")]
    Query,
}

impl LocationError {
    /// A sentence that mends it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Credentials => {
                "Give them to the server as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or in ~/.aws/credentials, or by a user mapping; and change these, for they have been shown."
            }
            _ => "Write it as s3://bucket/prefix or file:///directory.",
        }
    }
}

impl Location {
    /// Reads a location. A slash at the end is left out.
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        let (is_s3, rest) = match (text.strip_prefix("s3://"), text.strip_prefix("file://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(LocationError::Scheme),
        };
        let authority = rest.split('/').next().unwrap_or_default();
        if authority.contains('@') || authority.contains(':') {
            return Err(LocationError::Credentials);
        }
        if rest.contains(['?', '#']) {
            return Err(LocationError::Query);
        }
        if is_s3 { Self::parse_s3(rest) } else { Self::parse_file(rest) }
    }

    fn parse_s3(rest: &str) -> Result<Self, LocationError> {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let letters = bucket.bytes().all(|byte| plain(byte) || matches!(byte, b'-' | b'.'));
        let ends = bucket.bytes().next().is_some_and(plain) && bucket.bytes().last().is_some_and(plain);
        if !(3..=63).contains(&bucket.len()) || !letters || !ends || bucket.contains("..") {
            return Err(LocationError::Bucket);
        }
        let stripped = prefix.strip_suffix('/').unwrap_or(prefix);
        let fault = if prefix.is_empty() { None } else { key::fault(stripped) };
        match fault {
            None => Ok(Location::S3 { bucket: bucket.into(), prefix: stripped.into() }),
            Some(reason) => Err(LocationError::Prefix(reason)),
        }
    }

    fn parse_file(rest: &str) -> Result<Self, LocationError> {
        if !rest.starts_with('/') {
            return Err(LocationError::Path("it does not begin with \"/\""));
        }
        if rest.chars().any(char::is_control) {
            return Err(LocationError::Path("it holds control characters"));
        }
        if rest.split('/').any(|component| component == "..") {
            return Err(LocationError::Path("it contains \"..\""));
        }
        Ok(Location::File { path: rest.into() })
    }

    /// The same place with `below` added, as the prefix of a cluster.
    pub fn join(&self, below: &str) -> Self {
        match self {
            Self::S3 { bucket, prefix } if prefix.is_empty() => {
                Self::S3 { bucket: bucket.clone(), prefix: below.into() }
            }
            Self::S3 { bucket, prefix } => Self::S3 { bucket: bucket.clone(), prefix: format!("{prefix}/{below}") },
            Self::File { path } => Self::File { path: path.join(below) },
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::File { path } => write!(f, "file://{}", path.display()),
        }
    }
}
