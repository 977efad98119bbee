//! Six weeks in the life of a database, for what is told of a period: sets of several kinds, backups that failed, are
//! incomplete or damaged, verifications, drills, restores, incrementals, removals, and names that are no names.

use postgres::Client;

use crate::database::Database;
use crate::one;
use crate::retention::set_clock;

/// The first day, how many there are, and the moment after the last one.
pub const FIRST: &str = "2026-03-01";
pub const DAYS: u32 = 45;
pub const NOW: &str = "2026-04-15T06:00:00Z";

/// A set whose name is markup.
pub const EVIL: &str = "<script>alert(1)</script> \"&\" '\\' \u{202E}abc \u{5E9}\u{5DC}\u{5D5}\u{5DD}";

const TABLES: &str = "
    CREATE TABLE orders (id int PRIMARY KEY, note text); CREATE TABLE customers (id int PRIMARY KEY, email text);
    CREATE TABLE tickets (id int PRIMARY KEY, body text);
    INSERT INTO orders SELECT n, repeat(md5(n::text), 3) FROM generate_series(1, 2000) n;
    INSERT INTO customers SELECT n, n || '@example.org' FROM generate_series(1, 300) n;
    INSERT INTO tickets SELECT n, md5(n::text) FROM generate_series(1, 500) n;
    SELECT agent_backup.create_set('orders', rpo => '1 day', keep_daily => 14, max_age => '400 days');
    SELECT agent_backup.create_set('support', formats => '{csv}');
    SELECT agent_backup.add_table('orders', 'orders'), agent_backup.add_table('orders', 'customers');
    SELECT agent_backup.add_table('support', 'tickets', excluded_columns => '{body}');";

struct Life<'a> {
    client: Client,
    blocker: Client,
    db: &'a Database<'a>,
}

/// Lives through the six weeks.
pub fn live_through(db: &Database) {
    db.run(TABLES);
    let mut life = Life { client: db.client(), blocker: db.client(), db };
    life.client.batch_execute("SET client_min_messages = 'error'").unwrap();
    life.client.execute("SELECT agent_backup.create_set($1, backup_interval => '7 days')", &[&EVIL]).unwrap();
    life.client.execute("SELECT agent_backup.add_table($1, 'tickets')", &[&EVIL]).unwrap();
    for day in 0..DAYS {
        life.day(day);
    }
    life.settle();
}

impl Life<'_> {
    fn run(&mut self, statements: &str) {
        self.client.batch_execute(statements).unwrap_or_else(|error| panic!("{statements}: {error:?}"));
    }

    fn clock(&mut self, day: u32, hour: u32) {
        let moment: String = one(
            &mut self.client,
            &format!("SELECT to_char(date '{FIRST}' + {day} + time '{hour:02}:00', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"),
        );
        set_clock(&mut self.client, &moment);
    }

    fn day(&mut self, day: u32) {
        self.clock(day, 2);
        self.run(&format!("INSERT INTO orders SELECT {day} * 1000 + n + 10000, md5(n::text) FROM generate_series(1, 40 + {day} % 7 * 9) n"));
        match day {
            9 | 10 => self.run(
                "SET agent_backup.debug_failpoint = 'scan=error'; SELECT agent_backup.backup('orders'); RESET agent_backup.debug_failpoint",
            ),
            22 => {
                self.blocker.batch_execute("BEGIN; LOCK TABLE customers").unwrap();
                self.run("SET agent_backup.lock_timeout = '10ms'; SELECT agent_backup.backup('orders'); RESET agent_backup.lock_timeout");
                self.blocker.batch_execute("ROLLBACK").unwrap();
            }
            _ => self.run("SELECT agent_backup.backup('orders')"),
        }
        self.verified(day, "orders", if day == 31 { Some("decode") } else { (day % 5 != 4).then_some("decode") });
        if !(17..=18).contains(&day) {
            self.run("SELECT agent_backup.backup('support')");
            self.verified(day, "support", day.is_multiple_of(2).then_some("hash"));
        }
        if day.is_multiple_of(7) {
            self.client.execute("SELECT agent_backup.backup($1)", &[&EVIL]).unwrap();
            self.run(
                "SELECT agent_backup.prune('orders', confirm => true), agent_backup.prune('support', confirm => true)",
            );
        }
        if day.is_multiple_of(3) {
            self.clock(day, 14);
            self.run("SELECT agent_backup.incremental('orders')");
        }
    }

    /// Verifies the newest backup of a set, which on one day is damaged first.
    fn verified(&mut self, day: u32, set: &str, level: Option<&str>) {
        if day == 31 && set == "orders" {
            let file: String = one(
                &mut self.client,
                "SELECT backup_file FROM agent_backup.backups WHERE set_name = 'orders' ORDER BY started_at DESC LIMIT 1",
            );
            let mut bytes = std::fs::read(&file).unwrap();
            let middle = bytes.len() / 4;
            bytes[middle] ^= 1;
            std::fs::write(&file, bytes).unwrap();
        }
        if let Some(level) = level {
            self.run(&format!("SELECT agent_backup.verify('latest', '{level}', '{set}')"));
        }
    }

    /// What goes by the machine's own clock gets the times of the story.
    fn settle(&mut self) {
        self.run(
            "SELECT agent_backup.drill('orders'), agent_backup.drill('support');
             UPDATE agent_backup.drills SET started_at = '2026-03-20 05:00Z', finished_at = '2026-03-20 05:00:04Z' WHERE set_name = 'support';
             UPDATE agent_backup.drills SET started_at = '2026-04-02 05:00Z', finished_at = '2026-04-02 05:00:04Z' WHERE set_name = 'orders';
             INSERT INTO agent_backup.drills (set_name, status, started_at, finished_at, duration, row_count, steps, drilled_by, error_message)
             VALUES ('orders', 'failed', '2026-03-05 05:00Z', '2026-03-05 05:00:09Z', '9 s', 0, '[]', 'nightly', 'foreign key \"orders_customer\" does not hold');
             DELETE FROM customers WHERE id < 20;
             SELECT agent_backup.restore_table('customers', mode => 'merge', confirm => true, set_name => 'orders');
             UPDATE agent_backup.restores SET started_at = '2026-04-03 09:00Z', finished_at = '2026-04-03 09:00:02Z';
             SELECT agent_backup.track('tickets');
             INSERT INTO agent_backup.capture_gaps (tracked_id, noted_at, reason) SELECT tracked_id, '2026-04-10 12:00Z', 'a trigger was off' FROM agent_backup.tracked;
             INSERT INTO agent_backup.job_runs (set_name, job, status, started_at, finished_at, error_message, error_code, pid, run_by)
             SELECT 'orders', 'daily', CASE WHEN n IN (9, 10) THEN 'failed' ELSE 'success' END, at, at + interval '20 s',
                    CASE WHEN n IN (9, 10) THEN 'step \"scan\" was made to fail' END, CASE WHEN n IN (9, 10) THEN 'XX000' END, 1, 'nightly'
               FROM generate_series(0, 44) n, LATERAL (SELECT '2026-03-01 02:00Z'::timestamptz + n * interval '1 day' AS at) a;
             UPDATE agent_backup.sets SET created_at = '2026-02-27 12:00Z';
             UPDATE agent_backup.backup_catalog SET verified_at = started_at + interval '90 minutes' WHERE verified_at IS NOT NULL;
             UPDATE backup_verification_log l SET verified_at = b.started_at + interval '90 minutes'
               FROM (SELECT backup_id, started_at FROM agent_backup.backup_catalog UNION ALL SELECT backup_id, started_at FROM agent_backup.pruned_backups) b
              WHERE b.backup_id = l.backup_id;
             UPDATE agent_backup.backup_catalog SET finished_at = started_at + interval '7 s' + (extract(day FROM started_at) % 5) * interval '800 ms'
              WHERE kind = 'full';
             UPDATE agent_backup.pruned_backups SET finished_at = started_at + interval '6 s' + (extract(day FROM started_at) % 5) * interval '800 ms'
              WHERE kind = 'full'",
        );
        self.db.run(&format!("ALTER DATABASE {} SET agent_backup.debug_clock = '{NOW}'", self.db.name()));
    }
}
