//! `maintain_log`: the log of changes has a partition for each day, and old days go to files.

use agent_backup_suite::{assert_no_trash, database, lines, one, refused};

/// A tracked table, with one change on a day of long ago.
const OLD_DAY: &str = "CREATE TABLE t (id int PRIMARY KEY, v text);
    SELECT agent_backup.track('t', baseline => false);
    CREATE TABLE agent_backup.change_log_20250101 PARTITION OF agent_backup.change_log
        FOR VALUES FROM ('2025-01-01 00:00:00+00') TO ('2025-01-02 00:00:00+00');
    UPDATE agent_backup.tracked SET since = '2024-12-31';
    INSERT INTO t VALUES (1, 'x');
    UPDATE agent_backup.change_log SET changed_at = '2025-01-01 12:00:00+00';";

#[test]
fn partitions_are_made_for_the_days_to_come_and_taken_by_the_writers_of_that_day() {
    let db = database();
    db.run("CREATE TABLE t (id int PRIMARY KEY); SELECT agent_backup.track('t', baseline => false); INSERT INTO t VALUES (1);");
    let mut client = db.client();
    let made = lines(&mut client, "SELECT action, row_count, file_path FROM agent_backup.maintain_log(ahead => 3)");
    assert_eq!(made, ["made|0|", "made|0|", "made|0|"]);
    assert_eq!(lines(&mut client, "SELECT * FROM agent_backup.maintain_log(ahead => 3)"), [""; 0], "they are there");
    // Today's changes are where they were, and new ones go there, too.
    db.run("INSERT INTO t VALUES (2)");
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM agent_backup.change_log_default"), 2);
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_session_that_wrote_before_finds_the_partition_that_was_made_for_today() {
    let db = database();
    let mut writer = db.client();
    writer
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY); SELECT agent_backup.track('t', baseline => false); INSERT INTO t VALUES (1)")
        .unwrap();
    let today: String = one(&mut writer, "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')");
    db.run(&format!(
        "DELETE FROM agent_backup.change_log; CREATE TABLE agent_backup.change_log_{today} PARTITION OF agent_backup.change_log
         FOR VALUES FROM ('{today} 00:00:00+00') TO (timestamptz '{today} 00:00:00+00' + interval '1 day')"
    ));
    writer.batch_execute("INSERT INTO t VALUES (2)").unwrap();
    let written = format!("SELECT count(*) FROM agent_backup.change_log_{today}");
    // Past midnight the day is another one.
    let now: String = one(&mut writer, "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')");
    assert_eq!(one::<i64>(&mut writer, &written), i64::from(now == today));
    db.run(&format!("DROP TABLE agent_backup.change_log_{today}"));
    writer.batch_execute("INSERT INTO t VALUES (3)").unwrap();
    assert_eq!(one::<i64>(&mut writer, "SELECT count(*) FROM agent_backup.change_log WHERE row_key = '3'"), 1);
    drop(writer);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_day_that_is_old_goes_to_a_file_and_its_moments_are_refused() {
    let db = database();
    db.run(OLD_DAY);
    let mut client = db.client();
    let before =
        one::<i64>(&mut client, "SELECT count(*) FROM agent_backup.read_as_of(NULL::t, '2025-01-01 06:00:00+00')");
    assert_eq!(before, 0, "the row came at noon");
    let sealed =
        "SELECT partition_name, row_count FROM agent_backup.maintain_log(keep => '2 days') WHERE action = 'sealed'";
    assert_eq!(lines(&mut client, sealed), ["change_log_20250101|1"]);
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM agent_backup.change_log"), 0);
    let (file, checksum): (String, String) = {
        let row = client.query_one("SELECT file_path, checksum FROM agent_backup.sealed_log", &[]).unwrap();
        (row.get(0), row.get(1))
    };
    db.run("CREATE TABLE back (LIKE agent_backup.change_log)");
    client.batch_execute(&format!("COPY back FROM PROGRAM 'zcat {file}' (FORMAT csv, HEADER)")).unwrap();
    assert_eq!(lines(&mut client, "SELECT operation, row_key, image FROM back"), ["I|1|1,x"]);
    assert_eq!(checksum.len(), 32);
    let refusal = refused(&mut client, "SELECT * FROM agent_backup.read_as_of(NULL::t, '2025-01-01 06:00:00+00')");
    assert_eq!(refusal.code, "55000");
    assert!(refusal.message.contains("were written to files"), "{}", refusal.message);
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn only_operators_maintain_the_log_and_only_within_bounds() {
    let db = database();
    let mut client = db.client();
    for wrong in ["keep => '1 hour'", "keep => NULL", "ahead => 0", "ahead => 1000"] {
        assert_eq!(
            refused(&mut client, &format!("SELECT * FROM agent_backup.maintain_log({wrong})")).code,
            "22023",
            "{wrong}"
        );
    }
    client.batch_execute("CREATE ROLE log_stranger; SET ROLE log_stranger").unwrap();
    assert_eq!(refused(&mut client, "SELECT * FROM agent_backup.maintain_log()").code, "42501");
    client.batch_execute("RESET ROLE; DROP ROLE log_stranger").unwrap();
    drop(client);
    assert_no_trash(&db, &[]);
}
