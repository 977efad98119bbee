//! Names: the only place that resolves what a person typed to a table, and that quotes.

use std::ffi::CStr;

use pgrx::{PgList, pg_sys};

use crate::error::{Error, Result};
use crate::server::encoding::{self, c_string, owned};
use crate::server::sql;

/// A table as the catalogue knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    let in_table = |error: Error| error.in_object(|| "the name of a table".into());
    Ok(TableName { schema: schema.map_err(in_table)?, name: name.map_err(in_table)? })
}

/// The relation of an exact name, if there is one.
pub fn oid_of(table: &TableName) -> Option<pg_sys::Oid> {
    lookup(&[table.schema.clone(), table.name.clone()])
}

/// The oid of a role, if there is one.
pub fn role_oid(role: &str) -> Option<pg_sys::Oid> {
    let role = c_string(role).ok()?;
    // SAFETY: a NUL-terminated name; missing_ok gives InvalidOid.
    valid(unsafe { pg_sys::get_role_oid(role.as_ptr(), true) })
}

/// A role's name; empty for one that was dropped meanwhile.
pub fn role_name(role: pg_sys::Oid) -> Result<String> {
    // SAFETY: looks up the catalogue; missing_ok gives null.
    let name = unsafe { owned(pg_sys::GetUserNameFromId(role, true)) };
    name.unwrap_or_else(|| Ok(String::new())).map_err(|error| error.in_object(|| "the name of a role".into()))
}

/// The current user's name.
pub fn current_role() -> Result<String> {
    // SAFETY: reads this backend's state.
    role_name(unsafe { pg_sys::GetUserId() })
}

/// The name of the role that the session began with.
pub fn session_role() -> Result<String> {
    // SAFETY: as above.
    role_name(unsafe { pg_sys::GetSessionUserId() })
}

/// The name of this database.
pub fn current_database() -> Result<String> {
    // SAFETY: looks up the catalogue.
    let name = unsafe { owned(pg_sys::get_database_name(pg_sys::MyDatabaseId)) };
    name.unwrap_or_else(|| Ok(String::new())).map_err(|error| error.in_object(|| "the name of the database".into()))
}

/// The current user's name, quoted where SQL needs it, for a hint.
pub fn current_user() -> String {
    current_role().map_or_else(|_| "CURRENT_USER".to_owned(), |role| quote(&role))
}

/// An identifier, quoted where SQL needs it.
pub fn quote(name: &str) -> String {
    // In whatever bytes: every one outside ASCII asks for quotes, and none of them is a quote.
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
    let tables = sql::rows(query, &[], |row| Ok((row.shown(1)?, row.shown(2)?)));
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
    let raw = c_string(text).ok()?;
    let mut list: *mut pg_sys::List = std::ptr::null_mut();
    // SAFETY: SplitIdentifierString writes into the copy made by pstrdup, which the list's items point into.
    unsafe {
        if !pg_sys::SplitIdentifierString(pg_sys::pstrdup(raw.as_ptr()), b'.'.cast_signed(), &mut list) {
            return None;
        }
        let parts = PgList::<std::ffi::c_char>::from_pg(list);
        let texts = parts.iter_ptr().map(|part| encoding::from_server(CStr::from_ptr(part).to_bytes().to_vec()));
        texts.collect::<Result<_>>().ok()
    }
}

/// A name with letters that the database has not is no name of anything in it.
fn lookup(parts: &[String]) -> Option<pg_sys::Oid> {
    match parts {
        [name] => {
            let name = c_string(name).ok()?;
            // SAFETY: a NUL-terminated name, looked up along the search path.
            valid(unsafe { pg_sys::RelnameGetRelid(name.as_ptr()) })
        }
        [schema, name] => {
            let (schema, name) = (c_string(schema).ok()?, c_string(name).ok()?);
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
