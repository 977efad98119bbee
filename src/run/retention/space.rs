//! Room on the disk of the backups.

use std::path::PathBuf;

use agent_backup_core::store::{Space, bytes_below};

use crate::error::Result;
use crate::journal_retention;
use crate::settings;

/// The disk of `agent_backup.directory`, in bytes.
pub struct Disk {
    pub directory: PathBuf,
    pub free: u64,
    pub total: u64,
    /// By all files in the directory.
    pub used: u64,
    pub is_shared_with_database: bool,
}

/// Looks at the disk.
pub fn disk() -> Result<Disk> {
    let directory = settings::directory();
    let (own, database) = (Space::of(&directory)?, Space::of(&settings::data_directory())?);
    Ok(Disk {
        free: own.free,
        total: own.total,
        used: bytes_below(&directory)?,
        is_shared_with_database: own.is_shared_with(&database),
        directory,
    })
}

/// Whether there is room for another backup of a set.
pub struct Room {
    pub free: u64,
    /// A fifth more than the newest good backup takes; none where there is none to go by.
    pub needed: Option<u64>,
}

impl Room {
    pub fn is_enough(&self) -> bool {
        self.needed.is_none_or(|needed| needed <= self.free)
    }
}

/// Looks for room for another backup of a set like the newest good one; in a store there always is. A job prunes first where there is none.
pub fn room_for(set: &str) -> Result<Room> {
    if settings::backup_url().is_some() {
        return Ok(Room { free: u64::MAX, needed: None });
    }
    let needed = journal_retention::newest_size(set)?.map(|size| size.saturating_add(size / 5));
    Ok(Room { free: Space::of(&settings::directory())?.free, needed })
}
