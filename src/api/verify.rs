//! `verify`, and the seed's `verify_daily_backups`.

use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::api::argument::required;
use crate::journal_checks::plain_name;
use crate::run::audit::{self, Act, audited};
use crate::run::daily;
use crate::run::verify::finding::{Line, Status};
use crate::run::verify::{self, Level};
use crate::server::clock;
use crate::server::convert::Jsonb;
use crate::server::text::Text;

/// Proves a backup and gathers all of its damage.
///
/// `SELECT * FROM agent_backup.verify('latest', level => 'hash');`
///
/// `backup`: `latest` (the newest complete one of the set), an id, or the path of a container; `level`: `exists` (both
/// files, of their sizes, and the manifest that is listed), `hash` (all stored bytes), `decode` (every row is read and
/// digested), each with those before. One row per table, format and finding: `status` is `ok`, `warning` or `failed`;
/// `details` of what is wrong begin with its word: missing, empty, truncated, changed, extra, unreadable, cannot open
/// or unsupported. Rows without a table concern the files, the `directory` (strays in it are a warning), and, last, the
/// `scope`: what the level does not prove. The verdict is kept with the backup and in backup_verification_log, unless
/// nothing may be written. A backup that failed is a row that says so and no error, for an error would undo the log.
///
/// Errors: 42501 without the right to read the backup's files, 42704 for a backup or set that is not known, 22023 for
/// an unknown level.
#[pg_extern(schema = "agent_backup", name = "verify")]
fn verify_backup_files(
    backup: default!(Option<Text>, "'latest'"),
    level: default!(Option<Text>, "'decode'"),
    set_name: default!(Option<Text>, "'agent_sdk'"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(table_name, Option<Text>),
            name!(format, Option<Text>),
            name!(check_name, &'static str),
            name!(status, &'static str),
            name!(row_count, Option<i64>),
            name!(checksum, Option<Text>),
            name!(details, Text),
        ),
    >,
    ErrorReport,
> {
    let row = |line: Line| {
        let details = line.details().into();
        let (table, format) = line.part.map(|part| (part.table.display().into(), part.format.map(Text::from))).unzip();
        let rows = line.rows.map(u64::cast_signed);
        (table, format.flatten(), line.check, line.status.shown(), rows, line.checksum.map(Text::from), details)
    };
    audited(Act::new("verify").on(backup.as_ref()).of(set_name.as_ref()), || {
        let level = Level::parse(&required(level, "level")?)?;
        let verdict = verify::run(&required(backup, "backup")?, &required(set_name, "set_name")?, level)?;
        audit::note("level", level.name());
        audit::note("findings", verdict.lines.iter().filter(|line| line.status == Status::Failed).count());
        Ok(TableIterator::new(verdict.lines.into_iter().map(row).collect::<Vec<_>>()))
    })
}

/// Says of every table of a set whether there is a good backup of today (in UTC), and logs it.
///
/// `SELECT * FROM verify_daily_backups();`
///
/// One row per member of the set, and per table of the newest backup: `status` is `success`, `warning` or `failed`. It
/// fails when the newest backup of the table is not of today, there is none, or it does not decode to the rows and
/// digest of its manifest, or is empty where the last good one was not. `details` name the day, the backup, its
/// `problems` and `notes`, and drift, which fails nothing: columns against the live table, and its number of rows.
///
/// Errors: 42501 without the right to read the backup's files, 42704 for an unknown set.
#[pg_extern(name = "verify_daily_backups")]
fn verify_daily_backups(
    set_name: default!(Option<Text>, "'agent_sdk'"),
) -> Result<
    TableIterator<'static, (name!(table_name, Text), name!(status, &'static str), name!(details, Jsonb))>,
    ErrorReport,
> {
    let row = |row: crate::journal_checks::LogRow| {
        (plain_name(&row.table).into(), row.status, Jsonb(row.details.to_string().into_bytes()))
    };
    audited(Act::new("verify_daily_backups").of(set_name.as_ref()), || {
        let rows = daily::run(&required(set_name, "set_name")?, clock::now()?)?;
        audit::note("findings", rows.iter().filter(|row| row.status == "failed").count());
        Ok(TableIterator::new(rows.into_iter().map(row).collect::<Vec<_>>()))
    })
}
