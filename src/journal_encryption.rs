//! The journal's part for encryption: which files of keys hold for what.

use pgrx::pg_sys;

use crate::error::Result;
use crate::ident::TableName;
use crate::journal::{self, as_owner};
use crate::server::sql;
use crate::settings;

/// The recipients files that hold for copies of these tables outside a set: of every encrypted set that one of them is a
/// member of, by itself or by its partitions or what it is a partition of, and the default one.
pub fn files_of_tables(tables: &[TableName]) -> Result<Vec<String>> {
    let query = "WITH given AS (SELECT * FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) AS g(schema_name, table_name)), \
             kin AS (SELECT k.relid FROM given g \
                       JOIN pg_catalog.pg_namespace n ON n.nspname = g.schema_name \
                       JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = g.table_name \
                      CROSS JOIN LATERAL (SELECT pg_catalog.pg_partition_ancestors(c.oid) \
                                           UNION SELECT t.relid FROM pg_catalog.pg_partition_tree(c.oid) t) AS k(relid)), \
             named AS (SELECT schema_name, table_name FROM given \
                       UNION SELECT n.nspname, c.relname FROM kin JOIN pg_catalog.pg_class c ON c.oid = kin.relid \
                               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace) \
        SELECT DISTINCT s.recipients_file FROM named JOIN agent_backup.set_tables m USING (schema_name, table_name) \
          JOIN agent_backup.sets s USING (set_name) WHERE s.recipients_file IS NOT NULL ORDER BY 1";
    let schemas: Vec<String> = tables.iter().map(|table| table.schema.clone()).collect();
    let names: Vec<String> = tables.iter().map(|table| table.name.clone()).collect();
    let of_sets = as_owner(|| sql::rows(query, &[schemas.into(), names.into()], |row| row.required(1)))?;
    Ok(and_default(of_sets))
}

/// Whether a table is the log of changes, or a day of it.
pub fn is_log(table: pg_sys::Oid) -> Result<bool> {
    let query = "SELECT EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors($1) AS a(relid) \
                                 WHERE a.relid = 'agent_backup.change_log'::pg_catalog.regclass)";
    Ok(as_owner(|| sql::rows(query, &[table.into()], |row| row.required(1)))?.into_iter().any(|is_log| is_log))
}

/// The same for the log of changes, which holds rows of every table that is or was tracked.
pub fn files_of_log() -> Result<Vec<String>> {
    let query = "SELECT DISTINCT schema_name, table_name FROM agent_backup.tracked";
    let tracked =
        as_owner(|| sql::rows(query, &[], |row| Ok(TableName { schema: row.required(1)?, name: row.required(2)? })))?;
    files_of_tables(&tracked)
}

fn and_default(mut files: Vec<String>) -> Vec<String> {
    files.extend(settings::recipients_file());
    files.dedup();
    files
}

/// Gives a set its recipients file; none leaves it to the default one.
pub fn set_file(set: &str, file: Option<&str>) -> Result<()> {
    journal::set(set)?;
    as_owner(|| {
        let statement = "UPDATE agent_backup.sets SET seeded = false, recipients_file = $2 WHERE set_name = $1";
        sql::execute(statement, &[set.into(), file.into()]).map(drop)
    })
}
