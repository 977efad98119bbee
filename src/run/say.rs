//! Lines for a person at psql.

use std::time::Duration;

use pgrx::PgLogLevel;

use crate::server::message;

/// `agent_approvals: 10000 rows, 1.2 MB in 0.08 s (57 MB/s)`.
pub fn table_done(table: &str, rows: u64, plain: u64, stored: u64, took: Duration) {
    let rate = plain as f64 / took.as_secs_f64().max(0.001);
    notice(&format!(
        "{table}: {rows} rows, {} stored in {:.2} s ({}/s)",
        bytes(stored as f64),
        took.as_secs_f64(),
        bytes(rate)
    ));
}

/// A member that does not exist here.
pub fn table_absent(table: &str) {
    notice(&format!("{table}: does not exist here"));
}

/// A member that could not be read.
pub fn table_failed(table: &str, reason: &str) {
    warning(&format!("{table}: {reason}"));
}

/// A connection of a table to its server broke while it was read.
pub fn connection_lost(table: &str) {
    warning(&format!(
        "{table}: the connection to its server broke, so this server refuses to commit what this transaction wrote; the \
         backup of the other tables stays, and the next one of the set, or agent_backup.reconcile(), lists it as incomplete"
    ));
}

/// Tells of something that was done on the way.
pub fn notice(text: &str) {
    message::say(PgLogLevel::NOTICE, text);
}

/// Tells of something that went wrong and is not the end of the call.
pub fn warning(text: &str) {
    message::say(PgLogLevel::WARNING, text);
}

/// A backup that a standby made.
pub fn not_listed(set: &str, backup_id: &str) {
    let call = format!("SELECT * FROM agent_backup.reconcile({})", crate::ident::literal(set));
    notice(&format!(
        "backup {backup_id} was made on a standby, which lists nothing: where the primary sees these files, it does with {call}"
    ));
}

/// A verification that leaves no trace in the catalogue.
pub fn not_logged(why: &str) {
    notice(&format!("the result is not logged {why}"));
}

/// Bytes with a unit of 1000, three digits.
pub fn bytes(count: f64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 99.5 { 0 } else { 1 };
    format!("{value:.digits$} {}", UNITS[unit])
}
