//! When a job is due: the five fields of a crontab, as cron and pg_cron read them. The times are of no zone; whoever
//! asks says which it is.

use chrono::{DateTime, NaiveDateTime, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use thiserror::Error;

/// Who is to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// cron, and pg_cron before 1.5.
    Crontab,
    /// pg_cron from 1.5 on, where `$` is the last day of a month.
    LastDay,
}

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CronError {
    #[error("\"{0}\" has not the five fields minute, hour, day of month, month and day of week")]
    Fields(String),
    #[error("\"{0}\" is not a {1} of a crontab")]
    Field(String, &'static str),
    #[error("\"{0}\" is no time")]
    Nickname(String),
    #[error("\"{0}\": {1}")]
    Refused(String, String),
    #[error("\"{0}\" never comes")]
    Never(String),
}

/// Times that come again.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
}

const NAMES: [&str; 5] = ["minute", "hour", "day of month", "month", "day of week"];
const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

impl Schedule {
    /// Reads `0 2 * * *` or `@daily`.
    pub fn parse(text: &str, dialect: Dialect) -> Result<Self, CronError> {
        let spelt_out = match text.trim() {
            nickname if nickname.starts_with('@') => spelt_out(nickname)?,
            fields => fields,
        };
        let fields: Vec<String> =
            spelt_out.split([' ', '\t']).filter(|field| !field.is_empty()).map(str::to_uppercase).collect();
        if fields.len() != NAMES.len() {
            return Err(CronError::Fields(text.to_owned()));
        }
        let last_day = dialect == Dialect::LastDay && fields[2] == "$";
        for (place, field) in fields.iter().enumerate() {
            if !(is_field(field, place) || place == 2 && last_day) {
                return Err(CronError::Field(field.clone(), NAMES[place]));
            }
        }
        // cron takes a day that both fields allow where one begins with a star, else one that either allows.
        let both = fields[2].starts_with('*') || fields[4].starts_with('*');
        let parser =
            CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).dom_and_dow(both).build();
        let pattern = if last_day { fields.join(" ").replace('$', "L") } else { fields.join(" ") };
        let cron = parser.parse(&pattern).map_err(|error| CronError::Refused(text.to_owned(), error.to_string()))?;
        let schedule = Schedule { cron };
        schedule.next_after(DateTime::UNIX_EPOCH.naive_utc()).ok_or_else(|| CronError::Never(text.to_owned()))?;
        Ok(schedule)
    }

    /// The first time after `moment`.
    pub fn next_after(&self, moment: NaiveDateTime) -> Option<NaiveDateTime> {
        // In UTC no hour is missing or comes twice.
        let next = self.cron.find_next_occurrence(&moment.and_utc(), false);
        next.ok().map(|next| next.with_timezone(&Utc).naive_utc())
    }

    /// The last time at or before `moment`.
    pub fn last_until(&self, moment: NaiveDateTime) -> Option<NaiveDateTime> {
        let last = self.cron.find_previous_occurrence(&moment.and_utc(), true);
        last.ok().map(|last| last.with_timezone(&Utc).naive_utc())
    }
}

/// The five fields of a nickname.
fn spelt_out(nickname: &str) -> Result<&'static str, CronError> {
    match nickname {
        "@yearly" | "@annually" => Ok("0 0 1 1 *"),
        "@monthly" => Ok("0 0 1 * *"),
        "@weekly" => Ok("0 0 * * 0"),
        "@daily" | "@midnight" => Ok("0 0 * * *"),
        "@hourly" => Ok("0 * * * *"),
        _ => Err(CronError::Nickname(nickname.to_owned())),
    }
}

/// Whether a field is made of numbers, names of its own, stars, ranges, steps and lists. Others know more letters.
fn is_field(field: &str, place: usize) -> bool {
    let names: &[&str] = match place {
        3 => &MONTHS,
        4 => &DAYS,
        _ => &[],
    };
    let is_value = |value: &str| is_number(value) || names.contains(&value);
    field.split(',').all(|item| {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        let range_is_right = match range.split_once('-') {
            Some((from, to)) => is_value(from) && is_value(to),
            None => range == "*" || step.is_none() && is_value(range),
        };
        range_is_right && step.is_none_or(is_number)
    })
}

fn is_number(text: &str) -> bool {
    (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests;
