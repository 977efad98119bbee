//! Sends requests, follows no redirection, and turns each answer that is no success into an [`Answer`]. The body of such an
//! answer goes no further, since it may repeat what was sent.

use std::time::Duration;

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client};

use super::super::error::ObjectError;
use super::super::profile::S3Options;
use super::answer::{Answer, Broken};
use super::{Limits, misconfigured};

/// How long the service that gives an instance its credentials may take: it is near, or there is none.
const NEAR: Duration = Duration::from_secs(2);

/// Most bytes of an answer that are looked at.
const BODY_LIMIT: usize = 64 << 10;

/// One HTTP client, given to all who ask for one.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    client: Client,
}

impl Connector {
    pub(super) fn new(options: &S3Options, limits: &Limits) -> Result<Self, ObjectError> {
        let tls = rustls::crypto::ring::default_provider();
        // Another store of this process may have done so before, with the same.
        let _ = rustls::crypto::CryptoProvider::install_default(tls);
        let mut builder = Client::builder()
            .redirect(Policy::none())
            .http1_only()
            .connect_timeout(limits.connect)
            .timeout(limits.request + Duration::from_secs(limits.part / limits.slowest.max(1)));
        if let Some(path) = &options.ca_bundle {
            let unreadable = || misconfigured(&format!("\"{}\" is no file of certificates", path.display()));
            let pem = std::fs::read(path).map_err(|_| unreadable())?;
            builder = builder.tls_certs_merge(Certificate::from_pem_bundle(&pem).map_err(|_| unreadable())?);
        }
        let client = builder.build().map_err(|_| misconfigured("no certificates to trust were found"))?;
        Ok(Connector { client })
    }

    /// The client for requests of our own.
    pub(super) fn line(&self) -> Line {
        Line { client: self.client.clone() }
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.line()))
    }
}

/// The one way out.
#[derive(Debug)]
pub(super) struct Line {
    client: Client,
}

#[async_trait]
impl HttpService for Line {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let for_credentials = request.uri().host().is_some_and(gives_credentials);
        let sent = self.client.call(request);
        let outcome = if for_credentials {
            match tokio::time::timeout(NEAR, sent).await {
                Ok(outcome) => outcome,
                Err(_) => return Err(HttpError::new(HttpErrorKind::Unknown, Broken::NoCredentials)),
            }
        } else {
            sent.await
        };
        let response = outcome.map_err(|error| match for_credentials {
            true => HttpError::new(HttpErrorKind::Unknown, Broken::NoCredentials),
            false => Broken::explain(&error),
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        if for_credentials {
            return Err(HttpError::new(HttpErrorKind::Unknown, Broken::NoCredentials));
        }
        let status = response.status().as_u16();
        let region = response.headers().get("x-amz-bucket-region").and_then(|value| value.to_str().ok());
        let region = region.map(str::to_owned);
        let body = response.into_body().bytes().await.unwrap_or_default();
        let body = String::from_utf8_lossy(&body[..body.len().min(BODY_LIMIT)]);
        let answer = Answer::new(status, &body, region.as_deref());
        // This kind is tried again whatever the request was.
        let kind = if answer.is_passing() { HttpErrorKind::Request } else { HttpErrorKind::Unknown };
        Err(HttpError::new(kind, answer))
    }
}

/// Services of the link or of the token exchange, not of the store.
fn gives_credentials(host: &str) -> bool {
    host.starts_with("169.254.")
        || host.starts_with("[fd00:ec2:")
        || (host.starts_with("sts.") && host.ends_with("amazonaws.com"))
}
