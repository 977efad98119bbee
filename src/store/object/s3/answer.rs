//! What a server says, reduced to a status and a code that is known; and what a line says that breaks. Sorted into errors.

use std::error::Error;
use std::io;

use object_store::client::{HttpError, HttpErrorKind};

use super::super::error::ObjectError;

/// Codes that are told to a person. Any other text of a server is not, for it may hold what was sent.
const CODES: [&str; 46] = [
    "AccessDenied",
    "AccountProblem",
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "BadDigest",
    "BucketRegionError",
    "ConditionalRequestConflict",
    "EntityTooLarge",
    "EntityTooSmall",
    "ExpiredToken",
    "IllegalLocationConstraintException",
    "InternalError",
    "InvalidAccessKeyId",
    "InvalidArgument",
    "InvalidBucketName",
    "InvalidDigest",
    "InvalidObjectState",
    "InvalidPart",
    "InvalidPartOrder",
    "InvalidRange",
    "InvalidRequest",
    "InvalidSecurity",
    "InvalidToken",
    "KeyTooLongError",
    "MethodNotAllowed",
    "NoSuchBucket",
    "NoSuchKey",
    "NoSuchUpload",
    "NotImplemented",
    "NotSignedUp",
    "ObjectLocked",
    "OperationAborted",
    "PermanentRedirect",
    "PreconditionFailed",
    "QuotaExceeded",
    "RequestTimeTooSkewed",
    "RequestTimeout",
    "ServiceUnavailable",
    "SignatureDoesNotMatch",
    "SlowDown",
    "TemporaryRedirect",
    "Throttling",
    "TooManyRequests",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
    "XMinioStorageFull",
];

/// Words by which stores say that a lock keeps an object; S3 itself has no code for it.
const LOCK_WORDS: [&str; 4] = ["object lock", "objectlocked", "worm protected", "retention period"];

/// An answer that is no success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    status: u16,
    code: Option<&'static str>,
    locked: bool,
    region: Option<String>,
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.code {
            Some(code) => write!(f, "{} {code}", self.status),
            None => write!(f, "{}", self.status),
        }
    }
}

impl Error for Answer {}

impl Answer {
    pub(super) fn new(status: u16, body: &str, region: Option<&str>) -> Self {
        let code = body.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
        let code = code.and_then(|(code, _)| CODES.iter().find(|known| **known == code.trim()).copied());
        let low = body.to_ascii_lowercase();
        let plain = |text: &&str| {
            text.len() <= 32 && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        Answer {
            status,
            code,
            locked: LOCK_WORDS.iter().any(|word| low.contains(word)),
            region: region.filter(plain).map(str::to_owned),
        }
    }

    /// Whether the same request may succeed a moment later.
    pub(super) fn is_passing(&self) -> bool {
        match self.status {
            501 | 505 => false,
            409 => matches!(self.code, Some("ConditionalRequestConflict" | "OperationAborted")),
            status => status >= 500 || matches!(status, 408 | 425 | 429) || self.code == Some("RequestTimeout"),
        }
    }

    /// Whether an object was there that should not have been.
    pub(super) fn is_taken(&self) -> bool {
        matches!(self.status, 304 | 412)
    }

    fn sort(&self, asked: &Asked<'_>) -> ObjectError {
        let (what, code, key) = (asked.what(), self.to_string(), asked.key.to_owned());
        let reason = |text: &str| ObjectError::Misconfigured { what: what.clone(), reason: text.into() };
        match (self.status, self.code) {
            _ if self.locked => ObjectError::Retained { key },
            (_, Some("NoSuchBucket")) => reason("the bucket does not exist"),
            (_, Some("BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch")) => {
                ObjectError::Damaged { key, reason: format!("other bytes arrived than were sent ({code})") }
            }
            (_, Some("ExpiredToken" | "InvalidToken")) | (401 | 403, _) => ObjectError::Denied { what, code },
            (_, Some("AuthorizationHeaderMalformed" | "IllegalLocationConstraintException")) | (300..=399, _) => {
                match &self.region {
                    Some(region) => reason(&format!("the bucket is in region \"{region}\"")),
                    None => reason(&format!("the bucket is in another region or at another endpoint ({code})")),
                }
            }
            (404 | 410, _) => ObjectError::Missing { key },
            (416, _) => ObjectError::Damaged { key, reason: "it is shorter than expected".into() },
            (501, _) => ObjectError::Unsupported { what },
            _ if self.is_passing() => ObjectError::Busy { what, code },
            _ => ObjectError::Failed { what, code },
        }
    }
}

/// A line that broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("no answer in time")]
    TimedOut,
    #[error("its name cannot be resolved")]
    Name,
    #[error("the connection was refused")]
    Refused,
    #[error("its certificate is not trusted")]
    Certificate,
    #[error("the connection was lost")]
    Lost,
    #[error("no connection")]
    NoConnection,
    #[error("no credentials")]
    NoCredentials,
}

impl Broken {
    /// Replaces a library's error by what is known of it, under the kind that says whether to try again.
    pub(super) fn explain(error: &HttpError) -> HttpError {
        let broken = Self::of(error);
        let kind = if broken == Self::Certificate { HttpErrorKind::Unknown } else { error.kind() };
        HttpError::new(kind, broken)
    }

    fn of(error: &HttpError) -> Self {
        for cause in causes(error) {
            if let Some(io) = cause.downcast_ref::<io::Error>() {
                let tls = io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
                match io.kind() {
                    _ if tls => return Self::Certificate,
                    io::ErrorKind::ConnectionRefused => return Self::Refused,
                    _ => {}
                }
            }
            if cause.is::<rustls::Error>() {
                return Self::Certificate;
            }
            if cause.to_string().starts_with("dns error") {
                return Self::Name;
            }
        }
        match error.kind() {
            HttpErrorKind::Timeout => Self::TimedOut,
            HttpErrorKind::Connect => Self::NoConnection,
            _ => Self::Lost,
        }
    }
}

/// What was asked of the store.
pub(super) struct Asked<'k> {
    pub(super) action: &'static str,
    pub(super) key: &'k str,
}

impl Asked<'_> {
    pub(super) fn what(&self) -> String {
        if self.key.is_empty() { self.action.into() } else { format!("{} \"{}\"", self.action, self.key) }
    }

    /// Sorts an error of the library. Of its own text nothing is taken.
    pub(super) fn sort(&self, error: &(dyn Error + 'static)) -> ObjectError {
        let what = self.what();
        for cause in causes(error) {
            if let Some(answer) = cause.downcast_ref::<Answer>() {
                return answer.sort(self);
            }
            if let Some(broken) = cause.downcast_ref::<Broken>() {
                return match broken {
                    Broken::NoCredentials => ObjectError::NoCredentials { what },
                    Broken::TimedOut => ObjectError::Unreachable { what, reason: "no answer in time" },
                    Broken::Name => ObjectError::Unreachable { what, reason: "its name cannot be resolved" },
                    Broken::Refused => ObjectError::Unreachable { what, reason: "the connection was refused" },
                    Broken::Certificate => ObjectError::Unreachable { what, reason: "its certificate is not trusted" },
                    Broken::Lost => ObjectError::Unreachable { what, reason: "the connection was lost" },
                    Broken::NoConnection => ObjectError::Unreachable { what, reason: "no connection" },
                };
            }
        }
        // A body that broke off is the only error of the line that does not pass through `Line`.
        match causes(error).find_map(|cause| cause.downcast_ref::<HttpError>()) {
            Some(_) => ObjectError::Unreachable { what, reason: "the connection was lost" },
            None => ObjectError::Failed { what, code: "its answer makes no sense".into() },
        }
    }
}

/// The answer behind an error of the library, if it was one.
pub(super) fn answer_of<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Answer> {
    causes(error).find_map(|cause| cause.downcast_ref::<Answer>())
}

fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'e (dyn Error + 'static)| {
        let error: &'e (dyn Error + 'static) = *error;
        error.source()
    })
}
