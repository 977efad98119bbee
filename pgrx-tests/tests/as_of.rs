//! Tables and records as they were: by a time, by a mark, read or brought back, and what is said to who asks wrongly (T42, T63).

mod tracked;

use agent_backup_suite::{
    Cluster, Database, Options, assert_no_trash, lines, one, refused, restore, try_restore, with_mallory,
};
use postgres::Client;
use tracked::{FIVE, all, as_of, back, mark, rows, track, tracked};

/// A moment between what was before and what comes.
fn moment(client: &mut Client) -> String {
    one(client, "SELECT clock_timestamp()::text FROM pg_sleep(0.002)")
}

fn at(client: &mut Client, time: &str) -> Vec<String> {
    rows(client, &format!("agent_backup.read_as_of(NULL::t, '{time}')"))
}

fn committed_times() -> Cluster {
    Cluster::start(Options::default().setting("track_commit_timestamp = on"))
}

/// Several moments, each with the rows of then.
fn assert_times(db: &Database) {
    db.run(FIVE);
    track(db, "t");
    let mut client = db.client();
    let mut known = Vec::new();
    for statement in [
        "SELECT 1",
        "UPDATE t SET n = n + 1",
        "DELETE FROM t WHERE id = 2",
        "INSERT INTO t VALUES (2, 'again')",
        "UPDATE t SET id = id + 10",
        "TRUNCATE t",
        "INSERT INTO t VALUES (1, 'last', NULL)",
    ] {
        client.batch_execute(statement).unwrap();
        let time = moment(&mut client);
        known.push((time, rows(&mut client, "t")));
        client.batch_execute("SELECT pg_sleep(0.002)").unwrap();
    }
    for (time, expected) in &known {
        assert_eq!(at(&mut client, time), *expected, "{time}");
    }
    for (time, expected) in [&known[1], &known[5], &known[0], &known[6], &known[3]] {
        back(&mut client, &format!("restore_table_as_of('t', '{time}', confirm => true)"));
        assert_eq!(rows(&mut client, "t"), *expected, "restored to {time}");
    }
    for (time, expected) in &known {
        assert_eq!(at(&mut client, time), *expected, "{time}, after restores");
    }
}

#[test]
fn every_moment_can_be_read_and_brought_back() {
    assert_times(&tracked("", &[]));
    assert_times(&committed_times().database());
}

#[test]
fn with_times_of_commits_what_committed_later_is_later() {
    let cluster = committed_times();
    let db = cluster.database();
    db.run(FIVE);
    track(&db, "t");
    db.run("UPDATE t SET n = n");
    let (mut one, mut two) = (db.client(), db.client());
    let before = rows(&mut one, "t");
    one.batch_execute("BEGIN; UPDATE t SET n = 100 WHERE id = 1").unwrap();
    let first = moment(&mut two);
    two.batch_execute("UPDATE t SET n = 200 WHERE id = 2").unwrap();
    let second = moment(&mut two);
    one.batch_execute("COMMIT").unwrap();
    assert_eq!(at(&mut two, &first), before);
    let expected: Vec<String> = before.iter().map(|row| row.replace("(2,v2,2)", "(2,v2,200)")).collect();
    assert_eq!(at(&mut two, &second), expected);
    back(&mut two, &format!("restore_table_as_of('t', '{second}', confirm => true)"));
    assert_eq!(rows(&mut two, "t"), expected);
}

#[test]
fn without_them_a_transaction_is_as_late_as_its_last_change() {
    let db = tracked(FIVE, &["t"]);
    let (mut one, mut two) = (db.client(), db.client());
    let before = rows(&mut one, "t");
    one.batch_execute("BEGIN; UPDATE t SET n = 100 WHERE id = 1").unwrap();
    let time = moment(&mut two);
    one.batch_execute("UPDATE t SET n = 300 WHERE id = 3; COMMIT").unwrap();
    assert_eq!(at(&mut two, &time), before);
}

#[test]
fn rows_that_are_read_can_be_used_like_any() {
    let db = tracked(
        "CREATE TABLE t (id int PRIMARY KEY, v text, g text GENERATED ALWAYS AS (v || '!') STORED); INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 5) g",
        &["t"],
    );
    mark(&db, "m");
    db.run("UPDATE t SET v = 'x' WHERE id < 3; DELETE FROM t WHERE id = 5");
    let mut client = db.client();
    let query = "SELECT o.id, o.g, t.g FROM agent_backup.read_as_of(NULL::t, mark => 'm') AS o LEFT JOIN t USING (id) WHERE o.g IS DISTINCT FROM t.g ORDER BY 1";
    assert_eq!(lines(&mut client, query), ["1|v1!|x!", "2|v2!|x!", "5|v5!|"]);
    client.batch_execute("BEGIN READ ONLY").unwrap();
    assert_eq!(as_of(&mut client, &["t"], "m").len(), 5);
    client.batch_execute("COMMIT; BEGIN ISOLATION LEVEL REPEATABLE READ; INSERT INTO t VALUES (9, 'mine')").unwrap();
    assert_eq!(as_of(&mut client, &["t"], "m").len(), 5);
    client.batch_execute("ROLLBACK").unwrap();
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn changes_of_the_transaction_itself_are_later_than_any_mark() {
    let db = tracked(FIVE, &["t"]);
    mark(&db, "m");
    let mut client = db.client();
    let before = all(&mut client, &["t"]);
    client.batch_execute("BEGIN; UPDATE t SET n = -1; INSERT INTO t VALUES (6)").unwrap();
    assert_eq!(as_of(&mut client, &["t"], "m"), before);
    back(&mut client, "restore_table_as_of('t', mark => 'm', confirm => true)");
    assert_eq!(all(&mut client, &["t"]), before);
    client.batch_execute("ROLLBACK").unwrap();
}

#[test]
fn a_plan_changes_nothing_and_says_what_is_done_then() {
    let db = tracked(FIVE, &["t"]);
    mark(&db, "m");
    db.run("UPDATE t SET n = -1 WHERE id < 3; DELETE FROM t WHERE id > 3; INSERT INTO t VALUES (8), (9), (10)");
    let mut client = db.client();
    let state = |client: &mut Client| {
        let versions = rows(client, "(SELECT xmin, ctid, t.* FROM t)");
        let log: i64 = one(client, "SELECT count(*) FROM agent_backup.change_log");
        (versions, log)
    };
    let before = state(&mut client);
    let told = |steps: Vec<agent_backup_suite::Step>| -> Vec<(String, Option<i64>)> {
        steps.into_iter().map(|step| (step.action, step.rows)).take(3).collect()
    };
    let planned = told(try_restore(&mut client, "restore_table_as_of('t', mark => 'm')").unwrap());
    assert_eq!(
        planned,
        [("bring back".into(), Some(2)), ("take away".into(), Some(3)), ("change back".into(), Some(2))]
    );
    assert_eq!(state(&mut client), before);
    let done = told(back(&mut client, "restore_table_as_of('t', mark => 'm', confirm => true)"));
    assert_eq!(done, planned);
    assert_eq!(
        told(back(&mut client, "undo('m', confirm => true)")).iter().map(|step| step.1).sum::<Option<i64>>(),
        Some(0)
    );
}

#[test]
fn rows_that_did_not_change_are_not_touched() {
    let db = tracked(FIVE, &["t"]);
    mark(&db, "m");
    db.run("UPDATE t SET n = -1 WHERE id = 1");
    db.run("UPDATE t SET n = -1 WHERE id = 2; UPDATE t SET n = 2 WHERE id = 2");
    let mut client = db.client();
    let versions = "SELECT id, xmin, ctid FROM t WHERE id > 1 ORDER BY id";
    let before = lines(&mut client, versions);
    back(&mut client, "restore_table_as_of('t', mark => 'm', confirm => true)");
    assert_eq!(lines(&mut client, versions), before);
}

#[test]
fn who_asks_wrongly_is_told_what_is_right() {
    let db = tracked(&format!("{FIVE}; CREATE TABLE plain (id int PRIMARY KEY); CREATE VIEW v AS TABLE t"), &["t"]);
    mark(&db, "before the nightly job");
    db.run("CREATE TABLE later (id int PRIMARY KEY); SELECT agent_backup.track('later', baseline => false)");
    let mut client = db.client();
    for (call, code, hint) in [
        ("read_as_of(NULL::plain, now())", "55000", "agent_backup.track('plain')"),
        ("read_as_of(NULL::t, mark => 'before the nightly jib')", "42704", "before the nightly job"),
        ("read_as_of(NULL::t, now() + interval '1 hour')", "22023", ""),
        ("read_as_of(NULL::t, 'infinity')", "22023", ""),
        ("read_as_of(NULL::t, now() - interval '1 day')", "55000", "recovery_points"),
        ("read_as_of(NULL::t, '-infinity')", "55000", "recovery_points"),
        ("read_as_of(NULL::later, mark => 'before the nightly job')", "55000", "recovery_points"),
        ("read_as_of(NULL::t)", "22023", ""),
        ("read_as_of(NULL::t, now(), 'before the nightly job')", "22023", ""),
        ("restore_table_as_of('tt', now())", "42P01", ""),
        ("restore_table_as_of('plain', now())", "55000", "agent_backup.track("),
        ("restore_table_as_of('t')", "22023", ""),
        ("restore_table_as_of('t', now(), mark => 'before the nightly job')", "22023", ""),
        ("restore_table_as_of('t', now() + interval '1 hour', confirm => true)", "22023", ""),
        ("restore_table_as_of('t', mark => 'nothing', confirm => true)", "42704", ""),
        ("restore_table_as_of(NULL, now())", "22004", ""),
        ("undo('nothing')", "42704", ""),
        ("undo(NULL)", "22004", ""),
        ("undo('before the nightly job', tables => '{}')", "22023", ""),
        ("undo('before the nightly job', tables => '{t,nope}')", "42P01", ""),
        ("undo('before the nightly job', tables => '{t,plain}')", "55000", "agent_backup.track("),
        ("undo('before the nightly job', transaction => 'twelve')", "22023", ""),
        ("record_history('plain', '1')", "55000", "agent_backup.track("),
        ("record_history('nope', '1')", "42P01", ""),
        ("record_history('t', 'one')", "22P02", ""),
        ("record_history('t', NULL::text)", "22004", ""),
        ("recovery_points('nope')", "42P01", ""),
        ("track('nope')", "42P01", ""),
        ("track('t', on_failure => 'ignore')", "22023", ""),
        ("track('t', on_truncate => 'ignore')", "22023", ""),
        ("track('t', truncate_limit => -1)", "22023", ""),
        ("untrack('plain')", "55000", ""),
        ("mark('before the nightly job')", "42710", ""),
        ("mark('')", "22023", ""),
        ("mark(NULL)", "22004", ""),
        ("drop_mark('before the nightly jobs')", "42704", "before the nightly job"),
    ] {
        let refusal = refused(&mut client, &format!("SELECT * FROM agent_backup.{call}"));
        assert_eq!(refusal.code, code, "{call}: {refusal:?}");
        assert!(refusal.hint.contains(hint), "{call}: {refusal:?}");
        assert!(!refusal.message.is_empty() && !refusal.message.contains("not as expected"), "{call}: {refusal:?}");
    }
    for row_type in ["NULL::text", "NULL", "1", "ROW(1, 2)", "NULL::v"] {
        let refusal = refused(&mut client, &format!("SELECT agent_backup.read_as_of({row_type}, now())"));
        assert!(
            ["42804", "42P38", "55000", "42809", "42601", "42P18"].contains(&refusal.code.as_str()),
            "{row_type}: {refusal:?}"
        );
    }
    for (begin, code) in [("BEGIN READ ONLY", "25006"), ("BEGIN ISOLATION LEVEL REPEATABLE READ", "25000")] {
        let call = "SELECT agent_backup.restore_table_as_of('t', mark => 'before the nightly job', confirm => true)";
        assert_eq!(refused(&mut client, &format!("{begin}; {call}")).code, code, "{begin}");
        client.batch_execute("ROLLBACK").unwrap();
    }
    assert_eq!(all(&mut client, &["t"]).len(), 5);
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn marks_belong_to_who_made_them() {
    let db = tracked(FIVE, &["t"]);
    let role = format!("{}_maker", db.name());
    db.run(&format!("CREATE ROLE {role} LOGIN; SELECT agent_backup.mark('root''s', 'a note')"));
    db.let_call(&role);
    let mut client = db.client_as(&role);
    client.batch_execute("SELECT agent_backup.mark('mine'), agent_backup.mark('other')").unwrap();
    assert_eq!(refused(&mut client, "SELECT agent_backup.drop_mark('root''s')").code, "42501");
    client.batch_execute("SELECT agent_backup.drop_mark('mine')").unwrap();
    assert_eq!(
        lines(&mut db.client(), "SELECT mark_name, note FROM agent_backup.marks ORDER BY 1"),
        ["other|", "root's|a note"]
    );
    db.run(&format!("GRANT agent_backup_operator TO {role}; SELECT agent_backup.drop_mark('other')"));
    client.batch_execute("SELECT agent_backup.drop_mark('root''s')").unwrap();
    db.client()
        .batch_execute("BEGIN; SELECT agent_backup.mark('never'); ROLLBACK; SELECT agent_backup.mark('never')")
        .unwrap();
    drop(client);
    db.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn who_may_not_read_or_does_not_own_gets_nothing() {
    let (db, mallory) = with_mallory();
    db.run(FIVE);
    track(&db, "t");
    mark(&db, "m");
    db.run("UPDATE t SET n = -1");
    let mut client = db.client_as(&mallory);
    for call in [
        "read_as_of(NULL::public.t, mark => 'm')",
        "record_history('t', '1')",
        "recovery_points('t')",
        "restore_table_as_of('t', mark => 'm')",
        "undo('m')",
        "track('t')",
        "untrack('t')",
    ] {
        assert_eq!(refused(&mut client, &format!("SELECT * FROM agent_backup.{call}")).code, "42501", "{call}");
    }
    db.run(&format!("GRANT ALL ON t TO {mallory}"));
    assert_eq!(as_of(&mut client, &["t"], "m").len(), 5);
    assert_eq!(lines(&mut client, "SELECT operation FROM agent_backup.record_history('t', '1')"), ["UPDATE"]);
    for call in ["restore_table_as_of('t', mark => 'm', confirm => true)", "undo('m', confirm => true)", "untrack('t')"]
    {
        assert_eq!(refused(&mut client, &format!("SELECT * FROM agent_backup.{call}")).code, "42501", "{call}");
    }
    db.run(&format!("REVOKE ALL ON t FROM {mallory}; GRANT SELECT (id) ON t TO {mallory}"));
    assert_eq!(
        refused(&mut client, "SELECT * FROM agent_backup.read_as_of(NULL::public.t, mark => 'm')").code,
        "42501"
    );
    drop(client);
    agent_backup_suite::end_with(&db, &[&mallory], &[]);
}

#[test]
fn an_owner_needs_no_more_than_the_table() {
    let (db, mallory) = with_mallory();
    let mut client = db.client_as(&mallory);
    client.batch_execute(FIVE).unwrap();
    client.batch_execute("CREATE TABLE p (id int, v text) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p DEFAULT; INSERT INTO p VALUES (1, 'a')").unwrap();
    client.batch_execute("SELECT agent_backup.track('t', baseline => false), agent_backup.track('p', baseline => false); SELECT agent_backup.mark('m')").unwrap();
    client.batch_execute("UPDATE t SET n = -1; DELETE FROM t WHERE id = 1; INSERT INTO p VALUES (2, 'b'); TRUNCATE p; INSERT INTO p VALUES (3, 'c')").unwrap();
    assert_eq!(as_of(&mut client, &["t", "p"], "m").len(), 6);
    back(&mut client, "undo('m', confirm => true)");
    assert_eq!(lines(&mut client, "SELECT sum(n) FROM t"), ["15"]);
    assert_eq!(rows(&mut client, "p"), ["(1,a)"]);
    client
        .batch_execute("SELECT agent_backup.untrack('t'), agent_backup.untrack('p'), agent_backup.drop_mark('m')")
        .unwrap();
    drop(client);
    agent_backup_suite::end_with(&db, &[&mallory], &[]);
}

#[test]
fn code_of_the_owner_runs_as_the_owner() {
    let (db, mallory) = with_mallory();
    let mut client = db.client_as(&mallory);
    client
        .batch_execute(
            "CREATE DOMAIN d AS int CHECK (evil_volatile('domain') = 1);
             CREATE TABLE t (id int PRIMARY KEY, v d, g int GENERATED ALWAYS AS (id + evil_immutable('generated')) STORED, CHECK (evil_volatile('check') = 1));
             CREATE INDEX ON t (evil_immutable(v::text)); INSERT INTO t VALUES (1, 1), (2, 2);
             SELECT agent_backup.track('t', baseline => false); SELECT agent_backup.mark('m')",
        )
        .unwrap();
    let work = || {
        db.run("UPDATE public.t SET v = 3; DELETE FROM public.t WHERE id = 1");
    };
    let usual = agent_backup_suite::singers(&db, work);
    assert!(usual.contains(&"postgres".to_owned()), "an ordinary writer runs it as himself, else this proves nothing");
    let back_again = agent_backup_suite::singers(&db, || {
        let mut root = db.client();
        assert_eq!(as_of(&mut root, &["public.t"], "m").len(), 2);
        back(&mut root, "undo('m', confirm => true)");
        lines(&mut root, "SELECT * FROM agent_backup.record_history('t', '1')");
    });
    assert_eq!(back_again, std::slice::from_ref(&mallory));
    drop(client);
    agent_backup_suite::end_with(&db, &[&mallory], &[]);
}

#[test]
fn recovery_points_are_backups_and_the_time_since_tracking_began() {
    let db = tracked(FIVE, &[]);
    db.run(
        "SELECT agent_backup.create_set('s'); SELECT agent_backup.add_table('s', 't'); SELECT agent_backup.backup('s')",
    );
    db.run("SELECT agent_backup.track('t'); SELECT agent_backup.untrack('t'); SELECT agent_backup.track('t', baseline => false)");
    let mut client = db.client();
    let kinds = "SELECT kind, backup_id IS NOT NULL, until_time IS NULL FROM agent_backup.recovery_points('t') ORDER BY from_time";
    assert_eq!(lines(&mut client, kinds), ["backup|t|f", "continuous|t|f", "backup|t|f", "continuous|f|t"]);
    restore(&mut client, "restore_table('t', confirm => true, set_name => 's')");
    drop(client);
    assert_no_trash(&db, &[]);
}
