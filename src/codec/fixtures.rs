//! The decoders beside a real server: `core/fixtures/` holds values as PostgreSQL 15 kept them on its pages, and the
//! text and JSON it made of them (`stored.sql` there makes them again).

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::encoder::Encoder;
use super::split;
use super::value::{self, Scratch};
use super::wire::{Column, Element, RowBatch, ValueKind};
use crate::stream::RowDigest;

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn string<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

fn labels(lines: &[Value]) -> ValueKind {
    let labels = lines.iter().find_map(|line| line["labels"].as_object()).unwrap();
    let pair = |(oid, label): (&String, &Value)| {
        (u32::from_str_radix(oid, 16).unwrap(), label.as_str().unwrap().to_owned().into_boxed_str())
    };
    ValueKind::Enum(Arc::new(labels.iter().map(pair).collect::<HashMap<_, _>>()))
}

/// The kind of a type, and the length and alignment of its elements in an array.
fn kind(name: &str, mood: &ValueKind) -> (ValueKind, i16, u8) {
    if let Some(of) = name.strip_suffix("[]") {
        let (kind, length, align) = kind(of, mood);
        return (ValueKind::Array(Arc::new(Element { kind, length, align, delimiter: b',' })), -1, 4);
    }
    match name {
        "bool" => (ValueKind::Bool, 1, 1),
        "int2" => (ValueKind::Int2, 2, 2),
        "int4" => (ValueKind::Int4, 4, 4),
        "int8" => (ValueKind::Int8, 8, 8),
        "oid" => (ValueKind::Oid, 4, 4),
        "uuid" => (ValueKind::Uuid, 16, 1),
        "bytea" => (ValueKind::Bytea, -1, 4),
        "mood" => (mood.clone(), 4, 4),
        "numeric" | "numeric(20,4)" => (ValueKind::Numeric, -1, 4),
        "date" => (ValueKind::Date, 4, 4),
        "timestamp" => (ValueKind::Timestamp, 8, 8),
        "timestamptz" => (ValueKind::TimestampTz, 8, 8),
        "jsonb" => (ValueKind::Jsonb, -1, 4),
        "json" => (ValueKind::Json, -1, 4),
        "name" => (ValueKind::Text, 64, 1),
        "text" | "varchar(5)" => (ValueKind::Text, -1, 4),
        other => panic!("no kind for {other}"),
    }
}

/// Every value of the fixture: its type, kind, bytes, text and JSON.
fn stored() -> Vec<(String, ValueKind, Vec<u8>, String, String)> {
    let lines = lines(include_str!("../../core/fixtures/stored.jsonl"));
    let mood = labels(&lines);
    let one = |line: &Value| {
        let name = string(line, "type").to_owned();
        let kind = kind(&name, &mood).0;
        let bytes = hex::decode(string(line, "bytes")).unwrap();
        (name, kind, bytes, string(line, "value").to_owned(), string(line, "json").to_owned())
    };
    lines.iter().filter(|line| line["labels"].is_null()).map(one).collect()
}

#[test]
fn every_stored_value_reads_as_the_server_wrote_it() {
    let stored = stored();
    assert!(stored.len() > 500, "{}", stored.len());
    let mut scratch = Scratch::default();
    for (name, kind, bytes, expected_text, expected_json) in stored {
        let (mut text, mut json) = (vec![], vec![]);
        value::text(&kind, &bytes, &mut scratch, &mut text).unwrap();
        value::json(&kind, &bytes, &mut scratch, &mut json).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), expected_text, "{name}");
        assert_eq!(String::from_utf8(json).unwrap(), expected_json, "{name}");
    }
}

#[test]
fn a_cut_or_changed_value_never_panics() {
    let mut scratch = Scratch::default();
    let mut out = vec![];
    for (_, kind, bytes, ..) in stored() {
        for length in 0..bytes.len().min(100) {
            let _ = value::text(&kind, &bytes[..length], &mut scratch, &mut out);
            let mut changed = bytes.clone();
            for mask in [0x01, 0x80, 0xff] {
                changed[length] = bytes[length] ^ mask;
                out.clear();
                let _ = value::json(&kind, &changed, &mut scratch, &mut out);
                let _ = value::text(&kind, &changed, &mut scratch, &mut out);
            }
        }
    }
}

fn column(name: &str, type_name: &str) -> Column {
    let mood = ValueKind::Text;
    Column { name: name.into(), kind: kind(type_name, &mood).0, generated: name == "twice" }
}

fn batch(lines: &[Value]) -> RowBatch {
    let mut batch = RowBatch::default();
    for line in lines {
        for field in line["fields"].as_array().unwrap() {
            match field.as_str() {
                Some(field) => batch.push_value(&hex::decode(field).unwrap()).unwrap(),
                None => batch.push_null(),
            }
        }
        batch.end_row();
    }
    batch
}

fn encoded(encoder: &Encoder, batch: &RowBatch) -> String {
    let mut out = encoder.prologue();
    let start = out.len();
    let mut digest = RowDigest::default();
    encoder.encode(batch, &mut digest, &mut out).unwrap();
    assert_eq!(split::digest(encoder.format(), &out[start..]), (u64::from(batch.rows), digest));
    out.extend_from_slice(&encoder.epilogue());
    String::from_utf8(out).unwrap()
}

fn whole_columns() -> Vec<Column> {
    [
        ("id", "int4"),
        ("Text, and \"more", "text"),
        ("doc", "jsonb"),
        ("list", "text[]"),
        ("raw", "json"),
        ("bits", "bytea"),
        ("amount", "numeric"),
        ("at", "timestamptz"),
        ("é", "date"),
        ("twice", "int4"),
        ("mark", "bool"),
        ("nothing", "text"),
    ]
    .map(|(name, type_name)| column(name, type_name))
    .to_vec()
}

#[test]
fn whole_rows_are_those_of_copy_and_row_to_json() {
    let lines = lines(include_str!("../../core/fixtures/table.jsonl"));
    let batch = batch(&lines);
    assert_eq!(encoded(&Encoder::csv(&whole_columns()), &batch), include_str!("../../core/fixtures/table.csv"));
    let rows: Vec<&str> = lines.iter().map(|line| string(line, "json")).collect();
    assert_eq!(encoded(&Encoder::json(&whole_columns()), &batch), format!("[\n{}\n]\n", rows.join(",\n")));
}

#[test]
fn a_single_column_is_that_of_copy() {
    let lines = lines(include_str!("../../core/fixtures/single.jsonl"));
    let columns = [column("v", "text")];
    assert_eq!(encoded(&Encoder::csv(&columns), &batch(&lines)), include_str!("../../core/fixtures/single.csv"));
}
