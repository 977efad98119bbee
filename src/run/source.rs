//! Where rows are read back from: a backup, named as a person does, opened and known to be the one that is meant.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use agent_backup_core::container::manifest::{Member, MemberStatus};
use agent_backup_core::container::{Blob, Container, ContainerError, Entry, Manifest};
use agent_backup_core::plan::Format;
use agent_backup_core::plan::names::Form;
use agent_backup_core::store::swap;
use agent_backup_core::stream::sha256_hex;

use crate::error::{EncryptionError, Error, Result};
use crate::ident::{self, TableName};
use crate::journal::{self, Listed};
use crate::journal_offsite;
use crate::run::offsite::upload::unless_cancelled;
use crate::run::shelf::{self, Shelf};
use crate::run::{blob, erase, place, say};
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
    /// The bytes as they are stored, which may be sealed.
    pub stored: Blob,
    pub location: Location,
    pub directory: Shelf,
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
/// permission), `Damaged`, `Swapped`, and, of an encrypted one, those of `blob::opened`.
pub fn open(location: Location) -> Result<Source> {
    let (location, directory, stored) = reach(location)?;
    match open_stored(&location, &directory, stored) {
        Err(error @ (Error::Swapped { .. } | Error::Encryption(_))) => {
            // It is listed as it was sealed anew, and its new files have not taken their names yet.
            match directory.blob(&swap::waiting(&location.file_name)) {
                Ok(waiting) => open_stored(&location, &directory, waiting),
                Err(_) => Err(error),
            }
        }
        opened => opened,
    }
}

fn open_stored(location: &Location, directory: &Shelf, stored: Blob) -> Result<Source> {
    let (location, directory) = (location.clone(), directory.clone());
    let shown = location.path().display().to_string();
    let plain = blob::opened(stored.clone(), &shown);
    directory.trouble()?;
    let container = Container::open(plain?).map_err(|problem| Error::Damaged { file: shown.clone(), problem });
    directory.trouble()?;
    let container = container?;
    if container.manifest.encryption.is_some() && Form::of(&shown) == Form::Plain {
        return Err(EncryptionError::Downgraded { file: shown, told: "its manifest" }.into());
    }
    if let Some(listed) = &location.listed
        && !is_listed(&container, listed)
    {
        return Err(Error::Swapped { file: shown, backup: listed.backup_id.clone() });
    }
    Ok(Source { container: Arc::new(container), stored, location, directory })
}

/// The stored bytes of a backup where it stands, or, where its file is gone, those of a copy of it in a store.
fn reach(location: Location) -> Result<(Location, Shelf, Blob)> {
    let open = |location: &Location| {
        let shelf = Shelf::open(&location.directory)?;
        if let Shelf::Local(directory) = &shelf {
            erase::settle::before_reading(directory, &location.file_name)?;
        }
        let stored = match shelf.blob(&location.file_name) {
            Err(error) if shelf::is_missing(&error) => {
                shelf.blob(&swap::waiting(&location.file_name)).map_err(|_| error)?
            }
            stored => stored?,
        };
        Ok((shelf, stored))
    };
    let missing = match open(&location) {
        Ok((shelf, stored)) => return Ok((location, shelf, stored)),
        Err(error) if shelf::is_missing(&error) => error,
        Err(error) => return Err(error),
    };
    let Some(listed) = &location.listed else { return Err(missing) };
    for (destination, key) in journal_offsite::copies_of(&listed.backup_id)? {
        let (below, name) = key.rsplit_once('/').unwrap_or(("", &key));
        let copy = Location {
            listed: location.listed.clone(),
            directory: PathBuf::from(format!("{destination}/{below}")),
            file_name: name.to_owned(),
        };
        match open(&copy) {
            Ok((shelf, stored)) => {
                say::notice(&format!("{missing}; its copy \"{}\" is read", copy.path().display()));
                return Ok((copy, shelf, stored));
            }
            Err(error) => say::warning(&format!("{}: {}", copy.path().display(), unless_cancelled(error)?)),
        }
    }
    Err(missing)
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

    /// Whether its bytes are stored sealed.
    pub fn is_sealed(&self) -> bool {
        Form::of(&self.location.file_name) == Form::Sealed
    }

    pub fn id(&self) -> &str {
        &self.manifest().backup_id
    }

    /// The error for damage of this backup's container.
    pub fn damaged(&self, problem: ContainerError) -> Error {
        // What a store could not give is no damage.
        self.directory
            .trouble()
            .err()
            .unwrap_or_else(|| Error::Damaged { file: self.location.path().display().to_string(), problem })
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
        let bytes = self.directory.read(&listed.manifest_name)?;
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

/// The name that a member had.
pub fn name_of(member: &Member) -> TableName {
    TableName { schema: member.schema.clone(), name: member.name.clone() }
}
