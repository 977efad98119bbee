//! Rows erased from a container in place: the chunks that held them are written anew into the room that they had, and so
//! are the tar header of their entry (it tells the size), the zeros behind it, and their filters. Behind the content the
//! manifest, the end of the tar and the trailer are written anew. All other bytes stay as and where they are.
//!
//! Nothing is written to the container here: the new bytes go to a redo file, which is applied later (`redo`).

use std::io::Write;
use std::ops::Range as Span;

use sha2::{Digest, Sha256};

use super::cut::{self, Erased, Held};
use super::error::ContainerError;
use super::header::{BLOCK, padding, tar_header};
use super::manifest::{Entry, Erasure, Manifest};
use super::read_at::ReadAt;
use super::reader::Container;
use super::slot::Filler;
use super::writer::ContainerWriter;
use crate::plan::{Compression, Format};
use crate::stream::{Chunk, RowDigest, StreamError};

/// Bytes of the container that get others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// Where in the container.
    pub offset: u64,
    pub length: u64,
    /// Where in the redo file the new bytes stand.
    pub at: u64,
    pub sha256: [u8; 32],
}

/// What a container becomes.
#[derive(Debug)]
pub struct Patch {
    /// In the order of the container; the last is what follows the content.
    pub ranges: Vec<Range>,
    pub old_bytes: u64,
    /// Length of the whole file then.
    pub new_bytes: u64,
    /// SHA-256 of the whole file then.
    pub file_sha256: [u8; 32],
    pub manifest: Manifest,
    pub manifest_bytes: Vec<u8>,
    /// Chunks of rows that are written anew, over all formats.
    pub chunks: u64,
}

impl Patch {
    /// Bytes of the container that are written.
    pub fn written(&self) -> u64 {
        self.ranges.iter().map(|range| range.length).sum()
    }
}

/// Where new bytes are gathered, and read again.
pub trait Scratch: Write + ReadAt {}

impl<T: Write + ReadAt> Scratch for T {}

/// Writes to `redo`, which is empty, what erases the rows. None where the bytes do not fit the room they have: then the
/// whole container is to be written anew (`rewrite`). Errors: `Read`, `Changed`, `Unreadable` of the container; `Write`.
pub fn patch<R: ReadAt + Sync>(
    container: &Container<R>,
    erased: &[Erased],
    note: Erasure,
    redo: &mut (impl Scratch + Sync),
) -> Result<Option<Patch>, ContainerError> {
    if matches!(container.manifest.compression, Compression::None) {
        return Ok(None);
    }
    let filler = Filler::new(container.manifest.compression).map_err(stream_error)?;
    let manifest = container.manifest.clone();
    let mut editor =
        Editor { container, redo, at: 0, ranges: Vec::new(), filler, manifest, changed: vec![], chunks: 0 };
    for erased in erased.iter().filter(|erased| !erased.rows.is_empty()) {
        if !editor.member(erased)? {
            return Ok(None);
        }
    }
    editor.finish(note).map(Some)
}

struct Editor<'a, R, S> {
    container: &'a Container<R>,
    redo: &'a mut S,
    at: u64,
    ranges: Vec<Range>,
    filler: Filler,
    manifest: Manifest,
    /// Entries whose bytes change.
    changed: Vec<usize>,
    chunks: u64,
}

/// What the bytes of an entry's chunks come to.
struct Edited {
    chunks: Vec<Chunk>,
    removed: RowDigest,
}

impl<R: ReadAt + Sync, S: Scratch + Sync> Editor<'_, R, S> {
    /// False where something does not fit.
    fn member(&mut self, erased: &Erased) -> Result<bool, ContainerError> {
        let container = self.container;
        for (number, entry) in container.manifest.entries.iter().enumerate() {
            let (Some(member), Some(format)) = (entry.table, entry.format) else { continue };
            if member == erased.member && !self.entry(number, entry, format, erased)? {
                return Ok(false);
            }
        }
        if let Some(member) = self.manifest.members.get_mut(erased.member) {
            member.rows = member.rows.saturating_sub(erased.rows.len() as u64);
        }
        Ok(true)
    }

    fn entry(&mut self, number: usize, entry: &Entry, format: Format, erased: &Erased) -> Result<bool, ContainerError> {
        let filters = filters_of(&self.container.manifest, entry, erased.member);
        let Some(edited) = self.chunks(entry, format, &erased.rows, &filters)? else { return Ok(false) };
        let plain = |chunks: &[Chunk]| chunks.iter().map(|chunk| chunk.plain_len).sum::<u64>();
        let Some(blanked) = self.separators(entry, format, &edited.chunks)? else { return Ok(false) };
        let plain_bytes = entry.plain_bytes - (plain(&entry.chunks) - plain(&edited.chunks)) - blanked;
        if !self.around(entry, number, plain_bytes)? {
            return Ok(false);
        }
        self.changed.push(number);
        let Some(new) = self.manifest.entries.get_mut(number) else { return Ok(false) };
        new.rows = edited.chunks.iter().map(|chunk| chunk.rows).sum();
        if let Some(mut digest) = new.row_digest.as_ref().and_then(|digest| digest.parse::<RowDigest>().ok()) {
            digest.remove(edited.removed);
            new.row_digest = Some(digest.to_string());
        }
        (new.plain_bytes, new.chunks) = (plain_bytes, edited.chunks);
        Ok(true)
    }

    fn chunks(
        &mut self,
        entry: &Entry,
        format: Format,
        rows: &[u64],
        filters: &[(usize, Option<Held>)],
    ) -> Result<Option<Edited>, ContainerError> {
        let mut inflater = self.container.inflater(entry)?;
        let (mut stored, mut plain) = (Vec::new(), Vec::new());
        let mut edited = Edited { chunks: Vec::with_capacity(entry.chunks.len()), removed: RowDigest::default() };
        let mut first_row = 0;
        for (number, old) in entry.chunks.iter().enumerate() {
            let gone = &rows[cut::within(rows, old)];
            let mut new = Chunk { first_row, ..*old };
            if !gone.is_empty() {
                self.container.read_chunk(entry, number, &mut inflater, (&mut stored, &mut plain))?;
                let cut = cut::without(format, entry, old, &plain, gone)?;
                let Some(own) = self.replace(old.offset, old.stored_len, &cut.text)? else { return Ok(None) };
                (new.stored_len, new.plain_len, new.rows) = (own, cut.text.len() as u64, cut.rows);
                edited.removed.merge(cut.removed);
                self.chunks += 1;
                for (filter, held) in filters {
                    if !self.filter(*filter, number, held.as_ref(), &cut.text)? {
                        return Ok(None);
                    }
                }
            }
            first_row += new.rows;
            edited.chunks.push(new);
        }
        Ok(Some(edited))
    }

    /// The filter of a chunk, without the keys of the rows that went.
    fn filter(
        &mut self,
        entry: usize,
        number: usize,
        held: Option<&Held>,
        text: &[u8],
    ) -> Result<bool, ContainerError> {
        let filters = &self.container.manifest.entries[entry];
        let Some(chunk) = filters.chunks.get(number).copied() else { return Ok(true) };
        let end = filters.data_offset + filters.stored_bytes;
        let room = filters.chunks.get(number + 1).map_or(end, |next| next.offset) - chunk.offset;
        let bytes = chunk.plain_len as usize;
        for filter in [cut::filter(held, text, bytes), vec![0xff; bytes]] {
            let Some(own) = self.replace(chunk.offset, room, &filter)? else { continue };
            if !self.changed.contains(&entry) {
                self.changed.push(entry);
            }
            if let Some(chunk) = self.manifest.entries.get_mut(entry).and_then(|entry| entry.chunks.get_mut(number)) {
                chunk.stored_len = own;
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Blanks the separators of chunks that are empty now, and of those that have no filled one before them any more; how
    /// many plain bytes that were.
    fn separators(&mut self, entry: &Entry, format: Format, new: &[Chunk]) -> Result<Option<u64>, ContainerError> {
        let mut blanked = 0;
        if format != Format::Json {
            return Ok(Some(0));
        }
        let (before, after) = (cut::separated(&entry.chunks), cut::separated(new));
        for number in (1..new.len()).filter(|number| before[*number] && !after[*number]) {
            let (previous, chunk) = (entry.chunks[number - 1], entry.chunks[number]);
            let start = previous.offset + previous.stored_len;
            let mut nothing = Vec::new();
            let bytes = (chunk.offset - start) as usize;
            if !super::slot::fill(self.manifest.compression, bytes, &mut nothing) {
                return Ok(None);
            }
            self.put(start, &nothing)?;
            blanked += 1;
        }
        Ok(Some(blanked))
    }

    /// The tar header and the zeros of an entry that has another size now.
    fn around(&mut self, entry: &Entry, number: usize, plain_bytes: u64) -> Result<bool, ContainerError> {
        let header = tar_header(&entry.name, plain_bytes, mtime(&self.manifest))?;
        if self.replace(entry.header_offset, entry.data_offset - entry.header_offset, &header)?.is_none() {
            return Ok(false);
        }
        let end = entry.data_offset + entry.stored_bytes;
        let next = self.container.manifest.entries.get(number + 1).map(|next| next.header_offset);
        let room = next.unwrap_or(self.container.manifest.content_bytes) - end;
        match (padding(plain_bytes), room) {
            (0, 0) => Ok(true),
            (zeros, _) => Ok(self.replace(end, room, &[0; BLOCK][..zeros])?.is_some()),
        }
    }

    /// Puts `plain` into the room of `length` stored bytes; how many of them are its own, none where it does not fit.
    fn replace(&mut self, offset: u64, length: u64, plain: &[u8]) -> Result<Option<u64>, ContainerError> {
        let Some((stored, own)) = self.filler.fit(plain, length as usize).map_err(stream_error)? else {
            return Ok(None);
        };
        self.put(offset, &stored)?;
        Ok(Some(own as u64))
    }

    fn put(&mut self, offset: u64, bytes: &[u8]) -> Result<(), ContainerError> {
        let write = |source| ContainerError::Write { what: "the redo file".into(), source };
        self.redo.write_all(bytes).map_err(write)?;
        let length = bytes.len() as u64;
        self.ranges.push(Range { offset, length, at: self.at, sha256: Sha256::digest(bytes).into() });
        self.at += length;
        Ok(())
    }

    fn finish(mut self, note: Erasure) -> Result<Patch, ContainerError> {
        self.ranges.sort_by_key(|range| range.offset);
        self.manifest.generation += 1;
        self.manifest.erasures.push(note);
        let content = self.hash()?;
        let at = self.manifest.content_bytes;
        let writer = ContainerWriter::behind(Vec::new(), &self.manifest, content, at, mtime(&self.manifest))?;
        let written = writer.end(self.manifest.clone())?;
        self.put(at, &written.out)?;
        Ok(Patch {
            ranges: self.ranges,
            old_bytes: self.container.source.len().map_err(read_error)?,
            new_bytes: written.bytes,
            file_sha256: written.sha256,
            manifest: written.manifest,
            manifest_bytes: written.manifest_bytes,
            chunks: self.chunks,
        })
    }

    /// SHA-256 of the new content; those of the entries that changed are put into the manifest. Two threads, since each
    /// reads as much.
    fn hash(&mut self) -> Result<Sha256, ContainerError> {
        let (source, redo, ranges) = (&self.container.source, &*self.redo, &self.ranges[..]);
        let overlaid = |span: Span<u64>| {
            let mut hash = Sha256::new();
            overlay(source, redo, ranges, span, &mut |bytes| hash.update(bytes)).map(|()| hash)
        };
        let content_bytes = self.manifest.content_bytes;
        let entries: Vec<(usize, Span<u64>)> = self
            .changed
            .iter()
            .filter_map(|number| {
                let entry = self.manifest.entries.get(*number)?;
                Some((*number, entry.data_offset..entry.data_offset + entry.stored_bytes))
            })
            .collect();
        let of_entries = || -> Result<Vec<(usize, String)>, ContainerError> {
            entries
                .iter()
                .map(|(number, span)| Ok((*number, hex::encode(overlaid(span.clone())?.finalize()))))
                .collect()
        };
        let (content, hashes) = std::thread::scope(|scope| {
            // Without a second thread it takes twice as long.
            match crate::stream::thread::scoped_without_signals(scope, of_entries) {
                Ok(other) => {
                    let content = overlaid(0..content_bytes);
                    (
                        content,
                        other.join().unwrap_or_else(|payload| {
                            let message = crate::stream::thread::message(&*payload);
                            Err(stream_error(StreamError::Panicked(message)))
                        }),
                    )
                }
                Err(_) => (overlaid(0..content_bytes), of_entries()),
            }
        });
        for (number, hash) in hashes? {
            if let Some(entry) = self.manifest.entries.get_mut(number) {
                entry.sha256 = hash;
            }
        }
        content
    }
}

/// Feeds the bytes of a span of the container, as they will be, to `update`.
fn overlay(
    source: &impl ReadAt,
    redo: &impl ReadAt,
    ranges: &[Range],
    span: Span<u64>,
    update: &mut dyn FnMut(&[u8]),
) -> Result<(), ContainerError> {
    let mut block = vec![0; 256 << 10];
    let mut at = span.start;
    let mut next = ranges.partition_point(|range| range.offset + range.length <= span.start);
    while at < span.end {
        let range = ranges.get(next);
        let (from_redo, place, until) = match range {
            Some(range) if range.offset <= at => (true, range.at + (at - range.offset), range.offset + range.length),
            Some(range) => (false, at, range.offset.min(span.end)),
            None => (false, at, span.end),
        };
        let count = (until.min(span.end) - at).min(block.len() as u64) as usize;
        let bytes = &mut block[..count];
        let read = if from_redo { redo.read_exact_at(place, bytes) } else { source.read_exact_at(place, bytes) };
        read.map_err(read_error)?;
        update(bytes);
        at += count as u64;
        next += usize::from(from_redo && at == until);
    }
    Ok(())
}

/// The entries of filters of a CSV, by number, with what they hold.
pub(super) fn filters_of(manifest: &Manifest, entry: &Entry, member: usize) -> Vec<(usize, Option<Held>)> {
    let keys = entry.keys.iter().map(|keys| (keys, false)).chain(entry.subjects.iter().map(|keys| (keys, true)));
    let find = |(keys, is_subject): (&super::manifest::Keys, bool)| {
        let number = manifest.entries.iter().position(|entry| entry.name == keys.entry)?;
        let parallel = manifest.entries[number].chunks.len() == entry.chunks.len();
        parallel.then(|| (number, Held::of(manifest, member, keys, is_subject)))
    };
    keys.filter_map(find).collect()
}

/// What all tar headers of a container tell.
pub(super) fn mtime(manifest: &Manifest) -> u64 {
    u64::try_from(manifest.started_at.timestamp()).unwrap_or(0)
}

pub(super) fn stream_error(source: StreamError) -> ContainerError {
    ContainerError::Stream { what: "the container".into(), source }
}

pub(super) fn read_error(source: std::io::Error) -> ContainerError {
    ContainerError::Read { what: "the container".into(), source }
}
