//! The rows that differ as people and programs read them.

use agent_backup_core::codec::{CsvFields, NotCsv, Shown, json_object};

use crate::error::{Error, Result};
use crate::run::compare::{Change, Difference, RowText};
use crate::run::sides::Matched;

/// A difference as JSON, in UTF-8.
pub struct Told {
    pub change: Change,
    /// None where the rows have no key.
    pub key: Option<Vec<u8>>,
    /// The columns that differ; none unless the row is on both sides.
    pub columns: Vec<String>,
    pub left: Option<Vec<u8>>,
    pub right: Option<Vec<u8>>,
}

/// Turns differences into JSON.
pub struct Teller<'a> {
    matched: &'a Matched,
    left: Reader,
    right: Reader,
}

impl<'a> Teller<'a> {
    pub fn new(matched: &'a Matched) -> Self {
        let common = |type_of: fn(&crate::run::sides::Common) -> &str| {
            let typed = matched.common.iter().map(|common| (common.name.clone(), Shown::of_type(type_of(common))));
            typed.collect::<Vec<_>>()
        };
        let left = Reader::new(common(|common| &common.left_type), &matched.left.rest_names);
        let right = Reader::new(common(|common| &common.right_type), &matched.right.rest_names);
        Teller { matched, left, right }
    }

    /// The whole difference.
    pub fn tell(&mut self, difference: &Difference) -> Result<Told> {
        let key = if self.matched.key.is_empty() { None } else { Some(self.key(difference)?) };
        let (left, right) = (self.left.object(&difference.left)?, self.right.object(&difference.right)?);
        let columns = match difference.change() {
            Change::Changed => self.changed(),
            Change::Missing | Change::Extra => Vec::new(),
        };
        Ok(Told { change: difference.change(), key, columns, left, right })
    }

    /// The key alone; where there is none, the compared columns.
    pub fn key(&mut self, difference: &Difference) -> Result<Vec<u8>> {
        let (reader, row) = match &difference.right {
            Some(row) => (&mut self.right, Some(row)),
            None => (&mut self.left, difference.left.as_ref()),
        };
        if let Some(row) = row {
            reader.read(row)?;
        }
        let all: Vec<usize> = (0..self.matched.common.len()).collect();
        let key = if self.matched.key.is_empty() { &all } else { &self.matched.key };
        let mut out = Vec::new();
        json_object(key.iter().map(|&place| reader.column(place)), &mut out);
        Ok(out)
    }

    /// Of the rows that both readers hold.
    fn changed(&self) -> Vec<String> {
        let common = self.matched.common.iter().enumerate();
        let differ = common.filter(|(place, _)| self.left.fields.get(*place) != self.right.fields.get(*place));
        differ.map(|(_, common)| common.name.clone()).collect()
    }
}

/// Reads the rows of one side: the compared columns, then its others.
struct Reader {
    names: Vec<(String, Shown)>,
    compared: usize,
    fields: CsvFields,
}

impl Reader {
    fn new(compared: Vec<(String, Shown)>, rest: &[(String, Shown)]) -> Self {
        let (count, mut names) = (compared.len(), compared);
        names.extend_from_slice(rest);
        Reader { names, compared: count, fields: CsvFields::default() }
    }

    fn read(&mut self, row: &RowText) -> Result<()> {
        self.fields.clear();
        if self.compared > 0 {
            self.fields.append(&row.compared).map_err(broken)?;
        }
        if self.names.len() > self.compared {
            self.fields.append(&row.rest).map_err(broken)?;
        }
        Ok(())
    }

    fn column(&self, place: usize) -> (&str, Shown, Option<&[u8]>) {
        let (name, shown) = &self.names[place];
        (name, *shown, self.fields.get(place))
    }

    fn object(&mut self, row: &Option<RowText>) -> Result<Option<Vec<u8>>> {
        let Some(row) = row else { return Ok(None) };
        self.read(row)?;
        let mut out = Vec::new();
        json_object((0..self.names.len()).map(|place| self.column(place)), &mut out);
        Ok(Some(out))
    }
}

fn broken(fault: NotCsv) -> Error {
    Error::Internal { object: "row", reason: fault.to_string() }
}

/// How many rows differ, and the first keys of each kind.
#[derive(Default)]
pub struct Counts {
    pub missing: Kind,
    pub extra: Kind,
    pub changed: Kind,
}

/// One kind of difference.
#[derive(Default)]
pub struct Kind {
    pub rows: u64,
    /// JSON objects, at most `KEYS`.
    pub keys: Vec<Vec<u8>>,
}

/// Keys that are named of each kind.
const KEYS: usize = 20;

impl Counts {
    pub fn add(&mut self, difference: &Difference, teller: &mut Teller) -> Result<()> {
        let kind = match difference.change() {
            Change::Missing => &mut self.missing,
            Change::Extra => &mut self.extra,
            Change::Changed => &mut self.changed,
        };
        kind.rows += 1;
        if kind.keys.len() < KEYS {
            kind.keys.push(teller.key(difference)?);
        }
        Ok(())
    }
}
