//! One object on its way, shown to people.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use agent_backup_core::store::StoreError;
use agent_backup_core::store::object::{Claim, Content, ObjectError, Removal};

use crate::error::{OffsiteError, Result};
use crate::run::offsite::access::{Store, raised};
use crate::run::offsite::local::MANIFEST_LIMIT;
use crate::run::say;
use crate::server::interrupt;
use crate::server::progress::Progress;

/// What became of an object that was to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Uploaded,
    /// It was, and is listed.
    Present,
    /// It was, and was not listed.
    Adopted,
    Failed,
}

impl Action {
    pub fn name(self) -> &'static str {
        match self {
            Action::Uploaded => "uploaded",
            Action::Present => "present",
            Action::Adopted => "adopted",
            Action::Failed => "failed",
        }
    }
}

/// A file that tells how far it was read.
struct Shown {
    file: File,
    progress: Progress,
    done: u64,
}

impl Read for Shown {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.done += count as u64;
        self.progress.show(0, self.done);
        Ok(count)
    }
}

impl Store {
    /// Sizes of all objects below a prefix.
    pub fn sizes(&self, prefix: &str) -> Result<HashMap<String, u64>> {
        let mut sizes = HashMap::new();
        let mut each = |info: agent_backup_core::store::object::ObjectInfo| {
            sizes.insert(info.key, info.size);
            ControlFlow::Continue(())
        };
        self.store.list(prefix, None, &mut each, &mut interrupt::watch).map_err(raised)?;
        Ok(sizes)
    }

    /// Puts a file, which must be what `content` says.
    pub fn put_file(&self, key: &str, file: File, content: Content) -> Result<Duration> {
        let begun = Instant::now();
        let mut source = Shown { file, progress: Progress::sending(content.size.cast_signed()), done: 0 };
        self.store.put(key, content, &mut source, &mut interrupt::watch).map_err(raised)?;
        let took = begun.elapsed();
        let rate = content.size as f64 / took.as_secs_f64().max(0.001);
        let name = key.rsplit('/').next().unwrap_or(key);
        let size = say::bytes(content.size as f64);
        let seconds = took.as_secs_f64();
        say::notice(&format!("{name}: {size} sent to {} in {seconds:.2} s ({}/s)", self.url, say::bytes(rate)));
        Ok(took)
    }

    /// Creates a small object, never in the place of another one. Errors: `Conflict` where another is there.
    pub fn create(&self, key: &str, bytes: &[u8]) -> Result<Action> {
        match self.store.put_new(key, bytes, &mut interrupt::watch).map_err(raised)? {
            Claim::Ours => Ok(Action::Uploaded),
            Claim::Taken if self.read(key)? == bytes => Ok(Action::Adopted),
            Claim::Taken => Err(OffsiteError::Conflict { key: key.to_owned() }.into()),
        }
    }

    /// Whether an object is what `content` says, by what was noted with it.
    pub fn is(&self, key: &str, content: Content) -> Result<bool> {
        self.store.is(key, content, &mut interrupt::watch).map_err(raised)
    }

    /// Whether there is an object.
    pub fn has(&self, key: &str) -> Result<bool> {
        match self.store.head(key, &mut interrupt::watch) {
            Ok(_) => Ok(true),
            Err(ObjectError::Missing { .. }) => Ok(false),
            Err(error) => Err(raised(error)),
        }
    }

    /// The first of these keys that nobody uses.
    pub fn free(&self, names: impl IntoIterator<Item = String>) -> Result<String> {
        for name in names {
            if !self.has(&name)? {
                return Ok(name);
            }
        }
        Err(StoreError::NoName { path: PathBuf::from(&self.url) }.into())
    }

    /// A whole small object.
    pub fn read(&self, key: &str) -> Result<Vec<u8>> {
        self.store.read(key, MANIFEST_LIMIT, &mut interrupt::watch).map_err(raised)
    }

    /// Removes an object. Errors: `Retained`.
    pub fn remove(&self, key: &str) -> Result<()> {
        match self.store.delete(key, &mut interrupt::watch).map_err(raised)? {
            Removal::Gone => Ok(()),
            Removal::Retained => Err(raised(ObjectError::Retained { key: key.to_owned() })),
        }
    }

    /// Takes away what writers that died left of unfinished objects. A store that cannot tell of them has its own rules
    /// for them.
    pub fn sweep(&self, prefix: &str) -> Result<()> {
        // The store's clock may be ahead of ours. Who writes below this prefix holds the lock that we hold.
        let before = chrono::Utc::now() + chrono::TimeDelta::minutes(5);
        match self.store.sweep(prefix, before, &mut interrupt::watch) {
            Ok(swept) if swept.is_empty() => Ok(()),
            Ok(swept) => {
                say::notice(&format!("{}: {} unfinished uploads were taken away", self.url, swept.len()));
                Ok(())
            }
            Err(ObjectError::Unsupported { .. }) => Ok(()),
            Err(error) => Err(raised(error)),
        }
    }
}
