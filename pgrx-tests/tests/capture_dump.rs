//! A database with tracked tables travels with pg_dump: in the copy changes are captured, and what was captured is there.

mod tracked;

use std::path::PathBuf;
use std::process::Command;

use agent_backup_suite::{Cluster, Options, lines, pg_config, refused};
use postgres::Client;
use tracked::{FIVE, back, mark, rows, track, tracked};

fn program(name: &str) -> PathBuf {
    let output = Command::new(pg_config()).arg("--bindir").output().expect("pg_config");
    PathBuf::from(String::from_utf8(output.stdout).expect("UTF-8").trim()).join(name)
}

/// Dumps a tracked database and restores it, into the same cluster or another; then `check` has a client of the copy and the
/// rows as of the mark.
fn travelled(other: Option<&Cluster>, second: &str, check: impl FnOnce(&mut Client, &[String])) {
    let db = tracked(&format!("{FIVE}; {second}; INSERT INTO p VALUES (1, 'a')"), &["t", "p"]);
    db.run("CREATE TABLE gone (id int)");
    track(&db, "gone");
    db.run("DROP TABLE gone; UPDATE t SET n = n + 10; UPDATE p SET v = 'b'");
    let expected = rows(&mut db.client(), "t");
    mark(&db, "m");
    db.run("UPDATE t SET n = -1; DELETE FROM t WHERE id = 1");
    let cluster = other.unwrap_or(db.cluster());
    let dump = db.cluster().dir().join(format!("{}.dump", db.name()));
    let dump = dump.to_str().expect("a path");
    let copy = format!("{}_copy", db.name());
    cluster.client("postgres").batch_execute(&format!("CREATE DATABASE {copy} TEMPLATE template0")).unwrap();
    let call = |name: &str, cluster: &Cluster, arguments: &[&str]| {
        let output = Command::new(program(name))
            .args(["-U", "postgres", "-h"])
            .arg(cluster.socket_dir())
            .args(arguments)
            .output();
        let output = output.expect(name);
        assert!(output.status.success(), "{name} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    call("pg_dump", db.cluster(), &["-F", "c", "-f", dump, db.name()]);
    call("pg_restore", cluster, &["--exit-on-error", "-d", &copy, dump]);
    let mut client = cluster.client(&copy);
    check(&mut client, &expected);
    drop(client);
    cluster.client("postgres").batch_execute(&format!("DROP DATABASE {copy} WITH (FORCE)")).unwrap();
}

const PLAIN: &str = "CREATE TABLE p (id int PRIMARY KEY, v text)";
const PARTED: &str =
    "CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE p_low PARTITION OF p DEFAULT";

fn changes_in_the_copy_are_captured(client: &mut Client) {
    let entries = |client: &mut Client| {
        lines(client, "SELECT operation::text || row_key FROM agent_backup.change_log ORDER BY seq DESC")
    };
    let before = entries(client).len();
    client.batch_execute("UPDATE t SET v = 'in the copy' WHERE id = 3; SET session_replication_role = replica; INSERT INTO p VALUES (7, 'x'); TRUNCATE p").unwrap();
    client.batch_execute("RESET session_replication_role").unwrap();
    let mut newest = entries(client)[..entries(client).len() - before].to_vec();
    newest.sort();
    assert_eq!(newest, ["I7", "T1", "T7", "U3"]);
}

/// Moments of before the dump are known, or it is said that they are not.
fn right_or_refused(client: &mut Client, expected: &[String]) {
    match client.query("SELECT ROW(t.*)::text FROM agent_backup.read_as_of(NULL::t, mark => 'm') AS t", &[]) {
        Ok(found) => {
            let mut found: Vec<String> = found.iter().map(|row| row.get(0)).collect();
            found.sort();
            assert_eq!(found, expected);
        }
        Err(error) => assert_eq!(error.code().map(|code| code.code()), Some("55000"), "{error:?}"),
    }
}

/// The numbers of transactions are of another database, so the table is to be tracked again.
fn tracked_anew(client: &mut Client) {
    let refusal = refused(client, "SELECT * FROM agent_backup.read_as_of(NULL::t, now())");
    assert_eq!(refusal.code, "55000");
    assert!(refusal.message.contains("in another database"), "{}", refusal.message);
    client.batch_execute("SELECT agent_backup.track('t', baseline => false)").unwrap();
}

#[test]
fn tracked_tables_travel_within_a_cluster() {
    travelled(None, PLAIN, |client, expected| {
        changes_in_the_copy_are_captured(client);
        right_or_refused(client, expected);
        tracked_anew(client);
        client.batch_execute("SELECT agent_backup.mark('new')").unwrap();
        let now = rows(client, "t");
        client.batch_execute("DELETE FROM t").unwrap();
        back(client, "restore_table_as_of('t', mark => 'new', confirm => true)");
        assert_eq!(rows(client, "t"), now);
        let history = lines(client, "SELECT operation FROM agent_backup.record_history('t', '1')");
        assert_eq!(history[..3], ["UPDATE", "UPDATE", "DELETE"]);
    });
}

#[test]
fn tracked_tables_travel_to_a_cluster_that_counts_from_anew() {
    let other = Cluster::start(Options::default());
    // The numbers of its transactions are lower than those in the log and the marks.
    for _ in 0..200 {
        lines(&mut agent_backup_suite::shared().client("postgres"), "SELECT pg_current_xact_id()");
    }
    travelled(Some(&other), PLAIN, |client, expected| {
        changes_in_the_copy_are_captured(client);
        right_or_refused(client, expected);
        tracked_anew(client);
        client.batch_execute("SELECT agent_backup.mark('new')").unwrap();
        let now = rows(client, "t");
        client.batch_execute("UPDATE t SET n = 0 WHERE id = 2").unwrap();
        assert_eq!(rows(client, "agent_backup.read_as_of(NULL::t, mark => 'new')"), now);
        refused(client, "SELECT agent_backup.track('gone')");
    });
}

#[test]
fn tracked_partitions_travel() {
    travelled(None, PARTED, |client, _| changes_in_the_copy_are_captured(client));
}
