//! Who may do what, who did what, and whether the log of that is whole.

use std::collections::{BTreeMap, BTreeSet};

use crate::report::Page;
use crate::report::data::Grant;
use crate::report::html::Html;
use crate::report::table::{Cell, Table};

pub fn rights(html: &mut Html, page: &Page) {
    let rows = page.report.members.iter().map(|member| {
        let role = if member.is_superuser { "superuser: passes every check" } else { &member.role };
        vec![Cell::told(&member.member), Cell::told(role)]
    });
    Table {
        id: "members",
        caption: "Roles that can log in and have a right by membership",
        heads: &["Login", "Has"],
        rows: rows.collect(),
        total: None,
        none: "No login is a superuser or a member of a role of the extension.",
    }
    .write(html);
    let grants = &page.report.grants;
    html.element("details", &[], |html| {
        html.words("summary", &[], "The matrix of privileges");
        matrix(html, grants);
    });
}

/// A row an object and a column a role.
fn matrix(html: &mut Html, grants: &[Grant]) {
    let roles: BTreeSet<&str> = grants.iter().map(|grant| grant.role.as_str()).collect();
    let mut objects: BTreeMap<(&str, &str), BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for grant in grants {
        let of_object = objects.entry((&grant.kind, &grant.object)).or_default();
        of_object.entry(&grant.role).or_default().push(&grant.privilege);
    }
    let rows = objects.iter().map(|((kind, object), given)| {
        let mut row = vec![Cell::told(*object), Cell::Words((*kind).to_owned())];
        row.extend(
            roles.iter().map(|role| Cell::maybe(given.get(role), |privileges| Cell::told(privileges.join(", ")))),
        );
        row
    });
    let heads: Vec<&str> = ["Object", "Kind"]
        .into_iter()
        .chain(roles.iter().map(|role| role.trim_start_matches("agent_backup_")))
        .collect();
    Table {
        id: "matrix",
        caption: "Privileges that were granted, by object and role (agent_backup_operator and so on)",
        heads: &heads,
        rows: rows.collect(),
        total: None,
        none: "No privilege was granted.",
    }
    .write(html);
}

pub fn audit(html: &mut Html, page: &Page) {
    let audit = &page.report.audit;
    let rows = audit
        .chain
        .iter()
        .map(|link| vec![Cell::told(&link.check), Cell::Status(link.status.clone()), Cell::told(&link.details)]);
    Table {
        id: "chain",
        caption: "The chain of the audit log, checked when this page was made",
        heads: &["Check", "Verdict", "Details"],
        rows: rows.collect(),
        total: None,
        none: "The chain could not be checked.",
    }
    .write(html);
    let rows = audit.acts.iter().map(|acts| {
        let counts = [acts.ok, acts.failed, acts.denied].map(Cell::Count);
        let mut row = vec![Cell::told(&acts.action)];
        row.extend(counts);
        row.push(Cell::Moment(acts.last_at));
        row
    });
    Table {
        id: "acts-table",
        caption: "Acts of the period by what was done and how it ended",
        heads: &["Act", "Done", "Failed", "Denied", "Last"],
        rows: rows.collect(),
        total: None,
        none: "There was no act in the period.",
    }
    .write(html);
    jobs(html, page);
}

fn jobs(html: &mut Html, page: &Page) {
    let rows = page.report.jobs.iter().map(|job| {
        vec![
            Cell::told(&job.job),
            Cell::told(&job.set),
            Cell::maybe(job.schedule.as_deref(), Cell::told),
            Cell::Count(job.succeeded),
            Cell::Count(job.failed),
            Cell::maybe(job.last_at, Cell::Moment),
            Cell::maybe(job.last_error.as_deref(), Cell::told),
        ]
    });
    Table {
        id: "jobs",
        caption: "Jobs: runs of the period, and those that are scheduled",
        heads: &["Job", "Set", "Schedule", "Succeeded", "Failed", "Last run", "Last error"],
        rows: rows.collect(),
        total: None,
        none: "No job ran in the period, and none is scheduled by pg_cron.",
    }
    .write(html);
}
