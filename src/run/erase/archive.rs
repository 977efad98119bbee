//! Erasing from agent_training_archive: rows archived from the tables, and rows of its own that name the person. Captured
//! changes, which show in it too, are the log's.

use agent_backup_core::codec::subject::{Step, Subject};

use crate::error::Result;
use crate::journal_archive;
use crate::run::erase::act::{Acting, Place};
use crate::run::erase::targets::{self, Targets};

/// Counts the rows, and erases them if an erasure is under way.
pub fn run(targets: &Targets, acting: Option<&Acting>) -> Result<Vec<Place>> {
    let Some(archive) = journal_archive::find("UTC")? else { return Ok(Vec::new()) };
    let own = archive.name();
    let mut conditions = Vec::new();
    for target in &targets.targets {
        for subject in &target.subjects {
            if target.table == own {
                conditions.push(format!("{} = $1", targets::sql(subject, &crate::ident::quote(&subject.column))));
                continue;
            }
            let mut steps = vec![Step::Key(subject.column.clone())];
            steps.extend(subject.steps.iter().cloned());
            let of_row = Subject { column: "data".into(), steps };
            let names =
                [archive_name(&target.table), target.table.qualified()].map(|name| crate::ident::literal(&name));
            let is_it = format!("{} = $1", targets::sql(&of_row, "data"));
            conditions.push(format!("(original_table IN ({}) AND {is_it})", names.join(", ")));
        }
    }
    let condition = conditions.join(" OR ");
    let value = String::from_utf8_lossy(&targets.value).into_owned();
    let rows = match acting {
        None => archive.count(&condition, &value)?,
        Some(_) => archive.erase(&condition, &value)?,
    };
    let action = match (rows, acting) {
        (0, _) => "nothing",
        (_, None) => "found",
        (_, Some(_)) => "erased",
    };
    Ok(vec![Place::new("archive", own.display(), rows, action)])
}

/// The name that a table has in the archive.
fn archive_name(table: &crate::ident::TableName) -> String {
    if table.schema == "public" { table.name.clone() } else { format!("{}.{}", table.schema, table.name) }
}
