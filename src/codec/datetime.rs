//! `date`, `timestamp` and `timestamptz` from their counts since 2000-01-01, in the ISO form of text output and in
//! the XSD form of JSON, which differs by a `T` and a colon in the zone.

use super::error::{Fault, Outcome};
use super::number::{four, two};

/// How a moment is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// `2025-01-01 00:00:00+00`
    Iso,
    /// `2025-01-01T00:00:00+00:00`
    Xsd,
}

/// Whether a moment carries its zone, which is UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zone {
    Absent,
    Utc,
}

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// 4714-11-24 BC, Julian day 0.
const FIRST_DAY: i64 = -2_451_545;
/// The day after 5874897-12-31.
const END_DAY: i64 = 2_147_483_494 - 2_451_545;
/// 294277-01-01.
const END_MICROS: i64 = 9_223_371_331_200_000_000;
const OUT_OF_RANGE: Fault = Fault::Malformed("a date lies outside what PostgreSQL can hold");

/// A date from its day.
pub(super) fn date(days: i32, out: &mut Vec<u8>) -> Outcome {
    match days {
        i32::MAX => out.extend_from_slice(b"infinity"),
        i32::MIN => out.extend_from_slice(b"-infinity"),
        _ => {
            let days = i64::from(days);
            if !(FIRST_DAY..END_DAY).contains(&days) {
                return Err(OUT_OF_RANGE);
            }
            let mut line = Line::default();
            let year = line.date(days);
            line.era(year);
            out.extend_from_slice(line.as_bytes());
        }
    }
    Ok(())
}

/// A timestamp from its microseconds.
pub(super) fn timestamp(micros: i64, style: Style, zone: Zone, out: &mut Vec<u8>) -> Outcome {
    match micros {
        i64::MAX => out.extend_from_slice(b"infinity"),
        i64::MIN => out.extend_from_slice(b"-infinity"),
        _ => {
            if !(FIRST_DAY * MICROS_PER_DAY..END_MICROS).contains(&micros) {
                return Err(OUT_OF_RANGE);
            }
            let mut line = Line::default();
            let year = line.date(micros.div_euclid(MICROS_PER_DAY));
            line.put(if style == Style::Iso { b" " } else { b"T" });
            line.time(micros.rem_euclid(MICROS_PER_DAY) as u64);
            if zone == Zone::Utc {
                line.put(if style == Style::Iso { &b"+00"[..] } else { b"+00:00" });
            }
            line.era(year);
            out.extend_from_slice(line.as_bytes());
        }
    }
    Ok(())
}

/// A moment is built here first, so that the output grows once: 7 digits of year, and 32 more at most.
#[derive(Default)]
struct Line {
    bytes: [[u8; 8]; 5],
    length: usize,
}

impl Line {
    fn as_bytes(&self) -> &[u8] {
        &self.bytes.as_flattened()[..self.length]
    }

    #[inline]
    fn put(&mut self, text: &[u8]) {
        self.bytes.as_flattened_mut()[self.length..self.length + text.len()].copy_from_slice(text);
        self.length += text.len();
    }

    /// Writes `YYYY-MM-DD` and answers the year, in which 0 is 1 BC.
    #[inline]
    fn date(&mut self, days: i64) -> i64 {
        let (year, month, day) = civil(days);
        let shown = (if year > 0 { year } else { 1 - year }) as u32;
        if shown > 9999 {
            self.put(itoa::Buffer::new().format(shown / 10_000).as_bytes());
        }
        let ([a, b, c, d], [e, f], [g, h]) = (four(shown), two(month), two(day));
        self.put(&[a, b, c, d, b'-', e, f, b'-', g, h]);
        year
    }

    /// Writes `HH:MM:SS`, and the fraction without its trailing zeros.
    #[inline]
    fn time(&mut self, micros: u64) {
        let (seconds, fraction) = ((micros / 1_000_000) as u32, (micros % 1_000_000) as u32);
        let ([a, b], [c, d], [e, f]) = (two(seconds / 3600), two(seconds / 60 % 60), two(seconds % 60));
        self.put(&[a, b, b':', c, d, b':', e, f]);
        if fraction != 0 {
            let ([a, b], [c, d, e, f]) = (two(fraction / 10_000), four(fraction));
            self.put(&[b'.', a, b, c, d, e, f]);
            while self.as_bytes().ends_with(b"0") {
                self.length -= 1;
            }
        }
    }

    #[inline]
    fn era(&mut self, year: i64) {
        if year <= 0 {
            self.put(b" BC");
        }
    }
}

/// Year, month and day in the proleptic Gregorian calendar. The year is counted from March, so that the leap day is
/// its last, in eras of 400 years, which all have the same days.
#[inline]
fn civil(days: i64) -> (i64, u32, u32) {
    const DAYS_PER_ERA: i64 = 146_097;
    let since_march_0 = days + 730_425;
    let era = since_march_0.div_euclid(DAYS_PER_ERA);
    let day_of_era = since_march_0.rem_euclid(DAYS_PER_ERA) as u32;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + i64::from(year_of_era) + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{Datelike, Days, NaiveDate};
    use proptest::prelude::*;

    fn day(days: i32) -> Option<String> {
        let mut out = vec![];
        date(days, &mut out).ok().map(|()| String::from_utf8(out).unwrap())
    }

    fn moment(micros: i64, style: Style, zone: Zone) -> Option<String> {
        let mut out = vec![];
        timestamp(micros, style, zone, &mut out).ok().map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_calendar_reaches_from_end_to_end() {
        assert_eq!(day(0).as_deref(), Some("2000-01-01"));
        assert_eq!(day(-2_451_545).as_deref(), Some("4714-11-24 BC"));
        assert_eq!(day(2_145_031_948).as_deref(), Some("5874897-12-31"));
        assert_eq!(day(i32::MAX).as_deref(), Some("infinity"));
        assert_eq!(day(i32::MIN).as_deref(), Some("-infinity"));
        assert_eq!((day(-2_451_546), day(2_145_031_949)), (None, None));
    }

    #[test]
    fn moments_differ_by_style_and_zone() {
        assert_eq!(moment(0, Style::Iso, Zone::Utc).as_deref(), Some("2000-01-01 00:00:00+00"));
        assert_eq!(moment(0, Style::Xsd, Zone::Utc).as_deref(), Some("2000-01-01T00:00:00+00:00"));
        assert_eq!(moment(-1, Style::Xsd, Zone::Absent).as_deref(), Some("1999-12-31T23:59:59.999999"));
        assert_eq!(moment(1_500_000, Style::Iso, Zone::Absent).as_deref(), Some("2000-01-01 00:00:01.5"));
        assert_eq!(moment(i64::MIN, Style::Xsd, Zone::Utc).as_deref(), Some("-infinity"));
        let first = moment(-211_813_488_000_000_000, Style::Xsd, Zone::Utc);
        assert_eq!(first.as_deref(), Some("4714-11-24T00:00:00+00:00 BC"));
        let last = moment(9_223_371_331_199_999_999, Style::Iso, Zone::Utc);
        assert_eq!(last.as_deref(), Some("294276-12-31 23:59:59.999999+00"));
        assert_eq!(moment(9_223_371_331_200_000_000, Style::Iso, Zone::Utc), None);
    }

    proptest! {
        #[test]
        fn every_day_is_as_chrono_counts(days in 0u64..4_000_000) {
            let start = NaiveDate::from_ymd_opt(-4713, 11, 24).unwrap();
            let expected = start.checked_add_days(Days::new(days)).unwrap();
            let (year, month, day) = civil(days as i64 + FIRST_DAY);
            prop_assert_eq!((year, month, day), (expected.year().into(), expected.month(), expected.day()));
        }
    }
}
