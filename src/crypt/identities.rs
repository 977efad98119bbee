//! Secret keys: who may open. Nothing here shows one, and memory that held one is overwritten.

use std::fmt;
use std::path::Path;

use age::x25519;

use super::error::CryptError;
use super::keyfile::{self, Allowed};
use super::recipients::KeyId;

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
    /// `CannotRead`, `KeyFile`, and those of [`Identities::parse`].
    pub fn from_file(path: &Path) -> Result<Self, CryptError> {
        Self::parse(&keyfile::read(path, Allowed::OwnerOnly)?)
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
