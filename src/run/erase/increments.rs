//! Erasing from the files of incrementals: each is small, and written anew.

use std::path::PathBuf;

use agent_backup_core::codec::subject::Subject;
use agent_backup_core::container::Increment;
use agent_backup_core::plan::{Compression, Format, names};
use agent_backup_core::store::{Directory, FileKind};
use agent_backup_core::stream::{Compressor, RowDigest, sha256_hex};
use pgrx::check_for_interrupts;

use crate::error::{Error, Result};
use crate::ident::TableName;
use crate::journal;
use crate::run::erase::act::{Acting, Place};
use crate::run::erase::targets::Targets;
use crate::run::erase::{settle, whole};
use crate::run::{place, publish};
use crate::server::failpoint;

const PLACE: &str = "incremental";

/// What the files hold of the person.
pub fn plan(targets: &Targets) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    for (_, path) in directories()? {
        let directory = place::for_reading(&path)?;
        for (name, manifest) in own(&directory, targets, &mut places)? {
            let plain = whole::plain(&whole::stored(&directory, &manifest.file)?)?;
            let rows = found(&plain, &manifest, targets);
            let gone = rows.iter().filter(|(_, is_it)| *is_it).count() as u64;
            places.push(told(&directory, &name, gone, if gone > 0 { "found" } else { "nothing" }));
        }
    }
    Ok(places)
}

/// Erases the person from them when the transaction commits.
pub fn erase(targets: &Targets, acting: &mut Acting) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    for (set, path) in directories()? {
        let lock = crate::server::lock::SetLock::of_incrementals(&set)?;
        let (directory, held) = place::to_remove(&path, &set)?;
        settle::directory(&directory)?;
        for (name, manifest) in own(&directory, targets, &mut places)? {
            check_for_interrupts!();
            let Some(file) = whole::hold(&directory, &manifest.file)? else {
                let object = directory.path().join(&manifest.file).display().to_string();
                places.push(Place::left(
                    PLACE,
                    object,
                    "another session reads it, or this one has changed it already".into(),
                ));
                continue;
            };
            let plain = whole::plain(&file.stored)?;
            let rows = found(&plain, &manifest, targets);
            let gone = rows.iter().filter(|(_, is_it)| *is_it).count() as u64;
            if gone == 0 && !names_the_person(&manifest, targets) {
                places.push(told(&directory, &name, 0, "nothing"));
                continue;
            }
            let kept: Vec<&[u8]> = rows.iter().filter(|(_, is_it)| !is_it).map(|(row, _)| *row).collect();
            let (stored, plain_bytes) = packed(&kept)?;
            let mut digest = RowDigest::default();
            digest.add_rows(kept.iter().copied());
            let is_kept = |key: &String| key.as_bytes() != targets.value;
            let told_of = Increment {
                file_bytes: stored.len() as u64,
                file_sha256: sha256_hex(&stored),
                plain_bytes,
                rows: kept.len() as u64,
                row_digest: digest.to_string(),
                tombstones: match names_the_person(&manifest, targets) {
                    true => manifest.tombstones.iter().filter(|key| is_kept(key)).cloned().collect(),
                    false => manifest.tombstones.clone(),
                },
                ..manifest.clone()
            };
            let unwritten = |error: agent_backup_core::container::ContainerError| Error::Manifest {
                file: name.clone(),
                reason: error.to_string(),
            };
            let beside = whole::Beside { name: name.clone(), bytes: told_of.to_bytes().map_err(unwritten)? };
            let bytes = whole::replace(&directory, Some(&held), &manifest.file, file, &stored, Some(beside), acting)?;
            acting.bytes += bytes;
            acting.files += 1;
            places.push(Place { bytes: Some(bytes), ..told(&directory, &name, gone, "erased") });
            failpoint::reach("erase_file")?;
        }
        drop(lock);
    }
    Ok(places)
}

/// The sets that have incrementals, and where.
fn directories() -> Result<Vec<(String, PathBuf)>> {
    let path = |set: &String| place::path_of_set(set).join(names::INCREMENTALS);
    let sets = journal::all_sets()?.into_iter().map(|set| (set.clone(), path(&set)));
    Ok(sets.filter(|(_, path)| path.symlink_metadata().is_ok()).collect())
}

/// The manifests of incrementals of tables that are looked through. What cannot be read is left, and told.
fn own(directory: &Directory, targets: &Targets, places: &mut Vec<Place>) -> Result<Vec<(String, Increment)>> {
    let mut own = Vec::new();
    for file in directory.list()?.into_iter().filter(|file| file.kind == FileKind::Regular) {
        let Some(name) = file.name.to_str().map(str::to_owned) else { continue };
        match names::stem_of_incremental(&name) {
            Some((stem, true)) => {
                let beside = names::incremental_manifest(stem);
                match Increment::parse(&whole::stored(directory, &beside)?) {
                    Ok(manifest) if manifest.encryption.is_some() && !subjects(&manifest, targets).is_empty() => {
                        let object = directory.path().join(&manifest.file).display().to_string();
                        let why = "it is encrypted, and not looked into: it goes with the backup that it extends";
                        places.push(Place::left(PLACE, object, why.to_owned()));
                    }
                    Ok(manifest) if !subjects(&manifest, targets).is_empty() => own.push((beside, manifest)),
                    Ok(_) => (),
                    Err(error) => {
                        let object = directory.path().join(&beside).display().to_string();
                        places.push(Place::left(PLACE, object, error.to_string()));
                    }
                }
            }
            _ => continue,
        }
    }
    Ok(own)
}

fn subjects<'t>(manifest: &Increment, targets: &'t Targets) -> &'t [Subject] {
    targets.of(&TableName { schema: manifest.schema.clone(), name: manifest.name.clone() })
}

/// Whether the keys of rows that are gone, which the manifest lists, are what names the person.
fn names_the_person(manifest: &Increment, targets: &Targets) -> bool {
    let is_key = |subject: &Subject| subject.steps.is_empty() && manifest.primary_key == [subject.column.clone()];
    subjects(manifest, targets).iter().any(is_key)
        && manifest.tombstones.iter().any(|key| key.as_bytes() == targets.value)
}

/// The rows of a file, each with whether it is the person's.
fn found<'p>(plain: &'p [u8], manifest: &Increment, targets: &Targets) -> Vec<(&'p [u8], bool)> {
    let subjects = subjects(manifest, targets);
    let is_it = |row: &[u8]| subjects.iter().any(|subject| subject.in_json(row).as_deref() == Some(&targets.value));
    whole::rows(Format::Json, plain).into_iter().map(|row| (row, is_it(row))).collect()
}

/// Rows as a file of an incremental has them, and their plain length.
fn packed(rows: &[&[u8]]) -> Result<(Vec<u8>, u64)> {
    let mut plain = b"[".to_vec();
    for (number, row) in rows.iter().enumerate() {
        plain.extend_from_slice(if number == 0 { b"\n" } else { b",\n" });
        plain.extend_from_slice(row);
    }
    plain.extend_from_slice(b"\n]\n");
    let mut stored = Vec::new();
    let mut compressor = Compressor::new(Compression::Gzip(1)).map_err(publish::file_error)?;
    compressor.compress_checked(&plain, &mut stored, &|| false).map_err(publish::file_error)?;
    Ok((stored, plain.len() as u64))
}

fn told(directory: &Directory, name: &str, rows: u64, action: &'static str) -> Place {
    Place::new(PLACE, directory.path().join(name).display().to_string(), rows, action)
}
