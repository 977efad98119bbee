//! `backup`.

use pgrx::datum::Interval;
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::api::argument::{optional_items, required};
use crate::api::interval;
use crate::run::audit::{Act, audited};
use crate::run::backup::{self, Report, Request};
use crate::run::outcome::{Outcome, State};
use crate::server::text::Text;

/// Backs up a set of tables into one file, all from one snapshot.
///
/// `SELECT * FROM agent_backup.backup();`
///
/// `set_name`: the set; `kind`: `full` or `archive` (long-term); `formats`: in place of the set's own; `tables`: some of
/// its members only; `destination`: a place in a store that it is written straight to, part by part, with no file on this
/// machine: one of the set's destinations, or for who may send backups anywhere any `s3://bucket/prefix` (null: what
/// `agent_backup.backup_url` says, and without that the backup directory). One row per member: `status` is `ok`, `failed` (with `error_message`) or `absent`; `row_count` in
/// rows; `size_bytes` as stored; `checksum` the row digest of its first format; `duration` of its reading. A failed
/// member makes the backup `incomplete` in the view `backups`, and the others are kept.
///
/// Errors: 42501 without the right to write files, 42704 for an unknown set or member, 55P03 while another session works
/// on the set, 53100 when the disk is full, 25006 in a read-only transaction. On a standby the files are written and no
/// row: `reconcile` on the primary, where it sees the same directory, lists the backup as its own.
#[pg_extern(schema = "agent_backup", name = "backup")]
fn backup_set(
    set_name: default!(Option<Text>, "'agent_sdk'"),
    kind: default!(Option<Text>, "'full'"),
    formats: default!(Option<Vec<Option<Text>>>, "NULL"),
    tables: default!(Option<Vec<Option<Text>>>, "NULL"),
    destination: default!(Option<Text>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(table_name, Text),
            name!(status, &'static str),
            name!(row_count, Option<i64>),
            name!(size_bytes, Option<i64>),
            name!(checksum, Option<Text>),
            name!(backup_file, Option<Text>),
            name!(duration, Option<Interval>),
            name!(error_message, Option<Text>),
        ),
    >,
    ErrorReport,
> {
    audited(Act::new("backup").of(set_name.as_ref()), || {
        let report = backup::run(&Request {
            set: &required(set_name, "set_name")?,
            kind: &required(kind, "kind")?,
            formats: optional_items(formats, "formats")?,
            tables: optional_items(tables, "tables")?,
            destination: destination.as_deref(),
        })?;
        Ok(TableIterator::new(report.rows()))
    })
}

/// A row of `backup`.
type Row = (Text, &'static str, Option<i64>, Option<i64>, Option<Text>, Option<Text>, Option<Interval>, Option<Text>);

impl Report {
    /// A row per member.
    fn rows(&self) -> Vec<Row> {
        let file = self.file();
        let row = |(ordinal, outcome): (usize, &Outcome)| {
            let (rows, size, checksum) = self.sizes(ordinal, outcome);
            let done = matches!(outcome.state, State::Done { .. });
            let error = outcome.reason().map(Text::from);
            let duration =
                (!matches!(outcome.state, State::Absent | State::OwnView)).then(|| interval(outcome.took)).flatten();
            let file = file.clone().filter(|_| done);
            (outcome.table.display().into(), outcome.status(), rows, size, checksum, file, duration, error)
        };
        self.outcomes.iter().enumerate().map(row).collect()
    }

    /// Path of the container, if there is one.
    fn file(&self) -> Option<Text> {
        let placed = self.placed.as_ref()?;
        Some(self.path.join(&placed.container.name).display().to_string().into())
    }

    /// Rows, stored bytes and row digest of a member that is in the backup.
    fn sizes(&self, ordinal: usize, outcome: &Outcome) -> (Option<i64>, Option<i64>, Option<Text>) {
        let State::Done { rows, .. } = outcome.state else { return (None, None, None) };
        let entries = self.placed.iter().flat_map(|placed| &placed.manifest.entries);
        let own: Vec<_> = entries.filter(|entry| entry.table == Some(ordinal)).collect();
        let size = own.iter().map(|entry| entry.stored_bytes).sum::<u64>();
        let checksum = own.first().and_then(|entry| entry.row_digest.clone()).map(Text::from);
        (Some(rows.cast_signed()), Some(size.cast_signed()), checksum)
    }
}
