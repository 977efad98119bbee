//! Where rows are read back from: a backup, named as a person does, opened and known to be the one that is meant.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use agent_backup_core::container::manifest::{Member, MemberStatus};
use agent_backup_core::container::{Blob, Container, ContainerError, Entry, Manifest};
use agent_backup_core::plan::Format;
use agent_backup_core::store::Directory;
use agent_backup_core::stream::sha256_hex;

use crate::error::{EraseError, Error, Result};
use crate::ident::{self, TableName};
use crate::journal::{self, Listed};
use crate::run::{blob, erase, place};
use crate::server::privilege;

/// What means the newest complete backup of a set.
pub const LATEST: &str = "latest";

/// Where a backup stands: as the catalogue lists it, or a file of which it knows nothing.
#[derive(Debug, Clone)]
pub struct Location {
    pub listed: Option<Listed>,
    pub directory: PathBuf,
    pub file_name: String,
}

impl Location {
    /// Where a listed backup stands.
    pub fn of(listed: Listed) -> Self {
        let (directory, file_name) = (PathBuf::from(&listed.directory), listed.file_name.clone());
        Location { directory, file_name, listed: Some(listed) }
    }

    /// Path of the container.
    pub fn path(&self) -> PathBuf {
        self.directory.join(&self.file_name)
    }
}

/// An open backup whose manifest was read and checked.
pub struct Source {
    pub container: Arc<Container<Blob>>,
    pub location: Location,
    pub directory: Directory,
}

/// Finds a backup of a set by `latest`, its id, or a path (relative ones are below the set's directory), then a file
/// name. Errors: `NoBackup`, `UnknownBackup` with near ids.
pub fn locate(backup: &str, set: &str) -> Result<Location> {
    if backup == LATEST {
        let newest = journal::listed(Some(set))?.into_iter().find(|listed| listed.status == "complete");
        return match newest {
            Some(listed) => Ok(Location::of(listed)),
            None if journal::has_set(set)? => Err(Error::NoBackup { set: set.to_owned() }),
            None => Err(journal::unknown_set(set)?),
        };
    }
    let listed = journal::listed(None)?;
    if let Some(found) = listed.iter().find(|listed| listed.backup_id == backup) {
        return Ok(Location::of(found.clone()));
    }
    if backup.is_empty() {
        return Err(Error::InvalidOption { option: "backup", reason: "it is empty".into() });
    }
    let path = place::path_of_set(set).join(backup);
    // Before the disk is asked: whether a file exists is told only to who may read it.
    privilege::require_backup_reader(&path)?;
    if let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
        && path.symlink_metadata().is_ok()
    {
        let known = listed.into_iter().find(|l| Path::new(&l.directory).join(&l.file_name) == path);
        return Ok(Location { listed: known, directory: directory.to_owned(), file_name: name.to_owned() });
    }
    let near = ident::near(backup, listed.into_iter().map(|listed| listed.backup_id));
    Err(Error::UnknownBackup { backup: backup.to_owned(), near })
}

/// Opens what `locate` found. Its manifest is the very one that the catalogue lists. Errors: `Store` (missing, no
/// permission), `Damaged`, `Swapped`.
pub fn open(location: Location) -> Result<Source> {
    let directory = place::for_reading(&location.directory)?;
    if erase::pending::changes(&directory, &location.file_name) {
        let backup = location.listed.map_or(location.file_name, |listed| listed.backup_id);
        return Err(EraseError::Pending { backup }.into());
    }
    erase::settle::file(&directory, &location.file_name)?;
    let file = blob::of_file(&directory, &location.file_name)?;
    let shown = location.path().display().to_string();
    let container = Container::open(file).map_err(|problem| Error::Damaged { file: shown.clone(), problem })?;
    if let Some(listed) = &location.listed
        && !is_listed(&container, listed)
    {
        return Err(Error::Swapped { file: shown, backup: listed.backup_id.clone() });
    }
    Ok(Source { container: Arc::new(container), location, directory })
}

/// Whether a container is what the catalogue lists, or what erasures made of that: the catalogue may have been brought back
/// to a moment before, and `reconcile` lists it anew.
pub fn is_listed(container: &Container<Blob>, listed: &Listed) -> bool {
    sha256_hex(&container.manifest_bytes) == listed.manifest_sha256
        || (container.manifest.backup_id == listed.backup_id
            && erase::settle::follows(&container.manifest, &listed.manifest_sha256))
}

/// `locate` and `open`.
pub fn find(backup: &str, set: &str) -> Result<Source> {
    open(locate(backup, set)?)
}

/// A backup and perhaps a table of it, as `latest:agent_approvals`, `<id>:<table>` or `<path>:<table>` say it. None
/// where the text names no backup.
pub fn find_with_table(text: &str, set: &str) -> Result<Option<(Source, Option<String>)>> {
    let (backup, table) = match text.rsplit_once(':') {
        Some((backup, table)) if !backup.is_empty() && !table.is_empty() => (backup, Some(table.to_owned())),
        _ => (text, None),
    };
    match locate(backup, set) {
        Ok(location) => Ok(Some((open(location)?, table))),
        Err(Error::UnknownBackup { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Source {
    pub fn manifest(&self) -> &Manifest {
        &self.container.manifest
    }

    pub fn id(&self) -> &str {
        &self.manifest().backup_id
    }

    /// The error for damage of this backup's container.
    pub fn damaged(&self, problem: ContainerError) -> Error {
        Error::Damaged { file: self.location.path().display().to_string(), problem }
    }

    /// The tables that are in it, with their numbers.
    pub fn members(&self) -> impl Iterator<Item = (usize, &Member)> {
        self.manifest().members.iter().enumerate().filter(|(_, member)| member.status == MemberStatus::Ok)
    }

    /// The table that a person means: by the name of a live table, or by the name it had. Errors: `NotInBackup`.
    pub fn member(&self, typed: &str) -> Result<(usize, &Member)> {
        let resolved = ident::find(typed)?.map(ident::name_of).transpose()?;
        self.members().find(|(_, member)| name_of(member).is_meant(typed, resolved.as_ref())).ok_or_else(|| {
            Error::NotInBackup {
                backup: self.id().to_owned(),
                table: typed.to_owned(),
                near: ident::near(typed, self.members().map(|(_, member)| name_of(member).display())),
            }
        })
    }

    /// The form of member number `number` that rows are read from. Errors: `NotRestorable`.
    pub fn csv(&self, number: usize) -> Result<&Entry> {
        let own = || self.manifest().entries.iter().filter(|entry| entry.table == Some(number));
        own().find(|entry| entry.format == Some(Format::Csv)).ok_or_else(|| Error::NotRestorable {
            backup: self.id().to_owned(),
            table: self.manifest().members.get(number).map(|member| name_of(member).display()).unwrap_or_default(),
            formats: own().filter_map(|entry| Some(entry.format?.to_string())).collect::<Vec<_>>().join(" and "),
        })
    }

    /// The manifest beside the container is there and is the same. Errors: `Store`, `Swapped`.
    pub fn check_beside(&self) -> Result<()> {
        let Some(listed) = &self.location.listed else { return Ok(()) };
        let mut bytes = Vec::new();
        let file = self.directory.open_file(&listed.manifest_name)?;
        std::io::Read::read_to_end(&mut std::io::Read::take(file, MANIFEST_LIMIT), &mut bytes)
            .map_err(|source| ContainerError::Read { what: "the manifest".into(), source })
            .map_err(|problem| Error::Damaged { file: listed.manifest_name.clone(), problem })?;
        if bytes == self.container.manifest_bytes {
            return Ok(());
        }
        let file = self.directory.path().join(&listed.manifest_name).display().to_string();
        match Manifest::parse(&bytes) {
            Err(problem) => Err(Error::Damaged { file, problem }),
            Ok(_) => Err(Error::Swapped { file, backup: listed.backup_id.clone() }),
        }
    }
}

/// Bytes of the largest manifest that is read.
const MANIFEST_LIMIT: u64 = 1 << 30;

/// The name that a member had.
pub fn name_of(member: &Member) -> TableName {
    TableName { schema: member.schema.clone(), name: member.name.clone() }
}
