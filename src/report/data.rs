//! What the page is made of: rows of the catalogue and its logs as they were read, and who read them when.

use chrono::{DateTime, Utc};

/// All that the page tells.
#[derive(Debug, Clone)]
pub struct Report {
    pub made: Made,
    pub period: Period,
    /// In the order of their names.
    pub sets: Vec<Set>,
    /// Backups that began before the end of the period, oldest first, those that were removed since included.
    pub backups: Vec<Backup>,
    /// Moments that a set could be brought back to: good backups and incrementals, oldest first.
    pub points: Vec<Point>,
    /// What `backup_verification_log` has of the period; none where that table is gone.
    pub checks: Option<Vec<Checks>>,
    /// Damage that was found in the period, newest first.
    pub findings: Listed<Finding>,
    /// Until the end of the period, newest first.
    pub drills: Vec<Drill>,
    /// Of the period, newest first.
    pub restores: Listed<Restore>,
    pub jobs: Vec<Job>,
    pub objectives: Vec<Objective>,
    pub tracked: Tracked,
    pub plan: Vec<Planned>,
    pub copies: Vec<Copies>,
    pub erasures: Listed<Erasure>,
    pub grants: Vec<Grant>,
    pub members: Vec<Member>,
    pub audit: Audit,
    pub health: Vec<Health>,
    /// Or why it could not be looked at.
    pub disk: Result<Disk, String>,
}

/// Who made the page, when and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// By the extension's clock, by which everything is judged.
    pub at: DateTime<Utc>,
    pub session_user: String,
    pub current_user: String,
    pub client: String,
    pub database: String,
    pub system_identifier: String,
    /// Where the server listens for this session.
    pub server: String,
    pub postgresql: String,
    pub extension: String,
    pub is_standby: bool,
}

/// From the first moment to before the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
}

impl Period {
    pub fn has(&self, moment: DateTime<Utc>) -> bool {
        self.from <= moment && moment < self.to
    }
}

/// Some rows of many: the newest ones, and how many there are.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed<T> {
    pub rows: Vec<T>,
    pub total: i64,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Listed { rows: Vec::new(), total: 0 }
    }
}

/// A backup set as it is configured now. Durations are in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Set {
    pub name: String,
    pub created_at: DateTime<Utc>,
    /// Members, and those of them that are tables of this database.
    pub tables: i64,
    pub present: i64,
    pub filtered: i64,
    pub masked: i64,
    pub interval: f64,
    pub rto: f64,
    pub rpo: f64,
    /// What is kept, in words.
    pub keeps: String,
    pub max_age: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Complete,
    Incomplete,
    Failed,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Backup {
    pub id: String,
    pub set: String,
    /// full, archive or safety.
    pub kind: String,
    /// It was made of a set as such, and not before a restore or when tracking began.
    pub is_regular: bool,
    pub status: Status,
    pub started_at: DateTime<Utc>,
    pub finished_at: DateTime<Utc>,
    pub rows: i64,
    pub bytes: i64,
    /// Its last verdict; of one that was removed, what the log of verifications has.
    pub verdict: Option<Verdict>,
    pub is_sealed: bool,
    pub is_pinned: bool,
    pub error: Option<String>,
    pub removed: Option<Removed>,
}

/// What verification said of a backup last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub at: Option<DateTime<Utc>>,
    /// success, warning or failed.
    pub status: String,
    /// exists, hash, decode or restore.
    pub level: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    pub at: DateTime<Utc>,
    pub by: String,
    pub reasons: Vec<String>,
}

impl Backup {
    /// Verification found damage.
    pub fn is_refuted(&self) -> bool {
        self.verdict.as_ref().is_some_and(|verdict| verdict.status == "failed")
    }

    pub fn is_verified(&self) -> bool {
        self.verdict.is_some() && !self.is_refuted()
    }

    /// Complete, and not refuted.
    pub fn is_good(&self) -> bool {
        self.status == Status::Complete && !self.is_refuted()
    }

    /// Every row of it was read back.
    pub fn is_decoded(&self) -> bool {
        self.is_verified()
            && self.verdict.as_ref().is_some_and(|verdict| ["decode", "restore"].contains(&&*verdict.level))
    }

    pub fn seconds(&self) -> f64 {
        seconds_between(self.started_at, self.finished_at)
    }
}

/// From one moment to another.
pub fn seconds_between(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    to.signed_duration_since(from).num_milliseconds() as f64 / 1000.0
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    pub set: String,
    pub at: DateTime<Utc>,
}

/// Checks of tables that were logged on one day, of one verdict and level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checks {
    pub day: chrono::NaiveDate,
    pub status: String,
    /// Empty where the log does not say.
    pub level: String,
    pub count: i64,
}

/// A check that did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub at: DateTime<Utc>,
    pub table: String,
    pub backup: Option<String>,
    pub status: String,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Drill {
    pub id: i64,
    pub set: String,
    pub backup: Option<String>,
    pub status: String,
    pub started_at: DateTime<Utc>,
    pub seconds: f64,
    pub rto: Option<f64>,
    pub within_rto: Option<bool>,
    pub rows: i64,
    pub by: String,
    pub error: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Restore {
    pub id: i64,
    pub set: Option<String>,
    pub backup: Option<String>,
    pub mode: String,
    pub tables: Vec<String>,
    pub rows: i64,
    pub started_at: DateTime<Utc>,
    pub seconds: f64,
    pub by: String,
    /// What was there before was saved, or nothing was overwritten.
    pub safety: Option<String>,
    pub undoes: Option<i64>,
}

/// The runs of one job in the period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub set: String,
    pub job: String,
    /// When it runs by itself; none where it is not scheduled.
    pub schedule: Option<String>,
    pub succeeded: i64,
    pub failed: i64,
    pub last_at: Option<DateTime<Utc>>,
    /// When the first of the failures began that no success came after.
    pub open_since: Option<DateTime<Utc>>,
    pub last_error: Option<String>,
}

/// A row of `rpo_rto_report`, in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    pub set: String,
    pub scenario: String,
    pub rto: f64,
    pub rto_measured: Option<f64>,
    pub measured_by: Option<String>,
    pub rpo: f64,
    pub rpo_now: Option<f64>,
    pub met: Option<bool>,
    pub reason: String,
}

/// Tables whose every change is captured now, and gaps that were noted in the period.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tracked {
    pub tables: i64,
    pub gaps: i64,
}

/// What retention would do to a backup now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    pub backup: String,
    pub set: String,
    pub kind: String,
    pub started_at: DateTime<Utc>,
    pub bytes: i64,
    pub keep: bool,
    pub reasons: Vec<String>,
}

/// Copies of a set at one place, of one status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copies {
    pub set: String,
    pub destination: String,
    pub status: String,
    pub count: i64,
    pub sealed: i64,
    pub bytes: i64,
    pub last_at: Option<DateTime<Utc>>,
    pub verified: i64,
    pub refuted: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    pub id: String,
    pub set: Option<String>,
    pub columns: Vec<String>,
    pub reason: String,
    pub by: String,
    pub at: DateTime<Utc>,
    pub status: String,
    pub rows: i64,
    pub rewritten: i64,
    pub left: i64,
}

/// A privilege of a role on an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub object: String,
    pub kind: String,
    pub role: String,
    pub privilege: String,
}

/// A role that can log in and has one of ours, and by which way it has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub role: String,
    pub member: String,
    pub is_superuser: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    pub acts: Vec<Acts>,
    /// What `verify_audit_log()` says.
    pub chain: Vec<Link>,
}

/// Acts of the period by what was done and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acts {
    pub action: String,
    pub ok: i64,
    pub failed: i64,
    pub denied: i64,
    pub last_at: DateTime<Utc>,
}

/// A row of `verify_audit_log()`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub check: String,
    pub status: String,
    pub details: String,
}

/// A row of `health`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    pub subject: String,
    pub severity: String,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    pub free: i64,
    pub total: i64,
    pub used: i64,
    pub is_shared_with_database: bool,
    /// A fifth more than the newest good backup of each set takes.
    pub needed: Option<i64>,
}
