//! What holds for any history (T66), over 100,000 of them.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;

use super::*;

const CASES: u32 = 100_000;
const HOUR: i64 = 3600;

/// A backup as a hundred hours before now, or some after; whether it is an archive, its flaw, a pin.
type Drawn = (i32, u8);

fn now() -> DateTime<Utc> {
    "2026-03-31T12:00:00Z".parse().unwrap()
}

/// Times gather, so that many share a day, an hour and a moment.
fn histories() -> impl Strategy<Value = Vec<Drawn>> {
    let near = -40..24 * 14;
    let far = 0..24 * 800;
    prop::collection::vec((prop_oneof![3 => near, 2 => far], any::<u8>()), 0..28)
}

fn backups(drawn: &[Drawn]) -> Vec<Backup> {
    let one = |(number, (hours, traits)): (usize, &Drawn)| Backup {
        id: format!("{:03}", (number * 37) % 101),
        started_at: now() - TimeDelta::seconds(i64::from(*hours) * HOUR / (1 + i64::from(traits & 1))),
        class: if traits & 0b110 == 0b110 { Class::Archive } else { Class::Full },
        flaw: match traits >> 3 & 0b111 {
            0 => Some(Flaw::Failed),
            1 => Some(Flaw::Incomplete),
            2 => Some(Flaw::Refuted),
            _ => None,
        },
        is_pinned: traits >> 6 == 0b11 && traits & 1 == 1,
    };
    drawn.iter().enumerate().map(one).collect()
}

fn policies() -> impl Strategy<Value = Policy> {
    let age = |days: std::ops::Range<i32>| prop_oneof![Just(None), days.prop_map(|days| Some(Age::days(days)))];
    (0..8usize, 0..5usize, 0..13usize, 0..4usize, age(1..20), age(1..500))
        .prop_map(|(daily, weekly, monthly, last, within, max_age)| Policy {
            daily: if weekly + monthly + last == 0 && within.is_none() { daily + 1 } else { daily },
            weekly,
            monthly,
            last,
            within,
            max_age,
        })
        .no_shrink()
}

fn kept(decisions: &[Decision]) -> BTreeSet<&str> {
    decisions.iter().filter(|decision| decision.keep).map(|decision| decision.id.as_str()).collect()
}

fn newest_good(backups: &[Backup], now: DateTime<Utc>) -> Option<&Backup> {
    backups.iter().filter(|b| b.flaw.is_none() && b.started_at <= now).max_by_key(|b| (b.started_at, b.id.clone()))
}

/// One decision each, newest first, with reasons; the order of the input plays no part.
fn is_in_order(backups: &[Backup], policy: &Policy, decisions: &[Decision]) {
    let times: BTreeMap<&str, DateTime<Utc>> = backups.iter().map(|b| (b.id.as_str(), b.started_at)).collect();
    let keys: Vec<_> = decisions.iter().map(|d| (times[d.id.as_str()], d.id.as_str())).collect();
    assert!(keys.is_sorted_by(|one, other| one > other) && keys.len() == backups.len(), "{keys:?}");
    assert!(decisions.iter().all(|decision| !decision.reasons.is_empty()));
    let mut turned = backups.to_vec();
    turned.reverse();
    turned.rotate_left(backups.len() / 3);
    assert_eq!(decide(&turned, policy, now()).unwrap(), decisions);
}

/// No more than the policy says, but for pins, the young, the future, and what has no good successor.
fn is_no_more_than_wanted(backups: &[Backup], policy: &Policy, kept: &BTreeSet<&str>) {
    let newest = newest_good(backups, now()).map(|newest| (newest.started_at, newest.id.as_str()));
    let is_free = |b: &&Backup| {
        let young = policy.within.is_some_and(|age| now() - b.started_at < age.length());
        let last_hope = b.flaw.is_some() && newest.is_none_or(|newest| (b.started_at, b.id.as_str()) > newest);
        b.is_pinned || young || last_hope || b.started_at > now()
    };
    let counted = backups.iter().filter(|b| kept.contains(b.id.as_str()) && !is_free(b));
    let counted: Vec<_> = counted.map(|b| (b.started_at, b.id.as_str())).collect();
    let wanted = policy.daily + policy.weekly + policy.monthly + policy.last;
    // The newest good one may stay by no rule of its own, where days or weeks do not count.
    let spared =
        usize::from(newest.is_some_and(|newest| counted.contains(&newest)) && policy.daily * policy.weekly == 0);
    assert!(counted.len() <= wanted + spared, "{} kept, {wanted} wanted", counted.len());
}

/// The newest good one stays whatever its age, a pinned one unless it is too old, and nothing else that is too old.
fn is_what_must_be(backups: &[Backup], policy: &Policy, kept: &BTreeSet<&str>) {
    let newest = newest_good(backups, now());
    for backup in backups {
        let is_kept = kept.contains(backup.id.as_str());
        let too_old = policy.max_age.is_some_and(|age| now() - backup.started_at > age.length());
        if newest.is_some_and(|newest| newest == backup) {
            assert!(is_kept, "the newest good one goes: {backup:?}");
        } else if too_old {
            assert!(!is_kept, "too old, and kept: {backup:?}");
        } else if backup.is_pinned || backup.started_at > now() {
            assert!(is_kept, "pinned or in the future, and removed: {backup:?}");
        }
    }
}

/// What was kept is kept when it is decided again, and as time goes on nothing comes back.
fn is_stable(backups: &[Backup], policy: &Policy, kept_now: &BTreeSet<&str>, later: i64) {
    let rest: Vec<Backup> = backups.iter().filter(|b| kept_now.contains(b.id.as_str())).cloned().collect();
    assert_eq!(kept(&decide(&rest, policy, now()).unwrap()), *kept_now, "decided again");
    let decisions = decide(backups, policy, now() + TimeDelta::seconds(later)).unwrap();
    let kept_later = kept(&decisions);
    assert!(kept_later.is_subset(kept_now), "{later} s later: {kept_later:?} of {kept_now:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_holds_for_any_history(drawn in histories(), policy in policies(), later in 0..90 * 24 * HOUR) {
        let backups = backups(&drawn);
        let decisions = decide(&backups, &policy, now()).unwrap();
        let kept = kept(&decisions);
        is_in_order(&backups, &policy, &decisions);
        is_no_more_than_wanted(&backups, &policy, &kept);
        is_what_must_be(&backups, &policy, &kept);
        is_stable(&backups, &policy, &kept, later);
    }
}

/// By the default policy never more than 23 and the pinned ones, on any day of two years of daily and weekly backups.
#[test]
fn two_years_never_keep_more_than_23() {
    let policy = Policy { daily: 7, weekly: 4, monthly: 12, ..Policy::default() };
    let mut backups: Vec<Backup> = Vec::new();
    for day in 0..730 {
        let started_at = now() + TimeDelta::days(day);
        let class = if day % 7 == 0 { Class::Archive } else { Class::Full };
        backups.push(Backup { id: day.to_string(), started_at, class, flaw: None, is_pinned: false });
        let decisions = decide(&backups, &policy, started_at).unwrap();
        let kept = kept(&decisions);
        assert!(kept.len() <= 23, "day {day}: {kept:?}");
        backups.retain(|backup| kept.contains(backup.id.as_str()));
    }
    assert!(backups.len() >= 17, "{backups:?}");
}
