//! One snapshot for all tables of a call (T40).

use std::io::Read;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use agent_backup_suite::{Database, assert_clean, backup, database, files, long, sqlstate, statuses};

/// Two tables of ten accounts with 10,000 in each account, in the set `s`, and a third with many rows between them.
fn bank(db: &Database) {
    db.run(
        "CREATE TABLE here (id int PRIMARY KEY, amount bigint NOT NULL);
         CREATE TABLE bulk AS SELECT n, repeat(md5(n::text), 20) AS filler FROM generate_series(1, 1000) n;
         CREATE TABLE there (LIKE here INCLUDING ALL);
         CREATE TABLE note (id int);
         INSERT INTO here SELECT n, 10000 FROM generate_series(1, 10) n;
         INSERT INTO there SELECT n, 10000 FROM generate_series(1, 10) n;
         SELECT agent_backup.create_set('s', formats => '{csv}');
         SELECT agent_backup.add_table('s', t) FROM unnest('{here,bulk,there}'::text[]) t",
    );
}

/// The sum of the second column of both tables in a container, as tar and a person read it.
fn sum(path: &str) -> i64 {
    let mut total = 0;
    for entry in ["here.csv", "there.csv"] {
        let output = Command::new("tar").args(["-xzOf", path, entry]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut text = String::new();
        output.stdout.as_slice().read_to_string(&mut text).unwrap();
        let amounts: Vec<i64> =
            text.lines().skip(1).map(|line| line.split_once(',').unwrap().1.parse().unwrap()).collect();
        assert_eq!(amounts.len(), 10, "{path}: {entry}");
        total += amounts.iter().sum::<i64>();
    }
    total
}

/// Runs `work` while three sessions move money between the tables; the number of transfers meanwhile.
fn while_money_moves(db: &Database, work: impl FnOnce()) -> u64 {
    let (stop, transfers) = (AtomicBool::new(false), AtomicU64::new(0));
    let transfer = |seed: u64| {
        let (mut client, mut state) = (db.client(), seed);
        let give = client.prepare("UPDATE here SET amount = amount - $2 WHERE id = $1").unwrap();
        let take = client.prepare("UPDATE there SET amount = amount + $2 WHERE id = $1").unwrap();
        while !stop.load(Ordering::Relaxed) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (from, to) = ((state >> 33) as i32 % 10 + 1, (state >> 40) as i32 % 10 + 1);
            let amount = (state >> 50) as i64 % 100 - 50;
            let mut transaction = client.transaction().unwrap();
            transaction.execute(&give, &[&from, &amount]).unwrap();
            transaction.execute(&take, &[&to, &amount]).unwrap();
            transaction.commit().unwrap();
            transfers.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let movers: Vec<_> = (1..=3).map(|seed| scope.spawn(move || transfer(seed))).collect();
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        movers.into_iter().for_each(|mover| mover.join().unwrap());
        ran.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    transfers.into_inner()
}

/// Backups in transactions that begin with `before`: the sum is the same in each.
fn the_sum_is_constant(before: &str, runs: usize) {
    let db = database();
    bank(&db);
    let mut client = db.client();
    let moved = while_money_moves(&db, || {
        for run in 0..runs {
            client.batch_execute(before).unwrap();
            let rows = backup(&mut client).unwrap();
            client.batch_execute("COMMIT").unwrap();
            assert_eq!(statuses(&rows), ["ok", "ok", "ok"], "run {run}: {rows:?}");
            assert_eq!(sum(rows[0].file.as_deref().unwrap()), 200_000, "run {run} after {before}");
        }
    });
    assert!(moved > runs as u64, "only {moved} transfers in {runs} backups");
    drop(client);
    assert_clean(&db, &[]);
}

fn runs() -> usize {
    if long() { 50 } else { 20 }
}

#[test]
fn no_money_is_made_or_lost_in_read_committed() {
    the_sum_is_constant("BEGIN", runs());
}

#[test]
fn no_money_is_made_or_lost_in_repeatable_read() {
    the_sum_is_constant("BEGIN ISOLATION LEVEL REPEATABLE READ", runs());
}

#[test]
fn no_money_is_made_or_lost_after_a_write_of_the_same_transaction() {
    the_sum_is_constant("BEGIN; INSERT INTO note VALUES (1)", runs());
    the_sum_is_constant("BEGIN; UPDATE agent_backup.sets SET description = 'x' WHERE set_name = 's'", runs() / 4);
    the_sum_is_constant("BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO note VALUES (1)", runs() / 4);
    the_sum_is_constant("BEGIN; SAVEPOINT a; INSERT INTO note VALUES (1)", runs() / 4);
}

#[test]
fn two_backups_of_one_repeatable_read_transaction_are_of_one_moment() {
    let db = database();
    bank(&db);
    let mut client = db.client();
    let moved = while_money_moves(&db, || {
        client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").unwrap();
        let (one, other) = (backup(&mut client).unwrap(), backup(&mut client).unwrap());
        client.batch_execute("COMMIT").unwrap();
        let read =
            |path: &str| Command::new("tar").args(["-xzOf", path, "here.csv", "there.csv"]).output().unwrap().stdout;
        assert!(read(one[0].file.as_deref().unwrap()) == read(other[0].file.as_deref().unwrap()));
    });
    assert!(moved > 0);
    drop(client);
    assert_clean(&db, &[]);
}

#[test]
fn a_backup_sees_what_its_own_transaction_wrote() {
    let db = database();
    bank(&db);
    for isolation in ["READ COMMITTED", "REPEATABLE READ"] {
        let mut client = db.client();
        client
            .batch_execute(&format!("BEGIN ISOLATION LEVEL {isolation}; UPDATE here SET amount = amount + 1"))
            .unwrap();
        let rows = backup(&mut client).unwrap();
        client.batch_execute("ROLLBACK").unwrap();
        assert_eq!(sum(rows[0].file.as_deref().unwrap()), 200_010);
    }
    assert_eq!(files(&db).len(), 4);
    assert_clean(&db, &[]);
}

#[test]
fn a_serializable_failure_elsewhere_makes_no_backup_wrong() {
    let db = database();
    bank(&db);
    let mut client = db.client();
    let moved = while_money_moves(&db, || {
        for _ in 0..5 {
            client.batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE").unwrap();
            let rows = backup(&mut client);
            let ended = client.batch_execute("COMMIT");
            match (rows, ended) {
                (Ok(rows), Ok(())) => assert_eq!(sum(rows[0].file.as_deref().unwrap()), 200_000),
                (Err(error), _) | (_, Err(error)) => assert_eq!(sqlstate(&error), "40001", "{error:?}"),
            }
        }
    });
    assert!(moved > 0);
    drop(client);
    assert_clean(&db, &[]);
}
