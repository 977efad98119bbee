//! What a restore will do, as plain data: the plan is the dry run, what is confirmed, and the report.

use agent_backup_core::container::manifest::{ColumnInfo, Member};
use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::ident::{self, TableName};
use crate::run::restore::live;
use crate::run::source::{self, Source};
use crate::server::pin::Pinned;
use crate::server::privilege;
use crate::table::catalog::{self, Kind, Table};
use crate::table::stage::Way;

/// What becomes of the rows that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They go; the backup's rows stand in their place.
    Replace,
    /// Rows of the backup overwrite those of the same key; others stay.
    Merge,
    /// Only rows whose key is not there come back.
    MissingOnly,
}

impl Mode {
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "replace" => Ok(Mode::Replace),
            "merge" => Ok(Mode::Merge),
            "missing_only" => Ok(Mode::MissingOnly),
            _ => Err(Error::InvalidOption {
                option: "mode",
                reason: format!("\"{text}\" is none of replace, merge, missing_only"),
            }),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Mode::Replace => "replace",
            Mode::Merge => "merge",
            Mode::MissingOnly => "missing_only",
        }
    }
}

/// What is to be restored.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub source: &'a Source,
    pub tables: Tables<'a>,
    pub mode: Mode,
    /// An SQL expression over the table's columns: rows for which it is not true are left as they are.
    pub where_clause: Option<&'a str>,
    /// Make tables that are not here by the statements in the backup.
    pub create_missing: bool,
    /// Save what is there before it is changed.
    pub safety_backup: bool,
    /// Also where columns of the backup are gone or have another type, or rows would lose values of newer columns.
    pub allow_drift: bool,
    /// Count what is there: a plan shows it, and so it is known what would be overwritten.
    pub count_rows: bool,
    /// Columns that tell the rows of a table without a primary key apart.
    pub told_by: &'a [String],
    /// Into a table that the extension made for the proof: nobody's rows are at stake.
    pub is_drill: bool,
}

/// Which tables.
#[derive(Clone, Copy)]
pub enum Tables<'a> {
    /// All that the backup holds.
    All,
    Some(&'a [String]),
    /// One, perhaps into a table of another name.
    One {
        table: &'a str,
        target: Option<&'a str>,
    },
}

/// One line of a plan or a report.
#[derive(Debug, Clone)]
pub struct Step {
    pub table: Option<String>,
    pub action: &'static str,
    pub rows: Option<i64>,
    pub status: Status,
    pub details: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Planned,
    Done,
    Warning,
    /// It cannot be done so, and nothing of the restore is.
    Blocked,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Status::Planned => "planned",
            Status::Done => "done",
            Status::Warning => "warning",
            Status::Blocked => "blocked",
        }
    }
}

/// One table of a restore.
pub struct Item {
    /// Its number among the backup's members.
    pub number: usize,
    pub target: TableName,
    /// None where it is not here yet.
    pub live: Option<Table>,
    /// Made by this restore.
    pub is_new: bool,
    pub way: Way,
    pub mapping: Mapping,
    pub live_rows: i64,
    /// Of those, the ones that the where clause names.
    pub meant_rows: Option<i64>,
    /// Why it cannot be restored so.
    pub blocked: Option<String>,
    /// What a person should know first.
    pub warnings: Vec<String>,
}

/// Which column of the backup goes where, by name.
#[derive(Debug, Clone, Default)]
pub struct Mapping {
    /// Numbers of the file's columns that are taken, and their names.
    pub taken: Vec<(usize, String)>,
    /// Columns in the file.
    pub in_file: usize,
    /// In the backup and not in the table.
    pub lost: Vec<String>,
    /// In the table and not in the backup.
    pub new: Vec<String>,
    /// With another type than then.
    pub retyped: Vec<String>,
}

impl Mapping {
    /// Matches by name. Generated columns are computed by the table.
    fn between(member: &Member, live: &Table) -> Self {
        let stored: Vec<&ColumnInfo> = member.columns.iter().filter(|column| !column.generated).collect();
        let mut mapping = Mapping { in_file: stored.len(), ..Mapping::default() };
        for (number, column) in stored.iter().enumerate() {
            match live.columns.iter().find(|here| here.name == column.name && !here.generated) {
                Some(here) => {
                    mapping.taken.push((number, column.name.clone()));
                    if here.type_name != column.r#type {
                        mapping
                            .retyped
                            .push(format!("{} ({} then, {} now)", column.name, column.r#type, here.type_name));
                    }
                }
                None => mapping.lost.push(column.name.clone()),
            }
        }
        let is_taken = |name: &str| mapping.taken.iter().any(|(_, taken)| taken == name);
        let new = live.columns.iter().filter(|column| !column.generated && !is_taken(&column.name));
        mapping.new = new.map(|column| column.name.clone()).collect();
        mapping
    }

    /// As it stands in the file, for a table that is made from the backup.
    fn whole(member: &Member) -> Self {
        let stored = member.columns.iter().filter(|column| !column.generated);
        let taken: Vec<_> = stored.enumerate().map(|(number, column)| (number, column.name.clone())).collect();
        Mapping { in_file: taken.len(), taken, ..Mapping::default() }
    }

    /// Whether a table with these columns has the very rows of the file, so that their digests can be compared.
    pub fn is_exact(&self) -> bool {
        self.lost.is_empty() && self.retyped.is_empty()
    }

    pub fn names(&self) -> Vec<String> {
        self.taken.iter().map(|(_, name)| name.clone()).collect()
    }
}

/// Looks at each table. Reads only. Errors: `NotInBackup`, `NotRestorable`, rights.
pub fn items(request: &Request) -> Result<Vec<Item>> {
    if matches!(request.tables, Tables::Some([])) {
        let reason = "it is empty; null means all of the backup".to_owned();
        return Err(Error::InvalidOption { option: "tables", reason });
    }
    let source = request.source;
    let mut items: Vec<Item> = Vec::new();
    let mut add = |number: usize, member: &Member, target: TableName| -> Result<()> {
        if !items.iter().any(|item| item.target == target) {
            items.push(item(request, number, member, target)?);
        }
        Ok(())
    };
    match request.tables {
        Tables::All => {
            for (number, member) in source.members() {
                add(number, member, source::name_of(member))?;
            }
        }
        Tables::Some(tables) => {
            for table in tables {
                let (number, member) = source.member(table)?;
                add(number, member, source::name_of(member))?;
            }
        }
        Tables::One { table, target } => {
            let (number, member) = source.member(table)?;
            let target = match target {
                Some(target) => ident::name_of(ident::resolve(target)?)?,
                None => source::name_of(member),
            };
            add(number, member, target)?;
        }
    }
    Ok(items)
}

fn item(request: &Request, number: usize, member: &Member, target: TableName) -> Result<Item> {
    let live = match ident::oid_of(&target) {
        Some(oid) if !crate::journal_archive::is_own_view(oid)? => Some(told_by(described(oid)?, request.told_by)),
        _ => None,
    };
    let mut item = Item {
        number,
        mapping: live.as_ref().map_or_else(|| Mapping::whole(member), |live| Mapping::between(member, live)),
        way: live.as_ref().map_or(Ok(Way::Swap), |live| way(request, live))?,
        target,
        live,
        is_new: false,
        live_rows: 0,
        meant_rows: None,
        blocked: None,
        warnings: Vec::new(),
    };
    let Some(live) = &item.live else {
        item.blocked = (!request.create_missing).then(|| {
            "it does not exist here; restore(…, create_missing => true) makes it by the statements in the backup"
                .to_owned()
        });
        if item.blocked.is_none() {
            request.source.csv(number)?;
        }
        return Ok(item);
    };
    if !request.is_drill {
        privilege::require_owner(live.owner, &item.target.display())?;
    }
    if live.kind == Kind::MaterializedView {
        return Ok(item);
    }
    request.source.csv(number)?;
    if !request.is_drill {
        privilege::require_reader(live.oid, &item.target.display())?;
    }
    if let Some(filter) = request.where_clause {
        live::check_filter(live, filter)?;
    }
    if request.count_rows {
        item.live_rows = live::count(live, None)?;
        item.meant_rows = request.where_clause.map(|filter| live::count(live, Some(filter))).transpose()?;
    }
    (item.blocked, item.warnings) = judge(request, member, &item, live)?;
    Ok(item)
}

/// With the key that its rows are told apart by.
pub fn told_by(table: Table, columns: &[String]) -> Table {
    if table.primary_key.is_empty() { Table { primary_key: columns.to_vec(), ..table } } else { table }
}

/// With its types named as a manifest names them.
pub fn described(oid: pg_sys::Oid) -> Result<Table> {
    let _formats = Pinned::formats()?;
    let gone = || Error::Internal { object: "table", reason: "it was dropped meanwhile".into() };
    catalog::describe(&[oid])?.pop().ok_or_else(gone)?
}

/// A whole table whose storage is its own is replaced as one; of all others the rows are.
fn way(request: &Request, live: &Table) -> Result<Way> {
    let whole = request.mode == Mode::Replace && request.where_clause.is_none() && live.kind == Kind::Table;
    Ok(if whole && !live::needs_rows(live.oid)? { Way::Swap } else { Way::Rows })
}

/// Why a table cannot be restored so, and what a person should know.
fn judge(request: &Request, member: &Member, item: &Item, live: &Table) -> Result<(Option<String>, Vec<String>)> {
    let (mut blocked, mut warnings) = (None, Vec::new());
    let replaces_rows = request.mode == Mode::Replace && item.live_rows > 0;
    let mut risk = |is_loss: bool, text: String| {
        if is_loss && blocked.is_none() { blocked = Some(text) } else { warnings.push(text) }
    };
    let list = |names: &[String]| names.join(", ");
    if item.mapping.taken.is_empty() && item.mapping.in_file > 0 {
        risk(true, "it has no column that the backup has".into());
    }
    if request.mode != Mode::Replace {
        let has = |key: &String| item.mapping.taken.iter().any(|(_, name)| name == key);
        if live.primary_key.is_empty() {
            risk(true, format!("it has no primary key, which mode {} matches rows by", request.mode.name()));
        } else if !live.primary_key.iter().all(has) {
            risk(true, format!("the backup lacks columns of its primary key ({})", list(&live.primary_key)));
        }
    }
    if let Some(filter) = &member.row_filter {
        risk(
            replaces_rows,
            format!("the backup holds only rows for which {filter}; mode merge or missing_only keeps the others"),
        );
    }
    let masked: Vec<String> = member.columns.iter().filter(|c| c.masked).map(|c| c.name.clone()).collect();
    if !masked.is_empty() {
        let loses = request.mode != Mode::MissingOnly && item.live_rows > 0;
        risk(
            loses,
            format!(
                "the backup holds masked values of {}; mode missing_only keeps the true ones that are here",
                list(&masked)
            ),
        );
    }
    if !member.excluded_columns.is_empty() {
        let text = format!(
            "the backup lacks {}, left out by its set; mode merge keeps the values that are here",
            list(&member.excluded_columns)
        );
        risk(replaces_rows, text);
    }
    let added: Vec<String> =
        item.mapping.new.iter().filter(|name| !member.excluded_columns.contains(name)).cloned().collect();
    let drifts = |loses: bool| loses && !request.allow_drift;
    let how = |loses: bool| if drifts(loses) { "; allow_drift => true does it" } else { "" };
    if !added.is_empty() {
        risk(
            drifts(replaces_rows),
            format!("columns that are newer than the backup get their default: {}{}", list(&added), how(replaces_rows)),
        );
    }
    if !item.mapping.lost.is_empty() {
        risk(
            drifts(true),
            format!(
                "columns of the backup that the table has no more are left out: {}{}",
                list(&item.mapping.lost),
                how(true)
            ),
        );
    }
    if !item.mapping.retyped.is_empty() {
        risk(
            drifts(true),
            format!("values are read anew by another type: {}{}", list(&item.mapping.retyped), how(true)),
        );
    }
    if item.way == Way::Rows && live::has_rules(live.oid)? {
        risk(true, "rules rewrite what is written to it".into());
    }
    if let Some(text) = live::elsewhere(live)? {
        risk(false, text);
    }
    Ok((blocked, warnings))
}
