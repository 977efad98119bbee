//! What tests of retention share: backups at given moments, a call of `prune` and its rows.

use postgres::Client;

use crate::database::Database;
use crate::{lines, one};

/// One row of `agent_backup.prune`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruned {
    pub backup_id: Option<String>,
    pub kind: Option<String>,
    pub file: Option<String>,
    pub action: String,
    pub reasons: Vec<String>,
    pub set: String,
}

/// Runs it with these arguments.
#[track_caller]
pub fn prune(client: &mut Client, arguments: &str) -> Vec<Pruned> {
    let query =
        format!("SELECT backup_id, kind, backup_file, action, reasons, set_name FROM agent_backup.prune({arguments})");
    let row = |row: &postgres::Row| Pruned {
        backup_id: row.get(0),
        kind: row.get(1),
        file: row.get(2),
        action: row.get(3),
        reasons: row.get(4),
        set: row.get(5),
    };
    client.query(&query, &[]).unwrap_or_else(|error| panic!("{query}: {error:?}")).iter().map(row).collect()
}

/// What time it is for a session, as `2026-03-01T02:00:00Z`; a day alone means its second hour.
pub fn set_clock(client: &mut Client, moment: &str) {
    let moment = if moment.len() == 10 { format!("{moment}T02:00:00Z") } else { moment.to_owned() };
    client.batch_execute(&format!("SET agent_backup.debug_clock = '{moment}'")).expect("a clock");
}

/// Backs up a set at each of these moments; the ids.
#[track_caller]
pub fn backups_at(db: &Database, set: &str, kind: &str, moments: &[&str]) -> Vec<String> {
    let mut client = db.client();
    let mut ids = Vec::new();
    for moment in moments {
        set_clock(&mut client, moment);
        let bad = format!("SELECT * FROM agent_backup.backup('{set}', '{kind}') WHERE status <> 'ok'");
        assert_eq!(lines(&mut client, &bad), [""; 0], "{moment}");
        let newest = format!(
            "SELECT backup_id FROM agent_backup.backups WHERE set_name = '{set}' AND started_at = agent_backup.clock() ORDER BY backup_id DESC"
        );
        ids.push(lines(&mut client, &newest).remove(0));
    }
    ids
}

/// The days in UTC of the backups that are listed of a set, oldest first.
pub fn listed_days(db: &Database, set: &str) -> Vec<String> {
    let query = format!(
        "SELECT (started_at AT TIME ZONE 'UTC')::date FROM agent_backup.backups WHERE set_name = '{set}' AND backup_id IS NOT NULL ORDER BY started_at"
    );
    lines(&mut db.client(), &query)
}

/// How many backups were noted as removed.
pub fn noted(db: &Database) -> i64 {
    one(&mut db.client(), "SELECT count(*) FROM agent_backup.pruned_backups")
}
