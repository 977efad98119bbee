//! The proof of the log: every entry as it was written, none gone, and the same that backups and verifications noted.

use std::io::Read;
use std::path::Path;

use agent_backup_core::container::Manifest;
use agent_backup_core::plan::audit::{Anchor, Chain, Finding, Head};
use agent_backup_core::store::Directory;

use crate::error::Result;
use crate::run::place;
use crate::server::{facts, snapshot};
use crate::{journal, journal_audit};

/// A row of the verdict.
pub struct Line {
    /// `chain`, or what was looked at where something is wrong.
    pub check: &'static str,
    pub is_ok: bool,
    pub entry_id: Option<i64>,
    pub details: String,
}

/// Proves the log, and writes down that it did. All is well where there is one line, which is ok.
pub fn verify() -> Result<Vec<Line>> {
    let (findings, head, entries) = prove()?;
    if snapshot::read_only().is_none() {
        let problems = findings.iter().map(|finding| finding.details.clone()).collect();
        journal_audit::note_check(head.as_ref(), entries, problems)?;
    }
    Ok(lines(findings, head, entries))
}

/// The same without writing anything.
pub fn look() -> Result<Vec<Line>> {
    prove().map(|(findings, head, entries)| lines(findings, head, entries))
}

/// What is wrong with the log, its end, and how many entries it has.
fn prove() -> Result<(Vec<Finding>, Option<Head>, u64)> {
    let mut anchors = journal_audit::noted_heads()?;
    anchors.extend(of_manifests()?);
    let mut chain = Chain::new(anchors);
    journal_audit::each_link(|link| {
        chain.pass(link);
        Ok(())
    })?;
    let (mut findings, head, entries) = chain.end();
    let last = head.as_ref().map_or(0, |head| head.entry_id);
    for table in journal_audit::unguarded()? {
        let details = format!("the trigger that keeps changes off \"{table}\" is gone, switched off or another one");
        findings.push(Finding { check: "guard", entry_id: last, details });
    }
    Ok((findings, head, entries))
}

fn lines(findings: Vec<Finding>, head: Option<Head>, entries: u64) -> Vec<Line> {
    if findings.is_empty() {
        return vec![well(head, entries)];
    }
    let line = |Finding { check, entry_id, details }| Line { check, is_ok: false, entry_id: Some(entry_id), details };
    findings.into_iter().map(line).collect()
}

fn well(head: Option<Head>, entries: u64) -> Line {
    let entry_id = head.as_ref().map_or(0, |head| head.entry_id);
    let noun = if entries == 1 { "entry" } else { "entries" };
    let details = match head {
        Some(head) => format!("{entries} {noun}, head {}", head.entry_hash),
        None => "no entries yet".to_owned(),
    };
    Line { check: "chain", is_ok: true, entry_id: Some(entry_id), details }
}

/// What the manifests of listed backups, which this database made, noted. One that is gone or damaged is a matter of `verify`.
fn of_manifests() -> Result<Vec<Anchor>> {
    let here = facts::server()?;
    let mut anchors = Vec::new();
    let mut directory: Option<Directory> = None;
    for backup in journal::listed(None)? {
        pgrx::check_for_interrupts!();
        if directory.as_ref().is_none_or(|open| open.path() != Path::new(&backup.directory)) {
            directory = Directory::open(Path::new(&backup.directory), place::rule()).ok();
        }
        let manifest = directory.as_ref().and_then(|directory| read(directory, &backup.manifest_name));
        let Some(manifest) = manifest.filter(|manifest| facts::is_same(&here, &manifest.server)) else { continue };
        if let (Some(entry_hash), Some(entry_id)) = (manifest.audit_head, manifest.audit_entry) {
            let head = Head { entry_id, entry_hash };
            anchors.push(Anchor { noted_by: format!("the manifest of backup {}", manifest.backup_id), head });
        }
    }
    Ok(anchors)
}

fn read(directory: &Directory, name: &str) -> Option<Manifest> {
    let mut bytes = Vec::new();
    directory.open_file(name).ok()?.read_to_end(&mut bytes).ok()?;
    Manifest::parse(&bytes).ok()
}
