//! Everything that can go wrong, one variant each: message, SQLSTATE, detail, hint.
//! Messages are lower case without a full stop and name the object in quotes; a hint is a sentence or a command that mends it.

mod audit; // … of the log of acts
mod encryption; // … of keys and encrypted backups
pub mod evidence; // … with the evidence of a period
mod offsite; // … of copies in other places
mod system; // SQLSTATEs of errors of the system

use std::error::Error as StdError;

use agent_backup_core::codec::EncodeError;
use agent_backup_core::container::ContainerError;
use agent_backup_core::store::StoreError;
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;
use pgrx::pg_sys::panic::ErrorReport;
use thiserror::Error;

mod erase;

pub use audit::AuditError;
pub use encryption::EncryptionError;
pub use erase::EraseError;
pub use offsite::OffsiteError;
use system::store_code;

/// A result inside the extension. The SQL edge, `message::answer`, turns the error into an `ErrorReport`.
pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, Error)]
pub enum Error {
    #[error("permission denied to write server files at \"{path}\"")]
    MayNotWriteFiles { path: String, grantable: String },
    #[error("permission denied for table \"{table}\"")]
    MayNotRead { table: String },
    #[error("permission denied to change backup sets")]
    MayNotConfigure { grantable: String },
    #[error("must be owner of table \"{table}\" to give it a row filter or masks")]
    MayNotDefine { table: String },
    #[error("\"{role}\", who gave table \"{table}\" its row filter or masks, has no longer the rights of its owner")]
    DefinerLost { table: String, role: String },
    #[error("row-level security would hide rows of table \"{table}\"")]
    RowSecurity { table: String },
    #[error("cannot write backups {reason}")]
    ReadOnly { reason: &'static str },
    #[error("table \"{name}\" does not exist")]
    UnknownTable { name: String, near: Vec<String> },
    #[error("\"{name}\" is {kind}, which cannot be backed up")]
    NotBackedUp { name: String, kind: &'static str, hint: &'static str },
    #[error("table \"{table}\" was dropped or replaced while it was being read")]
    Replaced { table: String },
    #[error("table \"{table}\" was truncated or rewritten after this transaction's snapshot was taken")]
    Rewritten { table: String },
    #[error("could not lock table \"{table}\" in time")]
    LockTimeout { table: String },
    #[error("backup set \"{set}\" does not exist")]
    UnknownSet { set: String, near: Vec<String> },
    #[error("backup set \"{set}\" already exists")]
    SetExists { set: String },
    #[error("backup set \"{set}\" has backups")]
    SetInUse { set: String, backups: i64 },
    #[error("table \"{table}\" is already a member of backup set \"{set}\"")]
    MemberExists { set: String, table: String },
    #[error("table \"{table}\" is not a member of backup set \"{set}\"")]
    NotMember { set: String, table: String, near: Vec<String> },
    #[error("column \"{column}\" of table \"{table}\" does not exist")]
    UnknownColumn { table: String, column: String, near: Vec<String> },
    #[error("invalid {option}: {reason}")]
    InvalidOption { option: &'static str, reason: String },
    #[error("argument \"{argument}\" must not be null")]
    NullArgument { argument: &'static str },
    #[error("{object} is not in UTF-8: \"{text}\"")]
    /// `text` is in ASCII, other bytes stand as `\xE9`.
    NotUtf8 { object: String, text: String },
    #[error("\"{text}\" has letters that the database's encoding has not")]
    NotInDatabase { text: String },
    #[error("{option} is not one expression")]
    NotAnExpression { option: String, text: String },
    #[error("backup set \"{set}\" is busy")]
    Busy { set: String, holder: Option<i32> },
    #[error("row {row} of table \"{table}\" is too long for one line of a file")]
    /// `row` counts from 1 in the scan.
    RowTooLong { table: String, row: u64 },
    #[error("could not encode table \"{table}\": {source}")]
    Encode { table: String, source: EncodeError },
    #[error("a worker failed on table \"{table}\": {message}")]
    Worker { table: String, message: String },
    #[error(transparent)]
    Encryption(#[from] EncryptionError),
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("could not spool table \"{table}\": {source}, at least {bytes} bytes are needed")]
    Spill { table: String, bytes: usize, source: std::io::Error },
    #[error("could not write the backup: {0}")]
    Write(#[source] std::io::Error),
    #[error("backup set \"{set}\" has no complete backup")]
    NoBackup { set: String },
    #[error("backup \"{backup}\" does not exist")]
    UnknownBackup { backup: String, near: Vec<String> },
    #[error("backup \"{backup}\" holds no table \"{table}\"")]
    NotInBackup { backup: String, table: String, near: Vec<String> },
    #[error("backup \"{backup}\" holds table \"{table}\" only as {formats}, which cannot be read back")]
    NotRestorable { backup: String, table: String, formats: String },
    #[error("backup file \"{file}\" is damaged: {problem}")]
    Damaged { file: String, problem: ContainerError },
    #[error("backup file \"{file}\" is not the one that the catalogue lists as \"{backup}\"")]
    Swapped { file: String, backup: String },
    #[error("permission denied to read backup \"{file}\"")]
    MayNotReadBackup { file: String, grantable: String },
    #[error("must be owner of table \"{table}\" to restore it")]
    MayNotRestore { table: String },
    #[error("must be superuser to {what}")]
    NotSuperuser { what: &'static str },
    #[error("table \"{table}\" cannot be restored so: {reason}")]
    RestoreBlocked { table: String, reason: String },
    #[error("restored rows of table \"{table}\" are not those of the backup: the {what} is {found}, not {expected}")]
    Mismatch { table: String, what: &'static str, expected: String, found: String },
    #[error("restore would break foreign key \"{constraint}\" of table \"{table}\"")]
    ForeignKey { constraint: String, table: String, parent: String, rows: String, sample: String },
    #[error("no backup holds such a record of table \"{table}\"")]
    RecordNotFound { table: String, backups: usize },
    #[error("record of table \"{table}\" refers to a row of \"{parent}\" that is not there")]
    ParentMissing { table: String, parent: String, constraint: String, key: String },
    #[error("there is nothing to undo: {reason}")]
    NothingToUndo { reason: String },
    /// Work that was done for its proof, and is taken back; never seen by a caller.
    #[error("rolled back as planned: {told}")]
    RolledBack { told: String },
    #[error("a change could not be captured: {reason}")]
    Capture { reason: String },
    #[error("table \"{table}\" is not tracked")]
    NotTracked { table: String },
    #[error("table \"{table}\" cannot be tracked: it is {kind}")]
    NotTrackable { table: String, kind: &'static str, hint: &'static str },
    #[error("table \"{table}\" is tracked, and TRUNCATE of {bytes} bytes is refused")]
    TruncateRefused { table: String, bytes: i64, limit: i64 },
    #[error("the log of table \"{table}\" does not reach that moment: {reason}")]
    NotCovered { table: String, reason: String, hint: String },
    #[error("mark \"{mark}\" does not exist")]
    UnknownMark { mark: String, near: Vec<String> },
    #[error("mark \"{mark}\" already exists")]
    MarkExists { mark: String },
    #[error("this needs transaction isolation level READ COMMITTED")]
    FixedSnapshot,
    #[error("type \"{name}\" is no row type of a table")]
    NotARowType { name: String },
    #[error("table \"{table}\" has no column updated_at or created_at to tell changed rows by")]
    NoTimestamps { table: String },
    #[error("rows of table \"{table}\" cannot be archived: {reason}")]
    NotArchived { table: String, reason: String },
    #[error("job \"{job}\" does not exist")]
    UnknownJob { job: String, near: Vec<String> },
    #[error("job \"{job}\" of backup set \"{set}\" is running already")]
    JobBusy { job: &'static str, set: String, holder: Option<i32> },
    #[error("a job cannot run inside a transaction")]
    InTransaction,
    #[error(transparent)]
    Offsite(#[from] OffsiteError),
    #[error("jobs cannot be scheduled: {reason}")]
    NoCron { reason: String, hint: String },
    #[error("permission denied to schedule jobs with pg_cron")]
    MayNotSchedule { database: String, grant: String },
    #[error("jobs of backup set \"{set}\" were scheduled by role \"{role}\"")]
    ScheduledByOther { set: String, role: String },
    #[error("in database \"{database}\": {message}")]
    /// `code` is the SQLSTATE there.
    Elsewhere { database: String, message: String, code: i32, hint: Option<String> },
    #[error("the session in database \"{database}\" ended before it answered")]
    ElsewhereEnded { database: String },
    #[error("no background worker is free for a session in database \"{database}\"")]
    NoWorker { database: String },
    #[error("manifest \"{file}\" is not usable: {reason}")]
    Manifest { file: String, reason: String },
    #[error("cannot prepare a transaction that has removed backups")]
    CannotPrepare,
    #[error(transparent)]
    Erase(#[from] EraseError),
    #[error("{object} is not as expected: {reason}")]
    Internal { object: &'static str, reason: String },
    #[error("step \"{step}\" was made to fail")]
    Failpoint { step: String },
    #[error(transparent)]
    Evidence(#[from] evidence::EvidenceError),
}

impl Error {
    /// The SQLSTATE, as a client sees it.
    pub fn code(&self) -> Code {
        use Error::*;
        match self {
            MayNotWriteFiles { .. }
            | MayNotRead { .. }
            | MayNotConfigure { .. }
            | RowSecurity { .. }
            | MayNotDefine { .. }
            | MayNotReadBackup { .. }
            | MayNotRestore { .. }
            | NotSuperuser { .. }
            | MayNotSchedule { .. }
            | ScheduledByOther { .. }
            | DefinerLost { .. } => Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
            ReadOnly { .. } => Code::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            UnknownTable { .. } | Replaced { .. } => Code::ERRCODE_UNDEFINED_TABLE,
            NotBackedUp { .. } => Code::ERRCODE_WRONG_OBJECT_TYPE,
            Rewritten { .. } => Code::ERRCODE_T_R_SERIALIZATION_FAILURE,
            LockTimeout { .. } | Busy { .. } | JobBusy { .. } => Code::ERRCODE_LOCK_NOT_AVAILABLE,
            UnknownSet { .. } | NotMember { .. } | NoBackup { .. } | UnknownBackup { .. } | NotInBackup { .. } => {
                Code::ERRCODE_UNDEFINED_OBJECT
            }
            FixedSnapshot => Code::ERRCODE_INVALID_TRANSACTION_STATE,
            CannotPrepare => Code::ERRCODE_FEATURE_NOT_SUPPORTED,
            RecordNotFound { .. } => Code::ERRCODE_NO_DATA_FOUND,
            ForeignKey { .. } | ParentMissing { .. } => Code::ERRCODE_FOREIGN_KEY_VIOLATION,
            Mismatch { .. } => Code::ERRCODE_DATA_CORRUPTED,
            RestoreBlocked { .. } | NothingToUndo { .. } | NotRestorable { .. } | NotArchived { .. } => {
                Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
            Encryption(error) => error.code(),
            // Without an errno it is what was read that is wrong.
            Damaged { problem: ContainerError::Read { source, .. }, .. } if source.raw_os_error().is_some() => {
                store_code(source.raw_os_error())
            }
            Damaged { .. } | Swapped { .. } => Code::ERRCODE_DATA_CORRUPTED,
            SetExists { .. } | MemberExists { .. } | MarkExists { .. } => Code::ERRCODE_DUPLICATE_OBJECT,
            UnknownMark { .. } | UnknownJob { .. } => Code::ERRCODE_UNDEFINED_OBJECT,
            InTransaction => Code::ERRCODE_ACTIVE_SQL_TRANSACTION,
            Offsite(error) => error.code(),
            NoCron { .. } => Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Elsewhere { code, .. } => Code::from(*code),
            ElsewhereEnded { .. } => Code::ERRCODE_CONNECTION_FAILURE,
            NoWorker { .. } => Code::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
            NotTrackable { .. } => Code::ERRCODE_WRONG_OBJECT_TYPE,
            NotTracked { .. } | NotCovered { .. } | TruncateRefused { .. } => {
                Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
            SetInUse { .. } => Code::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
            UnknownColumn { .. } | NoTimestamps { .. } => Code::ERRCODE_UNDEFINED_COLUMN,
            NullArgument { .. } => Code::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            InvalidOption { .. } => Code::ERRCODE_INVALID_PARAMETER_VALUE,
            NotUtf8 { .. } => Code::ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
            NotInDatabase { .. } => Code::ERRCODE_UNTRANSLATABLE_CHARACTER,
            NotAnExpression { .. } => Code::ERRCODE_SYNTAX_ERROR,
            RowTooLong { .. } => Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            Store(StoreError::Missing { .. } | StoreError::DirectoryMissing { .. }) => Code::ERRCODE_UNDEFINED_FILE,
            Store(error) => store_code(error.errno()),
            Write(error) | Spill { source: error, .. } => store_code(error.raw_os_error()),
            Audit(error) => error.code(),
            NotARowType { .. } => Code::ERRCODE_DATATYPE_MISMATCH,
            Manifest { .. } => Code::ERRCODE_DATA_CORRUPTED,
            Erase(error) => error.code(),
            Evidence(error) => error.code(),
            RolledBack { .. } | Capture { .. } | Encode { .. } | Worker { .. } | Internal { .. } | Failpoint { .. } => {
                Code::ERRCODE_INTERNAL_ERROR
            }
        }
    }

    /// A sentence or a command that mends it.
    pub fn hint(&self) -> Option<String> {
        use Error::*;
        match self {
            MayNotWriteFiles { grantable, .. }
            | MayNotReadBackup { grantable, .. }
            | MayNotConfigure { grantable } => {
                Some(format!("Ask a superuser to run: GRANT {grantable} TO {};", crate::ident::current_user()))
            }
            MayNotRead { table } => {
                Some(format!("Ask the owner to run: GRANT SELECT ON {table} TO {};", crate::ident::current_user()))
            }
            MayNotDefine { .. } => {
                Some("They run with the owner's rights: ask the owner or a superuser to add the table.".into())
            }
            DefinerLost { .. } => {
                Some("Remove the table from the set and add it again as its owner or a superuser.".into())
            }
            RowSecurity { .. } => Some(
                "A backup must see every row: run it as the table's owner, a superuser or a role with BYPASSRLS."
                    .into(),
            ),
            UnknownTable { near, .. }
            | NotMember { near, .. }
            | UnknownColumn { near, .. }
            | UnknownBackup { near, .. }
            | UnknownMark { near, .. }
            | UnknownJob { near, .. }
            | NotInBackup { near, .. }
            | UnknownSet { near, .. } => did_you_mean(near),
            NoBackup { set } => {
                Some(format!("Make one: SELECT * FROM agent_backup.backup({});", crate::ident::literal(set)))
            }
            NotTracked { table } => {
                Some(format!("Track it: SELECT * FROM agent_backup.track({});", crate::ident::literal(table)))
            }
            NotTrackable { hint, .. } => Some((*hint).to_owned()),
            TruncateRefused { .. } => Some(
                "Empty it with DELETE, or let TRUNCATE be captured or marked: track it again with another on_truncate.".into(),
            ),
            NotCovered { hint, .. } => Some(hint.clone()),
            NotRestorable { .. } => Some("Back the table up as csv: rows are read back from that form.".into()),
            Damaged { .. } | Swapped { .. } => Some(
                "Use another backup (see agent_backup.backups), and run agent_backup.verify() on this one for all of its damage."
                    .into(),
            ),
            NotARowType { .. } => Some("Give a null of the table's type: read_backup(NULL::agent_approvals).".into()),
            NotBackedUp { hint, .. } => Some((*hint).to_owned()),
            Rewritten { .. } => Some("Run the backup again in a new transaction.".into()),
            LockTimeout { .. } => {
                Some("See pg_locks for the session that holds it, or raise agent_backup.lock_timeout.".into())
            }
            JobBusy { holder: Some(pid), .. } => Some(format!("Session {pid} runs it; see pg_stat_activity.")),
            InTransaction => Some("It commits what it does: call it on its own, outside BEGIN, functions and other statements.".into()),
            Offsite(error) => error.hint(),
            NoCron { hint, .. } => Some(hint.clone()),
            MayNotSchedule { database, grant } => {
                Some(format!("Ask a superuser to run in database \"{database}\": {grant}"))
            }
            ScheduledByOther { role, .. } => Some(format!("Change them as {role} or as a superuser.")),
            Elsewhere { hint, .. } => hint.clone(),
            ElsewhereEnded { .. } => Some("The server's log has the reason.".into()),
            NoWorker { .. } => Some("Raise max_worker_processes and restart the server, or try again later.".into()),
            Busy { holder: Some(pid), .. } => Some(format!("Session {pid} is working on it; see pg_stat_activity.")),
            Busy { holder: None, .. } => Some("Another server or database is writing into the same directory.".into()),
            SetInUse { .. } => Some("Drop it with drop_set(…, confirm => true): its backup files stay on disk.".into()),
            RowTooLong { .. } => Some("Leave the column out of the backup set, or export the table without it.".into()),
            Audit(error) => error.hint(),
            Store(error) => error.hint(),
            Erase(error) => error.hint(),
            Encryption(error) => error.hint(),
            Evidence(error) => Some(error.hint()),
            Write(error) | Spill { source: error, .. } if error.kind() == std::io::ErrorKind::StorageFull => {
                Some("Free space on the file system of agent_backup.directory and run it again.".into())
            }
            FixedSnapshot => Some("It must see what others committed until it has its locks: run it in READ COMMITTED.".into()),
            CannotPrepare => Some("Their files go when it commits: end it with COMMIT.".into()),
            NoTimestamps { .. } => Some("Choose another source: set_change_source(…, 'snapshot').".into()),
            ParentMissing { .. } => Some("with_parents => true brings it back from the same backup.".into()),
            NothingToUndo { .. } => Some("agent_backup.restores lists what was restored.".into()),
            RestoreBlocked { .. } => Some("agent_backup.restore_plan() shows what each table needs.".into()),
            ForeignKey { .. } => Some("Restore both tables together, from one backup, with agent_backup.restore(…, tables => …).".into()),
            NotSuperuser { .. } => Some("Statements in a backup file can do anything: only a superuser may run them.".into()),
            NotUtf8 { .. } => Some("Rename it in UTF-8: only values of rows can be in no encoding.".into()),
            NotInDatabase { .. } => Some("Use a database whose encoding is UTF8.".into()),
            NotAnExpression { .. } => Some("Give a single SQL expression over the table's columns.".into()),
            _ => None,
        }
    }

    /// A text of the server that is no text to us.
    pub fn not_utf8(text: String) -> Self {
        Error::NotUtf8 { object: "a text".into(), text }
    }

    /// The same error, with the name of what has the text.
    pub fn in_object(self, name: impl FnOnce() -> String) -> Self {
        match self {
            Error::NotUtf8 { text, .. } => Error::NotUtf8 { object: name(), text },
            other => other,
        }
    }

    /// As pgrx raises it. An SQL function says `message::answer`, which also minds the database's encoding.
    #[track_caller]
    pub fn into_report(self) -> ErrorReport {
        let mut report = ErrorReport::new(self.code(), self.to_string(), "agent_backup");
        if let Some(detail) = self.detail() {
            report = report.set_detail(detail);
        }
        if let Some(hint) = self.hint() {
            report = report.set_hint(hint);
        }
        report
    }

    /// What else is known.
    pub fn detail(&self) -> Option<String> {
        match self {
            Error::NotAnExpression { text, .. } => Some(format!("The text was: {text}")),
            Error::ForeignKey { parent, rows, sample, .. } => {
                Some(format!("{rows} rows refer to rows of \"{parent}\" that would not be there, such as ({sample})."))
            }
            Error::RecordNotFound { backups, .. } => {
                Some(format!("{backups} complete backups were searched, newest first."))
            }
            Error::ParentMissing { constraint, key, .. } => Some(format!("Foreign key \"{constraint}\" needs {key}.")),
            Error::SetInUse { backups, .. } => Some(format!("{backups} backups are listed for it.")),
            Error::Store(error) => {
                let cause = error.source().map(ToString::to_string);
                cause.filter(|cause| !error.to_string().ends_with(cause))
            }
            _ => None,
        }
    }
}

fn did_you_mean(near: &[String]) -> Option<String> {
    if near.is_empty() { None } else { Some(format!("Did you mean {}?", near.join(", "))) }
}
