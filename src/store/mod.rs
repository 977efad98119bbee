//! Directories and files on local disk, and the one way to publish a file.
//!
//! Everything goes through a held directory descriptor and `*at` calls that follow no symbolic link, so a path that is
//! swapped under a running backup cannot lead it elsewhere. Nothing is ever overwritten: a file is written under a staging
//! name, synced, read back, and renamed to a name that must be free.
//!
//! ```text
//! Directory::open_or_create → lock_exclusive → sweep_staging → stage → write… → publish
//! ```

mod entries; // what a directory holds: list, open, remove, sweep
mod error; // one variant per thing that can go wrong
mod file; // Directory: the held descriptor, its lock, its subdirectories
pub mod object; // stores off this machine: S3, a mounted disk
mod registry; // staging files of this process, for an abrupt exit
mod removal; // backups: the manifest first
mod rule; // which paths, names and directories are acceptable
mod space; // room on the disk
mod staged; // StagedFile: write, then publish
pub mod swap; // new files of a backup in place of the old ones
mod system; // the user that the server runs as

#[cfg(test)]
mod tests;

pub use entries::{FileInfo, FileKind};
pub use error::StoreError;
pub use file::{Directory, DirectoryLock};
pub use registry::remove_all_staged;
pub use removal::Doomed;
pub use rule::DirectoryRule;
pub use space::{Space, bytes_below};
pub use staged::{Published, StagedFile, reserve};
pub use swap::Swap;
pub use system::{may_write, system_user};
