//! What the tests of the log of acts share: a set, an empty log, and what is in it.
#![allow(dead_code, reason = "each file of tests uses a part")]

use agent_backup_suite::{Database, Refusal, lines, refused};

/// The log but for what differs from run to run.
pub const TOLD: &str =
    "SELECT action, object, set_name, status, error_code FROM agent_backup.audit_log ORDER BY entry_id";

pub const CHAIN: &str = "SELECT check_name, status FROM agent_backup.verify_audit_log()";

/// A database with the set `s` of one table, and an empty log.
pub fn with_set(db: &Database) {
    db.run(
        "CREATE TABLE t (id int PRIMARY KEY, note text); INSERT INTO t VALUES (1, 'one'), (2, 'two');
         SELECT agent_backup.create_set('s', formats => '{csv}'); SELECT agent_backup.add_table('s', 't')",
    );
    forget(db);
}

/// Empties the log, as only its guards keep one from doing.
pub fn forget(db: &Database) {
    unguarded(db, "TRUNCATE agent_backup.audit_log, agent_backup.audit_chain, agent_backup.audit_checks");
}

/// Runs a statement with the guards off.
pub fn unguarded(db: &Database, statement: &str) {
    let switch = |how: &str| {
        ["audit_log", "audit_chain", "audit_checks"]
            .map(|table| format!("ALTER TABLE agent_backup.{table} {how} TRIGGER guard_audit;"))
            .concat()
    };
    db.run(&format!("{} {statement}; {}", switch("DISABLE"), switch("ENABLE ALWAYS")));
}

/// A call that is refused. Who gets an error gets it before its transaction has ended.
#[track_caller]
pub fn fails(client: &mut postgres::Client, call: &str) -> Refusal {
    let refusal = refused(client, call);
    client.simple_query("SELECT").unwrap();
    refusal
}

pub fn told(db: &Database) -> Vec<String> {
    lines(&mut db.client(), TOLD)
}
