//! What time it is: the machine's, unless a test says otherwise; and moments as the server has them.

use chrono::{DateTime, Utc};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::settings;

/// Now, or the moment that `agent_backup.debug_clock` gives.
pub fn now() -> Result<DateTime<Utc>> {
    let Some(given) = settings::clock() else { return Ok(Utc::now()) };
    let parsed = DateTime::parse_from_rfc3339(&given).map(|moment| moment.with_timezone(&Utc));
    parsed.map_err(|error| Error::InvalidOption { option: "agent_backup.debug_clock", reason: error.to_string() })
}

/// Seconds from 1970 to 2000, where PostgreSQL's time begins.
const EPOCH: i64 = 946_684_800;

/// A moment of the server.
pub fn utc(time: TimestampWithTimeZone) -> DateTime<Utc> {
    let micros = pg_sys::TimestampTz::from(time).saturating_add(EPOCH * 1_000_000);
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}

/// A moment as the server has it.
pub fn timestamp(time: DateTime<Utc>) -> TimestampWithTimeZone {
    let micros = time.timestamp_micros() - EPOCH * 1_000_000;
    TimestampWithTimeZone::try_from(micros).unwrap_or_else(|_| TimestampWithTimeZone::positive_infinity())
}
