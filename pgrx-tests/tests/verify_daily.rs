//! `verify_daily_backups`: every expected table has a good backup of today, or a row that says why not; and the queries
//! of the seed on the log.

use std::fs;

use agent_backup_suite::{Database, Set, assert_clean, assert_no_trash, backup, database, lines, one, refused};

fn with_backup() -> Database<'static> {
    let db = database();
    Set::create(&db, 2, 100);
    backup(&mut db.client()).unwrap();
    db
}

/// Table and status of each row.
fn verified(db: &Database) -> Vec<String> {
    lines(&mut db.client(), "SELECT table_name, status FROM verify_daily_backups('s')")
}

/// One item of the details of a table.
fn detail(db: &Database, table: &str, item: &str) -> String {
    let query = format!(
        "SELECT coalesce(details #>> '{{{item}}}', 'null') FROM verify_daily_backups('s') WHERE table_name = '{table}'"
    );
    one(&mut db.client(), &query)
}

/// Makes all backups older.
fn age(db: &Database, by: &str) {
    db.run(&format!("UPDATE agent_backup.backup_catalog SET started_at = started_at - interval '{by}', finished_at = finished_at - interval '{by}'"));
}

/// The seed's alert, as it is written, for our tables.
const ALERT: &str = "SELECT
  CURRENT_DATE as expected_backup_date,
  table_name,
  CASE
    WHEN MAX(backup_date) = CURRENT_DATE THEN 'OK'
    WHEN MAX(backup_date) = CURRENT_DATE - 1 THEN 'WARNING'
    ELSE 'FAILED'
  END as backup_status,
  MAX(backup_date) as last_backup_date
FROM backup_verification_log
WHERE table_name IN ('t1', 't2', 'agent_approvals', 'AgentFeedback')
GROUP BY table_name
HAVING MAX(backup_date) < CURRENT_DATE";

fn alerts(db: &Database) -> Vec<String> {
    let query = format!("SET TimeZone = 'UTC'; SELECT table_name, backup_status FROM ({ALERT}) a ORDER BY 1");
    lines(&mut db.client(), &query)
}

#[test]
fn a_good_backup_of_today_is_a_success_and_is_logged() {
    let db = with_backup();
    let mut client = db.client();
    let rows = lines(
        &mut client,
        "SELECT table_name, status, details ->> 'row_count', details ->> 'live_row_count', details ->> 'live_difference',
                details ->> 'schema_drift', details ->> 'time_zone', details ->> 'day' = (now() AT TIME ZONE 'UTC')::date::text,
                details -> 'problems', details -> 'notes' FROM verify_daily_backups('s')",
    );
    assert_eq!(rows, ["t1|success|100|100|0||UTC|t|[]|[]", "t2|success|100|100|0||UTC|t|[]|[]"]);
    let logged = "SELECT table_name, verification_status, l.row_count, level, l.size_bytes = (SELECT sum(size_bytes) FROM agent_backup.backup_files f
                      WHERE f.table_name = l.table_name), checksum = (SELECT checksum FROM agent_backup.backup_files f
                      WHERE f.table_name = l.table_name AND f.format = 'csv'), error_message FROM backup_verification_log l ORDER BY 1";
    assert_eq!(lines(&mut client, logged), ["t1|success|100|decode|t|t|", "t2|success|100|decode|t|t|"]);
    assert_eq!(one::<String>(&mut client, "SELECT verification_status FROM agent_backup.backups"), "success");
    drop(client);
    assert_eq!(alerts(&db), Vec::<String>::new());
    assert_clean(&db, &[]);
}

#[test]
fn the_seeds_call_and_its_queries_work_as_they_are_written() {
    let db = database();
    db.run(
        "CREATE TABLE agent_approvals (id int); CREATE TABLE \"AgentFeedback\" (id int); SELECT agent_backup.backup()",
    );
    let rows =
        lines(&mut db.client(), "SELECT table_name, status FROM verify_daily_backups() WHERE status <> 'warning'");
    assert_eq!(rows, ["agent_approvals|success", "AgentFeedback|success"]);
    let recent = lines(
        &mut db.client(),
        "SET TimeZone = 'UTC'; SELECT backup_date, table_name, verification_status, row_count, pg_size_pretty(size_bytes) as backup_size
         FROM backup_verification_log WHERE backup_date > CURRENT_DATE - INTERVAL '7 days' ORDER BY backup_date DESC, table_name",
    );
    assert_eq!(recent.len(), 2, "{recent:?}");
    let counts = lines(
        &mut db.client(),
        "SET TimeZone = 'UTC'; SELECT table_name, row_count FROM backup_verification_log WHERE backup_date = CURRENT_DATE ORDER BY 1",
    );
    assert_eq!(counts, ["AgentFeedback|0", "agent_approvals|0"]);
    assert_eq!(alerts(&db), Vec::<String>::new());
    assert_no_trash(&db, &[]);
}

#[test]
fn a_table_that_was_never_backed_up_fails_and_the_seeds_alert_shows_it() {
    let db = with_backup();
    db.run("CREATE TABLE agent_approvals AS SELECT 1 AS id; SELECT agent_backup.add_table('s', 'agent_approvals')");
    assert_eq!(verified(&db), ["t1|success", "t2|success", "agent_approvals|failed"]);
    assert_eq!(detail(&db, "agent_approvals", "problems,0"), "it was never backed up");
    assert_eq!(alerts(&db), ["agent_approvals|FAILED"]);
    assert_clean(&db, &[]);
}

#[test]
fn a_set_that_was_never_backed_up_fails() {
    let db = database();
    Set::create(&db, 2, 1);
    assert_eq!(verified(&db), ["t1|failed", "t2|failed"]);
    assert_eq!(alerts(&db), ["t1|FAILED", "t2|FAILED"]);
    assert_eq!(refused(&mut db.client(), "SELECT verify_daily_backups('nonsense')").code, "42704");
    assert_eq!(refused(&mut db.client(), "SELECT verify_daily_backups(NULL)").code, "22004");
    assert_clean(&db, &[]);
}

#[test]
fn a_backup_of_yesterday_fails_with_its_age() {
    let db = with_backup();
    age(&db, "1 day");
    assert_eq!(verified(&db), ["t1|failed", "t2|failed"]);
    let problem = detail(&db, "t1", "problems,0");
    assert!(problem.starts_with("there is no backup of ") && problem.contains("1 days and 0 hours old"), "{problem}");
    let age: i64 = detail(&db, "t1", "age_seconds").parse().unwrap();
    assert!((86_400..86_400 + 600).contains(&age), "{age}");
    assert_eq!(alerts(&db), ["t1|WARNING", "t2|WARNING"]);
    backup(&mut db.client()).unwrap();
    assert_eq!(verified(&db), ["t1|success", "t2|success"]);
    assert_eq!(alerts(&db), Vec::<String>::new());
    assert_clean(&db, &[]);
}

#[test]
fn a_damaged_backup_of_today_fails_and_the_seeds_alert_shows_it() {
    let db = with_backup();
    age(&db, "3 days");
    backup(&mut db.client()).unwrap();
    let file: String =
        one(&mut db.client(), "SELECT backup_file FROM agent_backup.backups ORDER BY started_at DESC LIMIT 1");
    let good = fs::read(&file).unwrap();
    fs::write(&file, &good[..good.len() / 2]).unwrap();
    assert_eq!(verified(&db), ["t1|failed", "t2|failed"]);
    assert!(detail(&db, "t2", "problems,0").starts_with("truncated: "));
    assert_eq!(alerts(&db), ["t1|FAILED", "t2|FAILED"]);
    let last = "SELECT DISTINCT (now() AT TIME ZONE 'UTC')::date - backup_date, error_message LIKE 'truncated: %' FROM backup_verification_log";
    assert_eq!(lines(&mut db.client(), last), ["3|t"]);
    fs::write(&file, &good).unwrap();
    assert_eq!(verified(&db), ["t1|success", "t2|success"]);
    assert_clean(&db, &[]);
}

#[test]
fn damage_of_one_table_costs_that_table() {
    let db = with_backup();
    let row = db.client().query_one("SELECT backup_file FROM agent_backup.backups", &[]).unwrap();
    let file: String = row.get(0);
    let good = fs::read(&file).unwrap();
    let container = agent_backup_core::container::Container::open(&good[..]).unwrap();
    let mut bad = good.clone();
    bad[container.entry("t2.json").unwrap().chunks[0].offset as usize + 100] ^= 1;
    fs::write(&file, &bad).unwrap();
    assert_eq!(verified(&db), ["t1|success", "t2|failed"]);
    fs::write(&file, &good).unwrap();
    assert_clean(&db, &[]);
}

#[test]
fn a_table_that_is_empty_in_the_backup_and_was_not_before_fails() {
    let db = with_backup();
    db.run("DELETE FROM t1");
    backup(&mut db.client()).unwrap();
    // Empty here too: somebody may have wanted it.
    assert_eq!(verified(&db), ["t1|warning", "t2|success"]);
    db.run("INSERT INTO t1 VALUES (1)");
    assert_eq!(verified(&db), ["t1|failed", "t2|success"]);
    assert_eq!(detail(&db, "t1", "last_good,row_count"), "100");
    assert!(detail(&db, "t1", "problems,0").contains("the backup has no row of it"));
    assert_clean(&db, &[]);
}

#[test]
fn a_table_that_could_not_be_backed_up_again_is_warned_of() {
    let db = with_backup();
    db.run("SELECT agent_backup.remove_table('s', 't1'); SELECT agent_backup.add_table('s', 't1', row_filter => 'id / 0 = 1')");
    backup(&mut db.client()).unwrap();
    assert_eq!(verified(&db), ["t2|warning", "t1|warning"]);
    assert!(detail(&db, "t1", "notes,0").contains("is newer, incomplete, and does not hold it"));
    age(&db, "1 day");
    assert_eq!(verified(&db), ["t2|failed", "t1|failed"]);
    assert_no_trash(&db, &["division by zero"]);
}

#[test]
fn a_member_that_does_not_exist_here_is_a_warning() {
    let db = database();
    db.run("CREATE TABLE agent_approvals AS SELECT 1 AS id; SELECT agent_backup.backup(); CREATE TABLE extra AS SELECT 1 AS id");
    let rows =
        lines(&mut db.client(), "SELECT table_name, status, details -> 'notes' ->> 0 FROM verify_daily_backups()");
    assert_eq!(rows.len(), 8);
    assert_eq!(rows[0], "agent_approvals|success|");
    assert!(rows[1..].iter().all(|row| row.ends_with("|warning|the table does not exist here")), "{rows:?}");
    db.run("DROP TABLE agent_approvals");
    let query =
        "SELECT status, details ->> 'row_count' FROM verify_daily_backups() WHERE table_name = 'agent_approvals'";
    assert_eq!(lines(&mut db.client(), query), ["warning|1"]);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_table_that_left_the_set_is_still_expected_while_the_newest_backup_holds_it() {
    let db = with_backup();
    db.run("SELECT agent_backup.remove_table('s', 't1')");
    assert_eq!(verified(&db), ["t2|success", "t1|success"]);
    backup(&mut db.client()).unwrap();
    assert_eq!(verified(&db), ["t2|success"]);
    assert_clean(&db, &[]);
}

#[test]
fn drift_is_told_and_fails_nothing() {
    let db = with_backup();
    db.run("ALTER TABLE t1 ADD extra int, DROP a, ALTER id TYPE bigint; INSERT INTO t1 SELECT n FROM generate_series(200, 209) n; DELETE FROM t2 WHERE id <= 3");
    assert_eq!(verified(&db), ["t1|success", "t2|success"]);
    assert_eq!(
        detail(&db, "t1", "schema_drift"),
        "{\"added\": [\"extra\"], \"dropped\": [\"a\"], \"retyped\": [{\"live\": \"bigint\", \"saved\": \"integer\", \"column\": \"id\"}]}"
    );
    assert_eq!(
        (detail(&db, "t1", "live_difference"), detail(&db, "t2", "live_difference")),
        ("10".into(), "-3".into())
    );
    assert_eq!(detail(&db, "t2", "schema_drift"), "null");
    backup(&mut db.client()).unwrap();
    assert_eq!(detail(&db, "t1", "schema_drift"), "null");
    assert_clean(&db, &[]);
}

#[test]
fn filters_and_excluded_columns_are_no_drift() {
    let db = with_backup();
    db.run("SELECT agent_backup.remove_table('s', 't1'); SELECT agent_backup.add_table('s', 't1', row_filter => 'id > 50', excluded_columns => '{b}')");
    backup(&mut db.client()).unwrap();
    assert_eq!(verified(&db), ["t2|success", "t1|success"]);
    assert_eq!(
        (detail(&db, "t1", "schema_drift"), detail(&db, "t1", "live_row_count")),
        ("null".into(), "null".into())
    );
    assert_eq!(detail(&db, "t1", "live"), "the backup holds filtered rows");
    assert_clean(&db, &[]);
}

#[test]
fn a_backup_of_some_tables_only_leaves_the_others_with_theirs() {
    let db = with_backup();
    db.run("SELECT agent_backup.backup('s', tables => '{t2}')");
    assert_eq!(verified(&db), ["t1|success", "t2|success"]);
    let backups = "SELECT count(DISTINCT details ->> 'backup_id') FROM verify_daily_backups('s')";
    assert_eq!(one::<i64>(&mut db.client(), backups), 2);
    assert_eq!(
        one::<i64>(&mut db.client(), "SELECT count(*) FROM agent_backup.backups WHERE verification_status = 'success'"),
        2
    );
    assert_clean(&db, &[]);
}

#[test]
fn a_directory_that_is_gone_fails_every_table() {
    let db = with_backup();
    let (directory, away) = (db.backup_dir().join("s"), db.backup_dir().join("away"));
    fs::rename(&directory, &away).unwrap();
    assert_eq!(verified(&db), ["t1|failed", "t2|failed"]);
    assert!(detail(&db, "t1", "problems,0").starts_with("missing: "));
    fs::rename(&away, &directory).unwrap();
    assert_clean(&db, &[]);
}
