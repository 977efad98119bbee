//! Cases by hand (T67, T68): the edges of days, weeks and months, and what is kept where little is there.

use super::*;

const DAILY: Policy = Policy { daily: 7, weekly: 0, monthly: 0, last: 0, within: None, max_age: None };
const DEFAULT: Policy = Policy { weekly: 4, monthly: 12, ..DAILY };

fn at(text: &str) -> DateTime<Utc> {
    let whole = if text.len() == 10 { format!("{text}T02:00:00Z") } else { text.to_owned() };
    DateTime::parse_from_rfc3339(&whole).unwrap().with_timezone(&Utc)
}

/// Backups named by their times; an ending says what else they are: `A` archive, `P` pinned, `f`, `i`, `r` failed,
/// incomplete, refuted. `=` and a letter tell equal times apart.
fn history(texts: &[&str]) -> Vec<Backup> {
    let one = |text: &&str| {
        let (time, traits) = text.split_once(' ').unwrap_or((text, ""));
        let (time, _) = time.split_once('=').unwrap_or((time, ""));
        let flaw = [('f', Flaw::Failed), ('i', Flaw::Incomplete), ('r', Flaw::Refuted)];
        Backup {
            id: (*text).to_owned(),
            started_at: at(time),
            class: if traits.contains('A') { Class::Archive } else { Class::Full },
            flaw: flaw.iter().find(|(letter, _)| traits.contains(*letter)).map(|(_, flaw)| *flaw),
            is_pinned: traits.contains('P'),
        }
    };
    texts.iter().map(one).collect()
}

/// Those that stay, newest first.
fn stay(texts: &[&str], policy: &Policy, now: &str) -> Vec<String> {
    let decisions = decide(&history(texts), policy, at(now)).unwrap();
    decisions.into_iter().filter(|decision| decision.keep).map(|decision| decision.id).collect()
}

/// All of them, newest first, each as `id: + reasons` or `id: - reasons`.
fn said(texts: &[&str], policy: &Policy, now: &str) -> Vec<String> {
    let decisions = decide(&history(texts), policy, at(now)).unwrap();
    let line = |d: Decision| format!("{}: {} {}", d.id, if d.keep { '+' } else { '-' }, d.reasons.join("; "));
    decisions.into_iter().map(line).collect()
}

#[test]
fn every_rule_says_so() {
    let policy = Policy { last: 2, within: Some(Age::days(3)), ..DEFAULT };
    assert_eq!(
        said(
            &["2026-03-01", "2026-03-29", "2026-03-28 P", "2026-03-31", "2026-03-30T01:00:00Z"],
            &policy,
            "2026-03-31"
        ),
        [
            "2026-03-31: + daily 1 of 7; weekly 1 of 4; monthly 1 of 12; one of the last 2; younger than 3 days; the newest good backup",
            "2026-03-30T01:00:00Z: + daily 2 of 7; one of the last 2; younger than 3 days",
            "2026-03-29: + daily 3 of 7; weekly 2 of 4; younger than 3 days",
            "2026-03-28 P: + daily 4 of 7; pinned",
            "2026-03-01: + daily 5 of 7; weekly 3 of 4",
        ]
    );
}

#[test]
fn two_a_day_and_gaps_count_days_that_have_a_backup() {
    let policy = Policy { daily: 3, ..DAILY };
    let history =
        ["2026-01-05", "2026-02-01T01:00:00Z", "2026-02-01T13:00:00Z", "2026-03-01T00:00:00Z", "2026-03-01T23:59:59Z"];
    assert_eq!(stay(&history, &policy, "2026-03-02"), ["2026-03-01T23:59:59Z", "2026-02-01T13:00:00Z", "2026-01-05"]);
}

#[test]
fn a_day_is_one_of_utc_also_where_clocks_change() {
    let policy = Policy { daily: 9, ..DAILY };
    // Berlin: 29 March 2026 has 23 hours, 25 October 25; the hour that comes twice is told apart.
    let spring = [
        "2026-03-29T01:30:00+01:00",
        "2026-03-29T03:30:00+02:00",
        "2026-03-30T01:30:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ];
    assert_eq!(stay(&spring, &policy, "2026-04-01"), [spring[3], spring[2]]);
    let autumn = ["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00", "2026-10-26T00:30:00+01:00"];
    assert_eq!(stay(&autumn, &policy, "2026-11-01"), [autumn[2]]);
    // The same history told in another zone is the same history.
    let elsewhere = ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T23:30:00Z"];
    assert_eq!(stay(&elsewhere, &policy, "2026-11-01"), [elsewhere[2]]);
}

#[test]
fn a_week_begins_on_monday_and_may_be_of_two_years() {
    let policy = Policy { daily: 0, weekly: 9, ..DAILY };
    // 28 December 2026 to 3 January 2027 is week 53; 1 January 2028 is of week 52 of 2027.
    let history = [
        "2026-12-27",
        "2026-12-28",
        "2026-12-31",
        "2027-01-01",
        "2027-01-03",
        "2027-01-04",
        "2027-12-31",
        "2028-01-01",
    ];
    assert_eq!(stay(&history, &policy, "2028-01-02"), ["2028-01-01", "2027-01-04", "2027-01-03", "2026-12-27"]);
}

#[test]
fn months_are_told_apart_by_their_years_and_a_leap_day_is_a_day() {
    let policy = Policy { daily: 1, monthly: 9, ..DAILY };
    let history = ["2027-02-28", "2028-01-31", "2028-02-28", "2028-02-29", "2028-03-01"];
    assert_eq!(stay(&history, &policy, "2028-03-01"), ["2028-03-01", "2028-02-29", "2028-01-31", "2027-02-28"]);
    let year = Policy { max_age: Some(Age::new(12, 0, 0)), ..DAILY };
    assert_eq!(
        stay(&["2028-02-29", "2028-03-01", "2029-02-28"], &year, "2029-02-28"),
        ["2029-02-28", "2028-03-01", "2028-02-29"]
    );
    assert_eq!(stay(&["2028-02-29", "2028-03-01", "2029-03-01"], &year, "2029-03-01"), ["2029-03-01", "2028-03-01"]);
}

#[test]
fn what_is_dated_in_the_future_stays_and_takes_no_place() {
    let policy = Policy { daily: 1, ..DAILY };
    assert_eq!(
        said(&["2026-03-01", "2026-03-02", "2030-01-01", "2030-01-01T03:00:00Z A"], &policy, "2026-03-02"),
        [
            "2030-01-01T03:00:00Z A: + dated in the future",
            "2030-01-01: + dated in the future",
            "2026-03-02: + daily 1 of 1; the newest good backup",
            "2026-03-01: - no rule keeps it",
        ]
    );
    assert_eq!(stay(&["2030-01-01"], &policy, "2026-03-02"), ["2030-01-01"]);
}

#[test]
fn equal_times_are_told_apart_by_the_id() {
    let policy = Policy { daily: 1, ..DAILY };
    for history in [["2026-03-01=a", "2026-03-01=b"], ["2026-03-01=b", "2026-03-01=a"]] {
        assert_eq!(stay(&history, &policy, "2026-03-02"), ["2026-03-01=b"]);
    }
}

#[test]
fn an_archive_stands_for_its_week_and_month_and_for_nothing_else() {
    let policy = Policy { daily: 2, weekly: 2, monthly: 2, last: 1, within: Some(Age::days(2)), ..DAILY };
    let history = [
        "2026-03-18",
        "2026-03-22 A",
        "2026-03-23",
        "2026-03-24 A",
        "2026-03-25 A",
        "2026-03-27",
        "2026-03-28 A f",
        "2026-03-28",
    ];
    assert_eq!(
        said(&history, &policy, "2026-03-28T12:00:00Z"),
        [
            "2026-03-28 A f: + failed, and no newer good backup exists",
            "2026-03-28: + daily 1 of 2; one of the last 1; younger than 2 days; the newest good backup",
            "2026-03-27: + daily 2 of 2; younger than 2 days",
            "2026-03-25 A: + weekly 1 of 2; monthly 1 of 2",
            "2026-03-24 A: - no weekly or monthly rule keeps it",
            "2026-03-23: - no rule keeps it",
            "2026-03-22 A: + weekly 2 of 2",
            "2026-03-18: - no rule keeps it",
        ]
    );
    // The only good backup is never removed, of whatever class.
    assert_eq!(stay(&["2026-03-28 A"], &DAILY, "2026-04-01"), ["2026-03-28 A"]);
}

#[test]
fn what_is_not_good_counts_for_nothing_and_goes_when_a_newer_one_is() {
    let policy = Policy { daily: 1, ..DAILY };
    assert_eq!(
        said(
            &["2026-03-01 r", "2026-03-02", "2026-03-03", "2026-03-04 i", "2026-03-05 f", "2026-03-06 r"],
            &policy,
            "2026-03-07"
        ),
        [
            "2026-03-06 r: + failed its verification, and no newer good backup exists",
            "2026-03-05 f: + failed, and no newer good backup exists",
            "2026-03-04 i: + incomplete, and no newer good backup exists",
            "2026-03-03: + daily 1 of 1; the newest good backup",
            "2026-03-02: - no rule keeps it",
            "2026-03-01 r: - failed its verification, and a newer good backup exists",
        ]
    );
    let all_bad = ["2026-03-01 r", "2026-03-02 i"];
    assert_eq!(stay(&all_bad, &policy, "2026-03-07").len(), 2);
    assert_eq!(said(&["2026-03-01 r P", "2026-03-02"], &policy, "2026-03-07")[1], "2026-03-01 r P: + pinned");
}

#[test]
fn the_maximum_age_wins_and_says_over_what() {
    let policy = Policy { max_age: Some(Age::days(365)), monthly: 24, ..DEFAULT };
    let history = ["2025-03-01 P", "2025-03-02 r", "2025-04-15 P", "2026-03-31"];
    assert_eq!(
        said(&history, &policy, "2026-03-31T12:00:00Z"),
        [
            "2026-03-31: + daily 1 of 7; weekly 1 of 4; monthly 1 of 24; the newest good backup",
            "2025-04-15 P: + daily 2 of 7; weekly 2 of 4; monthly 2 of 24; pinned",
            "2025-03-02 r: - older than the maximum age of 365 days",
            "2025-03-01 P: - older than the maximum age of 365 days, which wins over: daily 3 of 7, weekly 3 of 4, monthly 3 of 24, pinned",
        ]
    );
    assert_eq!(
        said(&history[..2], &policy, "2026-03-31"),
        [
            "2025-03-02 r: - older than the maximum age of 365 days, which wins over: failed its verification, and no newer good backup exists",
            "2025-03-01 P: + older than the maximum age of 365 days, but the newest good backup: a new one is due",
        ]
    );
    // On the day itself it is not older yet.
    assert_eq!(stay(&["2025-03-31", "2026-03-31"], &policy, "2026-03-31").len(), 2);
}

#[test]
fn few_backups_or_none_are_no_error_and_an_empty_policy_is() {
    assert!(stay(&[], &DEFAULT, "2026-03-31").is_empty());
    assert_eq!(stay(&["2026-03-30", "2026-03-31"], &DEFAULT, "2026-03-31").len(), 2);
    let empty = Policy { daily: 0, max_age: Some(Age::days(9)), ..DAILY };
    assert_eq!(decide(&history(&["2026-03-31"]), &empty, at("2026-03-31")), Err(EmptyPolicy));
    let within = Policy { within: Some(Age::days(2)), ..empty };
    assert_eq!(stay(&["2026-03-27", "2026-03-29T03:00:00Z", "2026-03-31"], &within, "2026-03-31").len(), 2);
}

#[test]
fn two_sets_that_take_turns_are_as_if_alone() {
    let (one, other) = (["2026-03-01", "2026-03-03", "2026-03-05"], ["2026-03-02", "2026-03-04", "2026-03-06"]);
    let policy = Policy { daily: 2, ..DAILY };
    assert_eq!(stay(&one, &policy, "2026-03-07"), ["2026-03-05", "2026-03-03"]);
    assert_eq!(stay(&other, &policy, "2026-03-07"), ["2026-03-06", "2026-03-04"]);
}
