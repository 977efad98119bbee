//! What a destination keeps, by its own numbers and the rules of every retention. Without its manifest a copy is none, so
//! that goes first; and objects go at once, since no store knows of our transactions.

use std::collections::HashMap;
use std::path::Path;

use agent_backup_core::plan::age::Age;
use agent_backup_core::plan::names;
use agent_backup_core::plan::retention::{self, Backup, Class, Decision, Flaw, Policy};
use agent_backup_core::store::object::{ObjectError, Removal};
use chrono::{DateTime, Utc};

use crate::error::{Error, Result};
use crate::journal;
use crate::journal_offsite::{self, Copy, LocalBackup};
use crate::journal_retention::{self, age};
use crate::run::offsite::access::{self, Store, raised};
use crate::run::offsite::destination::{self, Destination};
use crate::run::offsite::expire;
use crate::run::offsite::local;
use crate::run::offsite::upload::{concerns_all, unless_cancelled};
use crate::run::say;
use crate::server::lock::SetLock;
use crate::server::{clock, facts, interrupt, privilege, snapshot};

/// A copy or an incremental that goes, or should have.
pub struct Pruned {
    pub destination: String,
    /// None of an incremental.
    pub backup_id: Option<String>,
    /// None where a destination could not be reached.
    pub key: Option<String>,
    pub started_at: Option<DateTime<Utc>>,
    pub size: Option<u64>,
    /// `remove`, `removed`, `retained` or `failed`.
    pub action: &'static str,
    pub reasons: Vec<String>,
}

/// Says which copies of a set are not kept, and removes them when that is confirmed.
pub fn run(set: &str, only: Option<&str>, confirmed: bool) -> Result<Vec<Pruned>> {
    privilege::require_operator()?;
    if confirmed {
        snapshot::require_writable()?;
    }
    let destinations = destination::of_set(set, only)?;
    let _lock = if confirmed { Some(SetLock::of_copies(set)?) } else { None };
    let mut all = Vec::new();
    for destination in &destinations {
        if let Err(error) = prune(destination, confirmed, &mut all) {
            let error = unless_cancelled(error)?.to_string();
            say::warning(&format!("{}: {error}", destination.url));
            all.push(Pruned {
                destination: destination.url.clone(),
                backup_id: None,
                key: None,
                started_at: None,
                size: None,
                action: "failed",
                reasons: vec![error],
            });
        }
    }
    Ok(all)
}

fn prune(destination: &Destination, confirmed: bool, all: &mut Vec<Pruned>) -> Result<()> {
    let (stay, go) = judged(destination)?;
    let store = access::open(&destination.url, destination.server.as_deref())?;
    for (copy, reasons) in go {
        let (action, reasons) =
            if confirmed { remove(&store, destination, &copy, reasons)? } else { ("remove", reasons) };
        all.push(Pruned {
            destination: destination.url.clone(),
            backup_id: Some(copy.backup_id),
            key: Some(copy.object_key),
            started_at: Some(copy.started_at),
            size: copy.size_bytes,
            action,
            reasons,
        });
    }
    replaced(&store, destination, confirmed, all)?;
    expire::incrementals(&store, destination, &stay, confirmed, all)
}

/// What stands beside a copy and is of the same backup: as it was before a person was erased from it, or as it would have
/// been, had the transaction not been rolled back.
fn replaced(store: &Store, destination: &Destination, confirmed: bool, all: &mut Vec<Pruned>) -> Result<()> {
    let here = facts::server()?;
    let below = local::prefix_of_set(&here.system_identifier, &here.database, &destination.set);
    let name = |key: &str| key.strip_prefix(&format!("{below}/")).map(str::to_owned).unwrap_or_default();
    let copies = journal_offsite::copies(&destination.url, &destination.set)?;
    let mut sizes: Vec<(String, u64)> = store.sizes(&below)?.into_iter().collect();
    sizes.sort();
    for (key, _) in &sizes {
        if !names::is_manifest(&name(key)) || copies.iter().any(|copy| copy.manifest_key == *key) {
            continue;
        }
        let id = local::backup_id_of(&store.read(key)?);
        let is_of = |copy: &&Copy| Some(&copy.backup_id) == id.as_ref() && copy.status == "complete";
        let Some(copy) = copies.iter().find(is_of) else { continue };
        let is_beside = |other: &&(String, u64)| names::manifest_of_container(&name(&other.0)) == Some(name(key));
        let container = sizes.iter().find(is_beside).filter(|(container, _)| *container != copy.object_key);
        let object = container.map_or(key, |(container, _)| container);
        let reasons = vec![format!("replaced by {}", copy.object_key)];
        let (action, reasons) = match confirmed.then(|| remove_both(store, [key, object])) {
            None => ("remove", reasons),
            Some(Ok(Removal::Gone)) => ("removed", reasons),
            Some(Ok(Removal::Retained)) => ("retained", [vec![RETAINED.to_owned()], reasons].concat()),
            Some(Err(error)) => ("failed", [vec![of_one(error)?.to_string()], reasons].concat()),
        };
        all.push(Pruned {
            destination: destination.url.clone(),
            backup_id: id,
            key: Some(object.clone()),
            started_at: Some(copy.started_at),
            size: container.map(|(_, size)| *size),
            action,
            reasons,
        });
    }
    Ok(())
}

/// Of the copies of this database those that a destination keeps, and those that go and why, the newest first.
type Judged = (Vec<Copy>, Vec<(Copy, Vec<String>)>);

fn judged(destination: &Destination) -> Result<Judged> {
    let here = facts::server()?;
    let mut copies = journal_offsite::copies(&destination.url, &destination.set)?;
    copies.retain(|copy| copy.system_identifier == here.system_identifier && copy.database_name == here.database);
    let pinned = journal_offsite::pinned(&destination.set)?;
    let backups: Vec<Backup> = copies.iter().map(|copy| of_copy(copy, &pinned)).collect();
    let mut decided: HashMap<String, Decision> =
        decide(destination, &backups, clock::now()?)?.into_iter().map(|it| (it.id.clone(), it)).collect();
    let (mut stay, mut go) = (Vec::new(), Vec::new());
    for copy in copies {
        match decided.remove(&copy.backup_id).filter(|decision| !decision.keep) {
            Some(decision) => go.push((copy, decision.reasons)),
            None => stay.push(copy),
        }
    }
    Ok((stay, go))
}

fn decide(destination: &Destination, backups: &[Backup], now: DateTime<Utc>) -> Result<Vec<Decision>> {
    let policy = match &destination.numbers {
        Some(numbers) => {
            let [daily, weekly, monthly, last] = numbers.keep.map(|number| usize::try_from(number).unwrap_or(0));
            let max_age: Option<Age> = numbers.max_age.as_ref().map(age);
            Some(Policy { daily, weekly, monthly, last, within: None, max_age })
        }
        None => journal_retention::policy(&destination.set)?,
    };
    let Some(policy) = policy else {
        // The set was dropped: nobody says what may go.
        let keep = |backup: &Backup| Decision { id: backup.id.clone(), keep: true, reasons: Vec::new() };
        return Ok(backups.iter().map(keep).collect());
    };
    retention::decide(backups, &policy, now)
        .map_err(|error| Error::InvalidOption { option: "retention", reason: error.to_string() })
}

/// Ids of backups here that a destination would remove again: they are not sent. Those that `failed` are no good.
pub fn not_wanted(
    destination: &Destination,
    local: &[LocalBackup],
    copies: &HashMap<String, Copy>,
    failed: &[String],
) -> Result<Vec<String>> {
    let pinned = journal_offsite::pinned(&destination.set)?;
    let is_here = |copy: &&Copy| local.iter().any(|backup| backup.backup_id == copy.backup_id);
    let gone = copies.values().filter(|copy| !is_here(copy)).map(|copy| of_copy(copy, &pinned));
    let here = local.iter().map(|backup| {
        let flaw = failed.contains(&backup.backup_id).then_some(Flaw::Refuted);
        Backup { flaw, ..of_local(backup, &pinned) }
    });
    let backups: Vec<Backup> = here.chain(gone).collect();
    let decided = decide(destination, &backups, clock::now()?)?;
    Ok(decided.into_iter().filter(|decision| !decision.keep).map(|decision| decision.id).collect())
}

fn of_local(backup: &LocalBackup, pinned: &[String]) -> Backup {
    Backup {
        id: backup.backup_id.clone(),
        started_at: backup.started_at,
        class: class(&backup.kind),
        flaw: None,
        is_pinned: pinned.contains(&backup.backup_id),
    }
}

fn of_copy(copy: &Copy, pinned: &[String]) -> Backup {
    let flaw = match copy.status.as_str() {
        "complete" | "retained" if copy.is_refuted => Some(Flaw::Refuted),
        "complete" | "retained" => None,
        _ => Some(Flaw::Failed),
    };
    Backup {
        id: copy.backup_id.clone(),
        started_at: copy.started_at,
        class: class(&copy.kind),
        flaw,
        is_pinned: pinned.contains(&copy.backup_id),
    }
}

fn class(kind: &str) -> Class {
    if kind == "archive" { Class::Archive } else { Class::Full }
}

/// What became of a copy that goes, and the reasons.
fn remove(
    store: &Store,
    destination: &Destination,
    copy: &Copy,
    reasons: Vec<String>,
) -> Result<(&'static str, Vec<String>)> {
    let told = |first: String| std::iter::once(first).chain(reasons.clone()).collect();
    match remove_both(store, [&copy.manifest_key, &copy.object_key]) {
        Ok(Removal::Gone) => {
            journal_offsite::forget(&destination.url, &copy.backup_id)?;
            forget_listed(&destination.url, &copy.backup_id)?;
            Ok(("removed", reasons))
        }
        Ok(Removal::Retained) => {
            journal_offsite::retain(&destination.url, &copy.backup_id)?;
            Ok(("retained", told(RETAINED.to_owned())))
        }
        Err(error) => Ok(("failed", told(of_one(error)?.to_string()))),
    }
}

/// Why what should go stays.
pub(super) const RETAINED: &str = "a lock of the store keeps it";

/// An error that costs one object. One that will come with the next one too ends it all.
pub(super) fn of_one(error: ObjectError) -> Result<Error> {
    let error = unless_cancelled(raised(error))?;
    if concerns_all(&error) { Err(error) } else { Ok(error) }
}

/// Removes a manifest and what it stands for, in this order.
pub(super) fn remove_both(store: &Store, keys: [&str; 2]) -> std::result::Result<Removal, ObjectError> {
    for key in keys {
        if store.store.delete(key, &mut interrupt::watch)? == Removal::Retained {
            return Ok(Removal::Retained);
        }
    }
    Ok(Removal::Gone)
}

/// A backup that stood nowhere but there is not listed any more.
fn forget_listed(url: &str, backup_id: &str) -> Result<()> {
    if let Some((directory, _)) = journal::place_of(backup_id)?
        && Path::new(&directory).starts_with(url)
    {
        journal_retention::forget(backup_id)?;
    }
    Ok(())
}
