//! The way back of the bytes: seek → read → inflate → check, on threads, in the order of the rows.

use std::ops::ControlFlow;
use std::time::Duration;

use agent_backup_core::codec::split;
use agent_backup_core::container::{ContainerError, Entry, Next, Ordered};
use agent_backup_core::plan::Format;
use agent_backup_core::stream::{Chunk, RowDigest};
use pgrx::check_for_interrupts;

use crate::error::{Error, Result};
use crate::run::erase::tombstones::{Hidden, Screen};
use crate::run::source::Source;
use crate::settings;

/// What a thread made of a chunk, or what is wrong with it.
pub type Checked<T> = std::result::Result<T, ContainerError>;

/// How long the backend thread waits before it looks for a cancel again.
const PATIENCE: Duration = Duration::from_millis(50);

/// Works on the chunks `wanted` of an entry in threads, and gives each with what was made of it to `each`, in order.
/// `work` gets the chunk's plain bytes. The backend's thread answers interrupts between.
pub fn chunks<T: Send + 'static>(
    source: &Source,
    entry: &Entry,
    wanted: Vec<usize>,
    work: impl Fn(Chunk, Vec<u8>) -> Checked<T> + Send + Sync + 'static,
    mut each: impl FnMut(Chunk, Checked<T>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let mut ordered = start(source, entry, wanted, work)?;
    while let Some((chunk, done)) = next(&mut ordered)? {
        if each(chunk, done)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// The next chunk and what was made of it; none at the end. Answers interrupts while it waits.
pub fn next<T: Send + 'static>(ordered: &mut Ordered<T>) -> Result<Option<(Chunk, Checked<T>)>> {
    loop {
        check_for_interrupts!();
        match ordered.next(PATIENCE) {
            Next::Pending => (),
            Next::End => return Ok(None),
            Next::Item(chunk, done) => return Ok(Some((chunk, done))),
        }
    }
}

/// Starts the threads of `chunks`; whoever holds the result takes the chunks from it.
pub fn start<T: Send + 'static>(
    source: &Source,
    entry: &Entry,
    wanted: Vec<usize>,
    work: impl Fn(Chunk, Vec<u8>) -> Checked<T> + Send + Sync + 'static,
) -> Result<Ordered<T>> {
    let threads = settings::workers();
    Ordered::start(&source.container, entry, wanted, threads, work)
        .map_err(|error| Error::Worker { table: entry.name.clone(), message: error.to_string() })
}

/// As `start`, for the rows of member `number` as they are to be seen: without those of erased persons. Each chunk comes
/// with what was left out of it, since the manifest counts these rows. Whoever shows or restores rows of a backup comes
/// this way.
pub fn rows<T: Send + 'static>(
    source: &Source,
    number: usize,
    entry: &Entry,
    wanted: Vec<usize>,
    work: impl Fn(Chunk, Vec<u8>) -> Checked<T> + Send + Sync + 'static,
) -> Result<Ordered<(T, Hidden)>> {
    let Some(screen) = Screen::of(source, number)? else {
        return start(source, entry, wanted, move |chunk, plain| Ok((work(chunk, plain)?, Hidden::default())));
    };
    start(source, entry, wanted, move |chunk, plain| {
        let (plain, hidden) = screen.pass(chunk, plain)?;
        Ok((work(chunk, plain)?, hidden))
    })
}

/// All chunks of an entry.
pub fn all(entry: &Entry) -> Vec<usize> {
    (0..entry.chunks.len()).collect()
}

/// The rows of a chunk and their digest: what the level `decode` checks. An entry without rows has none of either.
pub fn digest(format: Option<Format>, plain: &[u8]) -> (u64, RowDigest) {
    format.map_or_else(Default::default, |format| split::digest(format, plain))
}
