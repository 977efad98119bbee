//! Encryption of files in the age format, version 1 (<https://c2sp.org/age>), by the crate `age`.
//!
//! A whole container is one age file, so `age -d` opens it. Its payload is a sequence of blocks of 64 KiB, each sealed with
//! its number and with whether it is the last: none can be altered, moved, repeated or cut off unseen. A range of the plain
//! file is therefore a range of the sealed one, and one table or one chunk is reached without reading the rest.
//!
//! ```text
//! write: ContainerWriter → Sealer → StagedFile        needs recipients (public keys) only
//! read:  Container ← Opened ← ReadAt (file, object)   needs an identity (secret key)
//! ```
//!
//! Who may write a backup is not what this proves: anybody can seal a file for a public key. That a file is the one that
//! was written is said by the SHA-256 in the catalogue.

mod cursor; // what age reads from: a position in a source, and how much to fetch at once
mod error; // one variant per thing that can go wrong
mod identities; // secret keys from a file
mod keyfile; // which files of keys are acceptable
mod opened; // ReadAt over a sealed source
mod recipients; // public keys from a file, and their ids
mod sealer; // Write that seals
mod text; // a few bytes as sealed text

#[cfg(test)]
mod tests;

pub use error::CryptError;
pub use identities::Identities;
pub use opened::{Opened, is_sealed, key_ids};
pub use recipients::{KeyId, Recipients};
pub use sealer::Sealer;
pub use text::{open_text, seal_text};

/// What stands at the end of the name of a sealed file.
pub const EXTENSION: &str = ".age";

/// The first line of every sealed file.
pub const FORMAT: &str = "age-encryption.org/v1";

/// The first bytes of every sealed file.
const MAGIC: &[u8] = b"age-encryption.org/v1\n";

/// Plain bytes of a block of the payload.
const BLOCK: u64 = 64 << 10;

/// Bytes that sealing adds to a block.
const TAG: u64 = 16;

/// Stanza of the header that tells a recipient's id. Programs that do not know it pass over it, as the format demands.
const KEY_ID_STANZA: &str = "agent-backup-key-id";
