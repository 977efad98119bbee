//! A table with a caption, headings that say what they head, and a frame in which it scrolls where it is too wide.

use chrono::{DateTime, Utc};

use super::html::Html;
use super::show;

/// How good or bad something is; always said in words too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Good,
    Warn,
    Bad,
    Plain,
}

impl Tone {
    pub fn class(self) -> &'static str {
        match self {
            Tone::Good => "good",
            Tone::Warn => "warn",
            Tone::Bad => "bad",
            Tone::Plain => "plain",
        }
    }

    /// Of the words that verdicts are made of.
    pub fn of(status: &str) -> Self {
        match status {
            "success" | "ok" | "OK" | "complete" | "met" => Tone::Good,
            "failed" | "FAILED" | "denied" | "not met" => Tone::Bad,
            "warning" | "WARNING" | "incomplete" | "partial" | "missing" => Tone::Warn,
            _ => Tone::Plain,
        }
    }

    /// A mark beside the words, for who does not see the colour.
    fn mark(self) -> &'static str {
        match self {
            Tone::Good => "\u{2713}",
            Tone::Warn => "!",
            Tone::Bad => "\u{2717}",
            Tone::Plain => "\u{2013}",
        }
    }
}

/// A status as a label.
pub fn label(html: &mut Html, tone: Tone, words: &str) {
    html.element("span", &[("class", &format!("tag {}", tone.class()))], |html| {
        html.words("span", &[("aria-hidden", "true")], tone.mark());
        html.text(" ");
        html.text(words);
    });
}

/// One value.
pub enum Cell {
    Nothing,
    /// What somebody else wrote.
    Told(String),
    Words(String),
    Count(i64),
    Bytes(i64),
    Seconds(f64),
    Moment(DateTime<Utc>),
    Status(String),
    Tone(Tone, &'static str),
}

impl Cell {
    pub fn told(text: impl Into<String>) -> Self {
        Cell::Told(text.into())
    }

    pub fn maybe<T>(value: Option<T>, cell: impl FnOnce(T) -> Cell) -> Self {
        value.map_or(Cell::Nothing, cell)
    }

    fn is_number(&self) -> bool {
        matches!(self, Cell::Count(_) | Cell::Bytes(_) | Cell::Seconds(_))
    }

    fn write(&self, html: &mut Html) {
        match self {
            Cell::Nothing => html.words("span", &[("class", "none")], "\u{2013}"),
            Cell::Told(text) => html.told(text),
            Cell::Words(text) => html.text(text),
            Cell::Count(count) => html.data(None, &count.to_string(), &show::count(*count)),
            Cell::Bytes(bytes) => html.data(None, &bytes.to_string(), &show::bytes(*bytes)),
            Cell::Seconds(seconds) => html.data(None, &show::seconds(*seconds), &show::duration(*seconds)),
            Cell::Moment(moment) => html.moment(*moment),
            Cell::Status(status) => label(html, Tone::of(status), status),
            Cell::Tone(tone, words) => label(html, *tone, words),
        }
    }
}

/// The first cell of each row heads it.
pub struct Table<'a> {
    /// Unique on the page.
    pub id: &'a str,
    pub caption: &'a str,
    pub heads: &'a [&'a str],
    pub rows: Vec<Vec<Cell>>,
    /// How many rows there are where not all are shown, and what shows them all.
    pub total: Option<(i64, &'a str)>,
    /// What is said where there is no row.
    pub none: &'a str,
}

impl Table<'_> {
    pub fn write(&self, html: &mut Html) {
        if self.rows.is_empty() {
            return html.words("p", &[("class", "empty"), ("id", self.id)], self.none);
        }
        let caption = format!("{}-caption", self.id);
        let frame = [("class", "wide"), ("role", "region"), ("aria-labelledby", &*caption), ("tabindex", "0")];
        html.element("div", &frame, |html| {
            html.element("table", &[("id", self.id)], |html| {
                html.words("caption", &[("id", &caption)], self.caption);
                html.element("thead", &[], |html| html.element("tr", &[], |html| self.heads(html)));
                let classes: Vec<&str> = (0..self.heads.len()).map(|place| self.class(place)).collect();
                html.element("tbody", &[], |html| self.rows.iter().for_each(|row| line(html, &classes, row)));
            });
        });
        if let Some((total, view)) = self.total
            && total > self.rows.len() as i64
        {
            let rest = total - self.rows.len() as i64;
            html.words("p", &[("class", "more")], &format!("And {} more, which {view} has.", show::count(rest)));
        }
    }

    fn heads(&self, html: &mut Html) {
        for (place, head) in self.heads.iter().enumerate() {
            html.words("th", &[("scope", "col"), ("class", self.class(place))], head);
        }
    }

    /// Columns of numbers stand to the right, what is missing in them too.
    fn class(&self, place: usize) -> &'static str {
        let is_number = self.rows.iter().any(|row| row.get(place).is_some_and(Cell::is_number));
        if is_number { "n" } else { "t" }
    }
}

fn line(html: &mut Html, classes: &[&str], row: &[Cell]) {
    html.element("tr", &[], |html| {
        for ((place, cell), class) in row.iter().enumerate().zip(classes) {
            match place {
                0 => html.element("th", &[("scope", "row"), ("class", class)], |html| cell.write(html)),
                _ => html.element("td", &[("class", class)], |html| cell.write(html)),
            }
        }
    });
}
