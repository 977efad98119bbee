//! One table into one file, outside the catalogue: for people and applications.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agent_backup_core::crypt::Recipients;
use agent_backup_core::plan::names::{self, Form};
use agent_backup_core::plan::{Compression, Format};
use agent_backup_core::store::{Directory, StoreError};
use agent_backup_core::stream::Compressor;
use chrono::Utc;
use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::journal::FileFacts;
use crate::run::offsite::access::{self, Store};
use crate::run::offsite::direct::Object;
use crate::run::publish::Target;
use crate::run::sealing::{self, Out};
use crate::run::{keys, pipeline, place, publish, say, shelf};
use crate::server::lock;
use crate::server::pin::Pinned;
use crate::server::snapshot::{self, Snapshot};
use crate::table::catalog::{self, Table};
use crate::table::select::Selection;
use crate::{ident, journal_encryption, settings};

/// Where below the backup directory exports go that name no place.
const DEFAULT_PLACE: &str = "exports";

/// A file that was written.
pub struct Exported {
    pub table: String,
    pub rows: u64,
    pub checksum: String,
    pub path: PathBuf,
    pub file: FileFacts,
    pub took: Duration,
}

/// The name that the file gets.
pub enum FileName<'a> {
    /// `<table>_<stamp><ending>`, counted on when taken.
    Stamped { ending: &'a str },
    /// This one, and an error when it is taken.
    Given(String),
}

/// Where a file goes.
enum Place {
    Directory(Directory),
    Store(Store),
}

impl Place {
    fn open(path: &Path) -> Result<Self> {
        let text = path.to_string_lossy();
        if !shelf::is_url(&text) {
            return Ok(Place::Directory(place::of_export(path)?));
        }
        place::require_store_writer(&text)?;
        Ok(Place::Store(access::open(&text, None)?))
    }

    fn path(&self) -> PathBuf {
        match self {
            Place::Directory(directory) => directory.path().to_owned(),
            Place::Store(store) => PathBuf::from(&store.url),
        }
    }

    fn spools(&self, form: Form) -> Result<Directory> {
        match self {
            Place::Directory(directory) => place::of_spools(directory, form),
            Place::Store(_) => place::of_temporary_files(),
        }
    }

    /// Something new to write to. Errors: `Exists`, of an object; of a file that is told when it gets its name.
    fn begin(&self, hint: &str, name: Option<&str>) -> Result<Target> {
        match (self, name) {
            (Place::Store(store), Some(name)) if store.has(name)? => {
                Err(StoreError::Exists { path: self.path().join(name) }.into())
            }
            (Place::Store(store), Some(name)) => Ok(Target::Object(Object::begin(store, name)?)),
            (Place::Store(_), None) => Err(Error::Internal { object: "export", reason: "it has no name".into() }),
            (Place::Directory(directory), _) => Ok(Target::File(publish::stage(directory, hint)?)),
        }
    }
}

/// Writes `destination`, a path or a URL as `s3://bucket/prefix/file.csv.gz` (or `exports/<table>_<stamp>.<format>` below the
/// backup directory). Its ending tells the
/// compression: `.gz`, `.zst`, or none. What the table's backups are encrypted for, a file below the backup directory is
/// encrypted for too: `.age` is put at the end of its name.
pub fn to_destination(table: &str, format: Format, destination: Option<&str>) -> Result<Exported> {
    match destination {
        None => to_directory(table, format, &place::absolute(DEFAULT_PLACE)),
        Some(destination) => {
            let (parent, name) = split(destination)?;
            write(
                table,
                format,
                compression_of(names::unsealed(name), format)?,
                &place::absolute(parent),
                &FileName::Given(name.to_owned()),
            )
        }
    }
}

/// Directory and file name of a destination, which must not end in a directory or climb.
fn split(destination: &str) -> Result<(&str, &str)> {
    let (parent, name) = match destination.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((parent, name)) => (parent, name),
        None => ("", destination),
    };
    if destination.split('/').any(|component| component == "..") {
        return Err(StoreError::ParentComponent { path: destination.into() }.into());
    }
    if ["", "."].contains(&name) {
        let reason = format!("\"{destination}\" is no path of a file");
        return Err(Error::InvalidOption { option: "destination", reason });
    }
    Ok((parent, name))
}

/// Writes `<table>_<stamp>.<format>`, not compressed, into a directory.
pub fn to_directory(table: &str, format: Format, directory: &Path) -> Result<Exported> {
    let ending = format!(".{}", names::extension(format));
    write(table, format, Compression::None, directory, &FileName::Stamped { ending: &ending })
}

/// What the ending of a name asks for. One that says something else than what would be written is refused.
fn compression_of(name: &str, format: Format) -> Result<Compression> {
    let refused = |reason: String| Err(Error::InvalidOption { option: "destination", reason });
    let (stem, compression) = match name.rsplit_once('.') {
        Some((stem, "gz")) => (stem, Compression::Gzip(1)),
        Some((stem, "zst")) => (stem, Compression::Zstd(1)),
        Some((_, "bz2" | "xz" | "zip" | "lz4" | "br")) => {
            return refused(format!("\"{name}\" ends like a compression that is not known: .gz and .zst are"));
        }
        _ => (name, Compression::None),
    };
    match stem.rsplit_once('.').and_then(|(_, ending)| Format::parse(ending)) {
        Some(other) if other != format => refused(format!("\"{name}\" ends like {other}, and the format is {format}")),
        _ => Ok(compression),
    }
}

fn write(table: &str, format: Format, compression: Compression, directory: &Path, name: &FileName) -> Result<Exported> {
    snapshot::require_writable_files()?;
    let begun = Instant::now();
    let oid = ident::resolve(table)?;
    let place = Place::open(directory)?;
    let recipients = recipients(oid, &place, name)?;
    let spools = place.spools(sealing::form(recipients.as_ref()))?;
    let _formats = Pinned::formats()?;
    let described = lock_and_describe(oid)?;
    let snapshot = Snapshot::push()?;
    if snapshot::is_fixed() {
        catalog::refuse_rewritten(&[oid])?;
    }
    let pool = pipeline::start_pool()?;
    let data = pipeline::scan(&pool, &described, &Selection::default(), &[format], compression, &spools)?
        .settle(&described)?;
    drop(snapshot);

    let entry = data.entries.first().ok_or(Error::Internal { object: "export", reason: "it has no data".into() })?;
    let end = sealing::form(recipients.as_ref()).ending();
    let ending = match name {
        FileName::Given(_) => String::new(),
        FileName::Stamped { ending } => format!("{ending}{end}"),
    };
    let stamped = || names::export(&described.name.schema, &described.name.name, &ending, Utc::now());
    let given = match (name, &place) {
        (FileName::Given(name), _) => Some(format!("{}{end}", names::unsealed(name))),
        (FileName::Stamped { .. }, Place::Store(store)) => Some(store.free(stamped())?),
        (FileName::Stamped { .. }, Place::Directory(_)) => None,
    };
    let target = place.begin(&names::encode(&described.name.name), given.as_deref())?;
    let mut out = Out::start(target, recipients.as_ref())?;
    let mut compressor = Compressor::new(compression).map_err(publish::file_error)?;
    let copied = entry.spooled.copy_stream(&entry.frame, &mut compressor, &mut out).map_err(publish::file_error)?;
    let file: FileFacts = match (out.finish()?, name, given) {
        (Target::Object(object), ..) => object.finish()?,
        (Target::File(staged), _, Some(given)) => (&staged.publish(&given)?).into(),
        (Target::File(staged), FileName::Stamped { .. }, None) => (&staged.publish_unique(stamped())?).into(),
        (Target::File(_), FileName::Given(_), None) => {
            return Err(Error::Internal { object: "export", reason: "it has no name".into() });
        }
    };
    let took = begun.elapsed();
    say::table_done(&described.name.display(), data.rows, copied.plain_bytes, file.size, took);
    Ok(Exported {
        table: described.name.display(),
        rows: data.rows,
        checksum: entry.spooled.digest.to_string(),
        path: place.path().join(&file.name),
        file,
        took,
    })
}

/// For whom the file is sealed: what lies in a store or below the backup directory for whom the table's backups are, and what is named so.
fn recipients(table: pg_sys::Oid, place: &Place, name: &FileName) -> Result<Option<Recipients>> {
    let asked = matches!(name, FileName::Given(name) if Form::of(name) == Form::Sealed);
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let is_inside = match place {
        Place::Directory(directory) => real(directory.path()).starts_with(real(&settings::directory())),
        Place::Store(_) => true,
    };
    if !asked && !is_inside {
        return Ok(None);
    }
    let files = match journal_encryption::is_log(table)? {
        true => journal_encryption::files_of_log()?,
        false => journal_encryption::files_of_tables(&[ident::name_of(table)?])?,
    };
    let recipients = keys::recipients(&files)?;
    if asked && recipients.is_none() {
        let reason = "it ends in .age, and neither a set of the table nor agent_backup.recipients_file names keys to encrypt for";
        return Err(Error::InvalidOption { option: "destination", reason: reason.into() });
    }
    Ok(recipients)
}

/// Locks a table for reading, and says what it is under the active snapshot.
pub fn lock_and_describe(oid: pg_sys::Oid) -> Result<Table> {
    let display = ident::name_of(oid)?.display();
    lock::table_for_reading(oid, &display)?;
    catalog::describe(&[oid])?.remove(0)
}
