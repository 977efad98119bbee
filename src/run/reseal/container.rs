//! A full backup: the bytes of its container are copied, and it ends with a manifest that names the new keys.

use std::sync::Arc;

use agent_backup_core::container::manifest::{Encryption, Manifest};
use agent_backup_core::container::{Container, ContainerError, ContainerWriter};
use agent_backup_core::crypt::Recipients;
use agent_backup_core::plan::names::{self, Form};
use agent_backup_core::store::Swap;
use agent_backup_core::stream::sha256_hex;
use pgrx::check_for_interrupts;

use crate::error::{Error, Result};
use crate::journal_encryption::{self, Held};
use crate::run::reseal::{Place, require_unchanged};
use crate::run::verify::content;
use crate::run::{blob, outcome, publish, removal};
use crate::server::failpoint;

/// Writes a backup anew for these recipients; where its container is from the commit on, and what was proved.
pub fn reseal(place: &Place, held: &Held, recipients: &Recipients) -> Result<(String, String)> {
    let directory = &place.directory;
    let shown = |file: &str| directory.path().join(file).display().to_string();
    let path = shown(&held.file_name);
    require_unchanged(directory, &held.file_name)?;
    let damaged = |problem| Error::Damaged { file: path.clone(), problem };
    let plain = blob::opened(blob::of_file(directory, &held.file_name)?, &path)?;
    let container = Container::open(plain).map_err(damaged)?;
    if sha256_hex(&container.manifest_bytes) != held.manifest_sha256 {
        return Err(Error::Swapped { file: path, backup: held.backup_id.clone() });
    }
    let becomes = format!("{}{}", names::unsealed(&held.file_name), Form::Sealed.ending());
    let swap = Swap { container: held.file_name.clone(), becomes, manifest: held.manifest_name.clone() };

    let out = publish::start_container(directory, "resealed", Some(recipients))?;
    let mut watch = || {
        check_for_interrupts!();
    };
    let writer = ContainerWriter::copy_of(&container, out, &mut watch).map_err(|problem| match problem {
        problem @ ContainerError::Write { .. } => publish::container_error(problem),
        problem => damaged(problem),
    })?;
    let written = writer.finish(manifest(&container.manifest, recipients)).map_err(publish::container_error)?;
    failpoint::reach("reseal")?;
    let new = publish::publish_container(written.out, &swap.waiting_container(), written.sha256)?;
    let unfinished = publish::Unfinished::new(directory, "backup", &new.name);
    let proved = read_back(place, &new.name, &written.manifest)?;
    let mut staged = publish::stage(directory, "metadata")?;
    staged.append(&written.manifest_bytes)?;
    let manifest_file = staged.publish(&swap.waiting_manifest())?;
    unfinished.keep();

    let size_bytes = new.size + manifest_file.size;
    let becomes = swap.becomes.clone();
    // From here a rollback takes both files away.
    removal::swap_at_commit(directory, &place.lock, swap);
    journal_encryption::resealed(&journal_encryption::Resealed {
        backup_id: &held.backup_id,
        file_name: &becomes,
        file_sha256: new.sha256_hex(),
        manifest_sha256: sha256_hex(&written.manifest_bytes),
        size_bytes,
        key_ids: Encryption::of(recipients).key_ids,
        is_proved: proved.is_ok(),
    })?;
    failpoint::reach("resealed")?;
    let details = match proved {
        Ok(()) => "read back with its key and found whole".to_owned(),
        Err(reason) => format!("its stored bytes were read back; they were not decrypted: {reason}"),
    };
    Ok((shown(&becomes), details))
}

/// The same manifest, of a file for other keys.
fn manifest(of: &Manifest, recipients: &Recipients) -> Manifest {
    let mut manifest = Manifest { encryption: Some(Encryption::of(recipients)), ..of.clone() };
    outcome::withhold_errors(&mut manifest.members);
    manifest
}

/// Reads all of the new container with the keys that are here; why it was not, where none of them opens it.
fn read_back(place: &Place, name: &str, manifest: &Manifest) -> Result<std::result::Result<(), String>> {
    let shown = place.directory.path().join(name).display().to_string();
    let damaged = |problem| Error::Damaged { file: shown.clone(), problem };
    let plain = match blob::opened(blob::of_file(&place.directory, name)?, &shown) {
        Ok(plain) => plain,
        Err(error) if error.is_locked() => return Ok(Err(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    let container = Arc::new(Container::open(plain).map_err(damaged)?);
    if container.manifest != *manifest {
        return Err(Error::Swapped { file: shown, backup: manifest.backup_id.clone() });
    }
    let hashes = content::hash(&container, name)?;
    let found = hashes.entries.into_iter().filter_map(std::result::Result::err).chain(hashes.between.0).next();
    found.map_or(Ok(Ok(())), |problem| Err(damaged(problem)))
}
