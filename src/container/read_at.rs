//! Where a container's bytes come from: a file, memory, or a range read of a store.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// The bytes of one stored file, wherever they are; any number of threads may read them.
pub type Blob = Arc<dyn ReadAt + Send + Sync>;

/// Bytes that can be read from any offset.
pub trait ReadAt {
    /// Reads up to `buffer.len()` bytes from `offset`; 0 only at the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// How many bytes there are.
    fn len(&self) -> io::Result<u64>;

    /// Whether there is no byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Says that all of a range will be read soon, from its start on; a place that is far away then fetches it in large
    /// pieces. It takes the place of a range that was announced before.
    fn announce(&self, _range: Range<u64>) {}

    /// Makes reads that wait for a place that is far away fail, until it is switched off again.
    fn interrupt(&self, _on: bool) {}

    /// Fills `buffer`. Errors: `UnexpectedEof` when the bytes end before.
    fn read_exact_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(offset, buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    offset += count as u64;
                    buffer = &mut buffer[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The SHA-256 in hex of all bytes of a source. `watch` is called between the steps.
pub fn sha256_hex_of(source: &impl ReadAt, watch: &mut dyn FnMut()) -> io::Result<String> {
    let (length, mut at) = (source.len()?, 0);
    let (mut hash, mut block) = (Sha256::new(), vec![0; BLOCK.min(length) as usize]);
    while at < length {
        watch();
        let bytes = &mut block[..BLOCK.min(length - at) as usize];
        source.read_exact_at(at, bytes)?;
        hash.update(&*bytes);
        at += bytes.len() as u64;
    }
    Ok(hex::encode(hash.finalize()))
}

/// Bytes hashed at once.
const BLOCK: u64 = 1 << 20;

impl ReadAt for File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(<[u8]>::len(self));
        let count = buffer.len().min(<[u8]>::len(self) - start);
        buffer[..count].copy_from_slice(&self[start..start + count]);
        Ok(count)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(<[u8]>::len(self) as u64)
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.as_slice().read_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        ReadAt::len(self.as_slice())
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        (**self).len()
    }

    fn announce(&self, range: Range<u64>) {
        (**self).announce(range);
    }

    fn interrupt(&self, on: bool) {
        (**self).interrupt(on);
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        (**self).len()
    }

    fn announce(&self, range: Range<u64>) {
        (**self).announce(range);
    }

    fn interrupt(&self, on: bool) {
        (**self).interrupt(on);
    }
}
