//! The calendar of a set: a row a month with a cell a day, or a row a year with a cell a month. A table, so that it is read
//! out as one; each cell says its verdict in words, and shows it by colour and form.

use chrono::{Datelike, NaiveDate};

use super::buckets::{Buckets, Made, State, Unit};
use super::html::Html;
use super::show;

/// What the forms mean.
pub fn legend(html: &mut Html) {
    html.element("ul", &[("class", "legend"), ("aria-label", "Legend of the calendars")], |html| {
        for state in State::ALL {
            html.element("li", &[], |html| {
                html.empty("span", &[("class", &format!("cell {}", state.class())), ("aria-hidden", "true")]);
                html.text(state.words());
            });
        }
        html.element("li", &[], |html| {
            html.empty("span", &[("class", "cell v x"), ("aria-hidden", "true")]);
            html.text("another one of that day failed");
        });
    });
}

/// `cells` are the buckets in their order.
pub fn write(html: &mut Html, id: &str, caption: &str, buckets: &Buckets, cells: &[(NaiveDate, Made)]) {
    let columns: u32 = if buckets.unit == Unit::Day { 31 } else { 12 };
    html.element("table", &[("class", "calendar"), ("id", id)], |html| {
        html.element("caption", &[], |html| html.sentence(caption));
        html.element("thead", &[], |html| {
            html.element("tr", &[], |html| {
                html.words("th", &[("scope", "col")], if buckets.unit == Unit::Day { "Month" } else { "Year" });
                for column in 1..=columns {
                    let class = if column == 1 || column % 5 == 0 || columns == 12 { "" } else { "minor" };
                    html.words("th", &[("scope", "col"), ("class", class)], &column.to_string());
                }
            });
        });
        html.element("tbody", &[], |html| {
            for row in cells.chunk_by(|(one, _), (other, _)| row_of(buckets, *one) == row_of(buckets, *other)) {
                line(html, buckets, columns, row);
            }
        });
    });
}

/// Cells of one row have the same.
fn row_of(buckets: &Buckets, start: NaiveDate) -> (i32, u32) {
    match buckets.unit {
        Unit::Day => (start.year(), start.month()),
        Unit::Month => (start.year(), 0),
    }
}

fn line(html: &mut Html, buckets: &Buckets, columns: u32, row: &[(NaiveDate, Made)]) {
    let Some((first, _)) = row.first() else { return };
    let name = first.format(if buckets.unit == Unit::Day { "%b %Y" } else { "%Y" }).to_string();
    html.element("tr", &[], |html| {
        html.words("th", &[("scope", "row")], &name);
        for column in 1..=columns {
            let of_column = |start: &NaiveDate| if buckets.unit == Unit::Day { start.day() } else { start.month() };
            match row.iter().find(|(start, _)| of_column(start) == column) {
                None => html.empty("td", &[]),
                Some((start, made)) => html.element("td", &[], |html| cell(html, buckets, *start, made)),
            }
        }
    });
}

fn cell(html: &mut Html, buckets: &Buckets, start: NaiveDate, made: &Made) {
    let state = match buckets.unit {
        Unit::Day => made.state(),
        // A month is as good as the days that have no good backup let it be.
        Unit::Month if made.due > made.kept => {
            if made.kept > 0 {
                State::Incomplete
            } else {
                State::Missed
            }
        }
        Unit::Month => made.state(),
    };
    let trouble = if made.has_trouble() && buckets.unit == Unit::Day { " x" } else { "" };
    let title = format!("{}: {}", buckets.name(start), told(state, made));
    html.element("span", &[("class", &format!("cell {}{trouble}", state.class())), ("title", &title)], |html| {
        html.text(state.words());
    });
    if buckets.unit == Unit::Month && made.due > 0 {
        html.words("small", &[], &format!("{}/{}", made.kept, made.due));
    }
}

fn told(state: State, made: &Made) -> String {
    let mut parts = vec![state.words().to_owned()];
    let counts =
        [(made.good, "good"), (made.incomplete, "incomplete"), (made.failed, "failed"), (made.damaged, "damaged")];
    if made.all() > 1 {
        parts.extend(counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")));
    }
    if made.bytes > 0 {
        parts.push(show::bytes(made.bytes));
    }
    parts.join(", ")
}
