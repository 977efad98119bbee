//! Rows erased from a container by writing it anew: for a plain tar, in which nothing can be shorter where it is, and where
//! new bytes do not fit the room of the old ones. Chunks that do not change are copied as they are stored.

use std::collections::BTreeMap;
use std::io::Write;

use chrono::DateTime;
use sha2::{Digest, Sha256};

use super::cut::{self, Erased};
use super::error::ContainerError;
use super::manifest::{Encryption, Entry, Erasure};
use super::patch::{filters_of, mtime, read_error, stream_error};
use super::read_at::ReadAt;
use super::reader::Container;
use super::writer::{ContainerWriter, Written};
use crate::plan::Format;
use crate::stream::{Chunk, Compressor, RowDigest};

/// Most bytes copied at once.
const BLOCK: u64 = 256 << 10;

/// Writes the container without the rows to `out`, which seals it if the manifest is to tell of `encryption`. Errors: `Read`, `Changed`, `Unreadable` of the container; `Write`.
pub fn rewrite<R: ReadAt, W: Write>(
    container: &Container<R>,
    erased: &[Erased],
    note: Erasure,
    encryption: Option<Encryption>,
    out: W,
) -> Result<Written<W>, ContainerError> {
    let mut manifest = container.manifest.clone();
    manifest.generation += 1;
    manifest.encryption = encryption;
    manifest.erasures.push(note);
    for erased in erased {
        if let Some(member) = manifest.members.get_mut(erased.member) {
            member.rows = member.rows.saturating_sub(erased.rows.len() as u64);
        }
    }
    let method = manifest.compression;
    let time = DateTime::from_timestamp(mtime(&manifest).cast_signed(), 0).unwrap_or_default();
    let writer = ContainerWriter::new(out, method, time)?;
    let compressor = Compressor::new(method).map_err(stream_error)?;
    let mut rewriter = Rewriter { container, writer, compressor, filters: BTreeMap::new() };
    let entries = container.manifest.entries.iter().enumerate();
    manifest.entries =
        entries.map(|(number, entry)| rewriter.entry(number, entry, erased)).collect::<Result<_, _>>()?;
    rewriter.writer.end(manifest)
}

struct Rewriter<'a, R, W: Write> {
    container: &'a Container<R>,
    writer: ContainerWriter<W>,
    compressor: Compressor,
    /// New filters, by entry and chunk.
    filters: BTreeMap<(usize, usize), Vec<u8>>,
}

/// What is written of an entry.
struct Body {
    hash: Sha256,
    chunks: Vec<Chunk>,
    removed: RowDigest,
}

impl<R: ReadAt, W: Write> Rewriter<'_, R, W> {
    fn entry(&mut self, number: usize, entry: &Entry, erased: &[Erased]) -> Result<Entry, ContainerError> {
        let of = erased.iter().find(|erased| entry.format.is_some() && entry.table == Some(erased.member));
        let rows = of.map_or(&[][..], |erased| &erased.rows);
        let sizes = self.new_sizes(entry, rows)?;
        let plain = |chunks: &[Chunk]| chunks.iter().map(|chunk| chunk.plain_len).sum::<u64>();
        let separators = |chunks: &[Chunk]| match entry.format {
            Some(Format::Json) => cut::separated(chunks).into_iter().filter(|it| *it).count() as u64,
            _ => 0,
        };
        let gone = plain(&entry.chunks) - plain(&sizes) + separators(&entry.chunks) - separators(&sizes);
        let plain_bytes = entry.plain_bytes - gone;

        let header_offset = self.writer.start(&entry.name, plain_bytes)?;
        let data_offset = self.writer.offset();
        let body = self.body(number, entry, rows, &sizes, of.map(|of| of.member))?;
        let stored_bytes = self.writer.offset() - data_offset;
        self.writer.pad(&entry.name, plain_bytes)?;
        let digest = entry.row_digest.as_ref().and_then(|digest| digest.parse::<RowDigest>().ok()).map(|mut digest| {
            digest.remove(body.removed);
            digest.to_string()
        });
        Ok(Entry {
            rows: body.chunks.iter().map(|chunk| chunk.rows).sum(),
            row_digest: digest,
            header_offset,
            data_offset,
            stored_bytes,
            plain_bytes,
            sha256: hex::encode(body.hash.finalize()),
            chunks: body.chunks,
            ..entry.clone()
        })
    }

    /// The chunks with the plain lengths and rows that they will have.
    fn new_sizes(&self, entry: &Entry, rows: &[u64]) -> Result<Vec<Chunk>, ContainerError> {
        let mut first_row = 0;
        let mut sizes = Vec::with_capacity(entry.chunks.len());
        for (number, chunk) in entry.chunks.iter().enumerate() {
            let mut new = Chunk { first_row, ..*chunk };
            if entry.format.is_none() {
                new.first_row = chunk.first_row;
            }
            if let Some((text, left, _)) = self.cut(entry, number, rows)? {
                (new.plain_len, new.rows) = (text.len() as u64, left);
            }
            first_row += new.rows;
            sizes.push(new);
        }
        Ok(sizes)
    }

    /// The text of a chunk that loses rows.
    fn cut(
        &self,
        entry: &Entry,
        number: usize,
        rows: &[u64],
    ) -> Result<Option<(Vec<u8>, u64, RowDigest)>, ContainerError> {
        let (Some(format), Some(chunk)) = (entry.format, entry.chunks.get(number)) else { return Ok(None) };
        let gone = &rows[cut::within(rows, chunk)];
        if gone.is_empty() {
            return Ok(None);
        }
        let (mut stored, mut plain) = (Vec::new(), Vec::new());
        let mut inflater = self.container.inflater(entry)?;
        self.container.read_chunk(entry, number, &mut inflater, (&mut stored, &mut plain))?;
        let cut = cut::without(format, entry, chunk, &plain, gone)?;
        Ok(Some((cut.text, cut.rows, cut.removed)))
    }

    fn body(
        &mut self,
        of: usize,
        entry: &Entry,
        rows: &[u64],
        sizes: &[Chunk],
        member: Option<usize>,
    ) -> Result<Body, ContainerError> {
        let filters = member.map(|member| filters_of(&self.container.manifest, entry, member)).unwrap_or_default();
        let (before, after) = (cut::separated(&entry.chunks), cut::separated(sizes));
        let mut body = Body { hash: Sha256::new(), chunks: Vec::new(), removed: RowDigest::default() };
        let mut at = entry.data_offset;
        for (number, (old, new)) in entry.chunks.iter().zip(sizes).enumerate() {
            let is_blanked = entry.format == Some(Format::Json) && before[number] && !after[number];
            if !is_blanked {
                self.copy(&entry.name, at, old.offset, &mut body)?;
            }
            let offset = self.writer.offset();
            if let Some((text, _, removed)) = self.cut(entry, number, rows)? {
                body.removed.merge(removed);
                for (filter, held) in &filters {
                    let bytes = self.container.manifest.entries[*filter].chunks[number].plain_len as usize;
                    self.filters.insert((*filter, number), cut::filter(held.as_ref(), &text, bytes));
                }
                self.member(&entry.name, &text, &mut body)?;
            } else if let Some(filter) = self.filters.remove(&(of, number)) {
                self.member(&entry.name, &filter, &mut body)?;
            } else {
                self.copy(&entry.name, old.offset, old.offset + old.stored_len, &mut body)?;
            }
            body.chunks.push(Chunk { offset, stored_len: self.writer.offset() - offset, ..*new });
            at = old.offset + old.stored_len;
        }
        self.copy(&entry.name, at, entry.data_offset + entry.stored_bytes, &mut body)?;
        Ok(body)
    }

    /// A chunk of no bytes is a member all the same, as when it is scanned.
    fn member(&mut self, name: &str, plain: &[u8], body: &mut Body) -> Result<(), ContainerError> {
        let mut stored = Vec::new();
        self.compressor.compress(plain, &mut stored).map_err(stream_error)?;
        self.compressor.check(plain, &stored).map_err(stream_error)?;
        body.hash.update(&stored);
        self.writer.write(name, &stored)
    }

    fn copy(&mut self, name: &str, mut from: u64, to: u64, body: &mut Body) -> Result<(), ContainerError> {
        while from < to {
            let mut block = vec![0; (to - from).min(BLOCK) as usize];
            self.container.source.read_exact_at(from, &mut block).map_err(read_error)?;
            body.hash.update(&block);
            self.writer.write(name, &block)?;
            from += block.len() as u64;
        }
        Ok(())
    }
}
