//! Names: the only place that resolves what a person typed to a table, and that quotes.

use std::ffi::{CStr, CString};

use pgrx::{PgList, pg_sys};

use crate::error::{Error, Result};
use crate::server::sql;

/// A table as the catalogue knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    pub schema: String,
    pub name: String,
}

impl TableName {
    /// Qualified and quoted, as SQL takes it.
    pub fn qualified(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.name))
    }

    /// As a person reads it: without the schema where that is `public`.
    pub fn display(&self) -> String {
        if self.schema == "public" { quote(&self.name) } else { self.qualified() }
    }

    /// Whether a person who typed `typed` means this table: it is the one that the name resolves to, or, where it
    /// resolves to none (the table is gone), it is called so.
    pub fn is_meant(&self, typed: &str, resolved: Option<&TableName>) -> bool {
        match resolved {
            Some(resolved) => self == resolved,
            None => [self.name.clone(), self.display(), self.qualified()].iter().any(|name| name == typed),
        }
    }
}

/// Finds a table by any of `agent_approvals`, `AgentApproval`, `public."AgentApproval"` or a `regclass` as text. Does
/// not look at what kind of relation it is.
pub fn resolve(text: &str) -> Result<pg_sys::Oid> {
    find(text)?.ok_or_else(|| Error::UnknownTable { name: text.to_owned(), near: near_tables(text) })
}

/// As `resolve`, with `None` for a name that nothing has. A text with quotes or a dot is read as SQL first, so that
/// nobody's odd name can take the place of another's; a plain one is the exact name first, and then folded as SQL does.
pub fn find(text: &str) -> Result<Option<pg_sys::Oid>> {
    let as_sql = || split(text).and_then(|parts| lookup(&parts));
    let exact = || lookup(&[text.to_owned()]);
    let exact_in_schema =
        || text.split_once('.').and_then(|(schema, name)| lookup(&[schema.to_owned(), name.to_owned()]));
    Ok(if text.contains(['"', '.']) {
        as_sql().or_else(exact_in_schema).or_else(exact)
    } else {
        exact().or_else(as_sql)
    })
}

/// The catalogue's name of a relation.
pub fn name_of(oid: pg_sys::Oid) -> Result<TableName> {
    // SAFETY: both look up the catalogue and return a palloc'd string or null.
    let found = unsafe {
        let name = owned(pg_sys::get_rel_name(oid));
        name.zip(owned(pg_sys::get_namespace_name(pg_sys::get_rel_namespace(oid))))
    };
    let (name, schema) = found.ok_or(Error::UnknownTable { name: oid.to_u32().to_string(), near: vec![] })?;
    Ok(TableName { schema, name })
}

/// The relation of an exact name, if there is one.
pub fn oid_of(table: &TableName) -> Option<pg_sys::Oid> {
    lookup(&[table.schema.clone(), table.name.clone()])
}

/// The oid of a role, if there is one.
pub fn role_oid(role: &str) -> Option<pg_sys::Oid> {
    let role = CString::new(role).ok()?;
    // SAFETY: a NUL-terminated name; missing_ok gives InvalidOid.
    valid(unsafe { pg_sys::get_role_oid(role.as_ptr(), true) })
}

/// A role's name; empty for one that was dropped meanwhile.
pub fn role_name(role: pg_sys::Oid) -> String {
    // SAFETY: looks up the catalogue; missing_ok gives null.
    unsafe { owned(pg_sys::GetUserNameFromId(role, true)) }.unwrap_or_default()
}

/// The current user's name.
pub fn current_role() -> String {
    // SAFETY: looks up the catalogue; missing_ok gives null for a role that was dropped meanwhile.
    unsafe { owned(pg_sys::GetUserNameFromId(pg_sys::GetUserId(), true)) }.unwrap_or_default()
}

/// The name of the role that the session began with.
pub fn session_role() -> String {
    // SAFETY: as above.
    unsafe { owned(pg_sys::GetUserNameFromId(pg_sys::GetSessionUserId(), true)) }.unwrap_or_default()
}

/// The current user's name, quoted where SQL needs it.
pub fn current_user() -> String {
    quote(&current_role())
}

/// An identifier, quoted where SQL needs it.
pub fn quote(name: &str) -> String {
    pgrx::spi::quote_identifier(name)
}

/// A text as an SQL literal.
pub fn literal(text: &str) -> String {
    pgrx::spi::quote_literal(text)
}

/// Up to three names of `candidates` that a person may have meant by `wanted`, nearest first.
pub fn near(wanted: &str, candidates: impl IntoIterator<Item = String>) -> Vec<String> {
    let wanted = wanted.to_lowercase();
    let mut scored: Vec<(usize, String)> = candidates
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&wanted, &name.trim_matches('"').to_lowercase()), name))
        .filter(|(distance, name)| *distance <= 1 + name.chars().count() / 4)
        .collect();
    scored.sort();
    scored.into_iter().map(|(_, name)| name).take(3).collect()
}

fn near_tables(wanted: &str) -> Vec<String> {
    let query = "SELECT pg_catalog.quote_ident(nspname), pg_catalog.quote_ident(relname) FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE relkind IN ('r', 'p', 'f', 'm') \
         AND nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'agent_backup')";
    let tables = sql::rows(query, &[], |row| Ok((row.required::<String>(1)?, row.required::<String>(2)?)));
    let bare = wanted.rsplit('.').next().unwrap_or(wanted).trim_matches('"');
    // A hint is worth less than the error it hangs on: without candidates there is none.
    let tables = tables.unwrap_or_default();
    let shown =
        tables.into_iter().map(|(schema, name)| if schema == "public" { name } else { format!("{schema}.{name}") });
    near_last_part(bare, shown)
}

fn near_last_part(wanted: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    let by_last: Vec<(String, String)> =
        names.map(|name| (name.rsplit('.').next().unwrap_or(&name).to_owned(), name)).collect();
    let nearest = near(wanted, by_last.iter().map(|(last, _)| last.clone()));
    nearest.iter().filter_map(|last| by_last.iter().find(|(l, _)| l == last).map(|(_, name)| name.clone())).collect()
}

/// Splits `a.b` as SQL reads it: folded unless quoted. `None` where it is not a name.
fn split(text: &str) -> Option<Vec<String>> {
    let raw = CString::new(text).ok()?;
    let mut list: *mut pg_sys::List = std::ptr::null_mut();
    // SAFETY: SplitIdentifierString writes into the copy made by pstrdup, which the list's items point into.
    unsafe {
        if !pg_sys::SplitIdentifierString(pg_sys::pstrdup(raw.as_ptr()), b'.'.cast_signed(), &mut list) {
            return None;
        }
        let parts = PgList::<std::ffi::c_char>::from_pg(list);
        Some(parts.iter_ptr().map(|part| CStr::from_ptr(part).to_string_lossy().into_owned()).collect())
    }
}

fn lookup(parts: &[String]) -> Option<pg_sys::Oid> {
    match parts {
        [name] => {
            let name = CString::new(name.as_str()).ok()?;
            // SAFETY: a NUL-terminated name, looked up along the search path.
            valid(unsafe { pg_sys::RelnameGetRelid(name.as_ptr()) })
        }
        [schema, name] => {
            let (schema, name) = (CString::new(schema.as_str()).ok()?, CString::new(name.as_str()).ok()?);
            // SAFETY: NUL-terminated names; missing_ok gives InvalidOid.
            let namespace = valid(unsafe { pg_sys::get_namespace_oid(schema.as_ptr(), true) })?;
            // SAFETY: as above.
            valid(unsafe { pg_sys::get_relname_relid(name.as_ptr(), namespace) })
        }
        _ => None,
    }
}

fn valid(oid: pg_sys::Oid) -> Option<pg_sys::Oid> {
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// # Safety
/// `text` is null or a NUL-terminated string.
unsafe fn owned(text: *const std::ffi::c_char) -> Option<String> {
    // SAFETY: as the caller promises.
    unsafe { crate::server::snapshot::owned_text(text) }
}
