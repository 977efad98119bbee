//! Which backups of a set stay, and why. Days, ISO weeks and months are those of UTC, as in the names of files.

#[cfg(test)]
mod cases;
pub mod passing;
#[cfg(test)]
mod properties;

use std::collections::HashMap;

use chrono::{DateTime, Datelike, Utc};
use thiserror::Error;

use super::age::Age;

/// A backup as the catalogue lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    pub id: String,
    pub started_at: DateTime<Utc>,
    pub class: Class,
    /// Good is what has none.
    pub flaw: Option<Flaw>,
    pub is_pinned: bool,
}

/// What a backup was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Full,
    /// For long-term keeping: it counts for weeks and months only, and there before any other.
    Archive,
}

/// Why a backup is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    Failed,
    Incomplete,
    /// Its last verification failed.
    Refuted,
}

impl Flaw {
    fn said(self) -> &'static str {
        match self {
            Flaw::Failed => "failed",
            Flaw::Incomplete => "incomplete",
            Flaw::Refuted => "failed its verification",
        }
    }
}

/// What a set keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    pub daily: usize,
    pub weekly: usize,
    pub monthly: usize,
    pub last: usize,
    pub within: Option<Age>,
    /// Wins over all rules that keep.
    pub max_age: Option<Age>,
}

/// What becomes of a backup; there is a reason either way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub id: String,
    pub keep: bool,
    pub reasons: Vec<String>,
}

/// A policy without any rule that keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a set that keeps no backup at all is refused")]
pub struct EmptyPolicy;

/// Why what is dated later than now stays.
pub(crate) const FUTURE: &str = "dated in the future";
pub(crate) const PINNED: &str = "pinned";
const NEWEST: &str = "the newest good backup";

/// Decides on each backup of a set, the newest first. Decided again, what was kept is kept; as time goes on, nothing
/// that was not comes back.
pub fn decide(backups: &[Backup], policy: &Policy, now: DateTime<Utc>) -> Result<Vec<Decision>, EmptyPolicy> {
    if policy.daily + policy.weekly + policy.monthly + policy.last == 0 && policy.within.is_none() {
        return Err(EmptyPolicy);
    }
    let mut sorted: Vec<&Backup> = backups.iter().collect();
    sorted.sort_by_key(|backup| std::cmp::Reverse(order(backup)));
    let good: Vec<&Backup> =
        sorted.iter().copied().filter(|backup| backup.flaw.is_none() && backup.started_at <= now).collect();
    let rules = Rules { kept: by_rules(&good, policy, now), newest: good.first().copied(), policy, now };
    Ok(sorted.into_iter().map(|backup| rules.one(backup)).collect())
}

/// Equal times are told apart by the id.
fn order(backup: &Backup) -> (DateTime<Utc>, &str) {
    (backup.started_at, &backup.id)
}

struct Rules<'a> {
    kept: HashMap<&'a str, Vec<String>>,
    newest: Option<&'a Backup>,
    policy: &'a Policy,
    now: DateTime<Utc>,
}

impl Rules<'_> {
    fn one(&self, backup: &Backup) -> Decision {
        let keeping = self.keeping(backup);
        let too_old = self.policy.max_age.filter(|age| backup.started_at < age.before(self.now));
        let (keep, reasons) = match too_old {
            Some(age) if self.is_newest(backup) => {
                (true, vec![format!("older than the maximum age of {age}, but {NEWEST}: a new one is due")])
            }
            Some(age) => {
                let over = if keeping.is_empty() { "" } else { ", which wins over: " };
                (false, vec![format!("older than the maximum age of {age}{over}{}", keeping.join(", "))])
            }
            None if !keeping.is_empty() => (true, keeping),
            None => (false, vec![self.why_not(backup)]),
        };
        Decision { id: backup.id.clone(), keep, reasons }
    }

    /// Every reason to keep it, but for its age.
    fn keeping(&self, backup: &Backup) -> Vec<String> {
        let mut reasons = self.kept.get(backup.id.as_str()).cloned().unwrap_or_default();
        if backup.started_at > self.now {
            reasons.push(FUTURE.to_owned());
        }
        if backup.is_pinned {
            reasons.push(PINNED.to_owned());
        }
        if let Some(flaw) = backup.flaw.filter(|_| !self.has_newer(backup)) {
            reasons.push(format!("{}, and no newer good backup exists", flaw.said()));
        }
        if self.is_newest(backup) {
            reasons.push(NEWEST.to_owned());
        }
        reasons
    }

    fn why_not(&self, backup: &Backup) -> String {
        match (backup.flaw, backup.class) {
            (Some(flaw), _) => format!("{}, and a newer good backup exists", flaw.said()),
            (None, Class::Full) => "no rule keeps it".to_owned(),
            (None, Class::Archive) => "no weekly or monthly rule keeps it".to_owned(),
        }
    }

    fn is_newest(&self, backup: &Backup) -> bool {
        self.newest.is_some_and(|newest| newest.id == backup.id)
    }

    fn has_newer(&self, backup: &Backup) -> bool {
        self.newest.is_some_and(|newest| order(newest) > order(backup))
    }
}

/// What the numbers and the age of a policy keep of good backups, newest first.
fn by_rules<'a>(good: &[&'a Backup], policy: &Policy, now: DateTime<Utc>) -> HashMap<&'a str, Vec<String>> {
    let mut kept: HashMap<&str, Vec<String>> = HashMap::new();
    let mut keep = |backup: &'a Backup, reason: String| kept.entry(&backup.id).or_default().push(reason);
    let fulls: Vec<&Backup> = good.iter().copied().filter(|backup| backup.class == Class::Full).collect();
    let day = |backup: &Backup| backup.started_at.date_naive();
    let week = |backup: &Backup| backup.started_at.iso_week();
    let month = |backup: &Backup| (backup.started_at.year(), backup.started_at.month());
    for (name, wanted, standing) in [
        ("daily", policy.daily, buckets(&fulls, day)),
        ("weekly", policy.weekly, buckets(good, week)),
        ("monthly", policy.monthly, buckets(good, month)),
    ] {
        for (number, backup) in standing.into_iter().take(wanted).enumerate() {
            keep(backup, format!("{name} {} of {wanted}", number + 1));
        }
    }
    for backup in fulls.iter().take(policy.last) {
        keep(backup, format!("one of the last {}", policy.last));
    }
    if let Some(age) = policy.within {
        for backup in fulls.iter().take_while(|backup| backup.started_at > age.before(now)) {
            keep(backup, format!("younger than {age}"));
        }
    }
    kept
}

/// The backup that stands for each bucket that has any, newest first: its newest archive, or its newest.
fn buckets<'a, K: PartialEq>(backups: &[&'a Backup], key: impl Fn(&Backup) -> K) -> Vec<&'a Backup> {
    let groups = backups.chunk_by(|one, other| key(one) == key(other));
    groups
        .filter_map(|group| group.iter().find(|backup| backup.class == Class::Archive).or(group.first()).copied())
        .collect()
}
