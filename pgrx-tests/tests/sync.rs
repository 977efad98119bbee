//! The order of writes that a crash of the machine cannot undo (T04), and a disk that refuses to sync (T05).

use std::collections::HashMap;

use agent_backup_suite::{
    Cluster, Database, Options, Set, assert_backups_whole, assert_clean, backup, database, fails_with, files,
    strace_backend,
};

/// Runs a backup under strace; the lines about our files and the WAL, and what came of it.
fn traced(db: &Database, args: &[&str]) -> (Vec<String>, Result<usize, postgres::Error>) {
    let mut client = db.client();
    client.batch_execute("SET agent_backup.workers = 1").unwrap();
    let pid = db.cluster().backend_pid(&mut client);
    let args = [&["-e", "trace=fsync,fdatasync,renameat2,unlinkat,mkdirat"], args].concat();
    let strace = strace_backend(pid, db.cluster().dir().join(format!("trace_{}", db.name())), &args);
    let outcome = backup(&mut client).map(|rows| rows.len());
    let directory = db.backup_dir().display().to_string();
    let ours = |line: &&str| (line.contains(&directory) && !line.contains("EEXIST")) || line.contains("/pg_wal/");
    (strace.finish().lines().filter(ours).map(str::to_owned).collect(), outcome)
}

/// `fsync(7</…/s/.s.0123456789abcdef.staging>)` as `fsync .s`, a rename by its new name, each without what is random.
fn act(line: &str) -> String {
    let (call, arguments) = line.split_once(' ').unwrap().1.trim_start().split_once('(').unwrap();
    let target = match call {
        "fsync" | "fdatasync" => arguments.split_once('<').unwrap().1.split_once('>').unwrap().0,
        _ => arguments.rsplit('"').nth(1).unwrap(),
    };
    let name = target.rsplit('/').next().unwrap();
    let kind = match name {
        _ if target.contains("/pg_wal/") => "WAL",
        _ if name.starts_with(".metadata.") || name.starts_with("metadata_") => "manifest",
        _ if name.starts_with(".s.") || name.starts_with("s_backup_") => "container",
        "s" => "directory",
        _ => "root",
    };
    format!("{call} {kind}")
}

#[test]
fn data_is_durable_before_its_name_and_the_manifest_and_the_commit_come_last() {
    let cluster = Cluster::start(Options::default().fsync().setting("wal_sync_method = fdatasync"));
    let db = cluster.database();
    Set::create(&db, 2, 500);
    backup(&mut db.client()).unwrap();
    let (lines, outcome) = traced(&db, &[]);
    outcome.unwrap();
    let acts: Vec<String> = lines.iter().map(|line| act(line)).collect();
    let expected = [
        "fsync root",
        "fsync container",
        "renameat2 container",
        "fsync directory",
        "fsync manifest",
        "renameat2 manifest",
        "fsync directory",
        "fdatasync WAL",
    ];
    assert_eq!(acts, expected, "{lines:#?}");
    assert_clean(&db, &[]);
}

#[test]
fn a_directory_is_durable_before_anything_is_in_it() {
    let db = database();
    Set::create(&db, 1, 10);
    let (lines, outcome) = traced(&db, &[]);
    outcome.unwrap();
    let parent = format!("{}>", db.backup_dir().display());
    let made = lines.iter().position(|line| line.contains("mkdirat")).unwrap();
    let synced = lines.iter().position(|line| line.contains("fsync") && line.contains(&parent)).unwrap();
    let written = lines.iter().position(|line| line.contains(".staging")).unwrap();
    assert!(made < synced && synced < written, "{lines:#?}");
    assert_clean(&db, &[]);
}

#[test]
fn a_disk_that_refuses_to_sync_fails_the_backup_and_leaves_nothing() {
    let db = database();
    Set::create(&db, 2, 500);
    backup(&mut db.client()).unwrap();
    let before = files(&db);
    for (number, victim) in [(1, "_backups\""), (2, ".s."), (3, "/s\""), (4, ".metadata."), (5, "/s\"")] {
        let inject = format!("inject=fsync:error=EIO:when={number}");
        let (lines, outcome) = traced(&db, &["-e", &inject]);
        let said = fails_with(outcome, "58030");
        assert!(said.contains("cannot sync") && said.contains(victim), "{number}: {said}");
        assert!(said.contains("check it (dmesg)"), "{number}: {said}");
        assert_eq!(files(&db), before, "{number}");
        let mut syncs: HashMap<String, usize> = HashMap::new();
        for line in lines.iter().filter(|line| line.contains("fsync(") && line.contains(".staging>")) {
            *syncs.entry(line.split_once('<').unwrap().1.to_owned()).or_default() += 1;
        }
        assert!(syncs.values().all(|&count| count == 1), "{number}: synced twice: {lines:#?}");
        assert_eq!(assert_backups_whole(&db), 1, "{number}");
    }
    assert_clean(&db, &[]);
}

#[test]
fn a_sync_that_fails_at_every_try_leaves_nothing_listed() {
    let db = database();
    Set::create(&db, 1, 100);
    backup(&mut db.client()).unwrap();
    let before = files(&db);
    for first in 1..=5 {
        let (_, outcome) = traced(&db, &["-e", &format!("inject=fsync:error=EIO:when={first}+")]);
        fails_with(outcome, "58030");
        assert_eq!(files(&db), before, "from {first} on");
        assert_eq!(assert_backups_whole(&db), 1);
    }
    assert_clean(&db, &["could not remove the unfinished backup"]);
}

#[test]
fn a_directory_whose_making_was_not_synced_is_synced_by_the_next_run() {
    let db = database();
    Set::create(&db, 1, 100);
    let (_, outcome) = traced(&db, &["-e", "inject=fsync:error=EIO:when=1"]);
    fails_with(outcome, "58030");
    let (lines, outcome) = traced(&db, &[]);
    outcome.unwrap();
    let parent = format!("{}>", db.backup_dir().display());
    assert!(lines.iter().any(|line| line.contains("fsync(") && line.contains(&parent)), "{lines:#?}");
    assert_clean(&db, &[]);
}

#[test]
fn an_export_is_durable_before_its_name() {
    let db = database();
    Set::create(&db, 1, 100);
    let mut client = db.client();
    let pid = db.cluster().backend_pid(&mut client);
    let target = db.backup_dir().join("t1.csv");
    let call = format!("SELECT agent_backup.export_table('t1', 'csv', '{}')", target.display());
    let trace = db.cluster().dir().join(format!("trace_{}", db.name()));
    let strace =
        strace_backend(pid, trace.clone(), &["-e", "trace=fsync,renameat2", "-e", "inject=fsync:error=EIO:when=2"]);
    fails_with(client.batch_execute(&call), "58030");
    drop(strace);
    assert!(!target.exists(), "it was not durable");
    let strace = strace_backend(pid, trace, &["-e", "trace=fsync,renameat2"]);
    client.batch_execute(&call).unwrap();
    let lines = strace.finish();
    let acts: Vec<&str> = lines
        .lines()
        .filter(|l| l.contains("_backups"))
        .map(|l| if l.contains("fsync(") { "fsync" } else { "rename" })
        .collect();
    assert_eq!(acts, ["fsync", "rename", "fsync"], "{lines}");
    assert_clean(&db, &[]);
}
