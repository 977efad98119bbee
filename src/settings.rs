//! Every setting of the extension, and a typed reader for each. No other file knows a setting's name.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys;

use crate::server::encoding;

static DIRECTORY: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static DIRECTORY_ROLE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"agent_backup_operator"));
static WORKERS: GucSetting<i32> = GucSetting::<i32>::new(0);
static CHUNK_SIZE: GucSetting<i32> = GucSetting::<i32>::new(256);
static LOCK_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(0);
static OFFSITE_URL: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static BACKUP_URL: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static OFFSITE_SERVER: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static CLOCK: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static RECIPIENTS_FILE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static IDENTITY_FILE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static FAILPOINT: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

/// The directory inside the data directory that is used while `agent_backup.directory` is not set.
const DEFAULT_DIRECTORY: &str = "agent_backup";

/// Registers all settings; called once, when the library is loaded.
pub fn register() {
    GucRegistry::define_string_guc(
        c"agent_backup.directory",
        c"Directory on the server that backups are written to.",
        c"An absolute path owned by the server's user and closed to others. Empty means agent_backup inside the data directory.",
        &DIRECTORY,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"agent_backup.directory_role",
        c"Role whose members may write backups into agent_backup.directory.",
        c"Other paths need pg_write_server_files or a superuser, as for COPY.",
        &DIRECTORY_ROLE,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"agent_backup.workers",
        c"Threads that encode and compress while one table is scanned.",
        c"0 means one for each core that the server may use.",
        &WORKERS,
        0,
        64,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"agent_backup.chunk_size",
        c"Size of the rows that are compressed as one chunk.",
        c"A chunk is what can be read, checked or replaced without touching the rest of a file.",
        &CHUNK_SIZE,
        16,
        64 * 1024,
        GucContext::Userset,
        GucFlags::UNIT_KB,
    );
    GucRegistry::define_int_guc(
        c"agent_backup.lock_timeout",
        c"Longest wait for the lock of one table.",
        c"0 means that the session's lock_timeout holds.",
        &LOCK_TIMEOUT,
        0,
        i32::MAX,
        GucContext::Userset,
        GucFlags::UNIT_MS,
    );
    register_offsite();
    GucRegistry::define_string_guc(
        c"agent_backup.recipients_file",
        c"File with the public keys that backups are encrypted for, unless their set names one of its own.",
        c"An absolute path on the server; a line age1... for each key. Empty means that such backups are not encrypted.",
        &RECIPIENTS_FILE,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"agent_backup.identity_file",
        c"File with the secret keys that open encrypted backups here.",
        c"An absolute path on the server, of mode 0600. Empty means that this server can write encrypted backups and not read them.",
        &IDENTITY_FILE,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"agent_backup.debug_failpoint",
        c"Makes the named step fail, for testing of recovery only.",
        c"A list of step=error, step=panic or step=pause, separated by commas.",
        &FAILPOINT,
        GucContext::Suset,
        GucFlags::NO_SHOW_ALL,
    );
    GucRegistry::define_string_guc(
        c"agent_backup.debug_clock",
        c"The time that backups, retention and health go by, for testing only.",
        c"A time in RFC 3339, as 2026-03-01T02:00:00Z. Empty means the machine's clock.",
        &CLOCK,
        GucContext::Suset,
        GucFlags::NO_SHOW_ALL,
    );
    reserve_prefix();
}

fn register_offsite() {
    GucRegistry::define_string_guc(
        c"agent_backup.backup_url",
        c"Place that backups of sets are written straight to, with no file in agent_backup.directory.",
        c"s3://bucket/prefix or file:///directory, without credentials. Empty means agent_backup.directory.",
        &BACKUP_URL,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"agent_backup.offsite_url",
        c"Place that copies of backups go to, for sets without a destination of their own.",
        c"s3://bucket/prefix or file:///directory, without credentials. Empty means none.",
        &OFFSITE_URL,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"agent_backup.offsite_server",
        c"Foreign server of agent_backup_s3 by which stores are reached that name none.",
        c"Empty means what the environment and the shared files of AWS say to the server's process.",
        &OFFSITE_SERVER,
        GucContext::Suset,
        GucFlags::default(),
    );
}

/// Where copies go of sets that have no destination of their own.
pub fn offsite_url() -> Option<String> {
    text(&OFFSITE_URL).filter(|url| !url.is_empty())
}

/// Where backups of sets are written straight to, in place of the directory.
pub fn backup_url() -> Option<String> {
    text(&BACKUP_URL).filter(|url| !url.is_empty())
}

/// The foreign server by which stores are reached that name none.
pub fn offsite_server() -> Option<String> {
    text(&OFFSITE_SERVER).filter(|server| !server.is_empty())
}

/// The backup directory: as set, or the default inside the data directory.
pub fn directory() -> PathBuf {
    match text(&DIRECTORY) {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => data_directory().join(DEFAULT_DIRECTORY),
    }
}

/// The default directory, which alone may lie inside the data directory.
pub fn default_directory() -> PathBuf {
    data_directory().join(DEFAULT_DIRECTORY)
}

/// Where the server keeps temporary files of the default tablespace; it is made when it is first wanted.
pub fn temporary_directory() -> PathBuf {
    data_directory().join("base").join("pgsql_tmp")
}

/// The server's data directory.
pub fn data_directory() -> PathBuf {
    // SAFETY: DataDir is set once by the postmaster, before any backend runs, to a string that lives as long as it.
    let path = unsafe { CStr::from_ptr(pg_sys::DataDir) };
    PathBuf::from(OsStr::from_bytes(path.to_bytes()))
}

/// The role whose members may write into the backup directory, if one is set.
pub fn directory_role() -> Option<String> {
    text(&DIRECTORY_ROLE).filter(|role| !role.is_empty())
}

/// The file with the public keys for sets that name none, if one is set.
pub fn recipients_file() -> Option<String> {
    text(&RECIPIENTS_FILE).filter(|path| !path.is_empty())
}

/// The file with the secret keys of this server, if one is set.
pub fn identity_file() -> Option<String> {
    text(&IDENTITY_FILE).filter(|path| !path.is_empty())
}

/// Number of threads for one scan, at least 1.
pub fn workers() -> usize {
    match WORKERS.get() {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n.unsigned_abs() as usize,
    }
}

/// Bytes of rows that make one chunk.
pub fn chunk_bytes() -> usize {
    CHUNK_SIZE.get().unsigned_abs() as usize * 1024
}

/// Longest wait for one table's lock in milliseconds, or `None` for the session's own `lock_timeout`.
pub fn lock_timeout_ms() -> Option<i32> {
    Some(LOCK_TIMEOUT.get()).filter(|&ms| ms > 0)
}

/// What `agent_backup.debug_failpoint` asks of the named step: `error`, `panic`, `pause`.
pub fn failpoint(step: &str) -> Option<String> {
    let wanted = text(&FAILPOINT)?;
    let action = wanted.split(',').filter_map(|item| item.trim().split_once('='));
    action.into_iter().find(|(name, _)| *name == step).map(|(_, action)| action.to_owned())
}

/// The moment that `agent_backup.debug_clock` gives, in RFC 3339.
pub fn clock() -> Option<String> {
    text(&CLOCK).filter(|moment| !moment.is_empty())
}

/// A setting of the server or of another extension, in the server's bytes; none where there is none of this name. Also one
/// that the caller may not see.
pub fn of_server(name: &str) -> Option<CString> {
    let name = CString::new(name).ok()?;
    // SAFETY: a NUL-terminated name; missing_ok makes an unknown one a null; the value is copied.
    unsafe {
        let value = pg_sys::GetConfigOption(name.as_ptr(), true, false);
        (!value.is_null()).then(|| CStr::from_ptr(value).to_owned())
    }
}

/// A setting's text. In a file of settings it is UTF-8 whatever the database is in; given by SET it is in the database's
/// encoding.
fn text(setting: &GucSetting<Option<CString>>) -> Option<String> {
    let bytes = setting.get()?.into_bytes();
    Some(String::from_utf8(bytes).unwrap_or_else(|error| encoding::shown(error.as_bytes())))
}

/// A mistyped `agent_backup.…` is an error from now on, not a silent placeholder.
fn reserve_prefix() {
    // SAFETY: called from _PG_init with a string constant.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"agent_backup".as_ptr()) }
}
