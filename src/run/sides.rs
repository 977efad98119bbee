//! The two sides of a comparison, each a live table or a table in a backup, and which of their columns are compared.

use std::rc::Rc;

use agent_backup_core::codec::{Projection, Shown};
use agent_backup_core::container::manifest::Member;

use crate::error::{Error, Result};
use crate::journal;
use crate::run::read;
use crate::run::source::{self, Source};
use crate::server::privilege;
use crate::table::catalog::Table;
use crate::table::select::Selection;

/// What is compared with another.
pub enum Side {
    /// A table that is locked and described, and which of its rows count.
    Table { table: Box<Table>, selection: Selection },
    /// Member `number` of an open backup.
    Backup { source: Rc<Source>, number: usize },
}

/// A column of one side.
#[derive(Debug, Clone)]
struct SideColumn {
    name: String,
    /// As `format_type` writes it; empty where it is not known.
    of_type: String,
    held: Held,
}

/// Whether a side has the values of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Yes,
    Masked,
    Excluded,
    Generated,
}

/// A column that both sides have.
#[derive(Debug, Clone)]
pub struct Common {
    pub name: String,
    pub left_type: String,
    pub right_type: String,
}

/// A column, or something else, in which the sides differ before any row is looked at.
#[derive(Debug, Clone)]
pub struct Remark {
    pub column: String,
    /// Its type there; none where the side has no such column.
    pub left: Option<String>,
    pub right: Option<String>,
    /// What that means for the comparison.
    pub why: &'static str,
}

/// The columns that are compared, and where each side has them.
pub struct Matched {
    pub common: Vec<Common>,
    /// Places in `common` of the key's columns; none where rows are told apart as wholes.
    pub key: Vec<usize>,
    pub remarks: Vec<Remark>,
    pub left: Shape,
    pub right: Shape,
}

/// How a row of one side's CSV is read.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Fields of a row.
    pub width: usize,
    pub compared: Projection,
    /// Places of the key among the fields.
    pub key: Projection,
    /// What is only shown, with names and types.
    pub rest: Projection,
    pub rest_names: Vec<(String, Shown)>,
}

impl Side {
    fn columns(&self) -> Result<Vec<SideColumn>> {
        Ok(match self {
            Side::Table { table, .. } => {
                let of = |column: &crate::table::catalog::TableColumn| SideColumn {
                    name: column.name.clone(),
                    of_type: column.type_name.clone(),
                    held: Held::Yes,
                };
                table.columns.iter().map(of).collect()
            }
            Side::Backup { .. } => {
                let member = self.member()?;
                let of = |column: &agent_backup_core::container::manifest::ColumnInfo| SideColumn {
                    name: column.name.clone(),
                    of_type: column.r#type.clone(),
                    held: match (column.generated, column.masked) {
                        (true, _) => Held::Generated,
                        (false, true) => Held::Masked,
                        (false, false) => Held::Yes,
                    },
                };
                let excluded = member.excluded_columns.iter().map(|name| SideColumn {
                    name: name.clone(),
                    of_type: String::new(),
                    held: Held::Excluded,
                });
                member.columns.iter().map(of).chain(excluded).collect()
            }
        })
    }

    fn primary_key(&self) -> Result<&[String]> {
        Ok(match self {
            Side::Table { table, .. } => &table.primary_key,
            Side::Backup { .. } => &self.member()?.primary_key,
        })
    }

    fn member(&self) -> Result<&Member> {
        let Side::Backup { source, number } = self else {
            return Err(Error::Internal { object: "comparison", reason: "a table is no backup".into() });
        };
        let missing = || Error::Internal { object: "manifest", reason: format!("it has no member {number}") };
        source.manifest().members.get(*number).ok_or_else(missing)
    }

    /// The fields of a row of the side's CSV: of a backup all that it holds, of a table those that are compared.
    fn fields(&self, common: &[Common]) -> Result<Vec<(String, String)>> {
        Ok(match self {
            Side::Table { table, .. } => {
                let compared = |name: &str| common.iter().any(|common| common.name == name);
                let columns = table.columns.iter().filter(|column| compared(&column.name));
                columns.map(|column| (column.name.clone(), column.type_name.clone())).collect()
            }
            Side::Backup { .. } => {
                read::held(self.member()?).map(|column| (column.name.clone(), column.r#type.clone())).collect()
            }
        })
    }

    fn shape(&self, common: &[Common], key: &[usize]) -> Result<Shape> {
        let fields = self.fields(common)?;
        let places = common.iter().filter_map(|common| fields.iter().position(|(name, _)| *name == common.name));
        let places: Vec<usize> = places.collect();
        let rest: Vec<usize> = (0..fields.len()).filter(|place| !places.contains(place)).collect();
        let rest_names = rest.iter().map(|&place| (fields[place].0.clone(), Shown::of_type(&fields[place].1)));
        Ok(Shape {
            width: fields.len(),
            rest_names: rest_names.collect(),
            key: Projection::new(key.iter().map(|&at| places[at]).collect()),
            rest: Projection::new(rest),
            compared: Projection::new(places),
        })
    }
}

/// Matches the columns of two sides by name, in the order of the right one.
pub fn matched(left: &Side, right: &Side) -> Result<Matched> {
    let (left_columns, right_columns) = (left.columns()?, right.columns()?);
    let (mut common, mut remarks) = (Vec::new(), Vec::new());
    let names = right_columns.iter().map(|column| &column.name);
    let only_left = left_columns.iter().map(|column| &column.name);
    let only_left = only_left.filter(|name| right_columns.iter().all(|column| column.name != **name));
    for name in names.chain(only_left) {
        let find = |columns: &[SideColumn]| columns.iter().find(|column| column.name == *name).cloned();
        let (left, right) = (find(&left_columns), find(&right_columns));
        if let (Some(left), Some(right)) = (&left, &right)
            && (left.held, right.held) == (Held::Yes, Held::Yes)
        {
            let (left_type, right_type) = (left.of_type.clone(), right.of_type.clone());
            common.push(Common { name: name.clone(), left_type, right_type });
        }
        remarks.extend(remark(name, left, right));
    }
    let key = key_of(&common, [right.primary_key()?, left.primary_key()?]);
    let (left, right) = (left.shape(&common, &key)?, right.shape(&common, &key)?);
    Ok(Matched { common, key, remarks, left, right })
}

fn remark(name: &str, left: Option<SideColumn>, right: Option<SideColumn>) -> Option<Remark> {
    let held = |wanted| [&left, &right].into_iter().flatten().any(|column| column.held == wanted);
    let why = match (&left, &right) {
        _ if held(Held::Excluded) => "excluded from the backup",
        _ if held(Held::Masked) => "masked in the backup",
        (None, _) | (_, None) => "on one side only",
        _ if held(Held::Generated) => "generated, so not in the backup",
        (Some(left), Some(right)) if left.of_type != right.of_type => "compared as text",
        _ => return None,
    };
    let type_of = |side: Option<SideColumn>| Some(side?.of_type).filter(|of_type| !of_type.is_empty());
    Some(Remark { column: name.to_owned(), left: type_of(left), right: type_of(right), why })
}

/// The first of the primary keys whose columns are all compared.
fn key_of(common: &[Common], keys: [&[String]; 2]) -> Vec<usize> {
    let places = |key: &[String]| -> Option<Vec<usize>> {
        key.iter().map(|name| common.iter().position(|common| common.name == *name)).collect()
    };
    keys.into_iter().filter(|key| !key.is_empty()).find_map(places).unwrap_or_default()
}

/// What becomes of the row filter of a backed-up table on the side of the live one.
pub enum Filter {
    None,
    /// The live rows are filtered the same way.
    Applied(Selection),
    /// They are not, and why.
    Unknown(String),
}

/// The filter comes from the set as it is now, never from the file, and only where whoever gave it still may.
pub fn filter(source: &Source, number: usize, table: &Table) -> Result<Filter> {
    let saved = source.manifest().members.get(number);
    let Some(text) = saved.and_then(|member| member.row_filter.clone()) else { return Ok(Filter::None) };
    let members = match journal::set(&source.manifest().set_name) {
        Ok(set) => set.members,
        Err(Error::UnknownSet { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    let wanted = saved.map(source::name_of);
    let known = members.into_iter().find(|member| Some(&member.table) == wanted.as_ref());
    let Some((member, role)) = known.and_then(|member| member.defined_by.clone().map(|role| (member, role))) else {
        return Ok(Filter::Unknown("the set has no such member any more".into()));
    };
    if member.row_filter.as_ref() != Some(&text) || member.table != table.name {
        return Ok(Filter::Unknown("the set has another filter by now".into()));
    }
    match privilege::require_still_definer(&role, table.owner, &table.name.display()) {
        Ok(()) => Ok(Filter::Applied(Selection { filter: Some(text), defined_by: Some(role), ..Selection::default() })),
        Err(error) => Ok(Filter::Unknown(error.to_string())),
    }
}
