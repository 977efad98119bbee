//! Incrementals: every change since the last time is copied, however late it commits, and nothing that the set hides.

use agent_backup_suite::{
    archived, assert_no_trash, ids_in, incremental_of_s, incremental_with, lines, one, quiet_database, refused,
    rows_in, tombstones_in, with_set,
};

const T: &str = "CREATE TABLE t (id int PRIMARY KEY, note text)";

#[test]
fn the_schedule_of_the_seed_works_as_written() {
    let db = quiet_database();
    db.run("CREATE TABLE agent_approvals (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), reply text, created_at timestamptz DEFAULT now(), updated_at timestamptz);
        INSERT INTO agent_approvals (reply, created_at) VALUES ('old', now() - interval '1 day'), ('new', now()), ('changed', now() - interval '1 day');
        UPDATE agent_approvals SET updated_at = now() WHERE reply = 'changed';
        CREATE TABLE \"AgentFeedback\" AS SELECT n AS id FROM generate_series(1, 4) n");
    let call = "SELECT backup_agent_incremental(NOW() - INTERVAL '1 hour')";
    assert_eq!(lines(&mut db.client(), call), ["(agent_approvals,2)", "(AgentFeedback,4)"]);
    let replies = "SELECT data->>'reply' FROM agent_training_archive a JOIN agent_approvals p ON original_id = p.id::text AND original_table = 'agent_approvals' ORDER BY 1";
    assert_eq!(lines(&mut db.client(), replies), ["changed", "new"]);
    // What is younger than the argument is copied again; of the other table nothing tells its age.
    let again = "SELECT * FROM backup_agent_incremental(LOCALTIMESTAMP - INTERVAL '1 hour')";
    assert_eq!(lines(&mut db.client(), again), ["agent_approvals|2", "AgentFeedback|0"]);
    assert_eq!(
        lines(&mut db.client(), "SELECT * FROM backup_agent_incremental()"),
        ["agent_approvals|2", "AgentFeedback|0"]
    );
    let none = "SELECT * FROM backup_agent_incremental(since_timestamp => now() + INTERVAL '1 hour')";
    assert_eq!(lines(&mut db.client(), none), ["agent_approvals|0", "AgentFeedback|0"]);
    let row = db.client().query_one("SELECT * FROM backup_agent_incremental() LIMIT 1", &[]).unwrap();
    let columns: Vec<(&str, &str)> =
        row.columns().iter().map(|column| (column.name(), column.type_().name())).collect();
    assert_eq!(columns, [("table_name", "text"), ("rows_backed_up", "int8")]);
    assert_no_trash(&db, &[]);
}

#[test]
fn defect_7_a_row_that_commits_late_is_in_the_next_run() {
    let db = with_set(&format!("{T}; INSERT INTO t VALUES (1, 'a')"), &["t"]);
    assert_eq!(ids_in(&db, &incremental_of_s(&db)), [1]);
    let mut late = db.client();
    late.batch_execute("BEGIN; INSERT INTO t VALUES (2, 'late'); SAVEPOINT a; INSERT INTO t VALUES (3, 'in a subtransaction'); RELEASE a; SAVEPOINT b; INSERT INTO t VALUES (4, 'never')").unwrap();
    db.run("INSERT INTO t VALUES (5, 'b')");
    assert_eq!(ids_in(&db, &incremental_of_s(&db)), [5]);
    late.batch_execute("ROLLBACK TO b; COMMIT").unwrap();
    drop(late);
    let row = incremental_of_s(&db);
    assert!([vec![2, 3], vec![2, 3, 5]].contains(&ids_in(&db, &row)), "{row:?}");
    let row = incremental_of_s(&db);
    assert_eq!((row.rows, row.tombstones, row.file), (Some(0), Some(0), None));
    let lost = "SELECT count(*) FROM t WHERE NOT EXISTS (SELECT FROM agent_training_archive WHERE original_table = 't' AND original_id = t.id::text AND data = to_jsonb(t))";
    assert_eq!(one::<i64>(&mut db.client(), lost), 0);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_prepared_transaction_is_in_the_run_after_its_commit() {
    let cluster = agent_backup_suite::Cluster::start(
        agent_backup_suite::Options::default().setting("max_prepared_transactions = 2"),
    );
    let db = cluster.database();
    db.run("CREATE TABLE t (id int PRIMARY KEY, created_at timestamptz DEFAULT now()); SELECT agent_backup.create_set('s'); SELECT agent_backup.add_table('s', 't')");
    for source in ["snapshot", "timestamp"] {
        db.run(&format!("SELECT agent_backup.set_change_source('t', '{source}', 's')"));
        incremental_of_s(&db);
        db.run("BEGIN; INSERT INTO t SELECT coalesce(max(id), 0) + 1 FROM t; PREPARE TRANSACTION 'late'");
        incremental_of_s(&db);
        incremental_of_s(&db);
        db.run("COMMIT PREPARED 'late'");
        let row = incremental_of_s(&db);
        assert!(row.rows >= Some(1), "{row:?}");
    }
    assert_no_trash(&db, &[]);
}

#[test]
fn skipped_runs_and_rows_without_a_time_are_made_up_for() {
    let db = with_set(
        "CREATE TABLE t (id int PRIMARY KEY, updated_at timestamptz); INSERT INTO t SELECT n FROM generate_series(1, 3) n",
        &["t"],
    );
    assert_eq!(incremental_of_s(&db).details, "first run: all rows");
    // As if the next run came a day late.
    db.run("INSERT INTO t VALUES (4, now() - interval '1 day'), (5, NULL); UPDATE t SET updated_at = '2001-01-01' WHERE id = 1");
    let row = incremental_of_s(&db);
    assert_eq!((row.source.as_deref(), ids_in(&db, &row)), (Some("snapshot"), vec![1, 4, 5]));
    assert_no_trash(&db, &[]);
}

#[test]
fn the_argument_widens_and_never_narrows() {
    let db = with_set(
        "CREATE TABLE t (id int PRIMARY KEY, created_at timestamptz); INSERT INTO t VALUES (1, now() - interval '3 hours'), (2, now() - interval '1 hour'), (3, NULL)",
        &["t"],
    );
    let run =
        |since: &str| ids_in(&db, &incremental_with(&mut db.client(), &format!("'s', now() - interval '{since}'"))[0]);
    // A first run is told where to begin; what has no time is in it.
    assert_eq!(run("2 hours"), [2, 3]);
    db.run("INSERT INTO t VALUES (4, '2001-01-01')");
    assert_eq!(run("-1 hour"), [4]);
    assert_eq!(run("4 hours"), [1, 2]);
    assert_no_trash(&db, &[]);
}

#[test]
fn deletes_are_told_by_the_newest_backup() {
    let db = with_set(
        "CREATE TABLE t (a int, b text, note text, PRIMARY KEY (b, a)); INSERT INTO t SELECT n, 'x,' || n FROM generate_series(1, 5) n",
        &["t"],
    );
    let row = &incremental_with(&mut db.client(), "'s', with_deletes => true")[0];
    assert!(
        row.details.contains("deleted rows were not looked for: backup set \"s\" has no complete backup"),
        "{row:?}"
    );
    db.run("SELECT agent_backup.backup('s'); DELETE FROM t WHERE a IN (2, 4)");
    assert_eq!(incremental_of_s(&db).file, None);
    let row = &incremental_with(&mut db.client(), "'s', with_deletes => true")[0];
    assert_eq!((row.rows, row.tombstones), (Some(0), Some(2)));
    assert_eq!(tombstones_in(&db, row.file.as_deref().unwrap()), ["\"x,2\",2", "\"x,4\",4"]);
    assert_no_trash(&db, &[]);
}

#[test]
fn names_of_any_kind_and_keys_of_several_columns() {
    let db = with_set(
        r#"CREATE SCHEMA "My S"; CREATE TABLE "My S"."Odd ""Name" ("Key" int, b text, PRIMARY KEY (b, "Key")); INSERT INTO "My S"."Odd ""Name" VALUES (1, 'a,b'), (2, 'c');
           CREATE TABLE "AgentQuery" (id bigint PRIMARY KEY); INSERT INTO "AgentQuery" VALUES (7);
           CREATE TABLE keyless (note text); INSERT INTO keyless VALUES ('x')"#,
        &[r#""My S"."Odd ""Name""#, "AgentQuery", "keyless"],
    );
    let rows = incremental_with(&mut db.client(), "'s'");
    let named: Vec<(&str, bool)> = rows
        .iter()
        .zip([r#"My%20S.Odd%20%22Name_inc_"#, "AgentQuery_inc_", "keyless_inc_"])
        .map(|(row, start)| (row.table.as_str(), row.file.as_ref().unwrap().starts_with(start)))
        .collect();
    assert_eq!(named, [(r#""My S"."Odd ""Name""#, true), (r#""AgentQuery""#, true), ("keyless", true)]);
    let expected = [
        r#"AgentQuery|7|{"id": 7}"#,
        r#"My S.Odd "Name|"a,b",1|{"b": "a,b", "Key": 1}"#,
        r#"My S.Odd "Name|c,2|{"b": "c", "Key": 2}"#,
        r#"keyless||{"note": "x"}"#,
    ];
    let mut found = archived(&db);
    found.sort();
    assert_eq!(found, expected);
    assert_no_trash(&db, &[]);
}

#[test]
fn what_the_set_hides_reaches_neither_archive_nor_file() {
    let db = quiet_database();
    db.run("CREATE TABLE t (id int PRIMARY KEY, email text, secret text, draft boolean); INSERT INTO t VALUES (1, 'a@b', 'x', false), (2, 'c@d', 'y', true);
        SELECT agent_backup.create_set('s');
        SELECT agent_backup.add_table('s', 't', row_filter => 'NOT draft', excluded_columns => '{secret}', masked_columns => '{\"email\": \"''***''\"}')");
    let row = incremental_of_s(&db);
    let expected = r#"{"id":1,"email":"***","draft":false}"#;
    assert_eq!(rows_in(&db, "s", row.file.as_deref().unwrap()), [expected]);
    assert_eq!(archived(&db), [r#"t|1|{"id": 1, "draft": false, "email": "***"}"#]);
    db.run("UPDATE t SET draft = NOT draft");
    assert_eq!(ids_in(&db, &incremental_of_s(&db)), [2]);
    db.run("SELECT agent_backup.track('t', baseline => false); SELECT agent_backup.incremental('s'); UPDATE t SET secret = 'z', draft = NOT draft");
    let row = incremental_of_s(&db);
    assert_eq!((row.source.as_deref(), ids_in(&db, &row)), (Some("capture"), vec![1]));
    assert_eq!(rows_in(&db, "s", row.file.as_deref().unwrap()), [expected]);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_member_that_is_added_anew_begins_anew() {
    let db =
        with_set("CREATE TABLE t (id int PRIMARY KEY, draft boolean); INSERT INTO t VALUES (1, false), (2, true)", &[]);
    for (filter, expected) in [("NOT draft", vec![1]), ("true", vec![1, 2])] {
        db.run(&format!("SELECT agent_backup.add_table('s', 't', row_filter => '{filter}')"));
        assert_eq!(ids_in(&db, &incremental_of_s(&db)), expected, "{filter}");
        assert_eq!(incremental_of_s(&db).file, None);
        db.run("SELECT agent_backup.remove_table('s', 't')");
    }
    db.run("SELECT agent_backup.add_table('s', 'agent_backup.archive_rows')");
    assert_eq!(incremental_with(&mut db.client(), "'s'")[0].status, "absent");
    assert_no_trash(&db, &[]);
}

#[test]
fn a_table_that_fails_costs_itself_and_keeps_its_watermark() {
    let db = with_set(&format!("{T}; CREATE TABLE u (id int PRIMARY KEY); INSERT INTO t VALUES (1, 'a')"), &["t", "u"]);
    incremental_with(&mut db.client(), "'s'");
    db.run("INSERT INTO t VALUES (2, 'b'); INSERT INTO u VALUES (1); ALTER TABLE agent_backup.archive_rows ADD CONSTRAINT not_t CHECK (original_table <> 't') NOT VALID");
    let rows = incremental_with(&mut db.client(), "'s'");
    let told: Vec<_> = rows.iter().map(|row| (row.status.as_str(), row.rows, row.file.is_some())).collect();
    assert_eq!(told, [("failed", None, false), ("ok", Some(1), true)]);
    assert!(rows[0].details.contains("not_t"), "{rows:?}");
    assert!(!archived(&db).iter().any(|row| row.starts_with("t|2")));
    db.run("ALTER TABLE agent_backup.archive_rows DROP CONSTRAINT not_t");
    let rows = incremental_with(&mut db.client(), "'s'");
    assert_eq!((ids_in(&db, &rows[0]), rows[1].rows), (vec![2], Some(0)));
    assert_no_trash(&db, &["rows of table \"t\" cannot be archived"]);
}

#[test]
fn a_run_that_is_rolled_back_is_made_again() {
    let db = with_set(&format!("{T}; INSERT INTO t VALUES (1, 'a')"), &["t"]);
    let mut client = db.client();
    client.batch_execute("BEGIN").unwrap();
    let first = incremental_with(&mut client, "'s'").remove(0);
    client.batch_execute("ROLLBACK").unwrap();
    drop(client);
    assert!(archived(&db).is_empty());
    let again = incremental_of_s(&db);
    assert_eq!((ids_in(&db, &first), ids_in(&db, &again)), (vec![1], vec![1]));
    assert_ne!(first.file, again.file);
    assert_eq!(archived(&db).len(), 1);
    for step in ["snapshot", "scan", "archived", "publish", "publish_manifest"] {
        db.run("INSERT INTO t SELECT max(id) + 1, 'x' FROM t");
        let mut client = db.client();
        client
            .batch_execute(&format!(
                "SELECT agent_backup.lock_key('x'); SET agent_backup.debug_failpoint = '{step}=error'"
            ))
            .unwrap();
        let failed = client.query("SELECT status FROM agent_backup.incremental('s')", &[]);
        assert!(failed.is_err() || failed.unwrap()[0].get::<_, String>(0) == "failed", "{step}");
    }
    assert_eq!(ids_in(&db, &incremental_of_s(&db)), [2, 3, 4, 5, 6]);
    assert_eq!(archived(&db).len(), 6);
    assert_no_trash(&db, &["was made to fail"]);
}

#[test]
fn rights_are_those_of_a_backup() {
    let db = with_set(&format!("{T}; INSERT INTO t VALUES (1, 'a')"), &["t"]);
    let (nobody, operator) = (format!("{}_nobody", db.name()), format!("{}_op", db.name()));
    db.run(&format!(
        "CREATE ROLE {nobody} LOGIN; CREATE ROLE {operator} LOGIN; GRANT agent_backup_operator TO {operator}"
    ));
    db.let_call(&nobody);
    for call in [
        "agent_backup.incremental('s')",
        "backup_agent_incremental()",
        "agent_backup.expire_incrementals('s')",
        "agent_backup.set_change_source('t', NULL, 's')",
    ] {
        let refusal = refused(&mut db.client_as(&nobody), &format!("SELECT {call}"));
        assert_eq!(refusal.code, "42501", "{call}: {refusal:?}");
    }
    let rows = incremental_with(&mut db.client_as(&operator), "'s'");
    assert_eq!((rows[0].status.as_str(), rows[0].details.as_str()), ("failed", "permission denied for table \"t\""));
    db.run(&format!("GRANT SELECT ON t TO {operator}"));
    assert_eq!(incremental_with(&mut db.client_as(&operator), "'s'")[0].rows, Some(1));
    let mut client = db.client_as(&operator);
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM agent_backup.tracked_tables WHERE set_name = 's'"), 1);
    drop(client);
    db.run(&format!("DROP OWNED BY {nobody}, {operator}; DROP ROLE {nobody}, {operator}"));
    assert_no_trash(&db, &["permission denied for table \"t\""]);
}

#[test]
fn an_archive_of_somebody_gets_no_rows_that_they_may_not_read() {
    let db = quiet_database();
    let mallory = format!("{}_mallory", db.name());
    db.run(&format!("DROP EXTENSION agent_backup; CREATE ROLE {mallory}; GRANT CREATE ON SCHEMA public TO {mallory}; SET ROLE {mallory};
        CREATE TABLE agent_training_archive (original_table text, original_id text NOT NULL, data json, archive_reason text, archived_at timestamp DEFAULT now());
        CREATE TABLE canary (ran_as text);
        CREATE FUNCTION sing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.canary VALUES (current_user); RETURN NEW; END $$;
        CREATE TRIGGER sing BEFORE INSERT ON agent_training_archive FOR EACH ROW EXECUTE FUNCTION sing();
        RESET ROLE; CREATE EXTENSION agent_backup; {T}; INSERT INTO t VALUES (1, 'a'); CREATE TABLE keyless AS SELECT 1 AS n;
        SELECT agent_backup.create_set('s'); SELECT agent_backup.add_table('s', 't'); SELECT agent_backup.add_table('s', 'keyless')"));
    let rows = incremental_with(&mut db.client(), "'s'");
    assert!(rows[0].status == "failed" && rows[0].details.contains("may not read"), "{rows:?}");
    db.run(&format!("GRANT SELECT ON t, keyless TO {mallory}"));
    assert_eq!(incremental_with(&mut db.client(), "'s'")[0].status, "ok");
    assert_eq!(lines(&mut db.client(), "SELECT DISTINCT ran_as FROM canary"), [mallory.as_str()]);
    assert_eq!(
        lines(&mut db.client(), "SELECT original_table, original_id, data FROM agent_training_archive ORDER BY 1"),
        ["keyless||{\"n\":1}", "t|1|{\"id\":1,\"note\":\"a\"}"]
    );
    db.run(&format!("DROP EXTENSION agent_backup CASCADE; DROP OWNED BY {mallory} CASCADE; DROP ROLE {mallory}"));
    assert_no_trash(&db, &["may not read"]);
}

#[test]
fn a_set_with_the_archive_in_it_does_not_copy_the_archive_into_itself() {
    let db = quiet_database();
    db.run("DROP EXTENSION agent_backup; CREATE TABLE agent_training_archive (original_table text, original_id text, data jsonb, archive_reason text, archived_at timestamptz DEFAULT now());
        CREATE EXTENSION agent_backup; INSERT INTO agent_training_archive VALUES ('t', '1', '{}', 'x')");
    let rows = incremental_with(&mut db.client(), "");
    let of_archive = rows.iter().find(|row| row.table == "agent_training_archive").unwrap();
    assert_eq!((of_archive.status.as_str(), of_archive.details.contains("the archive itself")), ("absent", true));
    assert_eq!(one::<i64>(&mut db.client(), "SELECT count(*) FROM agent_training_archive"), 1);
    assert_no_trash(&db, &[]);
}

#[test]
fn neither_reconcile_nor_verify_nor_the_next_backup_minds_incrementals() {
    let db = with_set(&format!("{T}; INSERT INTO t VALUES (1, 'a')"), &["t"]);
    db.run("SELECT agent_backup.incremental('s'); SELECT agent_backup.backup('s')");
    assert!(lines(&mut db.client(), "SELECT * FROM agent_backup.reconcile('s')").is_empty());
    let bad = "SELECT * FROM agent_backup.verify(set_name => 's') WHERE status <> 'ok'";
    assert!(lines(&mut db.client(), bad).is_empty());
    // They can be made while a backup of the set runs, and not twice at once.
    let mut client = db.client();
    client.batch_execute("BEGIN; SELECT agent_backup.backup('s')").unwrap();
    db.run("SELECT agent_backup.incremental('s')");
    client.batch_execute("COMMIT; BEGIN; SELECT agent_backup.incremental('s')").unwrap();
    let refusal = refused(&mut db.client(), "SELECT agent_backup.incremental('s')");
    assert_eq!((refusal.code.as_str(), refusal.message.as_str()), ("55P03", "backup set \"s\" is busy"));
    client.batch_execute("COMMIT").unwrap();
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn all_tables_are_of_one_snapshot_in_any_isolation() {
    let db = with_set("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)", &["a", "b"]);
    for begin in [
        "BEGIN",
        "BEGIN ISOLATION LEVEL REPEATABLE READ",
        "BEGIN; INSERT INTO a SELECT coalesce(max(id), 0) + 1 FROM a",
    ] {
        let mut client = db.client();
        client.batch_execute(begin).unwrap();
        let rows = incremental_with(&mut client, "'s'");
        assert!(rows.iter().all(|row| row.status == "ok"), "{begin}: {rows:?}");
        client.batch_execute("COMMIT").unwrap();
    }
    // What the transaction wrote itself before is in its own run, or in the next.
    incremental_with(&mut db.client(), "'s'");
    assert!(archived(&db).iter().any(|row| row.starts_with("a|1|")));
    let mut client = db.client();
    client.batch_execute("BEGIN READ ONLY").unwrap();
    assert_eq!(refused(&mut client, "SELECT agent_backup.incremental('s')").code, "25006");
    assert_no_trash(&db, &[]);
}
