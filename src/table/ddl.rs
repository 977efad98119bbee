//! How tables would be made again: statements read from the catalogue, in the order of their replay.

use agent_backup_core::container::manifest::{Ddl, LeftOut};
use pgrx::pg_sys;

use crate::error::Result;
use crate::server::sql;

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
    "sequence_value",
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

/// The statements that make the tables and what hangs on them, and set their sequences, in the order of their replay.
/// To be called after the data was read: sequences are not part of a snapshot, and must not be behind it.
pub fn statements(tables: &[pg_sys::Oid]) -> Result<Vec<Ddl>> {
    let mut all = Vec::new();
    for query in [
        include_str!("../../sql/query/ddl_types.sql"),
        include_str!("../../sql/query/ddl_tables.sql"),
        include_str!("../../sql/query/ddl_sequence_values.sql"),
    ] {
        all.extend(sql::rows(query, &[tables.to_vec().into()], |row| {
            let ddl = Ddl { section: row.required(1)?, object: row.required(3)?, statement: row.required(4)? };
            Ok((place(&ddl.section), row.required::<i64>(2)?, ddl))
        })?);
    }
    // Stable: within a section the queries stand in their order.
    all.sort_by_key(|(section, _, _)| *section);
    Ok(all.into_iter().map(|(_, _, ddl)| ddl).collect())
}

/// What hangs on the tables and is not in the statements, with the reason.
pub fn left_out(tables: &[pg_sys::Oid]) -> Result<Vec<LeftOut>> {
    sql::rows(include_str!("../../sql/query/ddl_left_out.sql"), &[tables.to_vec().into()], |row| {
        Ok(LeftOut { object: row.required(1)?, reason: row.required(2)? })
    })
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
