//! What time it is: the machine's, unless a test says otherwise.

use chrono::{DateTime, Utc};

use crate::error::{Error, Result};
use crate::settings;

/// Now, or the moment that `agent_backup.debug_clock` gives.
pub fn now() -> Result<DateTime<Utc>> {
    let Some(given) = settings::clock() else { return Ok(Utc::now()) };
    let parsed = DateTime::parse_from_rfc3339(&given).map(|moment| moment.with_timezone(&Utc));
    parsed.map_err(|error| Error::InvalidOption { option: "agent_backup.debug_clock", reason: error.to_string() })
}
