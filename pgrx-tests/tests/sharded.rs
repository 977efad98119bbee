//! A partitioned table whose rows live on two other clusters is backed up in one call, and each row comes back to its shard.

use std::sync::OnceLock;
use std::time::Duration;

use agent_backup_suite::{
    Cluster, Database, Options, Step, assert_equal_tables, assert_no_trash, backup, begun, database, fails_with, lines,
    one, restore, statuses, try_restore, wait_until,
};
use postgres::Client;

/// Rows of both shards; the last one of the east is this one.
const ROWS: i64 = 2000;

/// One coordinator's table `orders`, its rows by region on two other clusters, in a set `s`, with a local copy `kept`.
struct Sharded<'a> {
    db: Database<'a>,
    east: Database<'a>,
    west: Database<'a>,
}

/// The two clusters that the tests of this file share.
fn shards() -> &'static [Cluster; 2] {
    static SHARDS: OnceLock<[Cluster; 2]> = OnceLock::new();
    SHARDS.get_or_init(|| [Cluster::start(Options::default()), Cluster::start(Options::default())])
}

/// The table as a shard has it.
const SHARD: &str =
    "CREATE TABLE orders (id bigint PRIMARY KEY, region text NOT NULL, item text, placed timestamptz, tags text[])";

fn sharded() -> Sharded<'static> {
    let [east, west] = shards();
    on(database(), east.database(), west.database())
}

fn on<'a>(db: Database<'a>, east: Database<'a>, west: Database<'a>) -> Sharded<'a> {
    db.run(
        "CREATE EXTENSION postgres_fdw;
         CREATE TABLE orders (id bigint NOT NULL, region text NOT NULL, item text, placed timestamptz, tags text[]) PARTITION BY LIST (region);
         SELECT agent_backup.create_set('s', formats => '{csv,json}')",
    );
    for (name, shard) in [("east", &east), ("west", &west)] {
        shard.run(SHARD);
        db.run(&format!(
            "CREATE SERVER {name} FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{}', dbname '{}');
             CREATE USER MAPPING FOR postgres SERVER {name} OPTIONS (user 'postgres');
             CREATE FOREIGN TABLE orders_{name} PARTITION OF orders FOR VALUES IN ('{name}') SERVER {name} OPTIONS (table_name 'orders')",
            shard.cluster().socket_dir().display(),
            shard.name()
        ));
    }
    db.run(&format!(
        "INSERT INTO orders SELECT n, CASE WHEN n % 2 = 0 THEN 'east' ELSE 'west' END, CASE WHEN n % 5 > 0 THEN 'item \"' || n || '\", ä' END,
                '2025-01-01 12:00+00'::timestamptz + n * interval '1 min 1 ms', CASE WHEN n % 3 > 0 THEN ARRAY['a,b', NULL, n::text] END
           FROM generate_series(1, {ROWS}) n;
         CREATE TABLE kept AS TABLE orders;
         SELECT agent_backup.add_table('s', 'orders')"
    ));
    Sharded { db, east, west }
}

impl Sharded<'_> {
    fn backed_up() -> Sharded<'static> {
        let sharded = sharded();
        assert_eq!(statuses(&backup(&mut sharded.db.client()).unwrap()), ["ok"]);
        sharded
    }

    /// All rows are there, and each on the shard that its region says.
    #[track_caller]
    fn assert_whole(&self) {
        assert_equal_tables(&mut self.db.client(), "orders", "kept");
        for (region, shard) in [("east", &self.east), ("west", &self.west)] {
            let strangers =
                "SELECT count(*) FILTER (WHERE region <> current_setting('test.region')), count(*) FROM orders";
            let mut client = shard.client();
            client.batch_execute(&format!("SET test.region = '{region}'")).unwrap();
            let row = client.query_one(strangers, &[]).unwrap();
            assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (0, ROWS / 2), "rows on the {region}ern shard");
        }
    }

    fn done(self) {
        self.assert_whole();
        assert_no_trash(&self.db, &[]);
    }
}

fn diff(client: &mut Client) -> Vec<String> {
    lines(
        client,
        "SELECT change, count(*) FROM agent_backup.diff('orders', 'latest', set_name => 's') GROUP BY 1 ORDER BY 1",
    )
}

#[test]
fn one_call_backs_up_the_rows_of_both_shards() {
    let sharded = sharded();
    let mut client = sharded.db.client();
    let rows = backup(&mut client).unwrap();
    assert_eq!((statuses(&rows), rows[0].rows), (vec!["ok"], Some(ROWS)), "{rows:?}");
    client
        .batch_execute("CREATE TABLE saved AS SELECT * FROM agent_backup.read_backup(NULL::orders, set_name => 's')")
        .unwrap();
    assert_equal_tables(&mut client, "saved", "kept");
    let found = lines(&mut client, "SELECT status, table_name FROM agent_backup.verify('latest', 'restore', 's')");
    assert!(found.contains(&"ok|orders".to_owned()) && found.iter().all(|line| line.starts_with("ok")), "{found:?}");
    let drilled = lines(&mut client, "SELECT step, status, row_count, details FROM agent_backup.drill('s')");
    assert!(drilled.iter().any(|line| line.starts_with(&format!("restore|ok|{ROWS}|"))), "{drilled:#?}");
    assert_eq!(diff(&mut client), Vec::<String>::new());
    drop(client);
    sharded.done();
}

#[test]
fn rows_that_one_shard_lost_come_back_to_it_and_to_no_other() {
    let sharded = Sharded::backed_up();
    for (lost, shard) in [("east", &sharded.east), ("west", &sharded.west)] {
        let mut client = sharded.db.client();
        shard.run("DELETE FROM orders WHERE id > 500; UPDATE orders SET item = 'spoilt' WHERE id <= 100");
        assert_eq!(diff(&mut client), ["extra|50", "missing|800"], "what {lost} lost");
        let call =
            format!("restore_table('orders', where_clause => 'region = ''{lost}''', confirm => true, set_name => 's')");
        let steps = restore(&mut client, &call);
        assert!(
            steps.iter().any(|step| step.details.starts_with("1000 inserted, 0 updated, 250 deleted")),
            "{steps:#?}"
        );
        sharded.assert_whole();
    }
    sharded.done();
}

#[test]
fn a_whole_restore_brings_each_row_to_its_shard_and_can_be_undone() {
    let sharded = Sharded::backed_up();
    let mut client = sharded.db.client();
    sharded.east.run("TRUNCATE orders");
    sharded.west.run("UPDATE orders SET item = 'spoilt'");
    let plan = try_restore(&mut client, "restore_plan(set_name => 's')").unwrap();
    assert!(plan.iter().any(|step| step.status == "warning" && step.details.contains("other servers")), "{plan:#?}");
    let steps = restore(&mut client, "restore(confirm => true, set_name => 's')");
    sharded.assert_whole();
    restore(&mut client, &undo_of(&steps));
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM orders WHERE item = 'spoilt'"), ROWS / 2);
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM orders"), ROWS / 2);
    restore(&mut client, "restore(confirm => true, set_name => 's', safety_backup => false)");
    drop(client);
    sharded.done();
}

#[test]
fn a_coordinator_that_lost_the_table_makes_it_again_with_its_shards() {
    let sharded = Sharded::backed_up();
    sharded.db.run("DROP TABLE orders");
    sharded.east.run("TRUNCATE orders");
    sharded.west.run("TRUNCATE orders");
    restore(&mut sharded.db.client(), "restore(create_missing => true, confirm => true, set_name => 's')");
    sharded.done();
}

/// The call that takes a restore back.
fn undo_of(steps: &[Step]) -> String {
    let last = steps.iter().find(|step| step.action == "restored").expect("its last step");
    last.details.split("undo it with agent_backup.").nth(1).expect("a call that undoes it").to_owned()
}

#[test]
fn a_record_is_told_by_any_of_its_columns_where_there_is_no_primary_key() {
    let sharded = Sharded::backed_up();
    let mut client = sharded.db.client();
    sharded.west.run("DELETE FROM orders WHERE id IN (7, 9)");
    sharded.east.run("UPDATE orders SET item = 'spoilt' WHERE id = 10");
    let mut record = |key: &str, more: &str| {
        let call = format!("SELECT status FROM agent_backup.restore_record('orders', '{key}'{more}, set_name => 's')");
        client.query(&call, &[]).map(|rows| rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>())
    };
    assert_eq!(record(r#"{"id": 7}"#, "").unwrap(), ["restored"]);
    assert_eq!(record(r#"{"id": 7}"#, "").unwrap(), ["unchanged"]);
    assert_eq!(record(r#"{"id": 9, "region": "west"}"#, "").unwrap(), ["restored"]);
    assert_eq!(record(r#"{"id": 10}"#, "").unwrap(), ["exists"]);
    assert_eq!(record(r#"{"id": 10}"#, ", overwrite => true").unwrap(), ["overwritten"]);
    let said = fails_with(record(r#"{"region": "west"}"#, ""), "22023");
    assert!(said.contains("1000 rows"), "{said}");
    fails_with(record(r#"{"region": "north"}"#, ""), "P0002");
    fails_with(record(r#"{"nothing": 1}"#, ""), "42703");
    fails_with(record("{}", ""), "22023");
    fails_with(record(r#"{"id": null}"#, ""), "22023");
    let said = fails_with(record("7", ""), "22023");
    assert!(said.contains("no primary key") && said.contains("jsonb object"), "{said}");
    drop(client);
    sharded.done();
}

/// With an eastern cluster of its own, which may be lost, and a table that is on no shard. What is said of the loss is in
/// the log of a coordinator of its own.
fn with_east_to_lose(test: impl FnOnce(&Sharded, &Cluster)) {
    let [here, lost] = [(); 2].map(|()| Cluster::start(Options::default()));
    let sharded = on(here.database(), lost.database(), shards()[1].database());
    sharded.db.run(
        "CREATE TABLE here AS SELECT n AS id FROM generate_series(1, 10) n; SELECT agent_backup.add_table('s', 'here')",
    );
    test(&sharded, &lost);
}

const DOWN: &str = "could not connect to server \"east\"";

#[test]
fn a_shard_that_is_down_fails_its_table_and_never_gives_a_part() {
    with_east_to_lose(|sharded, lost| {
        lost.stop("immediate");
        let mut client = sharded.db.client();
        let rows = backup(&mut client).unwrap();
        assert_eq!(statuses(&rows), ["failed", "ok"], "{rows:?}");
        assert!(rows[0].error.as_deref().unwrap().contains(DOWN), "{rows:?}");
        let listed = lines(&mut client, "SELECT status, row_count, error_message FROM agent_backup.backups");
        assert!(listed[0].starts_with(&format!("incomplete|10|orders: {DOWN}")), "{listed:?}");
        let files: i64 = one(&mut client, "SELECT count(*) FROM agent_backup.backup_files WHERE table_name = 'orders'");
        assert_eq!(files, 0, "a part of the table is in the backup");
        fails_with(client.query("SELECT agent_backup.restore(confirm => true, set_name => 's')", &[]), "42704");
        lost.start_again();
        drop(client);
        let rows = backup(&mut sharded.db.client()).unwrap();
        assert_eq!((statuses(&rows), rows[0].rows), (vec!["ok", "ok"], Some(ROWS)), "{rows:?}");
        assert_no_trash(&sharded.db, &[DOWN]);
    });
}

#[test]
fn a_restore_with_a_shard_down_changes_no_other() {
    with_east_to_lose(|sharded, lost| {
        assert_eq!(statuses(&backup(&mut sharded.db.client()).unwrap()), ["ok", "ok"]);
        sharded.west.run("DELETE FROM orders WHERE id < 1000");
        lost.stop("immediate");
        let call = "restore_table('orders', confirm => true, set_name => 's')";
        let refused = try_restore(&mut sharded.db.client(), call).unwrap_err();
        assert!(refused.as_db_error().unwrap().message().contains(DOWN), "{refused:?}");
        assert_eq!(one::<i64>(&mut sharded.west.client(), "SELECT count(*) FROM orders"), 500);
        lost.start_again();
        restore(&mut sharded.db.client(), call);
        sharded.assert_whole();
        assert_no_trash(&sharded.db, &[DOWN]);
    });
}

/// The server refuses to commit after it lost a connection in use, so the files are listed by the next call.
#[test]
fn a_shard_that_dies_while_it_is_read_costs_its_table_alone() {
    with_east_to_lose(|sharded, lost| {
        sharded.east.run(
            "ALTER TABLE orders RENAME TO rows;
             CREATE FUNCTION slow(v bigint) RETURNS bigint VOLATILE LANGUAGE sql AS 'SELECT v + (pg_sleep(0.05) IS NULL)::int';
             CREATE VIEW orders AS SELECT slow(id) AS id, region, item, placed, tags FROM rows",
        );
        for mode in ["immediate", "fast"] {
            let (_, thread) = begun(sharded.db.client(), "SELECT * FROM agent_backup.backup('s')");
            let reading = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'FETCH %'";
            wait_until("the shard to be read", Duration::from_secs(60), || {
                (one::<i64>(&mut sharded.east.client(), reading) > 0).then_some(())
            });
            lost.stop(mode);
            let said = fails_with(thread.join().unwrap().1, "08000");
            assert!(said.contains("connection to server \"east\""), "{said}");
            lost.start_again();
        }
        let kept = "SELECT action, details FROM agent_backup.reconcile('s')";
        let kept = lines(&mut sharded.db.client(), kept);
        assert_eq!(kept.len(), 2, "{kept:?}");
        assert!(kept.iter().all(|line| line.starts_with("adopted|1 table(s), 10 rows")), "{kept:?}");
        let listed = lines(
            &mut sharded.db.client(),
            "SELECT status, row_count, error_message LIKE '%orders: %' FROM agent_backup.backups",
        );
        assert_eq!(listed, ["incomplete|10|t", "incomplete|10|t"]);
        let told = ["connection to server", "server closed the connection", "connection to its server", "terminating"];
        assert_no_trash(&sharded.db, &[told.as_slice(), &["no connection to the server"]].concat());
    });
}
