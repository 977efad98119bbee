//! What a verification says: a line per table, format and finding, and the one word for each kind of damage.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use agent_backup_core::container::ContainerError;
use agent_backup_core::crypt::CryptError;
use agent_backup_core::store::StoreError;

use crate::error::EncryptionError;
use crate::ident::TableName;

/// How well a thing is; worse is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Ok,
    Warning,
    Failed,
}

impl Status {
    /// As a line shows it.
    pub fn shown(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Failed => "failed",
        }
    }

    /// As the catalogue and the log keep it.
    pub fn kept(self) -> &'static str {
        if self == Status::Ok { "success" } else { self.shown() }
    }
}

/// What is wrong, in a word and in full.
#[derive(Debug, Clone)]
pub struct Problem {
    /// `missing`, `empty`, `truncated`, `changed`, `extra`, `unreadable`, `cannot open` or `unsupported`.
    pub word: &'static str,
    pub text: String,
}

impl Problem {
    pub fn new(word: &'static str, text: impl Into<String>) -> Self {
        Problem { word, text: text.into() }
    }

    /// Of a container or manifest that stands at `file`.
    pub fn in_file(error: &ContainerError, file: &Path) -> Self {
        let word = match error {
            ContainerError::Missing { .. } => "missing",
            ContainerError::Truncated { .. } => "truncated",
            ContainerError::Changed { .. } => "changed",
            ContainerError::UnsupportedVersion { .. } => "unsupported",
            ContainerError::Read { source, .. } if source.kind() == ErrorKind::PermissionDenied => "cannot open",
            // What was read is not what was sealed.
            ContainerError::Read { source, .. } if source.kind() == ErrorKind::InvalidData => "changed",
            _ => "unreadable",
        };
        Problem { word, text: format!("{error}, in file \"{}\"", file.display()) }
    }

    /// Of a sealed file.
    pub fn of_encryption(error: &EncryptionError) -> Self {
        let word = match error {
            EncryptionError::File { problem: CryptError::Io(_), .. } => "unreadable",
            EncryptionError::File { problem: CryptError::Unsupported { .. }, .. } => "unsupported",
            EncryptionError::File { .. } | EncryptionError::Downgraded { .. } => "changed",
            _ => "cannot open",
        };
        Problem { word, text: error.to_string() }
    }

    /// Of a file or directory that could not be opened.
    pub fn of_store(error: &StoreError) -> Self {
        let word = match error {
            StoreError::Missing { .. } | StoreError::DirectoryMissing { .. } => "missing",
            StoreError::Io { .. } => "unreadable",
            _ => "cannot open",
        };
        Problem { word, text: error.to_string() }
    }

    pub fn shown(&self) -> String {
        format!("{}: {}", self.word, self.text)
    }
}

/// A table of a backup in one format, or in none where it is not in the backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub table: TableName,
    pub format: Option<String>,
    /// Bytes it takes in the container.
    pub stored_bytes: Option<u64>,
}

/// One line of a verdict.
#[derive(Debug, Clone)]
pub struct Line {
    /// None for what concerns the files, the directory or the whole.
    pub part: Option<Part>,
    /// `exists`, `hash`, `decode`, `directory` or `scope`.
    pub check: &'static str,
    pub status: Status,
    pub rows: Option<u64>,
    pub checksum: Option<String>,
    pub problem: Option<Problem>,
    /// What was found good, where nothing is wrong.
    pub remark: String,
    /// How long the check of this table took.
    pub took: Duration,
    /// What is wrong here is wrong with every table of the backup.
    pub spreads: bool,
}

impl Line {
    /// Something in order.
    pub fn good(part: Option<&Part>, check: &'static str, remark: impl Into<String>) -> Self {
        Line {
            part: part.cloned(),
            check,
            status: Status::Ok,
            rows: None,
            checksum: None,
            problem: None,
            remark: remark.into(),
            took: Duration::ZERO,
            spreads: false,
        }
    }

    /// Something damaged.
    pub fn bad(part: Option<&Part>, check: &'static str, problem: Problem) -> Self {
        Line { status: Status::Failed, problem: Some(problem), ..Line::good(part, check, "") }
    }

    /// A file that is damaged as a whole, with every table in it.
    pub fn bad_file(check: &'static str, problem: Problem) -> Self {
        Line { spreads: true, ..Line::bad(None, check, problem) }
    }

    /// Something to look at, which harms no backup.
    pub fn warning(check: &'static str, problem: Problem) -> Self {
        Line { status: Status::Warning, ..Line::bad(None, check, problem) }
    }

    /// What the line says.
    pub fn details(&self) -> String {
        self.problem.as_ref().map_or_else(|| self.remark.clone(), Problem::shown)
    }
}
