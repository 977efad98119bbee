//! `verify_backup`: two tables, or a table and a backup of it, compared for a verdict.

use std::rc::Rc;

use pgrx::pg_sys;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::ident;
use crate::run::compare::Sum;
use crate::run::diff::{self, Compared, Named};
use crate::run::differences::Kind;
use crate::run::sides::Side;
use crate::run::source::Source;
use crate::server::pin::Pinned;

/// How the digests are computed.
pub const ALGORITHM: &str = "md5 of each row as csv, summed modulo 2^128";

/// What came out.
pub struct Verdict {
    pub rows_match: bool,
    pub checksum_matches: bool,
    /// A JSON object, in UTF-8.
    pub details: Vec<u8>,
}

/// A side as it was asked for: a table, or a member of a backup.
enum Wanted {
    Table(pg_sys::Oid),
    Backup(Rc<Source>, usize),
}

/// Compares what two texts name, each a table or a backup of one.
pub fn verify(backup: &str, original: &str, set: &str) -> Result<Verdict> {
    let (one, other) = (diff::named(backup, set)?, diff::named(original, set)?);
    let (one_table, other_table) = (table_of(&one)?, table_of(&other)?);
    let left = wanted(one, other_table, "backup_table")?;
    let right = wanted(other, one_table, "original_table")?;
    let tables: Vec<pg_sys::Oid> = [&left, &right].into_iter().filter_map(Wanted::table).collect();
    diff::lock_tables(&tables)?;
    let _formats = Pinned::formats()?;
    let _snapshot = diff::snapshot_of(&tables)?;
    let ((left_side, left_filter), (right_side, right_filter)) = (side(&left, &right)?, side(&right, &left)?);
    let compared = diff::counted(&left_side, &right_side)?;
    let compared = Compared { filter: left_filter.or(right_filter), ..compared };
    Ok(verdict(&compared, &left, &right))
}

/// The table that a text names.
fn table_of(named: &Named) -> Result<Option<String>> {
    Ok(match named {
        Named::Table(oid) => Some(ident::name_of(*oid)?.qualified()),
        Named::Backup { table, .. } => table.clone(),
    })
}

/// A backup that names no table means that of the other side.
fn wanted(named: Named, other: Option<String>, argument: &'static str) -> Result<Wanted> {
    let (source, table) = match named {
        Named::Table(oid) => return Ok(Wanted::Table(oid)),
        Named::Backup { source, table } => (source, table.or(other)),
    };
    let nameless = || Error::InvalidOption {
        option: argument,
        reason: "it names no table of the backup, as latest:agent_approvals does".into(),
    };
    let number = source.member(&table.ok_or_else(nameless)?)?.0;
    Ok(Wanted::Backup(source, number))
}

impl Wanted {
    fn table(&self) -> Option<pg_sys::Oid> {
        match self {
            Wanted::Table(oid) => Some(*oid),
            Wanted::Backup(..) => None,
        }
    }

    fn backup_id(&self) -> Option<&str> {
        match self {
            Wanted::Table(_) => None,
            Wanted::Backup(source, _) => Some(source.id()),
        }
    }
}

fn side(wanted: &Wanted, other: &Wanted) -> Result<(Side, Option<String>)> {
    match (wanted, other) {
        (Wanted::Table(oid), Wanted::Table(_)) => diff::live(*oid, None),
        (Wanted::Table(oid), Wanted::Backup(source, number)) => diff::live(*oid, Some((source, *number))),
        (Wanted::Backup(source, number), _) => Ok((Side::Backup { source: Rc::clone(source), number: *number }, None)),
    }
}

fn verdict(compared: &Compared, left: &Wanted, right: &Wanted) -> Verdict {
    let sums = &compared.sums;
    let rows_match = sums.left.rows == sums.right.rows;
    // Rows of which no column was compared prove nothing, unless they have none.
    let proves = !compared.matched.common.is_empty() || compared.matched.remarks.is_empty();
    let checksum_matches = sums.left.digest == sums.right.digest && proves;
    Verdict { rows_match, checksum_matches, details: details(compared, left, right) }
}

fn details(compared: &Compared, left: &Wanted, right: &Wanted) -> Vec<u8> {
    let Sum { rows: backup_rows, digest: backup_digest } = compared.sums.left;
    let Sum { rows: original_rows, digest: original_digest } = compared.sums.right;
    let columns = compared.matched.remarks.iter().map(
        |remark| json!({"column": remark.column, "backup": remark.left, "original": remark.right, "note": remark.why}),
    );
    let names = |places: &[usize]| -> Vec<&str> {
        places.iter().map(|&place| compared.matched.common[place].name.as_str()).collect()
    };
    let plain = [
        ("backup_rows", json!(backup_rows)),
        ("original_rows", json!(original_rows)),
        ("difference", json!(i128::from(backup_rows) - i128::from(original_rows))),
        ("backup_digest", json!(backup_digest.to_string())),
        ("original_digest", json!(original_digest.to_string())),
        ("digest_algorithm", json!(ALGORITHM)),
        ("columns_compared", json!(compared.matched.common.len())),
        ("columns_differ", Value::Array(columns.collect())),
        ("key", json!(names(&compared.matched.key))),
        ("backup_id", json!(left.backup_id())),
        ("original_backup_id", json!(right.backup_id())),
        ("row_filter", json!(compared.filter.as_ref().map(|reason| format!("not applied: {reason}")))),
    ];
    let mut out = Vec::from(b"{");
    for (name, value) in plain.iter().filter(|(_, value)| !value.is_null()) {
        out.extend_from_slice(format!("\"{name}\":{value},").as_bytes());
    }
    let counts = &compared.counts;
    let kinds = [("missing", &counts.missing), ("extra", &counts.extra), ("changed", &counts.changed)];
    for (place, (name, kind)) in kinds.into_iter().enumerate() {
        out.extend_from_slice(if place == 0 { b"" } else { b"," });
        out.extend_from_slice(format!("\"{name}\":").as_bytes());
        of_kind(kind, &mut out);
    }
    out.push(b'}');
    out
}

/// The keys are JSON already, of numbers of any length.
fn of_kind(kind: &Kind, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{{\"rows\":{},\"keys\":[", kind.rows).as_bytes());
    out.extend_from_slice(&kind.keys.join(&b','));
    out.extend_from_slice(b"]}");
}
