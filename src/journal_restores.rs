//! The only writer of the rows about restores.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::ident;
use crate::journal::as_owner;
use crate::server::sql;

/// A restore that was done.
pub struct RestoreRecord {
    /// None where the rows came from the log of changes.
    pub backup_id: Option<String>,
    pub set_name: Option<String>,
    pub mode: &'static str,
    pub tables: Vec<String>,
    pub where_clause: Option<String>,
    pub row_count: i64,
    pub took: Duration,
    pub safety_backup_id: Option<String>,
    pub undoes: Option<i64>,
}

/// Records it; its number.
pub fn record(restore: &RestoreRecord) -> Result<i64> {
    let who = ident::session_role()?;
    as_owner(|| {
        let statement = "INSERT INTO agent_backup.restores (backup_id, set_name, mode, tables, where_clause, row_count, started_at, \
                             finished_at, restored_by, safety_backup_id, undoes) \
                         SELECT $1, $2, $3, $4, $5, $6, t.now - pg_catalog.make_interval(secs => $7), t.now, $8, $9, $10 \
                           FROM (SELECT pg_catalog.clock_timestamp() AS now) AS t RETURNING restore_id";
        let arguments = [
            restore.backup_id.as_deref().into(),
            restore.set_name.as_deref().into(),
            restore.mode.into(),
            restore.tables.clone().into(),
            restore.where_clause.as_deref().into(),
            restore.row_count.into(),
            restore.took.as_secs_f64().into(),
            who.as_str().into(),
            restore.safety_backup_id.as_deref().into(),
            restore.undoes.into(),
        ];
        let ids = sql::changed_rows(statement, &arguments, |row| row.required(1))?;
        ids.into_iter().next().ok_or(Error::Internal { object: "restore", reason: "it was not recorded".into() })
    })
}

/// The restore to undo: its number, and the backup that was made before it. The newest that is not undone where none is
/// named. Errors: `NothingToUndo`.
pub fn to_undo(restore_id: Option<i64>) -> Result<(i64, String)> {
    let found = as_owner(|| {
        let query = "SELECT r.restore_id, r.safety_backup_id, \
                            EXISTS (SELECT FROM agent_backup.restores u WHERE u.undoes = r.restore_id) \
                       FROM agent_backup.restores r \
                      WHERE r.restore_id = $1 OR ($1 IS NULL AND r.undoes IS NULL AND r.safety_backup_id IS NOT NULL \
                            AND NOT EXISTS (SELECT FROM agent_backup.restores u WHERE u.undoes = r.restore_id)) \
                      ORDER BY r.restore_id DESC LIMIT 1";
        sql::rows(query, &[restore_id.into()], |row| {
            Ok((row.required::<i64>(1)?, row.optional::<String>(2)?, row.required::<bool>(3)?))
        })
    })?;
    let nothing = |reason: &str| Error::NothingToUndo { reason: reason.to_owned() };
    match (found.into_iter().next(), restore_id) {
        (None, Some(id)) => Err(nothing(&format!("restore {id} does not exist"))),
        (None, None) => Err(nothing("no restore overwrote anything")),
        (Some((id, _, true)), _) => Err(nothing(&format!("restore {id} is undone already"))),
        (Some((id, None, _)), _) => Err(nothing(&format!("restore {id} made no safety backup"))),
        (Some((id, Some(safety), _)), _) => Ok((id, safety)),
    }
}
