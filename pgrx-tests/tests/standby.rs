//! A standby makes the backup: files and no row, and the primary lists it as its own.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use agent_backup_suite::{
    Cluster, Database, Options, Set, assert_backups_whole, assert_clean, assert_equal_tables, backup, begun,
    fails_with, files, lines, one, restore, sqlstate, statuses, wait_until,
};
use postgres::{Client, NoTls};

/// A primary with a set `s` of two tables, and its standby, which writes to the same directory.
struct Pair<'a> {
    db: Database<'a>,
    standby: Cluster,
}

fn with_pair(settings: &[&str], test: impl FnOnce(&Pair)) {
    let options = Options::default().setting("max_standby_streaming_delay = '30s'");
    let primary = Cluster::start(settings.iter().fold(options, |options, line| options.setting(line)));
    let db = primary.database();
    Set::create(&db, 2, 1000);
    db.run("CREATE TABLE kept AS TABLE t1");
    let standby = primary.create_standby();
    test(&Pair { db, standby });
}

impl Pair<'_> {
    /// A session of the standby, and what it is told.
    fn there(&self) -> (Client, Receiver<String>) {
        let (sender, told) = channel();
        let mut config = self.standby.config("postgres", self.db.name());
        config.notice_callback(move |notice| drop(sender.send(notice.message().to_owned())));
        (config.connect(NoTls).unwrap(), told)
    }

    /// Waits until the standby has what is committed now.
    fn caught_up(&self) {
        let now: String = one(&mut self.db.client(), "SELECT pg_current_wal_lsn()::text");
        wait_until("the standby to catch up", Duration::from_secs(60), || {
            one::<bool>(&mut self.there().0, &format!("SELECT pg_last_wal_replay_lsn() >= '{now}'")).then_some(())
        });
    }

    fn listed(&self) -> Vec<String> {
        lines(&mut self.db.client(), "SELECT status, row_count FROM agent_backup.backups ORDER BY started_at")
    }

    fn done(&self, expected: &[&str]) {
        self.standby.stop("immediate");
        wait_until("the standby to be gone", Duration::from_secs(20), || {
            self.db.client().query("SELECT 1 FROM pg_stat_replication", &[]).unwrap().is_empty().then_some(())
        });
        assert_clean(&self.db, expected);
    }
}

#[test]
fn a_backup_of_a_standby_is_files_that_the_primary_lists_as_its_own() {
    with_pair(&[], |pair| {
        let (mut there, told) = pair.there();
        let rows = backup(&mut there).unwrap();
        assert_eq!((statuses(&rows), rows[0].rows), (vec!["ok", "ok"], Some(1000)), "{rows:?}");
        let told: Vec<String> = told.try_iter().collect();
        assert!(told.iter().any(|line| line.contains("SELECT * FROM agent_backup.reconcile('s')")), "{told:?}");
        assert_eq!((files(&pair.db).len(), pair.listed().len()), (2, 0), "files, and no row");
        assert_eq!(one::<i64>(&mut there, "SELECT count(*) FROM agent_backup.backups"), 0);
        // It can be proved there at once.
        let file = rows[0].file.clone().unwrap();
        let proof = format!("SELECT DISTINCT status FROM agent_backup.verify('{file}', 'decode', 's')");
        assert_eq!(lines(&mut there, &proof), ["ok"]);

        let found =
            lines(&mut pair.db.client(), "SELECT action, details LIKE '%2000 rows%' FROM agent_backup.reconcile('s')");
        assert_eq!(found, ["adopted|t"]);
        assert_eq!(pair.listed(), ["complete|2000"]);
        assert_eq!(assert_backups_whole(&pair.db), 1);
        let manifest: String =
            one(&mut pair.db.client(), "SELECT pg_read_file(manifest_file) FROM agent_backup.backups");
        assert!(manifest.contains("\"in_recovery\":true") || manifest.contains("\"in_recovery\": true"));
        pair.db.run("DELETE FROM t1 WHERE id > 10; UPDATE t1 SET a = 'spoilt'");
        let mut client = pair.db.client();
        restore(&mut client, "restore_table('t1', confirm => true, set_name => 's')");
        assert_equal_tables(&mut client, "t1", "kept");
        pair.done(&[]);
    });
}

#[test]
fn the_next_backup_of_the_primary_lists_it_and_both_keep_out_of_each_others_way() {
    with_pair(&[], |pair| {
        let (mut there, _) = pair.there();
        backup(&mut there).unwrap();
        assert_eq!(statuses(&backup(&mut pair.db.client()).unwrap()), ["ok", "ok"]);
        assert_eq!(pair.listed(), ["complete|2000", "complete|2000"]);
        pair.caught_up();
        assert_eq!(one::<i64>(&mut there, "SELECT count(*) FROM agent_backup.backups"), 2);

        there.batch_execute("SET agent_backup.debug_failpoint = 'scan=pause'").unwrap();
        let (pid, run) = begun(there, "SELECT agent_backup.backup('s')");
        wait_until("the standby to write", Duration::from_secs(60), || {
            pair.standby.log().contains("pauses at step \"scan\"").then_some(())
        });
        let said = fails_with(backup(&mut pair.db.client()), "55P03");
        assert!(said.contains(&pid.to_string()), "{said}");
        pair.there().0.execute("SELECT pg_cancel_backend($1)", &[&pid]).unwrap();
        let (mut there, result) = run.join().unwrap();
        fails_with(result, "57014");
        assert_eq!(files(&pair.db).len(), 4, "a cancelled backup leaves nothing");
        there.batch_execute("SET agent_backup.debug_failpoint = ''").unwrap();
        assert_eq!(statuses(&backup(&mut there).unwrap()), ["ok", "ok"]);
        pair.done(&[]);
    });
}

#[test]
fn what_cannot_be_read_on_a_standby_costs_its_table() {
    with_pair(&[], |pair| {
        pair.db.run(
            "CREATE UNLOGGED TABLE light (id int); SELECT agent_backup.add_table('s', 'light');
             CREATE TABLE counted (id serial PRIMARY KEY, g int GENERATED ALWAYS AS IDENTITY);
             INSERT INTO counted SELECT FROM generate_series(1, 50); SELECT agent_backup.add_table('s', 'counted')",
        );
        pair.caught_up();
        let (mut there, _) = pair.there();
        let rows = backup(&mut there).unwrap();
        assert_eq!(statuses(&rows), ["ok", "ok", "failed", "ok"], "{rows:?}");
        assert!(rows[2].error.as_deref().unwrap().contains("during recovery"), "{rows:?}");
        pair.db.run("SELECT agent_backup.reconcile('s')");
        assert_eq!(pair.listed(), ["incomplete|2050"]);
        // The sequences are not behind the rows.
        pair.db.run("DROP TABLE counted");
        let call = "restore(tables => '{counted}', backup => (SELECT backup_id FROM agent_backup.backups), create_missing => true, confirm => true, set_name => 's')";
        restore(&mut pair.db.client(), call);
        let next = "INSERT INTO counted DEFAULT VALUES RETURNING least(id, g)";
        assert!(one::<i32>(&mut pair.db.client(), next) > 50);
        pair.db.run("SELECT agent_backup.remove_table('s', 'light')");
        pair.done(&["during recovery"]);
    });
}

#[test]
fn a_recovery_conflict_ends_it_and_leaves_nothing() {
    with_pair(&["max_standby_streaming_delay = 0"], |pair| {
        let conflicts = [
            // While a table is read: the lock that the primary takes on it. The server ends such a session.
            ("scan", "TRUNCATE t1"),
            // While the files are put into place: no table is read any more, but its lock is held.
            ("publish", "TRUNCATE t2"),
        ];
        for (step, conflict) in conflicts {
            let (mut there, _) = pair.there();
            there.batch_execute(&format!("SET agent_backup.debug_failpoint = '{step}=pause'")).unwrap();
            let (_, run) = begun(there, "SELECT agent_backup.backup('s')");
            let pause = format!("pauses at step \"{step}\"");
            wait_until("the standby to write", Duration::from_secs(60), || {
                pair.standby.log().contains(&pause).then_some(())
            });
            pair.db.run(conflict);
            let (there, result) = run.join().unwrap();
            let error = result.unwrap_err();
            assert!(["40001", "lost"].contains(&sqlstate(&error).as_str()), "{step}: {error:?}");
            assert!(pair.standby.log().contains("due to conflict with recovery"), "{step}");
            drop(there);
            wait_until("its files to go", Duration::from_secs(20), || {
                std::fs::read_dir(pair.db.backup_dir().join("s")).unwrap().next().is_none().then_some(())
            });
        }
        pair.caught_up();
        pair.db.run("INSERT INTO t1 TABLE kept");
        pair.caught_up();
        let rows = backup(&mut pair.there().0).unwrap();
        assert_eq!((statuses(&rows), rows[0].rows, rows[1].rows), (vec!["ok", "ok"], Some(1000), Some(0)), "{rows:?}");
        pair.done(&[]);
    });
}

#[test]
fn a_table_is_exported_from_a_standby() {
    with_pair(&[], |pair| {
        let (mut there, _) = pair.there();
        let export = "SELECT row_count, export_file FROM agent_backup.export_table('t1', 'csv')";
        let row = there.query_one(export, &[]).unwrap();
        let text = std::fs::read_to_string(row.get::<_, String>(1)).unwrap();
        assert_eq!((row.get::<_, i64>(0), text.lines().count()), (1000, 1001));
        there.batch_execute("SELECT backup_agent_table_to_json('t2')").unwrap();
        // All that writes rows is refused as before.
        for call in ["reconcile('s')", "create_set('x')", "prune('s', confirm => true)"] {
            let said = fails_with(there.batch_execute(&format!("SELECT agent_backup.{call}")), "25006");
            assert!(said.contains("standby"), "{call}: {said}");
        }
        pair.done(&[]);
    });
}
