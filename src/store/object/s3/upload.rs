//! Objects in parts. Until it is completed an upload is no object; one that fails is aborted, and one whose writer died is
//! swept later.

use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::stream::FuturesUnordered;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore as _, PutMultipartOptions, PutPayload};

use super::super::content::{Checked, Content};
use super::super::{ObjectError, Watch};
use super::S3;
use super::calls::{attributes, call_id};

/// What S3 allows.
const MOST_PARTS: u64 = 10_000;

/// How long an abort may take, and one after a cancel. Nobody waits longer: the sweep takes away what is left.
const ABORT: Duration = Duration::from_secs(5);
const ABORT_OF_CANCELLED: Duration = Duration::from_millis(500);

impl S3 {
    pub(super) fn upload(
        &self,
        key: &str,
        path: &Path,
        content: Content,
        checked: Checked<'_>,
        watch: Watch<'_>,
    ) -> Result<(), ObjectError> {
        let (asked, call) = (self.asked("put", key), call_id());
        let options = PutMultipartOptions { attributes: attributes(&content, &call), ..Default::default() };
        let mut upload = self.run(&asked, 0, watch, self.store.put_multipart_opts(path, options))?;
        let sent = self.send(key, &mut *upload, content.size, checked, watch);
        let error = match sent.and_then(|()| self.run(&asked, 0, watch, upload.complete()).map(drop)) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        // A reply that was lost: the try after it finds no upload any more, for it is an object.
        let may_be_done =
            error.is_passing() || matches!(error, ObjectError::Missing { .. } | ObjectError::Failed { .. });
        if may_be_done && self.is_of_call(key, &call, watch).unwrap_or(false) {
            return Ok(());
        }
        // The cause is what is told; an abort that fails leaves work for the sweep.
        let patience = if matches!(error, ObjectError::Cancelled) { ABORT_OF_CANCELLED } else { ABORT };
        let _ = self.driver().run(patience, &mut || Ok(()), upload.abort());
        Err(error)
    }

    fn send(
        &self,
        key: &str,
        upload: &mut dyn MultipartUpload,
        size: u64,
        mut checked: Checked<'_>,
        watch: Watch<'_>,
    ) -> Result<(), ObjectError> {
        let part = part_size(size, self.limits.part);
        let mut under_way = FuturesUnordered::new();
        loop {
            watch()?;
            let bytes = checked.next(part)?;
            let at_end = bytes.is_empty();
            if !at_end {
                under_way.push(upload.put_part(PutPayload::from(bytes)));
            }
            while under_way.len() >= self.limits.parallel.max(1) || (at_end && !under_way.is_empty()) {
                let next = under_way.try_next();
                self.run(&self.asked("put", key), part * self.limits.parallel as u64, watch, next)?;
            }
            if at_end {
                return Ok(());
            }
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
    use super::part_size;

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
