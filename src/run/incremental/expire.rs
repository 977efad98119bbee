//! Incrementals that may go: shown, and removed when that is confirmed, once the transaction commits.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use agent_backup_core::container::Increment;
use agent_backup_core::container::manifest::Server;
use agent_backup_core::plan::age::Age;
use agent_backup_core::plan::incrementals::{self, Decision, Full, Incremental};
use agent_backup_core::plan::names::{self, Form};
use agent_backup_core::store::{Directory, Doomed, FileInfo, FileKind};
use chrono::{DateTime, Utc};
use pgrx::check_for_interrupts;

use crate::error::{Error, Result};
use crate::run::{place, removal};
use crate::server::{facts, snapshot};
use crate::{journal, journal_retention};

/// One incremental and what becomes of it.
pub struct Expired {
    directory: PathBuf,
    stem: String,
    form: Form,
    /// The table, as a file calls it; none where no manifest says so.
    pub table: Option<String>,
    pub started_at: DateTime<Utc>,
    /// Of both files.
    pub size: u64,
    /// `keep`, `remove`, `removed` or `failed`.
    pub action: &'static str,
    pub reason: String,
}

impl Expired {
    /// The file with the rows.
    pub fn file_name(&self) -> String {
        names::incremental_data(&self.stem, self.form)
    }

    /// Its path.
    pub fn path(&self) -> String {
        self.directory.join(self.file_name()).display().to_string()
    }
}

/// Bytes of the largest manifest that is read.
const MANIFEST_LIMIT: u64 = 1 << 30;

/// Decides on each incremental of a set, and removes what may go when that is confirmed.
pub fn run(set: &str, confirmed: bool, now: DateTime<Utc>) -> Result<Vec<Expired>> {
    snapshot::require_writable()?;
    place::require_known(set)?;
    let fulls = journal::listed(Some(set))?
        .into_iter()
        .map(|listed| Full { started_at: journal::utc(listed.started_at), id: listed.backup_id });
    let fulls: Vec<Full> = fulls.collect();
    if confirmed { removed(set, &fulls, now) } else { planned(set, &fulls, now) }
}

/// Decides on each, oldest first, where these full backups stay.
pub fn planned(set: &str, fulls: &[Full], now: DateTime<Utc>) -> Result<Vec<Expired>> {
    match directory_of(set)? {
        Some(directory) => judge_all(&directory, set, fulls, now),
        None => Ok(Vec::new()),
    }
}

/// The same, and what may go is removed when the transaction commits.
pub fn removed(set: &str, fulls: &[Full], now: DateTime<Utc>) -> Result<Vec<Expired>> {
    if directory_of(set)?.is_none() {
        return Ok(Vec::new());
    }
    let place = place::of_incrementals(set)?;
    let mut all = judge_all(&place.directory, set, fulls, now)?;
    let refused = place.directory.check_writable().err().map(|error| error.to_string());
    let mut doomed = Vec::new();
    for expired in all.iter_mut().filter(|expired| expired.action == "remove") {
        match &refused {
            Some(error) => {
                expired.action = "failed";
                expired.reason = format!("{error}; {}", expired.reason);
            }
            None => {
                expired.action = "removed";
                let (manifest, data) = (names::incremental_manifest(&expired.stem), expired.file_name());
                doomed.push(Doomed { manifest, data });
            }
        }
    }
    removal::at_commit(&place.directory, &place.lock, doomed);
    Ok(all)
}

/// Where the incrementals of a set are; none where it never had any, or where nobody says what of them may go.
fn directory_of(set: &str) -> Result<Option<Directory>> {
    let path = place::path_of_set(set).join(names::INCREMENTALS);
    let is_there = journal::has_set(set)? && path.symlink_metadata().is_ok();
    is_there.then(|| place::for_reading(&path)).transpose()
}

fn judge_all(directory: &Directory, set: &str, fulls: &[Full], now: DateTime<Utc>) -> Result<Vec<Expired>> {
    let policy = journal_retention::policy(set)?;
    let judge =
        Judge { directory, fulls, max_age: policy.and_then(|policy| policy.max_age), now, here: facts::server()? };
    let mut all = Vec::new();
    for (stem, files) in pairs(directory)? {
        check_for_interrupts!();
        all.push(judge.judge(&files, stem));
    }
    all.sort_by(|one, other| (one.started_at, &one.stem).cmp(&(other.started_at, &other.stem)));
    Ok(all)
}

/// The two files of an incremental, as far as they are there.
#[derive(Default)]
struct Pair {
    manifest: Option<FileInfo>,
    rows: Option<FileInfo>,
}

fn pairs(directory: &Directory) -> Result<BTreeMap<String, Pair>> {
    let mut pairs: BTreeMap<String, Pair> = BTreeMap::new();
    for file in directory.list()?.into_iter().filter(|file| file.kind == FileKind::Regular) {
        let Some((stem, is_manifest)) = file.name.to_str().and_then(names::stem_of_incremental) else { continue };
        let pair = pairs.entry(stem.to_owned()).or_default();
        *(if is_manifest { &mut pair.manifest } else { &mut pair.rows }) = Some(file);
    }
    Ok(pairs)
}

/// What is known when it is decided on an incremental.
struct Judge<'a> {
    directory: &'a Directory,
    fulls: &'a [Full],
    max_age: Option<Age>,
    now: DateTime<Utc>,
    here: Server,
}

impl Judge<'_> {
    fn judge(&self, files: &Pair, stem: String) -> Expired {
        let both = [&files.manifest, &files.rows].into_iter().flatten();
        let size = both.clone().map(|file| file.size).sum();
        let modified = both.map(|file| DateTime::<Utc>::from(file.modified)).max().unwrap_or(self.now);
        let manifest = files.manifest.as_ref().map(|_| read(self.directory, &stem));
        let (table, started_at, Decision { keep, reason }) = match manifest {
            Some(Ok(manifest)) => {
                (Some(names::table(&manifest.schema, &manifest.name)), manifest.started_at, self.decide(manifest))
            }
            Some(Err(error)) => (None, modified, Decision { keep: true, reason: error.to_string() }),
            // What a writer that died left; a living one holds the directory.
            None => (None, modified, incrementals::without_manifest(modified, self.now)),
        };
        let action = if keep { "keep" } else { "remove" };
        let named = files.rows.as_ref().and_then(|file| file.name.to_str());
        let form = named.map_or(Form::Plain, Form::of);
        Expired { directory: self.directory.path().to_owned(), stem, form, table, started_at, size, action, reason }
    }

    fn decide(&self, manifest: Increment) -> Decision {
        if !facts::is_same(&self.here, &manifest.server) {
            return Decision { keep: true, reason: "another database made it, which alone removes it".into() };
        }
        let incremental = Incremental { started_at: manifest.started_at, extends: manifest.extends };
        incrementals::decide(&incremental, self.fulls, self.max_age, self.now)
    }
}

fn read(directory: &Directory, stem: &str) -> Result<Increment> {
    let file = names::incremental_manifest(stem);
    let mut bytes = Vec::new();
    directory.open_file(&file)?.take(MANIFEST_LIMIT).read_to_end(&mut bytes).map_err(Error::Write)?;
    Increment::parse(&bytes).map_err(|error| Error::Manifest { file, reason: error.to_string() })
}
