//! `read_backup`: a backup's rows as rows of a table's type.

use std::os::unix::fs::FileExt;

use agent_backup_core::codec::split;
use agent_backup_core::container::{Container, ContainerWriter};
use agent_backup_core::plan::Format;
use agent_backup_core::stream::{ChunkMeta, Compressor, Frame, Spool};
use agent_backup_suite::{
    Database, assert_equal_tables, assert_no_trash, database, entries, lines, one, pin, refused, sqlstate,
};
use postgres::Client;

/// A set `s` with the table `t` of 1,000 rows, backed up.
fn with_backup() -> Database<'static> {
    let db = database();
    db.run(
        "SELECT agent_backup.create_set('s');
         CREATE TABLE t (id int PRIMARY KEY, name varchar(20), at timestamptz, tags text[], doc jsonb, price numeric(8,2));
         INSERT INTO t SELECT n, CASE WHEN n % 7 = 0 THEN NULL WHEN n % 5 = 0 THEN '' ELSE 'name ' || n END,
             timestamptz '2025-01-01' + n * interval '1 minute', ARRAY['a', NULL, 'b,c' || n], jsonb_build_object('n', n), n / 3.0
         FROM generate_series(1, 1000) n;
         SELECT agent_backup.add_table('s', 't'); SELECT agent_backup.backup('s')",
    );
    db
}

const READ: &str = "agent_backup.read_backup(NULL::t, set_name => 's')";

fn notices(db: &Database, statements: &str) -> (Client, Vec<String>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut config = db.cluster().config("postgres", db.name());
    let mut client = config
        .notice_callback(move |notice| drop(sender.send(notice.message().to_owned())))
        .connect(postgres::NoTls)
        .expect("a connection");
    client.batch_execute(statements).unwrap_or_else(|error| panic!("{statements}: {error:?}"));
    (client, receiver.try_iter().collect())
}

#[test]
fn the_rows_are_those_that_were_backed_up() {
    let db = with_backup();
    let mut client = db.client();
    assert_equal_tables(&mut client, "t", READ);
    client
        .batch_execute("CREATE TABLE saved AS TABLE t; DELETE FROM t WHERE id % 2 = 0; UPDATE t SET name = 'x'")
        .unwrap();
    assert_equal_tables(&mut client, "saved", READ);
    assert_no_trash(&db, &[]);
}

#[test]
fn it_is_read_by_id_by_path_and_in_the_select_list() {
    let db = with_backup();
    let mut client = db.client();
    let (id, path): (String, String) = {
        let row = client.query_one("SELECT backup_id, backup_file FROM agent_backup.backups", &[]).unwrap();
        (row.get(0), row.get(1))
    };
    let file = path.rsplit('/').next().unwrap();
    for backup in [id.as_str(), &path, file] {
        assert_equal_tables(
            &mut client,
            "t",
            &format!("agent_backup.read_backup(NULL::t, '{backup}', set_name => 's')"),
        );
    }
    assert_equal_tables(&mut client, "t", &format!("(SELECT ({READ}).*)"));
    assert_eq!(
        one::<i64>(
            &mut client,
            &format!("SELECT count(*) FROM t JOIN {READ} b USING (id) WHERE t.name IS NOT DISTINCT FROM b.name")
        ),
        1000
    );
}

#[test]
fn columns_are_matched_by_name_after_the_table_changed() {
    let db = with_backup();
    db.run(
        "ALTER TABLE t DROP COLUMN tags, ADD COLUMN extra int, ALTER id TYPE bigint, ALTER price TYPE text;
         ALTER TABLE t DROP COLUMN name; ALTER TABLE t ADD COLUMN name text",
    );
    let (mut client, said) =
        notices(&db, &format!("CREATE TABLE again AS SELECT * FROM {READ}; SELECT count(*) FROM again"));
    assert_eq!(said, ["t: not in the backup, so null: extra"]);
    let rows = lines(&mut client, "SELECT * FROM again WHERE id IN (3, 5, 7) ORDER BY id");
    assert_eq!(
        rows,
        [
            "3|2025-01-01 00:03:00+00|{\"n\": 3}|1.00||name 3",
            "5|2025-01-01 00:05:00+00|{\"n\": 5}|1.67||",
            "7|2025-01-01 00:07:00+00|{\"n\": 7}|2.33||"
        ]
    );
    let nulls = one::<i64>(&mut client, "SELECT count(*) FROM again WHERE name IS NULL");
    assert_eq!(nulls, 142, "null and the empty text are told apart");
}

#[test]
fn a_composite_type_and_another_table_of_the_same_columns_will_do() {
    let db = with_backup();
    db.run("CREATE TYPE part AS (name text, id bigint); CREATE TABLE stage (LIKE t)");
    let mut client = db.client();
    assert_equal_tables(&mut client, "t", "agent_backup.read_backup(NULL::stage, 'latest', 't', 's')");
    assert_equal_tables(
        &mut client,
        "(SELECT name::text, id::bigint FROM t)",
        "agent_backup.read_backup(NULL::part, 'latest', 'public.t', 's')",
    );
}

#[test]
fn a_generated_column_is_computed_as_the_table_would() {
    let db = database();
    db.run(
        "SELECT agent_backup.create_set('s'); CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * $1';
         CREATE TABLE t (gone int, id int, twofold int GENERATED ALWAYS AS (public.twice(id)) STORED, label text,
             shout text GENERATED ALWAYS AS (upper(label) || '!') STORED);
         ALTER TABLE t DROP COLUMN gone; INSERT INTO t (id, label) VALUES (1, 'a'), (2, NULL), (NULL, 'c');
         SELECT agent_backup.add_table('s', 't'); SELECT agent_backup.backup('s')",
    );
    let mut client = db.client();
    assert_equal_tables(&mut client, "t", READ);
    assert_eq!(lines(&mut client, &format!("SELECT * FROM {READ}")), ["1|2|a|A!", "2|4||", "||c|C!"]);
}

#[test]
fn a_table_without_columns_and_one_without_rows_come_back() {
    let db = database();
    db.run(
        "SELECT agent_backup.create_set('s'); CREATE TABLE bare (); INSERT INTO bare SELECT FROM generate_series(1, 5); CREATE TABLE empty (n int);
         CREATE TABLE lone (t text); INSERT INTO lone VALUES (''), (NULL), ('\\.');
         SELECT agent_backup.add_table('s', t) FROM unnest('{bare,empty,lone}'::text[]) t; SELECT agent_backup.backup('s')",
    );
    let mut client = db.client();
    let count = |client: &mut Client, table: &str| {
        one::<i64>(client, &format!("SELECT count(*) FROM agent_backup.read_backup(NULL::{table}, set_name => 's')"))
    };
    assert_eq!(["bare", "empty", "lone"].map(|table| count(&mut client, table)), [5, 0, 3]);
    assert_equal_tables(&mut client, "lone", "agent_backup.read_backup(NULL::lone, set_name => 's')");
}

#[test]
fn a_text_that_the_type_refuses_names_row_and_column() {
    let db = with_backup();
    db.run("ALTER TABLE t ALTER name TYPE varchar(7) USING left(name, 7)");
    let error = db.client().query(&format!("SELECT * FROM {READ}"), &[]).unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "22001");
    let context = error.where_().unwrap_or_default();
    assert!(context.contains("backup of t, row 101, column \"name\""), "{context:?}");
    // The list of contexts is whole again: the next error has none of ours.
    let mut client = db.client();
    client.query(&format!("SELECT * FROM {READ}"), &[]).unwrap_err();
    let next = client.query("SELECT 1 / 0", &[]).unwrap_err();
    assert_eq!(next.as_db_error().unwrap().where_(), None);
}

#[test]
fn settings_of_the_session_change_nothing() {
    let db = with_backup();
    let mut client = db.client();
    client
        .batch_execute(
            "SET DateStyle = 'German, DMY'; SET TimeZone = 'Asia/Tokyo'; SET search_path = public, pg_catalog",
        )
        .unwrap();
    assert_equal_tables(&mut client, "t", READ);
    assert_eq!(one::<String>(&mut client, "SHOW TimeZone"), "Asia/Tokyo");
}

#[test]
fn only_the_entry_of_the_table_is_read() {
    let db = with_backup();
    db.run(
        "CREATE TABLE other AS SELECT n, md5(n::text) AS m FROM generate_series(1, 1000) n; SELECT agent_backup.add_table('s', 'other');
         SELECT agent_backup.backup('s')",
    );
    let mut client = db.client();
    let path: String =
        one(&mut client, "SELECT backup_file FROM agent_backup.backups ORDER BY started_at DESC LIMIT 1");
    assert_eq!(entries(&path)[..3], ["t.csv", "t.csv.keys", "t.json"]);
    damage(&path, "t.csv.keys");
    damage(&path, "t.json");
    damage(&path, "other.csv");
    assert_equal_tables(&mut client, "t", READ);
    let refusal = refused(&mut client, "SELECT * FROM agent_backup.read_backup(NULL::other, set_name => 's')");
    assert_eq!(refusal.code, "XX001", "{refusal:?}");
    assert!(refusal.message.contains("is damaged") && refusal.message.contains("other.csv"), "{refusal:?}");
}

/// Changes a byte in the middle of an entry's stored bytes.
fn damage(path: &str, entry: &str) {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let container = Container::open(std::fs::File::open(path).unwrap()).unwrap();
    let entry = container.manifest.entry(entry).unwrap();
    let at = entry.data_offset + entry.stored_bytes / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[!byte[0]], at).unwrap();
}

/// A file beside the backups that looks like one of `t (id int, name text)` with this text.
fn forge(db: &Database, text: &[u8], rows: u64) -> String {
    let listed: String = one(&mut db.client(), "SELECT backup_file FROM agent_backup.backups LIMIT 1");
    let mut manifest = Container::open(std::fs::File::open(listed).unwrap()).unwrap().manifest;
    manifest.members[0].columns.retain(|column| ["id", "name"].contains(&column.name.as_str()));
    let spool = Spool::new(1 << 20, Box::new(|| Err(std::io::ErrorKind::Unsupported.into())));
    let digest = split::digest(Format::Csv, text).1;
    let mut stored = Vec::new();
    Compressor::new(manifest.compression).unwrap().compress(text, &mut stored).unwrap();
    spool.append(ChunkMeta { sequence: 0, first_row: 0, rows, plain_len: text.len() as u64, digest }, &stored).unwrap();
    let mut writer = ContainerWriter::new(Vec::new(), manifest.compression, manifest.started_at).unwrap();
    writer.add_spooled("t.csv", 0, Format::Csv, &spool.finish().unwrap(), &Frame::default()).unwrap();
    let path = db.backup_dir().join("s/forged.tar.gz");
    std::fs::write(&path, writer.finish(manifest).unwrap().out).unwrap();
    path.display().to_string()
}

#[test]
fn a_forged_file_is_data_at_most() {
    let db = with_backup();
    let mut client = db.client();
    for (text, rows, part) in [
        (&b"1,a\n2,b\n"[..], 2, ""),
        (b"1,a\n2,b\n", 3, "it holds 2 rows, the manifest says 3"),
        (b"1,a\n2,\xff\n", 2, "is not in UTF-8"),
        (b"1,a\0b\n", 1, "a zero byte"),
        (b"1,a\n2,b,c\n", 2, "row 2 is unreadable: it has another number of fields"),
        (b"1,a\n2\n", 2, "row 2 is unreadable: it has another number of fields"),
        (b"1,a\n2,\"b\n", 2, "row 2 is unreadable: not a row of CSV"),
    ] {
        let path = forge(&db, text, rows);
        let reads = [
            format!("SELECT id, name FROM agent_backup.read_backup(NULL::t, '{path}')"),
            format!("SELECT * FROM agent_backup.diff('t', '{path}')"),
        ];
        for read in reads {
            if part.is_empty() {
                assert!(!lines(&mut client, &read).is_empty(), "{read}");
                continue;
            }
            let refusal = refused(&mut client, &read);
            assert!(refusal.code == "XX001" && refusal.message.contains(part), "{read}: {refusal:?}");
        }
    }
    let path = forge(&db, b"1,a\nDROP TABLE t,b\n", 2);
    let refusal = refused(&mut client, &format!("SELECT * FROM agent_backup.read_backup(NULL::t, '{path}')"));
    assert!(refusal.code == "22P02" && refusal.message.contains("DROP TABLE t"), "{refusal:?}");
    assert_no_trash(&db, &[]);
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    let db = with_backup();
    db.run("CREATE TABLE never (n int)");
    let mut client = db.client();
    for (call, code, message) in [
        ("read_backup(NULL::never, set_name => 's')", "42704", "holds no table \"public.never\""),
        ("read_backup(NULL::t, 'nothing', set_name => 's')", "42704", "backup \"nothing\" does not exist"),
        ("read_backup(NULL::t)", "42704", "backup set \"agent_sdk\" has no complete backup"),
        ("read_backup(NULL::t, set_name => 'nope')", "42704", "backup set \"nope\" does not exist"),
        ("read_backup(NULL::int, set_name => 's')", "42804", "type \"integer\" is no row type of a table"),
        ("read_backup(NULL::t, NULL)", "22004", "argument \"backup\" must not be null"),
        ("read_backup(NULL::t, set_name => NULL)", "22004", "argument \"set_name\" must not be null"),
    ] {
        let refusal = refused(&mut client, &format!("SELECT count(*) FROM (SELECT agent_backup.{call}) x"));
        assert_eq!(refusal.code, code, "{call}: {refusal:?}");
        assert!(refusal.message.contains(message), "{call}: {refusal:?}");
    }
    assert_no_trash(&db, &[]);
}

#[test]
fn a_backup_without_csv_says_what_it_has() {
    let db = with_backup();
    db.run("SELECT agent_backup.backup('s', formats => '{json}')");
    let refusal = refused(&mut db.client(), &format!("SELECT * FROM {READ}"));
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    assert!(refusal.message.contains("only as json"), "{refusal:?}");
}

#[test]
fn it_asks_for_the_right_to_read_backups_and_the_table() {
    let db = with_backup();
    let role = format!("{}_reader", db.name());
    db.run(&format!("CREATE ROLE {role} LOGIN"));
    db.let_call(&role);
    let mut client = db.client_as(&role);
    let code = |client: &mut Client| {
        client.query(&format!("SELECT * FROM {READ}"), &[]).map_err(|e| (sqlstate(&e), e.to_string()))
    };
    assert_eq!(code(&mut client).unwrap_err().0, "42501");
    db.run(&format!("GRANT pg_read_server_files TO {role}"));
    let refusal = refused(&mut client, &format!("SELECT * FROM {READ}"));
    assert_eq!(refusal.message, "permission denied for table \"t\"");
    db.run(&format!("GRANT SELECT ON t TO {role}; ALTER TABLE t ENABLE ROW LEVEL SECURITY"));
    let refusal = refused(&mut client, &format!("SELECT * FROM {READ}"));
    assert_eq!(refusal.message, "row-level security would hide rows of table \"t\"");
    db.run("ALTER TABLE t DISABLE ROW LEVEL SECURITY");
    assert_eq!(code(&mut client).unwrap().len(), 1000);
    // Under another row type the table that was saved asks for the same.
    db.run(&format!("REVOKE SELECT ON t FROM {role}; CREATE TYPE part AS (id int)"));
    let refusal = refused(&mut client, "SELECT * FROM agent_backup.read_backup(NULL::part, 'latest', 't', 's')");
    assert_eq!(refusal.message, "permission denied for table \"t\"");
    drop(client);
    db.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn checks_of_domains_and_generated_columns_run_as_the_owner() {
    let db = database();
    let owner = format!("{}_owner", db.name());
    db.run(&format!(
        "CREATE ROLE {owner}; GRANT CREATE ON SCHEMA public TO {owner}; SELECT agent_backup.create_set('s'); SET ROLE {owner};
         CREATE FUNCTION sing(tag text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE LOG 'canary % sings as %', tag, current_user; RETURN true; END $$;
         CREATE DOMAIN guarded AS int CHECK (public.sing('domain')); CREATE TABLE t (id guarded, g boolean GENERATED ALWAYS AS (public.sing('generated' || id::int)) STORED);
         INSERT INTO t VALUES (1), (2); RESET ROLE; SELECT agent_backup.add_table('s', 't'); SELECT agent_backup.backup('s')"
    ));
    let before = db.log().len();
    assert_equal_tables(&mut db.client(), "t", READ);
    let log = db.log();
    let sang: Vec<&String> = log[before..].iter().filter(|line| line.contains(" sings as ")).collect();
    assert!(sang.len() >= 4, "{sang:?}");
    assert!(sang.iter().all(|line| line.contains(&format!("sings as {owner}"))), "{sang:?}");
    db.run(
        "CREATE FUNCTION climb() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'RESET ROLE'; RETURN true; END $$; ALTER DOMAIN guarded ADD CHECK (public.climb()) NOT VALID",
    );
    let refusal = refused(&mut db.client(), &format!("SELECT * FROM {READ}"));
    assert_eq!(refusal.code, "42501", "{refusal:?}");
    db.run(&format!("DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}"));
}

#[test]
fn every_value_that_is_easily_lost_comes_back() {
    let db = database();
    let mut client = db.client();
    pin(&mut client);
    client
        .batch_execute(
            "CREATE TYPE public.pair AS (a text, b int); CREATE TYPE public.mood AS ENUM ('glad', 'a,b'); CREATE DOMAIN public.short AS text CHECK (length(VALUE) < 9);
             CREATE TABLE public.v (k serial, f float8, r real, n numeric, j json, jb jsonb, x bytea, i interval, ts timestamp, d date, a int[], p public.pair, m public.mood, s public.short, u uuid, t text, c char(4), b bit varying, rg int4range);
             INSERT INTO public.v (f, r, n, j, jb, x, i, ts, d, a, p, m, s, u, t, c, b, rg) VALUES
               ('NaN', '-Infinity', 'NaN', '{\"a\" : \"\\u0000\"}', '{\"b\": null}', '\\x00ff', '1 mon -2 days 00:00:00.000001', 'infinity', '4713-01-01 BC', '[0:1]={1,NULL}', ROW('q\"', NULL), 'a,b', '', gen_random_uuid(), E'\\\\.\\n\"', 'a', '101', '[1,5)'),
               (1e-310, 1e-45, 1e30, 'null', 'null', '', '-1 year', '294276-12-31 23:59:59.999999', 'infinity', '{}', NULL, 'glad', NULL, NULL, '', '', '', 'empty');
             INSERT INTO public.v (f) VALUES (NULL);
             SELECT agent_backup.create_set('s'); SELECT agent_backup.add_table('s', 'public.v'); SELECT agent_backup.backup('s')",
        )
        .unwrap();
    assert_equal_tables(&mut client, "public.v", "agent_backup.read_backup(NULL::public.v, set_name => 's')");
}

#[test]
fn a_cancel_ends_it_and_leaves_nothing() {
    let db = database();
    db.run(
        "SELECT agent_backup.create_set('s'); CREATE TABLE t AS SELECT n AS id, md5(n::text) AS a, md5(n::text || 'x') AS b FROM generate_series(1, 400000) n;
         SELECT agent_backup.add_table('s', 't', formats => '{csv}'); SELECT agent_backup.backup('s')",
    );
    let mut client = db.client();
    client.batch_execute("SET statement_timeout = '50ms'").unwrap();
    let begun = std::time::Instant::now();
    let refusal = refused(&mut client, &format!("SELECT count(*) FROM {READ}"));
    assert_eq!(refusal.code, "57014", "{refusal:?}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(2), "{:?}", begun.elapsed());
    client.batch_execute("RESET statement_timeout").unwrap();
    assert_eq!(one::<i64>(&mut client, &format!("SELECT count(*) FROM {READ}")), 400_000);
    assert_no_trash(&db, &[]);
}
