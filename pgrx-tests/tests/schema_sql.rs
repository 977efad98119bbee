//! `schema.sql` of a backup, replayed with psql in an empty database, makes what pg_dump calls the same schema; and the
//! CSV files, loaded with \copy, make the same rows.

use std::path::{Path, PathBuf};
use std::process::Command;

use agent_backup_suite::{
    Database, SCHEMA_STATE, assert_equal_tables, assert_no_trash, column_of, database, difference, empty_database,
    of_project, pg_dump,
};

/// Functions of users that are in no extension, as DROP ROUTINE takes them.
const FUNCTIONS: &str = "
    SELECT format('%I.%I(%s)', nspname, proname, pg_get_function_identity_arguments(p.oid)) FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
    WHERE p.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype IN ('e', 'i'))";

#[track_caller]
fn psql(db: &Database, name: &str, script: &str) {
    let output = db.cluster().psql(name, script);
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Backs up a set and unpacks the container.
fn unpacked(db: &Database, set: &str) -> PathBuf {
    let mut client = db.client();
    let bad = client
        .query("SELECT table_name, status, error_message FROM agent_backup.backup($1) WHERE status <> 'ok'", &[&set]);
    let bad: Vec<String> = bad
        .unwrap()
        .iter()
        .map(|row| format!("{} {} {:?}", row.get::<_, &str>(0), row.get::<_, &str>(1), row.get::<_, Option<&str>>(2)))
        .collect();
    assert!(bad.is_empty(), "{bad:?}");
    let file: String = client.query_one("SELECT backup_file FROM agent_backup.backups", &[]).unwrap().get(0);
    let out = db.cluster().dir().join(format!("{}_out", db.name()));
    std::fs::create_dir(&out).unwrap();
    assert!(Command::new("tar").arg("-xzf").arg(file).arg("-C").arg(&out).status().expect("tar").success());
    out
}

/// Compares the source, from which what belongs to no member is dropped first, with a replay of `schema.sql`.
fn assert_schema_comes_back(db: &Database, out: &Path) -> String {
    let script = std::fs::read_to_string(out.join("schema.sql")).unwrap();
    assert!(!script.contains("pg_attver"), "the server's own marks are no part of a definition");
    let target = empty_database(db, "target");
    psql(db, &target, &format!("\\i '{}'", out.join("schema.sql").display()));
    db.run("DROP EXTENSION agent_backup CASCADE");
    let (ours, theirs) = (column_of(db, db.name(), FUNCTIONS), column_of(db, &target, FUNCTIONS));
    // Not CASCADE: a function that something in the source needs must have come along.
    for unneeded in ours.iter().filter(|function| !theirs.contains(function)) {
        db.run(&format!("DROP ROUTINE {unneeded}"));
    }
    let (mut source, copy) = (pg_dump(db, db.name()), pg_dump(db, &target));
    assert!(source.contains("CREATE TABLE"), "an empty schema proves nothing");
    if source != copy {
        // The server prints some views otherwise once they were read from their own text; then pg_dump's own round trip is the measure.
        let settled = empty_database(db, "settled");
        psql(db, &settled, &source);
        source = pg_dump(db, &settled);
    }
    let different = difference(&source, &copy);
    assert!(different.is_empty(), "{different}");
    let different = difference(
        &column_of(db, db.name(), SCHEMA_STATE).join("\n"),
        &column_of(db, &target, SCHEMA_STATE).join("\n"),
    );
    assert!(different.is_empty(), "{different}");
    target
}

#[test]
fn the_demos_eight_tables_come_back_with_their_schema_and_rows() {
    let db = database();
    db.run("DROP EXTENSION agent_backup CASCADE");
    psql(
        &db,
        db.name(),
        &format!(
            "\\set rows 1000\n\\i '{}'\n\\i '{}'\n",
            of_project("demo/schema.sql").display(),
            of_project("demo/data.sql").display()
        ),
    );
    db.run("CREATE EXTENSION agent_backup");
    let out = unpacked(&db, "agent_sdk");
    db.run(
        "DO $$DECLARE r record; BEGIN
             FOR r IN SELECT relname, relkind FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('v', 'm') LOOP
                 EXECUTE format('DROP %s VIEW IF EXISTS public.%I CASCADE', CASE r.relkind WHEN 'm' THEN 'MATERIALIZED' ELSE '' END, r.relname);
             END LOOP; END$$",
    );
    let target = assert_schema_comes_back(&db, &out);
    let tables = column_of(
        &db,
        &target,
        "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1",
    );
    assert_eq!(tables.len(), 8, "{tables:?}");
    // Foreign keys and triggers are in place already: the rows come as a replica would take them.
    let mut script = "SET session_replication_role = replica; SET client_encoding = UTF8;\n".to_owned();
    for table in &tables {
        script.push_str(&format!(
            "\\copy public.\"{table}\" FROM '{}' CSV HEADER\n",
            out.join(format!("{table}.csv")).display()
        ));
    }
    psql(&db, &target, &script);
    // Both in one database, to be compared there.
    let mut client = db.cluster().client(&target);
    let source = "CREATE SCHEMA source; ".to_owned()
        + &tables
            .iter()
            .map(|t| format!("CREATE TABLE source.\"{t}\" AS TABLE public.\"{t}\" WITH NO DATA;"))
            .collect::<String>();
    client.batch_execute(&source).unwrap();
    for table in &tables {
        let mut rows = Vec::new();
        let copy = format!("COPY (SELECT * FROM public.\"{table}\") TO STDOUT");
        std::io::copy(&mut db.client().copy_out(&copy).unwrap(), &mut rows).unwrap();
        let mut writer = client.copy_in(&format!("COPY source.\"{table}\" FROM STDIN")).unwrap();
        std::io::copy(&mut rows.as_slice(), &mut writer).unwrap();
        writer.finish().unwrap();
        assert_equal_tables(&mut client, &format!("source.\"{table}\""), &format!("public.\"{table}\""));
    }
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_nasty_schema_comes_back() {
    // The path is told in names and comments of nasty.sql.
    let canary = Path::new("/tmp/never");
    assert!(!canary.exists(), "{} is there before the test", canary.display());
    let db = database();
    let output = db.psql(&format!("\\i '{}'", of_project("pgrx-tests/ddl/nasty.sql").display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // What no backup can read or no member needs: a server without a user mapping, views, and what reads them.
    db.run("DROP TABLE app.far; DROP FOREIGN TABLE app.alien; DROP EXTENSION postgres_fdw CASCADE; DROP MATERIALIZED VIEW app.mv_empty, app.mv; DROP VIEW app.v1, app.v2;
            SELECT agent_backup.create_set('nasty')");
    db.run(
        "SELECT agent_backup.add_table('nasty', format('%I.%I', nspname, relname)) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
         WHERE relkind IN ('r', 'p', 'm') AND NOT relispartition AND c.oid >= 16384 AND nspname IN ('app', 'we\"ird $s')",
    );
    let out = unpacked(&db, "nasty");
    assert_schema_comes_back(&db, &out);
    assert!(!canary.exists(), "a name ran a command");
    assert_no_trash(&db, &[]);
}

#[test]
fn a_materialized_view_replays_with_the_views_that_it_reads() {
    let db = database();
    db.run(
        "CREATE TABLE base AS SELECT n FROM generate_series(1, 5) n; CREATE VIEW inner_view AS SELECT n * 2 AS n FROM base; CREATE VIEW outer_view AS TABLE inner_view;
         CREATE MATERIALIZED VIEW seen AS TABLE outer_view; SELECT agent_backup.create_set('s');
         SELECT agent_backup.add_table('s', name) FROM unnest('{base,seen}'::text[]) name",
    );
    let out = unpacked(&db, "s");
    assert_schema_comes_back(&db, &out);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_member_that_reads_what_is_no_member_does_not_stop_the_replay() {
    let db = database();
    db.run(
        "CREATE TABLE elsewhere AS SELECT 1 AS n; CREATE MATERIALIZED VIEW seen AS TABLE elsewhere; CREATE TABLE parent (id int PRIMARY KEY);
         CREATE TABLE kept (id int REFERENCES parent, t text DEFAULT 'x'); SELECT agent_backup.create_set('s'); SELECT agent_backup.add_table('s', name) FROM unnest('{seen,kept}'::text[]) name",
    );
    let out = unpacked(&db, "s");
    let target = empty_database(&db, "target");
    psql(&db, &target, &format!("\\i '{}'", out.join("schema.sql").display()));
    let made = column_of(
        &db,
        &target,
        "SELECT column_default FROM information_schema.columns WHERE table_name = 'kept' AND column_name = 't'",
    );
    assert_eq!(made, ["'x'::text"]);
    let manifest = std::fs::read_to_string(out.join("manifest.json")).unwrap();
    let left_out = manifest.split("\"left_out\"").nth(1).and_then(|rest| rest.split("\"notes\"").next()).unwrap();
    assert!(left_out.contains("elsewhere") && left_out.contains("parent"), "{left_out}");
    assert_no_trash(&db, &[]);
}
