//! Disk and catalogue: the manifests on disk are the truth. A backup that the catalogue does not list is adopted
//! (a rollback, a crash, another server's directory); one that is listed and not there is marked incomplete.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;

use agent_backup_core::container::manifest::Server;
use agent_backup_core::container::{Container, Manifest};
use agent_backup_core::plan::names;
use agent_backup_core::store::{Directory, FileKind};

use crate::error::{Error, Result};
use crate::journal::{self, FileFacts, KnownFile};
use crate::server::facts;

/// Bytes of the largest manifest that is read: more than a million chunks.
const MANIFEST_LIMIT: u64 = 1 << 30;

/// One thing that was found and what was done about it.
pub struct Finding {
    pub file: String,
    pub backup_id: Option<String>,
    /// `adopted`, `completed`, `incomplete`, `restored`, `foreign` or `unreadable`.
    pub action: &'static str,
    pub details: String,
}

/// A regular file of a set's directory, with a name that can be one of ours.
struct Found {
    name: String,
    size: u64,
}

fn regular_files(directory: &Directory) -> Result<Vec<Found>> {
    let regular = directory.list()?.into_iter().filter(|file| file.kind == FileKind::Regular);
    Ok(regular.filter_map(|file| Some(Found { name: file.name.into_string().ok()?, size: file.size })).collect())
}

/// What to do with backups that another database or cluster made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elsewhere {
    /// List them: this server takes over from another.
    Adopt,
    /// Name them and leave them alone.
    Report,
}

/// Adopts what the catalogue does not list and looks for what it lists and the disk has not. The directory is locked.
/// `elsewhere` none adopts backups of others only while the catalogue lists nothing here, as on a new server.
pub fn set(set: &str, directory: &Directory, elsewhere: Option<bool>) -> Result<Vec<Finding>> {
    let files = regular_files(directory)?;
    let known = journal::files_in(&directory.path().display().to_string())?;
    let elsewhere = if elsewhere.unwrap_or(known.is_empty()) { Elsewhere::Adopt } else { Elsewhere::Report };
    let mut findings = adopt(set, directory, &files, &known, elsewhere)?;
    for backup in &known {
        findings.extend(missing(directory, &files, backup)?);
    }
    Ok(findings)
}

/// The part of it that each backup begins with: this database's own strays are listed.
pub fn adopt_strays(set: &str, directory: &Directory) -> Result<()> {
    let files = regular_files(directory)?;
    let known = journal::files_in(&directory.path().display().to_string())?;
    for finding in adopt(set, directory, &files, &known, Elsewhere::Report)? {
        if finding.action != "foreign" {
            pgrx::notice!("{}: {} ({})", finding.file, finding.action, finding.details);
        }
    }
    Ok(())
}

fn adopt(
    set: &str,
    directory: &Directory,
    files: &[Found],
    known: &[KnownFile],
    elsewhere: Elsewhere,
) -> Result<Vec<Finding>> {
    let here = facts::server()?;
    let by_name: HashMap<&str, &Found> = files.iter().map(|file| (file.name.as_str(), file)).collect();
    let mut findings = Vec::new();
    for file in files {
        let listed = known.iter().any(|k| k.file_name == file.name || k.manifest_name == file.name);
        let Some(suffix) = names::suffix_of_container(set, &file.name).filter(|_| !listed) else { continue };
        let manifest_name = names::manifest(suffix);
        let text = match by_name.get(manifest_name.as_str()) {
            Some(manifest) => read_manifest(directory, manifest).map(|text| (text, "adopted")),
            None => complete(directory, file, &manifest_name).map(|text| (text, "completed")),
        };
        let finding = text.and_then(|(text, action)| {
            if elsewhere == Elsewhere::Adopt || is_of(&here, &text.parsed.server) {
                list(directory, file, &text, action)
            } else {
                Ok(foreign(file, &text.parsed))
            }
        });
        findings.push(finding.unwrap_or_else(|error| Finding {
            file: file.name.clone(),
            backup_id: None,
            action: "unreadable",
            details: error.to_string(),
        }));
    }
    Ok(findings)
}

fn is_of(here: &Server, there: &Server) -> bool {
    here.system_identifier == there.system_identifier && here.database == there.database
}

fn foreign(file: &Found, manifest: &Manifest) -> Finding {
    let Server { database, system_identifier, .. } = &manifest.server;
    Finding {
        file: file.name.clone(),
        backup_id: Some(manifest.backup_id.clone()),
        action: "foreign",
        details: format!(
            "made by database \"{database}\" of cluster {system_identifier}; reconcile(elsewhere => true) lists it here"
        ),
    }
}

/// A manifest beside a container, with what the catalogue keeps of its file.
struct ManifestText {
    parsed: Manifest,
    facts: FileFacts,
}

fn read_manifest(directory: &Directory, manifest: &Found) -> Result<ManifestText> {
    let bytes = read(directory.open_file(&manifest.name)?)?;
    let parsed = Manifest::parse(&bytes)
        .map_err(|error| Error::Manifest { file: manifest.name.clone(), reason: error.to_string() })?;
    let sha256 = Some(agent_backup_core::stream::sha256_hex(&bytes));
    Ok(ManifestText { parsed, facts: FileFacts { name: manifest.name.clone(), size: manifest.size, sha256 } })
}

/// Lists a container whose manifest stands beside it.
fn list(directory: &Directory, file: &Found, text: &ManifestText, action: &'static str) -> Result<Finding> {
    let ManifestText { parsed, facts: manifest_file } = text;
    let container = FileFacts { name: file.name.clone(), size: file.size, sha256: None };
    if parsed.content_bytes > file.size {
        let reason =
            format!("its container holds {} bytes and should hold more than {}", file.size, parsed.content_bytes);
        return Err(Error::Manifest { file: manifest_file.name.clone(), reason });
    }
    let failed =
        parsed.members.iter().filter_map(|member| member.error.as_ref().map(|e| format!("{}: {e}", member.display)));
    let failed: Vec<String> = failed.collect();
    let error = (!failed.is_empty()).then(|| failed.join("; "));
    let record = journal::from_manifest(parsed, directory, &container, manifest_file, error);
    journal::record(&record)?;
    let details = format!(
        "{} tables, {} rows of {}",
        record.tables,
        record.row_count,
        parsed.started_at.format("%Y-%m-%d %H:%M:%S UTC")
    );
    Ok(Finding { file: file.name.clone(), backup_id: Some(record.backup_id), action, details })
}

/// A container whose manifest was lost between the two renames carries a copy of it: the manifest is put beside it.
fn complete(directory: &Directory, file: &Found, manifest_name: &str) -> Result<ManifestText> {
    let unusable = |reason: String| Error::Manifest { file: manifest_name.to_owned(), reason };
    let container = Container::open(directory.open_file(&file.name)?).map_err(|error| unusable(error.to_string()))?;
    let damage = container.verify_content();
    if let Some(first) = damage.0.first() {
        return Err(unusable(format!("it is missing, and the container is damaged: {first}")));
    }
    let mut staged = directory.stage("metadata")?;
    staged.append(&container.manifest_bytes)?;
    let published = staged.publish(manifest_name)?;
    let manifest = regular_files(directory)?.into_iter().find(|file| file.name == published.name);
    match manifest {
        Some(manifest) => read_manifest(directory, &manifest),
        None => Err(unusable("it vanished".into())),
    }
}

/// What is listed and not there, or there again.
fn missing(directory: &Directory, files: &[Found], backup: &KnownFile) -> Result<Option<Finding>> {
    let there = |name: &str| files.iter().any(|file| file.name == name);
    let gone: Vec<&str> =
        [backup.file_name.as_str(), backup.manifest_name.as_str()].into_iter().filter(|name| !there(name)).collect();
    let finding = |action, details: String| Finding {
        file: backup.file_name.clone(),
        backup_id: Some(backup.backup_id.clone()),
        action,
        details,
    };
    if gone.is_empty() {
        return if backup.is_missing_files { there_again(directory, files, backup) } else { Ok(None) };
    }
    if backup.is_missing_files {
        return Ok(None);
    }
    let details = format!("{} {}", journal::MISSING, gone.join(", "));
    journal::mark_incomplete(&backup.backup_id, &details)?;
    Ok(Some(finding("incomplete", details)))
}

/// A backup whose files were missing and are back is listed anew, from its manifest.
fn there_again(directory: &Directory, files: &[Found], backup: &KnownFile) -> Result<Option<Finding>> {
    let found = |name: &str| files.iter().find(|file| file.name == name);
    let (Some(file), Some(manifest)) = (found(&backup.file_name), found(&backup.manifest_name)) else {
        return Ok(None);
    };
    journal::forget(&backup.backup_id)?;
    list(directory, file, &read_manifest(directory, manifest)?, "restored").map(Some)
}

fn read(file: File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MANIFEST_LIMIT).read_to_end(&mut bytes).map_err(Error::Write)?;
    Ok(bytes)
}
