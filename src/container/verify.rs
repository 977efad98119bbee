//! The levels of verification that need no server. Each gathers all damage before it returns.

use sha2::{Digest, Sha256};

use super::error::{ContainerError, Findings};
use super::manifest::Entry;
use super::read_at::ReadAt;
use super::reader::Container;
use crate::stream::{Chunk, RowDigest};

impl<R: ReadAt> Container<R> {
    /// Level `hash` for the whole file, in one pass: every entry's stored bytes, and all between them. With `open`,
    /// which checked the rest, any changed bit is found. Does not prove that the bytes decode to the right rows.
    pub fn verify_content(&self) -> Findings {
        let mut findings = Findings::default();
        let mut whole = Sha256::new();
        let mut at = 0;
        for entry in &self.manifest.entries {
            let what = format!("what lies before \"{}\"", entry.name);
            findings.note(self.hash_range(&what, at, entry.data_offset, &mut |bytes| whole.update(bytes)));
            findings.note(self.hash_entry(entry, &mut |bytes| whole.update(bytes)));
            at = entry.data_offset + entry.stored_bytes;
        }
        let end = self.manifest.content_bytes;
        findings.note(self.hash_range("the end of the content", at, end, &mut |bytes| whole.update(bytes)));
        if findings.is_clean() && hex::encode(whole.finalize()) != self.manifest.content_sha256 {
            findings.note(Err(ContainerError::changed(
                "the container",
                "its entries are whole, but headers or padding between them do not fit the manifest's SHA-256",
            )));
        }
        findings
    }

    /// Level `hash` for one entry: its stored bytes fit the manifest's SHA-256.
    pub fn verify_stored(&self, entry: &Entry) -> Findings {
        let mut findings = Findings::default();
        findings.note(self.hash_entry(entry, &mut |_| {}));
        findings
    }

    /// Level `decode` for one entry: every chunk inflates to its length, and `read`, which decodes the plain bytes of
    /// a chunk and gives its rows and their digest, agrees with the manifest. Does not prove that a server takes the
    /// rows.
    pub fn verify_decoded(
        &self,
        entry: &Entry,
        mut read: impl FnMut(&[u8]) -> Result<(u64, RowDigest), String>,
    ) -> Findings {
        let mut tally = Tally::default();
        let mut chunks = match self.chunks(entry) {
            Ok(chunks) => chunks,
            Err(error) => return Findings(vec![error]),
        };
        loop {
            match chunks.next_chunk() {
                Ok(None) => break,
                Ok(Some((chunk, plain))) => {
                    let part = read(plain).map_err(|reason| ContainerError::unreadable(place(entry, chunk), reason));
                    tally.add(entry, chunk, part);
                }
                Err(error) => tally.findings.note(Err(error)),
            }
        }
        tally.verdict(entry)
    }

    fn hash_entry(&self, entry: &Entry, also: &mut dyn FnMut(&[u8])) -> Result<(), ContainerError> {
        let what = format!("entry \"{}\"", entry.name);
        let mut hash = Sha256::new();
        self.hash_range(&what, entry.data_offset, entry.data_offset + entry.stored_bytes, &mut |bytes| {
            hash.update(bytes);
            also(bytes);
        })?;
        if hex::encode(hash.finalize()) == entry.sha256 {
            Ok(())
        } else {
            Err(ContainerError::changed(what, "its stored bytes do not fit the manifest's SHA-256"))
        }
    }
}

/// What the chunks of an entry hold, gathered one by one, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Tally {
    pub rows: u64,
    pub digest: RowDigest,
    findings: Findings,
}

impl Tally {
    /// Adds a chunk: its rows and their digest, or why it has none.
    pub fn add(&mut self, entry: &Entry, chunk: Chunk, part: Result<(u64, RowDigest), ContainerError>) {
        match part {
            Ok((rows, digest)) => {
                self.rows += rows;
                self.digest.merge(digest);
                if rows != chunk.rows {
                    let detail = format!("it holds {rows} rows, the manifest says {}", chunk.rows);
                    self.findings.note(Err(ContainerError::changed(place(entry, chunk), detail)));
                }
            }
            Err(error) => self.findings.note(Err(error)),
        }
    }

    /// The verdict, once all chunks were added.
    pub fn verdict(mut self, entry: &Entry) -> Findings {
        let told = entry.row_digest.as_deref();
        if self.findings.is_clean() && told.is_some_and(|told| told != self.digest.to_string()) {
            let detail =
                format!("the digest of its rows is {}, the manifest says {}", self.digest, told.unwrap_or_default());
            self.findings.note(Err(ContainerError::changed(format!("entry \"{}\"", entry.name), detail)));
        }
        if self.findings.is_clean() && self.rows != entry.rows {
            let detail = format!("it holds {} rows, the manifest says {}", self.rows, entry.rows);
            self.findings.note(Err(ContainerError::changed(format!("entry \"{}\"", entry.name), detail)));
        }
        self.findings
    }
}

fn place(entry: &Entry, chunk: Chunk) -> String {
    format!("chunk of \"{}\" from row {}", entry.name, chunk.first_row)
}
