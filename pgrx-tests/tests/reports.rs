//! What a person reads: recent backups, objectives, the checklist, the runbook and the platform; and the queries of the
//! document that the project started from, word for word.

use std::path::Path;

use agent_backup_suite::{Database, assert_no_trash, database, lines, one, refused};

/// A set `s` of two tables, with a backup.
fn with_set() -> Database<'static> {
    let db = database();
    db.run(
        "SELECT agent_backup.drop_set('agent_sdk'); SELECT agent_backup.create_set('s');
         CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 20); CREATE TABLE \"B b\" (id int PRIMARY KEY);
         SELECT agent_backup.add_table('s', 'a'), agent_backup.add_table('s', 'B b'); SELECT agent_backup.backup('s');",
    );
    db
}

/// The demo application with a backup of its eight tables.
fn with_demo() -> Database<'static> {
    let db = database();
    db.run("DROP EXTENSION agent_backup");
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("demo");
    for (file, rows) in [("schema.sql", ""), ("data.sql", "\\set rows 200\n")] {
        let output = db.psql(&format!("{rows}\\i {}", demo.join(file).display()));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    db.run("CREATE EXTENSION agent_backup; SELECT agent_backup.backup()");
    db
}

fn at(ahead: &str) -> String {
    format!(
        "SELECT set_config('agent_backup.debug_clock', to_char((now() + interval '{ahead}') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), false);"
    )
}

fn lines_at(db: &Database, ahead: &str, query: &str) -> Vec<String> {
    let mut client = db.client();
    client.batch_execute(&at(ahead)).unwrap();
    lines(&mut client, query)
}

#[test]
fn backup_status_lists_the_week_with_and_without_verification() {
    let db = with_set();
    let query = "SELECT table_name, verification_status, row_count FROM agent_backup.backup_status";
    assert_eq!(lines_at(&db, "0", query), ["B b|not verified|0", "a|not verified|20"]);
    db.run("SELECT agent_backup.verify('latest', 'decode', 's')");
    assert_eq!(lines_at(&db, "0", query), ["B b|success|0", "a|success|20"]);
    assert_eq!(lines_at(&db, "6 days", query).len(), 2);
    assert_eq!(lines_at(&db, "9 days", query), Vec::<String>::new());
}

#[test]
fn backup_status_shows_a_failure_though_its_last_good_backup_is_old() {
    let db = with_set();
    db.run(
        "INSERT INTO backup_verification_log (backup_date, table_name, verification_status, error_message)
         VALUES ('-infinity', 'lost', 'failed', 'no backup')",
    );
    let query = "SELECT backup_date, table_name, verification_status FROM agent_backup.backup_status";
    assert_eq!(lines_at(&db, "0", query).last().unwrap(), "-infinity|lost|failed");
}

#[test]
fn a_log_of_the_application_is_read_and_stays_free_to_change() {
    let db = database();
    db.run(
        "DROP EXTENSION agent_backup; CREATE TABLE backup_verification_log (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), backup_date date NOT NULL,
             table_name text NOT NULL, verification_status text, row_count integer, size_bytes bigint, checksum text,
             verified_at timestamp DEFAULT now(), error_message text);
         SET client_min_messages = warning; CREATE EXTENSION agent_backup;
         INSERT INTO backup_verification_log (backup_date, table_name, verification_status, row_count) VALUES (current_date, 'theirs', 'success', 7)",
    );
    assert_eq!(lines_at(&db, "0", "SELECT table_name, row_count FROM agent_backup.backup_status"), ["theirs|7"]);
    db.run("ALTER TABLE backup_verification_log ALTER COLUMN row_count TYPE bigint");
}

#[test]
fn objectives_are_never_looser_than_those_of_the_set() {
    let db = with_set();
    let query = "SELECT scenario, rto_objective, rpo_objective FROM agent_backup.rpo_rto_report";
    let expected = [
        "single record deleted|00:05:00|00:00:00",
        "table corrupted|00:30:00|01:00:00",
        "database failure|01:00:00|01:00:00",
        "complete data loss|02:00:00|1 day",
    ];
    assert_eq!(lines(&mut db.client(), query), expected);
    db.run("UPDATE agent_backup.sets SET rto = '10 minutes', rpo = '15 minutes'");
    let strict = lines(&mut db.client(), query);
    assert_eq!(strict[2], "database failure|00:10:00|00:15:00");
}

#[test]
fn objectives_are_measured_by_drills_and_restores() {
    let db = with_set();
    let query =
        "SELECT scenario, rto_measured IS NOT NULL, rto_measured_by, met, reason FROM agent_backup.rpo_rto_report";
    let unknown = lines(&mut db.client(), query);
    assert_eq!(unknown[1], "table corrupted|f|||no restore was timed yet");
    assert_eq!(unknown[3], "complete data loss|f||f|no copy is off-site: all would be lost");
    db.run("SELECT agent_backup.drill('s')");
    let drilled = lines(&mut db.client(), query);
    assert!(drilled[1].starts_with("table corrupted|t|drill 1, "), "{drilled:?}");
    assert!(
        drilled[2].starts_with("database failure|t|drill 1, ") && drilled[2].ends_with("|t|within both objectives"),
        "{drilled:?}"
    );
    db.run("DELETE FROM a WHERE id = 3; SELECT agent_backup.restore_record('a', '3', set_name => 's'); SELECT agent_backup.restore_table('a', set_name => 's', confirm => true)");
    let restored = lines(&mut db.client(), query);
    assert!(
        restored[0].starts_with("single record deleted|t|restore 1, ")
            && restored[1].starts_with("table corrupted|t|restore 2, "),
        "{restored:?}"
    );
    db.run("UPDATE agent_backup.drills SET duration = '3 hours'");
    let slow = lines(&mut db.client(), query);
    assert!(slow[2].ends_with("|f|the last one took 3 h"), "{slow:?}");
}

#[test]
fn loss_is_told_now_and_at_its_worst() {
    let db = with_set();
    let query =
        "SELECT rpo_now, rpo_worst_30_days, met FROM agent_backup.rpo_rto_report WHERE scenario = 'database failure'";
    db.run(
        "UPDATE agent_backup.backup_catalog SET started_at = date_trunc('hour', now()), finished_at = now(); SELECT agent_backup.drill('s');
         INSERT INTO agent_backup.pruned_backups SELECT 'p' || n, 's', 'full', 'complete', n <> 3, date_trunc('hour', now()) - n * interval '1 day', now(), 1, 1, NULL, '{old}', now(), 'me'
           FROM generate_series(1, 5) n;",
    );
    let mut client = db.client();
    client
        .batch_execute("SELECT set_config('agent_backup.debug_clock', to_char(date_trunc('hour', now()) AT TIME ZONE 'UTC' + interval '2 hours', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), false)")
        .unwrap();
    assert_eq!(lines(&mut client, query), ["02:00:00|2 days|f"], "a backup that was damaged is no point to go back to");
    db.run("INSERT INTO agent_backup.incremental_runs (set_name, started_at, finished_at, tables, failed, row_count) SELECT 's', date_trunc('hour', now()) - interval '3 days', now(), 2, 0, 1");
    assert_eq!(lines(&mut client, query), ["02:00:00|1 day|f"]);
}

#[test]
fn captured_tables_lose_nothing_but_with_the_database() {
    let db = with_set();
    db.run("SELECT agent_backup.track('a'), agent_backup.track('B b')");
    let query = "SELECT scenario, rpo_now, reason FROM agent_backup.rpo_rto_report";
    let rows = lines_at(&db, "3 hours", query);
    assert!(rows[0].starts_with("single record deleted|00:00:00|"), "{rows:?}");
    assert!(
        rows[2].starts_with("database failure|03:00:00|") || rows[2].starts_with("database failure|02:59:"),
        "{rows:?}"
    );
    assert!(rows[2].contains("would be lost"), "{rows:?}");
}

#[test]
fn the_checklist_is_filled_by_what_was_done() {
    let db = database();
    let statuses = |db: &Database| lines(&mut db.client(), "SELECT status FROM agent_backup.checklist");
    assert_eq!(statuses(&db), ["not yet"; 9]);
    drop(db);
    let db = with_demo();
    db.run("SELECT verify_daily_backups(); SELECT agent_backup.drill()");
    let rows = lines(&mut db.client(), "SELECT item, status, evidence FROM agent_backup.checklist");
    assert_eq!(rows.len(), 9);
    assert_eq!(
        rows[6],
        "Application can query restored data|not yet|no query of the application is in agent_backup.drill_queries"
    );
    assert_eq!(rows.iter().filter(|row| row.contains("|yes|")).count(), 7, "{rows:#?}");
    db.run("INSERT INTO agent_backup.drill_queries VALUES ('agent_sdk', 'q', 'SELECT * FROM agent_approvals'); SELECT agent_backup.drill()");
    assert_eq!(statuses(&db)[..8], ["yes"; 8]);
    assert_eq!(statuses(&db)[8], "not yet");
    assert_no_trash(&db, &[]);
}

#[test]
fn the_checklist_says_no_where_something_failed() {
    let db = with_set();
    let file: String = one(&mut db.client(), "SELECT backup_file FROM agent_backup.backups");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    db.run("SELECT agent_backup.verify('latest', 'decode', 's'); SELECT agent_backup.drill('s')");
    let rows = lines_at(&db, "3 days", "SELECT status, evidence FROM agent_backup.checklist");
    let no: Vec<usize> = (0..8).filter(|&n| rows[n].starts_with("no|")).collect();
    assert_eq!(no, [0, 2, 3, 4, 5, 6, 7], "{rows:#?}");
    assert!(rows[0].contains("3 days old") && rows[3].contains("damaged"), "{rows:#?}");
}

#[test]
fn every_command_of_the_runbook_runs_as_it_is_printed() {
    let db = with_demo();
    db.run("SELECT agent_backup.track('AgentFeedback')");
    let commands: Vec<(String, String)> = {
        let rows = db
            .client()
            .query("SELECT incident, command FROM agent_backup.runbook() WHERE command IS NOT NULL", &[])
            .unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    assert!(commands.len() > 60, "{commands:#?}");
    for (incident, command) in commands {
        let output = db.psql(&format!("SET client_min_messages = error; BEGIN;\n{command}\nROLLBACK;"));
        assert!(output.status.success(), "{incident}: {command}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_runbook_brings_back_what_was_lost() {
    let db = with_demo();
    let mut client = db.client();
    client
        .batch_execute(
            "CREATE TABLE before AS SELECT * FROM \"AgentFeedback\"; DELETE FROM \"AgentFeedback\" WHERE id % 7 = 0",
        )
        .unwrap();
    let missing = "SELECT (SELECT count(*) FROM before) - (SELECT count(*) FROM \"AgentFeedback\")";
    assert!(one::<i64>(&mut client, missing) > 2);
    let command =
        "SELECT command FROM agent_backup.runbook('record') WHERE step = 3 AND command LIKE '%\"AgentFeedback\"%'";
    let command: String = one(&mut client, command);
    client.batch_execute(&command).unwrap();
    assert_eq!(one::<i64>(&mut client, missing), 0);
}

#[test]
fn the_runbook_names_what_is_here() {
    let db = with_demo();
    let newest: String = one(&mut db.client(), "SELECT max(backup_id) FROM agent_backup.backups");
    let steps = lines(&mut db.client(), "SELECT step, title, command, note FROM agent_backup.runbook('table')");
    let titles: Vec<&str> = steps.iter().map(|step| step.split('|').nth(1).unwrap()).collect();
    for title in ["Assess damage", "Identify recovery point", "Restore data", "Verify recovery", "Resume operations"] {
        assert!(titles.contains(&title), "{titles:?}");
    }
    let has = |part: &str| steps.iter().any(|step| step.contains(part));
    assert!(has(&newest) && has("restore_table('\"AgentApproval\"'") && has("CHANGES DATA"), "{steps:#?}");
    assert!(has("REFRESH MATERIALIZED VIEW CONCURRENTLY public.mv_agent_queue_realtime;"), "{steps:#?}");
    db.run("DROP INDEX mv_agent_queue_realtime_key");
    let steps = lines(&mut db.client(), "SELECT command FROM agent_backup.runbook('table')");
    assert!(steps.contains(&"REFRESH MATERIALIZED VIEW public.mv_agent_queue_realtime;".to_owned()), "{steps:#?}");
    let error = refused(&mut db.client(), "SELECT * FROM agent_backup.runbook('flood')");
    assert_eq!(
        (error.code.as_str(), error.message.as_str()),
        ("22023", "invalid scenario: it is \"flood\", not record, table, database or disaster")
    );
    assert_eq!(refused(&mut db.client(), "SELECT * FROM agent_backup.runbook(NULL, 'nobody')").code, "42704");
    assert_no_trash(&db, &[]);
}

#[test]
fn the_check_of_row_level_security_sees_flags_policies_and_mixed_case() {
    let db = with_demo();
    let command: String = one(
        &mut db.client(),
        "SELECT command FROM agent_backup.runbook('table') WHERE command LIKE '%relrowsecurity%'",
    );
    assert_eq!(lines(&mut db.client(), &command), Vec::<String>::new());
    db.run("ALTER TABLE \"AgentFeedback\" DISABLE ROW LEVEL SECURITY; DROP POLICY auditor_reads ON data_quality_log; DROP POLICY app_logs ON data_quality_log");
    assert_eq!(lines(&mut db.client(), &command), ["public|AgentFeedback|f|2", "public|data_quality_log|t|0"]);
}

#[test]
fn the_platform_is_told_and_its_own_backups_are_left_to_its_console() {
    let db = database();
    let report =
        |db: &Database| lines(&mut db.client(), "SELECT topic, value, note FROM agent_backup.platform_report()");
    let rows = report(&db);
    for topic in [
        "server|PostgreSQL ",
        "agent_backup|",
        "wal_level|",
        "WAL archiving|off|",
        "data checksums|",
        "pg_cron|not loaded|",
        "hosting platform|none known|",
    ] {
        assert!(rows.iter().any(|row| row.starts_with(topic)), "{topic} in {rows:#?}");
    }
    db.run("CREATE ROLE supabase_admin");
    let rows = report(&db);
    db.run("DROP ROLE supabase_admin");
    assert!(
        rows.iter().any(|row| row.starts_with("hosting platform|Supabase|") && row.contains("console")),
        "{rows:#?}"
    );
}

/// "Recent backups", "Alert on Backup Failures" and steps 4 and 5, as they are written there.
const RECENT: &str = "SELECT \n  backup_date,\n  table_name,\n  verification_status,\n  row_count,\n  pg_size_pretty(size_bytes) as backup_size
FROM backup_verification_log\nWHERE backup_date > CURRENT_DATE - INTERVAL '7 days'\nORDER BY backup_date DESC, table_name;";
const ALERT: &str = "SELECT \n  CURRENT_DATE as expected_backup_date,\n  table_name,\n  CASE \n    WHEN MAX(backup_date) = CURRENT_DATE THEN 'OK'
    WHEN MAX(backup_date) = CURRENT_DATE - 1 THEN 'WARNING'\n    ELSE 'FAILED'\n  END as backup_status,\n  MAX(backup_date) as last_backup_date
FROM backup_verification_log\nWHERE table_name IN ('agent_approvals', 'AgentFeedback', 'AgentQuery')\nGROUP BY table_name\nHAVING MAX(backup_date) < CURRENT_DATE;";
const RUNBOOK: &str = "SELECT COUNT(*) FROM agent_approvals;\nSELECT COUNT(*) FROM \"AgentFeedback\";\nSELECT COUNT(*) FROM \"AgentQuery\";
SELECT * FROM v_data_quality_current;\nSELECT * FROM run_all_quality_checks();\nSELECT table_name, row_count FROM backup_verification_log\nWHERE backup_date = CURRENT_DATE;
SELECT tablename FROM pg_tables \nWHERE schemaname = 'public' \nAND tablename LIKE 'agent%'\nAND rowsecurity = false;
REFRESH MATERIALIZED VIEW CONCURRENTLY mv_agent_queue_realtime;\nREFRESH MATERIALIZED VIEW CONCURRENTLY mv_agent_accuracy_rolling;\nREFRESH MATERIALIZED VIEW CONCURRENTLY mv_query_performance_live;";

#[test]
fn the_queries_of_the_first_document_run_as_they_are_written() {
    let db = with_demo();
    db.run("ALTER DATABASE \"{}\" SET TimeZone = 'UTC'".replace("{}", db.name()).as_str());
    db.run("SELECT verify_daily_backups()");
    let mut client = db.client();
    assert_eq!(lines(&mut client, RECENT).len(), 8);
    assert_eq!(lines(&mut client, ALERT), Vec::<String>::new());
    let output = db.psql(RUNBOOK);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_no_trash(&db, &[]);
}

#[test]
fn the_alert_of_the_first_document_shows_damage_and_missing_days() {
    let db = with_demo();
    db.run(
        "SELECT agent_backup.drop_set('agent_sdk', confirm => true); SELECT agent_backup.create_set('agent_sdk');
         SELECT agent_backup.add_table('agent_sdk', t) FROM unnest('{agent_approvals,AgentFeedback,AgentQuery}'::text[]) t;
         DELETE FROM agent_backup.backup_catalog; SELECT verify_daily_backups();",
    );
    let never = lines(&mut db.client(), ALERT);
    assert_eq!(never.iter().filter(|row| row.contains("|FAILED|-infinity")).count(), 3, "{never:?}");
    db.run("TRUNCATE backup_verification_log; SELECT agent_backup.backup(); UPDATE agent_backup.backup_catalog SET started_at = started_at - interval '1 day'; SELECT verify_daily_backups()");
    let late = lines(&mut db.client(), ALERT);
    assert_eq!(late.iter().filter(|row| row.contains("|WARNING|")).count(), 3, "{late:?}");
}

#[test]
fn names_are_quoted_in_what_is_to_be_pasted() {
    let db = database();
    let set = "E'we\\'ird \"s\" %s\\n-- \\\\'";
    let table = "\"S 'x\".\"T \"\"%I; --\n'x\"";
    db.run(&format!(
        "SELECT agent_backup.drop_set('agent_sdk'); SELECT agent_backup.create_set({set}); CREATE SCHEMA \"S 'x\"; CREATE TABLE {table} (id int PRIMARY KEY);
         CREATE MATERIALIZED VIEW \"S 'x\".\"M v\" AS SELECT * FROM {table};
         SELECT agent_backup.add_table({set}, oid::regclass) FROM pg_class WHERE relname LIKE 'T \"%' AND relkind = 'r';"
    ));
    let run = |query: &str| {
        let rows = db.client().query(query, &[]).unwrap();
        for command in rows.iter().map(|row| row.get::<_, String>(0)) {
            db.run(&format!("SET client_min_messages = error; BEGIN; {command} ROLLBACK;"));
        }
        rows.len()
    };
    assert!(run("SELECT action FROM agent_backup.health WHERE action LIKE 'SELECT * FROM agent_backup.backup(%'") >= 2);
    db.run(&format!("SELECT agent_backup.backup({set}); SELECT agent_backup.track(oid::regclass::text) FROM pg_class WHERE relname LIKE 'T \"%' AND relkind = 'r'"));
    assert!(
        run(&format!(
            "SELECT command FROM agent_backup.runbook(NULL, {set}) WHERE command NOT LIKE '%restore_table_as_of%'"
        )) > 40
    );
}
