//! What a person sees while a backup runs: `pg_stat_progress_copy` moves, and is empty afterwards.

use std::time::Duration;

use agent_backup_suite::{
    Database, Set, Signal, assert_clean, backup, begun, database, kill_backend, statuses, wait_for_pause, wait_until,
};

const ROWS: i64 = 200_000;

/// Rows of the view in this database.
fn shown(client: &mut postgres::Client) -> Vec<(String, String, i64, i64, i64)> {
    let query = "SELECT relid::regclass::text, command, tuples_processed, bytes_processed, bytes_total
                 FROM pg_stat_progress_copy WHERE datname = current_database()";
    let rows = client.query(query, &[]).unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4))).collect()
}

/// Rows processed at each look while `pid` runs.
fn watch(db: &Database, run: &std::thread::JoinHandle<impl Sized>) -> Vec<i64> {
    let mut client = db.client();
    let mut seen = Vec::new();
    while !run.is_finished() {
        for (table, command, rows, bytes, total) in shown(&mut client) {
            assert_eq!((table.as_str(), command.as_str()), ("t1", "COPY TO"));
            assert!(total > 0 && bytes >= rows, "{rows} rows, {bytes} of {total} bytes");
            seen.push(rows);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    seen
}

#[test]
fn the_servers_view_moves_while_a_backup_runs_and_is_empty_after_it() {
    let db = database();
    Set::create(&db, 1, ROWS as usize);
    let (_, run) = begun(db.client(), "SET agent_backup.chunk_size = '32kB'; SELECT agent_backup.backup('s')");
    let seen = watch(&db, &run);
    run.join().unwrap().1.unwrap();
    let mut distinct = seen.clone();
    distinct.dedup();
    assert!(distinct.len() >= 3, "it did not move: {distinct:?}");
    assert!(distinct.is_sorted() && distinct.iter().all(|&rows| rows <= ROWS), "{distinct:?}");
    assert!(shown(&mut db.client()).is_empty());
    assert_clean(&db, &[]);
}

#[test]
fn the_view_is_empty_after_success_in_the_same_transaction() {
    let db = database();
    Set::create(&db, 2, 100);
    let mut client = db.client();
    client.batch_execute("BEGIN").unwrap();
    assert_eq!(statuses(&backup(&mut client).unwrap()), ["ok", "ok"]);
    assert!(shown(&mut db.client()).is_empty());
    client.batch_execute("COMMIT").unwrap();
    assert_clean(&db, &[]);
}

#[test]
fn the_view_is_empty_after_an_error_and_after_a_cancel() {
    let db = database();
    Set::create(&db, 1, ROWS as usize);
    // An error in the scan itself, caught for the one table: the second row cannot be computed.
    db.run(
        "CREATE TABLE bad (id int); INSERT INTO bad VALUES (1), (0);
         SELECT agent_backup.add_table('s', 'bad', row_filter => '1 / id > 0')",
    );
    let mut client = db.client();
    client.batch_execute("BEGIN").unwrap();
    assert_eq!(statuses(&backup(&mut client).unwrap()), ["ok", "failed"]);
    assert!(shown(&mut db.client()).is_empty(), "after an error");
    client.batch_execute("COMMIT").unwrap();
    db.run("SELECT agent_backup.remove_table('s', 'bad')");

    let (pid, run) = begun(client, "SELECT agent_backup.backup('s')");
    let mut looking = db.client();
    wait_until("the view to show it", Duration::from_secs(20), || (!shown(&mut looking).is_empty()).then_some(()));
    kill_backend(pid, Signal::SIGINT);
    let (client, outcome) = run.join().unwrap();
    outcome.unwrap_err();
    assert!(shown(&mut looking).is_empty(), "after a cancel");
    drop((client, looking));
    assert_clean(&db, &["bad: division by zero"]);
}

#[test]
fn a_backup_that_runs_is_listed_as_running() {
    let db = database();
    Set::create(&db, 1, 100);
    let mut client = db.client();
    client.batch_execute("SET agent_backup.debug_failpoint = 'manifest=pause'").unwrap();
    let (pid, run) = begun(client, "SELECT agent_backup.backup('s')");
    wait_for_pause(&db, pid, "manifest");
    let query = "SELECT set_name, started_at <= now() FROM agent_backup.backups WHERE status = 'running'";
    let rows = db.client().query(query, &[]).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].get::<_, String>(0), rows[0].get::<_, bool>(1)), ("s".to_owned(), true));
    kill_backend(pid, Signal::SIGINT);
    run.join().unwrap().1.unwrap_err();
    assert!(db.client().query(query, &[]).unwrap().is_empty());
    assert_clean(&db, &[]);
}
