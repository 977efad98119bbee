//! Databases that are not in UTF-8 (T55): CSV is what COPY … ENCODING 'UTF8' writes, JSON is valid, and where nobody knows
//! the encoding the bytes stay as they are.

use std::process::{Command, Stdio};

use agent_backup_suite::{
    Cluster, Database, Options, Reads, assert_equal_tables, assert_exact, assert_no_trash, assert_same_bytes, copy_csv,
    csv_digest, entry, export, has_xml, json_array, json_digest, lines, pin, try_export,
};

/// Whether a strict parser takes the bytes.
fn is_json(bytes: &[u8]) -> bool {
    use std::io::Write;
    let mut child = Command::new("python3")
        .args(["-c", "import json, sys; json.loads(sys.stdin.buffer.read().decode('utf-8', errors='strict'))"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("python3");
    child.stdin.take().expect("a pipe").write_all(bytes).expect("the bytes");
    child.wait().expect("python3's status").success()
}

/// A table whose values are in letters of `sample`, and whose names have `letter` in them.
fn lettered(db: &Database, sample: &str, letter: &str) -> String {
    let script = r#"CREATE TYPE "m {l}" AS ENUM ('{s}', 'plain'); CREATE TYPE "p {l}" AS ("f {l}" text, n int); CREATE DOMAIN "d {l}" AS text;
        CREATE TABLE "t {l}" ("c {l}" text, v varchar(50), c char(30), n name, e "m {l}", j json, b jsonb, a text[], ea "m {l}"[], p "p {l}", pa "p {l}"[], d "d {l}", x xml, y bytea, ts tsvector, i int);
        INSERT INTO "t {l}" VALUES ('{s}', '{s} "q"', '{s}', '{s}', '{s}', '{"{s}": ["{s}\\n"]}', '{"{s}": ["{s}\\n"]}', ARRAY['{s}', NULL, 'x,{s}'], ARRAY['{s}', 'plain']::"m {l}"[],
            ROW('{s} "', 1), ARRAY[ROW('{s}', 2)::"p {l}"], '{s}', {xml}, '\x00ff', to_tsvector('simple', '{s}'), 7);
        INSERT INTO "t {l}" ("c {l}", b, i) SELECT repeat('{s}', 5000), to_jsonb(repeat('{s}', 5000)), n FROM generate_series(1, 9) n"#;
    let xml = if has_xml(&mut db.client()) { "'<a>{s}</a>'" } else { "NULL" };
    db.run(&script.replace("{xml}", xml).replace("{l}", letter).replace("{s}", sample));
    format!("public.\"t {letter}\"")
}

/// Values of a database in an encoding that the server converts.
fn assert_converted(encoding: &str, sample: &str) {
    let cluster = Cluster::start(Options::default().encoding(encoding));
    let db = cluster.database();
    let table = lettered(&db, sample, "x");
    let (mut client, mut reference) = (db.client(), db.client());
    pin(&mut reference);
    assert_eq!(assert_exact(&mut client, &mut reference, &table, Reads::Table), 10, "{encoding}");
    assert!(is_json(&export(&mut client, &table, "json").bytes), "{encoding}");
    let sql = export(&mut client, &table, "sql");
    client.batch_execute(&format!("CREATE TABLE saved AS TABLE {table}; TRUNCATE {table}")).unwrap();
    let output = db.psql(&format!("\\i '{}'", sql.path.display()));
    assert!(output.status.success(), "{encoding}: {}", String::from_utf8_lossy(&output.stderr));
    assert_equal_tables(&mut client, &table, "saved");
    assert_no_trash(&db, &[]);
}

/// Names of such a database: written as they are, or refused by one clean error that names the table.
fn assert_names_are_right_or_refused(encoding: &str, sample: &str) {
    let cluster = Cluster::start(Options::default().encoding(encoding));
    let db = cluster.database();
    let table = lettered(&db, sample, sample);
    let (mut client, mut reference) = (db.client(), db.client());
    pin(&mut reference);
    match try_export(&mut client, &table, "csv") {
        Ok(_) => assert_eq!(assert_exact(&mut client, &mut reference, &table, Reads::Table), 10, "{encoding}"),
        Err(error) => {
            let error = error.as_db_error().unwrap_or_else(|| panic!("{encoding}: {error:?}"));
            assert!(error.code().code() != "XX000" && error.message().contains("\"t "), "{encoding}: {error:?}");
        }
    }
    assert_no_trash(&db, &[]);
}

#[test]
fn a_latin1_database_is_written_in_utf8() {
    assert_converted("LATIN1", "éüßÿ\u{a0}");
}

#[test]
fn an_euc_jp_database_is_written_in_utf8() {
    assert_converted("EUC_JP", "日本語テスト表");
}

#[test]
fn names_of_a_latin1_database_are_right_or_refused() {
    assert_names_are_right_or_refused("LATIN1", "éüß");
}

#[test]
fn names_of_an_euc_jp_database_are_right_or_refused() {
    assert_names_are_right_or_refused("EUC_JP", "日本語");
}

#[test]
fn sql_ascii_keeps_bytes_that_are_no_utf8() {
    let cluster = Cluster::start(Options::default().encoding("SQL_ASCII"));
    let db = cluster.database();
    let (mut client, mut reference) = (db.client(), db.client());
    pin(&mut reference);
    client
        .batch_execute(
            "CREATE TABLE raw (id int, t text, c char(9), a text[], b bytea);
             INSERT INTO raw VALUES (1, E'ok', 'x', '{x}', 'x'), (2, E'\\xff\\xfe \"\\\\', E'\\xe9', ARRAY[E'\\xc3', NULL, E'\\xed\\xa0\\x80']::text[], E'\\\\xff'), (3, NULL, NULL, NULL, NULL);
             INSERT INTO raw SELECT 4, repeat(E'\\xf5,\\x80\\n', 9000)",
        )
        .unwrap();
    reference.batch_execute("SET client_encoding = SQL_ASCII").unwrap();
    let csv = export(&mut client, "raw", "csv");
    let theirs = copy_csv(&mut reference, "public.raw", "SQL_ASCII");
    assert_same_bytes("raw as csv", &csv.bytes, &theirs);
    assert_eq!((csv.rows, csv.checksum), (4, csv_digest(&mut reference, &theirs)));
    let json = export(&mut client, "raw", "json");
    assert_same_bytes("raw as json", &json.bytes, &json_array(&mut reference, "public.raw"));
    assert_eq!(json.checksum, json_digest(&mut reference, "public.raw"));
    client
        .batch_execute("SELECT agent_backup.create_set('s', formats => '{csv,json,sql}'); SELECT agent_backup.add_table('s', 'raw')")
        .unwrap();
    let row = client.query_one("SELECT status, row_count FROM agent_backup.backup('s')", &[]).unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, i64>(1)), ("ok", 4));
    let file: String = client.query_one("SELECT manifest_file FROM agent_backup.backups", &[]).unwrap().get(0);
    let manifest = std::fs::read(file).unwrap();
    assert!(is_json(&manifest) && String::from_utf8_lossy(&manifest).contains("\"encoding\": \"SQL_ASCII\""));
    assert_no_trash(&db, &[]);
}

#[test]
fn sql_ascii_with_hostile_names_and_labels_is_exact_or_a_clean_error() {
    let cluster = Cluster::start(Options::default().encoding("SQL_ASCII"));
    let db = cluster.database();
    let mut client = db.client();
    client
        .batch_execute(
            "CREATE TYPE mood AS ENUM (E'\\xe9', 'ok'); CREATE TABLE labels (m mood, ma mood[]); INSERT INTO labels VALUES (E'\\xe9', ARRAY[E'\\xe9']::mood[]), ('ok', NULL);
             DO $$BEGIN EXECUTE E'CREATE TABLE columns (\"\\xe9\" text)'; EXECUTE E'CREATE TABLE \"t\\xe9\" (a text)'; END$$; INSERT INTO columns VALUES ('x')",
        )
        .unwrap();
    let mut reference = db.client();
    pin(&mut reference);
    reference.batch_execute("SET client_encoding = SQL_ASCII").unwrap();
    for table in ["labels", "columns"] {
        match try_export(&mut client, table, "csv") {
            Ok(csv) => {
                let theirs = copy_csv(&mut reference, &format!("public.{table}"), "SQL_ASCII");
                assert_same_bytes(table, &csv.bytes, &theirs);
            }
            Err(error) => {
                let error = error.as_db_error().unwrap_or_else(|| panic!("{table}: {error:?}"));
                assert!(error.message().contains(table), "{table}: {error:?}");
            }
        }
    }
    // A member that was renamed since costs itself, and what its neighbour's definition says in no encoding is left out.
    client
        .batch_execute(
            "CREATE TABLE renamed (a text); SELECT agent_backup.create_set('s'), agent_backup.add_table('s', 'labels'), agent_backup.add_table('s', 'renamed');
             DO $$BEGIN EXECUTE E'ALTER TABLE renamed RENAME a TO \"\\xe9\"'; END$$",
        )
        .unwrap();
    let row = "SELECT table_name, status, coalesce(error_message, '') FROM agent_backup.backup('s')";
    assert_eq!(
        lines(&mut client, row),
        ["labels|ok|", "renamed|failed|a name in table \"renamed\" is not in UTF-8: \"\\xE9\""]
    );
    let file: String = client.query_one("SELECT backup_file FROM agent_backup.backups", &[]).unwrap().get(0);
    let manifest = entry(&file, "manifest.json");
    let left_out = manifest.lines().filter(|line| line.contains("is not in UTF-8") && line.contains("mood")).count();
    assert_eq!(left_out, 1, "{manifest}");
    assert!(!entry(&file, "schema.sql").contains("AS ENUM") && entry(&file, "schema.sql").contains("CREATE TABLE"));
    assert_no_trash(&db, &["WARNING:  renamed: a name in table"]);
}
