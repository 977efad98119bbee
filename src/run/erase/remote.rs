//! Erasing from a backup that stands in a store alone: it is written anew under another name, and the catalogue lists that from
//! the commit on. No store knows of our transactions, so the object that is not listed, the old one, or the new one after a
//! rollback, stays until `prune_offsite` removes it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use agent_backup_core::container::manifest::Encryption;
use agent_backup_core::container::{ContainerError, Erasure, rewrite};
use agent_backup_core::crypt;
use agent_backup_core::plan::names::{self, Form};

use crate::error::{Error, Result};
use crate::journal::{self, Listed};
use crate::run::erase::backups::Written;
use crate::run::erase::search::Found;
use crate::run::keys;
use crate::run::offsite::access;
use crate::run::offsite::direct::{self, Object, Unfinished};
use crate::run::publish::{self, Naming};
use crate::run::sealing::{self, Out};
use crate::run::source::Source;
use crate::server::failpoint;
use crate::server::lock::SetLock;
use crate::{journal_encryption, journal_erasures, journal_offsite};

/// None where it is sealed and nobody says for whom to seal it again.
pub fn change(source: &Source, listed: &Listed, found: &Found, note: Erasure) -> Result<Option<Written>> {
    let recipients = match crypt::is_sealed(&source.stored).map_err(Error::Write)? {
        true => keys::recipients(&journal_encryption::files_of_backup(&listed.set_name, &listed.backup_id)?)?,
        false => None,
    };
    let form = sealing::form(recipients.as_ref());
    if Form::of(&listed.file_name) != form {
        return Ok(None);
    }
    let _copies = SetLock::of_copies(&listed.set_name)?;
    let store = access::open(&listed.directory, None)?;
    let manifest = &source.container.manifest;
    let (set, started) = (manifest.set_name.as_str(), manifest.started_at);
    let naming = Naming { set, started, compression: manifest.compression, form };
    let there = store.sizes("")?.into_keys().map(OsString::from);
    let place = PathBuf::from(&store.url);
    let taken = there.chain(direct::names_taken(set, &place)?).collect();
    let suffix = naming.free_suffix(names::suffixes(started).skip(1), &taken, place)?;

    let damaged = |problem: ContainerError| match problem {
        ContainerError::Write { .. } => publish::container_error(problem),
        problem => source.damaged(problem),
    };
    let out = Out::start(Object::begin(&store, &naming.container(&suffix))?, recipients.as_ref())?;
    let encryption = recipients.as_ref().map(Encryption::of);
    let written = rewrite(&source.container, &found.erased, note, encryption, out).map_err(damaged)?;
    failpoint::reach("erase_publish")?;
    let container = written.out.finish()?.finish()?;
    let unfinished = Unfinished::new(&store, &container);
    let beside = unfinished.complete(&names::manifest(&suffix), &written.manifest_bytes)?;
    failpoint::reach("erase_published")?;

    let record = journal::from_manifest(&written.manifest, Path::new(&listed.directory), &container, &beside, None);
    journal_erasures::relist(&record)?;
    journal_erasures::renamed(&record)?;
    let old = format!("{}/{}", listed.directory, listed.file_name);
    journal_offsite::moved(&listed.backup_id, &old, &container, &beside)?;
    Ok(Some(Written { chunks: None, bytes: container.size + beside.size }))
}
