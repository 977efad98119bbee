//! The journal's part for DROP EXTENSION: what would be lost.

use crate::error::Result;
use crate::journal::as_owner;
use crate::server::sql;

/// What is kept, and how much of it: each as `3 backups`. Sets count from when they were made or changed.
pub fn kept() -> Result<Vec<String>> {
    as_owner(|| {
        let things = [
            ("backup_catalog", "true", "backup", "backups"),
            ("sets", "NOT seeded", "set", "sets"),
            ("audit_log", "true", "entry of audit_log", "entries of audit_log"),
            ("archive_rows", "true", "archived row", "archived rows"),
            ("change_log", "true", "captured change", "captured changes"),
            ("restores", "true", "restore", "restores"),
            ("drills", "true", "drill", "drills"),
            ("job_runs", "true", "run of a job", "runs of jobs"),
            ("tracked", "true", "tracked table", "tracked tables"),
            ("marks", "true", "mark", "marks"),
        ];
        let mut kept = Vec::new();
        for (table, condition, one, several) in things {
            let is_there = format!("SELECT pg_catalog.to_regclass('agent_backup.{table}') IS NOT NULL");
            if !sql::rows(&is_there, &[], |row| row.required::<bool>(1))?.contains(&true) {
                continue;
            }
            let count = format!("SELECT pg_catalog.count(*) FROM agent_backup.{table} WHERE {condition}");
            match sql::rows(&count, &[], |row| row.required::<i64>(1))?.first() {
                None | Some(0) => (),
                Some(1) => kept.push(format!("1 {one}")),
                Some(count) => kept.push(format!("{count} {several}")),
            }
        }
        Ok(kept)
    })
}
