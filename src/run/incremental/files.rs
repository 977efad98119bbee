//! The two files of an incremental: the rows first, the manifest last.

use std::collections::HashSet;

use agent_backup_core::container::increment::{Increment, VERSION};
use agent_backup_core::container::manifest::Encryption;
use agent_backup_core::plan::names::{self, Form};
use agent_backup_core::store::{Directory, StoreError};
use agent_backup_core::stream::Compressor;
use chrono::{DateTime, Utc};

use crate::error::{Error, Result};
use crate::ident::TableName;
use crate::journal_watermarks::Watermark;
use crate::run::incremental::choice::Choice;
use crate::run::incremental::{COMPRESSION, Run, in_manifest};
use crate::run::pipeline::TableData;
use crate::run::sealing::{self, Out};
use crate::run::{outcome, publish};
use crate::server::{clock, failpoint, pin};
use crate::table::catalog::Table;
use crate::table::select::Selection;

/// The first name of which neither file exists. The directory is locked: nobody takes it before we do.
pub fn free_stem(directory: &Directory, table: &TableName, started: DateTime<Utc>) -> Result<String> {
    let taken: HashSet<_> = directory.list()?.into_iter().map(|file| file.name).collect();
    let free = |stem: &String| {
        let data = [Form::Plain, Form::Sealed].map(|form| names::incremental_data(stem, form));
        let mut files = data.into_iter().chain([names::incremental_manifest(stem)]);
        files.all(|file| !taken.contains(std::ffi::OsStr::new(&file)))
    };
    let mut stems = names::incremental(&table.schema, &table.name, started);
    stems.find(free).ok_or_else(|| Error::Store(StoreError::NoName { path: directory.path().to_owned() }))
}

/// What the manifest tells of the rows.
pub struct Told<'a> {
    pub run: &'a Run<'a>,
    pub table: &'a Table,
    pub selection: &'a Selection,
    pub choice: &'a Choice,
    pub watermark: &'a Watermark,
    pub tombstones: Vec<String>,
}

/// Bytes of a file that was written.
pub struct Written {
    pub plain: u64,
    pub stored: u64,
}

impl Told<'_> {
    /// Writes both files. An error leaves neither.
    pub fn write(self, stem: &str, data: &TableData) -> Result<Written> {
        let directory = &self.run.place.directory;
        let missing = || Error::Internal { object: "incremental", reason: "it has no data".into() };
        let entry = data.entries.first().ok_or_else(missing)?;
        let mut out = Out::start(publish::stage(directory, "incremental")?, self.run.recipients.as_ref())?;
        let mut compressor = Compressor::new(COMPRESSION).map_err(publish::file_error)?;
        let copied = entry.spooled.copy_stream(&entry.frame, &mut compressor, &mut out).map_err(publish::file_error)?;
        let staged = out.finish()?;
        failpoint::reach("publish")?;
        let rows = staged.publish(&names::incremental_data(stem, self.run.form()))?;
        let unfinished = publish::Unfinished::new(directory, "incremental", &rows.name);
        failpoint::reach("publish_manifest")?;
        let manifest = Increment {
            file_sha256: rows.sha256_hex(),
            file: rows.name,
            file_bytes: rows.size,
            plain_bytes: copied.plain_bytes,
            rows: data.rows,
            row_digest: entry.spooled.digest.to_string(),
            ..self.manifest()?
        };
        let unwritten = |error: agent_backup_core::container::ContainerError| Error::Manifest {
            file: names::incremental_manifest(stem),
            reason: error.to_string(),
        };
        let mut staged = publish::stage(directory, "incremental")?;
        staged.append(&manifest.to_bytes().map_err(unwritten)?)?;
        staged.publish(&names::incremental_manifest(stem))?;
        unfinished.keep();
        Ok(Written { plain: copied.plain_bytes, stored: rows.size })
    }

    /// All but what is told of the file.
    fn manifest(self) -> Result<Increment> {
        let Told { run, table, selection, choice, watermark, mut tombstones } = self;
        let sealed_tombstones = match &run.recipients {
            Some(recipients) => sealing::tombstones(&std::mem::take(&mut tombstones), recipients)?,
            None => None,
        };
        Ok(Increment {
            version: VERSION,
            set_name: run.set.to_owned(),
            schema: table.name.schema.clone(),
            name: table.name.name.clone(),
            source: choice.source.name().to_owned(),
            selected: choice.said.clone(),
            extends: run.extends.clone(),
            server: run.server.clone(),
            extension_version: env!("CARGO_PKG_VERSION").to_owned(),
            watermark_before: run.watermarks.get(&table.name).map(in_manifest),
            watermark_after: in_manifest(watermark),
            started_at: run.started,
            finished_at: clock::now()?,
            settings: pin::recorded(),
            columns: outcome::columns(table, selection),
            excluded_columns: selection.excluded.clone(),
            row_filter: selection.filter.clone(),
            primary_key: table.primary_key.clone(),
            file: String::new(),
            file_bytes: 0,
            file_sha256: String::new(),
            plain_bytes: 0,
            rows: 0,
            row_digest: String::new(),
            tombstones,
            encryption: run.recipients.as_ref().map(Encryption::of),
            sealed_tombstones,
        })
    }
}
