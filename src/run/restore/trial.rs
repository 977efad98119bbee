//! A restore for the proof: a table like the live one in a scratch schema takes the rows by the very steps of a restore,
//! with its keys, indexes and checks. The live table is only looked at.

use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::ident::{self, TableName};
use crate::journal;
use crate::run::restore::plan::{self, Mode, Request, Step, Tables};
use crate::run::restore::restore_table;
use crate::run::source::Source;
use crate::server::snapshot::Snapshot;
use crate::server::sql;
use crate::server::user::{ActingAs, Restriction};
use crate::table::catalog::Table;

/// A live table and its copy.
pub struct Copy {
    pub live: Table,
    pub target: TableName,
    pub oid: pg_sys::Oid,
}

impl Copy {
    /// An empty table like `live`, made as its owner: what is evaluated on the way is theirs.
    pub fn make(live: Table, target: TableName) -> Result<Self> {
        let owner = ident::quote(&ident::role_name(live.owner)?);
        journal::as_owner(|| {
            let grant = format!("GRANT USAGE, CREATE ON SCHEMA {} TO {owner}", ident::quote(&target.schema));
            sql::execute(&grant, &[]).map(drop)
        })?;
        {
            let _owner = ActingAs::user(live.owner, Restriction::SecurityRestricted);
            let create = format!("CREATE TABLE {} (LIKE {} INCLUDING ALL)", target.qualified(), live.name.qualified());
            sql::execute(&create, &[])?;
        }
        let missing = Error::Internal { object: "scratch table", reason: "it was not made".into() };
        let oid = ident::oid_of(&target).ok_or(missing)?;
        Ok(Copy { live, target, oid })
    }

    /// Restores the live table's rows into the copy.
    pub fn fill(&self, source: &Source) -> Result<Vec<Step>> {
        let (live, target) = (self.live.name.qualified(), self.target.qualified());
        let request = Request {
            source,
            tables: Tables::One { table: &live, target: Some(&target) },
            mode: Mode::Replace,
            where_clause: None,
            create_missing: false,
            safety_backup: false,
            allow_drift: true,
            count_rows: false,
            told_by: &[],
            is_drill: true,
        };
        let _snapshot = Snapshot::push()?;
        let vanished = Error::Internal { object: "scratch table", reason: "it vanished".into() };
        let item = plan::items(&request)?.pop().ok_or(vanished)?;
        if let Some(reason) = item.blocked {
            return Err(Error::RestoreBlocked { table: self.live.name.display(), reason });
        }
        restore_table(&request, &item)
    }
}
