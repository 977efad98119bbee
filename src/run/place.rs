//! The directory that a call writes to: who may, what it is, and the locks that keep others out of it.

use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::sync::Once;

use agent_backup_core::plan::names::{self, Form};
use agent_backup_core::store::object::ObjectError;
use agent_backup_core::store::{self, Directory, DirectoryLock, DirectoryRule, StoreError};
use pgrx::{PgLogLevel, pg_sys};

use crate::error::{Error, OffsiteError, Result};
use crate::journal;
use crate::journal_offsite;
use crate::run::erase::{pending, settle, tombstones};
use crate::run::removal;
use crate::run::reseal::recover;
use crate::run::shelf;
use crate::server::lock::SetLock;
use crate::server::{message, privilege};
use crate::settings;

/// A set's directory, held alone.
pub struct SetPlace {
    pub directory: Directory,
    pub lock: Rc<DirectoryLock>,
    _set: SetLock,
}

/// Opens the directory of a set for writing: one session of this database, and one process of this machine, at a time.
/// What dead writers left there is removed.
pub fn of_set(set: &str) -> Result<SetPlace> {
    let path = settings::directory();
    privilege::require_file_writer(&path)?;
    let set_lock = SetLock::acquire(set)?;
    let directory = open(&path)?.subdirectory(&names::encode(set))?;
    let lock = lock(&directory, set)?;
    for left in directory.sweep_staging(&lock)? {
        message::say(PgLogLevel::DEBUG1, &format!("removed \"{left}\", left by a backup that did not end"));
    }
    settle::directory(&directory)?;
    recover::run(&directory)?;
    Ok(SetPlace { directory, lock, _set: set_lock })
}

/// Opens the directory of a set's incrementals for writing, as `of_set` does that of its backups. Both can be written to
/// at once.
pub fn of_incrementals(set: &str) -> Result<SetPlace> {
    let path = settings::directory();
    privilege::require_file_writer(&path)?;
    let set_lock = SetLock::of_incrementals(set)?;
    let directory = open(&path)?.subdirectory(&names::encode(set))?.subdirectory(names::INCREMENTALS)?;
    let lock = lock(&directory, set)?;
    directory.sweep_staging(&lock)?;
    settle::directory(&directory)?;
    recover::run(&directory)?;
    Ok(SetPlace { directory, lock, _set: set_lock })
}

/// Opens the directory of the tombstones for writing, making it where it is missing, and removes what dead writers left
/// there. Errors: `Busy` while another session erases.
pub fn of_tombstones() -> Result<(Directory, Rc<DirectoryLock>)> {
    let path = settings::directory();
    privilege::require_file_writer(&path)?;
    let directory = open(&path)?.subdirectory(tombstones::DIRECTORY)?;
    let lock = lock(&directory, tombstones::DIRECTORY)?;
    directory.sweep_staging(&lock)?;
    Ok((directory, lock))
}

/// The same for reading. Whoever may read a backup is to see whom it must not show, so no right of its own is asked for.
pub fn of_tombstones_for_reading() -> Result<Directory> {
    Ok(Directory::open(&settings::directory().join(tombstones::DIRECTORY), rule())?)
}

/// Refuses a set of which neither the catalogue nor the disk knows anything: nothing is made for a mistyped name.
pub fn require_known(set: &str) -> Result<()> {
    privilege::require_file_writer(&settings::directory())?;
    if journal::has_set(set)? || path_of_set(set).symlink_metadata().is_ok() {
        return Ok(());
    }
    Err(journal::unknown_set(set)?)
}

/// Opens a directory for one exported file, making it where it is missing.
pub fn of_export(path: &Path) -> Result<Directory> {
    privilege::require_file_writer(path)?;
    let root = settings::directory();
    match path.strip_prefix(&root) {
        // Step by step below the backup directory, so that no link is followed on the way.
        Ok(below) => below.components().try_fold(open(&root)?, |directory, component| match component {
            Component::CurDir => Ok(directory),
            component => Ok(directory.subdirectory(&component.as_os_str().to_string_lossy())?),
        }),
        Err(_) => open(path),
    }
}

/// Opens a directory to read a backup from; nothing is made.
pub fn for_reading(path: &Path) -> Result<Directory> {
    privilege::require_backup_reader(path)?;
    Ok(Directory::open(path, rule())?)
}

/// The caller may read backups from a place in a store: any, who may read server files; those that are a destination or
/// were imported from, who may read the backup directory.
pub fn require_store_reader(url: &str) -> Result<()> {
    if privilege::is_file_reader() {
        return Ok(());
    }
    if journal_offsite::is_known(url)? || is_configured(url) {
        return privilege::require_backup_reader(&settings::directory());
    }
    let (what, grantable) = ("read backups from", "pg_read_server_files");
    Err(OffsiteError::MayNotReach { what, url: url.to_owned(), grantable }.into())
}

/// The caller may write to a place in a store: any, who may write server files; who may change sets, one that is a
/// destination or below one.
pub fn require_store_writer(url: &str) -> Result<()> {
    if privilege::is_file_writer() {
        return Ok(());
    }
    if journal_offsite::is_destination(url)? || is_configured(url) {
        return privilege::require_operator();
    }
    let (what, grantable) = ("write to", "pg_write_server_files");
    Err(OffsiteError::MayNotReach { what, url: url.to_owned(), grantable }.into())
}

/// Whether a setting names the place, or one above it.
fn is_configured(url: &str) -> bool {
    [settings::offsite_url(), settings::backup_url()].iter().flatten().any(|known| is_below(url, known))
}

fn is_below(url: &str, known: &str) -> bool {
    let known = known.trim_end_matches('/');
    url.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Opens the directory of listed backups of a set to remove some of them, and keeps other writers out. The set's own lock is
/// held by the caller. Errors: `Store` where it is not there or nothing can be removed from it, `Busy`.
pub fn to_remove(path: &Path, set: &str) -> Result<(Directory, Rc<DirectoryLock>)> {
    privilege::require_file_writer(path)?;
    let directory = Directory::open(path, rule())?;
    directory.check_writable()?;
    let lock = lock(&directory, set)?;
    Ok((directory, lock))
}

/// Where rows wait that were read and are in no file yet: beside it, or, where they will be sealed, where the server keeps
/// its own temporary files.
pub fn of_spools(beside: &Directory, form: Form) -> Result<Directory> {
    match form {
        Form::Plain => Ok(beside.clone()),
        Form::Sealed => of_temporary_files(),
    }
}

/// Where the server keeps its own temporary files.
pub fn of_temporary_files() -> Result<Directory> {
    let path = settings::temporary_directory();
    // It may be a link to a faster disk, as the server allows.
    let path = path.canonicalize().unwrap_or(path);
    Ok(Directory::open_or_create(&path, DirectoryRule::default())?)
}

/// The directory of a set, there or not.
pub fn path_of_set(set: &str) -> PathBuf {
    settings::directory().join(names::encode(set))
}

/// A path as a person gives it: relative ones are below the backup directory, and a URL is as it is.
pub fn absolute(path: &str) -> PathBuf {
    if shelf::is_url(path) { PathBuf::from(path) } else { settings::directory().join(path) }
}

fn open(path: &Path) -> Result<Directory> {
    if shelf::is_url(&path.to_string_lossy()) {
        let reason =
            "it is a place in a store: set agent_backup.backup_url to it, and the directory to one of this server";
        return Err(Error::InvalidOption { option: "agent_backup.directory", reason: reason.into() });
    }
    clean_up_at_exit();
    Ok(Directory::open_or_create(path, rule())?)
}

/// An error of a store: those of a directory are told as they are of any other.
pub fn object_error(error: ObjectError) -> Error {
    match error {
        ObjectError::Local(error) => error.into(),
        other => OffsiteError::Object(other).into(),
    }
}

/// Where files of ours may be.
pub fn rule() -> DirectoryRule {
    DirectoryRule {
        forbidden_root: Some(settings::data_directory()),
        allowed_below: vec![settings::default_directory()],
    }
}

fn lock(directory: &Directory, set: &str) -> Result<Rc<DirectoryLock>> {
    if let Some(held) = removal::held_lock(directory).or_else(|| pending::held_lock(directory)) {
        return Ok(held);
    }
    directory.lock_exclusive().map(Rc::new).map_err(|error| match error {
        StoreError::Busy { holder, .. } => Error::Busy { set: set.to_owned(), holder: holder.map(u32::cast_signed) },
        other => other.into(),
    })
}

/// A session that is terminated does not unwind: what it staged is removed when its process exits.
fn clean_up_at_exit() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // SAFETY: registers a function that lives as long as the process and takes no argument.
        unsafe { pg_sys::on_proc_exit(Some(remove_staged), pg_sys::Datum::from(0)) }
    });
}

unsafe extern "C-unwind" fn remove_staged(_code: i32, _argument: pg_sys::Datum) {
    for (file, error) in store::remove_all_staged() {
        // The process is exiting: its standard error is the server's log.
        eprintln!("agent_backup: could not remove \"{file}\": {error}");
    }
}
