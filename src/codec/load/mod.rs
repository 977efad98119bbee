//! Rows of CSV made ready for a table on a thread: fields of common types become the values that the server stores, each
//! exactly what the type's input function would make of the text. Every other type, and every text that is not in the one
//! form that the encoder writes, stays a text for the input function.

mod moment;
mod scalar;

use super::fields::{CsvFields, NotCsv};
use super::split;
use crate::plan::Format;

/// What a column takes, where its type is one that is made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The text, for the type's input function.
    Input,
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Date,
    /// With this many digits of a second's fraction at most.
    Timestamp(usize),
    TimestampTz(usize),
    Uuid,
    Bytea,
    /// `text`, and `varchar` of at most this many characters.
    Text(usize),
    /// `char(n)`, whose values all have n characters.
    Padded(usize),
    /// Any `numeric`.
    Numeric,
    /// `numeric(precision, scale)`.
    NumericOf {
        precision: i32,
        scale: i32,
    },
}

/// Which bytes a text column takes as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Letters {
    /// Those of the file, which are checked to be UTF-8.
    Utf8,
    /// Those of the file, whatever they are, but for zero bytes.
    Any,
    /// ASCII; other texts have to be converted by the server.
    Ascii,
}

/// How the rows of a file become rows of a table.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// Fields of a row of the file; one where it has no column.
    pub width: usize,
    /// The fields that are taken, by number, and what they become.
    pub taken: Vec<(usize, Target)>,
    pub letters: Letters,
}

/// A field that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    Null,
    /// A value that is passed as a word.
    Word(u64),
    /// A value that is passed by its address: where it begins in the bytes, a multiple of 8.
    At(u32),
    /// Where a text begins in the bytes, and its length without the zero byte behind it.
    Text(u32, u32),
}

/// The rows of a chunk: cells row by row, and the bytes that they point into.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Number of each row in the chunk, from 0.
    pub rows: Vec<u64>,
    pub cells: Vec<Cell>,
    pub bytes: Vec<u8>,
}

/// A row that no encoder of ours wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct BadRow {
    /// From 0 in the chunk.
    pub row: u64,
    pub reason: &'static str,
}

impl LoadPlan {
    /// Makes the rows of a chunk ready for which `is_wanted` says so. Errors: bytes that no text of the server has, another
    /// number of fields than the file's columns, or quotes that do not close.
    pub fn read(&self, plain: &[u8], is_wanted: impl Fn(&CsvFields) -> bool) -> Result<Loaded, BadRow> {
        if memchr::memchr(0, plain).is_some() {
            return Err(BadRow { row: 0, reason: "a zero byte is in it or in a row after it" });
        }
        if self.letters == Letters::Utf8 && std::str::from_utf8(plain).is_err() {
            return Err(BadRow { row: 0, reason: "it, or a row after it, is not in UTF-8" });
        }
        let mut loaded = Loaded { bytes: Vec::with_capacity(plain.len() * 5 / 4 + 64), ..Loaded::default() };
        let mut fields = CsvFields::default();
        for (row, text) in (0..).zip(split::rows(Format::Csv, plain)) {
            fields.read(text).map_err(|NotCsv(reason)| BadRow { row, reason })?;
            if fields.len() != self.width {
                return Err(BadRow { row, reason: "it has another number of fields than there are columns" });
            }
            if !is_wanted(&fields) {
                continue;
            }
            for &(number, target) in &self.taken {
                let cell = match fields.get_with_nul(number) {
                    None => Cell::Null,
                    Some(text) => {
                        loaded.cell(target, text, self.letters).ok_or(BadRow { row, reason: "it is too long" })?
                    }
                };
                loaded.cells.push(cell);
            }
            loaded.rows.push(row);
        }
        Ok(loaded)
    }
}

impl Loaded {
    /// `with_nul` has one zero byte, its last. None if there is no place for it.
    #[inline]
    fn cell(&mut self, target: Target, with_nul: &[u8], letters: Letters) -> Option<Cell> {
        let text = with_nul.strip_suffix(b"\0").unwrap_or(with_nul);
        self.value(target, text, letters).or_else(|| {
            let start = u32::try_from(self.bytes.len()).ok()?;
            self.bytes.extend_from_slice(text);
            self.bytes.push(0);
            Some(Cell::Text(start, u32::try_from(text.len()).ok()?))
        })
    }

    #[inline]
    fn value(&mut self, target: Target, text: &[u8], letters: Letters) -> Option<Cell> {
        let word = |value: i64| Some(Cell::Word(value.cast_unsigned()));
        match target {
            Target::Input => None,
            Target::Bool => scalar::boolean(text).and_then(|value| word(value.into())),
            Target::Int2 => scalar::integer(text).and_then(|n| i16::try_from(n).ok()).and_then(|n| word(n.into())),
            Target::Int4 => scalar::integer(text).and_then(|n| i32::try_from(n).ok()).and_then(|n| word(n.into())),
            Target::Oid => scalar::integer(text).and_then(|n| u32::try_from(n).ok()).and_then(|n| word(n.into())),
            Target::Int8 => scalar::integer(text).and_then(word),
            Target::Date => moment::date(text).and_then(|days| word(days.into())),
            Target::Timestamp(digits) => moment::timestamp(text, digits).and_then(word),
            Target::TimestampTz(digits) => moment::timestamp(text.strip_suffix(b"+00")?, digits).and_then(word),
            Target::Uuid => {
                let value = scalar::uuid(text)?;
                self.fixed(&value)
            }
            Target::Text(most) => {
                let fits = text.len() <= most && (letters != Letters::Ascii || text.is_ascii());
                if fits { self.varlena(text.len(), |bytes| bytes.extend_from_slice(text)) } else { None }
            }
            Target::Padded(count) => {
                // A character is a byte for sure only here.
                let fits = text.len() == count && text.is_ascii();
                if fits { self.varlena(text.len(), |bytes| bytes.extend_from_slice(text)) } else { None }
            }
            Target::Bytea => {
                let hex = text.strip_prefix(b"\\x").filter(|hex| scalar::is_hex(hex))?;
                self.varlena(hex.len() / 2, |bytes| scalar::bytes(hex, bytes))
            }
            Target::Numeric | Target::NumericOf { .. } => {
                let number = scalar::Number::read(text)?;
                if let Target::NumericOf { precision, scale } = target
                    && !number.fits(precision, scale)
                {
                    return None;
                }
                self.varlena(number.stored_len(), |bytes| number.store(bytes))
            }
        }
    }

    fn align(&mut self) -> Option<u32> {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        u32::try_from(self.bytes.len()).ok()
    }

    fn fixed(&mut self, value: &[u8]) -> Option<Cell> {
        let start = self.align()?;
        self.bytes.extend_from_slice(value);
        Some(Cell::At(start))
    }

    /// A value with the header that says how long it is, which `write` appends `length` bytes behind.
    #[inline]
    fn varlena(&mut self, length: usize, write: impl FnOnce(&mut Vec<u8>)) -> Option<Cell> {
        let total = u32::try_from(length + 4).ok().filter(|total| *total < 1 << 30)?;
        let start = self.align()?;
        let header = if cfg!(target_endian = "little") { total << 2 } else { total };
        self.bytes.extend_from_slice(&header.to_ne_bytes());
        write(&mut self.bytes);
        Some(Cell::At(start))
    }
}

#[cfg(test)]
mod tests;
