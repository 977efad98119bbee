//! Health of what surrounds the tables: jobs, the disk, the server; who reads it, where, and how fast.

mod healthy;

use agent_backup_suite::{Cluster, Options, assert_no_trash, lines, refused};
use healthy::{about, back_up, health_at, says, with_set};

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

#[test]
fn the_disk_is_judged_by_the_backups_that_it_must_take() {
    let db = with_set();
    let of = |subject: &str| about(&health_at(&db, "0"), subject);
    assert!(of("disk of the backups").reason.contains("no backup yet to judge by"));
    back_up(&db);
    assert_eq!(of("disk of the backups").severity, "OK");
    assert_eq!(of("directory of the backups").severity, "WARNING", "the suite's directories share one disk");
    let free = "UPDATE agent_backup.backup_catalog SET size_bytes = (SELECT free_bytes FROM agent_backup.disk_space())";
    db.run(&format!("{free} / 2"));
    assert_eq!(of("disk of the backups").severity, "WARNING");
    db.run(free);
    let full = of("disk of the backups");
    assert!(full.severity == "FAILED" && full.action.unwrap().contains("prune('s')"));
    db.run(&format!("ALTER DATABASE {} SET agent_backup.directory_role = ''", db.name()));
    let role = format!("{}_reader", db.name());
    db.run(&format!("CREATE ROLE {role} LOGIN; GRANT agent_backup_operator TO {role}"));
    let mut client = db.client_as(&role);
    let row =
        lines(&mut client, "SELECT severity, reason FROM agent_backup.health WHERE subject = 'disk of the backups'");
    assert!(row[0].starts_with("WARNING|it cannot be looked at: "), "{row:?}");
    drop(client);
    db.run(&format!("DROP ROLE {role}"));
    assert_no_trash(&db, &[]);
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
