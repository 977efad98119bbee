//! `export_table`, and the seed's `backup_agent_table_to_json`.

use agent_backup_core::plan::Format;
use pgrx::datum::Interval;
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::api::argument::required;
use crate::api::interval;
use crate::error::Error;
use crate::run::audit::{self, Act, audited};
use crate::run::{export, place};
use crate::server::sql;
use crate::server::text::Text;

/// Writes one table into one file on the server.
///
/// `SELECT * FROM agent_backup.export_table('agent_approvals', 'json', '/var/backups/approvals.json.gz');`
///
/// `format` is `csv`, `json` (an array with a row a line) or `sql` (one INSERT a row); the ending of `destination` tells
/// the compression: `.gz`, `.zst`, or none. Null writes `exports/<table>_<stamp>.<format>` below the backup directory,
/// and a relative path is below it; `s3://bucket/prefix/file.csv.gz` is written straight to a store. One row: rows, bytes of the file, row digest, path. An existing file is never overwritten.
///
/// Errors: 42501 without the right to write files there or to read all rows, 42P01 for an unknown table (the hint names
/// near ones), 42809 for what is no table, 22023 for an unknown format or a path that is refused.
#[pg_extern(schema = "agent_backup", name = "export_table")]
fn export_table(
    table_name: Option<Text>,
    format: default!(Option<Text>, "'csv'"),
    destination: default!(Option<Text>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(table_name, Text),
            name!(row_count, i64),
            name!(size_bytes, i64),
            name!(checksum, Text),
            name!(export_file, Text),
            name!(duration, Option<Interval>),
        ),
    >,
    ErrorReport,
> {
    audited(Act::new("export_table").on(table_name.as_ref()), || {
        let format = required(format, "format")?;
        let Some(parsed) = Format::parse(&format) else {
            let reason = format!("\"{format}\" is none of csv, json, sql");
            return Err(Error::InvalidOption { option: "format", reason });
        };
        audit::note("format", format.to_string());
        let done = export::to_destination(&required(table_name, "table_name")?, parsed, destination.as_deref())?;
        audit::note("rows", done.rows);
        let path = done.path.display().to_string().into();
        let (rows, size) = (done.rows.cast_signed(), done.file.size.cast_signed());
        Ok(TableIterator::once((done.table.into(), rows, size, done.checksum.into(), path, interval(done.took))))
    })
}

/// Writes one table as `<table>_<YYYYMMDD_HH24MISS>.json`, a JSON array with a row a line, times in UTC.
///
/// `SELECT * FROM backup_agent_table_to_json('AgentApproval');`
///
/// `p_backup_dir` is a directory on the server, null the backup directory. One row: rows of the very snapshot that was
/// written, path, and the size of the file as a person reads it.
///
/// Errors: as `agent_backup.export_table`.
#[pg_extern(name = "backup_agent_table_to_json")]
fn backup_agent_table_to_json(
    p_table_name: Option<Text>,
    p_backup_dir: default!(Option<Text>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (name!(table_name, Text), name!(row_count, i64), name!(backup_file, Text), name!(backup_size, Option<Text>)),
    >,
    ErrorReport,
> {
    audited(Act::new("export_table").on(p_table_name.as_ref()), || {
        let table = required(p_table_name, "p_table_name")?;
        let directory = place::absolute(p_backup_dir.as_deref().unwrap_or_default());
        audit::note("format", "json");
        let done = export::to_directory(&table, Format::Json, &directory)?;
        let size = sql::text("SELECT pg_catalog.pg_size_pretty($1::bigint)", &[done.file.size.cast_signed().into()])?;
        audit::note("rows", done.rows);
        let path = done.path.display().to_string().into();
        Ok(TableIterator::once((table, done.rows.cast_signed(), path, size.map(Text::from))))
    })
}
