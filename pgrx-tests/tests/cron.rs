//! Jobs that pg_cron runs by the minute (T34), against a real one; each test waits for a minute or two of its own.

use std::time::Duration;

use agent_backup_suite::{
    Database, Set, Signal, assert_backups_whole, assert_no_trash, kill_backend, lines, one, refused, wait_for_pause,
};
use postgres::Client;
use postgres::fallible_iterator::FallibleIterator;
use scheduled::{Cron, cron_or_skip};

mod scheduled;

const EVERY_MINUTE: &str =
    "daily => '* * * * *', hourly => NULL, verify => NULL, weekly => NULL, monthly => NULL, prune => NULL";

/// The set `s`, and the set `gone` whose only table is dropped.
fn with_sets(db: &Database) {
    Set::create(db, 2, 100);
    db.run("CREATE TABLE lost (n int); SELECT agent_backup.create_set('gone'); SELECT agent_backup.add_table('gone', 'lost'); DROP TABLE lost");
}

/// The first event of a kind that a listener hears, of a set.
fn hear(listener: &mut Client, event: &str, set: &str) -> serde_json::Value {
    let mut notifications = listener.notifications();
    let mut coming = notifications.timeout_iter(Duration::from_secs(130));
    while let Some(notification) = coming.next().unwrap() {
        let payload: serde_json::Value = serde_json::from_str(notification.payload()).unwrap();
        if payload["event"] == event && payload["set_name"] == set {
            return payload;
        }
    }
    panic!("no {event} of {set} within two minutes");
}

/// A job runs in the next minute, another fails in it, and pg_cron, the log and a listener agree on both.
fn runs_and_fails_by_the_minute(db: &Database) {
    with_sets(db);
    let mut client = db.client();
    let mut listener = db.client();
    listener.batch_execute("LISTEN agent_backup").unwrap();
    for set in ["s", "gone"] {
        client.batch_execute(&format!("SELECT agent_backup.schedule('{set}', {EVERY_MINUTE})")).unwrap();
    }
    let failed = hear(&mut listener, "failed", "gone");
    assert_eq!(failed["message"], "no table of backup set \"gone\" exists here");
    let details = "SELECT DISTINCT status FROM cron.job_run_details d JOIN cron.job USING (jobid) WHERE jobname ~ '/SET/' AND d.end_time IS NOT NULL";
    let runs = "SELECT DISTINCT status FROM agent_backup.job_runs WHERE set_name = 'SET' AND finished_at IS NOT NULL";
    for (set, by_cron, by_us) in [("s", "succeeded", "success"), ("gone", "failed", "failed")] {
        Cron::wait("pg_cron to note the end", || {
            (lines(&mut client, &details.replace("SET", set)) == [by_cron]).then_some(())
        });
        assert_eq!(lines(&mut client, &runs.replace("SET", set)), [by_us]);
    }
    let said = "SELECT count(*) FROM cron.job_run_details WHERE return_message LIKE '%no table of backup set \"gone\" exists here%'";
    assert!(one::<i64>(&mut client, said) > 0);
    let view = "SELECT set_name, last_status, overdue, active FROM agent_backup.schedules ORDER BY 1";
    assert_eq!(lines(&mut client, view), ["gone|failed|f|t", "s|success|f|t"]);
    assert!(one::<bool>(
        &mut client,
        "SELECT bool_and(next_run BETWEEN now() AND now() + '1 minute') FROM agent_backup.schedules"
    ));
    client.batch_execute("SELECT agent_backup.unschedule('s'), agent_backup.unschedule('gone')").unwrap();
    assert_eq!(
        lines(&mut client, "SELECT status, tables FROM agent_backup.backups WHERE set_name = 's' LIMIT 1"),
        ["complete|2"]
    );
    drop((client, listener));
    assert_backups_whole(db);
}

#[test]
fn jobs_run_in_background_workers_with_the_seeds_own_beside_them() {
    let Some(cron) = cron_or_skip() else { return };
    let db = &cron.here();
    db.run(
        "CREATE TABLE agent_approvals (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), note text, created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now());
         INSERT INTO agent_approvals (note) VALUES ('one'), ('two')",
    );
    // As the seed has them, but for the minute that each waits for.
    db.run(
        "SELECT cron.schedule(
           'agent-daily-backup',
           '0 2 * * *',
           $$
           INSERT INTO agent_training_archive (original_table, original_id, data, archive_reason)
           SELECT
             'agent_approvals_daily_backup',
             id::TEXT,
             row_to_json(agent_approvals.*)::jsonb,
             'automated_daily_backup'
           FROM agent_approvals
           WHERE created_at > CURRENT_DATE - INTERVAL '7 days';
           $$
         );
         SELECT cron.schedule(
           'agent-hourly-incremental',
           '0 * * * *',
           $$SELECT backup_agent_incremental(NOW() - INTERVAL '1 hour')$$
         );
         UPDATE cron.job SET schedule = '* * * * *'",
    );
    runs_and_fails_by_the_minute(db);
    let seeds = "SELECT DISTINCT jobname, d.status FROM cron.job_run_details d JOIN cron.job USING (jobid)
                  WHERE jobname ~ '^agent-' AND end_time IS NOT NULL ORDER BY 1";
    Cron::wait("the seed's jobs to end", || {
        (lines(&mut db.client(), seeds) == ["agent-daily-backup|succeeded", "agent-hourly-incremental|succeeded"])
            .then_some(())
    });
    let archived = "SELECT DISTINCT archive_reason FROM agent_training_archive WHERE original_id IN (SELECT id::text FROM agent_approvals) ORDER BY 1";
    assert_eq!(lines(&mut db.client(), archived), ["automated_daily_backup", "incremental_backup"]);
    assert_no_trash(db, &[]);
}

#[test]
fn jobs_run_in_sessions_by_the_socket() {
    let Some(cron) = cron_or_skip() else { return };
    let db = &cron.here_by_socket();
    runs_and_fails_by_the_minute(db);
    assert_no_trash(db, &[]);
}

#[test]
fn a_long_job_of_another_database_is_not_run_twice() {
    let Some(cron) = cron_or_skip() else { return };
    // In background workers pg_cron 1.4 waits for each job before it looks at the next.
    let (here, there) = (&cron.here_by_socket(), &cron.elsewhere());
    Set::create(there, 1, 100);
    there.run(&format!("ALTER DATABASE {} SET agent_backup.debug_failpoint = 'snapshot=pause'", there.name()));
    here.run("SELECT cron.schedule('tick', '* * * * *', 'SELECT 1')");
    there.run(&format!("SELECT agent_backup.schedule('s', {EVERY_MINUTE})"));
    let running = "SELECT pid FROM agent_backup.job_runs WHERE status = 'running'";
    let pid = Cron::wait("the job to run", || {
        lines(&mut there.client(), running).first().map(|pid| pid.parse::<i32>().unwrap())
    });
    wait_for_pause(there, pid, "snapshot");
    assert_eq!(refused(&mut there.client(), "CALL agent_backup.run_job('daily', 's')").code, "55P03");
    let ticks = "SELECT count(*) FROM cron.job_run_details d JOIN cron.job USING (jobid) WHERE jobname = 'tick' AND d.status = 'succeeded'";
    let before: i64 = one(&mut here.client(), ticks);
    Cron::wait("pg_cron's next minute", || (one::<i64>(&mut here.client(), ticks) > before).then_some(()));
    assert_eq!(lines(&mut there.client(), running), [pid.to_string()]);
    there.run(&format!("ALTER DATABASE {} RESET agent_backup.debug_failpoint", there.name()));
    kill_backend(pid, Signal::SIGINT);
    // pg_cron queued the run of that minute, and begins it now.
    let ended = "SELECT status, error_code FROM agent_backup.job_runs ORDER BY run_id";
    Cron::wait("the next run", || {
        (lines(&mut there.client(), ended)[..] == ["failed|57014", "failed|55P03", "success|"]).then_some(())
    });
    there.run("SELECT agent_backup.unschedule('s')");
    assert_no_trash(there, &[]);
}

#[test]
fn the_jobs_of_a_dropped_role_show_and_can_be_taken_out_of_the_way() {
    let Some(cron) = cron_or_skip() else { return };
    let db = &cron.here();
    Set::create(db, 1, 100);
    db.run("CREATE ROLE cron_gone LOGIN; GRANT agent_backup_operator TO cron_gone; GRANT USAGE ON SCHEMA cron TO cron_gone;
            SELECT agent_backup.create_set('of_role')");
    let schedule = |set: &str| format!("SELECT agent_backup.schedule('{set}', {EVERY_MINUTE})");
    db.client_as("cron_gone").batch_execute(&schedule("of_role")).unwrap();
    db.run(&schedule("s"));
    db.run("DROP OWNED BY cron_gone; DROP ROLE cron_gone");
    let view = "SELECT set_name, active FROM agent_backup.schedules ORDER BY 1";
    assert_eq!(lines(&mut db.client(), view), ["of_role|f", "s|t"]);
    let mut later = db.client();
    later
        .batch_execute("SELECT set_config('agent_backup.debug_clock', to_char((now() + '1 hour') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), false)")
        .unwrap();
    assert_eq!(lines(&mut later, "SELECT DISTINCT overdue FROM agent_backup.schedules"), ["t"]);
    drop(later);
    // With such a job pg_cron 1.4 ends as soon as it has begun, and no job of any role runs.
    db.run("SELECT agent_backup.unschedule('of_role')");
    Cron::wait("the other job to run", || {
        (lines(&mut db.client(), "SELECT DISTINCT status FROM agent_backup.job_runs")[..] == ["success"]).then_some(())
    });
    db.run("SELECT agent_backup.unschedule('s')");
    assert_no_trash(db, &["cron_gone"]);
}
