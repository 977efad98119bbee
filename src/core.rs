//! What agent_backup knows without PostgreSQL: the shape of a backup, its formats, its streams and its files.
//! Nothing here calls the server, so all of it runs on plain threads and under plain `cargo test`.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod codec; // one value, one row, one format
pub mod container; // one backup is one file: tar in gzip or zstd members, and its manifest
pub mod crypt; // age files: sealed for recipients, read at any place by who has an identity
pub mod plan; // what will be done, as plain data
pub mod report; // the evidence of a period as a page
pub mod store; // directories and files, and the one way to publish one
pub mod stream; // digest, compress, worker pool, spool
