//! Doing what was asked: the ways of the data, step by step.

pub mod adopt; // one backup on disk into the catalogue
pub mod backup; // a set into a container
pub mod daily; // whether every table has a good backup of today
pub mod drift; // a live table against what was saved of it
pub mod export; // one table into one file
pub mod outcome; // what became of each member
pub mod pipeline; // one table from scan to spools
pub mod place; // the directory that is written to
pub mod publish; // spools into the container, container and manifest into place
pub mod reconcile; // disk and catalogue
pub mod say; // lines for a person
pub mod source; // a backup that is read back
pub mod unpack; // the chunks of a backup, read back on threads
pub mod verify; // the proof of a backup, level by level
