//! A directory as an object store: for a mounted disk, and for tests. Files are published as local backups are.

use std::io::Read;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::content::{Checked, Content, Measured};
use super::{Claim, Growing, ObjectError, ObjectInfo, ObjectStore, Removal, Watch, key};
use crate::store::{Directory, DirectoryRule, FileInfo, FileKind, StagedFile, StoreError};

/// Bytes between two calls of `watch`.
const STEP: u64 = 1 << 20;

/// Objects as files below a directory.
#[derive(Debug)]
pub struct Folder {
    root: Directory,
    rule: DirectoryRule,
}

impl Folder {
    /// Opens the directory, and creates it if it is missing.
    ///
    /// # Errors
    /// `Local`, with the reason to refuse it.
    pub fn open(path: &Path, rule: DirectoryRule) -> Result<Self, ObjectError> {
        Ok(Folder { root: Directory::open_or_create(path, rule.clone())?, rule })
    }

    /// The directory of a key and the file's name in it. What is missing is not created.
    fn find<'k>(&self, key: &'k str) -> Result<(Directory, &'k str), ObjectError> {
        key::check(key)?;
        let (directory, name) = key.rsplit_once('/').unwrap_or(("", key));
        let opened = self.below(directory).map_err(|error| missing(error, key))?;
        Ok((opened, name))
    }

    fn below(&self, prefix: &str) -> Result<Directory, StoreError> {
        if prefix.is_empty() {
            return Ok(self.root.clone());
        }
        Directory::open(&self.root.path().join(prefix), self.rule.clone())
    }

    /// As `find`, with all directories there.
    fn make<'k>(&self, key: &'k str) -> Result<(Directory, &'k str), ObjectError> {
        key::check(key)?;
        let (directories, name) = key.rsplit_once('/').unwrap_or(("", key));
        let mut directory = self.root.clone();
        for component in directories.split('/').filter(|component| !component.is_empty()) {
            directory = directory.subdirectory(component)?;
        }
        Ok((directory, name))
    }

    /// All files below, staging files or others, in the order of their keys.
    fn walk(&self, prefix: &str, kind: FileKind, watch: Watch<'_>) -> Result<Vec<(String, FileInfo)>, ObjectError> {
        let mut found = Vec::new();
        let mut waiting = vec![prefix.to_owned()];
        while let Some(at) = waiting.pop() {
            watch()?;
            let directory = match self.below(&at) {
                Ok(directory) => directory,
                Err(StoreError::DirectoryMissing { .. } | StoreError::NotADirectory { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            for info in directory.list()? {
                // A name that no key can have is no object.
                let Some(name) = info.name.to_str().filter(|name| key::fault(name).is_none()) else { continue };
                let key = if at.is_empty() { name.to_owned() } else { format!("{at}/{name}") };
                if info.kind == FileKind::Directory {
                    waiting.push(key);
                } else if info.kind == kind {
                    found.push((key, info));
                }
            }
        }
        found.sort_by(|(one, _), (two, _)| one.cmp(two));
        Ok(found)
    }
}

impl ObjectStore for Folder {
    fn place(&self) -> String {
        format!("file://{}", self.root.path().display())
    }

    fn put_new(&self, key: &str, bytes: &[u8], watch: Watch<'_>) -> Result<Claim, ObjectError> {
        watch()?;
        let (directory, name) = self.make(key)?;
        let mut staged = directory.stage(name)?;
        staged.append(bytes)?;
        match staged.publish(name) {
            Ok(_) => Ok(Claim::Ours),
            Err(StoreError::Exists { .. }) => Ok(Claim::Taken),
            Err(error) => Err(error.into()),
        }
    }

    /// Between what was there and what comes there may be neither, for a moment or after a crash.
    fn put(&self, key: &str, content: Content, source: &mut dyn Read, watch: Watch<'_>) -> Result<(), ObjectError> {
        watch()?;
        let (directory, name) = self.make(key)?;
        let mut staged = directory.stage(name)?.hashed_by_caller();
        fill(&mut staged, Checked::new(key, content, source), watch)?;
        match directory.remove(name) {
            Ok(()) | Err(StoreError::Missing { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        staged.publish_hashed(name, content.sha256)?;
        Ok(())
    }

    fn begin(self: Arc<Self>, key: &str) -> Result<Box<dyn Growing>, ObjectError> {
        let (directory, name) = self.make(key)?;
        let staged = directory.stage(name)?.hashed_by_caller();
        Ok(Box::new(File { staged, name: name.to_owned(), measured: Measured::default() }))
    }

    fn head(&self, key: &str, watch: Watch<'_>) -> Result<ObjectInfo, ObjectError> {
        watch()?;
        let (directory, name) = self.find(key)?;
        let file = directory.open_file(name).map_err(|error| missing(error, key))?;
        let facts = file.metadata().map_err(|source| ObjectError::Source { key: key.into(), source })?;
        let modified = facts.modified().map_err(|source| ObjectError::Source { key: key.into(), source })?;
        Ok(ObjectInfo { key: key.into(), size: facts.len(), modified: modified.into(), sha256: None })
    }

    fn get_range(&self, key: &str, range: Range<u64>, watch: Watch<'_>) -> Result<Vec<u8>, ObjectError> {
        let size = self.head(key, watch)?.size;
        if range.end > size {
            return Err(ObjectError::Damaged { key: key.into(), reason: format!("it has {size} bytes") });
        }
        let (directory, name) = self.find(key)?;
        let file = directory.open_file(name).map_err(|error| missing(error, key))?;
        let mut bytes = vec![0; range.end.saturating_sub(range.start) as usize];
        for (number, step) in (0..).zip(bytes.chunks_mut(STEP as usize)) {
            watch()?;
            file.read_exact_at(step, range.start + number * STEP)
                .map_err(|source| ObjectError::Source { key: key.into(), source })?;
        }
        Ok(bytes)
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        each: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>,
        watch: Watch<'_>,
    ) -> Result<(), ObjectError> {
        key::check_prefix(prefix)?;
        for (key, info) in self.walk(prefix, FileKind::Regular, watch)? {
            watch()?;
            if after.is_some_and(|after| key.as_str() <= after) {
                continue;
            }
            let object = ObjectInfo { key, size: info.size, modified: info.modified.into(), sha256: None };
            if each(object).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn delete(&self, key: &str, watch: Watch<'_>) -> Result<Removal, ObjectError> {
        watch()?;
        match self.find(key) {
            Ok((directory, name)) => match directory.remove(name) {
                Ok(()) | Err(StoreError::Missing { .. }) => Ok(Removal::Gone),
                Err(error) => Err(error.into()),
            },
            Err(ObjectError::Missing { .. }) => Ok(Removal::Gone),
            Err(error) => Err(error),
        }
    }

    fn sweep(&self, prefix: &str, before: DateTime<Utc>, watch: Watch<'_>) -> Result<Vec<String>, ObjectError> {
        key::check_prefix(prefix)?;
        let mut swept = Vec::new();
        for (key, info) in self.walk(prefix, FileKind::Staging, watch)? {
            if DateTime::<Utc>::from(info.modified) < before {
                let _ = self.delete(&key, watch)?;
                swept.push(key);
            }
        }
        Ok(swept)
    }
}

/// A file in the making.
struct File {
    staged: StagedFile,
    name: String,
    measured: Measured,
}

impl Growing for File {
    fn append(&mut self, bytes: &[u8], watch: Watch<'_>) -> Result<(), ObjectError> {
        for step in bytes.chunks(STEP as usize) {
            watch()?;
            self.staged.append(step)?;
            self.measured.add(step);
        }
        Ok(())
    }

    fn settle(&mut self, watch: Watch<'_>) -> Result<(), ObjectError> {
        Ok(watch()?)
    }

    fn finish(self: Box<Self>, watch: Watch<'_>) -> Result<Content, ObjectError> {
        watch()?;
        let content = self.measured.content();
        self.staged.publish_hashed(&self.name, content.sha256)?;
        Ok(content)
    }
}

fn fill(staged: &mut StagedFile, mut checked: Checked<'_>, watch: Watch<'_>) -> Result<(), ObjectError> {
    loop {
        watch()?;
        let bytes = checked.next(STEP)?;
        if bytes.is_empty() {
            return Ok(());
        }
        staged.append(&bytes)?;
    }
}

fn missing(error: StoreError, key: &str) -> ObjectError {
    match error {
        StoreError::Missing { .. } | StoreError::DirectoryMissing { .. } | StoreError::NotADirectory { .. } => {
            ObjectError::Missing { key: key.into() }
        }
        error => error.into(),
    }
}
