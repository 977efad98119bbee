//! Primary keys as texts: of one column its text, of several a line of CSV in the order of the key.

use agent_backup_core::codec::{CsvFields, Projection};

use crate::error::{Error, Result};
use crate::ident;
use crate::table::catalog::{Table, TableColumn};
use crate::table::select::Selection;

/// The columns that name a row: those of the primary key, or else one called `id`; none where the set hides one.
pub fn columns(table: &Table, selection: &Selection) -> Vec<String> {
    let columns: Vec<String> = match table.primary_key.as_slice() {
        [] => table.columns.iter().filter(|column| column.name == "id").map(|column| column.name.clone()).collect(),
        key => key.to_vec(),
    };
    if columns.iter().any(|column| selection.excluded.contains(column)) { Vec::new() } else { columns }
}

/// Whether the set shows the primary key as it is: else no key may be told that does not come from a row of the set.
pub fn are_shown(table: &Table, selection: &Selection) -> bool {
    let is_hidden = |column: &String| {
        selection.excluded.contains(column) || selection.masked.iter().any(|(masked, _)| masked == column)
    };
    !table.primary_key.is_empty() && !table.primary_key.iter().any(is_hidden)
}

/// Reads keys out of lines of CSV.
pub struct KeyReader {
    /// Places of the key's columns among the fields.
    places: Vec<usize>,
    fields: CsvFields,
}

impl KeyReader {
    /// Of lines with the fields `columns`.
    pub fn new(columns: &[String], key: &[String]) -> Self {
        let places = key.iter().filter_map(|name| columns.iter().position(|column| column == name)).collect();
        KeyReader { places, fields: CsvFields::default() }
    }

    /// The key; none where it is null.
    pub fn key(&mut self, line: &[u8]) -> Result<Option<Vec<u8>>> {
        self.fields.read(line).map_err(|fault| Error::Internal { object: "row", reason: fault.to_string() })?;
        match self.places.as_slice() {
            [] => Ok(None),
            [place] => Ok(self.fields.get(*place).map(<[u8]>::to_vec)),
            places => {
                let mut key = Vec::new();
                Projection::new(places.to_vec()).row(&self.fields, &mut key);
                Ok(Some(key))
            }
        }
    }
}

/// The condition that finds the rows with these primary keys; none where it cannot be written.
pub fn condition(table: &Table, keys: &[String]) -> Result<Option<String>> {
    if keys.is_empty() {
        return Ok(Some("false".into()));
    }
    let of = |name: &String| table.columns.iter().find(|column| column.name == *name);
    let columns: Vec<&TableColumn> = table.primary_key.iter().filter_map(of).collect();
    // The elements of an array of arrays would be taken for one longer array.
    if columns.len() != table.primary_key.len() || columns.iter().any(|column| column.type_name.ends_with("[]")) {
        return Ok(None);
    }
    let mut values = vec![String::from("{"); columns.len()];
    let mut fields = CsvFields::default();
    for (number, key) in keys.iter().enumerate() {
        let parts: Vec<String> = if columns.len() == 1 {
            vec![key.clone()]
        } else {
            let broken = |reason: String| Error::Internal { object: "key in the log", reason };
            fields.read(key.as_bytes()).map_err(|fault| broken(fault.to_string()))?;
            let part = |place| fields.get(place).map(|part| String::from_utf8_lossy(part).into_owned());
            let parts: Option<Vec<String>> = (0..columns.len()).map(part).collect();
            parts.filter(|_| fields.len() == columns.len()).ok_or_else(|| broken("it has other columns".into()))?
        };
        for (list, part) in values.iter_mut().zip(parts) {
            list.push_str(if number == 0 { "\"" } else { ",\"" });
            list.push_str(&part.replace('\\', "\\\\").replace('"', "\\\""));
            list.push('"');
        }
    }
    let lists = values.iter().zip(&columns).map(|(list, column)| {
        format!("pg_catalog.unnest(CAST({} AS {}[]))", ident::literal(&format!("{list}}}")), column.type_name)
    });
    let lists = lists.collect::<Vec<_>>().join(", ");
    let names = columns.iter().map(|column| ident::quote(&column.name)).collect::<Vec<_>>().join(", ");
    let numbered: Vec<String> = (1..=columns.len()).map(|number| format!("k{number}")).collect();
    let selected = numbered.iter().map(|name| format!("wanted.{name}")).collect::<Vec<_>>().join(", ");
    Ok(Some(format!("({names}) IN (SELECT {selected} FROM ROWS FROM ({lists}) AS wanted({}))", numbered.join(", "))))
}
