//! What lies in a backup's directory and is no backup of it: a warning, for it harms none (T17).

use std::collections::HashSet;

use agent_backup_core::plan::names;
use agent_backup_core::store::{Directory, FileInfo, FileKind};
use pgrx::check_for_interrupts;

use crate::error::Result;
use crate::run::adopt;
use crate::run::shelf::Shelf;
use crate::run::source::Location;
use crate::run::verify::finding::{Line, Problem};
use crate::server::facts;
use crate::{journal, journal_checks};

pub const CHECK: &str = "directory";

/// Strays that get a line each; the others are counted.
const LINES: usize = 100;

/// Files that belong to no backup. Nothing is said while a backup of the set runs: what it writes is not listed yet.
pub fn strays(location: &Location, shelf: &Shelf) -> Result<Vec<Line>> {
    let (Some(listed), Shelf::Local(directory)) = (&location.listed, shelf) else { return Ok(Vec::new()) };
    // Looked at before the catalogue is: what is published between the two is listed then.
    let files = match directory.list() {
        Ok(files) => files,
        Err(error) => return Ok(vec![Line::warning(CHECK, Problem::of_store(&error))]),
    };
    if directory.lock_holder().is_some() || journal_checks::is_worked_on(&listed.set_name)? {
        return Ok(Vec::new());
    }
    let known = journal::files_in(&directory.path().display().to_string())?;
    let known = known.into_iter().flat_map(|file| [file.file_name, file.manifest_name]).collect();
    let strays = Strays { set: &listed.set_name, directory, known, since: journal_checks::transaction_start()? };
    strays.lines(&files)
}

struct Strays<'a> {
    set: &'a str,
    directory: &'a Directory,
    /// Names of files that the catalogue lists here.
    known: HashSet<String>,
    /// Younger files may be of a backup that this transaction does not see yet.
    since: std::time::SystemTime,
}

impl Strays<'_> {
    fn lines(mut self, files: &[FileInfo]) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        let mut more = 0;
        // Containers first: each accounts for the manifest beside it.
        let (containers, others): (Vec<_>, Vec<_>) =
            files.iter().filter(|file| file.kind != FileKind::Directory && file.modified < self.since).partition(
                |file| file.name.to_str().is_some_and(|name| names::suffix_of_container(self.set, name).is_some()),
            );
        for file in containers.into_iter().chain(others) {
            check_for_interrupts!();
            let Some(text) = self.stray(file)? else { continue };
            if lines.len() < LINES {
                lines.push(Line::warning(CHECK, Problem::new("extra", text)));
            } else {
                more += 1;
            }
        }
        if more > 0 {
            lines.push(Line::warning(CHECK, Problem::new("extra", format!("{more} more files belong to no backup"))));
        }
        Ok(lines)
    }

    /// Why a file belongs to no backup; none if it does.
    fn stray(&mut self, file: &FileInfo) -> Result<Option<String>> {
        let shown = format!("file \"{}\"", self.directory.path().join(&file.name).display());
        let name = file.name.to_string_lossy().into_owned();
        if self.known.contains(&name) {
            return Ok(None);
        }
        if file.kind == FileKind::Staging {
            return Ok(Some(format!("{shown} was left by a writer that died; the next backup removes it")));
        }
        if let (Some(suffix), FileKind::Regular) = (names::suffix_of_container(self.set, &name), file.kind) {
            let beside = names::manifest(suffix);
            if let Some(manifest) = adopt::manifest_of(self.directory, &name, &beside) {
                self.known.insert(beside);
                let here = facts::is_same(&facts::server()?, &manifest.server);
                let id = &manifest.backup_id;
                return Ok(
                    here.then(|| format!("{shown} is backup \"{id}\", which is not listed; reconcile() looks into it"))
                );
            }
        }
        Ok(Some(format!("{shown} belongs to no listed backup")))
    }
}
