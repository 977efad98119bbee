//! Uploads that were begun and never finished: listed, and aborted when they are old. The crate does not list them, so this
//! request is made here, signed by the crate.

use std::time::Duration;

use chrono::{DateTime, Utc};
use object_store::client::{HttpClient, HttpErrorKind, HttpRequest, HttpRequestBody};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer};
use serde::Deserialize;

use super::super::{ObjectError, Watch, key};
use super::S3;
use super::answer::Asked;

/// How long the signature of the request holds.
const VALID: Duration = Duration::from_secs(600);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    is_truncated: bool,
    #[serde(default)]
    next_key_marker: String,
    #[serde(default)]
    next_upload_id_marker: String,
    #[serde(default, rename = "Upload")]
    uploads: Vec<Upload>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Upload {
    key: String,
    upload_id: String,
    initiated: DateTime<Utc>,
}

impl S3 {
    pub(super) fn sweep_uploads(
        &self,
        prefix: &str,
        before: DateTime<Utc>,
        watch: Watch<'_>,
    ) -> Result<Vec<String>, ObjectError> {
        key::check_prefix(prefix)?;
        let asked = self.asked("list unfinished uploads of", prefix);
        let below = match self.full(prefix) {
            full if full.is_empty() => full,
            full => full + "/",
        };
        let (mut swept, mut markers) = (Vec::new(), (String::new(), String::new()));
        loop {
            let page = self.page(&asked, &below, &markers, watch)?;
            for upload in page.uploads {
                let relative = self.relative(&upload.key);
                // What others put under this prefix with keys that cannot be ours stays.
                if upload.initiated >= before || !upload.key.starts_with(&below) || key::fault(relative).is_some() {
                    continue;
                }
                self.abort(relative, &upload.upload_id, watch)?;
                swept.push(relative.to_owned());
            }
            let next = (page.next_key_marker, page.next_upload_id_marker);
            if !page.is_truncated || next == markers {
                return Ok(swept);
            }
            markers = next;
        }
    }

    fn abort(&self, key: &str, upload: &str, watch: Watch<'_>) -> Result<(), ObjectError> {
        let (path, upload) = (self.path(key)?, upload.to_owned());
        match self.run(&self.asked("abort", key), 0, watch, self.store.abort_multipart(&path, &upload)) {
            // Its writer was quicker.
            Ok(()) | Err(ObjectError::Missing { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn page(
        &self,
        asked: &Asked<'_>,
        below: &str,
        (key, upload): &(String, String),
        watch: Watch<'_>,
    ) -> Result<Page, ObjectError> {
        let given = [("uploads", ""), ("prefix", below), ("key-marker", key), ("upload-id-marker", upload)];
        let query = given.into_iter().filter(|(name, value)| *name == "uploads" || !value.is_empty());
        let options = SignedUrlOptions::default().with_query(query);
        let root = Path::default();
        let client = HttpClient::new(self.connector.line());
        let text = self.run(asked, 0, watch, async {
            let url = self.store.signed_url_opts(reqwest::Method::GET, &root, VALID, &options).await?;
            fetch(&client, url.as_str(), self.limits.retries, self.limits.pause).await
        })?;
        quick_xml::de::from_str(&text)
            .map_err(|_| ObjectError::Failed { what: asked.what(), code: "its answer makes no sense".into() })
    }
}

/// Gets a text, trying again as the crate does for its own requests.
async fn fetch(client: &HttpClient, url: &str, retries: usize, pause: Duration) -> object_store::Result<String> {
    let failed =
        |source: Box<dyn std::error::Error + Send + Sync>| object_store::Error::Generic { store: "S3", source };
    let mut left = retries;
    loop {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() = url.parse().map_err(|_| failed("a URL that cannot be".into()))?;
        let outcome = match client.execute(request).await {
            Ok(response) => response.into_body().bytes().await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(bytes) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if left == 0 || error.kind() == HttpErrorKind::Unknown => return Err(failed(error.into())),
            Err(_) => left -= 1,
        }
        tokio::time::sleep(pause).await;
    }
}
