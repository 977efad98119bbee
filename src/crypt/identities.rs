//! Secret keys: who may open. Nothing here shows one, and memory that held one is overwritten.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use age::x25519;
use nix::fcntl::OFlag;
use zeroize::Zeroizing;

use super::error::CryptError;
use super::recipients::KeyId;

/// Longest identity file that is read.
const LIMIT: u64 = 64 << 10;

/// One or more secret keys.
#[derive(Clone)]
pub struct Identities {
    keys: Vec<x25519::Identity>,
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.key_ids()).finish()
    }
}

impl Identities {
    /// Reads an identity file, which must be a regular file of this process's user or of root that nobody else may read.
    ///
    /// # Errors
    /// `CannotRead`, `IdentityFile`, and those of [`Identities::parse`].
    pub fn from_file(path: &Path) -> Result<Self, CryptError> {
        let failed = |source| CryptError::CannotRead { path: path.into(), source };
        let refuse = |reason| CryptError::IdentityFile { path: path.into(), reason };
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).map_err(|error| {
            if error.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32) {
                refuse("it is a symbolic link")
            } else {
                failed(error)
            }
        })?;
        let facts = file.metadata().map_err(failed)?;
        if !facts.is_file() {
            return Err(refuse("it is not a regular file"));
        }
        if facts.uid() != nix::unistd::geteuid().as_raw() && facts.uid() != 0 {
            return Err(refuse("it belongs to another user"));
        }
        if facts.mode() & 0o077 != 0 {
            return Err(refuse("others than its owner may use it"));
        }
        if facts.len() > LIMIT {
            return Err(refuse("it is longer than 64 KiB"));
        }
        // Room for all of it at once: a buffer that grows would leave copies behind.
        let mut text = Zeroizing::new(String::with_capacity(LIMIT as usize));
        file.take(LIMIT).read_to_string(&mut text).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => refuse("it is not text"),
            _ => failed(error),
        })?;
        Self::parse(&text)
    }

    /// Reads the text of an identity file: a key a line, empty lines and lines that begin with `#` left out.
    ///
    /// # Errors
    /// `NoIdentity`; `BadIdentity` with the line's number, never its text; `Unsupported` for a file that is itself
    /// encrypted with a passphrase, since nobody is there to type it.
    pub fn parse(text: &str) -> Result<Self, CryptError> {
        if text.starts_with("age-encryption.org/") || text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----") {
            return Err(CryptError::Unsupported { what: "an identity file behind a passphrase" });
        }
        let mut keys = Vec::new();
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            keys.push(text.parse().map_err(|_| CryptError::BadIdentity { line, reason: reason(text) })?);
        }
        if keys.is_empty() { Err(CryptError::NoIdentity) } else { Ok(Identities { keys }) }
    }

    /// Ids of the keys, as [`super::Recipients::key_ids`] names them.
    pub fn key_ids(&self) -> Vec<KeyId> {
        self.keys.iter().map(KeyId::of_identity).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.keys.iter().map(|key| key as &dyn age::Identity)
    }
}

/// Why a line was not taken.
fn reason(text: &str) -> &'static str {
    if text.starts_with("age1") {
        "it is a public key"
    } else if text.starts_with("AGE-PLUGIN-") {
        "keys of plugins are not supported"
    } else if text.starts_with("-----BEGIN") {
        "SSH and PEM keys are not supported, only keys of age-keygen"
    } else if text.starts_with("AGE-SECRET-KEY-PQ") {
        "this kind of age key is not supported, only X25519"
    } else {
        "it is misspelt"
    }
}
