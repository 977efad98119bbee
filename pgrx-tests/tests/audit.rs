//! The log of acts: who did what, whatever became of it (T80), and nothing secret in it (T79).

mod audited;

use std::time::Duration;

use agent_backup_suite::{
    Signal, assert_no_trash, begun, database, kill_backend, lines, one, sqlstate, wait_for_pause, wait_until,
};
use audited::{CHAIN, fails, told, with_set};

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
