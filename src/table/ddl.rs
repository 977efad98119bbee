//! How tables would be made again: statements read from the catalogue, in the order of their replay.

use agent_backup_core::container::manifest::{Ddl, LeftOut};
use pgrx::pg_sys;

use crate::error::{Error, Result};
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

/// What hangs on the tables and is not in the statements, with the reason.
pub fn left_out(tables: &[pg_sys::Oid]) -> Result<Vec<LeftOut>> {
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
