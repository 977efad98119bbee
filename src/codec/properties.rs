//! What holds for every value and every batch, tried on random ones.

use proptest::prelude::*;
use serde_json::Value;
use std::sync::Arc;

use super::encoder::{Encoder, ROW_LIMIT};
use super::error::{EncodeError, Fault};
use super::value::{self, Scratch};
use super::wire::{Column, Element, RowBatch, ValueKind};
use super::{split, stored};
use crate::plan::Format;
use crate::stream::RowDigest;

fn text(kind: &ValueKind, bytes: &[u8]) -> String {
    let mut out = vec![];
    value::text(kind, bytes, &mut Scratch::default(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn texts() -> ValueKind {
    ValueKind::Array(Arc::new(Element { kind: ValueKind::Text, length: -1, align: 4, delimiter: b',' }))
}

fn documents() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 200, 50, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..50).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..50).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// Reads a one-dimensional array's text back, by the rules of the manual.
fn read_array(text: &str) -> Vec<Option<String>> {
    let mut rest = text.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
    let mut items = vec![];
    loop {
        let mut item = String::new();
        let mut quoted = false;
        if let Some(inside) = rest.strip_prefix('"') {
            quoted = true;
            let mut chars = inside.chars();
            loop {
                match chars.next().unwrap() {
                    '"' => break,
                    '\\' => item.push(chars.next().unwrap()),
                    other => item.push(other),
                }
            }
            rest = chars.as_str();
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            item.push_str(&rest[..end]);
            rest = &rest[end..];
        }
        items.push(Some(item).filter(|item| quoted || item != "NULL"));
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None => break,
        }
    }
    assert_eq!(rest, "");
    items
}

fn columns(names: [&str; 3]) -> Vec<Column> {
    let kinds = [ValueKind::Text, ValueKind::Int4, ValueKind::Jsonb];
    let column = |(name, kind): (&str, ValueKind)| Column { name: name.into(), kind, generated: false };
    names.into_iter().zip(kinds).map(column).collect()
}

fn batch(rows: &[(Option<String>, i32, Value)]) -> RowBatch {
    let mut batch = RowBatch { first_row: 100, ..RowBatch::default() };
    for (name, number, document) in rows {
        match name {
            Some(name) => batch.push_value(name.as_bytes()).unwrap(),
            None => batch.push_null(),
        }
        batch.push_value(&number.to_ne_bytes()).unwrap();
        batch.push_value(&stored::jsonb(document)).unwrap();
        batch.end_row();
    }
    batch
}

proptest! {
    #[test]
    fn a_numeric_comes_back(text_of in "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,70})?") {
        let nothing = text_of.bytes().all(|byte| b"-0.".contains(&byte));
        let expected = if nothing { text_of.trim_start_matches('-') } else { text_of.as_str() };
        prop_assert_eq!(text(&ValueKind::Numeric, &stored::numeric(&text_of)), expected);
    }

    #[test]
    fn a_jsonb_is_the_same_document(document in documents()) {
        let written = text(&ValueKind::Jsonb, &stored::jsonb(&document));
        prop_assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), document);
    }

    #[test]
    fn an_array_of_text_comes_back(items in prop::collection::vec(any::<Option<String>>(), 1..20)) {
        let bytes = stored::text_array(1, &items);
        let mut json = vec![];
        value::json(&texts(), &bytes, &mut Scratch::default(), &mut json).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Vec<Option<String>>>(&json).unwrap(), items.clone());
        prop_assert_eq!(read_array(&text(&texts(), &bytes)), items);
    }

    #[test]
    fn random_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let mut out = vec![];
        for kind in [ValueKind::Jsonb, texts(), ValueKind::Numeric, ValueKind::TextAndJson, ValueKind::Timestamp] {
            let _ = value::json(&kind, &bytes, &mut Scratch::default(), &mut out);
            let _ = value::text(&kind, &bytes, &mut Scratch::default(), &mut out);
        }
    }

    #[test]
    fn every_format_splits_into_its_rows(
        rows in prop::collection::vec((any::<Option<String>>(), any::<i32>(), documents()), 0..6),
        name in "[a\"'\n,{}]{1,5}",
    ) {
        let (columns, batch) = (columns([name.as_str(), "number", "document"]), batch(&rows));
        for encoder in [Encoder::csv(&columns), Encoder::json(&columns), Encoder::sql(&columns, "\"a'\n\".t")] {
            let (mut out, mut digest, mut seen) = (vec![], RowDigest::default(), vec![]);
            let places = encoder.encode_rows(&batch, &mut out).unwrap();
            for row in places { digest.add_row(&out[row.clone()]); seen.push(out[row].to_vec()); }
            prop_assert_eq!(split::rows(encoder.format(), &out).map(<[u8]>::to_vec).collect::<Vec<_>>(), seen);
            prop_assert_eq!(split::digest(encoder.format(), &out), (rows.len() as u64, digest));
        }
    }
}

#[test]
fn an_sql_row_is_an_insert() {
    let batch = batch(&[(Some("it's \\d".into()), -1, serde_json::json!({"a": "x"})), (None, 2, Value::Null)]);
    let mut out = vec![];
    let encoder = Encoder::sql(&columns(["a\"b", "n", "d"]), "\"s\".\"t\"");
    encoder.encode(&batch, &mut RowDigest::default(), &mut out).unwrap();
    let head = "INSERT INTO \"s\".\"t\" (\"a\"\"b\", \"n\", \"d\") OVERRIDING SYSTEM VALUE VALUES (";
    let expected = format!("{head}E'it''s \\\\d', -1, '{{\"a\": \"x\"}}');\n{head}NULL, 2, 'null');\n");
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn a_table_without_columns_still_has_its_rows() {
    let batch = RowBatch { rows: 2, ..RowBatch::default() };
    for (encoder, expected) in [
        (Encoder::csv(&[]), "\n\n"),
        (Encoder::json(&[]), "\n{},\n{}"),
        (Encoder::sql(&[], "t"), "INSERT INTO t DEFAULT VALUES;\nINSERT INTO t DEFAULT VALUES;\n"),
    ] {
        let mut out = vec![];
        encoder.encode(&batch, &mut RowDigest::default(), &mut out).unwrap();
        assert_eq!(String::from_utf8(out.clone()).unwrap(), expected);
        assert_eq!(split::digest(encoder.format(), &out).0, 2);
    }
    assert_eq!(Encoder::csv(&[]).prologue(), b"\n");
}

#[test]
fn a_fault_names_row_and_column_and_leaves_the_output_alone() {
    let mut batch = batch(&[(None, 1, Value::Null)]);
    batch.push_null();
    batch.push_value(b"xyz").unwrap();
    batch.end_row();
    let mut out = b"before".to_vec();
    let error = Encoder::json(&columns(["a", "n", "d"])).encode(&batch, &mut RowDigest::default(), &mut out);
    assert_eq!(out, b"before");
    let reason = "its length is not that of its type";
    assert_eq!(error, Err(EncodeError::Malformed { row: 101, column: "n".into(), reason }));
}

#[test]
fn a_batch_with_bytes_left_over_is_refused() {
    let mut batch = batch(&[(None, 1, Value::Null)]);
    batch.push_null();
    let error = Encoder::csv(&columns(["a", "n", "d"])).encode(&batch, &mut RowDigest::default(), &mut vec![]);
    assert!(matches!(error, Err(EncodeError::BrokenBatch { sequence: 0, .. })), "{error:?}");
}

#[test]
fn a_value_that_fills_more_than_a_row_is_refused_before_it_is_written() {
    let long = vec![0; ROW_LIMIT / 2 + 1];
    let outcome = value::text(&ValueKind::Bytea, &long, &mut Scratch::default(), &mut vec![]);
    assert_eq!(outcome, Err(Fault::TooLong));
}

#[test]
fn an_encoder_is_shared_between_threads() {
    fn shared<T: Send + Sync + Clone>(_: &T) {}
    let encoder = Encoder::json(&[]);
    shared(&encoder);
    assert_eq!((encoder.format(), encoder.separator()), (Format::Json, &b","[..]));
    assert_eq!((encoder.prologue(), encoder.epilogue()), (b"[".to_vec(), b"\n]\n".to_vec()));
}

#[test]
fn what_the_server_wrote_goes_through() {
    let both = [&3u32.to_ne_bytes()[..], b"a,b", b"{\"x\": 1}"].concat();
    for (kind, bytes, expected_text, expected_json) in [
        (ValueKind::NumberText, &b"1e-07"[..], "1e-07", "1e-07"),
        (ValueKind::NumberText, b"-0", "-0", "-0"),
        (ValueKind::NumberText, b"-Infinity", "-Infinity", "\"-Infinity\""),
        (ValueKind::NumberText, b"NaN", "NaN", "\"NaN\""),
        (ValueKind::Json, b"[1,\n2]", "[1,\n2]", "[1,\n2]"),
        (ValueKind::Text, b"a\"b", "a\"b", "\"a\\\"b\""),
        (ValueKind::TextAndJson, &both, "a,b", "{\"x\": 1}"),
    ] {
        let mut json = vec![];
        value::json(&kind, bytes, &mut Scratch::default(), &mut json).unwrap();
        assert_eq!(text(&kind, bytes), expected_text);
        assert_eq!(String::from_utf8(json).unwrap(), expected_json);
    }
}

#[test]
fn a_deeply_nested_jsonb_needs_no_deep_stack() {
    let mut document = stored::jsonb(&Value::Array(vec![]));
    for _ in 0..100_000 {
        let entry = 0x5000_0000 | document.len() as u32;
        document = [&0x4000_0001u32.to_ne_bytes()[..], &entry.to_ne_bytes(), &document].concat();
        if document.len() > 100_000 {
            break;
        }
    }
    let depth = document.len() / 8 + 1;
    let written = std::thread::Builder::new().stack_size(128 << 10).spawn(move || text(&ValueKind::Jsonb, &document));
    let written = written.unwrap().join().unwrap();
    assert_eq!(written, "[".repeat(depth) + &"]".repeat(depth));
}
