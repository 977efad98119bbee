//! What became of each member of a set.

use std::time::Duration;

use agent_backup_core::container::manifest::{ColumnInfo, Member as ManifestMember, MemberStatus};

use pgrx::pg_sys;

use crate::ident::TableName;
use crate::journal_archive;
use crate::table::catalog::Table;
use crate::table::select::Selection;

/// One member: its name, and how far it came.
pub struct Outcome {
    pub table: TableName,
    pub selection: Selection,
    pub state: State,
    pub took: Duration,
}

/// How far a member came.
pub enum State {
    /// It does not exist here.
    Absent,
    /// It is the view that the extension made in its place.
    OwnView,
    /// It could not be read, and why.
    Failed(String),
    /// It is in the backup: with bytes of text, and as stored.
    Done { described: Box<Table>, rows: u64, plain: u64, stored: u64 },
}

impl Outcome {
    pub fn status(&self) -> &'static str {
        match self.state {
            State::Absent | State::OwnView => "absent",
            State::Failed(_) => "failed",
            State::Done { .. } => "ok",
        }
    }

    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done { .. })
    }

    /// Of a member that is in the backup.
    pub fn oid(&self) -> Option<pg_sys::Oid> {
        match &self.state {
            State::Done { described, .. } => Some(described.oid),
            State::Absent | State::OwnView | State::Failed(_) => None,
        }
    }

    pub fn error(&self) -> Option<&str> {
        match &self.state {
            State::Failed(reason) => Some(reason),
            State::Absent | State::OwnView | State::Done { .. } => None,
        }
    }

    /// Why it is not in the backup, if there is more to say than that it is absent.
    pub fn reason(&self) -> Option<&str> {
        match self.state {
            State::OwnView => Some(journal_archive::OWN_VIEW),
            _ => self.error(),
        }
    }

    /// The member as a manifest tells of it.
    pub fn to_manifest(&self) -> ManifestMember {
        let (described, rows) = match &self.state {
            State::Done { described, rows, .. } => (Some(described), *rows),
            State::Absent | State::OwnView | State::Failed(_) => (None, 0),
        };
        ManifestMember {
            schema: self.table.schema.clone(),
            name: self.table.name.clone(),
            display: self.table.qualified(),
            relation_kind: described.map_or('-', |table| table.kind.relkind()),
            status: match self.state {
                State::Absent | State::OwnView => MemberStatus::Absent,
                State::Failed(_) => MemberStatus::Failed,
                State::Done { .. } => MemberStatus::Ok,
            },
            error: self.error().map(str::to_owned),
            rows,
            columns: described.map(|table| self.columns(table)).unwrap_or_default(),
            excluded_columns: self.selection.excluded.clone(),
            row_filter: self.selection.filter.clone(),
            primary_key: described.map(|table| table.primary_key.clone()).unwrap_or_default(),
            ddl_sha256: None,
            sequences: Vec::new(),
        }
    }

    fn columns(&self, table: &Table) -> Vec<ColumnInfo> {
        columns(table, &self.selection)
    }
}

/// The columns of a table that a selection leaves, as a manifest tells of them.
pub fn columns(table: &Table, selection: &Selection) -> Vec<ColumnInfo> {
    let masked = |name: &str| selection.masked.iter().any(|(column, _)| column == name);
    let kept = table.columns.iter().filter(|column| !selection.excluded.contains(&column.name));
    kept.map(|column| ColumnInfo {
        name: column.name.clone(),
        r#type: column.type_name.clone(),
        generated: column.generated,
        not_null: column.not_null,
        masked: masked(&column.name),
        collation: None,
    })
    .collect()
}

/// Why a member failed is told by the server, with what it read: a manifest that anybody can read leaves it out of a backup
/// that nobody can.
const FAILED: &str = "it failed while it was read; the server that made the backup has the reason in its log";

/// Leaves out of a manifest why members failed.
pub fn withhold_errors(members: &mut [ManifestMember]) {
    members.iter_mut().filter_map(|member| member.error.as_mut()).for_each(|error| *error = FAILED.to_owned());
}
