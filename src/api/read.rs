//! `read_backup`.

use pgrx::pg_sys;

use crate::api::argument::required;
use crate::error::{Error, Result};
use crate::ident;
use crate::run::audit::{self, Act};
use crate::run::read::{self, Request};
use crate::server::results::Results;
use crate::server::text::Text;

crate::set_returning!(agent_backup_read_backup, pg_finfo_agent_backup_read_backup, read_backup);

/// Gives a table's rows in a backup as rows, to look at or to join with the live table.
///
/// `SELECT * FROM agent_backup.read_backup(NULL::agent_approvals);`
///
/// `row_type`: a null of the type of the rows; `backup`: `latest`, an id or a path; `table_name`: the table in the
/// backup, where it is not the one that the type is of; `set_name`: the set whose latest backup is meant. Columns are
/// matched by name and read from their text: one that the backup has not is null (a NOTICE names it), one that the type
/// has not is left out, a generated one is computed from the row. Only that table's entry is read, and nothing comes
/// out unless all its rows fit the manifest's digest.
///
/// Errors: 42501 without the right to read backups or all rows of the table, 42704 for an unknown backup or a table that
/// is not in it, 42804 when `row_type` is no row type, XX001 for a damaged file; a text that the type refuses is the
/// server's own error, its context names row and column.
unsafe fn read_backup(call: pg_sys::FunctionCallInfo) -> Result<()> {
    // SAFETY: the server calls it with the four arguments that sql/55_compare.sql declares.
    unsafe {
        let argument = |number| pgrx::pg_getarg::<Text>(call, number);
        let (backup, table, set) = (argument(1), argument(2), argument(3));
        let row_type = pg_sys::get_fn_expr_argtype((*call).flinfo, 0);
        let set = required(set, "set_name")?;
        let backup = required(backup, "backup")?;
        if row_type == pg_sys::InvalidOid {
            return Err(Error::NotARowType { name: "unknown".into() });
        }
        let shown = table_of(row_type);
        let request = Request { row_type, backup: &backup, table: table.as_deref(), set: &set };
        let act = Act::new("read_backup").on(table.as_deref().or(shown.as_deref())).of(Some(&set));
        audit::act(act, || {
            audit::note("backup", &*backup);
            read::run(&request, |description| Results::start(call, description))
        })
    }
}

/// The table that the type is of, for a person.
pub fn table_of(row_type: pg_sys::Oid) -> Option<String> {
    let relation = read::relation_of(row_type).ok()?;
    Some(ident::name_of(relation).ok()?.display())
}
