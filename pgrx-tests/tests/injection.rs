//! SQL injection through every text argument of every function (T76): a text is a name, a path, an option or one
//! expression, and never a statement.

use agent_backup_suite::{Database, database, lines, one, refused};
use postgres::types::ToSql;

const PAYLOADS: &[&str] = &[
    "'; DROP TABLE victim; --",
    "\"; DROP TABLE victim; --",
    "x'); DROP TABLE victim; --",
    "1); DROP TABLE victim; --",
    "true) UNION SELECT canary() --",
    "true) UNION ALL SELECT 1, canary()::text FROM (SELECT 1",
    "(SELECT canary())",
    "$$; SELECT canary(); $$",
    "$1",
    "%I %s %L %1$s",
    "\\'; SELECT canary(); --",
    "x\u{0}y",
    "victim; SELECT canary()",
    "victim\"; SELECT canary(); --",
    "public.victim\n; SELECT canary()",
    "{\"n\": \"canary()\"}",
    "/* */ canary() /*",
    "canary()",
    "E'\\x27; SELECT canary(); --",
    "agent_sdk' OR set_name <> '",
    "\u{2019}; SELECT canary(); --",
    "SELECT canary()",
    "\\copy victim to program 'true'",
];

const TABLES: &str = "
    CREATE TABLE victim AS SELECT n, 'row ' || n AS t FROM generate_series(1, 3) n;
    CREATE FUNCTION canary() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'the canary sings'; RETURN true; END $$;
    SELECT agent_backup.create_set('s');
    SELECT agent_backup.add_table('s', 'victim');";

fn with_tables() -> Database<'static> {
    let db = database();
    db.run(TABLES);
    db
}

/// Nothing ran, and everything is still there.
fn assert_unharmed(db: &Database) {
    let mut client = db.client();
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM victim"), 3);
    assert!(
        one::<i64>(&mut client, "SELECT count(*) FROM agent_backup.sets WHERE set_name IN ('s', 'agent_sdk')") == 2
    );
    let sang: Vec<String> = db.log().into_iter().filter(|line| line.contains("LOG:  the canary sings")).collect();
    assert!(sang.is_empty(), "{sang:?}");
}

/// Calls with the payload as a bound text; a refusal is as good as a success, unless the server took it for its own fault.
fn call(db: &Database, statement: &str, payload: &str) -> Option<String> {
    let argument: &(dyn ToSql + Sync) = &payload;
    let error = db.client().query(statement, &[argument]).err()?;
    let Some(refusal) = error.as_db_error() else { panic!("{statement} with {payload:?}: {error:?}") };
    let code = refusal.code().code();
    assert!(!code.starts_with("XX"), "{statement} with {payload:?}: {refusal:?}");
    Some(code.to_owned())
}

/// A NUL cannot travel in a text, so it stops at the protocol.
fn payloads() -> impl Iterator<Item = &'static str> {
    PAYLOADS.iter().copied().filter(|payload| !payload.contains('\0'))
}

#[test]
fn the_canary_sings_when_it_is_called() {
    let db = with_tables();
    db.run("SELECT canary()");
    assert!(db.log().iter().any(|line| line.contains("LOG:  the canary sings")));
}

#[test]
fn a_name_of_a_table_is_a_name() {
    let db = with_tables();
    for payload in payloads() {
        for statement in [
            "SELECT agent_backup.export_table($1)",
            "SELECT public.backup_agent_table_to_json($1)",
            "SELECT agent_backup.add_table('s', $1)",
        ] {
            assert_eq!(call(&db, statement, payload).as_deref(), Some("42P01"), "{statement}: {payload}");
        }
        for statement in
            ["SELECT agent_backup.remove_table('s', $1)", "SELECT agent_backup.backup('s', tables => ARRAY[$1])"]
        {
            assert_eq!(call(&db, statement, payload).as_deref(), Some("42704"), "{statement}: {payload}");
        }
    }
    assert_unharmed(&db);
}

#[test]
fn a_name_of_a_set_is_a_name() {
    let db = with_tables();
    for payload in payloads() {
        for statement in [
            "SELECT agent_backup.drop_set($1)",
            "SELECT agent_backup.add_table($1, 'victim')",
            "SELECT agent_backup.remove_table($1, 'victim')",
            "SELECT agent_backup.backup($1)",
        ] {
            assert_eq!(call(&db, statement, payload).as_deref(), Some("42704"), "{statement}: {payload}");
        }
        assert_eq!(call(&db, "SELECT agent_backup.create_set($1)", payload), None, "{payload}");
        assert_eq!(call(&db, "SELECT agent_backup.add_table($1, 'victim')", payload), None, "{payload}");
        assert_eq!(call(&db, "SELECT agent_backup.backup($1)", payload), None, "{payload}");
        assert_eq!(call(&db, "SELECT agent_backup.reconcile($1)", payload), None, "{payload}");
        assert_eq!(call(&db, "SELECT agent_backup.lock_key($1)", payload), None, "{payload}");
    }
    let made = payloads().count() as i64;
    assert_eq!(
        one::<i64>(&mut db.client(), "SELECT count(*) FROM agent_backup.backups WHERE status = 'complete'"),
        made
    );
    for payload in payloads() {
        assert_eq!(call(&db, "SELECT agent_backup.drop_set($1, confirm => true)", payload), None, "{payload}");
    }
    assert_unharmed(&db);
}

#[test]
fn an_option_is_one_of_its_values() {
    let db = with_tables();
    for payload in payloads() {
        for statement in [
            "SELECT agent_backup.create_set('new', formats => ARRAY[$1])",
            "SELECT agent_backup.create_set('new', compression => $1)",
            "SELECT agent_backup.add_table('agent_sdk', 'victim', formats => ARRAY[$1])",
            "SELECT agent_backup.add_table('agent_sdk', 'victim', excluded_columns => ARRAY[$1])",
            "SELECT agent_backup.add_table('agent_sdk', 'victim', masked_columns => jsonb_build_object($1::text, '1'))",
            "SELECT agent_backup.backup('s', kind => $1)",
            "SELECT agent_backup.backup('s', formats => ARRAY[$1])",
            "SELECT agent_backup.export_table('victim', $1)",
        ] {
            assert!(call(&db, statement, payload).is_some(), "{statement}: {payload}");
        }
    }
    assert_unharmed(&db);
    assert_eq!(one::<i64>(&mut db.client(), "SELECT count(*) FROM agent_backup.sets"), 2);
}

#[test]
fn a_description_is_only_text() {
    let db = with_tables();
    for (place, payload) in payloads().enumerate() {
        assert_eq!(call(&db, &format!("SELECT agent_backup.create_set('d{place}', description => $1)"), payload), None);
        let kept: String =
            one(&mut db.client(), &format!("SELECT description FROM agent_backup.sets WHERE set_name = 'd{place}'"));
        assert_eq!(kept, payload);
    }
    assert_unharmed(&db);
}

#[test]
fn a_destination_is_a_path() {
    let db = with_tables();
    for payload in payloads() {
        for statement in [
            "SELECT agent_backup.export_table('victim', 'csv', $1)",
            "SELECT public.backup_agent_table_to_json('victim', $1)",
        ] {
            let code = call(&db, statement, payload);
            // One payload is an absolute path, where the system refuses.
            assert!(
                [None, Some("22023"), Some("42501")].contains(&code.as_deref()),
                "{statement}: {payload}: {code:?}"
            );
        }
    }
    assert_unharmed(&db);
}

/// Texts that would be more than one expression once they stand in the SELECT.
const BREAKOUTS: &[&str] = &[
    "true) UNION SELECT 1, 'x' --",
    "true) UNION SELECT 1, 'x' WHERE (true",
    "1); DROP TABLE victim; --",
    "true); DROP TABLE victim; SELECT (1",
    "true) --",
    "true /*",
    "true; SELECT 1",
    "true ORDER BY n",
    "true LIMIT 1",
    "true FROM victim",
    "true AS t, true",
    "SELECT true; SELECT true",
    "true) FOR UPDATE --",
    "true) INTO planted --",
    "",
    " ",
    "-- nothing",
];

#[test]
fn a_filter_is_one_expression() {
    let db = with_tables();
    db.run("SELECT agent_backup.remove_table('s', 'victim')");
    for text in BREAKOUTS {
        let code = call(&db, "SELECT agent_backup.add_table('s', 'victim', row_filter => $1)", text);
        assert!(["42601", "22023"].contains(&code.clone().unwrap_or_default().as_str()), "{text:?}: {code:?}");
    }
    assert_unharmed(&db);
}

#[test]
fn a_mask_is_one_expression() {
    let db = with_tables();
    db.run("SELECT agent_backup.remove_table('s', 'victim')");
    for text in BREAKOUTS {
        let code = call(
            &db,
            "SELECT agent_backup.add_table('s', 'victim', masked_columns => jsonb_build_object('t', $1::text))",
            text,
        );
        assert!(["42601", "22023"].contains(&code.clone().unwrap_or_default().as_str()), "{text:?}: {code:?}");
    }
    assert_unharmed(&db);
}

#[test]
fn an_expression_that_was_put_into_the_catalogue_by_hand_is_checked_again() {
    let db = with_tables();
    for text in BREAKOUTS.iter().filter(|text| !text.is_empty()) {
        let quoted = text.replace('\'', "''");
        db.run(&format!(
            "UPDATE agent_backup.set_tables SET row_filter = '{quoted}', defined_by = 'postgres' WHERE set_name = 's'"
        ));
        assert_eq!(lines(&mut db.client(), "SELECT status FROM agent_backup.backup('s')"), ["failed"], "{text:?}");
    }
    assert_unharmed(&db);
}

#[test]
fn good_expressions_with_odd_text_in_them_are_taken() {
    let db = with_tables();
    for (filter, rows) in [
        ("t <> ')'", 3),
        ("t <> '; DROP TABLE victim; --'", 3),
        ("n > 1 -- the first is a test", 2),
        ("n IN (SELECT 1 UNION SELECT 2)", 2),
        ("EXISTS (SELECT FROM public.victim v WHERE v.n > victim.n)", 2),
        ("CASE WHEN n = 1 THEN false ELSE true END", 2),
    ] {
        db.run(&format!(
            "SELECT agent_backup.remove_table('s', 'victim'); SELECT agent_backup.add_table('s', 'victim', row_filter => $f${filter}$f$)"
        ));
        assert_eq!(one::<i64>(&mut db.client(), "SELECT row_count FROM agent_backup.backup('s')"), rows, "{filter}");
    }
}

#[test]
fn a_hint_with_a_hostile_name_in_it_is_safe_to_run() {
    let db = with_tables();
    let role = format!("{}_x\"; DROP TABLE victim; --", db.name());
    let quoted = role.replace('"', "\"\"");
    db.run(&format!("CREATE ROLE \"{quoted}\" LOGIN; CREATE TABLE \"ta\"\"b; DROP TABLE victim\" (n int)"));
    db.let_call(&format!("\"{quoted}\""));
    let refusal = refused(&mut db.client_as(&role), "SELECT agent_backup.backup('s')");
    let command = refusal.hint.split_once("run: ").unwrap().1.to_owned();
    db.run(&command);
    let refusal = refused(&mut db.client_as(&role), "SELECT agent_backup.export_table('ta\"b; DROP TABLE victim')");
    db.run(refusal.hint.split_once("run: ").unwrap().1);
    db.client_as(&role).batch_execute("SELECT agent_backup.export_table('ta\"b; DROP TABLE victim')").unwrap();
    db.run(&format!("DROP OWNED BY \"{quoted}\"; DROP ROLE \"{quoted}\""));
    assert_unharmed(&db);
}
