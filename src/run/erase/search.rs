//! Which rows of a backup are a person's: filters first, then the chunks that may hold them, on threads.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use agent_backup_core::codec::keys;
use agent_backup_core::container::search::{Look, candidates};
use agent_backup_core::container::{Entry, Erased, Keys};
use agent_backup_core::plan::Format;
use agent_backup_core::stream::Chunk;

use crate::error::Result;
use crate::run::erase::targets::Targets;
use crate::run::read;
use crate::run::source::Source;
use crate::run::unpack;

/// What a backup holds of a person.
#[derive(Default)]
pub struct Found {
    pub erased: Vec<Erased>,
    pub rows: u64,
    /// Chunks that were read, and of how many.
    pub chunks_read: usize,
    pub chunks: usize,
    /// What cannot be looked through, in words.
    pub unread: Vec<String>,
    pub notes: Vec<String>,
}

/// Looks through the tables of a backup.
pub fn run(source: &Source, targets: &Targets) -> Result<Found> {
    let mut found = Found::default();
    for (number, member) in source.members() {
        let (looks, lacking) = targets.looks(member);
        found.unread.extend(lacking.iter().filter(|reason| !reason.contains("masked")).cloned());
        found.notes.extend(lacking.into_iter().filter(|reason| reason.contains("masked")));
        if looks.is_empty() {
            continue;
        }
        let own = |format| {
            let mut entries = source.manifest().entries.iter();
            entries.find(|entry| entry.table == Some(number) && entry.format == Some(format))
        };
        let Some(entry) = own(Format::Csv).or_else(|| own(Format::Json)) else {
            found.unread.push(format!("{} is there only as SQL, which is not looked through", member.display));
            continue;
        };
        let mut rows = BTreeSet::new();
        for look in looks {
            of_entry(source, entry, &look, targets, &mut found, &mut rows)?;
        }
        found.rows += rows.len() as u64;
        if !rows.is_empty() {
            found.erased.push(Erased { member: number, rows: rows.into_iter().collect() });
        }
    }
    Ok(found)
}

fn of_entry(
    source: &Source,
    entry: &Entry,
    look: &Look,
    targets: &Targets,
    found: &mut Found,
    rows: &mut BTreeSet<u64>,
) -> Result<()> {
    let filters = filters(entry, look);
    let some = filters.and_then(|filters| candidates(&source.container, entry, filters, keys::hash(&targets.value)));
    if some.is_none() && entry.chunks.len() > 1 {
        found.notes.push(format!("no filter for {} in {}: all chunks were read", look.subject, entry.name));
    }
    let wanted = some.unwrap_or_else(|| unpack::all(entry));
    found.chunks += entry.chunks.len();
    found.chunks_read += wanted.len();
    let format = entry.format.unwrap_or(Format::Csv);
    let (look, value) = (look.clone(), targets.value.clone());
    let work = move |chunk: Chunk, plain: Vec<u8>| {
        look.find(format, &plain, &value).map_err(|error| read::unreadable(chunk, 1, &error.to_string()))
    };
    unpack::chunks(source, entry, wanted, work, |chunk, places| {
        let places = places.map_err(|problem| source.damaged(problem))?;
        rows.extend(places.into_iter().map(|place| chunk.first_row + place));
        Ok(ControlFlow::Continue(()))
    })
}

/// The filters that know of a subject: its own, or those of a key that is this one column.
fn filters<'e>(entry: &'e Entry, look: &Look) -> Option<&'e Keys> {
    let shown = look.subject.to_string();
    let own = entry.subjects.iter().find(|keys| keys.columns == [shown.clone()]);
    let is_column = look.subject.steps.is_empty();
    own.or_else(|| entry.keys.as_ref().filter(|keys| is_column && keys.columns == [look.subject.column.clone()]))
}
