//! `verify_backup`: two tables, or a table and a backup of it, compared for real.

use agent_backup_suite::{Cluster, Database, Options, assert_no_trash, database, lines, one, refused};

fn with_tables() -> Database<'static> {
    let db = database();
    db.run(
        "CREATE TABLE agent_approvals (id int PRIMARY KEY, reply text, score numeric);
         INSERT INTO agent_approvals SELECT n, 'reply ' || n, n / 4.0 FROM generate_series(1, 500) n;
         CREATE TABLE approvals_copy AS TABLE agent_approvals; SELECT agent_backup.backup()",
    );
    db
}

#[track_caller]
fn verdict(db: &Database, one: &str, other: &str) -> String {
    let query =
        format!("SELECT verification_status, row_count_match, checksum_match FROM verify_backup('{one}', '{other}')");
    lines(&mut db.client(), &query).remove(0)
}

fn detail(db: &Database, one_side: &str, other: &str, path: &str) -> String {
    one(&mut db.client(), &format!("SELECT details #>> '{path}' FROM verify_backup('{one_side}', '{other}')"))
}

#[test]
fn the_result_has_the_columns_of_the_seed_in_their_order() {
    let db = with_tables();
    let row = db.client().query_one("SELECT * FROM verify_backup('approvals_copy', 'agent_approvals')", &[]).unwrap();
    let columns: Vec<_> = row.columns().iter().map(|column| (column.name(), column.type_().name())).collect();
    assert_eq!(
        columns,
        [
            ("verification_status", "text"),
            ("row_count_match", "bool"),
            ("checksum_match", "bool"),
            ("details", "jsonb")
        ]
    );
    for (name, value) in [("original_rows", "500"), ("backup_rows", "500"), ("difference", "0")] {
        assert_eq!(detail(&db, "approvals_copy", "agent_approvals", &format!("{{{name}}}")), value);
    }
}

#[test]
fn equal_rows_verify_wherever_they_lie() {
    let db = with_tables();
    db.run("CREATE TABLE turned (score numeric, id bigint, reply text); INSERT INTO turned SELECT score, id, reply FROM agent_approvals ORDER BY md5(reply)");
    let id: String = one(&mut db.client(), "SELECT backup_id FROM agent_backup.backups");
    let path: String = one(&mut db.client(), "SELECT backup_file FROM agent_backup.backups");
    for backup in [
        "approvals_copy",
        "turned",
        "latest",
        "latest:agent_approvals",
        &id,
        &format!("{id}:agent_approvals"),
        &format!("{path}:agent_approvals"),
        &path,
    ] {
        assert_eq!(verdict(&db, backup, "agent_approvals"), "VERIFIED|t|t", "{backup}");
        assert_eq!(verdict(&db, "public.agent_approvals", backup), "VERIFIED|t|t", "{backup}");
    }
    assert_eq!(verdict(&db, "latest:agent_approvals", &id), "VERIFIED|t|t");
    assert_no_trash(&db, &[]);
}

#[test]
fn the_checksum_is_no_constant() {
    let db = with_tables();
    // Defect 8 of the seed: as many rows, the same ids, and another text.
    db.run("UPDATE approvals_copy SET reply = 'forged' WHERE id IN (3, 4)");
    assert_eq!(verdict(&db, "approvals_copy", "agent_approvals"), "MISMATCH|t|f");
    assert_eq!(
        detail(&db, "approvals_copy", "agent_approvals", "{changed}"),
        r#"{"keys": [{"id": 3}, {"id": 4}], "rows": 2}"#
    );
    let of = |path: &str| detail(&db, "approvals_copy", "agent_approvals", path);
    assert_ne!(of("{backup_digest}"), of("{original_digest}"));
    assert!(of("{digest_algorithm}").starts_with("md5 of each row"), "{}", of("{digest_algorithm}"));
    let saved =
        "SELECT checksum FROM agent_backup.backup_files WHERE table_name = 'agent_approvals' AND format = 'csv'";
    assert_eq!(one::<String>(&mut db.client(), saved), of("{original_digest}"));
}

#[test]
fn missing_extra_and_changed_rows_are_counted_and_twenty_named() {
    let db = with_tables();
    db.run(
        "DELETE FROM agent_approvals WHERE id <= 30; INSERT INTO agent_approvals SELECT n, 'new', 0 FROM generate_series(1001, 1002) n;
         UPDATE agent_approvals SET score = -1 WHERE id = 77",
    );
    for backup in ["approvals_copy", "latest"] {
        assert_eq!(verdict(&db, backup, "agent_approvals"), "MISMATCH|f|f");
        let of = |path: &str| detail(&db, backup, "agent_approvals", path);
        assert_eq!([of("{missing,rows}"), of("{extra,rows}"), of("{changed,rows}")], ["30", "2", "1"]);
        assert_eq!(of("{difference}"), "28");
        assert_eq!(of("{changed,keys}"), r#"[{"id": 77}]"#);
        let named: i32 = one(
            &mut db.client(),
            &format!(
                "SELECT jsonb_array_length(details #> '{{missing,keys}}') FROM verify_backup('{backup}', 'agent_approvals')"
            ),
        );
        assert_eq!(named, 20);
    }
}

#[test]
fn columns_that_differ_are_told_and_the_others_compared() {
    let db = with_tables();
    db.run("ALTER TABLE approvals_copy DROP COLUMN score, ADD COLUMN note text DEFAULT 'n', ALTER id TYPE text");
    assert_eq!(verdict(&db, "approvals_copy", "agent_approvals"), "VERIFIED|t|t");
    let columns = detail(&db, "approvals_copy", "agent_approvals", "{columns_differ}");
    assert_eq!(
        columns,
        r#"[{"note": "compared as text", "backup": "text", "column": "id", "original": "integer"}, {"note": "on one side only", "backup": null, "column": "score", "original": "numeric"}, {"note": "on one side only", "backup": "text", "column": "note", "original": null}]"#
    );
    db.run("CREATE TABLE strange AS SELECT n AS x FROM generate_series(1, 500) n");
    assert_eq!(verdict(&db, "strange", "agent_approvals"), "MISMATCH|t|f", "no column in common proves nothing");
}

#[test]
fn a_key_of_many_digits_is_not_rounded() {
    let db = database();
    db.run(
        "CREATE TABLE a (id numeric PRIMARY KEY); CREATE TABLE b (LIKE a INCLUDING ALL); INSERT INTO a VALUES (123456789012345678901234567890.125); INSERT INTO b VALUES (1)",
    );
    assert_eq!(detail(&db, "a", "b", "{missing,keys}"), r#"[{"id": 123456789012345678901234567890.125}]"#);
}

#[test]
fn regclass_and_any_form_of_a_name_will_do() {
    let db = with_tables();
    db.run(r#"CREATE TABLE "AgentApproval" AS TABLE agent_approvals"#);
    for call in [
        "'AgentApproval', 'agent_approvals'",
        r#"'public."AgentApproval"', 'public.agent_approvals'"#,
        r#"'"AgentApproval"'::regclass, 'agent_approvals'::regclass"#,
        "'latest', 'agent_approvals'::regclass",
        "backup_table => 'latest:agent_approvals', original_table => 'agent_approvals'",
    ] {
        let status: String = one(&mut db.client(), &format!("SELECT verification_status FROM verify_backup({call})"));
        assert_eq!(status, "VERIFIED", "{call}");
    }
}

#[test]
fn a_table_does_not_take_the_place_of_a_backup_by_its_name() {
    let db = with_tables();
    let id: String = one(&mut db.client(), "SELECT backup_id FROM agent_backup.backups");
    db.run(&format!(
        r#"CREATE TABLE latest AS TABLE agent_approvals; CREATE TABLE "latest:agent_approvals" AS TABLE agent_approvals;
           CREATE TABLE "{id}" AS TABLE agent_approvals; CREATE TABLE "{id}:agent_approvals" AS TABLE agent_approvals; DELETE FROM agent_approvals;
           DELETE FROM latest; DELETE FROM "latest:agent_approvals"; DELETE FROM "{id}"; DELETE FROM "{id}:agent_approvals""#
    ));
    for name in ["latest", "latest:agent_approvals", &id, &format!("{id}:agent_approvals")] {
        assert_eq!(verdict(&db, name, "agent_approvals"), "MISMATCH|f|f", "{name}");
    }
}

#[test]
fn what_is_not_there_is_refused_with_near_names() {
    let db = with_tables();
    let mut client = db.client();
    for (arguments, code, message, hint) in [
        ("'aproval_copy', 'agent_approvals'", "42P01", "table \"aproval_copy\" does not exist", "approvals_copy"),
        ("'approvals_copy', 'agent_aprovals'", "42P01", "table \"agent_aprovals\" does not exist", "agent_approvals"),
        ("'nothing', 'neither'", "42P01", "table \"nothing\" does not exist", ""),
        ("'latest:agent_aprovals', 'agent_approvals'", "42704", "holds no table \"agent_aprovals\"", "agent_approvals"),
        (
            "'nowhere.tar.gz:agent_approvals', 'agent_approvals'",
            "42704",
            "backup \"nowhere.tar.gz\" does not exist",
            "",
        ),
        ("'latest', 'latest'", "22023", "it names no table of the backup", ""),
        ("NULL::text, 'agent_approvals'", "22004", "argument \"backup_table\" must not be null", ""),
        ("'agent_approvals', NULL::text", "22004", "argument \"original_table\" must not be null", ""),
        ("'agent_approvals', 'approvals_copy', NULL", "22004", "argument \"set_name\" must not be null", ""),
        ("'agent_approvals', 'pg_class'", "42809", "a system catalog", ""),
    ] {
        let refusal = refused(&mut client, &format!("SELECT verify_backup({arguments})"));
        assert_eq!(refusal.code, code, "{arguments}: {refusal:?}");
        assert!(refusal.message.contains(message) && refusal.hint.contains(hint), "{arguments}: {refusal:?}");
    }
    assert_no_trash(&db, &[]);
}

#[test]
fn it_asks_for_the_rights_on_both() {
    let db = with_tables();
    let role = format!("{}_reader", db.name());
    db.run(&format!("CREATE ROLE {role} LOGIN; GRANT SELECT ON agent_approvals TO {role}"));
    db.let_call(&role);
    let mut client = db.client_as(&role);
    let refusal = refused(&mut client, "SELECT verify_backup('approvals_copy', 'agent_approvals')");
    assert_eq!(refusal.message, "permission denied for table \"approvals_copy\"");
    let refusal = refused(&mut client, "SELECT verify_backup('latest', 'agent_approvals')");
    assert!(refusal.code == "42501" && refusal.message.contains("permission denied to read backup"), "{refusal:?}");
    db.run(&format!("GRANT SELECT ON approvals_copy TO {role}"));
    assert_eq!(
        one::<String>(
            &mut client,
            "SELECT verification_status FROM verify_backup('approvals_copy', 'agent_approvals')"
        ),
        "VERIFIED"
    );
    drop(client);
    db.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn texts_come_back_in_the_encoding_of_the_database() {
    for (encoding, inserted) in
        [("LATIN1", r"E'caf\351 \\'"), ("EUC_JP", r"E'\306\374\313\334'"), ("SQL_ASCII", r"E'\351\377x'")]
    {
        let cluster = Cluster::start(Options::default().encoding(encoding));
        let db = cluster.database();
        let script = format!(
            r#"\set ON_ERROR_STOP 1
            SET client_encoding = '{encoding}';
            CREATE TABLE t (id int PRIMARY KEY, s text, a text[]);
            INSERT INTO t SELECT n, {inserted} || n, ARRAY[{inserted}] FROM generate_series(1, 100) n;
            SELECT agent_backup.create_set('s'); SELECT agent_backup.add_table('s', 't'); SELECT agent_backup.backup('s');
            CREATE TABLE again AS SELECT * FROM agent_backup.read_backup(NULL::t, set_name => 's');
            SELECT 'same: ' || count(*) FROM t JOIN again USING (id) WHERE (t.s, t.a) = (again.s, again.a);
            SELECT 'differ: ' || count(*) FROM agent_backup.diff('t', set_name => 's');
            SELECT 'verdict: ' || verification_status FROM verify_backup('latest:t', 'again', 's');
            UPDATE t SET a = NULL WHERE id = 5;"#
        );
        let output = db.psql(&script);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{encoding}: {}", String::from_utf8_lossy(&output.stderr));
        for part in ["same: 100", "differ: 0", "verdict: VERIFIED"] {
            assert!(said.contains(part), "{encoding}: {said}");
        }
        // jsonb of a SQL_ASCII database holds any bytes, too.
        let shown = db.psql(&format!(
            "SET client_encoding = '{encoding}'; SELECT 'shown: ' || (backup_row ->> 's' = {inserted} || '5') FROM agent_backup.diff('t', set_name => 's')"
        ));
        let said = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(said.contains("shown: true"), "{encoding}: {said} {}", String::from_utf8_lossy(&shown.stderr));
    }
}
