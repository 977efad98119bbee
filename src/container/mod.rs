//! One backup is one file: a tar for any tool, whose headers and chunks are compressed members of their own, so that
//! every chunk is reached by its offset; its manifest is the last entry, and a trailer at the very end says where.

pub mod audit;
pub mod error;
pub mod header;
pub mod increment;
pub mod manifest;
pub mod ordered;
pub mod parse;
pub mod read_at;
pub mod reader;
pub mod trailer;
pub mod verify;
pub mod writer;

pub use audit::{Hashes, Hashing};
pub use error::{ContainerError, Findings};
pub use increment::Increment;
pub use manifest::{Entry, Manifest};
pub use ordered::{Next, Ordered};
pub use read_at::{Blob, ReadAt, sha256_hex_of};
pub use reader::{ChunkReader, Container};
pub use verify::Tally;
pub use writer::{ContainerWriter, Written};

/// The manifest's name inside the container.
pub const MANIFEST_NAME: &str = "manifest.json";

#[cfg(test)]
mod tests;
