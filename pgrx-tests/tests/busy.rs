//! Two backups at once (T26), and locks that die with their holder (T28).

use std::time::{Duration, Instant};

use agent_backup_suite::{
    Database, Set, Signal, assert_backups_whole, assert_clean, backup, begun, database, fails_with, files,
    kill_backend, sqlstate, statuses, wait_for_pause, wait_until,
};

type Run = std::thread::JoinHandle<(postgres::Client, Result<(), postgres::Error>)>;

/// A backup of `set` that pauses at `step`: its process and its end.
fn paused(db: &Database, set: &str, step: &str) -> (i32, Run) {
    let mut client = db.client();
    client.batch_execute(&format!("SET agent_backup.debug_failpoint = '{step}=pause'")).unwrap();
    let (pid, run) = begun(client, &format!("SELECT agent_backup.backup('{set}')"));
    wait_for_pause(db, pid, step);
    (pid, run)
}

fn end(pid: i32, signal: Signal, run: Run) {
    kill_backend(pid, signal);
    run.join().unwrap().1.unwrap_err();
}

#[test]
fn a_second_backup_of_a_set_is_refused_and_told_who_holds_it() {
    let db = database();
    Set::create(&db, 1, 100);
    for step in ["snapshot", "scan", "manifest", "publish", "publish_manifest"] {
        let (pid, run) = paused(&db, "s", step);
        let started = Instant::now();
        let said = fails_with(backup(&mut db.client()), "55P03");
        assert!(started.elapsed() < Duration::from_secs(2));
        assert!(said.contains("backup set \"s\" is busy") && said.contains(&pid.to_string()), "{said}");
        let said = fails_with(db.client().batch_execute("SELECT agent_backup.reconcile('s')"), "55P03");
        assert!(said.contains("\"s\"") && said.contains(&pid.to_string()), "{said}");
        let row =
            db.client().query_one("SELECT status, backup_id FROM agent_backup.backups WHERE status = 'running'", &[]);
        assert_eq!(row.unwrap().get::<_, Option<String>>(1), None);
        end(pid, Signal::SIGINT, run);
        assert_clean(&db, &[]);
    }
}

#[test]
fn a_stopped_holder_is_named_and_a_continued_one_goes_on() {
    let db = database();
    Set::create(&db, 1, 100);
    let (pid, run) = paused(&db, "s", "publish");
    kill_backend(pid, Signal::SIGSTOP);
    let said = fails_with(backup(&mut db.client()), "55P03");
    kill_backend(pid, Signal::SIGCONT);
    assert!(said.contains(&pid.to_string()), "{said}");
    end(pid, Signal::SIGINT, run);
    assert_clean(&db, &[]);
}

#[test]
fn a_backup_that_is_stopped_and_continued_is_whole() {
    let db = database();
    Set::create(&db, 2, 20_000);
    let (pid, run) = begun(db.client(), "SELECT agent_backup.backup('s')");
    wait_until("staging files", Duration::from_secs(20), || (!files(&db).is_empty()).then_some(()));
    kill_backend(pid, Signal::SIGSTOP);
    // Where it was stopped with a lock of the server's own memory in its hand, all wait for it until it goes on.
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let waker = std::thread::spawn(move || {
        let _ = is_done.recv_timeout(Duration::from_secs(5));
        kill_backend(pid, Signal::SIGCONT);
    });
    let second = backup(&mut db.client());
    drop(done);
    waker.join().unwrap();
    run.join().unwrap().1.unwrap();
    if let Err(error) = second {
        assert_eq!(sqlstate(&error), "55P03", "{error:?}");
    }
    assert!(assert_backups_whole(&db) >= 1);
    assert_clean(&db, &[]);
}

#[test]
fn a_cancelled_or_terminated_holder_frees_the_set_at_once() {
    let db = database();
    Set::create(&db, 1, 100);
    for step in ["snapshot", "scan", "manifest", "publish", "publish_manifest"] {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let (pid, run) = paused(&db, "s", step);
            kill_backend(pid, signal);
            run.join().unwrap().1.unwrap_err();
            wait_until("the process to end", Duration::from_secs(5), || {
                let alive = "SELECT 1 FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid = ";
                db.client().query(&format!("{alive}{pid}"), &[]).unwrap().is_empty().then_some(())
            });
            let staged: Vec<String> = files(&db).into_iter().filter(|name| name.contains(".staging")).collect();
            assert!(staged.is_empty(), "{step} {signal}: {staged:?}");
            assert_eq!(statuses(&backup(&mut db.client()).unwrap()), ["ok"], "{step} {signal}");
            assert_clean(&db, &["terminating connection due to administrator command"]);
        }
    }
}

#[test]
fn two_sets_are_backed_up_at_once() {
    let db = database();
    Set::create(&db, 1, 100);
    db.run("SELECT agent_backup.create_set('other'); SELECT agent_backup.add_table('other', 't1')");
    let (pid, run) = paused(&db, "other", "publish");
    assert_eq!(statuses(&backup(&mut db.client()).unwrap()), ["ok"]);
    end(pid, Signal::SIGINT, run);
    assert_clean(&db, &[]);
}

#[test]
fn two_databases_do_not_write_into_one_directory_at_once() {
    let (db, other) = (database(), database());
    Set::create(&db, 1, 100);
    Set::create(&other, 1, 100);
    other.run(&format!("ALTER DATABASE {} SET agent_backup.directory = '{}'", other.name(), db.backup_dir().display()));
    let (pid, run) = paused(&db, "s", "publish");
    let said = fails_with(backup(&mut other.client()), "55P03");
    assert!(said.contains("\"s\" is busy") && said.contains(&pid.to_string()), "{said}");
    end(pid, Signal::SIGTERM, run);
    wait_until("the directory to be free", Duration::from_secs(5), || backup(&mut other.client()).ok());
    let query = "SELECT action FROM agent_backup.reconcile('s')";
    backup(&mut db.client()).unwrap();
    let found: Vec<String> = db.client().query(query, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(found, ["foreign"], "the other database's backup is not ours to list");
    let row = other.client().query_one("SELECT backup_file, manifest_file FROM agent_backup.backups", &[]).unwrap();
    for file in [row.get::<_, String>(0), row.get(1)] {
        std::fs::remove_file(file).unwrap();
    }
    assert_clean(&db, &["terminating connection due to administrator command"]);
}

#[test]
fn a_backup_within_a_backup_is_refused() {
    let db = database();
    Set::create(&db, 1, 3);
    db.run(
        "CREATE FUNCTION again() RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM agent_backup.backup('s'); RETURN 'x'; END $$;
         CREATE TABLE odd (a int); INSERT INTO odd VALUES (1);
         SELECT agent_backup.add_table('s', 'odd', row_filter => 'public.again() = ''x''')",
    );
    let rows = backup(&mut db.client()).unwrap();
    assert_eq!(statuses(&rows), ["ok", "failed"]);
    let error = rows[1].error.clone().unwrap();
    assert!(error.contains("busy"), "{error}");
    db.run("SELECT agent_backup.remove_table('s', 'odd')");
    assert_clean(&db, &["odd: "]);
}
