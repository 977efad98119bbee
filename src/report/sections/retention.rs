//! What is kept, what went and why, and what would go now.

use std::collections::BTreeMap;

use crate::report::data::{Backup, Planned, Removed};
use crate::report::html::Html;
use crate::report::table::{Cell, Table, Tone};
use crate::report::{Page, show};

/// More rows than this are left to the views.
const MOST: usize = 60;

pub fn write(html: &mut Html, page: &Page) {
    policies(html, page);
    removed(html, page);
    plan(html, page);
}

fn policies(html: &mut Html, page: &Page) {
    let rows = page.report.sets.iter().map(|set| {
        vec![
            Cell::told(&set.name),
            Cell::Words(set.keeps.clone()),
            Cell::maybe(set.max_age, Cell::Seconds),
            Cell::Seconds(set.interval),
            Cell::Count(set.tables),
        ]
    });
    Table {
        id: "policies",
        caption: "What each set keeps",
        heads: &["Set", "Kept", "Never older than", "Backup every", "Tables"],
        rows: rows.collect(),
        total: None,
        none: "There is no set.",
    }
    .write(html);
}

fn removed(html: &mut Html, page: &Page) {
    let period = page.report.period;
    let went = page.report.backups.iter().filter_map(|backup| Some((backup, backup.removed.as_ref()?)));
    let mut went: Vec<(&Backup, &Removed)> = went.filter(|(_, removed)| period.has(removed.at)).collect();
    went.sort_by(|(one, gone), (other, away)| (away.at, &other.id).cmp(&(gone.at, &one.id)));
    let bytes: i64 = went.iter().map(|(backup, _)| backup.bytes).sum();
    html.element("p", &[], |html| {
        html.text("Removed in the period: ");
        html.data(Some("pruned-backups"), &went.len().to_string(), &show::count(went.len() as i64));
        html.text(" backups, ");
        html.data(Some("pruned-bytes"), &bytes.to_string(), &show::bytes(bytes));
        html.text(".");
    });
    let rows = went.iter().take(MOST).map(|(backup, removed)| {
        vec![
            Cell::Moment(removed.at),
            Cell::told(&backup.set),
            Cell::told(&backup.id),
            Cell::Words(backup.kind.clone()),
            Cell::Bytes(backup.bytes),
            Cell::told(removed.reasons.join("; ")),
            Cell::told(&removed.by),
        ]
    });
    Table {
        id: "pruned",
        caption: "Backups that were removed, newest first",
        heads: &["Removed", "Set", "Backup", "Kind", "Size", "Why", "By"],
        rows: rows.collect(),
        total: Some((went.len() as i64, "agent_backup.pruned_backups")),
        none: "No backup was removed in the period.",
    }
    .write(html);
}

fn plan(html: &mut Html, page: &Page) {
    let mut sets: BTreeMap<&str, (i64, i64, i64)> = BTreeMap::new();
    for planned in &page.report.plan {
        let (keep, go, bytes) = sets.entry(&planned.set).or_default();
        *keep += i64::from(planned.keep);
        *go += i64::from(!planned.keep);
        *bytes += planned.bytes;
    }
    let rows = sets.iter().map(|(set, (keep, go, bytes))| {
        vec![Cell::told(*set), Cell::Count(*keep), Cell::Count(*go), Cell::Bytes(*bytes)]
    });
    Table {
        id: "plan",
        caption: "What retention says of the backups that are listed now",
        heads: &["Set", "Stay", "Go at the next prune", "Size"],
        rows: rows.collect(),
        total: None,
        none: "No backup is listed.",
    }
    .write(html);
    if page.report.plan.is_empty() {
        return;
    }
    html.element("details", &[], |html| {
        html.words("summary", &[], "Each decision with its reasons");
        Table {
            id: "decisions",
            caption: "Decisions, newest backup first",
            heads: &["Began", "Set", "Backup", "Kind", "Size", "Decision", "Why"],
            rows: page.report.plan.iter().take(MOST).map(decision).collect(),
            total: Some((page.report.plan.len() as i64, "agent_backup.retention_plan(NULL)")),
            none: "No backup is listed.",
        }
        .write(html);
    });
}

fn decision(planned: &Planned) -> Vec<Cell> {
    vec![
        Cell::Moment(planned.started_at),
        Cell::told(&planned.set),
        Cell::told(&planned.backup),
        Cell::Words(planned.kind.clone()),
        Cell::Bytes(planned.bytes),
        if planned.keep { Cell::Tone(Tone::Good, "stays") } else { Cell::Tone(Tone::Plain, "goes") },
        Cell::told(planned.reasons.join("; ")),
    ]
}
