//! The ways in which people write a table's name, and what is said when there is none of it.

use agent_backup_suite::{Database, assert_no_trash, database, lines, one, refused};

/// Two tables that differ by case and underscore, as the demo application's do, and names that SQL folds.
const TABLES: &str = r#"
    CREATE TABLE agent_approvals AS SELECT 1 AS n;
    CREATE TABLE "AgentApproval" AS SELECT generate_series(1, 2) AS n;
    CREATE SCHEMA sales;
    CREATE TABLE sales.orders AS SELECT generate_series(1, 3) AS n;
    CREATE TABLE sales."Od d.Name" AS SELECT generate_series(1, 4) AS n;"#;

fn with_tables() -> Database<'static> {
    let db = database();
    db.run(TABLES);
    db
}

#[test]
fn every_form_of_the_seed_resolves() {
    let db = with_tables();
    let mut client = db.client();
    for (typed, rows) in [
        ("'agent_approvals'", 1),
        ("'AGENT_APPROVALS'", 1),
        ("'public.agent_approvals'", 1),
        ("'AgentApproval'", 2),
        (r#"'"AgentApproval"'"#, 2),
        ("'public.AgentApproval'", 2),
        (r#"'public."AgentApproval"'"#, 2),
        (r#"'"public"."AgentApproval"'"#, 2),
        (r#"'"AgentApproval"'::regclass::text"#, 2),
        ("'sales.orders'", 3),
        ("'Sales.Orders'", 3),
        ("'sales.orders'::regclass::text", 3),
        ("'sales.Od d.Name'", 4),
        (r#"'sales."Od d.Name"'"#, 4),
        (r#"' agent_approvals '"#, 1),
    ] {
        let query = format!("SELECT row_count FROM agent_backup.export_table({typed})");
        assert_eq!(one::<i64>(&mut client, &query), rows, "{typed}");
    }
    assert_no_trash(&db, &[]);
}

#[test]
fn a_regclass_itself_is_taken_without_a_cast() {
    let db = with_tables();
    let query = r#"SELECT row_count FROM agent_backup.export_table('"AgentApproval"'::regclass)"#;
    let result = db.client().query_one(query, &[]).map(|row| row.get::<_, i64>(0));
    assert_eq!(result.map_err(|error| format!("{error:?}")), Ok(2));
}

#[test]
fn the_search_path_is_followed() {
    let db = with_tables();
    let mut client = db.client();
    assert_eq!(refused(&mut client, "SELECT agent_backup.export_table('orders')").code, "42P01");
    client.batch_execute("SET search_path = sales").unwrap();
    assert_eq!(one::<i64>(&mut client, "SELECT row_count FROM agent_backup.export_table('orders')"), 3);
    client.batch_execute("SELECT agent_backup.create_set('s'); SELECT agent_backup.add_table('s', 'orders')").unwrap();
    assert_eq!(
        lines(&mut client, "SELECT schema_name, table_name FROM agent_backup.set_tables WHERE set_name = 's'"),
        ["sales|orders"]
    );
}

#[test]
fn an_exact_name_wins_over_the_folded_one() {
    let db = with_tables();
    db.run(r#"CREATE TABLE "Two" AS SELECT generate_series(1, 2) AS n; CREATE TABLE two AS SELECT 1 AS n"#);
    let mut client = db.client();
    assert_eq!(one::<i64>(&mut client, "SELECT row_count FROM agent_backup.export_table('Two')"), 2);
    assert_eq!(one::<i64>(&mut client, "SELECT row_count FROM agent_backup.export_table('two')"), 1);
    assert_eq!(one::<i64>(&mut client, "SELECT row_count FROM agent_backup.export_table('TWO')"), 1);
}

#[test]
fn a_mistyped_table_is_42p01_with_a_hint_that_names_near_ones() {
    let db = with_tables();
    let mut client = db.client();
    for (typed, meant) in [
        ("agent_aprovals", "agent_approvals"),
        ("agentapproval", "\"AgentApproval\""),
        ("AgentAproval", "\"AgentApproval\""),
        ("public.agent_approval", "agent_approvals"),
        ("sale.orders", "sales.orders"),
        ("order", "sales.orders"),
    ] {
        for call in ["agent_backup.export_table", "backup_agent_table_to_json"] {
            let refusal = refused(&mut client, &format!("SELECT {call}('{typed}')"));
            assert_eq!(refusal.code, "42P01", "{refusal:?}");
            assert_eq!(refusal.message, format!("table \"{typed}\" does not exist"));
            assert!(refusal.hint.starts_with("Did you mean ") && refusal.hint.contains(meant), "{typed}: {refusal:?}");
        }
    }
    assert_no_trash(&db, &[]);
}

#[test]
fn a_name_like_no_other_has_no_hint() {
    let refusal = refused(&mut with_tables().client(), "SELECT agent_backup.export_table('xyzzy')");
    assert_eq!((refusal.code.as_str(), refusal.hint.as_str()), ("42P01", ""));
}

#[test]
fn what_is_no_name_at_all_is_an_unknown_table() {
    let db = with_tables();
    let mut client = db.client();
    for typed in ["", ".", "a.b.c.d", "\"open", "public.", ".orders", "a b", "otherdb.public.agent_approvals", "12345"]
    {
        let refusal = refused(&mut client, &format!("SELECT agent_backup.export_table('{typed}')"));
        assert_eq!(refusal.code, "42P01", "{typed}: {refusal:?}");
    }
}

#[test]
fn a_mistyped_set_is_42704_with_a_hint() {
    let db = with_tables();
    let mut client = db.client();
    for call in [
        "backup('agent_skd')",
        "add_table('agent_skd', 'agent_approvals')",
        "remove_table('agent_skd', 'x')",
        "drop_set('agent_skd')",
    ] {
        // add_table and remove_table look at the table too: both are there.
        let refusal = refused(&mut client, &format!("SELECT agent_backup.{call}"));
        assert_eq!(refusal.code, "42704", "{call}: {refusal:?}");
        assert_eq!(refusal.message, "backup set \"agent_skd\" does not exist");
        assert_eq!(refusal.hint, "Did you mean agent_sdk?");
    }
}

#[test]
fn reconcile_of_a_set_that_never_was_makes_no_directory() {
    let db = with_tables();
    let rows = db.client().query("SELECT * FROM agent_backup.reconcile('never')", &[]);
    assert!(rows.map_or(true, |rows| rows.is_empty()));
    assert!(!db.backup_dir().join("never").exists());
}

#[test]
fn a_mistyped_member_of_a_backup_is_named() {
    let db = with_tables();
    let refusal = refused(&mut db.client(), "SELECT * FROM agent_backup.backup(tables => '{agent_aprovals}')");
    assert_eq!(refusal.code, "42704");
    assert!(refusal.hint.contains("agent_approvals"), "{refusal:?}");
    let refusal = refused(&mut db.client(), "SELECT * FROM agent_backup.backup(tables => '{sales.orders}')");
    assert_eq!(refusal.code, "42704");
    assert!(std::fs::read_dir(db.backup_dir()).unwrap().next().is_none(), "a refused backup wrote something");
}
