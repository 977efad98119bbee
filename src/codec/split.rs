//! The rows of a chunk found again, to check what was written: the inverse of `Encoder::encode`.

use memchr::{memchr, memchr_iter, memchr2, memchr3};

use crate::plan::Format;
use crate::stream::RowDigest;

/// The rows of a chunk's text, each without line end or separator. The chunk holds whole rows and no prologue; for
/// JSON, brackets and separators around the rows are passed over. A row that is cut off comes as it is.
pub fn rows(format: Format, chunk: &[u8]) -> Rows<'_> {
    Rows { format, rest: chunk }
}

/// The number of rows in a chunk's text, and their digest.
pub fn digest(format: Format, chunk: &[u8]) -> (u64, RowDigest) {
    let mut digest = RowDigest::default();
    let mut count = 0;
    digest.add_rows(rows(format, chunk).inspect(|_| count += 1));
    (count, digest)
}

/// As `digest`, for a chunk that is said to hold `rows` rows and has just as many lines: then each line is a row, and
/// nothing in it need be looked at. None where that is not so; a wrong number of rows gives a wrong digest.
pub fn digest_of_lines(format: Format, chunk: &[u8], rows: u64) -> Option<(u64, RowDigest)> {
    if memchr_iter(b'\n', chunk).count() as u64 != rows {
        return None;
    }
    // In JSON each row begins on a new line, in the other formats it ends with one.
    let text = if format == Format::Json { chunk.strip_prefix(b"\n") } else { chunk.strip_suffix(b"\n") }?;
    let mut start = 0;
    let ends = memchr_iter(b'\n', text).chain(std::iter::once(text.len()));
    let lines = ends.map(|end| &text[std::mem::replace(&mut start, end + 1)..end]);
    let separator: &[u8] = if format == Format::Json { b"," } else { b"" };
    let mut digest = RowDigest::default();
    digest.add_rows(lines.map(|line| line.strip_suffix(separator).unwrap_or(line)));
    Some((rows, digest))
}

/// Iterator over the rows of a chunk.
#[derive(Debug, Clone)]
pub struct Rows<'a> {
    format: Format,
    rest: &'a [u8],
}

impl<'a> Iterator for Rows<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = match self.format {
            Format::Csv => line(self.rest, b'"', b'"'),
            Format::Sql => line(self.rest, b'\'', b'"'),
            Format::Json => {
                let between = |byte: &u8| matches!(byte, b'[' | b']' | b',' | b'\n' | b' ');
                let start = self.rest.iter().position(|byte| !between(byte)).unwrap_or(self.rest.len());
                self.rest = &self.rest[start..];
                object(self.rest)
            }
        };
        if self.rest.is_empty() {
            return None;
        }
        let (row, rest) = self.rest.split_at(length);
        self.rest = if self.format == Format::Json { rest } else { rest.get(1..).unwrap_or_default() };
        Some(row)
    }
}

/// The length of the line that `bytes` begin with. A line feed within quotes of either kind ends no line; a doubled
/// quote closes and opens again.
fn line(bytes: &[u8], quote: u8, other: u8) -> usize {
    let mut at = 0;
    while let Some(found) = memchr3(b'\n', quote, other, &bytes[at..]) {
        at += found;
        let mark = bytes[at];
        if mark == b'\n' {
            return at;
        }
        let Some(close) = memchr(mark, &bytes[at + 1..]) else { break };
        at += close + 2;
    }
    bytes.len()
}

/// The length of the JSON object that `bytes` begin with. Its lines do not tell: a `json` value keeps the line feeds
/// it was given, even one between two objects of an array.
fn object(bytes: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0usize);
    while let Some(found) = memchr3(b'"', b'{', b'}', &bytes[at..]) {
        at += found + 1;
        match bytes[at - 1] {
            b'{' => depth += 1,
            b'}' if depth <= 1 => return at,
            b'}' => depth -= 1,
            _ => at += string(&bytes[at..]),
        }
    }
    bytes.len()
}

/// The length of the string that `bytes` are within, with its closing quote.
fn string(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = memchr2(b'"', b'\\', &bytes[at..]) {
        at += found + 1;
        if bytes[at - 1] == b'"' {
            return at;
        }
        at += 1;
        if at > bytes.len() {
            break;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(format: Format, chunk: &str) -> Vec<&str> {
        rows(format, chunk.as_bytes()).map(|row| std::str::from_utf8(row).unwrap()).collect()
    }

    #[test]
    fn csv_lines_end_outside_quotes() {
        assert_eq!(split(Format::Csv, "a,\"b\n\"\"\nc\"\n\n\"\"\n"), ["a,\"b\n\"\"\nc\"", "", "\"\""]);
        assert_eq!(split(Format::Csv, ""), [""; 0]);
    }

    #[test]
    fn sql_lines_end_outside_literals_and_names() {
        let first = "INSERT INTO \"a'\n\" VALUES ('it''s;\n');";
        let second = "INSERT INTO t VALUES (E'\\\\', '\"\n');";
        assert_eq!(split(Format::Sql, &format!("{first}\n{second}\n")), [first, second]);
    }

    #[test]
    fn json_rows_end_with_their_object() {
        let first = "{\"a\":[{\"b\":1},\n{\"c\":\"}\\\"\"}],\"d\":\"\\\\\"}";
        let second = "{\"a\":{}}";
        assert_eq!(split(Format::Json, &format!("{first},\n{second}")), [first, second]);
        assert_eq!(split(Format::Json, &format!("[\n{first},\n{second}\n]\n")), [first, second]);
        assert_eq!(split(Format::Json, "[\n\n]\n"), [""; 0]);
    }

    #[test]
    fn a_changed_row_changes_the_digest() {
        let (count, before) = digest(Format::Csv, b"1,a\n2,b\n");
        assert_eq!(count, 2);
        assert_ne!(before, digest(Format::Csv, b"1,a\n2,c\n").1);
        assert_eq!(before, digest(Format::Csv, b"2,b\n1,a\n").1);
    }

    #[test]
    fn lines_are_rows_where_there_are_as_many() {
        for (format, chunk, rows) in [
            (Format::Csv, "1,a\n2,b\n", 2),
            (Format::Sql, "INSERT 1;\nINSERT 2;\n", 2),
            (Format::Json, "\n{\"a\":1},\n{\"a\":\"},\"}", 2),
            (Format::Json, "\n{}", 1),
        ] {
            assert_eq!(
                digest_of_lines(format, chunk.as_bytes(), rows),
                Some(digest(format, chunk.as_bytes())),
                "{chunk}"
            );
            assert_eq!(digest_of_lines(format, chunk.as_bytes(), rows + 1), None, "{chunk}");
        }
        assert_eq!(digest_of_lines(Format::Csv, b"1,\"a\nb\"\n", 1), None);
        assert_eq!(digest_of_lines(Format::Csv, b"1\n2", 1), None);
        assert_eq!(digest_of_lines(Format::Json, b"{}\n", 1), None);
        assert_eq!(digest_of_lines(Format::Csv, b"", 0), None);
    }

    proptest! {
        #[test]
        fn lines_are_never_taken_for_other_rows(rows in proptest::collection::vec("[ab,\"\n]{0,6}", 1..6)) {
            // A row as each format writes it; in JSON a json value keeps its line feeds outside of strings.
            let csv: String = rows.iter().map(|row| format!("\"{}\"\n", row.replace('"', "\"\""))).collect();
            let space = |row: &String| "\n".repeat(row.matches('\n').count());
            let json: Vec<String> = rows.iter().map(|row| format!("\n{{\"a\":{}{:?}}}", space(row), row)).collect();
            for (format, chunk) in [(Format::Csv, csv), (Format::Json, json.join(","))] {
                let whole = digest(format, chunk.as_bytes());
                prop_assert_eq!(whole.0, rows.len() as u64);
                let lines = digest_of_lines(format, chunk.as_bytes(), whole.0);
                prop_assert!(lines.is_none_or(|lines| lines == whole));
                prop_assert_eq!(lines.is_none(), rows.iter().any(|row| row.contains('\n')));
            }
        }

        #[test]
        fn no_bytes_break_the_splitter(chunk in "[\\[\\]{},\"\\\\'\n;a]{0,60}") {
            for format in [Format::Csv, Format::Json, Format::Sql] {
                let total: usize = rows(format, chunk.as_bytes()).map(<[u8]>::len).sum();
                prop_assert!(total <= chunk.len());
            }
        }
    }
}
