//! Public keys: for whom files are sealed.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use age::{EncryptError, Recipient, x25519};
use age_core::format::{FileKey, Stanza};
use sha2::{Digest, Sha256};

use super::KEY_ID_STANZA;
use super::error::CryptError;
use super::keyfile::{self, Allowed};

/// Short name of a key: the first eight bytes of the SHA-256 of its public text, as 16 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl KeyId {
    const LENGTH: usize = 16;

    /// Of a recipient's text, `age1…`.
    fn of(recipient: &str) -> Self {
        let mut digits = hex::encode(Sha256::digest(recipient.as_bytes()));
        digits.truncate(Self::LENGTH);
        KeyId(digits)
    }

    /// Of a secret key.
    pub(super) fn of_identity(identity: &x25519::Identity) -> Self {
        Self::of(&identity.to_public().to_string())
    }

    /// Reads 16 hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (text.len() == Self::LENGTH && digits).then(|| KeyId(text.into()))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One or more public keys; the identity of any of them opens what is sealed.
#[derive(Debug, Clone)]
pub struct Recipients {
    keys: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    id: KeyId,
    recipient: x25519::Recipient,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

impl Recipients {
    /// Reads a recipients file, which must be a regular file of this process's user or of root that nobody else may write.
    ///
    /// # Errors
    /// `CannotRead`, `KeyFile`, and those of [`Recipients::parse`].
    pub fn from_file(path: &Path) -> Result<Self, CryptError> {
        Self::parse(&keyfile::read(path, Allowed::OthersRead)?)
    }

    /// These and more, each once.
    #[must_use]
    pub fn and(mut self, more: Recipients) -> Self {
        for key in more.keys {
            if self.keys.iter().all(|known| known.id != key.id) {
                self.keys.push(key);
            }
        }
        self
    }

    /// Reads the text of a recipients file: a key a line, empty lines and lines that begin with `#` left out.
    ///
    /// # Errors
    /// `NoRecipient`; `BadRecipient` with the line's number, never its text.
    pub fn parse(text: &str) -> Result<Self, CryptError> {
        let mut keys: Vec<Key> = Vec::new();
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let bad = |reason| CryptError::BadRecipient { line, reason };
            let recipient: x25519::Recipient = text.parse().map_err(|_| bad(reason(text)))?;
            let id = KeyId::of(&recipient.to_string());
            if keys.iter().all(|key| key.id != id) {
                keys.push(Key { id, recipient });
            }
        }
        if keys.is_empty() { Err(CryptError::NoRecipient) } else { Ok(Recipients { keys }) }
    }

    /// Ids of the keys, in the order of the file: for the manifest and the catalogue.
    pub fn key_ids(&self) -> Vec<KeyId> {
        self.keys.iter().map(|key| key.id.clone()).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &dyn Recipient> {
        self.keys.iter().map(|key| key as &dyn Recipient)
    }
}

/// Why a line was not taken.
fn reason(text: &str) -> &'static str {
    if text.starts_with("AGE-SECRET-KEY-") || text.starts_with("AGE-PLUGIN-") {
        "it is a secret key, which does not belong here"
    } else if text.starts_with("ssh-") {
        "SSH keys are not supported, only keys of age-keygen"
    } else if text.starts_with("age1pq") || text.starts_with("age1tag") {
        "this kind of age key is not supported, only X25519"
    } else if text.starts_with("age1") {
        "it is misspelt, or a key of a plugin"
    } else {
        "it does not begin with \"age1\""
    }
}

impl Recipient for Key {
    /// The recipient's own stanza, and one that tells the key's id.
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        let (mut stanzas, labels) = self.recipient.wrap_file_key(file_key)?;
        stanzas.push(Stanza { tag: KEY_ID_STANZA.into(), args: vec![self.id.0.clone()], body: Vec::new() });
        Ok((stanzas, labels))
    }
}
