//! Copies in other places: sent after each backup of a job, and by a job of their own.

use std::cell::Cell;
use std::time::Instant;

use super::told;
use super::work::Done;
use crate::error::Result;
use crate::run::offsite::destination;
use crate::run::offsite::send::Action;
use crate::run::offsite::upload::{self, Sent};
use crate::run::say;

thread_local! {
    /// The run of this session whose backup is made and committed, so that only its copies are left to do.
    static SAVED: Cell<Option<i64>> = const { Cell::new(None) };
}

/// Whether only the copies of a run are left to do.
pub fn is_left(run_id: i64) -> bool {
    SAVED.get() == Some(run_id)
}

/// After a backup: its copies are the next part, after its commit, so that they cannot cost it.
pub fn after(run_id: i64, set: &str, done: Done) -> Result<Done> {
    let goes_on = done.failure.is_none() && destination::has_any(set)?;
    SAVED.set(goes_on.then_some(run_id));
    Ok(Done { is_last: !goes_on, ..done })
}

/// Sends what is not there yet.
pub fn sent(set: &str) -> Result<Done> {
    SAVED.set(None);
    let (summary, failure) = send(set)?;
    Ok(Done::all(summary, failure))
}

/// The job: sends, looks whether what is there is whole, and removes what is not kept there.
pub fn copied(set: &str) -> Result<Done> {
    let (summary, failure) = send(set)?;
    Ok(Done::all(summary, failure))
}

fn send(set: &str) -> Result<(String, Option<String>)> {
    let begun = Instant::now();
    let all = upload::run(set, None)?;
    let uploaded: Vec<&Sent> = all.iter().filter(|sent| sent.action == Action::Uploaded).collect();
    let bytes: u64 = uploaded.iter().filter_map(|sent| sent.size).sum();
    let files = told::count(uploaded.len(), "file", "files");
    let summary = format!("{files} sent, {} in {:.1} s", say::bytes(bytes as f64), begun.elapsed().as_secs_f64());
    let why = |sent: &Sent| {
        let key = sent.key.as_ref().map(|key| format!("/{key}")).unwrap_or_default();
        format!("{}{key} ({})", sent.destination, sent.error.as_deref().unwrap_or("no reason is known"))
    };
    let failed: Vec<String> = all.iter().filter(|sent| sent.action == Action::Failed).map(why).collect();
    let failure = (!failed.is_empty()).then(|| format!("copies could not be sent: {}", failed.join(", ")));
    Ok((summary, failure))
}
