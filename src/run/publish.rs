//! Spools into the container; container and manifest into place, the manifest last.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use agent_backup_core::container::{ContainerError, ContainerWriter, Manifest};
use agent_backup_core::crypt::Recipients;
use agent_backup_core::plan::Compression;
use agent_backup_core::plan::names::{self, Form};
use agent_backup_core::store::object::ObjectError;
use agent_backup_core::store::{Directory, Published, StagedFile, StoreError};
use agent_backup_core::stream::{Spooled, StreamError};
use chrono::{DateTime, Utc};

use crate::error::{Error, Result};
use crate::journal::FileFacts;
use crate::run::offsite::access;
use crate::run::offsite::direct::{self, Direct, Object};
use crate::run::pipeline::Entry;
use crate::run::say;
use crate::run::sealing::{self, Out};
use crate::server::failpoint;

/// What came to be on disk, or in a store.
pub struct Placed {
    pub container: FileFacts,
    pub manifest_file: FileFacts,
    pub manifest: Manifest,
}

/// Where a container goes.
#[derive(Clone, Copy)]
pub enum Goal<'a> {
    Here(&'a Directory),
    There(&'a Direct),
}

/// What a container is written to.
pub enum Target {
    File(StagedFile),
    Object(Object),
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Target::File(staged) => staged.write(bytes),
            Target::Object(object) => object.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Target::File(staged) => staged.flush(),
            Target::Object(object) => object.flush(),
        }
    }
}

/// A container in the making: each table's data goes in as soon as it is read. Dropped, it leaves nothing.
pub struct Writing<'a> {
    goal: Goal<'a>,
    naming: Naming<'a>,
    /// Of an object, which has its name from the start.
    suffix: Option<String>,
    writer: ContainerWriter<Out<Target>>,
}

/// What the names of a backup's files are made of.
pub struct Naming<'a> {
    pub set: &'a str,
    pub started: DateTime<Utc>,
    pub compression: Compression,
    pub form: Form,
}

impl<'a> Writing<'a> {
    pub fn start(
        goal: Goal<'a>,
        set: &'a str,
        started: DateTime<Utc>,
        compression: Compression,
        recipients: Option<&Recipients>,
    ) -> Result<Self> {
        let naming = Naming { set, started, compression, form: sealing::form(recipients) };
        let (target, suffix) = match goal {
            Goal::Here(directory) => {
                let staged = stage(directory, &names::encode(set))?;
                (Target::File(if recipients.is_none() { staged.hashed_by_caller() } else { staged }), None)
            }
            Goal::There(direct) => {
                let taken = direct.names().into_iter().chain(direct::names_taken(set, &direct.path())?).collect();
                // Never the name of the day: what a rollback leaves there must not meet the copy of a file that is here.
                let suffix = naming.free_suffix(names::suffixes(started).skip(1), &taken, direct.path())?;
                (Target::Object(Object::begin(direct.store(), &naming.container(&suffix))?), Some(suffix))
            }
        };
        let out = Out::start(target, recipients)?;
        let writer = ContainerWriter::new(out, compression, started).map_err(container_error)?;
        Ok(Writing { goal, naming, suffix, writer })
    }

    /// Adds the data of the manifest's member number `member`.
    pub fn add(&mut self, name: &str, member: usize, entry: &Entry) -> Result<()> {
        let Entry { format, frame, spooled } = entry;
        self.writer.add_spooled(name, member, *format, spooled, frame).map_err(container_error)?;
        self.writer.flush().map_err(container_error)
    }

    /// Adds the key filters of the entry that was added last.
    pub fn add_keys(&mut self, columns: &[String], spooled: &Spooled) -> Result<()> {
        self.writer.add_keys(columns, spooled).map_err(container_error)
    }

    /// Adds the filters of a subject of the entry `of`.
    pub fn add_subject(&mut self, of: &str, subject: &str, spooled: &Spooled) -> Result<()> {
        self.writer.add_subject(of, subject, spooled).map_err(container_error)
    }

    /// Ends the container with the schema and the manifest, and puts both files into place, the manifest last.
    pub fn finish(mut self, schema: &str, manifest: Manifest) -> Result<Placed> {
        self.writer.add_bytes("schema.sql", schema.as_bytes()).map_err(container_error)?;
        failpoint::reach("manifest")?;
        let Writing { goal, naming, suffix, writer } = self;
        let written = writer.finish(manifest).map_err(container_error)?;
        let is_plain = matches!(written.out, Out::Plain(_));
        let (container, manifest_file) = match (goal, written.out.finish()?, suffix) {
            (Goal::Here(directory), Target::File(staged), _) => {
                let mut staged_manifest = stage(directory, "metadata")?;
                staged_manifest.append(&written.manifest_bytes)?;
                let mut used = direct::names_taken(naming.set, directory.path())?;
                used.extend(directory.list()?.into_iter().map(|file| file.name));
                let all = names::suffixes(naming.started);
                let suffix = naming.free_suffix(all, &used, directory.path().to_owned())?;
                failpoint::reach("publish")?;
                let name = naming.container(&suffix);
                let container =
                    if is_plain { staged.publish_hashed(&name, written.sha256)? } else { staged.publish(&name)? };
                let unfinished = Unfinished::new(directory, "backup", &container.name);
                failpoint::reach("publish_manifest")?;
                let manifest_file = staged_manifest.publish(&names::manifest(&suffix))?;
                unfinished.keep();
                ((&container).into(), (&manifest_file).into())
            }
            (Goal::There(direct), Target::Object(object), Some(suffix)) => {
                failpoint::reach("publish")?;
                let container = object.finish()?;
                let unfinished = direct::Unfinished::new(direct.store(), &container);
                failpoint::reach("publish_manifest")?;
                let manifest_file = unfinished.complete(&names::manifest(&suffix), &written.manifest_bytes)?;
                (container, manifest_file)
            }
            _ => return Err(Error::Internal { object: "container", reason: "it went somewhere else".into() }),
        };
        Ok(Placed { container, manifest_file, manifest: written.manifest })
    }
}

impl Naming<'_> {
    pub fn container(&self, suffix: &str) -> String {
        names::container(self.set, suffix, self.compression, self.form)
    }

    /// The first suffix of which neither file exists, nor was used by a backup whose files are gone. The place is locked:
    /// nobody takes it before we do.
    pub fn free_suffix(
        &self,
        mut all: impl Iterator<Item = String>,
        taken: &HashSet<OsString>,
        place: PathBuf,
    ) -> Result<String> {
        let free = |suffix: &String| {
            let containers =
                [Form::Plain, Form::Sealed].map(|form| names::container(self.set, suffix, self.compression, form));
            let mut files = containers.into_iter().chain([names::manifest(suffix)]);
            files.all(|file| !taken.contains(&OsString::from(file)))
        };
        all.find(free).ok_or(Error::Store(StoreError::NoName { path: place }))
    }
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
    match StoreError::unwrap_io(error) {
        Ok(error) => error.into(),
        Err(error) => ObjectError::unwrap_io(error).map_or_else(Error::Write, access::raised),
    }
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
