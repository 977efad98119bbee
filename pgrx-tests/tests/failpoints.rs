//! Each step made to fail and to panic (T95), and many rounds of success and failure in one session (T96).

use std::fs;
use std::path::Path;

use agent_backup_suite::{
    Database, Set, assert_backups_whole, assert_clean, assert_no_trash, backup, database, fails_with, files, long,
    statuses,
};

const EXPECTED: [&str; 2] = ["was made to", "panicked at"];

fn set_failpoint(client: &mut postgres::Client, value: &str) {
    client.batch_execute(&format!("SET agent_backup.debug_failpoint = '{value}'")).unwrap();
}

/// When the server was started: a restart after a crash changes it.
fn started(db: &Database) -> String {
    let query = "SELECT (pg_stat_file('postmaster.pid')).modification::text || (SELECT min(backend_start)::text FROM pg_stat_activity WHERE backend_type = 'checkpointer')";
    db.client().query_one(query, &[]).unwrap().get(0)
}

#[test]
fn a_step_that_fails_or_panics_is_an_error_and_no_end_of_the_server() {
    let db = database();
    Set::create(&db, 2, 500);
    backup(&mut db.client()).unwrap();
    let (before, since) = (files(&db), started(&db));
    let mut client = db.client();
    for step in ["snapshot", "manifest", "publish", "publish_manifest"] {
        for way in ["error", "panic"] {
            set_failpoint(&mut client, &format!("{step}={way}"));
            let said = fails_with(backup(&mut client), "XX000");
            assert!(said.contains(step) && said.contains("was made to"), "{step}={way}: {said}");
            assert_eq!(files(&db), before, "{step}={way}");
            assert_no_trash(&db, &EXPECTED);
        }
    }
    set_failpoint(&mut client, "");
    assert_eq!(statuses(&backup(&mut client).unwrap()), ["ok", "ok"]);
    assert_eq!(started(&db), since, "the server was restarted");
    drop(client);
    assert_clean(&db, &EXPECTED);
}

#[test]
fn a_scan_that_fails_or_panics_costs_its_tables_and_no_more() {
    let db = database();
    Set::create(&db, 2, 500);
    let since = started(&db);
    let mut client = db.client();
    for way in ["error", "panic"] {
        set_failpoint(&mut client, &format!("scan={way}"));
        let rows = backup(&mut client).unwrap();
        assert_eq!(statuses(&rows), ["failed", "failed"], "{way}");
        assert!(
            rows.iter().all(|row| row.error.as_ref().is_some_and(|e| e.contains("was made to")) && row.file.is_none())
        );
        fails_with(client.batch_execute("SELECT agent_backup.export_table('t1')"), "XX000");
        assert_eq!(files(&db).len(), 0);
    }
    let query = "SELECT count(*) FROM agent_backup.backups WHERE status = 'failed' AND error_message LIKE '%t1%made to%t2%made to%'";
    assert_eq!(client.query_one(query, &[]).unwrap().get::<_, i64>(0), 2);
    set_failpoint(&mut client, "");
    assert_eq!(statuses(&backup(&mut client).unwrap()), ["ok", "ok"]);
    assert_eq!(started(&db), since, "the server was restarted");
    drop(client);
    assert_clean(&db, &EXPECTED);
}

#[test]
fn every_step_that_the_source_names_is_tried_here() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
    let mut named = Vec::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let steps = text.split("failpoint::reach(\"").skip(1);
                named.extend(steps.map(|rest| rest.split('"').next().unwrap().to_owned()));
            }
        }
    }
    named.sort();
    named.dedup();
    // In restore_faults.rs, drill.rs, undo.rs, incremental.rs, prune_faults.rs, erase_crash.rs and reseal.rs.
    let elsewhere = [
        "applied",
        "archived",
        "drill",
        "erase_file",
        "erase_publish",
        "erase_published",
        "erase_record",
        "prune",
        "pruned",
        "reseal",
        "resealed",
        "restore",
        "staged",
        "undone",
    ];
    named.retain(|step| !elsewhere.contains(&step.as_str()));
    assert_eq!(named, ["manifest", "publish", "publish_manifest", "scan", "snapshot"]);
}

#[test]
fn only_a_superuser_sets_a_failpoint() {
    let db = database();
    db.run("CREATE ROLE failpoint_user LOGIN");
    db.let_call("failpoint_user");
    let mut client = db.client_as("failpoint_user");
    client.batch_execute("LOAD 'agent_backup'").unwrap_err();
    let result =
        client.batch_execute("SELECT agent_backup.lock_key('s'); SET agent_backup.debug_failpoint = 'scan=error'");
    fails_with(result, "42501");
    drop(client);
    db.run("DROP OWNED BY failpoint_user; DROP ROLE failpoint_user");
}

/// File descriptors, threads, and memory of its own in kB of a process. Files of the data directory do not count: the
/// server keeps them open as it likes, and closes them when another test drops its database.
fn resources(pid: i32, data: &Path) -> (usize, usize, u64) {
    let links = |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().flatten();
    let is_ours = |target: &Path| !target.starts_with(data);
    let files = links("fd").filter(|entry| fs::read_link(entry.path()).is_ok_and(|target| is_ours(&target))).count();
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let kilobytes = |line: &str| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
    let private = rollup.lines().filter(|line| line.starts_with("Private_")).map(kilobytes).sum();
    (files, links("task").count(), private)
}

#[test]
fn many_rounds_of_success_and_failure_use_no_more_and_no_more() {
    let db = database();
    Set::create(&db, 2, 50);
    let mut client = db.client();
    let pid = db.cluster().backend_pid(&mut client);
    let ways = [
        "",
        "scan=error",
        "snapshot=error",
        "publish=panic",
        "manifest=error",
        "publish_manifest=error",
        "",
        "scan=panic",
    ];
    let mut round = |number: usize| {
        let way = ways[number % ways.len()];
        set_failpoint(&mut client, way);
        let outcome = backup(&mut client);
        assert_eq!(outcome.is_ok(), way.is_empty() || way.starts_with("scan"), "{way}: {outcome:?}");
        if number % 8 == 7 {
            client.batch_execute("DELETE FROM agent_backup.backup_catalog").unwrap();
            files(&db).iter().for_each(|name| fs::remove_file(db.backup_dir().join("s").join(name)).unwrap());
        }
    };
    (0..40).for_each(&mut round);
    let rounds = if long() { 2_500 } else { 50 };
    // Memory that the allocator keeps for threads comes in steps, when more of them happen to live at once: what leaks, leaks in
    // every part.
    let grown = (0..4).map(|_| {
        let before = resources(pid, &db.cluster().data_dir());
        (0..rounds).for_each(&mut round);
        let after = resources(pid, &db.cluster().data_dir());
        assert_eq!((after.0, after.1), (before.0, before.1), "descriptors and threads");
        after.2.saturating_sub(before.2)
    });
    let grown: Vec<u64> = grown.collect();
    let least = grown.iter().min().expect("four parts");
    assert!(*least <= 1024 + rounds as u64, "private memory grew by {grown:?} kB");
    set_failpoint(&mut client, "");
    assert_no_trash(&db, &EXPECTED);
    drop(client);
    assert_backups_whole(&db);
    assert_clean(&db, &EXPECTED);
}
