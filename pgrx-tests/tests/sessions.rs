//! Files do not depend on the session that asks for them, nor does the session notice (T48); a user's cast to json runs
//! as the table's owner (T75).

use agent_backup_suite::{
    Database, Reads, assert_exact, assert_no_trash, assert_same_bytes, copy_csv, csv_digest, database, export, has_xml,
    json_digest, pin, try_export,
};
use postgres::Client;

/// Settings that change how values are written, or how queries run.
const HOSTILE: &[&str] = &[
    "SET DateStyle = 'German, DMY'",
    "SET DateStyle = 'SQL, YMD'",
    "SET IntervalStyle = sql_standard",
    "SET IntervalStyle = iso_8601",
    "SET extra_float_digits = -15",
    "SET bytea_output = escape",
    "SET TimeZone = 'Asia/Kathmandu'",
    "SET TimeZone = '<-12:34>+12:34'",
    "SET search_path = evil, pg_catalog",
    "SET search_path = pg_temp, data, evil",
    "SET standard_conforming_strings = off; SET backslash_quote = on; SET escape_string_warning = on",
    "SET lc_monetary = 'C.UTF-8'; SET lc_numeric = 'C.UTF-8'; SET lc_time = 'C.UTF-8'",
    "SET client_encoding = LATIN1",
    "SET client_encoding = SQL_ASCII",
    "SET client_encoding = SJIS",
    "SET xmloption = document; SET xmlbinary = hex",
    "SET quote_all_identifiers = on",
    "SET row_security = on",
    "SET array_nulls = off; SET transform_null_equals = on",
    "SET default_text_search_config = 'german'; SET default_toast_compression = pglz",
    "SET jit = on; SET jit_above_cost = 0; SET jit_inline_above_cost = 0; SET jit_optimize_above_cost = 0",
    "SET max_parallel_workers_per_gather = 4; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0",
    "SET enable_seqscan = off; SET enable_tidscan = off; SET synchronize_seqscans = on",
    "SET work_mem = '64kB'; SET temp_buffers = '800kB'; SET plan_cache_mode = force_generic_plan",
    "SET client_min_messages = error; SET lc_messages = 'C'; SET check_function_bodies = off",
    "SET session_replication_role = replica; SET default_transaction_isolation = serializable",
    "SET agent_backup.workers = 1; SET agent_backup.chunk_size = '16kB'",
    "SET agent_backup.workers = 64; SET agent_backup.chunk_size = '64MB'",
];

/// Every setting with its value, as the session sees it.
fn settings(client: &mut Client) -> Vec<String> {
    // Loaded first, so that their own settings are there before as after.
    client.batch_execute("LOAD 'agent_backup'; LOAD 'plpgsql'").unwrap();
    let query =
        "SELECT pg_catalog.format('%s = %s (%s)', name, setting, source) FROM pg_catalog.pg_settings ORDER BY name";
    client.query(query, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

#[track_caller]
fn assert_unchanged(client: &mut Client, before: &[String], what: &str) {
    let after = settings(client);
    let changed: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
    assert!(changed.is_empty() && before.len() == after.len(), "after {what}: {changed:?}");
}

/// A table of everything that a setting can change, more than one chunk of it, and a schema that shadows what a query uses.
fn prepared() -> Database<'static> {
    let db = database();
    let script = "CREATE SCHEMA data; CREATE SCHEMA evil; CREATE TYPE data.pair AS (at timestamptz, f float8, i interval);
         CREATE TABLE data.t (id int PRIMARY KEY, d date, t timestamp, tz timestamptz, tt timetz, i interval, f4 float4, f8 float8, m money, b bytea, x xml,
             c regclass, n numeric, s text, j jsonb, p data.pair, ta timestamptz[], pa data.pair[], r tstzrange, mr datemultirange, fa float8[], ba bytea[]);
         INSERT INTO data.t SELECT n, date '2024-02-03' + n, timestamp '2024-02-03 04:05:06.7' - n * interval '100 days', timestamptz '2024-03-31 01:30+00' + n * interval '1 hour',
             timetz '12:34:56-07', interval '1 year -2 months 3 days -04:05:06.789', n / 3.0, n / 7.0, n * 1234.56::money, decode(md5(n::text), 'hex'),
             {xml}, 'data.t', n / 3.0, E'it''s\\\\ \"é\" \\n €' || n, jsonb_build_object('k', 'é\\\"', 'n', n), ROW('2024-03-31 01:30+00', n / 3.0, '-1 mon 2 days')::data.pair,
             ARRAY[timestamptz '2024-01-01 00:00+00', NULL], ARRAY[ROW('2024-01-01 00:00+00', 'NaN', '1 day')::data.pair], '[2024-01-01 00:00+00,)', '{[2024-01-01,2024-02-01)}',
             ARRAY[n / 3.0, '-0', 1e-310], ARRAY['\\\\xff00'::bytea]
         FROM generate_series(1, 300) n;
         CREATE TABLE evil.t (id int); CREATE TABLE evil.pg_class (oid int); CREATE TABLE evil.pg_attribute (oid int);
         CREATE FUNCTION evil.format_type(oid, int4) RETURNS text LANGUAGE sql AS 'SELECT ''evil''';
         CREATE FUNCTION evil.to_json(anyelement) RETURNS json LANGUAGE sql AS 'SELECT ''\"evil\"''::json';
         CREATE FUNCTION evil.same(oid, oid) RETURNS bool LANGUAGE sql AS 'SELECT false';
         CREATE OPERATOR evil.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = evil.same)";
    let xml = if has_xml(&mut db.client()) { "'<a b=\"1\">é</a>'" } else { "NULL" };
    db.run(&script.replace("{xml}", xml));
    db
}

#[test]
fn files_are_the_same_whatever_the_session_has_set() {
    let db = prepared();
    let mut reference = db.client();
    pin(&mut reference);
    assert_eq!(assert_exact(&mut db.client(), &mut reference, "data.t", Reads::Table), 300);
    let plain = ["csv", "json", "sql"].map(|format| export(&mut db.client(), "data.t", format));
    for hostile in HOSTILE {
        let mut client = db.client();
        client.batch_execute(hostile).unwrap();
        let before = settings(&mut client);
        for (format, plain) in ["csv", "json", "sql"].iter().zip(&plain) {
            let ours = export(&mut client, "data.t", format);
            assert_same_bytes(&format!("{format} after {hostile}"), &ours.bytes, &plain.bytes);
            assert_eq!((ours.rows, &ours.checksum), (plain.rows, &plain.checksum), "{format} after {hostile}");
        }
        assert_unchanged(&mut client, &before, hostile);
    }
    assert_no_trash(&db, &[]);
}

#[test]
fn a_backup_holds_the_same_rows_whatever_the_session_has_set() {
    let db = prepared();
    db.run("SELECT agent_backup.create_set('s', formats => '{csv,json,sql}'); SELECT agent_backup.add_table('s', 'data.t')");
    let all =
        HOSTILE.iter().filter(|hostile| !hostile.contains("client_encoding")).copied().collect::<Vec<_>>().join("; ");
    for settings in ["", &all] {
        let mut client = db.client();
        client.batch_execute(settings).unwrap();
        client.batch_execute("SELECT agent_backup.backup('s')").unwrap();
    }
    let query = "SELECT format, count(*), count(DISTINCT checksum), count(DISTINCT plain_bytes), min(row_count) FROM agent_backup.backup_files GROUP BY 1";
    let rows = db.client().query(query, &[]).unwrap();
    assert_eq!(rows.len(), 3);
    for row in rows {
        let found: [i64; 4] = [1, 2, 3, 4].map(|column| row.get(column));
        assert_eq!(found, [2, 1, 1, 300], "{}", row.get::<_, String>(0));
    }
    assert_no_trash(&db, &[]);
}

#[test]
fn the_callers_settings_survive_an_error() {
    let db = prepared();
    db.run("CREATE VIEW data.v AS SELECT 1 AS one");
    let failing = [
        "SELECT * FROM agent_backup.export_table('data.v')",
        "SELECT * FROM agent_backup.export_table('data.t', 'json', '/no/such/directory/x.json')",
        "SET LOCAL agent_backup.debug_failpoint = 'scan=error'; SELECT * FROM agent_backup.export_table('data.t')",
        "SET LOCAL agent_backup.debug_failpoint = 'scan=panic'; SELECT * FROM agent_backup.export_table('data.t')",
        "SELECT * FROM agent_backup.export_table('data.t', 'csv', '/dev/null')",
    ];
    for statement in failing {
        let mut client = db.client();
        client.batch_execute(&HOSTILE[..8].join("; ")).unwrap();
        client.batch_execute("SET standard_conforming_strings = off; SET quote_all_identifiers = on").unwrap();
        let before = settings(&mut client);
        assert!(client.batch_execute(&format!("BEGIN; {statement}")).is_err(), "{statement}");
        client.batch_execute("ROLLBACK").unwrap();
        assert_unchanged(&mut client, &before, statement);
        // Caught inside the transaction, where no abort of it puts anything back.
        client.batch_execute(&format!("BEGIN; SAVEPOINT s; {statement}")).unwrap_err();
        client.batch_execute("ROLLBACK TO s").unwrap();
        assert_unchanged(&mut client, &before, &format!("{statement}, caught"));
        client.batch_execute("COMMIT").unwrap();
    }
    assert_no_trash(&db, &[]);
}

/// A type of each kind with a cast to json that tells who runs it.
fn types_with_casts(db: &Database, owner: &str) {
    let script = "CREATE ROLE {owner}; CREATE SCHEMA casts; CREATE TABLE casts.canary (who text, session text, path text); GRANT USAGE, CREATE ON SCHEMA casts TO {owner};
         GRANT INSERT ON casts.canary TO {owner};
         CREATE FUNCTION casts.saw() RETURNS void LANGUAGE plpgsql AS $$BEGIN
             INSERT INTO casts.canary VALUES (current_user, session_user, current_setting('search_path')); END$$;
         CREATE TYPE casts.mood AS ENUM ('sad', 'ok'); CREATE DOMAIN casts.moody AS casts.mood;
         CREATE TYPE casts.pair AS (a int, b casts.mood); CREATE TYPE casts.span AS RANGE (SUBTYPE = int4);
         CREATE TYPE casts.own; CREATE FUNCTION casts.own_in(cstring) RETURNS casts.own LANGUAGE internal IMMUTABLE STRICT AS 'textin';
         CREATE FUNCTION casts.own_out(casts.own) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
         CREATE TYPE casts.own (INPUT = casts.own_in, OUTPUT = casts.own_out, LIKE = text);
         CREATE TYPE casts.same; CREATE FUNCTION casts.same_in(cstring) RETURNS casts.same LANGUAGE internal IMMUTABLE STRICT AS 'textin';
         CREATE FUNCTION casts.same_out(casts.same) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
         CREATE TYPE casts.same (INPUT = casts.same_in, OUTPUT = casts.same_out, LIKE = text); CREATE CAST (casts.same AS json) WITHOUT FUNCTION;
         CREATE FUNCTION casts.j(casts.mood) RETURNS json LANGUAGE plpgsql AS $$BEGIN PERFORM casts.saw(); RETURN json_build_object('mood', $1::text, 'n', 1); END$$;
         CREATE FUNCTION casts.j(casts.pair) RETURNS json LANGUAGE plpgsql AS $$BEGIN PERFORM casts.saw(); RETURN '\"pair\"'; END$$;
         CREATE FUNCTION casts.j(casts.span) RETURNS json LANGUAGE plpgsql AS $$BEGIN PERFORM casts.saw(); RETURN to_json(lower($1)); END$$;
         CREATE FUNCTION casts.j(casts.own) RETURNS json LANGUAGE plpgsql AS $$BEGIN PERFORM casts.saw(); RETURN E'[1,\\n 2]'; END$$;
         CREATE CAST (casts.mood AS json) WITH FUNCTION casts.j(casts.mood); CREATE CAST (casts.pair AS json) WITH FUNCTION casts.j(casts.pair);
         CREATE CAST (casts.span AS json) WITH FUNCTION casts.j(casts.span) AS ASSIGNMENT; CREATE CAST (casts.own AS json) WITH FUNCTION casts.j(casts.own) AS IMPLICIT;
         CREATE TABLE casts.t (m casts.mood, d casts.moody, ma casts.mood[], da casts.moody[], p casts.pair, pa casts.pair[], s casts.span, sm casts.span_multirange, o casts.own, oa casts.own[], w casts.same);
         INSERT INTO casts.t VALUES ('sad', 'ok', '{sad,NULL,ok}', '{ok}', '(1,sad)', '{\"(2,ok)\",NULL}', '[1,3)', '{[1,2)}', 'x', '{y,z}', '[1]'), (DEFAULT, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
         ALTER TABLE casts.t OWNER TO {owner}";
    db.run(&script.replace("{owner}", owner));
}

#[test]
fn a_users_cast_to_json_is_used_as_row_to_json_uses_it() {
    let db = database();
    let owner = format!("{}_owner", db.name());
    types_with_casts(&db, &owner);
    let mut reference = db.client();
    pin(&mut reference);
    assert_eq!(assert_exact(&mut db.client(), &mut reference, "casts.t", Reads::Table), 2);
    assert_no_trash(&db, &[]);
    db.run(&format!("DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}"));
}

#[test]
fn a_users_cast_to_json_runs_as_the_tables_owner() {
    let db = database();
    let owner = format!("{}_owner", db.name());
    types_with_casts(&db, &owner);
    let mut client = db.client();
    export(&mut client, "casts.t", "json");
    db.run("SELECT agent_backup.create_set('s'); SELECT agent_backup.add_table('s', 'casts.t'); SELECT agent_backup.backup('s')");
    let status: String = client.query_one("SELECT status FROM agent_backup.backups", &[]).unwrap().get(0);
    assert_eq!(status, "complete");
    let rows = client.query("SELECT DISTINCT who, path FROM casts.canary", &[]).unwrap();
    let seen: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(seen, [(owner.clone(), String::new())]);
    client.batch_execute("TRUNCATE casts.canary").unwrap();
    export(&mut client, "casts.t", "csv");
    let calls: i64 = client.query_one("SELECT count(*) FROM casts.canary", &[]).unwrap().get(0);
    assert_eq!(calls, 0, "CSV needs no cast to json");
    assert_no_trash(&db, &[]);
    db.run(&format!("DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}"));
}

#[test]
fn a_cast_to_json_cannot_change_the_callers_session() {
    let db = database();
    let owner = format!("{}_owner", db.name());
    types_with_casts(&db, &owner);
    for act in
        ["SET ROLE postgres", "RESET SESSION AUTHORIZATION", "CREATE TEMP TABLE trap ()", "SET search_path = casts"]
    {
        db.run(&format!(
            "CREATE OR REPLACE FUNCTION casts.saw() RETURNS void LANGUAGE plpgsql AS $$BEGIN {act}; END$$"
        ));
        let mut client = db.client();
        let before = settings(&mut client);
        match try_export(&mut client, "casts.t", "json") {
            Err(error) => assert!(error.as_db_error().is_some(), "{act}: {error:?}"),
            Ok(_) => assert!(act.starts_with("SET search_path"), "{act} was let through"),
        }
        assert_unchanged(&mut client, &before, act);
        let user: String = client.query_one("SELECT current_user::text", &[]).unwrap().get(0);
        assert_eq!(user, "postgres", "{act}");
    }
    assert_no_trash(&db, &[]);
    db.run(&format!("DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}"));
}

#[test]
fn a_cast_of_one_table_cannot_change_the_bytes_of_the_next() {
    let db = database();
    let owner = format!("{}_owner", db.name());
    types_with_casts(&db, &owner);
    db.run(
        "CREATE OR REPLACE FUNCTION casts.saw() RETURNS void LANGUAGE plpgsql AS
             $$BEGIN SET extra_float_digits = -15; SET IntervalStyle = sql_standard; SET search_path = casts; END$$;
         CREATE TABLE public.next AS SELECT n / 7.0::float8 AS f, '-1 day 02:03'::interval AS i, 'casts.t'::regclass AS c FROM generate_series(1, 9) n;
         SELECT agent_backup.create_set('s', formats => '{json,csv}'); SELECT agent_backup.add_table('s', name) FROM unnest('{casts.t,next}'::text[]) name;
         SELECT agent_backup.backup('s')",
    );
    let mut reference = db.client();
    pin(&mut reference);
    let query = "SELECT format, checksum FROM agent_backup.backup_files WHERE table_name = 'next' ORDER BY 1";
    let found: Vec<(String, String)> =
        reference.query(query, &[]).unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
    let csv = copy_csv(&mut reference, "public.next", "UTF8");
    let expected = [("csv", csv_digest(&mut reference, &csv)), ("json", json_digest(&mut reference, "public.next"))];
    assert_eq!(found, expected.map(|(format, digest)| (format.to_owned(), digest)));
    assert_no_trash(&db, &[]);
    db.run(&format!("DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}"));
}

#[test]
fn a_table_is_read_with_the_rights_of_the_caller_whatever_its_owner_lacks() {
    let db = database();
    let owner = format!("{}_owner", db.name());
    db.run(&format!(
        "CREATE EXTENSION postgres_fdw; CREATE SERVER loop FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{}', dbname '{}');
         CREATE USER MAPPING FOR postgres SERVER loop OPTIONS (user 'postgres'); CREATE ROLE {owner};
         CREATE TABLE base AS SELECT 1 AS a; CREATE FOREIGN TABLE far (a int) SERVER loop OPTIONS (table_name 'base');
         CREATE TABLE forced AS TABLE base; ALTER TABLE forced ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
         CREATE SCHEMA closed; CREATE TABLE closed.t AS TABLE base; CREATE TABLE denied AS TABLE base; CREATE TABLE masked AS TABLE forced; ALTER TABLE masked ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
         ALTER TABLE forced OWNER TO {owner}; ALTER TABLE denied OWNER TO {owner}; ALTER TABLE closed.t OWNER TO {owner}; ALTER TABLE far OWNER TO {owner}; ALTER TABLE masked OWNER TO {owner};
         REVOKE ALL ON denied FROM {owner}; SELECT agent_backup.create_set('s')",
        db.cluster().socket_dir().display(),
        db.name()
    ));
    let mut failed = Vec::new();
    for table in ["forced", "denied", "closed.t", "far"] {
        let mut client = db.client();
        if let Err(error) = try_export(&mut client, table, "csv") {
            failed.push(format!("export of {table}: {error:?}"));
        }
        if let Err(error) = client.execute("SELECT agent_backup.add_table('s', $1)", &[&table]) {
            failed.push(format!("add_table of {table}: {error:?}"));
        }
    }
    if let Err(error) = db.client().execute(
        "SELECT agent_backup.add_table('s', 'masked', row_filter => 'a > 0', masked_columns => '{\"a\": \"a + 1\"}')",
        &[],
    ) {
        failed.push(format!("add_table of masked: {error:?}"));
    }
    let rows = db
        .client()
        .query("SELECT table_name, status, row_count, error_message FROM agent_backup.backup('s')", &[])
        .unwrap();
    failed.extend(
        rows.iter()
            .filter(|row| row.get::<_, &str>(1) != "ok")
            .map(|row| format!("backup of {:?}: {:?}", row.get::<_, &str>(0), row.get::<_, Option<&str>>(3))),
    );
    assert!(failed.is_empty() && rows.len() == 5, "{failed:#?}");
    assert_no_trash(&db, &[]);
    db.run(&format!("DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}"));
}
