//! `erase_subject`: shows where a person is, or erases the person everywhere, in one transaction.

use std::collections::{BTreeMap, HashMap};

use agent_backup_core::container::tombstone::{Tombstone, VERSION, mac};
use agent_backup_core::plan::names;
use chrono::{DateTime, Utc};
use pgrx::check_for_interrupts;

use crate::error::{Error, Result};
use crate::journal::{self, Listed};
use crate::journal_erased_log;
use crate::journal_erasures::{self, ErasureRecord};
use crate::run::erase::backups::{self, Opened};
use crate::run::erase::targets::Targets;
use crate::run::erase::{archive, certificate, increments, live, log, sealed, tombstones};
use crate::run::offsite::destination;
use crate::run::shelf;
use crate::server::lock::SetLock;
use crate::server::pin::Pinned;
use crate::server::{clock, facts, failpoint, snapshot};

/// Who is to be erased, and where from.
pub struct Request<'a> {
    pub set: &'a str,
    pub column_or_path: Option<&'a str>,
    pub value: &'a str,
    pub reason: &'a str,
}

/// One place where the person is, was, or may be.
#[derive(Debug, Clone)]
pub struct Place {
    /// `backup`, `incremental`, `archive`, `change log`, `log file`, `live`, `tombstone`, `off-site`.
    pub place: &'static str,
    pub object: String,
    pub backup_id: Option<String>,
    /// None where nobody can tell.
    pub row_count: Option<i64>,
    pub chunks: Option<u64>,
    pub bytes: Option<u64>,
    /// `found`, `erased`, `left` or `nothing`.
    pub action: &'static str,
    pub details: String,
}

impl Place {
    pub fn new(place: &'static str, object: String, rows: u64, action: &'static str) -> Self {
        Place {
            place,
            object,
            backup_id: None,
            row_count: Some(rows.cast_signed()),
            chunks: None,
            bytes: None,
            action,
            details: String::new(),
        }
    }

    pub fn of_backup(listed: &Listed, rows: u64, action: &'static str) -> Self {
        let object = format!("{}/{}", listed.directory, listed.file_name);
        Place { backup_id: Some(listed.backup_id.clone()), ..Place::new("backup", object, rows, action) }
    }

    /// What cannot be reached, and why.
    pub fn left(place: &'static str, object: String, details: String) -> Self {
        Place { row_count: None, details, ..Place::new(place, object, 0, "left") }
    }
}

/// An erasure that is under way.
pub struct Acting {
    pub erasure_id: String,
    pub erased_at: DateTime<Utc>,
    pub files: i32,
    pub bytes: u64,
}

/// Where the person is. Changes nothing.
pub fn plan(request: &Request) -> Result<Vec<Place>> {
    let targets = Targets::find(request.set, request.column_or_path, request.value)?;
    let mut places = Vec::new();
    for listed in journal::listed(None)? {
        check_for_interrupts!();
        places.extend(backups::plan(&listed, &targets));
    }
    places.extend(increments::plan(&targets)?);
    places.extend(sealed::plan(&targets)?);
    let _formats = Pinned::formats()?;
    places.extend(log::run(&targets, None)?);
    places.extend(archive::run(&targets, None)?);
    places.extend(live::count(&targets)?);
    Ok(places)
}

/// Erases the person. Errors: `Busy` where a set is worked on.
pub fn erase(request: &Request) -> Result<Vec<Place>> {
    snapshot::require_writable()?;
    let targets = Targets::find(request.set, request.column_or_path, request.value)?;
    let mut acting = Acting {
        erased_at: clock::now()?,
        erasure_id: names::backup_id(clock::now()?, facts::random()),
        files: 0,
        bytes: 0,
    };
    let mut places = Vec::new();
    let tombstone = bury(request.set, &targets, &acting)?;
    let locks = of_backups(&targets, &mut acting, &mut places)?;
    let increments = increments::erase(&targets, &mut acting)?;
    let of_increments = increments.iter().any(|place| place.action == "erased");
    places.extend(offsite(request.set, &acting, of_increments)?);
    places.extend(increments);
    places.extend(sealed::erase(&targets, &mut acting)?);
    {
        let _formats = Pinned::formats()?;
        places.extend(log::run(&targets, Some(&acting))?);
        places.extend(archive::run(&targets, Some(&acting))?);
        places.extend(live::count(&targets)?);
    }
    places.push(tombstone);
    failpoint::reach("erase_record")?;
    let certificate = certificate::of(request, &targets, &acting, &places)?;
    let erased = places.iter().filter(|place| place.action == "erased");
    let left = places.iter().filter(|place| place.action == "left").count();
    journal_erasures::record(&ErasureRecord {
        erasure_id: &acting.erasure_id,
        set_name: request.set,
        subjects: targets.shown(),
        reason: request.reason,
        erased_at: acting.erased_at,
        rows: erased.filter_map(|place| place.row_count).sum(),
        files: acting.files,
        left: i32::try_from(left).unwrap_or(i32::MAX),
        certificate,
    })?;
    drop(locks);
    Ok(places)
}

/// Copies in other places of what is changed: each is as it was until it is uploaded again.
fn offsite(set: &str, acting: &Acting, of_increments: bool) -> Result<Vec<Place>> {
    let of_increments = if of_increments { destination::all_of_set(set)? } else { Vec::new() };
    let increments = of_increments.into_iter().map(|destination| {
        let details = "copies of incrementals are as they were: upload() replaces them".to_owned();
        Place::left("off-site", destination.url, details)
    });
    let copy = |(backup_id, destination): (String, String)| {
        let details = "the copy is as it was: upload() replaces it, a locked one goes with its lock".to_owned();
        Place { backup_id: Some(backup_id), ..Place::left("off-site", destination, details) }
    };
    Ok(journal_erased_log::offsite_copies(&acting.erasure_id)?.into_iter().map(copy).chain(increments).collect())
}

/// The tombstone first: if anything is done, it holds.
fn bury(set: &str, targets: &Targets, acting: &Acting) -> Result<Place> {
    let key = facts::random_key()?;
    let tombstone = Tombstone {
        version: VERSION,
        erasure_id: acting.erasure_id.clone(),
        set_name: set.to_owned(),
        erased_at: acting.erased_at,
        mac: mac(&key, &targets.value),
        key,
        places: targets.graves(),
    };
    journal_erasures::bury(&tombstone)?;
    tombstones::stage(&tombstone)?;
    let details = "older copies of the person's rows are left out from now on".to_owned();
    Ok(Place { details, row_count: None, ..Place::new("tombstone", acting.erasure_id.clone(), 0, "erased") })
}

/// Set by set: each is locked until the end of the transaction.
fn of_backups(targets: &Targets, acting: &mut Acting, places: &mut Vec<Place>) -> Result<Vec<SetLock>> {
    let mut by_set: BTreeMap<String, Vec<Listed>> = BTreeMap::new();
    for listed in journal::listed(None)? {
        by_set.entry(listed.set_name.clone()).or_default().push(listed);
    }
    let mut locks = Vec::new();
    for set in by_set.keys() {
        locks.push(SetLock::acquire(set)?);
    }
    // Anew under the locks: a backup may have ended meanwhile.
    for (set, all) in by_set.into_keys().map(|set| (set.clone(), journal::listed(Some(&set)))) {
        let mut opened: HashMap<String, std::result::Result<Opened, String>> = HashMap::new();
        for listed in all? {
            check_for_interrupts!();
            if shelf::is_url(&listed.directory) {
                places.extend(backups::erase_there(&listed, targets, acting));
                continue;
            }
            let place = match opened.get(&listed.directory) {
                Some(place) => place,
                None => {
                    let place = match Opened::new(&listed.directory, &set) {
                        Ok(place) => Ok(place),
                        Err(error @ Error::Busy { .. }) => return Err(error),
                        Err(error) => Err(error.to_string()),
                    };
                    opened.entry(listed.directory.clone()).or_insert(place)
                }
            };
            match place {
                Ok(place) => places.extend(backups::erase(&listed, place, targets, acting)),
                Err(reason) => places.push(Place {
                    row_count: None,
                    details: reason.clone(),
                    ..Place::of_backup(&listed, 0, "left")
                }),
            }
            failpoint::reach("erase_file")?;
        }
    }
    Ok(locks)
}
