//! Every type comes back from the log with the text that it had: inserted, updated and deleted, read and brought back (T45).

mod tracked;
mod values;

use std::panic::{AssertUnwindSafe, catch_unwind};

use agent_backup_suite::{assert_equal_tables, assert_no_trash, assert_same_bytes, database, export, long, one, pin};
use tracked::{back, literal};
use values::{VALUES, make_table, quoted};

/// Types that have no input: what the log has of them cannot be made a value again.
const OUTPUT_ONLY: &[&str] = &[
    "gtsvector",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
    "pg_dependencies",
    "pg_mcv_list",
    "pg_ndistinct",
    "pg_node_tree",
];

/// Tracks a filled table, changes it in every way, and compares what the log gives back with a copy.
#[track_caller]
fn assert_comes_back(db: &agent_backup_suite::Database, table: &str, name: &str) {
    let mut client = db.client();
    let saved = format!("types.{}", quoted_name(&format!("saved_{name}")));
    let (before, after) = (format!("before {name}"), format!("after {name}"));
    let mut run = |statements: String| {
        client.batch_execute(&statements).unwrap_or_else(|error| panic!("{statements}: {error:?}"));
    };
    run(format!(
        "SELECT agent_backup.track({}, baseline => false); SELECT agent_backup.mark('empty {name}')",
        literal(table)
    ));
    run(format!(
        "CREATE TABLE {saved} AS TABLE {table}; DELETE FROM {table}; INSERT INTO {table} SELECT * FROM {saved}"
    ));
    run(format!("SELECT agent_backup.mark('{before}')"));
    run(format!("UPDATE {table} SET id = id"));
    run(format!(
        "UPDATE {table} SET id = coalesce(id, 0) + 1000, v = NULL; UPDATE {table} SET id = id - 1 WHERE id % 2 = 0"
    ));
    run(format!("DELETE FROM {table} WHERE id % 3 = 0; INSERT INTO {table} SELECT * FROM {saved}"));
    run(format!("SELECT agent_backup.mark('{after}')"));
    run(format!("CREATE TABLE {} AS TABLE {table}; TRUNCATE {table}", later(&saved)));
    for (mark, wanted) in [(&before, saved.clone()), (&after, later(&saved)), (&format!("empty {name}"), saved.clone())]
    {
        let read = format!("(SELECT * FROM agent_backup.read_as_of(NULL::{table}, mark => '{mark}'))");
        assert_equal_tables(&mut client, &read, &wanted);
        back(&mut client, &format!("restore_table_as_of({}, mark => '{mark}', confirm => true)", literal(table)));
        assert_equal_tables(&mut client, table, &wanted);
    }
    client.batch_execute(&format!("SELECT agent_backup.untrack({})", literal(table))).unwrap();
}

fn later(saved: &str) -> String {
    saved.replace("\"saved_", "\"later_")
}

fn quoted_name(name: &str) -> String {
    format!("\"{name}\"")
}

#[test]
fn every_built_in_type_comes_back_from_the_log() {
    let db = database();
    db.run("CREATE SCHEMA types");
    let mut failed = Vec::new();
    for (name, values) in VALUES.iter().filter(|(name, _)| !OUTPUT_ONLY.contains(name)) {
        let table = make_table(&mut db.client(), name, &quoted(name), values);
        if catch_unwind(AssertUnwindSafe(|| assert_comes_back(&db, &table, name))).is_err() {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "failed: {failed:?}");
    assert_no_trash(&db, &[]);
}

#[test]
fn an_image_of_any_type_has_the_bytes_of_a_backup() {
    let db = database();
    db.run("CREATE SCHEMA types");
    let mut client = db.client();
    for (name, values) in VALUES.iter().filter(|(name, _)| !OUTPUT_ONLY.contains(name)) {
        let table = make_table(&mut client, name, &quoted(name), values);
        let csv = export(&mut client, &table, "csv").bytes;
        client
            .batch_execute(&format!(
                "SELECT agent_backup.track({}, baseline => false); TRUNCATE agent_backup.change_log",
                literal(&table)
            ))
            .unwrap();
        client.batch_execute(&format!("SET DateStyle = German; SET extra_float_digits = 0; SET bytea_output = escape; UPDATE {table} SET id = id; RESET ALL")).unwrap();
        let images: String =
            one(&mut client, "SELECT string_agg(image || E'\\n', '' ORDER BY seq) FROM agent_backup.change_log");
        let header = csv.iter().position(|byte| *byte == b'\n').expect("a header") + 1;
        assert_same_bytes(name, images.as_bytes(), &csv[header..]);
        client.batch_execute(&format!("SELECT agent_backup.untrack({})", literal(&table))).unwrap();
    }
}

#[test]
fn types_of_users_come_back_from_the_log() {
    let db = database();
    db.run(
        "CREATE SCHEMA types; CREATE SCHEMA ext; CREATE EXTENSION hstore SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; CREATE EXTENSION ltree SCHEMA ext;
         CREATE TYPE types.mood AS ENUM ('it''s', 'a\"b', E'back\\\\slash', E'new\\nline', '', 'null');
         CREATE TYPE types.spans AS RANGE (SUBTYPE = text, COLLATION = \"C\"); CREATE TYPE types.floats AS RANGE (SUBTYPE = float8);
         CREATE TYPE types.dropped AS (gone int, kept text, \"a\"\"b\" types.mood); ALTER TYPE types.dropped DROP ATTRIBUTE gone;
         CREATE DOMAIN types.cased AS ext.citext NOT NULL",
    );
    for (name, of, values) in [
        ("mood", "types.mood", &["it's", "a\"b", "back\\slash", "new\nline", "", "null"][..]),
        ("spans", "types.spans", &["empty", "[\"a,b\",)", "(,\"\"\"\")"]),
        ("floats", "types.floats", &["[-0,NaN]", "(,0.1)"]),
        ("dropped", "types.dropped", &["(,)", "(\"a,\"\"b\",\"a\"\"b\")"]),
        ("hstore", "ext.hstore", &["", "\"a\"=>NULL, \"b\"=>\"x,\\\"y\""]),
        ("citext", "ext.citext", &["A", "a", ""]),
        ("ltree", "ext.ltree", &["", "a.B.c"]),
    ] {
        let table = make_table(&mut db.client(), name, of, values);
        assert_comes_back(&db, &table, name);
    }
    assert_no_trash(&db, &[]);
}

/// Random tables of random types, as backups are tested with them.
const GENERATOR: &str = include_str!("values/random.sql");

#[test]
fn random_tables_come_back_from_the_log() {
    let db = database();
    db.run(GENERATOR);
    let mut client = db.client();
    pin(&mut client);
    let seeds: Vec<i64> = match std::env::var("AGENT_BACKUP_SEED") {
        Ok(seed) => vec![seed.parse().expect("a number in AGENT_BACKUP_SEED")],
        Err(_) => {
            let first: i64 = one(&mut client, "SELECT extract(epoch FROM now())::bigint % 1000000000");
            (first..first + if long() { 1000 } else { 30 }).collect()
        }
    };
    for seed in seeds {
        println!("AGENT_BACKUP_SEED={seed}");
        client.execute("CALL rnd.make($1)", &[&seed]).unwrap();
        for statements in [
            "SELECT agent_backup.track('rnd.t', baseline => false); CREATE TABLE rnd.saved AS TABLE rnd.t; CREATE TEMP TABLE again AS TABLE rnd.t",
            "SELECT agent_backup.mark('m')",
            "DELETE FROM rnd.t WHERE random() < 0.5; INSERT INTO rnd.t SELECT * FROM again WHERE random() < 0.5; TRUNCATE rnd.t",
            "INSERT INTO rnd.t SELECT * FROM again WHERE random() < 0.5; DROP TABLE again",
        ] {
            client.batch_execute(statements).unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        }
        if one::<i64>(&mut client, "SELECT count(*) FROM rnd.saved") > 0 {
            assert_equal_tables(
                &mut client,
                "(SELECT * FROM agent_backup.read_as_of(NULL::rnd.t, mark => 'm'))",
                "rnd.saved",
            );
            back(&mut client, "restore_table_as_of('rnd.t', mark => 'm', confirm => true)");
            assert_equal_tables(&mut client, "rnd.t", "rnd.saved");
        }
        client.batch_execute("SELECT agent_backup.untrack('rnd.t'), agent_backup.drop_mark('m')").unwrap();
    }
    assert_no_trash(&db, &[]);
}
