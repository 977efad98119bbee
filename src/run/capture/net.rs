//! What changes come to: of each key the row before all of them and after.

use std::collections::HashMap;

use agent_backup_core::codec::change::Net;

use crate::error::{Error, Result};
use crate::journal;
use crate::journal_history::{self, Entry, Image, Selection};

/// A key whose row is another one after the changes. Without a key, one row that went or came.
#[derive(Debug, Clone)]
pub struct NetChange {
    pub key: Option<Vec<u8>>,
    pub before: Option<Image>,
    pub after: Option<Image>,
}

/// Tells of each key that the selected entries changed in the end. Of a table with a key in bounded memory, of one without
/// in as much as its changed rows take.
pub fn of(selection: Selection, mut each: impl FnMut(NetChange) -> Result<()>) -> Result<()> {
    let mut rows: HashMap<(i64, Vec<u8>), (i64, Image)> = HashMap::new();
    let mut current: Option<(Vec<u8>, Net<Image>)> = None;
    journal::as_owner(|| {
        journal_history::by_key(selection, |entry| {
            require_images(&entry)?;
            let Some(told) = entry.key else {
                count(&mut rows, entry.before, -1);
                count(&mut rows, entry.after, 1);
                return Ok(());
            };
            if current.as_ref().is_none_or(|(key, _)| *key != told) {
                finish(current.take(), &mut each)?;
            }
            let (_, net) = current.get_or_insert_with(|| (told, Net::default()));
            entry.before.into_iter().for_each(|image| net.left(image));
            entry.after.into_iter().for_each(|image| net.came(image));
            Ok(())
        })?;
        finish(current.take(), &mut each)
    })?;
    for (number, image) in rows.into_values() {
        for _ in 0..number.unsigned_abs() {
            let image = Some(image.clone());
            let (before, after) = if number < 0 { (image, None) } else { (None, image) };
            each(NetChange { key: None, before, after })?;
        }
    }
    Ok(())
}

fn finish(changed: Option<(Vec<u8>, Net<Image>)>, each: &mut impl FnMut(NetChange) -> Result<()>) -> Result<()> {
    let Some((key, net)) = changed else { return Ok(()) };
    match net.sides() {
        None => Ok(()),
        Some(sides) => each(NetChange { key: Some(key), before: sides.before, after: sides.after }),
    }
}

fn count(rows: &mut HashMap<(i64, Vec<u8>), (i64, Image)>, image: Option<Image>, by: i64) {
    if let Some(image) = image {
        rows.entry((image.shape.id, image.row.clone())).or_insert((0, image)).0 += by;
    }
}

/// An entry whose image was erased tells nothing of its row.
fn require_images(entry: &Entry) -> Result<()> {
    if entry.before.is_none() && entry.after.is_none() {
        let reason = format!("the image of change {} was erased", entry.seq);
        return Err(Error::Internal { object: "log of changes", reason });
    }
    Ok(())
}
