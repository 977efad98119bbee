//! Every error says what and where, in one style.

use std::io;

use super::*;

/// One of each variant.
fn all() -> Vec<StoreError> {
    let path = || std::path::PathBuf::from("/backups/it");
    let source = || io::Error::from_raw_os_error(5);
    use StoreError::*;
    vec![
        NotAbsolute { path: path() },
        NulInPath { path: path() },
        ParentComponent { path: path() },
        PathTooLong { path: path(), bytes: 5000, limit: 4095 },
        BadName { name: "a/b".into(), reason: "it contains \"/\"" },
        DirectoryMissing { path: path() },
        NotADirectory { path: path(), found: "socket" },
        SymbolicLink { path: path(), target: "/there".into() },
        ForeignOwner { path: path(), owner: 1, expected: 0 },
        WritableByOthers { path: path(), mode: 0o777 },
        Forbidden { path: path(), root: "/data".into() },
        DirectorySwapped { path: path() },
        Busy { path: path(), holder: Some(7) },
        Busy { path: path(), holder: None },
        WrongLock { path: path() },
        Exists { path: path() },
        NoName { path: path() },
        Missing { path: path() },
        NotRegular { path: path(), found: "socket" },
        CannotOpen { path: path(), source: source() },
        NoSpace { path: path(), needed: 9, source: source() },
        Quota { path: path(), needed: 9, source: source() },
        FileTooLarge { path: path(), needed: 9, source: source() },
        ReadOnly { path: path(), source: source() },
        TooManyOpenFiles { path: path(), source: source() },
        Sync { path: path(), source: source() },
        Replaced { path: path() },
        ReadBackSize { path: path(), written: 2, found: 1 },
        ReadBackDigest { path: path() },
        AlreadyFailed { path: path() },
        Cancelled { path: path() },
        Io { action: "read back", path: path(), source: source() },
    ]
}

#[test]
fn every_message_is_lower_case_and_names_its_object() {
    for error in all() {
        let text = error.to_string();
        assert!(!text.starts_with(char::is_uppercase) && !text.ends_with('.'), "{text}");
        let named = text.contains("\"/backups/it\"") || text.contains("\"a/b\"") || text.contains("5000 bytes");
        assert!(named, "{text}");
    }
}

#[test]
fn every_hint_is_a_sentence_or_a_command() {
    for hint in all().iter().filter_map(StoreError::hint) {
        assert!(hint.starts_with(char::is_uppercase) && (hint.ends_with('.') || hint.contains('/')), "{hint}");
    }
}

#[test]
fn every_error_with_a_source_keeps_its_errno() {
    let with_source: Vec<bool> = all().iter().map(|error| error.errno() == Some(5)).collect();
    assert_eq!(with_source.iter().filter(|kept| **kept).count(), 8);
    for error in all() {
        let debug = format!("{error:?}");
        assert_eq!(error.errno().is_some(), debug.contains("source"), "{debug}");
    }
}

#[test]
fn a_name_cannot_break_a_log_line() {
    let error = StoreError::Missing { path: "/backups/a\nERROR: forged".into() };
    assert!(!error.to_string().contains('\n'));
}
