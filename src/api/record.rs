//! `restore_record`.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde_json::{Map, Value};

use crate::api::argument::{json, required};
use crate::error::{Error, Result as OurResult};
use crate::run::audit::{self, Act, audited};
use crate::run::restore::record::{self, Choices, Outcome, Wanted};
use crate::server::convert::Jsonb;
use crate::server::text::{Json, Text};
use crate::table::catalog::Table;

/// Brings back one record from the newest backup that has it, and writes it at once where it is absent.
///
/// `SELECT * FROM agent_backup.restore_record('agent_approvals', '0f8b…');`
///
/// `key`: the value of the primary key, as jsonb (`'{"a": 1, "b": 2}'::jsonb`) where it has several columns, and where there
/// is none any columns that tell one row from all others; `as_of`: only backups that began by then are searched; `overwrite`: also a record that is there gets the values of the backup;
/// `with_parents`: records that it refers to and that are gone come back with it. One row per record: `status` is
/// `restored`, `overwritten`, `exists` (it differs, and was left alone) or `unchanged`. Triggers do not fire.
///
/// Errors: P0002 where no backup has it, 23503 for a parent that is not there, 42501 without the rights of the
/// table's owner, else as of `restore`.
#[pg_extern(schema = "agent_backup", name = "restore_record")]
fn restore_record(
    table_name: Option<Text>,
    key: Option<Text>,
    as_of: default!(Option<TimestampWithTimeZone>, "NULL"),
    overwrite: default!(Option<bool>, "false"),
    with_parents: default!(Option<bool>, "false"),
    set_name: default!(Option<Text>, "'agent_sdk'"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(table_name, Text),
            name!(key, Jsonb),
            name!(status, &'static str),
            name!(backup_id, Option<Text>),
            name!(details, Text),
        ),
    >,
    ErrorReport,
> {
    audited(Act::new("restore_record").on(table_name.as_ref()).of(set_name.as_ref()), || {
        let value = required(key, "key")?;
        run(table_name, &|table| told_by_text(table, &value), set_name, as_of, choices(overwrite, with_parents))
    })
}

/// As `restore_record` with a text, for a key of several columns: an object of column and value.
#[pg_extern(schema = "agent_backup", name = "restore_record")]
fn restore_record_by_columns(
    table_name: Option<Text>,
    key: Option<Json>,
    as_of: default!(Option<TimestampWithTimeZone>, "NULL"),
    overwrite: default!(Option<bool>, "false"),
    with_parents: default!(Option<bool>, "false"),
    set_name: default!(Option<Text>, "'agent_sdk'"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(table_name, Text),
            name!(key, Jsonb),
            name!(status, &'static str),
            name!(backup_id, Option<Text>),
            name!(details, Text),
        ),
    >,
    ErrorReport,
> {
    audited(Act::new("restore_record").on(table_name.as_ref()).of(set_name.as_ref()), || {
        let value = json(&required(key, "key")?, "key")?;
        run(table_name, &|table| told_by(table, &value), set_name, as_of, choices(overwrite, with_parents))
    })
}

/// The rows of either form of the function.
type Row = (Text, Jsonb, &'static str, Option<Text>, Text);

fn run(
    table_name: Option<Text>,
    key: &dyn Fn(&Table) -> OurResult<Vec<(String, String)>>,
    set_name: Option<Text>,
    as_of: Option<TimestampWithTimeZone>,
    choices: Choices,
) -> OurResult<TableIterator<'static, Row>> {
    audit::note("overwrite", choices.overwrite);
    audit::note("with_parents", choices.with_parents);
    let set = required(set_name, "set_name")?;
    let done = record::run(&required(table_name, "table_name")?, key, &Wanted { set: &set, as_of, choices })?;
    Ok(TableIterator::new(done.into_iter().map(row).collect::<Vec<_>>()))
}

fn choices(overwrite: Option<bool>, with_parents: Option<bool>) -> Choices {
    Choices { overwrite: overwrite.unwrap_or(false), with_parents: with_parents.unwrap_or(false) }
}

/// A key as `single` reads it, or of any columns where the table has no primary key.
fn told_by_text(table: &Table, value: &str) -> OurResult<Vec<(String, String)>> {
    if !table.primary_key.is_empty() {
        return single(table, value);
    }
    told_by(table, &serde_json::from_str(value).unwrap_or_default())
}

/// The object's values for the columns of the key, or for any where the table has no primary key.
fn told_by(table: &Table, value: &Value) -> OurResult<Vec<(String, String)>> {
    match value {
        Value::Object(object) if table.primary_key.is_empty() && !object.is_empty() => {
            let of = |(column, value): (&String, &Value)| (!value.is_null()).then(|| (column.clone(), text(value)));
            object.iter().map(of).collect::<Option<_>>().ok_or_else(|| bad_columns("a null is like no value"))
        }
        _ if table.primary_key.is_empty() => Err(bad_columns("the table has no primary key")),
        _ => columns(table, value),
    }
}

fn bad_columns(why: &str) -> Error {
    let reason = format!("{why}: give a jsonb object of columns and values that one row alone has");
    Error::InvalidOption { option: "key", reason }
}

/// The text as the value of a key of one column, or as the JSON of several: a literal without a type is a text to SQL.
pub fn single(table: &Table, value: &str) -> OurResult<Vec<(String, String)>> {
    match table.primary_key.as_slice() {
        [column] => Ok(vec![(column.clone(), value.to_owned())]),
        several => match serde_json::from_str(value) {
            Ok(object @ Value::Object(_)) => columns(table, &object),
            _ => Err(bad_key(several)),
        },
    }
}

/// The object's values for exactly the columns of the key.
pub fn columns(table: &Table, value: &Value) -> OurResult<Vec<(String, String)>> {
    let object = match value {
        Value::Object(object) if object.len() == table.primary_key.len() => object,
        Value::String(_) | Value::Number(_) if table.primary_key.len() == 1 => {
            return single(table, &text(value));
        }
        _ => return Err(bad_key(&table.primary_key)),
    };
    let of = |column: &String| {
        let value = object.get(column).filter(|value| !value.is_null()).ok_or_else(|| bad_key(&table.primary_key))?;
        Ok((column.clone(), text(value)))
    };
    table.primary_key.iter().map(of).collect()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn bad_key(primary_key: &[String]) -> Error {
    let reason = match primary_key {
        [] => "the table has no primary key".to_owned(),
        [column] => format!("it is one value, of \"{column}\", and not null"),
        several => format!("it is a jsonb object with a value for each of {}", several.join(", ")),
    };
    Error::InvalidOption { option: "key", reason }
}

fn row(outcome: Outcome) -> Row {
    let key: Map<String, Value> =
        outcome.key.into_iter().map(|(column, value)| (column, Value::String(value))).collect();
    let key = Jsonb(Value::Object(key).to_string().into_bytes());
    (outcome.table.into(), key, outcome.status, outcome.backup_id.map(Text::from), outcome.details.into())
}
