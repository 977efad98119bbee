//! What other sessions do to a table while it is backed up (T30–T32): blocked, or a clean error, never mixed or missing rows.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agent_backup_suite::{
    Database, Row, Set, Signal, assert_clean, backup, begun, database, fails_with, kill_backend, long, statuses,
    wait_for_pause, wait_until,
};

/// Waits until some session waits for a lock.
fn wait_for_waiter(db: &Database) {
    let query = "SELECT 1 FROM pg_locks WHERE NOT granted";
    let mut client = db.client();
    wait_until("a waiter", Duration::from_secs(20), || (!client.query(query, &[]).unwrap().is_empty()).then_some(()));
}

fn last_status(db: &Database) -> String {
    let query = "SELECT status FROM agent_backup.backups ORDER BY started_at DESC LIMIT 1";
    db.client().query_one(query, &[]).unwrap().get(0)
}

#[test]
fn a_table_that_stays_locked_costs_that_table_only() {
    let db = database();
    Set::create(&db, 3, 100);
    let mut blocker = db.client();
    blocker.batch_execute("BEGIN; LOCK TABLE t2 IN ACCESS EXCLUSIVE MODE").unwrap();
    let mut client = db.client();
    client.batch_execute("SET agent_backup.lock_timeout = '300ms'").unwrap();
    let started = Instant::now();
    let rows = backup(&mut client).unwrap();
    let took = started.elapsed();
    assert!((Duration::from_millis(300)..Duration::from_secs(5)).contains(&took), "{took:?}");
    assert_eq!(statuses(&rows), ["ok", "failed", "ok"]);
    let error = rows[1].error.clone().unwrap();
    assert!(error.contains("could not lock table \"t2\" in time"), "{error}");
    assert_eq!(last_status(&db), "incomplete");
    let shown: String = client.query_one("SHOW lock_timeout", &[]).unwrap().get(0);
    assert_eq!(shown, "0");
    blocker.batch_execute("COMMIT").unwrap();
    assert_eq!(statuses(&backup(&mut client).unwrap()), ["ok", "ok", "ok"]);
    assert_clean(&db, &["t2: could not lock table"]);
}

#[test]
fn the_sessions_own_lock_timeout_holds_where_none_is_set() {
    let db = database();
    Set::create(&db, 2, 100);
    let mut blocker = db.client();
    blocker.batch_execute("BEGIN; LOCK TABLE t1 IN ACCESS EXCLUSIVE MODE").unwrap();
    let mut client = db.client();
    client.batch_execute("SET lock_timeout = '300ms'").unwrap();
    assert_eq!(statuses(&backup(&mut client).unwrap()), ["failed", "ok"]);
    let said = fails_with(client.batch_execute("SELECT agent_backup.export_table('t1')"), "55P03");
    assert!(said.contains("\"t1\""), "{said}");
    blocker.batch_execute("COMMIT").unwrap();
    assert_clean(&db, &["t1: could not lock table"]);
}

#[test]
fn a_waiter_for_an_exclusive_lock_waits_for_the_backup_and_stops_it_not() {
    let db = database();
    Set::create(&db, 2, 100);
    let mut client = db.client();
    client.batch_execute("SET agent_backup.debug_failpoint = 'snapshot=pause'").unwrap();
    let (pid, run) = begun(client, "SELECT agent_backup.backup('s')");
    wait_for_pause(&db, pid, "snapshot");
    let waiters =
        ["LOCK TABLE t2 IN ACCESS EXCLUSIVE MODE", "TRUNCATE t1", "ALTER TABLE t2 ADD COLUMN c int DEFAULT 1"]
            .map(|statement| begun(db.client(), &format!("BEGIN; {statement}; COMMIT")));
    wait_for_waiter(&db);
    std::thread::sleep(Duration::from_millis(100));
    assert!(waiters.iter().all(|(_, waiter)| !waiter.is_finished()), "a waiter did not wait");
    kill_backend(pid, Signal::SIGINT);
    run.join().unwrap().1.unwrap_err();
    waiters.into_iter().for_each(|(_, waiter)| waiter.join().unwrap().1.unwrap());
    assert_clean(&db, &[]);
}

#[test]
fn a_waiter_between_lock_and_read_makes_no_deadlock() {
    let db = database();
    Set::create(&db, 2, 10_000);
    for _ in 0..5 {
        let (_, run) = begun(db.client(), "SELECT agent_backup.backup('s')");
        let waiter = begun(db.client(), "BEGIN; LOCK TABLE t2, t1 IN ACCESS EXCLUSIVE MODE; COMMIT").1;
        run.join().unwrap().1.unwrap();
        waiter.join().unwrap().1.unwrap();
        assert_eq!(last_status(&db), "complete");
    }
    assert_clean(&db, &[]);
}

/// In a REPEATABLE READ transaction whose snapshot is older than `change` to t1.
fn after_a_change(db: &Database, change: &str) -> Vec<Row> {
    let mut client = db.client();
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t2").unwrap();
    change.split("; ").for_each(|statement| db.run(statement));
    let rows = backup(&mut client).unwrap_or_else(|error| panic!("{change}: {error:?}"));
    client.batch_execute("COMMIT").unwrap();
    rows
}

#[test]
fn a_table_that_was_rewritten_after_the_snapshot_is_an_error_and_never_empty() {
    for change in [
        "TRUNCATE t1",
        "TRUNCATE t1; INSERT INTO t1 VALUES (1, 'new', 'new')",
        "ALTER TABLE t1 ALTER id TYPE bigint",
        "ALTER TABLE t1 ADD COLUMN r float8 DEFAULT random()",
        "VACUUM FULL t1",
        "CLUSTER t1 USING t1_pkey",
        "DROP TABLE t1; CREATE TABLE t1 (id int PRIMARY KEY, a text, b text); INSERT INTO t1 VALUES (1, 'new', 'new')",
        "ALTER TABLE t1 RENAME TO old; CREATE TABLE t1 (LIKE old INCLUDING ALL)",
    ] {
        let db = database();
        Set::create(&db, 2, 100);
        let rows = after_a_change(&db, change);
        assert_eq!(statuses(&rows), ["failed", "ok"], "{change}: {rows:?}");
        assert_eq!(last_status(&db), "incomplete");
        let error = rows[0].error.clone().unwrap();
        assert!(error.contains("\"t1\""), "{change}: the error names no table: {error}");
        assert_clean(&db, &["t1: "]);
    }
}

#[test]
fn a_partition_that_was_truncated_after_the_snapshot_is_an_error() {
    let db = database();
    db.run(
        "CREATE TABLE t1 (id int, a text) PARTITION BY RANGE (id);
         CREATE TABLE p1 PARTITION OF t1 FOR VALUES FROM (0) TO (50) PARTITION BY LIST (id);
         CREATE TABLE p11 PARTITION OF p1 DEFAULT;
         CREATE TABLE p2 PARTITION OF t1 FOR VALUES FROM (50) TO (100);
         INSERT INTO t1 SELECT n, 'x' FROM generate_series(0, 99) n;
         CREATE TABLE t2 AS SELECT 1 AS id;
         SELECT agent_backup.create_set('s'), agent_backup.add_table('s', 't1'), agent_backup.add_table('s', 't2')",
    );
    for change in ["TRUNCATE p11", "VACUUM FULL p2"] {
        let rows = after_a_change(&db, change);
        assert_eq!(statuses(&rows), ["failed", "ok"], "{change}: {rows:?}");
    }
    assert_clean(&db, &["t1: "]);
}

#[test]
fn rows_that_were_deleted_after_the_snapshot_are_still_in_the_backup() {
    for change in [
        "DELETE FROM t1",
        "DELETE FROM t1; VACUUM t1",
        "UPDATE t1 SET a = 'x'",
        "ALTER TABLE t1 ADD COLUMN c int DEFAULT 7",
    ] {
        let db = database();
        Set::create(&db, 2, 100);
        let rows = after_a_change(&db, change);
        assert_eq!((statuses(&rows), rows[0].rows), (vec!["ok", "ok"], Some(100)), "{change}: {rows:?}");
        assert_clean(&db, &[]);
    }
}

#[test]
fn an_export_of_a_table_that_was_truncated_after_the_snapshot_is_an_error() {
    let db = database();
    Set::create(&db, 2, 100);
    let mut client = db.client();
    for call in ["SELECT agent_backup.export_table('t1')", "SELECT backup_agent_table_to_json('t1')"] {
        client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t2").unwrap();
        db.run("TRUNCATE t1");
        let said = fails_with(client.batch_execute(call), "40001");
        assert!(said.contains("\"t1\" was truncated or rewritten") && said.contains("again"), "{said}");
        client.batch_execute("ROLLBACK").unwrap();
    }
    assert!(
        !db.backup_dir().join("exports").exists()
            || std::fs::read_dir(db.backup_dir().join("exports")).unwrap().count() == 0
    );
    assert_clean(&db, &[]);
}

#[test]
fn ddl_in_a_loop_never_mixes_rows() {
    let db = database();
    Set::create(&db, 3, 2_000);
    db.run("CREATE TABLE part (LIKE t1 INCLUDING ALL)");
    let stop = AtomicBool::new(false);
    let changes = [
        "ALTER TABLE t1 ADD COLUMN x int DEFAULT 5",
        "ALTER TABLE t1 DROP COLUMN x",
        "ALTER TABLE t2 RENAME TO t2_away",
        "ALTER TABLE t2_away RENAME TO t2",
        "ALTER TABLE t1 ALTER id TYPE bigint",
        "ALTER TABLE t1 ALTER id TYPE int",
        "ALTER TABLE t3 RENAME COLUMN a TO z",
        "ALTER TABLE t3 RENAME COLUMN z TO a",
        "BEGIN; CREATE TABLE t3_new AS TABLE t3; DROP TABLE t3; ALTER TABLE t3_new RENAME TO t3; COMMIT",
        "ALTER TABLE part INHERIT t1",
        "ALTER TABLE part NO INHERIT t1",
    ];
    let limit = Duration::from_secs(if long() { 60 } else { 10 });
    std::thread::scope(|scope| {
        let changer = scope.spawn(|| {
            let mut client = db.client();
            for change in changes.iter().cycle() {
                if stop.load(Ordering::Relaxed) && *change == changes[0] {
                    return;
                }
                // part may have lost a column that t1 has for the moment.
                if let Err(error) = client.batch_execute(change) {
                    assert!(change.contains("part "), "{change}: {error:?}");
                }
            }
        });
        let (mut client, started, mut ok) = (db.client(), Instant::now(), 0);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            while started.elapsed() < limit {
                for row in backup(&mut client).unwrap() {
                    match row.status.as_str() {
                        "ok" => ok += usize::from(row.rows == Some(2_000)),
                        "failed" => assert!(row.error.is_some_and(|error| !error.is_empty()), "{}", row.table),
                        status => assert_eq!((status, row.table.contains("t2")), ("absent", true)),
                    }
                    assert!(row.rows.is_none_or(|rows| rows == 2_000), "{}: {:?}", row.table, row.rows);
                }
            }
        }));
        stop.store(true, Ordering::Relaxed);
        changer.join().unwrap();
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        assert!(ok > 10, "{ok} tables were read");
    });
    assert_clean(&db, &["was dropped or replaced", "does not exist"]);
}
