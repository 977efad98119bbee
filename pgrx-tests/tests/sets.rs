//! create_set, drop_set, add_table, remove_table: what they keep, what they refuse, and that a backup obeys it.

use agent_backup_suite::{Database, assert_no_trash, database, entries, entry, lines, one, refused};

const TABLES: &str = "
    CREATE TABLE invoices (id int PRIMARY KEY, iban text, draft boolean NOT NULL, note text);
    INSERT INTO invoices VALUES (1, 'DE0212', false, 'a'), (2, 'DE0299', true, 'b'), (3, NULL, false, NULL);
    CREATE TABLE customers AS SELECT n AS id, 'c' || n AS name FROM generate_series(1, 4) n;
    SELECT agent_backup.create_set('billing');";

fn with_tables() -> Database<'static> {
    let db = database();
    db.run(TABLES);
    db
}

/// Backs up and gives back the path of the container.
fn back_up(db: &Database, set: &str) -> String {
    one(
        &mut db.client(),
        &format!("SELECT max(backup_file) FROM agent_backup.backup('{set}') HAVING bool_and(status = 'ok')"),
    )
}

#[test]
fn the_set_of_the_seed_exists_at_once() {
    let members = lines(
        &mut database().client(),
        "SELECT schema_name, table_name FROM agent_backup.set_tables WHERE set_name = 'agent_sdk' ORDER BY ordinal",
    );
    let expected = [
        "agent_approvals",
        "AgentApproval",
        "AgentFeedback",
        "AgentQuery",
        "agent_sdk_learning_data",
        "agent_sdk_notifications",
        "agent_training_archive",
        "data_quality_log",
    ];
    assert_eq!(members, expected.map(|table| format!("public|{table}")));
}

#[test]
fn create_set_has_the_defaults_that_the_issue_names() {
    let db = with_tables();
    let kept = lines(
        &mut db.client(),
        "SELECT description, formats, compression, compression_level, keep_daily, keep_weekly, keep_monthly, rto, rpo, seeded
         FROM agent_backup.sets WHERE set_name = 'billing'",
    );
    assert_eq!(kept, ["|{csv,json}|gzip|1|7|4|12|02:00:00|01:00:00|f"]);
}

#[test]
fn create_set_keeps_every_option_given_by_name() {
    let db = database();
    db.run(
        "SELECT agent_backup.create_set(set_name => 'b', description => 'it''s b', formats => '{sql,csv}', compression => 'zstd',
             compression_level => 19::int2, keep_daily => 0, keep_weekly => 1, keep_monthly => 2, rto => '5 min', rpo => '3 days')",
    );
    let kept = lines(
        &mut db.client(),
        "SELECT description, formats, compression, compression_level, keep_daily, keep_weekly, keep_monthly, rto, rpo, created_by
         FROM agent_backup.sets WHERE set_name = 'b'",
    );
    assert_eq!(kept, ["it's b|{sql,csv}|zstd|19|0|1|2|00:05:00|3 days|postgres"]);
}

#[test]
fn a_level_can_be_given_as_a_plain_number() {
    database().run("SELECT agent_backup.create_set('b', compression_level => 6)");
}

#[test]
fn create_set_refuses_what_no_backup_could_obey() {
    let db = with_tables();
    let mut client = db.client();
    for (options, code) in [
        ("'billing'", "42710"),
        ("''", "22023"),
        ("'x', formats => '{}'", "22023"),
        ("'x', formats => '{xml}'", "22023"),
        ("'x', formats => '{csv,NULL}'", "22023"),
        ("'x', compression => 'lz4'", "22023"),
        ("'x', compression_level => 13::int2", "22023"),
        ("'x', compression_level => 0::int2", "22023"),
        ("'x', compression => 'zstd', compression_level => 20::int2", "22023"),
        ("'x', keep_daily => -1", "22023"),
        ("'x', keep_daily => 0, keep_weekly => 0, keep_monthly => 0", "22023"),
        ("'x', rto => '0'", "22023"),
        ("'x', rpo => '-1 hour'", "22023"),
    ] {
        let refusal = refused(&mut client, &format!("SELECT agent_backup.create_set({options})"));
        // 23514 is the table's own CHECK: right, if less kind.
        assert!(refusal.code == code || refusal.code == "23514" && code == "22023", "{options}: {refusal:?}");
    }
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM agent_backup.sets"), 2);
}

#[test]
fn a_set_that_exists_is_named_in_the_refusal() {
    let db = with_tables();
    let refusal = refused(&mut db.client(), "SELECT agent_backup.create_set('billing')");
    assert_eq!((refusal.code.as_str(), refusal.message.as_str()), ("42710", "backup set \"billing\" already exists"));
}

#[test]
fn add_table_keeps_every_option_and_gives_back_the_qualified_name() {
    let db = with_tables();
    let mut client = db.client();
    let name: String = one(
        &mut client,
        r#"SELECT agent_backup.add_table(set_name => 'billing', table_name => 'Invoices', formats => '{json}',
            row_filter => 'NOT draft', excluded_columns => '{note}', masked_columns => '{"iban": "left(iban, 4)"}')"#,
    );
    assert_eq!(name, "public.invoices");
    let kept = lines(
        &mut client,
        "SELECT schema_name, table_name, ordinal, formats, row_filter, excluded_columns, masked_columns FROM agent_backup.set_tables WHERE set_name = 'billing'",
    );
    assert_eq!(kept, [r#"public|invoices|1|{json}|NOT draft|{note}|{"iban": "left(iban, 4)"}"#]);
}

#[test]
fn add_table_refuses_with_a_code_and_a_hint() {
    let db = with_tables();
    db.run("SELECT agent_backup.add_table('billing', 'customers'); CREATE VIEW v AS SELECT 1 AS n; CREATE TEMP TABLE gone ()");
    let mut client = db.client();
    for (arguments, code, hint) in [
        ("'biling', 'invoices'", "42704", "Did you mean billing?"),
        ("'billing', 'invoises'", "42P01", "Did you mean invoices?"),
        ("'billing', 'customers'", "42710", ""),
        ("'billing', 'v'", "42809", "It has no rows of its own; back up the tables that it reads."),
        ("'billing', 'pg_class'", "42809", "Its content is made again by the statements that made the objects in it."),
        ("'billing', 'invoices', excluded_columns => '{ibann}'", "42703", "Did you mean iban?"),
        (r#"'billing', 'invoices', masked_columns => '{"nott": "1"}'"#, "42703", "Did you mean note?"),
        ("'billing', 'invoices', row_filter => 'true; DROP TABLE invoices'", "42601", ""),
        ("'billing', 'invoices', formats => '{yaml}'", "22023", ""),
    ] {
        let refusal = refused(&mut client, &format!("SELECT agent_backup.add_table({arguments})"));
        assert!(refusal.code == code || refusal.code == "23514" && code == "22023", "{arguments}: {refusal:?}");
        assert!(hint.is_empty() || refusal.hint == hint, "{arguments}: {refusal:?}");
    }
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM agent_backup.set_tables WHERE set_name = 'billing'"), 1);
}

#[test]
fn masks_are_an_object_of_column_and_expression() {
    let db = with_tables();
    let mut client = db.client();
    for masks in ["[]", "3", "null", r#"{"iban": 4}"#, r#"{"iban": null}"#] {
        let refusal = refused(
            &mut client,
            &format!("SELECT agent_backup.add_table('billing', 'invoices', masked_columns => '{masks}')"),
        );
        assert_eq!(refusal.code, "22023", "{masks}: {refusal:?}");
    }
}

#[test]
fn a_filter_or_mask_that_cannot_run_is_refused_when_it_is_given() {
    let db = with_tables();
    let mut client = db.client();
    for (option, code) in [
        ("row_filter => 'nothere > 1'", "42703"),
        ("row_filter => 'id + 1'", "42804"),
        (r#"masked_columns => '{"id": "nothere"}'"#, "42703"),
    ] {
        let refusal = refused(&mut client, &format!("SELECT agent_backup.add_table('billing', 'invoices', {option})"));
        assert_eq!(refusal.code, code, "{option}: {refusal:?}");
    }
}

#[test]
fn a_mask_gives_one_value_for_each_row() {
    let db = with_tables();
    let mut client = db.client();
    for masks in [
        r#"{"id": "generate_series(1, 2)"}"#,
        r#"{"id": "count(*)", "iban": "max(iban)", "draft": "bool_or(draft)", "note": "'-'"}"#,
    ] {
        let call = format!(
            "SELECT agent_backup.add_table('billing', 'invoices', masked_columns => '{}')",
            masks.replace('\'', "''")
        );
        let refusal = refused(&mut client, &call);
        assert!(["22023", "42803", "0A000", "42P20"].contains(&refusal.code.as_str()), "{masks}: {refusal:?}");
    }
}

#[test]
fn a_column_is_excluded_or_masked_and_not_both() {
    let db = with_tables();
    let call = r#"SELECT agent_backup.add_table('billing', 'invoices', excluded_columns => '{iban}', masked_columns => '{"iban": "''x''"}')"#;
    let refusal = refused(&mut db.client(), call);
    assert_eq!(refusal.code, "22023", "{refusal:?}");
    assert!(refusal.message.contains("\"iban\""), "{refusal:?}");
}

#[test]
fn remove_table_takes_a_member_out_also_when_its_table_is_gone() {
    let db = with_tables();
    db.run("SELECT agent_backup.add_table('billing', 'invoices'), agent_backup.add_table('billing', 'customers')");
    let mut client = db.client();
    assert_eq!(
        one::<String>(&mut client, "SELECT agent_backup.remove_table('billing', 'public.\"invoices\"')"),
        "public.invoices"
    );
    db.run("DROP TABLE customers");
    assert_eq!(
        one::<String>(&mut client, "SELECT agent_backup.remove_table('billing', 'customers')"),
        "public.customers"
    );
    let refusal = refused(&mut client, "SELECT agent_backup.remove_table('billing', 'customers')");
    assert_eq!(refusal.code, "42704");
    let refusal = refused(&mut client, "SELECT agent_backup.remove_table('agent_sdk', 'agent_aprovals')");
    assert!(refusal.code == "42704" && refusal.hint.starts_with("Did you mean agent_approvals"), "{refusal:?}");
}

#[test]
fn drop_set_forgets_its_members() {
    let db = with_tables();
    db.run("SELECT agent_backup.add_table('billing', 'invoices'); SELECT agent_backup.drop_set('billing')");
    let mut client = db.client();
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM agent_backup.set_tables WHERE set_name = 'billing'"), 0);
    let refusal = refused(&mut client, "SELECT agent_backup.drop_set('billing')");
    assert_eq!(refusal.code, "42704");
}

#[test]
fn drop_set_of_a_set_with_backups_is_refused_until_it_is_confirmed_and_leaves_them() {
    let db = with_tables();
    db.run("SELECT agent_backup.add_table('billing', 'invoices')");
    let file = back_up(&db, "billing");
    let mut client = db.client();
    let refusal = refused(&mut client, "SELECT agent_backup.drop_set('billing')");
    assert_eq!(refusal.code, "2BP01");
    assert!(refusal.hint.contains("confirm => true"), "{refusal:?}");
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM agent_backup.sets WHERE set_name = 'billing'"), 1);
    db.run("SELECT agent_backup.drop_set('billing', confirm => true)");
    assert_eq!(
        one::<String>(&mut client, "SELECT backup_file FROM agent_backup.backups WHERE set_name = 'billing'"),
        file
    );
    assert!(entries(&file).contains(&"invoices.csv".to_owned()));
    assert_no_trash(&db, &[]);
}

#[test]
fn a_backup_has_the_formats_of_the_set_and_those_of_a_member_in_their_place() {
    let db = with_tables();
    db.run("SELECT agent_backup.create_set('mixed', formats => '{sql,csv}');
            SELECT agent_backup.add_table('mixed', 'invoices'), agent_backup.add_table('mixed', 'customers', formats => '{json}')");
    let file = back_up(&db, "mixed");
    let names: Vec<String> = entries(&file)
        .into_iter()
        .filter(|name| name != "schema.sql" && !name.contains("manifest") && !name.contains("metadata"))
        .collect();
    assert_eq!(names, ["invoices.csv", "invoices.csv.keys", "invoices.sql", "customers.json"]);
    let formats = lines(&mut db.client(), "SELECT table_name, format FROM agent_backup.backup_files ORDER BY 1, 2");
    assert_eq!(formats, ["customers|json", "invoices|csv", "invoices|sql"]);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_zstd_set_is_written_as_tar_zst() {
    let db = with_tables();
    db.run("SELECT agent_backup.create_set('fast', compression => 'zstd', compression_level => 3::int2); SELECT agent_backup.add_table('fast', 'invoices')");
    let file = back_up(&db, "fast");
    assert!(file.ends_with(".tar.zst"), "{file}");
    assert_eq!(&std::fs::read(&file).unwrap()[..4], [0x28, 0xb5, 0x2f, 0xfd]);
    assert_eq!(entry(&file, "invoices.csv").lines().count(), 4);
    assert_no_trash(&db, &[]);
}

#[test]
fn filter_exclusion_and_mask_hold_in_every_format() {
    let db = with_tables();
    db.run(
        r#"SELECT agent_backup.add_table('billing', 'invoices', formats => '{csv,json,sql}', row_filter => 'NOT draft',
            excluded_columns => '{note}', masked_columns => '{"iban": "left(iban, 2) || ''…''"}')"#,
    );
    let file = back_up(&db, "billing");
    assert_eq!(entry(&file, "invoices.csv"), "id,iban,draft\n1,DE…,f\n3,,f\n");
    assert_eq!(
        entry(&file, "invoices.json"),
        "[\n{\"id\":1,\"iban\":\"DE…\",\"draft\":false},\n{\"id\":3,\"iban\":null,\"draft\":false}\n]\n"
    );
    let sql = entry(&file, "invoices.sql");
    assert!(!sql.contains("DE02") && sql.contains("DE…") && !sql.contains("note"), "{sql}");
    let manifest = entries(&file).last().cloned().unwrap();
    let manifest = entry(&file, &manifest);
    assert!(manifest.contains("\"row_filter\": \"NOT draft\"") && manifest.contains("\"masked\":true"), "{manifest}");
    assert_no_trash(&db, &[]);
}

#[test]
fn a_set_that_was_changed_is_no_longer_the_seeded_one() {
    let db = with_tables();
    let mut client = db.client();
    let seeded = "SELECT seeded FROM agent_backup.sets WHERE set_name = 'agent_sdk'";
    assert!(one::<bool>(&mut client, seeded));
    db.run("SELECT agent_backup.remove_table('agent_sdk', 'data_quality_log')");
    assert!(!one::<bool>(&mut client, seeded));
}

#[test]
fn the_name_of_a_set_may_be_anything_and_its_directory_stays_inside() {
    let db = with_tables();
    let names = ["../../etc", "a/b", "it's \"so\"", "%s$$", ".hidden", "größe 😀"];
    for name in names {
        let quoted = name.replace('\'', "''");
        db.run(&format!(
            "SELECT agent_backup.create_set('{quoted}'); SELECT agent_backup.add_table('{quoted}', 'invoices')"
        ));
        let file = back_up(&db, &quoted);
        let below = std::path::Path::new(&file).strip_prefix(db.backup_dir()).unwrap();
        assert_eq!(below.components().count(), 2, "{file}");
        assert!(std::path::Path::new(&file).is_file());
    }
    let listed = std::fs::read_dir(db.backup_dir()).unwrap().count();
    assert_eq!(listed, names.len());
    assert_no_trash(&db, &[]);
}
