//! How tables would be made again: statements read from the catalogue, in the order of their replay.

use agent_backup_core::container::Manifest;
use agent_backup_core::container::manifest::{Ddl, LeftOut};
use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::server::{facts, sql};
use crate::table::fingerprint;

/// Sections in the order of replay. Data is loaded before `sequence_value`.
const SECTIONS: &[&str] = &[
    "preamble",
    "schema",
    "extension",
    "type",
    "function",
    "sequence",
    "table",
    "sequence_owned",
    SEQUENCE_VALUE,
    "function_late",
    "constraint",
    "view",
    "function_last",
    "index",
    "foreign_key",
    "refresh",
    "rule",
    "trigger",
    "policy",
    "comment",
    "owner",
    "grant",
];

/// The definitions of a backup's tables, and what is not in them.
#[derive(Default)]
pub struct Definitions {
    pub statements: Vec<Ddl>,
    pub left_out: Vec<LeftOut>,
    pub fingerprint: Option<String>,
}

/// Reads the definitions of tables, or takes those of an earlier backup while the catalogue has not changed since: the
/// queries cost more than a small backup. Sequences have their present values in any case.
pub fn definitions(members: &[pg_sys::Oid], earlier: impl FnOnce() -> Option<Manifest>) -> Result<Definitions> {
    let fingerprint = Some(fingerprint::of(members, &facts::server()?.version));
    if let Some(earlier) = earlier().filter(|earlier| earlier.ddl_fingerprint == fingerprint && is_ours(earlier)) {
        let statements = earlier.ddl.into_iter().map(with_present_value).collect::<Result<Vec<_>>>()?;
        return Ok(Definitions { statements, left_out: earlier.left_out, fingerprint });
    }
    let Closure { relations, left_out: mut dropped } = closure(members)?;
    let mut left_out = left_out(&relations)?;
    left_out.append(&mut dropped);
    Ok(Definitions { statements: statements(&relations)?, left_out, fingerprint })
}

/// The same cluster, database and extension: only then do equal numbers mean equal definitions.
fn is_ours(earlier: &Manifest) -> bool {
    let here = facts::server().unwrap_or_default();
    earlier.extension_version == env!("CARGO_PKG_VERSION") && facts::is_same(&here, &earlier.server)
}

/// A statement of an earlier backup, with the value that its sequence has now.
fn with_present_value(ddl: Ddl) -> Result<Ddl> {
    if ddl.section != SEQUENCE_VALUE {
        return Ok(ddl);
    }
    let query = format!(
        "SELECT pg_catalog.format('SELECT pg_catalog.setval(%L, %s, %s)', $1, last_value, is_called::text) FROM {}",
        ddl.object
    );
    let statement = sql::text(&query, &[ddl.object.as_str().into()])?;
    let statement = statement
        .ok_or_else(|| Error::Internal { object: "sequence", reason: format!("{} has no value", ddl.object) })?;
    Ok(Ddl { statement, ..ddl })
}

const SEQUENCE_VALUE: &str = "sequence_value";

/// The statements that make the tables and what hangs on them, and set their sequences, in the order of their replay.
/// To be called after the data was read: sequences are not part of a snapshot, and must not be behind it.
fn statements(tables: &[pg_sys::Oid]) -> Result<Vec<Ddl>> {
    let mut all = Vec::new();
    for query in [
        include_str!("../../sql/query/ddl_types.sql"),
        include_str!("../../sql/query/ddl_tables.sql"),
        include_str!("../../sql/query/ddl_sequence_values.sql"),
    ] {
        // In UTF-8 whatever the database's encoding is.
        let query = format!(
            "SELECT section, ordinal, pg_catalog.convert_to(object, 'UTF8'), pg_catalog.convert_to(statement, 'UTF8') \
               FROM ({query}) AS ddl(section, ordinal, object, statement)"
        );
        all.extend(sql::rows(&query, &[tables.to_vec().into()], |row| {
            let ddl = Ddl { section: row.required(1)?, object: utf8(row, 3)?, statement: utf8(row, 4)? };
            Ok((place(&ddl.section), row.required::<i64>(2)?, ddl))
        })?);
    }
    // Stable: within a section the queries stand in their order.
    all.sort_by_key(|(section, _, _)| *section);
    Ok(all.into_iter().map(|(_, _, ddl)| ddl).collect())
}

/// The relations whose definitions make those of a backup stand: its members with the views that its materialized views
/// read, without those of them that read a table outside it.
struct Closure {
    relations: Vec<pg_sys::Oid>,
    left_out: Vec<LeftOut>,
}

/// Completes the members of a backup to what can be made again in an empty database.
fn closure(members: &[pg_sys::Oid]) -> Result<Closure> {
    let mut needs: Vec<(pg_sys::Oid, pg_sys::Oid)> = Vec::new();
    let mut left: Vec<(pg_sys::Oid, LeftOut)> = Vec::new();
    sql::rows(include_str!("../../sql/query/ddl_views.sql"), &[members.to_vec().into()], |row| {
        let view = row.required(1)?;
        if row.required(5)? {
            needs.push((view, row.required(3)?));
        } else {
            let reason = format!("its definition reads \"{}\", which is outside the list", utf8(row, 4)?);
            left.push((view, LeftOut { object: utf8(row, 2)?, reason }));
        }
        Ok(())
    })?;
    let is_left = |view: &pg_sys::Oid| left.iter().any(|(other, _)| other == view);
    let mut relations: Vec<pg_sys::Oid> = members.iter().copied().filter(|oid| !is_left(oid)).collect();
    for (view, needed) in needs {
        if !is_left(&view) && !relations.contains(&needed) {
            relations.push(needed);
        }
    }
    Ok(Closure { relations, left_out: left.into_iter().map(|(_, left_out)| left_out).collect() })
}

/// What hangs on the tables and is not in the statements, with the reason.
fn left_out(tables: &[pg_sys::Oid]) -> Result<Vec<LeftOut>> {
    let query = format!(
        "SELECT pg_catalog.convert_to(object, 'UTF8'), pg_catalog.convert_to(reason, 'UTF8') FROM ({}) AS o(object, reason)",
        include_str!("../../sql/query/ddl_left_out.sql")
    );
    sql::rows(&query, &[tables.to_vec().into()], |row| Ok(LeftOut { object: utf8(row, 1)?, reason: utf8(row, 2)? }))
}

fn utf8(row: &sql::Row, column: usize) -> Result<String> {
    let bytes: Vec<u8> = row.required(column)?;
    String::from_utf8(bytes)
        .map_err(|_| Error::Internal { object: "definition of a table", reason: "it is not UTF-8".into() })
}

/// One script of the statements, for psql.
pub fn script(ddl: &[Ddl]) -> String {
    let mut script = String::new();
    for Ddl { statement, .. } in ddl {
        script.push_str(statement);
        script.push_str(";\n");
    }
    script
}

fn place(section: &str) -> usize {
    SECTIONS.iter().position(|known| *known == section).unwrap_or(SECTIONS.len())
}
