//! What was backed up comes back (T45–T51): every type, random tables, hostile sessions, other encodings, and the whole
//! demo application into an empty database, as EXCEPT ALL and pg_dump see it.

mod values;

use std::time::{SystemTime, UNIX_EPOCH};

use agent_backup_suite::{
    Cluster, Database, Options, SCHEMA_STATE, assert_equal_tables, assert_no_trash, back_up, column_of, database,
    difference, empty_database, lines, long, newest_container, of_project, one, pg_dump, refused, restore,
};
use postgres::Client;
use values::{VALUES, make_table, quoted};

const ALL: &str = "restore('latest', confirm => true, safety_backup => false, set_name => 's')";

/// Types whose values have no input.
const OUTPUT_ONLY: &[&str] = &[
    "gtsvector",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
    "pg_dependencies",
    "pg_mcv_list",
    "pg_ndistinct",
    "pg_node_tree",
];

/// A database with a table `types."t_…"` of every type that has an input; their names.
fn with_all_types() -> (Database<'static>, Vec<String>) {
    let db = database();
    let mut client = db.client();
    client
        .batch_execute(
            "SELECT agent_backup.create_set('s'); CREATE SCHEMA types; CREATE SCHEMA kept; CREATE SCHEMA ext; CREATE EXTENSION hstore SCHEMA ext; CREATE EXTENSION citext SCHEMA ext;
             CREATE EXTENSION ltree SCHEMA ext; CREATE TABLE types.statistics AS SELECT n % 3 AS a, n % 3 * 2 AS b, 'it''s' AS c FROM generate_series(1, 100) n;
             CREATE STATISTICS types.all_kinds (ndistinct, dependencies, mcv) ON a, b, c FROM types.statistics; ANALYZE types.statistics",
        )
        .unwrap();
    let mut tables = Vec::new();
    for (name, values) in VALUES.iter().filter(|(name, _)| !OUTPUT_ONLY.contains(name)) {
        tables.push(make_table(&mut client, name, &quoted(name), values));
    }
    let more: [(&str, &str, &[&str]); 3] = [
        ("hstore", "ext.hstore", &["", "a=>1, b=>NULL", "\"x\\\"y\"=>\"\""]),
        ("citext", "ext.citext", &["", "ABC", "abc"]),
        ("ltree", "ext.ltree", &["", "a.b.c"]),
    ];
    for (name, sql_type, values) in more {
        tables.push(make_table(&mut client, name, sql_type, values));
    }
    for table in &tables {
        client.batch_execute(&format!("CREATE TABLE {} AS TABLE {table}", kept(table))).unwrap();
    }
    drop(client);
    (db, tables)
}

fn kept(table: &str) -> String {
    table.replacen("types.", "kept.", 1)
}

#[test]
fn every_type_comes_back_into_its_table_and_into_an_empty_database() {
    let (db, tables) = with_all_types();
    let names: Vec<&str> = tables.iter().map(String::as_str).collect();
    back_up(&db, &names);
    let mut client = db.client();
    for table in &tables {
        client.batch_execute(&format!("DELETE FROM {table}; INSERT INTO {table} (id) VALUES (77)")).unwrap();
    }
    let steps = restore(&mut client, ALL);
    let proved = steps.iter().filter(|step| step.details.contains("row digest equals the manifest's")).count();
    assert_eq!(proved, tables.len());
    for table in &tables {
        assert_equal_tables(&mut client, table, &kept(table));
    }
    // Into an empty database of the same cluster, then home as a schema beside the first.
    let file = newest_container(&mut client, "s");
    let target = empty_database(&db, "target");
    let mut there = db.cluster().client(&target);
    there
        .batch_execute(&format!(
            "CREATE EXTENSION agent_backup; SET agent_backup.directory = '{}'",
            db.backup_dir().display()
        ))
        .unwrap();
    restore(&mut there, &format!("restore('{file}', create_missing => true, confirm => true)"));
    for table in &tables {
        let rows = format!("SELECT ROW(t.*)::text FROM {table} AS t ORDER BY 1");
        assert_eq!(lines(&mut there, &rows), lines(&mut client, &rows), "{table}");
    }
    drop((client, there));
    assert_no_trash(&db, &[]);
}

#[test]
fn random_tables_come_back_by_every_way() {
    let db = database();
    db.run(include_str!("values/random.sql"));
    db.run("SELECT agent_backup.create_set('s'); CREATE SCHEMA kept");
    let mut client = db.client();
    let now =
        SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_millis() as i64 % 1_000_000_000;
    let given = std::env::var("AGENT_BACKUP_SEED").ok().map(|seed| seed.parse::<i64>().expect("a number"));
    let seeds = given.map_or(now..now + if long() { 1000 } else { 40 }, |seed| seed..seed + 1);
    let mut rows = 0;
    for seed in seeds {
        println!("AGENT_BACKUP_SEED={seed}");
        client.execute("CALL rnd.make($1)", &[&seed]).unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        let count: i64 = one(&mut client, "SELECT count(*) FROM rnd.t");
        if count == 0 {
            continue;
        }
        rows += count;
        db.run("DROP TABLE IF EXISTS kept.t; CREATE TABLE kept.t AS TABLE rnd.t; SELECT agent_backup.add_table('s', 'rnd.t')");
        back_up(&db, &[]);
        for more in ["mode => 'replace'", "where_clause => 'true'"] {
            db.run("DELETE FROM rnd.t WHERE ctid IN (SELECT ctid FROM rnd.t LIMIT 3); INSERT INTO rnd.t SELECT * FROM rnd.t LIMIT 2");
            restore(
                &mut client,
                &format!("restore_table('rnd.t', {more}, confirm => true, safety_backup => false, set_name => 's')"),
            );
            assert_equal_tables(&mut client, "rnd.t", "kept.t");
        }
        db.run("SELECT agent_backup.remove_table('s', 'rnd.t')");
    }
    assert!(rows > 0);
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_hostile_session_reads_the_same_rows() {
    let (db, tables) = with_all_types();
    let names: Vec<&str> = tables.iter().map(String::as_str).collect();
    back_up(&db, &names);
    let mut failed = Vec::new();
    for setting in [
        "DateStyle = 'German, DMY'",
        "IntervalStyle = sql_standard",
        "extra_float_digits = -15",
        "bytea_output = escape",
        "TimeZone = 'Asia/Kathmandu'",
        "standard_conforming_strings = off",
        "xmloption = document",
        "lc_monetary = 'C'",
        "client_encoding = LATIN1",
        "transform_null_equals = on",
        "quote_all_identifiers = on",
        "search_path = types, ext, pg_temp",
        "row_security = on",
        "check_function_bodies = off",
        "default_transaction_isolation = 'read committed'",
        "session_replication_role = replica",
        "default_table_access_method = heap",
        "default_toast_compression = pglz",
        "client_min_messages = error",
        "backslash_quote = off",
        "work_mem = '64kB'",
        "maintenance_work_mem = '1MB'",
        "enable_hashjoin = off",
    ] {
        let mut client = db.client();
        for table in tables.iter().step_by(if long() { 1 } else { 3 }) {
            client.batch_execute(&format!("DELETE FROM {table}")).unwrap();
        }
        client.batch_execute(&format!("SET {setting}")).unwrap();
        let name = setting.split(' ').next().unwrap();
        let before: String = one(&mut client, &format!("SELECT current_setting('{name}')"));
        if let Err(error) = client.batch_execute(&format!("SELECT * FROM agent_backup.{ALL}")) {
            failed.push(format!(
                "{setting}: {}",
                error.as_db_error().map_or(error.to_string(), |e| e.message().to_owned())
            ));
            continue;
        }
        assert_eq!(one::<String>(&mut client, &format!("SELECT current_setting('{name}')")), before, "{setting}");
        let mut client = db.client();
        for table in &tables {
            assert_equal_tables(&mut client, table, &kept(table));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    assert_no_trash(&db, &[]);
}

#[test]
fn a_session_without_nulls_in_arrays_reads_the_same_rows() {
    let db = database();
    db.run("CREATE TABLE t (id int PRIMARY KEY, a text[]); INSERT INTO t VALUES (1, '{a,NULL,\"NULL\"}'); SELECT agent_backup.create_set('s'); CREATE SCHEMA kept; CREATE TABLE kept.t AS TABLE t");
    back_up(&db, &["t"]);
    let mut client = db.client();
    client.batch_execute("SET array_nulls = off; DELETE FROM t").unwrap();
    restore(&mut client, ALL);
    assert_equal_tables(&mut client, "t", "kept.t");
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn databases_of_other_encodings_get_their_bytes_back() {
    for encoding in ["LATIN1", "SQL_ASCII", "EUC_JP"] {
        let cluster = Cluster::start(Options::default().encoding(encoding));
        let dir = cluster.create_dir("backups");
        let mut client = cluster.client("postgres");
        // Bytes that are letters in the one, and nothing anywhere in the other.
        let bytes = match encoding {
            "LATIN1" => r"\xe9e8fcff20a3",
            "SQL_ASCII" => r"\xfffe80e9",
            _ => r"\xc6fccbdcb8ec",
        };
        client
            .batch_execute(&format!(
                "SET client_encoding = SQL_ASCII; SET agent_backup.directory = '{}'; CREATE EXTENSION agent_backup; SELECT agent_backup.create_set('s');
                 CREATE TABLE t (id int PRIMARY KEY, v text, j text); INSERT INTO t VALUES (1, convert_from('{bytes}', '{encoding}'), 'plain'), (2, 'a' || convert_from('{bytes}', '{encoding}') || '\"', NULL);
                 CREATE SCHEMA kept; CREATE TABLE kept.t AS TABLE t; SELECT agent_backup.add_table('s', 't'); SELECT agent_backup.backup('s'); DELETE FROM t",
                dir.display()
            ))
            .unwrap_or_else(|error| panic!("{encoding}: {error:?}"));
        for call in [ALL, "restore_table('t', mode => 'merge', confirm => true, set_name => 's')"] {
            client
                .batch_execute(&format!("DELETE FROM t WHERE id = 1; SELECT * FROM agent_backup.{call}"))
                .unwrap_or_else(|error| panic!("{encoding}: {error:?}"));
            let same = "SELECT count(*) FROM t JOIN kept.t k USING (id) WHERE t.v::bytea = k.v::bytea AND t.j IS NOT DISTINCT FROM k.j";
            let same = same.replace("t.v::bytea", "textsend(t.v)").replace("k.v::bytea", "textsend(k.v)");
            assert_eq!(one::<i64>(&mut client, &same), 2, "{encoding}");
        }
    }
}

/// The demo application, loaded and backed up.
fn demo() -> Database<'static> {
    let db = database();
    db.run("DROP EXTENSION agent_backup CASCADE");
    let script = format!(
        "\\set rows 1000\n\\i '{}'\n\\i '{}'\nCREATE EXTENSION agent_backup;\n",
        of_project("demo/schema.sql").display(),
        of_project("demo/data.sql").display()
    );
    let output = db.psql(&script);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bad = lines(
        &mut db.client(),
        "SELECT table_name, status, error_message FROM agent_backup.backup() WHERE status <> 'ok'",
    );
    assert!(bad.is_empty(), "{bad:?}");
    db
}

fn demo_tables(client: &mut Client) -> Vec<String> {
    lines(
        client,
        "SELECT c.oid::regclass FROM pg_class c WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
            AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = c.oid AND deptype = 'e') ORDER BY 1",
    )
}

#[test]
fn the_whole_demo_comes_back_in_place() {
    let db = demo();
    let mut client = db.client();
    let tables = demo_tables(&mut client);
    assert_eq!(tables.len(), 8);
    client.batch_execute("CREATE SCHEMA kept").unwrap();
    for table in &tables {
        client.batch_execute(&format!("CREATE TABLE kept.{table} AS TABLE {table}")).unwrap();
    }
    let (schema, inner) = (pg_dump(&db, db.name()), column_of(&db, db.name(), SCHEMA_STATE));
    client
        .batch_execute("SET session_replication_role = replica; DELETE FROM agent_approvals WHERE random() < 0.3; UPDATE \"AgentFeedback\" SET rating = 1; DELETE FROM \"AgentQuery\"; TRUNCATE data_quality_log; RESET session_replication_role")
        .unwrap();
    restore(&mut client, "restore('latest', confirm => true)");
    for table in &tables {
        assert_equal_tables(&mut client, table, &format!("kept.{table}"));
    }
    let different = difference(&schema, &pg_dump(&db, db.name()));
    assert!(different.is_empty(), "{different}");
    let now = column_of(&db, db.name(), SCHEMA_STATE);
    // Our own numbering moves, and a sequence is past the rows.
    let of_demo = |lines: &[String]| {
        lines.iter().filter(|line| !line.contains("agent_backup|")).cloned().collect::<Vec<_>>().join("\n")
    };
    let different = difference(&of_demo(&inner), &of_demo(&now));
    assert!(different.is_empty(), "{different}");
    let bad = lines(
        &mut client,
        "SELECT * FROM run_all_quality_checks() WHERE status NOT IN ('ok', 'pass', 'passed', 'success')",
    );
    let counts = lines(&mut client, "SELECT status, count(*) FROM run_all_quality_checks() GROUP BY 1");
    assert!(bad.len() < 3, "{counts:?} {bad:?}");
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn the_whole_demo_comes_back_in_an_empty_database() {
    let db = demo();
    let mut client = db.client();
    let tables = demo_tables(&mut client);
    let file = newest_container(&mut client, "agent_sdk");
    let target = empty_database(&db, "target");
    let mut there = db.cluster().client(&target);
    // From a bare server: the extension, the directory, reconcile, restore.
    there
        .batch_execute(&format!(
            "ALTER DATABASE {target} SET agent_backup.directory = '{}'; CREATE EXTENSION agent_backup",
            db.backup_dir().display()
        ))
        .unwrap();
    let mut there = db.cluster().client(&target);
    let blocked = refused(&mut there, &format!("SELECT * FROM agent_backup.restore('{file}', confirm => true)"));
    assert_eq!(blocked.code, "55000", "{blocked:?}");
    assert_eq!(lines(&mut there, "SELECT action FROM agent_backup.reconcile('agent_sdk')"), ["adopted"]);
    restore(&mut there, "restore('latest', create_missing => true, confirm => true)");
    for table in &tables {
        let rows = format!("SELECT ROW(t.*)::text FROM {table} AS t ORDER BY 1");
        let (ours, theirs) = (lines(&mut client, &rows), lines(&mut there, &rows));
        assert!(!ours.is_empty() && ours == theirs, "{table}: {} rows and {}", ours.len(), theirs.len());
    }
    drop((client, there));
    // What is no member of the set is no part of it: views, and functions that no table needs.
    db.run(
        "DO $$DECLARE r record; BEGIN
             FOR r IN SELECT relname, relkind FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('v', 'm') LOOP
                 EXECUTE format('DROP %s VIEW IF EXISTS public.%I CASCADE', CASE r.relkind WHEN 'm' THEN 'MATERIALIZED' ELSE '' END, r.relname);
             END LOOP; END$$; DROP EXTENSION agent_backup CASCADE",
    );
    db.cluster().client(&target).batch_execute("DROP EXTENSION agent_backup CASCADE").unwrap();
    let functions =
        "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE pronamespace = 'public'::regnamespace ORDER BY 1";
    let theirs = column_of(&db, &target, functions);
    for function in column_of(&db, db.name(), functions).iter().filter(|function| !theirs.contains(function)) {
        db.run(&format!("DROP ROUTINE {function}"));
    }
    let source = pg_dump(&db, db.name());
    assert!(source.contains("CREATE TABLE") && source.contains("CREATE POLICY"), "an empty schema proves nothing");
    let different = difference(&source, &pg_dump(&db, &target));
    assert!(different.is_empty(), "{different}");
    let different = difference(
        &column_of(&db, db.name(), SCHEMA_STATE).join("\n"),
        &column_of(&db, &target, SCHEMA_STATE).join("\n"),
    );
    assert!(different.is_empty(), "{different}");
    assert_no_trash(&db, &[]);
}

#[test]
fn a_nasty_schema_comes_back_in_an_empty_database() {
    let canary = std::path::Path::new("/tmp/never");
    assert!(!canary.exists(), "{} is there before the test", canary.display());
    let db = database();
    let output = db.psql(&format!("\\i '{}'", of_project("pgrx-tests/ddl/nasty.sql").display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    db.run("DROP TABLE app.far; DROP FOREIGN TABLE app.alien; DROP EXTENSION postgres_fdw CASCADE; DROP MATERIALIZED VIEW app.mv_empty, app.mv; DROP VIEW app.v1, app.v2;
            SELECT agent_backup.create_set('s')");
    db.run(
        "SELECT agent_backup.add_table('s', format('%I.%I', nspname, relname)) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
         WHERE relkind IN ('r', 'p', 'm') AND NOT relispartition AND c.oid >= 16384 AND nspname IN ('app', 'we\"ird $s')",
    );
    back_up(&db, &[]);
    let file = newest_container(&mut db.client(), "s");
    let target = empty_database(&db, "target");
    let mut there = db.cluster().client(&target);
    there
        .batch_execute(&format!(
            "SET agent_backup.directory = '{}'; CREATE EXTENSION agent_backup",
            db.backup_dir().display()
        ))
        .unwrap();
    restore(&mut there, &format!("restore('{file}', create_missing => true, confirm => true)"));
    let tables = lines(
        &mut there,
        "SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'p', 'm') AND NOT relispartition AND nspname IN ('app', 'we\"ird $s') ORDER BY 1",
    );
    assert!(tables.len() > 5, "{tables:?}");
    let mut client = db.client();
    for table in &tables {
        let rows = format!("SELECT ROW(t.*)::text FROM {table} AS t ORDER BY 1");
        assert_eq!(lines(&mut there, &rows), lines(&mut client, &rows), "{table}");
    }
    assert!(!canary.exists(), "a name ran a command");
    drop((client, there));
    assert_no_trash(&db, &[]);
}
