//! The calls of the trait.

use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, GetOptions, ObjectStore as _, ObjectStoreExt, PutMode, PutOptions, PutPayload,
};

use super::super::content::{Checked, Content};
use super::super::{Claim, Growing, ObjectError, ObjectInfo, ObjectStore, Removal, Watch, key};
use super::S3;
use super::answer::{Asked, answer_of};
use super::driver::Stopped;

/// Metadata of every object: the SHA-256 of its bytes.
pub(super) const SHA256: &str = "sha256";

/// Metadata of an object: which call put it.
pub(super) const CALL: &str = "agent-backup-call";

/// Most objects of a list that wait for the one who asked.
const PAGE: usize = 1000;

impl S3 {
    /// Runs a call of the library and sorts what went wrong.
    pub(super) fn run<T>(
        &self,
        asked: &Asked<'_>,
        bytes: u64,
        watch: Watch<'_>,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, ObjectError> {
        match self.driver().run(self.limits.deadline(bytes), watch, work) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(asked.sort(&error)),
            Err(stopped) => Err(self.stopped(asked, stopped)),
        }
    }

    pub(super) fn stopped(&self, asked: &Asked<'_>, stopped: Stopped) -> ObjectError {
        match stopped {
            Stopped::Cancelled => ObjectError::Cancelled,
            Stopped::TimedOut(after) => ObjectError::TimedOut { what: asked.what(), seconds: after.as_secs() },
        }
    }

    pub(super) fn path(&self, key: &str) -> Result<Path, ObjectError> {
        key::check(key)?;
        Path::parse(self.full(key)).map_err(|_| ObjectError::BadKey { key: key.into(), reason: "the store refuses it" })
    }

    /// Size, time and metadata.
    fn ask(&self, key: &str, watch: Watch<'_>) -> Result<(ObjectInfo, Attributes), ObjectError> {
        let path = self.path(key)?;
        let options = GetOptions { head: true, ..GetOptions::default() };
        let found = self.run(&self.asked("look at", key), 0, watch, self.store.get_opts(&path, options))?;
        let sha256 = metadata(&found.attributes, SHA256).and_then(|digits| {
            let mut bytes = [0; 32];
            hex::decode_to_slice(digits, &mut bytes).ok().map(|()| bytes)
        });
        let (size, modified) = (found.meta.size, found.meta.last_modified);
        Ok((ObjectInfo { key: key.into(), size, modified, sha256 }, found.attributes))
    }

    /// Whether the object under a key is the one that this call put.
    pub(super) fn is_of_call(&self, key: &str, call: &str, watch: Watch<'_>) -> Result<bool, ObjectError> {
        match self.ask(key, watch) {
            Ok((_, attributes)) => Ok(metadata(&attributes, CALL) == Some(call)),
            Err(ObjectError::Missing { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl ObjectStore for S3 {
    fn place(&self) -> String {
        if self.prefix.is_empty() {
            format!("s3://{}", self.bucket)
        } else {
            format!("s3://{}/{}", self.bucket, self.prefix)
        }
    }

    fn put_new(&self, key: &str, bytes: &[u8], watch: Watch<'_>) -> Result<Claim, ObjectError> {
        let (path, call) = (self.path(key)?, call_id());
        // Not every store heeds the condition below (Garage does not), so what can be seen is looked at first.
        match self.ask(key, watch) {
            Ok(_) => return Ok(Claim::Taken),
            Err(ObjectError::Missing { .. }) => (),
            Err(error) => return Err(error),
        }
        let options = PutOptions {
            mode: PutMode::Create,
            attributes: attributes(&Content::of(bytes), &call),
            ..PutOptions::default()
        };
        let payload = PutPayload::from(bytes.to_vec());
        let asked = self.asked("create", key);
        let work = self.store.put_opts(&path, payload, options);
        let outcome = self.driver().run(self.limits.deadline(bytes.len() as u64), watch, work);
        let error = match outcome {
            Ok(Ok(_)) => return Ok(Claim::Ours),
            Ok(Err(error)) if answer_of(&error).is_some_and(|answer| answer.is_taken()) => {
                // It may be our own first try, of which the reply was lost.
                return Ok(if self.is_of_call(key, &call, watch)? { Claim::Ours } else { Claim::Taken });
            }
            Ok(Err(error)) => asked.sort(&error),
            Err(stopped) => self.stopped(&asked, stopped),
        };
        // Nobody knows whether it arrived; if it did, that is success.
        if error.is_passing() && self.is_of_call(key, &call, watch).unwrap_or(false) {
            return Ok(Claim::Ours);
        }
        Err(error)
    }

    fn put(&self, key: &str, content: Content, source: &mut dyn Read, watch: Watch<'_>) -> Result<(), ObjectError> {
        let path = self.path(key)?;
        let mut checked = Checked::new(key, content, source);
        if content.size > self.limits.part {
            return self.upload(key, &path, content, checked, watch);
        }
        watch()?;
        let payload = PutPayload::from(checked.next(self.limits.part)?);
        let options = PutOptions { attributes: attributes(&content, &call_id()), ..PutOptions::default() };
        let work = self.store.put_opts(&path, payload, options);
        self.run(&self.asked("put", key), content.size, watch, work).map(drop)
    }

    fn begin(self: Arc<Self>, key: &str) -> Result<Box<dyn Growing>, ObjectError> {
        self.grow(key)
    }

    fn head(&self, key: &str, watch: Watch<'_>) -> Result<ObjectInfo, ObjectError> {
        self.ask(key, watch).map(|(info, _)| info)
    }

    fn get_range(&self, key: &str, range: Range<u64>, watch: Watch<'_>) -> Result<Vec<u8>, ObjectError> {
        let path = self.path(key)?;
        let size = range.end.saturating_sub(range.start);
        if size == 0 {
            return Ok(Vec::new());
        }
        let part = self.limits.part;
        let pieces = (range.start..range.end).step_by(part as usize).map(|start| start..range.end.min(start + part));
        let work = stream::iter(pieces)
            .map(|piece| self.store.get_range(&path, piece))
            .buffered(self.limits.parallel.max(1))
            .try_fold(Vec::with_capacity(size as usize), |mut all, piece| async move {
                all.extend_from_slice(&piece);
                Ok(all)
            });
        let bytes = self.run(&self.asked("get", key), size, watch, work)?;
        if bytes.len() as u64 == size {
            Ok(bytes)
        } else {
            let reason = format!("{} bytes came of {size} that were asked for", bytes.len());
            Err(ObjectError::Damaged { key: key.into(), reason })
        }
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        each: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>,
        watch: Watch<'_>,
    ) -> Result<(), ObjectError> {
        key::check_prefix(prefix)?;
        let full = self.full(prefix);
        let below = (!full.is_empty()).then(|| Path::from(full.as_str()));
        let start = after.map(|after| self.path(after)).transpose()?;
        let mut found = match &start {
            Some(start) => self.store.list_with_offset(below.as_ref(), start),
            None => self.store.list(below.as_ref()),
        }
        .ready_chunks(PAGE);
        // The deadline is that of a page: a list is as long as it is.
        while let Some(page) = self.run(&self.asked("list", prefix), 0, watch, async { Ok(found.next().await) })? {
            for object in page {
                let object = object.map_err(|error| self.asked("list", prefix).sort(&error))?;
                let key = self.relative(object.location.as_ref()).to_owned();
                let info = ObjectInfo { key, size: object.size, modified: object.last_modified, sha256: None };
                if each(info).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn delete(&self, key: &str, watch: Watch<'_>) -> Result<Removal, ObjectError> {
        let path = self.path(key)?;
        match self.run(&self.asked("delete", key), 0, watch, self.store.delete(&path)) {
            Ok(()) | Err(ObjectError::Missing { .. }) => Ok(Removal::Gone),
            Err(ObjectError::Retained { .. }) => Ok(Removal::Retained),
            Err(error) => Err(error),
        }
    }

    fn sweep(&self, prefix: &str, before: DateTime<Utc>, watch: Watch<'_>) -> Result<Vec<String>, ObjectError> {
        self.sweep_uploads(prefix, before, watch)
    }
}

/// What is noted with an object.
pub(super) fn attributes(content: &Content, call: &str) -> Attributes {
    let mut attributes = call_attributes(call);
    attributes.insert(Attribute::Metadata(SHA256.into()), hex::encode(content.sha256).into());
    attributes
}

/// The same of what nobody knows the hash of yet.
pub(super) fn call_attributes(call: &str) -> Attributes {
    let mut attributes = Attributes::new();
    attributes.insert(Attribute::Metadata(CALL.into()), call.to_owned().into());
    attributes
}

fn metadata<'a>(attributes: &'a Attributes, name: &'static str) -> Option<&'a str> {
    attributes.get(&Attribute::Metadata(name.into())).map(AsRef::as_ref)
}

/// Tells one call from all others.
pub(super) fn call_id() -> String {
    let half = || RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:016x}", half(), half())
}
