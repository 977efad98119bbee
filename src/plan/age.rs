//! How old a backup may become: an interval as SQL has it, counted so that a moment passes it once and for ever.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};

/// Years are 365 days and other months 30: by the calendar, 31 March would be as far from February as 28 March, and what
/// is too old on one day would not be on the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age {
    months: i32,
    days: i32,
    micros: i64,
}

impl Age {
    /// The parts of an interval.
    pub const fn new(months: i32, days: i32, micros: i64) -> Self {
        Age { months, days, micros }
    }

    pub const fn days(days: i32) -> Self {
        Age::new(0, days, 0)
    }

    /// How long it is; one that is longer than time itself ends with it.
    pub fn length(self) -> TimeDelta {
        const DAY: i128 = 86_400_000_000;
        let days = i128::from(self.months / 12) * 365 + i128::from(self.months % 12) * 30 + i128::from(self.days);
        let micros = days * DAY + i128::from(self.micros);
        let limit = i128::from(i64::MAX);
        TimeDelta::microseconds(micros.clamp(-limit, limit) as i64)
    }

    /// The moment so long before `now`.
    pub fn before(self, now: DateTime<Utc>) -> DateTime<Utc> {
        now.checked_sub_signed(self.length()).unwrap_or(DateTime::<Utc>::MIN_UTC)
    }
}

impl fmt::Display for Age {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.micros / 1_000_000;
        let parts = [
            (i64::from(self.months / 12), "year"),
            (i64::from(self.months % 12), "month"),
            (i64::from(self.days), "day"),
            (seconds / 3600, "hour"),
            (seconds / 60 % 60, "minute"),
            (seconds % 60, "second"),
        ];
        let said: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count != 0)
            .map(|(count, unit)| format!("{count} {unit}{}", if *count == 1 { "" } else { "s" }))
            .collect();
        out.write_str(if said.is_empty() { "a moment" } else { "" })?;
        out.write_str(&said.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    #[test]
    fn an_age_is_said_as_a_person_would() {
        for (age, said) in [
            (Age::days(365), "365 days"),
            (Age::days(1), "1 day"),
            (Age::new(14, 0, 0), "1 year 2 months"),
            (Age::new(0, 3, 36 * HOUR), "3 days 36 hours"),
            (Age::new(0, 0, HOUR / 2 + 1_000_000), "30 minutes 1 second"),
            (Age::days(0), "a moment"),
        ] {
            assert_eq!(age.to_string(), said);
        }
    }

    #[test]
    fn a_year_is_365_days_and_an_endless_age_ends_with_time() {
        assert_eq!(Age::new(13, 1, HOUR).length(), TimeDelta::days(365 + 30 + 1) + TimeDelta::hours(1));
        let now: DateTime<Utc> = "2026-03-31T12:00:00Z".parse().unwrap();
        assert_eq!(Age::days(3).before(now), "2026-03-28T12:00:00Z".parse::<DateTime<Utc>>().unwrap());
        assert_eq!(Age::new(i32::MAX, i32::MAX, i64::MAX).before(now), DateTime::<Utc>::MIN_UTC);
        assert!(Age::new(i32::MIN, i32::MIN, i64::MIN).length() < TimeDelta::zero());
    }
}
