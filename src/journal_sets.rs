//! The journal's part for sets: making, changing and dropping them.

use agent_backup_core::plan::Compression;
use agent_backup_core::plan::retention::EmptyPolicy;
use chrono::TimeDelta;
use pgrx::datum::Interval;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::ident::TableName;
use crate::journal::{self, as_owner};
use crate::journal_retention::{self, age};
use crate::run::{backup, keys, safety};
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
    pub recipients_file: Option<&'a str>,
}

impl NewSet<'_> {
    /// Says which option is out of its range. The table's constraints hold the same, for those who write to it.
    fn check(&self) -> Result<()> {
        let invalid = |option, reason: &str| Err(Error::InvalidOption { option, reason: reason.to_owned() });
        if self.name.is_empty() || self.name.len() > NAME_BYTES {
            return invalid("set_name", "it must have 1 to 63 bytes");
        }
        if [safety::SAFETY_SET, safety::BASELINE_SET].contains(&self.name) {
            return invalid("set_name", "it is that of the backups made before a restore");
        }
        backup::parse_formats(&self.formats)?;
        if !["gzip", "zstd"].contains(&self.compression) {
            return invalid("compression", &format!("\"{}\" is neither gzip nor zstd", self.compression));
        }
        if i16::try_from(self.level).ok().and_then(|level| Compression::parse(self.compression, level)).is_none() {
            return invalid("compression_level", "gzip has levels 1 to 12, zstd 1 to 19");
        }
        let counts = [self.keep_daily, self.keep_weekly, self.keep_monthly, self.keep_last];
        check_retention(counts.map(Some), self.keep_within.as_ref(), self.max_age.as_ref())?;
        check_spans(&[("rto", &self.rto), ("rpo", &self.rpo), ("backup_interval", &self.backup_interval)])?;
        if counts.iter().all(|count| *count == 0) && self.keep_within.is_none() {
            return Err(keeps_nothing());
        }
        if let Some(file) = self.recipients_file {
            keys::recipients_in(file)?;
        }
        Ok(())
    }
}

/// The numbers of a policy, as `counts` has them.
const COUNTS: [&str; 4] = ["keep_daily", "keep_weekly", "keep_monthly", "keep_last"];

fn check_retention(counts: [Option<i32>; 4], within: Option<&Interval>, max_age: Option<&Interval>) -> Result<()> {
    let invalid = |option, reason: &str| Err(Error::InvalidOption { option, reason: reason.to_owned() });
    for (option, count) in COUNTS.into_iter().zip(counts) {
        match count {
            Some(count) if count < 0 => return invalid(option, "it must not be negative"),
            Some(count) if count > MOST => return invalid(option, &format!("it must not be above {MOST}")),
            Some(_) | None => (),
        }
    }
    if let Some(within) = within {
        check_spans(&[("keep_within", within)])?;
    }
    match max_age.map(|max_age| age(max_age).length()) {
        Some(length) if length < TimeDelta::days(1) => invalid("max_age", "it must be a day or more"),
        Some(_) | None => Ok(()),
    }
}

/// Most backups that one rule keeps: whoever wants more wants `keep_within`.
const MOST: i32 = 100_000;

fn check_spans(spans: &[(&'static str, &Interval)]) -> Result<()> {
    match spans.iter().find(|(_, span)| age(span).length() <= TimeDelta::zero()) {
        Some((option, _)) => Err(Error::InvalidOption { option, reason: "it must be longer than nothing".into() }),
        None => Ok(()),
    }
}

fn keeps_nothing() -> Error {
    Error::InvalidOption { option: "keep_daily", reason: EmptyPolicy.to_string() }
}

/// What a set is to keep from now on; none leaves a rule as it is.
pub struct NewRetention {
    /// Days, weeks, months, and the newest.
    pub counts: [Option<i32>; 4],
    /// Nothing means no such rule.
    pub keep_within: Option<Interval>,
    /// The same.
    pub max_age: Option<Interval>,
    pub backup_interval: Option<Interval>,
}

/// Changes what a set keeps.
pub fn set_retention(set: &str, new: &NewRetention) -> Result<()> {
    let is_none = |span: &&Interval| age(span).length() == TimeDelta::zero();
    let [within, max_age] = [&new.keep_within, &new.max_age].map(|span| span.as_ref().filter(|span| !is_none(span)));
    check_retention(new.counts, within, max_age)?;
    check_spans(&new.backup_interval.iter().map(|span| ("backup_interval", span)).collect::<Vec<_>>())?;
    let before = journal_retention::policy(set)?;
    let Some(before) = before else { return Err(journal::unknown_set(set)?) };
    let counts = new.counts.iter().zip([before.daily, before.weekly, before.monthly, before.last]);
    let keeps_none = counts.map(|(new, before)| new.map_or(before != 0, |new| new != 0)).all(|keeps| !keeps);
    let no_span = if new.keep_within.is_some() { within.is_none() } else { before.within.is_none() };
    if keeps_none && no_span {
        return Err(keeps_nothing());
    }
    as_owner(|| {
        let statement = "UPDATE agent_backup.sets SET seeded = false, \
            keep_daily = coalesce($2, keep_daily), keep_weekly = coalesce($3, keep_weekly), \
            keep_monthly = coalesce($4, keep_monthly), keep_last = coalesce($5, keep_last), \
            keep_within = CASE WHEN $6 THEN $7 ELSE keep_within END, max_age = CASE WHEN $8 THEN $9 ELSE max_age END, \
            backup_interval = coalesce($10, backup_interval) WHERE set_name = $1";
        let [daily, weekly, monthly, last] = new.counts;
        let arguments = [
            set.into(),
            daily.into(),
            weekly.into(),
            monthly.into(),
            last.into(),
            new.keep_within.is_some().into(),
            within.copied().into(),
            new.max_age.is_some().into(),
            max_age.copied().into(),
            new.backup_interval.into(),
        ];
        sql::execute(statement, &arguments).map(drop)
    })
}

/// Most bytes of a set's name, as of any name in the server.
const NAME_BYTES: usize = 63;

/// What a member is added with.
pub struct NewMember {
    pub formats: Option<Vec<String>>,
    /// Its subjects are checked and as they are kept.
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
            keep_daily, keep_weekly, keep_monthly, rto, rpo, keep_last, keep_within, max_age, backup_interval, recipients_file) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
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
            set.recipients_file.into(),
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
            (set_name, schema_name, table_name, ordinal, formats, row_filter, excluded_columns, masked_columns, defined_by, subject_columns) \
            SELECT $1, $2, $3, coalesce(max(ordinal), 0) + 1, $4, $5, $6, \
                   (SELECT coalesce(pg_catalog.jsonb_object_agg(m.key, m.value), '{}') FROM ROWS FROM \
                       (pg_catalog.unnest($7::text[]), pg_catalog.unnest($8::text[])) AS m(key, value)), $9, $10 \
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
            member.selection.subjects.clone().into(),
        ];
        sql::execute(statement, &arguments)?;
        changed(set)
    })
}

/// Takes out the member that `typed` means: the table it resolves to, or, where that is gone, a member of that name.
pub fn remove(set: &str, typed: &str, resolved: Option<&TableName>) -> Result<TableName> {
    let table = member(set, typed, resolved)?;
    as_owner(|| {
        let statement =
            "DELETE FROM agent_backup.set_tables WHERE set_name = $1 AND schema_name = $2 AND table_name = $3";
        sql::execute(statement, &[set.into(), table.schema.as_str().into(), table.name.as_str().into()])?;
        changed(set)
    })?;
    Ok(table)
}

/// Changes what names a person in a member.
pub fn set_subjects(set: &str, table: &TableName, subjects: Vec<String>) -> Result<()> {
    as_owner(|| {
        let statement = "UPDATE agent_backup.set_tables SET subject_columns = $4 \
                         WHERE set_name = $1 AND schema_name = $2 AND table_name = $3";
        let arguments = [set.into(), table.schema.as_str().into(), table.name.as_str().into(), subjects.into()];
        sql::execute(statement, &arguments)?;
        changed(set)
    })
}

/// The member that `typed` means. Errors: `UnknownSet`, `NotMember`.
pub fn member(set: &str, typed: &str, resolved: Option<&TableName>) -> Result<TableName> {
    let members = journal::set(set)?.members;
    let found = members.iter().find(|member| member.table.is_meant(typed, resolved));
    found.map(|member| member.table.clone()).ok_or_else(|| Error::NotMember {
        set: set.to_owned(),
        table: typed.to_owned(),
        near: crate::ident::near(typed, members.iter().map(|member| member.table.display())),
    })
}

/// A set that somebody changed is no longer the seeded one.
fn changed(set: &str) -> Result<()> {
    sql::execute("UPDATE agent_backup.sets SET seeded = false WHERE set_name = $1", &[set.into()]).map(drop)
}
