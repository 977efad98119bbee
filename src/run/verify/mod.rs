//! Proves a backup, level by level: its files, its bytes, its rows. All damage is gathered: what is wrong with a backup
//! is a line of its verdict, never an error.

pub mod content; // the stored bytes and the rows
mod directory; // what else lies beside the backup
mod files; // both files: there, of their sizes, and the ones that are listed
pub mod finding; // lines, and the words for damage
mod locked; // what can be said of a sealed backup without a key
mod restored; // each table loaded into a scratch schema

use agent_backup_core::container::Manifest;
use agent_backup_core::container::manifest::MemberStatus;

use crate::error::{Error, Result};
use crate::journal;
use crate::journal_checks::{self, LogRow};
use crate::run::source::{self, Location};
use crate::run::verify::files::Content;
use crate::run::verify::finding::{Line, Part, Problem, Status};
use crate::run::{place, say};
use crate::server::privilege;
use crate::server::snapshot::{self, Snapshot};

/// How much is proved; each level includes those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Exists,
    Hash,
    Decode,
    Restore,
}

impl Level {
    /// Reads a level's name. Errors: `InvalidOption`.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |reason: String| Err(Error::InvalidOption { option: "level", reason });
        match text {
            "exists" => Ok(Level::Exists),
            "hash" => Ok(Level::Hash),
            "decode" => Ok(Level::Decode),
            "restore" => Ok(Level::Restore),
            _ => invalid(format!("\"{text}\" is none of exists, hash, decode, restore")),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Level::Exists => "exists",
            Level::Hash => "hash",
            Level::Decode => "decode",
            Level::Restore => "restore",
        }
    }

    /// What stays open after it.
    pub fn unproven(self) -> &'static str {
        match self {
            Level::Exists => {
                "that the stored bytes are those that were written, that they decode, and that a server takes the rows"
            }
            Level::Hash => "that the stored bytes decode to the right rows, and that a server takes them",
            Level::Decode => "that a server takes the rows: types, constraints and definitions are not tried",
            Level::Restore => {
                "that foreign keys between the tables hold and that the backup's own definitions can be run; drill() tries \
                 the former, restore(create_missing => true) in an empty database both"
            }
        }
    }
}

/// What became of a verification.
pub struct Verdict {
    pub location: Location,
    pub level: Level,
    pub lines: Vec<Line>,
    /// The manifest that the files were checked against; none where there was none to trust.
    pub manifest: Option<Manifest>,
    /// Of the container, in hex, where it was read to its end.
    file_sha256: Option<String>,
}

/// Verifies a backup of a set and records the verdict. Errors: `NoBackup`, `UnknownBackup`, `UnknownSet`,
/// `MayNotReadBackup`; damage is no error.
pub fn run(backup: &str, set: &str, level: Level) -> Result<Verdict> {
    privilege::require_backup_reader(&place::path_of_set(set))?;
    if level == Level::Restore {
        snapshot::require_writable()?;
    }
    let mut verdict = check(source::locate(backup, set)?, level)?;
    verdict.lines.push(verdict.scope());
    if verdict.location.listed.is_none() {
        say::not_logged("for a backup that the catalogue does not list");
    } else if let Some(reason) = snapshot::read_only() {
        say::not_logged(reason);
    } else {
        verdict.record()?;
        journal_checks::log(&verdict.log_rows()?)?;
    }
    Ok(verdict)
}

/// Verifies what stands at `location`; records nothing.
pub fn check(location: Location, level: Level) -> Result<Verdict> {
    let id = location.listed.as_ref().map(|listed| listed.backup_id.as_str());
    let facts = id.map(journal_checks::facts).transpose()?.flatten();
    let examined = files::examine(&location, facts.as_ref())?;
    let mut lines = examined.lines;
    let (mut file_sha256, mut level) = (None, level);
    match &examined.content {
        Content::Open(source) => {
            lines.extend(not_in_it(source.manifest()));
            let checked = content::check(source, level, facts.as_ref())?;
            lines.extend(checked.lines);
            file_sha256 = checked.file_sha256;
            if level == Level::Restore {
                lines.extend(restored::check(source, &lines));
            }
            source.directory.trouble()?;
            lines.extend(directory::strays(&location, &source.directory)?);
        }
        Content::Locked(locked) => {
            lines.extend(not_in_it(&locked.manifest));
            let checked = locked::check(locked, level, facts.as_ref(), &location);
            locked.directory.trouble()?;
            lines.extend(checked.lines);
            file_sha256 = checked.file_sha256;
            level = level.min(Level::Hash);
            lines.extend(directory::strays(&location, &locked.directory)?);
        }
        Content::None => lines.extend(nothing_to_check(id, &lines)?),
    }
    still_listed(id, &lines)?;
    let manifest = match examined.content {
        Content::Open(source) => Some(source.container.manifest.clone()),
        Content::Locked(locked) => Some(locked.manifest),
        Content::None => None,
    };
    Ok(Verdict { location, level, lines, manifest, file_sha256 })
}

/// Members that could not be backed up. One that did not exist then is no damage.
fn not_in_it(manifest: &Manifest) -> Vec<Line> {
    let failed = manifest.members.iter().filter(|member| member.status == MemberStatus::Failed);
    let line = |member: &agent_backup_core::container::manifest::Member| {
        let part = Part { table: source::name_of(member), format: None, stored_bytes: None };
        let why = member.error.as_deref().unwrap_or("no reason is known");
        Line::bad(Some(&part), "exists", Problem::new("missing", format!("it could not be backed up: {why}")))
    };
    failed.map(line).collect()
}

/// Each table that the catalogue has for a backup of which nothing can be trusted.
fn nothing_to_check(id: Option<&str>, lines: &[Line]) -> Result<Vec<Line>> {
    let why = lines.iter().find_map(|line| line.problem.clone());
    let why = why.unwrap_or_else(|| Problem::new("unreadable", "there is no manifest to check it by"));
    let entries = id.map(journal_checks::entries).transpose()?.unwrap_or_default();
    Ok(entries.into_iter().map(|part| Line::bad(Some(&part), "exists", why.clone())).collect())
}

/// A backup that was removed while it was verified is not damaged: it is gone.
fn still_listed(id: Option<&str>, lines: &[Line]) -> Result<()> {
    let missing = lines.iter().any(|line| line.problem.as_ref().is_some_and(|problem| problem.word == "missing"));
    let Some(id) = id.filter(|_| missing) else { return Ok(()) };
    // The statement's own snapshot may be older than the removal.
    let _now = Snapshot::push()?;
    match journal::place_of(id)? {
        Some(_) => Ok(()),
        None => Err(Error::UnknownBackup { backup: id.to_owned(), near: vec![] }),
    }
}

impl Verdict {
    /// The worst of what concerns the backup itself; strays beside it do not.
    pub fn status(&self) -> Status {
        let own = self.lines.iter().filter(|line| line.check != directory::CHECK);
        own.map(|line| line.status).max().unwrap_or(Status::Failed)
    }

    /// The tables in their formats, in the order of the lines.
    pub fn parts(&self) -> Vec<&Part> {
        let mut parts: Vec<&Part> = Vec::new();
        for part in self.lines.iter().filter_map(|line| line.part.as_ref()) {
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        parts
    }

    /// The lines that decide on a part: its own, and what is wrong with the files as a whole.
    pub fn lines_of<'a>(&'a self, part: &'a Part) -> impl Iterator<Item = &'a Line> {
        self.lines.iter().filter(move |line| match &line.part {
            Some(own) => own == part,
            None => line.spreads,
        })
    }

    /// What is wrong with the definitions, which belong to no table.
    pub fn definitions(&self) -> impl Iterator<Item = &Problem> {
        let lines = self
            .lines
            .iter()
            .filter(|line| line.part.is_none() && [Level::Decode.name(), Level::Restore.name()].contains(&line.check));
        lines.filter_map(|line| line.problem.as_ref())
    }

    /// Keeps the verdict with the backup.
    pub fn record(&self) -> Result<()> {
        let Some(listed) = &self.location.listed else { return Ok(()) };
        let sha256 = self.file_sha256.as_deref().filter(|_| self.status() != Status::Failed);
        journal_checks::record_verdict(&listed.backup_id, self.level.name(), self.status().kept(), sha256)
    }

    fn scope(&self) -> Line {
        let absent = self.manifest.iter().flat_map(|manifest| &manifest.members);
        let absent = absent.filter(|member| member.status == MemberStatus::Absent);
        let absent: Vec<String> = absent.map(|member| source::name_of(member).display()).collect();
        let mut remark = format!("level {} does not prove {}", self.level.name(), self.level.unproven());
        if !absent.is_empty() {
            remark.push_str(&format!("; not in the backup, since they did not exist: {}", absent.join(", ")));
        }
        Line::good(None, "scope", remark)
    }

    fn log_rows(&self) -> Result<Vec<LogRow>> {
        let Some(listed) = &self.location.listed else { return Ok(Vec::new()) };
        let good = journal_checks::last_good(&listed.set_name, &listed.backup_id)?;
        let day = journal_checks::facts(&listed.backup_id)?.map(|facts| facts.day);
        let row = |part: &Part| {
            let lines: Vec<&Line> = self.lines_of(part).collect();
            let status = lines.iter().map(|line| line.status).max().unwrap_or(Status::Failed);
            let last = good.iter().find(|(table, _)| *table == part.table).map(|(_, day)| day.clone());
            let problems = lines.iter().filter_map(|line| line.problem.as_ref());
            LogRow {
                table: part.table.clone(),
                status: status.kept(),
                day: if status == Status::Failed { last } else { day.clone() },
                rows: lines.iter().find_map(|line| line.rows),
                size: part.stored_bytes,
                checksum: lines.iter().find_map(|line| line.checksum.clone()),
                error: joined(problems.clone()),
                backup_id: Some(listed.backup_id.clone()),
                format: part.format.clone(),
                level: self.level.name(),
                took: lines.iter().map(|line| line.took).sum(),
                details: serde_json::json!({
                    "set_name": listed.set_name,
                    "schema_name": part.table.schema,
                    "table_name": part.table.name,
                    "does_not_prove": self.level.unproven(),
                    "problems": problems.map(|p| serde_json::json!({"word": p.word, "text": p.text})).collect::<Vec<_>>(),
                }),
            }
        };
        Ok(self.parts().into_iter().map(row).collect())
    }
}

/// All problems in one text, or none.
fn joined<'a>(problems: impl Iterator<Item = &'a Problem>) -> Option<String> {
    problems.map(Problem::shown).reduce(|all, one| format!("{all}; {one}"))
}
