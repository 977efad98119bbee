//! Redo files: following one, and deciding on one that a crash left. A file that is changed or read is locked (flock: shared
//! by who reads, alone by who changes it), so a redo file that is seen under a lock is of nobody who lives.

use std::fs::{File, TryLockError};
use std::time::{Duration, Instant};

use agent_backup_core::container::{Container, ContainerError, ReadAt, Redo};
use agent_backup_core::store::{Directory, FileKind, StoreError};
use agent_backup_core::stream::sha256_hex;
use pgrx::check_for_interrupts;

use crate::error::{EraseError, Error, Result};
use crate::journal_erasures;
use crate::run::erase::pending;
use crate::run::{adopt, say};
use crate::server::snapshot;
use crate::settings;

/// Between two tries of a lock.
const PATIENCE: Duration = Duration::from_millis(5);
const ENDING: &str = ".redo";

/// The redo file beside a file.
pub fn redo_name(file: &str) -> String {
    format!("{file}{ENDING}")
}

/// Who is let in beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    Shared,
    Alone,
}

/// Locks an open file until it is closed. Waits, answering interrupts, for no longer than `agent_backup.lock_timeout`; false
/// when that passes.
pub fn lock(file: &File, hold: Hold) -> Result<bool> {
    let begun = Instant::now();
    loop {
        let tried = match hold {
            Hold::Shared => file.try_lock_shared(),
            Hold::Alone => file.try_lock(),
        };
        match tried {
            Ok(()) => return Ok(true),
            // A file system without locks has no other server on it that would keep to them.
            Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(Error::Write(error)),
            Err(TryLockError::WouldBlock) => (),
        }
        check_for_interrupts!();
        let limit = settings::lock_timeout_ms().map(|ms| Duration::from_millis(ms.unsigned_abs().into()));
        if limit.is_some_and(|limit| begun.elapsed() > limit) {
            return Ok(false);
        }
        std::thread::sleep(PATIENCE);
    }
}

/// Does what a redo file tells, to its end: the file, the manifest beside it, and then the redo file goes.
pub fn follow(
    directory: &Directory,
    plan: &Redo,
    source: &impl ReadAt,
    file: &File,
) -> std::result::Result<(), Failed> {
    plan.apply(source, file)?;
    let mut staged = directory.stage("metadata")?;
    staged.append(&plan.manifest_bytes(source)?)?;
    staged.publish_over(&plan.manifest_file)?;
    Ok(directory.remove(&redo_name(&plan.file))?)
}

/// Why a redo file could not be followed.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error(transparent)]
    Container(#[from] ContainerError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Ends what crashes left in a directory that is locked. One that cannot be ended is told of, and left.
pub fn directory(directory: &Directory) -> Result<()> {
    for file in directory.list()?.into_iter().filter(|file| file.kind == FileKind::Regular) {
        let Some(name) = file.name.to_str().and_then(|name| name.strip_suffix(ENDING)).map(str::to_owned) else {
            continue;
        };
        if pending::changes(directory, &name) {
            continue;
        }
        match self::file(directory, &name) {
            Ok(()) => (),
            Err(error @ Error::Erase(_)) => say::warning(&error.to_string()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What whoever is to read a backup calls first. Errors: `Pending` where this very transaction changes it.
pub fn before_reading(directory: &Directory, name: &str) -> Result<()> {
    if pending::changes(directory, name) {
        return Err(EraseError::Pending { backup: name.to_owned() }.into());
    }
    file(directory, name)
}

/// Ends what a crash left of one file, if anything.
pub fn file(directory: &Directory, name: &str) -> Result<()> {
    let redo = redo_name(name);
    let unfinished =
        |reason: String| EraseError::Unfinished { file: directory.path().join(name).display().to_string(), reason };
    let source = match directory.open_file(&redo) {
        Ok(source) => source,
        Err(StoreError::Missing { .. }) => return Ok(()),
        Err(error) => return Err(unfinished(error.to_string()).into()),
    };
    if snapshot::read_only() == Some("on a standby") {
        // The primary ends what it began.
        let is_whole = has_not_begun(directory, name, &source);
        return if is_whole { Ok(()) } else { Err(unfinished("this is a standby".into()).into()) };
    }
    let target = match directory.open_to_change(name) {
        Ok(target) => target,
        // What it was for is gone.
        Err(StoreError::Missing { .. }) => return Ok(directory.remove(&redo)?),
        Err(error) => return Err(unfinished(error.to_string()).into()),
    };
    if !lock(&target, Hold::Alone)? {
        return Err(unfinished("another session has it".into()).into());
    }
    // While we waited its maker may have ended it.
    if matches!(directory.open_file(&redo), Err(StoreError::Missing { .. })) {
        return Ok(());
    }
    let plan = Redo::open(&source).map_err(|error| unfinished(error.to_string()))?;
    let has_begun = manifest_of(&target, &plan).as_deref() != Some(&plan.old_manifest_sha256);
    let listed = journal_erasures::listed_file(&directory.path().display().to_string(), name)?;
    // On a server that does not list the backup nobody took the erasure back.
    let is_unknown = listed.is_none() && !plan.backup_id.is_empty();
    if has_begun || is_unknown || journal_erasures::is_done(&plan.erasure_id)? {
        follow(directory, &plan, &source, &target).map_err(|error| unfinished(error.to_string()))?;
        say::notice(&format!("{name}: an erasure that was begun before is done now"));
        return Ok(());
    }
    Ok(directory.remove(&redo)?)
}

/// On a standby that cannot write: whether the file is as it was.
fn has_not_begun(directory: &Directory, name: &str, source: &File) -> bool {
    let Ok(plan) = Redo::open(source) else { return false };
    directory.open_file(name).is_ok_and(|file| manifest_of(&file, &plan).as_deref() == Some(&plan.old_manifest_sha256))
}

/// The SHA-256 of the manifest that tells which state a file is in: it is changed first.
fn manifest_of(file: &File, plan: &Redo) -> Option<String> {
    if plan.backup_id.is_empty() {
        // The file of an incremental has none; its own bytes tell.
        let mut bytes = vec![0; ReadAt::len(file).ok()? as usize];
        ReadAt::read_exact_at(file, 0, &mut bytes).ok()?;
        return Some(sha256_hex(&bytes));
    }
    Container::open(file).ok().map(|container| sha256_hex(&container.manifest_bytes))
}

/// Lists backups anew whose files tell of an erasure that the catalogue does not know: it was brought back to a moment
/// before.
pub fn relist(directory: &Directory, file: &str, beside: &str) -> Result<Option<String>> {
    let shown = directory.path().display().to_string();
    let Some((_, listed)) = journal_erasures::listed_file(&shown, file)? else { return Ok(None) };
    let Some(manifest) = adopt::manifest_beside(directory, beside)? else { return Ok(None) };
    let (manifest, bytes) = manifest;
    if sha256_hex(&bytes) == listed || !follows(&manifest, &listed) {
        return Ok(None);
    }
    adopt::relist(directory, file, beside).map(Some)
}

/// Whether a manifest took the place of the one with this SHA-256, by erasures.
pub fn follows(manifest: &agent_backup_core::container::Manifest, listed: &str) -> bool {
    manifest.erasures.iter().any(|note| note.replaced_sha256 == listed)
}
