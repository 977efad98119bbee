//! An erasure that dies, at any system call on a file: afterwards it has been done to its end, or not at all, and a second
//! one does what is left (T90).

use std::collections::HashMap;
use std::path::Path;

use agent_backup_suite::{
    CANARY, Cluster, Database, Options, assert_backups_whole, assert_no_trash, backup, begun, erase, fails_with, files,
    files_with, long, make_person, one, sqlstate, strace_backend, summed, wait_for_pause, wait_for_recovery,
};

const CALLS: &str = "openat,write,pwrite64,fsync,fdatasync,renameat,renameat2,unlinkat,ftruncate,fallocate,fchmod";
const ERASE: &str = "'email', 'canary.person@example.org', 'request 1', 's', confirm => true";

const CRASH: [&str; 7] = [
    "was terminated by signal 9",
    "terminating connection because of crash of another server process",
    "the database system is in recovery mode",
    "the database system is starting up",
    "not yet accepting connections",
    "terminating connection due to unexpected postmaster exit",
    "erased rows are still in a file",
];

#[derive(Debug, Clone, PartialEq)]
struct Point {
    call: String,
    number: usize,
}

/// The calls of `pid` in a trace that touch our files or the WAL, where the commit is.
fn points(trace: &str, pid: i32, directory: &Path) -> Vec<Point> {
    let directory = directory.display().to_string();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut points = Vec::new();
    for line in trace.lines() {
        let Some((process, rest)) = line.split_once(' ') else { continue };
        let Some((call, arguments)) = rest.trim_start().split_once('(') else { continue };
        if process != pid.to_string() || !CALLS.split(',').any(|known| known == call) {
            continue;
        }
        let number = counts.entry(call).or_default();
        *number += 1;
        if arguments.contains(&directory) || arguments.contains("/pg_wal") {
            points.push(Point { call: call.into(), number: *number });
        }
    }
    points
}

/// Erases in a new session under strace; its trace and what came of it.
fn traced(db: &Database, inject: &[&str]) -> (i32, String, Result<usize, String>) {
    let mut client = db.client();
    client.batch_execute("SET agent_backup.workers = 1").unwrap();
    let pid = db.cluster().backend_pid(&mut client);
    let trace = format!("trace={CALLS}");
    let args = [&["-e", &trace], inject].concat();
    let strace = strace_backend(pid, db.cluster().dir().join(format!("trace_{}", db.name())), &args);
    let outcome = erase(&mut client, ERASE).map(|rows| rows.len()).map_err(|error| sqlstate(&error));
    drop(client);
    (pid, strace.finish(), outcome)
}

/// Two backups with the person in them, and nothing else.
fn fresh(db: &Database) {
    db.run("DELETE FROM agent_backup.backup_catalog; DELETE FROM agent_backup.tombstones; DELETE FROM agent_backup.erasures; DELETE FROM agent_backup.erased_backups");
    drop(std::fs::remove_dir_all(db.backup_dir().join("tombstones")));
    files(db).iter().for_each(|name| std::fs::remove_file(db.backup_dir().join("s").join(name)).unwrap());
    for _ in 0..2 {
        backup(&mut db.client()).unwrap();
    }
}

/// Done to its end or not at all; a reader who comes first ends it, too.
fn assert_all_or_nothing(db: &Database, point: &Point, reader_first: bool) {
    // How many backups it says are left: none of a whole one, both where it was not committed, one where a file failed.
    let left = "SELECT coalesce((SELECT files_left FROM agent_backup.erasures), 2)::bigint";
    let left = one::<i64>(&mut db.client(), left);
    if reader_first {
        let read = "SELECT count(*) FROM agent_backup.backups b, agent_backup.verify(b.backup_id, 'decode', 's') v WHERE v.status = 'failed'";
        assert_eq!(one::<i64>(&mut db.client(), read), 0, "{point:?}");
    }
    db.run("SELECT agent_backup.reconcile('s')");
    assert_eq!(assert_backups_whole(db), 2, "{point:?}");
    let with_canary = files_with(&db.backup_dir().join("s"), CANARY).len();
    assert_eq!(with_canary as i64, left, "{point:?}");
    let again = erase(&mut db.client(), ERASE).unwrap();
    let expected = 2 * left;
    let erased: i64 = summed(&again).iter().filter(|(place, _, _)| place == "backup").map(|(_, _, rows)| rows).sum();
    assert_eq!(erased, expected, "{point:?}: {again:?}");
    assert_eq!(files_with(db.backup_dir(), CANARY).len(), 0, "{point:?}");
    assert_eq!(assert_backups_whole(db), 2, "{point:?}");
}

fn sample(points: Vec<Point>, wanted: usize) -> Vec<Point> {
    if long() || points.len() <= wanted {
        return points;
    }
    let step = |index: usize| index * (wanted - 8) / points.len();
    let chosen = |(index, _): &(usize, &Point)| {
        let call = &points[*index].call;
        let last = points.iter().rposition(|point| &point.call == call) == Some(*index);
        last || *index == 0 || step(*index) != step(index - 1)
    };
    points.iter().enumerate().filter(chosen).map(|(_, point)| point.clone()).collect()
}

#[test]
fn a_kill_at_any_call_on_a_file_leaves_all_or_nothing() {
    let cluster = Cluster::start(Options::default().setting("autovacuum = off"));
    let db = cluster.database();
    make_person(&db, 2_000, "");
    db.run(&format!("CREATE TABLE gone AS SELECT * FROM t WHERE email = '{CANARY}'"));
    fresh(&db);
    let (pid, trace, outcome) = traced(&db, &[]);
    assert!(outcome.is_ok(), "{outcome:?}");
    let all = points(&trace, pid, db.backup_dir());
    assert!(all.iter().any(|point| point.call == "pwrite64") && all.len() > 30, "{all:?}");
    let mut killed = 0;
    let chosen = sample(all, 24);
    for (round, point) in chosen.iter().enumerate() {
        fresh(&db);
        let inject = format!("inject={}:signal=KILL:when={}", point.call, point.number);
        let (pid, _, outcome) = traced(&db, &["-e", &inject]);
        killed += usize::from(outcome == Err("lost".to_owned()));
        wait_for_recovery(&cluster, db.name(), pid);
        assert_all_or_nothing(&db, point, round % 2 == 0);
        assert_no_trash(&db, &CRASH);
    }
    assert!(killed * 10 >= chosen.len() * 8, "killed {killed} of {} times", chosen.len());
}

#[test]
fn a_disk_that_is_full_or_fails_leaves_all_or_nothing() {
    let cluster = Cluster::start(Options::default().setting("autovacuum = off"));
    let db = cluster.database();
    make_person(&db, 2_000, "");
    for inject in [
        "write:error=ENOSPC:when=1",
        "write:error=ENOSPC:when=4",
        "fsync:error=EIO:when=1",
        "fsync:error=EIO:when=3",
        "fallocate:error=ENOSPC:when=1",
        "pwrite64:error=EIO:when=3",
        "renameat:error=EIO:when=1",
    ] {
        fresh(&db);
        let (pid, trace, _) = traced(&db, &["-e", &format!("inject={inject}")]);
        assert!(trace.contains("INJECTED"), "{inject}");
        wait_for_recovery(&cluster, db.name(), pid);
        let point = Point { call: inject.into(), number: 0 };
        assert_all_or_nothing(&db, &point, false);
    }
}

#[test]
fn a_step_that_fails_leaves_everything_as_it_was() {
    let cluster = Cluster::start(Options::default());
    let db = cluster.database();
    make_person(&db, 2_000, "");
    fresh(&db);
    for step in ["erase_publish", "erase_published", "erase_file", "erase_record"] {
        let mut client = db.client();
        for action in ["error", "panic"] {
            client.batch_execute(&format!("SET agent_backup.debug_failpoint = '{step}={action}'")).unwrap();
            let outcome = erase(&mut client, ERASE);
            // What befalls one file is a row, and the others go on.
            if let Ok(rows) = &outcome {
                assert!(
                    rows.iter().filter(|row| row.place == "backup").all(|row| row.action == "left"),
                    "{step}: {rows:?}"
                );
                assert_eq!(files_with(&db.backup_dir().join("s"), CANARY).len(), 2, "{step}");
            }
        }
        client.batch_execute("RESET agent_backup.debug_failpoint").unwrap();
        drop(client);
        assert_eq!(assert_backups_whole(&db), 2, "{step}");
        assert_eq!(files_with(&db.backup_dir().join("s"), CANARY).len(), 2, "{step}");
    }
    let erased = erase(&mut db.client(), ERASE).unwrap();
    assert!(summed(&erased).contains(&("backup".into(), "erased".into(), 4)), "{erased:?}");
    assert_no_trash(&db, &["was made to"]);
}

#[test]
fn a_backup_that_runs_keeps_an_erasure_out_and_a_reader_only_its_file() {
    let cluster = Cluster::start(Options::default());
    let db = cluster.database();
    make_person(&db, 2_000, "");
    fresh(&db);
    let mut client = db.client();
    client.batch_execute("SET agent_backup.debug_failpoint = 'publish=pause'").unwrap();
    let (pid, run) = begun(client, "SELECT agent_backup.backup('s')");
    wait_for_pause(&db, pid, "publish");
    fails_with(erase(&mut db.client(), ERASE), "55P03");
    db.run(&format!("SELECT pg_cancel_backend({pid})"));
    drop(run.join().unwrap());

    // A session that has erased and not yet committed keeps readers waiting; they see the file whole after it.
    let mut client = db.client();
    client.batch_execute("BEGIN").unwrap();
    erase(&mut client, ERASE).unwrap();
    let read = "SELECT count(*) FROM agent_backup.read_backup(NULL::t, 'latest', set_name => 's')";
    let mut other = db.client();
    other.batch_execute("SET agent_backup.lock_timeout = '200ms'").unwrap();
    assert!(other.query(read, &[]).is_err());
    client.batch_execute("COMMIT").unwrap();
    assert_eq!(one::<i64>(&mut other, read), 1_998);
    assert_no_trash(&db, &["canceling statement", "cannot lock", "is busy", "another session", "could not"]);
}
