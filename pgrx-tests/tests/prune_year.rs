//! A year by the clock that tests set: fulls every day, archives every week, incrementals in between, failures here and
//! there, and a prune each day. What stays is, on every day, what a naive reading of the policy says.

use agent_backup_suite::{Database, Set, assert_backups_whole, assert_no_trash, database, lines, long, one, prune};
use postgres::Client;

/// 1 July 2027, so that a turn of the year and a leap day are in it; in days since 1970.
const FIRST: i64 = 21_000;
const DAYS: i64 = 366;
const HOUR: i64 = 3600;

/// Year, month and day of a day since 1970 (the well-known formula of Hinnant).
fn civil(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let month_of_year = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month_of_year <= 2), month_of_year, of_year - (153 * month + 2) / 5 + 1)
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Made {
    id: String,
    at: i64,
    is_archive: bool,
    is_complete: bool,
    is_refuted: bool,
    is_pinned: bool,
}

impl Made {
    fn is_good(&self) -> bool {
        self.is_complete && !self.is_refuted
    }

    fn day(&self) -> i64 {
        self.at.div_euclid(24 * HOUR)
    }

    /// Counted from a Monday.
    fn week(&self) -> i64 {
        (self.day() + 3).div_euclid(7)
    }

    fn month(&self) -> i64 {
        let (year, month, _) = civil(self.day());
        year * 12 + month
    }
}

/// The policy of the set, in its plainest words.
struct Oracle {
    max_age: Option<i64>,
}

const DAILY: usize = 7;
const WEEKLY: usize = 4;
const MONTHLY: usize = 12;
const LAST: usize = 2;
const WITHIN: i64 = 40 * HOUR;

impl Oracle {
    fn keeps(&self, backup: &Made, all: &[Made], now: i64) -> bool {
        let good = || all.iter().filter(|other| other.is_good());
        let newer_good = good().any(|other| other.at > backup.at);
        let newest_good = backup.is_good() && !newer_good;
        if self.max_age.is_some_and(|age| now - backup.at > age) {
            return newest_good;
        }
        if newest_good || backup.is_pinned {
            return true;
        }
        if !backup.is_good() {
            return !newer_good;
        }
        Self::stands_for(backup, all, Made::week, WEEKLY)
            || Self::stands_for(backup, all, Made::month, MONTHLY)
            || (!backup.is_archive && Self::is_recent(backup, all, now))
    }

    /// Of its day, one of the last, or young.
    fn is_recent(backup: &Made, all: &[Made], now: i64) -> bool {
        let newer: Vec<&Made> = all.iter().filter(|o| o.is_good() && !o.is_archive && o.at > backup.at).collect();
        let mut days: Vec<i64> = newer.iter().map(|other| other.day()).collect();
        days.dedup();
        let by_day = !days.contains(&backup.day()) && days.len() < DAILY;
        by_day || newer.len() < LAST || now - backup.at < WITHIN
    }

    /// Of its week or month the newest archive, or the newest where there is none, and few later ones have any.
    fn stands_for(backup: &Made, all: &[Made], period: fn(&Made) -> i64, wanted: usize) -> bool {
        let good: Vec<&Made> = all.iter().filter(|other| other.is_good()).collect();
        let mut later: Vec<i64> = good.iter().map(|other| period(other)).filter(|p| *p > period(backup)).collect();
        later.sort_unstable();
        later.dedup();
        let better = good.iter().any(|other| {
            let wins = (other.is_archive, other.at) > (backup.is_archive, backup.at);
            period(other) == period(backup) && wins
        });
        later.len() < wanted && !better
    }
}

/// An incremental: when it began, and the backup that it extends.
struct Extends {
    at: i64,
    id: Option<String>,
}

struct Year<'a> {
    db: &'a Database<'a>,
    client: Client,
    blocker: Client,
    made: Vec<Made>,
    incrementals: Vec<Extends>,
    oracle: Oracle,
}

impl Year<'_> {
    fn set_clock(&mut self, at: i64) {
        let (year, month, day) = civil(at.div_euclid(24 * HOUR));
        let (hour, minute) = (at.rem_euclid(24 * HOUR) / HOUR, at.rem_euclid(HOUR) / 60);
        let moment = format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:00Z");
        self.client.batch_execute(&format!("SET agent_backup.debug_clock = '{moment}'")).unwrap();
    }

    /// A backup, of which something may go wrong.
    fn back_up(&mut self, at: i64, is_archive: bool, trouble: Trouble) {
        self.set_clock(at);
        let kind = if is_archive { "archive" } else { "full" };
        let call = format!("SELECT agent_backup.backup('s', '{kind}')");
        let around = match trouble {
            Trouble::Fails => ("SET agent_backup.debug_failpoint = 'scan=error'", "RESET agent_backup.debug_failpoint"),
            Trouble::IsIncomplete => ("SET agent_backup.lock_timeout = '10ms'", "RESET agent_backup.lock_timeout"),
            Trouble::None | Trouble::IsDamaged => ("", ""),
        };
        if trouble == Trouble::IsIncomplete {
            self.blocker.batch_execute("BEGIN; LOCK TABLE t2").unwrap();
        }
        self.client.batch_execute(&format!("{}; {call}; {}", around.0, around.1)).unwrap();
        if trouble == Trouble::IsIncomplete {
            self.blocker.batch_execute("ROLLBACK").unwrap();
        }
        let row = "SELECT backup_id, status, backup_file FROM agent_backup.backups WHERE set_name = 's' AND started_at = agent_backup.clock()";
        let row = self.client.query_one(row, &[]).unwrap();
        let (id, status): (String, String) = (row.get(0), row.get(1));
        let expected = match trouble {
            Trouble::Fails => "failed",
            Trouble::IsIncomplete => "incomplete",
            Trouble::None | Trouble::IsDamaged => "complete",
        };
        assert_eq!(status, expected);
        if trouble == Trouble::IsDamaged {
            damage(&row.get::<_, String>(2));
            let failed =
                format!("SELECT count(*) FROM agent_backup.verify('{id}', 'hash', 's') WHERE status = 'failed'");
            assert!(one::<i64>(&mut self.client, &failed) > 0);
        }
        let (is_complete, is_refuted) = (status == "complete", trouble == Trouble::IsDamaged);
        self.made.push(Made { id, at, is_archive, is_complete, is_refuted, is_pinned: false });
    }

    fn increment(&mut self, at: i64) {
        self.set_clock(at);
        self.client.batch_execute("UPDATE t1 SET a = md5(a) WHERE id = 1").unwrap();
        // The first run copies the other table too.
        let files: i64 = one(&mut self.client, "SELECT count(file_name) FROM agent_backup.incremental('s')");
        let newest = self.made.iter().rev().find(|made| made.is_complete);
        let extends = || Extends { at, id: newest.map(|made| made.id.clone()) };
        self.incrementals.extend((0..files).map(|_| extends()));
    }

    fn pin(&mut self, number: usize, pinned: bool) {
        let id = &self.made[number].id;
        let call = if pinned { "pin" } else { "unpin" };
        self.client.batch_execute(&format!("SELECT agent_backup.{call}('{id}')")).unwrap();
        self.made[number].is_pinned = pinned;
    }

    /// Prunes, and finds what the oracle left.
    fn prune(&mut self, at: i64) {
        self.set_clock(at);
        let rows = prune(&mut self.client, "'s', confirm => true");
        assert!(rows.iter().all(|row| row.action == "removed"), "{rows:?}");
        let all = self.made.clone();
        self.made.retain(|made| self.oracle.keeps(made, &all, at));
        let listed = "SELECT backup_id FROM agent_backup.backups WHERE set_name = 's' ORDER BY started_at";
        let expected: Vec<&str> = self.made.iter().map(|made| made.id.as_str()).collect();
        assert_eq!(lines(&mut self.client, listed), expected, "day {}", at / 24 / HOUR - FIRST);
        let is_there = |id: &Option<String>| expected.iter().any(|known| id.as_deref() == Some(*known));
        let max_age = self.oracle.max_age;
        self.incrementals.retain(|one| {
            let young = at - one.at < 24 * HOUR;
            young || (is_there(&one.id) && max_age.is_none_or(|age| at - one.at <= age))
        });
        let kept = "SELECT extract(epoch FROM started_at)::bigint, action FROM agent_backup.expire_incrementals('s')";
        let expected: Vec<String> = self.incrementals.iter().map(|one| format!("{}|keep", one.at)).collect();
        assert_eq!(lines(&mut self.client, kept), expected, "day {}", at / 24 / HOUR - FIRST);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    Fails,
    IsIncomplete,
    IsDamaged,
}

impl Trouble {
    /// Of a day: some of each, and at times several in a row.
    fn of(day: i64) -> Self {
        match day {
            100..=102 => Trouble::Fails,
            day if day % 11 == 5 => Trouble::Fails,
            day if day % 17 == 3 => Trouble::IsIncomplete,
            day if day % 23 == 7 => Trouble::IsDamaged,
            _ => Trouble::None,
        }
    }
}

fn damage(path: &str) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.len() / 4;
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn the_days_of_the_test_are_those_of_the_calendar() {
    assert_eq!((civil(0), civil(FIRST), civil(FIRST + 243)), ((1970, 1, 1), (2027, 7, 1), (2028, 2, 29)));
}

#[test]
fn on_every_day_of_a_year_what_stays_is_what_the_policy_says() {
    let db = database();
    Set::create(&db, 2, 3);
    db.run("SELECT agent_backup.set_retention('s', keep_last => 2, keep_within => '40 hours')");
    let (client, blocker) = (db.client(), db.client());
    let oracle = Oracle { max_age: None };
    let mut year = Year { db: &db, client, blocker, made: Vec::new(), incrementals: Vec::new(), oracle };
    year.client.batch_execute("SET client_min_messages = 'error'").unwrap();
    let step = if long() { HOUR } else { 8 * HOUR };
    for day in 0..DAYS {
        let midnight = (FIRST + day) * 24 * HOUR;
        // On some days nothing ran.
        if day % 29 != 13 {
            year.back_up(midnight + 2 * HOUR, false, Trouble::of(day));
        }
        if (FIRST + day + 3) % 7 == 6 {
            year.back_up(midnight + 3 * HOUR, true, Trouble::of(day / 7));
        }
        if day % 37 == 0 {
            year.back_up(midnight + 3 * HOUR + 1800, false, Trouble::None);
        }
        match day {
            30 => year.pin(3, true),
            200 => year.pin(0, false),
            300 => {
                year.client.batch_execute("SELECT agent_backup.set_retention('s', max_age => '200 days')").unwrap();
                year.oracle.max_age = Some(200 * 24 * HOUR);
            }
            _ => (),
        }
        year.prune(midnight + 4 * HOUR);
        (0..24 * HOUR / step).for_each(|number| year.increment(midnight + 4 * HOUR + 1800 + number * step));
    }
    year.end();
    assert_no_trash(&db, &["was made to fail", "could not lock table", "damaged"]);
}

impl Year<'_> {
    /// At the end every kept backup that is good verifies, and no file is left of any other.
    fn end(mut self) {
        let good: Vec<&Made> = self.made.iter().filter(|made| made.is_good()).collect();
        assert!((15..=25).contains(&good.len()), "{good:?}");
        for made in good {
            let bad =
                format!("SELECT * FROM agent_backup.verify('{}', 'decode', 's') WHERE status = 'failed'", made.id);
            assert_eq!(lines(&mut self.client, &bad), [""; 0], "{made:?}");
        }
        assert_backups_whole(self.db);
        let went: i64 = one(&mut self.client, "SELECT count(*) FROM agent_backup.pruned_backups");
        assert!(went > 350, "{went}");
    }
}
