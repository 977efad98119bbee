//! Options of a foreign server and of the user mapping that the caller gets there: where secrets are kept.

use std::collections::BTreeMap;

use pgrx::{PgList, pg_sys};

use crate::error::{OffsiteError, Result};
use crate::journal;
use crate::server::encoding::{self, c_string, owned};
use crate::server::sql;

/// The wrapper that our servers are of.
const WRAPPER: &str = "agent_backup_s3";

/// Names to values.
pub type Options = BTreeMap<String, String>;

/// What is known of a server. Not to be shown: the mapping holds secrets.
pub struct Foreign {
    pub options: Options,
    /// Of the caller's mapping, else of that of the extension's owner, else of the public one.
    pub mapping: Option<Options>,
}

/// Reads a server of ours by its name.
pub fn server(name: &str) -> Result<Foreign> {
    let unknown = || OffsiteError::UnknownServer { server: name.to_owned() };
    let c_name = c_string(name)?;
    // SAFETY: looks up the catalogue; null for a name that nothing has. What it gives lives in this call's memory.
    let (id, wrapper, options) = unsafe {
        let server = pg_sys::GetForeignServerByName(c_name.as_ptr(), true).as_ref().ok_or_else(unknown)?;
        let wrapper = &*pg_sys::GetForeignDataWrapper(server.fdwid);
        (server.serverid, owned(wrapper.fdwname).transpose()?, read(server.options)?)
    };
    if wrapper.as_deref() != Some(WRAPPER) {
        return Err(OffsiteError::WrongServer { server: name.to_owned() }.into());
    }
    let mapping = mapped_user(id)?.map(|user| {
        // SAFETY: as above; the mapping was seen a moment ago, and an error tells that it went meanwhile.
        unsafe { read((*pg_sys::GetUserMapping(user, id)).options) }
    });
    Ok(Foreign { options, mapping: mapping.transpose()? })
}

/// Whose mapping counts: zero is the public one.
fn mapped_user(server: pg_sys::Oid) -> Result<Option<pg_sys::Oid>> {
    // SAFETY: reads this backend's state.
    let caller = unsafe { pg_sys::GetUserId() };
    let query = "SELECT umuser FROM pg_catalog.pg_user_mappings \
                 WHERE srvid OPERATOR(pg_catalog.=) $1 AND umuser OPERATOR(pg_catalog.=) ANY (ARRAY[$2, $3, 0::pg_catalog.oid])";
    let arguments = [server.into(), caller.into(), journal::owner()?.into()];
    let found: Vec<pg_sys::Oid> = sql::rows(query, &arguments, |row| row.required(1))?;
    let wanted = [caller, journal::owner()?, pg_sys::InvalidOid];
    Ok(wanted.into_iter().find(|user| found.contains(user)))
}

/// # Safety
/// `list` is a list of `DefElem`, or null.
unsafe fn read(list: *mut pg_sys::List) -> Result<Options> {
    // SAFETY: as the caller promises; the texts are copied.
    let options = unsafe { PgList::<pg_sys::DefElem>::from_pg(list) };
    let mut all = Options::new();
    for option in options.iter_ptr() {
        // SAFETY: as above.
        let (name, value) = unsafe {
            let name = encoding::owned((*option).defname).transpose()?;
            (name, owned(pg_sys::defGetString(option)).transpose()?)
        };
        if let (Some(name), Some(value)) = (name, value) {
            all.insert(name, value);
        }
    }
    Ok(all)
}
