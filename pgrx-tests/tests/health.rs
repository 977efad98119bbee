//! Health shows each thing that is expected, never says OK of one that is not (T100), and says since when and why.

use std::path::Path;

use agent_backup_suite::{Cluster, Database, Options, assert_no_trash, database, lines, refused};

/// One row of `agent_backup.health`.
#[derive(Debug, Clone)]
struct Row {
    subject: String,
    severity: String,
    has_since: bool,
    reason: String,
    action: Option<String>,
}

/// A set `s` of one table, and no other.
fn with_set() -> Database<'static> {
    let db = database();
    db.run(
        "SELECT agent_backup.drop_set('agent_sdk'); SELECT agent_backup.create_set('s'); CREATE TABLE public.\"T 1\" (id int PRIMARY KEY);
         INSERT INTO \"T 1\" SELECT generate_series(1, 50); SELECT agent_backup.add_table('s', 'T 1');",
    );
    db
}

/// Health as it is `ahead` of now, an interval that may be negative.
fn health_at(db: &Database, ahead: &str) -> Vec<Row> {
    let mut client = db.client();
    let clock = format!(
        "SELECT set_config('agent_backup.debug_clock', to_char((now() + interval '{ahead}') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), false)"
    );
    client.batch_execute(&clock).unwrap();
    let query = "SELECT subject, severity, since IS NOT NULL, reason, action FROM agent_backup.health";
    let rows = client.query(query, &[]).unwrap();
    let row = |row: &postgres::Row| Row {
        subject: row.get(0),
        severity: row.get(1),
        has_since: row.get(2),
        reason: row.get(3),
        action: row.get(4),
    };
    rows.iter().map(row).collect()
}

/// The only row about something.
#[track_caller]
fn about(rows: &[Row], subject: &str) -> Row {
    let found: Vec<&Row> = rows.iter().filter(|row| row.subject == subject).collect();
    assert_eq!(found.len(), 1, "{subject} in {rows:#?}");
    found[0].clone()
}

/// That row now, which must have this severity and say this; a bad one has a time and something to do.
#[track_caller]
fn says(db: &Database, ahead: &str, subject: &str, severity: &str, part: &str) {
    let row = about(&health_at(db, ahead), subject);
    assert_eq!(row.severity, severity, "{row:?}");
    assert!(row.reason.contains(part), "{row:?}");
    assert_eq!(row.action.is_none(), severity == "OK", "{row:?}");
    assert!(row.has_since || severity == "OK", "{row:?}");
}

const TABLE: &str = "s: table \"T 1\"";

fn back_up(db: &Database) {
    db.run("SELECT agent_backup.backup('s')");
}

fn flip_a_byte(db: &Database) {
    let query = "SELECT backup_file, (pg_read_file(manifest_file)::jsonb #>> '{entries,0,chunks,0,0}')::bigint + 30 FROM agent_backup.backups";
    let row = db.client().query_one(query, &[]).unwrap();
    let (file, offset): (String, i64) = (row.get(0), row.get(1));
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[usize::try_from(offset).unwrap()] ^= 1;
    std::fs::write(Path::new(&file), bytes).unwrap();
}

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
fn jobs_that_do_not_run_fail_with_their_age() {
    let db = with_set();
    db.run(
        "INSERT INTO agent_backup.scheduled_jobs (set_name, job, schedule, time_zone, cron_job, scheduled_at, scheduled_by)
         VALUES ('s', 'daily', '0 2 * * *', 'GMT', 'd', now(), 'me'), ('s', 'hourly', '0 * * * *', 'GMT', 'h', now(), 'me')",
    );
    says(&db, "0", "s: job daily", "OK", "not been due");
    says(&db, "3 hours", "s: job hourly", "FAILED", "never ran, and was scheduled 3 h ago");
    db.run("INSERT INTO agent_backup.job_runs (set_name, job, status, started_at, finished_at, pid, run_by) VALUES ('s', 'daily', 'success', now(), now(), 1, 'me')");
    says(&db, "0", "s: job daily", "OK", "ended well");
    says(&db, "3 days", "s: job daily", "FAILED", "overdue");
    assert!(!health_at(&db, "0").iter().any(|row| row.subject == "s: schedule"));
}

#[test]
fn a_job_that_failed_or_died_fails() {
    let db = with_set();
    db.run(
        "INSERT INTO agent_backup.scheduled_jobs (set_name, job, schedule, time_zone, cron_job, scheduled_at, scheduled_by)
         VALUES ('s', 'daily', '0 2 * * *', 'GMT', 'd', now(), 'me'), ('s', 'verify', '0 3 * * *', 'GMT', 'v', now(), 'me');
         INSERT INTO agent_backup.job_runs (set_name, job, status, started_at, finished_at, error_message, pid, run_by)
         VALUES ('s', 'daily', 'failed', now(), now(), 'the disk is full', 1, 'me'), ('s', 'verify', 'running', now(), NULL, NULL, 1, 'me');",
    );
    says(&db, "0", "s: job daily", "FAILED", "the disk is full");
    says(&db, "0", "s: job verify", "FAILED", "its session ended in the middle");
}

#[test]
fn jobs_of_another_scheduler_are_seen() {
    let db = with_set();
    db.run("INSERT INTO agent_backup.job_runs (set_name, job, status, started_at, finished_at, pid, run_by) VALUES ('s', 'daily', 'success', now(), now(), 1, 'me')");
    says(&db, "1 hour", "s: schedule", "OK", "another scheduler");
    says(&db, "3 days", "s: schedule", "WARNING", "nothing backs it up");
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
    says(&db, "0", "log of changes", "WARNING", "no partition");
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

#[test]
fn the_operator_reads_health_and_nobody_else() {
    let db = with_set();
    let role = format!("{}_watcher", db.name());
    db.run(&format!("CREATE ROLE {role} LOGIN"));
    let query = "SELECT * FROM agent_backup.health, agent_backup.backup_status, agent_backup.rpo_rto_report, agent_backup.checklist";
    assert_eq!(refused(&mut db.client_as(&role), query).code, "42501");
    assert_eq!(refused(&mut db.client_as(&role), "SELECT agent_backup.metrics()").code, "42501");
    db.run(&format!("GRANT agent_backup_operator TO {role}"));
    let mut client = db.client_as(&role);
    client.batch_execute(query).unwrap();
    client.batch_execute("SELECT agent_backup.metrics(); SELECT * FROM agent_backup.runbook(NULL, 's'); SELECT * FROM agent_backup.platform_report()").unwrap();
    drop(client);
    db.run(&format!("DROP ROLE {role}"));
    assert_no_trash(&db, &[]);
}

#[test]
fn a_standby_tells_the_same() {
    let cluster = Cluster::start(Options::default().setting("wal_level = replica"));
    let db = cluster.database();
    db.run("CREATE TABLE agent_approvals (id int PRIMARY KEY); SELECT agent_backup.backup(); SELECT agent_backup.track('agent_approvals')");
    let standby = cluster.create_standby();
    let query = "SELECT subject, severity, action FROM agent_backup.health ORDER BY subject";
    let here = lines(&mut db.client(), query);
    assert!(here.len() > 8, "{here:?}");
    assert_eq!(lines(&mut standby.client(db.name()), query), here);
    for report in ["backup_status", "rpo_rto_report", "checklist", "runbook()", "platform_report()", "metrics()"] {
        assert!(
            !lines(&mut standby.client(db.name()), &format!("SELECT * FROM agent_backup.{report}")).is_empty(),
            "{report}"
        );
    }
}

#[test]
fn the_server_below_is_part_of_it() {
    let cluster = Cluster::start(Options::default().setting("archive_mode = on").setting("archive_command = 'false'"));
    let db = cluster.database();
    says(&db, "0", "server: WAL archiving", "OK", "nothing has been archived yet");
    db.run("CREATE TABLE t (); SELECT pg_switch_wal()");
    agent_backup_suite::wait_until("archiving to fail", std::time::Duration::from_secs(60), || {
        (about(&health_at(&db, "0"), "server: WAL archiving").severity == "FAILED").then_some(())
    });
    says(&db, "0", "server: WAL archiving", "FAILED", "it fails");
    let row = about(&health_at(&db, "0"), "server: data checksums");
    assert_eq!(row.severity == "OK", row.reason == "they are on", "{row:?}");
}

/// 400 backups of eight tables, 9,000 runs of jobs and 300 of incrementals.
const A_YEAR: &str = "
    INSERT INTO agent_backup.backup_catalog (backup_id, set_name, kind, status, started_at, finished_at, tables, row_count, size_bytes, directory,
           file_name, manifest_name, manifest_sha256, system_identifier, database_name)
    SELECT 'b' || n, 's', 'full', 'complete', now() - n * interval '1 day' - interval '1 hour', now() - n * interval '1 day', 8, 8, 1, '/d', 'f' || n, 'm' || n, repeat('a', 64), '1', 'x'
      FROM generate_series(0, 399) n;
    INSERT INTO agent_backup.backup_entry
    SELECT 'b' || n, 'public', 't' || t, f, 't' || t || f, 1, 1, 1, repeat('a', 32), repeat('a', 64)
      FROM generate_series(0, 399) n, generate_series(1, 8) t, unnest('{csv,json}'::text[]) f;
    INSERT INTO agent_backup.job_runs (set_name, job, status, started_at, finished_at, pid, run_by)
    SELECT 's', CASE WHEN n % 24 = 0 THEN 'daily' ELSE 'hourly' END, 'success', now() - n * interval '1 hour', now() - n * interval '1 hour', 1, 'me' FROM generate_series(1, 9000) n;
    INSERT INTO agent_backup.incremental_runs (set_name, started_at, finished_at, tables, failed, row_count)
    SELECT 's', now() - n * interval '1 hour', now() - n * interval '1 hour', 8, 0, 1 FROM generate_series(1, 9000) n;
    ANALYZE;";

#[test]
fn a_year_of_history_is_judged_at_once() {
    let db = with_set();
    let tables: String = (1..=8)
        .map(|n| format!("CREATE TABLE t{n} (id int PRIMARY KEY); SELECT agent_backup.add_table('s', 't{n}');"))
        .collect();
    db.run(&tables);
    db.run("INSERT INTO agent_backup.scheduled_jobs (set_name, job, schedule, time_zone, cron_job, scheduled_at, scheduled_by) VALUES ('s', 'daily', '0 2 * * *', 'GMT', 'd', now(), 'me'), ('s', 'hourly', '0 * * * *', 'GMT', 'h', now(), 'me')");
    db.run(A_YEAR);
    let mut client = db.client();
    let best = |client: &mut postgres::Client, query: &str| {
        let took = (0..5).map(|_| {
            let begun = std::time::Instant::now();
            client.batch_execute(query).unwrap();
            begun.elapsed()
        });
        took.min().unwrap()
    };
    for (query, limit) in [
        ("health", 100),
        ("checklist", 100),
        ("rpo_rto_report", 200),
        ("backup_status", 200),
        ("metrics()", 400),
        ("runbook(NULL, 's')", 400),
    ] {
        let took = best(&mut client, &format!("SELECT * FROM agent_backup.{query}"));
        eprintln!("{query}: {took:?}");
        assert!(took.as_millis() < limit, "{query} took {took:?}");
    }
    says(&db, "0", "s: table t8", "OK", "last good backup is 60 min old");
}
