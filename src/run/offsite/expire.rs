//! Incrementals in a store: each stays as long as its file here, or the copy that it extends.

use std::collections::HashSet;

use agent_backup_core::container::Increment;
use agent_backup_core::plan::incrementals::{self, Full, Incremental};
use agent_backup_core::plan::names;
use agent_backup_core::store::object::Removal;

use crate::error::{Error, Result};
use crate::journal_offsite::Copy;
use crate::journal_retention::age;
use crate::run::offsite::access::Store;
use crate::run::offsite::destination::Destination;
use crate::run::offsite::retain::{self, Pruned};
use crate::run::offsite::{incrementals as sent, local};
use crate::run::{adopt, place};
use crate::server::{clock, facts};

/// Decides on the incrementals of this database at a destination where these copies stay; those that go are removed when that
/// is confirmed.
pub fn incrementals(
    store: &Store,
    destination: &Destination,
    copies: &[Copy],
    confirmed: bool,
    all: &mut Vec<Pruned>,
) -> Result<()> {
    let (here, now) = (facts::server()?, clock::now()?);
    let below = local::prefix_of_set(&here.system_identifier, &here.database, &destination.set);
    let below = format!("{below}/{}", names::INCREMENTALS);
    let max_age = destination.numbers.as_ref().and_then(|numbers| numbers.max_age.as_ref()).map(age);
    let fulls: Vec<Full> =
        copies.iter().map(|copy| Full { id: copy.backup_id.clone(), started_at: copy.started_at }).collect();
    let kept_here = files_here(&destination.set)?;
    let mut sizes: Vec<(String, u64)> = store.sizes(&below)?.into_iter().collect();
    sizes.sort();
    for (key, size) in &sizes {
        let name = key.rsplit('/').next().unwrap_or(key);
        let is_manifest = names::stem_of_incremental(name).is_some_and(|(_, is_manifest)| is_manifest);
        if !is_manifest || kept_here.contains(name) {
            continue;
        }
        let unusable = |reason: String| Error::Manifest { file: format!("{}/{key}", destination.url), reason };
        let increment = Increment::parse(&store.read(key)?).map_err(|error| unusable(error.to_string()))?;
        let rows = format!("{below}/{}", increment.file);
        let judged = Incremental { started_at: increment.started_at, extends: increment.extends };
        let decision = incrementals::decide(&judged, &fulls, max_age, now);
        if decision.keep {
            continue;
        }
        let (action, reasons) = if confirmed {
            match retain::remove_both(store, [key, &rows]) {
                Ok(Removal::Gone) => ("removed", vec![decision.reason]),
                Ok(Removal::Retained) => ("retained", vec![retain::RETAINED.to_owned(), decision.reason]),
                Err(error) => ("failed", vec![retain::of_one(error)?.to_string(), decision.reason]),
            }
        } else {
            ("remove", vec![decision.reason])
        };
        all.push(Pruned {
            destination: destination.url.clone(),
            backup_id: None,
            key: Some(rows),
            started_at: Some(increment.started_at),
            size: Some(size + increment.file_bytes),
            action,
            reasons,
        });
    }
    Ok(())
}

/// Names of the incrementals of a set that are on this machine.
fn files_here(set: &str) -> Result<HashSet<String>> {
    let path = place::path_of_set(set).join(names::INCREMENTALS);
    let Some(directory) = sent::there(&path)? else { return Ok(HashSet::new()) };
    Ok(adopt::regular_files(&directory)?.into_iter().map(|file| file.name).collect())
}
