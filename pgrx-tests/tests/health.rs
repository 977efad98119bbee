//! Health shows each thing that is expected, never says OK of one that is not (T100), and says since when and why: tables,
//! sets, drills, capture.

mod healthy;

use agent_backup_suite::assert_no_trash;
use healthy::{Row, TABLE, about, back_up, flip_a_byte, health_at, says, with_set};

#[test]
fn a_table_that_was_never_backed_up_fails() {
    let db = with_set();
    says(&db, "0", TABLE, "FAILED", "never backed up");
    says(&db, "0", "s: verification", "WARNING", "no backup");
    says(&db, "0", "s: recovery drill", "WARNING", "never tried");
    says(&db, "0", "s: schedule", "WARNING", "nothing backs it up");
    assert_no_trash(&db, &[]);
}

#[test]
fn right_after_a_backup_the_tables_are_well() {
    let db = with_set();
    back_up(&db);
    says(&db, "0", TABLE, "OK", "last good backup is");
    says(&db, "0", "s: verification", "OK", "not verified yet");
    says(&db, "50 minutes", TABLE, "OK", "last good backup is 50 min old");
    assert!(health_at(&db, "0").iter().all(|row| row.severity != "FAILED"));
}

#[test]
fn the_worst_comes_first() {
    let db = with_set();
    let severities: Vec<String> = health_at(&db, "0").into_iter().map(|row| row.severity).collect();
    let place = |severity: &String| ["FAILED", "WARNING", "OK"].iter().position(|s| s == severity).unwrap();
    assert!(severities.iter().map(place).is_sorted(), "{severities:?}");
    assert_eq!(severities[0], "FAILED");
    assert_eq!(severities.last().unwrap(), "OK");
}

#[test]
fn a_backup_that_grows_old_warns_and_then_fails() {
    let db = with_set();
    db.run("UPDATE agent_backup.sets SET rpo = '10 days'");
    back_up(&db);
    says(&db, "26 hours", TABLE, "OK", "26 h old");
    says(&db, "27 hours", TABLE, "WARNING", "27 h old, expected every 24 h");
    says(&db, "49 hours", TABLE, "FAILED", "2 days old");
    says(&db, "27 hours", "s: verification", "WARNING", "not verified yet");
}

#[test]
fn a_damaged_newest_backup_fails_though_it_is_young() {
    let db = with_set();
    back_up(&db);
    flip_a_byte(&db);
    db.run("SELECT agent_backup.verify('latest', 'decode', 's')");
    says(&db, "0", TABLE, "FAILED", "failed verification; there is no good one");
    says(&db, "0", "s: verification", "FAILED", "failed at level");
    assert_no_trash(&db, &[]);
}

#[test]
fn a_backup_whose_file_is_gone_fails() {
    let db = with_set();
    back_up(&db);
    let file: String = db.client().query_one("SELECT backup_file FROM agent_backup.backups", &[]).unwrap().get(0);
    std::fs::remove_file(&file).unwrap();
    db.run("SELECT agent_backup.reconcile('s')");
    says(&db, "0", TABLE, "FAILED", "missing on disk");
    assert_no_trash(&db, &[]);
}

#[test]
fn a_later_backup_that_failed_warns() {
    let db = with_set();
    back_up(&db);
    db.run("ALTER TABLE \"T 1\" RENAME TO keep; CREATE TABLE \"T 1\" (id int); CREATE TABLE other (id int); SELECT agent_backup.add_table('s', 'other')");
    let setting = "SET agent_backup.lock_timeout = '100ms'";
    let mut locker = db.client();
    locker.batch_execute("BEGIN; LOCK TABLE \"T 1\" IN ACCESS EXCLUSIVE MODE").unwrap();
    db.run(&format!("{setting}; SELECT agent_backup.backup('s')"));
    locker.batch_execute("ROLLBACK").unwrap();
    says(&db, "0", TABLE, "WARNING", "the last backup failed");
    says(&db, "0", "s: table other", "OK", "last good backup");
    assert_no_trash(&db, &["could not lock table"]);
}

#[test]
fn changes_in_no_backup_beyond_the_objective_warn_until_they_are_copied() {
    let db = with_set();
    back_up(&db);
    says(&db, "65 minutes", TABLE, "OK", "");
    says(&db, "67 minutes", TABLE, "WARNING", "more than the objective of 60 min");
    db.run("SELECT agent_backup.track('T 1')");
    says(&db, "20 hours", TABLE, "OK", "each change since is captured");
}

#[test]
fn a_backup_from_the_future_is_not_believed() {
    let db = with_set();
    back_up(&db);
    says(&db, "-2 days", "clock", "WARNING", "in the future");
    says(&db, "-2 days", TABLE, "FAILED", "dated in the future");
    says(&db, "0", "clock", "OK", "");
}

#[test]
fn a_member_that_is_not_here_is_told_and_one_that_went_warns() {
    let db = with_set();
    back_up(&db);
    db.run("CREATE TABLE gone (id int); SELECT agent_backup.add_table('s', 'gone'); DROP TABLE gone");
    says(&db, "0", "s: table gone", "OK", "not in this database");
    db.run("DROP TABLE \"T 1\"");
    says(&db, "0", TABLE, "WARNING", "not in this database any more");
}

#[test]
fn drills_are_judged_by_outcome_time_and_age() {
    let db = with_set();
    back_up(&db);
    db.run("SELECT agent_backup.drill('s')");
    says(&db, "34 days", "s: recovery drill", "OK", "34 days ago");
    says(&db, "36 days", "s: recovery drill", "WARNING", "36 days ago");
    db.run("UPDATE agent_backup.drills SET within_rto = false, status = 'warning'");
    says(&db, "0", "s: recovery drill", "WARNING", "more than the objective");
    flip_a_byte(&db);
    db.run("SELECT agent_backup.drill('s')");
    says(&db, "0", "s: recovery drill", "FAILED", "damaged");
}

#[test]
fn copies_on_one_machine_are_never_well() {
    let db = with_set();
    back_up(&db);
    says(&db, "0", "s: off-site copies", "WARNING", "all copies are on this machine");
}

#[test]
fn the_maximum_age_holds_for_the_last_good_backup_too() {
    let db = with_set();
    back_up(&db);
    assert!(!health_at(&db, "0").iter().any(|row| row.subject == "s: maximum age"));
    db.run("UPDATE agent_backup.sets SET max_age = '10 days'");
    says(&db, "9 days", "s: maximum age", "OK", "9 days old");
    says(&db, "11 days", "s: maximum age", "WARNING", "none may be older than 10 days");
}

#[test]
fn sets_without_tables_and_no_set_at_all_warn() {
    let db = with_set();
    db.run("SELECT agent_backup.remove_table('s', 'T 1')");
    says(&db, "0", "s: members", "WARNING", "no tables");
    db.run("SELECT agent_backup.drop_set('s')");
    let row = about(&health_at(&db, "0"), "backup sets");
    assert_eq!((row.severity.as_str(), row.reason.as_str()), ("WARNING", "there is none"));
}

#[test]
fn capture_tells_of_gaps_triggers_and_partitions() {
    let db = with_set();
    db.run("SELECT agent_backup.track('T 1')");
    says(&db, "0", "capture of \"T 1\"", "OK", "each change");
    says(&db, "0", "log of changes", "OK", "young");
    says(&db, "25 hours", "log of changes", "WARNING", "no partition");
    db.run("SELECT agent_backup.maintain_log()");
    says(&db, "0", "log of changes", "OK", "");
    db.run("INSERT INTO agent_backup.capture_gaps (tracked_id, reason) SELECT tracked_id, 'a test' FROM agent_backup.tracked");
    says(&db, "29 days", "capture of \"T 1\"", "WARNING", "1 gap in 30 days, the last because a test");
    says(&db, "31 days", "capture of \"T 1\"", "OK", "");
    db.run("SET client_min_messages = error; ALTER TABLE \"T 1\" DISABLE TRIGGER ALL");
    says(&db, "0", "capture of \"T 1\"", "FAILED", "switched off");
    assert_no_trash(&db, &["captured no longer"]);
}

#[test]
fn an_action_mends_what_it_stands_beside() {
    let db = with_set();
    for _ in 0..2 {
        let rows = health_at(&db, "0");
        let sql = |row: &Row| {
            row.action.clone().filter(|action| action.starts_with("SELECT") && !action.contains("schedule("))
        };
        for action in rows.iter().filter_map(sql) {
            db.run(&action);
        }
    }
    says(&db, "0", TABLE, "OK", "");
    says(&db, "0", "s: verification", "OK", "");
    says(&db, "0", "s: recovery drill", "OK", "");
}
