//! Objects in parts. Until it is completed an upload is no object; one that fails is aborted, and one whose writer died is
//! swept later.

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::stream::FuturesUnordered;
use object_store::path::Path;
use object_store::{
    Attributes, MultipartUpload, ObjectStore as _, PutMultipartOptions, PutOptions, PutPayload, UploadPart,
};

use super::super::content::{Checked, Content, Measured};
use super::super::{Growing, ObjectError, Watch};
use super::S3;
use super::calls::{attributes, call_attributes, call_id};

/// What S3 allows.
const MOST_PARTS: u64 = 10_000;

/// Parts of one size; the next ones are twice as large, where nobody knows how many there will be.
const PARTS_OF_A_SIZE: u64 = 2_000;

/// Bytes of parts under way at once, where parts are large.
const UNDER_WAY: u64 = 64 << 20;

/// How long an abort may take, and one after a cancel. Nobody waits longer: the sweep takes away what is left.
const ABORT: Duration = Duration::from_secs(5);
const ABORT_OF_CANCELLED: Duration = Duration::from_millis(500);

/// An upload that was begun, and its parts on the way.
struct Parts {
    upload: Box<dyn MultipartUpload>,
    under_way: FuturesUnordered<UploadPart>,
}

impl S3 {
    pub(super) fn upload(
        &self,
        key: &str,
        path: &Path,
        content: Content,
        mut checked: Checked<'_>,
        watch: Watch<'_>,
    ) -> Result<(), ObjectError> {
        let call = call_id();
        let mut parts = self.begin_parts(key, path, attributes(&content, &call), watch)?;
        let part = part_size(content.size, self.limits.part);
        let sent = loop {
            match checked.next(part) {
                Ok(bytes) if bytes.is_empty() => break self.settle(key, &mut parts, part, 0, watch),
                Ok(bytes) => match self.send(key, &mut parts, bytes, watch) {
                    Ok(()) => (),
                    Err(error) => break Err(error),
                },
                Err(error) => break Err(error),
            }
        };
        self.end(key, parts, &call, sent, watch)
    }

    fn begin_parts(
        &self,
        key: &str,
        path: &Path,
        attributes: Attributes,
        watch: Watch<'_>,
    ) -> Result<Parts, ObjectError> {
        let options = PutMultipartOptions { attributes, ..Default::default() };
        let upload = self.run(&self.asked("put", key), 0, watch, self.store.put_multipart_opts(path, options))?;
        Ok(Parts { upload, under_way: FuturesUnordered::new() })
    }

    /// Sends a part, once there is room on the line.
    fn send(&self, key: &str, parts: &mut Parts, bytes: Vec<u8>, watch: Watch<'_>) -> Result<(), ObjectError> {
        watch()?;
        let part = bytes.len() as u64;
        parts.under_way.push(parts.upload.put_part(PutPayload::from(bytes)));
        let room = (self.limits.parallel as u64).min(UNDER_WAY / part.max(1)).max(1) as usize;
        self.settle(key, parts, part, room - 1, watch)
    }

    /// Waits until no more than `most` parts are on their way.
    fn settle(
        &self,
        key: &str,
        parts: &mut Parts,
        part: u64,
        most: usize,
        watch: Watch<'_>,
    ) -> Result<(), ObjectError> {
        while parts.under_way.len() > most {
            let next = parts.under_way.try_next();
            self.run(&self.asked("put", key), part * self.limits.parallel as u64, watch, next)?;
        }
        Ok(())
    }

    /// Makes it an object where all was `sent`, and takes it back where not.
    fn end(
        &self,
        key: &str,
        parts: Parts,
        call: &str,
        sent: Result<(), ObjectError>,
        watch: Watch<'_>,
    ) -> Result<(), ObjectError> {
        let mut upload = parts.upload;
        let completed = sent.and_then(|()| self.run(&self.asked("put", key), 0, watch, upload.complete()).map(drop));
        let Err(error) = completed else { return Ok(()) };
        // A reply that was lost: the try after it finds no upload any more, for it is an object.
        let may_be_done =
            error.is_passing() || matches!(error, ObjectError::Missing { .. } | ObjectError::Failed { .. });
        if may_be_done && self.is_of_call(key, call, watch).unwrap_or(false) {
            return Ok(());
        }
        // The cause is what is told; an abort that fails leaves work for the sweep.
        self.take_back(&mut *upload, if matches!(error, ObjectError::Cancelled) { ABORT_OF_CANCELLED } else { ABORT });
        Err(error)
    }

    fn take_back(&self, upload: &mut dyn MultipartUpload, patience: Duration) {
        let _ = self.driver().run(patience, &mut || Ok(()), upload.abort());
    }

    /// An object that grows.
    pub(super) fn grow(self: Arc<Self>, key: &str) -> Result<Box<dyn Growing>, ObjectError> {
        let path = self.path(key)?;
        let (key, call) = (key.to_owned(), call_id());
        let (held, measured) = (Vec::new(), Measured::default());
        Ok(Box::new(Grown { store: self, key, path, call, held, parts: None, begun: 0, measured }))
    }
}

/// An object in the making.
struct Grown {
    store: Arc<S3>,
    key: String,
    path: Path,
    call: String,
    /// Less than a part.
    held: Vec<u8>,
    /// None while all is held.
    parts: Option<Parts>,
    /// How many parts there are.
    begun: u64,
    measured: Measured,
}

/// Bytes of part number `begun` of what may become large.
fn growing_part(begun: u64, first: u64) -> u64 {
    first << (begun / PARTS_OF_A_SIZE).min(4)
}

impl Grown {
    fn part(&self) -> u64 {
        growing_part(self.begun, self.store.limits.part)
    }

    fn send_held(&mut self, watch: Watch<'_>) -> Result<(), ObjectError> {
        if self.parts.is_none() {
            let attributes = call_attributes(&self.call);
            self.parts = Some(self.store.begin_parts(&self.key, &self.path, attributes, watch)?);
        }
        self.begun += 1;
        let bytes = std::mem::take(&mut self.held);
        match &mut self.parts {
            Some(parts) => self.store.send(&self.key, parts, bytes, watch),
            None => Ok(()),
        }
    }
}

impl Growing for Grown {
    fn append(&mut self, mut bytes: &[u8], watch: Watch<'_>) -> Result<(), ObjectError> {
        self.measured.add(bytes);
        while !bytes.is_empty() {
            let room = self.part() as usize - self.held.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.held.extend_from_slice(now);
            bytes = later;
            if self.held.len() as u64 == self.part() {
                self.send_held(watch)?;
            }
        }
        Ok(())
    }

    fn settle(&mut self, watch: Watch<'_>) -> Result<(), ObjectError> {
        let part = self.part();
        match &mut self.parts {
            Some(parts) => self.store.settle(&self.key, parts, part, 0, watch),
            None => Ok(watch()?),
        }
    }

    fn finish(mut self: Box<Self>, watch: Watch<'_>) -> Result<Content, ObjectError> {
        watch()?;
        let content = std::mem::take(&mut self.measured).content();
        if self.parts.is_none() {
            let options = PutOptions { attributes: attributes(&content, &self.call), ..PutOptions::default() };
            let payload = PutPayload::from(std::mem::take(&mut self.held));
            let work = self.store.store.put_opts(&self.path, payload, options);
            self.store.run(&self.store.asked("put", &self.key), content.size, watch, work)?;
            return Ok(content);
        }
        let rest = if self.held.is_empty() { Ok(()) } else { self.send_held(watch) };
        let sent = rest.and_then(|()| self.settle(watch));
        match self.parts.take() {
            Some(parts) => self.store.end(&self.key, parts, &self.call, sent, watch).map(|()| content),
            None => Ok(content),
        }
    }
}

impl Drop for Grown {
    fn drop(&mut self) {
        if let Some(mut parts) = self.parts.take() {
            parts.under_way.clear();
            self.store.take_back(&mut *parts.upload, ABORT_OF_CANCELLED);
        }
    }
}

/// Bytes of a part, so that there are not too many.
fn part_size(size: u64, wanted: u64) -> u64 {
    const STEP: u64 = 1 << 20;
    if size.div_ceil(wanted) <= MOST_PARTS { wanted } else { size.div_ceil(MOST_PARTS).next_multiple_of(STEP) }
}

#[cfg(test)]
mod tests {
    use super::{MOST_PARTS, growing_part, part_size};

    #[test]
    fn an_object_that_grows_may_become_large() {
        let most: u64 = (0..MOST_PARTS).map(|begun| growing_part(begun, 8 << 20)).sum();
        assert_eq!(most >> 30, 484);
    }

    #[test]
    fn an_object_never_has_more_parts_than_s3_allows() {
        let wanted = 8 << 20;
        assert_eq!(part_size(9 << 20, wanted), wanted);
        for size in [wanted * 10_000, wanted * 10_000 + 1, 5 << 40] {
            let part = part_size(size, wanted);
            assert!(size.div_ceil(part) <= 10_000 && part <= 5 << 30, "{size}: {part}");
        }
    }
}
