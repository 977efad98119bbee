//! A row as `row_to_json` writes it.

use super::error::Outcome;
use super::text::json_string;
use super::value::{self, Scratch};
use super::wire::{Column, Fields, ValueKind};

/// The columns of a table, each with the bytes before its value.
#[derive(Debug)]
pub(super) struct Json {
    columns: Vec<(Box<[u8]>, ValueKind)>,
}

impl Json {
    pub(super) fn new(columns: &[Column]) -> Self {
        let before = |(index, column): (usize, &Column)| {
            let mut bytes = vec![if index == 0 { b'{' } else { b',' }];
            json_string::<false>(column.name.as_bytes(), &mut bytes);
            bytes.push(b':');
            (bytes.into_boxed_slice(), column.kind.clone())
        };
        Json { columns: columns.iter().enumerate().map(before).collect() }
    }

    /// Appends the next row; on a fault, `at` is its column.
    #[inline]
    pub(super) fn row(&self, fields: &mut Fields, scratch: &mut Scratch, out: &mut Vec<u8>, at: &mut usize) -> Outcome {
        for (index, (before, kind)) in self.columns.iter().enumerate() {
            *at = index;
            out.extend_from_slice(before);
            match fields.take()? {
                Some(bytes) => value::json(kind, bytes, scratch, out)?,
                None => out.extend_from_slice(b"null"),
            }
        }
        out.extend_from_slice(if self.columns.is_empty() { b"{}" } else { b"}" });
        Ok(())
    }
}
