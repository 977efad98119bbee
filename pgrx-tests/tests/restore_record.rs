//! One record comes back at once from the newest backup that has it, and nothing else changes.

use agent_backup_suite::{Database, assert_no_trash, database};

const TABLES: &str = "
    CREATE TABLE public.parent (id int PRIMARY KEY, v text);
    CREATE TABLE public.child (a int, b text, parent_id int REFERENCES public.parent, v text, PRIMARY KEY (a, b));
    CREATE TABLE public.loud (id int PRIMARY KEY, v text);
    CREATE FUNCTION public.shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.v := 'shouted'; RETURN NEW; END $$;
    CREATE TRIGGER shout BEFORE INSERT OR UPDATE ON public.loud FOR EACH ROW EXECUTE FUNCTION public.shout();
    INSERT INTO public.parent SELECT g, 'parent ' || g FROM generate_series(1, 500) g;
    INSERT INTO public.child SELECT g, 'x', g, 'child ' || g FROM generate_series(1, 500) g;
    INSERT INTO public.loud SELECT g, 'whisper' FROM generate_series(1, 5) g;
    ALTER TABLE public.loud DISABLE TRIGGER shout;
    UPDATE public.loud SET v = 'whisper';
    ALTER TABLE public.loud ENABLE TRIGGER shout;
    SELECT agent_backup.create_set('s', formats => '{csv}');
    SELECT agent_backup.add_table('s', t) FROM unnest(ARRAY['parent', 'child', 'loud']) t;";

fn with_backup() -> Database<'static> {
    let db = database();
    db.run(TABLES);
    db.run("SELECT agent_backup.backup('s')");
    db
}

/// Table and status of each record that `call` brings back.
fn restored(db: &Database, arguments: &str) -> Vec<(String, String)> {
    let query = format!("SELECT table_name, status FROM agent_backup.restore_record({arguments}, set_name => 's')");
    db.client().query(&query, &[]).unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[track_caller]
fn refused(db: &Database, arguments: &str, code: &str) -> String {
    let query = format!("SELECT * FROM agent_backup.restore_record({arguments}, set_name => 's')");
    let error = db.client().query(&query, &[]).unwrap_err();
    let error = error.as_db_error().expect("an error of the server");
    assert_eq!(error.code().code(), code, "{error:?}");
    format!("{} {} {}", error.message(), error.detail().unwrap_or_default(), error.hint().unwrap_or_default())
}

fn texts(db: &Database, query: &str) -> Vec<String> {
    db.client().query(query, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

fn one(table: &str, status: &str) -> Vec<(String, String)> {
    vec![(table.to_owned(), status.to_owned())]
}

#[test]
fn an_absent_record_is_written_at_once_and_no_other_row() {
    let db = with_backup();
    let all = "SELECT p::text FROM public.parent p ORDER BY id";
    let before = texts(&db, all);
    db.run("DELETE FROM public.child WHERE a = 77; DELETE FROM public.parent WHERE id = 77");
    assert_eq!(restored(&db, "'parent', '77'"), one("parent", "restored"));
    assert_eq!(texts(&db, all), before);
    assert_eq!(texts(&db, "SELECT count(*)::text FROM public.child"), ["499"]);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_key_is_read_as_its_type_reads_it() {
    let db = with_backup();
    db.run("DELETE FROM public.child WHERE a = 7; DELETE FROM public.parent WHERE id = 7");
    assert_eq!(restored(&db, "'parent', ' 007'"), one("parent", "restored"));
}

#[test]
fn a_record_that_is_there_is_left_alone_unless_it_may_be_overwritten() {
    let db = with_backup();
    assert_eq!(restored(&db, "'parent', '5'"), one("parent", "unchanged"));
    db.run("UPDATE public.parent SET v = 'mine' WHERE id = 5");
    assert_eq!(restored(&db, "'parent', '5'"), one("parent", "exists"));
    assert_eq!(texts(&db, "SELECT v FROM public.parent WHERE id = 5"), ["mine"]);
    assert_eq!(restored(&db, "'parent', '5', overwrite => true"), one("parent", "overwritten"));
    assert_eq!(texts(&db, "SELECT v FROM public.parent WHERE id = 5"), ["parent 5"]);
}

#[test]
fn a_key_of_several_columns_is_json_with_or_without_its_type() {
    let db = with_backup();
    db.run("DELETE FROM public.child WHERE a < 3");
    assert_eq!(restored(&db, r#"'child', '{"a": 1, "b": "x"}'::jsonb"#), one("child", "restored"));
    assert_eq!(restored(&db, r#"'child', '{"b": "x", "a": 2}'"#), one("child", "restored"));
    for key in [r#"'{"a": 1}'"#, "'1'", r#"'{"a": null, "b": "x"}'::jsonb"#, r#"'[1, "x"]'::jsonb"#] {
        assert!(refused(&db, &format!("'child', {key}"), "22023").contains("a, b"), "{key}");
    }
}

#[test]
fn a_parent_that_is_gone_stops_it_or_comes_with_it() {
    let db = with_backup();
    db.run("DELETE FROM public.child WHERE a = 9; DELETE FROM public.parent WHERE id = 9");
    let said = refused(&db, r#"'child', '{"a": 9, "b": "x"}'"#, "23503");
    assert!(said.contains("id = 9") && said.contains("with_parents"), "{said}");
    assert_eq!(texts(&db, "SELECT count(*)::text FROM public.child WHERE a = 9"), ["0"]);
    let both = vec![("parent".to_owned(), "restored".to_owned()), ("child".to_owned(), "restored".to_owned())];
    assert_eq!(restored(&db, r#"'child', '{"a": 9, "b": "x"}', with_parents => true"#), both);
}

#[test]
fn triggers_do_not_fire_for_it() {
    let db = with_backup();
    db.run("DELETE FROM public.loud WHERE id = 2");
    assert_eq!(restored(&db, "'loud', '2'"), one("loud", "restored"));
    assert_eq!(texts(&db, "SELECT v FROM public.loud WHERE id = 2"), ["whisper"]);
    db.run("UPDATE public.loud SET v = 'x' WHERE id = 3");
    assert_eq!(texts(&db, "SELECT v FROM public.loud WHERE id = 3"), ["shouted"], "else the trigger proves nothing");
    assert_eq!(restored(&db, "'loud', '3', overwrite => true"), one("loud", "overwritten"));
    assert_eq!(texts(&db, "SELECT v FROM public.loud WHERE id = 3"), ["whisper"]);
}

#[test]
fn it_comes_from_the_newest_backup_that_has_it() {
    let db = with_backup();
    db.run("DELETE FROM public.child WHERE a = 11; DELETE FROM public.parent WHERE id = 11");
    db.run("SELECT agent_backup.backup('s')");
    let first: String = db
        .client()
        .query_one("SELECT backup_id FROM agent_backup.backups ORDER BY started_at LIMIT 1", &[])
        .unwrap()
        .get(0);
    let row = db
        .client()
        .query_one("SELECT status, backup_id FROM agent_backup.restore_record('parent', '11', set_name => 's')", &[])
        .unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, String>(1)), ("restored", first));
}

#[test]
fn as_of_leaves_later_backups_out() {
    let db = with_backup();
    db.run("INSERT INTO public.parent VALUES (900, 'late')");
    let between: String =
        db.client().query_one("SELECT clock_timestamp()::text FROM pg_sleep(0.01)", &[]).unwrap().get(0);
    db.run("SELECT pg_sleep(0.01); SELECT agent_backup.backup('s'); DELETE FROM public.parent WHERE id = 900");
    refused(&db, &format!("'parent', '900', as_of => '{between}'"), "P0002");
    assert_eq!(restored(&db, "'parent', '900'"), one("parent", "restored"));
}

#[test]
fn what_no_backup_has_is_said_and_wrong_names_are_near_ones() {
    let db = with_backup();
    assert!(refused(&db, "'parent', '12345'", "P0002").contains("1 complete backups were searched"));
    refused(&db, "'parent', 'twelve'", "22P02");
    refused(&db, "'parnt', '1'", "42P01");
    refused(&db, "'parent', NULL", "22004");
}

#[test]
fn who_does_not_own_the_table_restores_nothing() {
    let db = with_backup();
    db.run("DELETE FROM public.loud WHERE id = 1; CREATE ROLE clerk_of_records LOGIN; GRANT agent_backup_operator TO clerk_of_records; GRANT ALL ON public.loud TO clerk_of_records");
    db.let_call("clerk_of_records");
    let error = db
        .client_as("clerk_of_records")
        .query("SELECT * FROM agent_backup.restore_record('loud', '1', set_name => 's')", &[])
        .unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{error}");
    db.run("DROP OWNED BY clerk_of_records; DROP ROLE clerk_of_records");
}
