//! A tombstone: that a person was erased, so that older copies of the rows do not come back. It tells tables, columns and
//! a keyed hash of the value, and nothing of the person.
//!
//! The key is random, of this erasure alone, and stands beside the hash: whoever has the file can check one guess at a
//! time, as one who restores must be able to, on another server too. So it hides a value as far as nobody guesses it, and what was
//! computed for one erasure is of no use for another.

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::error::ContainerError;
use super::manifest::{item_per_line, sealed};
use super::parse::check_hash;

/// The version that this program writes, and the highest that it reads.
pub const VERSION: u32 = 1;

/// One erasure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// Version of this form.
    pub version: u32,
    pub erasure_id: String,
    pub set_name: String,
    /// Rows of backups that began before are meant; a person may come back later.
    pub erased_at: DateTime<Utc>,
    /// 32 random bytes in hex.
    pub key: String,
    /// HMAC-SHA-256 of the value under the key, in hex.
    pub mac: String,
    #[serde(serialize_with = "item_per_line")]
    pub places: Vec<Grave>,
}

/// Where the value named the person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grave {
    pub schema: String,
    pub name: String,
    /// Column or path.
    pub subject: String,
}

/// The keyed hash of a value, in hex.
pub fn mac(key: &str, value: &[u8]) -> String {
    let mut mac = keyed(key);
    mac.update(value);
    hex::encode(mac.finalize().into_bytes())
}

fn keyed(key: &str) -> Hmac<Sha256> {
    // A key of any length is one.
    let key = hex::decode(key).unwrap_or_else(|_| key.as_bytes().to_vec());
    Hmac::<Sha256>::new_from_slice(&key)
        .unwrap_or_else(|_| Hmac::<Sha256>::new(&hmac::digest::Key::<Hmac<Sha256>>::default()))
}

/// Recognises a value again, row by row.
#[derive(Clone)]
pub struct Seal {
    keyed: Hmac<Sha256>,
    mac: Vec<u8>,
}

impl Seal {
    /// None where the hash is no hex.
    pub fn new(key: &str, mac: &str) -> Option<Self> {
        Some(Seal { keyed: keyed(key), mac: hex::decode(mac).ok()? })
    }

    /// Whether this is the value.
    pub fn is(&self, value: &[u8]) -> bool {
        let mut mac = self.keyed.clone();
        mac.update(value);
        mac.verify_slice(&self.mac).is_ok()
    }
}

impl Tombstone {
    /// The text form, with its hash. Errors: serde cannot write it.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ContainerError> {
        sealed(self)
    }

    /// Reads what `to_bytes` wrote. Errors: as `Manifest::parse`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ContainerError> {
        check_hash(bytes)?;
        let unreadable = |error: serde_json::Error| ContainerError::unreadable("the tombstone", error.to_string());
        let tombstone: Tombstone = serde_json::from_slice(bytes).map_err(unreadable)?;
        if tombstone.version != VERSION {
            let found = u64::from(tombstone.version);
            return Err(ContainerError::UnsupportedVersion { what: "the tombstone".into(), found, known: VERSION });
        }
        Ok(tombstone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tombstone_knows_its_person_and_nobody_else() {
        let key = "ab".repeat(32);
        let hash = mac(&key, b"ann@example.org");
        let tombstone = Tombstone {
            version: VERSION,
            erasure_id: "e".into(),
            set_name: "s".into(),
            erased_at: "2025-10-12T14:30:05Z".parse().unwrap(),
            key: key.clone(),
            mac: hash.clone(),
            places: vec![Grave { schema: "public".into(), name: "t".into(), subject: "email".into() }],
        };
        let bytes = tombstone.to_bytes().unwrap();
        assert_eq!(Tombstone::parse(&bytes).unwrap(), tombstone);
        assert!(!String::from_utf8(bytes.clone()).unwrap().contains("ann"));
        let mut changed = bytes;
        changed[20] ^= 1;
        assert!(Tombstone::parse(&changed).is_err());
        let seal = Seal::new(&key, &hash).unwrap();
        assert!(seal.is(b"ann@example.org"));
        for other in [&b"Ann@example.org"[..], b"ann@example.org ", b"", b"ann@example.or"] {
            assert!(!seal.is(other));
        }
        assert!(Seal::new(&key, "no hex").is_none());
    }

    /// RFC 4231, test case 2.
    #[test]
    fn the_hash_is_the_one_that_is_documented() {
        let hash = mac(&hex::encode("Jefe"), b"what do ya want for nothing?");
        assert_eq!(hash, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
