//! The only writer of what is tracked, and of marks.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::ident::TableName;
use crate::journal;
use crate::server::sql;

/// A tracking that begins.
pub struct NewTracking<'a> {
    pub relation: pg_sys::Oid,
    pub table: &'a TableName,
    pub level: &'a str,
    pub on_failure: &'a str,
    pub on_truncate: &'a str,
    pub truncate_limit: i64,
}

/// The number of the next tracking.
pub fn next_id() -> Result<i32> {
    journal::as_owner(|| {
        let query = "SELECT pg_catalog.nextval('agent_backup.tracked_tracked_id_seq')::pg_catalog.int4";
        let ids = sql::changed_rows(query, &[], |row| row.required(1))?;
        ids.first().copied().ok_or(Error::Internal { object: "tracking", reason: "it has no number".into() })
    })
}

/// Records that a table is tracked from now on under this number. Its triggers are there already: the watch over them
/// looks at the tables that are recorded.
pub fn begin(id: i32, tracking: &NewTracking) -> Result<()> {
    journal::as_owner(|| {
        let statement = "INSERT INTO agent_backup.tracked (tracked_id, relation, schema_name, table_name, level, on_failure, on_truncate, \
                truncate_limit, home, since, since_xid) OVERRIDING SYSTEM VALUE \
             SELECT $8, $1, $2, $3, $4, $5, $6, $7, h.home, pg_catalog.clock_timestamp(), pg_catalog.pg_current_xact_id() \
               FROM agent_backup.this_home AS h";
        let arguments = [
            tracking.relation.into(),
            tracking.table.schema.as_str().into(),
            tracking.table.name.as_str().into(),
            tracking.level.into(),
            tracking.on_failure.into(),
            tracking.on_truncate.into(),
            tracking.truncate_limit.into(),
            id.into(),
        ];
        sql::execute(statement, &arguments)?;
        sql::execute(NOTE_FACTS, &[id.into()])?;
        guard()
    })
}

/// Notes what a tracked table is, for the watch to compare with.
const NOTE_FACTS: &str = "UPDATE agent_backup.tracked t SET remade = false, leaves = n.leaves, columns = n.columns, labels = n.labels \
                          FROM agent_backup.tracked_now n WHERE n.tracked_id = t.tracked_id AND t.tracked_id = $1";

/// The triggers of a tracking are made anew; whether they were broken before.
pub fn watched(id: i32) -> Result<bool> {
    journal::as_owner(|| {
        sql::execute(NOTE_FACTS, &[id.into()])?;
        let query = "SELECT broken_since IS NOT NULL FROM agent_backup.tracked WHERE tracked_id = $1";
        Ok(sql::rows(query, &[id.into()], |row| row.required::<bool>(1))? == [true])
    })
}

/// A view that is no member of the extension stands on the log once a table is tracked, so that DROP EXTENSION asks for
/// CASCADE before it takes the log along.
fn guard() -> Result<()> {
    let missing = "SELECT pg_catalog.to_regclass('agent_backup.keeps_change_log') IS NULL";
    if sql::rows(missing, &[], |row| row.required::<bool>(1))? != [true] {
        return Ok(());
    }
    // Two sessions may track the first table at the same moment.
    sql::execute("LOCK TABLE agent_backup.tracked IN SHARE ROW EXCLUSIVE MODE", &[])?;
    if sql::rows(missing, &[], |row| row.required::<bool>(1))? != [true] {
        return Ok(());
    }
    sql::execute("CREATE VIEW agent_backup.keeps_change_log AS SELECT seq FROM agent_backup.change_log", &[])?;
    let comment = "COMMENT ON VIEW agent_backup.keeps_change_log IS \
                   'Keeps DROP EXTENSION from taking the log of changes along without CASCADE'";
    sql::execute(comment, &[]).map(drop)
}

/// Records that the triggers of a tracking are whole again after a gap.
pub fn mended(id: i32) -> Result<()> {
    journal::as_owner(|| {
        let statement =
            "UPDATE agent_backup.tracked SET broken_since = NULL WHERE tracked_id = $1 AND broken_since IS NOT NULL";
        sql::execute(statement, &[id.into()])?;
        let statement = "INSERT INTO agent_backup.capture_gaps (tracked_id, reason) VALUES ($1, 'its triggers were missing until now')";
        sql::execute(statement, &[id.into()]).map(drop)
    })
}

/// Changes the policies of a tracking that goes on. Until `watched` its triggers are being made anew.
pub fn change_policies(id: i32, tracking: &NewTracking) -> Result<()> {
    journal::as_owner(|| {
        let statement = "UPDATE agent_backup.tracked SET on_failure = $2, on_truncate = $3, truncate_limit = $4, level = $5, remade = true \
                         WHERE tracked_id = $1";
        let arguments = [
            id.into(),
            tracking.on_failure.into(),
            tracking.on_truncate.into(),
            tracking.truncate_limit.into(),
            tracking.level.into(),
        ];
        sql::execute(statement, &arguments).map(drop)
    })
}

/// Notes the backup that a tracking begins with.
pub fn note_baseline(id: i32, backup_id: &str) -> Result<()> {
    journal::as_owner(|| {
        let statement = "UPDATE agent_backup.tracked SET backup_id = $2 WHERE tracked_id = $1";
        sql::execute(statement, &[id.into(), backup_id.into()]).map(drop)
    })
}

/// Records that a table is tracked no longer.
pub fn end(id: i32) -> Result<()> {
    journal::as_owner(|| {
        let statement = "UPDATE agent_backup.tracked SET ended_at = pg_catalog.clock_timestamp() WHERE tracked_id = $1";
        sql::execute(statement, &[id.into()]).map(drop)
    })
}

/// A tracking, as one asks for it by its table.
#[derive(Debug, Clone)]
pub struct Tracking {
    pub id: i32,
    pub since: TimestampWithTimeZone,
    pub broken_since: Option<TimestampWithTimeZone>,
    pub ended_at: Option<TimestampWithTimeZone>,
    pub backup_id: Option<String>,
    /// Whether it began in this very database: elsewhere the numbers of transactions mean nothing.
    pub is_here: bool,
}

/// The trackings of a table, newest first; by its name as well, since it may be gone.
pub fn trackings(relation: Option<pg_sys::Oid>, table: &str) -> Result<Vec<Tracking>> {
    journal::as_owner(|| {
        let query = "SELECT tracked_id, since, broken_since, ended_at, backup_id, home = (SELECT home FROM agent_backup.this_home) \
             FROM agent_backup.tracked \
             WHERE CASE WHEN $1 IS NOT NULL THEN relation = $1 ELSE table_name = $2 OR schema_name || '.' || table_name = $2 END \
             ORDER BY tracked_id DESC";
        sql::rows(query, &[relation.into(), table.into()], |row| {
            Ok(Tracking {
                id: row.required(1)?,
                since: row.required(2)?,
                broken_since: row.optional(3)?,
                ended_at: row.optional(4)?,
                backup_id: row.optional(5)?,
                is_here: row.required(6)?,
            })
        })
    })
}

/// Writes a mark down; when it was made.
pub fn make_mark(name: &str, note: Option<&str>) -> Result<TimestampWithTimeZone> {
    journal::as_owner(|| {
        // A snapshot does not list its own transaction as running. One at or above its upper bound is not visible as it is.
        let statement = "INSERT INTO agent_backup.marks (mark_name, snapshot, note) \
             SELECT $1, CASE WHEN c.own < pg_catalog.pg_snapshot_xmax(c.s) \
                 THEN pg_catalog.format('%s:%s:%s', LEAST(pg_catalog.pg_snapshot_xmin(c.s), c.own), pg_catalog.pg_snapshot_xmax(c.s), \
                        (SELECT pg_catalog.string_agg(x.xid::pg_catalog.text, ',' ORDER BY x.xid) \
                           FROM (SELECT pg_catalog.pg_snapshot_xip(c.s) AS xid UNION SELECT c.own) AS x))::pg_catalog.pg_snapshot \
                 ELSE c.s END, $2 \
               FROM (SELECT pg_catalog.pg_current_snapshot() AS s, pg_catalog.pg_current_xact_id_if_assigned() AS own) AS c RETURNING marked_at";
        let times = sql::changed_rows(statement, &[name.into(), note.into()], |row| row.required(1))?;
        times.first().copied().ok_or(Error::Internal { object: "mark", reason: "it was not made".into() })
    })
}

/// Removes a mark.
pub fn forget_mark(name: &str) -> Result<()> {
    journal::as_owner(|| sql::execute("DELETE FROM agent_backup.marks WHERE mark_name = $1", &[name.into()]).map(drop))
}

/// The tables that are tracked now and are still there.
pub fn tracked_relations() -> Result<Vec<pg_sys::Oid>> {
    journal::as_owner(|| {
        let query = "SELECT t.relation::pg_catalog.oid FROM agent_backup.tracked t JOIN pg_catalog.pg_class c ON c.oid = t.relation \
                     WHERE t.ended_at IS NULL";
        sql::rows(query, &[], |row| row.required(1))
    })
}

/// The table that a partition is tracked with; none where it is tracked by itself.
pub fn tracked_parent(partition: pg_sys::Oid, id: i32) -> Result<Option<pg_sys::Oid>> {
    let query = "SELECT a.relid::pg_catalog.oid FROM agent_backup.tracked t \
                 JOIN pg_catalog.pg_partition_ancestors($1) AS a ON a.relid = t.relation \
                 WHERE t.tracked_id = $2 AND t.relation <> $1";
    Ok(sql::rows(query, &[partition.into(), id.into()], |row| row.required(1))?.into_iter().next())
}
