//! One backup is one file: a tar for any tool, whose headers and chunks are compressed members of their own, so that
//! every chunk is reached by its offset; its manifest is the last entry, and a trailer at the very end says where.

pub mod audit;
pub mod cut;
pub mod error;
pub mod header;
pub mod increment;
pub mod manifest;
pub mod ordered;
pub mod parse;
pub mod patch;
pub mod read_at;
pub mod reader;
pub mod redo;
mod rewrite;
pub mod search;
pub mod slot;
pub mod tombstone;
pub mod trailer;
pub mod verify;
pub mod writer;

pub use audit::{Hashes, Hashing};
pub use cut::Erased;
pub use error::{ContainerError, Findings};
pub use increment::Increment;
pub use manifest::{Entry, Erasure, Keys, Manifest};
pub use ordered::{Next, Ordered};
pub use patch::{Patch, patch};
pub use read_at::{Blob, ReadAt, sha256_hex_of};
pub use reader::{ChunkReader, Container};
pub use redo::Redo;
pub use rewrite::rewrite;
pub use verify::Tally;
pub use writer::{ContainerWriter, Written};

/// The manifest's name inside the container.
pub const MANIFEST_NAME: &str = "manifest.json";

#[cfg(test)]
mod patch_memory;
#[cfg(test)]
mod patch_tests;
#[cfg(test)]
mod tests;
