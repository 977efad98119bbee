//! `agent_training_archive`: the application's table where it has one, else a view over our store and the log of changes.

use std::process::Command;

use agent_backup_suite::{Database, assert_no_trash, database, lines, one, pg_config, refused};

/// The table as an application has it.
const SEED: &str = "CREATE TABLE agent_training_archive (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), original_table text NOT NULL, original_id text NOT NULL, data jsonb NOT NULL,
    archive_reason text, archived_at timestamp DEFAULT now());";

/// The seed's way to write to it.
const INSERT: &str = "INSERT INTO agent_training_archive (original_table, original_id, data, archive_reason)
    SELECT 'agent_approvals_daily_backup', id::TEXT, row_to_json(agent_approvals.*)::jsonb, 'automated_daily_backup'
    FROM agent_approvals WHERE created_at > CURRENT_DATE - INTERVAL '7 days'";

const APPROVALS: &str = "CREATE TABLE agent_approvals (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), customer_email text, created_at timestamptz DEFAULT now());
    INSERT INTO agent_approvals (customer_email) SELECT 'c' || n || '@email.com' FROM generate_series(1, 3) n;";

fn without_extension() -> Database<'static> {
    let db = database();
    db.run("DROP EXTENSION agent_backup");
    db
}

/// A tracking of a table `t` with the columns id, note and made, and five changes of its rows 1 and 2.
const LOG: &str = r#"
    CREATE TABLE t (id int PRIMARY KEY, note text, made timestamptz);
    INSERT INTO agent_backup.tracked (relation, schema_name, table_name, level, truncate_limit, home, since, since_xid)
        SELECT 't', 'public', 't', 'statement', 0, home, now(), pg_current_xact_id() FROM agent_backup.this_home;
    INSERT INTO agent_backup.row_shapes VALUES (1, '{id,note,made}', '{integer,text,"timestamp with time zone"}', '{id}');
    INSERT INTO agent_backup.change_log (changed_at, xid, tracked_id, shape_id, operation, row_key, image, old_columns, old_values, session_user_name, application_name)
    SELECT clock_timestamp(), pg_current_xact_id(), tracked_id, 1, o, k, i, c, v, 'me', 'suite' FROM agent_backup.tracked, (VALUES
        ('I'::"char", '1', '1,"a,""b""",2025-07-14 02:31:26.4+00', NULL::int2[], NULL), ('U', '1', '1,b,', '{2,3}', '"a,""b""",2025-07-14 02:31:26.4+00'),
        ('I', '2', '2,c,', NULL, NULL), ('D', '2', '2,c,', NULL, NULL), ('T', '1', '1,b,', NULL, NULL)) AS e(o, k, i, c, v);"#;

fn reasons(db: &Database) -> Vec<String> {
    lines(
        &mut db.client(),
        "SELECT archive_reason, original_table, original_id, data FROM agent_training_archive ORDER BY archived_at, id",
    )
}

#[test]
fn without_an_application_it_is_a_view_with_the_columns_of_the_seed() {
    let db = database();
    let row =
        "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM pg_attribute
        WHERE attrelid = 'agent_training_archive'::regclass AND attnum > 0";
    assert_eq!(
        one::<String>(&mut db.client(), row),
        "id uuid, original_table text, original_id text, data jsonb, archive_reason text, archived_at timestamp with time zone"
    );
    assert_no_trash(&db, &[]);
}

#[test]
fn the_statements_of_the_seed_work_on_the_view_and_on_a_table() {
    for table in ["", SEED] {
        let db = without_extension();
        db.run(&format!("{table} CREATE EXTENSION agent_backup; {APPROVALS}"));
        assert_eq!(db.client().execute(INSERT, &[]).unwrap(), 3);
        let filled = "SELECT count(*) FROM agent_training_archive WHERE id IS NOT NULL AND archived_at BETWEEN now() - interval '1 day' AND now() + interval '1 day'";
        assert_eq!(one::<i64>(&mut db.client(), filled), 3);
        let recover = "SELECT data->>'customer_email' FROM agent_training_archive a, agent_approvals p
            WHERE original_table = 'agent_approvals_daily_backup' AND original_id = p.id::text AND customer_email = 'c2@email.com'
              AND archived_at = (SELECT MAX(archived_at) FROM agent_training_archive WHERE original_id = p.id::text)";
        assert_eq!(one::<String>(&mut db.client(), recover), "c2@email.com");
        let erase = "DELETE FROM agent_training_archive WHERE data->>'customer_email' = 'c1@email.com'";
        assert_eq!(db.client().execute(erase, &[]).unwrap(), 1);
        assert_eq!(db.client().execute(erase, &[]).unwrap(), 0);
        let update =
            "UPDATE agent_training_archive SET archive_reason = 'kept' WHERE data->>'customer_email' = 'c2@email.com'";
        assert_eq!(db.client().execute(update, &[]).unwrap(), 1);
        let left = "SELECT archive_reason, count(*) FROM agent_training_archive GROUP BY 1 ORDER BY 1";
        assert_eq!(lines(&mut db.client(), left), ["automated_daily_backup|1", "kept|1"]);
        let returned = "INSERT INTO agent_training_archive (original_table, original_id, data) VALUES ('t', '1', '{}') RETURNING id IS NOT NULL AND archived_at IS NOT NULL";
        assert!(one::<bool>(&mut db.client(), returned));
        assert_no_trash(&db, &[]);
    }
}

#[test]
fn captured_changes_show_in_it() {
    let db = database();
    db.run(LOG);
    let expected = [
        r#"change_insert|t|1|{"id": 1, "made": "2025-07-14T02:31:26.4+00:00", "note": "a,\"b\""}"#,
        r#"change_update|t|1|{"id": 1, "made": null, "note": "b"}"#,
        r#"change_insert|t|2|{"id": 2, "made": null, "note": "c"}"#,
        r#"change_delete|t|2|{"id": 2, "made": null, "note": "c"}"#,
        r#"change_truncate|t|1|{"id": 1, "made": null, "note": "b"}"#,
    ];
    assert_eq!(reasons(&db), expected);
    db.run("INSERT INTO agent_training_archive (original_table, original_id, data, archive_reason) VALUES ('t', '1', '{\"id\": 1}', 'incremental_backup')");
    let of_row = "SELECT count(*) FROM agent_training_archive WHERE original_table = 't' AND original_id = '1'";
    assert_eq!(one::<i64>(&mut db.client(), of_row), 4);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_delete_erases_captured_images_and_an_update_of_them_is_refused() {
    let db = database();
    db.run(LOG);
    let erase = "DELETE FROM agent_training_archive WHERE original_table = 't' AND original_id = '1'";
    assert_eq!(db.client().execute(erase, &[]).unwrap(), 3);
    assert_eq!(reasons(&db).len(), 2);
    let log = "SELECT operation, row_key, image, old_columns, old_values FROM agent_backup.change_log WHERE row_key = '1' ORDER BY seq";
    assert_eq!(lines(&mut db.client(), log), ["I|1|||", "U|1|||", "T|1|||"]);
    let refusal = refused(&mut db.client(), "UPDATE agent_training_archive SET data = '{}' WHERE original_id = '2'");
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    assert!(refusal.message.contains("captured change") && !refusal.hint.is_empty(), "{refusal:?}");
    let forged = refused(
        &mut db.client(),
        "INSERT INTO agent_training_archive (id, original_table) VALUES ('00000000-0000-0000-0000-000000000007', 't')",
    );
    assert_eq!(forged.code, "23514", "{forged:?}");
    assert_no_trash(&db, &[]);
}

#[test]
fn a_row_without_key_can_be_erased_too() {
    let db = database();
    db.run(LOG);
    db.run("UPDATE agent_backup.change_log SET row_key = NULL WHERE row_key = '2'");
    assert_eq!(db.client().execute("DELETE FROM agent_training_archive WHERE data->>'note' = 'c'", &[]).unwrap(), 2);
    assert_eq!(reasons(&db).len(), 3);
}

#[test]
fn one_record_is_found_by_the_indexes() {
    let db = database();
    db.run(LOG);
    db.run("INSERT INTO agent_backup.change_log (changed_at, xid, tracked_id, shape_id, operation, row_key, image, session_user_name, application_name)
        SELECT now(), '5', tracked_id, 1, 'I', n, n || ',x,', 'me', 'suite' FROM agent_backup.tracked, generate_series(1000, 20000) n;
        INSERT INTO agent_training_archive (original_table, original_id, data) SELECT 't', n, '{}' FROM generate_series(1000, 20000) n; ANALYZE");
    for filter in ["original_table = 't' AND original_id = '1500'", "original_id = '1500'"] {
        let plan =
            lines(&mut db.client(), &format!("EXPLAIN SELECT * FROM agent_training_archive WHERE {filter}")).join("\n");
        assert!(
            !plan.contains("Seq Scan on archive_rows") && !plan.contains("Seq Scan on change_log"),
            "{filter}: {plan}"
        );
        assert_eq!(
            one::<i64>(&mut db.client(), &format!("SELECT count(*) FROM agent_training_archive WHERE {filter}")),
            2
        );
    }
}

#[test]
fn a_table_that_is_there_is_adopted_unchanged_and_stays_when_the_extension_goes() {
    let db = without_extension();
    db.run(SEED);
    db.run("INSERT INTO agent_training_archive (original_table, original_id, data) VALUES ('old', '1', '{}')");
    let definition = "SELECT string_agg(concat_ws(' ', attname, atttypid::regtype, attnotnull, atthasdef), ', ' ORDER BY attnum), (SELECT count(*) FROM pg_trigger WHERE tgrelid = attrelid)
        FROM pg_attribute WHERE attrelid = 'agent_training_archive'::regclass AND attnum > 0 GROUP BY attrelid";
    let before = lines(&mut db.client(), definition);
    db.run("CREATE EXTENSION agent_backup");
    assert_eq!(lines(&mut db.client(), definition), before);
    db.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); SELECT agent_backup.create_set('s'); SELECT agent_backup.add_table('s', 't'); SELECT agent_backup.incremental('s')");
    db.run("DROP EXTENSION agent_backup CASCADE");
    assert_eq!(reasons(&db), ["|old|1|{}", "incremental_backup|t|1|{\"id\": 1}"]);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_table_that_cannot_take_our_rows_stops_the_extension_and_its_column_is_named() {
    let db = without_extension();
    for (change, part) in [
        ("ALTER TABLE agent_training_archive DROP data", "column \"data\" is missing"),
        (
            "ALTER TABLE agent_training_archive ALTER original_id TYPE bigint USING 1",
            "column \"original_id\" has type bigint, not text or character varying",
        ),
        (
            "ALTER TABLE agent_training_archive ALTER archive_reason TYPE varchar(5)",
            "column \"archive_reason\" has type character varying(5)",
        ),
        ("ALTER TABLE agent_training_archive ALTER archived_at DROP DEFAULT", "column \"archived_at\" has no default"),
        ("ALTER TABLE agent_training_archive ALTER id DROP DEFAULT", "column \"id\" is not null and has no default"),
        (
            "ALTER TABLE agent_training_archive ADD owner text NOT NULL",
            "column \"owner\" is not null and has no default",
        ),
        ("DROP TABLE agent_training_archive; CREATE VIEW agent_training_archive AS SELECT 1 AS id", "is no table"),
    ] {
        db.run(&format!("{SEED} {change}"));
        let refusal = refused(&mut db.client(), "CREATE EXTENSION agent_backup");
        assert!(refusal.message.contains(part), "{change}: {refusal:?}");
        assert!(!refusal.hint.is_empty(), "{change}");
        let kind: String =
            one(&mut db.client(), "SELECT relkind::text FROM pg_class WHERE relname = 'agent_training_archive'");
        db.run(if kind == "v" { "DROP VIEW agent_training_archive" } else { "DROP TABLE agent_training_archive" });
    }
    for fine in
        ["ALTER TABLE agent_training_archive DROP id", "ALTER TABLE agent_training_archive ALTER data TYPE json"]
    {
        db.run(&format!("{SEED} {fine}; CREATE EXTENSION agent_backup; DROP EXTENSION agent_backup; DROP TABLE agent_training_archive"));
    }
}

#[test]
fn drop_extension_asks_for_cascade_before_it_takes_archived_rows() {
    let db = database();
    db.run("DROP EXTENSION agent_backup; CREATE EXTENSION agent_backup; INSERT INTO agent_training_archive (original_table) VALUES ('t')");
    let refusal = refused(&mut db.client(), "DROP EXTENSION agent_backup");
    assert_eq!(refusal.code, "2BP01", "{refusal:?}");
    assert!(refusal.message.ends_with("it keeps 1 archived row"), "{refusal:?}");
    // By the server's own rule, too.
    db.run("ALTER EVENT TRIGGER agent_backup_watch_drop DISABLE");
    let refusal = refused(&mut db.client(), "DROP EXTENSION agent_backup");
    assert!(refusal.code == "2BP01" && refusal.detail.contains("keeps_archive_rows"), "{refusal:?}");
    db.run("CREATE TABLE kept AS TABLE agent_training_archive; DROP EXTENSION agent_backup CASCADE");
    assert_eq!(one::<i64>(&mut db.client(), "SELECT count(*) FROM kept"), 1);
    assert_no_trash(&db, &[]);
}

#[test]
fn two_first_rows_at_once_make_one_guard() {
    let db = database();
    let (mut one_client, mut other) = (db.client(), db.client());
    one_client.batch_execute("BEGIN; INSERT INTO agent_training_archive (original_table) VALUES ('a')").unwrap();
    let waiting = std::thread::spawn(move || {
        other.batch_execute("INSERT INTO agent_training_archive (original_table) VALUES ('b')")
    });
    std::thread::sleep(std::time::Duration::from_millis(100));
    one_client.batch_execute("COMMIT").unwrap();
    waiting.join().unwrap().unwrap();
    assert_eq!(one::<i64>(&mut db.client(), "SELECT count(*) FROM agent_training_archive"), 2);
}

#[test]
fn archived_rows_travel_with_a_dump() {
    let db = database();
    db.run("INSERT INTO agent_training_archive (original_table, original_id, data) SELECT 't', n, '{\"a\": 1}' FROM generate_series(1, 5) n");
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
    let query = "SELECT ROW(a.*)::text FROM agent_training_archive a ORDER BY 1";
    let mut there = db.cluster().client(&copy);
    assert_eq!(lines(&mut db.client(), query), lines(&mut there, query));
    assert_eq!(refused(&mut there, "DROP EXTENSION agent_backup").code, "2BP01");
    drop(there);
    db.run(&format!("DROP DATABASE {copy} WITH (FORCE)"));
    assert_no_trash(&db, &[]);
}

#[test]
fn only_its_owner_reads_and_writes_it_until_it_is_granted() {
    let db = database();
    let (operator, granted) = (format!("{}_op", db.name()), format!("{}_app", db.name()));
    db.run(&format!(
        "CREATE ROLE {operator} LOGIN; GRANT agent_backup_operator TO {operator}; CREATE ROLE {granted} LOGIN;
        GRANT SELECT, INSERT, DELETE ON agent_training_archive TO {granted};
        GRANT EXECUTE ON FUNCTION agent_backup.image_to_jsonb TO {granted}"
    ));
    for statement in [
        "SELECT * FROM agent_training_archive",
        "INSERT INTO agent_training_archive (original_table) VALUES ('t')",
        "DELETE FROM agent_training_archive",
        "SELECT * FROM agent_backup.archive_rows",
    ] {
        assert_eq!(refused(&mut db.client_as(&operator), statement).code, "42501", "{statement}");
    }
    let mut client = db.client_as(&granted);
    client.batch_execute("INSERT INTO agent_training_archive (original_table) VALUES ('t')").unwrap();
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM agent_training_archive"), 1);
    assert_eq!(client.execute("DELETE FROM agent_training_archive", &[]).unwrap(), 1);
    for statement in [
        "SELECT * FROM agent_backup.archive_rows",
        "UPDATE agent_training_archive SET data = NULL",
        "SELECT * FROM agent_backup.change_log",
    ] {
        assert_eq!(refused(&mut client, statement).code, "42501", "{statement}");
    }
    drop(client);
    db.run(&format!("DROP OWNED BY {operator}, {granted}; DROP ROLE {operator}, {granted}"));
    assert_no_trash(&db, &[]);
}

#[test]
fn a_backup_of_the_set_tells_that_the_view_is_no_table() {
    let db = database();
    let own = "agent_training_archive|absent|the extension's view over its own store";
    let rows = lines(
        &mut db.client(),
        "SELECT table_name, status, error_message FROM agent_backup.backup() WHERE table_name = 'agent_training_archive'",
    );
    assert_eq!(rows, [own]);
    db.run("CREATE TABLE agent_approvals (id int PRIMARY KEY)");
    let whole = "SELECT status, error_message FROM agent_backup.backups WHERE backup_id IN (SELECT backup_id FROM agent_backup.backup_files)";
    db.run("SELECT agent_backup.backup()");
    assert_eq!(lines(&mut db.client(), whole), ["complete|"]);
    let rows =
        lines(&mut db.client(), "SELECT status FROM agent_backup.assess() WHERE table_name = 'agent_training_archive'");
    assert_eq!(rows, ["absent"]);
    let rows = lines(
        &mut db.client(),
        "SELECT status FROM verify_daily_backups() WHERE table_name IN ('agent_training_archive', 'data_quality_log')",
    );
    assert_eq!(rows, ["warning", "warning"]);
    let rows = lines(
        &mut db.client(),
        "SELECT table_name, status, details FROM agent_backup.incremental() WHERE table_name = 'agent_training_archive'",
    );
    assert_eq!(rows, [own]);
    assert_no_trash(&db, &[]);
}
