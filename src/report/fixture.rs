//! Thirty days of two sets with all that can happen in them, for the tests.

use chrono::{DateTime, TimeDelta, Utc};

use super::data::*;

pub fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

pub fn backup(set: &str, day: i64, hour: i64) -> Backup {
    let started_at = at("2026-03-01T00:00:00Z") + TimeDelta::days(day) + TimeDelta::hours(hour);
    Backup {
        id: format!("{}-{set}", started_at.format("%Y%m%dT%H%M%SZ")),
        set: set.into(),
        kind: "full".into(),
        is_regular: true,
        status: Status::Complete,
        started_at,
        finished_at: started_at + TimeDelta::seconds(30 + day),
        rows: 1000 + day,
        bytes: 2_000_000 + day * 10_000,
        verdict: None,
        is_sealed: false,
        is_pinned: false,
        error: None,
        removed: None,
    }
}

pub fn verdict(at: DateTime<Utc>, status: &str, level: &str) -> Option<Verdict> {
    Some(Verdict { at: Some(at), status: status.into(), level: level.into() })
}

pub fn set(name: &str) -> Set {
    Set {
        name: name.into(),
        created_at: at("2026-01-01T00:00:00Z"),
        tables: 3,
        present: 3,
        filtered: 0,
        masked: 1,
        interval: 86_400.0,
        rto: 7200.0,
        rpo: 3600.0,
        keeps: "7 daily, 4 weekly, 12 monthly".into(),
        max_age: Some(31_536_000.0),
    }
}

pub fn drill(id: i64, set: &str, started: &str, status: &str) -> Drill {
    Drill {
        id,
        set: set.into(),
        backup: Some("b".into()),
        status: status.into(),
        started_at: at(started),
        seconds: 42.5,
        rto: Some(7200.0),
        within_rto: Some(true),
        rows: 3000,
        by: "postgres".into(),
        error: (status == "failed").then(|| "a key is missing".into()),
    }
}

/// A report in which every criterion is met.
pub fn good() -> Report {
    let mut backups: Vec<Backup> = (-2..31).map(|day| backup("shop", day, 2)).collect();
    for backup in &mut backups {
        backup.verdict = verdict(backup.started_at + TimeDelta::hours(2), "success", "decode");
        backup.is_sealed = true;
    }
    let mut failed = backup("shop", 10, 1);
    (failed.status, failed.error, failed.bytes) = (Status::Failed, Some("disk full".into()), 0);
    backups.push(failed);
    backups.sort_by_key(|backup| backup.started_at);
    for backup in &mut backups[..3] {
        backup.removed = Some(Removed {
            at: at("2026-03-20T05:30:00Z"),
            by: "nightly".into(),
            reasons: vec!["daily: older than 7".into()],
        });
    }
    let points =
        backups.iter().filter(|b| b.is_good()).map(|b| Point { set: b.set.clone(), at: b.started_at }).collect();
    let plan = backups.iter().filter(|backup| backup.removed.is_none()).map(|backup| Planned {
        backup: backup.id.clone(),
        set: backup.set.clone(),
        kind: backup.kind.clone(),
        started_at: backup.started_at,
        bytes: backup.bytes,
        keep: true,
        reasons: vec!["daily 1 of 7".into()],
    });
    Report {
        made: made(),
        period: Period { from: at("2026-03-01T00:00:00Z"), to: at("2026-03-31T12:00:00Z") },
        sets: vec![set("shop")],
        plan: plan.collect(),
        points,
        backups,
        checks: Some(vec![Checks {
            day: "2026-03-05".parse().unwrap(),
            status: "success".into(),
            level: "decode".into(),
            count: 3,
        }]),
        findings: Listed::default(),
        drills: vec![drill(1, "shop", "2026-03-15T05:00:00Z", "success")],
        restores: Listed { rows: vec![restore()], total: 1 },
        jobs: vec![job()],
        objectives: vec![objective("single record deleted"), objective("database failure")],
        tracked: Tracked { tables: 2, gaps: 1 },
        copies: vec![Copies {
            set: "shop".into(),
            destination: "s3://vault/backups".into(),
            status: "complete".into(),
            count: 30,
            sealed: 30,
            bytes: 60_000_000,
            last_at: Some(at("2026-03-31T02:05:00Z")),
            verified: 30,
            refuted: 0,
        }],
        erasures: Listed { rows: vec![erasure()], total: 1 },
        grants: vec![grant("backup(text,text,text[],text[])", "function", "agent_backup_operator", "EXECUTE")],
        members: vec![
            Member { role: String::new(), member: "postgres".into(), is_superuser: true },
            Member { role: "agent_backup_operator".into(), member: "nightly".into(), is_superuser: false },
        ],
        audit: audit(),
        health: vec![Health { subject: "shop: verification".into(), severity: "OK".into(), reason: "passed".into() }],
        disk: Ok(Disk { free: 900, total: 1000, used: 50, is_shared_with_database: false, needed: Some(24) }),
    }
}

fn made() -> Made {
    Made {
        at: at("2026-03-31T12:00:00Z"),
        session_user: "auditor".into(),
        current_user: "auditor".into(),
        client: "10.0.0.7".into(),
        database: "shop".into(),
        system_identifier: "7300000000000000001".into(),
        server: "db1, 10.0.0.1, port 5432".into(),
        postgresql: "15.14".into(),
        extension: "0.1.0".into(),
        is_standby: false,
    }
}

fn restore() -> Restore {
    Restore {
        id: 4,
        set: Some("shop".into()),
        backup: Some("20260314T020000Z-shop".into()),
        mode: "merge".into(),
        tables: vec!["orders".into(), "\"Order Lines\"".into()],
        rows: 12,
        started_at: at("2026-03-14T09:00:00Z"),
        seconds: 1.25,
        by: "dba".into(),
        safety: Some("20260314T085959Z-safety".into()),
        undoes: None,
    }
}

fn job() -> Job {
    Job {
        set: "shop".into(),
        job: "daily".into(),
        schedule: Some("0 2 * * * GMT".into()),
        succeeded: 30,
        failed: 1,
        last_at: Some(at("2026-03-31T02:00:00Z")),
        open_since: None,
        last_error: Some("disk full".into()),
    }
}

pub fn objective(scenario: &str) -> Objective {
    Objective {
        set: "shop".into(),
        scenario: scenario.into(),
        rto: 3600.0,
        rto_measured: Some(42.5),
        measured_by: Some("drill 1, 2026-03-15".into()),
        rpo: 3600.0,
        rpo_now: Some(60.0),
        met: Some(true),
        reason: "within both objectives".into(),
    }
}

pub fn erasure() -> Erasure {
    Erasure {
        id: "e1".into(),
        set: Some("shop".into()),
        columns: vec!["data->>'customer_email'".into()],
        reason: "asked for by letter".into(),
        by: "dpo".into(),
        at: at("2026-03-12T10:00:00Z"),
        status: "complete".into(),
        rows: 20,
        rewritten: 30,
        left: 0,
    }
}

pub fn grant(object: &str, kind: &str, role: &str, privilege: &str) -> Grant {
    Grant { object: object.into(), kind: kind.into(), role: role.into(), privilege: privilege.into() }
}

fn audit() -> Audit {
    Audit {
        acts: vec![Acts { action: "backup".into(), ok: 30, failed: 1, denied: 2, last_at: at("2026-03-31T02:00:00Z") }],
        chain: vec![Link { check: "chain".into(), status: "ok".into(), details: "33 entries, head ab12".into() }],
    }
}

/// Nothing but what CREATE EXTENSION made.
pub fn empty() -> Report {
    let mut set = set("agent_sdk");
    (set.present, set.max_age) = (0, None);
    Report {
        sets: vec![set],
        backups: vec![],
        points: vec![],
        checks: Some(vec![]),
        drills: vec![],
        restores: Listed::default(),
        jobs: vec![],
        objectives: vec![],
        tracked: Tracked::default(),
        plan: vec![],
        copies: vec![],
        erasures: Listed::default(),
        grants: vec![],
        members: vec![],
        audit: Audit { acts: vec![], chain: vec![] },
        health: vec![],
        disk: Err("permission denied".into()),
        ..good()
    }
}
