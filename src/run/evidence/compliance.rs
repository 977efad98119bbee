//! Copies off-site, erasures, rights and the audit log. What a version does not have yet is left out, and the page says so.

use agent_backup_core::report::data::{Acts, Audit, Copies, Erasure, Grant, Link, Listed, Member, Period};

use super::{MOST, bounds, listed, maybe_moment, maybe_shown, moment, owned, texts};
use crate::error::Result;
use crate::journal::as_owner;
use crate::server::sql;
use crate::settings;

/// Runs `read` where the relation is here.
fn where_there<T>(relation: &str, read: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
    let is_there =
        sql::rows("SELECT pg_catalog.to_regclass($1) IS NOT NULL", &[relation.into()], |row| row.required(1))?;
    if is_there.first() == Some(&true) { read().map(Some) } else { Ok(None) }
}

pub fn copies() -> Result<Option<Vec<Copies>>> {
    where_there("agent_backup.offsite_copies", || {
        owned(include_str!("../../../sql/query/evidence_copies.sql"), &[], |row| {
            Ok(Copies {
                set: row.shown(1)?,
                destination: row.shown(2)?,
                status: row.shown(3)?,
                count: row.required(4)?,
                sealed: row.required(5)?,
                bytes: row.required(6)?,
                last_at: maybe_moment(row, 7)?,
                verified: row.required(8)?,
                refuted: row.required(9)?,
            })
        })
    })
}

pub fn erasures(period: Period) -> Result<Option<Listed<Erasure>>> {
    where_there("agent_backup.erasure_log", || {
        as_owner(|| {
            listed(include_str!("../../../sql/query/evidence_erasures.sql"), period, 11, |row| {
                Ok(Erasure {
                    id: row.shown(1)?,
                    set: maybe_shown(row, 2)?,
                    columns: texts(row, 3)?,
                    reason: row.shown(4)?,
                    by: row.shown(5)?,
                    at: moment(row, 6)?,
                    status: row.shown(7)?,
                    rows: row.required(8)?,
                    rewritten: row.required(9)?,
                    left: row.required(10)?,
                })
            })
        })
    })
}

pub fn grants() -> Result<Option<Vec<Grant>>> {
    let query =
        "SELECT object_name, object_kind, role_name, privilege FROM agent_backup.access_matrix ORDER BY 2, 1, 3, 4";
    where_there("agent_backup.access_matrix", || {
        owned(query, &[], |row| {
            Ok(Grant { object: row.shown(1)?, kind: row.shown(2)?, role: row.shown(3)?, privilege: row.shown(4)? })
        })
    })
}

/// Logins that are superusers or have a role that matters here.
pub fn members() -> Result<Vec<Member>> {
    let role = settings::directory_role();
    owned(include_str!("../../../sql/query/evidence_members.sql"), &[role.as_deref().into()], |row| {
        Ok(Member { role: row.shown(1)?, member: row.shown(2)?, is_superuser: row.required(3)? })
    })
}

pub fn audit(period: Period) -> Result<Option<Audit>> {
    where_there("agent_backup.audit_log", || {
        let acts = owned(include_str!("../../../sql/query/evidence_acts.sql"), &bounds(period), |row| {
            Ok(Acts {
                action: row.shown(1)?,
                ok: row.required(2)?,
                failed: row.required(3)?,
                denied: row.required(4)?,
                last_at: moment(row, 5)?,
            })
        })?;
        let query = "SELECT check_name, status, COALESCE(details, '') FROM agent_backup.verify_audit_log() LIMIT $1";
        let chain = owned(query, &[MOST.into()], |row| {
            Ok(Link { check: row.shown(1)?, status: row.shown(2)?, details: row.shown(3)? })
        })?;
        Ok(Audit { acts, chain })
    })
}
