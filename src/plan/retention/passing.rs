//! Backups that are made for a passing use, before a restore and when tracking begins: they stay for a time after it.

use chrono::{DateTime, Utc};

use super::{Decision, FUTURE, PINNED};
use crate::plan::age::Age;

/// How long they stay.
pub const KEPT: Age = Age::days(30);

/// Such a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passing {
    pub id: String,
    pub started_at: DateTime<Utc>,
    pub is_pinned: bool,
    pub used: Use,
}

/// What it is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// The restore that followed can be undone by it.
    BeforeRestore,
    /// The log of a tracked table goes on from it.
    Tracked,
    /// That log ended then.
    TrackedUntil(DateTime<Utc>),
    /// No tracking of its table is known: the transaction that began it was rolled back.
    Unknown,
}

/// Decides on each, the newest first.
pub fn decide(backups: &[Passing], now: DateTime<Utc>) -> Vec<Decision> {
    let mut sorted: Vec<&Passing> = backups.iter().collect();
    sorted.sort_by_key(|backup| std::cmp::Reverse((backup.started_at, &backup.id)));
    sorted.into_iter().map(|backup| one(backup, now)).collect()
}

fn one(backup: &Passing, now: DateTime<Utc>) -> Decision {
    let (since, what) = match backup.used {
        Use::BeforeRestore => (Some(backup.started_at), "made before a restore"),
        Use::Tracked => (None, "its table is tracked"),
        Use::TrackedUntil(ended) => (Some(ended.max(backup.started_at)), "tracking of its table ended"),
        Use::Unknown => (Some(backup.started_at), "without a tracking, and made"),
    };
    let mut reasons = Vec::new();
    let mut keep = true;
    match since {
        _ if backup.started_at > now => reasons.push(FUTURE.to_owned()),
        None => reasons.push(what.to_owned()),
        Some(since) if since > KEPT.before(now) => reasons.push(format!("{what} less than {KEPT} ago")),
        Some(_) => keep = false,
    }
    if backup.is_pinned {
        reasons.push(PINNED.to_owned());
    }
    if !keep && !backup.is_pinned {
        return Decision { id: backup.id.clone(), keep, reasons: vec![format!("{what} {KEPT} ago or more")] };
    }
    Decision { id: backup.id.clone(), keep: true, reasons }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        format!("{text}T12:00:00Z").parse().unwrap()
    }

    #[test]
    fn each_use_has_its_time() {
        let cases: &[(&str, Use, bool, bool, &[&str])] = &[
            ("2026-03-31", Use::BeforeRestore, false, true, &["made before a restore less than 30 days ago"]),
            ("2026-03-02", Use::BeforeRestore, false, true, &["made before a restore less than 30 days ago"]),
            ("2026-03-01", Use::BeforeRestore, false, false, &["made before a restore 30 days ago or more"]),
            ("2026-03-01", Use::BeforeRestore, true, true, &["pinned"]),
            ("2020-01-01", Use::Tracked, false, true, &["its table is tracked"]),
            (
                "2020-01-01",
                Use::TrackedUntil(at("2026-03-02")),
                false,
                true,
                &["tracking of its table ended less than 30 days ago"],
            ),
            (
                "2020-01-01",
                Use::TrackedUntil(at("2026-03-01")),
                false,
                false,
                &["tracking of its table ended 30 days ago or more"],
            ),
            ("2020-01-01", Use::Unknown, false, false, &["without a tracking, and made 30 days ago or more"]),
            ("2026-04-01", Use::BeforeRestore, false, true, &["dated in the future"]),
        ];
        for (started, used, is_pinned, keep, reasons) in cases {
            let backup = Passing { id: "x".into(), started_at: at(started), is_pinned: *is_pinned, used: *used };
            let decisions = decide(&[backup], at("2026-03-31"));
            let reasons = reasons.iter().map(|reason| (*reason).to_owned()).collect();
            assert_eq!(decisions, [Decision { id: "x".into(), keep: *keep, reasons }], "{started} {used:?}");
        }
    }

    #[test]
    fn the_newest_comes_first_and_none_is_spared_for_being_it() {
        let old = |id: &str, day: &str| Passing {
            id: id.into(),
            started_at: at(day),
            is_pinned: false,
            used: Use::BeforeRestore,
        };
        let decisions =
            decide(&[old("a", "2026-01-01"), old("c", "2026-01-02"), old("b", "2026-01-02")], at("2026-03-31"));
        let said: Vec<_> = decisions.iter().map(|decision| (decision.id.as_str(), decision.keep)).collect();
        assert_eq!(said, [("c", false), ("b", false), ("a", false)]);
    }
}
