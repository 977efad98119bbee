//! kill -9 at every system call on a file (T01): no listed backup is less than whole, older ones stay, the next run works.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use agent_backup_suite::{
    Cluster, Database, Options, Set, assert_backups_whole, assert_clean, assert_no_trash, backup, begun, files,
    kill_backend, long, sqlstate, statuses, strace_backend, wait_for_pause, wait_for_recovery,
};

const CALLS: &str = "openat,write,pwrite64,fsync,fdatasync,renameat2,unlinkat,mkdirat,linkat,fchmod,fchmodat,ftruncate";

/// What a server says that lost a process.
const CRASH: [&str; 6] = [
    "was terminated by signal 9",
    "terminating connection because of crash of another server process",
    "the database system is in recovery mode",
    "the database system is starting up",
    "not yet accepting connections",
    "terminating connection due to unexpected postmaster exit",
];

/// The `number`th of these calls in the backend.
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

/// Runs a backup in a new session under strace; its trace and what came of it.
fn traced(db: &Database, inject: &[&str]) -> (i32, String, Result<usize, String>) {
    let mut client = db.client();
    client.batch_execute("SET agent_backup.workers = 1; SET agent_backup.chunk_size = '16kB'").unwrap();
    let pid = db.cluster().backend_pid(&mut client);
    let trace = format!("trace={CALLS}");
    let args = [&["-e", &trace], inject].concat();
    let strace = strace_backend(pid, db.cluster().dir().join(format!("trace_{}", db.name())), &args);
    let outcome = backup(&mut client).map(|rows| rows.len()).map_err(|error| sqlstate(&error));
    drop(client);
    (pid, strace.finish(), outcome)
}

/// Every point, or some: first and last of each kind of call and others evenly between them.
fn sample(points: Vec<Point>, wanted: usize) -> Vec<Point> {
    if long() || points.len() <= wanted {
        return points;
    }
    let chosen = |(index, _): &(usize, &Point)| {
        let call = &points[*index].call;
        let last = points.iter().rposition(|point| &point.call == call) == Some(*index);
        let step = |index: usize| index * (wanted - 8) / points.len();
        last || *index == 0 || step(*index) != step(index - 1)
    };
    points.iter().enumerate().filter(chosen).map(|(_, point)| point.clone()).collect()
}

/// Removes all backups of `s`, so that the check of all of them stays short.
fn forget_all(db: &Database) {
    db.run("DELETE FROM agent_backup.backup_catalog WHERE set_name = 's'");
    files(db).iter().for_each(|name| std::fs::remove_file(db.backup_dir().join("s").join(name)).unwrap());
}

#[test]
fn a_kill_at_any_call_on_a_file_leaves_only_whole_backups() {
    let cluster = Cluster::start(Options::default().setting("autovacuum = off"));
    let db = cluster.database();
    Set::create(&db, 2, 600);
    let (pid, trace, outcome) = traced(&db, &[]);
    assert_eq!(outcome, Ok(2));
    let first = points(&trace, pid, db.backup_dir());
    let (pid, trace, _) = traced(&db, &[]);
    let later = points(&trace, pid, db.backup_dir());
    assert!(first.iter().any(|p| p.call == "mkdirat") && later.iter().any(|p| p.call == "renameat2"), "{later:?}");

    let mut killed = 0;
    let chosen = sample(later, 24);
    for (round, point) in chosen.iter().enumerate() {
        if round % 6 == 5 {
            forget_all(&db);
            backup(&mut db.client()).unwrap();
        }
        let before = assert_backups_whole(&db);
        let inject = format!("inject={}:signal=KILL:when={}", point.call, point.number);
        let (pid, _, outcome) = traced(&db, &["-e", &inject]);
        killed += usize::from(outcome == Err("lost".to_owned()));
        wait_for_recovery(&cluster, db.name(), pid);
        db.run("SELECT agent_backup.reconcile('s')");
        assert!(assert_backups_whole(&db) >= before, "{point:?}: a backup is gone");
        assert_eq!(statuses(&backup(&mut db.client()).unwrap()), ["ok", "ok"], "{point:?}");
        assert!(assert_backups_whole(&db) > before, "{point:?}");
        assert_no_trash(&db, &CRASH);
    }
    assert!(killed * 10 >= chosen.len() * 9, "killed {killed} of {} times", chosen.len());
    assert_clean(&db, &CRASH);
}

#[test]
fn a_kill_while_the_directories_are_made_leaves_nothing_in_the_way() {
    let cluster = Cluster::start(Options::default().setting("autovacuum = off"));
    let db = cluster.database();
    Set::create(&db, 1, 10);
    let deep = db.backup_dir().join("a/b");
    db.run(&format!("ALTER DATABASE {} SET agent_backup.directory = '{}'", db.name(), deep.display()));
    for inject in ["mkdirat:signal=KILL:when=1", "mkdirat:signal=KILL:when=3", "fchmodat:signal=KILL:when=2"] {
        drop(std::fs::remove_dir_all(db.backup_dir().join("a")));
        let (pid, _, outcome) = traced(&db, &["-e", &format!("inject={inject}")]);
        wait_for_recovery(&cluster, db.name(), pid);
        assert!(outcome.is_err() || inject.contains("fchmodat"), "{inject}: {outcome:?}");
        assert_eq!(statuses(&backup(&mut db.client()).unwrap()), ["ok"], "{inject}");
        assert_backups_whole_below(&db, &deep);
        db.run("DELETE FROM agent_backup.backup_catalog");
    }
    assert_no_trash(&db, &CRASH);
}

fn assert_backups_whole_below(db: &Database, root: &Path) {
    use std::os::unix::fs::PermissionsExt;
    for path in [root.parent().unwrap().to_owned(), root.to_owned(), root.join("s")] {
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700, "{}", path.display());
    }
    assert_eq!(std::fs::read_dir(root.join("s")).unwrap().count(), 2);
    assert_eq!(assert_backups_whole(db), 1);
}

#[test]
fn an_immediate_shutdown_in_mid_run_leaves_only_whole_backups() {
    let cluster = Cluster::start(Options::default());
    let db = cluster.database();
    Set::create(&db, 2, 600);
    backup(&mut db.client()).unwrap();
    for step in ["scan", "snapshot", "manifest", "publish", "publish_manifest"] {
        let mut client = db.client();
        client.batch_execute(&format!("SET agent_backup.debug_failpoint = '{step}=pause'")).unwrap();
        let (pid, run) = begun(client, "SELECT agent_backup.backup('s')");
        wait_for_pause(&db, pid, step);
        cluster.stop("immediate");
        assert!(run.join().unwrap().1.is_err());
        cluster.start_again();
        db.run("SELECT agent_backup.reconcile('s')");
        assert_clean(&db, &["immediate shutdown", "the database system is"]);
    }
}

#[test]
fn a_fast_shutdown_in_mid_run_ends_soon_and_cleans_up() {
    let cluster = Cluster::start(Options::default());
    let db = cluster.database();
    Set::create(&db, 2, 600);
    backup(&mut db.client()).unwrap();
    for step in ["scan", "snapshot", "manifest", "publish", "publish_manifest"] {
        let mut client = db.client();
        client.batch_execute(&format!("SET agent_backup.debug_failpoint = '{step}=pause'")).unwrap();
        let (pid, run) = begun(client, "SELECT agent_backup.backup('s')");
        wait_for_pause(&db, pid, step);
        let started = std::time::Instant::now();
        cluster.stop("fast");
        let took = started.elapsed();
        assert!(took < Duration::from_secs(5), "{step}: {took:?}");
        let error = run.join().unwrap().1.unwrap_err();
        assert!(["57P01", "lost"].contains(&sqlstate(&error).as_str()), "{step}: {error:?}");
        let left: Vec<String> = files(&db).into_iter().filter(|name| name.contains("staging")).collect();
        assert!(left.is_empty(), "{step}: {left:?}");
        cluster.start_again();
        assert_clean(&db, &["due to administrator command", "the database system is"]);
    }
}

#[test]
fn a_killed_session_is_followed_by_a_backup_at_once() {
    let cluster = Cluster::start(Options::default());
    let db = cluster.database();
    Set::create(&db, 1, 100);
    let mut client = db.client();
    client.batch_execute("SET agent_backup.debug_failpoint = 'publish=pause'").unwrap();
    let (pid, run) = begun(client, "SELECT agent_backup.backup('s')");
    wait_for_pause(&db, pid, "publish");
    assert_eq!(files(&db).iter().filter(|name| name.ends_with(".staging")).count(), 2);
    kill_backend(pid, agent_backup_suite::Signal::SIGKILL);
    assert!(run.join().unwrap().1.is_err());
    wait_for_recovery(&cluster, db.name(), pid);
    assert_eq!(statuses(&backup(&mut db.client()).unwrap()), ["ok"]);
    assert_eq!(files(&db).len(), 2);
    assert_clean(&db, &CRASH);
}
