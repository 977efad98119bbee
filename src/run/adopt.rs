//! One backup that stands on disk: its two files are read, checked against each other, and listed in the catalogue.

use std::fs::File;
use std::io::Read;

use agent_backup_core::container::{Blob, Container, Manifest};
use agent_backup_core::plan::names::Form;
use agent_backup_core::store::{Directory, FileKind};
use agent_backup_core::stream::sha256_hex;

use crate::error::{EncryptionError, Error, Result};
use crate::journal::{self, FileFacts};
use crate::journal_erasures;
use crate::journal_retention;
use crate::run::shelf::{self, Shelf};
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
    /// What could not be looked at, in words.
    unproven: Option<String>,
}

impl Pair {
    /// SHA-256 in hex of the manifest.
    pub fn manifest_sha256(&self) -> String {
        self.beside.sha256.clone().unwrap_or_default()
    }
}

/// Opens both files. The container must be whole at its end, and hold the very manifest that stands beside it. One that is
/// sealed, and for which no key is here, is taken by the manifest beside it, and that is told.
pub fn open(directory: &Shelf, file: &Found, beside: &Found) -> Result<Pair> {
    let unusable = |reason: String| Error::Manifest { file: beside.name.clone(), reason };
    let bytes = directory.read(&beside.name)?;
    let manifest = Manifest::parse(&bytes).map_err(|error| unusable(error.to_string()))?;
    let stored = directory.blob(&file.name)?;
    if manifest.encryption.is_some() && Form::of(&file.name) == Form::Plain {
        let file = directory.path().join(&file.name).display().to_string();
        return Err(EncryptionError::Downgraded { file, told: "its manifest" }.into());
    }
    let unproven = match blob::opened(stored, &file.name) {
        Ok(plain) => {
            if open_container(plain, file).map_err(unusable)?.manifest_bytes != bytes {
                return Err(unusable(format!("the container \"{}\" holds another one", file.name)));
            }
            None
        }
        Err(error) if error.is_locked() => {
            Some(format!("its content could not be compared with its manifest: {error}"))
        }
        Err(error) => return Err(error.into()),
    };
    let sha256 = Some(sha256_hex(&bytes));
    Ok(Pair {
        manifest,
        container: FileFacts { name: file.name.clone(), size: file.size, sha256: None },
        beside: FileFacts { name: beside.name.clone(), size: bytes.len() as u64, sha256 },
        unproven,
    })
}

fn open_container(plain: Blob, file: &Found) -> std::result::Result<Container<Blob>, String> {
    Container::open(plain).map_err(|error| format!("its container \"{}\" is damaged: {error}", file.name))
}

/// The manifest of a container that may be a backup: its own, or, where no key is here, the one beside it.
pub fn manifest_of(directory: &Directory, file: &str, beside: &str) -> Option<Manifest> {
    match blob::opened(blob::of_file(directory, file).ok()?, file) {
        Ok(plain) => Container::open(plain).ok().map(|container| container.manifest),
        Err(error) if error.is_locked() => Manifest::parse(&read(directory.open_file(beside).ok()?).ok()?).ok(),
        Err(_damaged) => None,
    }
}

/// A container whose manifest was lost carries a copy of it: checked against it, it gets it back beside it.
pub fn complete(directory: &Directory, file: &Found, beside: &str) -> Result<Pair> {
    let unusable = |reason: String| Error::Manifest { file: beside.to_owned(), reason };
    let plain = blob::opened(blob::of_file(directory, &file.name)?, &file.name)
        .map_err(|error| unusable(format!("it is missing, and the container cannot be looked into: {error}")))?;
    let container = Container::open(plain).map_err(|error| unusable(error.to_string()))?;
    if let Some(first) = container.verify_content().0.first() {
        return Err(unusable(format!("it is missing, and the container is damaged: {first}")));
    }
    let mut staged = publish::stage(directory, "metadata")?;
    staged.append(&container.manifest_bytes)?;
    let published = staged.publish(beside)?;
    open(&Shelf::Local(directory.clone()), file, &Found { name: published.name, size: published.size })
}

/// Lists it; what was done, in words. A backup that is listed already at another place moves here when it is gone there.
pub fn list(directory: &Shelf, pair: &Pair) -> Result<String> {
    let Pair { manifest, container, beside, unproven } = pair;
    let mut pin = None;
    let listed = journal::place_of(&manifest.backup_id)?;
    if let Some((other, name)) = &listed {
        let path = std::path::Path::new(other).join(name);
        let here = path == directory.path().join(&container.name);
        if !here && (path.exists() || shelf::is_url(other)) {
            let reason = format!("it is a copy of \"{}\", which is listed", path.display());
            return Err(Error::Manifest { file: beside.name.clone(), reason });
        }
        if Form::of(name) == Form::Sealed && Form::of(&container.name) == Form::Plain {
            let file = directory.path().join(&container.name).display().to_string();
            return Err(EncryptionError::Downgraded { file, told: "the catalogue" }.into());
        }
        pin = journal_retention::forget(&manifest.backup_id)?;
    }
    let failed =
        manifest.members.iter().filter_map(|m| m.error.as_ref().map(|error| format!("{}: {error}", m.display)));
    let failed: Vec<String> = failed.collect();
    let error = (!failed.is_empty()).then(|| failed.join("; "));
    let record = journal::from_manifest(manifest, &directory.path(), container, beside, error);
    journal::record(&record)?;
    journal_retention::is_back(&record.backup_id)?;
    if let Some(pin) = pin {
        journal_retention::pin(&record.backup_id, pin.reason.as_deref())?;
    }
    let started = manifest.started_at.format("%Y-%m-%d %H:%M:%S UTC");
    let unproven = unproven.as_ref().map(|it| format!("; {it}")).unwrap_or_default();
    Ok(format!("{} table(s), {} rows of {started}{unproven}", record.tables, record.row_count))
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
    let pair = open(&Shelf::Local(directory.clone()), &found(file)?, &found(beside)?)?;
    let record = journal::from_manifest(&pair.manifest, directory.path(), &pair.container, &pair.beside, None);
    journal_erasures::relist(&record)?;
    Ok(format!("rows were erased from it {} time(s)", pair.manifest.generation))
}

/// The manifest of the set's newest complete backup here, if it is the one that the catalogue knows. It only spares work:
/// whatever is wrong with it, there is none.
pub fn newest(set: &str, shelf: &Shelf) -> Option<Manifest> {
    let (name, sha256) = journal::newest_manifest(set, &shelf.path().display().to_string()).ok()??;
    let bytes = shelf.read(&name).ok()?;
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
