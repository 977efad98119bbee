//! What each way to restore does to rows: replace, merge, missing_only, and a where clause.

use agent_backup_suite::{
    Step, assert_equal_tables, assert_no_trash, assert_sound, back_up, backup_files, database, lines, one, refused,
    restore, said, saved, state, try_restore,
};

const PLAIN: &str = "CREATE TABLE t (id int PRIMARY KEY, v text, n numeric); INSERT INTO t SELECT n, 'v' || n, n / 7.0 FROM generate_series(1, 100) n";
const DAMAGE: &str = "UPDATE t SET v = 'broken', n = NULL WHERE id <= 10; DELETE FROM t WHERE id BETWEEN 11 AND 20; INSERT INTO t VALUES (1001, 'new', 1)";

fn counts(steps: &[Step], table: &str) -> String {
    let of_table = |step: &&Step| step.table.as_deref() == Some(table) && step.details.contains("inserted");
    steps.iter().find(of_table).map(|step| step.details.clone()).unwrap_or_else(|| panic!("no counts: {steps:?}"))
}

#[test]
fn replace_gives_the_very_rows_of_the_backup() {
    let db = saved(PLAIN, &["t"]);
    db.run(DAMAGE);
    let mut client = db.client();
    let steps = restore(&mut client, "restore_table('t', confirm => true, set_name => 's')");
    assert!(counts(&steps, "t").starts_with("100 inserted, 0 updated, 91 deleted; row digest equals"), "{steps:?}");
    assert_equal_tables(&mut client, "t", "kept.t");
    assert_sound(&mut client, "t");
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn merge_adds_and_overwrites_and_keeps_what_is_new() {
    let db = saved(PLAIN, &["t"]);
    db.run(DAMAGE);
    let mut client = db.client();
    let steps = restore(&mut client, "restore_table('t', mode => 'merge', confirm => true, set_name => 's')");
    assert!(counts(&steps, "t").starts_with("10 inserted, 10 updated, 0 deleted"), "{steps:?}");
    assert_equal_tables(&mut client, "(SELECT * FROM t WHERE id < 1000)", "kept.t");
    assert_eq!(lines(&mut client, "SELECT * FROM t WHERE id > 1000"), ["1001|new|1"]);
    assert_sound(&mut client, "t");
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn merge_does_not_touch_rows_that_are_equal() {
    let db = saved(PLAIN, &["t"]);
    db.run(DAMAGE);
    let mut client = db.client();
    let rows = "SELECT string_agg(concat_ws('|', xmin, ctid, id), ',' ORDER BY id) FROM t WHERE id > 20";
    let before: String = one(&mut client, rows);
    restore(&mut client, "restore_table('t', mode => 'merge', confirm => true, set_name => 's')");
    assert_eq!(one::<String>(&mut client, rows), before);
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn missing_only_changes_no_row_that_is_there() {
    let db = saved(PLAIN, &["t"]);
    db.run(DAMAGE);
    let mut client = db.client();
    let rows =
        "SELECT string_agg(concat_ws('|', xmin, ctid, t.*), ',' ORDER BY id) FROM t WHERE id NOT BETWEEN 11 AND 20";
    let before: String = one(&mut client, rows);
    let steps = restore(&mut client, "restore_table('t', mode => 'missing_only', confirm => true, set_name => 's')");
    assert!(counts(&steps, "t").starts_with("10 inserted, 0 updated, 0 deleted"), "{steps:?}");
    assert_eq!(one::<String>(&mut client, rows), before);
    assert_equal_tables(
        &mut client,
        "(SELECT * FROM t WHERE id BETWEEN 11 AND 20)",
        "(SELECT * FROM kept.t WHERE id BETWEEN 11 AND 20)",
    );
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_where_clause_leaves_all_other_rows_as_they_are() {
    let db = saved(PLAIN, &["t"]);
    db.run(DAMAGE);
    let mut client = db.client();
    let rows =
        "SELECT string_agg(concat_ws('|', xmin, ctid, t.*), ',' ORDER BY id) FROM t WHERE NOT (id BETWEEN 5 AND 15)";
    let before: String = one(&mut client, rows);
    for mode in ["missing_only", "merge", "replace"] {
        restore(
            &mut client,
            &format!(
                "restore_table('t', mode => '{mode}', where_clause => 't.id BETWEEN 5 AND 15', confirm => true, set_name => 's')"
            ),
        );
        assert_eq!(one::<String>(&mut client, rows), before, "{mode}");
    }
    assert_equal_tables(
        &mut client,
        "(SELECT * FROM t WHERE id BETWEEN 5 AND 15)",
        "(SELECT * FROM kept.t WHERE id BETWEEN 5 AND 15)",
    );
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_where_clause_over_the_table_itself_loses_no_row() {
    let db = saved(PLAIN, &["t"]);
    db.run("UPDATE t SET v = 'bad' WHERE id % 10 = 0");
    let mut client = db.client();
    restore(
        &mut client,
        "restore_table('t', where_clause => $$id IN (SELECT id FROM public.t WHERE v = 'bad')$$, confirm => true, set_name => 's')",
    );
    assert_equal_tables(&mut client, "t", "kept.t");
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_where_clause_over_system_columns_is_refused() {
    let db = saved(PLAIN, &["t"]);
    let mut client = db.client();
    for clause in ["ctid = '(0,1)'", "xmin IS NOT NULL", "tableoid = 't'::regclass"] {
        let call = format!(
            "SELECT * FROM agent_backup.restore_table('t', where_clause => $${clause}$$, confirm => true, set_name => 's')"
        );
        assert_ne!(refused(&mut client, &call).code, "23505", "{clause}");
    }
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_plan_refuses_a_where_clause_that_cannot_be() {
    let db = saved(PLAIN, &["t"]);
    let mut client = db.client();
    let before = backup_files(&db);
    for clause in ["nope = 1", "v", "count(*) > 1", "id = "] {
        for confirm in ["false", "true"] {
            refused(
                &mut client,
                &format!(
                    "SELECT * FROM agent_backup.restore_table('t', where_clause => '{clause}', confirm => {confirm}, set_name => 's')"
                ),
            );
            assert_eq!(backup_files(&db), before, "{clause}: a safety backup was left behind");
        }
    }
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_filtered_backup_never_replaces_rows_that_it_never_held() {
    let db = database();
    db.run(
        "CREATE TABLE t (id int PRIMARY KEY, done boolean); INSERT INTO t SELECT n, n % 2 = 0 FROM generate_series(1, 10) n;
         SELECT agent_backup.create_set('s'); SELECT agent_backup.add_table('s', 't', row_filter => 'done')",
    );
    back_up(&db, &[]);
    let mut client = db.client();
    let kept = "SELECT count(*) FROM t WHERE NOT done";
    for clause in ["NULL", "'id < 5'"] {
        let call = format!("restore_table('t', where_clause => {clause}, confirm => true, set_name => 's')");
        if let Err(error) = try_restore(&mut client, &call) {
            assert_eq!(error.code().map(|code| code.code()), Some("55000"), "{error:?}");
        }
        assert_eq!(one::<i64>(&mut client, kept), 5, "{clause}");
    }
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn masked_and_left_out_columns_block_what_would_lose_them() {
    let db = database();
    db.run(
        r#"CREATE TABLE m (id int PRIMARY KEY, name text); INSERT INTO m SELECT n, 'n' || n FROM generate_series(1, 10) n;
         CREATE TABLE e (id int PRIMARY KEY, a int, secret text NOT NULL DEFAULT 's'); INSERT INTO e SELECT n, n, 'secret' || n FROM generate_series(1, 10) n;
         SELECT agent_backup.create_set('s'); SELECT agent_backup.add_table('s', 'm', masked_columns => '{"name": "''***''"}');
         SELECT agent_backup.add_table('s', 'e', excluded_columns => '{secret}')"#,
    );
    back_up(&db, &[]);
    db.run("UPDATE e SET a = 0 WHERE id = 1; DELETE FROM e WHERE id = 2; DELETE FROM m WHERE id = 1");
    let before = state(&db);
    let mut client = db.client();
    for call in [
        "restore('latest', confirm => true, set_name => 's')",
        "restore_table('m', confirm => true, set_name => 's')",
        "restore_table('m', mode => 'merge', confirm => true, set_name => 's')",
        "restore_table('e', confirm => true, set_name => 's')",
    ] {
        let refusal = refused(&mut client, &format!("SELECT * FROM agent_backup.{call}"));
        assert_eq!((refusal.code.as_str(), refusal.hint.is_empty()), ("55000", false), "{call}: {refusal:?}");
    }
    assert_eq!(state(&db), before);
    restore(&mut client, "restore_table('m', mode => 'missing_only', confirm => true, set_name => 's')");
    assert_eq!(lines(&mut client, "SELECT * FROM m WHERE id < 3 ORDER BY id"), ["1|***", "2|n2"]);
    restore(&mut client, "restore_table('e', mode => 'merge', confirm => true, set_name => 's')");
    assert_eq!(lines(&mut client, "SELECT * FROM e WHERE id < 4 ORDER BY id"), ["1|1|secret1", "2|2|s", "3|3|secret3"]);
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn merge_tells_equal_values_by_their_text() {
    let db = saved(
        "CREATE TABLE t (id int PRIMARY KEY, f float8, n numeric, j json, x text, a int[], r int4range, z timestamptz, p point);
         INSERT INTO t VALUES (1, '-0', 1.0, '{\"a\": 1}', NULL, '[0:1]={1,2}', 'empty', 'infinity', '(1,2)'), (2, 'NaN', 'NaN', 'null', '', '{}', '[1,2)', '2024-01-01', '(-0,0)'),
                              (3, 0.1, 1.00, '1', ' ', '{NULL}', NULL, NULL, NULL)",
        &["t"],
    );
    let mut client = db.client();
    for damage in [
        "f = 0 WHERE id = 1",
        "n = 1.00 WHERE id = 1",
        "j = '{\"a\":1}' WHERE id = 1",
        "x = '' WHERE id = 1",
        "x = NULL WHERE id = 2",
        "a = '{1,2}' WHERE id = 1",
        "a = NULL WHERE id = 2",
        "a = '{}' WHERE id = 3",
        "p = '(0,0)' WHERE id = 2",
        "z = '-infinity' WHERE id = 1",
        "j = NULL WHERE id = 2",
        "r = NULL WHERE id = 1",
    ] {
        db.run(&format!("UPDATE t SET {damage}"));
        let steps = restore(&mut client, "restore_table('t', mode => 'merge', confirm => true, set_name => 's')");
        assert!(counts(&steps, "t").starts_with("0 inserted, 1 updated"), "{damage}: {steps:?}");
        assert_equal_tables(&mut client, "t", "kept.t");
    }
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn merge_sees_a_difference_that_the_collation_does_not() {
    let icu: i64 = one(&mut database().client(), "SELECT count(*) FROM pg_collation WHERE collname = 'und-x-icu'");
    if icu == 0 {
        eprintln!("skipped: this server is built without ICU");
        return;
    }
    let db = saved(
        "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE t (id int PRIMARY KEY, v text COLLATE ci); INSERT INTO t VALUES (1, 'ABC')",
        &["t"],
    );
    db.run("UPDATE t SET v = 'abc'");
    let mut client = db.client();
    restore(&mut client, "restore_table('t', mode => 'merge', confirm => true, set_name => 's')");
    assert_eq!(lines(&mut client, "SELECT v FROM t"), ["ABC"]);
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn merge_overwrites_an_identity_column_or_says_that_it_does_not() {
    let db = saved(
        "CREATE TABLE t (k text PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY); INSERT INTO t VALUES ('a'), ('b')",
        &["t"],
    );
    db.run("DELETE FROM t WHERE k = 'a'; INSERT INTO t VALUES ('a')");
    let mut client = db.client();
    let steps = restore(&mut client, "restore_table('t', mode => 'merge', confirm => true, set_name => 's')");
    let n = lines(&mut client, "SELECT n FROM t WHERE k = 'a'");
    assert!(n == ["1"] || said(&steps, "warning").iter().any(|text| text.contains('n')), "{n:?}: {steps:?}");
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn no_trigger_and_no_rule_changes_a_row_that_comes_back() {
    for (enable, body) in [
        ("ALWAYS", "NEW.v := 'changed'; RETURN NEW"),
        ("REPLICA", "NEW.v := 'changed'; RETURN NEW"),
        ("ALWAYS", "RETURN NULL"),
    ] {
        let db = saved(PLAIN, &["t"]);
        db.run(&format!(
            "{DAMAGE}; CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; END $$;
             CREATE TRIGGER f BEFORE INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION f(); ALTER TABLE t ENABLE {enable} TRIGGER f"
        ));
        let mut client = db.client();
        for call in ["mode => 'merge'", "where_clause => 'id <> 1001'"] {
            match try_restore(&mut client, &format!("restore_table('t', {call}, confirm => true, set_name => 's')")) {
                Ok(_) => {
                    assert_equal_tables(&mut client, "(SELECT * FROM t WHERE id < 1000)", "kept.t");
                }
                Err(error) => assert_eq!(error.code().map(|code| code.code()), Some("55000"), "{enable}: {error:?}"),
            }
        }
        restore(&mut client, "restore_table('t', confirm => true, set_name => 's')");
        assert_equal_tables(&mut client, "t", "kept.t");
        assert_eq!(
            one::<i64>(&mut client, "SELECT count(*) FROM pg_trigger WHERE tgname = 'f' AND tgenabled IN ('A', 'R')"),
            1
        );
        drop(client);
        assert_no_trash(&db, &[]);
    }
}

#[test]
fn a_deferrable_unique_constraint_holds_after_every_mode() {
    for constraint in [
        "UNIQUE (v) DEFERRABLE",
        "UNIQUE (v) DEFERRABLE INITIALLY DEFERRED",
        "EXCLUDE USING btree (v WITH =) DEFERRABLE",
    ] {
        let db = saved(PLAIN, &["t"]);
        db.run(&format!("DELETE FROM t WHERE id = 1; UPDATE t SET v = 'v1' WHERE id = 2; ALTER TABLE t ADD CONSTRAINT u {constraint}"));
        let mut client = db.client();
        let duplicates = "SELECT count(*) FROM (SELECT v FROM t GROUP BY v HAVING count(*) > 1) AS d";
        for call in ["mode => 'missing_only'", "mode => 'merge', where_clause => 'id = 1'", "where_clause => 'id = 1'"]
        {
            let done =
                try_restore(&mut client, &format!("restore_table('t', {call}, confirm => true, set_name => 's')"));
            assert_eq!(one::<i64>(&mut client, duplicates), 0, "{constraint}: {call}: {done:?}");
        }
        drop(client);
        assert_no_trash(&db, &[]);
    }
}

#[test]
fn a_deferrable_primary_key_stays_one() {
    let db = saved(
        "CREATE TABLE t (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, k int); INSERT INTO t VALUES (1, 1), (2, 2)",
        &["t"],
    );
    db.run("DELETE FROM t WHERE id = 2; UPDATE t SET id = 2 WHERE id = 1");
    let mut client = db.client();
    let done =
        try_restore(&mut client, "restore_table('t', where_clause => 'k = 2', confirm => true, set_name => 's')");
    assert_eq!(lines(&mut client, "SELECT id FROM t GROUP BY id HAVING count(*) > 1"), [] as [&str; 0], "{done:?}");
    drop(client);
    assert_no_trash(&db, &[]);
}
