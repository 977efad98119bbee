//! Rows of the live tables: the application's, which deletes them itself. They are counted, so that nobody forgets them.

use crate::error::Result;
use crate::ident;
use crate::run::erase::act::Place;
use crate::run::erase::targets::{self, Targets};
use crate::run::restore::plan as restore_plan;
use crate::server::statement::Statement;
use crate::server::subtransaction::attempt;
use crate::server::{lock, privilege};
use crate::{journal, journal_archive};

const LEFT: &str = "live rows still there: the application deletes them; later backups would hold them again";

/// A row for each table that is here.
pub fn count(targets: &Targets) -> Result<Vec<Place>> {
    let archive = journal_archive::find("UTC")?.map(|archive| archive.name());
    let mut places = Vec::new();
    for target in targets.targets.iter().filter(|target| Some(&target.table) != archive.as_ref()) {
        let Some(oid) = ident::oid_of(&target.table) else { continue };
        let display = target.table.display();
        let counted = attempt(|| {
            lock::table_for_reading(oid, &display)?;
            privilege::require_reader(oid, &display)?;
            let live = restore_plan::described(oid)?;
            let value = ident::literal(&String::from_utf8_lossy(&targets.value));
            let is_it = |subject| {
                let column: &agent_backup_core::codec::subject::Subject = subject;
                let text = targets::sql(column, &ident::quote(&column.column));
                format!("({text}) COLLATE pg_catalog.\"C\" OPERATOR(pg_catalog.=) {value}")
            };
            let known = |name: &String| live.columns.iter().any(|column| column.name == *name);
            let conditions: Vec<String> =
                target.subjects.iter().filter(|subject| known(&subject.column)).map(is_it).collect();
            if conditions.is_empty() {
                return Ok(0);
            }
            let text = format!(
                "SELECT pg_catalog.count(*) FROM {} WHERE {}",
                target.table.qualified(),
                conditions.join(" OR ")
            );
            let rows = Statement::reading(&text, journal::owner()?, live.owner).rows()?;
            let count = rows.into_iter().flatten().next().flatten().and_then(|count| count.parse().ok());
            Ok(count.unwrap_or(0_u64))
        });
        places.push(match counted {
            Ok(0) => Place::new("live", display, 0, "nothing"),
            Ok(rows) => Place { details: LEFT.into(), ..Place::new("live", display, rows, "found") },
            // Its message may show the value.
            Err(failure) => Place::left("live", display, format!("it cannot be read (SQLSTATE {})", failure.code)),
        });
    }
    Ok(places)
}
