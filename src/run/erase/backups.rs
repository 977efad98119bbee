//! Erasing from the backups: each file is looked through, and what it becomes is written into a redo file beside it.

use std::fs::File;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use agent_backup_core::container::redo::Place;
use agent_backup_core::container::{Blob, Container, ContainerError, Erasure, Manifest, Redo, patch, rewrite};
use agent_backup_core::crypt;
use agent_backup_core::plan::names::Form;
use agent_backup_core::store::{Directory, DirectoryLock, StagedFile};
use agent_backup_core::stream::sha256_hex;

use crate::error::{Error, Result};
use crate::journal::{self, FileFacts, Listed};
use crate::journal_erasures;
use crate::run::erase::act::{Acting, Place as Row};
use crate::run::erase::search::{self, Found};
use crate::run::erase::settle::{self, Hold};
use crate::run::erase::targets::Targets;
use crate::run::erase::{pending, remote, resealed};
use crate::run::shelf::{self, Shelf};
use crate::run::source::{Location, Source};
use crate::run::{blob, place, publish};
use crate::server::failpoint;
use crate::server::subtransaction::attempt;

/// What the file of a backup holds of the person, without changing it.
pub fn plan(listed: &Listed, targets: &Targets) -> Vec<Row> {
    let looked = attempt(|| {
        let source = crate::run::source::open(Location::of(listed.clone()))?;
        search::run(&source, targets)
    });
    match looked {
        Ok(found) => rows(listed, &found, "found", None),
        Err(failure) => vec![left(listed, failure.message)],
    }
}

/// Erases the person from a backup that stands in a store alone.
pub fn erase_there(listed: &Listed, targets: &Targets, acting: &mut Acting) -> Vec<Row> {
    let done = attempt(|| {
        let source = crate::run::source::open(Location::of(listed.clone()))?;
        let found = search::run(&source, targets)?;
        if found.rows == 0 {
            return found_nothing(listed, &found, acting);
        }
        let note = note(&source, &found, acting);
        let Some(written) = remote::change(&source, listed, &found, note)? else {
            return Ok(vec![cannot_seal(listed, &found)]);
        };
        let mut rows = erased(listed, &found, &written, acting)?;
        let old = "the object as it was: prune_offsite removes it".to_owned();
        rows.push(Row { place: "off-site", ..left(listed, old) });
        Ok(rows)
    });
    done.unwrap_or_else(|failure| vec![left(listed, failure.message)])
}

fn note(source: &Source, found: &Found, acting: &Acting) -> Erasure {
    Erasure {
        erasure_id: acting.erasure_id.clone(),
        erased_at: acting.erased_at,
        rows: found.rows,
        replaced_sha256: sha256_hex(&source.container.manifest_bytes),
    }
}

fn cannot_seal(listed: &Listed, found: &Found) -> Row {
    let what = "it is encrypted, and its set has no recipients file to seal it for again".to_owned();
    Row { row_count: Some(found.rows.cast_signed()), ..left(listed, what) }
}

fn erased(listed: &Listed, found: &Found, written: &Written, acting: &mut Acting) -> Result<Vec<Row>> {
    acting.bytes += written.bytes;
    acting.files += 1;
    if found.unread.is_empty() {
        journal_erasures::searched(&acting.erasure_id, &listed.backup_id, found.rows.cast_signed())?;
    }
    Ok(rows(listed, found, "erased", Some(written)))
}

fn found_nothing(listed: &Listed, found: &Found, acting: &Acting) -> Result<Vec<Row>> {
    if found.unread.is_empty() {
        journal_erasures::searched(&acting.erasure_id, &listed.backup_id, 0)?;
    }
    Ok(rows(listed, found, "nothing", None))
}

/// A directory whose backups are changed.
pub struct Opened {
    pub directory: Directory,
    pub lock: Rc<DirectoryLock>,
}

impl Opened {
    pub fn new(path: &str, set: &str) -> Result<Self> {
        let (directory, lock) = place::to_remove(Path::new(path), set)?;
        settle::directory(&directory)?;
        Ok(Opened { directory, lock })
    }
}

/// Erases the person from a backup when the transaction commits. What cannot be done is a row, and the others go on.
pub fn erase(listed: &Listed, opened: &Opened, targets: &Targets, acting: &mut Acting) -> Vec<Row> {
    match attempt(|| one(listed, opened, targets, acting)) {
        Ok(rows) => rows,
        Err(failure) => vec![left(listed, failure.message)],
    }
}

fn one(listed: &Listed, opened: &Opened, targets: &Targets, acting: &mut Acting) -> Result<Vec<Row>> {
    let directory = &opened.directory;
    if pending::changes(directory, &listed.file_name) {
        let what = "this very transaction changes it already; COMMIT and call again".to_owned();
        return Ok(vec![left(listed, what)]);
    }
    let file = directory.open_to_change(&listed.file_name)?;
    if !settle::lock(&file, Hold::Alone)? {
        let what = "another session reads it; agent_backup.lock_timeout has passed".to_owned();
        return Ok(vec![left(listed, what)]);
    }
    let kept = file.try_clone().map_err(Error::Write)?;
    let source = open(listed, directory, file)?;
    let found = search::run(&source, targets)?;
    if found.rows == 0 {
        return found_nothing(listed, &found, acting);
    }
    match change(&source, listed, opened, &found, acting, kept)? {
        Some(written) => erased(listed, &found, &written, acting),
        None => Ok(vec![cannot_seal(listed, &found)]),
    }
}

/// The backup behind an open, locked file, as `source::open` checks it.
fn open(listed: &Listed, directory: &Directory, file: File) -> Result<Source> {
    let shown = directory.path().join(&listed.file_name).display().to_string();
    let stored: Blob = Arc::new(file);
    let container = Container::open(blob::opened(stored.clone(), &shown)?)
        .map_err(|problem| Error::Damaged { file: shown.clone(), problem })?;
    if !crate::run::source::is_listed(&container, listed) {
        return Err(Error::Swapped { file: shown, backup: listed.backup_id.clone() });
    }
    let directory = Shelf::Local(directory.clone());
    Ok(Source { container: Arc::new(container), stored, location: Location::of(listed.clone()), directory })
}

/// What was written for one file.
pub struct Written {
    /// Chunks of rows written anew; none where the whole file was.
    pub chunks: Option<u64>,
    /// Over redo file, container and manifests.
    pub bytes: u64,
}

struct New {
    redo: StagedFile,
    ranges: Vec<Place>,
    new_bytes: u64,
    file_sha256: [u8; 32],
    manifest: Manifest,
    manifest_bytes: Vec<u8>,
    chunks: Option<u64>,
}

fn change(
    source: &Source,
    listed: &Listed,
    opened: &Opened,
    found: &Found,
    acting: &Acting,
    file: File,
) -> Result<Option<Written>> {
    let directory = &opened.directory;
    let note = note(source, found, acting);
    let old_manifest_sha256 = note.replaced_sha256.clone();
    if crypt::is_sealed(&source.stored).map_err(Error::Write)? {
        return resealed::change(source, listed, opened, found, note);
    }
    let old_bytes = file.metadata().map_err(Error::Write)?.len();
    let New { mut redo, ranges, new_bytes, file_sha256, manifest, manifest_bytes, chunks } =
        make(source, directory, found, note)?;
    let changed: u64 = ranges.iter().map(|range| range.length).sum();
    let at = redo.size();
    redo.append(&manifest_bytes)?;
    let plan = Redo {
        file: listed.file_name.clone(),
        manifest_file: listed.manifest_name.clone(),
        erasure_id: acting.erasure_id.clone(),
        backup_id: listed.backup_id.clone(),
        old_manifest_sha256,
        new_manifest_sha256: sha256_hex(&manifest_bytes),
        old_bytes,
        new_bytes,
        manifest: Place { offset: 0, length: manifest_bytes.len() as u64, at, sha256: sha256_hex(&manifest_bytes) },
        ranges,
    };
    let end = redo.size();
    plan.seal(end, &mut redo).map_err(publish::container_error)?;
    let redo_bytes = redo.size();
    reserve(&file, old_bytes, new_bytes)?;
    failpoint::reach("erase_publish")?;
    let name = settle::redo_name(&listed.file_name);
    redo.publish(&name)?;
    pending::redo_at_commit(directory, Some(&opened.lock), file, name);
    failpoint::reach("erase_published")?;
    let hex = |hash: [u8; 32]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let beside = FileFacts {
        name: listed.manifest_name.clone(),
        size: manifest_bytes.len() as u64,
        sha256: Some(sha256_hex(&manifest_bytes)),
    };
    let container = FileFacts { name: listed.file_name.clone(), size: new_bytes, sha256: Some(hex(file_sha256)) };
    journal_erasures::relist(&journal::from_manifest(&manifest, directory.path(), &container, &beside, None))?;
    Ok(Some(Written { chunks, bytes: redo_bytes + changed + manifest_bytes.len() as u64 }))
}

/// The new bytes, in place where they have the room, else of the whole file.
fn make(source: &Source, directory: &Directory, found: &Found, note: Erasure) -> Result<New> {
    let container = &*source.container;
    let damaged = |problem: ContainerError| match problem {
        ContainerError::Write { source, .. } => publish::write_error(source),
        problem => source.damaged(problem),
    };
    let mut redo = publish::stage(directory, "redo")?;
    if let Some(patch) = patch(container, &found.erased, note.clone(), &mut redo).map_err(damaged)? {
        return Ok(New {
            redo,
            ranges: patch.ranges.iter().map(Place::from).collect(),
            new_bytes: patch.new_bytes,
            file_sha256: patch.file_sha256,
            manifest: patch.manifest,
            manifest_bytes: patch.manifest_bytes,
            chunks: Some(patch.chunks),
        });
    }
    drop(redo);
    let redo = publish::stage(directory, "redo")?;
    let written = rewrite(container, &found.erased, note, None, redo).map_err(damaged)?;
    // The end of the file is written first: its manifest tells that the change has begun.
    let (head, end) = (written.manifest.content_bytes, written.bytes);
    let ranges = [(0, head), (head, end)].map(|(from, to)| Place::of(&written.out, from, to));
    let ranges = ranges.into_iter().collect::<std::result::Result<Vec<_>, _>>().map_err(damaged)?;
    Ok(New {
        redo: written.out,
        ranges,
        new_bytes: written.bytes,
        file_sha256: written.sha256,
        manifest: written.manifest,
        manifest_bytes: written.manifest_bytes,
        chunks: None,
    })
}

/// So that nothing lacks room once the file is being changed.
pub fn reserve(file: &File, old_bytes: u64, new_bytes: u64) -> Result<()> {
    if new_bytes <= old_bytes {
        return Ok(());
    }
    agent_backup_core::store::reserve(file, new_bytes).map_err(Error::Write)
}

/// The rows of a backup in the answer.
fn rows(listed: &Listed, found: &Found, action: &'static str, written: Option<&Written>) -> Vec<Row> {
    let mut details = found.notes.clone();
    if found.rows > 0 || found.chunks_read < found.chunks {
        details.push(format!("{} of {} chunks were read", found.chunks_read, found.chunks));
    }
    if written.is_some_and(|written| written.chunks.is_none()) {
        let why = if Form::of(&listed.file_name) == Form::Sealed {
            "it is encrypted"
        } else if shelf::is_url(&listed.directory) {
            "it stands in a store"
        } else {
            "the new bytes had no room in place"
        };
        details.push(format!("the whole file is written anew: {why}"));
    }
    let action = if found.rows == 0 { "nothing" } else { action };
    let mut rows = vec![Row {
        chunks: written.and_then(|written| written.chunks),
        bytes: written.map(|written| written.bytes),
        details: details.join("; "),
        ..Row::of_backup(listed, found.rows, action)
    }];
    if !found.unread.is_empty() {
        rows.push(left(listed, found.unread.join("; ")));
    }
    rows
}

fn left(listed: &Listed, details: String) -> Row {
    Row { row_count: None, details, ..Row::of_backup(listed, 0, "left") }
}
