//! Copies in other places: sent after each backup of a job, and by a job of their own.

use std::cell::Cell;
use std::time::Instant;

use super::told;
use super::work::Done;
use crate::error::Result;
use crate::run::offsite::destination;
use crate::run::offsite::retain;
use crate::run::offsite::send::Action;
use crate::run::offsite::upload::{self, Sent};
use crate::run::offsite::verify::{self, Level};
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
    let parts = [send(set)?, verify(set)?, prune(set)?];
    let (told, failures): (Vec<String>, Vec<Option<String>>) = parts.into_iter().unzip();
    let failures: Vec<String> = failures.into_iter().flatten().collect();
    Ok(Done::all(told.join("; "), (!failures.is_empty()).then(|| failures.join("; "))))
}

fn verify(set: &str) -> Result<(String, Option<String>)> {
    let all = verify::run(set, None, Level::Checksum)?;
    let (good, bad): (Vec<_>, Vec<_>) = all.into_iter().partition(|found| found.is_ok);
    let copies = good.iter().filter(|found| found.backup_id.is_some()).count();
    let why = |found: &verify::Finding| {
        format!("{} {}: {}", found.destination, found.backup_id.as_deref().unwrap_or_default(), found.details)
    };
    let failure = format!("copies failed verification: {}", bad.iter().map(why).collect::<Vec<_>>().join(", "));
    Ok((format!("{} verified", told::count(copies, "copy", "copies")), (!bad.is_empty()).then_some(failure)))
}

fn prune(set: &str) -> Result<(String, Option<String>)> {
    let all = retain::run(set, None, true)?;
    let of = |action: &'static str| all.iter().filter(move |pruned| pruned.action == action);
    let retained = match of("retained").count() {
        0 => String::new(),
        count => format!(", {count} retained by the store"),
    };
    let summary = format!("{} removed{retained}", told::count(of("removed").count(), "copy", "copies"));
    let why = |pruned: &retain::Pruned| {
        format!("{}: {}", pruned.destination, pruned.reasons.first().map_or("no reason is known", String::as_str))
    };
    let failed: Vec<String> = of("failed").map(why).collect();
    Ok((summary, (!failed.is_empty()).then(|| format!("copies could not be removed: {}", failed.join(", ")))))
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
