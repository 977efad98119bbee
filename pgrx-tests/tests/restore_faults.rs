//! Faults around a restore: writers, readers and other restores at the same time (T33), cancels,
//! killed sessions and crashes (T93), and what is left on disk and replayed elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agent_backup_suite::{
    Cluster, Database, Options, Signal, assert_equal_tables, assert_no_trash, assert_sound, begun, kill_backend, lines,
    long, one, refused, restore, saved, sqlstate, state, try_restore, wait_for_pause, wait_for_recovery, wait_until,
};

const TABLES: &str = "CREATE TABLE t (id int PRIMARY KEY, v text, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
    INSERT INTO t SELECT n, md5(n::text), CASE WHEN n % 100 = 0 THEN repeat(md5(n::text), 300) END FROM generate_series(1, 3000) n; CREATE INDEX ON t (v);
    CREATE TABLE u (id int PRIMARY KEY, t int REFERENCES t, v text); INSERT INTO u SELECT n, n, md5('u' || n) FROM generate_series(1, 2000) n";
const ALL: &str = "restore('latest', confirm => true, safety_backup => false, set_name => 's')";

#[test]
fn writers_and_readers_see_old_or_new_and_never_half() {
    let db = saved(
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT n, 1 FROM generate_series(1, 2000) n;
         CREATE TABLE u (id int PRIMARY KEY, t int REFERENCES t, v int); INSERT INTO u SELECT n, n, 1 FROM generate_series(1, 2000) n",
        &["t", "u"],
    );
    let stop = Arc::new(AtomicBool::new(false));
    let run = |mut client: postgres::Client, stop: Arc<AtomicBool>, writes: bool| {
        std::thread::spawn(move || {
            let (mut done, mut retried) = (0_u64, 0_u64);
            while !stop.load(Ordering::Relaxed) {
                // All rows of both tables change together: any mix would show.
                let outcome = if writes {
                    client.batch_execute("BEGIN; UPDATE t SET v = v + 1; UPDATE u SET v = v + 1; COMMIT")
                } else {
                    let query = "SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM u), (SELECT count(DISTINCT v) FROM t), (SELECT count(DISTINCT v) FROM u),
                                        (SELECT max(v) FROM t) = (SELECT max(v) FROM u)";
                    client.query_one(query, &[]).map(|row| {
                        let found: (i64, i64, i64, i64, bool) =
                            (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4));
                        assert_eq!(found, (2000, 2000, 1, 1, true), "a reader saw half of a restore");
                    })
                };
                match outcome {
                    Ok(()) => done += 1,
                    Err(error) => {
                        assert_eq!(sqlstate(&error), "40P01", "{error:?}");
                        retried += 1;
                        drop(client.batch_execute("ROLLBACK"));
                    }
                }
            }
            (done, retried)
        })
    };
    let threads: Vec<_> =
        [true, true, false, false].into_iter().map(|writes| run(db.client(), stop.clone(), writes)).collect();
    let mut client = db.client();
    let (mut restored, mut deadlocks) = (0, 0);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(if long() { 60 } else { 8 }) {
        for call in [
            ALL,
            "restore_table('t', where_clause => 'true', confirm => true, safety_backup => false, set_name => 's')",
        ] {
            let both = call.contains("restore(");
            if !both {
                continue;
            }
            match try_restore(&mut client, call) {
                Ok(_) => restored += 1,
                Err(error) => {
                    assert_eq!(sqlstate(&error), "40P01", "{error:?}");
                    deadlocks += 1;
                }
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    let done: Vec<(u64, u64)> =
        threads.into_iter().map(|thread| thread.join().expect("a thread that found nothing wrong")).collect();
    println!("{restored} restores, {deadlocks} deadlocks; writers and readers: {done:?}");
    assert!(
        restored > 3 && done.iter().all(|(done, _)| *done > 3),
        "{restored} restores, {deadlocks} deadlocks: {done:?}"
    );
    assert_sound(&mut client, "t");
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_reader_with_an_older_snapshot_never_sees_an_empty_table() {
    let db = saved(TABLES, &["t", "u"]);
    let mut reader = db.client();
    reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class").unwrap();
    restore(&mut db.client(), ALL);
    match reader.query_one("SELECT count(*) FROM t", &[]) {
        Ok(row) => assert_eq!(row.get::<_, i64>(0), 3000),
        Err(error) => assert_eq!(sqlstate(&error), "40001", "{error:?}"),
    }
    reader.batch_execute("ROLLBACK").unwrap();
    drop(reader);
    assert_no_trash(&db, &[]);
}

#[test]
fn restores_of_the_same_tables_wait_for_each_other() {
    let db = saved(TABLES, &["t", "u"]);
    db.run("UPDATE t SET v = 'x'");
    let threads: Vec<_> = (0..4).map(|_| begun(db.client(), &format!("SELECT * FROM agent_backup.{ALL}")).1).collect();
    for thread in threads {
        let (_, outcome) = thread.join().unwrap();
        outcome.unwrap_or_else(|error| panic!("{error:?}"));
    }
    let mut client = db.client();
    assert_equal_tables(&mut client, "t", "kept.t");
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM agent_backup.restores"), 4);
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_restore_waits_for_a_lock_no_longer_than_it_may_and_names_the_table() {
    let db = saved(TABLES, &["t", "u"]);
    let before = state(&db);
    let mut holder = db.client();
    holder.batch_execute("BEGIN; SELECT count(*) FROM u; LOCK TABLE u IN ROW EXCLUSIVE MODE").unwrap();
    let mut client = db.client();
    client.batch_execute("SET agent_backup.lock_timeout = '300ms'").unwrap();
    let started = Instant::now();
    let refusal = refused(&mut client, &format!("SELECT * FROM agent_backup.{ALL}"));
    assert_eq!((refusal.code.as_str(), refusal.message.contains("\"u\"")), ("55P03", true), "{refusal:?}");
    assert!(started.elapsed() < Duration::from_secs(5));
    holder.batch_execute("ROLLBACK").unwrap();
    drop((holder, client));
    assert_eq!(state(&db), before);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_backup_during_a_restore_has_the_old_rows_or_the_new_ones() {
    let db = saved(TABLES, &["t", "u"]);
    db.run("UPDATE t SET v = 'x'; CREATE TABLE damaged AS TABLE t; ANALYZE");
    let mut held = db.client();
    held.batch_execute(&format!("BEGIN; SELECT * FROM agent_backup.{ALL}")).unwrap();
    let (_, waiting) = begun(db.client(), "SELECT agent_backup.backup('s')");
    std::thread::sleep(Duration::from_millis(300));
    assert!(!waiting.is_finished(), "a backup read a table that is being replaced");
    held.batch_execute("COMMIT").unwrap();
    waiting.join().unwrap().1.unwrap();
    db.run("TRUNCATE t CASCADE");
    restore(&mut held, ALL);
    assert_equal_tables(&mut held, "t", "kept.t");
    drop(held);
    assert_no_trash(&db, &[]);
}

/// What must be as it was after a restore that ended early.
fn assert_untouched(db: &Database, before: &str, what: &str) {
    let own = |state: &str| state.lines().filter(|line| !line.starts_with("files:")).collect::<Vec<_>>().join("\n");
    assert_eq!(own(&state(db)), own(before), "{what}");
    let left = "SELECT c.oid::regclass FROM pg_class c WHERE relname ~ '^restore_[0-9]'";
    assert_eq!(lines(&mut db.client(), left), [] as [&str; 0], "{what}");
}

#[test]
fn a_cancel_or_a_terminated_session_at_any_moment_changes_nothing() {
    let db = saved(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT n, md5(n::text) || md5('x' || n) FROM generate_series(1, 60000) n; CREATE INDEX ON t (v)",
        &["t"],
    );
    db.run("UPDATE t SET v = 'x' WHERE id < 100");
    let started = Instant::now();
    let call = "SELECT * FROM agent_backup.restore('latest', confirm => true, set_name => 's')";
    db.run(&format!("BEGIN; {call}; ROLLBACK; SELECT agent_backup.reconcile('restore_safety')"));
    let whole = started.elapsed();
    let rounds = if long() { 40 } else { 10 };
    let mut early = 0;
    for round in 0..rounds {
        for (signal, code) in [(Signal::SIGINT, "57014"), (Signal::SIGTERM, "57P01")] {
            let before = state(&db);
            let (pid, run) = begun(db.client(), &format!("BEGIN; {call}; SELECT pg_sleep(0); ROLLBACK"));
            std::thread::sleep(whole.mul_f64((f64::from(round) + 0.5) / f64::from(rounds)));
            let sent = Instant::now();
            kill_backend(pid, signal);
            let (client, outcome) = run.join().unwrap();
            let took = sent.elapsed();
            if let Err(error) = outcome {
                early += 1;
                assert!([code, "lost"].contains(&sqlstate(&error).as_str()), "{error:?}");
                assert!(took < Duration::from_secs(2), "{signal}: it took {took:?}");
            }
            drop(client);
            wait_until("the session to end", Duration::from_secs(5), || {
                let query = format!("SELECT 1 FROM pg_stat_activity WHERE pid = {pid}");
                db.client().query(&query, &[]).unwrap().is_empty().then_some(())
            });
            assert_untouched(&db, &before, &format!("{signal} in round {round} of {whole:?}"));
            let found = lines(
                &mut db.client(),
                "SELECT action FROM agent_backup.reconcile('restore_safety') WHERE action NOT IN ('adopted', 'completed')",
            );
            assert_eq!(found, [] as [&str; 0], "{signal} in round {round}");
        }
    }
    assert!(early >= rounds as usize / 2, "only {early} were cut short");
    let mut client = db.client();
    restore(&mut client, ALL);
    assert_equal_tables(&mut client, "t", "kept.t");
    drop(client);
    assert_no_trash(&db, &["terminating connection due to administrator command"]);
}

#[test]
fn each_step_that_fails_or_panics_changes_nothing() {
    let db = saved(TABLES, &["t", "u"]);
    db.run("UPDATE t SET v = 'x'");
    let mut client = db.client();
    for step in ["restore", "staged", "applied"] {
        for way in ["error", "panic"] {
            for call in
                [ALL, "restore_table('t', mode => 'merge', safety_backup => false, confirm => true, set_name => 's')"]
            {
                let before = state(&db);
                client.batch_execute(&format!("SET agent_backup.debug_failpoint = '{step}={way}'")).unwrap();
                let refusal = refused(&mut client, &format!("SELECT * FROM agent_backup.{call}"));
                assert!(refusal.message.contains(step), "{step}={way}: {refusal:?}");
                client.batch_execute("SET agent_backup.debug_failpoint = ''").unwrap();
                assert_untouched(&db, &before, &format!("{step}={way}"));
                assert_eq!(one::<String>(&mut client, "SHOW session_replication_role"), "origin");
            }
        }
    }
    restore(&mut client, ALL);
    drop(client);
    assert_no_trash(&db, &["was made to", "panicked at"]);
}

/// A cluster of its own with a set `s` of a table `t` and an unlogged one `n`, backed up and damaged.
fn own_cluster(options: Options) -> Cluster {
    let cluster = Cluster::start(options);
    let dir = cluster.create_dir("backups");
    let script = format!(
        "CREATE DATABASE d; ALTER DATABASE d SET agent_backup.directory = '{}'; \\c d
         {TABLES}; CREATE UNLOGGED TABLE n (id int PRIMARY KEY, v text); INSERT INTO n SELECT g, repeat('n', 5000) FROM generate_series(1, 50) g;
         CREATE EXTENSION agent_backup; CREATE SCHEMA kept; CREATE TABLE kept.t AS TABLE t;
         SELECT agent_backup.create_set('s'); SELECT agent_backup.add_table('s', 't'), agent_backup.add_table('s', 'u'), agent_backup.add_table('s', 'n');
         SELECT agent_backup.backup('s'); CHECKPOINT; UPDATE t SET v = 'x', big = big || 'y';",
        dir.display()
    );
    let output = cluster.psql("postgres", &script);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    cluster
}

#[test]
fn a_killed_session_or_server_loses_nothing_and_leaves_nothing() {
    let cluster = own_cluster(Options::default());
    for step in ["restore", "staged", "applied"] {
        let mut client = cluster.client("d");
        let pid = cluster.backend_pid(&mut client);
        let count = "SELECT count(*) FROM t WHERE v = 'x'";
        assert_eq!(one::<i64>(&mut client, count), 3000);
        client.batch_execute(&format!("SET agent_backup.debug_failpoint = '{step}=pause'")).unwrap();
        let (_, run) = begun(client, "SELECT * FROM agent_backup.restore('latest', confirm => true, set_name => 's')");
        wait_until("the pause", Duration::from_secs(60), || {
            let log = cluster.log();
            (log.contains(&format!("[{pid}]")) && log.contains(&format!("pauses at step \"{step}\""))).then_some(())
        });
        kill_backend(pid, Signal::SIGKILL);
        run.join().unwrap().1.expect_err("the session is dead");
        let mut client = wait_for_recovery(&cluster, "d", pid);
        assert_eq!(one::<i64>(&mut client, count), 3000, "{step}");
        let left = lines(&mut client, "SELECT relname FROM pg_class WHERE relname ~ '^restore_[0-9]'");
        assert_eq!(left, [] as [&str; 0], "{step}");
        let locks =
            lines(&mut client, "SELECT mode FROM pg_locks WHERE pid <> pg_backend_pid() AND relation = 't'::regclass");
        assert_eq!(locks, [] as [&str; 0], "{step}");
        let found = lines(
            &mut client,
            "SELECT action FROM agent_backup.reconcile('restore_safety') WHERE action NOT IN ('adopted', 'completed', 'removed')",
        );
        assert_eq!(found, [] as [&str; 0], "{step}");
    }
    let mut client = cluster.client("d");
    restore(&mut client, ALL);
    assert_equal_tables(&mut client, "t", "kept.t");
    assert_sound(&mut client, "t");
}

#[test]
fn a_restored_table_is_whole_after_a_crash_right_after_the_commit() {
    for level in ["replica", "minimal"] {
        let options =
            Options::default().fsync().setting(&format!("wal_level = {level}")).setting("max_wal_senders = 0");
        let cluster = own_cluster(options);
        let mut client = cluster.client("d");
        restore(&mut client, ALL);
        drop(client);
        cluster.stop("immediate");
        cluster.start_again();
        let mut client = cluster.client("d");
        assert_equal_tables(&mut client, "t", "kept.t");
        assert_sound(&mut client, "t");
        assert_sound(&mut client, "u");
        // An unlogged table is empty after a crash, and works.
        assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM n"), 0, "{level}");
        client.batch_execute("INSERT INTO n VALUES (1, repeat('x', 10000))").unwrap();
        let refusal = refused(&mut client, "INSERT INTO n VALUES (1, 'twice')");
        assert_eq!(refusal.code, "23505");
        drop(client);
        cluster.stop("fast");
        cluster.start_again();
        assert_equal_tables(&mut cluster.client("d"), "t", "kept.t");
    }
}

#[test]
fn a_standby_replays_a_restore() {
    let cluster = own_cluster(Options::default().setting("wal_level = replica").setting("max_wal_senders = 3"));
    let standby = cluster.create_standby();
    let mut client = cluster.client("d");
    restore(&mut client, ALL);
    restore(
        &mut client,
        "restore_table('t', where_clause => 'id < 500', safety_backup => false, confirm => true, set_name => 's')",
    );
    let now: String = one(&mut client, "SELECT pg_current_wal_lsn()::text");
    let mut reader = standby.client("d");
    wait_until("the standby", Duration::from_secs(60), || {
        one::<bool>(&mut reader, &format!("SELECT pg_last_wal_replay_lsn() >= '{now}'")).then_some(())
    });
    assert_equal_tables(&mut reader, "t", "kept.t");
    reader.batch_execute("SET enable_seqscan = off").unwrap();
    assert_eq!(one::<i64>(&mut reader, "SELECT count(*) FROM t WHERE id > 0"), 3000);
    let refusal = refused(&mut reader, &format!("SELECT * FROM agent_backup.{ALL}"));
    assert_eq!(refusal.code, "25006", "{refusal:?}");
    let plan = lines(
        &mut reader,
        "SELECT status FROM agent_backup.restore_plan('latest', tables => '{t, u}', set_name => 's')",
    );
    assert!(plan.contains(&"planned".to_owned()), "{plan:?}");
}

#[test]
fn a_paused_restore_keeps_readers_of_other_tables_free() {
    let db = saved(TABLES, &["t", "u"]);
    let mut client = db.client();
    client.batch_execute("CREATE TABLE free (x int); SET agent_backup.debug_failpoint = 'applied=pause'").unwrap();
    let (pid, run) = begun(
        client,
        "SELECT * FROM agent_backup.restore_table('t', mode => 'merge', confirm => true, safety_backup => false, set_name => 's')",
    );
    wait_for_pause(&db, pid, "applied");
    let mut other = db.client();
    other
        .batch_execute(
            "SET lock_timeout = '2s'; SELECT count(*) FROM t; SELECT count(*) FROM u; INSERT INTO free VALUES (1)",
        )
        .unwrap();
    assert_eq!(refused(&mut other, "UPDATE t SET v = '' WHERE id = 1").code, "55P03");
    kill_backend(pid, Signal::SIGINT);
    assert_eq!(sqlstate(&run.join().unwrap().1.unwrap_err()), "57014");
    drop(other);
    assert_no_trash(&db, &[]);
}
