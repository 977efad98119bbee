//! A sealed backup for which no key is here: its files are there, and its bytes are those that the catalogue lists. More
//! cannot be said, and is not.

use agent_backup_core::plan::names;

use crate::journal_checks::Facts;
use crate::run::source::{self, Location};
use crate::run::verify::Level;
use crate::run::verify::content::{self, Checked};
use crate::run::verify::files::Locked;
use crate::run::verify::finding::{Line, Part, Problem};

/// Checks what can be checked, up to the level `hash`. What a higher level would prove is a warning.
pub fn check(locked: &Locked, level: Level, facts: Option<&Facts>, location: &Location) -> Checked {
    let mut checked = Checked { lines: Vec::new(), file_sha256: None };
    let mut remark = "is in the manifest beside the container";
    if level >= Level::Hash {
        let line = hash(locked, facts, location, &mut checked.file_sha256);
        let proved = line.problem.is_none();
        checked.lines.push(line);
        if !proved {
            return checked;
        }
        remark = "is in the manifest beside the container, whose stored bytes are the listed ones";
    }
    for entry in &locked.manifest.entries {
        let member = entry.table.and_then(|table| locked.manifest.members.get(table));
        let part = member.map(|member| Part {
            table: source::name_of(member),
            format: entry.format.map(|format| names::extension(format).to_owned()),
            stored_bytes: Some(entry.stored_bytes),
        });
        let line = Line::good(part.as_ref(), level.min(Level::Hash).name(), format!("\"{}\" {remark}", entry.name));
        checked.lines.push(match part {
            Some(_) => Line { rows: Some(entry.rows), checksum: entry.row_digest.clone(), ..line },
            None => line,
        });
    }
    if level > Level::Hash {
        let text = format!("level {} was not tried: {}", level.name(), locked.why);
        checked.lines.push(all_tables(level.name(), text));
    }
    checked
}

/// A warning that concerns every table.
fn all_tables(check: &'static str, text: String) -> Line {
    Line { spreads: true, ..Line::warning(check, Problem::new("cannot open", text)) }
}

fn hash(locked: &Locked, facts: Option<&Facts>, location: &Location, sha256: &mut Option<String>) -> Line {
    const CHECK: &str = "hash";
    let path = location.path();
    let found = match content::stored_sha256(&locked.stored) {
        Ok(found) => found,
        Err(error) => return Line::bad_file(CHECK, Problem::in_file(&error, &path)),
    };
    match facts.and_then(|facts| facts.file_sha256.as_deref()) {
        Some(told) if told == found => {
            *sha256 = Some(found);
            Line::good(None, CHECK, format!("the SHA-256 of the file is the listed {told}"))
        }
        Some(told) => {
            let text = format!("the SHA-256 of file \"{}\" is {found}, the catalogue says {told}", path.display());
            Line::bad_file(CHECK, Problem::new("changed", text))
        }
        // Whoever replaced the file would be vouched for.
        None => all_tables(
            CHECK,
            format!(
                "its bytes could not be proved: the catalogue has no SHA-256 of file \"{}\", and {}",
                path.display(),
                locked.why
            ),
        ),
    }
}
