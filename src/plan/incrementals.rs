//! Which incrementals stay: as long as the full backup that they extend, and a day at the least.

use chrono::{DateTime, TimeDelta, Utc};

use super::age::Age;

/// No incremental goes before it is so old.
pub const FLOOR: TimeDelta = TimeDelta::hours(24);

/// An incremental on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incremental {
    pub started_at: DateTime<Utc>,
    /// The full backup that was the newest then.
    pub extends: Option<String>,
}

/// A full backup that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Full {
    pub id: String,
    pub started_at: DateTime<Utc>,
}

/// What becomes of an incremental, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub keep: bool,
    pub reason: String,
}

/// Decides on an incremental where these full backups stay, and no backup is kept longer than `max_age`.
pub fn decide(incremental: &Incremental, fulls: &[Full], max_age: Option<Age>, now: DateTime<Utc>) -> Decision {
    let keep = |reason: String| Decision { keep: true, reason };
    let remove = |reason: String| Decision { keep: false, reason };
    if now - incremental.started_at < FLOOR {
        return keep("it is younger than 24 hours".into());
    }
    if let Some(age) = max_age.filter(|age| incremental.started_at < age.before(now)) {
        return remove(format!("it is older than the maximum age of {age}"));
    }
    if fulls.is_empty() {
        return keep("no full backup is listed".into());
    }
    let newer =
        || fulls.iter().filter(|full| full.started_at >= incremental.started_at).min_by_key(|full| full.started_at);
    match &incremental.extends {
        Some(id) if fulls.iter().any(|full| full.id == *id) => {
            keep(format!("backup \"{id}\", which it extends, is there"))
        }
        Some(id) => match newer() {
            Some(_) => remove(format!("backup \"{id}\", which it extends, is gone")),
            None => keep(format!("backup \"{id}\", which it extends, is gone, and no newer one is there")),
        },
        None => match newer() {
            Some(full) => remove(format!("it extends no backup, and \"{}\" is newer", full.id)),
            None => keep("no newer full backup is there".into()),
        },
    }
}

/// Decides on the rows of an incremental whose writer died before it wrote the manifest.
pub fn without_manifest(modified: DateTime<Utc>, now: DateTime<Utc>) -> Decision {
    if now - modified < FLOOR {
        return Decision { keep: true, reason: "it is younger than 24 hours".into() };
    }
    Decision { keep: false, reason: "it has no manifest: its writer did not end".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        format!("2025-10-{text}:00Z").parse().unwrap()
    }

    #[test]
    fn each_incremental_is_kept_or_removed_with_its_reason() {
        let fulls = |days: &[&str]| -> Vec<Full> {
            days.iter().map(|day| Full { id: (*day).into(), started_at: at(&format!("{day}T02:00")) }).collect()
        };
        let now = at("12T12:00");
        let cases: &[(&str, Option<&str>, &[&str], bool, &str)] = &[
            ("12T11:00", Some("12"), &["11", "12"], true, "it is younger than 24 hours"),
            ("11T12:01", Some("11"), &["12"], true, "it is younger than 24 hours"),
            ("11T12:00", Some("11"), &["12"], false, "backup \"11\", which it extends, is gone"),
            ("11T12:00", Some("11"), &["11", "12"], true, "backup \"11\", which it extends, is there"),
            ("01T12:00", Some("01"), &["01", "12"], true, "backup \"01\", which it extends, is there"),
            ("01T12:00", Some("01"), &[], true, "no full backup is listed"),
            (
                "05T12:00",
                Some("05"),
                &["04"],
                true,
                "backup \"05\", which it extends, is gone, and no newer one is there",
            ),
            ("05T12:00", None, &["06", "12"], false, "it extends no backup, and \"06\" is newer"),
            ("05T12:00", None, &["04"], true, "no newer full backup is there"),
            ("13T12:00", None, &["12"], true, "it is younger than 24 hours"),
        ];
        for (started, extends, days, keep, reason) in cases {
            let incremental = Incremental { started_at: at(started), extends: extends.map(str::to_owned) };
            let decision = decide(&incremental, &fulls(days), None, now);
            assert_eq!(decision, Decision { keep: *keep, reason: (*reason).into() }, "{started} {days:?}");
        }
    }

    #[test]
    fn as_time_goes_on_nothing_comes_back() {
        let fulls = [Full { id: "12".into(), started_at: at("12T02:00") }];
        let incremental = Incremental { started_at: at("11T12:00"), extends: Some("11".into()) };
        let mut kept = true;
        for hour in 0..72 {
            let keep = decide(&incremental, &fulls, None, at("11T12:00") + TimeDelta::hours(hour)).keep;
            assert!(kept || !keep, "hour {hour}");
            kept = keep;
        }
        assert!(!kept);
    }

    #[test]
    fn the_maximum_age_takes_what_its_backup_would_keep() {
        let fulls = [Full { id: "01".into(), started_at: at("01T02:00") }];
        let incremental = Incremental { started_at: at("01T12:00"), extends: Some("01".into()) };
        let decided = |now: &str| decide(&incremental, &fulls, Some(Age::days(10)), at(now));
        assert_eq!(decided("11T12:00").reason, "backup \"01\", which it extends, is there");
        let gone = Decision { keep: false, reason: "it is older than the maximum age of 10 days".into() };
        assert_eq!(decided("11T12:01"), gone);
    }

    #[test]
    fn rows_without_a_manifest_wait_a_day_for_it() {
        assert!(without_manifest(at("11T12:01"), at("12T12:00")).keep);
        assert!(!without_manifest(at("11T12:00"), at("12T12:00")).keep);
    }
}
