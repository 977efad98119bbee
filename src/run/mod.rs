//! Doing what was asked: the ways of the data, step by step.

pub mod adopt; // one backup on disk into the catalogue
pub mod backup; // a set into a container
pub mod drill; // a restore for the proof
pub mod export; // one table into one file
pub mod members; // a set's tables, one scanned while the one before is compressed
pub mod outcome; // what became of each member
pub mod pipeline; // one table from scan to spools
pub mod place; // the directory that is written to
pub mod publish; // spools into the container, container and manifest into place
pub mod reconcile; // disk and catalogue
pub mod restore;
pub mod say; // lines for a person
pub mod source; // a backup that is read back
pub mod unpack; // the chunks of a backup, read back on threads // a backup into tables
