//! A1: capacity, backups and their infrastructure, and tests of the recovery.

use chrono::TimeDelta;

use super::{Control, Verdict, list};
use crate::report::data::{Drill, Report, Status};
use crate::report::facts::Facts;
use crate::report::show;

/// Drills are expected once a month, with a few days of grace, as `health` has it.
const DRILL_DAYS: i64 = 35;

pub fn capacity(report: &Report) -> Control {
    let control = Control::new(
        "A1.1",
        "Capacity is monitored, so that it suffices",
        "Room on the disk of the backups is measured, compared with what one more backup of every set takes, and told by health.",
    );
    let disk = match &report.disk {
        Ok(disk) => disk,
        Err(failure) => {
            return control.is(
                Verdict::NotEvidenced,
                format!("the disk of the backups cannot be looked at: {}", show::name(failure)),
            );
        }
    };
    let control = control.shows([format!(
        "{} of {} are free now; backups take {}",
        show::bytes(disk.free),
        show::bytes(disk.total),
        show::bytes(disk.used)
    )]);
    match disk.needed {
        None => control.is(Verdict::NotEvidenced, "there is no good backup yet to judge by"),
        Some(needed) => {
            let control = control.shows([format!("one more backup of every set takes {}", show::bytes(needed))]);
            if disk.free < needed {
                control.is(Verdict::NotMet, "there is no room for one more backup of every set")
            } else {
                control.is(Verdict::Met, "there is room for one more backup of every set")
            }
        }
    }
}

pub fn backups(report: &Report, facts: &Facts) -> Control {
    let mut control = Control::new(
        "A1.2",
        "Data is backed up as often as was decided, and copies are kept at another place",
        "Each set is backed up from one snapshot, as often as its backup_interval says; files are synced, read back and \
         compared before they count, and copied to off-site stores.",
    );
    let made = facts.count(|_| true);
    let complete = facts.count(|backup| backup.status == Status::Complete);
    control = control.shows([format!("{} backups complete", show::share(complete, made))]);
    for set in &facts.sets {
        control = control.shows([format!(
            "{}: {} good; longest time without one {}, expected every {}",
            show::name(&format!("\"{}\"", set.set.name)),
            show::count(set.count(|backup| backup.is_good())),
            show::duration(set.without_backup),
            show::duration(set.set.interval)
        )]);
    }
    let (copied, lost) = off_site(report);
    control =
        control.shows([format!("{} copies off-site are complete, {} are not", show::count(copied), show::count(lost))]);
    if facts.sets.is_empty() {
        return control.is(Verdict::NotEvidenced, "no backup set has a table in this database");
    }
    let late = facts.names(|set| !set.is_in_time());
    if !late.is_empty() {
        return control
            .is(Verdict::NotMet, format!("good backups were further apart than they may be: {}", list(&late)));
    }
    let is_copied = |set: &str| report.copies.iter().any(|copy| copy.set == set && copy.status == "complete");
    let nowhere = facts.names(|set| !is_copied(&set.set.name));
    if !nowhere.is_empty() {
        return control.is(Verdict::NotMet, format!("no copy is off-site of {}", list(&nowhere)));
    }
    if lost > 0 {
        return control.is(Verdict::NotMet, "copies off-site are missing or failed");
    }
    control.is(Verdict::Met, "every set was backed up in time and has copies off-site")
}

/// Complete copies, and those that are missing or failed.
fn off_site(report: &Report) -> (i64, i64) {
    let count = |statuses: &[&str]| {
        let so = report.copies.iter().filter(|copy| statuses.contains(&copy.status.as_str()));
        so.map(|copy| copy.count).sum()
    };
    (count(&["complete", "retained"]), count(&["missing", "failed"]))
}

pub fn tests(report: &Report, facts: &Facts) -> Control {
    let mut control = Control::new(
        "A1.3",
        "Recovery is tested",
        "A drill restores the newest backup beside the live tables with keys, indexes and policies, compares every row and \
         measures the time against the recovery time objective.",
    );
    let in_period: Vec<&Drill> = report.drills.iter().filter(|drill| report.period.has(drill.started_at)).collect();
    let failed = in_period.iter().filter(|drill| drill.status == "failed").count() as i64;
    let late = in_period.iter().filter(|drill| drill.within_rto == Some(false)).count() as i64;
    control = control.shows([format!(
        "{} in the period: {} failed, {} took longer than the objective",
        show::of(in_period.len() as i64, "drill"),
        show::count(failed),
        show::count(late)
    )]);
    if facts.sets.is_empty() {
        return control.is(Verdict::NotEvidenced, "no backup set has a table in this database");
    }
    let recent = facts.end - TimeDelta::days(DRILL_DAYS);
    let last = |set: &str| report.drills.iter().find(|drill| drill.set == set && drill.started_at >= recent);
    let untested = facts.names(|set| last(&set.set.name).is_none());
    let unproved = facts.names(|set| {
        last(&set.set.name).is_some_and(|drill| drill.status == "failed" || drill.within_rto == Some(false))
    });
    if !unproved.is_empty() {
        return control.is(Verdict::NotMet, format!("the last drill failed or took too long: {}", list(&unproved)));
    }
    if !untested.is_empty() {
        let because = format!("no drill in {DRILL_DAYS} days of {}", list(&untested));
        return control.is(Verdict::NotEvidenced, because);
    }
    control.is(Verdict::Met, format!("every set was restored by a drill in the last {DRILL_DAYS} days, and in time"))
}
