//! Copies at other places, and persons that were erased.

use crate::report::Page;
use crate::report::html::Html;
use crate::report::table::{Cell, Table};

pub fn write(html: &mut Html, page: &Page) {
    copies(html, page);
    erasures(html, page);
}

fn copies(html: &mut Html, page: &Page) {
    let copies = &page.report.copies;
    let rows = copies.iter().map(|copy| {
        vec![
            Cell::told(&copy.set),
            Cell::told(&copy.destination),
            Cell::Status(copy.status.clone()),
            Cell::Count(copy.count),
            Cell::Count(copy.sealed),
            Cell::Bytes(copy.bytes),
            Cell::Count(copy.verified),
            Cell::Count(copy.refuted),
            Cell::maybe(copy.last_at, Cell::Moment),
        ]
    });
    Table {
        id: "copies-table",
        caption: "Copies off-site as they are now",
        heads: &["Set", "Where", "Status", "Copies", "Sealed", "Size", "Verified", "Damaged", "Last uploaded"],
        rows: rows.collect(),
        total: None,
        none: "There is no copy off-site.",
    }
    .write(html);
}

fn erasures(html: &mut Html, page: &Page) {
    let erasures = &page.report.erasures;
    let rows = erasures.rows.iter().map(|erasure| {
        vec![
            Cell::told(&erasure.id),
            Cell::Moment(erasure.at),
            Cell::maybe(erasure.set.as_deref(), Cell::told),
            Cell::told(erasure.columns.join(", ")),
            Cell::Status(erasure.status.clone()),
            Cell::Count(erasure.rows),
            Cell::Count(erasure.rewritten),
            Cell::Count(erasure.left),
            Cell::told(&erasure.reason),
            Cell::told(&erasure.by),
        ]
    });
    Table {
        id: "erasures",
        caption: "Persons erased in the period, newest first; nothing here tells who they were",
        heads: &[
            "Erasure",
            "When",
            "Set",
            "By column",
            "Status",
            "Rows",
            "Files rewritten",
            "Files left",
            "Why",
            "Asked by",
        ],
        rows: rows.collect(),
        total: Some((erasures.total, "agent_backup.erasure_log")),
        none: "No person was erased in the period.",
    }
    .write(html);
}
