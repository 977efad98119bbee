//! The calls of `s3s-fs` that a client of backups needs, each noted, held up or refused as the test says; and the list
//! of unfinished uploads, which `s3s-fs` has not.

use std::path::Path;

use chrono::Utc;
use s3s::dto::*;
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use super::{Call, Shared, locked};

/// Between two looks at whether a call is still held up.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(10);

pub(super) struct Watched {
    files: s3s_fs::FileSystem,
    state: Shared,
}

impl Watched {
    pub(super) fn new(dir: &Path, state: Shared) -> Self {
        let files = s3s_fs::FileSystem::new(dir).unwrap_or_else(|error| panic!("{}: {error:?}", dir.display()));
        Watched { files, state }
    }

    /// Notes a call, waits while such calls are held up, and fails it if it shall.
    async fn enter(&self, name: &'static str, key: &str) -> S3Result<()> {
        locked(&self.state).calls.push(Call { name, key: key.into(), bytes: 0 });
        while locked(&self.state).stalled.contains(name) {
            tokio::time::sleep(PATIENCE).await;
        }
        if locked(&self.state).failing.contains(name) {
            return Err(S3Error::with_message(S3ErrorCode::ServiceUnavailable, "out of order"));
        }
        Ok(())
    }

    fn end_upload(&self, id: &str) {
        locked(&self.state).uploads.retain(|(begun, ..)| begun != id);
    }
}

#[async_trait::async_trait]
impl S3 for Watched {
    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        self.enter("PutObject", &req.input.key).await?;
        self.files.put_object(req).await
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        self.enter("HeadObject", &req.input.key).await?;
        self.files.head_object(req).await
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let key = req.input.key.clone();
        self.enter("GetObject", &key).await?;
        let answer = self.files.get_object(req).await?;
        let bytes = answer.output.content_length.unwrap_or_default().cast_unsigned();
        locked(&self.state).calls.push(Call { name: "given", key, bytes });
        Ok(answer)
    }

    async fn list_objects_v2(&self, req: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        self.enter("ListObjectsV2", req.input.prefix.as_deref().unwrap_or_default()).await?;
        self.files.list_objects_v2(req).await
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let key = req.input.key.clone();
        self.enter("DeleteObject", &key).await?;
        if locked(&self.state).locked.iter().any(|prefix| key.starts_with(prefix)) {
            return Err(S3Error::with_message(
                S3ErrorCode::AccessDenied,
                "Access Denied because object protected by object lock.",
            ));
        }
        self.files.delete_object(req).await
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let key = req.input.key.clone();
        self.enter("CreateMultipartUpload", &key).await?;
        let answer = self.files.create_multipart_upload(req).await?;
        let id = answer.output.upload_id.clone().unwrap_or_default();
        locked(&self.state).uploads.push((id, key, Utc::now()));
        Ok(answer)
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        self.enter("UploadPart", &req.input.key).await?;
        self.files.upload_part(req).await
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        self.enter("CompleteMultipartUpload", &req.input.key).await?;
        let id = req.input.upload_id.clone();
        let answer = self.files.complete_multipart_upload(req).await?;
        self.end_upload(&id);
        Ok(answer)
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.enter("AbortMultipartUpload", &req.input.key).await?;
        let id = req.input.upload_id.clone();
        let answer = self.files.abort_multipart_upload(req).await?;
        self.end_upload(&id);
        Ok(answer)
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let prefix = req.input.prefix.clone().unwrap_or_default();
        self.enter("ListMultipartUploads", &prefix).await?;
        let uploads = locked(&self.state).uploads.clone();
        let below = uploads.into_iter().filter(|(_, key, _)| key.starts_with(&prefix));
        let uploads = below.map(|(id, key, begun)| MultipartUpload {
            key: Some(key),
            upload_id: Some(id),
            initiated: Some(Timestamp::from(std::time::SystemTime::from(begun))),
            ..MultipartUpload::default()
        });
        let output = ListMultipartUploadsOutput {
            bucket: Some(req.input.bucket),
            is_truncated: Some(false),
            uploads: Some(uploads.collect()),
            ..ListMultipartUploadsOutput::default()
        };
        Ok(S3Response::new(output))
    }
}
