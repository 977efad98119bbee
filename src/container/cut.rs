//! A chunk without some of its rows: its text, and its filters.

use std::ops::Range;

use super::error::ContainerError;
use super::manifest::{Entry, Keys, Manifest};
use crate::codec::subject::Subject;
use crate::codec::{CsvFields, keys, split};
use crate::plan::Format;
use crate::stream::{Chunk, RowDigest};

/// Rows of one member of a backup that go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erased {
    /// Its number in the manifest.
    pub member: usize,
    /// Numbers of the rows in its files, from 0, each once and in order.
    pub rows: Vec<u64>,
}

/// A chunk's text without rows.
pub struct Cut {
    pub text: Vec<u8>,
    pub rows: u64,
    /// Of the rows that went.
    pub removed: RowDigest,
}

/// The places in a sorted list of rows of those that a chunk has.
pub fn within(rows: &[u64], chunk: &Chunk) -> Range<usize> {
    let end = chunk.first_row.saturating_add(chunk.rows);
    rows.partition_point(|row| *row < chunk.first_row)..rows.partition_point(|row| *row < end)
}

/// The text of a chunk without the rows with these numbers. Errors: it is no chunk of so many rows as this program writes.
pub fn without(
    format: Format,
    entry: &Entry,
    chunk: &Chunk,
    plain: &[u8],
    gone: &[u64],
) -> Result<Cut, ContainerError> {
    let damaged = |detail: &str| {
        ContainerError::unreadable(format!("chunk of \"{}\" from row {}", entry.name, chunk.first_row), detail)
    };
    let mut cut = Cut { text: Vec::with_capacity(plain.len()), rows: 0, removed: RowDigest::default() };
    let (mut whole, mut count, mut gone) = (0, 0, gone.iter().peekable());
    for (row, number) in split::rows(format, plain).zip(chunk.first_row..) {
        let around = if format == Format::Json && count > 0 { 2 } else { 1 };
        whole += row.len() + around;
        count += 1;
        if gone.next_if(|gone| **gone == number).is_some() {
            cut.removed.add_row(row);
            continue;
        }
        match format {
            Format::Json => cut.text.extend_from_slice(if cut.rows == 0 { b"\n" } else { b",\n" }),
            Format::Csv | Format::Sql => (),
        }
        cut.text.extend_from_slice(row);
        if format != Format::Json {
            cut.text.push(b'\n');
        }
        cut.rows += 1;
    }
    if count != chunk.rows || whole != plain.len() || gone.next().is_some() {
        return Err(damaged("its rows are not those that the manifest tells of"));
    }
    Ok(cut)
}

/// Whether a chunk is preceded by a separator: both it and one before it hold bytes.
pub fn separated(chunks: &[Chunk]) -> Vec<bool> {
    let mut filled = false;
    let preceded = |chunk: &Chunk| {
        let (is_filled, before) = (chunk.plain_len > 0, filled);
        filled |= is_filled;
        is_filled && before
    };
    chunks.iter().map(preceded).collect()
}

/// What an entry of filters holds for each row: the key, or a subject.
pub enum Held {
    Key(Vec<usize>),
    Subject(Subject, usize),
}

impl Held {
    /// Of filters of a member's CSV; none where this program cannot tell.
    pub fn of(manifest: &Manifest, member: usize, keys: &Keys, is_subject: bool) -> Option<Self> {
        let columns = &manifest.members.get(member)?.columns;
        let place =
            |name: &str| columns.iter().filter(|column| !column.generated).position(|column| column.name == name);
        if is_subject {
            let subject = Subject::parse(keys.columns.first()?).ok()?;
            let place = place(&subject.column)?;
            return Some(Held::Subject(subject, place));
        }
        keys.columns.iter().map(|column| place(column)).collect::<Option<Vec<_>>>().map(Held::Key)
    }

    fn hash(&self, fields: &CsvFields) -> Option<u64> {
        match self {
            Held::Key(places) => {
                let texts: Vec<&[u8]> = places.iter().map(|place| fields.get(*place).unwrap_or_default()).collect();
                Some(keys::hash(&texts.join(&b',')))
            }
            Held::Subject(subject, place) => subject.in_csv(fields, *place).map(|value| keys::hash(&value)),
        }
    }
}

/// The filter of the rows of a CSV chunk, of as many bytes as it had. One that cannot be made says that all may be there.
pub fn filter(held: Option<&Held>, text: &[u8], bytes: usize) -> Vec<u8> {
    let hashes = || {
        let (mut fields, mut hashes) = (CsvFields::default(), Vec::new());
        for row in split::rows(Format::Csv, text) {
            fields.read(row).ok()?;
            hashes.extend(held?.hash(&fields));
        }
        Some(hashes)
    };
    hashes().map_or_else(|| vec![0xff; bytes], |hashes| keys::filter_of_size(&hashes, bytes))
}
