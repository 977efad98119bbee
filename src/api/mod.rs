//! The SQL functions, one file per verb. Each turns its arguments into a request, asks for the right to do it, has it
//! done and gives back rows; no SQL text and no path is formed here.

mod argument;
mod backup;
pub mod export;
pub mod lock_key;
mod reconcile;
pub mod sets;
pub mod verify;

use std::time::Duration;

use pgrx::datum::Interval;

/// A duration as SQL shows it, to the microsecond.
fn interval(took: Duration) -> Option<Interval> {
    Interval::new(0, 0, i64::try_from(took.as_micros()).ok()?).ok()
}
