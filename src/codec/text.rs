//! Quoting: the text of a value as a JSON string, a CSV field or an SQL literal. Most texts hold nothing to quote, so
//! each writer looks for the first special byte, eight at a time, and copies what lies before it in one piece.

use memchr::{memchr, memchr_iter, memchr2_iter};

const ONES: u64 = u64::MAX / 255;
const HIGH: u64 = ONES << 7;

/// Has the high bit of each zero byte, and perhaps of bytes above the lowest zero byte.
#[inline]
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGH
}

/// Likewise for bytes that JSON does not take as they are: controls, `"` and `\`.
#[inline]
fn json_marks(word: u64) -> u64 {
    let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
    control | zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')))
}

/// Likewise for bytes that make CSV quote a field.
#[inline]
fn csv_marks(word: u64) -> u64 {
    zeros(word ^ (ONES * u64::from(b',')))
        | zeros(word ^ (ONES * u64::from(b'"')))
        | zeros(word ^ (ONES * u64::from(b'\n')))
        | zeros(word ^ (ONES * u64::from(b'\r')))
}

/// Likewise for bytes that an SQL literal doubles.
#[inline]
fn sql_marks(word: u64) -> u64 {
    zeros(word ^ (ONES * u64::from(b'\''))) | zeros(word ^ (ONES * u64::from(b'\\')))
}

/// The length of the prefix of `bytes` in which `marks` finds nothing.
#[inline]
fn clean(bytes: &[u8], marks: impl Fn(u64) -> u64) -> usize {
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let found = marks(u64::from_le_bytes(*word));
        if found != 0 {
            return index * 8 + (found.trailing_zeros() / 8) as usize;
        }
    }
    // The byte 1 << 7 is special to nobody, so the mark above the tail is the end.
    let word = tail.iter().rev().fold(HIGH, |word, byte| word << 8 | u64::from(*byte));
    let found = marks(word);
    let at = if found == 0 { tail.len() } else { tail.len().min((found.trailing_zeros() / 8) as usize) };
    words.len() * 8 + at
}

/// `bytes` as a JSON string, escaped as `escape_json` does. With `DOUBLE`, every `"` is written twice, as it must be
/// within a quoted CSV field.
#[inline]
pub(super) fn json_string<const DOUBLE: bool>(bytes: &[u8], out: &mut Vec<u8>) {
    let quote: &[u8] = if DOUBLE { b"\"\"" } else { b"\"" };
    out.reserve(bytes.len() + 4);
    out.extend_from_slice(quote);
    let mut rest = bytes;
    loop {
        let (plain, special) = rest.split_at(clean(rest, json_marks));
        out.extend_from_slice(plain);
        let Some((byte, after)) = special.split_first() else { break };
        json_escape::<DOUBLE>(*byte, out);
        rest = after;
    }
    out.extend_from_slice(quote);
}

fn json_escape<const DOUBLE: bool>(byte: u8, out: &mut Vec<u8>) {
    let short: &[u8] = match byte {
        b'"' if DOUBLE => b"\\\"\"",
        b'"' => b"\\\"",
        b'\\' => b"\\\\",
        b'\n' => b"\\n",
        b'\r' => b"\\r",
        b'\t' => b"\\t",
        0x08 => b"\\b",
        0x0c => b"\\f",
        _ => {
            out.extend_from_slice(b"\\u00");
            super::number::hex(&[byte], out);
            return;
        }
    };
    out.extend_from_slice(short);
}

/// Whether a field is the only one of its line, where `\.` would read as the end of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Alone,
    Among,
}

/// `bytes` as a CSV field: quoted if empty (unquoted it would be NULL), or if it holds a comma, a quote or a line end.
#[inline]
pub(super) fn csv_field(bytes: &[u8], place: Place, out: &mut Vec<u8>) {
    let plain = clean(bytes, csv_marks) == bytes.len();
    if plain && !bytes.is_empty() && !(place == Place::Alone && bytes == b"\\.") {
        out.extend_from_slice(bytes);
        return;
    }
    out.push(b'"');
    let mut from = 0;
    for at in memchr_iter(b'"', bytes) {
        out.extend_from_slice(&bytes[from..=at]);
        from = at;
    }
    out.extend_from_slice(&bytes[from..]);
    out.push(b'"');
}

/// `bytes` as an SQL literal, which reads alike whatever `standard_conforming_strings` is.
#[inline]
pub(super) fn sql_literal(bytes: &[u8], out: &mut Vec<u8>) {
    let (plain, special) = bytes.split_at(clean(bytes, sql_marks));
    if memchr(b'\\', special).is_some() {
        out.push(b'E');
    }
    out.push(b'\'');
    out.extend_from_slice(plain);
    let mut from = 0;
    for at in memchr2_iter(b'\'', b'\\', special) {
        out.extend_from_slice(&special[from..=at]);
        from = at;
    }
    out.extend_from_slice(&special[from..]);
    out.push(b'\'');
}

/// `name` as an SQL identifier, always quoted.
pub(super) fn sql_name(name: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in name.bytes() {
        out.extend_from_slice(if byte == b'"' { b"\"\"" } else { std::slice::from_ref(&byte) });
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = vec![];
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_escapes_what_postgres_escapes() {
        let text = "\u{1}\u{8}\u{c}\n\r\t\"\\/\u{7f}é\u{1f}";
        let expected = "\"\\u0001\\b\\f\\n\\r\\t\\\"\\\\/\u{7f}é\\u001f\"";
        assert_eq!(written(|out| json_string::<false>(text.as_bytes(), out)), expected);
        assert_eq!(written(|out| json_string::<true>(text.as_bytes(), out)), expected.replace('"', "\"\""));
    }

    #[test]
    fn csv_quotes_only_what_it_must() {
        for (text, expected) in [
            ("", "\"\""),
            ("a b", "a b"),
            ("a,b", "\"a,b\""),
            ("a\"b\"", "\"a\"\"b\"\"\""),
            ("a\nb", "\"a\nb\""),
            ("a\rb", "\"a\rb\""),
            ("\\.", "\\."),
            ("\\N", "\\N"),
            (" lead", " lead"),
        ] {
            assert_eq!(written(|out| csv_field(text.as_bytes(), Place::Among, out)), expected);
        }
        assert_eq!(written(|out| csv_field(b"\\.", Place::Alone, out)), "\"\\.\"");
        assert_eq!(written(|out| csv_field(b"\\..", Place::Alone, out)), "\\..");
    }

    #[test]
    fn sql_literals_escape_only_with_a_backslash() {
        for (text, expected) in [
            ("", "''"),
            ("a", "'a'"),
            ("it's", "'it''s'"),
            ("a\\b", "E'a\\\\b'"),
            ("'\\'", "E'''\\\\'''"),
            ("\\connect", "E'\\\\connect'"),
        ] {
            assert_eq!(written(|out| sql_literal(text.as_bytes(), out)), expected);
        }
        assert_eq!(written(|out| sql_name("a\"b", out)), "\"a\"\"b\"");
    }

    proptest! {
        #[test]
        fn the_clean_prefix_ends_at_the_first_special_byte(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
            let expected = bytes.iter().position(special).unwrap_or(bytes.len());
            prop_assert_eq!(clean(&bytes, json_marks), expected);
            let expected = bytes.iter().position(|byte| b",\"\r\n".contains(byte)).unwrap_or(bytes.len());
            prop_assert_eq!(clean(&bytes, csv_marks), expected);
        }

        #[test]
        fn json_strings_come_back(text in any::<String>()) {
            let json = written(|out| json_string::<false>(text.as_bytes(), out));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
