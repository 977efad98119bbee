//! Any S3-compatible store, by the crate `object_store`.
//!
//! ```text
//! call → Driver (the calling thread, in slices of 50 ms, watched, with a deadline)
//!      → object_store (signs; tries again what may be tried again, with jitter)
//!      → Line (sends; turns each answer that is no success into a fact of ours) → reqwest, rustls
//! ```

mod answer; // what a server says, reduced to what is known
mod calls; // the calls of the trait
mod driver; // runs futures on the calling thread
mod leftovers; // unfinished uploads
mod line; // sends requests
mod upload; // objects in parts, and those that grow

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use age::secrecy::ExposeSecret;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::{BackoffConfig, RetryConfig};

use super::error::ObjectError;
use super::profile::S3Options;
use answer::Asked;
use driver::Driver;
use line::Connector;

/// How long calls may take and how much they hold. The default suits the internet.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of making a connection.
    pub connect: Duration,
    /// Of one request, beside the time that its bytes take at `slowest`.
    pub request: Duration,
    /// Of a whole call with all its tries, beside the time that its bytes take at `slowest`.
    pub call: Duration,
    /// Bytes a second that a store must at least move.
    pub slowest: u64,
    /// How often a request is tried again.
    pub retries: usize,
    /// The first pause before; each later one is longer, at random, and below five seconds.
    pub pause: Duration,
    /// Bytes of a part. What is larger is put in parts; S3 wants 5 MiB at least, and 10,000 parts at most.
    pub part: u64,
    /// Parts under way at once.
    pub parallel: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connect: Duration::from_secs(10),
            request: Duration::from_secs(30),
            call: Duration::from_secs(120),
            slowest: 128 << 10,
            retries: 6,
            pause: Duration::from_millis(200),
            part: 8 << 20,
            parallel: 4,
        }
    }
}

impl Limits {
    fn deadline(&self, bytes: u64) -> Duration {
        self.call + Duration::from_secs(bytes / self.slowest.max(1))
    }
}

/// A bucket, below a prefix. Several threads may call; one call runs at a time.
pub struct S3 {
    bucket: String,
    prefix: String,
    store: Arc<AmazonS3>,
    connector: Connector,
    driver: Mutex<Driver>,
    limits: Limits,
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "S3(s3://{}/{})", self.bucket, self.prefix)
    }
}

impl S3 {
    /// Prepares a store; nothing is sent yet.
    ///
    /// # Errors
    /// `Misconfigured`: what the options say cannot be.
    pub fn new(bucket: &str, prefix: &str, options: &S3Options, limits: Limits) -> Result<Self, ObjectError> {
        let connector = Connector::new(options, &limits)?;
        let store = builder(bucket, options, &limits)
            .and_then(|builder| builder.with_http_connector(connector.clone()).build())
            .map_err(|_| misconfigured("region, endpoint or roles are not acceptable"))?;
        let driver = Driver::new().map_err(|_| misconfigured("no more resources for it on this machine"))?;
        Ok(S3 {
            bucket: bucket.into(),
            prefix: prefix.into(),
            store: Arc::new(store),
            connector,
            driver: Mutex::new(driver),
            limits,
        })
    }

    fn driver(&self) -> MutexGuard<'_, Driver> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key in the bucket.
    fn full(&self, key: &str) -> String {
        match (self.prefix.as_str(), key) {
            ("", key) => key.into(),
            (prefix, "") => prefix.into(),
            (prefix, key) => format!("{prefix}/{key}"),
        }
    }

    /// A key of the bucket as callers know it.
    fn relative<'k>(&self, full: &'k str) -> &'k str {
        let rest = full.strip_prefix(&self.prefix).unwrap_or(full);
        if self.prefix.is_empty() { rest } else { rest.strip_prefix('/').unwrap_or(rest) }
    }

    fn asked<'k>(&self, action: &'static str, key: &'k str) -> Asked<'k> {
        Asked { action, key }
    }
}

fn builder(bucket: &str, options: &S3Options, limits: &Limits) -> object_store::Result<AmazonS3Builder> {
    let mut builder = AmazonS3Builder::new();
    for (name, value) in &options.chain {
        builder = builder.with_config(name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>()?, value);
    }
    let path_style = options.path_style.unwrap_or(options.endpoint.is_some() || bucket.contains('.'));
    builder = builder
        .with_bucket_name(bucket)
        .with_virtual_hosted_style_request(!path_style)
        .with_checksum_algorithm(Checksum::SHA256)
        .with_disable_bulk_delete(true)
        .with_retry(RetryConfig {
            backoff: BackoffConfig {
                init_backoff: limits.pause,
                max_backoff: Duration::from_secs(5).max(limits.pause),
                base: 2.0,
            },
            max_retries: limits.retries,
            retry_timeout: limits.call,
        });
    if let Some(region) = &options.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &options.endpoint {
        let endpoint = endpoint.trim_end_matches('/');
        let host = || endpoint.split_once("://").map(|(scheme, host)| format!("{scheme}://{bucket}.{host}"));
        let hosted = if path_style { None } else { host() };
        builder = builder.with_endpoint(hosted.as_deref().unwrap_or(endpoint));
    }
    if let Some(credentials) = &options.credentials {
        builder =
            builder.with_access_key_id(&credentials.key_id).with_secret_access_key(credentials.secret.expose_secret());
        if let Some(token) = &credentials.token {
            builder = builder.with_token(token.expose_secret());
        }
    }
    Ok(builder)
}

fn misconfigured(reason: &str) -> ObjectError {
    ObjectError::Misconfigured { what: "be used".into(), reason: reason.into() }
}
