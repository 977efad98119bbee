//! The way of the bytes between a row and a file: digest, compress, worker pool, spool.

pub mod digest;

pub use digest::RowDigest;
