//! What a manifest tells of the server.

use std::hash::{BuildHasher, RandomState};

use agent_backup_core::container::manifest::Server;
use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::server::encoding::Encoding;
use crate::server::sql;

/// The server and database of this session.
pub fn server() -> Result<Server> {
    let query = "SELECT pg_catalog.current_setting('server_version'), pg_catalog.current_setting('server_version_num')::int, \
                        pg_catalog.current_database()::text, pg_catalog.pg_is_in_recovery()";
    let rows = sql::rows(query, &[], |row| {
        Ok(Server {
            version: row.required(1)?,
            version_num: row.required::<i32>(2)?.unsigned_abs(),
            // SAFETY: reads the control file's copy in shared memory.
            system_identifier: unsafe { pg_sys::GetSystemIdentifier() }.to_string(),
            // Databases of other encodings stand in the same catalogue: its bytes may mean nothing here.
            database: row.shown(3)?,
            encoding: Encoding::of_database().of_files().to_owned(),
            timeline: None,
            in_recovery: row.optional(4)?,
        })
    })?;
    Ok(rows.into_iter().next().unwrap_or_default())
}

/// Whether two manifests' servers are one database of one cluster.
pub fn is_same(one: &Server, other: &Server) -> bool {
    one.system_identifier == other.system_identifier && one.database == other.database
}

/// 32 bytes in hex that nobody can guess.
pub fn random_key() -> Result<String> {
    let mut key = [0_u8; 32];
    // SAFETY: fills the array, whose length it is told.
    if unsafe { pg_sys::pg_strong_random(key.as_mut_ptr().cast(), key.len()) } {
        return Ok(key.iter().map(|byte| format!("{byte:02x}")).collect());
    }
    Err(Error::Internal { object: "server", reason: "it has no random numbers".into() })
}

/// Eight hex digits' worth of randomness for a name.
pub fn random() -> u32 {
    // RandomState is seeded by the system for each thread and moved on for each state.
    (RandomState::new().hash_one(std::process::id()) & u64::from(u32::MAX)) as u32
}
