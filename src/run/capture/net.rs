//! What changes come to: of each key the row before all of them and after.

use std::collections::HashMap;
use std::rc::Rc;

use agent_backup_core::codec::change::Net;
use agent_backup_core::codec::{CsvFields, NotCsv, Projection};

use crate::error::{Error, Result};
use crate::ident;
use crate::journal;
use crate::journal_history::{self, Entry, Image, Selection, Shape};
use crate::table::catalog::{Table, TableColumn};

/// A key whose row is another one after the changes. Without a key, one row that went or came.
#[derive(Debug, Clone)]
pub struct NetChange {
    pub key: Option<Vec<u8>>,
    pub before: Option<Image>,
    pub after: Option<Image>,
    /// Changes that were not selected stand between those that were.
    pub is_broken: bool,
}

/// Tells of each key of a table that the selected entries changed in the end. Of a table with a key in bounded memory, of
/// one without in as much as its changed rows take.
/// Errors: `NotCovered` where rows of then and of now cannot be told to be the same.
pub fn of(live: &Table, selection: Selection, mut each: impl FnMut(NetChange) -> Result<()>) -> Result<()> {
    let mut rows = Counted::default();
    let mut current: Option<(Vec<u8>, Net<Image>)> = None;
    journal::as_owner(|| {
        journal_history::by_key(selection, |entry| {
            require_comparable(live, &entry)?;
            let Some(told) = entry.key else {
                rows.add(live, entry.before, -1)?;
                rows.add(live, entry.after, 1)?;
                return Ok(());
            };
            if current.as_ref().is_none_or(|(key, _)| *key != told) {
                finish(current.take(), &mut each)?;
            }
            let (_, net) = current.get_or_insert_with(|| (told, Net::default()));
            net.change(entry.before, entry.after);
            Ok(())
        })?;
        finish(current.take(), &mut each)
    })?;
    rows.tell(&mut each)
}

fn finish(changed: Option<(Vec<u8>, Net<Image>)>, each: &mut impl FnMut(NetChange) -> Result<()>) -> Result<()> {
    let Some((key, net)) = changed else { return Ok(()) };
    match net.sides() {
        None => Ok(()),
        Some(sides) => {
            let is_broken = sides.is_broken;
            each(NetChange { key: Some(key), before: sides.before, after: sides.after, is_broken })
        }
    }
}

/// Rows without a key, and how often each came more than it went.
#[derive(Default)]
struct Counted {
    rows: HashMap<Vec<u8>, i64>,
    /// The fields of all: the columns of the table, in its order.
    shape: Option<Rc<Shape>>,
}

impl Counted {
    fn add(&mut self, live: &Table, image: Option<Image>, by: i64) -> Result<()> {
        let Some(image) = image else { return Ok(()) };
        let own: Vec<_> = live.columns.iter().filter(|column| !column.generated).collect();
        let place = |column: &&TableColumn| {
            let place = image.shape.columns.iter().position(|name| *name == column.name)?;
            (image.shape.types.get(place) == Some(&column.type_name)).then_some(place)
        };
        let places: Option<Vec<usize>> = own.iter().map(place).collect();
        let Some(places) = places.filter(|places| places.len() == image.shape.columns.len()) else {
            return Err(not_covered(live, "it has no key, and its columns changed since"));
        };
        self.shape.get_or_insert_with(|| {
            let columns = own.iter().map(|column| column.name.clone()).collect();
            let types = own.iter().map(|column| column.type_name.clone()).collect();
            Rc::new(Shape { id: image.shape.id, columns, types, key: Vec::new() })
        });
        let mut row = Vec::new();
        let mut fields = CsvFields::default();
        let broken = |error: NotCsv| Error::Internal { object: "log of changes", reason: error.to_string() };
        fields.read(&image.row).map_err(broken)?;
        Projection::new(places).row(&fields, &mut row);
        *self.rows.entry(row).or_insert(0) += by;
        Ok(())
    }

    fn tell(self, each: &mut impl FnMut(NetChange) -> Result<()>) -> Result<()> {
        let Some(shape) = self.shape else { return Ok(()) };
        for (row, number) in self.rows {
            for _ in 0..number.unsigned_abs() {
                let image = Some(Image { shape: Rc::clone(&shape), row: row.clone() });
                let (before, after) = if number < 0 { (image, None) } else { (None, image) };
                each(NetChange { key: None, before, after, is_broken: false })?;
            }
        }
        Ok(())
    }
}

/// The entry has its image, and the key that it is told by is the table's.
fn require_comparable(live: &Table, entry: &Entry) -> Result<()> {
    let Some(image) = entry.before.as_ref().or(entry.after.as_ref()) else {
        return Err(not_covered(live, &format!("the image of change {} was erased", entry.seq)));
    };
    if image.shape.key == live.primary_key {
        return Ok(());
    }
    Err(not_covered(live, "its primary key changed since"))
}

fn not_covered(live: &Table, reason: &str) -> Error {
    let table = live.name.display();
    let hint =
        format!("Restore a backup of about that time: agent_backup.recovery_points({}).", ident::literal(&table));
    Error::NotCovered { table, reason: reason.to_owned(), hint }
}
