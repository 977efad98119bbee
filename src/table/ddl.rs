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
    let statements = statements(&relations, &mut left_out)?;
    Ok(Definitions { statements, left_out, fingerprint })
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
fn statements(tables: &[pg_sys::Oid], left_out: &mut Vec<LeftOut>) -> Result<Vec<Ddl>> {
    let mut all = Vec::new();
    for query in [
        include_str!("../../sql/query/ddl_types.sql"),
        include_str!("../../sql/query/ddl_tables.sql"),
        include_str!("../../sql/query/ddl_sequence_values.sql"),
    ] {
        sql::rows(query, &[tables.to_vec().into()], |row| {
            let section: String = row.required(1)?;
            let ordinal: i64 = row.required(2)?;
            match (row.required(3), row.required(4)) {
                (Ok(object), Ok(statement)) => {
                    all.push((place(&section), ordinal, Ddl { section, object, statement }));
                }
                (Err(error @ Error::NotUtf8 { .. }), _) | (_, Err(error @ Error::NotUtf8 { .. })) => {
                    // Only where the database has no encoding: its values are in the backup, this is not.
                    let error = error.in_object(|| format!("its definition, a part of section \"{section}\","));
                    left_out.push(LeftOut { object: row.shown(3)?, reason: error.to_string() });
                }
                (Err(error), _) | (_, Err(error)) => return Err(error),
            }
            Ok(())
        })?;
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
            let reason = format!("its definition reads \"{}\", which is outside the list", row.shown(4)?);
            left.push((view, LeftOut { object: row.shown(2)?, reason }));
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
    let query = include_str!("../../sql/query/ddl_left_out.sql");
    sql::rows(query, &[tables.to_vec().into()], |row| Ok(LeftOut { object: row.shown(1)?, reason: row.shown(2)? }))
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
