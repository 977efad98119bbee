//! A backup file of an attacker (T82): whole in itself, and untrue. It gives rows or an error, and nothing of it is run.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;

use agent_backup_core::codec::split;
use agent_backup_core::container::manifest::{ColumnInfo, Ddl};
use agent_backup_core::container::{Container, ContainerError, ContainerWriter, Manifest};
use agent_backup_core::plan::{Compression, Format};
use agent_backup_core::stream::{ChunkMeta, Compressor, Frame, Spool};
use agent_backup_suite::{
    Cluster, Database, Options, assert_no_trash, back_up, database, lines, newest_container, one, refused, restore,
    sqlstate, state, try_restore,
};

/// A database with `t (id int PRIMARY KEY, v text)` of one row, backed up; and the manifest of that backup.
fn honest() -> (Database<'static>, Manifest) {
    let db = database();
    db.run("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'true'); SELECT agent_backup.create_set('s')");
    back_up(&db, &["t"]);
    let file = File::open(newest_container(&mut db.client(), "s")).unwrap();
    (db, Container::open(file).unwrap().manifest)
}

/// Writes a container with this manifest and these rows of its first member; its path. All its sums are right.
fn craft(db: &Database, mut manifest: Manifest, rows: &[u8]) -> PathBuf {
    let method = Compression::Gzip(1);
    let spool = Spool::new(1 << 20, Box::new(|| unreachable!("it is small")));
    let (count, digest) = split::digest(Format::Csv, rows);
    let mut stored = Vec::new();
    Compressor::new(method).unwrap().compress(rows, &mut stored).unwrap();
    spool
        .append(ChunkMeta { sequence: 0, first_row: 0, rows: count, plain_len: rows.len() as u64, digest }, &stored)
        .unwrap();
    let spooled = spool.finish().unwrap();
    manifest.backup_id = format!("crafted{}", manifest.backup_id);
    manifest.members[0].rows = count;
    manifest.entries.clear();
    let dir = db.cluster().create_dir(&format!("{}_crafted", db.name()));
    let path = dir.join("crafted.tar.gz");
    let mut writer = ContainerWriter::new(Vec::new(), method, manifest.started_at).unwrap();
    let frame = Frame { prologue: b"id,v\n".to_vec(), separator: Vec::new(), epilogue: Vec::new() };
    writer.add_spooled("t.csv", 0, Format::Csv, &spooled, &frame).unwrap();
    writer.add_bytes("schema.sql", b"").unwrap();
    let written = writer.finish(manifest).unwrap();
    let mut file = File::create(&path).unwrap();
    file.write_all(&written.out).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    std::os::unix::fs::chown(&dir, None, None).unwrap();
    path
}

/// A restore of the crafted file: refused, and nothing changed; or done. Never an internal error or a lost server.
#[track_caller]
fn try_crafted(db: &Database, path: &std::path::Path, more: &str) -> Result<(), String> {
    let before = state(db);
    let call = format!("restore('{}', confirm => true, safety_backup => false{more})", path.display());
    match try_restore(&mut db.client(), &call) {
        Ok(_) => Ok(()),
        Err(error) => {
            let code = sqlstate(&error);
            assert!(code != "lost" && !code.starts_with("XX000"), "{error:?}");
            assert_eq!(state(db), before, "{error:?}");
            Err(code)
        }
    }
}

#[test]
fn a_file_that_was_made_as_ours_is_read_as_ours() {
    let (db, manifest) = honest();
    let path = craft(&db, manifest, b"7,crafted\n8,\"more, \"\n");
    assert_eq!(try_crafted(&db, &path, ""), Ok(()));
    assert_eq!(lines(&mut db.client(), "SELECT * FROM t ORDER BY id"), ["7|crafted", "8|more, "]);
    assert_no_trash(&db, &[]);
}

#[test]
fn names_in_a_file_are_names_and_nothing_of_them_runs() {
    for name in [
        "t; DROP TABLE t",
        "t\"; DROP TABLE t; --",
        "x' || (SELECT 1) || '",
        "t\n\\! touch /tmp/never",
        "../../t",
        "",
        "%s",
        "pg_class",
    ] {
        let (db, mut manifest) = honest();
        db.run("CREATE TABLE canary (x int); INSERT INTO canary VALUES (1)");
        let mut other = manifest.clone();
        manifest.members[0].name = name.into();
        manifest.members[0].display = name.into();
        other.members[0].columns[1].name = name.into();
        let path = craft(&db, manifest, b"7,crafted\n");
        assert!(try_crafted(&db, &path, "").is_err(), "{name:?} as a table");
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
        let path = craft(&db, other, b"7,crafted\n");
        drop(try_crafted(&db, &path, ", allow_drift => true"));
        assert_eq!(one::<i64>(&mut db.client(), "SELECT count(*) FROM canary"), 1, "{name:?}");
        assert_no_trash(&db, &[]);
    }
}

#[test]
fn system_tables_and_our_own_are_no_targets_of_a_file() {
    for (schema, name) in [
        ("pg_catalog", "pg_authid"),
        ("pg_catalog", "pg_proc"),
        ("information_schema", "sql_features"),
        ("agent_backup", "backup_catalog"),
        ("agent_backup", "restores"),
    ] {
        let (db, mut manifest) = honest();
        manifest.members[0].schema = schema.into();
        manifest.members[0].name = name.into();
        let path = craft(&db, manifest, b"7,crafted\n");
        let code = try_crafted(&db, &path, "").expect_err(name);
        assert!(["42809", "55000"].contains(&code.as_str()), "{schema}.{name}: {code}");
        assert_no_trash(&db, &[]);
    }
}

#[test]
fn rows_that_do_not_fit_are_an_error_of_the_server() {
    for rows in [
        &b"7\n"[..],
        b"7,a,b\n",
        b"x,a\n",
        b"7,\"a\n",
        b"7,a\n7,b\n",
        b"7,a\0b\n",
        b"7,\xff\xfe\n",
        b"99999999999,a\n",
        b",a\n",
        b"\"7,a\n",
        b"7,a\n\n",
        b"7,a\r\n8,b\n",
        b"7,\"\xc3\"\n",
        b"7,\xed\xa0\x80\n",
    ] {
        let (db, manifest) = honest();
        let path = craft(&db, manifest, rows);
        let outcome = try_crafted(&db, &path, "");
        assert!(outcome.is_err(), "{:?} was taken", rows.escape_ascii().to_string());
        assert_eq!(lines(&mut db.client(), "SELECT * FROM t"), ["1|true"]);
        assert_no_trash(&db, &[]);
    }
}

#[test]
fn the_end_mark_of_old_copies_ends_nothing() {
    let (db, manifest) = honest();
    let path = craft(&db, manifest, b"7,a\n\\.\n8,b\n");
    assert!(try_crafted(&db, &path, "").is_err(), "rows behind the mark were lost");
    assert_eq!(lines(&mut db.client(), "SELECT * FROM t"), ["1|true"]);
    assert_no_trash(&db, &[]);
}

#[test]
fn statements_in_a_file_run_only_where_a_superuser_asks_for_them() {
    let (db, mut manifest) = honest();
    for section in [
        "preamble",
        "schema",
        "extension",
        "type",
        "function",
        "sequence",
        "table",
        "constraint",
        "index",
        "trigger",
        "grant",
        "owner",
    ] {
        let statement = format!("CREATE TABLE planted_{section} ()");
        manifest.ddl.push(Ddl { section: section.into(), object: format!("public.planted_{section}"), statement });
    }
    let path = craft(&db, manifest, b"7,a\n");
    assert_eq!(try_crafted(&db, &path, ""), Ok(()));
    // Nothing is missing here, so nothing is made either.
    assert_eq!(try_crafted(&db, &path, ", create_missing => true"), Ok(()));
    assert_eq!(lines(&mut db.client(), "SELECT relname FROM pg_class WHERE relname ~ '^planted'"), [] as [&str; 0]);
    db.run("DROP TABLE t");
    assert_eq!(try_crafted(&db, &path, ""), Err("55000".to_owned()));
    let role = format!("{}_reader", db.name());
    db.run(&format!("CREATE ROLE {role} LOGIN; GRANT pg_read_server_files, pg_write_server_files TO {role}; GRANT CREATE ON SCHEMA public TO {role}"));
    db.let_call(&role);
    let mut client = db.client_as(&role);
    let call =
        format!("SELECT * FROM agent_backup.restore('{}', create_missing => true, confirm => true)", path.display());
    assert_eq!(refused(&mut client, &call).code, "42501");
    drop(client);
    assert_eq!(lines(&mut db.client(), "SELECT relname FROM pg_class WHERE relname ~ '^planted'"), [] as [&str; 0]);
    db.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
    assert_no_trash(&db, &[]);
}

#[test]
fn a_statement_for_what_is_missing_changes_nothing_that_is_here() {
    let (db, mut manifest) = honest();
    db.run("DROP TABLE t; CREATE TABLE precious (x int); INSERT INTO precious VALUES (1); CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'");
    // An object that is here is not made anew, under whatever name its statement hides.
    for (object, statement) in [
        ("public.precious", "DROP TABLE public.precious"),
        ("public.f()", "CREATE OR REPLACE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 2'"),
    ] {
        manifest.ddl.push(Ddl { section: "table".into(), object: object.into(), statement: statement.into() });
    }
    let path = craft(&db, manifest, b"7,a\n");
    assert_eq!(try_crafted(&db, &path, ", create_missing => true"), Ok(()));
    assert_eq!(lines(&mut db.client(), "SELECT x, f() FROM precious"), ["1|1"]);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_file_of_very_many_columns_or_members_ends_in_an_error_soon() {
    let (db, manifest) = honest();
    let mut wide = manifest.clone();
    wide.members[0].columns.extend((0..100_000).map(|n| ColumnInfo {
        name: format!("c{n}"),
        r#type: "text".into(),
        ..ColumnInfo::default()
    }));
    let mut many = manifest;
    let member = many.members[0].clone();
    many.members.extend((0..20_000).map(|n| {
        let mut member = member.clone();
        member.name = format!("t{n}");
        member
    }));
    for (what, manifest) in [("columns", wide), ("members", many)] {
        let started = std::time::Instant::now();
        let path = craft(&db, manifest, b"7,a\n");
        assert!(try_crafted(&db, &path, "").is_err(), "{what}");
        println!("{what}: {:?}", started.elapsed());
        assert!(started.elapsed().as_secs() < 60, "{what}: {:?}", started.elapsed());
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
    assert_no_trash(&db, &[]);
}

#[test]
fn a_file_that_says_it_has_no_encoding_brings_no_bytes_that_are_none_here() {
    let (db, mut manifest) = honest();
    manifest.server.encoding = "SQL_ASCII".into();
    let path = craft(&db, manifest, b"7,\xff\x80\n");
    assert_eq!(try_crafted(&db, &path, ""), Err("22021".to_owned()));
    assert_eq!(lines(&mut db.client(), "SELECT * FROM t"), ["1|true"]);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_backup_of_a_database_without_encoding_is_checked_by_one_with() {
    let plain = Cluster::start(Options::default().encoding("SQL_ASCII"));
    let dir = plain.create_dir("backups");
    let script = format!(
        "SET agent_backup.directory = '{}'; CREATE EXTENSION agent_backup; SELECT agent_backup.create_set('s'); CREATE TABLE t (id int PRIMARY KEY, v text);
         INSERT INTO t VALUES (1, convert_from('\\xff80', 'SQL_ASCII')); SELECT agent_backup.add_table('s', 't'); SELECT agent_backup.backup('s');",
        dir.display()
    );
    let output = plain.psql("postgres", &script);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let file = newest_container(&mut plain.client("postgres"), "s");
    let db = database();
    db.run("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let call = format!("SELECT * FROM agent_backup.restore('{file}', confirm => true)");
    assert_eq!(refused(&mut db.client(), &call).code, "22021");
    assert_no_trash(&db, &[]);
    let mut home = plain.client("postgres");
    home.batch_execute(&format!(
        "SET client_encoding = SQL_ASCII; SET agent_backup.directory = '{}'; DELETE FROM t",
        dir.display()
    ))
    .unwrap();
    restore(&mut home, "restore('latest', confirm => true, set_name => 's')");
    assert_eq!(one::<i64>(&mut home, "SELECT count(*) FROM t WHERE textsend(v) = '\\xff80'"), 1);
}

#[test]
fn a_zero_byte_in_a_name_is_damage() {
    let (db, honest) = honest();
    let mut crafted = honest.clone();
    crafted.members[0].name = "t\0".into();
    assert!(Manifest::parse(&honest.to_bytes().unwrap()).is_ok());
    assert!(matches!(Manifest::parse(&crafted.to_bytes().unwrap()), Err(ContainerError::Unreadable { .. })));
    assert_no_trash(&db, &[]);
}
