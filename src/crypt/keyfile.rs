//! Which files of keys are acceptable, and their text.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use zeroize::Zeroizing;

use super::error::CryptError;

/// Longest file of keys that is read.
const LIMIT: u64 = 64 << 10;

/// What others than the owner may do with a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Allowed {
    /// Nothing: it holds secrets.
    OwnerOnly,
    /// Read it. Who could write it could read every backup from then on.
    OthersRead,
}

impl Allowed {
    fn forbidden(self) -> u32 {
        match self {
            Allowed::OwnerOnly => 0o077,
            Allowed::OthersRead => 0o022,
        }
    }

    fn refusal(self) -> &'static str {
        match self {
            Allowed::OwnerOnly => "others than its owner may use it",
            Allowed::OthersRead => "others than its owner may write it",
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Allowed::OwnerOnly => "Give a regular file that belongs to the server's user, with mode 0600: chmod 0600.",
            Allowed::OthersRead => {
                "Give the absolute path of a regular file that belongs to the server's user or to root, with mode 0644: chmod 0644."
            }
        }
    }
}

/// The text of a regular file of this process's user or of root. What held it is overwritten when it is dropped.
///
/// # Errors
/// `CannotRead`, `KeyFile`.
pub(super) fn read(path: &Path, allowed: Allowed) -> Result<Zeroizing<String>, CryptError> {
    let refuse = |reason| CryptError::KeyFile { reason, hint: allowed.hint() };
    if !path.is_absolute() {
        return Err(refuse("its path is not absolute"));
    }
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).map_err(|error| {
        if error.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32) {
            refuse("it is a symbolic link")
        } else {
            CryptError::CannotRead(error)
        }
    })?;
    let facts = file.metadata().map_err(CryptError::CannotRead)?;
    if !facts.is_file() {
        return Err(refuse("it is not a regular file"));
    }
    if facts.uid() != nix::unistd::geteuid().as_raw() && facts.uid() != 0 {
        return Err(refuse("it belongs to another user"));
    }
    if facts.mode() & allowed.forbidden() != 0 {
        return Err(refuse(allowed.refusal()));
    }
    if facts.len() > LIMIT {
        return Err(refuse("it is longer than 64 KiB"));
    }
    // Room for all of it at once: a buffer that grows would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(LIMIT as usize));
    file.take(LIMIT).read_to_string(&mut text).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => refuse("it is not text"),
        _ => CryptError::CannotRead(error),
    })?;
    Ok(text)
}
