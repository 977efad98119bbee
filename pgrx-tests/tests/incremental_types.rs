//! Values of every built-in type in incrementals: the file as row_to_json writes it, the archive as `jsonb` takes that, and
//! captured images as the same objects.

mod values;

use agent_backup_core::codec::split;
use agent_backup_core::plan::Format;
use agent_backup_suite::{
    assert_no_trash, copy_csv, has_xml, incremental_with, json_array, lines, one, pin, quiet_database, rows_in,
};
use values::{VALUES, make_table, quoted};

const PREPARE: &str = "CREATE SCHEMA types;
    CREATE TABLE types.statistics AS SELECT n % 3 AS a, n % 3 * 2 AS b, 'it''s \"' || n % 3 AS c FROM generate_series(1, 100) n;
    CREATE STATISTICS types.all_kinds (ndistinct, dependencies, mcv) ON a, b, c FROM types.statistics; ANALYZE types.statistics;
    SELECT agent_backup.create_set('s')";

#[test]
fn files_and_archive_hold_every_built_in_type() {
    let db = quiet_database();
    db.run(PREPARE);
    let (mut client, mut reference) = (db.client(), db.client());
    pin(&mut reference);
    for (name, values) in VALUES {
        let table = make_table(&mut client, name, &quoted(name), values);
        client.execute("SELECT agent_backup.add_table('s', $1::text)", &[&table]).unwrap();
    }
    let rows = incremental_with(&mut db.client(), "'s'");
    assert_eq!(rows.len(), VALUES.len());
    for (row, (name, _)) in rows.iter().zip(VALUES) {
        let table = format!("types.\"t_{name}\"");
        assert_eq!(row.status, "ok", "{row:?}");
        let path = db.backup_dir().join("s/incremental").join(row.file.as_ref().unwrap());
        let output = std::process::Command::new("zcat").arg(&path).output().expect("zcat");
        agent_backup_suite::assert_same_bytes(
            name,
            &output.stdout,
            &json_array(&mut reference, &format!("ONLY {table}")),
        );
        if row.details == "first run: all rows" {
            let lost = format!(
                "(SELECT row_to_json(t)::jsonb FROM {table} t) EXCEPT ALL SELECT data FROM public.agent_training_archive WHERE original_table = 'types.t_{name}'"
            );
            assert!(lines(&mut reference, &lost).is_empty(), "{name}");
        } else {
            assert!(["json"].contains(name), "{row:?}");
        }
        // A row that was read again is the same.
        assert!(row.rows >= Some(3), "{row:?}");
    }
    let again = incremental_with(&mut db.client(), "'s'");
    assert!(again.iter().all(|row| row.rows == Some(0) && row.file.is_none()), "{again:?}");
    assert_no_trash(&db, &[]);
}

#[test]
fn an_image_is_the_object_of_its_row_for_every_built_in_type() {
    let db = quiet_database();
    db.run(PREPARE);
    let (mut client, mut reference) = (db.client(), db.client());
    pin(&mut reference);
    let mut failed = Vec::new();
    // Of `json`, what jsonb refuses or is nested very deep stays a text.
    for (name, values) in VALUES {
        if *name == "xml" && !has_xml(&mut client) {
            continue;
        }
        let table = make_table(&mut client, name, &quoted(name), values);
        for column in ["v", "a", "aa"] {
            let of_column = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = $1::text::regclass AND attname = $2";
            let Some(row) = reference.query_opt(of_column, &[&table, &column]).unwrap() else { continue };
            let of_type: String = row.get(0);
            let source = format!("(SELECT {column} FROM {table})");
            let csv = copy_csv(&mut reference, &source, "UTF8");
            let header = csv.iter().position(|byte| *byte == b'\n').unwrap() + 1;
            let images: Option<Vec<String>> =
                split::rows(Format::Csv, &csv[header..]).map(|line| String::from_utf8(line.to_vec()).ok()).collect();
            // A "char" need not be UTF-8, and then its image cannot be passed as a text.
            let Some(images) = images else { continue };
            let differ = format!(
                "SELECT (r.n, i.image)::text FROM (SELECT row_number() OVER () AS n, row_to_json(t)::text AS json FROM {source} t) r
                   JOIN unnest($1::text[]) WITH ORDINALITY AS i(image, n) USING (n)
                  WHERE r.json !~ '\\\\u0000|(\\[1,){{100}}' AND agent_backup.image_to_jsonb(ARRAY['{column}'], ARRAY[$2], i.image) IS DISTINCT FROM r.json::jsonb LIMIT 3"
            );
            match reference.query(&differ, &[&images, &of_type]) {
                Ok(rows) => failed.extend(rows.iter().map(|row| format!("{of_type}: {}", row.get::<_, String>(0)))),
                Err(error) => failed.push(format!("{of_type}: {error:?}")),
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn an_image_that_is_none_is_refused_and_an_erased_one_is_null() {
    let db = quiet_database();
    let mut client = db.client();
    assert!(one::<bool>(&mut client, "SELECT agent_backup.image_to_jsonb('{a}', '{text}', NULL) IS NULL"));
    for call in [
        "'{a,b}', '{text,text}', 'x'",
        "'{a}', '{text}', 'x,y'",
        "'{a}', '{text,text}', 'x'",
        "'{a}', '{text}', '\"x'",
        "'{NULL}', '{text}', 'x'",
    ] {
        let refusal = agent_backup_suite::refused(&mut client, &format!("SELECT agent_backup.image_to_jsonb({call})"));
        assert_eq!(refusal.code, "22023", "{call}: {refusal:?}");
    }
}

#[test]
fn letters_of_a_database_of_another_encoding_stand_in_file_and_archive() {
    let cluster = agent_backup_suite::Cluster::start(agent_backup_suite::Options::default().encoding("LATIN1"));
    let db = cluster.database();
    let mut client = db.client();
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY, \"naïve\" text, \"schön\" text[]); INSERT INTO t VALUES (1, 'é', '{ü}');
        SELECT agent_backup.create_set('s'); SELECT agent_backup.add_table('s', 't')").unwrap();
    let row = incremental_with(&mut client, "'s'").remove(0);
    let expected = r#"{"id":1,"naïve":"é","schön":["ü"]}"#;
    assert_eq!(rows_in(&db, "s", row.file.as_deref().unwrap()), [expected]);
    let data = "SELECT data = to_jsonb(t) FROM agent_training_archive, t";
    assert!(one::<bool>(&mut client, data));
    client.batch_execute("SELECT agent_backup.track('t', baseline => false); UPDATE t SET \"naïve\" = 'ß'").unwrap();
    let captured = "SELECT data = to_jsonb(t) FROM agent_training_archive, t WHERE archive_reason = 'change_update'";
    assert!(one::<bool>(&mut client, captured));
    assert_no_trash(&db, &[]);
}
