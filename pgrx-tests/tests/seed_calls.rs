//! The calls of the document that the project started from, as written there, and its defects that ours has not.

use std::path::{Path, PathBuf};

use agent_backup_suite::{Database, assert_no_trash, database, lines, one};

const TABLES: &str = r#"
    CREATE TABLE agent_approvals (id uuid PRIMARY KEY, reply text, created_at timestamptz);
    INSERT INTO agent_approvals SELECT gen_random_uuid(), e'line\nbreak "quoted" back\\slash ' || n, now() - n * interval '10 days'
        FROM generate_series(0, 9) n;
    CREATE TABLE "AgentApproval" AS SELECT n AS id FROM generate_series(1, 3) n;
    CREATE TABLE "AgentFeedback" AS SELECT n AS id FROM generate_series(1, 4) n;
    CREATE TABLE "AgentQuery" AS SELECT n AS id FROM generate_series(1, 5) n;
    CREATE TABLE agent_sdk_learning_data AS SELECT n AS id FROM generate_series(1, 6) n;
    CREATE TABLE agent_sdk_notifications AS SELECT n AS id FROM generate_series(1, 7) n;
    CREATE TABLE agent_training_archive (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), original_table text, original_id text, data jsonb,
        archive_reason text, archived_at timestamp DEFAULT now());
    INSERT INTO agent_training_archive (original_table, original_id) SELECT 'old', n FROM generate_series(1, 8) n;
    CREATE TABLE data_quality_log (id int);"#;

fn with_tables() -> Database<'static> {
    let db = database();
    // The application is older than the extension.
    db.run(&format!("DROP EXTENSION agent_backup; {TABLES} CREATE EXTENSION agent_backup"));
    db
}

/// Runs the seed's function; rows, path and size of its one row.
fn to_json(db: &Database, arguments: &str) -> (i64, PathBuf, String) {
    let query = format!("SELECT row_count, backup_file, backup_size FROM backup_agent_table_to_json({arguments})");
    let row = db.client().query_one(&query, &[]).unwrap_or_else(|error| panic!("{query}: {error:?}"));
    (row.get(0), PathBuf::from(row.get::<_, String>(1)), row.get(2))
}

/// What the server reads out of a file as one JSON value.
fn array_length(db: &Database, file: &Path) -> i64 {
    one(&mut db.client(), &format!("SELECT json_array_length(pg_read_file('{}')::json)::bigint", file.display()))
}

#[test]
fn the_result_has_the_columns_of_the_seed_in_their_order() {
    let db = with_tables();
    let dir = db.cluster().create_dir(&format!("{}_json", db.name()));
    let query = format!("SELECT * FROM backup_agent_table_to_json('agent_approvals', '{}')", dir.display());
    let row = db.client().query_one(&query, &[]).unwrap();
    let columns: Vec<(&str, &str)> =
        row.columns().iter().map(|column| (column.name(), column.type_().name())).collect();
    assert_eq!(
        columns,
        [("table_name", "text"), ("row_count", "int8"), ("backup_file", "text"), ("backup_size", "text")]
    );
    assert_eq!(row.get::<_, &str>(0), "agent_approvals");
    assert_no_trash(&db, &[]);
}

#[test]
fn the_arguments_have_the_names_of_the_seed() {
    let db = with_tables();
    let dir = db.cluster().create_dir(&format!("{}_json", db.name()));
    to_json(&db, &format!("p_table_name => 'agent_approvals', p_backup_dir => '{}'", dir.display()));
}

#[test]
fn the_file_is_a_json_array_with_a_row_a_line_named_after_table_and_time() {
    let db = with_tables();
    let dir = db.cluster().create_dir(&format!("{}_json", db.name()));
    let (rows, file, _) = to_json(&db, &format!("'agent_approvals', '{}'", dir.display()));
    assert_eq!((rows, file.parent()), (10, Some(dir.as_path())));
    let name = file.file_name().unwrap().to_str().unwrap();
    let shape: String = name.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert_eq!(shape, "agent_approvals_99999999_999999.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let text: Vec<&str> = text.lines().collect();
    assert_eq!((text.len(), text[0], text[11]), (12, "[", "]"));
    assert!(text[1..11].iter().all(|line| line.starts_with("{\"id\":")));
    assert!(text[1..10].iter().all(|line| line.ends_with("},")) && text[10].ends_with('}'));
    assert_eq!(array_length(&db, &file), 10);
    assert_no_trash(&db, &[]);
}

#[test]
fn without_a_directory_it_writes_into_the_backup_directory() {
    let db = with_tables();
    let (_, file, _) = to_json(&db, "'agent_approvals'");
    assert_eq!(file.parent(), Some(db.backup_dir()));
}

#[test]
fn two_in_one_second_do_not_overwrite_each_other() {
    let db = with_tables();
    let files = lines(
        &mut db.client(),
        "SELECT backup_file FROM generate_series(1, 3), backup_agent_table_to_json('agent_approvals', NULLIF('', '' || generate_series))",
    );
    let distinct: std::collections::BTreeSet<&String> = files.iter().collect();
    assert_eq!((files.len(), distinct.len()), (3, 3), "{files:?}");
    assert!(files.iter().all(|file| Path::new(file).is_file()));
}

#[test]
fn defect_4_a_full_backup_has_all_eight_tables_and_all_their_rows() {
    let db = with_tables();
    let rows = lines(&mut db.client(), "SELECT table_name, status, row_count FROM agent_backup.backup()");
    let expected = [
        "agent_approvals|ok|10",
        "\"AgentApproval\"|ok|3",
        "\"AgentFeedback\"|ok|4",
        "\"AgentQuery\"|ok|5",
        "agent_sdk_learning_data|ok|6",
        "agent_sdk_notifications|ok|7",
        "agent_training_archive|ok|8",
        "data_quality_log|ok|0",
    ];
    // Rows of more than 7 days ago are among the ten.
    assert_eq!(rows, expected);
}

#[test]
fn defect_5_a_mixed_case_table_has_its_file() {
    let db = with_tables();
    for (table, rows) in [("AgentApproval", 3), ("AgentFeedback", 4), ("AgentQuery", 5)] {
        let (count, file, _) = to_json(&db, &format!("'{table}'"));
        assert_eq!((count, array_length(&db, &file)), (rows, rows), "{table}");
        assert!(file.file_name().unwrap().to_str().unwrap().starts_with(&format!("{table}_")));
    }
}

#[test]
fn defect_5_backup_size_is_that_of_the_file() {
    let db = with_tables();
    // Many dead rows: a heap of a size unlike the file's.
    db.run("CREATE TABLE bloated AS SELECT n FROM generate_series(1, 20000) n; DELETE FROM bloated WHERE n > 3");
    let (_, file, size) = to_json(&db, "'bloated'");
    let bytes = std::fs::metadata(&file).unwrap().len();
    assert_eq!(size, one::<String>(&mut db.client(), &format!("SELECT pg_size_pretty({bytes}::bigint)")));
    assert!(bytes < 100, "{bytes}");
}

#[test]
fn defect_5_an_empty_table_is_an_empty_array() {
    let db = with_tables();
    let (rows, file, _) = to_json(&db, "'data_quality_log'");
    assert_eq!(rows, 0);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(["[]\n", "[\n]\n"].contains(&text.as_str()), "{text:?}");
    assert_eq!(array_length(&db, &file), 0);
}

#[test]
fn defect_5_backslashes_quotes_and_newlines_come_back_as_they_were() {
    let db = with_tables();
    let (_, file, _) = to_json(&db, "'agent_approvals'");
    let different = format!(
        "SELECT count(*) FROM (SELECT id, reply FROM agent_approvals EXCEPT ALL
             SELECT (r->>'id')::uuid, r->>'reply' FROM json_array_elements(pg_read_file('{}')::json) r) t",
        file.display()
    );
    assert_eq!(one::<i64>(&mut db.client(), &different), 0);
}

#[test]
fn defect_5_the_count_is_of_the_snapshot_that_was_written() {
    let db = with_tables();
    db.run("CREATE TABLE busy (n int)");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = db.client();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                writer.batch_execute("INSERT INTO busy VALUES (1)").unwrap();
            }
        });
        for _ in 0..10 {
            let (rows, file, _) = to_json(&db, "'busy'");
            assert_eq!(array_length(&db, &file), rows);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_no_trash(&db, &[]);
}

#[test]
#[ignore = "long: a million rows, more than one value of jsonb can hold"]
fn defect_5_a_million_rows_are_no_limit() {
    let db = with_tables();
    db.run("CREATE TABLE big AS SELECT n, repeat('x', 400) AS filler FROM generate_series(1, 1000000) n");
    let (rows, file, _) = to_json(&db, "'big'");
    assert_eq!(rows, 1_000_000);
    assert!(std::fs::metadata(&file).unwrap().len() > 400_000_000);
}

#[test]
fn defect_6_an_operator_needs_no_right_to_all_server_files() {
    let db = with_tables();
    let role = format!("{}_op", db.name());
    db.run(&format!("CREATE ROLE {role} LOGIN; GRANT agent_backup_operator, pg_read_all_data TO {role}"));
    let status = lines(&mut db.client_as(&role), "SELECT DISTINCT status FROM agent_backup.backup()");
    let count = one::<i64>(&mut db.client_as(&role), "SELECT row_count FROM backup_agent_table_to_json('AgentQuery')");
    db.run(&format!("DROP ROLE {role}"));
    assert_eq!((status, count), (vec!["ok".to_owned()], 5));
    assert_no_trash(&db, &[]);
}

#[test]
fn defect_6_every_path_is_on_the_server_whatever_the_client_thinks() {
    let db = with_tables();
    let (_, file, _) = to_json(&db, "'agent_approvals', 'sub'");
    assert_eq!(file.parent(), Some(db.backup_dir().join("sub").as_path()));
}

#[test]
fn the_function_of_the_seed_lives_in_the_schema_that_the_extension_was_given() {
    let db = with_tables();
    db.run(r#"DROP EXTENSION agent_backup; CREATE SCHEMA "My Ext"; CREATE EXTENSION agent_backup SCHEMA "My Ext""#);
    let mut client = db.client();
    let rows = one::<i64>(&mut client, r#"SELECT row_count FROM "My Ext".backup_agent_table_to_json('AgentQuery')"#);
    assert_eq!(rows, 5);
    client
        .batch_execute(r#"SET search_path = "My Ext", public; SELECT backup_agent_table_to_json('agent_approvals')"#)
        .unwrap();
    let status = lines(&mut client, "SELECT DISTINCT status FROM agent_backup.backup()");
    assert_eq!(status, ["ok"]);
}
