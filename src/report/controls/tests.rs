//! Verdicts as a table: what is changed in a report in which all is met, and what becomes of which criterion.

use chrono::TimeDelta;

use super::{Control, Verdict, all};
use crate::report::data::*;
use crate::report::facts::Facts;
use crate::report::fixture::{at, backup, empty, erasure, good, grant, verdict};

fn controls(report: &Report) -> Vec<Control> {
    all(report, &Facts::of(report))
}

fn verdict_of(report: &Report, id: &str) -> (Verdict, String) {
    let control = controls(report).into_iter().find(|control| control.id == id).expect(id);
    (control.verdict, control.because)
}

#[test]
fn a_report_in_which_all_is_well_meets_every_criterion() {
    let report = good();
    for control in controls(&report) {
        assert_eq!(control.verdict, Verdict::Met, "{}: {}", control.id, control.because);
        assert!(!control.evidence.is_empty(), "{}", control.id);
    }
    assert_eq!(controls(&report).len(), 15);
}

#[test]
fn a_database_that_did_nothing_meets_none() {
    for control in controls(&empty()) {
        assert_eq!(control.verdict, Verdict::NotEvidenced, "{}: {}", control.id, control.because);
    }
}

type Change = fn(&mut Report);

/// What changes, which criterion that is about, its verdict, and a word of the reason.
const CASES: &[(Change, &str, Verdict, &str)] = &[
    (|r| r.disk = Err("gone".into()), "A1.1", Verdict::NotEvidenced, "gone"),
    (|r| disk(r, |disk| disk.needed = None), "A1.1", Verdict::NotEvidenced, "no good backup"),
    (|r| disk(r, |disk| disk.needed = Some(901)), "A1.1", Verdict::NotMet, "no room"),
    (
        |r| {
            r.backups.retain(|b| b.started_at < at("2026-03-09T00:00:00Z") || b.started_at > at("2026-03-12T00:00:00Z"))
        },
        "A1.2",
        Verdict::NotMet,
        "further apart",
    ),
    (|r| r.copies = vec![], "A1.2", Verdict::NotMet, "no copy is off-site"),
    (|r| copy(r, |copy| copy.status = "failed".into()), "A1.2", Verdict::NotMet, "no copy is off-site"),
    (|r| r.sets[0].present = 0, "A1.2", Verdict::NotEvidenced, "no backup set"),
    (|r| r.drills.clear(), "A1.3", Verdict::NotEvidenced, "no drill in 35 days"),
    (|r| r.drills[0].status = "failed".into(), "A1.3", Verdict::NotMet, "failed or took too long"),
    (|r| r.drills[0].within_rto = Some(false), "A1.3", Verdict::NotMet, "failed or took too long"),
    (|r| r.drills[0].started_at = at("2026-02-20T00:00:00Z"), "A1.3", Verdict::NotEvidenced, "no drill in 35 days"),
    (|r| r.backups.iter_mut().for_each(|b| b.is_sealed = false), "C1.1", Verdict::NotEvidenced, "no backup is sealed"),
    (|r| r.backups[20].is_sealed = false, "C1.1", Verdict::NotMet, "some are not"),
    (|r| r.plan[0].keep = false, "C1.2", Verdict::NotMet, "did not run"),
    (|r| (r.plan[0].keep, r.jobs[0].job) = (false, "prune".into()), "C1.2", Verdict::Met, "two days"),
    (|r| r.grants = vec![], "CC6.1", Verdict::NotEvidenced, "empty"),
    (|r| add(r, grant("backups", "view", "PUBLIC", "SELECT")), "CC6.1", Verdict::NotMet, "public"),
    (|r| add(r, grant("backups", "view", "app", "SELECT")), "CC6.3", Verdict::NotMet, "\"app\""),
    (|r| copy(r, |copy| copy.sealed = 29), "CC6.7", Verdict::NotMet, "not sealed: 1"),
    (|r| r.copies = vec![], "CC6.7", Verdict::NotEvidenced, "no copy"),
    (|r| newest(r, |b| b.verdict = None), "CC7.2", Verdict::NotEvidenced, "no set has"),
    (|r| two_sets(r), "CC7.2", Verdict::NotMet, "not verified: \u{2068}\"other\"\u{2069}"),
    (|r| chain(r, "failed"), "CC7.2", Verdict::NotMet, "changed or has gaps"),
    (
        |r| newest(r, |b| (b.status, b.error) = (Status::Failed, Some("no".into()))),
        "CC7.3",
        Verdict::NotMet,
        "open at the end",
    ),
    (|r| r.jobs[0].open_since = Some(at("2026-03-30T00:00:00Z")), "CC7.3", Verdict::NotMet, "open at the end"),
    (|r| r.backups.retain(Backup::is_good), "CC7.4", Verdict::NotEvidenced, "nothing to respond"),
    (|r| newest(r, |b| (b.status, b.error) = (Status::Failed, Some("no".into()))), "CC7.4", Verdict::NotMet, "1 event"),
    (|r| r.objectives[0].met = Some(false), "CC7.5", Verdict::NotMet, "single record deleted"),
    (|r| r.objectives[0].met = None, "CC7.5", Verdict::NotEvidenced, "never timed"),
    (|r| r.sets[0].max_age = None, "P4.2", Verdict::NotEvidenced, "no set has a maximum age"),
    (|r| r.sets[0].max_age = Some(86_400.0), "P4.2", Verdict::NotMet, "older than"),
    (|r| r.erasures = Listed::default(), "P4.3", Verdict::NotEvidenced, "no erasure"),
    (
        |r| r.erasures = Listed { rows: vec![Erasure { left: 1, ..erasure() }], total: 1 },
        "P4.3",
        Verdict::NotMet,
        "every file",
    ),
    (
        |r| r.backups.iter_mut().for_each(|b| b.verdict = verdict(b.started_at, "success", "hash")),
        "PI1.5",
        Verdict::NotEvidenced,
        "read back",
    ),
    (|r| newest(r, |b| b.verdict = verdict(b.started_at, "failed", "decode")), "PI1.5", Verdict::NotMet, "damaged"),
];

fn disk(report: &mut Report, change: impl Fn(&mut Disk)) {
    report.disk.as_mut().map(change).unwrap();
}

fn copy(report: &mut Report, change: impl Fn(&mut Copies)) {
    report.copies.iter_mut().for_each(change);
}

fn add(report: &mut Report, grant: Grant) {
    report.grants.push(grant);
}

fn newest(report: &mut Report, change: impl Fn(&mut Backup)) {
    report.backups.last_mut().map(change).unwrap();
}

fn chain(report: &mut Report, status: &str) {
    report.audit.chain[0].status = status.into();
}

/// A second set, whose backups nobody verifies.
fn two_sets(report: &mut Report) {
    report.sets.push(Set { name: "other".into(), ..report.sets[0].clone() });
    report.backups.extend((0..31).map(|day| backup("other", day, 3)));
    report.backups.sort_by_key(|backup| backup.started_at);
}

#[test]
fn each_verdict_follows_from_what_is_there() {
    for (number, (change, id, expected, word)) in CASES.iter().enumerate() {
        let mut report = good();
        change(&mut report);
        let (verdict, because) = verdict_of(&report, id);
        assert_eq!(verdict, *expected, "case {number}, {id}: {because}");
        assert!(because.contains(word), "case {number}, {id}: {because}");
    }
}

#[test]
fn every_criterion_can_be_met_missed_or_not_evidenced() {
    // Access by the public is either there or not, and a plan either keeps a backup or not: these have two verdicts.
    for control in controls(&good()) {
        let seen = |verdict| CASES.iter().any(|(_, id, expected, _)| *id == control.id && *expected == verdict);
        assert!(seen(Verdict::NotMet), "{} is never missed", control.id);
    }
}

#[test]
fn a_set_that_is_new_is_judged_from_its_first_day() {
    let mut report = good();
    report.sets[0].created_at = at("2026-03-20T01:00:00Z");
    report.backups.retain(|backup| backup.started_at > at("2026-03-20T00:00:00Z"));
    let facts = Facts::of(&report);
    assert_eq!(facts.sets[0].without_backup, 86_400.0);
    report.backups.retain(|backup| backup.started_at > at("2026-03-22T12:00:00Z"));
    assert_eq!(Facts::of(&report).sets[0].without_backup, TimeDelta::hours(73).num_seconds() as f64);
}

#[test]
fn damage_is_mended_by_a_newer_good_backup_and_not_by_an_older_one() {
    let mut report = good();
    report.backups.retain(Backup::is_good);
    let found = at("2026-03-25T00:00:00Z");
    report.backups[20].verdict = verdict(found, "failed", "decode");
    let facts = Facts::of(&report);
    assert_eq!(facts.troubles.len(), 1);
    // The one of the next day was there already when the damage was found.
    assert_eq!((facts.troubles[0].what, facts.troubles[0].mended_at), ("backup damaged", Some(found)));
    report.backups.truncate(21);
    assert_eq!(Facts::of(&report).troubles[0].mended_at, None);
}
