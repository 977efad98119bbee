//! Writes a container from its first byte to its last: entries, manifest, end of tar, trailer. Never seeks.

use std::collections::HashSet;
use std::io::{self, Write};

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::MANIFEST_NAME;
use super::error::ContainerError;
use super::header::{BLOCK, padding, tar_header};
use super::manifest::{Entry, Keys, Manifest};
use super::read_at::ReadAt;
use super::reader::Container;
use super::slot;
use super::trailer::Trailer;
use crate::plan::{Compression, Format};
use crate::stream::{Chunk, Compressor, Frame, Spooled, StreamError};

/// Most plain bytes in one chunk of an entry that was given as bytes.
const CHUNK: usize = 1 << 20;

/// Stored bytes left behind a tar header, and stored bytes of the zeros behind an entry: when rows are erased another size
/// is told, and other zeros follow, and nothing may move. A plain tar has neither.
const HEADER_ROOM: usize = 40;
const PADDING_SLOT: usize = 72;
/// Bytes copied at once.
const COPIED: u64 = 1 << 20;

/// A container in the making. When any call fails, what was written so far is of no use.
pub struct ContainerWriter<W: Write> {
    out: Counted<W>,
    compression: Compression,
    compressor: Compressor,
    mtime: u64,
    names: HashSet<String>,
    entries: Vec<Entry>,
}

/// A finished container.
pub struct Written<W> {
    /// What was written to, not yet flushed or synced.
    pub out: W,
    /// Length of the whole file.
    pub bytes: u64,
    /// SHA-256 of the whole file.
    pub sha256: [u8; 32],
    /// The manifest with all that the writer set.
    pub manifest: Manifest,
    /// Its text, as it is in the container, for the file beside it.
    pub manifest_bytes: Vec<u8>,
}

impl<W: Write> ContainerWriter<W> {
    /// Starts at the first byte of `out`, which should be buffered: headers and separators are writes of some 30 bytes.
    /// `mtime` is what each entry tells. Errors: a wrong level.
    pub fn new(out: W, compression: Compression, mtime: DateTime<Utc>) -> Result<Self, ContainerError> {
        let compressor = Compressor::new(compression)
            .map_err(|source| ContainerError::Stream { what: "the container".into(), source })?;
        Ok(ContainerWriter {
            out: Counted { inner: out, offset: 0, file: Sha256::new(), tail: None },
            compression,
            compressor,
            mtime: u64::try_from(mtime.timestamp()).unwrap_or(0),
            names: HashSet::from([MANIFEST_NAME.to_string()]),
            entries: Vec::new(),
        })
    }

    /// A container that begins with all that another holds but its manifest, byte for byte. `watch` is called between the
    /// steps. Errors: `Changed` where the other is not what its manifest says, `Read`, `Write`, a wrong level.
    pub fn copy_of<R: ReadAt>(from: &Container<R>, out: W, watch: &mut dyn FnMut()) -> Result<Self, ContainerError> {
        let manifest = &from.manifest;
        let mut writer = Self::new(out, manifest.compression, manifest.started_at)?;
        let what = "the container";
        let (mut at, mut block) = (0, vec![0; COPIED.min(manifest.content_bytes) as usize]);
        while at < manifest.content_bytes {
            watch();
            let bytes = &mut block[..COPIED.min(manifest.content_bytes - at) as usize];
            let read = from.source.read_exact_at(at, bytes);
            read.map_err(|source| ContainerError::Read { what: what.into(), source })?;
            writer.write(what, bytes)?;
            at += bytes.len() as u64;
        }
        if hex::encode(writer.out.file.clone().finalize()) != manifest.content_sha256 {
            return Err(ContainerError::changed(what, "its content does not fit the manifest's SHA-256"));
        }
        writer.names.extend(manifest.entries.iter().map(|entry| entry.name.clone()));
        writer.entries = manifest.entries.clone();
        Ok(writer)
    }

    /// Adds what a scan spooled as one file of `format` of the manifest's member number `table`. The spool's chunks
    /// must be of this container's compression. `out` may raise an interrupt from its `write`.
    pub fn add_spooled(
        &mut self,
        name: &str,
        table: usize,
        format: Format,
        spooled: &Spooled,
        frame: &Frame,
    ) -> Result<&Entry, ContainerError> {
        let header_offset = self.start(name, spooled.plain_len(frame))?;
        let data_offset = self.out.offset;
        let copied =
            spooled.copy_to(frame, &mut self.compressor, &mut self.out).map_err(|source| stream_error(name, source))?;
        self.pad(name, copied.plain_bytes)?;
        let absolute = |chunk: Chunk| Chunk { offset: data_offset + chunk.offset, ..chunk };
        self.entries.push(Entry {
            name: name.into(),
            table: Some(table),
            format: Some(format),
            rows: spooled.rows,
            row_digest: Some(spooled.digest.to_string()),
            header_offset,
            data_offset,
            stored_bytes: copied.stored_bytes,
            plain_bytes: copied.plain_bytes,
            sha256: hex::encode(copied.sha256),
            chunks: copied.chunks.into_iter().map(absolute).collect(),
            keys: None,
            subjects: Vec::new(),
        });
        self.last()
    }

    /// Adds the filters of the chunks of the entry that was added last, which is told where they are. They have no frame
    /// and no rows of their own.
    pub fn add_keys(&mut self, columns: &[String], spooled: &Spooled) -> Result<(), ContainerError> {
        let of = self.last()?.name.clone();
        let keys = self.add_filters(&of, "keys", columns, spooled)?;
        self.tell(&of, |entry| entry.keys = Some(keys))
    }

    /// Adds the filters of a subject of the entry `of`, as `add_keys` does those of its key.
    pub fn add_subject(&mut self, of: &str, subject: &str, spooled: &Spooled) -> Result<(), ContainerError> {
        let number = self.entries.iter().find(|entry| entry.name == of).map_or(0, |entry| entry.subjects.len());
        let keys = self.add_filters(of, &format!("subject{}", number + 1), &[subject.to_owned()], spooled)?;
        self.tell(of, |entry| entry.subjects.push(keys))
    }

    fn add_filters(
        &mut self,
        of: &str,
        suffix: &str,
        columns: &[String],
        spooled: &Spooled,
    ) -> Result<Keys, ContainerError> {
        let name = format!("{of}.{suffix}");
        self.add_spooled(&name, 0, Format::Csv, spooled, &Frame::default())?;
        if let Some(keys) = self.entries.last_mut() {
            (keys.table, keys.format, keys.rows, keys.row_digest) = (None, None, 0, None);
            keys.chunks.iter_mut().for_each(|chunk| (chunk.first_row, chunk.rows) = (0, 0));
        }
        Ok(Keys { entry: name, columns: columns.to_vec() })
    }

    fn tell(&mut self, name: &str, what: impl FnOnce(&mut Entry)) -> Result<(), ContainerError> {
        let missing = || ContainerError::Missing { what: format!("entry \"{name}\"") };
        self.entries.iter_mut().find(|entry| entry.name == name).ok_or_else(missing).map(what)
    }

    /// Adds a file that belongs to no table (`schema.sql`). It has chunks like any other, of no rows.
    pub fn add_bytes(&mut self, name: &str, bytes: &[u8]) -> Result<&Entry, ContainerError> {
        let header_offset = self.start(name, bytes.len() as u64)?;
        let data_offset = self.out.offset;
        let mut hash = Sha256::new();
        let mut chunks = Vec::new();
        for plain in bytes.chunks(CHUNK) {
            let offset = self.out.offset;
            let stored = self.member(name, plain)?;
            hash.update(&stored);
            let (stored_len, plain_len) = (stored.len() as u64, plain.len() as u64);
            chunks.push(Chunk { offset, stored_len, plain_len, first_row: 0, rows: 0 });
        }
        let stored_bytes = self.out.offset - data_offset;
        self.pad(name, bytes.len() as u64)?;
        self.entries.push(Entry {
            name: name.into(),
            table: None,
            format: None,
            rows: 0,
            row_digest: None,
            header_offset,
            data_offset,
            stored_bytes,
            plain_bytes: bytes.len() as u64,
            sha256: hex::encode(hash.finalize()),
            chunks,
            keys: None,
            subjects: Vec::new(),
        });
        self.last()
    }

    /// Ends the container with `manifest`, into which it puts entries, compression and the hash of the content.
    pub fn finish(mut self, mut manifest: Manifest) -> Result<Written<W>, ContainerError> {
        manifest.compression = self.compression;
        manifest.entries = std::mem::take(&mut self.entries);
        self.end(manifest)
    }

    /// Goes on behind a content that stands already: `out` takes what follows it. The manifest has its entries.
    pub(super) fn behind(
        out: W,
        manifest: &Manifest,
        content: Sha256,
        content_bytes: u64,
        mtime: u64,
    ) -> Result<Self, ContainerError> {
        let mut writer = ContainerWriter::new(out, manifest.compression, DateTime::default())?;
        writer.mtime = mtime;
        (writer.out.offset, writer.out.file) = (content_bytes, content);
        Ok(writer)
    }

    pub(super) fn end(mut self, mut manifest: Manifest) -> Result<Written<W>, ContainerError> {
        manifest.content_bytes = self.out.offset;
        manifest.content_sha256 = hex::encode(self.out.file.clone().finalize());
        let text = manifest.to_bytes()?;
        // What would be refused on reading is refused before it is a backup.
        let manifest = Manifest::parse(&text)?;
        self.out.tail = Some(Sha256::new());

        self.names.remove(MANIFEST_NAME);
        let header_offset = self.start(MANIFEST_NAME, text.len() as u64)?;
        let data_offset = self.out.offset;
        for plain in text.chunks(CHUNK) {
            self.member(MANIFEST_NAME, plain)?;
        }
        let stored_len = self.out.offset - data_offset;
        self.pad(MANIFEST_NAME, text.len() as u64)?;
        self.member("end of tar", &[0; 2 * BLOCK])?;

        let tail = self.out.tail.take().unwrap_or_default();
        let tail_sha256 = tail.finalize().into();
        let plain_len = text.len() as u64;
        let trailer = Trailer { header_offset, data_offset, stored_len, plain_len, tail_sha256 };
        self.write("trailer", &trailer.to_bytes(self.compression)?)?;
        Ok(Written {
            bytes: self.out.offset,
            sha256: self.out.file.finalize().into(),
            out: self.out.inner,
            manifest,
            manifest_bytes: text,
        })
    }

    /// Hands on what was held back, as far as `out` does.
    pub fn flush(&mut self) -> Result<(), ContainerError> {
        self.out.flush().map_err(|source| ContainerError::Write { what: "the container".into(), source })
    }

    /// Bytes written so far.
    pub(super) fn offset(&self) -> u64 {
        self.out.offset
    }

    fn last(&self) -> Result<&Entry, ContainerError> {
        self.entries.last().ok_or_else(|| ContainerError::Missing { what: "the entry just written".into() })
    }

    /// Writes the tar header of a new entry and gives its offset.
    pub(super) fn start(&mut self, name: &str, plain_bytes: u64) -> Result<u64, ContainerError> {
        let header = tar_header(name, plain_bytes, self.mtime)?;
        if !self.names.insert(name.into()) {
            return Err(ContainerError::Name(name.into()));
        }
        let offset = self.out.offset;
        self.member(name, &header)?;
        self.room(name, HEADER_ROOM)?;
        Ok(offset)
    }

    /// The zeros behind an entry of this size.
    pub(super) fn pad(&mut self, name: &str, plain_bytes: u64) -> Result<(), ContainerError> {
        let stored = self.member(name, &[0; BLOCK][..padding(plain_bytes)])?;
        self.room(name, PADDING_SLOT.saturating_sub(stored.len()))
    }

    /// Stored bytes that hold nothing.
    fn room(&mut self, name: &str, bytes: usize) -> Result<(), ContainerError> {
        let mut room = Vec::new();
        if slot::fill(self.compression, bytes, &mut room) { self.write(name, &room) } else { Ok(()) }
    }

    /// Writes one member (none for no bytes) after reading it back, and gives its stored bytes.
    pub(super) fn member(&mut self, name: &str, plain: &[u8]) -> Result<Vec<u8>, ContainerError> {
        let mut stored = Vec::new();
        self.compressor.compress_checked(plain, &mut stored, &|| false).map_err(|source| stream_error(name, source))?;
        self.write(name, &stored)?;
        Ok(stored)
    }

    pub(super) fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), ContainerError> {
        self.out.write_all(bytes).map_err(|source| ContainerError::Write { what: format!("\"{name}\""), source })
    }
}

fn stream_error(name: &str, source: StreamError) -> ContainerError {
    match source {
        StreamError::Write(source) => ContainerError::Write { what: format!("\"{name}\""), source },
        source => ContainerError::Stream { what: name.into(), source },
    }
}

/// Counts and hashes what passes.
struct Counted<W> {
    inner: W,
    offset: u64,
    file: Sha256,
    /// Hashes from the manifest's header on.
    tail: Option<Sha256>,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        let written = bytes.get(..count).ok_or(io::ErrorKind::InvalidData)?;
        self.offset += count as u64;
        self.file.update(written);
        if let Some(tail) = &mut self.tail {
            tail.update(written);
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
