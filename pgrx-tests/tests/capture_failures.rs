//! What becomes of a change that cannot be captured: its statement fails, or a gap is recorded (T44).

mod tracked;

use agent_backup_suite::{assert_no_trash, lines, one, refused};
use tracked::{assert_captured, log, mark, tracked};

/// A type whose output function fails for some values.
const BROKEN: &str = "CREATE TYPE bad; CREATE FUNCTION bad_in(cstring) RETURNS bad LANGUAGE internal IMMUTABLE STRICT AS 'int8in';
    CREATE FUNCTION bad_out(bad) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'timestamp_out'; CREATE TYPE bad (INPUT = bad_in, OUTPUT = bad_out, LIKE = bigint);
    CREATE TABLE t (id int PRIMARY KEY, v text, b bad); INSERT INTO t VALUES (1, 'a'), (2, 'b')";

#[test]
fn a_change_that_cannot_be_captured_fails() {
    let db = tracked(BROKEN, &["t"]);
    let mut client = db.client();
    assert_eq!(refused(&mut client, "INSERT INTO t VALUES (3, 'c', '-9000000000000000000')").code, "22008");
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM t"), 2);
    drop(client);
    assert_captured(&db, &["t"], "UPDATE t SET v = 'x'; INSERT INTO t (id) VALUES (4)");
    assert_eq!(one::<i64>(&mut db.client(), "SELECT count(*) FROM agent_backup.capture_gaps"), 0);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_change_that_cannot_be_captured_is_a_gap_where_that_is_wanted() {
    for parted in [false, true] {
        let script = if parted {
            BROKEN.replace("b bad);", "b bad) PARTITION BY RANGE (id); CREATE TABLE p PARTITION OF t DEFAULT;")
        } else {
            BROKEN.to_owned()
        };
        let db = tracked(&script, &[]);
        db.run("SELECT agent_backup.track('t', on_failure => 'gap', baseline => false)");
        mark(&db, "early");
        let mut client = db.client();
        client.batch_execute("BEGIN; UPDATE t SET v = 'kept' WHERE id = 1; INSERT INTO t VALUES (3, 'c', '-9000000000000000000'); UPDATE t SET v = 'also kept' WHERE id = 2; COMMIT").unwrap();
        assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM t"), 3);
        assert_eq!(
            lines(&mut client, "SELECT operation::text || row_key FROM agent_backup.change_log ORDER BY seq"),
            ["U1", "U2"]
        );
        assert_eq!(
            lines(&mut client, "SELECT kind FROM agent_backup.recovery_points('t')"),
            ["continuous", "gap", "continuous"]
        );
        let refusal = refused(&mut client, "SELECT * FROM agent_backup.read_as_of(NULL::t, mark => 'early')");
        assert!(refusal.code == "55000" && refusal.message.contains("timestamp out of range"), "{refusal:?}");
        drop(client);
        db.run("DELETE FROM t WHERE id = 3");
        assert_captured(&db, &["t"], "UPDATE t SET v = 'after'");
        assert_no_trash(&db, &["could not be captured"]);
    }
}

#[test]
fn a_cancelled_writer_is_no_gap() {
    let db = tracked(
        "CREATE TABLE t (id int PRIMARY KEY, v date); INSERT INTO t SELECT g, 'today' FROM generate_series(1, 200000) g",
        &[],
    );
    db.run("SELECT agent_backup.track('t', on_failure => 'gap', baseline => false)");
    let mut client = db.client();
    assert_eq!(
        refused(
            &mut client,
            "SET statement_timeout = '600ms'; UPDATE t SET v = v + 1; UPDATE t SET v = v + 1; UPDATE t SET v = v + 1"
        )
        .code,
        "57014"
    );
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM agent_backup.capture_gaps"), 0);
    assert!(log(&mut client).is_empty());
}
