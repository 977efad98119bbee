//! Erasing from the days of the log that were written to files and dropped: each file is written anew.

use std::path::Path;

use agent_backup_core::codec::{CsvFields, Projection};
use agent_backup_core::plan::names::Form;
use agent_backup_core::plan::{Compression, Format};
use agent_backup_core::stream::{Compressor, RowDigest};
use pgrx::check_for_interrupts;

use crate::error::{Error, Result};
use crate::journal_erased_log::{self, SealedFile, TrackedShape};
use crate::run::erase::act::{Acting, Place};
use crate::run::erase::targets::Targets;
use crate::run::erase::{settle, whole};
use crate::run::{place, publish};
use crate::server::subtransaction::attempt;

const PLACE: &str = "log file";

/// What the files hold of the person.
pub fn plan(targets: &Targets) -> Result<Vec<Place>> {
    run(targets, None)
}

/// Erases the person from them when the transaction commits.
pub fn erase(targets: &Targets, acting: &mut Acting) -> Result<Vec<Place>> {
    run(targets, Some(acting))
}

fn run(targets: &Targets, mut acting: Option<&mut Acting>) -> Result<Vec<Place>> {
    let shapes = journal_erased_log::tracked_shapes(targets.targets.iter().map(|target| &target.table))?;
    let mut places = Vec::new();
    for sealed in journal_erased_log::sealed_files()? {
        check_for_interrupts!();
        match attempt(|| one(&sealed, targets, &shapes, acting.as_deref_mut())) {
            Ok(place) => places.push(place),
            Err(failure) => places.push(Place::left(PLACE, sealed.path.clone(), failure.message)),
        }
    }
    Ok(places)
}

fn one(sealed: &SealedFile, targets: &Targets, shapes: &[TrackedShape], acting: Option<&mut Acting>) -> Result<Place> {
    let path = Path::new(&sealed.path);
    let unusable = || Error::Manifest { file: sealed.path.clone(), reason: "it is no path of a file".into() };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(unusable());
    };
    if Form::of(name) == Form::Sealed {
        return Ok(Place::left(PLACE, sealed.path.clone(), "it is encrypted, and is not looked through".into()));
    }
    let directory = place::for_reading(parent)?;
    let held = match acting.is_some() {
        true => {
            if !super::pending::changes(&directory, name) {
                settle::file(&directory, name)?;
            }
            let held = whole::hold(&directory, name)?;
            let Some(held) = held else {
                return Ok(Place::left(
                    PLACE,
                    sealed.path.clone(),
                    "another session reads it, or this one has changed it already".into(),
                ));
            };
            Some(held)
        }
        false => None,
    };
    let plain = match &held {
        Some(held) => whole::plain(&held.stored)?,
        None => whole::plain(&whole::stored(&directory, name)?)?,
    };
    let (text, rows, digest) = without(&plain, targets, shapes).ok_or_else(unusable)?;
    let told = |rows: u64, action| Place::new(PLACE, sealed.path.clone(), rows, action);
    let (Some(acting), Some(held)) = (acting, held) else {
        return Ok(told(rows, if rows > 0 { "found" } else { "nothing" }));
    };
    if rows == 0 {
        return Ok(told(0, "nothing"));
    }
    let mut stored = Vec::new();
    let mut compressor = Compressor::new(Compression::Gzip(1)).map_err(publish::file_error)?;
    compressor.compress_checked(&text, &mut stored, &|| false).map_err(publish::file_error)?;
    let bytes = whole::replace(&directory, None, name, held, &stored, None, acting)?;
    journal_erased_log::resealed(&sealed.partition, &digest.to_string())?;
    acting.bytes += bytes;
    acting.files += 1;
    Ok(Place { bytes: Some(bytes), ..told(rows, "erased") })
}

/// The file without the values of the person, how many entries had some, and the digest of its rows. None where it is no
/// such file.
fn without(plain: &[u8], targets: &Targets, shapes: &[TrackedShape]) -> Option<(Vec<u8>, u64, RowDigest)> {
    let lines = whole::rows(Format::Csv, plain);
    let (header, rows) = lines.split_first()?;
    let mut fields = CsvFields::default();
    fields.read(header).ok()?;
    let names: Vec<Vec<u8>> = (0..fields.len()).map(|place| fields.get(place).unwrap_or_default().to_vec()).collect();
    let place = |name: &str| names.iter().position(|known| known == name.as_bytes());
    let [tracked, shape, key, image, old_columns, old_values] =
        ["tracked_id", "shape_id", "row_key", "image", "old_columns", "old_values"].map(place);
    let (tracked, shape, key, image) = (tracked?, shape?, key?, image?);
    let (old_columns, old_values) = (old_columns?, old_values?);
    let mut out = header.to_vec();
    out.push(b'\n');
    let (mut count, mut digest) = (0, RowDigest::default());
    let all = Projection::new((0..names.len()).collect());
    for row in rows {
        fields.read(row).ok()?;
        let number = |place: usize| std::str::from_utf8(fields.get(place)?).ok()?.parse::<i64>().ok();
        let known = shapes
            .iter()
            .find(|known| number(tracked) == Some(known.tracked_id.into()) && number(shape) == Some(known.shape_id));
        let start = out.len();
        let is_it = known.is_some_and(|known| {
            let logged = known.logged(fields.get(image), fields.get(old_columns), fields.get(old_values));
            super::log::found(&logged, targets.of(&known.table), &targets.value).is_some()
        });
        if is_it {
            count += 1;
            fields.blank(&[key, image, old_columns, old_values]);
            all.row(&fields, &mut out);
        } else {
            out.extend_from_slice(row);
        }
        digest.add_row(&out[start..]);
        out.push(b'\n');
    }
    Some((out, count, digest))
}
