//! Incrementals that may go: shown, and removed when that is confirmed, the manifest before the rows.

use std::collections::BTreeMap;
use std::io::Read;

use agent_backup_core::container::Increment;
use agent_backup_core::plan::incrementals::{self, Decision, Full, Incremental};
use agent_backup_core::plan::names;
use agent_backup_core::store::{Directory, FileInfo, FileKind, StoreError};
use chrono::{DateTime, Utc};
use pgrx::check_for_interrupts;

use crate::error::{Error, Result};
use crate::journal;
use crate::run::place;
use crate::server::snapshot;

/// One incremental and what becomes of it.
pub struct Expired {
    pub stem: String,
    /// The table, as a file calls it; none where no manifest says so.
    pub table: Option<String>,
    pub started_at: DateTime<Utc>,
    /// Of both files.
    pub size: u64,
    /// `keep`, `remove` or `removed`.
    pub action: &'static str,
    pub reason: String,
}

impl Expired {
    /// The file with the rows.
    pub fn file_name(&self) -> String {
        names::incremental_data(&self.stem)
    }
}

/// Bytes of the largest manifest that is read.
const MANIFEST_LIMIT: u64 = 1 << 30;

/// Decides on each incremental of a set, and removes what may go when that is confirmed.
pub fn run(set: &str, confirmed: bool, now: DateTime<Utc>) -> Result<Vec<Expired>> {
    snapshot::require_writable()?;
    place::require_known(set)?;
    let place = place::of_incrementals(set)?;
    let fulls = journal::listed(Some(set))?
        .into_iter()
        .map(|listed| Full { started_at: journal::utc(listed.started_at), id: listed.backup_id });
    let fulls: Vec<Full> = fulls.collect();
    let mut all = Vec::new();
    for (stem, files) in pairs(&place.directory)? {
        check_for_interrupts!();
        let mut expired = files.judge(&place.directory, stem, &fulls, now);
        if confirmed && expired.action == "remove" {
            remove(&place.directory, &expired.stem)?;
            expired.action = "removed";
        }
        all.push(expired);
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

impl Pair {
    fn judge(&self, directory: &Directory, stem: String, fulls: &[Full], now: DateTime<Utc>) -> Expired {
        let files = [&self.manifest, &self.rows].into_iter().flatten();
        let size = files.clone().map(|file| file.size).sum();
        let modified = files.map(|file| DateTime::<Utc>::from(file.modified)).max().unwrap_or(now);
        let manifest = self.manifest.as_ref().map(|_| read(directory, &stem));
        let (table, started_at, Decision { keep, reason }) = match manifest {
            Some(Ok(manifest)) => {
                let incremental = Incremental { started_at: manifest.started_at, extends: manifest.extends };
                let decision = incrementals::decide(std::slice::from_ref(&incremental), fulls, now).pop();
                let undecided = Decision { keep: true, reason: "it was not decided on".into() };
                let table = names::table(&manifest.schema, &manifest.name);
                (Some(table), incremental.started_at, decision.unwrap_or(undecided))
            }
            Some(Err(error)) => (None, modified, Decision { keep: true, reason: error.to_string() }),
            // What a writer that died left; a living one holds the directory.
            None => {
                let young = Incremental { started_at: modified, extends: None };
                let floor =
                    incrementals::decide(&[young], &[], now).pop().filter(|_| now - modified < incrementals::FLOOR);
                let gone = Decision { keep: false, reason: "it has no manifest: its writer did not end".into() };
                (None, modified, floor.unwrap_or(gone))
            }
        };
        Expired { stem, table, started_at, size, action: if keep { "keep" } else { "remove" }, reason }
    }
}

fn read(directory: &Directory, stem: &str) -> Result<Increment> {
    let file = names::incremental_manifest(stem);
    let mut bytes = Vec::new();
    directory.open_file(&file)?.take(MANIFEST_LIMIT).read_to_end(&mut bytes).map_err(Error::Write)?;
    Increment::parse(&bytes).map_err(|error| Error::Manifest { file, reason: error.to_string() })
}

fn remove(directory: &Directory, stem: &str) -> Result<()> {
    for name in [names::incremental_manifest(stem), names::incremental_data(stem)] {
        match directory.remove(&name) {
            Ok(()) | Err(StoreError::Missing { .. }) => (),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
