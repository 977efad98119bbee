//! Held against a reading of the five fields that knows nothing of the crate: minute by minute.

use chrono::{Datelike, Duration, NaiveDate, Timelike};
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> NaiveDateTime {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").unwrap()
}

fn schedule(text: &str) -> Schedule {
    Schedule::parse(text, Dialect::Crontab).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[track_caller]
fn assert_next(text: &str, after: &str, expected: &str) {
    assert_eq!(schedule(text).next_after(at(after)), Some(at(expected)), "{text} after {after}");
}

#[test]
fn the_next_time_is_told() {
    assert_next("0 2 * * *", "2026-03-01 01:59:59", "2026-03-01 02:00:00");
    assert_next("0 2 * * *", "2026-03-01 02:00:00", "2026-03-02 02:00:00");
    assert_next("  0\t*  * * *  ", "2026-12-31 23:00:01", "2027-01-01 00:00:00");
    assert_next("0 3 * * 0", "2026-11-22 03:00:00", "2026-11-29 03:00:00");
    assert_next("0 3 * * 7", "2026-11-22 03:00:00", "2026-11-29 03:00:00");
    assert_next("0 3 * * sun", "2026-11-22 03:00:00", "2026-11-29 03:00:00");
    assert_next("0 3 * * 5-7", "2026-11-19 00:00:00", "2026-11-20 03:00:00");
    assert_next("*/20 1-5/2 * feb,apr mon-fri", "2026-01-31 00:00:00", "2026-02-02 01:00:00");
    assert_next("0 0 29 2 *", "2026-01-01 00:00:00", "2028-02-29 00:00:00");
    assert_next("@weekly", "2026-11-22 00:00:00", "2026-11-29 00:00:00");
}

#[test]
fn a_day_is_one_that_both_fields_allow_where_one_begins_with_a_star() {
    // The 13th or a Friday; an even day of the month (from the first on, by twos) that is a Monday.
    assert_next("0 0 13 * 5", "2026-11-09 00:00:00", "2026-11-13 00:00:00");
    assert_next("0 0 13 * 5", "2026-11-13 00:00:00", "2026-11-20 00:00:00");
    assert_next("0 0 */2 * 1", "2026-11-22 00:00:00", "2026-11-23 00:00:00");
    assert_next("0 0 */2 * 1", "2026-11-23 00:00:00", "2026-12-07 00:00:00");
}

#[test]
fn the_last_day_of_a_month_is_for_those_who_know_it() {
    let last_day = Schedule::parse("0 0 $ * *", Dialect::LastDay).unwrap();
    assert_eq!(last_day.next_after(at("2028-02-01 00:00:00")), Some(at("2028-02-29 00:00:00")));
    assert!(Schedule::parse("0 0 $ * *", Dialect::Crontab).is_err());
}

#[test]
fn what_cron_does_not_read_is_refused() {
    for text in [
        "",
        "0 2 * *",
        "0 2 * * * *",
        "30 seconds",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 13 *",
        "* * * * 8",
        "0 0 L * *",
        "0 0 * * 5L",
        "0 0 * * 1#2",
        "0 0 15W * *",
        "? * * * *",
        "* * ? * *",
        "0 0 * * +1",
        "@reboot",
        "@every",
        "*/0 * * * *",
        "5/10 * * * *",
        "/5 * * * *",
        "1- * * * *",
        "a * * * *",
        "* * * JANUARY *",
        "* * * * MONDAY",
        "* * MON * *",
        "1,,2 * * * *",
        "0 0 30 2 *",
        "0\n2 * * *",
        "0 2 * * *; DROP",
        "-1 * * * *",
        "001 * * * *",
        "5-3 * * * *",
    ] {
        let refused = Schedule::parse(text, Dialect::Crontab);
        assert!(refused.is_err(), "\"{text}\" is taken for a schedule");
    }
    let said = Schedule::parse("0 25 * * *", Dialect::Crontab).unwrap_err().to_string();
    assert!(said.starts_with("\"0 25 * * *\": "), "{said}");
}

/// The values that a field allows, and whether it begins with a star.
fn allowed(field: &str, from: u32, to: u32) -> (Vec<u32>, bool) {
    let of_item = |item: &str| -> Vec<u32> {
        let (range, step) = item.split_once('/').map_or((item, 1), |(range, step)| (range, step.parse().unwrap()));
        let (first, last) = match (range, range.split_once('-')) {
            ("*", _) => (from, to),
            (_, Some((first, last))) => (first.parse().unwrap(), last.parse().unwrap()),
            (one, None) => (one.parse().unwrap(), one.parse().unwrap()),
        };
        (first..=last).step_by(step).collect()
    };
    (field.split(',').flat_map(of_item).collect(), field.starts_with('*'))
}

fn is_due(text: &str, moment: NaiveDateTime) -> bool {
    let fields: Vec<&str> = text.split(' ').collect();
    let has = |place: usize, from, to, value| allowed(fields[place], from, to).0.contains(&value);
    let (dom, dow) = (allowed(fields[2], 1, 31), allowed(fields[4], 0, 7));
    let weekday = moment.weekday().num_days_from_sunday();
    let on_weekday = dow.0.contains(&weekday) || weekday == 0 && dow.0.contains(&7);
    let on_day = dom.0.contains(&moment.day());
    let day = if dom.1 || dow.1 { on_day && on_weekday } else { on_day || on_weekday };
    has(0, 0, 59, moment.minute()) && has(1, 0, 23, moment.hour()) && has(3, 1, 12, moment.month()) && day
}

fn item(from: u32, to: u32) -> impl Strategy<Value = String> {
    let one = from..=to;
    let range = (from..=to, from..=to).prop_map(|(a, b)| (a.min(b), a.max(b)));
    prop_oneof![
        one.prop_map(|value| value.to_string()),
        range.clone().prop_map(|(a, b)| format!("{a}-{b}")),
        (range, 1..9_u32).prop_map(|((a, b), step)| format!("{a}-{b}/{step}")),
    ]
}

fn field(from: u32, to: u32) -> impl Strategy<Value = String> {
    prop_oneof![
        Just("*".to_owned()),
        (1..9_u32).prop_map(|step| format!("*/{step}")),
        proptest::collection::vec(item(from, to), 1..3).prop_map(|items| items.join(",")),
    ]
}

fn crontab() -> impl Strategy<Value = String> {
    (field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 7))
        .prop_map(|(minute, hour, dom, month, dow)| format!("{minute} {hour} {dom} {month} {dow}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn each_time_is_the_first_one_that_the_fields_allow(text in crontab(), days in 0..4000_i64, seconds in 0..86_400_i64) {
        let Ok(schedule) = Schedule::parse(&text, Dialect::Crontab) else {
            // Only what never comes is refused: such a day of such a month.
            prop_assert!(Schedule::parse(&text, Dialect::Crontab).unwrap_err() == CronError::Never(text));
            return Ok(());
        };
        let start = NaiveDate::from_ymd_opt(2024, 1, 1).unwrap().and_hms_opt(0, 0, 0).unwrap();
        let from = start + Duration::days(days) + Duration::seconds(seconds);
        let minute = from.with_second(0).unwrap();
        let expected = (1..=60 * 24 * 40).map(|n| minute + Duration::minutes(n)).find(|at| is_due(&text, *at));
        let next = schedule.next_after(from);
        match expected {
            Some(_) => prop_assert_eq!(next, expected, "{} after {}", text, from),
            None => prop_assert!(next.is_none_or(|next| next > from + Duration::days(39) && is_due(&text, next))),
        }
        if let Some(next) = next {
            prop_assert_eq!(schedule.last_until(next), Some(next), "{} until {}", text, next);
            let before = schedule.last_until(next - Duration::seconds(1));
            prop_assert!(before.is_none_or(|before| before <= from && is_due(&text, before)));
        }
    }
}
