//! A cancel, a timeout or a terminated session at any moment (T93): it ends within a second and leaves no trash.

use std::time::{Duration, Instant};

use agent_backup_suite::{
    Database, Set, Signal, assert_backups_whole, assert_clean, assert_no_trash, backup, begun, database, files,
    kill_backend, long, sqlstate, statuses, trash, wait_for_pause, wait_until,
};

const TERMINATED: &str = "terminating connection due to administrator command";

/// The set with one large table, and how long a backup of it takes.
fn large(db: &Database) -> Duration {
    Set::create(db, 1, if long() { 1_000_000 } else { 100_000 });
    let started = Instant::now();
    assert_eq!(statuses(&backup(&mut db.client()).unwrap()), ["ok"]);
    started.elapsed()
}

/// Moments within `whole`, the early and late ones too.
fn moments(whole: Duration) -> Vec<Duration> {
    let count = if long() { 40 } else { 12 };
    let mut state = u64::from(std::process::id());
    println!("seed {state}");
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as f64 / f64::from(u32::MAX >> 1)
    };
    (0..count).map(|place| whole.mul_f64((f64::from(place) + next()) / f64::from(count))).collect()
}

/// What must be there after a backup that ended early: nothing but whole, listed backups.
fn nothing_left(db: &Database, what: &str, expected: &[&str]) {
    let query = "SELECT count(*) FROM agent_backup.reconcile('s') WHERE action NOT IN ('adopted', 'completed')";
    assert_eq!(db.client().query_one(query, &[]).unwrap().get::<_, i64>(0), 0, "{what}");
    let found = trash(db, expected);
    assert!(found.is_empty(), "{what}: {found:?}");
    assert_eq!(files(db).len() % 2, 0, "{what}: {:?}", files(db));
}

/// Sends `signal` at each moment of a backup; the longest time until its session had its answer.
fn interrupted_by(db: &Database, whole: Duration, signal: Signal, state: &str) -> usize {
    let mut interrupted = 0;
    for moment in moments(whole) {
        let (pid, run) = begun(db.client(), "SELECT agent_backup.backup('s')");
        std::thread::sleep(moment);
        let sent = Instant::now();
        kill_backend(pid, signal);
        let (client, outcome) = run.join().unwrap();
        let took = sent.elapsed();
        if let Err(error) = outcome {
            interrupted += 1;
            assert!([state, "lost"].contains(&sqlstate(&error).as_str()), "at {moment:?}: {error:?}");
            assert!(took < Duration::from_secs(1), "at {moment:?} it took {took:?}");
        }
        drop(client);
        wait_until("the session to end", Duration::from_secs(5), || {
            let query = format!("SELECT 1 FROM pg_stat_activity WHERE pid = {pid}");
            db.client().query(&query, &[]).unwrap().is_empty().then_some(())
        });
        nothing_left(db, &format!("{signal} after {moment:?} of {whole:?}"), &[TERMINATED]);
    }
    interrupted
}

#[test]
fn a_cancel_ends_a_backup_within_a_second_and_leaves_nothing() {
    let db = database();
    let whole = large(&db);
    assert!(interrupted_by(&db, whole, Signal::SIGINT, "57014") >= 6, "hardly any was cancelled");
    assert_backups_whole(&db);
    assert_clean(&db, &[]);
}

#[test]
fn a_terminated_session_ends_within_a_second_and_leaves_nothing() {
    let db = database();
    let whole = large(&db);
    assert!(interrupted_by(&db, whole, Signal::SIGTERM, "57P01") >= 6, "hardly any was terminated");
    assert_clean(&db, &[TERMINATED]);
}

#[test]
fn a_statement_timeout_ends_a_backup_and_the_session_goes_on() {
    let db = database();
    let whole = large(&db);
    let mut client = db.client();
    let mut timeouts = 0;
    for moment in moments(whole.mul_f64(0.8)) {
        let limit = moment.max(Duration::from_millis(2));
        client.batch_execute(&format!("SET statement_timeout = {}", limit.as_millis())).unwrap();
        let started = Instant::now();
        let outcome = backup(&mut client);
        let took = started.elapsed();
        if let Err(error) = outcome {
            timeouts += 1;
            assert_eq!(sqlstate(&error), "57014", "{error:?}");
            assert!(took < limit + Duration::from_secs(1), "{took:?} after a timeout of {limit:?}");
        }
        client.batch_execute("SET statement_timeout = 0").unwrap();
        nothing_left(&db, &format!("timeout after {moment:?} of {whole:?}"), &[]);
    }
    assert!(timeouts >= 6, "hardly any timed out");
    assert_eq!(statuses(&backup(&mut client).unwrap()), ["ok"]);
    assert_clean(&db, &[]);
}

#[test]
fn a_cancelled_export_leaves_nothing() {
    let db = database();
    large(&db);
    let target = db.backup_dir().join("t1.json.gz");
    let call = format!("SELECT agent_backup.export_table('t1', 'json', '{}')", target.display());
    let started = Instant::now();
    db.run(&call);
    let whole = started.elapsed();
    std::fs::remove_file(&target).unwrap();
    for moment in moments(whole).into_iter().step_by(2) {
        let (pid, run) = begun(db.client(), &call);
        std::thread::sleep(moment);
        let sent = Instant::now();
        kill_backend(pid, Signal::SIGINT);
        let (client, outcome) = run.join().unwrap();
        assert!(sent.elapsed() < Duration::from_secs(1), "at {moment:?} of {whole:?} it took {:?}", sent.elapsed());
        assert_eq!(outcome.is_ok(), target.exists(), "{outcome:?}");
        drop(std::fs::remove_file(&target));
        drop(client);
        assert_no_trash(&db, &[]);
    }
    assert_clean(&db, &[]);
}

#[test]
fn a_cancel_while_it_waits_for_a_lock_ends_at_once() {
    let db = database();
    Set::create(&db, 2, 100);
    let mut blocker = db.client();
    blocker.batch_execute("BEGIN; LOCK TABLE t2 IN ACCESS EXCLUSIVE MODE").unwrap();
    let (pid, run) = begun(db.client(), "SELECT agent_backup.backup('s')");
    let mut client = db.client();
    wait_until("it to wait", Duration::from_secs(20), || {
        let query = format!("SELECT 1 FROM pg_locks WHERE NOT granted AND pid = {pid}");
        (!client.query(&query, &[]).unwrap().is_empty()).then_some(())
    });
    let sent = Instant::now();
    kill_backend(pid, Signal::SIGINT);
    let error = run.join().unwrap().1.unwrap_err();
    assert_eq!(sqlstate(&error), "57014");
    assert!(sent.elapsed() < Duration::from_secs(1));
    blocker.batch_execute("COMMIT").unwrap();
    assert_clean(&db, &[]);
}

#[test]
fn a_cancelled_session_is_in_no_transaction_and_holds_no_lock() {
    let db = database();
    Set::create(&db, 2, 100);
    for step in ["scan", "snapshot", "manifest", "publish", "publish_manifest"] {
        let mut client = db.client();
        client.batch_execute(&format!("SET agent_backup.debug_failpoint = '{step}=pause'")).unwrap();
        let (pid, run) = begun(client, "SELECT agent_backup.backup('s')");
        wait_for_pause(&db, pid, step);
        kill_backend(pid, Signal::SIGINT);
        let (mut client, outcome) = run.join().unwrap();
        assert_eq!(sqlstate(&outcome.unwrap_err()), "57014", "{step}");
        // Who gets an error gets it before its transaction has ended.
        client.simple_query("SELECT").unwrap();
        let query = format!(
            "SELECT (SELECT state FROM pg_stat_activity WHERE pid = {pid}), count(*) FROM pg_locks WHERE pid = {pid}"
        );
        let row = db.client().query_one(&query, &[]).unwrap();
        assert_eq!((row.get::<_, String>(0).as_str(), row.get::<_, i64>(1)), ("idle", 0), "{step}");
        client
            .batch_execute("SET agent_backup.debug_failpoint = ''")
            .unwrap_or_else(|error| panic!("{step}: {error:?}"));
        assert_eq!(statuses(&backup(&mut client).unwrap()), ["ok", "ok"], "{step}");
    }
    assert_clean(&db, &[]);
}

#[test]
#[ignore = "long: a container of 200 MB"]
fn a_cancel_while_a_large_container_is_made_durable_ends_within_a_second() {
    let db = database();
    db.run("SELECT agent_backup.create_set('s', formats => '{csv}');
            CREATE TABLE t1 AS SELECT n, (SELECT string_agg(md5(random()::text || n || i), '') FROM generate_series(1, 120) i) FROM generate_series(1, 100000) n;
            SELECT agent_backup.add_table('s', 't1')");
    let started = Instant::now();
    backup(&mut db.client()).unwrap();
    let whole = started.elapsed();
    for part in [0.7, 0.8, 0.85, 0.9, 0.95, 0.98] {
        let (pid, run) = begun(db.client(), "SELECT agent_backup.backup('s')");
        std::thread::sleep(whole.mul_f64(part));
        let sent = Instant::now();
        kill_backend(pid, Signal::SIGINT);
        let (_client, outcome) = run.join().unwrap();
        assert!(
            outcome.is_ok() || sent.elapsed() < Duration::from_secs(1),
            "at {part} of {whole:?}: {:?}",
            sent.elapsed()
        );
    }
    // To decode so much takes minutes in a test's build; that nothing is left is what counts here.
    nothing_left(&db, "cancels", &[]);
}
