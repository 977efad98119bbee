//! Which keys are acceptable: those that mean the same to every store, every file system and every URL.

use super::error::ObjectError;

/// What S3 allows.
const LIMIT: usize = 1024;

/// What file systems allow, with room for a staging name.
const COMPONENT_LIMIT: usize = 200;

/// Refuses a key that is not a relative path of plain components.
pub(super) fn check(key: &str) -> Result<(), ObjectError> {
    match fault(key) {
        None => Ok(()),
        Some(reason) => Err(ObjectError::BadKey { key: key.escape_default().to_string(), reason }),
    }
}

/// As [`check`]; no prefix at all is fine.
pub(super) fn check_prefix(prefix: &str) -> Result<(), ObjectError> {
    if prefix.is_empty() { Ok(()) } else { check(prefix) }
}

pub(super) fn fault(key: &str) -> Option<&'static str> {
    if key.is_empty() {
        return Some("it is empty");
    }
    if key.len() > LIMIT {
        return Some("it is longer than 1024 bytes");
    }
    if !key.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        return Some("it holds letters other than printable ASCII");
    }
    key.split('/').find_map(|component| match component {
        "" => Some("a component of it is empty"),
        "." | ".." => Some("a component of it is \".\" or \"..\""),
        long if long.len() > COMPONENT_LIMIT => Some("a component of it is longer than 200 bytes"),
        _ => None,
    })
}

/// Whether a key lies below a prefix.
pub(super) fn is_below(key: &str, prefix: &str) -> bool {
    prefix.is_empty() || key.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
}
