//! Erasing from the log of captured changes: an entry stays, without what the row held; one whose key names the person goes.

use agent_backup_core::codec::CsvFields;
use agent_backup_core::codec::subject::Subject;

use crate::error::Result;
use crate::journal_erased_log::{self, Logged};
use crate::run::erase::act::{Acting, Place};
use crate::run::erase::targets::Targets;

/// Looks through the log, and erases what it finds if an erasure is under way.
pub fn run(targets: &Targets, acting: Option<&Acting>) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    for target in &targets.targets {
        let (mut blank, mut gone) = (Vec::new(), Vec::new());
        journal_erased_log::logged(&target.table, &targets.value, |logged| {
            match found(logged, &target.subjects, &targets.value) {
                Some(true) => gone.push(logged.place),
                Some(false) => blank.push(logged.place),
                None => (),
            }
            Ok(())
        })?;
        let count = (blank.len() + gone.len()) as u64;
        if count == 0 && !journal_erased_log::was_tracked(&target.table)? {
            continue;
        }
        if acting.is_some() {
            journal_erased_log::blank(&blank)?;
            journal_erased_log::remove(&gone)?;
        }
        let action = match (count, acting) {
            (0, _) => "nothing",
            (_, None) => "found",
            (_, Some(_)) => "erased",
        };
        let details = if gone.is_empty() {
            "entries stay without the values of the row".to_owned()
        } else {
            format!("{} entries go altogether: their key names the person", gone.len())
        };
        let details = if count > 0 { details } else { String::new() };
        places.push(Place { details, ..Place::new("change log", target.table.display(), count, action) });
    }
    Ok(places)
}

/// Whether an entry is the person's, and whether its key says so.
pub fn found(logged: &Logged, subjects: &[Subject], value: &[u8]) -> Option<bool> {
    let mut is_found = false;
    for subject in subjects {
        let Some(place) = logged.columns.iter().position(|column| *column == subject.column) else { continue };
        let in_line = |line: &Option<Vec<u8>>, place: usize| {
            let mut fields = CsvFields::default();
            let line = line.as_ref()?;
            fields.read(line).ok()?;
            subject.in_csv(&fields, place)
        };
        let now = in_line(&logged.image, place);
        let before = logged.old_columns.iter().position(|number| *number as usize == place + 1);
        let before = before.and_then(|place| in_line(&logged.old_values, place));
        if [now, before].iter().flatten().any(|found| found == value) {
            is_found = true;
            if subject.steps.is_empty() && logged.key_columns.contains(&subject.column) {
                return Some(true);
            }
        }
    }
    is_found.then_some(false)
}
