//! `erase_subject`.

use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::api::argument::required;
use crate::error::Error;
use crate::run::audit::{Act, audited};
use crate::run::erase::{self, Place, Request};
use crate::server::privilege;
use crate::server::text::Text;
use crate::settings;

/// Shows where a person's rows are, and with `confirm` erases them from all backups, incrementals, the log of changes and
/// the archive. `column_or_path` names the person: a column, or a path into one as `data->>'customer_email'`; null means all
/// subject columns of the set. Only rows with exactly this value are meant.
///
/// `SELECT * FROM agent_backup.erase_subject('customer_email', 'ann@example.org', 'request 4711', confirm => true);`
///
/// A row for each place: `place` (`backup`, `incremental`, `log file`, `change log`, `archive`, `live`, `tombstone`), what was
/// found or erased, chunks that are written anew (null: the whole file), bytes written, `action` (`found`, `erased`,
/// `left`, `nothing`). Files change when the transaction commits. Rows of live tables are counted and stay: the application
/// deletes them. A tombstone keeps the person out of what is read from older copies. Another call erases what was left.
///
/// Errors: 42501 without the right to write backups, 42704 for an unknown set, 42703 for a column that no table has, 22023
/// for what is no path to a text or an empty value or reason, 55000 without subject columns, 55P03 while another session
/// works on a set, 25006 on a standby or in a read-only transaction, 0A000 at PREPARE TRANSACTION after it.
#[pg_extern(schema = "agent_backup", name = "erase_subject")]
fn erase_subject(
    column_or_path: Option<Text>,
    value: Option<Text>,
    reason: Option<Text>,
    set_name: default!(Option<Text>, "'agent_sdk'"),
    confirm: default!(Option<bool>, "false"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(place, &'static str),
            name!(object, Text),
            name!(backup_id, Option<Text>),
            name!(row_count, Option<i64>),
            name!(chunks, Option<i64>),
            name!(bytes, Option<i64>),
            name!(action, &'static str),
            name!(details, Text),
        ),
    >,
    ErrorReport,
> {
    let confirmed = confirm == Some(true);
    let work = || {
        required(confirm, "confirm")?;
        privilege::require_operator()?;
        privilege::require_backup_reader(&settings::directory())?;
        let (value, reason) = (required(value.clone(), "value")?, required(reason.clone(), "reason")?);
        let set = required(set_name.clone(), "set_name")?;
        for (option, text) in [("value", &value), ("reason", &reason)] {
            if text.is_empty() {
                return Err(Error::InvalidOption { option, reason: "it is empty".into() });
            }
        }
        let request = Request { set: &set, column_or_path: column_or_path.as_deref(), value: &value, reason: &reason };
        let places = if confirmed { erase::erase(&request)? } else { erase::plan(&request)? };
        Ok(TableIterator::new(places.into_iter().map(row).collect::<Vec<_>>()))
    };
    // Who is looked for is in neither: the column is, the value is not.
    let act = Act::new(if confirmed { "erase_subject" } else { "plan_erasure" });
    audited(act.on(column_or_path.as_ref()).of(set_name.as_ref()), work)
}

type Row = (&'static str, Text, Option<Text>, Option<i64>, Option<i64>, Option<i64>, &'static str, Text);

fn row(place: Place) -> Row {
    let number = |number: Option<u64>| number.map(u64::cast_signed);
    (
        place.place,
        place.object.into(),
        place.backup_id.map(Text::from),
        place.row_count,
        number(place.chunks),
        number(place.bytes),
        place.action,
        place.details.into(),
    )
}
