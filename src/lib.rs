//! agent_backup: backs up chosen tables of a live PostgreSQL database from inside it. The map, in the order of the flow;
//! what knows nothing of PostgreSQL (codec, stream, container, store, plan) is the crate `agent_backup_core`, see core.rs.

mod api; // the SQL functions: arguments, rights, rows
mod error; // everything that can go wrong
mod ident; // names: resolve and quote
mod journal; // the only writer of the catalogue
mod journal_archive; // … of archived rows
mod journal_audit; // … of the log of acts
mod journal_changes; // … of the log of changes
mod journal_checks; // … of verdicts and their log
mod journal_drills; // … of drills
mod journal_encryption; // … of who can read backups
mod journal_erased_log; // … of what is erased from the log
mod journal_erasures; // … of persons who were erased
mod journal_history; // … reads that log
mod journal_jobs; // … of jobs and their schedules
mod journal_kept; // … of what DROP EXTENSION would lose
mod journal_offsite; // … of copies in other places
mod journal_restores; // … of restores
mod journal_retention; // … of what stays and what went
mod journal_sets; // … of the sets
mod journal_tracking; // … of what is tracked
mod journal_watermarks; // … of how far incrementals came
mod pg_compat; // where the versions of PostgreSQL differ
mod run; // doing it: backup, export, reconcile
mod server; // snapshot, locks, rights, pinned settings
mod settings; // every setting
mod table; // the only door to user tables

use pgrx::prelude::*;

pgrx::pg_module_magic!(name, version);

extension_sql_file!("../sql/10_schema.sql", name = "schema", bootstrap);
extension_sql_file!("../sql/15_audit.sql", name = "audit", requires = ["schema"]);
extension_sql_file!("../sql/20_sets.sql", name = "sets", requires = ["schema"]);
extension_sql_file!("../sql/30_backups.sql", name = "backups", requires = ["sets", api::lock_key::lock_key]);
extension_sql_file!("../sql/35_retention.sql", name = "retention", requires = ["backups"]);
extension_sql_file!("../sql/37_erasure.sql", name = "erasure", requires = ["backups"]);
extension_sql_file!("../sql/36_offsite.sql", name = "offsite", requires = ["backups", api::offsite::s3_validator]);
extension_sql_file!("../sql/60_restores.sql", name = "restores", requires = ["schema"]);
extension_sql_file!("../sql/70_drills.sql", name = "drills", requires = ["sets"]);
extension_sql_file!(
    "../sql/40_regclass.sql",
    name = "regclass",
    requires = [
        "schema",
        api::export::export_table,
        api::export::backup_agent_table_to_json,
        api::sets::put_table,
        api::sets::remove_table
    ]
);
extension_sql_file!(
    "../sql/55_compare.sql",
    name = "compare",
    requires = ["schema", api::compare::verify_backup, api::compare::assess]
);
extension_sql_file!(
    "../sql/50_verification.sql",
    name = "verification",
    requires = ["backups", api::verify::verify_backup_files, api::verify::verify_daily_backups]
);
extension_sql_file!("../sql/80_capture.sql", name = "capture", requires = ["backups"]);
extension_sql_file!("../sql/81_history.sql", name = "history", requires = ["capture"]);
extension_sql_file!(
    "../sql/82_log.sql",
    name = "log",
    requires = ["history", api::export::export_table, api::audit::note_act]
);
extension_sql_file!(
    "../sql/85_archive.sql",
    name = "archive",
    requires = ["capture", api::incremental::image_to_jsonb]
);
extension_sql_file!(
    "../sql/86_incrementals.sql",
    name = "incrementals",
    requires = ["sets", "capture", api::incremental::backup_agent_incremental]
);
extension_sql_file!("../sql/87_jobs.sql", name = "jobs", requires = ["sets"]);
extension_sql_file!(
    "../sql/88_run_job.sql",
    name = "run_job",
    requires = ["jobs", api::job::begin_job, api::job::do_job, api::job::end_job]
);
extension_sql_file!(
    "../sql/89_schedules.sql",
    name = "schedules",
    requires =
        ["jobs", api::schedule::next_due, api::schedule::last_due, api::schedule::job_is_active, api::clock::moment]
);
extension_sql_file!(
    "../sql/91_recovery_state.sql",
    name = "recovery_state",
    requires = ["log", "incrementals", "retention", "verification", api::clock::moment]
);
extension_sql_file!("../sql/92_health_tables.sql", name = "health_tables", requires = ["recovery_state"]);
extension_sql_file!(
    "../sql/92_health_sets.sql",
    name = "health_sets",
    requires = ["recovery_state", "drills", "offsite"]
);
extension_sql_file!("../sql/92_late_jobs.sql", name = "late_jobs", requires = ["recovery_state", "schedules"]);
extension_sql_file!("../sql/92_health_jobs.sql", name = "health_jobs", requires = ["late_jobs"]);
extension_sql_file!("../sql/92_health_capture.sql", name = "health_capture", requires = ["recovery_state"]);
extension_sql_file!(
    "../sql/92_health_disk.sql",
    name = "health_disk",
    requires = ["recovery_state", api::retention::disk_space]
);
extension_sql_file!(
    "../sql/92_health_encryption.sql",
    name = "health_encryption",
    requires = ["recovery_state", api::encryption::encryption_state]
);
extension_sql_file!("../sql/92_health_server.sql", name = "health_server", requires = ["recovery_state"]);
extension_sql_file!("../sql/92_health_audit.sql", name = "health_audit", requires = ["audit", "recovery_state"]);
extension_sql_file!(
    "../sql/93_health.sql",
    name = "health",
    requires = [
        "health_tables",
        "health_sets",
        "health_encryption",
        "health_jobs",
        "health_capture",
        "health_disk",
        "health_server",
        "health_audit"
    ]
);
extension_sql_file!(
    "../sql/94_rpo_rto.sql",
    name = "rpo_rto",
    requires = ["recovery_state", "jobs", "drills", "restores", "offsite"]
);
extension_sql_file!(
    "../sql/94_status.sql",
    name = "status",
    requires = ["recovery_state", "jobs", "drills", "offsite"]
);
extension_sql_file!("../sql/95_runbook.sql", name = "runbook", requires = ["recovery_state", "offsite"]);
extension_sql_file!("../sql/96_platform.sql", name = "platform", requires = ["health_disk"]);
extension_sql_file!("../sql/97_metrics.sql", name = "metrics", requires = ["health"]);
extension_sql_file!("../sql/98_drop.sql", name = "drop", requires = ["schema"]);
extension_sql_file!("../sql/99_access.sql", name = "access", requires = ["schema"]);
extension_sql_file!("../sql/90_comments.sql", name = "comments", finalize);

/// Tells pgrx of the schema that sql/10_schema.sql makes.
#[pg_schema]
mod agent_backup {}

#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    no_backtraces();
    settings::register();
}

/// A person reads our errors: a backtrace in DETAIL, which pgrx adds where the server's environment asks for any, is not
/// for them.
fn no_backtraces() {
    if std::env::var_os("RUST_LIB_BACKTRACE").is_none() {
        // SAFETY: a backend has one thread while it loads libraries.
        unsafe { std::env::set_var("RUST_LIB_BACKTRACE", "0") }
    }
}
