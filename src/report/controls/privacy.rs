//! C1, P4 and PI1: what is confidential, how long it is kept, how it goes, and that what is stored is what was.

use super::{Control, Verdict, list};
use crate::report::data::{Report, Status, seconds_between};
use crate::report::facts::Facts;
use crate::report::show;

pub fn identify(report: &Report, facts: &Facts) -> Control {
    let control = Control::new(
        "C1.1",
        "Confidential information is identified and protected",
        "Columns can be left out or masked and rows filtered before anything is written; what is written can be sealed, so that \
         the server itself need not be able to read it.",
    );
    let tables: i64 = report.sets.iter().map(|set| set.tables).sum();
    let masked: i64 = report.sets.iter().map(|set| set.masked).sum();
    let filtered: i64 = report.sets.iter().map(|set| set.filtered).sum();
    let stored = facts.count(|backup| backup.status != Status::Failed);
    let sealed = facts.count(|backup| backup.is_sealed);
    let control = control.shows([
        format!(
            "{} in sets: {} with masked or excluded columns, {} with a filter",
            show::of(tables, "table"),
            show::count(masked),
            show::count(filtered)
        ),
        format!("{} backups of the period are sealed", show::share(sealed, stored)),
    ]);
    match (stored, sealed) {
        (0, _) => control.is(Verdict::NotEvidenced, "no backup was made"),
        (_, 0) => {
            control.is(Verdict::NotEvidenced, "no backup is sealed; encryption of the disk cannot be seen from here")
        }
        (stored, sealed) if sealed < stored => control.is(Verdict::NotMet, "some backups are sealed and some are not"),
        _ => control.is(Verdict::Met, "every backup is sealed"),
    }
}

pub fn dispose(report: &Report) -> Control {
    let control = Control::new(
        "C1.2",
        "Confidential information is disposed of when it is no longer needed",
        "Retention keeps what its policy names and says why; prune removes the rest, files and all, and notes each removal with \
         its reasons.",
    );
    let removed: Vec<_> = report.backups.iter().filter_map(|backup| Some((backup, backup.removed.as_ref()?))).collect();
    let in_period = removed.iter().filter(|(_, removed)| report.period.has(removed.at));
    let (count, bytes) = in_period.fold((0, 0), |(count, bytes), (backup, _)| (count + 1, bytes + backup.bytes));
    let due: i64 = report.plan.iter().filter(|planned| !planned.keep).count() as i64;
    let control = control.shows([
        format!("{} removed in the period, {}", show::of(count, "backup"), show::bytes(bytes)),
        format!("{} listed now, {} of them due to go", show::of(report.plan.len() as i64, "backup"), show::count(due)),
    ]);
    if report.plan.is_empty() && count == 0 {
        return control.is(Verdict::NotEvidenced, "there is no backup");
    }
    if due == 0 {
        return control.is(Verdict::Met, "nothing is kept that the policy does not keep");
    }
    let pruned = removed.iter().map(|(_, removed)| removed.at);
    let ran = report.jobs.iter().filter(|job| job.job == "prune" && job.succeeded > 0).filter_map(|job| job.last_at);
    match pruned.chain(ran).max() {
        Some(last) if seconds_between(last, report.made.at) <= 172_800.0 => {
            control.is(Verdict::Met, "prune ran in the last two days; its next run takes the rest")
        }
        _ => control.is(Verdict::NotMet, "backups are due to go, and prune did not run in the last two days"),
    }
}

pub fn retention(report: &Report, facts: &Facts) -> Control {
    let mut control = Control::new(
        "P4.2",
        "Personal information is kept no longer than it may be",
        "A set can have a maximum age that wins over every other rule; only the newest good backup outlives it, and health says so.",
    );
    let limited: Vec<_> = report.sets.iter().filter_map(|set| Some((set, set.max_age?))).collect();
    control = control
        .shows([format!("{} sets have a maximum age", show::share(limited.len() as i64, report.sets.len() as i64))]);
    let mut over = Vec::new();
    for (set, limit) in &limited {
        let listed = report.plan.iter().filter(|planned| planned.set == set.name);
        let age = listed.map(|planned| seconds_between(planned.started_at, report.made.at)).fold(0.0, f64::max);
        control = control.shows([format!(
            "{}: the oldest backup is {} old, {} are allowed",
            show::name(&format!("\"{}\"", set.name)),
            show::duration(age),
            show::duration(*limit)
        )]);
        if age > *limit {
            over.push(set.name.as_str());
        }
    }
    let unlimited = facts.names(|set| set.set.max_age.is_none());
    if !over.is_empty() {
        return control.is(Verdict::NotMet, format!("backups are older than they may be: {}", list(&over)));
    }
    if limited.is_empty() {
        return control.is(Verdict::NotEvidenced, "no set has a maximum age");
    }
    if !unlimited.is_empty() {
        return control.is(Verdict::NotEvidenced, format!("no maximum age is set for {}", list(&unlimited)));
    }
    control.is(Verdict::Met, "no backup is older than its set allows")
}

pub fn erasure(report: &Report) -> Control {
    let control = Control::new(
        "P4.3",
        "Personal information is disposed of when it has to be",
        "erase_subject removes a person from archive, log and every backup file, certifies what was reached and what was not, and \
         keeps the person out of later restores.",
    );
    let erasures = &report.erasures;
    let complete = erasures.rows.iter().filter(|erasure| erasure.status == "complete").count() as i64;
    let left: i64 = erasures.rows.iter().map(|erasure| erasure.left).sum();
    let control = control.shows([
        format!("{} erasures in the period complete", show::share(complete, erasures.rows.len() as i64)),
        format!("{} could not be reached", show::of(left, "file")),
    ]);
    if erasures.rows.is_empty() {
        return control.is(Verdict::NotEvidenced, "no erasure was asked for");
    }
    if complete < erasures.rows.len() as i64 || left > 0 {
        return control.is(Verdict::NotMet, "an erasure could not reach every file");
    }
    control.is(Verdict::Met, "every erasure reached every file")
}

pub fn integrity(facts: &Facts) -> Control {
    let control = Control::new(
        "PI1.5",
        "What is stored is complete and accurate",
        "Every chunk has a digest of its rows and of its bytes; a backup is compared before it counts, again by verify, and again \
         when it is restored.",
    );
    let complete = facts.count(|backup| backup.status == Status::Complete);
    let decoded = facts.count(|backup| backup.is_decoded());
    let refuted = facts.count(|backup| backup.is_refuted());
    let control = control.shows([
        format!("every row was read back of {} complete backups", show::share(decoded, complete)),
        format!("{} found damaged", show::of(refuted, "backup")),
    ]);
    let unread = facts.names(|set| set.count(|backup| backup.is_decoded()) == 0);
    let damaged = facts.names(|set| set.newest().is_some_and(|backup| backup.is_refuted()));
    if !damaged.is_empty() {
        return control.is(Verdict::NotMet, format!("the newest backup is damaged: {}", list(&damaged)));
    }
    if complete == 0 || !unread.is_empty() {
        let because = if complete == 0 {
            "no complete backup was made".into()
        } else {
            format!("no backup was read back of {}", list(&unread))
        };
        return control.is(Verdict::NotEvidenced, because);
    }
    control.is(
        Verdict::Met,
        "the newest backup of every set is not known to be damaged, and backups of every set were read back",
    )
}
