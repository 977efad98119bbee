//! Files are not transactional: what a rollback leaves is adopted, never an unknown orphan (T10, T11, T13).

use agent_backup_suite::{
    Cluster, Database, Options, Set, assert_backups_whole, assert_clean, assert_no_trash, backup, database, fails_with,
    files, statuses,
};

/// Actions and files of `reconcile('s')`.
fn reconcile(db: &Database) -> Vec<(String, String)> {
    let query = "SELECT action, backup_file FROM agent_backup.reconcile('s')";
    db.client().query(query, &[]).unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn listed(db: &Database) -> i64 {
    let query = "SELECT count(*) FROM agent_backup.backups WHERE set_name = 's' AND status = 'complete'";
    db.client().query_one(query, &[]).unwrap().get(0)
}

#[test]
fn a_rolled_back_backup_is_adopted_by_reconcile() {
    let db = database();
    Set::create(&db, 2, 100);
    db.run("BEGIN; SELECT agent_backup.backup('s'); ROLLBACK");
    assert_eq!((listed(&db), files(&db).len()), (0, 2));
    let found = reconcile(&db);
    assert_eq!(found.iter().map(|(action, _)| action.as_str()).collect::<Vec<_>>(), ["adopted"]);
    assert_eq!((listed(&db), reconcile(&db).len()), (1, 0));
    assert_clean(&db, &[]);
}

#[test]
fn a_rolled_back_backup_is_adopted_by_the_next_backup() {
    let db = database();
    Set::create(&db, 2, 100);
    db.run("BEGIN; SELECT agent_backup.backup('s'); ROLLBACK");
    assert_eq!(statuses(&backup(&mut db.client()).unwrap()), ["ok", "ok"]);
    assert_eq!((listed(&db), assert_backups_whole(&db)), (2, 2));
    assert_eq!(reconcile(&db), []);
    assert_clean(&db, &[]);
}

#[test]
fn a_backup_rolled_back_to_a_savepoint_is_adopted_in_the_same_transaction() {
    for isolation in ["READ COMMITTED", "REPEATABLE READ"] {
        let db = database();
        Set::create(&db, 1, 100);
        db.run(&format!(
            "BEGIN ISOLATION LEVEL {isolation}; SAVEPOINT a; SELECT agent_backup.backup('s'); ROLLBACK TO a;
             SELECT agent_backup.backup('s'); SELECT agent_backup.backup('s'); COMMIT"
        ));
        assert_eq!((listed(&db), assert_backups_whole(&db)), (3, 3));
        assert_clean(&db, &[]);
    }
}

#[test]
fn a_backup_undone_by_an_exception_block_is_adopted() {
    let db = database();
    Set::create(&db, 1, 100);
    db.run(
        "DO $$ BEGIN PERFORM agent_backup.backup('s'); RAISE 'no'; EXCEPTION WHEN raise_exception THEN NULL; END $$",
    );
    assert_eq!((listed(&db), files(&db).len()), (0, 2));
    assert_eq!(reconcile(&db).len(), 1);
    assert_eq!((listed(&db), assert_backups_whole(&db)), (1, 1));
    assert_clean(&db, &[]);
}

#[test]
fn an_error_caught_by_an_exception_block_leaves_the_session_usable() {
    let db = database();
    Set::create(&db, 1, 100);
    for step in ["snapshot=error", "manifest=error", "publish=error", "publish_manifest=error", "publish=panic"] {
        let mut client = db.client();
        client
            .batch_execute(&format!(
                "SET agent_backup.debug_failpoint = '{step}';
                 DO $$ BEGIN PERFORM agent_backup.backup('s'); RAISE 'not reached';
                 EXCEPTION WHEN internal_error THEN NULL; END $$;
                 SET agent_backup.debug_failpoint = ''"
            ))
            .unwrap_or_else(|error| panic!("{step}: {error:?}"));
        assert_eq!(files(&db).len() % 2, 0, "{step}: {:?}", files(&db));
        assert_eq!(statuses(&backup(&mut client).unwrap()), ["ok"], "{step}");
        assert_no_trash(&db, &["was made to panic", "panicked at"]);
    }
    assert_clean(&db, &["was made to panic", "panicked at"]);
}

#[test]
fn a_backup_whose_commit_fails_is_adopted() {
    let db = database();
    Set::create(&db, 1, 100);
    db.run(
        "CREATE TABLE parent (id int PRIMARY KEY);
         CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)",
    );
    let mut client = db.client();
    client.batch_execute("BEGIN; INSERT INTO child VALUES (1); SELECT agent_backup.backup('s')").unwrap();
    fails_with(client.batch_execute("COMMIT"), "23503");
    // Who gets an error gets it before its transaction has ended.
    client.simple_query("SELECT").unwrap();
    assert_eq!((listed(&db), files(&db).len()), (0, 2));
    assert_eq!(reconcile(&db).len(), 1);
    assert_eq!(listed(&db), 1);
    assert_clean(&db, &[]);
}

#[test]
fn a_backup_of_a_transaction_that_goes_on_keeps_other_sessions_out_until_its_end() {
    let db = database();
    Set::create(&db, 1, 100);
    let (mut open, mut other) = (db.client(), db.client());
    open.batch_execute("BEGIN; SELECT agent_backup.backup('s')").unwrap();
    other.batch_execute("SET statement_timeout = '5s'").unwrap();
    let said = fails_with(backup(&mut other), "55P03");
    assert!(said.contains("\"s\" is busy"), "{said}");
    open.batch_execute("COMMIT").unwrap();
    assert_eq!(statuses(&backup(&mut other).unwrap()), ["ok"]);
    assert_eq!((listed(&db), assert_backups_whole(&db)), (2, 2));
    assert_clean(&db, &[]);
}

#[test]
fn many_sessions_in_a_row_never_list_one_backup_twice() {
    let db = database();
    Set::create(&db, 1, 100);
    let run = || {
        let mut client = db.client();
        let mut done = 0;
        for _ in 0..12 {
            match backup(&mut client) {
                Ok(rows) => done += usize::from(statuses(&rows) == ["ok"]),
                Err(error) => assert_eq!(agent_backup_suite::sqlstate(&error), "55P03", "{error:?}"),
            }
        }
        done
    };
    let done: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(done > 0);
    assert_eq!((listed(&db), assert_backups_whole(&db)), (done as i64, done));
    assert_clean(&db, &[]);
}

#[test]
fn three_backups_of_one_statement_are_three_backups() {
    let db = database();
    Set::create(&db, 2, 50);
    let query =
        "SELECT b.backup_file FROM generate_series(1, 3), LATERAL agent_backup.backup('s') b WHERE b.status = 'ok'";
    let rows = db.client().query(query, &[]).unwrap();
    let names: std::collections::BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    // The executor may read the function once and repeat its rows, since it does not depend on the series.
    assert!(rows.len() == 6 && matches!(names.len(), 1 | 3), "{names:?}");
    assert_eq!(listed(&db), names.len() as i64);
    let query = "SELECT b.backup_file FROM generate_series(1, 3) n, LATERAL agent_backup.backup(left('s', n)) b";
    let rows = db.client().query(query, &[]).unwrap();
    let more: std::collections::BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    assert!(more.len() == 3 && more.is_disjoint(&names), "{more:?}");
    assert_eq!(assert_backups_whole(&db), names.len() + 3);
    let ids = "SELECT count(DISTINCT backup_id) FROM agent_backup.backups";
    assert_eq!(db.client().query_one(ids, &[]).unwrap().get::<_, i64>(0), names.len() as i64 + 3);
    assert_clean(&db, &[]);
}

#[test]
fn exports_of_one_second_overwrite_nothing() {
    let db = database();
    Set::create(&db, 1, 50);
    let directory = db.backup_dir().join("json");
    let mut names = std::collections::BTreeSet::new();
    let mut client = db.client();
    for rows in 51..=56 {
        client.batch_execute(&format!("INSERT INTO t1 VALUES ({rows}, 'a', 'b')")).unwrap();
        let call =
            format!("SELECT backup_file, row_count FROM backup_agent_table_to_json('t1', '{}')", directory.display());
        let row = client.query_one(&call, &[]).unwrap();
        let file: String = row.get(0);
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!((text.matches("\"id\"").count() as i64, row.get::<_, i64>(1)), (rows, rows));
        assert!(names.insert(file));
    }
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 6);
    let counts: Vec<usize> =
        names.iter().map(|file| std::fs::read_to_string(file).unwrap().matches("\"id\"").count()).collect();
    let mut ordered = counts.clone();
    ordered.sort_unstable();
    assert_eq!(ordered, [51, 52, 53, 54, 55, 56]);
    assert_clean(&db, &[]);
}

#[test]
fn a_prepared_transaction_keeps_others_out_until_it_ends_and_is_listed_or_adopted() {
    let cluster = Cluster::start(Options::default().setting("max_prepared_transactions = 5"));
    let db = cluster.database();
    Set::create(&db, 1, 100);
    for (number, end) in [(1, "COMMIT"), (2, "ROLLBACK")] {
        db.run("BEGIN; SELECT agent_backup.backup('s'); PREPARE TRANSACTION 'x'");
        let mut other = db.client();
        other.batch_execute("SET statement_timeout = '5s'").unwrap();
        fails_with(backup(&mut other), "55P03");
        db.run(&format!("{end} PREPARED 'x'"));
        assert_eq!(reconcile(&db).len(), number - 1, "{end}");
        assert_eq!((listed(&db), assert_backups_whole(&db)), (number as i64, number), "{end}");
    }
    assert_clean(&db, &[]);
}
