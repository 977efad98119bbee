//! Numbers, sizes, durations and moments for people. Moments are in UTC.

use chrono::{DateTime, Utc};

/// `2026-03-01 02:00`.
pub fn moment(moment: DateTime<Utc>) -> String {
    moment.format("%Y-%m-%d %H:%M").to_string()
}

/// `12,345`.
pub fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut shown = String::new();
    if number < 0 {
        shown.push('-');
    }
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// `1 backup`, `12,345 backups`.
pub fn of(number: i64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// `2.1 MB`, by a thousand.
pub fn bytes(bytes: i64) -> String {
    scaled(bytes as f64, &["B", "kB", "MB", "GB", "TB", "PB"])
}

fn scaled(number: f64, units: &[&str]) -> String {
    let (mut value, mut unit) = (number, 0);
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 99.5);
    format!("{value:.digits$} {}", units[unit])
}

/// `2.5 s`, `25 min`, `3 h`, `12 days`: as `agent_backup.in_words` has it, but for `0 s`.
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    match seconds {
        0.0 => "0 s".into(),
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{:.0} s", s.trunc()),
        s if s < 7200.0 => format!("{:.0} min", (s / 60.0).trunc()),
        s if s < 172_800.0 => format!("{:.0} h", (s / 3600.0).trunc()),
        s => format!("{:.0} days", (s / 86_400.0).trunc()),
    }
}

/// The seconds of a duration as a program reads them.
pub fn seconds(seconds: f64) -> String {
    format!("{seconds:.3}")
}

/// `27 of 30 (90 %)`; a share is never rounded up to all of it.
pub fn share(part: i64, whole: i64) -> String {
    if whole <= 0 {
        return "0 of 0".into();
    }
    format!("{} of {} ({} %)", count(part), count(whole), part * 100 / whole)
}

/// What begins and ends a name in a sentence: there it has a direction of its own, see `Html::sentence`.
pub const NAME: [char; 2] = ['\u{2068}', '\u{2069}'];

/// A name, or whatever somebody else wrote, for a sentence.
pub fn name(name: &str) -> String {
    let [start, end] = NAME;
    let plain = name.replace(start, "[U+2068]").replace(end, "[U+2069]");
    format!("{start}{plain}{end}")
}

/// The first letter large.
pub fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let shown = [0, 7, 999, 1000, 1_234_567, -1000].map(count);
        assert_eq!(shown, ["0", "7", "999", "1,000", "1,234,567", "-1,000"]);
        assert_eq!([of(1, "drill"), of(0, "drill")], ["1 drill", "0 drills"]);
    }

    #[test]
    fn sizes_and_durations_have_a_unit() {
        assert_eq!([0, 999, 1000, 99_499, 2_064_873].map(bytes), ["0 B", "999 B", "1.0 kB", "99.5 kB", "2.1 MB"]);
        let shown = [0.0, 0.04, 9.94, 9.96, 119.9, 120.0, 7199.0, 7200.0, 172_800.0].map(duration);
        assert_eq!(shown, ["0 s", "0.0 s", "9.9 s", "10.0 s", "119 s", "2 min", "119 min", "2 h", "2 days"]);
    }

    #[test]
    fn a_share_is_all_of_it_only_where_it_is() {
        assert_eq!(share(999, 1000), "999 of 1,000 (99 %)");
        assert_eq!(share(1000, 1000), "1,000 of 1,000 (100 %)");
        assert_eq!(share(0, 0), "0 of 0");
    }
}
