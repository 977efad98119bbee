//! Spools into the container; container and manifest into place, the manifest last.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io;

use agent_backup_core::container::{ContainerError, ContainerWriter, Manifest};
use agent_backup_core::crypt::Recipients;
use agent_backup_core::plan::Compression;
use agent_backup_core::plan::names::{self, Form};
use agent_backup_core::store::{Directory, Published, StagedFile, StoreError};
use agent_backup_core::stream::{Spooled, StreamError};
use chrono::{DateTime, Utc};

use crate::error::{Error, Result};
use crate::run::pipeline::Entry;
use crate::run::say;
use crate::run::sealing::{self, Out};
use crate::server::failpoint;

/// What came to be on disk.
pub struct Placed {
    pub container: Published,
    pub manifest_file: Published,
    pub manifest: Manifest,
}

/// A container in the making: each table's data goes in as soon as it is read. Dropped, it leaves nothing.
pub struct Writing<'a> {
    directory: &'a Directory,
    set: &'a str,
    started: DateTime<Utc>,
    compression: Compression,
    form: Form,
    writer: ContainerWriter<Out>,
}

impl<'a> Writing<'a> {
    pub fn start(
        directory: &'a Directory,
        set: &'a str,
        started: DateTime<Utc>,
        compression: Compression,
        recipients: Option<&Recipients>,
    ) -> Result<Self> {
        let out = start_container(directory, &names::encode(set), recipients)?;
        let writer = ContainerWriter::new(out, compression, started).map_err(container_error)?;
        Ok(Writing { directory, set, started, compression, form: sealing::form(recipients), writer })
    }

    /// Adds the data of the manifest's member number `member`.
    pub fn add(&mut self, name: &str, member: usize, entry: &Entry) -> Result<()> {
        let Entry { format, frame, spooled } = entry;
        self.writer.add_spooled(name, member, *format, spooled, frame).map(drop).map_err(container_error)
    }

    /// Adds the key filters of the entry that was added last.
    pub fn add_keys(&mut self, columns: &[String], spooled: &Spooled) -> Result<()> {
        self.writer.add_keys(columns, spooled).map_err(container_error)
    }

    /// Adds the filters of a subject of the entry `of`.
    pub fn add_subject(&mut self, of: &str, subject: &str, spooled: &Spooled) -> Result<()> {
        self.writer.add_subject(of, subject, spooled).map_err(container_error)
    }

    /// Ends the container with the schema and the manifest, and puts both files into place, the manifest last. `used`
    /// are names that are not given again.
    pub fn finish(mut self, schema: &str, manifest: Manifest, used: HashSet<OsString>) -> Result<Placed> {
        self.writer.add_bytes("schema.sql", schema.as_bytes()).map_err(container_error)?;
        failpoint::reach("manifest")?;
        let written = self.writer.finish(manifest).map_err(container_error)?;
        let mut staged_manifest = stage(self.directory, "metadata")?;
        staged_manifest.append(&written.manifest_bytes)?;

        let suffix = free_suffix(self.directory, used, self.set, self.started, self.compression)?;
        failpoint::reach("publish")?;
        let name = names::container(self.set, &suffix, self.compression, self.form);
        let container = publish_container(written.out, &name, written.sha256)?;
        let unfinished = Unfinished::new(self.directory, "backup", &container.name);
        failpoint::reach("publish_manifest")?;
        let manifest_file = staged_manifest.publish(&names::manifest(&suffix))?;
        unfinished.keep();
        Ok(Placed { container, manifest_file, manifest: written.manifest })
    }
}

/// The first suffix of which neither file exists, nor was used by a backup whose files are gone. The directory is
/// locked: nobody takes it before we do.
fn free_suffix(
    directory: &Directory,
    mut taken: HashSet<OsString>,
    set: &str,
    started: DateTime<Utc>,
    compression: Compression,
) -> Result<String> {
    taken.extend(directory.list()?.into_iter().map(|file| file.name));
    let free = |suffix: &String| {
        let containers = [Form::Plain, Form::Sealed].map(|form| names::container(set, suffix, compression, form));
        let mut files = containers.into_iter().chain([names::manifest(suffix)]);
        files.all(|file| !taken.contains(&OsString::from(file)))
    };
    names::suffixes(started)
        .find(free)
        .ok_or_else(|| Error::Store(StoreError::NoName { path: directory.path().to_owned() }))
}

/// A file that is nothing without its manifest: it goes again unless it is kept.
pub struct Unfinished<'a> {
    directory: &'a Directory,
    /// What the file would be the rows of.
    what: &'static str,
    name: Option<String>,
}

impl<'a> Unfinished<'a> {
    pub fn new(directory: &'a Directory, what: &'static str, name: &str) -> Self {
        Unfinished { directory, what, name: Some(name.to_owned()) }
    }

    /// Its manifest is there.
    pub fn keep(mut self) {
        self.name = None;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.name.take()
            && let Err(error) = self.directory.remove(&name)
        {
            say::warning(&format!("could not remove the unfinished {} \"{name}\": {error}", self.what));
        }
    }
}

/// A staged file for a container.
pub fn start_container(directory: &Directory, hint: &str, recipients: Option<&Recipients>) -> Result<Out> {
    let staged = stage(directory, hint)?;
    match recipients {
        // The container's writer hashes every byte that it writes.
        None => Ok(Out::Plain(staged.hashed_by_caller())),
        Some(_) => Out::start(staged, recipients),
    }
}

/// Gives a container its name; `plain` is the SHA-256 of what was written into it.
pub fn publish_container(out: Out, name: &str, plain: [u8; 32]) -> Result<Published> {
    match out {
        Out::Plain(staged) => Ok(staged.publish_hashed(name, plain)?),
        sealed @ Out::Sealed(_) => Ok(sealed.finish()?.publish(name)?),
    }
}

/// A new staged file that answers interrupts while it is written and read back.
pub fn stage(directory: &Directory, hint: &str) -> Result<StagedFile> {
    Ok(directory.stage(hint)?.watched_by(answer_interrupts))
}

fn answer_interrupts() -> bool {
    pgrx::check_for_interrupts!();
    false
}

/// The store's own error out of an `io::Error` that carried it through a writer.
pub fn write_error(error: io::Error) -> Error {
    StoreError::unwrap_io(error).map_or_else(Error::Write, Error::Store)
}

/// A stream's error in a file that is no table's.
pub fn file_error(error: StreamError) -> Error {
    match error {
        StreamError::Write(source) | StreamError::Spill { source, .. } => write_error(source),
        other => Error::Write(io::Error::other(other)),
    }
}

pub fn container_error(error: ContainerError) -> Error {
    match error {
        ContainerError::Write { source, .. } => write_error(source),
        ContainerError::Stream { source, .. } => file_error(source),
        other => Error::Write(io::Error::other(other)),
    }
}
