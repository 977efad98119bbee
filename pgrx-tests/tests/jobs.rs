//! `run_job`: its row is committed before its error is raised, and whatever ends it, the next one runs.

use std::time::Duration;

use agent_backup_suite::{
    Cluster, Database, Options, Refusal, Set, Signal, assert_backups_whole, assert_no_trash, begun, database,
    fails_with, kill_backend, lines, one, refused, wait_for_pause, wait_for_recovery, wait_until,
};
use postgres::Client;
use postgres::fallible_iterator::FallibleIterator;

const RUNS: &str = "SELECT job, set_name, status, error_code FROM agent_backup.job_runs ORDER BY run_id";

fn with_set(tables: usize) -> Database<'static> {
    let db = database();
    Set::create(&db, tables, 100);
    db
}

fn run(client: &mut Client, job: &str) -> Result<(), postgres::Error> {
    client.batch_execute(&format!("CALL agent_backup.run_job('{job}', 's')"))
}

/// The newest run: its status, and what it says.
fn last(db: &Database) -> (String, String) {
    let query =
        "SELECT status, coalesce(error_message, summary) FROM agent_backup.job_runs ORDER BY run_id DESC LIMIT 1";
    let row = db.client().query_one(query, &[]).unwrap();
    (row.get(0), row.get(1))
}

/// What a listener has heard by now, as JSON.
fn heard(listener: &mut Client) -> Vec<serde_json::Value> {
    let mut heard = Vec::new();
    let mut notifications = listener.notifications();
    let mut coming = notifications.timeout_iter(Duration::from_millis(500));
    while let Some(notification) = coming.next().unwrap() {
        assert_eq!(notification.channel(), "agent_backup");
        heard.push(serde_json::from_str(notification.payload()).unwrap());
    }
    heard
}

#[test]
fn each_job_does_its_work_and_says_so_in_one_line() {
    let db = with_set(2);
    let mut client = db.client();
    for (job, kind, told) in [
        ("daily", "full", "2 tables, 200 rows, "),
        ("hourly", "full", "changes of 2 tables, "),
        ("verify", "full", "2 tables verified"),
        ("weekly", "archive", "2 tables, 200 rows, "),
        ("monthly", "archive", "restored 2 tables, 200 rows in "),
        ("prune", "archive", "0 backups and 0 incrementals removed; 0 days of the log put away"),
    ] {
        run(&mut client, job).unwrap_or_else(|error| panic!("{job}: {error:?}"));
        let (status, said) = last(&db);
        assert!(status == "success" && said.starts_with(told), "{job}: {status}: {said}");
        let newest: String =
            one(&mut client, "SELECT kind FROM agent_backup.backups ORDER BY started_at DESC, kind LIMIT 1");
        assert!(newest == kind || newest == "archive", "{job}: {newest}");
    }
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM agent_backup.job_runs WHERE status = 'success'"), 6);
    drop(client);
    assert_backups_whole(&db);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_part_that_fails_fails_the_job_by_name_and_the_rest_stays() {
    let db = with_set(2);
    db.run("CREATE ROLE jobs_nightly LOGIN; GRANT agent_backup_operator TO jobs_nightly; GRANT SELECT ON t1 TO jobs_nightly");
    let refusal = refused(&mut db.client_as("jobs_nightly"), "CALL agent_backup.run_job('daily', 's')");
    assert_eq!(refusal.code, "P0001", "{refusal:?}");
    assert_eq!(refusal.message, "1 of 2 tables failed: t2 (permission denied for table \"t2\")");
    assert!(refusal.detail.contains("job \"daily\" of backup set \"s\""), "{refusal:?}");
    assert_eq!(lines(&mut db.client(), RUNS), ["daily|s|failed|"]);
    let kept = "SELECT status, tables, row_count FROM agent_backup.backups";
    assert_eq!(lines(&mut db.client(), kept), ["incomplete|1|100"]);
    assert_eq!(
        lines(&mut db.client(), "SELECT run_by, summary ~ '^1 table, 100 rows, ' FROM agent_backup.job_runs"),
        ["jobs_nightly|t"]
    );
    assert_no_trash(&db, &["permission denied"]);
    db.run("DROP OWNED BY jobs_nightly; DROP ROLE jobs_nightly");
}

#[test]
fn an_absent_member_is_no_failure_and_a_set_of_absent_ones_is() {
    let db = with_set(2);
    db.run("DROP TABLE t1");
    run(&mut db.client(), "daily").unwrap();
    db.run("DROP TABLE t2");
    for job in ["daily", "hourly", "weekly"] {
        let said = fails_with(run(&mut db.client(), job), "P0001");
        assert!(said.contains("no table of backup set \"s\" exists here"), "{said}");
    }
    assert_eq!(last(&db).0, "failed");
    assert_no_trash(&db, &[]);
}

#[test]
fn a_damaged_backup_fails_the_verification_and_a_slow_drill_the_drill() {
    let db = with_set(1);
    run(&mut db.client(), "daily").unwrap();
    db.run("UPDATE agent_backup.sets SET rto = '1 microsecond' WHERE set_name = 's'");
    let said = fails_with(run(&mut db.client(), "monthly"), "P0001");
    assert!(said.contains("longer than the RTO"), "{said}");
    let file: String = one(&mut db.client(), "SELECT backup_file FROM agent_backup.backups");
    std::fs::write(&file, b"nothing").unwrap();
    let said = fails_with(run(&mut db.client(), "verify"), "P0001");
    assert!(said.contains("1 of 1 table failed: t1 ("), "{said}");
    assert_eq!(
        one::<i64>(
            &mut db.client(),
            "SELECT count(*) FROM public.backup_verification_log WHERE verification_status = 'failed'"
        ),
        1
    );
    assert_no_trash(&db, &[]);
}

#[test]
fn an_error_is_written_down_with_its_code_and_then_raised() {
    let db = with_set(1);
    let mut client = db.client();
    client.batch_execute("SET agent_backup.debug_failpoint = 'publish=error'").unwrap();
    let said = fails_with(run(&mut client, "daily"), "XX000");
    assert!(said.contains("was made to fail"), "{said}");
    assert_eq!(lines(&mut client, RUNS), ["daily|s|failed|XX000"]);
    client.batch_execute("RESET agent_backup.debug_failpoint").unwrap();
    run(&mut client, "daily").unwrap();
    assert_eq!(lines(&mut client, RUNS), ["daily|s|failed|XX000", "daily|s|success|"]);
    drop(client);
    assert_no_trash(&db, &["was made to fail"]);
}

#[test]
fn a_job_inside_a_transaction_is_refused_with_what_to_do() {
    let db = with_set(1);
    db.run(
        "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CALL agent_backup.run_job('daily', 's'); END $$",
    );
    for statements in [
        "BEGIN; CALL agent_backup.run_job('daily', 's')",
        "CALL agent_backup.run_job('daily', 's'); SELECT 1",
        "SELECT f()",
        "SELECT agent_backup.begin_job('daily', 's')",
    ] {
        let refusal = refused(&mut db.client(), statements);
        assert_eq!(
            (refusal.code.as_str(), refusal.message.as_str()),
            ("25001", "a job cannot run inside a transaction"),
            "{statements}"
        );
        assert!(refusal.hint.contains("outside BEGIN"), "{refusal:?}");
    }
    assert_eq!(lines(&mut db.client(), RUNS), Vec::<String>::new());
    db.run("DO $$ BEGIN CALL agent_backup.run_job('daily', 's'); END $$");
    assert_eq!(lines(&mut db.client(), RUNS), ["daily|s|success|"]);
    assert_no_trash(&db, &[]);
}

#[test]
fn what_is_unknown_or_not_allowed_is_told() {
    let db = with_set(1);
    let Refusal { code, message, hint, .. } = refused(&mut db.client(), "CALL agent_backup.run_job('dayly', 's')");
    assert_eq!(
        (code.as_str(), message.as_str(), hint.as_str()),
        ("42704", "job \"dayly\" does not exist", "Did you mean daily?")
    );
    let Refusal { hint, .. } = refused(&mut db.client(), "CALL agent_backup.run_job('everything', 's')");
    assert!(hint.contains("hourly") && hint.contains("monthly"), "{hint}");
    assert_eq!(refused(&mut db.client(), "CALL agent_backup.run_job(NULL, 's')").code, "22004");
    db.run("CREATE ROLE jobs_nobody LOGIN");
    db.let_call("jobs_nobody");
    let Refusal { code, hint, .. } =
        refused(&mut db.client_as("jobs_nobody"), "CALL agent_backup.run_job('daily', 's')");
    assert!(code == "42501" && hint.contains("GRANT"), "{code} {hint}");
    assert_eq!(
        refused(&mut db.client_as("jobs_nobody"), "SELECT agent_backup.end_job(1, '', NULL, NULL)").code,
        "42501"
    );
    assert_eq!(lines(&mut db.client(), RUNS), Vec::<String>::new());
    db.run("DROP OWNED BY jobs_nobody; DROP ROLE jobs_nobody");
    assert_no_trash(&db, &[]);
}

#[test]
fn a_set_that_is_gone_fails_in_the_log_too() {
    let db = with_set(1);
    let Refusal { code, message, hint, .. } = refused(&mut db.client(), "CALL agent_backup.run_job('daily', 'ss')");
    assert_eq!(
        (code.as_str(), message.as_str(), hint.as_str()),
        ("42704", "backup set \"ss\" does not exist", "Did you mean s?")
    );
    let Refusal { code, message, .. } = refused(&mut db.client(), "CALL agent_backup.run_job('offsite', 's')");
    assert_eq!((code.as_str(), message.as_str()), ("55000", "no off-site place is configured for backup set \"s\""));
    assert_eq!(lines(&mut db.client(), RUNS), ["daily|ss|failed|42704", "offsite|s|failed|55000"]);
    assert_no_trash(&db, &[]);
}

/// A job that stands still in another session until it is sent a signal.
fn paused(db: &Database) -> (i32, std::thread::JoinHandle<(Client, Result<(), postgres::Error>)>) {
    let mut client = db.client();
    client.batch_execute("SET agent_backup.debug_failpoint = 'snapshot=pause'").unwrap();
    let (pid, thread) = begun(client, "CALL agent_backup.run_job('daily', 's')");
    wait_for_pause(db, pid, "snapshot");
    (pid, thread)
}

#[test]
fn the_same_job_of_a_set_does_not_run_twice_and_a_cancel_makes_way() {
    let db = with_set(1);
    let (pid, thread) = paused(&db);
    assert_eq!(lines(&mut db.client(), RUNS), ["daily|s|running|"]);
    let Refusal { code, message, hint, .. } = refused(&mut db.client(), "CALL agent_backup.run_job('daily', 's')");
    assert_eq!((code.as_str(), message.as_str()), ("55P03", "job \"daily\" of backup set \"s\" is running already"));
    assert!(hint.contains(&pid.to_string()), "{hint}");
    run(&mut db.client(), "hourly").unwrap();
    kill_backend(pid, Signal::SIGINT);
    let (mut client, outcome) = thread.join().unwrap();
    fails_with(outcome, "57014");
    assert_eq!(lines(&mut client, RUNS), ["daily|s|failed|57014", "daily|s|failed|55P03", "hourly|s|success|"]);
    // The session that was cancelled lives on and keeps nobody out.
    run(&mut db.client(), "daily").unwrap();
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_timeout_ends_a_job_as_a_cancel_does() {
    let db = with_set(1);
    let mut client = db.client();
    client
        .batch_execute("SET agent_backup.debug_failpoint = 'snapshot=pause'; SET statement_timeout = '300ms'")
        .unwrap();
    let said = fails_with(run(&mut client, "daily"), "57014");
    assert!(said.contains("statement timeout"), "{said}");
    assert_eq!(lines(&mut client, RUNS), ["daily|s|failed|57014"]);
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_session_that_was_terminated_is_found_dead_by_the_next_run() {
    let db = with_set(1);
    let (pid, thread) = paused(&db);
    kill_backend(pid, Signal::SIGTERM);
    assert!(thread.join().unwrap().1.is_err());
    wait_until("the session to end", Duration::from_secs(5), || {
        lines(&mut db.client(), &format!("SELECT 1 FROM pg_stat_activity WHERE pid = {pid}")).is_empty().then_some(())
    });
    assert_eq!(lines(&mut db.client(), RUNS), ["daily|s|running|"]);
    run(&mut db.client(), "daily").unwrap();
    let told = "SELECT status, error_message FROM agent_backup.job_runs ORDER BY run_id";
    assert_eq!(lines(&mut db.client(), told), ["failed|its session ended before it did", "success|"]);
    assert_no_trash(&db, &["terminating connection due to administrator command"]);
}

#[test]
fn a_killed_server_process_costs_its_run_and_not_the_next_one() {
    let cluster = Cluster::start(Options::default());
    let db = cluster.database();
    Set::create(&db, 1, 100);
    let (pid, thread) = paused(&db);
    kill_backend(pid, Signal::SIGKILL);
    assert!(thread.join().unwrap().1.is_err());
    wait_for_recovery(&cluster, db.name(), pid);
    run(&mut db.client(), "daily").unwrap();
    assert_eq!(lines(&mut db.client(), RUNS), ["daily|s|failed|", "daily|s|success|"]);
    assert_backups_whole(&db);
    assert_no_trash(
        &db,
        &["terminated by signal 9", "terminating", "the database system is", "all server processes terminated"],
    );
}

#[test]
fn a_running_row_of_a_session_that_does_nothing_keeps_nobody_out() {
    let db = with_set(1);
    let mut idle = db.client();
    let pid = db.cluster().backend_pid(&mut idle);
    db.run(&format!(
        "INSERT INTO agent_backup.job_runs (set_name, job, status, started_at, pid, run_by, session_start)
         SELECT 's', 'daily', 'running', now(), pid, 'postgres', backend_start FROM pg_stat_activity WHERE pid = {pid}"
    ));
    run(&mut db.client(), "daily").unwrap();
    assert_eq!(lines(&mut idle, RUNS), ["daily|s|failed|", "daily|s|success|"]);
    drop(idle);
    assert_no_trash(&db, &[]);
}

#[test]
fn who_listens_hears_of_success_and_of_failure() {
    let db = with_set(1);
    let mut listener = db.client();
    listener.batch_execute("LISTEN agent_backup").unwrap();
    run(&mut db.client(), "daily").unwrap();
    refused(&mut db.client(), "CALL agent_backup.run_job('daily', 'gone')");
    let heard = heard(&mut listener);
    assert_eq!(heard.len(), 2, "{heard:?}");
    let keys: Vec<&String> = heard[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["database", "event", "finished_at", "job", "message", "run_id", "set_name", "started_at"]);
    assert_eq!(
        (&heard[0]["event"], &heard[0]["set_name"], &heard[0]["run_id"]),
        (&"finished".into(), &"s".into(), &1.into())
    );
    assert!(heard[0]["message"].as_str().unwrap().starts_with("1 table, 100 rows, "), "{heard:?}");
    assert_eq!(heard[0]["database"], db.name());
    assert_eq!(
        (&heard[1]["event"], &heard[1]["message"]),
        (&"failed".into(), &"backup set \"gone\" does not exist".into())
    );
    drop(listener);
    assert_no_trash(&db, &[]);
}

/// A row as `schedule` writes it, so that any server can have one.
const SCHEDULED: &str = "INSERT INTO agent_backup.scheduled_jobs VALUES ('s', 'weekly', '30 2 * * *', 'Europe/Berlin', 'x', '2026-03-01T00:00:00Z', 'postgres')";

#[test]
fn what_is_overdue_is_told_once_for_each_time() {
    let db = with_set(1);
    db.run(SCHEDULED);
    let mut listener = db.client();
    listener.batch_execute("LISTEN agent_backup").unwrap();
    let mut told = Vec::new();
    for clock in ["2026-03-01T01:39:59Z", "2026-03-01T01:40:00Z", "2026-03-01T12:00:00Z", "2026-03-02T02:00:00Z"] {
        let mut client = db.client();
        client.batch_execute(&format!("SET agent_backup.debug_clock = '{clock}'")).unwrap();
        run(&mut client, "hourly").unwrap();
        let overdue = heard(&mut listener).into_iter().filter(|event| event["event"] == "overdue");
        told.push(overdue.map(|event| event["started_at"].as_str().unwrap().to_owned()).collect::<Vec<_>>());
    }
    assert_eq!(
        told,
        [vec![], vec!["2026-03-01T01:30:00Z".to_owned()], vec![], vec!["2026-03-02T01:30:00Z".to_owned()]]
    );
    drop(listener);
    assert_no_trash(&db, &[]);
}

#[test]
fn schedules_tell_the_next_run_the_last_one_and_what_is_overdue() {
    let db = with_set(1);
    db.run(SCHEDULED);
    let at = |clock: &str| {
        let mut client = db.client();
        client.batch_execute(&format!("SET agent_backup.debug_clock = '{clock}'; SET TimeZone = 'UTC'")).unwrap();
        lines(&mut client, "SELECT next_run, last_run, last_status, overdue, active FROM agent_backup.schedules")
            .remove(0)
    };
    assert_eq!(at("2026-03-01T00:00:00Z"), "2026-03-01 01:30:00+00|||f|");
    assert_eq!(at("2026-03-01T01:45:00Z"), "2026-03-02 01:30:00+00|||t|");
    let mut client = db.client();
    client.batch_execute("SET agent_backup.debug_clock = '2026-03-01T01:46:00Z'").unwrap();
    run(&mut client, "weekly").unwrap();
    assert_eq!(at("2026-03-02T01:35:00Z"), "2026-03-03 01:30:00+00|2026-03-01 01:46:00+00|success|f|");
    assert_eq!(at("2026-03-02T01:41:00Z"), "2026-03-03 01:30:00+00|2026-03-01 01:46:00+00|success|t|");
    // Half past two is missing on the 29th; summer time holds from then on.
    assert_eq!(at("2026-03-28T12:00:00Z"), "2026-03-29 01:30:00+00|2026-03-01 01:46:00+00|success|t|");
    assert_eq!(at("2026-03-29T12:00:00Z"), "2026-03-30 00:30:00+00|2026-03-01 01:46:00+00|success|t|");
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_set_with_any_name_has_jobs() {
    let db = database();
    db.run(
        "CREATE TABLE t AS SELECT 1 AS n; SELECT agent_backup.create_set('it''s \"q\" $$ %s');
            SELECT agent_backup.add_table('it''s \"q\" $$ %s', 't')",
    );
    let output = db.psql("CALL agent_backup.run_job('daily', 'it''s \"q\" $$ %s')");
    assert!(output.status.success(), "{output:?}");
    let output = db.psql("CALL agent_backup.run_job('daily', 'none')");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_no_trash(&db, &[]);
}
