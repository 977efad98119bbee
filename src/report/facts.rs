//! What follows from the rows: counts of the period, the longest time without a backup, and what went wrong and was mended.

use chrono::{DateTime, Utc};

use super::data::{Backup, Report, Set, Status, seconds_between};

/// What the page says of the whole period.
pub struct Facts<'a> {
    /// Of the sets that have a table in this database, in their order.
    pub sets: Vec<SetFacts<'a>>,
    pub troubles: Vec<Trouble<'a>>,
    /// Until when it can be judged: the end of the period, or now where that comes first.
    pub end: DateTime<Utc>,
}

/// One set in the period. Counted are full and archive backups.
pub struct SetFacts<'a> {
    pub set: &'a Set,
    pub made: Vec<&'a Backup>,
    /// The longest time in which no good backup began.
    pub without_backup: f64,
    /// The longest time between two moments that it could be brought back to.
    pub without_point: f64,
}

/// Something that did not go as it should.
#[derive(Debug, Clone, PartialEq)]
pub struct Trouble<'a> {
    pub at: DateTime<Utc>,
    pub set: &'a str,
    pub what: &'static str,
    pub subject: String,
    pub reason: &'a str,
    /// When a good one of the kind began after it.
    pub mended_at: Option<DateTime<Utc>>,
}

impl<'a> Facts<'a> {
    pub fn of(report: &'a Report) -> Self {
        let end = report.period.to.min(report.made.at);
        let judged = report.sets.iter().filter(|set| set.present > 0);
        let sets = judged.map(|set| SetFacts::of(report, set, end)).collect();
        Facts { sets, troubles: troubles(report, end), end }
    }

    /// How many backups of all sets are so.
    pub fn count(&self, is_so: impl Fn(&Backup) -> bool) -> i64 {
        self.sets.iter().map(|set| set.count(&is_so)).sum()
    }

    /// The names of the sets that are so, for a sentence.
    pub fn names(&self, is_so: impl Fn(&SetFacts) -> bool) -> Vec<&'a str> {
        self.sets.iter().filter(|facts| is_so(facts)).map(|facts| facts.set.name.as_str()).collect()
    }
}

impl<'a> SetFacts<'a> {
    fn of(report: &'a Report, set: &'a Set, end: DateTime<Utc>) -> Self {
        let of_set = || report.backups.iter().filter(|backup| backup.set == set.name && backup.is_regular);
        let start = report.period.from.max(set.created_at);
        let good = of_set().filter(|backup| backup.is_good()).map(|backup| backup.started_at);
        let points = report.points.iter().filter(|point| point.set == set.name).map(|point| point.at);
        SetFacts {
            set,
            made: of_set().filter(|backup| report.period.has(backup.started_at)).collect(),
            without_backup: longest(good, start, end),
            without_point: longest(points, start, end),
        }
    }

    pub fn count(&self, is_so: impl Fn(&Backup) -> bool) -> i64 {
        self.made.iter().filter(|backup| is_so(backup)).count() as i64
    }

    /// The newest one that left a file.
    pub fn newest(&self) -> Option<&'a Backup> {
        self.made.iter().rev().find(|backup| backup.status != Status::Failed).copied()
    }

    /// Good backups followed each other as often as the set asks for; a tenth more is forgiven, as `health` does.
    pub fn is_in_time(&self) -> bool {
        self.without_backup <= self.set.interval * 1.1
    }
}

/// The longest time between moments, oldest first, from `start` to `end`; the last one before the start counts too.
fn longest(moments: impl Iterator<Item = DateTime<Utc>>, start: DateTime<Utc>, end: DateTime<Utc>) -> f64 {
    let (mut last, mut longest) = (None, 0.0_f64);
    for moment in moments.filter(|moment| *moment < end) {
        if moment >= start {
            longest = longest.max(seconds_between(last.unwrap_or(start), moment));
        }
        last = Some(moment);
    }
    longest.max(seconds_between(last.unwrap_or(start), end)).max(0.0)
}

fn troubles(report: &Report, end: DateTime<Utc>) -> Vec<Trouble<'_>> {
    let mut all: Vec<Trouble> = report
        .backups
        .iter()
        .filter(|backup| backup.is_regular && report.period.has(backup.started_at) && !backup.is_good())
        .map(|backup| of_backup(report, backup, end))
        .chain(
            report.drills.iter().filter(|drill| drill.status == "failed" && report.period.has(drill.started_at)).map(
                |drill| Trouble {
                    at: drill.started_at,
                    set: &drill.set,
                    what: "drill failed",
                    subject: format!("drill {}", drill.id),
                    reason: drill.error.as_deref().unwrap_or_default(),
                    mended_at: report
                        .drills
                        .iter()
                        .filter(|other| other.set == drill.set && other.status != "failed")
                        .map(|other| other.started_at)
                        .filter(|at| *at > drill.started_at && *at < end)
                        .min(),
                },
            ),
        )
        .collect();
    all.sort_by(|one, other| (other.at, &other.subject).cmp(&(one.at, &one.subject)));
    all
}

fn of_backup<'a>(report: &'a Report, backup: &'a Backup, end: DateTime<Utc>) -> Trouble<'a> {
    let (what, at) = match backup.status {
        Status::Failed => ("backup failed", backup.started_at),
        Status::Incomplete => ("backup incomplete", backup.started_at),
        Status::Complete => {
            let found = backup.verdict.as_ref().and_then(|verdict| verdict.at);
            ("backup damaged", found.unwrap_or(backup.started_at))
        }
    };
    let later = report.backups.iter().filter(|other| other.set == backup.set && other.is_regular && other.is_good());
    let mended = later.map(|other| other.started_at).find(|start| *start > backup.started_at && *start < end);
    Trouble {
        at,
        set: &backup.set,
        what,
        subject: backup.id.clone(),
        reason: match (&backup.error, backup.status) {
            (Some(error), _) => error,
            (None, Status::Complete) => "verification found damage",
            (None, _) => "the reason went with the backup",
        },
        // One that was newer when the damage was found was there to turn to.
        mended_at: mended.map(|start| start.max(at)),
    }
}
