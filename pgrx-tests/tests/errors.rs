//! Every error that a user can provoke by SQL: lower case, no full stop, the object in quotes, a SQLSTATE, and a hint
//! where one helps. What a disk does is provoked elsewhere; what only a bug can do is not provoked.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use agent_backup_suite::{Database, Refusal, assert_no_trash, database, lines, one, refused, wait_until};
use postgres::NoTls;

const TABLES: &str = r#"
    CREATE TABLE invoices AS SELECT n AS id, 'x' || n AS note FROM generate_series(1, 3) n;
    CREATE VIEW v AS SELECT 1 AS n;
    CREATE SEQUENCE seq;
    CREATE TYPE pair AS (a int);
    CREATE INDEX idx ON invoices (id);
    CREATE TABLE part (n int) PARTITION BY LIST (n);
    CREATE INDEX pidx ON part (n);
    SELECT agent_backup.create_set('billing');
    SELECT agent_backup.add_table('billing', 'invoices');"#;

fn with_tables() -> Database<'static> {
    let db = database();
    db.run(TABLES);
    db
}

/// What is wrong with how an error of ours is worded.
fn faults_of(refusal: &Refusal) -> Vec<&'static str> {
    let message = &refusal.message;
    let starts_lower = message.starts_with(|c: char| c.is_lowercase() || c == '"' || c == '/');
    let mut faults = Vec::new();
    for (fault, found) in [
        ("starts with a capital", !starts_lower),
        ("ends with a full stop", message.ends_with('.')),
        ("is not one line", message.contains('\n')),
        ("is the server's own fault", refusal.code.starts_with("XX")),
        (
            "shows a word of Rust",
            ["Error", "Some(", "None", "unwrap", "panicked"].iter().any(|word| message.contains(word)),
        ),
        (
            "its hint is no sentence or command",
            !refusal.hint.is_empty() && !refusal.hint.ends_with(['.', '?', ';']) && !refusal.hint.contains(": "),
        ),
        ("its hint starts in lower case", refusal.hint.starts_with(char::is_lowercase)),
    ] {
        if found {
            faults.push(fault);
        }
    }
    faults
}

/// An error of ours: its SQLSTATE, its message, and a part of its hint ("" where none would help).
#[track_caller]
fn assert_refused(db: &Database, statement: &str, code: &str, message: &str, hint: &str) {
    let refusal = refused(&mut db.client(), statement);
    assert_eq!((refusal.code.as_str(), refusal.message.as_str()), (code, message), "{statement}: {refusal:?}");
    assert_eq!(hint.is_empty(), refusal.hint.is_empty(), "{statement}: {refusal:?}");
    assert!(refusal.hint.contains(hint), "{statement}: {refusal:?}");
    assert_eq!(faults_of(&refusal), Vec::<&str>::new(), "{refusal:?}");
}

#[test]
fn the_check_of_the_wording_can_fail() {
    let refusal = |message: &str, hint: &str| Refusal {
        code: "22023".into(),
        message: message.into(),
        detail: "".into(),
        hint: hint.into(),
    };
    assert!(faults_of(&refusal("table \"x\" does not exist", "Did you mean y?")).is_empty());
    assert_eq!(faults_of(&refusal("Table x.", "")).len(), 2);
    assert_eq!(faults_of(&refusal("got None", "mend it")).len(), 3);
}

#[test]
fn unknown_things_are_named_with_what_was_meant() {
    let db = with_tables();
    for (statement, code, message, hint) in [
        (
            "SELECT agent_backup.export_table('invoises')",
            "42P01",
            "table \"invoises\" does not exist",
            "Did you mean invoices?",
        ),
        (
            "SELECT agent_backup.backup('biling')",
            "42704",
            "backup set \"biling\" does not exist",
            "Did you mean billing?",
        ),
        (
            "SELECT agent_backup.reconcile('biling')",
            "42704",
            "backup set \"biling\" does not exist",
            "Did you mean billing?",
        ),
        (
            "SELECT agent_backup.backup('billing', tables => '{invoises}')",
            "42704",
            "table \"invoises\" is not a member of backup set \"billing\"",
            "Did you mean invoices?",
        ),
        (
            "SELECT agent_backup.remove_table('billing', 'v')",
            "42704",
            "table \"v\" is not a member of backup set \"billing\"",
            "",
        ),
        (
            "SELECT agent_backup.add_table('agent_sdk', 'invoices', excluded_columns => '{nots}')",
            "42703",
            "column \"nots\" of table \"invoices\" does not exist",
            "Did you mean note?",
        ),
    ] {
        assert_refused(&db, statement, code, message, hint);
    }
}

#[test]
fn a_type_that_has_no_rows_is_named_with_how_to_write_one_that_has() {
    let db = with_tables();
    let call = "SELECT * FROM (SELECT agent_backup.read_backup(NULL::int, set_name => 'billing')) x";
    assert_refused(&db, call, "42804", "type \"integer\" is no row type of a table", "NULL::agent_approvals");
}

#[test]
fn what_is_there_already_or_in_use_is_named() {
    let db = with_tables();
    db.run("SELECT agent_backup.backup('billing')");
    for (statement, code, message, hint) in [
        ("SELECT agent_backup.create_set('billing')", "42710", "backup set \"billing\" already exists", ""),
        (
            "SELECT agent_backup.add_table('billing', 'invoices')",
            "42710",
            "table \"invoices\" is already a member of backup set \"billing\"",
            "",
        ),
        ("SELECT agent_backup.drop_set('billing')", "2BP01", "backup set \"billing\" has backups", "confirm => true"),
    ] {
        assert_refused(&db, statement, code, message, hint);
    }
    let refusal = refused(&mut db.client(), "SELECT agent_backup.drop_set('billing')");
    assert_eq!(refusal.detail, "1 backups are listed for it.");
    db.run("SELECT agent_backup.export_table('invoices', 'csv', 'twice.csv')");
    let refusal = refused(&mut db.client(), "SELECT agent_backup.export_table('invoices', 'csv', 'twice.csv')");
    assert_eq!(refusal.message, format!("file \"{}/twice.csv\" already exists", db.backup_dir().display()));
    assert_eq!(refusal.hint, "Remove or rename the file, or choose another name.");
}

#[test]
fn what_is_no_table_is_named_with_its_kind_and_what_to_do() {
    let db = with_tables();
    for (name, kind) in [
        ("v", "a view"),
        ("seq", "a sequence"),
        ("pair", "a composite type"),
        ("idx", "an index"),
        ("pidx", "an index"),
        ("pg_catalog.pg_class", "a system catalog"),
        ("information_schema.tables", "a system catalog"),
    ] {
        let refusal = refused(&mut db.client(), &format!("SELECT agent_backup.export_table('{name}')"));
        assert_eq!(refusal.code, "42809", "{name}: {refusal:?}");
        assert_eq!(refusal.message, format!("\"{name}\" is {kind}, which cannot be backed up"));
        assert!(!refusal.hint.is_empty() && faults_of(&refusal).is_empty(), "{refusal:?}");
    }
    let mut client = db.client();
    client.batch_execute("CREATE TEMP TABLE passing (n int)").unwrap();
    let refusal = refused(&mut client, "SELECT agent_backup.export_table('passing')");
    assert!(refusal.code == "42809" && refusal.message.contains("a temporary table"), "{refusal:?}");
}

#[test]
fn an_option_out_of_its_range_is_named() {
    let db = with_tables();
    for (statement, option) in [
        ("create_set('x', formats => '{yaml}')", "formats"),
        ("create_set('x', formats => '{}')", "formats"),
        ("create_set('x', compression => 'lz4')", "compression"),
        ("create_set('x', compression_level => 99)", "compression"),
        ("create_set('x', keep_daily => -1)", "keep_daily"),
        ("create_set('')", "set_name"),
        ("backup('billing', formats => '{yaml}')", "formats"),
        ("backup('billing', kind => 'half')", "kind"),
        ("backup('billing', tables => '{}')", "tables"),
        ("export_table('invoices', 'yaml')", "format"),
        ("add_table('agent_sdk', 'invoices', formats => '{}')", "formats"),
        ("add_table('agent_sdk', 'invoices', masked_columns => '[]')", "masked_columns"),
    ] {
        let refusal = refused(&mut db.client(), &format!("SELECT agent_backup.{statement}"));
        assert_eq!(refusal.code, "22023", "{statement}: {refusal:?}");
        assert!(refusal.message.starts_with(&format!("invalid {option}")), "{statement}: {refusal:?}");
        assert!(faults_of(&refusal).is_empty(), "{statement}: {refusal:?}");
    }
}

#[test]
fn a_null_is_named_by_its_argument() {
    let db = with_tables();
    for (call, argument) in [
        ("agent_backup.backup(NULL)", "set_name"),
        ("agent_backup.backup('billing', kind => NULL)", "kind"),
        ("agent_backup.backup('billing', formats => '{csv,NULL}')", "formats"),
        ("agent_backup.backup('billing', tables => '{NULL}')", "tables"),
        ("agent_backup.export_table(NULL::text)", "table_name"),
        ("agent_backup.export_table('invoices', NULL)", "format"),
        ("backup_agent_table_to_json(NULL::text)", "p_table_name"),
        ("agent_backup.create_set(NULL)", "set_name"),
        ("agent_backup.create_set('x', formats => NULL)", "formats"),
        ("agent_backup.create_set('x', compression => NULL)", "compression"),
        ("agent_backup.create_set('x', keep_daily => NULL)", "keep_daily"),
        ("agent_backup.create_set('x', rto => NULL)", "rto"),
        ("agent_backup.drop_set(NULL)", "set_name"),
        ("agent_backup.add_table(NULL, 'invoices')", "set_name"),
        ("agent_backup.add_table('agent_sdk', 'invoices', excluded_columns => '{NULL}')", "excluded_columns"),
        ("agent_backup.remove_table('billing', NULL::text)", "table_name"),
        ("agent_backup.reconcile(NULL)", "set_name"),
    ] {
        let refusal = refused(&mut db.client(), &format!("SELECT {call}"));
        assert!(["22004", "22023"].contains(&refusal.code.as_str()), "{call}: {refusal:?}");
        assert!(refusal.message.contains(argument), "{call}: {refusal:?}");
        assert!(faults_of(&refusal).is_empty(), "{call}: {refusal:?}");
    }
}

#[test]
fn a_path_that_is_refused_is_named_with_what_mends_it() {
    let db = with_tables();
    let cluster = db.cluster();
    let open = cluster.create_dir(&format!("{}_open", db.name()));
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let real = cluster.create_dir(&format!("{}_real", db.name()));
    let link = cluster.dir().join(format!("{}_link", db.name()));
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let long = "x".repeat(300);
    for (destination, code, message, hint) in [
        (format!("{}/a.csv", open.display()), "22023", "can be written by group or others (mode 0777)", "chmod go-w"),
        (format!("{}/a.csv", link.display()), "22023", "is a symbolic link", "Name its target instead"),
        (
            format!("{}/base/a.csv", cluster.data_dir().display()),
            "22023",
            "where backups must not be written",
            "Choose a directory outside",
        ),
        ("up/../../a.csv".to_owned(), "22023", "contains \"..\"", "Write the path out"),
        (format!("/{}x", "d/".repeat(3000)), "22023", "longer than", ""),
        (format!("{long}.csv"), "22023", "longer than 255 bytes", ""),
        ("/".to_owned(), "22023", "invalid destination", ""),
        ("/proc/nowhere/a.csv".to_owned(), "", "/proc/nowhere", ""),
    ] {
        let refusal =
            refused(&mut db.client(), &format!("SELECT agent_backup.export_table('invoices', 'csv', '{destination}')"));
        assert!(code.is_empty() || refusal.code == code, "{destination}: {refusal:?}");
        assert!(refusal.message.contains(message), "{destination}: {refusal:?}");
        assert!(refusal.hint.contains(hint), "{destination}: {refusal:?}");
        assert!(faults_of(&refusal).is_empty(), "{destination}: {refusal:?}");
    }
    assert_no_trash(&db, &[]);
}

#[test]
fn a_destination_that_cannot_be_meant_is_refused() {
    let db = with_tables();
    for (arguments, part) in [
        ("destination => ''", "invalid destination"),
        ("destination => 'sub/'", "invalid destination"),
        ("destination => 'x.json'", "invalid destination"),
        ("destination => 'x.sql.gz'", "invalid destination"),
        ("'json', 'x.csv'", "invalid destination"),
        ("destination => 'x.csv.bz2'", "invalid destination"),
    ] {
        let refusal = refused(&mut db.client(), &format!("SELECT agent_backup.export_table('invoices', {arguments})"));
        assert_eq!(refusal.code, "22023", "{arguments}: {refusal:?}");
        assert!(refusal.message.contains(part) && faults_of(&refusal).is_empty(), "{arguments}: {refusal:?}");
    }
    assert!(!db.backup_dir().join("sub").exists());
}

#[test]
fn a_directory_of_another_user_is_refused_with_the_command_that_mends_it() {
    let db = with_tables();
    let dir = db.cluster().create_dir(&format!("{}_foreign", db.name()));
    if std::os::unix::fs::chown(&dir, Some(65534), None).is_err() {
        return; // only root can give a directory away
    }
    let refusal = refused(
        &mut db.client(),
        &format!("SELECT agent_backup.export_table('invoices', 'csv', '{}/a.csv')", dir.display()),
    );
    assert!(refusal.message.contains("belongs to user id 65534") || refusal.code == "42501", "{refusal:?}");
    assert!(!refusal.hint.is_empty() && faults_of(&refusal).is_empty(), "{refusal:?}");
}

#[test]
fn a_read_only_transaction_is_refused_before_a_file_is_made() {
    let db = with_tables();
    for call in ["backup('billing')", "export_table('invoices')", "reconcile('billing')", "create_set('x')"] {
        let refusal = refused(&mut db.client(), &format!("BEGIN READ ONLY; SELECT agent_backup.{call}"));
        assert_eq!(refusal.code, "25006", "{call}: {refusal:?}");
    }
    assert!(std::fs::read_dir(db.backup_dir()).unwrap().next().is_none());
}

#[test]
fn a_lock_that_takes_too_long_names_the_table() {
    let db = with_tables();
    let mut holder = db.client();
    holder.batch_execute("BEGIN; LOCK TABLE invoices").unwrap();
    let mut client = db.client();
    client.batch_execute("SELECT agent_backup.lock_key('x'); SET agent_backup.lock_timeout = '100ms'").unwrap();
    let refusal = refused(&mut client, "SELECT agent_backup.export_table('invoices')");
    assert_eq!(
        (refusal.code.as_str(), refusal.message.as_str()),
        ("55P03", "could not lock table \"invoices\" in time")
    );
    assert!(refusal.hint.contains("agent_backup.lock_timeout") && faults_of(&refusal).is_empty(), "{refusal:?}");
    let rows = lines(&mut client, "SELECT status, error_message FROM agent_backup.backup('billing')");
    assert_eq!(rows, ["failed|could not lock table \"invoices\" in time"]);
    assert_eq!(one::<String>(&mut client, "SHOW lock_timeout"), "0");
    drop(holder);
    assert_no_trash(&db, &["could not lock table"]);
}

#[test]
fn a_table_truncated_after_the_snapshot_is_named() {
    let db = with_tables();
    let mut client = db.client();
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").unwrap();
    db.run("TRUNCATE invoices");
    let refusal = refused(&mut client, "SELECT agent_backup.export_table('invoices')");
    assert_eq!(refusal.code, "40001", "{refusal:?}");
    assert_eq!(
        refusal.message,
        "table \"invoices\" was truncated or rewritten after this transaction's snapshot was taken"
    );
    assert!(!refusal.hint.is_empty() && faults_of(&refusal).is_empty());
}

#[test]
fn a_busy_set_names_its_session_and_a_cancel_is_the_servers_own() {
    let db = with_tables();
    let mut runner = db.client();
    runner.batch_execute("SELECT agent_backup.lock_key('x'); SET agent_backup.debug_failpoint = 'scan=pause'").unwrap();
    let pid = db.cluster().backend_pid(&mut runner);
    let canceller = runner.cancel_token();
    let thread = std::thread::spawn(move || refused(&mut runner, "SELECT agent_backup.backup('billing')"));
    let mut client = db.client();
    wait_until("the set to be busy", Duration::from_secs(20), || {
        (one::<i64>(&mut client, "SELECT count(*) FROM agent_backup.running") == 1).then_some(())
    });
    assert_refused(
        &db,
        "SELECT agent_backup.backup('billing')",
        "55P03",
        "backup set \"billing\" is busy",
        &format!("Session {pid} is working on it"),
    );
    canceller.cancel_query(NoTls).unwrap();
    assert_eq!(thread.join().unwrap().code, "57014");
    assert_no_trash(&db, &[]);
}

#[test]
fn a_step_made_to_fail_or_to_panic_is_an_error_and_the_server_lives() {
    let db = with_tables();
    for (step, fails) in
        [("snapshot", true), ("scan", false), ("manifest", true), ("publish", true), ("publish_manifest", true)]
    {
        for action in ["error", "panic"] {
            let mut client = db.client();
            client
                .batch_execute(&format!(
                    "SELECT agent_backup.lock_key('x'); SET agent_backup.debug_failpoint = '{step}={action}'"
                ))
                .unwrap();
            let outcome = client.query("SELECT status FROM agent_backup.backup('billing')", &[]);
            match outcome {
                Ok(rows) => assert!(!fails && rows[0].get::<_, &str>(0) == "failed", "{step}={action}"),
                Err(error) => assert!(fails && error.as_db_error().is_some(), "{step}={action}: {error:?}"),
            }
            assert_eq!(one::<i32>(&mut client, "SELECT 1"), 1);
        }
    }
    assert_eq!(one::<i64>(&mut db.client(), "SELECT count(*) FROM agent_backup.backups WHERE status = 'complete'"), 0);
    assert_no_trash(&db, &["was made to"]);
}
