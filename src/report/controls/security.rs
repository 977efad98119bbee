//! CC6 and CC7: who has access, how data moves, and how trouble is noticed, judged and mended.

use super::{Control, Verdict, list};
use crate::report::data::Report;
use crate::report::facts::Facts;
use crate::report::show;

pub fn access(report: &Report) -> Control {
    let control = Control::new(
        "CC6.1",
        "Logical access to data and its copies is restricted",
        "Everything of the extension is closed to the public; files are written with mode 0600 into directories of mode \
         0700; reading a backup asks for the right to its file and to every row of its table.",
    );
    let public = report.grants.iter().filter(|grant| grant.role == "PUBLIC").count() as i64;
    let control = control.shows([format!(
        "{} in the matrix, {} of them of the public",
        show::of(report.grants.len() as i64, "privilege"),
        show::count(public)
    )]);
    match (report.grants.len(), public) {
        (0, _) => control.is(Verdict::NotEvidenced, "the matrix is empty"),
        (_, 0) => control.is(Verdict::Met, "the public has no privilege on anything of the extension"),
        _ => control.is(Verdict::NotMet, "the public has privileges"),
    }
}

pub fn roles(report: &Report) -> Control {
    let control = Control::new(
        "CC6.3",
        "Access is given by role, and no wider than the task needs",
        "Operator, restorer, auditor and admin are roles of their own; each has what its task asks for, and no login has any \
         of them before it is granted.",
    );
    let superusers = report.members.iter().filter(|member| member.is_superuser).count() as i64;
    let granted = report.members.len() as i64 - superusers;
    let control = control.shows([
        format!("{} of a login in a role of ours", show::of(granted, "membership")),
        format!("{}, who pass every check", show::of(superusers, "superuser")),
    ]);
    if report.grants.is_empty() {
        return control.is(Verdict::NotEvidenced, "the matrix is empty");
    }
    let grants = &report.grants;
    let ours = |role: &str| role.starts_with("agent_backup_") || role == "PUBLIC";
    let mut others: Vec<&str> = grants.iter().map(|grant| grant.role.as_str()).filter(|role| !ours(role)).collect();
    others.sort_unstable();
    others.dedup();
    if others.is_empty() {
        control.is(Verdict::Met, "every privilege is that of a role of ours")
    } else {
        control.is(Verdict::NotMet, format!("other roles were given privileges directly: {}", list(&others)))
    }
}

pub fn movement(report: &Report, facts: &Facts) -> Control {
    let control = Control::new(
        "CC6.7",
        "Data is protected where it is moved",
        "Backups are sealed for the recipients of their set (age) before they are written, so that what leaves the machine can \
         be read by nobody else.",
    );
    let stored = facts.count(|backup| backup.status != crate::report::data::Status::Failed);
    let sealed = facts.count(|backup| backup.is_sealed);
    let control = control.shows([format!("{} backups of the period are sealed", show::share(sealed, stored))]);
    let copies = &report.copies;
    let count: i64 = copies.iter().filter(|copy| copy.status == "complete").map(|copy| copy.count).sum();
    let closed: i64 = copies.iter().filter(|copy| copy.status == "complete").map(|copy| copy.sealed).sum();
    let control = control.shows([format!("{} copies off-site are sealed", show::share(closed, count))]);
    match (count, count - closed) {
        (0, _) => control.is(Verdict::NotEvidenced, "no copy was made off-site"),
        (_, 0) => control.is(Verdict::Met, "every copy off-site is sealed"),
        (_, plain) => control.is(Verdict::NotMet, format!("copies that are not sealed: {}", show::count(plain))),
    }
}

pub fn monitoring(report: &Report, facts: &Facts) -> Control {
    let mut control = Control::new(
        "CC7.2",
        "Operation is monitored for anomalies",
        "Backups are verified by reading them back, every run of a job is logged with its end, every act stands in a chain of \
         hashes, and health names what is amiss.",
    );
    let logged = || report.checks.iter().flatten();
    let checks: i64 = logged().map(|checks| checks.count).sum();
    let bad: i64 = logged().filter(|checks| checks.status == "failed").map(|checks| checks.count).sum();
    let runs: i64 = report.jobs.iter().map(|job| job.succeeded + job.failed).sum();
    let failed: i64 = report.jobs.iter().map(|job| job.failed).sum();
    control = control.shows([
        format!("{} of a table, {} found damage", show::of(checks, "check"), show::count(bad)),
        format!("{} of jobs, {} failed", show::of(runs, "run"), show::count(failed)),
    ]);
    let broken = report.audit.chain.iter().any(|link| link.status != "ok");
    let links = report.audit.chain.first().map(|_| if broken { "broken" } else { "whole" });
    control = control.shows(links.map(|state| format!("the chain of the audit log is {state}")));
    if broken {
        return control.is(Verdict::NotMet, "the audit log was changed or has gaps");
    }
    let watched = facts.names(|set| set.newest().is_some());
    let unchecked = facts.names(|set| set.newest().is_some_and(|backup| backup.verdict.is_none()));
    if watched.is_empty() || unchecked.len() == watched.len() {
        return control.is(Verdict::NotEvidenced, "no set has a verified newest backup");
    }
    if !unchecked.is_empty() {
        return control.is(Verdict::NotMet, format!("the newest backup was not verified: {}", list(&unchecked)));
    }
    control.is(Verdict::Met, "the newest backup of the period was verified of every set")
}

pub fn evaluation(report: &Report, facts: &Facts) -> Control {
    let control = Control::new(
        "CC7.3",
        "Events are judged, so that failures of objectives are known and acted on",
        "What fails is kept with its reason, in the catalogue and in the log of jobs, and stays named by health until a good run \
         follows it.",
    );
    let open = facts.troubles.iter().filter(|trouble| trouble.mended_at.is_none()).count() as i64;
    let jobs = report.jobs.iter().filter(|job| job.open_since.is_some()).count() as i64;
    let control = control.shows([
        format!(
            "{} with backups and drills, {} open at the end",
            show::of(facts.troubles.len() as i64, "event"),
            show::count(open)
        ),
        format!("{} whose last run failed", show::of(jobs, "job")),
    ]);
    let worked = facts.count(|_| true) > 0 || report.jobs.iter().any(|job| job.last_at.is_some());
    if !worked {
        return control.is(Verdict::NotEvidenced, "nothing ran that could be judged");
    }
    if open + jobs > 0 {
        return control.is(Verdict::NotMet, "events are open at the end of the period");
    }
    control.is(Verdict::Met, "no event is open at the end of the period")
}

pub fn response(facts: &Facts) -> Control {
    let control = Control::new(
        "CC7.4",
        "Incidents are responded to",
        "A failed job raises, is told on the channel agent_backup, and the next run makes good what is missing; the runbook has \
         the steps as commands for this database.",
    );
    let interval = |set: &str| facts.sets.iter().find(|facts| facts.set.name == set).map(|facts| facts.set.interval);
    let took = |trouble: &crate::report::facts::Trouble| {
        trouble.mended_at.map(|mended| crate::report::data::seconds_between(trouble.at, mended))
    };
    let mended: Vec<f64> = facts.troubles.iter().filter_map(took).collect();
    let control = control.shows([format!(
        "{} events were followed by a good run",
        show::share(mended.len() as i64, facts.troubles.len() as i64)
    )]);
    let control = control.shows(
        mended.iter().copied().reduce(f64::max).map(|longest| format!("the longest took {}", show::duration(longest))),
    );
    if facts.troubles.is_empty() {
        return control.is(Verdict::NotEvidenced, "there was nothing to respond to");
    }
    let slow = facts.troubles.iter().filter(|trouble| {
        let limit = interval(trouble.set).unwrap_or(f64::INFINITY) * 1.1;
        trouble.what.starts_with("backup") && took(trouble).is_none_or(|seconds| seconds > limit)
    });
    match slow.count() as i64 {
        0 => control.is(Verdict::Met, "every failed backup was followed by a good one within the interval of its set"),
        slow => control.is(
            Verdict::NotMet,
            format!("not followed by a good backup within the interval of the set: {}", show::of(slow, "event")),
        ),
    }
}

pub fn recovery(report: &Report) -> Control {
    let control = Control::new(
        "CC7.5",
        "Recovery from incidents is in place, and meets its objectives",
        "Restores of a record, a table, a set or a moment are checked against digests, save what is there first and are logged; \
         their times and the possible loss are held against the objectives of each set.",
    );
    let met = report.objectives.iter().filter(|row| row.met == Some(true)).count() as i64;
    let control = control.shows([
        format!("{} in the period", show::of(report.restores.total, "restore")),
        format!("{} objectives of recovery are met now", show::share(met, report.objectives.len() as i64)),
    ]);
    if report.objectives.is_empty() {
        return control.is(Verdict::NotEvidenced, "no set has objectives");
    }
    let missed: Vec<String> = report
        .objectives
        .iter()
        .filter(|row| row.met == Some(false))
        .map(|row| format!("{}: {}", row.set, row.scenario))
        .collect();
    if !missed.is_empty() {
        let missed: Vec<&str> = missed.iter().map(String::as_str).collect();
        return control.is(Verdict::NotMet, format!("missed now: {}", list(&missed)));
    }
    if report.objectives.iter().any(|row| row.met.is_none()) {
        return control.is(Verdict::NotEvidenced, "restores of some scenarios were never timed");
    }
    control.is(Verdict::Met, "every objective is met now")
}
