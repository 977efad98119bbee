//! What the tests of health share: a set, its health at some time, and what a row must say.
#![allow(dead_code, reason = "each file of tests uses a part")]

use std::path::Path;

use agent_backup_suite::{Database, database};

/// One row of `agent_backup.health`.
#[derive(Debug, Clone)]
pub struct Row {
    pub subject: String,
    pub severity: String,
    pub has_since: bool,
    pub reason: String,
    pub action: Option<String>,
}

/// A set `s` of one table, and no other.
pub fn with_set() -> Database<'static> {
    let db = database();
    db.run(
        "SELECT agent_backup.drop_set('agent_sdk'); SELECT agent_backup.create_set('s'); CREATE TABLE public.\"T 1\" (id int PRIMARY KEY);
         INSERT INTO \"T 1\" SELECT generate_series(1, 50); SELECT agent_backup.add_table('s', 'T 1');",
    );
    db
}

/// Health as it is `ahead` of now, an interval that may be negative.
pub fn health_at(db: &Database, ahead: &str) -> Vec<Row> {
    let mut client = db.client();
    let clock = format!(
        "SELECT set_config('agent_backup.debug_clock', to_char((now() + interval '{ahead}') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), false)"
    );
    client.batch_execute(&clock).unwrap();
    let query = "SELECT subject, severity, since IS NOT NULL, reason, action FROM agent_backup.health";
    let rows = client.query(query, &[]).unwrap();
    let row = |row: &postgres::Row| Row {
        subject: row.get(0),
        severity: row.get(1),
        has_since: row.get(2),
        reason: row.get(3),
        action: row.get(4),
    };
    rows.iter().map(row).collect()
}

/// The only row about something.
#[track_caller]
pub fn about(rows: &[Row], subject: &str) -> Row {
    let found: Vec<&Row> = rows.iter().filter(|row| row.subject == subject).collect();
    assert_eq!(found.len(), 1, "{subject} in {rows:#?}");
    found[0].clone()
}

/// That row now, which must have this severity and say this; a bad one has a time and something to do.
#[track_caller]
pub fn says(db: &Database, ahead: &str, subject: &str, severity: &str, part: &str) {
    let row = about(&health_at(db, ahead), subject);
    assert_eq!(row.severity, severity, "{row:?}");
    assert!(row.reason.contains(part), "{row:?}");
    assert_eq!(row.action.is_none(), severity == "OK", "{row:?}");
    assert!(row.has_since || severity == "OK", "{row:?}");
}

pub const TABLE: &str = "s: table \"T 1\"";

pub fn back_up(db: &Database) {
    db.run("SELECT agent_backup.backup('s')");
}

pub fn flip_a_byte(db: &Database) {
    let query = "SELECT backup_file, (pg_read_file(manifest_file)::jsonb #>> '{entries,0,chunks,0,0}')::bigint + 30 FROM agent_backup.backups";
    let row = db.client().query_one(query, &[]).unwrap();
    let (file, offset): (String, i64) = (row.get(0), row.get(1));
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[usize::try_from(offset).unwrap()] ^= 1;
    std::fs::write(Path::new(&file), bytes).unwrap();
}
