//! A captured row for people: its line of CSV as the object that `row_to_json` would make of it. Only the names of the
//! types are known: values of domains and composite types stand as their texts, and so does a `json` nested very deep.

use serde_json::Value;

use super::fields::{CsvFields, NotCsv};
use super::project::Shown;
use super::text::json_string;

/// Appends the object of a line of CSV, whose fields are `columns` of `types` as `format_type` names them. Errors: it is
/// no such line.
pub fn json<'a>(
    columns: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
    line: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), NotCsv> {
    let mut fields = CsvFields::default();
    fields.read(line)?;
    if fields.len() != columns.len().max(1) {
        return Err(NotCsv("it has another number of fields than there are columns"));
    }
    out.push(b'{');
    for (place, (name, of_type)) in columns.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        json_string::<false>(name.as_bytes(), out);
        out.push(b':');
        match fields.get(place) {
            None => out.extend_from_slice(b"null"),
            Some(field) => value(of_type, field, out),
        }
    }
    out.push(b'}');
    Ok(())
}

fn value(of_type: &str, text: &[u8], out: &mut Vec<u8>) {
    if let Some(element) = of_type.strip_suffix("[]") {
        return match array(element, text) {
            Some(array) => out.extend_from_slice(&array),
            None => json_string::<false>(text, out),
        };
    }
    match of_type {
        "json" if is_jsonb(text) => out.extend_from_slice(text),
        "int2vector" | "oidvector" => {
            let element = if of_type == "oidvector" { "oid" } else { "smallint" };
            out.push(b'[');
            for (place, item) in text.split(|byte| *byte == b' ').filter(|item| !item.is_empty()).enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                value(element, item, out);
            }
            out.push(b']');
        }
        _ if of_type.starts_with("timestamp") => json_string::<false>(&moment(text), out),
        _ => Shown::of_type(of_type).write(text, out),
    }
}

/// Whether `jsonb` takes a text of type `json`: it refuses zero characters, halves of a pair, and huge exponents.
fn is_jsonb(text: &[u8]) -> bool {
    serde_json::from_slice::<Value>(text).is_ok() && memchr::memmem::find(text, b"\\u0000").is_none()
}

/// In the form of XML Schema: a `T` in the middle, and minutes in the zone.
fn moment(text: &[u8]) -> Vec<u8> {
    let mut moment = text.to_vec();
    if !text.first().is_some_and(u8::is_ascii_digit) {
        return moment;
    }
    if let Some(blank) = moment.iter_mut().find(|byte| **byte == b' ') {
        *blank = b'T';
    }
    if let Some(zone) = memchr::memmem::rfind(&moment, b"+00")
        && matches!(&moment[zone + 3..], b"" | b" BC")
    {
        moment.splice(zone + 3..zone + 3, *b":00");
    }
    moment
}

/// The JSON of an array's text; none where it is not such a text.
fn array(element: &str, text: &[u8]) -> Option<Vec<u8>> {
    let delimiter = if element == "box" { b';' } else { b',' };
    let start = if text.first() == Some(&b'[') { memchr::memchr(b'=', text)? + 1 } else { 0 };
    let (mut out, mut at, mut depth) = (Vec::new(), start, 0_usize);
    let mut item = Vec::new();
    loop {
        match *text.get(at)? {
            b'{' => {
                depth += 1;
                out.push(b'[');
                at += 1;
            }
            b'}' => {
                depth = depth.checked_sub(1)?;
                out.push(b']');
                at += 1;
                if depth == 0 {
                    let whole = at == text.len() && serde_json::from_slice::<serde::de::IgnoredAny>(&out).is_ok();
                    return whole.then_some(out);
                }
            }
            byte if byte == delimiter => {
                out.push(b',');
                at += 1;
            }
            _ if depth == 0 => return None,
            byte => {
                at = array_item(text, at, delimiter, &mut item)?;
                if byte != b'"' && item == b"NULL" {
                    out.extend_from_slice(b"null");
                } else {
                    value(element, &item, &mut out);
                }
            }
        }
    }
}

/// Reads the item at `at`; the place behind it.
fn array_item(text: &[u8], mut at: usize, delimiter: u8, item: &mut Vec<u8>) -> Option<usize> {
    item.clear();
    let quoted = text.get(at) == Some(&b'"');
    at += usize::from(quoted);
    loop {
        match *text.get(at)? {
            b'"' if quoted => return Some(at + 1),
            b'}' if !quoted => return Some(at),
            byte if !quoted && byte == delimiter => return Some(at),
            b'\\' => {
                item.push(*text.get(at + 1)?);
                at += 2;
            }
            byte => {
                item.push(byte);
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(columns: &[(&str, &str)], line: &str) -> Result<Value, NotCsv> {
        let mut out = vec![];
        json(columns.iter().copied(), line.as_bytes(), &mut out)?;
        Ok(serde_json::from_slice(&out).unwrap())
    }

    fn one(of_type: &str, field: &str) -> Value {
        let quoted = format!("\"{}\"", field.replace('"', "\"\""));
        of(&[("v", of_type)], &quoted).unwrap()["v"].take()
    }

    #[test]
    fn a_row_is_an_object() {
        let columns = [("id", "bigint"), ("a\"b", "text"), ("ok", "boolean"), ("j", "jsonb"), ("none", "text")];
        let row = of(&columns, "7,\"x,\"\"y\",t,\"{\"\"k\"\": [1]}\",").unwrap();
        assert_eq!(row, serde_json::json!({"id": 7, "a\"b": "x,\"y", "ok": true, "j": {"k": [1]}, "none": null}));
    }

    #[test]
    fn moments_are_as_row_to_json_writes_them() {
        for (of_type, text, expected) in [
            ("timestamp with time zone", "2025-07-14 02:31:26.4+00", "2025-07-14T02:31:26.4+00:00"),
            ("timestamp(3) with time zone", "0044-03-15 00:00:00+00 BC", "0044-03-15T00:00:00+00:00 BC"),
            ("timestamp without time zone", "2025-07-14 02:31:26", "2025-07-14T02:31:26"),
            ("timestamp with time zone", "-infinity", "-infinity"),
            ("date", "2025-07-14", "2025-07-14"),
        ] {
            assert_eq!(one(of_type, text), expected, "{of_type}");
        }
    }

    #[test]
    fn arrays_are_arrays() {
        for (of_type, text, expected) in [
            ("integer[]", "{1,NULL,-3}", serde_json::json!([1, null, -3])),
            ("text[]", r#"{a,"NULL",NULL,"","x\"y,\\z"}"#, serde_json::json!(["a", "NULL", null, "", "x\"y,\\z"])),
            ("numeric(5,2)[]", "{{1.50,NaN},{2.00,0.10}}", serde_json::json!([[1.5, "NaN"], [2.0, 0.1]])),
            ("boolean[]", "[0:1]={t,f}", serde_json::json!([true, false])),
            ("box[]", "{(1,1),(0,0);(2,2),(1,1)}", serde_json::json!(["(1,1),(0,0)", "(2,2),(1,1)"])),
            ("text[]", "{}", serde_json::json!([])),
            ("text[]", "{a", serde_json::json!("{a")),
            ("timestamp without time zone[]", "{\"2025-07-14 02:31:26\"}", serde_json::json!(["2025-07-14T02:31:26"])),
            ("int2vector", "1 -2", serde_json::json!([1, -2])),
            ("oidvector", "7 8", serde_json::json!(["7", "8"])),
            ("int2vector", "", serde_json::json!([])),
        ] {
            assert_eq!(one(of_type, text), expected, "{of_type} {text}");
        }
    }

    #[test]
    fn json_that_jsonb_refuses_is_a_string() {
        assert_eq!(one("json", r#"{"a": 1}"#), serde_json::json!({"a": 1}));
        for text in [r#"{"a": "\u0000"}"#, r#""\ud800""#, "1e999999"] {
            assert_eq!(one("json", text), text);
        }
    }

    #[test]
    fn a_line_of_other_columns_is_an_error() {
        assert!(of(&[("a", "text"), ("b", "text")], "x").is_err());
        assert!(of(&[("a", "text")], "x,y").is_err());
        assert_eq!(of(&[], "").unwrap(), serde_json::json!({}));
    }

    proptest! {
        #[test]
        fn whatever_the_text_it_is_json(of_type in "(text|integer|json|jsonb_like|timestamp with time zone)(\\[\\])?", field in ".{0,20}") {
            one(&of_type, &field);
        }

        #[test]
        fn no_bytes_break_it(text in "[{}\\[\\],;\"\\\\a=]{0,12}") {
            one("text[]", &text);
        }
    }
}
