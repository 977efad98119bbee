//! Which rows of a backup have a value: the filters first, then the chunks that may hold it.

use super::manifest::{Entry, Keys};
use super::read_at::ReadAt;
use super::reader::Container;
use crate::codec::subject::Subject;
use crate::codec::{CsvFields, NotCsv, keys, split};
use crate::plan::Format;

/// The chunks of an entry that may hold what has this hash, by filters of it; none where they cannot tell, and then all may.
pub fn candidates<R: ReadAt>(container: &Container<R>, entry: &Entry, filters: &Keys, hash: u64) -> Option<Vec<usize>> {
    let filters = container.manifest.entry(&filters.entry)?;
    // Damaged filters could hide a row that is there.
    if filters.chunks.len() != entry.chunks.len() || !container.verify_stored(filters).is_clean() {
        return None;
    }
    let mut chunks = container.chunks(filters).ok()?;
    let mut found = Vec::new();
    for chunk in 0..entry.chunks.len() {
        let (_, filter) = chunks.next_chunk().ok()??;
        if keys::may_hold(filter, hash) {
            found.push(chunk);
        }
    }
    Some(found)
}

/// How rows of an entry are looked through: the subject, and the number of its field in a CSV.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    pub subject: Subject,
    pub place: usize,
}

impl Look {
    /// The value of a row.
    pub fn value(&self, format: Format, row: &[u8], fields: &mut CsvFields) -> Result<Option<Vec<u8>>, NotCsv> {
        match format {
            Format::Csv => {
                fields.read(row)?;
                Ok(self.subject.in_csv(fields, self.place))
            }
            Format::Json => Ok(self.subject.in_json(row)),
            Format::Sql => Ok(None),
        }
    }

    /// The places in a chunk, from 0, of the rows that have the value.
    pub fn find(&self, format: Format, plain: &[u8], value: &[u8]) -> Result<Vec<u64>, NotCsv> {
        let (mut fields, mut found) = (CsvFields::default(), Vec::new());
        for (row, number) in split::rows(format, plain).zip(0..) {
            if self.value(format, row, &mut fields)?.as_deref() == Some(value) {
                found.push(number);
            }
        }
        Ok(found)
    }
}
