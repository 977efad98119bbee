//! Files go with the commit and not without it (T70): rollbacks, crashes, a directory that cannot be written, files of
//! others, and sessions that read what goes (T29).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use agent_backup_suite::{
    Cluster, Database, Options, Set, assert_backups_whole, assert_clean, assert_no_trash, backup, backups_at, begun,
    database, fails_with, files, kill_backend, lines, listed_days, long, noted, one, prune, refused, set_clock,
    sqlstate, statuses, strace_backend, wait_until,
};

const CONFIRMED: &str = "'s', confirm => true";
const CALL: &str = "SELECT agent_backup.prune('s', confirm => true)";

/// Four backups, of which two go.
fn fill(db: &Database) -> Vec<String> {
    Set::create(db, 1, 200);
    db.run("SELECT agent_backup.set_retention('s', keep_daily => 2, keep_weekly => 0, keep_monthly => 0)");
    backups_at(db, "s", "full", &["2026-03-01", "2026-03-02", "2026-03-03", "2026-03-04"])
}

/// A session of that time.
fn session(db: &Database) -> postgres::Client {
    let mut client = db.client();
    set_clock(&mut client, "2026-03-04");
    client
}

#[track_caller]
fn assert_all_there(db: &Database) {
    assert_eq!((listed_days(db, "s").len(), files(db).len(), noted(db), assert_backups_whole(db)), (4, 8, 0, 4));
}

#[track_caller]
fn assert_two_left(db: &Database) {
    assert_eq!(listed_days(db, "s"), ["2026-03-03", "2026-03-04"]);
    assert_eq!((files(db).len(), noted(db), assert_backups_whole(db)), (4, 2, 2));
}

#[test]
fn files_stay_until_the_commit_and_with_a_rollback() {
    let db = database();
    fill(&db);
    let mut client = session(&db);
    for end in ["ROLLBACK", "COMMIT"] {
        client.batch_execute("BEGIN").unwrap();
        assert_eq!(prune(&mut client, CONFIRMED).len(), 2);
        // Nobody else sees anything of it yet, nor works on the set.
        assert_all_there(&db);
        for call in ["backup('s')", "prune('s', true)", "reconcile('s')"] {
            assert_eq!(refused(&mut db.client(), &format!("SELECT agent_backup.{call}")).code, "55P03", "{call}");
        }
        client.batch_execute(end).unwrap();
        if end == "ROLLBACK" {
            assert_all_there(&db);
        }
    }
    assert_two_left(&db);
    drop(client);
    assert_clean(&db, &[]);
}

#[test]
fn a_savepoint_takes_its_files_back() {
    let db = database();
    fill(&db);
    let mut client = session(&db);
    let caught = "DO $$ BEGIN PERFORM * FROM agent_backup.prune('s', confirm => true); RAISE division_by_zero; \
                  EXCEPTION WHEN division_by_zero THEN NULL; END $$";
    for script in [
        &format!("BEGIN; SAVEPOINT a; {CALL}; ROLLBACK TO a; COMMIT"),
        &format!("BEGIN; SAVEPOINT a; SAVEPOINT b; {CALL}; RELEASE b; ROLLBACK TO a; COMMIT"),
        &format!("BEGIN; SAVEPOINT a; {CALL}; SAVEPOINT b; SELECT 1; ROLLBACK TO a; RELEASE a; COMMIT"),
        caught,
    ] {
        client.batch_execute(script).unwrap();
        assert_all_there(&db);
    }
    // Taken back and done again, in a deeper one that is released; what came to nothing after it plays no part.
    client.batch_execute(&format!("BEGIN; SAVEPOINT a; {CALL}; ROLLBACK TO a; SAVEPOINT b; {CALL}; RELEASE b; SAVEPOINT c; SELECT 1; ROLLBACK TO c; COMMIT")).unwrap();
    assert_two_left(&db);
    drop(client);
    assert_clean(&db, &[]);
}

#[test]
fn a_backup_in_the_same_transaction_does_not_bring_back_what_goes() {
    let db = database();
    fill(&db);
    let mut client = session(&db);
    client.batch_execute(&format!("BEGIN; {CALL}; SELECT agent_backup.reconcile('s')")).unwrap();
    set_clock(&mut client, "2026-03-04T03:00:00Z");
    assert_eq!(statuses(&backup(&mut client).unwrap()), ["ok"]);
    // The new one stands for its day.
    assert_eq!(prune(&mut client, CONFIRMED).len(), 1);
    client.batch_execute("COMMIT").unwrap();
    assert_eq!(listed_days(&db, "s"), ["2026-03-03", "2026-03-04"]);
    assert_eq!((files(&db).len(), noted(&db), assert_backups_whole(&db)), (4, 3, 2));
    drop(client);
    assert_clean(&db, &[]);
}

#[test]
fn a_transaction_that_removes_is_not_prepared() {
    let cluster = Cluster::start(Options::default().setting("max_prepared_transactions = 2"));
    let db = cluster.database();
    fill(&db);
    let mut client = session(&db);
    client.batch_execute(&format!("BEGIN; {CALL}")).unwrap();
    let refusal = refused(&mut client, "PREPARE TRANSACTION 'x'");
    assert_eq!(
        (refusal.code.as_str(), refusal.message.as_str()),
        ("0A000", "cannot prepare a transaction that has removed backups")
    );
    assert_all_there(&db);
    client.batch_execute("BEGIN; CREATE TABLE x (); PREPARE TRANSACTION 'x'").unwrap();
    client.batch_execute("COMMIT PREPARED 'x'").unwrap();
    client.batch_execute(CALL).unwrap();
    assert_two_left(&db);
    drop(client);
    assert_clean(&db, &[]);
}

#[test]
fn a_step_that_fails_or_panics_removes_nothing() {
    let db = database();
    fill(&db);
    let mut client = session(&db);
    for step in ["prune", "pruned"] {
        for way in ["error", "panic"] {
            client.batch_execute(&format!("SET agent_backup.debug_failpoint = '{step}={way}'")).unwrap();
            fails_with(client.batch_execute(CALL), "XX000");
            assert_all_there(&db);
            // Of all sets, one that fails costs itself.
            let rows = prune(&mut client, "NULL, confirm => true");
            let failed: Vec<_> = rows.iter().filter(|row| row.action == "failed").map(|row| row.set.as_str()).collect();
            assert!(failed.contains(&"s") && rows.len() == failed.len(), "{rows:?}");
            assert_all_there(&db);
        }
    }
    client.batch_execute("RESET agent_backup.debug_failpoint").unwrap();
    client.batch_execute(CALL).unwrap();
    assert_two_left(&db);
    drop(client);
    assert_clean(&db, &["was made to", "panicked at"]);
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn where_nothing_can_be_removed_the_rows_stay_and_say_why() {
    let db = database();
    fill(&db);
    db.run("UPDATE t1 SET a = 'x'; SELECT agent_backup.incremental('s')");
    let mut client = session(&db);
    let directory = db.backup_dir().join("s");
    set_mode(&directory, 0o500);
    let rows = prune(&mut client, CONFIRMED);
    assert!(rows.len() == 2 && rows.iter().all(|row| row.action == "failed"), "{rows:?}");
    assert!(rows[0].reasons[0].contains("Permission denied") && rows[0].reasons[1] == "no rule keeps it", "{rows:?}");
    set_mode(&directory, 0o700);
    assert_all_there(&db);
    // The directory is gone, as a disk that is not mounted: its rows stay, too.
    let away = db.backup_dir().join("away");
    fs::rename(&directory, &away).unwrap();
    let rows = prune(&mut client, CONFIRMED);
    assert!(rows.iter().all(|row| row.action == "failed" && row.reasons[0].contains("does not exist")), "{rows:?}");
    assert!(!directory.exists());
    fs::rename(&away, &directory).unwrap();
    assert_eq!(prune(&mut client, CONFIRMED).len(), 2);
    assert_two_left(&db);
    drop(client);
    assert_clean(&db, &[]);
}

#[test]
fn a_file_that_cannot_be_removed_at_the_commit_is_listed_again_and_goes_the_next_time() {
    let db = database();
    let ids = fill(&db);
    db.run(&format!("SELECT agent_backup.pin('{}', 'kept')", ids[2]));
    let mut client = session(&db);
    let directory = db.backup_dir().join("s");
    client.batch_execute(&format!("BEGIN; {CALL}")).unwrap();
    set_mode(&directory, 0o500);
    client.batch_execute("COMMIT").unwrap();
    set_mode(&directory, 0o700);
    assert_eq!((listed_days(&db, "s").len(), files(&db).len(), noted(&db)), (2, 8, 2));
    assert_eq!(lines(&mut client, "SELECT action FROM agent_backup.reconcile('s')"), ["adopted", "adopted"]);
    assert_all_there(&db);
    client.batch_execute(CALL).unwrap();
    assert_two_left(&db);
    drop(client);
    assert_clean(&db, &["could not remove all pruned backups from"]);
}

#[test]
fn files_that_are_gone_are_no_error_and_those_of_another_backup_stay() {
    let db = database();
    fill(&db);
    let paths = |day: &str| -> Vec<std::path::PathBuf> {
        let names = files(&db).into_iter().filter(|name| name.contains(day));
        names.map(|name| db.backup_dir().join("s").join(name)).collect()
    };
    paths("20260301").iter().for_each(|path| fs::remove_file(path).unwrap());
    // Another backup has taken the names of the second.
    let keep: Vec<(Vec<u8>, std::path::PathBuf)> =
        paths("20260302").into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect();
    for (source, target) in paths("20260304").iter().zip(paths("20260302")) {
        fs::copy(source, target).unwrap();
    }
    let mut client = session(&db);
    let rows: Vec<_> =
        prune(&mut client, CONFIRMED).into_iter().map(|row| (row.action, row.reasons[0].clone())).collect();
    assert_eq!((rows[0].0.as_str(), rows[1].0.as_str()), ("failed", "removed"));
    assert!(rows[0].1.contains("is not the one that the catalogue lists"), "{rows:?}");
    assert_eq!(files(&db).len(), 6);
    keep.into_iter().for_each(|(bytes, path)| fs::write(path, bytes).unwrap());
    // A manifest that can no longer be read is damage, and ours.
    fs::write(db.backup_dir().join("s/metadata_20260302.json"), "{").unwrap();
    client.batch_execute(CALL).unwrap();
    assert_two_left(&db);
    drop(client);
    assert_clean(&db, &[]);
}

#[test]
fn a_session_that_reads_a_backup_that_goes_reads_it_to_its_end() {
    let db = database();
    let ids = fill(&db);
    let mut reader = db.client();
    reader.batch_execute("CREATE TABLE result (n bigint); SET agent_backup.workers = 1").unwrap();
    let pid = db.cluster().backend_pid(&mut reader);
    // Each read takes its time.
    let trace = db.cluster().dir().join(format!("trace_{}", db.name()));
    let strace = strace_backend(pid, trace, &["-e", "trace=pread64", "-e", "inject=pread64:delay_enter=200000"]);
    let call = format!(
        "INSERT INTO result SELECT count(*) FROM agent_backup.read_backup(NULL::t1, '{}', set_name => 's')",
        ids[0]
    );
    let (pid, reading) = begun(reader, &call);
    wait_until("the reader to open the backup", Duration::from_secs(30), || {
        let open =
            fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
        open.into_iter().any(|path| path.to_string_lossy().ends_with(".tar.gz")).then_some(())
    });
    session(&db).batch_execute(CALL).unwrap();
    let (reader, outcome) = reading.join().unwrap();
    strace.finish();
    outcome.unwrap();
    assert_eq!(one::<i64>(&mut db.client(), "SELECT n FROM result"), 200);
    drop(reader);
    assert_two_left(&db);
    // Who comes later is told.
    let refusal = refused(&mut db.client(), &call);
    assert_eq!((refusal.code.as_str(), refusal.message), ("42704", format!("backup \"{}\" does not exist", ids[0])));
    assert_clean(&db, &[]);
}

#[test]
fn a_verification_of_a_backup_that_goes_meanwhile_raises_no_false_alarm() {
    let db = database();
    fill(&db);
    let (mut ended, mut told) = (0, 0);
    for round in 0..if long() { 40 } else { 8 } {
        let id = backups_at(&db, "s", "full", &["2026-02-01"]).remove(0);
        let mut reader = db.client();
        let pid = db.cluster().backend_pid(&mut reader);
        let trace = db.cluster().dir().join(format!("trace_{}", db.name()));
        let strace = strace_backend(pid, trace, &["-e", "trace=openat", "-e", "inject=openat:delay_enter=40000"]);
        let (_, reading) = begun(reader, &format!("SELECT agent_backup.verify('{id}', 'hash', 's')"));
        std::thread::sleep(Duration::from_millis(20 + 200 * (round % 8)));
        session(&db).batch_execute(CALL).unwrap();
        let (reader, outcome) = reading.join().unwrap();
        strace.finish();
        drop(reader);
        match outcome {
            Ok(()) => ended += 1,
            Err(error) => {
                told += 1;
                assert!(["42704", "58P01"].contains(&sqlstate(&error).as_str()), "{error:?}");
            }
        }
        assert_eq!((listed_days(&db, "s").len(), files(&db).len(), assert_backups_whole(&db)), (2, 4, 2));
    }
    assert!(ended > 0 && told > 0, "{ended} ended, {told} were told");
    let alarms = "SELECT * FROM backup_verification_log WHERE verification_status = 'failed'";
    assert_eq!(lines(&mut db.client(), alarms), [""; 0]);
    assert_clean(&db, &[]);
}

/// What a server says that lost a process.
const CRASH: [&str; 6] = [
    "was terminated by signal 9",
    "terminating connection because of crash of another server process",
    "the database system is in recovery mode",
    "the database system is starting up",
    "not yet accepting connections",
    "terminating connection due to unexpected postmaster exit",
];

/// Prunes under strace; the trace, and what came of it.
fn traced(db: &Database, inject: &[&str]) -> (String, Result<(), String>) {
    let mut client = session(db);
    // Loaded, and its caches warm, so that calls are counted from the same one on.
    prune(&mut client, "'s'");
    let pid = db.cluster().backend_pid(&mut client);
    let output = db.cluster().dir().join(format!("trace_{}", db.name()));
    let strace = strace_backend(pid, output, &[&["-e", "trace=unlinkat,fsync,pwrite64"], inject].concat());
    let outcome = client.batch_execute(CALL).map_err(|error| sqlstate(&error));
    drop(client);
    (strace.finish(), outcome)
}

#[test]
fn a_kill_at_any_call_of_the_removal_leaves_no_listed_backup_without_its_files() {
    let cluster = Cluster::start(Options::default().setting("autovacuum = off"));
    let db = cluster.database();
    fill(&db);
    let (trace, outcome) = traced(&db, &[]);
    outcome.unwrap();
    let count = |call: &str, place: &str| {
        trace.lines().filter(|line| line.contains(&format!("{call}(")) && line.contains(place)).count()
    };
    let ours = db.backup_dir().display().to_string();
    assert_eq!((count("unlinkat", &ours), count("fsync", &ours)), (4, 2), "{trace}");
    let commits = count("pwrite64", "/pg_wal");
    assert!(commits >= 1, "{trace}");
    let calls = [("unlinkat", 4), ("fsync", 2), ("pwrite64", commits)];
    let points = calls.iter().flat_map(|(call, count)| (1..=*count).map(move |number| (*call, number)));
    let mut killed = 0;
    let points: Vec<_> = points.filter(|(call, number)| long() || *call != "pwrite64" || *number == commits).collect();
    for (call, number) in &points {
        db.run("DELETE FROM agent_backup.backup_catalog; DELETE FROM agent_backup.pruned_backups");
        files(&db).iter().for_each(|name| fs::remove_file(db.backup_dir().join("s").join(name)).unwrap());
        backups_at(&db, "s", "full", &["2026-03-01", "2026-03-02", "2026-03-03", "2026-03-04"]);
        let (_, outcome) = traced(&db, &["-e", &format!("inject={call}:signal=KILL:when={number}")]);
        killed += usize::from(outcome == Err("lost".to_owned()));
        wait_until("the server to recover", Duration::from_secs(60), || {
            let mut client = db.cluster().config("postgres", db.name()).connect(postgres::NoTls).ok()?;
            client.batch_execute("SELECT 1").ok()
        });
        let listed = lines(
            &mut db.client(),
            "SELECT unnest(ARRAY[backup_file, manifest_file]) FROM agent_backup.backups WHERE status = 'complete'",
        );
        let lost: Vec<_> = listed.iter().filter(|path| !Path::new(path).exists()).collect();
        assert!(lost.is_empty() && listed.len() >= 4, "{call} {number}: {lost:?} of {listed:?}");
        db.run("SELECT agent_backup.reconcile('s')");
        assert!(assert_backups_whole(&db) >= 2, "{call} {number}");
        session(&db).batch_execute(CALL).unwrap();
        assert_two_left(&db);
        assert_no_trash(&db, &CRASH);
    }
    assert_eq!(killed, points.len(), "killed {killed} times");
    assert_clean(&db, &CRASH);
}

#[test]
fn a_session_that_ends_in_the_transaction_removes_nothing() {
    let db = database();
    fill(&db);
    let mut client = session(&db);
    client.batch_execute(&format!("BEGIN; {CALL}")).unwrap();
    let pid = db.cluster().backend_pid(&mut client);
    kill_backend(pid, agent_backup_suite::Signal::SIGTERM);
    wait_until("the session to end", Duration::from_secs(10), || {
        let query = format!("SELECT 1 FROM pg_stat_activity WHERE pid = {pid}");
        db.client().query(&query, &[]).unwrap().is_empty().then_some(())
    });
    drop(client);
    assert_all_there(&db);
    assert_clean(&db, &["terminating connection due to administrator command"]);
}
