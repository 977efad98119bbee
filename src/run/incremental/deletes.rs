//! Rows of the newest backup that are gone from the live table.

use std::rc::Rc;

use crate::error::{Error, Result};
use crate::run::compare::{self, Change, Difference};
use crate::run::diff;
use crate::run::incremental::keys::KeyReader;
use crate::run::sides::{self, Side};
use crate::run::source::{self, Source};
use crate::table::catalog::Table;

/// The newest complete backup of the set; why there is none to compare with.
pub fn newest(set: &str) -> Result<std::result::Result<Rc<Source>, String>> {
    match source::find(source::LATEST, set) {
        Ok(source) => Ok(Ok(Rc::new(source))),
        Err(error @ (Error::NoBackup { .. } | Error::Damaged { .. } | Error::Swapped { .. } | Error::Store(_))) => {
            Ok(Err(error.to_string()))
        }
        Err(error) => Err(error),
    }
}

/// The keys that are in the backup and not in the locked table under the active snapshot; or why they cannot be told.
pub fn gone(table: &Table, source: &Rc<Source>) -> Result<std::result::Result<Vec<String>, String>> {
    let saved = source.members().find(|(_, member)| source::name_of(member) == table.name);
    let Some((number, _)) = saved else {
        return Ok(Err(format!("backup \"{}\" does not hold it", source.id())));
    };
    if let Err(error @ Error::NotRestorable { .. }) = source.csv(number) {
        return Ok(Err(error.to_string()));
    }
    let (live, filter) = diff::live(table.oid, Some((source, number)))?;
    if let Some(reason) = filter {
        return Ok(Err(format!("the backup's row filter cannot be applied: {reason}")));
    }
    let saved = Side::Backup { source: Rc::clone(source), number };
    let matched = sides::matched(&saved, &live)?;
    if matched.key.is_empty() {
        return Ok(Err("it has no primary key that the backup has, too".into()));
    }
    let names: Vec<String> = matched.common.iter().map(|common| common.name.clone()).collect();
    let key: Vec<String> = matched.key.iter().map(|&place| names[place].clone()).collect();
    let (mut reader, mut gone) = (KeyReader::new(&names, &key), Vec::new());
    compare::sides((&saved, &live), &matched, &mut |difference: Difference| {
        if let (Change::Missing, Some(row)) = (difference.change(), &difference.left) {
            let key = reader.key(&row.compared)?.unwrap_or_default();
            gone.push(String::from_utf8_lossy(&key).into_owned());
        }
        Ok(())
    })?;
    Ok(Ok(gone))
}
