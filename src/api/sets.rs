//! `create_set`, `drop_set`, `add_table`, `remove_table`.

use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::api::argument::{items, json, optional_items, required};
use crate::journal_sets::{self, NewMember, NewSet};
use crate::run::audit::{Act, audited};
use crate::run::erase::targets;
use crate::run::schedule;
use crate::server::text::{Json, Text};
use crate::server::{privilege, snapshot};
use crate::{ident, table};

/// Makes an empty backup set.
///
/// `SELECT agent_backup.create_set('billing', formats => '{csv}', keep_daily => 14);`
///
/// `recipients_file` is the path of a file on the server with the public keys that its backups are encrypted for; null
/// leaves that to `agent_backup.recipients_file`.
///
/// Errors: 42501 without the right to write backups, and, for a recipients file, to read server files; 58P01 or F0000 for
/// a recipients file that is missing or not acceptable; 42710 when the name is taken, 22004 for a null, 22023 for an option
/// out of its range (formats csv, json, sql; compression gzip level 1 to 12 or zstd level 1 to 19).
#[allow(clippy::too_many_arguments, reason = "an option each")]
#[pg_extern(schema = "agent_backup", name = "create_set")]
fn make_set(
    set_name: Option<Text>,
    description: default!(Option<Text>, "NULL"),
    formats: default!(Option<Vec<Option<Text>>>, "'{csv,json}'"),
    compression: default!(Option<Text>, "'gzip'"),
    compression_level: default!(Option<i32>, "1"),
    keep_daily: default!(Option<i32>, "7"),
    keep_weekly: default!(Option<i32>, "4"),
    keep_monthly: default!(Option<i32>, "12"),
    rto: default!(Option<Interval>, "'2 hours'"),
    rpo: default!(Option<Interval>, "'1 hour'"),
    keep_last: default!(Option<i32>, "0"),
    keep_within: default!(Option<Interval>, "NULL"),
    max_age: default!(Option<Interval>, "NULL"),
    backup_interval: default!(Option<Interval>, "'1 day'"),
    recipients_file: default!(Option<Text>, "NULL"),
) -> Result<(), ErrorReport> {
    audited(Act::new("create_set").of(set_name.as_ref()), || {
        snapshot::require_writable()?;
        privilege::require_operator()?;
        if recipients_file.is_some() {
            privilege::require_key_chooser()?;
        }
        journal_sets::create(NewSet {
            name: &required(set_name, "set_name")?,
            description: description.as_deref(),
            formats: items(required(formats, "formats")?, "formats")?,
            compression: &required(compression, "compression")?,
            level: required(compression_level, "compression_level")?,
            keep_daily: required(keep_daily, "keep_daily")?,
            keep_weekly: required(keep_weekly, "keep_weekly")?,
            keep_monthly: required(keep_monthly, "keep_monthly")?,
            rto: required(rto, "rto")?,
            rpo: required(rpo, "rpo")?,
            keep_last: required(keep_last, "keep_last")?,
            keep_within,
            max_age,
            backup_interval: required(backup_interval, "backup_interval")?,
            recipients_file: recipients_file.as_deref(),
        })
    })
}

/// Forgets a backup set and its members. Backups on disk and in the catalogue stay; a set that has backups asks for
/// `confirm => true`. Its scheduled jobs are taken from pg_cron.
///
/// `SELECT agent_backup.drop_set('billing');`
///
/// Errors: 42501 without the right to write backups, 42704 for an unknown set, 2BP01 when it has backups.
#[pg_extern(schema = "agent_backup", name = "drop_set")]
fn drop_set(set_name: Option<Text>, confirm: default!(Option<bool>, "false")) -> Result<(), ErrorReport> {
    audited(Act::new("drop_set").of(set_name.as_ref()), || {
        snapshot::require_writable()?;
        privilege::require_operator()?;
        let (set, confirmed) = (required(set_name, "set_name")?, required(confirm, "confirm")?);
        journal_sets::require_droppable(&set, confirmed)?;
        schedule::forget(&set)?;
        journal_sets::drop_set(&set)
    })
}

/// Adds a table to a backup set; returns its qualified name.
///
/// `SELECT agent_backup.add_table('billing', 'invoices', row_filter => 'NOT draft', masked_columns => '{"iban": "left(iban, 4)"}');`
///
/// `table_name` may be `invoices`, `Invoices`, `billing."Invoices"` or a regclass; `formats` null takes those of the
/// set; `row_filter` is an SQL expression, rows for which it is not true are left out; `masked_columns` maps a column
/// to the expression saved in its place; `subject_columns` are the columns, or paths such as `data->>'customer_email'`, that
/// name a person, see `erase_subject`.
///
/// Errors: 42501 without the right to write backups, 42704 for an unknown set, 42P01 for an unknown table (the hint
/// names near ones), 42703 for an unknown column, 42710 for a member twice, 42601 for what is not one expression.
#[pg_extern(schema = "agent_backup", name = "add_table")]
fn put_table(
    set_name: Option<Text>,
    table_name: Option<Text>,
    formats: default!(Option<Vec<Option<Text>>>, "NULL"),
    row_filter: default!(Option<Text>, "NULL"),
    excluded_columns: default!(Option<Vec<Option<Text>>>, "'{}'"),
    masked_columns: default!(Option<Json>, "'{}'"),
    subject_columns: default!(Option<Vec<Option<Text>>>, "'{}'"),
) -> Result<Text, ErrorReport> {
    audited(Act::new("add_table").on(table_name.as_ref()).of(set_name.as_ref()), || {
        snapshot::require_writable()?;
        privilege::require_operator()?;
        let set = required(set_name, "set_name")?;
        let formats = optional_items(formats, "formats")?;
        let excluded = items(required(excluded_columns, "excluded_columns")?, "excluded_columns")?;
        let masked = json(&required(masked_columns, "masked_columns")?, "masked_columns")?;
        let mut member = NewMember::new(formats, row_filter.as_deref(), excluded, masked)?;
        let subjects = items(required(subject_columns, "subject_columns")?, "subject_columns")?;
        let oid = ident::resolve(&required(table_name, "table_name")?)?;
        let name = table::check_member(oid, &member.selection)?;
        member.selection.subjects = targets::check(oid, &subjects)?;
        journal_sets::add(&set, &name, &member)?;
        Ok(name.qualified().into())
    })
}

/// Says what names a person in a table of a set: columns, or paths such as `data->>'customer_email'`. Backups from now on
/// hold filters of their values, so that `erase_subject` reads little. Returns the table's qualified name.
///
/// `SELECT agent_backup.set_subject_columns('agent_sdk', 'agent_approvals', '{customer_email}');`
///
/// Of `agent_training_archive`, where it is the extension's own, an index is made for each, so that `DELETE … WHERE
/// data->>'customer_email' = …` finds its rows at once.
///
/// Errors: 42501 without the right to write backups, 42704 for an unknown set or a table that is no member, 42703 for an
/// unknown column, 22023 for what is neither a column nor a path to a text.
#[pg_extern(schema = "agent_backup", name = "set_subject_columns")]
fn set_subject_columns(
    set_name: Option<Text>,
    table_name: Option<Text>,
    subject_columns: Option<Vec<Option<Text>>>,
) -> Result<Text, ErrorReport> {
    audited(Act::new("set_subject_columns").on(table_name.as_ref()).of(set_name.as_ref()), || {
        snapshot::require_writable()?;
        privilege::require_operator()?;
        let (set, typed) = (required(set_name, "set_name")?, required(table_name, "table_name")?);
        let subjects = items(required(subject_columns, "subject_columns")?, "subject_columns")?;
        let oid = ident::resolve(&typed)?;
        let table = journal_sets::member(&set, &typed, Some(&ident::name_of(oid)?))?;
        let subjects = targets::check(oid, &subjects)?;
        journal_sets::set_subjects(&set, &table, subjects.clone())?;
        targets::index_archive(oid, &subjects)?;
        Ok(table.qualified().into())
    })
}

/// Takes a table out of a backup set; returns its qualified name. Backups of it stay.
///
/// `SELECT agent_backup.remove_table('billing', 'invoices');`
///
/// Errors: 42501 without the right to write backups, 42704 for an unknown set or a table that is no member.
#[pg_extern(schema = "agent_backup", name = "remove_table")]
fn remove_table(set_name: Option<Text>, table_name: Option<Text>) -> Result<Text, ErrorReport> {
    audited(Act::new("remove_table").on(table_name.as_ref()).of(set_name.as_ref()), || {
        snapshot::require_writable()?;
        privilege::require_operator()?;
        let (set, table) = (required(set_name, "set_name")?, required(table_name, "table_name")?);
        let resolved = ident::find(&table)?.map(ident::name_of).transpose()?;
        Ok(journal_sets::remove(&set, &table, resolved.as_ref())?.qualified().into())
    })
}
