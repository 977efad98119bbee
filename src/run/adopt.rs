//! One backup that stands on disk: its two files are read, checked against each other, and listed in the catalogue.

use std::fs::File;
use std::io::Read;

use agent_backup_core::container::{Container, Manifest};
use agent_backup_core::store::{Directory, FileKind};
use agent_backup_core::stream::sha256_hex;

use crate::error::{Error, Result};
use crate::journal::{self, FileFacts};
use crate::journal_erasures;
use crate::journal_retention;
use crate::run::{blob, publish};

/// Bytes of the largest manifest that is read: more than a million chunks.
const MANIFEST_LIMIT: u64 = 1 << 30;

/// A regular file of a set's directory, with a name that can be one of ours.
#[derive(Debug, Clone)]
pub struct Found {
    pub name: String,
    pub size: u64,
}

/// The regular files of a directory.
pub fn regular_files(directory: &Directory) -> Result<Vec<Found>> {
    let regular = directory.list()?.into_iter().filter(|file| file.kind == FileKind::Regular);
    Ok(regular.filter_map(|file| Some(Found { name: file.name.into_string().ok()?, size: file.size })).collect())
}

/// A container with the manifest beside it, which are of each other.
pub struct Pair {
    pub manifest: Manifest,
    container: FileFacts,
    beside: FileFacts,
}

/// Opens both files. The container must be whole at its end, and hold the very manifest that stands beside it.
pub fn open(directory: &Directory, file: &Found, beside: &Found) -> Result<Pair> {
    let unusable = |reason: String| Error::Manifest { file: beside.name.clone(), reason };
    let bytes = read(directory.open_file(&beside.name)?)?;
    let manifest = Manifest::parse(&bytes).map_err(|error| unusable(error.to_string()))?;
    let container = Container::open(blob::of_file(directory, &file.name)?)
        .map_err(|error| unusable(format!("its container \"{}\" is damaged: {error}", file.name)))?;
    if container.manifest_bytes != bytes {
        return Err(unusable(format!("the container \"{}\" holds another one", file.name)));
    }
    let sha256 = Some(sha256_hex(&bytes));
    Ok(Pair {
        manifest,
        container: FileFacts { name: file.name.clone(), size: file.size, sha256: None },
        beside: FileFacts { name: beside.name.clone(), size: bytes.len() as u64, sha256 },
    })
}

/// A container whose manifest was lost carries a copy of it: checked against it, it gets it back beside it.
pub fn complete(directory: &Directory, file: &Found, beside: &str) -> Result<Pair> {
    let unusable = |reason: String| Error::Manifest { file: beside.to_owned(), reason };
    let container =
        Container::open(blob::of_file(directory, &file.name)?).map_err(|error| unusable(error.to_string()))?;
    if let Some(first) = container.verify_content().0.first() {
        return Err(unusable(format!("it is missing, and the container is damaged: {first}")));
    }
    let mut staged = publish::stage(directory, "metadata")?;
    staged.append(&container.manifest_bytes)?;
    let published = staged.publish(beside)?;
    open(directory, file, &Found { name: published.name, size: published.size })
}

/// Lists it; what was done, in words. A backup that is listed already at another place moves here when it is gone there.
pub fn list(directory: &Directory, pair: &Pair) -> Result<String> {
    let Pair { manifest, container, beside } = pair;
    let mut pin = None;
    let listed = journal::place_of(&manifest.backup_id)?;
    if let Some((other, name)) = &listed {
        let path = std::path::Path::new(other).join(name);
        let here = path == directory.path().join(&container.name);
        if !here && path.exists() {
            let reason = format!("it is a copy of \"{}\", which is listed", path.display());
            return Err(Error::Manifest { file: beside.name.clone(), reason });
        }
        pin = journal_retention::forget(&manifest.backup_id)?;
    }
    let failed =
        manifest.members.iter().filter_map(|m| m.error.as_ref().map(|error| format!("{}: {error}", m.display)));
    let failed: Vec<String> = failed.collect();
    let error = (!failed.is_empty()).then(|| failed.join("; "));
    let record = journal::from_manifest(manifest, directory, container, beside, error);
    journal::record(&record)?;
    journal_retention::is_back(&record.backup_id)?;
    if let Some(pin) = pin {
        journal_retention::pin(&record.backup_id, pin.reason.as_deref())?;
    }
    let started = manifest.started_at.format("%Y-%m-%d %H:%M:%S UTC");
    Ok(format!("{} table(s), {} rows of {started}", record.tables, record.row_count))
}

/// The manifest that stands beside a container, with its text; none where it is no manifest any more.
pub fn manifest_beside(directory: &Directory, beside: &str) -> Result<Option<(Manifest, Vec<u8>)>> {
    let bytes = read(directory.open_file(beside)?)?;
    Ok(Manifest::parse(&bytes).ok().map(|manifest| (manifest, bytes)))
}

/// Lists what erasures made of a backup that is listed as it was before; what was done, in words.
pub fn relist(directory: &Directory, file: &str, beside: &str) -> Result<String> {
    let found = |name: &str| -> Result<Found> {
        let size = directory.open_file(name)?.metadata().map_err(Error::Write)?.len();
        Ok(Found { name: name.to_owned(), size })
    };
    let pair = open(directory, &found(file)?, &found(beside)?)?;
    journal_erasures::relist(&journal::from_manifest(&pair.manifest, directory, &pair.container, &pair.beside, None))?;
    Ok(format!("rows were erased from it {} time(s)", pair.manifest.generation))
}

/// The manifest of the set's newest complete backup here, if it is the one that the catalogue knows. It only spares work:
/// whatever is wrong with it, there is none.
pub fn newest(set: &str, directory: &Directory) -> Option<Manifest> {
    let (name, sha256) = journal::newest_manifest(set, &directory.path().display().to_string()).ok()??;
    let bytes = read(directory.open_file(&name).ok()?).ok()?;
    if sha256_hex(&bytes) != sha256 {
        return None;
    }
    Manifest::parse(&bytes).ok()
}

fn read(file: File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MANIFEST_LIMIT).read_to_end(&mut bytes).map_err(Error::Write)?;
    Ok(bytes)
}
