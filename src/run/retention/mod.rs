//! What becomes of the backups of a set: decided as plain data, shown, and done when that is confirmed.

pub mod prune;
pub mod space;

use agent_backup_core::container::manifest::Server;
use agent_backup_core::plan::retention::passing::{self, Passing, Use};
use agent_backup_core::plan::retention::{self, Backup, Class, Decision, Flaw, Policy};
use chrono::{DateTime, Utc};

use crate::error::{Error, Result};
use crate::journal;
use crate::journal_retention::{self, Candidate};
use crate::run::{safety, say, shelf};
use crate::server::{clock, facts};

/// A backup and what becomes of it.
pub struct Planned {
    pub backup: Candidate,
    pub keep: bool,
    pub reasons: Vec<String>,
}

/// How it is decided on the backups of a set.
enum Rule {
    Policy(Policy),
    /// Made before restores.
    Safety,
    /// Made when tracking begins.
    Baselines,
    /// The set was dropped: nobody says what of it may go.
    Nobody,
}

/// What would become of each backup of a set, newest first; of all sets where none is named.
pub fn plan(set: Option<&str>) -> Result<Vec<Planned>> {
    let now = clock::now()?;
    let Some(set) = set else {
        let mut all = Vec::new();
        for set in journal_retention::all_sets()? {
            all.extend(decide(&set, journal_retention::candidates(&set)?, now)?);
        }
        all.sort_by(|one, other| {
            let key = |planned: &Planned| (planned.backup.started_at, planned.backup.backup_id.clone());
            key(other).cmp(&key(one))
        });
        return Ok(all);
    };
    decide(set, journal_retention::candidates(set)?, now)
}

/// Decides on the backups of a set. What another database made is no business of this one's, and what stands in a store is
/// kept by the numbers of that.
fn decide(set: &str, candidates: Vec<Candidate>, now: DateTime<Utc>) -> Result<Vec<Planned>> {
    let rule = rule(set, &candidates)?;
    let here = facts::server()?;
    let own: Vec<&Candidate> = candidates.iter().filter(|candidate| is_own(candidate, &here)).collect();
    let decisions = match rule {
        Rule::Policy(policy) => {
            let backups: Vec<Backup> = own.iter().map(|candidate| as_backup(candidate)).collect();
            let empty =
                |error: retention::EmptyPolicy| Error::InvalidOption { option: "retention", reason: error.to_string() };
            retention::decide(&backups, &policy, now).map_err(empty)?
        }
        Rule::Safety => passing::decide(&passing(&own, |_| Use::BeforeRestore), now),
        Rule::Baselines => {
            let uses = journal_retention::uses_of_baselines(set)?;
            let used = |id: &str| uses.iter().find(|(known, _)| known == id).map_or(Use::Unknown, |(_, used)| *used);
            passing::decide(&passing(&own, used), now)
        }
        Rule::Nobody => own.iter().map(|candidate| dropped(set, candidate)).collect(),
    };
    let mut decisions = decisions.into_iter();
    // Both are newest first.
    candidates
        .into_iter()
        .map(|backup| {
            let decision = if is_own(&backup, &here) { decisions.next() } else { Some(foreign(&backup)) };
            match decision.filter(|decision| decision.id == backup.backup_id) {
                Some(Decision { keep, reasons, .. }) => Ok(Planned { backup, keep, reasons }),
                None => Err(Error::Internal {
                    object: "retention",
                    reason: format!("nothing was decided on \"{}\"", backup.backup_id),
                }),
            }
        })
        .collect()
}

fn rule(set: &str, candidates: &[Candidate]) -> Result<Rule> {
    match set {
        safety::SAFETY_SET => Ok(Rule::Safety),
        safety::BASELINE_SET => Ok(Rule::Baselines),
        set => match journal_retention::policy(set)? {
            Some(policy) => Ok(Rule::Policy(policy)),
            None if candidates.is_empty() => Err(journal::unknown_set(set)?),
            None => Ok(Rule::Nobody),
        },
    }
}

fn is_own(candidate: &Candidate, here: &Server) -> bool {
    !shelf::is_url(&candidate.directory)
        && candidate.system_identifier == here.system_identifier
        && candidate.database_name == here.database
}

fn as_backup(candidate: &Candidate) -> Backup {
    Backup {
        id: candidate.backup_id.clone(),
        started_at: candidate.started_at,
        class: if candidate.kind == "archive" { Class::Archive } else { Class::Full },
        flaw: match (candidate.status.as_str(), candidate.is_refuted) {
            ("complete", false) => None,
            ("complete", true) => Some(Flaw::Refuted),
            ("failed", _) => Some(Flaw::Failed),
            _ => Some(Flaw::Incomplete),
        },
        is_pinned: candidate.is_pinned,
    }
}

fn passing(own: &[&Candidate], used: impl Fn(&str) -> Use) -> Vec<Passing> {
    let one = |candidate: &&Candidate| Passing {
        id: candidate.backup_id.clone(),
        started_at: candidate.started_at,
        is_pinned: candidate.is_pinned,
        used: used(&candidate.backup_id),
    };
    own.iter().map(one).collect()
}

fn dropped(set: &str, candidate: &Candidate) -> Decision {
    let reason = format!("backup set \"{set}\" was dropped: no policy says when it may go");
    Decision { id: candidate.backup_id.clone(), keep: true, reasons: vec![reason] }
}

fn foreign(candidate: &Candidate) -> Decision {
    let Candidate { database_name, system_identifier, directory, .. } = candidate;
    let reason = match shelf::is_url(directory) {
        true => format!("it stands in {directory}: prune_offsite removes it"),
        false => {
            format!("made by database \"{database_name}\" of cluster {system_identifier}, which alone removes it")
        }
    };
    Decision { id: candidate.backup_id.clone(), keep: true, reasons: vec![reason] }
}

/// Keeps a backup whatever the retention of its set says, and tells when it goes all the same.
pub fn pin(backup_id: &str, reason: Option<&str>) -> Result<()> {
    let pinned = journal_retention::pin(backup_id, reason)?;
    let policy = journal_retention::policy(&pinned.set_name)?;
    if let Some(age) = policy.and_then(|policy| policy.max_age)
        && let Some(end) = pinned.started_at.checked_add_signed(age.length())
    {
        say::notice(&format!(
            "backup \"{backup_id}\" goes on {} all the same: no backup of set \"{}\" is kept longer than {age}",
            end.format("%Y-%m-%d"),
            pinned.set_name
        ));
    }
    Ok(())
}
