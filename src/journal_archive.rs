//! The journal's part for archived rows: agent_training_archive, which is the application's table or our view.

use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;

use crate::error::{Error, Result};
use crate::ident::{self, TableName};
use crate::journal::as_owner;
use crate::server::encoding::{self, Encoding};
use crate::server::pin::Pinned;
use crate::server::privilege;
use crate::server::sql::{self, Argument};
use crate::server::subtransaction::attempt;
use crate::server::text::Raw;
use crate::server::user::{ActingAs, Restriction};

/// What our view is called where a table is expected.
pub const OWN_VIEW: &str = "the extension's view over its own store";

/// The archive as it stands here.
pub struct Archive {
    pub oid: pg_sys::Oid,
    /// Whether it is our view: then the log of captured changes shows in it, too.
    pub is_own_view: bool,
    schema: String,
    owner: pg_sys::Oid,
    /// The type of its data.
    data: &'static str,
    /// Whether it takes no null in place of a key.
    needs_id: bool,
    /// The caller's time zone, in which the table's default may tell the time.
    time_zone: String,
}

/// Rows that are on their way to it.
pub struct Batch<'a> {
    pub keys: Vec<Option<Vec<u8>>>,
    /// JSON objects as they stand in a file.
    pub rows: Vec<&'a [u8]>,
}

/// The archive, if there is one. `time_zone` is the caller's.
pub fn find(time_zone: &str) -> Result<Option<Archive>> {
    let query = "SELECT c.oid, n.nspname::text, c.relowner, c.relkind = 'v', a.atttypid = 'pg_catalog.json'::regtype, k.attnotnull \
                   FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace \
                   JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = 'agent_training_archive' \
                   JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = 'data' AND NOT a.attisdropped \
                   JOIN pg_catalog.pg_attribute k ON k.attrelid = c.oid AND k.attname = 'original_id' AND NOT k.attisdropped \
                   LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e' \
                        AND d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.refobjid = e.oid \
                  WHERE e.extname = 'agent_backup' AND (c.relkind IN ('r', 'p') OR (c.relkind = 'v' AND d.objid IS NOT NULL))";
    let found = as_owner(|| {
        sql::rows(query, &[], |row| {
            Ok(Archive {
                oid: row.required(1)?,
                is_own_view: row.required(4)?,
                schema: row.required(2)?,
                owner: row.required(3)?,
                data: if row.required(5)? { "json" } else { "jsonb" },
                needs_id: row.required(6)?,
                time_zone: time_zone.to_owned(),
            })
        })
    })?;
    Ok(found.into_iter().next())
}

/// The relation of our view, where the archive is that.
pub fn own_view() -> Result<Option<pg_sys::Oid>> {
    Ok(find("UTC")?.filter(|archive| archive.is_own_view).map(|archive| archive.oid))
}

/// Whether a relation is our view.
pub fn is_own_view(oid: pg_sys::Oid) -> Result<bool> {
    Ok(own_view()? == Some(oid))
}

/// Our view gives way to the application's table of its name, which a restore is about to make. Errors: `RestoreBlocked` where
/// rows were put into it.
pub fn give_way(name: &TableName) -> Result<()> {
    privilege::require_superuser("put a table in the place of the extension's view")?;
    as_owner(|| {
        let kept = "SELECT EXISTS (SELECT FROM agent_backup.archive_rows)";
        if sql::rows(kept, &[], |row| row.required::<bool>(1))? == [true] {
            let reason = "the extension's view of that name has rows; empty it first".to_owned();
            return Err(Error::RestoreBlocked { table: name.display(), reason });
        }
        let view = name.qualified();
        sql::execute(&format!("ALTER EXTENSION agent_backup DROP VIEW {view}"), &[])?;
        sql::execute(&format!("DROP VIEW {view}"), &[]).map(drop)
    })
}

/// The error for our view where a table is expected.
pub fn is_no_table(name: &TableName) -> Error {
    let hint = "Its rows are saved with the database; copy them into a table to back them up.";
    Error::NotBackedUp { name: name.display(), kind: OWN_VIEW, hint }
}

/// Makes an index over our own rows, if there is none of this name.
pub fn index(name: &str, expression: &str) -> Result<()> {
    as_owner(|| {
        let name = ident::quote(name);
        let make = format!("CREATE INDEX IF NOT EXISTS {name} ON agent_backup.archive_rows (({expression}))");
        sql::execute(&make, &[])?;
        let comment = "Finds the rows of a person in the archive. Made by set_subject_columns";
        sql::execute(&format!("COMMENT ON INDEX agent_backup.{name} IS {}", ident::literal(comment)), &[]).map(drop)
    })
}

impl Archive {
    /// Whether a table is what holds its rows.
    pub fn is(&self, oid: pg_sys::Oid, table: &TableName) -> bool {
        self.oid == oid || (table.schema == "agent_backup" && table.name == "archive_rows")
    }

    /// Its name.
    pub fn name(&self) -> TableName {
        TableName { schema: self.schema.clone(), name: "agent_training_archive".into() }
    }

    /// How many of its rows meet a condition over `$1`. Of our view only those that are kept in it, not captured changes.
    pub fn count(&self, condition: &str, value: &str) -> Result<u64> {
        let query = |from: &str| format!("SELECT pg_catalog.count(*) FROM {from} WHERE {condition}");
        self.within(|from| {
            let counts = sql::rows(&query(from), &[value.into()], |row| row.required::<i64>(1))?;
            Ok(counts.into_iter().sum::<i64>().cast_unsigned())
        })
    }

    /// Deletes them.
    pub fn erase(&self, condition: &str, value: &str) -> Result<u64> {
        self.within(|from| Ok(sql::execute(&format!("DELETE FROM {from} WHERE {condition}"), &[value.into()])? as u64))
    }

    /// On what holds the rows: ours as the extension's owner, the application's as its own, restricted.
    fn within<T>(&self, work: impl FnOnce(&str) -> Result<T>) -> Result<T> {
        if self.is_own_view {
            return as_owner(|| work("agent_backup.archive_rows"));
        }
        let _path = Pinned::search_path()?;
        let _user = ActingAs::user(self.owner, Restriction::SecurityRestricted);
        work(&self.name().qualified())
    }

    /// Refuses rows of a table that the archive's owner may not read: whoever made the table would get them.
    pub fn require_may_hold(&self, oid: pg_sys::Oid, table: &TableName) -> Result<()> {
        // SAFETY: looks up the catalogue; the table is locked by the caller.
        let granted = unsafe { pg_sys::pg_class_aclcheck(oid, self.owner, pg_sys::ACL_SELECT as pg_sys::AclMode) };
        // SAFETY: as above.
        let policies = unsafe { pg_sys::check_enable_rls(oid, self.owner, true) };
        let hidden = policies == pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32;
        if self.is_own_view || (granted == pg_sys::AclResult::ACLCHECK_OK && !hidden) {
            return Ok(());
        }
        let owner = ident::quote(&ident::role_name(self.owner)?);
        let reason = format!("{owner}, who owns agent_training_archive, may not read all of its rows");
        Err(Error::NotArchived { table: table.display(), reason })
    }

    /// Puts rows of a table into it; how many of them it refused, since no `jsonb` can hold them, and why.
    pub fn insert(&self, original_table: &str, batch: &Batch) -> Result<(u64, Option<String>)> {
        let mut refused = (0, None);
        // Halves of what is refused are tried by themselves, so that one bad row costs itself alone.
        let mut parts = vec![(0, batch.rows.len())];
        while let Some((start, end)) = parts.pop().filter(|(start, end)| start < end) {
            pgrx::check_for_interrupts!();
            let Err(failure) = attempt(|| self.insert_part(original_table, batch, start..end)) else { continue };
            match (is_of_the_row(failure.code), end - start) {
                (true, 1) => refused = (refused.0 + 1, refused.1.or(Some(failure.message))),
                (true, length) => {
                    let middle = start + length / 2;
                    parts.extend([(middle, end), (start, middle)]);
                }
                (false, _) => {
                    let table = original_table.to_owned();
                    return Err(failure.error.unwrap_or(Error::NotArchived { table, reason: failure.message }));
                }
            }
        }
        Ok(refused)
    }

    fn insert_part(&self, original_table: &str, batch: &Batch, part: std::ops::Range<usize>) -> Result<()> {
        let raw = |text: &[u8]| -> Result<Raw> {
            match (Encoding::of_database(), std::str::from_utf8(text)) {
                (Encoding::Converted, Ok(text)) => Ok(Raw(encoding::to_server(text)?.into_owned())),
                _ => Ok(Raw(text.to_vec())),
            }
        };
        let keys = batch.keys[part.clone()].iter().map(|key| key.as_deref().map(raw).transpose());
        let keys = keys.collect::<Result<Vec<Option<Raw>>>>()?;
        let rows = batch.rows[part].iter().map(|row| raw(row).map(Some)).collect::<Result<Vec<Option<Raw>>>>()?;
        let arguments = [original_table.into(), Argument::Value(keys.into()), Argument::Value(rows.into())];
        let statement = |target: &str| {
            let id = if self.needs_id { "coalesce(r.key, '')" } else { "r.key" };
            format!(
                "INSERT INTO {target} (original_table, original_id, data, archive_reason) \
                 SELECT $1, {id}, r.data::pg_catalog.{}, 'incremental_backup' \
                   FROM unnest($2::text[], $3::text[]) AS r(key, data)",
                self.data
            )
        };
        if self.is_own_view {
            return as_owner(|| sql::execute(&statement("agent_backup.archive_rows"), &arguments).map(drop));
        }
        let path = Pinned::search_path()?;
        path.set("TimeZone", &self.time_zone)?;
        // The table is the application's: its triggers, checks and defaults run as its owner, restricted.
        let _user = ActingAs::user(self.owner, Restriction::SecurityRestricted);
        let target = format!("{}.agent_training_archive", ident::quote(&self.schema));
        sql::execute(&statement(&target), &arguments).map(drop)
    }
}

/// Whether the type refuses the value, as `jsonb` does a zero character or a text that is too long.
fn is_of_the_row(code: PgSqlErrorCode) -> bool {
    use PgSqlErrorCode::*;
    matches!(
        code,
        ERRCODE_UNTRANSLATABLE_CHARACTER
            | ERRCODE_INVALID_TEXT_REPRESENTATION
            | ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE
            | ERRCODE_PROGRAM_LIMIT_EXCEEDED
            | ERRCODE_STATEMENT_TOO_COMPLEX
    )
}
