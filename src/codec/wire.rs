//! Rows as they leave the backend: bytes of each value, copied while the scan holds them, decoded later on a thread.
//!
//! A row is its columns in order, each a `u32` little-endian length (`NULL_LENGTH` for SQL NULL) and that many bytes.
//! What the bytes are is told by the column's `ValueKind`.

use std::collections::HashMap;
use std::sync::Arc;

use super::error::{EncodeError, Fault};

/// The length that stands for SQL NULL.
pub const NULL_LENGTH: u32 = u32::MAX;

/// What the bytes of a non-null value are, and so how they become text. Numbers are in the machine's byte order,
/// as PostgreSQL keeps them; varlena values come detoasted and without their length header.
#[derive(Debug, Clone, PartialEq)]
pub enum ValueKind {
    /// The value's finished text in the file's encoding; a JSON string. `text`, `varchar`, `bpchar`, and every
    /// type whose JSON form is a string of its output text.
    Text,
    /// The finished text of a number (`float4`, `float8`); in JSON bare if it is a JSON number, else a string.
    NumberText,
    /// The text of a `json` value; in JSON as it is.
    Json,
    /// Text and JSON both made by the server: a `u32` length of the text (machine's byte order), the text, then the
    /// JSON text.
    TextAndJson,
    /// 1 byte.
    Bool,
    /// 2 bytes, signed.
    Int2,
    /// 4 bytes, signed.
    Int4,
    /// 8 bytes, signed.
    Int8,
    /// 4 bytes, unsigned. Its JSON form is a string: `row_to_json` counts `oid` as no number.
    Oid,
    /// `numeric` as stored (short or long header, then base-10000 digits).
    Numeric,
    /// `date`: i32 days since 2000-01-01.
    Date,
    /// `timestamp`: i64 microseconds since 2000-01-01.
    Timestamp,
    /// `timestamptz`: i64 microseconds since 2000-01-01 UTC, shown in UTC.
    TimestampTz,
    /// 16 bytes.
    Uuid,
    /// Raw bytes, shown as `\x` hex.
    Bytea,
    /// `jsonb` as stored (a JsonbContainer).
    Jsonb,
    /// `u32` oid of the label.
    Enum(Arc<HashMap<u32, Box<str>>>),
    /// `ArrayType` as stored, after its length header (ndim, dataoffset, elemtype, dims, lower bounds, null bitmap, data).
    Array(Arc<Element>),
}

/// The elements of an array: none of them is toasted by itself outside the array, but a varlena element may carry a
/// 1-byte or a 4-byte header, and, rarely, be compressed inline (then the backend sends the array as `TextAndJson`
/// or `Text` and this kind is not used).
#[derive(Debug, Clone, PartialEq)]
pub struct Element {
    /// Any kind but `Array`, `NumberText` and `TextAndJson`, none of which is a type's stored form. `Text` of a fixed
    /// length is a `name`, and ends at its first NUL.
    pub kind: ValueKind,
    /// `pg_type.typlen`: bytes, or -1 for a varlena.
    pub length: i16,
    /// `pg_type.typalign` in bytes: 1, 2, 4 or 8.
    pub align: u8,
    /// `pg_type.typdelim`.
    pub delimiter: u8,
}

/// One column of a scan.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Name as in the catalogue, not quoted.
    pub name: String,
    pub kind: ValueKind,
    /// A generated column stands in JSON (as in `row_to_json`) and not in CSV and SQL (as in `COPY`).
    pub generated: bool,
}

/// A run of rows copied off the backend.
#[derive(Debug, Default)]
pub struct RowBatch {
    /// Place of the batch in the scan, from 0.
    pub sequence: u64,
    /// Number of the batch's first row in the scan, from 0.
    pub first_row: u64,
    pub rows: u32,
    /// The rows, one after another.
    pub bytes: Vec<u8>,
}

impl RowBatch {
    /// Appends one SQL NULL.
    pub fn push_null(&mut self) {
        self.bytes.extend_from_slice(&NULL_LENGTH.to_le_bytes());
    }

    /// Appends one value, whose bytes are as its column's `ValueKind` says.
    ///
    /// # Errors
    /// `RowTooLong` if no length can tell how long it is.
    pub fn push_value(&mut self, value: &[u8]) -> Result<(), EncodeError> {
        let length = u32::try_from(value.len()).ok().filter(|length| *length != NULL_LENGTH);
        let length = length.ok_or(EncodeError::RowTooLong { row: self.first_row + u64::from(self.rows) })?;
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(value);
        Ok(())
    }

    /// Counts the row that was pushed.
    pub fn end_row(&mut self) {
        self.rows += 1;
    }
}

/// Reads the fields of a batch one after another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn new(batch: &'a RowBatch) -> Self {
        Fields(&batch.bytes)
    }

    /// The next field, `None` for NULL.
    #[inline]
    pub(super) fn take(&mut self) -> Result<Option<&'a [u8]>, Fault> {
        let short = Fault::Malformed("the batch ends within the row");
        let (length, rest) = self.0.split_first_chunk::<4>().ok_or(short)?;
        let length = u32::from_le_bytes(*length);
        if length == NULL_LENGTH {
            self.0 = rest;
            return Ok(None);
        }
        let (value, rest) = rest.split_at_checked(length as usize).ok_or(short)?;
        self.0 = rest;
        Ok(Some(value))
    }

    /// Whether all was read.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_in_order() {
        let mut batch = RowBatch::default();
        batch.push_null();
        batch.push_value(b"").unwrap();
        batch.push_value(b"ab").unwrap();
        batch.end_row();
        let mut fields = Fields::new(&batch);
        assert_eq!(fields.take(), Ok(None));
        assert_eq!(fields.take(), Ok(Some(&b""[..])));
        assert_eq!(fields.take(), Ok(Some(&b"ab"[..])));
        assert!(fields.is_empty() && fields.take().is_err());
    }

    #[test]
    fn a_cut_field_is_refused() {
        for bytes in [vec![1, 0, 0], vec![2, 0, 0, 0, b'a']] {
            assert!(Fields::new(&RowBatch { bytes, ..RowBatch::default() }).take().is_err());
        }
    }
}
