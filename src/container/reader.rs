//! Reads a container by offset: trailer, manifest, then only the chunks that are asked for.

use std::io::{self, BufReader, Read};

use sha2::{Digest, Sha256};

use super::error::ContainerError;
use super::manifest::{Entry, Manifest};
use super::parse::MAX_BYTES;
use super::read_at::ReadAt;
use super::trailer::Trailer;
use crate::plan::Compression;
use crate::stream::inflate::plain_reader;
use crate::stream::{Chunk, Inflater};

/// How far from the end a trailer is looked for, to tell a file with bytes appended from one cut off.
const TAIL: u64 = 64 << 10;

/// Bytes hashed at once.
const BLOCK: usize = 1 << 20;

const WHAT: &str = "the container";

/// An open container whose manifest has been read and holds what `Manifest::parse` promises.
pub struct Container<R> {
    pub(super) source: R,
    pub manifest: Manifest,
    /// The manifest's text, to compare with the file beside the container.
    pub manifest_bytes: Vec<u8>,
    pub(super) method: Compression,
}

impl<R: ReadAt> Container<R> {
    /// Finds and checks trailer, tail and manifest; reads nothing else. Errors: `Missing` (no byte), `Truncated`
    /// (no trailer), `Changed`, `UnsupportedVersion`, `Unreadable`, `Read`.
    pub fn open(source: R) -> Result<Self, ContainerError> {
        let length = source.len().map_err(read_error(WHAT))?;
        if length == 0 {
            return Err(ContainerError::Missing { what: WHAT.into() });
        }
        let mut start = vec![0; length.min(4) as usize];
        source.read_exact_at(0, &mut start).map_err(read_error(WHAT))?;
        let method = method_of(&start);
        let mut end = vec![0; length.min(TAIL) as usize];
        source.read_exact_at(length - end.len() as u64, &mut end).map_err(read_error(WHAT))?;
        let trailer = Trailer::parse(method, &end)?;
        let trailer_at = length - super::trailer::size(method)?;
        check_tail(&source, &trailer, trailer_at)?;
        let manifest_bytes = read_manifest(&source, &trailer)?;
        let manifest = Manifest::parse(&manifest_bytes)?;
        if manifest.content_bytes != trailer.header_offset
            || std::mem::discriminant(&manifest.compression) != std::mem::discriminant(&method)
        {
            return Err(ContainerError::changed(WHAT, "its manifest is of another file"));
        }
        Ok(Container { source, manifest, manifest_bytes, method })
    }

    /// The entry of this name. Errors: `Missing`.
    pub fn entry(&self, name: &str) -> Result<&Entry, ContainerError> {
        self.manifest.entry(name).ok_or_else(|| ContainerError::Missing { what: format!("entry \"{name}\"") })
    }

    /// The chunks of an entry of this container, one after another, each read by its offset and checked on inflating.
    pub fn chunks<'a>(&'a self, entry: &'a Entry) -> Result<ChunkReader<'a, R>, ContainerError> {
        let inflater = self.inflater(entry)?;
        Ok(ChunkReader { container: self, entry, next: 0, inflater, stored: Vec::new(), plain: Vec::new() })
    }

    /// The whole of an entry as the file that `tar -x` makes, prologue, separators and epilogue included. Reading
    /// more than the manifest's size is an error.
    pub fn plain<'a>(&'a self, entry: &Entry) -> Result<Box<dyn Read + 'a>, ContainerError> {
        let range = Range { source: &self.source, at: entry.data_offset, left: entry.stored_bytes };
        if matches!(self.method, Compression::None) {
            return Ok(Box::new(range));
        }
        plain_reader(BufReader::with_capacity(256 << 10, range), entry.plain_bytes).map_err(read_error(&entry.name))
    }

    /// Feeds the stored bytes of a range to `update`, a block at a time.
    pub(super) fn hash_range(
        &self,
        what: &str,
        from: u64,
        to: u64,
        update: &mut dyn FnMut(&[u8]),
    ) -> Result<(), ContainerError> {
        hash_range(&self.source, what, from, to, update)
    }
}

/// Lends the chunks of one entry.
pub struct ChunkReader<'a, R> {
    container: &'a Container<R>,
    entry: &'a Entry,
    next: usize,
    inflater: Inflater,
    stored: Vec<u8>,
    plain: Vec<u8>,
}

impl<R: ReadAt> ChunkReader<'_, R> {
    /// The next chunk and its plain bytes, None after the last. After an error the next call goes on with the next
    /// chunk. Errors: `Read`, `Truncated`, `Changed`, with entry and chunk named.
    pub fn next_chunk(&mut self) -> Result<Option<(Chunk, &[u8])>, ContainerError> {
        if self.next == self.entry.chunks.len() {
            return Ok(None);
        }
        let number = self.next;
        self.next += 1;
        let buffers = (&mut self.stored, &mut self.plain);
        let chunk = self.container.read_chunk(self.entry, number, &mut self.inflater, buffers)?;
        Ok(Some((chunk, &self.plain)))
    }
}

impl<R: ReadAt> Container<R> {
    /// An inflater for the chunks of this container.
    pub(super) fn inflater(&self, entry: &Entry) -> Result<Inflater, ContainerError> {
        Inflater::new(self.method).map_err(read_error(&entry.name))
    }

    /// Reads chunk `number` of an entry by its offset into the second buffer; the first is for its stored bytes.
    pub(super) fn read_chunk(
        &self,
        entry: &Entry,
        number: usize,
        inflater: &mut Inflater,
        (stored, plain): (&mut Vec<u8>, &mut Vec<u8>),
    ) -> Result<Chunk, ContainerError> {
        let missing = || ContainerError::Missing { what: format!("chunk {number} of \"{}\"", entry.name) };
        let chunk = *entry.chunks.get(number).ok_or_else(missing)?;
        let what = || format!("chunk {number} of \"{}\" at offset {}", entry.name, chunk.offset);
        // The manifest may be forged, so the file's own length bounds what is taken into memory.
        let length = self.source.len().map_err(|source| ContainerError::Read { what: what(), source })?;
        if chunk.offset.checked_add(chunk.stored_len).is_none_or(|end| end > length) {
            let detail = format!("the file has {length} bytes");
            return Err(ContainerError::Truncated { what: what(), detail });
        }
        stored.resize(chunk.stored_len as usize, 0);
        self.source
            .read_exact_at(chunk.offset, stored)
            .map_err(|source| ContainerError::Read { what: what(), source })?;
        inflater
            .inflate(stored, chunk.plain_len, plain)
            .map_err(|error| ContainerError::changed(what(), error.to_string()))?;
        Ok(chunk)
    }
}

fn method_of(start: &[u8]) -> Compression {
    match start {
        [0x1f, 0x8b, ..] => Compression::Gzip(0),
        [0x28, 0xb5, 0x2f, 0xfd] => Compression::Zstd(0),
        _ => Compression::None,
    }
}

fn check_tail(source: &impl ReadAt, trailer: &Trailer, trailer_at: u64) -> Result<(), ContainerError> {
    let what = "the manifest's part of the container";
    let end = trailer.data_offset.checked_add(trailer.stored_len);
    let ordered = trailer.header_offset <= trailer.data_offset && end.is_some_and(|end| end <= trailer_at);
    if !ordered || trailer.plain_len > MAX_BYTES {
        return Err(ContainerError::changed(what, "its offsets lie outside the file"));
    }
    let mut hash = Sha256::new();
    hash_range(source, what, trailer.header_offset, trailer_at, &mut |bytes| hash.update(bytes))?;
    if <[u8; 32]>::from(hash.finalize()) == trailer.tail_sha256 {
        Ok(())
    } else {
        Err(ContainerError::changed(what, "it does not fit the SHA-256 in the trailer"))
    }
}

fn read_manifest(source: &impl ReadAt, trailer: &Trailer) -> Result<Vec<u8>, ContainerError> {
    let what = "the manifest";
    let range = Range { source, at: trailer.data_offset, left: trailer.stored_len };
    let mut bytes = Vec::new();
    plain_reader(BufReader::new(range), trailer.plain_len)
        .and_then(|mut reader| reader.read_to_end(&mut bytes))
        .map_err(|error| ContainerError::unreadable(what, error.to_string()))?;
    if bytes.len() as u64 == trailer.plain_len {
        Ok(bytes)
    } else {
        let detail = format!("{} bytes of {}", bytes.len(), trailer.plain_len);
        Err(ContainerError::Truncated { what: what.into(), detail })
    }
}

fn hash_range(
    source: &impl ReadAt,
    what: &str,
    mut from: u64,
    to: u64,
    update: &mut dyn FnMut(&[u8]),
) -> Result<(), ContainerError> {
    let mut block = vec![0; to.saturating_sub(from).min(BLOCK as u64) as usize];
    while from < to {
        let count = (to - from).min(BLOCK as u64) as usize;
        source.read_exact_at(from, &mut block[..count]).map_err(read_error(what))?;
        update(&block[..count]);
        from += count as u64;
    }
    Ok(())
}

fn read_error(what: &str) -> impl Fn(io::Error) -> ContainerError {
    move |source| match source.kind() {
        io::ErrorKind::UnexpectedEof => {
            ContainerError::Truncated { what: what.into(), detail: "the file ends inside it".into() }
        }
        _ => ContainerError::Read { what: what.into(), source },
    }
}

struct Range<'a, R> {
    source: &'a R,
    at: u64,
    left: u64,
}

impl<R: ReadAt> Read for Range<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (buffer.len() as u64).min(self.left) as usize;
        let count = self.source.read_at(self.at, &mut buffer[..count])?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}
