//! Tables of every shape (T51), large values (T52), partitions and inheritance (T56), and what is no table (T57, T62).

use std::fs;
use std::io::Write;

use agent_backup_suite::{
    Database, Export, Reads, assert_equal_tables, assert_exact, assert_no_trash, assert_same_bytes, copy_csv, database,
    export, json_digest, pin, try_export,
};
use postgres::Client;

/// Exports and compares a table that COPY takes, then loads the CSV into an empty clone; the number of rows.
fn assert_kept(db: &Database, table: &str) -> i64 {
    let (mut client, mut reference) = (db.client(), db.client());
    pin(&mut reference);
    let table = &format!("public.{table}");
    let rows = assert_exact(&mut client, &mut reference, table, Reads::Table);
    let csv = export(&mut client, table, "csv");
    client.batch_execute(&format!("CREATE TABLE loaded (LIKE {table} INCLUDING ALL)")).unwrap();
    let mut copy = client.copy_in("COPY loaded FROM STDIN (FORMAT csv, HEADER)").unwrap();
    copy.write_all(&csv.bytes).unwrap();
    assert_eq!(copy.finish().unwrap() as i64, rows, "{table}");
    if rows > 0 {
        assert_equal_tables(&mut client, "loaded", &format!("(SELECT * FROM ONLY {table})"));
    }
    let sql = export(&mut client, table, "sql");
    client.batch_execute(&format!("CREATE TABLE saved AS SELECT * FROM ONLY {table}; TRUNCATE ONLY {table}")).unwrap();
    let output = db.psql(&format!("\\i '{}'", sql.path.display()));
    assert!(output.status.success(), "{table}: {}", String::from_utf8_lossy(&output.stderr));
    if rows > 0 {
        assert_equal_tables(&mut client, "saved", &format!("(SELECT * FROM ONLY {table})"));
    }
    client.batch_execute("DROP TABLE loaded, saved").unwrap();
    rows
}

#[test]
fn a_table_without_columns_keeps_its_rows() {
    let db = database();
    db.run("CREATE TABLE bare (); INSERT INTO bare SELECT FROM generate_series(1, 5)");
    assert_eq!(assert_kept(&db, "bare"), 5);
    db.run(
        "CREATE TABLE emptied (a int, b text); INSERT INTO emptied VALUES (1), (2); ALTER TABLE emptied DROP a, DROP b",
    );
    assert_eq!(assert_kept(&db, "emptied"), 2);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_table_with_only_generated_columns_keeps_its_rows() {
    let db = database();
    db.run("CREATE TABLE made (a int GENERATED ALWAYS AS (7) STORED, \"b,\" text GENERATED ALWAYS AS ('x') STORED); INSERT INTO made SELECT FROM generate_series(1, 3)");
    assert_eq!(assert_kept(&db, "made"), 3);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_table_of_1600_columns_is_exact() {
    let db = database();
    let columns: Vec<String> = (1..=1600).map(|n| format!("c{n} {}", ["int", "text", "bool", "date"][n % 4])).collect();
    let values: Vec<&str> = (1..=1600).map(|n| ["7", "'x'", "true", "'2024-02-29'"][n % 4]).collect();
    db.run(&format!("CREATE TABLE wide ({}); INSERT INTO wide VALUES ({})", columns.join(", "), values.join(", ")));
    db.run("INSERT INTO wide DEFAULT VALUES; INSERT INTO wide (c1600) VALUES (8)");
    assert_eq!(assert_kept(&db, "wide"), 3);
    assert_no_trash(&db, &[]);
}

#[test]
fn dropped_and_added_columns_and_missing_keys_change_nothing() {
    let db = database();
    db.run(
        "CREATE TABLE t (gone1 int, a text, gone2 numeric, b int[], gone3 text); INSERT INTO t SELECT n, 'row ' || n, n, ARRAY[n], 'x' FROM generate_series(1, 50) n;
         ALTER TABLE t DROP gone1, DROP gone2, DROP gone3; ALTER TABLE t ADD later timestamptz DEFAULT '2024-01-01', ADD maybe text;
         INSERT INTO t VALUES ('new', '{}', NULL, 'y'); DELETE FROM t WHERE a = 'row 7'; UPDATE t SET maybe = 'u' WHERE a = 'row 9'",
    );
    assert_eq!(assert_kept(&db, "t"), 50);
    db.run("CREATE TABLE none (a int, b text)");
    assert_eq!(assert_kept(&db, "none"), 0);
    assert_no_trash(&db, &[]);
}

#[test]
fn many_chunks_hold_every_row_once() {
    let db = database();
    db.run("CREATE TABLE many AS SELECT n, md5(n::text) || repeat('é', n % 50) AS t, ARRAY[n, NULL] AS a FROM generate_series(1, 20000) n");
    let (mut client, mut reference) = (db.client(), db.client());
    pin(&mut reference);
    for settings in
        ["SET agent_backup.chunk_size = '16kB'", "SET agent_backup.workers = 1", "SET agent_backup.workers = 7"]
    {
        client.batch_execute(settings).unwrap();
        assert_eq!(assert_exact(&mut client, &mut reference, "public.many", Reads::Table), 20000);
    }
    assert_no_trash(&db, &[]);
}

/// The backend's peak of resident memory in MiB, shared buffers included; `reset` starts it anew.
fn peak(pid: i32, reset: bool) -> u64 {
    if reset {
        fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("the right to reset VmHWM");
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the backend's status");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("VmHWM");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).expect("a number") / 1024
}

/// Exports the one big value of the table `big`, within a limit of memory in MiB, which is also printed.
fn export_big(client: &mut Client, pid: i32, format: &str, limit: u64) -> Export {
    peak(pid, true);
    let done = export(client, "big", format);
    let used = peak(pid, false);
    println!("{format}: file {} MiB, VmHWM {used} MiB", done.bytes.len() >> 20);
    assert!(used < limit, "{format} took {used} MiB at its peak");
    done
}

/// A value is held detoasted, in the batch, as text, compressed, and once more while that is checked.
fn assert_big_is_exact(db: &Database, limit: u64) {
    let (mut client, mut reference) = (db.client(), db.client());
    pin(&mut reference);
    let pid = db.cluster().backend_pid(&mut client);
    let csv = export_big(&mut client, pid, "csv", limit);
    assert_same_bytes("big as csv", &csv.bytes, &copy_csv(&mut reference, "public.big", "UTF8"));
    drop(csv);
    let json = export_big(&mut client, pid, "json", limit);
    assert_eq!(json.checksum, json_digest(&mut reference, "public.big"));
    drop(json);
    assert_eq!(export_big(&mut client, pid, "sql", limit).rows, 1);
}

#[test]
fn a_text_of_100_megabytes_is_exact_and_its_memory_is_bounded() {
    let db = database();
    db.run("CREATE TABLE big (t text); ALTER TABLE big ALTER t SET STORAGE EXTERNAL; INSERT INTO big SELECT repeat(md5('x') || E'\"\\n', 3000000)");
    assert_big_is_exact(&db, 700);
    assert_no_trash(&db, &[]);
}

#[test]
#[ignore = "long: 400 MB of bytea, 800 MB as text"]
fn a_bytea_of_400_megabytes_is_exact_and_its_memory_is_bounded() {
    let db = database();
    db.run("CREATE TABLE big (b bytea); ALTER TABLE big ALTER b SET STORAGE EXTERNAL; INSERT INTO big SELECT decode(repeat(md5('x'), 26214400), 'hex')");
    assert_big_is_exact(&db, 2600);
    assert_no_trash(&db, &[]);
}

#[test]
#[ignore = "long: a row of 1.2 GB"]
fn a_row_too_long_for_a_file_is_an_error_that_names_table_and_row() {
    let db = database();
    db.run("CREATE TABLE big (n int, a bytea, b bytea); ALTER TABLE big ALTER a SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTERNAL; INSERT INTO big VALUES (1, 'x', 'x');
            INSERT INTO big SELECT 2, v, v FROM (SELECT decode(repeat(md5('x'), 20000000), 'hex')) AS source(v)");
    let mut client = db.client();
    for format in ["csv", "json", "sql"] {
        let error = try_export(&mut client, "big", format).err().unwrap_or_else(|| panic!("{format} was written"));
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "54000", "{format}: {error:?}");
        assert!(error.message().contains("big") && error.message().contains("row "), "{format}: {error:?}");
    }
    db.run("SELECT agent_backup.create_set('s'); SELECT agent_backup.add_table('s', 'big')");
    let row = client.query_one("SELECT status, error_message FROM agent_backup.backup('s')", &[]).unwrap();
    assert_eq!(row.get::<_, String>(0), "failed", "{}", row.get::<_, String>(1));
    let left = fs::read_dir(db.backup_dir().join("exports")).map(Iterator::count).unwrap_or(0);
    assert_eq!(left, 0, "files of failed exports");
    assert_no_trash(&db, &["too long for one line"]);
}

#[test]
fn a_partitioned_table_holds_each_row_once_with_default_and_foreign_leaves() {
    let db = database();
    let (socket, name) = (db.cluster().socket_dir(), db.name().to_owned());
    db.run(&format!(
        "CREATE EXTENSION postgres_fdw; CREATE SERVER loop FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{}', dbname '{name}');
         CREATE USER MAPPING FOR postgres SERVER loop OPTIONS (user 'postgres');
         CREATE TABLE far (gone int, v text, id int, at date); ALTER TABLE far DROP gone;
         CREATE TABLE parted (id int, at date, v text) PARTITION BY RANGE (at);
         CREATE TABLE p2024 PARTITION OF parted FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY LIST (id);
         CREATE TABLE p2024_odd (v text, junk int, at date, id int) PARTITION BY HASH (at); ALTER TABLE p2024_odd DROP junk;
         ALTER TABLE p2024 ATTACH PARTITION p2024_odd FOR VALUES IN (1, 3, 5);
         CREATE TABLE p2024_odd_0 PARTITION OF p2024_odd FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE p2024_odd_1 PARTITION OF p2024_odd FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         CREATE TABLE p2024_rest PARTITION OF p2024 DEFAULT; CREATE TABLE p_rest PARTITION OF parted DEFAULT;
         CREATE FOREIGN TABLE p2023 PARTITION OF parted FOR VALUES FROM ('2023-01-01') TO ('2024-01-01') SERVER loop OPTIONS (table_name 'far')",
        socket.display()
    ));
    db.run("INSERT INTO parted SELECT n % 7, date '2022-06-01' + n, 'row ' || n FROM generate_series(1, 1200) n");
    let (mut client, mut reference) = (db.client(), db.client());
    pin(&mut reference);
    let leaves: i64 = client.query_one("SELECT count(DISTINCT tableoid) FROM parted", &[]).unwrap().get(0);
    assert_eq!(leaves, 5);
    assert_eq!(assert_exact(&mut client, &mut reference, "public.parted", Reads::Query), 1200);
    let inner: i64 = client.query_one("SELECT count(*) FROM p2024", &[]).unwrap().get(0);
    assert_eq!(assert_exact(&mut client, &mut reference, "public.p2024", Reads::Query), inner);
    assert_eq!(assert_exact(&mut client, &mut reference, "public.p2023", Reads::Query), 365);
    let sql = export(&mut client, "parted", "sql");
    client.batch_execute("CREATE TABLE saved AS TABLE parted; DELETE FROM parted").unwrap();
    let output = db.psql(&format!("\\i '{}'", sql.path.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_equal_tables(&mut client, "parted", "saved");
    drop((client, reference));
    assert_no_trash(&db, &[]);
}

#[test]
fn an_inheritance_parent_is_without_its_children() {
    let db = database();
    db.run("CREATE TABLE parent (a int); CREATE TABLE child (b text) INHERITS (parent); INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (3, 'x')");
    assert_eq!(assert_kept(&db, "parent"), 2);
    assert_eq!(assert_kept(&db, "child"), 1);
    assert_no_trash(&db, &[]);
}

#[test]
fn what_is_no_table_is_refused_by_its_kind() {
    let db = database();
    db.run(
        "CREATE TABLE t (id serial PRIMARY KEY, big text); CREATE VIEW v AS TABLE t; CREATE TYPE pair AS (a int);
         CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY LIST (id)",
    );
    let mut client = db.client();
    client.batch_execute("CREATE TEMP TABLE gone (a int)").unwrap();
    let toast: String =
        client.query_one("SELECT reltoastrelid::regclass::text FROM pg_class WHERE relname = 't'", &[]).unwrap().get(0);
    for (name, kind) in [
        ("v", "a view"),
        ("t_id_seq", "a sequence"),
        ("t_pkey", "an index"),
        ("parted_pkey", "an index"),
        ("pair", "a composite type"),
        ("gone", "a temporary table"),
        ("pg_class", "a system catalog"),
        ("pg_catalog.pg_stat_activity", "a system catalog"),
        ("information_schema.tables", "a system catalog"),
        (&toast, "a system catalog"),
    ] {
        let error = try_export(&mut client, name, "csv").err().unwrap_or_else(|| panic!("{name} was exported"));
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "42809", "{name}: {error:?}");
        assert!(error.message().contains(kind) && error.hint().is_some(), "{name}: {error:?}");
    }
    client.batch_execute("SELECT agent_backup.create_set('s')").unwrap();
    let error = client.batch_execute("SELECT agent_backup.add_table('s', 'v')").unwrap_err();
    assert!(error.as_db_error().unwrap().message().contains("a view"), "{error:?}");
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn materialized_views_unlogged_tables_and_tables_of_extensions_are_backed_up() {
    let db = database();
    db.run(
        "CREATE MATERIALIZED VIEW seen AS SELECT n, 'é' || n AS t FROM generate_series(1, 9) n; CREATE UNLOGGED TABLE light AS TABLE seen;
         SELECT agent_backup.create_set('s', formats => '{csv,json,sql}'); SELECT agent_backup.add_table('s', name) FROM unnest('{seen,light,agent_backup.sets}'::text[]) name",
    );
    let (mut client, mut reference) = (db.client(), db.client());
    pin(&mut reference);
    assert_eq!(assert_exact(&mut client, &mut reference, "public.seen", Reads::Query), 9);
    assert_eq!(assert_exact(&mut client, &mut reference, "public.light", Reads::Table), 9);
    assert_eq!(assert_exact(&mut client, &mut reference, "agent_backup.sets", Reads::Table), 2);
    let rows = client.query("SELECT status, row_count, error_message FROM agent_backup.backup('s')", &[]).unwrap();
    let found: Vec<(String, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(found, [("ok".into(), 9), ("ok".into(), 9), ("ok".into(), 2)]);
    drop((client, reference));
    assert_no_trash(&db, &[]);
}

#[test]
fn a_manifest_warns_of_large_objects() {
    let db = database();
    db.run("CREATE TABLE docs (id int, lob oid); INSERT INTO docs VALUES (1, lo_from_bytea(0, 'x')); SELECT agent_backup.create_set('s');
            SELECT agent_backup.add_table('s', 'docs'); SELECT agent_backup.backup('s')");
    let file: String = db.client().query_one("SELECT manifest_file FROM agent_backup.backups", &[]).unwrap().get(0);
    let manifest = fs::read_to_string(file).unwrap();
    let left_out = manifest.split("\"left_out\"").nth(1).and_then(|rest| rest.split("\"notes\"").next()).unwrap();
    assert!(left_out.contains("large object") && left_out.contains("docs"), "{left_out}");
    assert_no_trash(&db, &[]);
}
