//! What is on this machine to be sent: read, and known to be whole.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use agent_backup_core::container::{Container, ContainerError};
use agent_backup_core::plan::names;
use agent_backup_core::store::Directory;
use agent_backup_core::store::object::Content;
use agent_backup_core::stream::sha256_hex;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::journal_offsite::{Keys, LocalBackup};
use crate::run::offsite::access;
use crate::run::{blob, place};
use crate::server::interrupt;

/// Bytes of the largest manifest that is read.
pub const MANIFEST_LIMIT: u64 = 1 << 30;

/// Below it are all objects of a database.
pub fn prefix(system_identifier: &str, database: &str) -> String {
    format!("{system_identifier}/{}", names::encode(database))
}

/// Below it are all objects of a set.
pub fn prefix_of_set(system_identifier: &str, database: &str, set: &str) -> String {
    format!("{}/{}", prefix(system_identifier, database), names::encode(set))
}

/// The objects of a backup.
pub fn keys(backup: &LocalBackup) -> Keys {
    let below = prefix_of_set(&backup.system_identifier, &backup.database_name, &backup.set_name);
    Keys { object: format!("{below}/{}", backup.file_name), manifest: format!("{below}/{}", backup.manifest_name) }
}

/// A backup that is whole here, as far as its manifest and its catalogue row tell; its bytes are checked as they are sent.
pub struct Whole {
    pub file: File,
    pub content: Content,
    pub manifest: Vec<u8>,
}

/// Opens a backup. Errors: `Store`, `Swapped`, `Damaged`.
pub fn open(backup: &LocalBackup) -> Result<Whole> {
    let directory = place::for_reading(Path::new(&backup.directory))?;
    let manifest = read(&directory, &backup.manifest_name)?;
    if sha256_hex(&manifest) != backup.manifest_sha256 {
        let file = directory.path().join(&backup.manifest_name).display().to_string();
        return Err(Error::Swapped { file, backup: backup.backup_id.clone() });
    }
    let file = directory.open_file(&backup.file_name)?;
    let size = file.metadata().map_err(Error::Write)?.len();
    let content = match backup.file_sha256.as_deref().and_then(|sha256| Content::known(size, sha256)) {
        Some(content) => content,
        None => proved(&directory, backup, &manifest)?,
    };
    Ok(Whole { file, content, manifest })
}

/// Of a container whose hash nobody knows yet: what it is, if it is what its manifest says.
fn proved(directory: &Directory, backup: &LocalBackup, manifest: &[u8]) -> Result<Content> {
    let shown = directory.path().join(&backup.file_name).display().to_string();
    let damaged = |problem: ContainerError| Error::Damaged { file: shown.clone(), problem };
    let plain = blob::opened(blob::of_file(directory, &backup.file_name)?, &shown)?;
    let container = Container::open(plain).map_err(damaged)?;
    if container.manifest_bytes != manifest {
        return Err(Error::Swapped { file: shown, backup: backup.backup_id.clone() });
    }
    if let Some(problem) = container.verify_content().0.into_iter().next() {
        return Err(damaged(problem));
    }
    let mut file = directory.open_file(&backup.file_name)?;
    Content::measure(&backup.file_name, &mut file, &mut interrupt::watch).map_err(access::raised)
}

/// A whole small file.
pub fn read(directory: &Directory, name: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    directory.open_file(name)?.take(MANIFEST_LIMIT).read_to_end(&mut bytes).map_err(Error::Write)?;
    Ok(bytes)
}

/// The backup that a manifest is of.
pub fn backup_id_of(manifest: &[u8]) -> Option<String> {
    let manifest: Value = serde_json::from_slice(manifest).ok()?;
    Some(manifest.get("backup_id")?.as_str()?.to_owned())
}

/// Whether a manifest takes the place of another one: of the same backup, rewritten since, as an erasure does.
pub fn supersedes(manifest: &[u8], other: &[u8]) -> bool {
    let facts = |bytes: &[u8]| {
        let manifest: Value = serde_json::from_slice(bytes).ok()?;
        let generation = manifest.get("generation").and_then(Value::as_u64).unwrap_or(0);
        Some((manifest.get("backup_id")?.as_str()?.to_owned(), generation))
    };
    match (facts(manifest), facts(other)) {
        (Some((id, newer)), Some((other, older))) => id == other && newer > older,
        _ => false,
    }
}
