//! What went wrong and was mended, and what verification found.

use chrono::NaiveDate;

use crate::report::chart::{Chart, Steps};
use crate::report::data::Checks;
use crate::report::html::Html;
use crate::report::table::{Cell, Table, Tone};
use crate::report::{Page, show};

/// More rows than this are left to the views.
const MOST: usize = 60;

pub fn events(html: &mut Html, page: &Page) {
    html.words(
        "p",
        &[],
        "Backups that failed, are incomplete or were found damaged, and drills that failed, newest first; and when a good one of \
         the same set followed.",
    );
    let rows = page.facts.troubles.iter().take(MOST).map(|trouble| {
        vec![
            Cell::Moment(trouble.at),
            Cell::told(trouble.set),
            Cell::Tone(if trouble.what == "backup incomplete" { Tone::Warn } else { Tone::Bad }, trouble.what),
            Cell::told(&trouble.subject),
            Cell::told(trouble.reason),
            trouble.mended_at.map_or(Cell::Tone(Tone::Bad, "open"), Cell::Moment),
        ]
    });
    Table {
        id: "troubles",
        caption: "Events of the period",
        heads: &["When", "Set", "What", "Which", "Why", "Good again"],
        rows: rows.collect(),
        total: Some((page.facts.troubles.len() as i64, "agent_backup.backups")),
        none: "Nothing went wrong in the period.",
    }
    .write(html);
}

pub fn verification(html: &mut Html, page: &Page) {
    html.words(
        "p",
        &[],
        "Levels: exists (files, sizes and manifest), hash (stored bytes), decode (every row read back), restore (loaded beside the \
         live table). Each check is of one table.",
    );
    let Some(checks) = &page.report.checks else {
        return html.words("p", &[("class", "empty")], "The table backup_verification_log is gone.");
    };
    by_level(html, checks);
    over_time(html, page, checks);
    let rows = page.report.findings.rows.iter().map(|finding| {
        vec![
            Cell::Moment(finding.at),
            Cell::told(&finding.table),
            Cell::Status(finding.status.clone()),
            Cell::maybe(finding.backup.as_deref(), Cell::told),
            Cell::told(&finding.message),
        ]
    });
    Table {
        id: "findings",
        caption: "Checks that found something, newest first",
        heads: &["When", "Table", "Verdict", "Backup", "What"],
        rows: rows.collect(),
        total: Some((page.report.findings.total, "backup_verification_log")),
        none: "No check found anything.",
    }
    .write(html);
}

const VERDICTS: [(&str, &str); 3] = [("success", "good"), ("warning", "warn"), ("failed", "bad")];

fn by_level(html: &mut Html, checks: &[Checks]) {
    let mut levels: Vec<&str> = checks.iter().map(|checks| checks.level.as_str()).collect();
    levels.sort_by_key(|level| ["exists", "hash", "decode", "restore"].iter().position(|known| known == level));
    levels.dedup();
    let rows = levels.iter().map(|level| {
        let name = if level.is_empty() { "not told" } else { level };
        let counts = VERDICTS.map(|(verdict, _)| {
            let of_level = checks.iter().filter(|checks| checks.level == **level && checks.status == verdict);
            Cell::Count(of_level.map(|checks| checks.count).sum())
        });
        std::iter::once(Cell::told(name)).chain(counts).collect()
    });
    Table {
        id: "levels",
        caption: "Checks by level and verdict",
        heads: &["Level", "Passed", "Warnings", "Damage"],
        rows: rows.collect(),
        total: None,
        none: "Nothing was verified in the period.",
    }
    .write(html);
}

fn over_time(html: &mut Html, page: &Page, checks: &[Checks]) {
    if checks.is_empty() {
        return;
    }
    let starts = page.buckets.starts();
    let count = |start: NaiveDate, verdict: &str| -> i64 {
        let of = checks.iter().filter(|checks| checks.status == verdict);
        of.filter(|checks| page.buckets.start_of(checks.day) == start).map(|checks| checks.count).sum()
    };
    let counted: Vec<(NaiveDate, [i64; 3])> =
        starts.into_iter().map(|start| (start, VERDICTS.map(|(verdict, _)| count(start, verdict)))).collect();
    let sum = |place: usize| counted.iter().map(|(_, counts)| counts[place]).sum::<i64>();
    let each = page.buckets.unit_name();
    let description = format!(
        "Checks each {each}: {} passed, {} with a warning, {} found damage.",
        show::count(sum(0)),
        show::count(sum(1)),
        show::count(sum(2))
    );
    let bars = counted.iter().map(|(start, counts)| {
        let parts = VERDICTS.iter().zip(counts).map(|((_, class), count)| (*class, *count as f64));
        (page.buckets.name(*start), parts.collect())
    });
    html.element("figure", &[], |html| {
        html.words("figcaption", &[], &format!("Checks of tables each {each}: passed, with a warning, damage"));
        Chart {
            id: "checks",
            title: "Verification over time",
            description: &description,
            bars: bars.collect(),
            unit: |value| show::count(value as i64),
            steps: Steps::Whole,
        }
        .write(html);
    });
    html.element("details", &[], |html| {
        html.words("summary", &[], "The chart as a table");
        let rows = counted.iter().filter(|(_, counts)| counts.iter().sum::<i64>() > 0).map(|(start, counts)| {
            std::iter::once(Cell::Words(page.buckets.name(*start))).chain(counts.map(Cell::Count)).collect()
        });
        Table {
            id: "checks-table",
            caption: &format!("Checks each {each}"),
            heads: &[&show::sentence(each), "Passed", "Warnings", "Damage"],
            rows: rows.collect(),
            total: None,
            none: "Nothing was verified.",
        }
        .write(html);
    });
}
