//! Tombstones: what keeps an erased person from coming back with an older copy. All rows that are read from a backup pass
//! `Screen`, in `unpack::rows`; backups that were looked through for an erasure, and those that began after it, do not.
//!
//! The files in `tombstones/` of the backup directory are the truth, since a restore of the database does not touch them;
//! the catalogue has a copy, which a dump takes along.

use std::io::Read;
use std::sync::Arc;

use agent_backup_core::codec::subject::Subject;
use agent_backup_core::codec::{CsvFields, split};
use agent_backup_core::container::search::Look;
use agent_backup_core::container::tombstone::{Seal, Tombstone};
use agent_backup_core::plan::Format;
use agent_backup_core::store::{Directory, FileKind};
use agent_backup_core::stream::{Chunk, RowDigest};

use crate::error::{Error, Result};
use crate::journal_erasures;
use crate::run::source::{self, Source};
use crate::run::unpack::Checked;
use crate::run::{place, publish, read, say};
use crate::settings;

/// Where they stand, below the backup directory.
pub const DIRECTORY: &str = "tombstones";

/// Bytes of the longest that is read.
const LIMIT: u64 = 16 << 20;

/// Rows of a chunk that tombstones name.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hidden {
    pub rows: u64,
    pub digest: RowDigest,
}

impl Hidden {
    /// These rows, and others.
    pub fn and(self, rows: u64, mut digest: RowDigest) -> (u64, RowDigest) {
        digest.merge(self.digest);
        (self.rows + rows, digest)
    }

    pub fn add(&mut self, other: Hidden) {
        self.rows += other.rows;
        self.digest.merge(other.digest);
    }
}

/// Takes rows of erased persons out of the chunks of one table's CSV.
pub struct Screen(Vec<(Look, Seal)>);

impl Screen {
    /// For member `number` of a backup; none where no tombstone is about it, and then it costs nothing.
    pub fn of(source: &Source, number: usize) -> Result<Option<Arc<Self>>> {
        let Some(member) = source.manifest().members.get(number) else { return Ok(None) };
        let manifest = source.manifest();
        let mut all = all()?;
        all.retain(|tombstone| {
            tombstone.erased_at > manifest.started_at
                && !manifest.erasures.iter().any(|note| note.erasure_id == tombstone.erasure_id)
                && tombstone.places.iter().any(|grave| grave.schema == member.schema && grave.name == member.name)
        });
        if all.is_empty() {
            return Ok(None);
        }
        let searched = journal_erasures::searched_for(source.id())?;
        let mut looks = Vec::new();
        for tombstone in all.iter().filter(|tombstone| !searched.contains(&tombstone.erasure_id)) {
            let own = tombstone.places.iter().filter(|g| g.schema == member.schema && g.name == member.name);
            for subject in own.filter_map(|grave| Subject::parse(&grave.subject).ok()) {
                let place = read::held(member).position(|column| column.name == subject.column);
                let seal = Seal::new(&tombstone.key, &tombstone.mac);
                looks.extend(place.zip(seal).map(|(place, seal)| (Look { subject, place }, seal)));
            }
        }
        Ok((!looks.is_empty()).then(|| Arc::new(Screen(looks))))
    }

    /// The chunk without the rows that are named, and what these were. Errors: a row that is no CSV.
    pub fn pass(&self, chunk: Chunk, plain: Vec<u8>) -> Checked<(Vec<u8>, Hidden)> {
        let (mut fields, mut hidden, mut out) = (CsvFields::default(), Hidden::default(), Vec::new());
        let mut kept_from = 0;
        for row in split::rows(Format::Csv, &plain) {
            fields.read(row).map_err(|error| read::unreadable(chunk, 1, &error.to_string()))?;
            let is_it = |(look, seal): &(Look, Seal)| {
                look.subject.in_csv(&fields, look.place).is_some_and(|value| seal.is(&value))
            };
            if self.0.iter().any(is_it) {
                let start = row.as_ptr() as usize - plain.as_ptr() as usize;
                out.extend_from_slice(&plain[kept_from..start]);
                kept_from = (start + row.len() + 1).min(plain.len());
                hidden.rows += 1;
                hidden.digest.add_row(row);
            }
        }
        if hidden.rows == 0 {
            return Ok((plain, hidden));
        }
        out.extend_from_slice(&plain[kept_from..]);
        Ok((out, hidden))
    }
}

/// Tells of rows that were left out.
pub fn tell(source: &Source, number: usize, hidden: u64) {
    if hidden > 0 {
        let table = source.manifest().members.get(number).map(|member| source::name_of(member).display());
        let table = table.unwrap_or_default();
        say::notice(&format!("{table}: {hidden} row(s) of erased persons were left out of backup \"{}\"", source.id()));
    }
}

/// Those of the files, and those that only the catalogue has.
fn all() -> Result<Vec<Tombstone>> {
    let mut all = of_files()?;
    for known in journal_erasures::tombstones()? {
        if !all.iter().any(|tombstone| tombstone.erasure_id == known.erasure_id) {
            all.push(known);
        }
    }
    Ok(all)
}

/// Whether anybody was ever erased here, as far as the disk tells.
pub fn any() -> bool {
    settings::directory().join(DIRECTORY).symlink_metadata().is_ok()
}

fn of_files() -> Result<Vec<Tombstone>> {
    if !any() {
        return Ok(Vec::new());
    }
    let directory = place::of_tombstones_for_reading()?;
    let mut all = Vec::new();
    for file in directory.list()?.into_iter().filter(|file| file.kind == FileKind::Regular) {
        let Some(name) = file.name.to_str().filter(|name| name.ends_with(".json")) else { continue };
        all.push(read_one(&directory, name)?);
    }
    Ok(all)
}

/// One that cannot be read is an error: whom it names would come back unseen.
fn read_one(directory: &Directory, name: &str) -> Result<Tombstone> {
    let mut bytes = Vec::new();
    directory.open_file(name)?.take(LIMIT).read_to_end(&mut bytes).map_err(Error::Write)?;
    let file = || directory.path().join(name).display().to_string();
    Tombstone::parse(&bytes).map_err(|error| Error::Manifest { file: file(), reason: error.to_string() })
}

/// A tombstone that gets its name when the transaction commits.
pub fn stage(tombstone: &Tombstone) -> Result<()> {
    let (directory, lock) = place::of_tombstones()?;
    let mut staged = publish::stage(&directory, "tombstone")?;
    staged.append(&bytes_of(tombstone)?)?;
    super::pending::tombstone_at_commit(&directory, &lock, staged, name_of(tombstone));
    Ok(())
}

/// Disk and catalogue have the same again: what only one of them has is given to the other. How many were.
pub fn reconcile() -> Result<usize> {
    let known = journal_erasures::tombstones()?;
    if known.is_empty() && !any() {
        return Ok(0);
    }
    let files = of_files()?;
    let mut changed = 0;
    for tombstone in &files {
        changed += usize::from(journal_erasures::bury(tombstone)? > 0);
    }
    // Another session that erases holds the directory, and puts its own there.
    let (directory, _lock) = match place::of_tombstones() {
        Ok(place) => place,
        Err(Error::Busy { .. }) => return Ok(changed),
        Err(error) => return Err(error),
    };
    for tombstone in known.iter().filter(|known| !files.iter().any(|file| file.erasure_id == known.erasure_id)) {
        let mut staged = publish::stage(&directory, "tombstone")?;
        staged.append(&bytes_of(tombstone)?)?;
        staged.publish(&name_of(tombstone))?;
        changed += 1;
    }
    Ok(changed)
}

fn name_of(tombstone: &Tombstone) -> String {
    format!("{}.json", tombstone.erasure_id)
}

fn bytes_of(tombstone: &Tombstone) -> Result<Vec<u8>> {
    let unwritten = |error: agent_backup_core::container::ContainerError| Error::Manifest {
        file: name_of(tombstone),
        reason: error.to_string(),
    };
    tombstone.to_bytes().map_err(unwritten)
}
