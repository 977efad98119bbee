//! Rows into a partitioned or foreign table through the server's own COPY FROM, fed by a callback, as logical replication
//! loads a table: where each row goes is the server's work. Ordinary tables are loaded by `load`.

use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};

use pgrx::{PgList, pg_guard, pg_sys};

use crate::error::{Error, Result};
use crate::server::encoding::{self, Encoding};
use crate::server::user::{ActingAs, Restriction};

/// Gives the next piece of CSV text, whole rows without a header; none at the end.
pub type NextPiece<'a> = dyn FnMut() -> Result<Option<Vec<u8>>> + 'a;

/// A relation that the caller has locked and may write, and whose code runs as `owner`.
pub struct Copy<'a> {
    pub relation: pg_sys::Oid,
    pub owner: pg_sys::Oid,
    /// The columns of the text, in its order.
    pub columns: &'a [String],
    pub encoding: Encoding,
}

impl Copy<'_> {
    /// Loads all rows; how many there were. An error of the server names the line and the column.
    pub fn run(&self, next: &mut NextPiece) -> Result<u64> {
        let mut feed = Feed { next, piece: Vec::new(), at: 0, failed: None };
        let _feeding = Feeding::start(&mut feed);
        let _owner = ActingAs::user(self.owner, Restriction::SecurityRestricted);
        // SAFETY: the relation is locked by the caller; lists and strings are palloc'd and outlive the copy, which is
        // ended here. After an error the abort of the transaction cleans up.
        let rows = unsafe {
            let relation = pg_sys::table_open(self.relation, pg_sys::NoLock as i32);
            let state = pg_sys::make_parsestate(std::ptr::null_mut());
            pg_sys::addRangeTableEntryForRelation(
                state,
                relation,
                pg_sys::RowExclusiveLock as i32,
                std::ptr::null_mut(),
                false,
                false,
            );
            let copy = pg_sys::BeginCopyFrom(
                state,
                relation,
                std::ptr::null_mut(),
                std::ptr::null(),
                false,
                Some(read_piece),
                self.names()?,
                self.options()?,
            );
            let rows = pg_sys::CopyFrom(copy);
            pg_sys::EndCopyFrom(copy);
            pg_sys::free_parsestate(state);
            pg_sys::table_close(relation, pg_sys::NoLock as i32);
            rows
        };
        feed.failed.map_or(Ok(rows), Err)
    }

    fn names(&self) -> Result<*mut pg_sys::List> {
        let mut names = PgList::<c_void>::new();
        for column in self.columns {
            names.push(string(column)?.cast());
        }
        Ok(names.into_pg())
    }

    fn options(&self) -> Result<*mut pg_sys::List> {
        // Bytes of a SQL_ASCII database are in no encoding: they are checked to be in that of this one.
        // SAFETY: gives a static name.
        let here = unsafe { CStr::from_ptr(pg_sys::GetDatabaseEncodingName()) };
        let here = here.to_string_lossy();
        let encoding = if self.encoding == Encoding::Unknown { here.as_ref() } else { "UTF8" };
        let mut options = PgList::<pg_sys::DefElem>::new();
        for (name, value) in [("format", "csv"), ("encoding", encoding)] {
            // SAFETY: copies the name; the value node is palloc'd.
            let element = unsafe { pg_sys::makeDefElem(pstrdup(name)?, string(value)?, -1) };
            options.push(element);
        }
        Ok(options.into_pg())
    }
}

/// A text in the current memory context.
fn pstrdup(text: &str) -> Result<*mut std::ffi::c_char> {
    let text = encoding::c_string(text)?;
    // SAFETY: copies a NUL-terminated text.
    Ok(unsafe { pg_sys::pstrdup(text.as_ptr()) })
}

fn string(text: &str) -> Result<*mut pg_sys::Node> {
    // SAFETY: the node keeps the palloc'd text.
    Ok(unsafe { pg_sys::makeString(pstrdup(text)?) }.cast())
}

/// What the callback, which gets no argument of ours, reads from.
struct Feed<'a, 'b> {
    next: &'a mut NextPiece<'b>,
    piece: Vec<u8>,
    at: usize,
    failed: Option<Error>,
}

thread_local! {
    static FEED: Cell<*mut c_void> = const { Cell::new(std::ptr::null_mut()) };
}

/// The feed is the callback's until this is dropped; a copy inside a copy (a trigger that restores) gets its own.
struct Feeding {
    before: *mut c_void,
}

impl Feeding {
    fn start(feed: &mut Feed) -> Self {
        Feeding { before: FEED.replace(std::ptr::from_mut(feed).cast()) }
    }
}

impl Drop for Feeding {
    fn drop(&mut self) {
        FEED.set(self.before);
    }
}

/// Fills `buffer` with up to `most` bytes; 0 at the end.
#[pg_guard]
unsafe extern "C-unwind" fn read_piece(buffer: *mut c_void, _least: c_int, most: c_int) -> c_int {
    // SAFETY: `Copy::run` set the feed, which outlives the copy that calls this; COPY gives room for `most` bytes.
    unsafe {
        let feed = &mut *FEED.get().cast::<Feed>();
        while feed.at == feed.piece.len() {
            match (feed.next)() {
                Ok(Some(piece)) => (feed.piece, feed.at) = (piece, 0),
                Ok(None) => return 0,
                Err(error) => {
                    // The end as COPY sees it; the error is told when it has returned.
                    feed.failed = Some(error);
                    return 0;
                }
            }
        }
        let count = (feed.piece.len() - feed.at).min(most.max(0) as usize);
        std::ptr::copy_nonoverlapping(feed.piece.as_ptr().add(feed.at), buffer.cast::<u8>(), count);
        feed.at += count;
        count as c_int
    }
}
