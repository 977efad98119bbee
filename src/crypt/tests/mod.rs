//! Sealed files: opened by who may, by `age` itself, at any place; and no damage, swap or wrong key goes unseen.

mod damage; // altered, cut, moved, swapped, replaced by plain
mod keys; // files of keys, and what they refuse
mod ranges; // what is read, counted
mod speed; // measures
mod tool; // the program age

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use age::x25519;
use age_core::secrecy::ExposeSecret;

use super::*;
use crate::container::ReadAt;

/// A secret key, and the two files of it.
struct Key {
    identity: String,
    recipient: String,
}

fn key() -> Key {
    let identity = x25519::Identity::generate();
    Key { identity: identity.to_string().expose_secret().to_owned(), recipient: identity.to_public().to_string() }
}

impl Key {
    fn identities(&self) -> Identities {
        Identities::parse(&self.identity).unwrap()
    }

    fn recipients(&self) -> Recipients {
        Recipients::parse(&self.recipient).unwrap()
    }
}

/// Bytes that do not repeat.
fn plain(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(length)
    .collect()
}

fn seal(plain: &[u8], recipients: &Recipients) -> Vec<u8> {
    let mut sealer = Sealer::new(Vec::new(), recipients).unwrap();
    sealer.write_all(plain).unwrap();
    sealer.finish().unwrap()
}

fn open(sealed: &[u8], key: &Key) -> Result<Opened<Vec<u8>>, CryptError> {
    Opened::new(sealed.to_vec(), &key.identities())
}

/// Everything, or the first error.
fn read_all(opened: &Opened<impl ReadAt>) -> Result<Vec<u8>, CryptError> {
    let mut bytes = vec![0; opened.len().unwrap() as usize];
    opened.read_exact_at(0, &mut bytes).map_err(|error| CryptError::unwrap_io(error).unwrap())?;
    Ok(bytes)
}

/// A source that counts what is read of it.
struct Counted<R> {
    inner: R,
    reads: AtomicU64,
    bytes: AtomicU64,
}

impl<R> Counted<R> {
    fn new(inner: R) -> Self {
        Counted { inner, reads: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    /// Reads and bytes since the last call.
    fn take(&self) -> (u64, u64) {
        (self.reads.swap(0, Ordering::Relaxed), self.bytes.swap(0, Ordering::Relaxed))
    }
}

impl<R: ReadAt> ReadAt for Counted<R> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read_at(offset, buffer)?;
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}
