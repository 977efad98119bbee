//! A store of three nodes loses one of them, while backups are sent and while they are restored: nothing is lost.

use std::time::Duration;

use agent_backup_suite::{Cluster, Database, Garage, Options, back_up, begun, database, lines, one, wait_until};

/// Some 35 MB of a table as it is stored: several parts of an upload.
const ROWS: i64 = 400_000;

/// A database with a set `s`, backed up and not sent, whose copies go to a prefix through node 1.
fn to_be_sent(garage: &Garage) -> (Database<'static>, String) {
    let db = database();
    db.run(&garage.setup(1));
    db.run(&format!(
        "CREATE TABLE t (id int PRIMARY KEY, a text, b text);
         INSERT INTO t SELECT n, md5('a' || n), md5('b' || n) || md5('c' || n) FROM generate_series(1, {ROWS}) n;
         SELECT agent_backup.create_set('s', formats => '{{csv}}')"
    ));
    back_up(&db, &["t"]);
    let url = garage.url(db.name());
    db.run(&format!("SELECT agent_backup.add_destination('s', '{url}')"));
    (db, url)
}

const UPLOAD: &str = "SELECT action, coalesce(error_message, '') FROM agent_backup.upload('s')";

/// Begins to send, and waits until a node has some of it.
fn sending(garage: &Garage, db: &Database, node: usize) -> std::thread::JoinHandle<Vec<String>> {
    let before = garage.kept(node);
    let mut client = db.client();
    let thread = std::thread::spawn(move || lines(&mut client, UPLOAD));
    wait_until("a node to get data", Duration::from_secs(60), || {
        (garage.kept(node) > before + (1 << 20)).then_some(())
    });
    thread
}

/// Digest of the rows, to compare across servers.
const DIGEST: &str = "SELECT count(*) || ' ' || md5(string_agg(t::text, ',' ORDER BY id)) FROM t";

/// A new cluster that has nothing but the store.
fn rebuilt(garage: &Garage, url: &str, node: usize, while_restoring: impl FnOnce()) -> String {
    let other = Cluster::start(Options::default());
    let new = other.database();
    new.run(&garage.setup(node));
    let said = lines(
        &mut new.client(),
        &format!("SELECT action FROM agent_backup.import_offsite('{url}', server_name => 'offsite')"),
    );
    assert_eq!(said, ["adopted"]);
    new.run("CREATE TABLE t (id int PRIMARY KEY, a text, b text)");
    let mut client = new.client();
    client.batch_execute("SET agent_backup.debug_failpoint = ''").unwrap();
    let call = "restore_table('t', confirm => true, set_name => 's')";
    let (pid, run) = begun(client, &format!("SELECT * FROM agent_backup.{call}"));
    let busy = format!("SELECT count(*) FROM pg_locks WHERE pid = {pid} AND mode = 'AccessExclusiveLock'");
    wait_until("the restore to begin", Duration::from_secs(60), || {
        (one::<i64>(&mut new.client(), &busy) > 0).then_some(())
    });
    while_restoring();
    run.join().unwrap().1.unwrap_or_else(|error| panic!("the restore: {error:?}"));
    let verified = "SELECT DISTINCT status FROM agent_backup.verify('latest', 'decode', 's')";
    assert_eq!(lines(&mut new.client(), verified), ["ok"]);
    one(&mut new.client(), DIGEST)
}

#[test]
#[ignore = "garage: make test-offsite"]
fn a_node_that_dies_while_backups_are_sent_and_another_while_they_are_restored_cost_nothing() {
    let garage = Garage::start(3);
    let (db, url) = to_be_sent(&garage);
    let sent = sending(&garage, &db, 3);
    garage.kill(3);
    let told = sent.join().unwrap();
    assert!(told.len() == 2 && told.iter().all(|line| line == "uploaded|"), "{told:?}");
    garage.revive(3);
    let rows: String = one(&mut db.client(), DIGEST);
    assert_eq!(rebuilt(&garage, &url, 1, || garage.kill(2)), rows);
    // Without it, too, all is there.
    assert_eq!(lines(&mut db.client(), UPLOAD), ["present|", "present|"]);
}

#[test]
#[ignore = "garage: make test-offsite"]
fn the_node_that_is_spoken_to_dies_and_another_takes_the_rest() {
    let garage = Garage::start(3);
    let (db, url) = to_be_sent(&garage);
    let sent = sending(&garage, &db, 2);
    garage.kill(1);
    let told = sent.join().unwrap();
    assert!(told.iter().any(|line| line.starts_with("failed|")), "{told:?}");
    db.run(&format!("ALTER SERVER offsite OPTIONS (SET endpoint '{}')", garage.endpoint(2)));
    let told = lines(&mut db.client(), UPLOAD);
    assert!(told.iter().all(|line| line == "uploaded|" || line == "present|"), "{told:?}");
    garage.revive(1);
    let rows: String = one(&mut db.client(), DIGEST);
    assert_eq!(rebuilt(&garage, &url, 3, || ()), rows);
}
