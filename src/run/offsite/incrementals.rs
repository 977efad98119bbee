//! What is sent beside backups: incrementals, each the rows and then its manifest, and the tombstones of erased persons.

use agent_backup_core::container::Increment;
use agent_backup_core::container::manifest::Server;
use agent_backup_core::plan::names;
use agent_backup_core::store::object::Content;
use agent_backup_core::store::{Directory, StoreError};

use crate::error::{Error, OffsiteError, Result};
use crate::run::adopt;
use crate::run::offsite::local;
use crate::run::offsite::send::Action;
use crate::run::offsite::upload::{Upload, concerns_all, unless_cancelled};
use crate::run::{place, say};
use crate::settings;

/// Directory of tombstones below the backup directory, and the same below the prefix of a database.
const TOMBSTONES: &str = "tombstones";

impl Upload<'_> {
    /// The incrementals of the set, oldest first.
    pub(super) fn incrementals(&mut self) -> Result<()> {
        let path = place::path_of_set(&self.destination.set).join(names::INCREMENTALS);
        let Some(directory) = there(&path)? else { return Ok(()) };
        let files = adopt::regular_files(&directory)?;
        let mut manifests: Vec<_> = files
            .iter()
            .filter(|file| names::stem_of_incremental(&file.name).is_some_and(|(_, is_manifest)| is_manifest))
            .collect();
        manifests.sort_by(|one, other| one.name.cmp(&other.name));
        for manifest in manifests {
            if let Err(error) = self.incremental(&directory, &manifest.name) {
                let error = unless_cancelled(error)?;
                say::warning(&format!("{}: {error}", manifest.name));
                self.failed(&manifest.name, None, error.to_string());
                if concerns_all(&error) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn incremental(&mut self, directory: &Directory, name: &str) -> Result<()> {
        let bytes = local::read(directory, name)?;
        let unusable = |reason: String| Error::Manifest { file: name.to_owned(), reason };
        let increment = Increment::parse(&bytes).map_err(|error| unusable(error.to_string()))?;
        let Server { system_identifier, database, .. } = &increment.server;
        let below = local::prefix_of_set(system_identifier, database, &self.destination.set);
        let key = |file: &str| format!("{below}/{}/{file}", names::INCREMENTALS);
        let (rows, manifest) = (key(&increment.file), key(name));
        let sizes = [&rows, &manifest].map(|key| self.sizes.get(key).copied());
        if sizes == [Some(increment.file_bytes), Some(bytes.len() as u64)] {
            self.done(&rows, None, Action::Present, increment.file_bytes, None);
            self.done(&manifest, None, Action::Present, bytes.len() as u64, None);
            return Ok(());
        }
        let mut replaced = None;
        if sizes[1].is_some() {
            let there = self.store.read(&manifest)?;
            if there != bytes {
                let older = Increment::parse(&there).ok().filter(|there| replaces(&increment, there));
                let Some(older) = older else { return Err(OffsiteError::Conflict { key: manifest }.into()) };
                self.store.remove(&manifest)?;
                replaced = Some(key(&older.file)).filter(|key| *key != rows);
            }
        }
        let content = Content::known(increment.file_bytes, &increment.file_sha256)
            .ok_or_else(|| unusable("it has no hash of its file".into()))?;
        if sizes[0] == Some(content.size) && self.store.is(&rows, content)? {
            self.done(&rows, None, Action::Adopted, content.size, None);
        } else {
            let took = self.store.put_file(&rows, directory.open_file(&increment.file)?, content)?;
            self.done(&rows, None, Action::Uploaded, content.size, Some(took));
        }
        let action = self.store.create(&manifest, &bytes)?;
        self.done(&manifest, None, action, bytes.len() as u64, None);
        replaced.map_or(Ok(()), |older| self.clear(&older, None))
    }

    /// What was erased by this database, so that whoever restores from there erases it again.
    pub(super) fn tombstones(&mut self, here: &Server) -> Result<()> {
        let Some(directory) = there(&settings::directory().join(TOMBSTONES))? else { return Ok(()) };
        let below = format!("{}/{TOMBSTONES}", local::prefix(&here.system_identifier, &here.database));
        let sizes = self.store.sizes(&below)?;
        for file in adopt::regular_files(&directory)?.into_iter().filter(|file| file.name.ends_with(".json")) {
            let key = format!("{below}/{}", file.name);
            if sizes.get(&key) == Some(&file.size) {
                self.done(&key, None, Action::Present, file.size, None);
                continue;
            }
            let bytes = local::read(&directory, &file.name)?;
            match self.store.create(&key, &bytes) {
                Ok(action) => self.done(&key, None, action, bytes.len() as u64, None),
                Err(error) => {
                    let error = unless_cancelled(error)?;
                    self.failed(&key, None, error.to_string());
                    if concerns_all(&error) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether an incremental is what became of another one: less of it, for a person was erased, or the same for other keys.
fn replaces(ours: &Increment, there: &Increment) -> bool {
    let is_same = (&ours.server, &ours.schema, &ours.name, &ours.started_at, &ours.watermark_after)
        == (&there.server, &there.schema, &there.name, &there.started_at, &there.watermark_after);
    let is_less = ours.rows < there.rows || (ours.rows == there.rows && ours.tombstones.len() < there.tombstones.len());
    let is_resealed = ours.encryption.is_some() && ours.encryption != there.encryption && ours.rows == there.rows;
    is_same && (is_less || is_resealed)
}

/// A directory, if it is there.
pub fn there(path: &std::path::Path) -> Result<Option<Directory>> {
    match place::for_reading(path) {
        Ok(directory) => Ok(Some(directory)),
        Err(Error::Store(StoreError::DirectoryMissing { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}
