//! The journal's part for sets: making, changing and dropping them.

use agent_backup_core::plan::Compression;
use pgrx::datum::Interval;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::ident::TableName;
use crate::journal::{self, as_owner};
use crate::run::backup;
use crate::server::sql;
use crate::table::select::Selection;

/// What a set is made with.
pub struct NewSet<'a> {
    pub name: &'a str,
    pub description: Option<&'a str>,
    pub formats: Vec<String>,
    pub compression: &'a str,
    pub level: i32,
    pub keep_daily: i32,
    pub keep_weekly: i32,
    pub keep_monthly: i32,
    pub rto: Interval,
    pub rpo: Interval,
    pub keep_last: i32,
    pub keep_within: Option<Interval>,
    pub max_age: Option<Interval>,
    pub backup_interval: Interval,
}

impl NewSet<'_> {
    /// Says which option is out of its range. The table's constraints hold the same, for those who write to it.
    fn check(&self) -> Result<()> {
        let invalid = |option, reason: &str| Err(Error::InvalidOption { option, reason: reason.to_owned() });
        if self.name.is_empty() || self.name.len() > NAME_BYTES {
            return invalid("set_name", "it must have 1 to 63 bytes");
        }
        if [backup::SAFETY_SET, backup::BASELINE_SET].contains(&self.name) {
            return invalid("set_name", "it is that of the backups made before a restore");
        }
        backup::parse_formats(&self.formats)?;
        if !["gzip", "zstd"].contains(&self.compression) {
            return invalid("compression", &format!("\"{}\" is neither gzip nor zstd", self.compression));
        }
        if i16::try_from(self.level).ok().and_then(|level| Compression::parse(self.compression, level)).is_none() {
            return invalid("compression_level", "gzip has levels 1 to 12, zstd 1 to 19");
        }
        let keep = [
            ("keep_daily", self.keep_daily),
            ("keep_weekly", self.keep_weekly),
            ("keep_monthly", self.keep_monthly),
            ("keep_last", self.keep_last),
        ];
        if let Some((option, _)) = keep.iter().find(|(_, count)| *count < 0) {
            return invalid(option, "it must not be negative");
        }
        if keep.iter().all(|(_, count)| *count == 0) && self.keep_within.is_none() {
            return invalid("keep_daily", "a set that keeps no backup at all is refused");
        }
        Ok(())
    }
}

/// Most bytes of a set's name, as of any name in the server.
const NAME_BYTES: usize = 63;

/// What a member is added with.
pub struct NewMember {
    pub formats: Option<Vec<String>>,
    pub selection: Selection,
}

impl NewMember {
    /// Checks the shape of the options; whether the columns exist is asked of the table.
    pub fn new(
        formats: Option<Vec<String>>,
        filter: Option<&str>,
        excluded: Vec<String>,
        masked: Value,
    ) -> Result<Self> {
        let invalid = |reason: String| Error::InvalidOption { option: "masked_columns", reason };
        let Value::Object(masked) = masked else {
            return Err(invalid("it must be a JSON object of column and expression".into()));
        };
        if let Some(formats) = &formats {
            backup::parse_formats(formats)?;
        }
        let masked = masked.into_iter().map(|(column, mask)| match mask {
            Value::String(mask) => Ok((column, mask)),
            other => Err(invalid(format!("the mask of \"{column}\" must be a string, not {other}"))),
        });
        let masked = masked.collect::<Result<Vec<_>>>()?;
        let filter = filter.map(str::to_owned);
        let mut selection = Selection { filter, excluded, masked, ..Selection::default() };
        selection.defined_by = selection.has_expressions().then(crate::ident::current_role).transpose()?;
        Ok(NewMember { formats, selection })
    }
}

/// Makes a set.
pub fn create(set: NewSet) -> Result<()> {
    set.check()?;
    as_owner(|| {
        let taken = sql::text("SELECT set_name FROM agent_backup.sets WHERE set_name = $1", &[set.name.into()])?;
        if taken.is_some() {
            return Err(Error::SetExists { set: set.name.to_owned() });
        }
        let statement = "INSERT INTO agent_backup.sets (set_name, description, formats, compression, compression_level, \
            keep_daily, keep_weekly, keep_monthly, rto, rpo, keep_last, keep_within, max_age, backup_interval) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
        let arguments = [
            set.name.into(),
            set.description.into(),
            set.formats.clone().into(),
            set.compression.into(),
            set.level.into(),
            set.keep_daily.into(),
            set.keep_weekly.into(),
            set.keep_monthly.into(),
            set.rto.into(),
            set.rpo.into(),
            set.keep_last.into(),
            set.keep_within.into(),
            set.max_age.into(),
            set.backup_interval.into(),
        ];
        sql::execute(statement, &arguments).map(drop)
    })
}

/// Whether a set may be dropped: one that has backups only when that is confirmed.
pub fn require_droppable(set: &str, confirmed: bool) -> Result<()> {
    journal::set(set)?;
    as_owner(|| {
        let query = "SELECT count(*) FROM agent_backup.backup_catalog WHERE set_name = $1";
        let backups = sql::rows(query, &[set.into()], |row| row.required::<i64>(1))?.into_iter().sum();
        if backups > 0 && !confirmed {
            return Err(Error::SetInUse { set: set.to_owned(), backups });
        }
        Ok(())
    })
}

/// Drops a set.
pub fn drop_set(set: &str) -> Result<()> {
    as_owner(|| sql::execute("DELETE FROM agent_backup.sets WHERE set_name = $1", &[set.into()]).map(drop))
}

/// Adds a member at the end of a set.
pub fn add(set: &str, table: &TableName, member: &NewMember) -> Result<()> {
    if journal::set(set)?.members.iter().any(|known| known.table == *table) {
        return Err(Error::MemberExists { set: set.to_owned(), table: table.display() });
    }
    as_owner(|| {
        let statement = "INSERT INTO agent_backup.set_tables \
            (set_name, schema_name, table_name, ordinal, formats, row_filter, excluded_columns, masked_columns, defined_by) \
            SELECT $1, $2, $3, coalesce(max(ordinal), 0) + 1, $4, $5, $6, \
                   (SELECT coalesce(pg_catalog.jsonb_object_agg(m.key, m.value), '{}') FROM ROWS FROM \
                       (pg_catalog.unnest($7::text[]), pg_catalog.unnest($8::text[])) AS m(key, value)), $9 \
              FROM agent_backup.set_tables WHERE set_name = $1";
        let (columns, masks): (Vec<String>, Vec<String>) = member.selection.masked.iter().cloned().unzip();
        let arguments = [
            set.into(),
            table.schema.as_str().into(),
            table.name.as_str().into(),
            member.formats.clone().into(),
            member.selection.filter.as_deref().into(),
            member.selection.excluded.clone().into(),
            columns.into(),
            masks.into(),
            member.selection.defined_by.as_deref().into(),
        ];
        sql::execute(statement, &arguments)?;
        changed(set)
    })
}

/// Takes out the member that `typed` means: the table it resolves to, or, where that is gone, a member of that name.
pub fn remove(set: &str, typed: &str, resolved: Option<&TableName>) -> Result<TableName> {
    let members = journal::set(set)?.members;
    let Some(member) = members.iter().find(|member| member.table.is_meant(typed, resolved)) else {
        let near = crate::ident::near(typed, members.iter().map(|member| member.table.display()));
        return Err(Error::NotMember { set: set.to_owned(), table: typed.to_owned(), near });
    };
    as_owner(|| {
        let statement =
            "DELETE FROM agent_backup.set_tables WHERE set_name = $1 AND schema_name = $2 AND table_name = $3";
        sql::execute(statement, &[set.into(), member.table.schema.as_str().into(), member.table.name.as_str().into()])?;
        changed(set)
    })?;
    Ok(member.table.clone())
}

/// A set that somebody changed is no longer the seeded one.
fn changed(set: &str) -> Result<()> {
    sql::execute("UPDATE agent_backup.sets SET seeded = false WHERE set_name = $1", &[set.into()]).map(drop)
}
