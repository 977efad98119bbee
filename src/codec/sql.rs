//! A row as one INSERT that psql replays exactly.

use super::error::Outcome;
use super::numeric;
use super::text::{sql_literal, sql_name};
use super::value::{self, Scratch};
use super::wire::{Column, Fields, ValueKind};

/// Settings under which every literal of the file means what it meant in the database it came from.
pub(super) const PROLOGUE: &str = "\
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SET DateStyle = 'ISO, YMD';
SET IntervalStyle = 'postgres';
SET TimeZone = 'UTC';
SET extra_float_digits = 3;
SET bytea_output = 'hex';
SET xmloption = content;
SET check_function_bodies = off;
SET client_min_messages = warning;
SET statement_timeout = 0;
SET lock_timeout = 0;
SET row_security = off;
SET search_path = '';

";

/// The columns of a table, and the text around their values.
#[derive(Debug)]
pub(super) struct Sql {
    columns: Vec<(ValueKind, bool)>,
    before: Vec<u8>,
    after: &'static [u8],
}

impl Sql {
    pub(super) fn new(columns: &[Column], table: &str) -> Self {
        let mut before = format!("INSERT INTO {table} ").into_bytes();
        let names: Vec<&str> =
            columns.iter().filter(|column| !column.generated).map(|column| column.name.as_str()).collect();
        let after: &[u8] = if names.is_empty() {
            before.extend_from_slice(b"DEFAULT VALUES");
            b";"
        } else {
            before.push(b'(');
            for (index, name) in names.into_iter().enumerate() {
                before.extend_from_slice(if index == 0 { b"" } else { b", " });
                sql_name(name, &mut before);
            }
            before.extend_from_slice(b") OVERRIDING SYSTEM VALUE VALUES (");
            b");"
        };
        let columns = columns.iter().map(|column| (column.kind.clone(), !column.generated)).collect();
        Sql { columns, before, after }
    }

    /// Appends the next row without its line end; on a fault, `at` is its column.
    #[inline]
    pub(super) fn row(&self, fields: &mut Fields, scratch: &mut Scratch, out: &mut Vec<u8>, at: &mut usize) -> Outcome {
        out.extend_from_slice(&self.before);
        let mut first = true;
        for (index, (kind, shown)) in self.columns.iter().enumerate() {
            *at = index;
            let field = fields.take()?;
            if !shown {
                continue;
            }
            if !first {
                out.extend_from_slice(b", ");
            }
            first = false;
            match field {
                Some(bytes) => literal(kind, bytes, scratch, out)?,
                None => out.extend_from_slice(b"NULL"),
            }
        }
        out.extend_from_slice(self.after);
        Ok(())
    }
}

/// Integers and finite numerics stand bare. A float is quoted: bare, `-0` would lose its sign.
#[inline]
fn literal(kind: &ValueKind, bytes: &[u8], scratch: &mut Scratch, out: &mut Vec<u8>) -> Outcome {
    match kind {
        ValueKind::Text | ValueKind::NumberText | ValueKind::Json => sql_literal(bytes, out),
        ValueKind::TextAndJson => sql_literal(value::server_text(bytes)?, out),
        ValueKind::Enum(labels) => sql_literal(value::label(labels, bytes)?, out),
        ValueKind::Int2 | ValueKind::Int4 | ValueKind::Int8 => return value::text(kind, bytes, scratch, out),
        ValueKind::Numeric if !numeric::is_special(bytes)? => return numeric::write(bytes, out),
        ValueKind::Jsonb | ValueKind::Array(_) => {
            let mut unquoted = std::mem::take(&mut scratch.value);
            unquoted.clear();
            let outcome = value::text(kind, bytes, scratch, &mut unquoted);
            sql_literal(&unquoted, out);
            scratch.value = unquoted;
            return outcome;
        }
        _ => {
            out.extend_from_slice(if *kind == ValueKind::Bytea { &b"E'\\"[..] } else { b"'" });
            value::text(kind, bytes, scratch, out)?;
            out.push(b'\'');
        }
    }
    Ok(())
}
