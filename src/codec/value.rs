//! One value: its text as the type's output function writes it, and its JSON as `row_to_json` does.

use std::collections::HashMap;

use super::datetime::{self, Style, Zone};
use super::error::{Fault, Outcome};
use super::raw::{part, u32_at, whole};
use super::wire::ValueKind;
use super::{array, jsonb, number, numeric, text};

/// Buffers kept from value to value, so that none is allocated per value.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// A whole value before it is quoted.
    pub(super) value: Vec<u8>,
    /// An array's element before it is quoted.
    pub(super) element: Vec<u8>,
    /// The containers around the one of a jsonb that is being written.
    pub(super) levels: Vec<jsonb::Level>,
}

/// Appends the text of a value that is not NULL.
#[inline]
pub(super) fn text(kind: &ValueKind, bytes: &[u8], scratch: &mut Scratch, out: &mut Vec<u8>) -> Outcome {
    match kind {
        ValueKind::Text | ValueKind::NumberText | ValueKind::Json => out.extend_from_slice(bytes),
        ValueKind::TextAndJson => out.extend_from_slice(server_text(bytes)?),
        ValueKind::Bool => out.push(if boolean(bytes)? { b't' } else { b'f' }),
        ValueKind::Int2 => number::integer(i16::from_ne_bytes(whole(bytes)?), out),
        ValueKind::Int4 => number::integer(i32::from_ne_bytes(whole(bytes)?), out),
        ValueKind::Int8 => number::integer(i64::from_ne_bytes(whole(bytes)?), out),
        ValueKind::Oid => number::integer(u32::from_ne_bytes(whole(bytes)?), out),
        ValueKind::Numeric => numeric::write(bytes, out)?,
        ValueKind::Date | ValueKind::Timestamp | ValueKind::TimestampTz => moment(kind, bytes, Style::Iso, out)?,
        ValueKind::Uuid => number::uuid(whole(bytes)?, out),
        ValueKind::Bytea => {
            out.extend_from_slice(b"\\x");
            hex(bytes, out)?;
        }
        ValueKind::Jsonb => {
            jsonb::write::<false>(bytes, &mut scratch.levels, out)?;
        }
        ValueKind::Enum(labels) => out.extend_from_slice(label(labels, bytes)?),
        ValueKind::Array(element) => array::text(element, bytes, scratch, out)?,
    }
    Ok(())
}

/// Appends the JSON of a value that is not NULL.
#[inline]
pub(super) fn json(kind: &ValueKind, bytes: &[u8], scratch: &mut Scratch, out: &mut Vec<u8>) -> Outcome {
    match kind {
        ValueKind::Text => text::json_string::<false>(bytes, out),
        ValueKind::NumberText if number::is_json_number(bytes) => out.extend_from_slice(bytes),
        ValueKind::NumberText => text::json_string::<false>(bytes, out),
        ValueKind::Json => out.extend_from_slice(bytes),
        ValueKind::TextAndJson => out.extend_from_slice(server_json(bytes)?),
        ValueKind::Bool => out.extend_from_slice(if boolean(bytes)? { b"true" } else { b"false" }),
        ValueKind::Int2 | ValueKind::Int4 | ValueKind::Int8 => self::text(kind, bytes, scratch, out)?,
        ValueKind::Numeric if !numeric::is_special(bytes)? => numeric::write(bytes, out)?,
        ValueKind::Jsonb => {
            jsonb::write::<false>(bytes, &mut scratch.levels, out)?;
        }
        ValueKind::Enum(labels) => text::json_string::<false>(label(labels, bytes)?, out),
        ValueKind::Array(element) => array::json(element, bytes, scratch, out)?,
        ValueKind::Date | ValueKind::Timestamp | ValueKind::TimestampTz => {
            out.push(b'"');
            moment(kind, bytes, Style::Xsd, out)?;
            out.push(b'"');
        }
        ValueKind::Bytea => {
            out.extend_from_slice(b"\"\\\\x");
            hex(bytes, out)?;
            out.push(b'"');
        }
        ValueKind::Oid | ValueKind::Uuid | ValueKind::Numeric => {
            out.push(b'"');
            self::text(kind, bytes, scratch, out)?;
            out.push(b'"');
        }
    }
    Ok(())
}

/// The text of a `TextAndJson`.
pub(super) fn server_text(bytes: &[u8]) -> Result<&[u8], Fault> {
    part(bytes, 4, 4 + text_length(bytes)?)
}

fn server_json(bytes: &[u8]) -> Result<&[u8], Fault> {
    part(bytes, 4 + text_length(bytes)?, bytes.len())
}

fn text_length(bytes: &[u8]) -> Result<usize, Fault> {
    u32_at(bytes, 0).map(|length| length as usize)
}

/// The label of an enum value.
pub(super) fn label<'a>(labels: &'a HashMap<u32, Box<str>>, bytes: &[u8]) -> Result<&'a [u8], Fault> {
    let oid = u32::from_ne_bytes(whole(bytes)?);
    labels.get(&oid).map(|label| label.as_bytes()).ok_or(Fault::Malformed("an enum value has no label"))
}

fn boolean(bytes: &[u8]) -> Result<bool, Fault> {
    whole::<1>(bytes).map(|[byte]| byte != 0)
}

/// Hex doubles the bytes, so a value too long for any row is refused before memory is taken for it.
fn hex(bytes: &[u8], out: &mut Vec<u8>) -> Outcome {
    if bytes.len() > super::encoder::ROW_LIMIT / 2 {
        return Err(Fault::TooLong);
    }
    number::hex(bytes, out);
    Ok(())
}

fn moment(kind: &ValueKind, bytes: &[u8], style: Style, out: &mut Vec<u8>) -> Outcome {
    match kind {
        ValueKind::Date => datetime::date(i32::from_ne_bytes(whole(bytes)?), out),
        ValueKind::Timestamp => datetime::timestamp(i64::from_ne_bytes(whole(bytes)?), style, Zone::Absent, out),
        _ => datetime::timestamp(i64::from_ne_bytes(whole(bytes)?), style, Zone::Utc, out),
    }
}
