//! What names the person: the subjects that are looked for, and in which tables.

use std::collections::BTreeSet;

use agent_backup_core::codec::subject::Subject;
use agent_backup_core::container::manifest::Member;
use agent_backup_core::container::search::Look;
use agent_backup_core::container::tombstone::Grave;

use agent_backup_core::stream::sha256_hex;
use pgrx::pg_sys;

use crate::error::{EraseError, Error, Result};
use crate::ident::{self, TableName};
use crate::run::{read, source};
use crate::{journal, journal_archive, journal_erasures, server};

/// What names a person in one table.
#[derive(Debug, Clone)]
pub struct Target {
    pub table: TableName,
    pub subjects: Vec<Subject>,
}

/// The value, and what it is looked for in.
pub struct Targets {
    pub targets: Vec<Target>,
    /// In the encoding of files.
    pub value: Vec<u8>,
}

/// Reads a column or path. Errors: `NotASubject`.
pub fn parse(text: &str) -> Result<Subject> {
    let not = |reason: String| EraseError::NotASubject { subject: text.to_owned(), reason };
    Ok(Subject::parse(text).map_err(|error| not(error.to_string()))?)
}

impl Targets {
    /// Of a set: one column or path in all tables that have it, or what each table of the set is configured with.
    /// Errors: `UnknownSet`, `NotASubject`, `NoSubjects`, `NoSuchColumn`.
    pub fn find(set: &str, column_or_path: Option<&str>, value: &str) -> Result<Self> {
        journal::set(set)?;
        let tables = journal_erasures::tables(set)?;
        let given = column_or_path.map(parse).transpose()?;
        let mut targets = Vec::new();
        let mut columns = BTreeSet::new();
        for (table, configured) in tables {
            let subjects = match &given {
                Some(subject) => {
                    // A table that is gone may have the column in its backups.
                    let known = live_columns(&table)?;
                    columns.extend(known.iter().flatten().cloned());
                    let has = known.is_none_or(|known| known.contains(&subject.column));
                    if has { vec![subject.clone()] } else { Vec::new() }
                }
                None => configured.iter().map(|text| parse(text)).collect::<Result<_>>()?,
            };
            if !subjects.is_empty() {
                targets.push(Target { table, subjects });
            }
        }
        match (targets.is_empty(), given) {
            (false, _) => Ok(Targets { targets, value: value.as_bytes().to_vec() }),
            (true, None) => Err(EraseError::NoSubjects { set: set.to_owned() }.into()),
            (true, Some(subject)) => Err(EraseError::NoSuchColumn {
                set: set.to_owned(),
                near: ident::near(&subject.column, columns),
                column: subject.column,
            }
            .into()),
        }
    }

    /// What names the person in a table.
    pub fn of(&self, table: &TableName) -> &[Subject] {
        self.targets.iter().find(|target| target.table == *table).map_or(&[], |target| &target.subjects)
    }

    /// How a member of a backup is looked through, and what of it cannot be.
    pub fn looks(&self, member: &Member) -> (Vec<Look>, Vec<String>) {
        let (mut looks, mut lacking) = (Vec::new(), Vec::new());
        for subject in self.of(&source::name_of(member)) {
            let column = member.columns.iter().find(|column| column.name == subject.column);
            match (column, read::held(member).position(|column| column.name == subject.column)) {
                (Some(column), Some(_)) if column.masked => {
                    lacking.push(format!("{subject} is masked: what it named was never in the file"));
                }
                (_, Some(place)) => looks.push(Look { subject: subject.clone(), place }),
                _ if member.excluded_columns.contains(&subject.column) => {
                    lacking.push(format!("{subject} is not in the file: rows without it cannot be told"));
                }
                _ => (),
            }
        }
        (looks, lacking)
    }

    /// For the log: subjects, each once.
    pub fn shown(&self) -> Vec<String> {
        let all: BTreeSet<String> =
            self.targets.iter().flat_map(|target| &target.subjects).map(ToString::to_string).collect();
        all.into_iter().collect()
    }

    pub fn graves(&self) -> Vec<Grave> {
        let grave = |target: &Target, subject: &Subject| Grave {
            schema: target.table.schema.clone(),
            name: target.table.name.clone(),
            subject: subject.to_string(),
        };
        self.targets.iter().flat_map(|target| target.subjects.iter().map(|subject| grave(target, subject))).collect()
    }
}

/// The columns of the table as it is here; none where it is gone.
fn live_columns(table: &TableName) -> Result<Option<Vec<String>>> {
    ident::oid_of(table).map(columns_of).transpose()
}

fn columns_of(relation: pg_sys::Oid) -> Result<Vec<String>> {
    let query = "SELECT attname::text FROM pg_catalog.pg_attribute WHERE attrelid OPERATOR(pg_catalog.=) $1 \
                 AND attnum OPERATOR(pg_catalog.>) 0 AND NOT attisdropped ORDER BY attnum";
    server::sql::rows(query, &[relation.into()], |row| row.required(1))
}

/// Refuses subjects of columns that a table has not; each as it is kept.
pub fn check(oid: pg_sys::Oid, subjects: &[String]) -> Result<Vec<String>> {
    let table = ident::name_of(oid)?;
    let columns = columns_of(oid)?;
    let check = |text: &String| {
        let mut subject = parse(text)?;
        if !columns.contains(&subject.column) {
            // As SQL would read it.
            subject.column = subject.column.to_lowercase();
        }
        if columns.contains(&subject.column) {
            return Ok(subject.to_string());
        }
        Err(Error::UnknownColumn {
            table: table.display(),
            near: ident::near(&subject.column, columns.iter().cloned()),
            column: subject.column,
        })
    };
    let checked: BTreeSet<String> = subjects.iter().map(check).collect::<Result<_>>()?;
    Ok(checked.into_iter().collect())
}

/// Makes the indexes by which a plain DELETE finds a person in our own archive. The application's own table is not touched.
pub fn index_archive(oid: pg_sys::Oid, subjects: &[String]) -> Result<()> {
    if journal_archive::own_view()? != Some(oid) {
        return Ok(());
    }
    for text in subjects {
        let subject = parse(text)?;
        let name = format!("archive_rows_{}", &sha256_hex(text.as_bytes())[..16]);
        let expression = if subject.steps.is_empty() {
            ident::quote(&subject.column)
        } else {
            sql(&subject, &ident::quote(&subject.column))
        };
        journal_archive::index(&name, &expression)?;
    }
    Ok(())
}

/// SQL for the value of a subject, of a column that stands in `text`; the text that the column's type writes.
pub fn sql(subject: &Subject, text: &str) -> String {
    use agent_backup_core::codec::subject::Step;
    let Some((last, others)) = subject.steps.split_last() else {
        // Not a cast, which can say otherwise than the type's output function: a char(n) would lose its spaces.
        return format!("CASE WHEN {text} IS NOT NULL THEN pg_catalog.format('%s', {text}) END");
    };
    let shown = |step: &Step| match step {
        Step::Key(key) => ident::literal(key),
        Step::Index(index) => format!("({index})"),
    };
    let mut expression = text.to_owned();
    for step in others {
        expression = format!("({expression} OPERATOR(pg_catalog.->) {})", shown(step));
    }
    format!("({expression} OPERATOR(pg_catalog.->>) {})", shown(last))
}
