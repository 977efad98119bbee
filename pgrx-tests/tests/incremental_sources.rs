//! By what incrementals tell changes: transactions, times, or the log of a tracked table; and how long their files stay.

use agent_backup_suite::{
    archived, assert_no_trash, ids_in, incremental_of_s, incremental_with, lines, one, quiet_database, refused,
    rows_in, tombstones_in, with_set,
};

const T: &str = "CREATE TABLE t (id int PRIMARY KEY, note text)";

#[test]
fn a_row_that_jsonb_refuses_is_in_the_file_and_costs_no_other() {
    let db = with_set(
        r#"CREATE TABLE t (id int PRIMARY KEY, j json); INSERT INTO t SELECT n, CASE n WHEN 3 THEN '"\u0000"' ELSE '1' END::json FROM generate_series(1, 5) n"#,
        &["t"],
    );
    let row = incremental_of_s(&db);
    assert_eq!(rows_in(&db, "s", row.file.as_deref().unwrap()).len(), 5);
    assert!(row.details.contains("1 rows are in the file and not in agent_training_archive"), "{row:?}");
    assert_eq!(archived(&db).len(), 4);
    assert_no_trash(&db, &[]);
}

#[test]
fn another_source_can_be_chosen() {
    let db = with_set(
        "CREATE TABLE t (id int PRIMARY KEY, \"updatedAt\" timestamp); INSERT INTO t VALUES (1, now()); CREATE TABLE u (id int PRIMARY KEY)",
        &["t", "u"],
    );
    db.run("SELECT agent_backup.set_change_source('t', 'timestamp', 's'); SELECT agent_backup.set_change_source('u', 'timestamp', 's')");
    let rows = incremental_with(&mut db.client(), "'s'");
    assert_eq!((rows[0].source.as_deref(), rows[0].rows), (Some("timestamp"), Some(1)));
    assert_eq!(
        (rows[1].status.as_str(), rows[1].details.contains("no column updated_at or created_at")),
        ("failed", true)
    );
    db.run("INSERT INTO t VALUES (2, now() - interval '1 day'), (3, now()), (4, NULL); SELECT agent_backup.set_change_source('u', NULL, 's')");
    let rows = incremental_with(&mut db.client(), "'s'");
    let found = ids_in(&db, &rows[0]);
    assert!(found.ends_with(&[3, 4]) && !found.contains(&2), "{rows:?}");
    assert_eq!(rows[1].source.as_deref(), Some("snapshot"));
    db.run("SELECT agent_backup.set_change_source('t', 'snapshot', 's'); UPDATE t SET \"updatedAt\" = '2001-01-01' WHERE id = 1");
    let rows = incremental_with(&mut db.client(), "'s'");
    assert!(ids_in(&db, &rows[0]).contains(&1), "{rows:?}");
    for (call, code) in [
        ("'t', 'guess', 's'", "22023"),
        ("'x', NULL, 's'", "42704"),
        ("'t', NULL, 'x'", "42704"),
        ("NULL, NULL", "22004"),
    ] {
        assert_eq!(
            refused(&mut db.client(), &format!("SELECT agent_backup.set_change_source({call})")).code,
            code,
            "{call}"
        );
    }
    assert_no_trash(&db, &["no column updated_at or created_at"]);
}

#[test]
fn another_table_of_the_name_and_an_attached_partition_are_copied_whole() {
    let db = with_set(
        &format!("{T}; CREATE TABLE t2 (LIKE t INCLUDING ALL); INSERT INTO t2 VALUES (1, 'x'), (2, 'y');
            CREATE TABLE p (id int, note text) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); INSERT INTO p VALUES (1, 'a');
            CREATE TABLE p2 (id int, note text); INSERT INTO p2 VALUES (11, 'b')"),
        &["t", "p"],
    );
    incremental_with(&mut db.client(), "'s'");
    db.run("ALTER TABLE t RENAME TO t_old; ALTER TABLE t2 RENAME TO t; ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20)");
    let rows = incremental_with(&mut db.client(), "'s'");
    assert_eq!((ids_in(&db, &rows[0]), ids_in(&db, &rows[1])), (vec![1, 2], vec![11]));
    db.run("UPDATE p SET id = 12 WHERE id = 1; TRUNCATE t");
    let rows = incremental_with(&mut db.client(), "'s'");
    assert_eq!((ids_in(&db, &rows[0]), ids_in(&db, &rows[1])), (vec![], vec![12]));
    assert_no_trash(&db, &[]);
}

#[test]
fn a_foreign_table_is_told_by_its_times() {
    let db = quiet_database();
    db.run(&format!("CREATE EXTENSION postgres_fdw; CREATE SERVER there FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{}', dbname '{}');
        CREATE USER MAPPING FOR postgres SERVER there OPTIONS (user 'postgres');
        CREATE TABLE kept (id int PRIMARY KEY, created_at timestamptz DEFAULT now()); INSERT INTO kept VALUES (1);
        CREATE FOREIGN TABLE f (id int, created_at timestamptz) SERVER there OPTIONS (table_name 'kept');
        CREATE TABLE p (id int, created_at timestamptz) PARTITION BY RANGE (id); ALTER TABLE p ATTACH PARTITION f FOR VALUES FROM (0) TO (100);
        SELECT agent_backup.create_set('s'); SELECT agent_backup.add_table('s', 'f'); SELECT agent_backup.add_table('s', 'p')",
        db.cluster().socket_dir().display(), db.name()));
    let rows = incremental_with(&mut db.client(), "'s'");
    assert_eq!(
        (rows[0].source.as_deref(), rows[0].rows, rows[1].rows),
        (Some("timestamp"), Some(1), Some(1)),
        "{rows:?}"
    );
    db.run("INSERT INTO kept VALUES (2, now()), (3, '2001-01-01')");
    let rows = incremental_with(&mut db.client(), "'s'");
    assert!(ids_in(&db, &rows[0]).contains(&2) && !ids_in(&db, &rows[0]).contains(&3), "{rows:?}");
    assert_no_trash(&db, &[]);
}

#[test]
fn the_log_of_a_tracked_table_tells_changes_and_deletes() {
    let db = with_set(
        "CREATE TABLE t (a int, b text, note text, PRIMARY KEY (a, b)); INSERT INTO t SELECT n, 'x\"' || n, 'old' FROM generate_series(1, 9) n",
        &["t"],
    );
    db.run("SELECT agent_backup.track('t', baseline => false)");
    let row = incremental_of_s(&db);
    assert_eq!((row.source.as_deref(), row.rows, archived(&db).len()), (Some("capture"), Some(9), 9));
    // A shape that is new is written by one transaction at a time.
    db.run("UPDATE t SET note = 'old' WHERE a = 8");
    incremental_of_s(&db);
    let mut late = db.client();
    late.batch_execute("BEGIN; UPDATE t SET note = 'late' WHERE a = 9").unwrap();
    db.run("UPDATE t SET note = 'new' WHERE a = 1; DELETE FROM t WHERE a = 2; UPDATE t SET a = 33 WHERE a = 3; INSERT INTO t VALUES (40, 'y', 'in'); DELETE FROM t WHERE a = 40;
        DELETE FROM t WHERE a = 5; INSERT INTO t VALUES (5, 'x\"5', 'again')");
    let row = incremental_of_s(&db);
    let mut rows = rows_in(&db, "s", row.file.as_deref().unwrap());
    rows.sort();
    assert_eq!(
        rows,
        [
            r#"{"a":1,"b":"x\"1","note":"new"}"#,
            r#"{"a":33,"b":"x\"3","note":"old"}"#,
            r#"{"a":5,"b":"x\"5","note":"again"}"#
        ]
    );
    assert_eq!(tombstones_in(&db, row.file.as_deref().unwrap()), ["2,\"x\"\"2\"", "3,\"x\"\"3\"", "40,y"]);
    assert!(row.details.starts_with("rows in the log since "), "{row:?}");
    // The log shows in the archive: nothing stands there twice.
    assert_eq!(archived(&db).len(), 9);
    late.batch_execute("COMMIT").unwrap();
    drop(late);
    let row = incremental_of_s(&db);
    assert_eq!(rows_in(&db, "s", row.file.as_deref().unwrap()), [r#"{"a":9,"b":"x\"9","note":"late"}"#]);
    db.run("SELECT agent_backup.untrack('t'); UPDATE t SET note = 'untracked' WHERE a = 1");
    let row = incremental_of_s(&db);
    assert_eq!((row.source.as_deref(), row.rows), (Some("snapshot"), Some(1)));
    assert_no_trash(&db, &[]);
}

#[test]
fn a_gap_of_the_log_is_made_up_for_and_told() {
    let db = with_set(&format!("{T}; INSERT INTO t SELECT n, 'a' FROM generate_series(1, 3) n"), &["t"]);
    db.run("SELECT agent_backup.track('t', baseline => false)");
    incremental_of_s(&db);
    db.run("SET session_replication_role = replica; UPDATE t SET note = 'unseen' WHERE id = 2; INSERT INTO agent_backup.capture_gaps (tracked_id, reason) SELECT tracked_id, 'test' FROM agent_backup.tracked");
    let row = incremental_of_s(&db);
    assert_eq!(ids_in(&db, &row), [2]);
    assert!(row.details.contains("the log misses 1 changes"), "{row:?}");
    let told = "SELECT table_name, source, since IS NOT NULL, watermark_at IS NOT NULL, last_rows, last_file IS NOT NULL, gaps, on_failure, on_truncate FROM agent_backup.tracked_tables WHERE set_name = 's'";
    assert_eq!(lines(&mut db.client(), told), ["t|capture|t|t|1|t|1|fail|capture"]);
    assert_no_trash(&db, &[]);
}

#[test]
fn days_that_were_taken_out_of_the_log_are_made_up_for() {
    let db = with_set(&format!("{T}; INSERT INTO t SELECT n, 'a' FROM generate_series(1, 3) n"), &["t"]);
    db.run("SELECT agent_backup.track('t', baseline => false)");
    incremental_of_s(&db);
    db.run("UPDATE t SET note = 'b' WHERE id = 2; DELETE FROM agent_backup.change_log;
        INSERT INTO agent_backup.sealed_log (partition_name, from_time, until_time, row_count, file_path, checksum) VALUES ('p', now() - interval '1 day', now(), 1, '/x', 'x')");
    let row = incremental_of_s(&db);
    assert_eq!((row.source.as_deref(), ids_in(&db, &row)), (Some("capture"), vec![2]));
    assert!(row.details.contains("the log begins later"), "{row:?}");
    assert!(archived(&db).iter().any(|row| row.contains("\"b\"")));
    assert_no_trash(&db, &[]);
}

#[test]
fn tracked_tables_tells_of_every_table() {
    let db = with_set(
        r#"CREATE TABLE "T" (id int PRIMARY KEY); CREATE TABLE loose (id int PRIMARY KEY); SELECT agent_backup.track('loose', baseline => false)"#,
        &["T"],
    );
    let told = "SELECT set_name, table_name, source, since IS NOT NULL, watermark_at, gaps FROM agent_backup.tracked_tables WHERE set_name IS DISTINCT FROM 'agent_sdk' ORDER BY 2";
    assert_eq!(lines(&mut db.client(), told), ["s|\"T\"|snapshot|f||0", "|loose|capture|t||0"]);
    assert_eq!(
        one::<i64>(
            &mut db.client(),
            "SELECT count(*) FROM agent_backup.tracked_tables WHERE set_name = 'agent_sdk' AND (source IS NULL OR table_name = 'agent_training_archive')"
        ),
        8
    );
}

#[test]
fn incrementals_stay_as_long_as_the_backup_that_they_extend() {
    let db = with_set(&format!("{T}; INSERT INTO t VALUES (1, 'a')"), &["t"]);
    db.run("SELECT agent_backup.backup('s'); SELECT agent_backup.incremental('s')");
    let expire = |arguments: &str| {
        lines(
            &mut db.client(),
            &format!(
                "SELECT table_name, action, reason, size_bytes > 0 FROM agent_backup.expire_incrementals('s'{arguments})"
            ),
        )
    };
    assert_eq!(expire(", confirm => true"), ["t|keep|it is younger than 24 hours|t"]);
    let directory = db.backup_dir().join("s/incremental");
    let manifest = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_str().unwrap().ends_with(".manifest.json"))
        .unwrap();
    let mut old = agent_backup_core::container::Increment::parse(&std::fs::read(&manifest).unwrap()).unwrap();
    let id: String = one(&mut db.client(), "SELECT backup_id FROM agent_backup.backups WHERE set_name = 's'");
    assert_eq!(old.extends.as_ref(), Some(&id));
    old.started_at -= std::time::Duration::from_secs(25 * 3600);
    std::fs::write(&manifest, old.to_bytes().unwrap()).unwrap();
    assert_eq!(expire(", confirm => true"), [format!("t|keep|backup \"{id}\", which it extends, is there|t")]);
    old.extends = Some("gone".into());
    std::fs::write(&manifest, old.to_bytes().unwrap()).unwrap();
    let gone = |action: &str| [format!("t|{action}|backup \"gone\", which it extends, is gone|t")];
    assert_eq!(expire(""), gone("remove"));
    assert_eq!(expire(""), gone("remove"));
    assert_eq!(expire(", confirm => true"), gone("removed"));
    assert!(expire("").is_empty() && std::fs::read_dir(&directory).unwrap().next().is_none());
    assert_eq!(refused(&mut db.client(), "SELECT agent_backup.expire_incrementals('nosuch')").code, "42704");
    assert_no_trash(&db, &[]);
}
