//! Copies off-site, erasures, rights and the audit log.

use agent_backup_core::report::data::{Acts, Audit, Copies, Erasure, Grant, Link, Listed, Member, Period};

use super::{bounds, listed, maybe_moment, maybe_shown, moment, owned, texts};
use crate::error::Result;
use crate::journal::as_owner;
use crate::run::audit::{self, Line};
use crate::settings;

/// More findings than this are left to `verify_audit_log`.
const MOST: usize = 60;

pub fn copies() -> Result<Vec<Copies>> {
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
}

pub fn erasures(period: Period) -> Result<Listed<Erasure>> {
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
}

pub fn grants() -> Result<Vec<Grant>> {
    let query =
        "SELECT object_name, object_kind, role_name, privilege FROM agent_backup.access_matrix ORDER BY 2, 1, 3, 4";
    owned(query, &[], |row| {
        Ok(Grant { object: row.shown(1)?, kind: row.shown(2)?, role: row.shown(3)?, privilege: row.shown(4)? })
    })
}

/// Logins that are superusers or have a role that matters here.
pub fn members() -> Result<Vec<Member>> {
    let role = settings::directory_role();
    owned(include_str!("../../../sql/query/evidence_members.sql"), &[role.as_deref().into()], |row| {
        Ok(Member { role: row.shown(1)?, member: row.shown(2)?, is_superuser: row.required(3)? })
    })
}

pub fn audit(period: Period) -> Result<Audit> {
    let acts = owned(include_str!("../../../sql/query/evidence_acts.sql"), &bounds(period), |row| {
        Ok(Acts {
            action: row.shown(1)?,
            ok: row.required(2)?,
            failed: row.required(3)?,
            denied: row.required(4)?,
            last_at: moment(row, 5)?,
        })
    })?;
    let link = |line: Line| {
        let status = if line.is_ok { "ok" } else { "failed" };
        Link { check: line.check.into(), status: status.into(), details: line.details }
    };
    let chain = audit::look()?.into_iter().take(MOST).map(link).collect();
    Ok(Audit { acts, chain })
}
