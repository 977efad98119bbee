//! Stalls, crashes and errors while copies are sent: a cancel is quick, and what was cut short is simply sent again.

use std::time::Duration;

use agent_backup_suite::{
    Cluster, Database, Options, S3, Set, Signal, backup, begun, cancel, database, kill_backend, lines, one,
    wait_for_recovery,
};

/// A set that is large enough to be sent in parts, backed up, and a store of its own.
fn with_parts() -> (S3, Database<'static>) {
    of_parts(database())
}

fn of_parts(db: Database) -> (S3, Database) {
    let store = S3::start();
    db.run(&store.setup());
    Set::create(&db, 3, 60_000);
    db.run(&format!("SELECT agent_backup.add_destination('s', '{}')", store.url("x")));
    backup(&mut db.client()).unwrap();
    (store, db)
}

fn actions(db: &Database) -> Vec<String> {
    lines(&mut db.client(), "SELECT action FROM agent_backup.upload('s')")
}

#[test]
fn a_cancel_during_a_stall_ends_at_once_and_leaves_no_upload() {
    let (store, db) = with_parts();
    store.stall("UploadPart");
    let (pid, thread) = begun(db.client(), "SELECT agent_backup.upload('s')");
    store.wait_for("UploadPart");
    let shown: i64 = one(
        &mut db.client(),
        &format!(
            "SELECT count(*) FROM pg_stat_progress_copy WHERE pid = {pid} AND relid = 0 AND bytes_total > 8000000"
        ),
    );
    assert_eq!(shown, 1);
    let took = cancel(pid, thread);
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(store.unfinished().is_empty(), "{:?}", store.unfinished());
    store.release();
    assert_eq!(actions(&db), ["uploaded", "uploaded"]);
}

#[test]
fn a_killed_upload_is_done_by_the_next_and_nothing_of_it_stays() {
    // A crash ends all sessions of a server, so it has one of its own.
    let cluster = Cluster::start(Options::default());
    let (store, db) = of_parts(cluster.database());
    store.stall("UploadPart");
    let (pid, thread) = begun(db.client(), "SELECT agent_backup.upload('s')");
    store.wait_for("UploadPart");
    kill_backend(pid, Signal::SIGKILL);
    let (client, result) = thread.join().unwrap();
    assert!(result.is_err());
    drop(client);
    store.release();
    assert_eq!(store.unfinished().len(), 1, "a killed writer cannot clean up");
    wait_for_recovery(&cluster, db.name(), pid);
    assert_eq!(actions(&db), ["uploaded", "uploaded"]);
    assert!(store.unfinished().is_empty(), "{:?}", store.unfinished());
    assert_eq!(store.keys("x/").len(), 2);
    assert_eq!(
        lines(&mut db.client(), "SELECT DISTINCT status FROM agent_backup.verify_offsite('s', level => 'read')"),
        ["ok"]
    );
}

#[test]
fn what_was_sent_before_a_rollback_is_not_sent_again() {
    let (store, db) = with_parts();
    let mut client = db.client();
    client.batch_execute("BEGIN; SELECT agent_backup.upload('s'); ROLLBACK").unwrap();
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM agent_backup.offsite_copies"), 0);
    store.forget();
    assert_eq!(actions(&db), ["adopted", "adopted"]);
    assert!(!store.calls().iter().any(|call| call.name == "UploadPart"), "{:?}", store.calls());
}

#[test]
fn a_container_without_its_manifest_is_no_copy_and_is_not_sent_again() {
    let (store, db) = with_parts();
    store.fail("PutObject");
    let mut client = db.client();
    // Each try is answered that the store is out of order; the container, in parts, arrives.
    let told = lines(&mut client, "SELECT concat_ws(' ', action, error_message) FROM agent_backup.upload('s')");
    assert_eq!(told[0], "uploaded");
    assert!(told[1].starts_with("failed the store"), "{told:?}");
    let copy: String = one(&mut client, "SELECT status FROM agent_backup.offsite_copies");
    assert_eq!(copy, "failed");
    store.release();
    assert_eq!(actions(&db), ["adopted", "uploaded"]);
    assert_eq!(one::<String>(&mut client, "SELECT status FROM agent_backup.offsite_copies"), "complete");
}
