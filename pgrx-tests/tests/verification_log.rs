//! `backup_verification_log`: adopted where it is there already, kept when the extension goes, and travelling with a dump.

use std::process::Command;

use agent_backup_suite::{Database, Set, assert_clean, backup, database, lines, one, pg_config, refused};

/// The set `s` of two tables of 100 rows, backed up once.
fn with_backup() -> Database<'static> {
    let db = database();
    Set::create(&db, 2, 100);
    backup(&mut db.client()).unwrap();
    db
}

fn logged(db: &Database) -> i64 {
    one(&mut db.client(), "SELECT count(*) FROM backup_verification_log")
}

/// The table as the seed has it.
const SEED: &str = "CREATE TABLE IF NOT EXISTS backup_verification_log (
  id UUID PRIMARY KEY DEFAULT gen_random_uuid(), backup_date DATE NOT NULL, table_name TEXT NOT NULL,
  verification_status TEXT, row_count INTEGER, size_bytes BIGINT, checksum TEXT, verified_at TIMESTAMP DEFAULT NOW(), error_message TEXT);";

fn without_extension() -> Database<'static> {
    let db = database();
    db.run("DROP EXTENSION agent_backup");
    db
}

#[test]
fn a_log_that_is_there_is_adopted_and_stays_when_the_extension_goes() {
    let db = without_extension();
    db.run(SEED);
    db.run("INSERT INTO backup_verification_log (backup_date, table_name, verification_status) VALUES ('2020-01-01', 'old', 'success'); CREATE TABLE kept AS TABLE backup_verification_log");
    db.run("CREATE EXTENSION agent_backup");
    Set::create(&db, 1, 10);
    backup(&mut db.client()).unwrap();
    db.run("SELECT agent_backup.verify(set_name => 's')");
    assert_eq!(
        lines(
            &mut db.client(),
            "SELECT table_name, row_count FROM backup_verification_log WHERE backup_id IS NOT NULL"
        ),
        ["t1|10", "t1|10"]
    );
    assert_clean(&db, &[]);
    db.run("DROP EXTENSION agent_backup CASCADE");
    assert_eq!(logged(&db), 3);
    let same = "SELECT count(*) FROM kept k JOIN backup_verification_log l USING (id, backup_date, table_name, verification_status, verified_at)";
    assert_eq!(one::<i64>(&mut db.client(), same), 1);
    // And once more: its columns are there now.
    db.run("CREATE EXTENSION agent_backup");
    assert_eq!(logged(&db), 3);
}

#[test]
fn a_log_that_cannot_take_our_rows_stops_the_extension_and_its_column_is_named() {
    let db = without_extension();
    for (change, part) in [
        ("ALTER TABLE backup_verification_log DROP checksum", "column \"checksum\" is missing"),
        (
            "ALTER TABLE backup_verification_log ALTER backup_date TYPE text",
            "column \"backup_date\" has type text, not date",
        ),
        (
            "ALTER TABLE backup_verification_log ALTER error_message TYPE varchar(20)",
            "column \"error_message\" has type character varying(20)",
        ),
        (
            "ALTER TABLE backup_verification_log ADD owner text NOT NULL",
            "column \"owner\" is not null and has no default",
        ),
        ("ALTER TABLE backup_verification_log ADD level int", "column \"level\" has type integer, not text"),
        ("DROP TABLE backup_verification_log; CREATE VIEW backup_verification_log AS SELECT 1 AS id", "is no table"),
    ] {
        db.run(&format!("{SEED} {change}"));
        let refusal = refused(&mut db.client(), "CREATE EXTENSION agent_backup");
        assert!(refusal.message.contains(part), "{change}: {refusal:?}");
        assert!(!refusal.hint.is_empty(), "{change}");
        let kind: String =
            one(&mut db.client(), "SELECT relkind::text FROM pg_class WHERE relname = 'backup_verification_log'");
        db.run(if kind == "v" { "DROP VIEW backup_verification_log" } else { "DROP TABLE backup_verification_log" });
    }
}

#[test]
fn code_on_an_adopted_log_runs_as_its_owner_and_cannot_stop_a_verdict() {
    let db = without_extension();
    let owner = format!("{}_owner", db.name());
    db.run(&format!("CREATE ROLE {owner}; GRANT CREATE ON SCHEMA public TO {owner}; SET ROLE {owner}; {SEED}
        CREATE TABLE canary (ran_as text);
        CREATE FUNCTION sing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.canary VALUES (current_user); RETURN NEW; END $$;
        CREATE TRIGGER sing BEFORE INSERT ON backup_verification_log FOR EACH ROW EXECUTE FUNCTION sing();
        RESET ROLE; CREATE EXTENSION agent_backup"));
    Set::create(&db, 1, 10);
    backup(&mut db.client()).unwrap();
    db.run("SELECT agent_backup.verify(set_name => 's')");
    assert_eq!(lines(&mut db.client(), "SELECT DISTINCT ran_as FROM canary"), [owner.as_str()]);
    db.run(
        "CREATE OR REPLACE FUNCTION sing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no log today'; END $$",
    );
    let ok = "SELECT count(*) FROM agent_backup.verify(set_name => 's') WHERE status = 'ok'";
    assert!(one::<i64>(&mut db.client(), ok) > 4);
    let expected = "backup_verification_log could not be written: no log today";
    assert!(db.log().iter().any(|line| line.contains(expected)));
    assert_clean(&db, &[expected]);
    db.run(&format!("DROP EXTENSION agent_backup CASCADE; DROP OWNED BY {owner}; DROP ROLE {owner}"));
}

#[test]
fn drop_extension_asks_for_cascade_before_it_takes_a_log_with_rows() {
    let db = with_backup();
    db.run("SELECT agent_backup.verify(set_name => 's')");
    let refusal = refused(&mut db.client(), "DROP EXTENSION agent_backup");
    assert_eq!(refusal.code, "2BP01", "{refusal:?}");
    assert!(refusal.message.contains("1 backup, 1 set"), "{refusal:?}");
    // By the server's own rule, too.
    db.run("ALTER EVENT TRIGGER agent_backup_watch_drop DISABLE");
    let refusal = refused(&mut db.client(), "DROP EXTENSION agent_backup");
    assert!(refusal.code == "2BP01" && refusal.detail.contains("keeps_verification_log"), "{refusal:?}");
    assert_eq!(logged(&db), 4);
    // The log can be kept: it is detached, and the next CREATE EXTENSION adopts it.
    db.run("ALTER EXTENSION agent_backup DROP TABLE backup_verification_log; DROP VIEW agent_backup.keeps_verification_log; DROP EXTENSION agent_backup");
    assert_eq!(logged(&db), 4);
    db.run("CREATE EXTENSION agent_backup; SELECT agent_backup.reconcile('s', true); SELECT agent_backup.verify(set_name => 's')");
    assert_eq!(logged(&db), 8);
    db.run("DROP EXTENSION agent_backup CASCADE");
    assert_eq!(logged(&db), 8);
}

#[test]
fn the_log_travels_with_a_dump() {
    let db = with_backup();
    db.run("SELECT agent_backup.verify(set_name => 's')");
    let bin = Command::new(pg_config()).arg("--bindir").output().unwrap();
    let bin = std::path::PathBuf::from(String::from_utf8(bin.stdout).unwrap().trim());
    let (dump, copy) = (db.cluster().dir().join(format!("{}.dump", db.name())), format!("{}_copy", db.name()));
    let call = |program: &str, arguments: &[&str]| {
        let output = Command::new(bin.join(program))
            .args(["-U", "postgres", "-h"])
            .arg(db.cluster().socket_dir())
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    };
    call("pg_dump", &["-Fc", "-f", dump.to_str().unwrap(), db.name()]);
    db.run(&format!("CREATE DATABASE {copy} TEMPLATE template0"));
    call("pg_restore", &["--exit-on-error", "-d", &copy, dump.to_str().unwrap()]);
    let query = "SELECT ROW(l.*)::text FROM backup_verification_log l ORDER BY 1";
    let mut there = db.cluster().client(&copy);
    assert_eq!(lines(&mut db.client(), query), lines(&mut there, query));
    assert_eq!(refused(&mut there, "DROP EXTENSION agent_backup").code, "2BP01");
    drop(there);
    db.run(&format!("DROP DATABASE {copy} WITH (FORCE)"));
    assert_clean(&db, &[]);
}

#[test]
fn the_log_refuses_rows_that_make_no_sense() {
    let db = database();
    for (columns, values) in [
        ("verification_status", "'good'"),
        ("verification_status", "'failed'"),
        ("verification_status, error_message", "'success', 'x'"),
        ("row_count", "-1"),
        ("size_bytes", "-1"),
        ("level", "'all'"),
        ("format", "'xml'"),
    ] {
        let insert = format!(
            "INSERT INTO backup_verification_log (backup_date, table_name, {columns}) VALUES ('2020-01-01', 't', {values})"
        );
        assert_eq!(refused(&mut db.client(), &insert).code, "23514", "{insert}");
    }
    db.run("INSERT INTO backup_verification_log (backup_date, table_name, verification_status, row_count) VALUES ('2020-01-01', 't', 'success', 5000000000)");
}
