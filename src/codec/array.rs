//! Arrays as stored after the 4-byte length: ndim, dataoffset, element type, dims, lower bounds, null bitmap, elements.
//! Offsets and alignment count from the length, so a position here is 4 less than the one PostgreSQL means.

use memchr::memchr2_iter;

use super::error::{Fault, Outcome};
use super::number::integer;
use super::raw::{aligned, i32_at, part, u32_at, varlena};
use super::value::{self, Scratch};
use super::wire::{Element, ValueKind};

const LENGTH_WORD: usize = 4;
const FIXED_PART: usize = 12;
const MAX_DIMENSIONS: usize = 6;
const MAXALIGN: usize = 8;

/// The text of an array, as `array_out` writes it.
pub(super) fn text(element: &Element, bytes: &[u8], scratch: &mut Scratch, out: &mut Vec<u8>) -> Outcome {
    let mut items = Items::open(element, bytes)?;
    if items.total == 0 {
        out.extend_from_slice(b"{}");
        return Ok(());
    }
    items.bounds(out)?;
    let plain = never_quoted(element);
    let mut unquoted = std::mem::take(&mut scratch.element);
    let outcome = items.each(out, *b"{}", element.delimiter, |item, out| match item {
        None => {
            out.extend_from_slice(b"NULL");
            Ok(())
        }
        Some(item) if plain => value::text(&element.kind, item, scratch, out),
        Some(item) if element.kind == ValueKind::Text => {
            quoted(item, element.delimiter, out);
            Ok(())
        }
        Some(item) => {
            unquoted.clear();
            value::text(&element.kind, item, scratch, &mut unquoted)?;
            quoted(&unquoted, element.delimiter, out);
            Ok(())
        }
    });
    scratch.element = unquoted;
    outcome
}

/// The JSON of an array, as `array_to_json` writes it: bounds are not told.
pub(super) fn json(element: &Element, bytes: &[u8], scratch: &mut Scratch, out: &mut Vec<u8>) -> Outcome {
    let mut items = Items::open(element, bytes)?;
    if items.total == 0 {
        out.extend_from_slice(b"[]");
        return Ok(());
    }
    items.each(out, *b"[]", b',', |item, out| match item {
        None => {
            out.extend_from_slice(b"null");
            Ok(())
        }
        Some(item) => value::json(&element.kind, item, scratch, out),
    })
}

/// Whether the text of an element is made of digits, letters, dots and dashes, so that nothing in it wants quotes.
fn never_quoted(element: &Element) -> bool {
    use ValueKind::{Bool, Int2, Int4, Int8, Numeric, Oid, Uuid};
    let harmless = matches!(element.kind, Bool | Int2 | Int4 | Int8 | Oid | Numeric | Uuid);
    harmless && matches!(element.delimiter, b',' | b';')
}

/// An element's text, in quotes if an array would else read it otherwise.
fn quoted(item: &[u8], delimiter: u8, out: &mut Vec<u8>) {
    let special = |byte: &u8| {
        *byte == delimiter || matches!(byte, b'"' | b'\\' | b'{' | b'}' | b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
    };
    if !item.is_empty() && !item.eq_ignore_ascii_case(b"NULL") && !item.iter().any(special) {
        out.extend_from_slice(item);
        return;
    }
    out.push(b'"');
    let mut from = 0;
    for at in memchr2_iter(b'"', b'\\', item) {
        out.extend_from_slice(&item[from..at]);
        out.push(b'\\');
        from = at;
    }
    out.extend_from_slice(&item[from..]);
    out.push(b'"');
}

/// The elements of one array in storage order.
struct Items<'a> {
    bytes: &'a [u8],
    nulls: Option<&'a [u8]>,
    length: Option<usize>,
    align: usize,
    /// A fixed length of text is padded with NULs (`name`).
    padded: bool,
    at: usize,
    /// Elements below one index of each dimension; the first is all of them.
    strides: [usize; MAX_DIMENSIONS],
    dimensions: usize,
    total: usize,
}

impl<'a> Items<'a> {
    fn open(element: &Element, bytes: &'a [u8]) -> Result<Self, Fault> {
        let dimensions = usize::try_from(i32_at(bytes, 0)?).unwrap_or(usize::MAX);
        let offset = u32_at(bytes, 4)? as usize;
        let length = match element.length {
            -1 => None,
            length => Some(usize::try_from(length).map_err(|_| Fault::Malformed("an array of unknown elements"))?),
        };
        let align = usize::from(element.align);
        if dimensions > MAX_DIMENSIONS || !matches!(align, 1 | 2 | 4 | 8) || length == Some(0) {
            return Err(Fault::Malformed("an array of unknown shape"));
        }
        let (strides, total) = strides(bytes, dimensions)?;
        let head = FIXED_PART + dimensions * 8;
        let (nulls, start) = if offset == 0 {
            (None, aligned(head + LENGTH_WORD, MAXALIGN) - LENGTH_WORD)
        } else {
            let start = offset.checked_sub(LENGTH_WORD).ok_or(Fault::Malformed("an array begins outside"))?;
            (Some(part(bytes, head, head + total.div_ceil(8))?), start)
        };
        let padded = length.is_some() && element.kind == ValueKind::Text;
        Ok(Items { bytes, nulls, length, align, padded, at: start, strides, dimensions, total })
    }

    /// Writes `[lower:upper]…=` unless all lower bounds are 1.
    fn bounds(&self, out: &mut Vec<u8>) -> Outcome {
        let lower = |index: usize| i32_at(self.bytes, FIXED_PART + (self.dimensions + index) * 4).map(i64::from);
        let size = |index: usize| i32_at(self.bytes, FIXED_PART + index * 4).map(i64::from);
        let mut shown = false;
        for index in 0..self.dimensions {
            shown |= lower(index)? != 1;
        }
        if !shown {
            return Ok(());
        }
        for index in 0..self.dimensions {
            out.push(b'[');
            integer(lower(index)?, out);
            out.push(b':');
            integer(lower(index)? + size(index)? - 1, out);
            out.push(b']');
        }
        out.push(b'=');
        Ok(())
    }

    /// Writes every element by `write`, with brackets and delimiters around.
    fn each(
        &mut self,
        out: &mut Vec<u8>,
        [open, close]: [u8; 2],
        delimiter: u8,
        mut write: impl FnMut(Option<&'a [u8]>, &mut Vec<u8>) -> Outcome,
    ) -> Outcome {
        for index in 0..self.total {
            if index > 0 {
                out.push(delimiter);
            }
            self.brackets(index, open, out);
            let item = self.item(index)?;
            write(item, out)?;
            self.brackets(index + 1, close, out);
        }
        Ok(())
    }

    /// As many brackets as dimensions begin, or end, at `index`.
    #[inline]
    fn brackets(&self, index: usize, bracket: u8, out: &mut Vec<u8>) {
        if self.dimensions == 1 {
            if index == 0 || index == self.total {
                out.push(bracket);
            }
            return;
        }
        for stride in &self.strides[..self.dimensions] {
            if index.is_multiple_of(*stride) {
                out.push(bracket);
            }
        }
    }

    #[inline]
    fn item(&mut self, index: usize) -> Result<Option<&'a [u8]>, Fault> {
        if self.nulls.is_some_and(|nulls| nulls.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 0)) {
            return Ok(None);
        }
        let start = aligned(self.at + LENGTH_WORD, self.align) - LENGTH_WORD;
        let Some(length) = self.length else {
            let (item, end) = varlena(self.bytes, start)?;
            self.at = end;
            return Ok(Some(item));
        };
        self.at = start + length;
        let item = part(self.bytes, start, self.at)?;
        let shown = if self.padded { memchr::memchr(0, item).unwrap_or(length) } else { length };
        Ok(item.get(..shown))
    }
}

/// The stride of each dimension, and the number of all elements, 0 if any dimension is empty.
fn strides(bytes: &[u8], dimensions: usize) -> Result<([usize; MAX_DIMENSIONS], usize), Fault> {
    let mut strides = [1; MAX_DIMENSIONS];
    let mut total = usize::from(dimensions > 0);
    for index in (0..dimensions).rev() {
        let size = usize::try_from(i32_at(bytes, FIXED_PART + index * 4)?).ok();
        // No array holds more elements than bits.
        total = size
            .and_then(|size| total.checked_mul(size))
            .filter(|total| *total <= bytes.len().saturating_mul(8))
            .ok_or(Fault::Malformed("an array has more elements than bytes"))?;
        strides[index] = total;
    }
    Ok((strides, total))
}
