//! A person is erased from the log of changes, its files, the archive and incrementals, too, and the plain DELETE works.

use agent_backup_suite::{
    CANARY, Database, assert_no_trash, database, erase, files_with, incremental_of_s, lines, make_person, one, summed,
};

const ERASE: &str = "NULL, 'canary.person@example.org', 'request 1', 's', confirm => true";

fn sum(db: &Database, place: &str) -> i64 {
    let erased = erase(&mut db.client(), ERASE).unwrap();
    assert!(erased.iter().all(|row| row.action != "left"), "{erased:?}");
    summed(&erased)
        .iter()
        .filter(|(name, action, _)| name == place && action == "erased")
        .map(|(_, _, rows)| rows)
        .sum()
}

#[test]
fn the_log_of_changes_forgets_the_person() {
    let db = database();
    make_person(&db, 1_010, "");
    db.run("SELECT agent_backup.track('t')");
    db.run(&format!(
        "UPDATE t SET note = 'one' WHERE id <= 10; UPDATE t SET email = 'new@example.org', data = '{{}}' WHERE id = 7;
         INSERT INTO t VALUES (5000, '{CANARY}', 'x', NULL); DELETE FROM t WHERE email = '{CANARY}' OR id = 9"
    ));
    let held = format!(
        "SELECT count(*) FROM agent_backup.change_log WHERE image LIKE '%{CANARY}%' OR old_values LIKE '%{CANARY}%'"
    );
    assert!(one::<i64>(&mut db.client(), &held) > 0);
    assert_eq!(sum(&db, "change log"), 5);
    assert_eq!(one::<i64>(&mut db.client(), &held), 0);
    // Other rows are in it as they were.
    let other =
        "SELECT count(*) FROM agent_backup.record_history('t', '9') h WHERE h.old_row->>'email' = 'p9@example.org'";
    assert!(one::<i64>(&mut db.client(), other) > 0);
    assert_eq!(files_with(db.backup_dir(), CANARY).len(), 0, "the baseline backup is looked through, too");
    assert_no_trash(&db, &[]);
}

#[test]
fn days_of_the_log_in_files_forget_the_person() {
    let db = database();
    make_person(&db, 20, "");
    db.run("SELECT agent_backup.track('t'); UPDATE t SET note = 'two'");
    // As if it had been done weeks ago.
    db.run(
        "CREATE TABLE agent_backup.change_log_20250101 PARTITION OF agent_backup.change_log FOR VALUES FROM ('2025-01-01 00:00:00+00') TO ('2025-01-02 00:00:00+00');
         UPDATE agent_backup.change_log SET changed_at = '2025-01-01 12:00:00+00';
         SELECT agent_backup.maintain_log()",
    );
    let changes = db.backup_dir().join("changes");
    assert_eq!(files_with(&changes, CANARY).len(), 1);
    assert_eq!(sum(&db, "log file"), 1);
    assert_eq!(files_with(db.backup_dir(), CANARY).len(), 0);
    assert_eq!(files_with(&changes, "p8@example.org").len(), 1);
    assert_no_trash(&db, &[]);
}

#[test]
fn the_archive_forgets_the_person_and_a_plain_delete_uses_an_index() {
    let db = database();
    make_person(&db, 10, "");
    db.run(&format!(
        "INSERT INTO agent_training_archive (original_table, original_id, data, archive_reason)
         SELECT 't', n::text, jsonb_build_object('email', CASE WHEN n % 50000 = 3 THEN '{CANARY}' ELSE 'p' || n || '@example.org' END, 'n', n), 'test'
           FROM generate_series(1, 100000) n;
         INSERT INTO agent_training_archive (original_table, original_id, data) VALUES ('other', '1', '{{\"email\": \"{CANARY}\"}}');
         SELECT agent_backup.set_subject_columns('agent_sdk', 'agent_training_archive', ARRAY[$$data->>'customer_email'$$]);
         ANALYZE agent_backup.archive_rows"
    ));
    assert_eq!(sum(&db, "archive"), 2);
    assert_eq!(one::<i64>(&mut db.client(), "SELECT count(*) FROM agent_training_archive"), 99_999);
    db.run("UPDATE agent_training_archive SET data = data || '{\"customer_email\": \"c@example.org\"}' WHERE original_id = '77'");
    let plan = lines(
        &mut db.client(),
        "EXPLAIN DELETE FROM agent_training_archive WHERE data->>'customer_email' = 'c@example.org'",
    )
    .join("\n");
    assert!(plan.contains("Index Scan") && !plan.contains("Seq Scan on archive_rows"), "{plan}");
    db.run("DELETE FROM agent_training_archive WHERE data->>'customer_email' = 'c@example.org'");
    assert_eq!(one::<i64>(&mut db.client(), "SELECT count(*) FROM agent_training_archive WHERE original_id = '77'"), 0);
    assert_no_trash(&db, &[]);
}

#[test]
fn files_of_incrementals_forget_the_person() {
    let db = database();
    make_person(&db, 20, "");
    incremental_of_s(&db);
    let below = db.backup_dir().join("s/incremental");
    assert_eq!(files_with(&below, CANARY).len(), 1);
    assert_eq!(sum(&db, "incremental"), 1);
    assert_eq!(files_with(&below, CANARY).len(), 0);
    assert_eq!(files_with(&below, "p8@example.org").len(), 1);
    let manifest = std::fs::read_dir(&below).unwrap().map(|file| file.unwrap().path());
    let manifest = manifest
        .into_iter()
        .find(|path| path.to_string_lossy().contains("metadata") || path.extension().is_some_and(|e| e == "json"))
        .unwrap();
    let text: serde_json::Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    assert_eq!(text["rows"], 19, "{manifest:?}");
    assert_no_trash(&db, &[]);
}
