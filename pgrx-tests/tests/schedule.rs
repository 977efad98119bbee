//! `schedule`, `unschedule` and `crontab`: what is checked before anything is changed, and what pg_cron then has. How
//! jobs run by the minute is in cron.rs.

use std::path::Path;
use std::process::{Command, Output};

use agent_backup_suite::{
    Database, Refusal, Set, assert_no_trash, backup, begun, database, kill_backend, lines, one, refused, server_major,
    wait_for_pause,
};
use scheduled::{Cron, cron_or_skip};

mod scheduled;

const JOBS: &str = "SELECT jobname, schedule, command, active, username FROM cron.job ORDER BY jobid";

/// Job and action of each row.
fn schedule(client: &mut postgres::Client, arguments: &str) -> Vec<String> {
    lines(client, &format!("SELECT job || ' ' || action FROM agent_backup.schedule({arguments})"))
}

fn told_without_cron(db: &Database) -> Refusal {
    refused(&mut db.client(), "SELECT agent_backup.schedule()")
}

#[test]
fn without_pg_cron_it_is_said_how_to_get_it() {
    let db = database();
    let there: bool =
        one(&mut db.client(), "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_cron')");
    let Refusal { code, message, hint, .. } = told_without_cron(&db);
    assert_eq!(code, "55000");
    if there {
        assert_eq!(message, "jobs cannot be scheduled: pg_cron is installed but not loaded");
    } else {
        assert_eq!(message, "jobs cannot be scheduled: pg_cron is not installed");
        assert!(hint.contains(&format!("postgresql-{}-cron", server_major())), "{hint}");
    }
    for part in ["shared_preload_libraries", "CREATE EXTENSION pg_cron", "agent_backup.crontab()"] {
        assert!(hint.contains(part), "{hint}");
    }
    assert_no_trash(&db, &[]);
}

#[test]
fn jobs_go_to_pg_cron_and_come_back() {
    let Some(cron) = cron_or_skip() else { return };
    let db = &cron.here();
    Set::create(db, 1, 10);
    let mut client = db.client();
    assert_eq!(
        schedule(&mut client, "'s', monthly => NULL"),
        ["daily scheduled", "hourly scheduled", "verify scheduled", "weekly scheduled", "prune scheduled"]
    );
    let name = db.name();
    let jobs = lines(&mut client, JOBS);
    assert_eq!(
        jobs[0],
        format!("agent_backup/{name}/s/daily|0 2 * * *|CALL agent_backup.run_job('daily', 's')|t|postgres")
    );
    assert_eq!(jobs.len(), 5);
    let changes = "'s', daily => '30 1 * * *', hourly => NULL, weekly => '0 3 * * 0', monthly => '0 5 1 * *'";
    assert_eq!(
        schedule(&mut client, changes),
        [
            "daily changed",
            "hourly removed",
            "verify unchanged",
            "weekly unchanged",
            "monthly scheduled",
            "prune unchanged"
        ]
    );
    let view =
        "SELECT job, schedule, time_zone, active, overdue, cron_job FROM agent_backup.schedules WHERE job = 'daily'";
    assert_eq!(lines(&mut client, view), [format!("daily|30 1 * * *|GMT|t|f|agent_backup/{name}/s/daily")]);
    client
        .batch_execute(
            "UPDATE cron.job SET active = false WHERE jobname ~ 'daily'; DELETE FROM cron.job WHERE jobname ~ 'verify'",
        )
        .unwrap();
    let active = "SELECT job, active FROM agent_backup.schedules ORDER BY job";
    assert_eq!(lines(&mut client, active), ["daily|f", "monthly|t", "prune|t", "verify|f", "weekly|t"]);
    assert_eq!(schedule(&mut client, changes)[..2], ["daily changed", "verify changed"]);
    assert_eq!(lines(&mut client, active)[0], "daily|t");
    assert_eq!(lines(&mut client, "SELECT job, action FROM agent_backup.unschedule('s', 'daily')"), ["daily|removed"]);
    assert_eq!(lines(&mut client, "SELECT count(*) FROM agent_backup.unschedule('s')"), ["4"]);
    assert_eq!(lines(&mut client, JOBS), Vec::<String>::new());
    assert_eq!(lines(&mut client, "SELECT count(*) FROM agent_backup.schedules"), ["0"]);
    drop(client);
    assert_no_trash(db, &[]);
}

#[test]
fn nothing_is_changed_before_all_is_checked() {
    let Some(cron) = cron_or_skip() else { return };
    let db = &cron.here();
    Set::create(db, 1, 10);
    for (arguments, code, message) in [
        ("'none'", "42704", "backup set \"none\" does not exist"),
        ("'s', prune => '0 25 * * *'", "22023", "invalid prune: \"0 25 * * *\": "),
        ("'s', hourly => '30 seconds'", "22023", "invalid hourly: \"30 seconds\" has not the five fields"),
        ("'s', monthly => '0 0 $ * *'", "22023", "invalid monthly: \"$\" is not a day of month"),
        ("'s', offsite => '0 6 * * *'", "55000", "no off-site place is configured for backup set \"s\""),
        ("NULL", "22004", "argument \"set_name\" must not be null"),
    ] {
        let refusal = refused(&mut db.client(), &format!("SELECT agent_backup.schedule({arguments})"));
        assert!(refusal.code == code && refusal.message.starts_with(message), "{arguments}: {refusal:?}");
        assert_eq!(lines(&mut db.client(), JOBS), Vec::<String>::new(), "{arguments}");
    }
    assert_eq!(refused(&mut db.client(), "SELECT agent_backup.unschedule('s', 'dayly')").hint, "Did you mean daily?");
    assert_no_trash(db, &[]);
}

#[test]
fn who_may_not_use_pg_cron_is_told_the_grant_and_jobs_have_one_owner() {
    let Some(cron) = cron_or_skip() else { return };
    let db = &cron.here();
    Set::create(db, 1, 10);
    db.run("CREATE ROLE sched_a LOGIN; CREATE ROLE sched_b LOGIN; GRANT agent_backup_operator TO sched_a, sched_b");
    let Refusal { code, hint, .. } = refused(&mut db.client_as("sched_a"), "SELECT agent_backup.schedule('s')");
    assert_eq!(
        (code.as_str(), hint),
        (
            "42501",
            format!("Ask a superuser to run in database \"{}\": GRANT USAGE ON SCHEMA cron TO sched_a;", db.name())
        )
    );
    db.run("GRANT USAGE ON SCHEMA cron TO sched_a, sched_b");
    assert_eq!(schedule(&mut db.client_as("sched_a"), "'s'").len(), 6);
    let Refusal { code, message, .. } = refused(&mut db.client_as("sched_b"), "SELECT agent_backup.schedule('s')");
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("42501", "jobs of backup set \"s\" were scheduled by role \"sched_a\"")
    );
    // A superuser takes them over: pg_cron must not have both.
    assert_eq!(schedule(&mut db.client(), "'s'")[0], "daily changed");
    assert_eq!(lines(&mut db.client(), "SELECT count(*), min(username) = max(username) FROM cron.job"), ["6|t"]);
    db.run("SELECT agent_backup.unschedule('s'); DROP OWNED BY sched_a, sched_b; DROP ROLE sched_a, sched_b");
    assert_no_trash(db, &[]);
}

#[test]
fn a_dropped_set_takes_its_jobs_along() {
    let Some(cron) = cron_or_skip() else { return };
    let db = &cron.here();
    Set::create(db, 1, 10);
    let mut client = db.client();
    schedule(&mut client, "'s'");
    backup(&mut client).unwrap();
    assert_eq!(refused(&mut client, "SELECT agent_backup.drop_set('s')").code, "2BP01");
    assert_eq!(lines(&mut client, "SELECT count(*) FROM cron.job"), ["6"]);
    client.batch_execute("SELECT agent_backup.drop_set('s', confirm => true)").unwrap();
    assert_eq!(lines(&mut client, "SELECT count(*) FROM cron.job"), ["0"]);
    drop(client);
    assert_no_trash(db, &[]);
}

#[test]
fn a_name_with_quotes_and_other_letters_is_scheduled_and_runs() {
    let Some(cron) = cron_or_skip() else { return };
    let db = &cron.here();
    let set = "it's \"q\" $$ \\ 日本";
    let mut client = db.client();
    client.execute("SELECT agent_backup.create_set($1)", &[&set]).unwrap();
    client.execute("SELECT agent_backup.schedule($1, daily => '0 1 * * *')", &[&set]).unwrap();
    let command: String = one(&mut client, "SELECT command FROM cron.job WHERE jobname ~ 'daily'");
    assert!(command.is_ascii(), "{command}");
    let Refusal { message, .. } = refused(&mut client, &command);
    assert_eq!(message, format!("no table of backup set \"{set}\" exists here"));
    assert_eq!(one::<String>(&mut client, "SELECT set_name FROM agent_backup.job_runs"), set);
    assert!(one::<bool>(&mut client, "SELECT bool_and(active) FROM agent_backup.schedules"));
    drop(client);
    assert_no_trash(db, &[]);
}

#[test]
fn the_time_zone_is_stated() {
    let Some(cron) = cron_or_skip() else { return };
    let db = &cron.here();
    Set::create(db, 1, 10);
    let output = db.psql("SET TimeZone = 'Asia/Kolkata'; SELECT agent_backup.schedule('s')");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("pg_cron goes by time zone GMT: the next daily backup begins at 07:30 in Asia/Kolkata"),
        "{said}"
    );
    assert_no_trash(db, &[]);
}

#[test]
fn pg_cron_in_another_database_is_asked_there() {
    let Some(cron) = cron_or_skip() else { return };
    let (here, there) = (&cron.here(), &cron.elsewhere());
    Set::create(there, 1, 10);
    let mut client = there.client();
    assert_eq!(schedule(&mut client, "'s'").len(), 6);
    let jobs = "SELECT jobname, database FROM cron.job WHERE jobname ~ 'daily'";
    assert_eq!(lines(&mut here.client(), jobs), [format!("agent_backup/{0}/s/daily|{0}", there.name())]);
    assert_eq!(
        schedule(&mut client, "'s', verify => NULL")[..3],
        ["daily unchanged", "hourly unchanged", "verify removed"]
    );
    assert_eq!(lines(&mut client, "SELECT job, active FROM agent_backup.schedules WHERE job = 'daily'"), ["daily|"]);
    there.run("CREATE ROLE sched_there LOGIN; GRANT agent_backup_operator TO sched_there; CREATE ROLE sched_no NOLOGIN; GRANT agent_backup_operator TO sched_no");
    let refusal = refused(&mut there.client_as("sched_there"), "SELECT agent_backup.schedule('s')");
    assert!(
        refusal.code == "42501"
            && refusal.hint.contains(here.name())
            && refusal.hint.contains("GRANT USAGE ON SCHEMA cron"),
        "{refusal:?}"
    );
    here.run("GRANT USAGE ON SCHEMA cron TO sched_there");
    let refusal = refused(&mut there.client_as("sched_there"), "SELECT agent_backup.schedule('s')");
    assert!(refusal.hint.contains("GRANT EXECUTE ON FUNCTION cron.schedule_in_database"), "{refusal:?}");
    let refusal = refused(&mut there.client(), "SET ROLE sched_no; SELECT agent_backup.schedule('s')");
    assert_eq!(
        (refusal.code.as_str(), refusal.message),
        ("08006", format!("the session in database \"{}\" ended before it answered", here.name()))
    );
    assert_eq!(lines(&mut client, "SELECT count(*) FROM agent_backup.unschedule('s')"), ["5"]);
    assert_eq!(lines(&mut here.client(), JOBS), Vec::<String>::new());
    let workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'agent_backup session'";
    assert_eq!(lines(&mut client, workers), ["0"]);
    here.run("DROP OWNED BY sched_there");
    there.run("DROP OWNED BY sched_there; DROP OWNED BY sched_no; DROP ROLE sched_there, sched_no");
    drop(client);
    assert_no_trash(there, &["role \"sched_no\" is not permitted to log in"]);
}

#[test]
fn an_error_in_another_database_comes_back_with_its_code() {
    let Some(cron) = cron_or_skip() else { return };
    let (here, there) = (&cron.here(), &cron.elsewhere());
    Set::create(there, 1, 10);
    here.run("ALTER TABLE cron.job ADD CONSTRAINT none CHECK (false) NOT VALID");
    let refusal = refused(&mut there.client(), "SELECT agent_backup.schedule('s')");
    assert_eq!(refusal.code, "23514", "{refusal:?}");
    assert!(refusal.message.starts_with(&format!("in database \"{}\": ", here.name())), "{refusal:?}");
    assert_eq!(lines(&mut there.client(), "SELECT count(*) FROM agent_backup.schedules"), ["0"]);
    here.run("DROP EXTENSION pg_cron");
    let Refusal { code, message, .. } = told_without_cron(there);
    assert_eq!(
        (code.as_str(), message),
        (
            "55000",
            format!("jobs cannot be scheduled: the extension pg_cron does not exist in database \"{}\"", here.name())
        )
    );
    here.run("CREATE EXTENSION pg_cron");
    assert_no_trash(there, &[]);
}

#[test]
fn a_wait_for_another_database_can_be_cancelled_and_leaves_no_worker() {
    let Some(cron) = cron_or_skip() else { return };
    let (here, there) = (&cron.here(), &cron.elsewhere());
    Set::create(there, 1, 10);
    let mut blocker = here.client();
    blocker.batch_execute("BEGIN; LOCK TABLE cron.job").unwrap();
    let (pid, thread) = begun(there.client(), "SELECT agent_backup.schedule('s')");
    let waiting =
        "SELECT 1 FROM pg_stat_activity WHERE backend_type = 'agent_backup session' AND wait_event_type = 'Lock'";
    Cron::wait("the worker to wait", || (!lines(&mut there.client(), waiting).is_empty()).then_some(()));
    kill_backend(pid, agent_backup_suite::Signal::SIGINT);
    let (client, outcome) = thread.join().unwrap();
    agent_backup_suite::fails_with(outcome, "57014");
    let workers = "SELECT 1 FROM pg_stat_activity WHERE backend_type = 'agent_backup session'";
    Cron::wait("the worker to end", || lines(&mut there.client(), workers).is_empty().then_some(()));
    blocker.batch_execute("ROLLBACK").unwrap();
    drop((blocker, client));
    assert_eq!(schedule(&mut there.client(), "'s'").len(), 6);
    assert_no_trash(there, &["terminating background worker"]);
}

#[test]
fn next_due_and_last_due_go_by_the_fields() {
    let db = database();
    let mut client = db.client();
    let query = "SELECT agent_backup.next_due('0 2 * * *', '2026-02-28 02:00'), agent_backup.last_due('0 2 * * *', '2026-02-28 01:59'),
                        agent_backup.next_due('@hourly', 'infinity'), agent_backup.last_due('0 2 * * *', NULL)";
    assert_eq!(lines(&mut client, query), ["2026-03-01 02:00:00|2026-02-27 02:00:00||"]);
    assert_eq!(refused(&mut client, "SELECT agent_backup.next_due('x', now()::timestamp)").code, "22023");
    drop(client);
    assert_no_trash(&db, &[]);
}

/// The command of a line of a crontab, as cron gives it to the shell.
fn command_of(file: &str, job: &str) -> String {
    let line = file.lines().find(|line| !line.starts_with('#') && line.contains(&format!("run_job('{job}'"))).unwrap();
    line.splitn(7, ' ').last().unwrap().replace("\\%", "%")
}

/// Runs a command with the environment that cron gives it, and no more.
fn by_cron(file: &str, command: &str) -> Output {
    let variables = file.lines().filter(|line| line.starts_with("SHELL=") || line.starts_with("PATH="));
    Command::new("env")
        .arg("-i")
        .args(variables)
        .args(["HOME=/", "LOGNAME=postgres", "sh", "-c", command])
        .current_dir("/")
        .output()
        .unwrap()
}

fn log(directory: &Path) -> String {
    std::fs::read_to_string(directory.join("agent_backup.log")).unwrap()
}

#[test]
fn each_line_of_the_crontab_runs_logs_and_ends_with_psqls_code() {
    let db = database();
    db.run("CREATE TABLE t (n int PRIMARY KEY); SELECT agent_backup.create_set('a b''s'); SELECT agent_backup.add_table('a b''s', 't')");
    let logs = db.cluster().create_dir(&format!("{} logs", db.name()));
    let file: String = one(
        &mut db.client(),
        &format!("SELECT agent_backup.crontab('a b''s', prune => NULL, log_directory => '{}')", logs.display()),
    );
    assert_eq!(file.lines().filter(|line| line.contains(" flock -n ")).count(), 5, "{file}");
    for job in ["daily", "hourly", "verify", "weekly", "monthly"] {
        let output = by_cron(&file, &command_of(&file, job));
        assert_eq!(output.status.code(), Some(0), "{job}: {output:?}\n{}", log(&logs));
        assert!(
            log(&logs).lines().last().unwrap().ends_with(&format!("{job} ended with exit code 0")),
            "{}",
            log(&logs)
        );
    }
    assert_eq!(one::<i64>(&mut db.client(), "SELECT count(*) FROM agent_backup.job_runs WHERE status = 'success'"), 5);
    db.run("DROP TABLE t");
    let output = by_cron(&file, &command_of(&file, "daily"));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = log(&logs);
    assert!(
        told.contains("ERROR:  no table of backup set \"a b's\" exists here")
            && told.contains("daily ended with exit code 1"),
        "{told}"
    );
    assert_no_trash(&db, &[]);
}

#[test]
fn a_second_run_by_cron_finds_the_lock_taken() {
    let db = database();
    Set::create(&db, 1, 10);
    let logs = db.cluster().create_dir(&format!("{}_logs", db.name()));
    let file: String =
        one(&mut db.client(), &format!("SELECT agent_backup.crontab('s', log_directory => '{}')", logs.display()));
    db.run(&format!("ALTER DATABASE {} SET agent_backup.debug_failpoint = 'snapshot=pause'", db.name()));
    let command = command_of(&file, "daily");
    let first = std::thread::spawn({
        let (file, command) = (file.clone(), command.clone());
        move || by_cron(&file, &command)
    });
    let pid = Cron::wait("the job to run", || {
        let pid = lines(&mut db.client(), "SELECT pid FROM agent_backup.job_runs WHERE status = 'running'");
        pid.first().map(|pid| pid.parse::<i32>().unwrap())
    });
    wait_for_pause(&db, pid, "snapshot");
    assert_eq!(by_cron(&file, &command).status.code(), Some(75), "{}", log(&logs));
    kill_backend(pid, agent_backup_suite::Signal::SIGINT);
    assert_eq!(first.join().unwrap().status.code(), Some(1), "{}", log(&logs));
    assert_eq!(lines(&mut db.client(), "SELECT status, error_code FROM agent_backup.job_runs"), ["failed|57014"]);
    assert_no_trash(&db, &[]);
}

#[test]
fn what_is_no_crontab_is_refused() {
    let db = database();
    for (arguments, code) in [
        ("'none'", "42704"),
        ("daily => '0 2 * *'", "22023"),
        ("daily => '0 0 $ * *'", "22023"),
        ("offsite => '0 6 * * *'", "55000"),
        ("log_directory => 'logs'", "22023"),
    ] {
        assert_eq!(
            refused(&mut db.client(), &format!("SELECT agent_backup.crontab({arguments})")).code,
            code,
            "{arguments}"
        );
    }
    let file: String = one(&mut db.client(), "SELECT agent_backup.crontab()");
    assert!(file.is_ascii() && file.starts_with("# Jobs of agent_backup for the backup set agent_sdk"), "{file}");
    assert!(file.contains("\n0 2 * * * ") && file.contains("\nSHELL=/bin/sh\n"), "{file}");
    assert_no_trash(&db, &[]);
}
