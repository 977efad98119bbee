//! What a call answered: its refusal in full, one value, or a file inside a backup.

use std::path::Path;
use std::process::Command;

use postgres::types::FromSql;
use postgres::{Client, SimpleQueryMessage};

/// An error as a user sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// SQLSTATE.
    pub code: String,
    pub message: String,
    pub detail: String,
    /// Empty where there is none.
    pub hint: String,
}

/// The error that statements end with; panics when they are carried out.
#[track_caller]
pub fn refused(client: &mut Client, statements: &str) -> Refusal {
    let error = match client.batch_execute(statements) {
        Ok(()) => panic!("carried out, and should have been refused: {statements}"),
        Err(error) => error,
    };
    let error = error.as_db_error().unwrap_or_else(|| panic!("{statements}: {error:?}"));
    Refusal {
        code: error.code().code().to_owned(),
        message: error.message().to_owned(),
        detail: error.detail().unwrap_or_default().to_owned(),
        hint: error.hint().unwrap_or_default().to_owned(),
    }
}

/// The first column of the only row.
#[track_caller]
pub fn one<T: for<'a> FromSql<'a>>(client: &mut Client, query: &str) -> T {
    client.query_one(query, &[]).unwrap_or_else(|error| panic!("{query}: {error:?}")).get(0)
}

/// All rows as psql would show them unaligned: columns parted by `|`, null as nothing.
#[track_caller]
pub fn lines(client: &mut Client, query: &str) -> Vec<String> {
    let messages = client.simple_query(query).unwrap_or_else(|error| panic!("{query}: {error:?}"));
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    rows.map(|row| (0..row.len()).map(|at| row.get(at).unwrap_or("")).collect::<Vec<_>>().join("|")).collect()
}

/// The names of a container's entries, as GNU tar lists them.
#[track_caller]
pub fn entries(container: impl AsRef<Path>) -> Vec<String> {
    tar(container.as_ref(), &["-t"]).lines().map(str::to_owned).collect()
}

/// The text of one entry of a container, as GNU tar extracts it.
#[track_caller]
pub fn entry(container: impl AsRef<Path>, name: &str) -> String {
    tar(container.as_ref(), &["-x", "-O", name])
}

#[track_caller]
fn tar(container: &Path, arguments: &[&str]) -> String {
    let output = Command::new("tar").arg(arguments[0]).arg("-f").arg(container).args(&arguments[1..]).output();
    let output = output.expect("tar");
    assert!(output.status.success(), "tar {arguments:?} {}: {output:?}", container.display());
    String::from_utf8(output.stdout).expect("UTF-8")
}
