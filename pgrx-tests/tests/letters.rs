//! Letters outside ASCII in all that is not a row's value (T55): names, arguments, results, views, notices and errors
//! read the same in a database of any encoding.

use std::sync::{Arc, Mutex};

use agent_backup_suite::{
    Cluster, Database, Options, Refusal, assert_no_trash, entry, fails_with, lines, one, refused, trash,
};
use postgres::{Client, NoTls};

/// Encodings with a word that each of them has.
const WORDS: [(&str, &str); 3] = [("LATIN1", "Kundë"), ("EUC_JP", "日本"), ("UTF8", "Kundë日本€")];

fn in_each_encoding(test: impl Fn(&Database, &str)) {
    for (encoding, word) in WORDS {
        let cluster = Cluster::start(Options::default().encoding(encoding));
        let db = cluster.database();
        eprintln!("in {encoding}");
        test(&db, word);
    }
}

/// A set, a schema, a table and its columns of that name, with two rows, one of which the filter takes.
fn named(db: &Database, word: &str) {
    let script = r#"CREATE SCHEMA "{w}"; CREATE TABLE "{w}"."{w}" ("{w}" text PRIMARY KEY, "geheim {w}" text, "ohne {w}" text DEFAULT 'so {w}');
        COMMENT ON TABLE "{w}"."{w}" IS 'über {c}'; INSERT INTO "{w}"."{w}" VALUES ('{w}', 'x'), ('anders', 'y');
        SELECT agent_backup.create_set('{w}', description => 'alle {w}');"#;
    let script = script.replace("über", if word == "日本" { "about" } else { "über" });
    db.run(&script.replace("{w}", word).replace("{c}", word));
}

const ADD: &str = r#"SELECT agent_backup.add_table('{w}', '"{w}"."{w}"', row_filter => '"{w}" = ''{w}''',
    excluded_columns => '{"ohne {w}"}', masked_columns => '{"geheim {w}": "''maske {w}''"}')"#;

/// A connection that keeps what the server tells it.
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
fn a_set_of_any_name_is_made_backed_up_listed_and_dropped() {
    in_each_encoding(|db, word| {
        named(db, word);
        let (mut client, heard) = listening(db);
        let qualified = format!("\"{word}\".\"{word}\"");
        assert_eq!(one::<String>(&mut client, &ADD.replace("{w}", word)), qualified);
        let query = format!("SELECT table_name, status, row_count, backup_file FROM agent_backup.backup('{word}')");
        let row = client.query_one(&query, &[]).unwrap();
        assert_eq!((row.get(0), row.get(1), row.get(2)), (qualified.as_str(), "ok", 1_i64));
        let file: String = row.get(3);
        let heard = heard.lock().unwrap().join("\n");
        assert!(heard.contains(&format!("NOTICE: {qualified}: 1 rows")), "{heard}");

        let encoded: String = word.bytes().map(encoded).collect();
        assert_eq!(
            entry(&file, &format!("{encoded}.{encoded}.csv")),
            format!("{word},geheim {word}\n{word},maske {word}\n")
        );
        let schema = entry(&file, "schema.sql");
        assert!(schema.contains(&format!("DEFAULT 'so {word}'")) && schema.contains(&qualified), "{schema}");
        let manifest = entry(&file, "manifest.json");
        assert!(manifest.contains(&format!("\"name\":\"geheim {word}\"")), "{manifest}");

        let listed = "SELECT set_name || (SELECT string_agg(DISTINCT schema_name || '.' || table_name, ',') FROM agent_backup.backup_files)
                      FROM agent_backup.backups";
        assert_eq!(one::<String>(&mut client, listed), format!("{word}{word}.{word}"));
        assert_eq!(
            one::<String>(&mut client, "SELECT defined_by FROM agent_backup.set_tables WHERE defined_by IS NOT NULL"),
            "postgres"
        );
        // The definitions are those of the backup before.
        assert_eq!(lines(&mut client, &query).len(), 1);
        let typed = format!("SELECT status FROM agent_backup.backup('{word}', tables => ARRAY['{word}.{word}'])");
        assert_eq!(one::<String>(&mut client, &typed), "ok");
        let removed = format!("SELECT agent_backup.remove_table('{word}', '{word}.{word}')");
        assert_eq!(one::<String>(&mut client, &removed), qualified);
        client.batch_execute(&format!("SELECT agent_backup.drop_set('{word}', confirm => true)")).unwrap();
        assert_no_trash(db, &[]);
    });
}

fn encoded(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
}

#[test]
fn our_errors_name_what_is_wrong_in_its_own_letters() {
    in_each_encoding(|db, word| {
        named(db, word);
        let mut client = db.client();
        let message = |refusal: Refusal| (refusal.code, refusal.message, refusal.hint);
        let wrong = format!("{word}s");
        assert_eq!(
            message(refused(&mut client, &format!("SELECT agent_backup.backup('{wrong}')"))),
            ("42704".into(), format!("backup set \"{wrong}\" does not exist"), format!("Did you mean {word}?"))
        );
        assert_eq!(
            message(refused(&mut client, &format!("SELECT agent_backup.add_table('{word}', '{word}.{wrong}')"))),
            (
                "42P01".into(),
                format!("table \"{word}.{wrong}\" does not exist"),
                format!("Did you mean \"{word}\".\"{word}\"?")
            )
        );
        let excluded =
            format!("SELECT agent_backup.add_table('{word}', '{word}.{word}', excluded_columns => '{{{wrong}}}')");
        let column = message(refused(&mut client, &excluded));
        assert_eq!((column.0.as_str(), column.2), ("42703", format!("Did you mean {word}?")));
        let twice = format!("SELECT agent_backup.create_set('{word}')");
        assert_eq!(refused(&mut client, &twice).message, format!("backup set \"{word}\" already exists"));
        let filter = format!(
            "SELECT agent_backup.add_table('{word}', '{word}.{word}', row_filter => '''{word}'') UNION SELECT (1')"
        );
        assert_eq!(refused(&mut client, &filter).detail, format!("The text was: '{word}') UNION SELECT (1"));
        // Caught by PL/pgSQL, and told again.
        let caught = format!(
            "DO $$BEGIN PERFORM agent_backup.backup('{wrong}'); EXCEPTION WHEN OTHERS THEN RAISE EXCEPTION 'war: %', SQLERRM; END$$"
        );
        assert_eq!(refused(&mut client, &caught).message, format!("war: backup set \"{wrong}\" does not exist"));
        assert_no_trash(db, &[]);
    });
}

#[test]
fn the_servers_own_errors_come_through_in_their_letters() {
    in_each_encoding(|db, word| {
        named(db, word);
        let mut client = db.client();
        let filter =
            format!("SELECT agent_backup.add_table('{word}', '{word}.{word}', row_filter => '\"nicht {word}\" > 0')");
        let refusal = refused(&mut client, &filter);
        assert_eq!(
            (refusal.code.as_str(), refusal.message),
            ("42703", format!("column \"nicht {word}\" does not exist"))
        );
        // The same error twice: nothing of the first is kept.
        assert_eq!(refused(&mut client, &filter).message, format!("column \"nicht {word}\" does not exist"));
        // From code of others, inside the scan, with all that an error can say.
        client.batch_execute(&raising(word)).unwrap();
        let export = "SELECT agent_backup.export_table('raising', 'json')";
        let all = Refusal {
            code: "P0001".into(),
            message: format!("nein {word}"),
            detail: format!("weil {word}"),
            hint: format!("nimm {word}"),
        };
        assert_eq!(refused(&mut client, export), all);
        let other = all.message.replace(word, "x");
        client.batch_execute(&raising(word).replace(&format!("nein {word}"), "nein x")).unwrap();
        assert_eq!(refused(&mut client, export), Refusal { message: other, ..all });
        assert_no_trash(db, &[]);
    });
}

/// A table whose JSON cannot be made: the cast that makes it raises an error.
fn raising(word: &str) -> String {
    format!(
        "DROP TABLE IF EXISTS raising; DROP TYPE IF EXISTS mood CASCADE; CREATE TYPE mood AS ENUM ('ok');
         CREATE FUNCTION mood_json(mood) RETURNS json LANGUAGE plpgsql AS
             $$BEGIN RAISE EXCEPTION 'nein {word}' USING DETAIL = 'weil {word}', HINT = 'nimm {word}'; END$$;
         CREATE CAST (mood AS json) WITH FUNCTION mood_json(mood);
         CREATE TABLE raising (m mood); INSERT INTO raising VALUES ('ok')"
    )
}

#[test]
fn a_failed_member_says_why_in_its_letters_everywhere() {
    in_each_encoding(|db, word| {
        named(db, word);
        let (mut client, heard) = listening(db);
        let add =
            format!("SELECT agent_backup.add_table('{word}', '{word}.{word}', row_filter => '\"{word}\"::int > 0')");
        client.batch_execute(&add).unwrap();
        client.batch_execute(&raising(word)).unwrap();
        client.batch_execute(&format!("CREATE TABLE gut (i int); SELECT agent_backup.add_table('{word}', 'raising'), agent_backup.add_table('{word}', 'gut')")).unwrap();
        let rows = lines(&mut client, &format!("SELECT status, error_message FROM agent_backup.backup('{word}')"));
        let (number, raised) = (format!("invalid input syntax for type integer: \"{word}\""), format!("nein {word}"));
        assert_eq!(rows, [format!("failed|{number}"), format!("failed|{raised}"), "ok|".to_owned()]);
        let both = format!("\"{word}\".\"{word}\": {number}; raising: {raised}");
        assert_eq!(one::<String>(&mut client, "SELECT error_message FROM agent_backup.backups"), both);
        let heard = heard.lock().unwrap().join("\n");
        assert!(
            heard.contains(&format!("WARNING: \"{word}\".\"{word}\": {number}\nWARNING: raising: {raised}")),
            "{heard}"
        );
        let file: String = one(&mut client, "SELECT backup_file FROM agent_backup.backups");
        let manifest = entry(&file, "manifest.json");
        assert!(manifest.contains(&raised) && manifest.contains(&number.replace('"', "\\\"")), "{manifest}");
        let others: Vec<String> = trash(db, &[]).into_iter().filter(|line| !line.contains("WARNING:  ")).collect();
        assert!(others.is_empty(), "{others:?}");
    });
}

#[test]
fn a_client_of_another_encoding_reads_and_writes_its_own() {
    let cluster = Cluster::start(Options::default().encoding("LATIN1"));
    let db = cluster.database();
    named(&db, "Kundë");
    let script = "\\encoding UTF8\nSELECT agent_backup.add_table('Kundë', 'Kundë.Kundë');\n\\encoding LATIN1\nSELECT * FROM agent_backup.backup(U&'Kund\\00eb');
        SELECT set_name FROM agent_backup.backups; SELECT agent_backup.backup(U&'kein \\00eb');";
    let output = db.psql(script);
    let both = [output.stdout.as_slice(), output.stderr.as_slice()];
    let has = |wanted: &[u8]| both.iter().any(|bytes| bytes.windows(wanted.len()).any(|found| found == wanted));
    assert!(has("\"Kundë\".\"Kundë\"\n".as_bytes()), "{output:?}");
    assert!(has(b"\"Kund\xeb\".\"Kund\xeb\"|ok|2|") && has(b"\nKund\xeb\n"), "{output:?}");
    assert!(has(b"NOTICE:  \"Kund\xeb\".\"Kund\xeb\": 2 rows"), "{output:?}");
    assert!(has(b"ERROR:  backup set \"kein \xeb\" does not exist"), "{output:?}");
    assert_no_trash(&db, &[]);
}

/// One cluster, two databases: what a backup says of letters that this database has not is shown, and costs only itself.
#[test]
fn backups_with_letters_that_a_database_has_not_are_named_and_the_others_adopted() {
    let cluster = Cluster::start(Options::default());
    let db = cluster.database();
    db.run(
        "CREATE TABLE \"Kundë\" (t text); CREATE TABLE \"日本\" (t text); INSERT INTO \"Kundë\" VALUES ('ë');
         SELECT agent_backup.create_set('s'); SELECT agent_backup.add_table('s', 'Kundë'); SELECT agent_backup.backup('s');
         SELECT agent_backup.add_table('s', '日本'); SELECT agent_backup.backup('s')",
    );
    let directory = db.backup_dir().display().to_string();
    let mut client = cluster.client("postgres");
    client.batch_execute("CREATE DATABASE narrow TEMPLATE template0 ENCODING 'LATIN1'").unwrap();
    client.batch_execute(&format!("ALTER DATABASE narrow SET agent_backup.directory = '{directory}'")).unwrap();
    let mut narrow = cluster.client("narrow");
    narrow.batch_execute("CREATE EXTENSION agent_backup").unwrap();
    let found =
        lines(&mut narrow, "SELECT action, details FROM agent_backup.reconcile('s', elsewhere => true) ORDER BY 1");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("adopted|1 table(s), 1 rows"), "{found:?}");
    assert!(found[1].starts_with("unreadable|") && found[1].contains("\\u{65E5}\\u{672C}"), "{found:?}");
    let listed = "SELECT string_agg(DISTINCT table_name, ',') FROM agent_backup.backup_entry";
    assert_eq!(one::<String>(&mut narrow, listed), "Kundë");
    let error = narrow.query("SELECT agent_backup.create_set($1::text)", &[&"日本"]);
    assert!(fails_with(error, "22P05").contains("LATIN1"));
    drop(narrow);
    assert_no_trash(&db, &[]);
}

#[test]
fn sql_ascii_takes_letters_in_utf8_and_refuses_others_by_name() {
    let cluster = Cluster::start(Options::default().encoding("SQL_ASCII"));
    let db = cluster.database();
    named(&db, "Kundë");
    let mut client = db.client();
    assert_eq!(one::<String>(&mut client, &ADD.replace("{w}", "Kundë")), "\"Kundë\".\"Kundë\"");
    let rows = lines(&mut client, "SELECT table_name, status, row_count FROM agent_backup.backup('Kundë')");
    assert_eq!(rows, ["\"Kundë\".\"Kundë\"|ok|1"]);
    assert_eq!(refused(&mut client, "SELECT agent_backup.backup('Kundé')").hint, "Did you mean Kundë?");

    let argument = refused(&mut client, "SELECT agent_backup.create_set(E'Kund\\xeb')");
    assert_eq!((argument.code.as_str(), argument.message.as_str()), ("22021", "a text is not in UTF-8: \"Kund\\xEB\""));
    let item = refused(&mut client, "SELECT agent_backup.create_set('x', formats => ARRAY[E'\\xeb'])");
    assert_eq!(item.code, "22021");
    client
        .batch_execute(
            "DO $$BEGIN EXECUTE E'CREATE TABLE \"t\\xeb\" (a text)'; EXECUTE E'CREATE TABLE c (\"\\xeb\" text)'; END$$",
        )
        .unwrap();
    let table = refused(
        &mut client,
        "SELECT agent_backup.add_table('Kundë', (SELECT oid::regclass FROM pg_class WHERE relname::text LIKE 't_' AND relkind = 'r'))",
    );
    assert_eq!((table.code.as_str(), table.message.as_str()), ("22021", "a text is not in UTF-8: \"\"t\\xEB\"\""));
    let column = refused(&mut client, "SELECT agent_backup.add_table('Kundë', 'c')");
    assert_eq!(
        (column.code.as_str(), column.message.as_str()),
        ("22021", "a name in table \"c\" is not in UTF-8: \"\\xEB\"")
    );
    assert_no_trash(&db, &[]);
}
