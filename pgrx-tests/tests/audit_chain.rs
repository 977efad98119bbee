//! The chain of the log of acts: nobody changes it, and what was changed is named (T80).

mod audited;

use agent_backup_suite::{Database, database, lines, one, refused};
use audited::{CHAIN, forget, told, unguarded, with_set};

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
