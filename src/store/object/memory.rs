//! A store in memory, for tests.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::{Bound, ControlFlow, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use super::content::{Checked, Content};
use super::{Claim, Growing, ObjectError, ObjectInfo, ObjectStore, PIECE, Removal, Watch, key};

/// Objects by their keys.
#[derive(Debug, Default)]
pub struct Memory {
    objects: Mutex<BTreeMap<String, Object>>,
}

#[derive(Debug, Clone)]
struct Object {
    bytes: Vec<u8>,
    modified: DateTime<Utc>,
    sha256: [u8; 32],
}

impl Object {
    fn new(bytes: Vec<u8>, sha256: [u8; 32]) -> Self {
        Object { bytes, modified: Utc::now(), sha256 }
    }
}

impl Memory {
    /// The map stays sound when a thread that held it panicked.
    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Object>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ObjectStore for Memory {
    fn place(&self) -> String {
        "memory".into()
    }

    fn put_new(&self, key: &str, bytes: &[u8], watch: Watch<'_>) -> Result<Claim, ObjectError> {
        key::check(key)?;
        watch()?;
        let mut objects = self.objects();
        if objects.contains_key(key) {
            return Ok(Claim::Taken);
        }
        objects.insert(key.into(), Object::new(bytes.to_vec(), Content::of(bytes).sha256));
        Ok(Claim::Ours)
    }

    fn put(&self, key: &str, content: Content, source: &mut dyn Read, watch: Watch<'_>) -> Result<(), ObjectError> {
        key::check(key)?;
        let mut checked = Checked::new(key, content, source);
        let mut bytes = Vec::new();
        loop {
            watch()?;
            let piece = checked.next(PIECE)?;
            if piece.is_empty() {
                break;
            }
            bytes.extend_from_slice(&piece);
        }
        self.objects().insert(key.into(), Object::new(bytes, content.sha256));
        Ok(())
    }

    fn begin(self: Arc<Self>, key: &str) -> Result<Box<dyn Growing>, ObjectError> {
        key::check(key)?;
        Ok(Box::new(Grown { memory: self, key: key.into(), bytes: Vec::new() }))
    }

    fn head(&self, key: &str, watch: Watch<'_>) -> Result<ObjectInfo, ObjectError> {
        key::check(key)?;
        watch()?;
        let objects = self.objects();
        let object = objects.get(key).ok_or_else(|| ObjectError::Missing { key: key.into() })?;
        let (size, sha256) = (object.bytes.len() as u64, Some(object.sha256));
        Ok(ObjectInfo { key: key.into(), size, modified: object.modified, sha256 })
    }

    fn get_range(&self, key: &str, range: Range<u64>, watch: Watch<'_>) -> Result<Vec<u8>, ObjectError> {
        key::check(key)?;
        watch()?;
        let objects = self.objects();
        let object = objects.get(key).ok_or_else(|| ObjectError::Missing { key: key.into() })?;
        let bytes = object.bytes.get(range.start as usize..range.end as usize);
        bytes.map(<[u8]>::to_vec).ok_or_else(|| {
            let reason = format!("it has {} bytes", object.bytes.len());
            ObjectError::Damaged { key: key.into(), reason }
        })
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        each: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>,
        watch: Watch<'_>,
    ) -> Result<(), ObjectError> {
        key::check_prefix(prefix)?;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let info = |(key, object): (&String, &Object)| ObjectInfo {
            key: key.clone(),
            size: object.bytes.len() as u64,
            modified: object.modified,
            sha256: None,
        };
        let objects = self.objects();
        let below = objects.range::<str, _>((start, Bound::Unbounded)).filter(|(key, _)| key::is_below(key, prefix));
        let infos: Vec<ObjectInfo> = below.map(info).collect();
        drop(objects);
        for info in infos {
            watch()?;
            if each(info).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn delete(&self, key: &str, watch: Watch<'_>) -> Result<Removal, ObjectError> {
        key::check(key)?;
        watch()?;
        self.objects().remove(key);
        Ok(Removal::Gone)
    }

    /// There never is anything unfinished.
    fn sweep(&self, prefix: &str, _: DateTime<Utc>, watch: Watch<'_>) -> Result<Vec<String>, ObjectError> {
        key::check_prefix(prefix)?;
        watch()?;
        Ok(Vec::new())
    }
}

/// An object in the making.
struct Grown {
    memory: Arc<Memory>,
    key: String,
    bytes: Vec<u8>,
}

impl Growing for Grown {
    fn append(&mut self, bytes: &[u8], watch: Watch<'_>) -> Result<(), ObjectError> {
        watch()?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn settle(&mut self, watch: Watch<'_>) -> Result<(), ObjectError> {
        Ok(watch()?)
    }

    fn finish(self: Box<Self>, watch: Watch<'_>) -> Result<Content, ObjectError> {
        watch()?;
        let content = Content::of(&self.bytes);
        self.memory.objects().insert(self.key, Object::new(self.bytes, content.sha256));
        Ok(content)
    }
}
