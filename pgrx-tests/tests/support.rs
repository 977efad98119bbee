//! The support library itself: a check that cannot fail proves nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use agent_backup_suite::{
    Cluster, Options, Signal, assert_no_trash, assert_same_bytes, csv_digest, database, equal_tables, json_digest,
    kill_backend, server_major, shared, strace_backend, trash, wait_for_recovery, wait_until,
};

const TWO_TABLES: &str =
    "CREATE TABLE a AS SELECT n, 'row ' || n AS t FROM generate_series(1, 5) n; CREATE TABLE b AS TABLE a;";

#[test]
fn equal_tables_counts_the_rows_of_equal_tables() {
    let db = database();
    db.run(TWO_TABLES);
    assert_eq!(equal_tables(&mut db.client(), "a", "b"), Ok(5));
    assert_eq!(equal_tables(&mut db.client(), "a", "(SELECT * FROM b ORDER BY n DESC)"), Ok(5));
}

#[test]
fn equal_tables_refuses_two_empty_tables() {
    let db = database();
    db.run(TWO_TABLES);
    db.run("TRUNCATE a, b");
    let difference = equal_tables(&mut db.client(), "a", "b").unwrap_err();
    assert!(difference.contains("empty"), "{difference}");
}

#[test]
fn equal_tables_sees_a_missing_row() {
    let db = database();
    db.run(TWO_TABLES);
    db.run("DELETE FROM b WHERE n = 3");
    let difference = equal_tables(&mut db.client(), "a", "b").unwrap_err();
    assert_eq!(difference, "a has 5 rows, b has 4");
}

#[test]
fn equal_tables_sees_a_changed_row_a_null_and_a_doubled_row() {
    for change in ["SET t = 'other' WHERE n = 3", "SET t = NULL WHERE n = 3", "SET (n, t) = (2, 'row 2') WHERE n = 3"] {
        let db = database();
        db.run(TWO_TABLES);
        db.run(&format!("UPDATE b {change}"));
        let difference = equal_tables(&mut db.client(), "a", "b").unwrap_err();
        assert!(difference.contains("(3,\"row 3\")"), "{change}: {difference}");
    }
}

#[test]
fn equal_tables_compares_types_that_have_no_equality() {
    let db = database();
    db.run(r#"CREATE TABLE a AS SELECT '{"k":  1}'::json AS j; CREATE TABLE b AS TABLE a;"#);
    assert_eq!(equal_tables(&mut db.client(), "a", "b"), Ok(1));
    db.run(r#"UPDATE b SET j = '{"k": 1}'"#);
    assert!(equal_tables(&mut db.client(), "a", "b").is_err());
}

#[test]
fn equal_tables_names_a_table_that_is_not_there() {
    let db = database();
    db.run(TWO_TABLES);
    let difference = equal_tables(&mut db.client(), "a", "nowhere").unwrap_err();
    assert!(difference.contains("cannot count nowhere"), "{difference}");
}

#[test]
fn row_digests_in_sql_are_those_computed_elsewhere() {
    let db = database();
    let mut client = db.client();
    // By Python's hashlib and integers; the sum of the second carries over.
    assert_eq!(csv_digest(&mut client, b"h\n"), "0".repeat(32));
    assert_eq!(csv_digest(&mut client, b"h\n\n"), "d41d8cd98f00b204e9800998ecf8427e");
    assert_eq!(csv_digest(&mut client, b"h\n\n\n"), "a83b19b31e016409d3001331d9f084fc");
    assert_eq!(csv_digest(&mut client, b"n,\"a\nb\"\n1,\"a\nb\"\n2,x\n"), "ddd67f549cdd47b21f75834fc0e099cc");
    db.run("CREATE TABLE n AS SELECT n FROM generate_series(1, 2) n");
    assert_eq!(json_digest(&mut client, "n"), "026b47edbd80d193a1b3942f7e44b73b");
}

#[test]
#[should_panic(expected = "differs at byte 3 of 4 and 5")]
fn bytes_that_differ_are_told_with_their_place() {
    assert_same_bytes("a file", b"1,2\n", b"1,2,\n");
}

#[test]
fn each_test_has_a_database_and_a_backup_directory_of_its_own() {
    let (one, other) = (database(), database());
    assert_ne!(one.name(), other.name());
    one.run("CREATE TABLE mine ()");
    assert!(other.client().batch_execute("TABLE mine").is_err());
    let directory: String = one.client().query_one("SHOW agent_backup.directory", &[]).unwrap().get(0);
    assert_eq!(Path::new(&directory), one.backup_dir());
    assert_ne!(one.backup_dir(), other.backup_dir());
}

#[test]
fn the_server_is_the_one_that_was_asked_for() {
    let version: i32 =
        database().client().query_one("SELECT current_setting('server_version_num')::int", &[]).unwrap().get(0);
    assert_eq!(version as u32 / 10_000, server_major());
}

#[test]
fn psql_stops_at_the_first_error_and_says_what_it_was() {
    let output = database().psql("SELECT 'before';\nSELECT 1/0;\nSELECT 'after';");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "before\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("division by zero"));
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn no_trash_finds_a_staging_file_wherever_it_is() {
    let db = database();
    assert_no_trash(&db, &[]);
    std::fs::create_dir(db.backup_dir().join("set")).unwrap();
    std::fs::write(db.backup_dir().join("set/x.tar.gz.staging-1"), "half").unwrap();
    let found = trash(&db, &[]);
    assert!(found.len() == 1 && found[0].contains("x.tar.gz.staging-1"), "{found:?}");
}

#[test]
fn no_trash_finds_a_held_advisory_lock_and_an_open_file() {
    let db = database();
    let mut client = db.client();
    client.batch_execute("SELECT pg_advisory_lock(42)").unwrap();
    let found = trash(&db, &[]);
    assert!(found.len() == 1 && found[0].contains("advisory lock 0/42/1"), "{found:?}");
    client.batch_execute("SELECT pg_advisory_unlock(42)").unwrap();
    assert_no_trash(&db, &[]);

    // COPY TO a file holds it open while psql's variable is fed, row by row, from a slow query.
    let file = db.backup_dir().join("held.csv");
    let canceller = client.cancel_token();
    let copy = format!("COPY (SELECT pg_sleep(60)) TO '{}'", file.display());
    let copying = std::thread::spawn(move || client.batch_execute(&copy));
    wait_until("the copy to open its file", Duration::from_secs(20), || file.exists().then_some(()));
    let found = trash(&db, &[]);
    canceller.cancel_query(postgres::NoTls).unwrap();
    assert!(copying.join().unwrap().is_err());
    assert!(found.len() == 1 && found[0].contains("held.csv open"), "{found:?}");
}

#[test]
fn no_trash_finds_a_warning_in_the_log_unless_it_is_expected() {
    let db = database();
    db.run("DO $$ BEGIN RAISE WARNING 'disk is warm'; END $$");
    let found = trash(&db, &[]);
    assert!(found.len() == 1 && found[0].contains("disk is warm"), "{found:?}");
    assert_no_trash(&db, &["disk is warm"]);
    assert_no_trash(&database(), &[]);
}

#[test]
fn a_standby_follows_and_refuses_writes() {
    let primary = Cluster::start(Options::default());
    primary.client("postgres").batch_execute("CREATE TABLE t AS SELECT 1 AS n").unwrap();
    let standby = primary.create_standby();
    let mut client = standby.client("postgres");
    assert_eq!(client.query_one("SELECT n FROM t", &[]).unwrap().get::<_, i32>(0), 1);
    let error = client.batch_execute("CREATE TABLE u ()").unwrap_err();
    assert_eq!(error.code().unwrap().code(), "25006");
}

#[test]
fn a_crash_keeps_what_was_committed() {
    let cluster = Cluster::start(Options::default().fsync().setting("work_mem = '1MB'"));
    let mut client = cluster.client("postgres");
    client.batch_execute("CREATE TABLE t AS SELECT 1 AS n").unwrap();
    let pid = cluster.backend_pid(&mut client);
    kill_backend(pid, Signal::SIGKILL);
    let mut client = wait_for_recovery(&cluster, "postgres", pid);
    assert_eq!(client.query_one("SELECT count(*) FROM t", &[]).unwrap().get::<_, i64>(0), 1);
    assert!(cluster.log().contains("was terminated by signal 9"));
    cluster.stop("immediate");
    cluster.start_again();
    let mut client = cluster.client("postgres");
    assert_eq!(client.query_one("SHOW work_mem", &[]).unwrap().get::<_, String>(0), "1MB");
    assert_eq!(client.query_one("SELECT count(*) FROM t", &[]).unwrap().get::<_, i64>(0), 1);
}

#[test]
fn strace_makes_a_system_call_of_the_backend_fail() {
    let db = database();
    let mut client = db.client();
    let pid = db.cluster().backend_pid(&mut client);
    let output = db.cluster().dir().join(format!("{}.strace", db.name()));
    let strace =
        strace_backend(pid, output, &["-e", "trace=openat", "-P", "/etc/hostname", "-e", "inject=openat:error=EIO"]);
    let error = client.batch_execute("SELECT pg_read_file('/etc/hostname')").unwrap_err();
    assert!(error.as_db_error().unwrap().message().contains("Input/output error"), "{error:?}");
    assert!(strace.finish().contains("(INJECTED)"));
    client.batch_execute("SELECT pg_read_file('/etc/hostname')").unwrap();
}

#[test]
fn a_cluster_is_gone_when_it_is_dropped_even_by_a_panic() {
    let cluster = Cluster::start(Options::default());
    let dir = cluster.dir().to_owned();
    let pid: i32 = std::fs::read_to_string(cluster.data_dir().join("postmaster.pid"))
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    let test = std::thread::spawn(move || {
        let _cluster = cluster;
        panic!("as a failing test does");
    });
    assert!(test.join().is_err());
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert!(!dir.exists());
}

#[test]
fn a_cluster_has_the_encoding_that_was_asked_for() {
    let cluster = Cluster::start(Options::default().encoding("LATIN1"));
    assert_eq!(
        cluster.client("postgres").query_one("SHOW server_encoding", &[]).unwrap().get::<_, String>(0),
        "LATIN1"
    );
}

#[test]
fn a_role_connects_as_itself() {
    let db = database();
    db.run(&format!("CREATE ROLE {}_reader LOGIN", db.name()));
    let role = format!("{}_reader", db.name());
    assert_eq!(db.client_as(&role).query_one("SELECT current_user::text", &[]).unwrap().get::<_, String>(0), role);
    db.run(&format!("DROP ROLE {role}"));
}

#[test]
#[should_panic(expected = "in vain for the moon")]
fn waiting_ends_at_the_deadline() {
    let started = Instant::now();
    let never = || (started.elapsed() > Duration::from_secs(60)).then_some(());
    wait_until("the moon", Duration::from_millis(50), never);
}

#[test]
fn the_tests_of_one_binary_share_a_cluster() {
    assert!(std::ptr::eq(database().cluster(), shared()));
}
