//! Doing what was asked: the ways of the data, step by step.

pub mod adopt; // one backup on disk into the catalogue
pub mod assess; // a set against its backups
pub mod audit; // the log of acts
pub mod backup; // a set into a container
pub mod blob; // the bytes of a container, opened where they are sealed
pub mod capture; // changes of tracked tables
pub mod compare; // two sides, row by row
pub mod crontab; // jobs for cron
pub mod daily; // whether every table has a good backup of today
pub mod diff; // a table against a backup
pub mod differences; // the rows that differ, for people
pub mod drift; // a live table against what was saved of it
pub mod drill; // a restore for the proof
pub mod encrypted; // whether the keys of each set can be used
pub mod erase; // a person, out of every copy
pub mod evidence; // what there is to show for a period
pub mod export; // one table into one file
pub mod incremental; // what changed since the last time
pub mod job; // a run of a job
pub mod keys; // files of keys: for whom backups are sealed, what opens them
pub mod members; // a set's tables, one scanned while the one before is compressed
pub mod offsite; // copies in other places
pub mod outcome; // what became of each member
pub mod pipeline; // one table from scan to spools
pub mod place; // the directory that is written to
pub mod publish; // spools into the container, container and manifest into place
pub mod read; // a backup as rows
pub mod reconcile; // disk and catalogue
pub mod removal; // files that go when the transaction commits
pub mod reseal; // backups sealed for other keys
pub mod restore; // a backup into tables
pub mod retention; // which backups stay
pub mod safety; // backups that belong to no set
pub mod say; // lines for a person
pub mod schedule; // jobs given to pg_cron
pub mod sealing; // what a file of rows is written through
pub mod shelf; // a directory, or a part of a store
pub mod sides; // what is compared, and by which columns
pub mod site; // where a backup is written to
pub mod source; // a backup that is read back
pub mod sweep; // all rows of a side, worked on by threads
pub mod unpack; // the chunks of a backup, read back on threads
pub mod verdict; // two tables, or a table and a backup: the same or not
pub mod verify; // the proof of a backup, level by level
