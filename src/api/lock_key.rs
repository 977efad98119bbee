//! `lock_key`, for the view that shows running backups.

use pgrx::prelude::*;

use crate::server::lock;
use crate::server::text::Text;

/// Second key of the advisory lock that a backup of the set holds, as `objid` of `pg_locks` shows it.
#[pg_extern(schema = "agent_backup", name = "lock_key", immutable, parallel_safe)]
fn lock_key(set_name: Text) -> i64 {
    i64::from(lock::key(&set_name))
}
