//! `assess`: every table of a set against its newest backup that is whole.

use agent_backup_suite::{Database, assert_no_trash, database, lines, one, refused, sqlstate};

fn with_set() -> Database<'static> {
    let db = database();
    db.run(
        "SELECT agent_backup.create_set('s');
         CREATE TABLE a AS SELECT n AS id, 'x' || n AS s FROM generate_series(1, 100) n; ALTER TABLE a ADD PRIMARY KEY (id);
         CREATE TABLE b (LIKE a INCLUDING ALL); INSERT INTO b TABLE a; CREATE TABLE c (LIKE a INCLUDING ALL); INSERT INTO c TABLE a;
         SELECT agent_backup.add_table('s', t) FROM unnest('{a,b,c}'::text[]) t; SELECT agent_backup.backup('s')",
    );
    db
}

const ASSESS: &str =
    "SELECT table_name, status, live_rows, backup_rows, missing, extra, changed FROM agent_backup.assess('s')";

#[test]
fn each_table_is_told_with_its_counts() {
    let db = with_set();
    db.run(
        "UPDATE b SET s = 'y' WHERE id < 4; INSERT INTO b VALUES (101, 'new'); DELETE FROM c WHERE id <= 10; UPDATE c SET s = 'y' WHERE id = 50;
         CREATE TABLE later AS SELECT 1 AS n FROM generate_series(1, 7); SELECT agent_backup.add_table('s', 'later')",
    );
    let mut client = db.client();
    assert_eq!(
        lines(&mut client, ASSESS),
        ["a|ok|100|100|0|0|0", "b|changed|101|100|0|1|3", "c|lost rows|90|100|10|0|1", "later|no backup|7||||"]
    );
    let query = "SELECT count(*) FROM agent_backup.assess('s') x JOIN agent_backup.backups USING (backup_id)
                 WHERE backup_age BETWEEN '0' AND '1 hour' AND details IS NULL";
    assert_eq!(one::<i64>(&mut client, query), 3);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_table_that_is_gone_and_one_that_never_was_are_told_apart() {
    let db = with_set();
    db.run("DROP TABLE b");
    assert_eq!(
        lines(&mut db.client(), ASSESS),
        ["a|ok|100|100|0|0|0", "b|table missing||100|||", "c|ok|100|100|0|0|0"]
    );
    let statuses = lines(&mut db.client(), "SELECT DISTINCT status FROM agent_backup.assess()");
    assert_eq!(statuses, ["absent"], "of the seeded set nothing is here");
}

#[test]
fn a_damaged_backup_gives_way_to_the_one_before_and_is_named() {
    let db = with_set();
    db.run("DELETE FROM a WHERE id = 1; SELECT agent_backup.backup('s')");
    let mut client = db.client();
    let path: String =
        one(&mut client, "SELECT backup_file FROM agent_backup.backups ORDER BY started_at DESC LIMIT 1");
    let bytes = std::fs::read(&path).unwrap();
    let container = agent_backup_core::container::Container::open(std::fs::File::open(&path).unwrap()).unwrap();
    let entry = container.manifest.entry("a.csv").unwrap();
    let mut changed = bytes.clone();
    changed[(entry.data_offset + entry.stored_bytes / 2) as usize] ^= 0xff;
    std::fs::write(&path, changed).unwrap();
    let rows = lines(&mut client, ASSESS);
    assert_eq!(rows, ["a|lost rows|99|100|1|0|0", "b|ok|100|100|0|0|0", "c|ok|100|100|0|0|0"]);
    let details = lines(&mut client, "SELECT details FROM agent_backup.assess('s') WHERE details IS NOT NULL");
    assert!(details.len() == 1 && details[0].contains("is damaged") && details[0].contains("a.csv"), "{details:?}");
    std::fs::remove_file(&path).unwrap();
    let rows =
        lines(&mut client, "SELECT table_name, status, details LIKE '%does not exist%' FROM agent_backup.assess('s')");
    assert_eq!(rows, ["a|lost rows|t", "b|ok|t", "c|ok|t"]);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_table_that_may_not_be_read_fails_alone() {
    let db = with_set();
    let role = format!("{}_reader", db.name());
    db.run(&format!("CREATE ROLE {role} LOGIN; GRANT pg_read_server_files TO {role}; GRANT SELECT ON a, c TO {role}"));
    db.let_call(&role);
    let mut client = db.client_as(&role);
    let rows = lines(&mut client, "SELECT table_name, status, details FROM agent_backup.assess('s')");
    assert_eq!(rows, ["a|ok|", "b|failed|permission denied for table \"b\"", "c|ok|"]);
    db.run(&format!("REVOKE pg_read_server_files FROM {role}"));
    assert_eq!(sqlstate(&client.query("SELECT agent_backup.assess('s')", &[]).unwrap_err()), "42501");
    drop(client);
    db.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn all_tables_are_read_in_one_snapshot_and_nothing_is_written() {
    let db = with_set();
    let mut client = db.client();
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1").unwrap();
    db.run("DELETE FROM a; DELETE FROM c");
    assert_eq!(lines(&mut client, ASSESS), ["a|ok|100|100|0|0|0", "b|ok|100|100|0|0|0", "c|ok|100|100|0|0|0"]);
    client.batch_execute("COMMIT").unwrap();
    assert_eq!(lines(&mut client, ASSESS)[2], "c|lost rows|0|100|100|0|0");
}

#[test]
fn an_unknown_set_is_named() {
    let db = with_set();
    let refusal = refused(&mut db.client(), "SELECT agent_backup.assess('agent_sdc')");
    assert_eq!((refusal.code.as_str(), refusal.hint.as_str()), ("42704", "Did you mean agent_sdk?"));
    assert_eq!(refused(&mut db.client(), "SELECT agent_backup.assess(NULL)").code, "22004");
}
