//! Drills, restores, and the objectives that they are held against.

use crate::report::chart::{Chart, Steps};
use crate::report::data::Drill;
use crate::report::html::Html;
use crate::report::table::{Cell, Table, Tone};
use crate::report::{Page, show};

/// More drills than this are left to the table `drills`.
const MOST: usize = 60;

pub fn drills(html: &mut Html, page: &Page) {
    let drills: Vec<&Drill> =
        page.report.drills.iter().filter(|drill| page.report.period.has(drill.started_at)).collect();
    if drills.len() > 1 {
        durations(html, &drills);
    }
    let rows = drills.iter().take(MOST).map(|drill| {
        vec![
            Cell::Count(drill.id),
            Cell::Moment(drill.started_at),
            Cell::told(&drill.set),
            Cell::Status(drill.status.clone()),
            Cell::Seconds(drill.seconds),
            Cell::maybe(drill.rto, Cell::Seconds),
            match drill.within_rto {
                Some(true) => Cell::Tone(Tone::Good, "in time"),
                Some(false) => Cell::Tone(Tone::Bad, "too long"),
                None => Cell::Nothing,
            },
            Cell::Count(drill.rows),
            Cell::maybe(drill.backup.as_deref(), Cell::told),
            Cell::told(&drill.by),
            Cell::maybe(drill.error.as_deref(), Cell::told),
        ]
    });
    Table {
        id: "drills-table",
        caption: "Drills of the period, newest first",
        heads: &["Drill", "Began", "Set", "Verdict", "Took", "Objective", "", "Rows", "Backup", "By", "Why not"],
        rows: rows.collect(),
        total: Some((drills.len() as i64, "agent_backup.drills")),
        none: "There was no drill in the period.",
    }
    .write(html);
    restores(html, page);
}

fn durations(html: &mut Html, drills: &[&Drill]) {
    let oldest_first: Vec<&&Drill> = drills.iter().take(MOST).rev().collect();
    let longest = oldest_first.iter().map(|drill| drill.seconds).fold(0.0, f64::max);
    let bars = oldest_first.iter().map(|drill| {
        let class = match (drill.status.as_str(), drill.within_rto) {
            ("failed", _) | (_, Some(false)) => "bad",
            ("warning", _) => "warn",
            _ => "good",
        };
        (drill.started_at.format("%Y-%m-%d").to_string(), vec![(class, drill.seconds)])
    });
    html.element("figure", &[], |html| {
        html.words("figcaption", &[], "How long each drill took");
        Chart {
            id: "drill-durations",
            title: "Durations of drills",
            description: &format!(
                "{}, the longest took {}. The table below has each.",
                show::of(drills.len() as i64, "drill"),
                show::duration(longest)
            ),
            bars: bars.collect(),
            unit: show::duration,
            steps: Steps::Seconds,
        }
        .write(html);
    });
}

fn restores(html: &mut Html, page: &Page) {
    let rows = page.report.restores.rows.iter().map(|restore| {
        vec![
            Cell::Count(restore.id),
            Cell::Moment(restore.started_at),
            Cell::Words(match restore.undoes {
                Some(other) => format!("{}, undoes {other}", restore.mode),
                None => restore.mode.clone(),
            }),
            Cell::told(restore.tables.join(", ")),
            Cell::Count(restore.rows),
            Cell::Seconds(restore.seconds),
            Cell::maybe(restore.backup.as_deref(), Cell::told),
            Cell::maybe(restore.safety.as_deref(), Cell::told),
            Cell::told(&restore.by),
        ]
    });
    Table {
        id: "restores",
        caption: "Restores of the period, newest first",
        heads: &["Restore", "Began", "Mode", "Tables", "Rows", "Took", "From backup", "Saved before", "By"],
        rows: rows.collect(),
        total: Some((page.report.restores.total, "agent_backup.restores")),
        none: "Nothing was restored in the period.",
    }
    .write(html);
}

pub fn objectives(html: &mut Html, page: &Page) {
    html.words(
        "p",
        &[],
        "RTO: how long a recovery may take; RPO: how much work may be lost. Measured by the last restore or drill, and by the last \
         moment that can be brought back, as they are now; the worst of the period by all moments that could be brought back in it.",
    );
    let rows = page.report.objectives.iter().map(|row| {
        vec![
            Cell::told(&row.set),
            Cell::Words(row.scenario.clone()),
            match row.met {
                Some(true) => Cell::Tone(Tone::Good, "met"),
                Some(false) => Cell::Tone(Tone::Bad, "not met"),
                None => Cell::Tone(Tone::Plain, "not timed"),
            },
            Cell::Seconds(row.rto),
            Cell::maybe(row.rto_measured, Cell::Seconds),
            Cell::maybe(row.measured_by.as_deref(), Cell::told),
            Cell::Seconds(row.rpo),
            Cell::maybe(row.rpo_now, Cell::Seconds),
            Cell::told(&row.reason),
        ]
    });
    Table {
        id: "objectives-table",
        caption: "Objectives of each set, by what may happen",
        heads: &["Set", "Scenario", "Now", "RTO", "Took", "Measured by", "RPO", "Loss now", "Why"],
        rows: rows.collect(),
        total: None,
        none: "There is no set.",
    }
    .write(html);
    worst(html, page);
    let tracked = &page.report.tracked;
    html.element("p", &[], |html| {
        html.text("Tables whose every change is captured: ");
        html.data(Some("tracked-tables"), &tracked.tables.to_string(), &show::count(tracked.tables));
        html.text("; gaps that were noted in the period: ");
        html.data(Some("capture-gaps"), &tracked.gaps.to_string(), &show::count(tracked.gaps));
        html.text(".");
    });
}

fn worst(html: &mut Html, page: &Page) {
    let rows = page.facts.sets.iter().map(|facts| {
        let kept = facts.without_point <= facts.set.rpo * 1.1;
        vec![
            Cell::told(&facts.set.name),
            Cell::Seconds(facts.set.rpo),
            Cell::Seconds(facts.without_point),
            if kept { Cell::Tone(Tone::Good, "within") } else { Cell::Tone(Tone::Bad, "beyond") },
            Cell::Seconds(facts.set.interval),
            Cell::Seconds(facts.without_backup),
            if facts.is_in_time() { Cell::Tone(Tone::Good, "within") } else { Cell::Tone(Tone::Bad, "beyond") },
        ]
    });
    Table {
        id: "worst",
        caption: "The worst of the period: the longest time between two moments that files can bring back, and between good backups",
        heads: &["Set", "RPO", "Longest between points", "", "Backup every", "Longest between backups", ""],
        rows: rows.collect(),
        total: None,
        none: "No set has a table in this database.",
    }
    .write(html);
}
