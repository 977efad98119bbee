//! `verify`: what a good backup answers at each level, what is recorded, who may, and where nothing may be written.

use std::time::{Duration, Instant};

use agent_backup_suite::{
    Cluster, Database, Options, Set, Signal, assert_clean, assert_no_trash, backup, begun, database, fails_with,
    kill_backend, lines, one, refused, sqlstate, wait_until,
};
use postgres::NoTls;

/// The set `s` of two tables of 100 rows, backed up once.
fn with_backup() -> Database<'static> {
    let db = database();
    Set::create(&db, 2, 100);
    backup(&mut db.client()).unwrap();
    db
}

fn logged(db: &Database) -> i64 {
    one(&mut db.client(), "SELECT count(*) FROM backup_verification_log")
}

#[test]
fn rows_and_digests_are_those_that_the_catalogue_lists() {
    let db = with_backup();
    let told = "SELECT table_name, format, row_count, checksum FROM agent_backup.verify(set_name => 's') WHERE table_name IS NOT NULL ORDER BY 1, 2";
    let listed = "SELECT table_name, format, row_count, checksum FROM agent_backup.backup_files ORDER BY 1, 2";
    let (told, listed) = (lines(&mut db.client(), told), lines(&mut db.client(), listed));
    assert_eq!(told.len(), 4);
    assert_eq!(told, listed);
    assert_clean(&db, &[]);
}

#[test]
fn each_level_says_what_it_does_not_prove() {
    let db = with_backup();
    for (level, open) in [
        ("exists", "that the stored bytes"),
        ("hash", "decode to the right rows"),
        ("decode", "a server takes the rows"),
    ] {
        let query = format!("SELECT check_name, status, details FROM agent_backup.verify('latest', '{level}', 's')");
        let said = lines(&mut db.client(), &query);
        let last = said.last().unwrap();
        assert!(last.starts_with("scope|ok|") && last.contains(open) && last.contains(level), "{last}");
        let checked = said.iter().filter(|line| line.starts_with(&format!("{level}|ok|"))).count();
        assert!(checked >= 5, "{level}: {said:#?}");
    }
    assert_clean(&db, &[]);
}

#[test]
fn the_defaults_verify_the_newest_backup_of_the_agent_sdk() {
    let db = database();
    db.run(
        "CREATE TABLE agent_approvals (id int); CREATE TABLE \"AgentApproval\" (id int); SELECT agent_backup.backup()",
    );
    let said = lines(
        &mut db.client(),
        "SELECT table_name, format, status FROM agent_backup.verify() WHERE table_name IS NOT NULL",
    );
    assert_eq!(
        said,
        ["agent_approvals|csv|ok", "agent_approvals|json|ok", "\"AgentApproval\"|csv|ok", "\"AgentApproval\"|json|ok"]
    );
    let scope: String = one(&mut db.client(), "SELECT details FROM agent_backup.verify() WHERE check_name = 'scope'");
    assert!(scope.contains("did not exist: \"AgentFeedback\""), "{scope}");
    // The seed's names, as they are spelt.
    let names = lines(&mut db.client(), "SELECT DISTINCT table_name FROM backup_verification_log ORDER BY 1");
    assert_eq!(names, ["AgentApproval", "agent_approvals"]);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_member_that_could_not_be_backed_up_is_missing() {
    let db = with_backup();
    db.run("CREATE TABLE broken (id int); SELECT agent_backup.add_table('s', 'broken', row_filter => 'id / 0 = 1'); INSERT INTO broken VALUES (1)");
    backup(&mut db.client()).unwrap();
    let id: String = one(&mut db.client(), "SELECT backup_id FROM agent_backup.backups WHERE status = 'incomplete'");
    let query = format!(
        "SELECT table_name, format, status, details FROM agent_backup.verify('{id}', set_name => 's') WHERE status <> 'ok'"
    );
    assert_eq!(
        lines(&mut db.client(), &query),
        ["broken||failed|missing: it could not be backed up: division by zero"]
    );
    assert_no_trash(&db, &["division by zero"]);
}

#[test]
fn the_verdict_is_kept_with_the_backup_and_in_the_log() {
    let db = with_backup();
    db.run("SELECT agent_backup.verify(set_name => 's')");
    let kept = "SELECT verification_status, verification_level, verified_at > started_at FROM agent_backup.backups";
    assert_eq!(lines(&mut db.client(), kept), ["success|decode|t"]);
    let query = "SELECT l.table_name, l.format, verification_status, l.row_count = f.row_count, l.size_bytes = f.size_bytes,
                        l.checksum = f.checksum, level, error_message, backup_date = (started_at AT TIME ZONE 'UTC')::date,
                        duration > '0', digest_algorithm LIKE 'md5%', details ->> 'set_name'
                 FROM backup_verification_log l JOIN agent_backup.backup_files f USING (backup_id, table_name, format) ORDER BY 1, 2";
    let row = |table, format| format!("{table}|{format}|success|t|t|t|decode||t|t|t|s");
    let expected = [row("t1", "csv"), row("t1", "json"), row("t2", "csv"), row("t2", "json")];
    assert_eq!(lines(&mut db.client(), query), expected);
    assert_clean(&db, &[]);
}

#[test]
fn a_good_verdict_of_a_lower_level_does_not_hide_a_bad_one() {
    let db = with_backup();
    let kept = |db: &Database| {
        lines(&mut db.client(), "SELECT verification_status, verification_level, status FROM agent_backup.backups")
            .remove(0)
    };
    let file: String = one(&mut db.client(), "SELECT backup_file FROM agent_backup.backups");
    let good = std::fs::read(&file).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 3] ^= 1;
    std::fs::write(&file, &bad).unwrap();
    db.run("SELECT agent_backup.verify(set_name => 's')");
    assert_eq!(kept(&db), "failed|decode|complete");
    db.run("SELECT agent_backup.verify('latest', 'exists', 's')");
    assert_eq!(kept(&db), "failed|decode|complete");
    db.run("SELECT agent_backup.verify('latest', 'hash', 's')");
    assert_eq!(kept(&db), "failed|hash|complete");
    std::fs::write(&file, &good).unwrap();
    db.run("SELECT agent_backup.verify(set_name => 's')");
    assert_eq!(kept(&db), "success|decode|complete");
    assert_clean(&db, &[]);
}

#[test]
fn the_hash_of_an_adopted_file_is_filled_in() {
    let db = with_backup();
    let hash = "SELECT file_sha256 FROM agent_backup.backup_catalog";
    let before: String = one(&mut db.client(), hash);
    db.run("TRUNCATE agent_backup.backup_catalog CASCADE; SELECT agent_backup.reconcile('s')");
    assert_eq!(one::<Option<String>>(&mut db.client(), hash), None);
    db.run("SELECT agent_backup.verify('latest', 'exists', 's')");
    assert_eq!(one::<Option<String>>(&mut db.client(), hash), None);
    db.run("SELECT agent_backup.verify('latest', 'hash', 's')");
    assert_eq!(one::<String>(&mut db.client(), hash), before);
    assert_clean(&db, &[]);
}

/// A connection whose notices are kept.
fn with_notices(db: &Database) -> (postgres::Client, std::sync::mpsc::Receiver<String>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut config = db.cluster().config("postgres", db.name());
    config.notice_callback(move |notice| drop(sender.send(notice.message().to_owned())));
    (config.connect(NoTls).unwrap(), receiver)
}

#[test]
fn a_read_only_transaction_verifies_and_says_that_nothing_is_logged() {
    let db = with_backup();
    let (mut client, notices) = with_notices(&db);
    for call in ["agent_backup.verify(set_name => 's')", "verify_daily_backups('s')"] {
        client.batch_execute("BEGIN READ ONLY").unwrap();
        let failed: i64 = one(&mut client, &format!("SELECT count(*) FILTER (WHERE status = 'failed') FROM {call}"));
        client.batch_execute("COMMIT").unwrap();
        assert_eq!(failed, 0, "{call}");
        assert_eq!(notices.try_recv().unwrap(), "the result is not logged in a read-only transaction");
    }
    assert_eq!(logged(&db), 0);
    drop(client);
    assert_clean(&db, &[]);
}

#[test]
fn a_standby_verifies() {
    let cluster = Cluster::start(Options::default());
    let db = cluster.database();
    Set::create(&db, 1, 100);
    backup(&mut db.client()).unwrap();
    let standby = cluster.create_standby();
    let mut client = standby.client(db.name());
    let ok = lines(&mut client, "SELECT DISTINCT status FROM agent_backup.verify(set_name => 's')");
    let daily = lines(&mut client, "SELECT table_name, status FROM verify_daily_backups('s')");
    assert_eq!((ok, daily), (vec!["ok".to_owned()], vec!["t1|success".to_owned()]));
    drop(client);
    standby.stop("immediate");
    wait_until("the standby to be gone", Duration::from_secs(20), || {
        db.client().query("SELECT 1 FROM pg_stat_replication", &[]).unwrap().is_empty().then_some(())
    });
    assert_eq!(logged(&db), 0);
    assert_clean(&db, &[]);
}

#[test]
fn a_cancel_ends_a_verification_within_a_second_and_leaves_nothing() {
    let db = database();
    Set::create(&db, 1, 150_000);
    backup(&mut db.client()).unwrap();
    let started = Instant::now();
    db.run("SELECT agent_backup.verify(set_name => 's')");
    let whole = started.elapsed();
    let before = logged(&db);
    let mut cancelled = 0;
    for step in 0..12 {
        let (pid, run) = begun(db.client(), "SELECT agent_backup.verify(set_name => 's')");
        std::thread::sleep(whole.mul_f64(f64::from(step) / 14.0));
        let sent = Instant::now();
        kill_backend(pid, Signal::SIGINT);
        let (client, outcome) = run.join().unwrap();
        assert!(sent.elapsed() < Duration::from_secs(1), "it took {:?}", sent.elapsed());
        if let Err(error) = outcome {
            assert_eq!(sqlstate(&error), "57014");
            cancelled += 1;
        }
        assert_no_trash(&db, &[]);
        // Its threads are gone, too.
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().count();
        assert_eq!(threads, 1);
        drop(client);
    }
    assert!(cancelled >= 6, "only {cancelled} were cancelled");
    assert!(logged(&db) - before <= 2 * (12 - cancelled));
    assert_clean(&db, &[]);
}

#[test]
fn memory_does_not_grow_with_the_backup() {
    let db = database();
    Set::create(&db, 1, 300_000);
    backup(&mut db.client()).unwrap();
    let plain: i64 = one(&mut db.client(), "SELECT max(plain_bytes) FROM agent_backup.backup_files");
    assert!(plain > 35 << 20);
    let mut client = db.client();
    let pid = db.cluster().backend_pid(&mut client);
    client.batch_execute("SET agent_backup.workers = 2; SELECT agent_backup.verify('latest', 'exists', 's')").unwrap();
    let peak = || -> i64 {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let before = peak();
    client.batch_execute("SELECT agent_backup.verify(set_name => 's')").unwrap();
    assert!(peak() - before < 24 << 10, "{} kB more", peak() - before);
    drop(client);
    assert_clean(&db, &[]);
}

#[test]
fn who_may_read_backups_may_verify_and_nobody_else() {
    let db = with_backup();
    let mut admin = db.client();
    let (operator, stranger) = (format!("{}_operator", db.name()), format!("{}_stranger", db.name()));
    admin
        .batch_execute(&format!(
            "CREATE ROLE {operator} LOGIN IN ROLE agent_backup_operator; CREATE ROLE {stranger} LOGIN"
        ))
        .unwrap();
    db.let_call(&stranger);
    let mut client = db.client_as(&operator);
    let query = "SELECT count(*) FROM agent_backup.verify(set_name => 's') WHERE status = 'ok'";
    assert_eq!(one::<i64>(&mut client, query), 11); // one for each file in the container, and for the files themselves
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM backup_verification_log"), 4);
    // It may not read the tables: that is told and is no failure of the backup.
    let daily = lines(&mut client, "SELECT table_name, status, details ->> 'live' FROM verify_daily_backups('s')");
    assert_eq!(
        daily,
        ["t1|success|permission denied for table \"t1\"", "t2|success|permission denied for table \"t2\""]
    );
    drop(client);
    for call in
        ["agent_backup.verify(set_name => 's')", "agent_backup.verify('/etc/passwd')", "verify_daily_backups('s')"]
    {
        let refusal = refused(&mut db.client_as(&stranger), &format!("SELECT {call}"));
        assert_eq!(refusal.code, "42501", "{call}: {refusal:?}");
        assert!(refusal.hint.contains("GRANT agent_backup_operator"), "{refusal:?}");
    }
    let refusal = refused(&mut db.client_as(&operator), "SELECT agent_backup.verify('/etc/passwd')");
    assert_eq!(refusal.code, "42501", "{refusal:?}");
    fails_with(db.client_as(&stranger).query("TABLE backup_verification_log", &[]), "42501");
    admin.batch_execute(&format!("DROP OWNED BY {stranger}; DROP ROLE {operator}, {stranger}")).unwrap();
    drop(admin);
    assert_clean(&db, &[]);
}
