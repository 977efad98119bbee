//! Incrementals while others write, and runs that are cancelled.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agent_backup_suite::{
    Database, assert_no_trash, begun, fails_with, ids_in, incremental_of_s, incremental_with, lines, quiet_database,
    rows_in, sqlstate, wait_for_pause, with_set,
};

const WRITERS: usize = 4;

/// Transactions that insert, change and delete rows of their own, in part in subtransactions, and take their time.
fn write(db: &Database, writer: usize, transactions: usize) {
    let (mut client, mut state) = (db.client(), writer as u64 + 1);
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    for turn in 0..transactions {
        client.batch_execute("BEGIN").unwrap();
        for _ in 0..random(4) + 1 {
            let id = writer as u64 * 1000 + random(30);
            let statement = match random(4) {
                0 => format!("DELETE FROM t WHERE id = {id}"),
                _ => format!(
                    "INSERT INTO t VALUES ({id}, '{turn}') ON CONFLICT (id) DO UPDATE SET note = '{turn}-' || t.note"
                ),
            };
            let (before, after) =
                [("", ""), ("SAVEPOINT a; ", "; RELEASE a"), ("SAVEPOINT b; ", "; ROLLBACK TO b")][random(3) as usize];
            client.batch_execute(&format!("{before}{statement}{after}")).unwrap();
            std::thread::sleep(Duration::from_millis(random(8)));
        }
        client.batch_execute(if random(5) == 0 { "ROLLBACK" } else { "COMMIT" }).unwrap();
    }
}

/// Every row that is there stands in a file as it is now.
#[track_caller]
fn assert_nothing_is_lost(db: &Database, files: &[String]) {
    let saved: HashSet<String> = files.iter().flat_map(|file| rows_in(db, "s", file)).collect();
    let live = lines(&mut db.client(), "SELECT row_to_json(t) FROM t");
    let lost: Vec<&String> = live.iter().filter(|row| !saved.contains(*row)).collect();
    assert!(lost.is_empty() && live.len() > 10, "{} of {} rows: {lost:?}", lost.len(), live.len());
}

fn while_others_write(prepare: &str) {
    let db = with_set("CREATE TABLE t (id int PRIMARY KEY, note text); INSERT INTO t VALUES (1, 'a')", &["t"]);
    db.run(prepare);
    let running = AtomicUsize::new(WRITERS);
    let mut files = Vec::new();
    std::thread::scope(|scope| {
        for writer in 1..=WRITERS {
            let (db, running) = (&db, &running);
            scope.spawn(move || {
                let written = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| write(db, writer, 60)));
                running.fetch_sub(1, Ordering::Relaxed);
                written.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            });
        }
        while running.load(Ordering::Relaxed) > 0 {
            files.extend(incremental_of_s(&db).file);
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    files.extend(incremental_of_s(&db).file);
    assert!(files.len() > 3, "{files:?}");
    assert_nothing_is_lost(&db, &files);
    assert_no_trash(&db, &[]);
}

#[test]
fn nothing_is_lost_while_others_write() {
    while_others_write("");
}

#[test]
fn nothing_is_lost_while_others_write_to_a_tracked_table() {
    while_others_write("SELECT agent_backup.track('t', baseline => false); UPDATE t SET note = 'b'");
}

#[test]
fn a_cancelled_run_leaves_nothing_and_is_made_again() {
    let db = with_set("CREATE TABLE t (id int PRIMARY KEY, note text); INSERT INTO t VALUES (1, 'a')", &["t"]);
    for step in ["scan", "archived", "publish", "publish_manifest"] {
        let mut client = db.client();
        client
            .batch_execute(&format!(
                "SELECT agent_backup.lock_key('x'); SET agent_backup.debug_failpoint = '{step}=pause'"
            ))
            .unwrap();
        let (pid, run) = begun(client, "SELECT agent_backup.incremental('s')");
        wait_for_pause(&db, pid, step);
        db.run(&format!("SELECT pg_cancel_backend({pid})"));
        let (_, result) = run.join().unwrap();
        assert_eq!(sqlstate(&result.unwrap_err()), "57014", "{step}");
        let left = std::fs::read_dir(db.backup_dir().join("s/incremental")).unwrap().count();
        assert_eq!(left, 0, "{step}");
    }
    assert_eq!(ids_in(&db, &incremental_of_s(&db)), [1]);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_locked_table_costs_itself_and_a_file_in_the_place_of_the_directory_is_named() {
    let db = quiet_database();
    db.run("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (1); SELECT agent_backup.create_set('s');
        SELECT agent_backup.add_table('s', 't'); SELECT agent_backup.add_table('s', 'u')");
    let mut holder = db.client();
    holder.batch_execute("BEGIN; LOCK TABLE t").unwrap();
    let mut client = db.client();
    client.batch_execute("SELECT agent_backup.lock_key('x'); SET agent_backup.lock_timeout = '100ms'").unwrap();
    let rows = incremental_with(&mut client, "'s'");
    let told: Vec<_> = rows.iter().map(|row| (row.status.as_str(), row.rows)).collect();
    assert_eq!(told, [("failed", None), ("ok", Some(1))]);
    client.batch_execute("SET lock_timeout = '100ms'; RESET agent_backup.lock_timeout").unwrap();
    holder.batch_execute("COMMIT").unwrap();
    drop((holder, client));
    // A file in the place of the directory.
    std::fs::remove_dir_all(db.backup_dir().join("s/incremental")).unwrap();
    std::fs::write(db.backup_dir().join("s/incremental"), "").unwrap();
    let message = fails_with(db.client().query("SELECT agent_backup.incremental('s')", &[]), "22023");
    assert!(message.contains("is not a directory"), "{message}");
    assert_no_trash(&db, &["could not lock table \"t\" in time"]);
}
