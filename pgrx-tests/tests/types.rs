//! Every type that a column can have, with the values that trip up a backup: the files hold the bytes that COPY and
//! row_to_json write (T45–T47, T49, T50), and both CSV and SQL come back as the same rows.

mod values;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use agent_backup_suite::{
    Database, Reads, assert_equal_tables, assert_exact, assert_no_trash, database, export, has_xml, pin,
};
use postgres::Client;
use values::{VALUES, make_table, quoted};

/// Types that have no input: their values come from queries, and no file can be loaded again.
const OUTPUT_ONLY: &[&str] = &[
    "gtsvector",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
    "pg_dependencies",
    "pg_mcv_list",
    "pg_ndistinct",
    "pg_node_tree",
];

/// Loads the CSV and the SQL export of a table into empty clones of it, with psql, and compares the rows.
fn assert_comes_back(db: &Database, client: &mut Client, table: &str) {
    let (csv, sql) = (export(client, table, "csv"), export(client, table, "sql"));
    let saved = format!("{}_saved\"", &table[..table.len() - 1]);
    let name = |table: &str| table.split_once('.').expect("a schema").1.to_owned();
    let clone = format!("CREATE TABLE {table} (LIKE {saved} INCLUDING ALL);");
    let script = format!("ALTER TABLE {table} RENAME TO {}; {clone}\n\\i '{}'\n", name(&saved), sql.path.display());
    let output = db.psql(&script);
    assert!(output.status.success(), "{table}: {}", String::from_utf8_lossy(&output.stderr));
    assert_equal_tables(client, table, &saved);
    // Not psql's \copy: before version 18 it takes a line `\.` inside a quoted field for the end of the file.
    client.batch_execute(&format!("DROP TABLE {table}; {clone}")).expect("an empty clone");
    let mut copy = client.copy_in(&format!("COPY {table} FROM STDIN (FORMAT csv, HEADER)")).expect("a copy");
    copy.write_all(&csv.bytes).expect("the data");
    copy.finish().unwrap_or_else(|error| panic!("{table}: {error:?}"));
    assert_equal_tables(client, table, &saved);
}

/// Runs `check` for every type of the list, and fails with the names of all that failed.
fn each_of(list: &[(&str, &[&str])], mut check: impl FnMut(&str, &[&str])) {
    let failed: Vec<&str> = list
        .iter()
        .filter(|(name, values)| catch_unwind(AssertUnwindSafe(|| check(name, values))).is_err())
        .map(|(name, _)| *name)
        .collect();
    assert!(failed.is_empty(), "failed: {failed:?}");
}

/// A database with the schema `types`, a session of an ordinary kind, and the pinned reference.
fn prepared() -> (Database<'static>, Client, Client) {
    let db = database();
    db.run("CREATE SCHEMA types; CREATE SCHEMA ext; CREATE EXTENSION hstore SCHEMA ext; CREATE EXTENSION citext SCHEMA ext;
            CREATE EXTENSION ltree SCHEMA ext;
            CREATE TABLE types.statistics AS SELECT n % 3 AS a, n % 3 * 2 AS b, 'it''s \"' || n % 3 AS c FROM generate_series(1, 100) n;
            CREATE STATISTICS types.all_kinds (ndistinct, dependencies, mcv) ON a, b, c FROM types.statistics; ANALYZE types.statistics");
    let (client, mut reference) = (db.client(), db.client());
    pin(&mut reference);
    (db, client, reference)
}

#[test]
fn every_built_in_type_is_in_the_list() {
    let query = "SELECT typname::text FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm')
                 AND (typcategory <> 'A' OR typname IN ('int2vector', 'oidvector'))";
    let rows = database().client().query(query, &[]).unwrap();
    let missing: Vec<&str> =
        rows.iter().map(|row| row.get(0)).filter(|name| !VALUES.iter().any(|(listed, _)| listed == name)).collect();
    assert!(rows.len() > 60 && missing.is_empty(), "no values for {missing:?}");
}

#[test]
fn files_hold_the_bytes_of_copy_and_row_to_json_for_every_built_in_type() {
    let (db, mut client, mut reference) = prepared();
    each_of(VALUES, |name, values| {
        let table = make_table(&mut client, name, &quoted(name), values);
        let rows = assert_exact(&mut client, &mut reference, &table, Reads::Table);
        assert!(rows >= 3, "{name}: {rows} rows");
        let query = format!("SELECT count(v) >= $1 FROM {table}");
        let wanted = if name == "xml" && !has_xml(&mut client) { 0 } else { values.len() as i64 };
        assert!(client.query_one(&query, &[&wanted]).unwrap().get::<_, bool>(0), "{name}: values are missing");
    });
    assert_no_trash(&db, &[]);
}

#[test]
fn every_built_in_type_comes_back_from_csv_and_sql() {
    let (db, mut client, _) = prepared();
    each_of(VALUES, |name, values| {
        if !OUTPUT_ONLY.contains(&name) {
            let table = make_table(&mut client, name, &quoted(name), values);
            assert_comes_back(&db, &mut client, &table);
        }
    });
    assert_no_trash(&db, &[]);
}

#[test]
fn types_of_users_and_extensions_are_exact_and_come_back() {
    let (db, mut client, mut reference) = prepared();
    db.run(
        "CREATE TYPE types.mood AS ENUM ('it''s', 'a\"b', E'back\\\\slash', E'new\\nline', '😀', 'with space', 'null', '');
         ALTER TYPE types.mood RENAME VALUE 'with space' TO 'renamed, twice'; ALTER TYPE types.mood ADD VALUE 'added' BEFORE 'it''s';
         CREATE DOMAIN types.cased AS ext.citext; CREATE TYPE types.spans AS RANGE (SUBTYPE = text, COLLATION = \"C\");
         CREATE TYPE types.floats AS RANGE (SUBTYPE = float8); CREATE TYPE types.dropped AS (gone int, kept text, \"a\"\"b\" types.mood);
         ALTER TYPE types.dropped DROP ATTRIBUTE gone;
         CREATE TYPE types.own; CREATE FUNCTION types.own_in(cstring) RETURNS types.own LANGUAGE internal IMMUTABLE STRICT AS 'int8in';
         CREATE FUNCTION types.own_out(types.own) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int8out';
         CREATE TYPE types.own (INPUT = types.own_in, OUTPUT = types.own_out, LIKE = bigint);
         CREATE TYPE types.words; CREATE FUNCTION types.words_in(cstring) RETURNS types.words LANGUAGE internal IMMUTABLE STRICT AS 'textin';
         CREATE FUNCTION types.words_out(types.words) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
         CREATE TYPE types.words (INPUT = types.words_in, OUTPUT = types.words_out, LIKE = text, DELIMITER = ';')",
    );
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "mood",
            "types.mood",
            &["it's", "a\"b", "back\\slash", "new\nline", "😀", "renamed, twice", "null", "added", ""],
        ),
        (
            "hstore",
            "ext.hstore",
            &["", "a=>1", "a=>NULL,\"b c\"=>\"\\\"x\\\", y\"", "\"😀\"=>\"\n\t\\\\\",t=>t,n=>1e5"],
        ),
        ("citext", "ext.citext", &["", "MiXed", "É, \"q\"", "\\.", "NULL"]),
        ("cased", "types.cased", &["", "MiXed", "NULL"]),
        ("ltree", "ext.ltree", &["", "Top.Science.1", "a_b"]),
        ("lquery", "ext.lquery", &["*.a.*{2,}", "a|b.!c"]),
        ("spans", "types.spans", &["empty", "(,)", "[a,b)", "[\"it's, a\",\"z\"\"\\\\\")", "[,\"\"]"]),
        ("floats", "types.floats", &["[1e-310,NaN]", "[-Infinity,Infinity]", "(,0.1)"]),
        ("multi", "types.floats_multirange", &["{}", "{(,1),[2,3]}"]),
        ("dropped", "types.dropped", &["(,)", "(\"\",\"a\"\"b\")", "(NULL,\"new\nline\")"]),
        ("own", "types.own", &["0", "-9223372036854775808"]),
        ("words", "types.words", &["", "a;b", "a,b \"c\"", "NULL"]),
    ];
    for (name, sql_type, values) in cases {
        let table = make_table(&mut client, name, sql_type, values);
        assert_exact(&mut client, &mut reference, &table, Reads::Table);
        assert_comes_back(&db, &mut client, &table);
    }
    assert_no_trash(&db, &[]);
}

#[test]
fn type_modifiers_keep_padding_and_precision() {
    let (db, mut client, mut reference) = prepared();
    db.run(
        "CREATE TABLE types.\"modified\" (c char(5), cs char(3)[], v varchar(4), n numeric(5,2), big numeric(1000,0), small numeric(3,-2), b bit(5), vb varbit(7),
             t timestamptz(0), ts timestamp(2), tt time(3), tz timetz(1), i interval second(2), ym interval year to month, f float(3));
         INSERT INTO types.\"modified\" VALUES ('a', '{x,NULL,\"\"}', 'b  ', 1.5, repeat('9', 1000)::numeric, 12345, '10101', '1',
             '0005-02-29 23:59:59.9999 BC', '1999-12-31 23:59:59.999', '24:00', '12:34:56.78+15:59', '1.239', '14 months', 1.17549435e-38); INSERT INTO types.\"modified\" DEFAULT VALUES",
    );
    assert_exact(&mut client, &mut reference, "types.\"modified\"", Reads::Table);
    assert_comes_back(&db, &mut client, "types.\"modified\"");
    assert_no_trash(&db, &[]);
}

#[test]
fn values_that_a_later_check_of_their_domain_forbids_are_kept() {
    let (db, mut client, mut reference) = prepared();
    db.run(
        "CREATE DOMAIN types.small AS int; CREATE TABLE types.\"late\" (s types.small, sa types.small[]); INSERT INTO types.\"late\" VALUES (1000, '{1000,1}'), (1, NULL);
         ALTER DOMAIN types.small ADD CHECK (VALUE < 10) NOT VALID; ALTER DOMAIN types.small SET DEFAULT 3",
    );
    assert_eq!(assert_exact(&mut client, &mut reference, "types.\"late\"", Reads::Table), 2);
    assert_no_trash(&db, &[]);
}

#[test]
fn identity_and_generated_columns_come_back() {
    let (db, mut client, mut reference) = prepared();
    db.run(
        "CREATE TABLE types.\"generated\" (gone int, id bigint GENERATED ALWAYS AS IDENTITY, other int GENERATED BY DEFAULT AS IDENTITY,
             price numeric, \"doubled, \"\"x\"\"\" numeric GENERATED ALWAYS AS (price * 2) STORED, t text DEFAULT 'not this');
         ALTER TABLE types.\"generated\" DROP COLUMN gone;
         INSERT INTO types.\"generated\" (price, t) SELECT n / 3.0, NULLIF('row ' || n, 'row 7') FROM generate_series(1, 20) n;
         INSERT INTO types.\"generated\" (id, price) OVERRIDING SYSTEM VALUE VALUES (9223372036854775807, NULL)",
    );
    assert_eq!(assert_exact(&mut client, &mut reference, "types.\"generated\"", Reads::Table), 21);
    assert_comes_back(&db, &mut client, "types.\"generated\"");
    assert_no_trash(&db, &[]);
}

#[test]
fn null_and_what_looks_like_it_are_told_apart() {
    let (db, mut client, mut reference) = prepared();
    db.run(
        r#"CREATE TABLE types."nulls" (t text, j json, b jsonb, a text[], c types.pair, o text) "#
            .replace("c types.pair, ", "")
            .as_str(),
    );
    db.run(
        r#"INSERT INTO types."nulls" VALUES (NULL, NULL, NULL, NULL, NULL), ('NULL', 'null', 'null', '{NULL}', ''), ('null', '"null"', '"null"', '{"NULL"}', '\N'),
           ('', '""', '""', '{}', '\.'), ('\N', '[]', '[null]', '{""}', '""'), (' ', '{}', '{}', '{" "}', ''''), ('"', '{"a":null}', '{"a":null}', '[0:2]={a,NULL,"NULL"}', ',')"#,
    );
    assert_eq!(assert_exact(&mut client, &mut reference, "types.\"nulls\"", Reads::Table), 7);
    assert_comes_back(&db, &mut client, "types.\"nulls\"");
    for value in ["NULL", "''", "'\\.'", "'\\N'", "'NULL'", "' '", "','", "E'\\n'", "'\"'"] {
        let table = format!("types.\"only_{}\"", value.len() * 100 + usize::from(value.as_bytes()[value.len() - 2]));
        db.run(&format!("CREATE TABLE {table} (alone text); INSERT INTO {table} VALUES ({value}), ({value})"));
        assert_eq!(assert_exact(&mut client, &mut reference, &table, Reads::Table), 2, "{value}");
        assert_comes_back(&db, &mut client, &table);
    }
    assert_no_trash(&db, &[]);
}
