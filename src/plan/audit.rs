//! The log of acts: what an entry says, what a rollback makes of it, and whether a chain of entries is whole.

mod chain;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use chain::{Anchor, Chain, Finding, Head, Link};

/// How an act ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    Failed,
    /// For the want of a right.
    Denied,
}

impl Status {
    /// As the log has it.
    pub fn name(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Failed => "failed",
            Status::Denied => "denied",
        }
    }

    /// How an act ended that failed with an SQLSTATE.
    pub fn of_failure(code: &str) -> Self {
        if code == "42501" { Status::Denied } else { Status::Failed }
    }
}

/// One act, before it has its place in the chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it ended; to the microsecond, as the server keeps it.
    pub happened_at: DateTime<Utc>,
    pub action: String,
    pub object: Option<String>,
    pub set_name: Option<String>,
    pub status: Status,
    pub session_user: String,
    pub current_user: String,
    pub client_addr: Option<String>,
    pub application_name: String,
    pub backend_pid: i32,
    /// None where the transaction wrote nothing.
    pub transaction: Option<u64>,
    /// Names, numbers and options; no data of rows, and no secrets.
    pub details: Map<String, Value>,
    /// SQLSTATE.
    pub error_code: Option<String>,
    pub error_message: Option<String>,
}

/// Acts that change nothing: they happened, whatever becomes of their transaction.
const READING: &[&str] = &[
    "assess",
    "diff",
    "evidence_report",
    "read_as_of",
    "read_backup",
    "record_history",
    "restore_plan",
    "verify",
    "verify_audit_log",
    "verify_backup",
    "verify_daily_backups",
];

/// transaction_rollback
const ROLLED_BACK: &str = "40000";

impl Entry {
    /// Makes it one of an act whose transaction was rolled back.
    pub fn roll_back(&mut self) {
        if self.status != Status::Ok {
            return;
        }
        self.details.insert("rolled_back".into(), true.into());
        if !READING.contains(&self.action.as_str()) {
            self.status = Status::Failed;
            self.error_code = Some(ROLLED_BACK.into());
            self.error_message = Some("its transaction was rolled back".into());
        }
    }

    /// Counts another act into this one, if both are the same but for the moment: calls in a loop are one entry.
    pub fn absorbs(&mut self, other: &Entry) -> bool {
        let bare = |entry: &Entry| {
            let mut details = entry.details.clone();
            details.remove("calls");
            details.remove("duration_ms");
            Entry { happened_at: DateTime::UNIX_EPOCH, transaction: None, details, ..entry.clone() }
        };
        if bare(self) != bare(other) {
            return false;
        }
        let sum = |name: &str, each: u64| {
            let of = |entry: &Entry| entry.details.get(name).and_then(Value::as_u64).unwrap_or(each);
            of(self).saturating_add(of(other))
        };
        let (calls, duration) = (sum("calls", 1), sum("duration_ms", 0));
        self.details.insert("calls".into(), calls.into());
        self.details.insert("duration_ms".into(), duration.into());
        self.happened_at = other.happened_at;
        self.transaction = other.transaction.or(self.transaction);
        true
    }
}

/// Whether the server's message with this SQLSTATE names at most objects. Others can quote data of rows or the text of a
/// statement, and user's code may say anything.
pub fn is_plain_message(code: &str) -> bool {
    const PLAIN: &[&str] = &["0A000", "42501", "42P01", "42883", "42704", "3F000", "3D000", "28000"];
    const CLASSES: &[&str] = &["08", "25", "40", "53", "55", "57", "58"];
    PLAIN.contains(&code) || CLASSES.iter().any(|class| code.starts_with(class))
}

/// What stands in place of another message.
pub const SEE_THE_LOG: &str = "an error of the server, whose text may quote data: its own log has it";

/// The name of a file of entries that wait for their place: those of one transaction of one session.
pub fn pending_name(database: u32, pid: i32, moment: DateTime<Utc>, number: u32) -> String {
    format!("{database}-{:016x}-{pid}-{number}.json", moment.timestamp_micros())
}

/// Whether a file has entries of a database. By name they are in the order of their moments.
pub fn is_pending_of(database: u32, name: &str) -> bool {
    name.strip_prefix(&format!("{database}-")).is_some_and(|rest| rest.ends_with(".json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(action: &str) -> Entry {
        Entry {
            happened_at: DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap(),
            action: action.into(),
            object: Some("agent_approvals".into()),
            set_name: None,
            status: Status::Ok,
            session_user: "ann".into(),
            current_user: "ann".into(),
            client_addr: None,
            application_name: "psql".into(),
            backend_pid: 17,
            transaction: Some(812),
            details: Map::new(),
            error_code: None,
            error_message: None,
        }
    }

    #[test]
    fn a_rollback_makes_a_backup_fail_and_a_reader_has_read_all_the_same() {
        let (mut backup, mut read) = (entry("backup"), entry("read_backup"));
        backup.roll_back();
        read.roll_back();
        assert_eq!((backup.status, backup.error_code.as_deref()), (Status::Failed, Some("40000")));
        assert_eq!((read.status, read.details["rolled_back"].as_bool()), (Status::Ok, Some(true)));
    }

    #[test]
    fn a_rollback_leaves_a_failure_as_it_is() {
        let mut denied = Entry { status: Status::Denied, error_code: Some("42501".into()), ..entry("prune") };
        let before = denied.clone();
        denied.roll_back();
        assert_eq!(denied, before);
    }

    #[test]
    fn calls_in_a_loop_are_counted_and_different_ones_are_not() {
        let mut first = entry("read_backup");
        let later =
            Entry { happened_at: DateTime::from_timestamp_micros(1_700_000_009_000_000).unwrap(), ..first.clone() };
        assert!(first.absorbs(&later) && first.absorbs(&later));
        assert_eq!(first.details["calls"].as_u64(), Some(3));
        assert_eq!(first.happened_at, later.happened_at);
        assert!(!first.absorbs(&entry("diff")));
        assert!(!first.absorbs(&Entry { object: None, ..entry("read_backup") }));
    }

    #[test]
    fn an_entry_waits_in_a_file_as_it_is() {
        let waiting = Entry { status: Status::Denied, client_addr: Some("192.0.2.1".into()), ..entry("upload") };
        let json = serde_json::to_string(std::slice::from_ref(&waiting)).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Entry>>(&json).unwrap(), [waiting]);
    }

    #[test]
    fn files_of_entries_are_of_one_database_and_in_order() {
        let moment = |micros| DateTime::from_timestamp_micros(micros).unwrap();
        let (early, late) = (pending_name(5, 9, moment(9), 0), pending_name(5, 1, moment(10), 0));
        assert!(early < late && is_pending_of(5, &early));
        assert!(!is_pending_of(55, &early) && !is_pending_of(5, &pending_name(55, 9, moment(9), 0)));
        assert!(!is_pending_of(5, &early.replace(".json", ".json.tmp")));
    }

    #[test]
    fn a_message_that_can_quote_a_value_is_not_plain() {
        for code in ["22P02", "23505", "42601", "42703", "P0001", "XX000"] {
            assert!(!is_plain_message(code), "{code}");
        }
        for code in ["57014", "53100", "55P03", "40P01", "42P01"] {
            assert!(is_plain_message(code), "{code}");
        }
    }
}
