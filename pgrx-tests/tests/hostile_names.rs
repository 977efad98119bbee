//! Names that are not names (T53) and values that look like commands (T54): a path never follows from a name, no two
//! tables share a file, and a replay executes nothing that was not a row.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use agent_backup_suite::{
    Database, Reads, assert_equal_tables, assert_exact, assert_no_trash, copy_csv, database, export, pin,
};

/// Names that broke a backup somewhere; `CANARY` stands for a path that a command would make.
const NAMES: &[&str] = &[
    "a\"b",
    "a'b",
    "a\nb",
    "a\rb",
    "a\r\nb",
    "a\tb",
    ";--",
    "a;b",
    "../../x",
    "..",
    ".",
    "/etc/passwd",
    "%s",
    "%2E",
    "%n%I",
    "$$",
    "$1",
    "$function$",
    "\\.",
    "\\",
    "a\\",
    "😀",
    "\u{202e}rtl",
    ".hidden",
    " lead",
    "trail ",
    "CON",
    "NUL.txt",
    "-rf",
    "--help",
    "~",
    "a~1",
    "*",
    "?",
    "a b",
    "A",
    "a",
    "\"A\"",
    "\"a\"",
    "x.y",
    "x",
    "y",
    "\"x\".\"y\"",
    "null",
    "select",
    "a,b",
    "a/b",
    "a_b",
    "a-b",
    "a.b",
    "a%2Fb",
    "é",
    "e\u{301}",
    "\u{feff}",
    "\u{7f}",
    "\u{1}",
    "\u{85}",
    "x\n\\! touch CANARY\n",
    "`touch CANARY`",
    "'; DROP TABLE keep; --",
    "\"; DROP TABLE keep; --",
    "x\n-- \n; DROP TABLE keep;\n",
    ":x",
    ":'x'",
    "${x}",
    "&& touch CANARY",
    "0123456789_123456789_123456789_123456789_123456789_123456789_12",
];

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The list, every character from 1 to 255 within a name, and names of 63 bytes of the kinds that grow most when encoded.
fn all_names(canary: &Path) -> Vec<String> {
    let canary = canary.to_str().expect("a path in UTF-8");
    let mut names: BTreeSet<String> = NAMES.iter().map(|name| name.replace("CANARY", canary)).collect();
    names.extend((1..=255).filter_map(char::from_u32).map(|c| format!("a{c}b")));
    names.extend((1..=47).filter_map(char::from_u32).map(String::from));
    names.extend(["é".repeat(31) + "x", "/".repeat(63), "日".repeat(21), ".".repeat(63)]);
    names.retain(|name| name.len() <= 63);
    names.into_iter().collect()
}

/// Every file and directory below, as a path without the root.
fn files_below(dir: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let entry = entry.expect("an entry");
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.file_type().expect("its type").is_dir() {
            true => files_below(&entry.path(), &format!("{name}/"), found),
            false => found.push(name),
        }
    }
}

/// A database with a table of each name in the schema `n`, one row each that says its number.
fn prepared() -> (Database<'static>, Vec<String>, std::path::PathBuf) {
    let db = database();
    let canary = db.cluster().dir().join("c");
    let names = all_names(&canary);
    let mut script = String::from("CREATE SCHEMA n; CREATE TABLE n.keep (a int); INSERT INTO n.keep VALUES (1);");
    for (number, name) in names.iter().enumerate() {
        let (table, column) = (quote(name), quote(name));
        script.push_str(&format!(
            "CREATE TABLE n.{table} ({column} int, \"the value\" text);
             INSERT INTO n.{table} ({column}, \"the value\") VALUES ({number}, E'row \\n{number}');",
        ));
    }
    db.run(&script);
    (db, names, canary)
}

#[test]
fn each_of_many_names_is_backed_up_into_a_file_of_its_own() {
    let (db, names, canary) = prepared();
    let mut client = db.client();
    client.batch_execute("SELECT agent_backup.create_set('s', formats => '{csv,json,sql}')").unwrap();
    for name in &names {
        let added: String = client
            .query_one("SELECT agent_backup.add_table('s', $1)", &[&format!("n.{}", quote(name))])
            .unwrap()
            .get(0);
        let same: bool = client
            .query_one("SELECT relname = $2 FROM pg_class WHERE oid = $1::text::regclass", &[&added, name])
            .unwrap()
            .get(0);
        assert!(same, "{name:?} became {added}");
    }
    let rows =
        client.query("SELECT table_name, status, row_count, error_message FROM agent_backup.backup('s')", &[]).unwrap();
    let bad: Vec<String> = rows
        .iter()
        .filter(|row| row.get::<_, String>(1) != "ok" || row.get::<_, i64>(2) != 1)
        .map(|row| format!("{row:?}"))
        .collect();
    assert!(bad.is_empty() && rows.len() == names.len(), "{bad:?}");
    let file: String = client.query_one("SELECT backup_file FROM agent_backup.backups", &[]).unwrap().get(0);

    // Unpacked by a tool that would follow what a name says.
    let out = db.cluster().dir().join(format!("{}_out", db.name()));
    fs::create_dir(&out).unwrap();
    let status = Command::new("tar").arg("-xzf").arg(&file).arg("-C").arg(&out).status().unwrap();
    assert!(status.success());
    let mut found = Vec::new();
    files_below(&out, "", &mut found);
    assert!(found.iter().all(|name| !name.contains('/') && name.len() <= 255), "{found:?}");
    let query = "SELECT entry_name, table_name FROM agent_backup.backup_files WHERE format = 'csv'";
    let entries = client.query(query, &[]).unwrap();
    let folded: BTreeSet<String> = entries.iter().map(|row| row.get(0)).collect();
    assert_eq!((entries.len(), folded.len()), (names.len(), names.len()));
    let mut reference = db.client();
    pin(&mut reference);
    for row in entries {
        let (entry, table): (String, String) = (row.get(0), row.get(1));
        let theirs = copy_csv(&mut reference, &format!("n.{}", quote(&table)), "UTF8");
        assert_eq!(fs::read(out.join(&entry)).unwrap(), theirs, "{entry} of {table:?}");
    }
    let mut below = Vec::new();
    files_below(db.backup_dir(), "", &mut below);
    assert_eq!(below.iter().filter(|name| !name.starts_with("s/.") && !name.starts_with('.')).count(), 2, "{below:?}");
    assert!(!canary.exists());
    assert_no_trash(&db, &[]);
}

#[test]
fn an_export_of_each_of_many_names_replays_and_executes_nothing_else() {
    let (db, names, canary) = prepared();
    let mut client = db.client();
    let mut script = String::new();
    let mut paths = BTreeSet::new();
    for name in &names {
        let sql = export(&mut client, &format!("n.{}", quote(name)), "sql");
        assert!(sql.path.starts_with(db.backup_dir().join("exports")), "{name:?} went to {}", sql.path.display());
        assert_eq!(sql.path.components().count(), db.backup_dir().components().count() + 2, "{}", sql.path.display());
        script.push_str(&format!("\\i '{}'\n", sql.path.display()));
        assert!(paths.insert(sql.path));
    }
    let mut swap = String::from("CREATE SCHEMA saved;");
    for name in &names {
        let name = quote(name);
        swap.push_str(&format!(
            "ALTER TABLE n.{name} SET SCHEMA saved; CREATE TABLE n.{name} (LIKE saved.{name} INCLUDING ALL);"
        ));
    }
    client.batch_execute(&swap).unwrap();
    let output = db.psql(&script);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in &names {
        assert_equal_tables(&mut client, &format!("n.{}", quote(name)), &format!("saved.{}", quote(name)));
    }
    let keep: i64 = client.query_one("SELECT count(*) FROM n.keep", &[]).unwrap().get(0);
    assert!(keep == 1 && !canary.exists());
    assert_no_trash(&db, &[]);
}

#[test]
fn names_of_63_bytes_in_schemas_of_63_bytes_have_files() {
    let db = database();
    let mut client = db.client();
    client.batch_execute("SELECT agent_backup.create_set('s', formats => '{csv,json,sql}')").unwrap();
    let long = ["é".repeat(31) + "x", "é".repeat(31) + "y", "/".repeat(63), "x".repeat(63)];
    for schema in &long {
        client.batch_execute(&format!("CREATE SCHEMA {}", quote(schema))).unwrap();
        for name in &long {
            let table = format!("{}.{}", quote(schema), quote(name));
            client.batch_execute(&format!("CREATE TABLE {table} AS SELECT 1 AS a")).unwrap();
            client.query_one("SELECT agent_backup.add_table('s', $1)", &[&table]).unwrap();
        }
    }
    let failed = client.query("SELECT * FROM agent_backup.backup('s') WHERE status <> 'ok'", &[]).unwrap();
    assert!(failed.is_empty(), "{failed:?}");
    let query = "SELECT count(DISTINCT entry_name), max(octet_length(entry_name)) FROM agent_backup.backup_files";
    let row = client.query_one(query, &[]).unwrap();
    assert_eq!(row.get::<_, i64>(0), 3 * 16);
    assert!(row.get::<_, i32>(1) <= 255);
    for schema in &long {
        for name in &long {
            for format in ["csv", "json", "sql"] {
                assert_eq!(export(&mut client, &format!("{}.{}", quote(schema), quote(name)), format).rows, 1);
            }
        }
    }
    assert_no_trash(&db, &[]);
}

#[test]
fn a_name_in_quotes_is_the_table_that_sql_means() {
    let db = database();
    db.run(
        r#"CREATE SCHEMA n; CREATE TABLE n."A" AS SELECT 'upper' AS v; CREATE TABLE n."""A""" AS SELECT 'in quotes' AS v; CREATE TABLE n.a AS SELECT 'lower' AS v;
           CREATE TABLE public."n.a" AS SELECT 'dotted' AS v; CREATE TABLE "A" AS SELECT 'bare upper' AS v; CREATE TABLE """A""" AS SELECT 'bare quotes' AS v"#,
    );
    let mut client = db.client();
    let names = client.query("SELECT oid::regclass::text, (SELECT relname FROM pg_class c WHERE c.oid = r.oid)::text FROM pg_class r WHERE relkind = 'r' AND (relnamespace = 'n'::regnamespace OR relname IN ('A', 'n.a', '\"A\"'))", &[]).unwrap();
    assert_eq!(names.len(), 6);
    for row in names {
        let (text, name): (String, String) = (row.get(0), row.get(1));
        let csv = export(&mut client, &text, "csv");
        let mut reference = db.client();
        assert_eq!(csv.bytes, copy_csv(&mut reference, &text, "UTF8"), "regclass {text} is the table {name}");
    }
    assert_no_trash(&db, &[]);
}

#[test]
fn values_that_look_like_commands_stay_values() {
    let db = database();
    let canary = db.cluster().dir().join("canary");
    let touch = format!("\\! touch {}", canary.display());
    let values = [
        touch.clone(),
        format!("\n{touch}\n"),
        format!("'\n{touch}\n'"),
        format!("';\n{touch}\n--"),
        format!("\\';\n{touch}\n"),
        format!("$tag$\n{touch}\n$tag$"),
        format!("E'\n{touch}"),
        "\\.".into(),
        "\n\\.\n".into(),
        "\\q".into(),
        "\n\\q\n".into(),
        "\\connect nowhere".into(),
        ":x :'x' :\"x\"".into(),
        "\\x00".into(),
        "\\u0000".into(),
        "a\r\nb\r".into(),
        "\u{feff}BOM".into(),
        "a,\"b\";'c'\t|".into(),
        format!("*/ {touch} /*"),
        "\\gexec".into(),
        "; \\gexec\n".into(),
        "\\\\".into(),
        "\\".into(),
        "'".into(),
        "''".into(),
        "`touch x`".into(),
    ];
    db.run(
        "CREATE TABLE v (id int GENERATED ALWAYS AS IDENTITY, t text, b bytea, j jsonb, a text[], x xml, r json); CREATE TABLE alone (t text)",
    );
    let mut client = db.client();
    for value in &values {
        client.execute("INSERT INTO v (t, b, j, a, r) SELECT $1, convert_to($1, 'UTF8'), to_jsonb($1), ARRAY[$1, NULL, $1], to_json($1) FROM (SELECT $1::text) AS value", &[value]).unwrap();
        client.execute("INSERT INTO alone VALUES ($1)", &[value]).unwrap();
    }
    let mut reference = db.client();
    pin(&mut reference);
    for table in ["v", "alone"] {
        assert_eq!(
            assert_exact(&mut client, &mut reference, &format!("public.{table}"), Reads::Table),
            values.len() as i64
        );
        let sql = export(&mut client, table, "sql");
        client.batch_execute(&format!("CREATE TABLE saved_{table} AS TABLE {table}; TRUNCATE {table}")).unwrap();
        // Also when the reader of the file has string literals of the old kind.
        for session in ["on", "off"] {
            client.batch_execute(&format!("TRUNCATE {table}")).unwrap();
            let output =
                db.psql(&format!("SET standard_conforming_strings = {session};\n\\i '{}'\n", sql.path.display()));
            assert!(output.status.success(), "{table}: {}", String::from_utf8_lossy(&output.stderr));
            assert_equal_tables(&mut client, table, &format!("saved_{table}"));
        }
    }
    assert!(!canary.exists(), "a value ran a command");
    assert_no_trash(&db, &[]);
}
