//! The SQL functions, one file per verb. Each turns its arguments into a request, asks for the right to do it, has it
//! done and gives back rows; no SQL text and no path is formed here. Each says `answer(|| …)` around all that it does, and
//! takes and gives `Text` and `Json`, never pgrx's own: so it works in a database of any encoding.

mod argument;
mod as_of;
pub mod audit;
mod backup;
mod capture;
pub mod clock;
pub mod compare;
mod drill;
mod drop;
pub mod encryption;
mod erase;
mod evidence;
pub mod export;
mod history;
pub mod incremental;
pub mod job;
pub mod lock_key;
mod mark;
pub mod offsite;
mod outdated;
mod read;
mod reconcile;
mod record;
mod restore;
pub mod retention;
pub mod schedule;
pub mod sets;
mod track;
mod undo;
pub mod verify;

use std::time::Duration;

use pgrx::datum::Interval;

/// A duration as SQL shows it, to the microsecond.
fn interval(took: Duration) -> Option<Interval> {
    Interval::new(0, 0, i64::try_from(took.as_micros()).ok()?).ok()
}
