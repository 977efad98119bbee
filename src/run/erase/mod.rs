//! Erasing a person: found by what names the person, taken out of every copy that is ours, and kept from coming back.
//!
//!     targets → (filters → chunks → rows) → redo file beside each backup ┐
//!     log, archive: rows of the database                                 ├ commit → files → certificate holds
//!     tombstone, certificate                                             ┘
//!
//! All of it is one transaction: until it commits no byte of a file is touched, and a rollback or a crash leaves
//! everything as it was; from the commit on a crash leaves redo files, which whoever opens a backup follows first.

pub mod act;
mod archive;
mod backups;
mod certificate;
mod increments;
mod live;
mod log;
pub mod pending;
mod remote; // from a backup in a store
mod resealed;
mod sealed;
mod search;
pub mod settle;
pub mod targets;
pub mod tombstones;
mod whole;

pub use act::{Place, Request, erase, plan};
