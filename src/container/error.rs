//! What can be wrong with a container or a manifest, in distinct words per case.

use std::io;

use crate::stream::StreamError;

/// Errors of containers and manifests; `what` names the object: the manifest, the trailer, an entry, a chunk.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    #[error("{what} is missing")]
    Missing { what: String },
    #[error("{what} is truncated: {detail}")]
    Truncated { what: String, detail: String },
    #[error("{what} has changed: {detail}")]
    Changed { what: String, detail: String },
    #[error("{what} is unreadable: {detail}")]
    Unreadable { what: String, detail: String },
    #[error("{what} has version {found}, and this program knows versions up to {known}")]
    UnsupportedVersion { what: String, found: u64, known: u32 },
    #[error("cannot read {what}: {source}")]
    Read { what: String, source: io::Error },
    #[error("cannot write {what}: {source}")]
    Write { what: String, source: io::Error },
    #[error("entry \"{0}\" cannot be written: a name is relative, of plain components, and used once")]
    Name(String),
    #[error("entry \"{what}\" cannot be written: {source}")]
    Stream { what: String, source: StreamError },
}

impl ContainerError {
    pub(crate) fn unreadable(what: impl Into<String>, detail: impl Into<String>) -> Self {
        ContainerError::Unreadable { what: what.into(), detail: detail.into() }
    }

    pub(crate) fn changed(what: impl Into<String>, detail: impl Into<String>) -> Self {
        ContainerError::Changed { what: what.into(), detail: detail.into() }
    }
}

/// All damage that a verification found; empty if none.
#[derive(Debug, Default)]
#[must_use = "a verdict that nobody reads verifies nothing"]
pub struct Findings(pub Vec<ContainerError>);

impl Findings {
    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds what another verification found.
    pub fn extend(&mut self, more: Findings) {
        self.0.extend(more.0);
    }

    pub(crate) fn note(&mut self, outcome: Result<(), ContainerError>) {
        self.0.extend(outcome.err());
    }
}
