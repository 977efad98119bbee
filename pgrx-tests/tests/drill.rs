//! A recovery drill proves a restore beside the live tables, says how long it took, and leaves them as they were.

use agent_backup_suite::{Database, assert_no_trash, database};

const TABLES: &str = "
    CREATE TABLE public.parent (id int PRIMARY KEY, v text NOT NULL CHECK (v <> ''));
    CREATE TABLE public.child (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, parent_id int NOT NULL REFERENCES public.parent, doubled int GENERATED ALWAYS AS (parent_id * 2) STORED);
    INSERT INTO public.parent SELECT g, 'row ' || g FROM generate_series(1, 200) g;
    INSERT INTO public.child (parent_id) SELECT g FROM generate_series(1, 200) g;
    ALTER TABLE public.child ENABLE ROW LEVEL SECURITY;
    CREATE POLICY few ON public.child USING (parent_id < 100);
    SELECT agent_backup.create_set('s', rto => '1 hour');
    SELECT agent_backup.add_table('s', 'parent'), agent_backup.add_table('s', 'child');
    SELECT agent_backup.backup('s');";

fn with_set() -> Database<'static> {
    let db = database();
    db.run(TABLES);
    db
}

/// Step, object, status and details of a drill.
fn drill(db: &Database) -> Vec<(String, Option<String>, String, String)> {
    let rows = db.client().query("SELECT step, object, status, details FROM agent_backup.drill('s')", &[]).unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

/// What a drill must not touch: rows with their storage and versions, sequences, schemas.
fn fingerprint(db: &Database) -> Vec<String> {
    let query = "
        SELECT concat_ws('|', 'parent', p.*::text, xmin, ctid) FROM public.parent p
        UNION ALL SELECT concat_ws('|', 'child', c.*::text, xmin, ctid) FROM public.child c
        UNION ALL SELECT concat_ws('|', relname, relfilenode, reltuples, relrowsecurity) FROM pg_class WHERE relname IN ('parent', 'child', 'child_pkey')
        UNION ALL SELECT concat_ws('|', 'sequence', last_value, is_called) FROM public.child_id_seq
        UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp'
        UNION ALL SELECT 'trigger ' || count(*) FROM pg_trigger ORDER BY 1";
    db.client().query(query, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

#[test]
fn a_drill_restores_everything_and_touches_nothing() {
    let db = with_set();
    let before = fingerprint(&db);
    let steps = drill(&db);
    let (_, _, status, details) = steps.last().unwrap();
    assert_eq!((status.as_str(), details.as_str()), ("ok", "within the RTO of 1 h"), "{steps:?}");
    let restored = steps.iter().filter(|step| step.0 == "restore" && step.3.contains("row digest equals")).count();
    assert_eq!(restored, 2, "{steps:?}");
    assert!(steps.iter().any(|step| step.0 == "foreign keys" && step.3.starts_with("1 ")), "{steps:?}");
    assert!(steps.iter().any(|step| step.0 == "policies" && step.3.starts_with("1 ")), "{steps:?}");
    assert_eq!(fingerprint(&db), before);
    assert!(before.len() > 400, "a fingerprint of nothing proves nothing");
    let kept: (String, bool, i64) = {
        let row = db.client().query_one("SELECT status, within_rto, row_count FROM agent_backup.drills", &[]).unwrap();
        (row.get(0), row.get(1), row.get(2))
    };
    assert_eq!(kept, ("success".into(), true, 400));
    assert_no_trash(&db, &[]);
}

#[test]
fn a_damaged_backup_fails_the_drill_and_the_log_says_so() {
    let db = with_set();
    let before = fingerprint(&db);
    let file: String = db.client().query_one("SELECT backup_file FROM agent_backup.backups", &[]).unwrap().get(0);
    let query = "SELECT (pg_read_file(manifest_file)::jsonb #>> '{entries,0,chunks,0,0}')::bigint + 40 FROM agent_backup.backups";
    let offset: i64 = db.client().query_one(query, &[]).unwrap().get(0);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[usize::try_from(offset).unwrap()] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let steps = drill(&db);
    let (_, _, status, details) = steps.last().unwrap();
    assert_eq!(status, "failed", "{steps:?}");
    assert!(details.contains("damaged"), "{details}");
    assert_eq!(fingerprint(&db), before);
    let row = db.client().query_one("SELECT status, error_message FROM agent_backup.drills", &[]).unwrap();
    assert_eq!(row.get::<_, String>(0), "failed");
    assert!(row.get::<_, String>(1).contains("damaged"));
}

#[test]
fn checks_of_the_application_see_the_restored_rows() {
    let db = with_set();
    db.run(
        "CREATE FUNCTION public.run_all_quality_checks() RETURNS TABLE (check_name text, status text) LANGUAGE sql STABLE
         SET search_path = public AS $$ SELECT 'all there', CASE WHEN count(*) = 200 THEN 'pass' ELSE 'fail' END FROM parent $$;
         DELETE FROM public.child; DELETE FROM public.parent;",
    );
    let steps = drill(&db);
    let checks = steps.iter().find(|step| step.0 == "quality checks").unwrap();
    assert_eq!(checks.2, "ok", "{checks:?}");
    let live: String = db.client().query_one("SELECT status FROM public.run_all_quality_checks()", &[]).unwrap().get(0);
    assert_eq!(live, "fail", "the function itself still asks the live table");
}

#[test]
fn sample_queries_read_the_restored_tables_and_cannot_write() {
    let db = with_set();
    db.run(
        "INSERT INTO agent_backup.drill_queries (set_name, query_name, query) VALUES
         ('s', 'reads', 'SELECT * FROM child WHERE doubled = 4'), ('s', 'writes', 'DELETE FROM public.child');",
    );
    let steps = drill(&db);
    let of = |name: &str| steps.iter().find(|step| step.1.as_deref() == Some(name)).unwrap().clone();
    assert_eq!(of("reads").2, "ok", "{:?}", of("reads"));
    assert_eq!((of("writes").2.as_str(), of("writes").3.contains("read-only")), ("warning", true));
    assert_eq!(steps.last().unwrap().2, "warning");
}

#[test]
fn a_cancelled_drill_leaves_nothing() {
    let db = with_set();
    let before = fingerprint(&db);
    let error = db
        .client()
        .batch_execute("SET agent_backup.debug_failpoint = 'drill=pause'; SET statement_timeout = '700ms'; SELECT agent_backup.drill('s')")
        .unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("57014"), "{error}");
    assert_eq!(fingerprint(&db), before);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_set_without_a_backup_is_an_error() {
    let db = database();
    db.run("SELECT agent_backup.create_set('s');");
    let error = db.client().query("SELECT agent_backup.drill('s')", &[]).unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("42704"));
    let error = db.client().query("SELECT agent_backup.drill('nobody')", &[]).unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("42704"));
}
