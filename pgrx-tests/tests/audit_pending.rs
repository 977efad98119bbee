//! The log of acts where nothing can be written into it yet: a file keeps the entry.

mod audited;

use std::fs;

use agent_backup_suite::{Cluster, Options, database, lines, one};
use audited::{CHAIN, TOLD, fails, told, with_set};
use postgres::NoTls;

fn pending(cluster: &Cluster) -> Vec<String> {
    let Ok(files) = fs::read_dir(cluster.data_dir().join("agent_backup/.audit_pending")) else { return Vec::new() };
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_only_reads_and_what_sees_an_old_moment_is_told_too() {
    let db = database();
    with_set(&db);
    db.run("SELECT agent_backup.backup('s')");
    for begin in ["BEGIN READ ONLY", "BEGIN ISOLATION LEVEL REPEATABLE READ", "BEGIN ISOLATION LEVEL SERIALIZABLE"] {
        db.run(&format!("{begin}; SELECT 1; SELECT agent_backup.diff('t', set_name => 's'); COMMIT"));
    }
    assert_eq!(told(&db)[1..], ["diff|t|s|ok|", "diff|t|s|ok|", "diff|t|s|ok|"]);
    for setting in ["default_transaction_isolation = serializable", "default_transaction_read_only = on"] {
        db.run(&format!("ALTER DATABASE {} SET {setting}", db.name()));
        fails(&mut db.client(), "SELECT agent_backup.backup('none')");
    }
    assert_eq!(told(&db).len(), 6);
    assert_eq!(
        lines(
            &mut db.client(),
            "SET default_transaction_read_only = off; SET default_transaction_isolation = 'read committed'; SELECT check_name, status FROM agent_backup.verify_audit_log()"
        ),
        ["chain|ok"]
    );
}

#[test]
fn without_a_worker_an_entry_waits_in_a_file_and_the_next_act_takes_it_in() {
    let cluster = Cluster::start(Options::default().setting("max_worker_processes = 0"));
    let db = cluster.database();
    with_set(&db);
    let mut client = db.client();
    for _ in 0..3 {
        fails(&mut client, "SELECT agent_backup.backup('none')");
    }
    assert_eq!(told(&db), [""; 0]);
    let waiting = pending(&cluster);
    assert_eq!(waiting.len(), 3, "{waiting:?}");
    let directory = cluster.data_dir().join("agent_backup/.audit_pending");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(directory.join(&waiting[0])).unwrap().mode() & 0o777, 0o600);
    assert!(db.log().iter().any(|line| line.contains("wait in") && line.contains(".audit_pending")));
    // A file that is put back, as after a crash before it was removed, adds nothing.
    let copy = fs::read(directory.join(&waiting[0])).unwrap();
    client.batch_execute("SELECT agent_backup.create_set('x')").unwrap();
    let expected =
        ["backup||none|failed|42704", "backup||none|failed|42704", "backup||none|failed|42704", "create_set||x|ok|"];
    assert_eq!(told(&db), expected);
    assert_eq!(pending(&cluster), [""; 0]);
    fs::write(directory.join(&waiting[0]), copy).unwrap();
    std::os::unix::fs::chown(directory.join(&waiting[0]), Some(fs::metadata(&directory).unwrap().uid()), None).unwrap();
    client.batch_execute("SELECT agent_backup.create_set('y')").unwrap();
    assert_eq!(told(&db), [&expected[..], &["create_set||y|ok|"]].concat());
    assert_eq!(lines(&mut client, CHAIN), ["chain|ok"]);
}

#[test]
fn a_file_that_cannot_be_read_stops_nothing_and_stays() {
    let db = database();
    with_set(&db);
    fails(&mut db.client(), "SELECT agent_backup.backup('none')");
    let oid: u32 = one(&mut db.client(), "SELECT oid FROM pg_database WHERE datname = current_database()");
    let file = db.cluster().data_dir().join(format!("agent_backup/.audit_pending/{oid}-0000000000000001-1-0.json"));
    fs::write(&file, "[{").unwrap();
    db.run("SELECT agent_backup.create_set('x')");
    assert_eq!(told(&db), ["backup||none|failed|42704", "create_set||x|ok|"]);
    assert!(file.exists() && db.log().iter().any(|line| line.contains("cannot be read")));
    fs::remove_file(file).unwrap();
}

#[test]
fn on_a_standby_entries_wait_until_it_is_promoted() {
    let cluster = Cluster::start(Options::default().setting("wal_level = replica"));
    let db = cluster.database();
    with_set(&db);
    db.run("SELECT agent_backup.backup('s')");
    let standby = cluster.create_standby();
    let mut there = standby.client(db.name());
    there.batch_execute("SELECT agent_backup.diff('t', set_name => 's')").unwrap();
    fails(&mut there, "SELECT agent_backup.create_set('z')");
    assert_eq!(pending(&standby).len(), 2);
    there.batch_execute("SELECT pg_promote()").unwrap();
    there.batch_execute("SELECT agent_backup.create_set('x')").unwrap();
    assert_eq!(
        lines(&mut there, TOLD),
        ["backup||s|ok|", "diff|t|s|ok|", "create_set||z|failed|25006", "create_set||x|ok|"]
    );
    assert_eq!(lines(&mut there, CHAIN), ["chain|ok"]);
    assert_eq!(pending(&standby), [""; 0]);
}

#[test]
fn a_prepared_transaction_holds_nothing_up_and_its_act_is_told() {
    let cluster = Cluster::start(Options::default().setting("max_prepared_transactions = 2"));
    let db = cluster.database();
    with_set(&db);
    db.run("BEGIN; SELECT agent_backup.create_set('x'); PREPARE TRANSACTION 'p'");
    db.run("SET lock_timeout = '5s'; SELECT agent_backup.create_set('y')");
    assert_eq!(
        lines(
            &mut db.client(),
            "SELECT set_name, status, details -> 'prepared' FROM agent_backup.audit_log ORDER BY 1"
        ),
        ["x|ok|true", "y|ok|"]
    );
    db.run("COMMIT PREPARED 'p'");
    assert_eq!(lines(&mut db.client(), CHAIN), ["chain|ok"]);
}

#[test]
fn an_act_in_the_transaction_that_makes_or_drops_the_extension_is_no_error() {
    let db = database();
    let mut client = db.client();
    client.batch_execute("DROP EXTENSION agent_backup; BEGIN; CREATE EXTENSION agent_backup; SELECT agent_backup.create_set('x'); COMMIT").unwrap();
    assert_eq!(told(&db), ["create_set||x|ok|"]);
    client
        .batch_execute("BEGIN; SELECT agent_backup.create_set('y'); DROP EXTENSION agent_backup CASCADE; COMMIT")
        .unwrap();
    // It waits in its file until there is a log again.
    client.batch_execute("CREATE EXTENSION agent_backup; SELECT agent_backup.create_set('z')").unwrap();
    assert_eq!(told(&db), ["create_set||y|ok|", "create_set||z|ok|"]);
}

#[test]
fn names_in_an_encoding_that_has_few_letters_are_told() {
    let cluster = Cluster::start(Options::default().encoding("LATIN1"));
    let db = cluster.database();
    let mut client = db.client();
    fails(&mut client, "SELECT agent_backup.backup('fen\u{ea}tre')");
    client.batch_execute("SELECT agent_backup.create_set('fen\u{ea}tre')").unwrap();
    assert_eq!(told(&db), ["backup||fen\u{ea}tre|failed|42704", "create_set||fen\u{ea}tre|ok|"]);
    assert_eq!(lines(&mut client, CHAIN), ["chain|ok"]);
    drop(client);
    // A client whose name has letters that the database has not.
    let mut config = cluster.config("postgres", db.name());
    config
        .application_name("\u{65e5}\u{672c}")
        .connect(NoTls)
        .unwrap()
        .batch_execute("SELECT agent_backup.create_set('x')")
        .unwrap();
    assert_eq!(lines(&mut db.client(), CHAIN), ["chain|ok"]);
}
