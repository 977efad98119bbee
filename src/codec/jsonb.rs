//! `jsonb` as stored: a container is a header (count and kind), an entry of 4 bytes for each child (an object has its
//! keys first, then its values), and the children's bytes. An entry tells its child's kind and either its length or,
//! every 32nd, its end. Nesting is walked with a stack of our own, since a worker's thread has a small one.

use super::error::{Fault, Outcome};
use super::raw::{aligned, part, u32_at, varlena};
use super::{numeric, text};

const COUNT: u32 = 0x0fff_ffff;
const SCALAR: u32 = 0x1000_0000;
const OBJECT: u32 = 0x2000_0000;
const ARRAY: u32 = 0x4000_0000;

const ENTRY_LENGTH: u32 = 0x0fff_ffff;
const ENTRY_KIND: u32 = 0x7000_0000;
const ENTRY_IS_END: u32 = 0x8000_0000;

/// A container that is being written; all positions count from the start of the value.
#[derive(Debug)]
pub(super) struct Level {
    /// Where the entry of the next key is, in an object.
    key: usize,
    /// Where the entry of the next value or element is.
    value: usize,
    /// Where the entries end and the children begin.
    base: usize,
    end: usize,
    /// Where the next key and the next value begin, from `base`.
    key_at: usize,
    value_at: usize,
    left: u32,
    first: bool,
    object: bool,
}

/// What the text holds, which tells CSV whether to quote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marks {
    /// Neither a comma nor a quote.
    Plain,
    Special,
}

/// The text of the value, as `jsonb_out` writes it. With `DOUBLE`, every `"` is written twice.
pub(super) fn write<const DOUBLE: bool>(
    bytes: &[u8],
    parents: &mut Vec<Level>,
    out: &mut Vec<u8>,
) -> Result<Marks, Fault> {
    parents.clear();
    let mut special = false;
    let mut level = Level::open(bytes, 0, bytes.len())?;
    if u32_at(bytes, 0)? & SCALAR != 0 {
        let (kind, from, to) = level.next_value(bytes)?;
        special = kind == 0;
        scalar::<DOUBLE>(bytes, kind, (level.base, from, to), out)?;
        return Ok(if special { Marks::Special } else { Marks::Plain });
    }
    out.push(level.bracket(b"[{"));
    loop {
        if level.left == 0 {
            out.push(level.bracket(b"]}"));
            let Some(parent) = parents.pop() else { break };
            level = parent;
            continue;
        }
        if level.first {
            level.first = false;
        } else {
            out.extend_from_slice(b", ");
            special = true;
        }
        level.left -= 1;
        if level.object {
            text::json_string::<DOUBLE>(level.next_key(bytes)?, out);
            out.extend_from_slice(b": ");
            special = true;
        }
        let (kind, from, to) = level.next_value(bytes)?;
        if kind == 0x5000_0000 {
            let child = Level::open(bytes, level.base + aligned(from, 4), level.base + to)?;
            parents.push(std::mem::replace(&mut level, child));
            out.push(level.bracket(b"[{"));
        } else {
            special |= kind == 0;
            scalar::<DOUBLE>(bytes, kind, (level.base, from, to), out)?;
        }
    }
    Ok(if special { Marks::Special } else { Marks::Plain })
}

/// Writes a child that is no container; it lies between `from` and `to`, counted from `base`.
#[inline]
fn scalar<const DOUBLE: bool>(
    bytes: &[u8],
    kind: u32,
    (base, from, to): (usize, usize, usize),
    out: &mut Vec<u8>,
) -> Outcome {
    match kind {
        0x0000_0000 => text::json_string::<DOUBLE>(part(bytes, base + from, base + to)?, out),
        0x1000_0000 => {
            let stored = part(bytes, base + aligned(from, 4), base + to)?;
            numeric::write(varlena(stored, 0)?.0, out)?;
        }
        0x2000_0000 => out.extend_from_slice(b"false"),
        0x3000_0000 => out.extend_from_slice(b"true"),
        0x4000_0000 => out.extend_from_slice(b"null"),
        _ => return Err(Fault::Malformed("a jsonb has a child of an unknown kind")),
    }
    Ok(())
}

impl Level {
    /// The container whose header is at `at` and which ends at `end`.
    #[inline]
    fn open(bytes: &[u8], at: usize, end: usize) -> Result<Self, Fault> {
        let header = u32_at(bytes, at)?;
        let (count, object) = (header & COUNT, header & OBJECT != 0);
        if object == (header & ARRAY != 0) || (header & SCALAR != 0 && (object || count != 1 || at != 0)) {
            return Err(Fault::Malformed("a jsonb has a header of an unknown kind"));
        }
        let keys = if object { count as usize * 4 } else { 0 };
        let base = at + 4 + keys + count as usize * 4;
        if base > end || end > bytes.len() {
            return Err(Fault::Malformed("a jsonb ends too early"));
        }
        let (key, value) = (at + 4, at + 4 + keys);
        let value_at = offset_before(bytes, key, value)?;
        Ok(Level { key, value, base, end, key_at: 0, value_at, left: count, first: true, object })
    }

    fn bracket(&self, of: &[u8; 2]) -> u8 {
        of[usize::from(self.object)]
    }

    #[inline]
    fn next_key<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Fault> {
        let entry = u32_at(bytes, self.key)?;
        if entry & ENTRY_KIND != 0 {
            return Err(Fault::Malformed("a jsonb has a key that is no string"));
        }
        let from = self.key_at;
        self.key_at = self.child_end(entry, from)?;
        self.key += 4;
        part(bytes, self.base + from, self.base + self.key_at)
    }

    /// Kind, start and end of the next child, counted from `base`.
    #[inline]
    fn next_value(&mut self, bytes: &[u8]) -> Result<(u32, usize, usize), Fault> {
        let entry = u32_at(bytes, self.value)?;
        let from = self.value_at;
        self.value_at = self.child_end(entry, from)?;
        self.value += 4;
        Ok((entry & ENTRY_KIND, from, self.value_at))
    }

    /// Children follow one another and end within the container, so the text is bounded by the bytes.
    #[inline]
    fn child_end(&self, entry: u32, from: usize) -> Result<usize, Fault> {
        let length = (entry & ENTRY_LENGTH) as usize;
        let end = if entry & ENTRY_IS_END != 0 { length } else { from + length };
        if end < from || self.base + end > self.end {
            return Err(Fault::Malformed("a child of a jsonb lies outside"));
        }
        Ok(end)
    }
}

/// Where the child begins whose entry is at `at`: lengths are summed back to the last entry that tells an end.
#[inline]
fn offset_before(bytes: &[u8], first: usize, mut at: usize) -> Result<usize, Fault> {
    let mut offset = 0;
    while at > first {
        at -= 4;
        let entry = u32_at(bytes, at)?;
        offset += (entry & ENTRY_LENGTH) as usize;
        if entry & ENTRY_IS_END != 0 {
            break;
        }
    }
    Ok(offset)
}
