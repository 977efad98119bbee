//! Moments that the log reaches, and what was changed after one.

use pgrx::datum::TimestampWithTimeZone;

use crate::error::{Error, Result};
use crate::ident;
use crate::journal_history::{self, Selection};
use crate::journal_tracking::{self, Tracking};
use crate::server::sql;
use crate::server::sql::Argument;

/// A moment: what had committed then is there, all else is not.
#[derive(Debug, Clone)]
pub enum Moment {
    Time(TimestampWithTimeZone),
    Mark { name: String, snapshot: String, at: TimestampWithTimeZone },
}

impl Moment {
    /// Of what a person gave, which must be one of the two.
    pub fn of(as_of: Option<TimestampWithTimeZone>, mark: Option<&str>) -> Result<Self> {
        let invalid = |reason: &str| Err(Error::InvalidOption { option: "as_of", reason: reason.to_owned() });
        match (as_of, mark) {
            (Some(_), Some(_)) => invalid("a mark is given as well"),
            (None, None) => invalid("neither a time nor a mark is given"),
            (Some(time), None) if !is_past(time)? => invalid("it lies in the future"),
            (Some(time), None) => Ok(Moment::Time(time)),
            (None, Some(name)) => Self::marked(name),
        }
    }

    /// The moment of a mark.
    pub fn marked(name: &str) -> Result<Self> {
        match journal_history::mark(name)? {
            Some(mark) => Ok(Moment::Mark { name: name.to_owned(), snapshot: mark.snapshot, at: mark.marked_at }),
            None => Err(Error::UnknownMark {
                mark: name.to_owned(),
                near: ident::near(name, journal_history::mark_names()?),
            }),
        }
    }

    pub fn at(&self) -> TimestampWithTimeZone {
        match self {
            Moment::Time(at) | Moment::Mark { at, .. } => *at,
        }
    }

    /// In words.
    pub fn shown(&self) -> Result<String> {
        Ok(match self {
            Moment::Mark { name, .. } => format!("mark \"{name}\""),
            Moment::Time(time) => {
                let query = "SELECT pg_catalog.to_char($1, 'YYYY-MM-DD HH24:MI:SS.US TZ')";
                sql::text(query, &[(*time).into()])?.unwrap_or_default()
            }
        })
    }

    /// How it is known what had committed, in words.
    pub fn order(&self) -> Result<&'static str> {
        Ok(match self {
            Moment::Mark { .. } => "by the snapshot of the mark",
            Moment::Time(_) if commit_times()? => "by the times of commits",
            Moment::Time(_) => {
                "by the last change of each transaction: turn track_commit_timestamp on for the times of commits"
            }
        })
    }

    /// The entries of a tracking whose transactions had not committed by then.
    pub fn later(&self, tracked_id: i32) -> Result<Later> {
        let condition = match self {
            Moment::Mark { .. } => "NOT pg_catalog.pg_visible_in_snapshot(l.xid, $2::pg_catalog.pg_snapshot)",
            Moment::Time(_) if commit_times()? => {
                "l.xid IN (SELECT x.xid FROM (SELECT o.xid, pg_catalog.max(o.changed_at) AS changed_at \
                                                FROM agent_backup.change_log o WHERE o.tracked_id = $1 GROUP BY o.xid) AS x \
                            WHERE COALESCE(pg_catalog.pg_xact_commit_timestamp(x.xid::pg_catalog.xid), x.changed_at) > $2)"
            }
            Moment::Time(_) => "l.xid IN (SELECT o.xid FROM agent_backup.change_log o WHERE o.changed_at > $2)",
        };
        Ok(Later { tracked_id, condition: condition.to_owned(), moment: self.clone() })
    }
}

impl Moment {
    /// The gaps of a tracking whose transactions had not committed by then.
    fn later_gaps(&self, tracked_id: i32) -> Result<Later> {
        let condition = match self {
            Moment::Mark { .. } => "NOT pg_catalog.pg_visible_in_snapshot(l.xid, $2::pg_catalog.pg_snapshot)",
            Moment::Time(_) if commit_times()? => {
                "COALESCE(pg_catalog.pg_xact_commit_timestamp(l.xid::pg_catalog.xid), l.noted_at) > $2"
            }
            Moment::Time(_) => "l.noted_at > $2",
        };
        Ok(Later { tracked_id, condition: condition.to_owned(), moment: self.clone() })
    }
}

/// What came after a moment.
pub struct Later {
    pub tracked_id: i32,
    /// SQL over the entry `l`, in which `$1` is the tracking and `$2` the moment.
    pub condition: String,
    moment: Moment,
}

impl Later {
    /// Only what else is true of an entry `l` as well.
    pub fn and(mut self, condition: &str) -> Self {
        self.condition = format!("{} AND ({condition})", self.condition);
        self
    }

    /// The argument of its condition.
    pub fn value(&self) -> Argument<'_> {
        match &self.moment {
            Moment::Time(time) => (*time).into(),
            Moment::Mark { snapshot, .. } => snapshot.as_str().into(),
        }
    }

    /// As the log is asked.
    pub fn selection(&self) -> Selection<'_> {
        Selection { tracked_id: self.tracked_id, condition: &self.condition, value: self.value() }
    }
}

/// The tracking that reaches from the moment until now. Errors: `NotTracked`, `NotCovered`.
pub fn covered(table: &str, relation: Option<pgrx::pg_sys::Oid>, moment: &Moment) -> Result<Tracking> {
    let trackings = journal_tracking::trackings(relation, table)?;
    let newest = trackings.first().ok_or_else(|| Error::NotTracked { table: table.to_owned() })?;
    let refuse = |reason: String| {
        let literal = ident::literal(table);
        let hint = format!(
            "See agent_backup.recovery_points({literal}); a backup of about that time is restored with restore_table."
        );
        Err(Error::NotCovered { table: table.to_owned(), reason, hint })
    };
    if !newest.is_here {
        return refuse("it was tracked in another database, of which this one is a copy; track it anew".into());
    }
    if newest.ended_at.is_some() {
        return refuse("it is tracked no longer".into());
    }
    if moment.at() < newest.since {
        return refuse(format!("tracking began at {}", newest.since));
    }
    if let Some(until) = journal_history::sealed_until()?.filter(|until| moment.at() < *until) {
        return refuse(format!("the changes until {until} were written to files, see agent_backup.sealed_log"));
    }
    match journal_history::gaps_where(moment.later_gaps(newest.id)?.selection())?.pop() {
        Some((at, reason)) => refuse(format!("changes are missing at {at}: {reason}")),
        None => Ok(newest.clone()),
    }
}

fn commit_times() -> Result<bool> {
    Ok(sql::text("SELECT pg_catalog.current_setting('track_commit_timestamp')", &[])?.as_deref() == Some("on"))
}

fn is_past(time: TimestampWithTimeZone) -> Result<bool> {
    let past = sql::rows("SELECT $1 <= pg_catalog.clock_timestamp()", &[time.into()], |row| row.required::<bool>(1))?;
    Ok(past == [true])
}
