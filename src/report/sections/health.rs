//! What the view `health` said when the page was made.

use crate::report::html::Html;
use crate::report::table::{Cell, Table};
use crate::report::{Page, show};

/// More rows than this are left to the view.
const MOST: usize = 100;

pub fn write(html: &mut Html, page: &Page) {
    let health = &page.report.health;
    let count = |severity: &str| health.iter().filter(|row| row.severity == severity).count() as i64;
    html.element("p", &[], |html| {
        html.text("Things that are expected: ");
        for (severity, id, words) in [
            ("OK", "health-ok", " are well, "),
            ("WARNING", "health-warning", " are worth a look, "),
            ("FAILED", "health-failed", " have failed."),
        ] {
            html.data(Some(id), &count(severity).to_string(), &show::count(count(severity)));
            html.text(words);
        }
    });
    let amiss: Vec<_> = health.iter().filter(|row| row.severity != "OK").collect();
    let rows = amiss
        .iter()
        .take(MOST)
        .map(|row| vec![Cell::told(&row.subject), Cell::Status(row.severity.clone()), Cell::told(&row.reason)]);
    Table {
        id: "health-table",
        caption: "What is not well, the worst first",
        heads: &["What", "Severity", "Why"],
        rows: rows.collect(),
        total: Some((amiss.len() as i64, "agent_backup.health")),
        none: "All is well.",
    }
    .write(html);
}
