//! Reads a sealed source at any place.

use std::cell::RefCell;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use age::stream::StreamReader;
use age::{DecryptError, Decryptor, Identity};
use age_core::format::{FileKey, Stanza};
use age_core::secrecy::ExposeSecret;

use super::cursor::{Cursor, Wish};
use super::error::CryptError;
use super::identities::Identities;
use super::recipients::KeyId;
use super::{BLOCK, KEY_ID_STANZA, MAGIC, TAG};
use crate::container::ReadAt;

/// Bytes that are fetched to read a header: enough for some 20 recipients, and for more it is done again.
const HEADER: u64 = 4 << 10;

/// A sealed source that an identity opened: its plain bytes, from any offset. The length is proved on opening, every
/// block on reading it. Damage of one block leaves the others readable.
pub struct Opened<R> {
    source: Arc<R>,
    stored: u64,
    payload_at: u64,
    plain: u64,
    key: FileKey,
    key_ids: Vec<KeyId>,
    reader: Mutex<Option<Reader<R>>>,
}

struct Reader<R> {
    stream: StreamReader<Cursor<Arc<R>>>,
    wish: Arc<Wish>,
}

/// Whether a source begins as a sealed file does.
pub fn is_sealed(source: &impl ReadAt) -> io::Result<bool> {
    let mut start = vec![0; source.len()?.min(MAGIC.len() as u64) as usize];
    source.read_exact_at(0, &mut start)?;
    Ok(start == MAGIC)
}

/// The ids that a sealed source names in its header, without opening it. Nothing vouches for them yet.
pub fn key_ids(source: impl ReadAt) -> Result<Vec<KeyId>, CryptError> {
    let (decryptor, _) = header(Arc::new(source))?;
    let ids = Told::default();
    // Nobody's key opens it, which is no error here.
    drop(decryptor.decrypt(std::iter::once(&ids as &dyn Identity)));
    Ok(ids.0.into_inner())
}

impl<R: ReadAt> Opened<R> {
    /// Opens a source with any of the identities. Reads its header and its last block.
    ///
    /// # Errors
    /// `NotEncrypted` (also for no bytes at all), `WrongKey`, `Damaged` (header, or cut off), `Unsupported`, `Io`.
    pub fn new(source: R, identities: &Identities) -> Result<Self, CryptError> {
        let source = Arc::new(source);
        let (decryptor, wish) = header(source.clone())?;
        if decryptor.is_scrypt() {
            return Err(CryptError::Unsupported { what: "a passphrase instead of a key" });
        }
        let (told, found) = (Told::default(), Found { identities, key: RefCell::new(None) });
        let stream = decryptor.decrypt([&told as &dyn Identity, &found].into_iter()).map_err(|error| match error {
            DecryptError::NoMatchingKeys => CryptError::WrongKey { wanted: told.0.take() },
            other => explain(other, &wish),
        })?;
        let key = found.key.into_inner().ok_or(CryptError::Damaged { reason: "its header" })?;
        let stored = source.len().map_err(CryptError::Io)?;
        let payload_at = wish.position();
        let mut reader = Reader { stream, wish };
        let plain = reader.length(stored)?;
        let key_ids = told.0.into_inner();
        Ok(Opened { source, stored, payload_at, plain, key, key_ids, reader: Mutex::new(Some(reader)) })
    }

    /// The ids of all keys that open it, as its header names them.
    pub fn key_ids(&self) -> &[KeyId] {
        &self.key_ids
    }

    /// The range of the source that has to be read for a plain range.
    pub fn stored_range(&self, plain: Range<u64>) -> Range<u64> {
        let start = self.payload_at.saturating_add((plain.start / BLOCK).saturating_mul(BLOCK + TAG));
        let end = self.payload_at.saturating_add(plain.end.div_ceil(BLOCK).saturating_mul(BLOCK + TAG));
        start.min(self.stored)..end.min(self.stored)
    }

    /// A reader at the first block. The file key is known, so no identity is needed.
    fn reader(&self) -> Result<Reader<R>, CryptError> {
        let (decryptor, wish) = header(self.source.clone())?;
        let known = Known(&self.key);
        let stream = decryptor.decrypt(std::iter::once(&known as &dyn Identity)).map_err(|e| explain(e, &wish))?;
        Ok(Reader { stream, wish })
    }
}

impl<R: ReadAt> ReadAt for Opened<R> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (buffer.len() as u64).min(self.plain.saturating_sub(offset)) as usize;
        if count == 0 {
            return Ok(0);
        }
        let mut place = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken out: after an error the stream holds the block that failed, and is of no more use.
        let mut reader = match place.take() {
            Some(reader) => reader,
            None => self.reader()?,
        };
        reader.wish.until(self.stored_range(offset..offset + count as u64).end);
        let stream = &mut reader.stream;
        let outcome = stream.seek(SeekFrom::Start(offset)).and_then(|_| stream.read_exact(&mut buffer[..count]));
        outcome.map_err(|error| reader.explain(error))?;
        *place = Some(reader);
        Ok(count)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.plain)
    }

    fn announce(&self, range: Range<u64>) {
        self.source.announce(self.stored_range(range));
    }

    fn interrupt(&self, on: bool) {
        self.source.interrupt(on);
    }
}

impl<R: ReadAt> Reader<R> {
    /// Proves the last block to be the last, which proves the length.
    fn length(&mut self, stored: u64) -> Result<u64, CryptError> {
        self.wish.until(stored);
        let length = self.stream.seek(SeekFrom::End(0));
        length.map_err(|error| match self.wish.source_failed() {
            true => CryptError::Io(error),
            false => CryptError::Damaged { reason: "its end is missing or was altered" },
        })
    }

    fn explain(&self, error: io::Error) -> io::Error {
        if self.wish.source_failed() {
            return error;
        }
        CryptError::Damaged { reason: "a block of it was altered, moved or cut" }.into()
    }
}

/// Reads a header.
fn header<R: ReadAt>(source: Arc<R>) -> Result<(Decryptor<Cursor<Arc<R>>>, Arc<Wish>), CryptError> {
    if !is_sealed(&source).map_err(CryptError::Io)? {
        return Err(not_sealed(&source)?);
    }
    let length = source.len().map_err(CryptError::Io)?;
    let wish = Arc::new(Wish::default());
    wish.until(HEADER);
    let decryptor = Decryptor::new(Cursor::new(source, length, wish.clone())).map_err(|error| explain(error, &wish))?;
    Ok((decryptor, wish))
}

fn not_sealed(source: &impl ReadAt) -> Result<CryptError, CryptError> {
    let mut start = vec![0; source.len().map_err(CryptError::Io)?.min(64) as usize];
    source.read_exact_at(0, &mut start).map_err(CryptError::Io)?;
    Ok(if start.starts_with(b"-----BEGIN AGE ENCRYPTED FILE") {
        CryptError::Unsupported { what: "as text (armor)" }
    } else if start.starts_with(b"age-encryption.org/") {
        CryptError::Unsupported { what: "another version of the age format" }
    } else {
        CryptError::NotEncrypted
    })
}

fn explain(error: DecryptError, wish: &Wish) -> CryptError {
    match error {
        DecryptError::Io(source) if wish.source_failed() => CryptError::Io(source),
        // Its first line is that of the version known here.
        _ => CryptError::Damaged { reason: "its header" },
    }
}

/// An identity that opens nothing and notes the ids that the header tells.
#[derive(Default)]
struct Told(RefCell<Vec<KeyId>>);

impl Identity for Told {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        if let (KEY_ID_STANZA, [id]) = (stanza.tag.as_str(), stanza.args.as_slice()) {
            self.0.borrow_mut().extend(KeyId::parse(id));
        }
        None
    }
}

/// The identities given, with the file key that one of them found.
struct Found<'a> {
    identities: &'a Identities,
    key: RefCell<Option<FileKey>>,
}

impl Identity for Found<'_> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        let found = self.identities.iter().find_map(|identity| identity.unwrap_stanza(stanza))?;
        if let Ok(key) = &found {
            *self.key.borrow_mut() = Some(copy(key));
        }
        Some(found)
    }
}

/// The file key itself.
struct Known<'a>(&'a FileKey);

impl Identity for Known<'_> {
    fn unwrap_stanza(&self, _: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        Some(Ok(copy(self.0)))
    }
}

fn copy(key: &FileKey) -> FileKey {
    FileKey::init_with_mut(|bytes| bytes.copy_from_slice(key.expose_secret()))
}
