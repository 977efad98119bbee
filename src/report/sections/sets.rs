//! Each set: its calendar, how much was written and how long it took.

use std::collections::BTreeSet;

use chrono::NaiveDate;

use crate::report::buckets::{self, Buckets, Made};
use crate::report::chart::{Chart, Steps};
use crate::report::data::Set;
use crate::report::html::Html;
use crate::report::table::{Cell, Table};
use crate::report::{Page, calendar, show};

/// More sets than this are told in a table alone.
const MOST_SETS: usize = 24;

pub fn write(html: &mut Html, page: &Page) {
    let names = names(page);
    if names.is_empty() {
        return html.words(
            "p",
            &[("class", "empty")],
            "There is no backup set with a table of this database, and no backup.",
        );
    }
    let months = "The period is long: backups are told by the month. A month counts the days on which a backup was due and those of \
                  them that have a good one.";
    if page.buckets.unit == buckets::Unit::Month {
        html.words("p", &[], months);
    }
    calendar::legend(html);
    for (number, name) in names.iter().take(MOST_SETS).enumerate() {
        let set = page.report.sets.iter().find(|set| set.name == **name);
        let days = buckets::days(page.report, &page.buckets, name, set);
        html.element("article", &[("class", "set")], |html| one(html, page, number + 1, name, set, &days));
    }
    if names.len() > MOST_SETS {
        let rest =
            format!("{} more sets are left out here; agent_backup.backups has their backups.", names.len() - MOST_SETS);
        html.words("p", &[("class", "more")], &rest);
    }
    let safety =
        page.report.backups.iter().filter(|backup| !backup.is_regular && page.report.period.has(backup.started_at));
    html.element("p", &[], |html| {
        let count = safety.count() as i64;
        html.text("Besides, backups that were made before a restore and when tracking began: ");
        html.data(Some("safety-backups"), &count.to_string(), &show::count(count));
        html.text(".");
    });
}

/// Sets that could have been backed up here, and those that were and are gone.
fn names<'a>(page: &Page<'a>) -> Vec<&'a str> {
    let here = page.facts.sets.iter().map(|facts| facts.set.name.as_str());
    let made =
        page.report.backups.iter().filter(|backup| backup.is_regular && page.report.period.has(backup.started_at));
    here.chain(made.map(|backup| backup.set.as_str())).collect::<BTreeSet<_>>().into_iter().collect()
}

fn one(html: &mut Html, page: &Page, number: usize, name: &str, set: Option<&Set>, days: &[(NaiveDate, Made)]) {
    let cells = buckets::joined(&page.buckets, days);
    html.element("h3", &[], |html| {
        html.text("Set ");
        html.told(name);
        if set.is_none() {
            html.text(" (it is gone)");
        }
    });
    html.words("p", &[], &told(page, set, days));
    let caption = format!("Calendar of set {}: a cell a {}", show::name(name), page.buckets.unit_name());
    calendar::write(html, &format!("calendar-{number}"), &caption, &page.buckets, &cells);
    html.element("div", &[("class", "charts")], |html| {
        chart(html, page, number, "size", name, &cells, |made| made.bytes as f64, |bytes| show::bytes(bytes as i64));
        chart(html, page, number, "duration", name, &cells, |made| made.seconds, show::duration);
    });
    html.element("details", &[], |html| {
        html.words("summary", &[], "The calendar and both charts as a table");
        table(number, &page.buckets, &cells).write(html);
    });
}

/// The calendar in a sentence or two.
fn told(page: &Page, set: Option<&Set>, days: &[(NaiveDate, Made)]) -> String {
    let count = |what: fn(&Made) -> i64| days.iter().map(|(_, made)| what(made)).sum::<i64>();
    let mut told =
        format!("{} good, of {} made. ", show::of(count(|made| made.good), "backup"), show::count(count(Made::all)));
    let (due, kept) = (count(|made| made.due), count(|made| made.kept));
    if due > 0 {
        told.push_str(&format!("On {} days on which one was due there is a good one. ", show::share(kept, due)));
        let without: Vec<String> =
            days.iter().filter(|(_, made)| made.due > made.kept).map(|(day, _)| day.to_string()).collect();
        match without.len() {
            0 => {}
            1..=8 => told.push_str(&format!("None on {}. ", without.join(", "))),
            many => told.push_str(&format!("None on {} and {} more days. ", without[..6].join(", "), many - 6)),
        }
    }
    if let Some(facts) = set.and_then(|set| page.facts.sets.iter().find(|facts| facts.set.name == set.name)) {
        told.push_str(&format!(
            "The longest time without a good one is {}; one is expected every {}.",
            show::duration(facts.without_backup),
            show::duration(facts.set.interval)
        ));
    }
    told
}

#[allow(clippy::too_many_arguments, reason = "what a chart is of")]
fn chart(
    html: &mut Html,
    page: &Page,
    number: usize,
    kind: &str,
    name: &str,
    cells: &[(NaiveDate, Made)],
    value: fn(&Made) -> f64,
    unit: fn(f64) -> String,
) {
    let each = page.buckets.unit_name();
    let (title, what) = match kind {
        "size" => (format!("Written each {each}"), format!("Bytes written to backups of set {name} each {each}")),
        _ => (
            format!("Longest backup of each {each}"),
            format!("How long the longest backup of set {name} took each {each}"),
        ),
    };
    let there: Vec<f64> = cells.iter().map(|(_, made)| value(made)).filter(|value| *value > 0.0).collect();
    let least = there.iter().copied().reduce(f64::min);
    let most = there.iter().copied().reduce(f64::max);
    let description = match (least, most, there.last()) {
        (Some(least), Some(most), Some(last)) => {
            format!("{what}: least {}, most {}, the last {}.", unit(least), unit(most), unit(*last))
        }
        _ => format!("{what}: none."),
    };
    let bars = cells.iter().map(|(start, made)| (page.buckets.name(*start), vec![("bar", value(made))])).collect();
    html.element("figure", &[], |html| {
        html.words("figcaption", &[], &title);
        let steps = if kind == "size" { Steps::Decimal } else { Steps::Seconds };
        Chart {
            id: &format!("{kind}-{number}"),
            title: &format!("{title}, set {name}"),
            description: &description,
            bars,
            unit,
            steps,
        }
        .write(html);
    });
}

fn table<'a>(number: usize, buckets: &Buckets, cells: &[(NaiveDate, Made)]) -> OwnedTable<'a> {
    let rows = cells.iter().filter(|(_, made)| made.all() > 0 || made.due > 0).map(|(start, made)| {
        let counts = [made.good, made.verified, made.incomplete, made.failed, made.damaged];
        let mut row = vec![Cell::Words(buckets.name(*start)), Cell::Words(made.state().words().into())];
        row.extend(counts.map(Cell::Count));
        row.extend([Cell::Count(made.rows), Cell::Bytes(made.bytes), Cell::Seconds(made.seconds)]);
        row
    });
    OwnedTable {
        id: format!("days-{number}"),
        first: buckets.unit_name(),
        rows: rows.collect(),
        none: "Nothing was made.",
    }
}

/// The table behind a calendar and its charts.
struct OwnedTable<'a> {
    id: String,
    first: &'static str,
    rows: Vec<Vec<Cell>>,
    none: &'a str,
}

impl OwnedTable<'_> {
    fn write(self, html: &mut Html) {
        let first = show::sentence(self.first);
        let heads = [
            &*first,
            "Verdict",
            "Good",
            "Verified",
            "Incomplete",
            "Failed",
            "Damaged",
            "Rows (most)",
            "Written",
            "Longest",
        ];
        let caption = format!("Backups by the {}", self.first);
        Table { id: &self.id, caption: &caption, heads: &heads, rows: self.rows, total: None, none: self.none }
            .write(html);
    }
}
