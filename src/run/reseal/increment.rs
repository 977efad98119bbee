//! An incremental: its rows and the keys of rows that are gone, sealed anew.

use std::io::Read;

use agent_backup_core::container::manifest::Encryption;
use agent_backup_core::container::{Blob, Increment, sha256_hex_of};
use agent_backup_core::crypt::{self, CryptError, Recipients};
use agent_backup_core::plan::names::{self, Form};
use agent_backup_core::store::{Directory, FileKind, Swap};
use pgrx::check_for_interrupts;

use crate::error::{EncryptionError, Error, Result};
use crate::ident::TableName;
use crate::run::reseal::{KEEP, Place, Resealed, done, plan, require_unchanged};
use crate::run::sealing::{self, Out};
use crate::run::{blob, keys, place, publish, removal};
use crate::server::subtransaction::attempt;
use crate::server::{facts, failpoint};
use crate::{journal, journal_encryption};

/// Bytes of the largest manifest that is read.
const MANIFEST_LIMIT: u64 = 1 << 30;

/// All incrementals of a set, by name.
pub fn of_set(set: &str, confirmed: bool) -> Result<Vec<Resealed>> {
    let path = place::path_of_set(set).join(names::INCREMENTALS);
    if !journal::has_set(set)? || path.symlink_metadata().is_err() {
        return Ok(Vec::new());
    }
    let recipients = keys::recipients(&journal::set(set)?.recipients_files)?;
    let held = if confirmed { Some(place::of_incrementals(set)?) } else { None };
    let place = held.as_ref().map(|held| Place { directory: held.directory.clone(), lock: held.lock.clone() });
    let directory = match &place {
        Some(place) => place.directory.clone(),
        None => place::for_reading(&path)?,
    };
    let mut all = Vec::new();
    for stem in stems(&directory)? {
        check_for_interrupts!();
        all.push(of_stem(set, &directory, place.as_ref(), &stem, recipients.as_ref())?);
    }
    Ok(all)
}

/// Names of incrementals that have a manifest, which comes last.
fn stems(directory: &Directory) -> Result<Vec<String>> {
    let files = directory.list()?.into_iter().filter(|file| file.kind == FileKind::Regular);
    let files = files.filter(|file| !removal::is_going(directory, &file.name.to_string_lossy()));
    Ok(files
        .filter_map(|file| match names::stem_of_incremental(file.name.to_str()?)? {
            (stem, true) => Some(stem.to_owned()),
            (_, false) => None,
        })
        .collect())
}

fn of_stem(
    set: &str,
    directory: &Directory,
    place: Option<&Place>,
    stem: &str,
    recipients: Option<&Recipients>,
) -> Result<Resealed> {
    let manifest_path = directory.path().join(names::incremental_manifest(stem)).display().to_string();
    let kind = "incremental".to_owned();
    let manifest = match read(directory, stem) {
        Ok(manifest) => manifest,
        Err(error) => {
            let failed = plan(Form::Plain, &[], None);
            return Ok(Resealed { kind, path: manifest_path, action: "failed", details: error.to_string(), ..failed });
        }
    };
    let before = manifest.encryption.as_ref().map(|it| it.key_ids.clone()).unwrap_or_default();
    let path = directory.path().join(&manifest.file).display().to_string();
    let planned = Resealed { kind, path, ..plan(Form::of(&manifest.file), &before, recipients) };
    if !facts::is_same(&facts::server()?, &manifest.server) {
        let details = "another database made it, which alone changes it".to_owned();
        return Ok(Resealed { action: KEEP, after: before, details, ..planned });
    }
    match (place, recipients) {
        (Some(place), Some(recipients)) if planned.action != KEEP => {
            done(planned, attempt(|| reseal(set, place, stem, manifest, recipients)))
        }
        _ => Ok(planned),
    }
}

/// Writes both files anew; where the rows are from the commit on, and what was proved.
fn reseal(set: &str, place: &Place, stem: &str, old: Increment, recipients: &Recipients) -> Result<(String, String)> {
    let directory = &place.directory;
    let shown = |file: &str| directory.path().join(file).display().to_string();
    require_unchanged(directory, &old.file)?;
    let stored = blob::of_file(directory, &old.file)?;
    if hash(&stored)? != old.file_sha256 {
        return Err(changed(stem, "its rows do not fit its SHA-256"));
    }
    let plain = blob::opened(stored, &shown(&old.file))?;
    let (swap, tombstones) = (swap(stem, &old), tombstones(&old)?);
    let mut out = Out::start(publish::stage(directory, "resealed")?, Some(recipients))?;
    copy(&plain, &mut out)?;
    let staged = out.finish()?;
    failpoint::reach("reseal")?;
    let rows = staged.publish(&swap.waiting_container())?;
    let unfinished = publish::Unfinished::new(directory, "incremental", &rows.name);
    let proved = read_back(place, &rows.name, &plain, stem)?;
    let manifest = Increment {
        file: swap.becomes.clone(),
        file_bytes: rows.size,
        file_sha256: rows.sha256_hex(),
        tombstones: Vec::new(),
        sealed_tombstones: sealing::tombstones(&tombstones, recipients)?,
        encryption: Some(Encryption::of(recipients)),
        ..old.clone()
    };
    let mut staged = publish::stage(directory, "resealed")?;
    staged.append(&manifest.to_bytes().map_err(|error| changed(stem, &error.to_string()))?)?;
    staged.publish(&swap.waiting_manifest())?;
    unfinished.keep();
    let becomes = swap.becomes.clone();
    removal::swap_at_commit(directory, &place.lock, swap);
    let table = TableName { schema: old.schema, name: old.name };
    journal_encryption::incremental_renamed(set, &table, &old.file, &becomes)?;
    failpoint::reach("resealed")?;
    Ok((shown(&becomes), proved))
}

/// The names of the files of an incremental before and after.
pub fn swap(stem: &str, of: &Increment) -> Swap {
    Swap {
        container: of.file.clone(),
        becomes: names::incremental_data(stem, Form::Sealed),
        manifest: names::incremental_manifest(stem),
    }
}

fn tombstones(of: &Increment) -> Result<Vec<String>> {
    let Some(sealed) = &of.sealed_tombstones else { return Ok(of.tombstones.clone()) };
    let wanted = crypt_ids(of);
    let Some(identities) = keys::identities()? else {
        return Err(EncryptionError::NoIdentityFile { file: of.file.clone(), wanted }.into());
    };
    let unsealed = crypt::open_text(sealed, &identities)
        .map_err(|problem| EncryptionError::of_file(&of.file, problem, identities.key_ids()))?;
    serde_json::from_slice(&unsealed).map_err(|error| changed(&of.file, &error.to_string()))
}

fn crypt_ids(of: &Increment) -> Vec<crypt::KeyId> {
    of.encryption.iter().flat_map(|it| &it.key_ids).filter_map(|id| crypt::KeyId::parse(id)).collect()
}

fn copy(plain: &Blob, out: &mut Out) -> Result<()> {
    let length = plain.len().map_err(Error::Write)?;
    let (mut at, mut block) = (0, vec![0; STEP.min(length) as usize]);
    while at < length {
        check_for_interrupts!();
        let bytes = &mut block[..STEP.min(length - at) as usize];
        plain.read_exact_at(at, bytes).map_err(unsealed_error)?;
        std::io::Write::write_all(out, bytes).map_err(publish::write_error)?;
        at += bytes.len() as u64;
    }
    Ok(())
}

/// Bytes copied at once.
const STEP: u64 = 1 << 20;

fn unsealed_error(error: std::io::Error) -> Error {
    match CryptError::unwrap_io(error) {
        Ok(problem) => EncryptionError::of_file("incremental", problem, Vec::new()).into(),
        Err(error) => Error::Write(error),
    }
}

/// Compares the new rows with the old ones, where a key is here; what was proved, in words.
fn read_back(place: &Place, name: &str, plain: &Blob, stem: &str) -> Result<String> {
    match blob::opened(blob::of_file(&place.directory, name)?, name) {
        Ok(again) if hash(&again)? == hash(plain)? => Ok("read back with its key and found whole".into()),
        Ok(_) => Err(changed(stem, "the rows that were read back are not those that were written")),
        Err(error) if error.is_locked() => {
            Ok(format!("its stored bytes were read back; they were not decrypted: {error}"))
        }
        Err(error) => Err(error.into()),
    }
}

fn hash(bytes: &Blob) -> Result<String> {
    let watch = &mut || {
        check_for_interrupts!();
    };
    sha256_hex_of(bytes, watch).map_err(unsealed_error)
}

fn changed(stem: &str, reason: &str) -> Error {
    Error::Manifest { file: names::incremental_manifest(stem), reason: reason.to_owned() }
}

/// The manifest of an incremental.
pub fn read(directory: &Directory, stem: &str) -> Result<Increment> {
    let file = names::incremental_manifest(stem);
    let mut bytes = Vec::new();
    directory.open_file(&file)?.take(MANIFEST_LIMIT).read_to_end(&mut bytes).map_err(Error::Write)?;
    Increment::parse(&bytes).map_err(|error| Error::Manifest { file, reason: error.to_string() })
}
