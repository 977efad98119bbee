//! The log of acts: who did what, whatever became of it (T80), and nothing secret in it (T79).

use std::fs;
use std::time::Duration;

use agent_backup_suite::{
    Cluster, Database, Options, Refusal, Signal, assert_no_trash, begun, database, kill_backend, lines, one, refused,
    sqlstate, wait_for_pause, wait_until,
};
use postgres::NoTls;

/// The log but for what differs from run to run.
const TOLD: &str = "SELECT action, object, set_name, status, error_code FROM agent_backup.audit_log ORDER BY entry_id";

const CHAIN: &str = "SELECT check_name, status FROM agent_backup.verify_audit_log()";

/// A database with the set `s` of one table, and an empty log.
fn with_set(db: &Database) {
    db.run(
        "CREATE TABLE t (id int PRIMARY KEY, note text); INSERT INTO t VALUES (1, 'one'), (2, 'two');
         SELECT agent_backup.create_set('s', formats => '{csv}'); SELECT agent_backup.add_table('s', 't')",
    );
    forget(db);
}

/// Empties the log, as only its guards keep one from doing.
fn forget(db: &Database) {
    unguarded(db, "TRUNCATE agent_backup.audit_log, agent_backup.audit_chain, agent_backup.audit_checks");
}

/// Runs a statement with the guards off.
fn unguarded(db: &Database, statement: &str) {
    let switch = |how: &str| {
        ["audit_log", "audit_chain", "audit_checks"]
            .map(|table| format!("ALTER TABLE agent_backup.{table} {how} TRIGGER guard_audit;"))
            .concat()
    };
    db.run(&format!("{} {statement}; {}", switch("DISABLE"), switch("ENABLE ALWAYS")));
}

/// A call that is refused. Who gets an error gets it before its transaction has ended.
#[track_caller]
fn fails(client: &mut postgres::Client, call: &str) -> Refusal {
    let refusal = refused(client, call);
    client.simple_query("SELECT").unwrap();
    refusal
}

fn told(db: &Database) -> Vec<String> {
    lines(&mut db.client(), TOLD)
}

#[test]
fn an_act_tells_who_did_what_from_where_and_how_it_ended() {
    let db = database();
    with_set(&db);
    db.run(
        "DROP ROLE IF EXISTS audit_ann, audit_op; CREATE ROLE audit_ann LOGIN; CREATE ROLE audit_op;
            GRANT agent_backup_operator TO audit_op; GRANT audit_op TO audit_ann; GRANT SELECT ON t TO audit_op",
    );
    let mut client = db.client_as("audit_ann");
    let pid: i32 = one(&mut client, "SELECT pg_backend_pid()");
    client
        .batch_execute("SET ROLE audit_op; SET application_name = 'nightly'; SELECT agent_backup.backup('s')")
        .unwrap();
    let who = lines(
        &mut db.client(),
        "SELECT action, set_name, status, session_user_name, current_user_name, client_addr, application_name, backend_pid,
                details - 'duration_ms' - 'backup_id', details ->> 'backup_id' = (SELECT backup_id FROM agent_backup.backups),
                transaction IS NOT NULL, happened_at BETWEEN now() - '1 minute'::interval AND now(), error_message
         FROM agent_backup.audit_log",
    );
    let expected =
        format!("backup|s|ok|audit_ann|audit_op||nightly|{pid}|{{\"kind\": \"full\", \"tables\": 1}}|t|t|t|");
    assert_eq!(who, [expected]);
    drop(client);
    db.run("REVOKE ALL ON t FROM audit_op; DROP ROLE audit_ann, audit_op");
}

#[test]
fn every_verb_is_in_the_log() {
    let db = database();
    with_set(&db);
    let calls = [
        ("create_set", "SELECT agent_backup.create_set('x')"),
        ("drop_set", "SELECT agent_backup.drop_set('x')"),
        ("add_table", "SELECT agent_backup.add_table('s', 'none')"),
        ("remove_table", "SELECT agent_backup.remove_table('s', 'none')"),
        ("set_retention", "SELECT agent_backup.set_retention('s', keep_daily => 3)"),
        ("backup", "SELECT agent_backup.backup('s')"),
        ("export_table", "SELECT agent_backup.export_table('t')"),
        ("export_table", "SELECT backup_agent_table_to_json('t')"),
        ("incremental", "SELECT agent_backup.incremental('s')"),
        ("incremental", "SELECT backup_agent_incremental()"),
        ("set_change_source", "SELECT agent_backup.set_change_source('t', 'snapshot', 's')"),
        ("expire_incrementals", "SELECT agent_backup.expire_incrementals('s')"),
        ("verify", "SELECT agent_backup.verify('latest', set_name => 's')"),
        ("verify_daily_backups", "SELECT verify_daily_backups('s')"),
        ("verify_backup", "SELECT verify_backup('latest:t', 't', 's')"),
        ("verify_audit_log", "SELECT agent_backup.verify_audit_log()"),
        ("assess", "SELECT agent_backup.assess('s')"),
        ("diff", "SELECT agent_backup.diff('t', set_name => 's')"),
        ("read_backup", "SELECT agent_backup.read_backup(NULL::t, set_name => 's')"),
        ("restore_plan", "SELECT agent_backup.restore_plan('latest', set_name => 's')"),
        ("restore", "SELECT agent_backup.restore('latest', set_name => 's')"),
        ("restore_table", "SELECT agent_backup.restore_table('t', set_name => 's', confirm => true)"),
        ("restore_record", "SELECT agent_backup.restore_record('t', '1', set_name => 's')"),
        ("restore_record", "SELECT agent_backup.restore_record('t', '{\"id\": 1}'::jsonb, set_name => 's')"),
        ("undo_restore", "SELECT agent_backup.undo_restore()"),
        ("track", "SELECT agent_backup.track('t')"),
        ("mark", "SELECT agent_backup.mark('m')"),
        ("undo", "SELECT agent_backup.undo('m')"),
        ("restore_table_as_of", "SELECT agent_backup.restore_table_as_of('t', mark => 'm')"),
        ("read_as_of", "SELECT agent_backup.read_as_of(NULL::t, mark => 'm')"),
        ("record_history", "SELECT agent_backup.record_history('t', '1')"),
        ("record_history", "SELECT agent_backup.record_history('t', '{\"id\": 1}'::jsonb)"),
        ("drop_mark", "SELECT agent_backup.drop_mark('m')"),
        ("maintain_log", "SELECT agent_backup.maintain_log()"),
        ("untrack", "SELECT agent_backup.untrack('t')"),
        ("drill", "SELECT agent_backup.drill('s')"),
        ("reconcile", "SELECT agent_backup.reconcile('s')"),
        ("prune", "SELECT agent_backup.prune('s')"),
        ("pin", "SELECT agent_backup.pin((SELECT backup_id FROM agent_backup.backups WHERE set_name = 's' LIMIT 1))"),
        (
            "unpin",
            "SELECT agent_backup.unpin((SELECT backup_id FROM agent_backup.backups WHERE set_name = 's' LIMIT 1))",
        ),
        ("schedule", "SELECT agent_backup.schedule('s')"),
        ("unschedule", "SELECT agent_backup.unschedule('s')"),
        ("run_job", "CALL agent_backup.run_job('daily', 's')"),
    ];
    let mut client = db.client();
    for (action, call) in calls {
        let before: i64 = one(&mut client, "SELECT coalesce(max(entry_id), 0) FROM agent_backup.audit_log");
        let outcome = client.batch_execute(call);
        let acts = format!(
            "SELECT action, status FROM agent_backup.audit_log WHERE entry_id > {before} ORDER BY entry_id DESC"
        );
        let status = if outcome.is_ok() { "ok" } else { "failed" };
        let logged = lines(&mut client, &acts);
        assert!(logged.contains(&format!("{action}|{status}")), "{call}: {logged:?}, {outcome:?}");
    }
    assert_eq!(lines(&mut client, CHAIN), ["chain|ok"]);
}

#[test]
fn a_failure_survives_its_own_rollback_and_that_around_it() {
    let db = database();
    with_set(&db);
    let mut client = db.client();
    assert_eq!(fails(&mut client, "SELECT agent_backup.backup('none')").code, "42704");
    assert_eq!(told(&db), ["backup||none|failed|42704"]);
    client.batch_execute("BEGIN; SELECT agent_backup.pin('nothing')").unwrap_err();
    client.batch_execute("ROLLBACK").unwrap();
    assert_eq!(told(&db)[1..], ["pin|nothing||failed|42704"]);
    let message: String = one(&mut client, "SELECT error_message FROM agent_backup.audit_log WHERE entry_id = 1");
    assert_eq!(message, "backup set \"none\" does not exist");
}

#[test]
fn what_is_rolled_back_is_told_so_and_a_reader_has_read_all_the_same() {
    let db = database();
    with_set(&db);
    db.run("BEGIN; SELECT agent_backup.backup('s'); SELECT agent_backup.verify('latest', set_name => 's'); ROLLBACK");
    assert_eq!(told(&db), ["backup||s|failed|40000", "verify|latest|s|ok|"]);
    let rolled = "SELECT details -> 'rolled_back' FROM agent_backup.audit_log ORDER BY entry_id";
    assert_eq!(lines(&mut db.client(), rolled), ["true", "true"]);
}

#[test]
fn a_savepoint_takes_back_its_own_acts_only() {
    let db = database();
    with_set(&db);
    db.run(
        "BEGIN; SELECT agent_backup.create_set('a'); SAVEPOINT x; SELECT agent_backup.create_set('b');
         SAVEPOINT y; SELECT agent_backup.create_set('c'); RELEASE y; ROLLBACK TO x; SELECT agent_backup.create_set('d'); COMMIT",
    );
    assert_eq!(
        told(&db),
        ["create_set||a|ok|", "create_set||b|failed|40000", "create_set||c|failed|40000", "create_set||d|ok|",]
    );
}

#[test]
fn a_failure_that_is_caught_is_told_by_the_commit() {
    let db = database();
    with_set(&db);
    db.run("DO $$ BEGIN PERFORM agent_backup.backup('none'); EXCEPTION WHEN OTHERS THEN PERFORM agent_backup.backup('s'); END $$");
    assert_eq!(told(&db), ["backup||none|failed|42704", "backup||s|ok|"]);
}

#[test]
fn denials_are_told_as_denied() {
    let db = database();
    with_set(&db);
    db.run("DROP ROLE IF EXISTS audit_bob; CREATE ROLE audit_bob LOGIN; GRANT agent_backup_operator, agent_backup_restorer TO audit_bob");
    let mut client = db.client_as("audit_bob");
    db.run("SELECT agent_backup.backup('s')");
    for call in [
        "SELECT agent_backup.export_table('t', 'csv', '/tmp/x.csv')",
        "SELECT agent_backup.read_backup(NULL::t, set_name => 's')",
        "SELECT agent_backup.restore_table('t', set_name => 's', confirm => true)",
    ] {
        assert_eq!(fails(&mut client, call).code, "42501", "{call}");
    }
    let denied = "SELECT action, object, status, error_code, session_user_name FROM agent_backup.audit_log WHERE status <> 'ok' ORDER BY entry_id";
    assert_eq!(
        lines(&mut db.client(), denied),
        [
            "export_table|t|denied|42501|audit_bob",
            "read_backup|t|denied|42501|audit_bob",
            "restore_table|t|denied|42501|audit_bob",
        ]
    );
    drop(client);
    db.run("DROP ROLE audit_bob");
}

#[test]
fn a_cancelled_and_a_terminated_act_are_told() {
    let db = database();
    with_set(&db);
    for (signal, ended) in [(Signal::SIGINT, "57014"), (Signal::SIGTERM, "57P01")] {
        let call = "SET agent_backup.debug_failpoint = 'snapshot=pause'; SELECT agent_backup.backup('s')";
        let (pid, run) = begun(db.client(), call);
        wait_for_pause(&db, pid, "snapshot");
        kill_backend(pid, signal);
        let (client, outcome) = run.join().unwrap();
        assert!([ended, "lost"].contains(&sqlstate(&outcome.unwrap_err()).as_str()));
        drop(client);
        let last = format!("backup||s|failed|{ended}");
        wait_until("the entry", Duration::from_secs(10), || (told(&db).last() == Some(&last)).then_some(()));
    }
    assert_no_trash(&db, &["terminating connection due to administrator command"]);
}

#[test]
fn a_member_that_failed_makes_the_backup_one_that_failed() {
    let db = database();
    with_set(&db);
    db.run("CREATE TABLE u (a int); SELECT agent_backup.add_table('s', 'u', row_filter => '1 / a > 0'); INSERT INTO u VALUES (0)");
    db.run("SELECT agent_backup.backup('s')");
    let last =
        "SELECT status, error_message, details -> 'tables' FROM agent_backup.audit_log ORDER BY entry_id DESC LIMIT 1";
    assert_eq!(lines(&mut db.client(), last), ["failed|1 of 2 tables failed|1"]);
}

#[test]
fn calls_in_a_loop_are_one_entry_that_counts_them() {
    let db = database();
    with_set(&db);
    db.run("SELECT agent_backup.backup('s')");
    db.run("DO $$ BEGIN FOR i IN 1..50 LOOP PERFORM agent_backup.verify('latest', 'exists', 's'); END LOOP; END $$");
    assert_eq!(told(&db), ["backup||s|ok|", "verify|latest|s|ok|"]);
    assert_eq!(
        one::<i32>(
            &mut db.client(),
            "SELECT (details ->> 'calls')::int FROM agent_backup.audit_log WHERE action = 'verify'"
        ),
        50
    );
}

#[test]
fn an_open_transaction_keeps_no_other_act_from_its_entry() {
    let db = database();
    with_set(&db);
    let mut open = db.client();
    open.batch_execute("BEGIN; SELECT agent_backup.backup('s'); SELECT agent_backup.verify_audit_log()").unwrap();
    db.run("SET lock_timeout = '5s'; SELECT agent_backup.create_set('x')");
    assert_eq!(told(&db), ["create_set||x|ok|"]);
    open.batch_execute("COMMIT").unwrap();
    assert_eq!(told(&db), ["create_set||x|ok|", "backup||s|ok|", "verify_audit_log|||ok|"]);
    assert_eq!(lines(&mut open, CHAIN), ["chain|ok"]);
}

#[test]
fn acts_of_many_sessions_are_one_chain() {
    let db = database();
    with_set(&db);
    std::thread::scope(|scope| {
        for session in 0..6 {
            let mut client = db.client();
            scope.spawn(move || {
                for number in 0..10 {
                    let set = if number % 3 == 0 { "none".to_owned() } else { format!("x{session}_{number}") };
                    let call = format!(
                        "SELECT agent_backup.{}('{set}')",
                        if number % 3 == 0 { "backup" } else { "create_set" }
                    );
                    assert_eq!(client.batch_execute(&call).is_ok(), number % 3 != 0, "{call}");
                }
            });
        }
    });
    let mut client = db.client();
    assert_eq!(
        lines(
            &mut client,
            "SELECT status, count(*), min(entry_id) > 0, max(entry_id) <= 60 FROM agent_backup.audit_log GROUP BY 1 ORDER BY 1"
        ),
        ["failed|24|t|t", "ok|36|t|t",]
    );
    assert_eq!(lines(&mut client, CHAIN), ["chain|ok"]);
}

// Nobody changes it --------------------------------------------------------------------------------------------------

#[test]
fn nobody_changes_the_log_and_no_setting_helps() {
    let db = database();
    with_set(&db);
    db.run("SELECT agent_backup.create_set('x')");
    for settings in ["", "SET session_replication_role = replica;"] {
        for table in ["audit_log", "audit_chain", "audit_checks"] {
            for statement in [
                "DELETE FROM agent_backup.{}",
                "TRUNCATE agent_backup.{}",
                "DELETE FROM agent_backup.{} WHERE false",
                "INSERT INTO agent_backup.{} DEFAULT VALUES",
            ] {
                let refusal = refused(&mut db.client(), &format!("{settings} {}", statement.replace("{}", table)));
                assert_eq!(refusal.code, "42501", "{statement} {table}: {refusal:?}");
                assert!(refusal.message.contains(table), "{refusal:?}");
            }
        }
        for change in [
            "audit_log SET status = 'ok'",
            "audit_chain SET last_entry = 0, head = NULL",
            "audit_checks SET problems = '{}'",
        ] {
            let refusal = refused(&mut db.client(), &format!("{settings} UPDATE agent_backup.{change}"));
            assert_eq!(refusal.code, "42501", "{change}: {refusal:?}");
        }
        let mut copy = db.client();
        copy.batch_execute(settings).unwrap();
        assert!(copy.copy_in("COPY agent_backup.audit_log FROM STDIN").and_then(|writer| writer.finish()).is_err());
    }
    assert_eq!(told(&db), ["create_set||x|ok|"]);
}

/// Acts 1 to 6, with a backup at 3 and one at 5, whose manifests noted entries 2 and 4.
fn six_acts(db: &Database) {
    with_set(db);
    for act in
        ["create_set('a')", "create_set('b')", "backup('s')", "create_set('c')", "backup('s')", "create_set('d')"]
    {
        db.run(&format!("SELECT agent_backup.{act}"));
    }
}

#[track_caller]
fn assert_found(db: &Database, expected: &[(&str, i64)]) {
    let found =
        lines(&mut db.client(), "SELECT check_name, status, entry_id, details FROM agent_backup.verify_audit_log()");
    for (check, entry) in expected {
        let start = format!("{check}|failed|{entry}|");
        assert!(found.iter().any(|line| line.starts_with(&start)), "no {start} in {found:?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:?}");
    let noted = "SELECT status, cardinality(problems) FROM agent_backup.audit_checks ORDER BY check_id DESC LIMIT 1";
    assert_eq!(lines(&mut db.client(), noted), [format!("failed|{}", expected.len())]);
}

#[test]
fn a_whole_chain_is_one_line_with_its_head() {
    let db = database();
    six_acts(&db);
    let mut client = db.client();
    let expected = lines(
        &mut client,
        "SELECT 'chain|ok|6|6 entries, head ' || entry_hash FROM agent_backup.audit_log WHERE entry_id = 6",
    );
    assert_eq!(lines(&mut client, "SELECT * FROM agent_backup.verify_audit_log()"), expected);
    assert_eq!(lines(&mut client, CHAIN), ["chain|ok"]);
}

#[test]
fn an_edited_entry_is_named_whichever_column_it_is() {
    let db = database();
    six_acts(&db);
    for change in [
        "happened_at = happened_at + '1 us'",
        "action = 'other'",
        "object = 'x'",
        "set_name = NULL",
        "session_user_name = 'mallory'",
        "current_user_name = 'mallory'",
        "client_addr = '192.0.2.1'",
        "application_name = ''",
        "backend_pid = 1",
        "transaction = NULL",
        "details = '{}'",
        "error_code = '57014'",
        "status = 'failed', error_message = 'x'",
    ] {
        let keep = "CREATE TABLE kept AS SELECT * FROM agent_backup.audit_log WHERE entry_id = 4";
        db.run(keep);
        unguarded(&db, &format!("UPDATE agent_backup.audit_log SET {change} WHERE entry_id = 4"));
        assert_found(&db, &[("entry", 4)]);
        unguarded(
            &db,
            "DELETE FROM agent_backup.audit_log WHERE entry_id = 4; INSERT INTO agent_backup.audit_log SELECT * FROM kept; DROP TABLE kept",
        );
    }
    assert_eq!(lines(&mut db.client(), CHAIN), ["chain|ok"]);
}

#[test]
fn entries_that_are_gone_are_named_wherever_they_were() {
    for (gone, found) in
        [("entry_id = 1", ("gap", 1)), ("entry_id IN (3, 4)", ("gap", 3)), ("entry_id = 6", ("tail", 6))]
    {
        let db = database();
        six_acts(&db);
        unguarded(&db, &format!("DELETE FROM agent_backup.audit_log WHERE {gone}"));
        // Who removes entry 4 removes the one that a manifest noted; it is told as the gap that it is in.
        let more: &[(&str, i64)] = if gone.contains("4") { &[("anchor", 4)] } else { &[] };
        assert_found(&db, &[&[found], more].concat());
    }
}

#[test]
fn a_tail_that_is_gone_with_its_traces_in_the_database_is_told_by_the_manifests() {
    let db = database();
    six_acts(&db);
    unguarded(&db,
        "DELETE FROM agent_backup.audit_log WHERE entry_id > 3;
         UPDATE agent_backup.audit_chain SET (last_entry, head) = (SELECT entry_id, entry_hash FROM agent_backup.audit_log WHERE entry_id = 3)");
    assert_found(&db, &[("tail", 4)]);
}

#[test]
fn a_log_that_was_made_anew_is_not_the_one_that_manifests_noted() {
    let db = database();
    six_acts(&db);
    forget(&db);
    for set in ["e", "f", "g", "h", "i"] {
        db.run(&format!("SELECT agent_backup.create_set('{set}')"));
    }
    assert_found(&db, &[("anchor", 2), ("anchor", 4)]);
}

#[test]
fn entries_that_changed_places_are_named() {
    let db = database();
    six_acts(&db);
    unguarded(
        &db,
        "UPDATE agent_backup.audit_log SET entry_id = 100 WHERE entry_id = 4;
         UPDATE agent_backup.audit_log SET entry_id = 4 WHERE entry_id = 6;
         UPDATE agent_backup.audit_log SET entry_id = 6 WHERE entry_id = 100",
    );
    let found = lines(&mut db.client(), "SELECT check_name, entry_id FROM agent_backup.verify_audit_log()");
    for expected in ["entry|4", "order|4", "entry|6", "order|6", "anchor|4"] {
        assert!(found.contains(&expected.to_owned()), "no {expected} in {found:?}");
    }
}

#[test]
fn a_guard_that_is_off_is_named() {
    let db = database();
    six_acts(&db);
    for (off, on) in [
        (
            "ALTER TABLE agent_backup.audit_log DISABLE TRIGGER guard_audit",
            "ALTER TABLE agent_backup.audit_log ENABLE ALWAYS TRIGGER guard_audit",
        ),
        (
            "ALTER TABLE agent_backup.audit_log ENABLE TRIGGER guard_audit",
            "ALTER TABLE agent_backup.audit_log ENABLE ALWAYS TRIGGER guard_audit",
        ),
        (
            "CREATE RULE quiet AS ON DELETE TO agent_backup.audit_log DO INSTEAD NOTHING",
            "DROP RULE quiet ON agent_backup.audit_log",
        ),
    ] {
        db.run(off);
        let found = lines(&mut db.client(), "SELECT check_name, status FROM agent_backup.verify_audit_log()");
        assert_eq!(found, ["guard|failed"], "{off}");
        db.run(on);
    }
}

#[test]
fn the_hash_is_what_the_readme_says() {
    let db = database();
    six_acts(&db);
    let query = "SELECT count(*) FROM agent_backup.audit_log e WHERE entry_hash = encode(sha256(convert_to(coalesce(previous_hash, '') || E'\\n' ||
        jsonb_build_array(entry_id, to_char(happened_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), action, object, set_name, status,
            session_user_name, current_user_name, host(client_addr), application_name, backend_pid, transaction::text, details,
            error_code, error_message)::text, 'UTF8')), 'hex')";
    assert_eq!(one::<i64>(&mut db.client(), query), 6);
    // Whatever the session shows dates and numbers as.
    let odd = "SET DateStyle = 'German'; SET TimeZone = 'Asia/Tokyo'; SET extra_float_digits = -10; SET IntervalStyle = sql_standard;";
    let mut client = db.client();
    client.batch_execute(odd).unwrap();
    assert_eq!(lines(&mut client, CHAIN), ["chain|ok"]);
}

// Where nothing can be written ----------------------------------------------------------------------------------------

fn pending(cluster: &Cluster) -> Vec<String> {
    let Ok(files) = fs::read_dir(cluster.data_dir().join("agent_backup/.audit_pending")) else { return Vec::new() };
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_only_reads_and_what_sees_an_old_moment_is_told_too() {
    let db = database();
    with_set(&db);
    db.run("SELECT agent_backup.backup('s')");
    for begin in ["BEGIN READ ONLY", "BEGIN ISOLATION LEVEL REPEATABLE READ", "BEGIN ISOLATION LEVEL SERIALIZABLE"] {
        db.run(&format!("{begin}; SELECT 1; SELECT agent_backup.diff('t', set_name => 's'); COMMIT"));
    }
    assert_eq!(told(&db)[1..], ["diff|t|s|ok|", "diff|t|s|ok|", "diff|t|s|ok|"]);
    for setting in ["default_transaction_isolation = serializable", "default_transaction_read_only = on"] {
        db.run(&format!("ALTER DATABASE {} SET {setting}", db.name()));
        fails(&mut db.client(), "SELECT agent_backup.backup('none')");
    }
    assert_eq!(told(&db).len(), 6);
    assert_eq!(
        lines(
            &mut db.client(),
            "SET default_transaction_read_only = off; SET default_transaction_isolation = 'read committed'; SELECT check_name, status FROM agent_backup.verify_audit_log()"
        ),
        ["chain|ok"]
    );
}

#[test]
fn without_a_worker_an_entry_waits_in_a_file_and_the_next_act_takes_it_in() {
    let cluster = Cluster::start(Options::default().setting("max_worker_processes = 0"));
    let db = cluster.database();
    with_set(&db);
    let mut client = db.client();
    for _ in 0..3 {
        fails(&mut client, "SELECT agent_backup.backup('none')");
    }
    assert_eq!(told(&db), [""; 0]);
    let waiting = pending(&cluster);
    assert_eq!(waiting.len(), 3, "{waiting:?}");
    let directory = cluster.data_dir().join("agent_backup/.audit_pending");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(directory.join(&waiting[0])).unwrap().mode() & 0o777, 0o600);
    assert!(db.log().iter().any(|line| line.contains("wait in") && line.contains(".audit_pending")));
    // A file that is put back, as after a crash before it was removed, adds nothing.
    let copy = fs::read(directory.join(&waiting[0])).unwrap();
    client.batch_execute("SELECT agent_backup.create_set('x')").unwrap();
    let expected =
        ["backup||none|failed|42704", "backup||none|failed|42704", "backup||none|failed|42704", "create_set||x|ok|"];
    assert_eq!(told(&db), expected);
    assert_eq!(pending(&cluster), [""; 0]);
    fs::write(directory.join(&waiting[0]), copy).unwrap();
    std::os::unix::fs::chown(directory.join(&waiting[0]), Some(fs::metadata(&directory).unwrap().uid()), None).unwrap();
    client.batch_execute("SELECT agent_backup.create_set('y')").unwrap();
    assert_eq!(told(&db), [&expected[..], &["create_set||y|ok|"]].concat());
    assert_eq!(lines(&mut client, CHAIN), ["chain|ok"]);
}

#[test]
fn a_file_that_cannot_be_read_stops_nothing_and_stays() {
    let db = database();
    with_set(&db);
    fails(&mut db.client(), "SELECT agent_backup.backup('none')");
    let oid: u32 = one(&mut db.client(), "SELECT oid FROM pg_database WHERE datname = current_database()");
    let file = db.cluster().data_dir().join(format!("agent_backup/.audit_pending/{oid}-0000000000000001-1-0.json"));
    fs::write(&file, "[{").unwrap();
    db.run("SELECT agent_backup.create_set('x')");
    assert_eq!(told(&db), ["backup||none|failed|42704", "create_set||x|ok|"]);
    assert!(file.exists() && db.log().iter().any(|line| line.contains("cannot be read")));
    fs::remove_file(file).unwrap();
}

#[test]
fn on_a_standby_entries_wait_until_it_is_promoted() {
    let cluster = Cluster::start(Options::default().setting("wal_level = replica"));
    let db = cluster.database();
    with_set(&db);
    db.run("SELECT agent_backup.backup('s')");
    let standby = cluster.create_standby();
    let mut there = standby.client(db.name());
    there.batch_execute("SELECT agent_backup.diff('t', set_name => 's')").unwrap();
    fails(&mut there, "SELECT agent_backup.create_set('z')");
    assert_eq!(pending(&standby).len(), 2);
    there.batch_execute("SELECT pg_promote()").unwrap();
    there.batch_execute("SELECT agent_backup.create_set('x')").unwrap();
    assert_eq!(
        lines(&mut there, TOLD),
        ["backup||s|ok|", "diff|t|s|ok|", "create_set||z|failed|25006", "create_set||x|ok|"]
    );
    assert_eq!(lines(&mut there, CHAIN), ["chain|ok"]);
    assert_eq!(pending(&standby), [""; 0]);
}

#[test]
fn a_prepared_transaction_holds_nothing_up_and_its_act_is_told() {
    let cluster = Cluster::start(Options::default().setting("max_prepared_transactions = 2"));
    let db = cluster.database();
    with_set(&db);
    db.run("BEGIN; SELECT agent_backup.create_set('x'); PREPARE TRANSACTION 'p'");
    db.run("SET lock_timeout = '5s'; SELECT agent_backup.create_set('y')");
    assert_eq!(
        lines(
            &mut db.client(),
            "SELECT set_name, status, details -> 'prepared' FROM agent_backup.audit_log ORDER BY 1"
        ),
        ["x|ok|true", "y|ok|"]
    );
    db.run("COMMIT PREPARED 'p'");
    assert_eq!(lines(&mut db.client(), CHAIN), ["chain|ok"]);
}

#[test]
fn an_act_in_the_transaction_that_makes_or_drops_the_extension_is_no_error() {
    let db = database();
    let mut client = db.client();
    client.batch_execute("DROP EXTENSION agent_backup; BEGIN; CREATE EXTENSION agent_backup; SELECT agent_backup.create_set('x'); COMMIT").unwrap();
    assert_eq!(told(&db), ["create_set||x|ok|"]);
    client
        .batch_execute("BEGIN; SELECT agent_backup.create_set('y'); DROP EXTENSION agent_backup CASCADE; COMMIT")
        .unwrap();
    // It waits in its file until there is a log again.
    client.batch_execute("CREATE EXTENSION agent_backup; SELECT agent_backup.create_set('z')").unwrap();
    assert_eq!(told(&db), ["create_set||y|ok|", "create_set||z|ok|"]);
}

#[test]
fn names_in_an_encoding_that_has_few_letters_are_told() {
    let cluster = Cluster::start(Options::default().encoding("LATIN1"));
    let db = cluster.database();
    let mut client = db.client();
    fails(&mut client, "SELECT agent_backup.backup('fen\u{ea}tre')");
    client.batch_execute("SELECT agent_backup.create_set('fen\u{ea}tre')").unwrap();
    assert_eq!(told(&db), ["backup||fen\u{ea}tre|failed|42704", "create_set||fen\u{ea}tre|ok|"]);
    assert_eq!(lines(&mut client, CHAIN), ["chain|ok"]);
    drop(client);
    // A client whose name has letters that the database has not.
    let mut config = cluster.config("postgres", db.name());
    config
        .application_name("\u{65e5}\u{672c}")
        .connect(NoTls)
        .unwrap()
        .batch_execute("SELECT agent_backup.create_set('x')")
        .unwrap();
    assert_eq!(lines(&mut db.client(), CHAIN), ["chain|ok"]);
}

// Secrets (T79) --------------------------------------------------------------------------------------------------------

#[test]
fn no_value_of_a_row_a_key_or_a_filter_is_in_the_log() {
    let db = database();
    with_set(&db);
    db.run("SELECT agent_backup.backup('s'); SELECT agent_backup.track('t'); SELECT agent_backup.mark('m')");
    const CANARY: &str = "canary_4711";
    let mut client = db.client();
    for call in [
        "SELECT agent_backup.restore_record('t', 'canary_4711', set_name => 's')",
        "SELECT agent_backup.restore_record('t', '{\"id\": \"canary_4711\"}'::jsonb, set_name => 's')",
        "SELECT agent_backup.record_history('t', 'canary_4711')",
        "SELECT agent_backup.restore_table('t', set_name => 's', mode => 'merge', where_clause => 'note = ''canary_4711''', confirm => true)",
        "SELECT agent_backup.restore_table('t', set_name => 's', mode => 'merge', where_clause => 'id = ''canary_4711''', confirm => true)",
        "SELECT agent_backup.restore_table('t', set_name => 's', mode => 'merge', where_clause => 'canary_4711 = 1', confirm => true)",
        "SELECT agent_backup.restore_table('t', set_name => 's', mode => 'merge', where_clause => 'canary_4711 (', confirm => true)",
        "SELECT agent_backup.restore_plan('latest', set_name => 's', mode => 'canary_4711')",
        "SELECT agent_backup.add_table('agent_sdk', 't', row_filter => 'note <> ''canary_4711''', masked_columns => '{\"note\": \"''canary_4711''\"}')",
        "SELECT agent_backup.add_table('agent_sdk', 't', masked_columns => '{\"note\": \"''canary_4711'' ||\"}')",
        "SELECT agent_backup.create_set('z', 'canary_4711', formats => '{canary_4711}')",
        "SELECT agent_backup.pin((SELECT backup_id FROM agent_backup.backups LIMIT 1), 'canary_4711')",
        "SELECT agent_backup.undo('m', session_user_name => 'canary_4711', application_name => 'canary_4711', transaction => 'canary_4711')",
        "SELECT agent_backup.mark('n', 'canary_4711')",
        "SELECT agent_backup.schedule('s', daily => 'canary_4711')",
        "SELECT agent_backup.set_change_source('t', 'canary_4711', 's')",
        "INSERT INTO t VALUES (7, 'canary_4711'); SELECT agent_backup.backup('s'); CREATE TABLE u (id int, note int); SELECT agent_backup.read_backup(NULL::u, table_name => 't', set_name => 's')",
    ] {
        let outcome = client.batch_execute(call);
        if let Err(error) = outcome {
            assert!(error.as_db_error().is_some(), "{call}: {error:?}");
            client.batch_execute("ROLLBACK").unwrap();
        }
    }
    let found =
        lines(&mut client, &format!("SELECT l::text FROM agent_backup.audit_log l WHERE l::text LIKE '%{CANARY}%'"));
    assert_eq!(found, [""; 0]);
    assert!(one::<i64>(&mut client, "SELECT count(*) FROM agent_backup.audit_log") > 15);
}
