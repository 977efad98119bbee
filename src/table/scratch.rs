//! Schemas of our own for tables that live as long as a call: nobody else knows their names, and an abort takes them along.

use pgrx::pg_sys;

use crate::error::Result;
use crate::ident;
use crate::journal;
use crate::server::pin::Pinned;
use crate::server::{facts, sql};

/// Makes a schema that belongs to `owner` and that the caller may use; its name.
pub fn create(purpose: &str, owner: pg_sys::Oid) -> Result<String> {
    let schema = format!("agent_backup_{purpose}_{:08x}", facts::random());
    let (owner, caller) = (ident::quote(&ident::role_name(owner)?), ident::current_user());
    journal::as_owner(|| {
        sql::execute(&format!("CREATE SCHEMA {schema} AUTHORIZATION {owner}"), &[])?;
        sql::execute(&format!("GRANT USAGE ON SCHEMA {schema} TO {caller}"), &[])
    })?;
    Ok(schema)
}

/// Lets another role name what is in it.
pub fn allow(schema: &str, role: pg_sys::Oid) -> Result<()> {
    let grant = format!("GRANT USAGE ON SCHEMA {} TO {}", ident::quote(schema), ident::quote(&ident::role_name(role)?));
    journal::as_owner(|| sql::execute(&grant, &[]).map(drop))
}

/// Removes it with all that is in it.
pub fn remove(schema: &str) -> Result<()> {
    let quiet = Pinned::nothing();
    quiet.set("client_min_messages", "warning")?;
    journal::as_owner(|| sql::execute(&format!("DROP SCHEMA {} CASCADE", ident::quote(schema)), &[]).map(drop))
}
