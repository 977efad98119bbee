//! What a backup answers: its rows, the views behind it, and the lines that a person reads while it runs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_backup_suite::{Database, assert_no_trash, database, entries, lines, one, refused, wait_until};
use postgres::{Client, NoTls};

const TABLES: &str = r#"
    CREATE TABLE a AS SELECT n, 'row ' || n AS t FROM generate_series(1, 5) n;
    CREATE TABLE "B" AS SELECT n FROM generate_series(1, 3) n;
    CREATE TABLE gone (n int);
    SELECT agent_backup.create_set('s');
    SELECT agent_backup.add_table('s', 'a'), agent_backup.add_table('s', 'B'), agent_backup.add_table('s', 'gone');
    DROP TABLE gone;"#;

fn with_tables() -> Database<'static> {
    let db = database();
    db.run(TABLES);
    db
}

fn columns(client: &mut Client, query: &str) -> String {
    let statement = client.prepare(query).unwrap();
    statement
        .columns()
        .iter()
        .map(|column| format!("{} {}", column.name(), column.type_().name()))
        .collect::<Vec<_>>()
        .join(", ")
}

/// A connection that keeps what the server tells it: `SEVERITY: message`.
fn listening(db: &Database) -> (Client, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&heard);
    let mut config = db.cluster().config("postgres", db.name());
    config.notice_callback(move |notice| {
        keep.lock().unwrap().push(format!("{}: {}", notice.severity(), notice.message()))
    });
    (config.connect(NoTls).unwrap(), heard)
}

#[test]
fn the_rows_have_the_columns_of_the_issue_in_their_order() {
    assert_eq!(
        columns(&mut database().client(), "SELECT * FROM agent_backup.backup()"),
        "table_name text, status text, row_count int8, size_bytes int8, checksum text, backup_file text, duration interval, error_message text"
    );
}

#[test]
fn the_views_have_the_columns_of_the_issue_in_their_order() {
    let db = database();
    assert_eq!(
        columns(&mut db.client(), "SELECT * FROM agent_backup.backups"),
        "backup_id text, set_name text, kind text, status text, started_at timestamptz, finished_at timestamptz, tables int4, \
         row_count int8, size_bytes int8, backup_file text, manifest_file text, verified_at timestamptz, verification_status text, \
         pinned bool, error_message text, verification_level text, pin_reason text, encrypted bool, key_ids _text"
    );
    assert!(
        columns(&mut db.client(), "SELECT * FROM agent_backup.backup_files")
            .starts_with("backup_id text, set_name text")
    );
}

#[test]
fn a_member_that_does_not_exist_is_absent_and_no_error() {
    let db = with_tables();
    let rows = lines(
        &mut db.client(),
        "SELECT table_name, status, row_count, size_bytes > 0, backup_file IS NOT NULL, duration IS NOT NULL, error_message FROM agent_backup.backup('s')",
    );
    assert_eq!(rows, ["a|ok|5|t|t|t|", "\"B\"|ok|3|t|t|t|", "gone|absent|||f|f|"]);
    let listed = lines(&mut db.client(), "SELECT status, tables, row_count, error_message FROM agent_backup.backups");
    assert_eq!(listed, ["complete|2|8|"]);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_member_that_fails_costs_itself_and_the_backup_is_incomplete() {
    let db = with_tables();
    db.run("SELECT agent_backup.add_table('s', 'a', row_filter => 'n / (n - 3) > 0') FROM agent_backup.remove_table('s', 'a')");
    let rows =
        lines(&mut db.client(), "SELECT table_name, status, row_count, error_message FROM agent_backup.backup('s')");
    assert_eq!(rows, ["\"B\"|ok|3|", "gone|absent||", "a|failed||division by zero"]);
    let listed = lines(&mut db.client(), "SELECT status, tables, row_count, error_message FROM agent_backup.backups");
    assert_eq!(listed, ["incomplete|1|3|a: division by zero"]);
    let file: String = one(&mut db.client(), "SELECT backup_file FROM agent_backup.backups");
    assert!(!entries(&file).iter().any(|name| name.starts_with("a.")));
    assert_no_trash(&db, &["division by zero"]);
}

#[test]
fn a_set_of_which_nothing_is_here_fails_and_says_so() {
    let db = database();
    let rows = lines(&mut db.client(), "SELECT DISTINCT status, backup_file, checksum FROM agent_backup.backup()");
    assert_eq!(rows, ["absent||"]);
    let listed = lines(
        &mut db.client(),
        "SELECT status, tables, row_count, size_bytes, backup_file, manifest_file, error_message FROM agent_backup.backups",
    );
    assert_eq!(listed, ["failed|0|0|0|||none of the set's tables exists here"]);
    assert_no_trash(&db, &[]);
}

#[test]
fn an_empty_set_does_not_pass_for_a_backup() {
    let db = database();
    db.run("SELECT agent_backup.create_set('empty')");
    let mut client = db.client();
    match client.query("SELECT * FROM agent_backup.backup('empty')", &[]) {
        Err(error) => assert!(error.as_db_error().unwrap().hint().is_some(), "{error:?}"),
        Ok(rows) => {
            assert!(rows.is_empty());
            let listed = lines(&mut client, "SELECT status, error_message <> '' FROM agent_backup.backups");
            assert_eq!(listed, ["failed|t"]);
        }
    }
}

#[test]
fn formats_stand_in_place_of_the_sets_own() {
    let db = with_tables();
    let file: String =
        one(&mut db.client(), "SELECT max(backup_file) FROM agent_backup.backup('s', formats => '{sql,sql}')");
    let data: Vec<String> = entries(&file).into_iter().filter(|name| name.starts_with(['a', 'B'])).collect();
    assert_eq!(data, ["a.sql", "B.sql"]);
    let kept: String = one(&mut db.client(), "SELECT formats::text FROM agent_backup.sets WHERE set_name = 's'");
    assert_eq!(kept, "{csv,json}");
}

#[test]
fn tables_takes_some_members_in_any_form_of_their_names() {
    let db = with_tables();
    let rows = lines(
        &mut db.client(),
        r#"SELECT table_name, status FROM agent_backup.backup('s', tables => '{"public.\"B\"",gone}')"#,
    );
    assert_eq!(rows, ["\"B\"|ok", "gone|absent"]);
}

#[test]
fn a_table_asked_for_twice_is_backed_up_once() {
    let db = with_tables();
    let rows =
        lines(&mut db.client(), "SELECT table_name, status FROM agent_backup.backup('s', tables => '{a,A,public.a}')");
    assert_eq!(rows, ["a|ok"]);
}

#[test]
fn options_that_mean_nothing_are_refused_before_anything_is_written() {
    let db = with_tables();
    let mut client = db.client();
    for arguments in [
        "'s', formats => '{xml}'",
        "'s', formats => '{}'",
        "'s', kind => 'incremental'",
        "'s', kind => ''",
        "'s', tables => '{}'",
    ] {
        let refusal = refused(&mut client, &format!("SELECT * FROM agent_backup.backup({arguments})"));
        assert_eq!(refusal.code, "22023", "{arguments}: {refusal:?}");
        assert!(refusal.message.starts_with("invalid "), "{arguments}: {refusal:?}");
    }
    assert!(std::fs::read_dir(db.backup_dir()).unwrap().next().is_none(), "a refused backup wrote something");
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM agent_backup.backups"), 0);
    assert_no_trash(&db, &[]);
}

#[test]
fn kind_archive_is_kept_in_the_view() {
    let db = with_tables();
    db.run("SELECT agent_backup.backup('s', 'archive')");
    assert_eq!(lines(&mut db.client(), "SELECT kind, status FROM agent_backup.backups"), ["archive|complete"]);
}

#[test]
fn the_files_view_adds_up_to_the_backup() {
    let db = with_tables();
    db.run("SELECT agent_backup.backup('s')");
    let mut client = db.client();
    let files = lines(
        &mut client,
        "SELECT schema_name, table_name, format, row_count, entry_name, length(checksum), length(sha256) FROM agent_backup.backup_files ORDER BY table_name COLLATE \"C\", format",
    );
    assert_eq!(
        files,
        [
            "public|B|csv|3|B.csv|32|64",
            "public|B|json|3|B.json|32|64",
            "public|a|csv|5|a.csv|32|64",
            "public|a|json|5|a.json|32|64"
        ]
    );
    let on_disk: bool = one(
        &mut client,
        "SELECT size_bytes = (pg_stat_file(backup_file)).size + (pg_stat_file(manifest_file)).size AND size_bytes > (SELECT sum(size_bytes) FROM agent_backup.backup_files)
         FROM agent_backup.backups",
    );
    assert!(on_disk);
    assert!(one::<bool>(
        &mut client,
        "SELECT bool_and(encode(sha256(pg_read_binary_file(backup_file)), 'hex') = file_sha256) FROM agent_backup.backups JOIN agent_backup.backup_catalog USING (backup_id)"
    ));
}

#[test]
fn the_size_of_a_row_is_that_of_its_entries() {
    let db = with_tables();
    let mut client = db.client();
    client.batch_execute("CREATE TEMP TABLE answer AS SELECT * FROM agent_backup.backup('s')").unwrap();
    let same = "SELECT bool_and(r.size_bytes = f.size) FROM answer r
                JOIN (SELECT quote_ident(table_name) AS name, sum(size_bytes) AS size FROM agent_backup.backup_files GROUP BY 1) f ON f.name = r.table_name";
    assert!(one::<bool>(&mut client, same));
    let checksum = "SELECT r.checksum = f.checksum FROM answer r JOIN agent_backup.backup_files f ON f.table_name = r.table_name WHERE f.format = 'csv' AND r.table_name = 'a'";
    assert!(one::<bool>(&mut client, checksum));
}

#[test]
fn a_running_backup_is_seen_by_another_session_and_gone_when_it_ends() {
    let db = with_tables();
    let mut runner = db.client();
    runner.batch_execute("SET agent_backup.debug_failpoint = 'scan=pause'").unwrap();
    let canceller = runner.cancel_token();
    let thread = std::thread::spawn(move || runner.batch_execute("SELECT agent_backup.backup('s')"));
    let mut watcher = db.client();
    let running = "SELECT backup_id IS NULL, set_name, status, started_at <= clock_timestamp(), finished_at IS NULL FROM agent_backup.backups";
    let seen = wait_until("the backup to be seen", Duration::from_secs(20), || {
        Some(lines(&mut watcher, running)).filter(|rows| !rows.is_empty())
    });
    assert_eq!(seen, ["t|s|running|t|t"]);
    let refusal = refused(&mut watcher, "SELECT agent_backup.backup('s')");
    assert_eq!((refusal.code.as_str(), refusal.message.as_str()), ("55P03", "backup set \"s\" is busy"));
    assert!(refusal.hint.starts_with("Session "), "{refusal:?}");
    canceller.cancel_query(NoTls).unwrap();
    let error = thread.join().unwrap().unwrap_err();
    assert_eq!(error.code().unwrap().code(), "57014");
    assert!(lines(&mut watcher, running).is_empty());
    assert_no_trash(&db, &[]);
}

#[test]
fn a_person_reads_a_line_per_table_with_rows_size_and_rate() {
    let db = with_tables();
    let (mut client, heard) = listening(&db);
    client.batch_execute("SELECT agent_backup.backup('s')").unwrap();
    let heard = heard.lock().unwrap();
    let shapes: Vec<String> = heard.iter().map(|line| shape(line)).collect();
    assert_eq!(
        shapes,
        [
            "NOTICE: a: # rows, # B stored in # s (# B/s)",
            "NOTICE: \"B\": # rows, # B stored in # s (# B/s)",
            "NOTICE: gone: does not exist here"
        ],
        "{heard:?}"
    );
}

#[test]
fn a_failed_table_is_a_warning_that_says_why() {
    let db = with_tables();
    db.run("SELECT agent_backup.add_table('s', 'a', row_filter => 'n / (n - 3) > 0') FROM agent_backup.remove_table('s', 'a')");
    let (mut client, heard) = listening(&db);
    client.batch_execute("SELECT agent_backup.backup('s')").unwrap();
    assert!(heard.lock().unwrap().contains(&"WARNING: a: division by zero".to_owned()), "{heard:?}");
}

/// The line with each number replaced by `#` and each unit of bytes by `B`.
fn shape(line: &str) -> String {
    let words = line.split(' ').map(|word| {
        let (open, rest) = word.strip_prefix('(').map_or(("", word), |rest| ("(", rest));
        match rest {
            "kB" | "MB" => format!("{open}B"),
            "kB/s)" | "MB/s)" => "B/s)".to_owned(),
            _ if rest.parse::<f64>().is_ok() => format!("{open}#"),
            _ => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}
