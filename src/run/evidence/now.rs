//! What is so when the page is made: who makes it, objectives, health, the plan of retention, the disk.

use agent_backup_core::report::data::{Disk, Health, Made, Objective, Period, Planned, Tracked};

use super::{bounds, maybe_shown, owned};
use crate::error::Result;
use crate::journal_retention;
use crate::run::retention;
use crate::server::{clock, facts, sql};

/// Who makes the page, asked before anything is read as another role.
pub fn made() -> Result<Made> {
    let server = facts::server()?;
    let query = "SELECT SESSION_USER::text, CURRENT_USER::text, \
            COALESCE(pg_catalog.host(pg_catalog.inet_client_addr()), 'a socket of the server'), \
            COALESCE(pg_catalog.host(pg_catalog.inet_server_addr()) || ', ', '') || 'port ' || pg_catalog.current_setting('port'), \
            (SELECT e.extversion FROM pg_catalog.pg_extension e WHERE e.extname = 'agent_backup'), \
            COALESCE(pg_catalog.current_setting('cluster_name'), '')";
    let at = clock::now()?;
    let rows = sql::rows(query, &[], |row| {
        let (address, name) = (row.shown(4)?, row.shown(6)?);
        Ok(Made {
            at,
            session_user: row.shown(1)?,
            current_user: row.shown(2)?,
            client: row.shown(3)?,
            database: server.database.clone(),
            system_identifier: server.system_identifier.clone(),
            server: [host(), name, address].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", "),
            postgresql: server.version.clone(),
            extension: row.shown(5)?,
            is_standby: server.in_recovery.unwrap_or_default(),
        })
    })?;
    rows.into_iter().next().ok_or(crate::error::Error::Internal { object: "session", reason: "it has no user".into() })
}

/// The name of the machine; where it does not tell, its address has to do.
fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
}

pub fn objectives() -> Result<Vec<Objective>> {
    owned(include_str!("../../../sql/query/evidence_objectives.sql"), &[], |row| {
        Ok(Objective {
            set: row.shown(1)?,
            scenario: row.shown(2)?,
            rto: row.required(3)?,
            rto_measured: row.optional(4)?,
            measured_by: maybe_shown(row, 5)?,
            rpo: row.required(6)?,
            rpo_now: row.optional(7)?,
            met: row.optional(8)?,
            reason: row.shown(9)?,
        })
    })
}

pub fn tracked(period: Period) -> Result<Tracked> {
    let query = "SELECT (SELECT count(*) FROM agent_backup.tracked_now n JOIN agent_backup.tracked t USING (tracked_id) \
                          WHERE n.is_whole AND t.broken_since IS NULL), \
                        (SELECT count(*) FROM agent_backup.capture_gaps g WHERE g.noted_at >= $1 AND g.noted_at < $2)";
    let rows = owned(query, &bounds(period), |row| Ok(Tracked { tables: row.required(1)?, gaps: row.required(2)? }))?;
    Ok(rows.into_iter().next().unwrap_or_default())
}

/// What retention says of every listed backup, newest first.
pub fn plan() -> Result<Vec<Planned>> {
    let mut all = Vec::new();
    for set in journal_retention::all_sets()? {
        for retention::Planned { backup, keep, reasons } in retention::plan(Some(&set))? {
            all.push(Planned {
                backup: backup.backup_id,
                set: set.clone(),
                kind: backup.kind,
                started_at: backup.started_at,
                bytes: backup.size_bytes,
                keep,
                reasons,
            });
        }
    }
    all.sort_by(|one, other| (other.started_at, &other.backup).cmp(&(one.started_at, &one.backup)));
    Ok(all)
}

pub fn health() -> Result<Vec<Health>> {
    owned("SELECT subject, severity, reason FROM agent_backup.health", &[], |row| {
        Ok(Health { subject: row.shown(1)?, severity: row.shown(2)?, reason: row.shown(3)? })
    })
}

/// The disk of the backups, or why it cannot be looked at.
pub fn disk() -> Result<std::result::Result<Disk, String>> {
    let query = "SELECT d.free_bytes, d.total_bytes, d.used_by_backups_bytes, d.same_disk_as_database, d.failure, \
            (SELECT ceil(sum(g.size_bytes) * 1.2)::bigint FROM agent_backup.sets s CROSS JOIN LATERAL ( \
                    SELECT b.size_bytes FROM agent_backup.good_backups b WHERE b.set_name = s.set_name ORDER BY b.started_at DESC LIMIT 1) AS g) \
        FROM agent_backup.disk_state() AS d";
    let rows = owned(query, &[], |row| {
        Ok(match maybe_shown(row, 5)? {
            Some(failure) => Err(failure),
            None => Ok(Disk {
                free: row.required(1)?,
                total: row.required(2)?,
                used: row.required(3)?,
                is_shared_with_database: row.required(4)?,
                needed: row.optional(6)?,
            }),
        })
    })?;
    Ok(rows.into_iter().next().unwrap_or_else(|| Err("it tells nothing".into())))
}
