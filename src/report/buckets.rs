//! The period in days, or in months where it has more of them than a page can show; and what was backed up in each.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, TimeDelta, Utc};

use super::data::{Backup, Report, Set, Status};

/// More days than this are told by the month.
pub const MOST_DAYS: i64 = 400;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Day,
    Month,
}

/// The days of the period, from its first to its last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets {
    pub unit: Unit,
    pub first: NaiveDate,
    pub last: NaiveDate,
}

impl Buckets {
    /// A period of many days that begins before anything was there begins where something was; none goes on beyond now.
    pub fn of(report: &Report) -> Self {
        let end = report.period.to.min(report.made.at.max(report.period.from + TimeDelta::microseconds(1)));
        let last = (end - TimeDelta::microseconds(1)).date_naive();
        let made = report.backups.iter().map(|backup| backup.started_at);
        let earliest = made.chain(report.sets.iter().map(|set| set.created_at)).min();
        let from = report.period.from.date_naive();
        let first = if (last - from).num_days() < MOST_DAYS {
            from
        } else {
            from.max(earliest.unwrap_or(report.made.at).date_naive()).min(last)
        };
        let unit = if (last - first).num_days() < MOST_DAYS { Unit::Day } else { Unit::Month };
        Buckets { unit, first, last }
    }

    pub fn days(&self) -> impl Iterator<Item = NaiveDate> + use<> {
        let last = self.last;
        self.first.iter_days().take_while(move |day| *day <= last)
    }

    /// The first day of each bucket: each day, or the first of each month.
    pub fn starts(&self) -> Vec<NaiveDate> {
        match self.unit {
            Unit::Day => self.days().collect(),
            Unit::Month => {
                let first = self.start_of(self.first);
                let months = (0..).map_while(move |number| first.checked_add_months(Months::new(number)));
                months.take_while(|start| *start <= self.last).collect()
            }
        }
    }

    /// The start of the bucket that a day is in.
    pub fn start_of(&self, day: NaiveDate) -> NaiveDate {
        match self.unit {
            Unit::Day => day,
            Unit::Month => day.with_day(1).unwrap_or(day),
        }
    }

    pub fn name(&self, start: NaiveDate) -> String {
        start.format(if self.unit == Unit::Day { "%Y-%m-%d" } else { "%Y-%m" }).to_string()
    }

    pub fn unit_name(&self) -> &'static str {
        match self.unit {
            Unit::Day => "day",
            Unit::Month => "month",
        }
    }
}

/// How a set fared on a day, by the best of its backups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Nothing was due.
    Blank,
    Missed,
    Failed,
    Incomplete,
    Complete,
    Verified,
}

impl State {
    pub const ALL: [State; 6] =
        [State::Verified, State::Complete, State::Incomplete, State::Failed, State::Missed, State::Blank];

    pub fn class(self) -> &'static str {
        ["b", "m", "f", "i", "c", "v"][self as usize]
    }

    pub fn words(self) -> &'static str {
        [
            "nothing due",
            "no backup, though one was due",
            "failed or damaged",
            "incomplete",
            "complete",
            "complete and verified",
        ][self as usize]
    }
}

/// What was made of a set on one day, or in one month.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Made {
    pub good: i64,
    pub verified: i64,
    /// A table of it failed, or a file is gone.
    pub incomplete: i64,
    pub failed: i64,
    /// Complete once, and found damaged.
    pub damaged: i64,
    pub bytes: i64,
    pub seconds: f64,
    pub rows: i64,
    /// Days on which a backup was due, and those of them that have a good one.
    pub due: i64,
    pub kept: i64,
}

impl Made {
    pub fn all(&self) -> i64 {
        self.good + self.incomplete + self.failed + self.damaged
    }

    /// Besides the best one.
    pub fn has_trouble(&self) -> bool {
        self.good > 0 && self.all() > self.good
    }

    pub fn state(&self) -> State {
        match self {
            made if made.verified > 0 => State::Verified,
            made if made.good > 0 => State::Complete,
            made if made.incomplete > 0 => State::Incomplete,
            made if made.all() > 0 => State::Failed,
            made if made.due > 0 => State::Missed,
            _ => State::Blank,
        }
    }

    fn add(&mut self, backup: &Backup) {
        match backup.status {
            Status::Complete if backup.is_refuted() => self.damaged += 1,
            Status::Complete => self.good += 1,
            Status::Incomplete => self.incomplete += 1,
            Status::Failed => self.failed += 1,
        }
        self.verified += i64::from(backup.is_good() && backup.is_verified());
        self.bytes += backup.bytes;
        self.rows = self.rows.max(backup.rows);
        self.seconds = self.seconds.max(backup.seconds());
    }
}

/// What was made of a set on each day. `set` is none for one that is gone.
pub fn days(report: &Report, buckets: &Buckets, name: &str, set: Option<&Set>) -> Vec<(NaiveDate, Made)> {
    let mut days: Vec<(NaiveDate, Made)> = buckets.days().map(|day| (day, Made::default())).collect();
    for backup in report.backups.iter().filter(|backup| backup.set == name && backup.is_regular) {
        if !report.period.has(backup.started_at) {
            continue;
        }
        let place = usize::try_from((backup.started_at.date_naive() - buckets.first).num_days());
        if let Some((_, made)) = place.ok().and_then(|place| days.get_mut(place)) {
            made.add(backup);
        }
    }
    let end = report.period.to.min(report.made.at);
    for (day, made) in &mut days {
        let is_due = set.is_some_and(|set| set.present > 0 && is_due(set, report.period.from, *day, end));
        made.due = i64::from(is_due);
        made.kept = i64::from(is_due && made.good > 0);
    }
    days
}

/// A whole day within the period, of a set that was there all day and is backed up every day.
fn is_due(set: &Set, from: DateTime<Utc>, day: NaiveDate, end: DateTime<Utc>) -> bool {
    const DAILY: f64 = 86_400.0 * 1.1;
    let start = day.and_time(chrono::NaiveTime::MIN).and_utc();
    let over = start.checked_add_days(Days::new(1)).is_some_and(|over| over <= end);
    set.interval <= DAILY && over && start >= from && start >= set.created_at
}

/// Days joined into the buckets.
pub fn joined(buckets: &Buckets, days: &[(NaiveDate, Made)]) -> Vec<(NaiveDate, Made)> {
    let mut joined: Vec<(NaiveDate, Made)> =
        buckets.starts().into_iter().map(|start| (start, Made::default())).collect();
    for (day, made) in days {
        let start = buckets.start_of(*day);
        let Ok(place) = joined.binary_search_by_key(&start, |(start, _)| *start) else { continue };
        if let Some((_, sum)) = joined.get_mut(place) {
            sum.good += made.good;
            sum.verified += made.verified;
            sum.incomplete += made.incomplete;
            sum.failed += made.failed;
            sum.damaged += made.damaged;
            sum.bytes += made.bytes;
            sum.rows = sum.rows.max(made.rows);
            sum.seconds = sum.seconds.max(made.seconds);
            sum.due += made.due;
            sum.kept += made.kept;
        }
    }
    joined
}
