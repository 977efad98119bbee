//! What a crash left of files that were to take the place of others: where the catalogue lists the new ones, they do so
//! now; else they go.

use std::io::Read;

use agent_backup_core::container::{Increment, Manifest};
use agent_backup_core::plan::names::{self, Form};
use agent_backup_core::store::swap::WAITING;
use agent_backup_core::store::{Directory, FileKind, Swap};
use agent_backup_core::stream::sha256_hex;

use crate::error::{Error, Result};
use crate::journal_encryption;
use crate::run::reseal::increment;
use crate::run::{removal, say};
use crate::server::snapshot;

/// Bytes of the largest manifest that is read.
const MANIFEST_LIMIT: u64 = 1 << 30;

/// Ends in a directory what was begun there. It is locked; what this transaction is about to put into place is left alone.
pub fn run(directory: &Directory) -> Result<()> {
    if snapshot::read_only().is_some() {
        return Ok(());
    }
    let files = directory.list()?.into_iter().filter(|file| file.kind == FileKind::Regular);
    let waiting = files.filter_map(|file| Some(file.name.to_str()?.strip_suffix(WAITING)?.to_owned()));
    let waiting: Vec<String> =
        waiting.filter(|name| !removal::is_going(directory, &agent_backup_core::store::swap::waiting(name))).collect();
    for name in waiting.iter().filter(|name| name.ends_with(".json")) {
        match end(directory, name, &waiting) {
            Ok(said) => say::notice(&said),
            Err(error) => say::warning(&format!("could not end what was begun with \"{name}{WAITING}\": {error}")),
        }
    }
    // A container whose manifest was not written yet, or went just now.
    for name in waiting.iter().filter(|name| Form::of(name) == Form::Sealed) {
        let file = format!("{name}{WAITING}");
        let has_manifest = directory.list()?.iter().any(|found| {
            let found = found.name.to_string_lossy();
            found.strip_suffix(WAITING).is_some_and(|manifest| is_of(manifest, name))
        });
        if !has_manifest && directory.open_file(&file).is_ok() {
            directory.remove(&file)?;
        }
    }
    Ok(())
}

/// Whether a manifest is that of a file of rows, by their names.
fn is_of(manifest: &str, rows: &str) -> bool {
    match names::stem_of_incremental(rows) {
        Some((stem, false)) => manifest == names::incremental_manifest(stem),
        _ => names::manifest_of_container(rows).as_deref() == Some(manifest),
    }
}

/// Ends one exchange; what was done, in words.
fn end(directory: &Directory, manifest: &str, waiting: &[String]) -> Result<String> {
    let mut bytes = Vec::new();
    let file = directory.open_file(&format!("{manifest}{WAITING}"))?;
    file.take(MANIFEST_LIMIT).read_to_end(&mut bytes).map_err(Error::Write)?;
    let (swap, decided) = match names::stem_of_incremental(manifest) {
        // Nothing but the files tells of an incremental: a container that was not named was not decided for.
        Some((stem, true)) => (of_increment(directory, stem, &bytes)?, false),
        _ => {
            let listed = journal_encryption::lists_manifest(
                &directory.path().display().to_string(),
                manifest,
                &sha256_hex(&bytes),
            )?;
            (of_backup(manifest, &bytes)?, listed)
        }
    };
    if decided || !waiting.contains(&swap.becomes) {
        directory.swap_in(&swap)?;
        return Ok(format!("{}: its new files were put into place", swap.becomes));
    }
    directory.drop_waiting(&swap)?;
    Ok(format!("{}: what was left of sealing it anew was removed", swap.container))
}

fn of_backup(manifest: &str, bytes: &[u8]) -> Result<Swap> {
    let unusable = |reason: String| Error::Manifest { file: manifest.to_owned(), reason };
    let told = Manifest::parse(bytes).map_err(|error| unusable(error.to_string()))?;
    let suffix = manifest.strip_prefix("metadata_").and_then(|rest| rest.strip_suffix(".json"));
    let suffix = suffix.ok_or_else(|| unusable("its name is no manifest's".to_owned()))?;
    let name = |form| names::container(&told.set_name, suffix, told.compression, form);
    Ok(Swap { container: name(Form::Plain), becomes: name(Form::Sealed), manifest: manifest.to_owned() })
}

fn of_increment(directory: &Directory, stem: &str, bytes: &[u8]) -> Result<Swap> {
    let file = names::incremental_manifest(stem);
    let told = Increment::parse(bytes).map_err(|error| Error::Manifest { file, reason: error.to_string() })?;
    let old = increment::read(directory, stem).unwrap_or_else(|_| told.clone());
    Ok(increment::swap(stem, &old))
}
