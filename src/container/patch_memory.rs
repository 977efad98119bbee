//! A file in memory that dies after some steps, for tests.

use std::io;
use std::sync::Mutex;

use super::ReadAt;
use super::redo::Target;

/// A file in memory, which can stop working.
pub(super) struct Memory {
    pub(super) bytes: Mutex<Vec<u8>>,
    pub(super) left: Mutex<usize>,
}

impl ReadAt for Memory {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.bytes.lock().unwrap().read_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }
}

impl Memory {
    fn spend(&self) -> io::Result<()> {
        let mut left = self.left.lock().unwrap();
        *left = left.checked_sub(1).ok_or(io::ErrorKind::Other)?;
        Ok(())
    }
}

impl Target for Memory {
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.bytes.lock().unwrap();
        let end = offset as usize + bytes.len();
        if file.len() < end {
            file.resize(end, 0);
        }
        // A write that dies may have written a part.
        let whole = self.spend();
        let count = if whole.is_ok() { bytes.len() } else { bytes.len() / 2 };
        file[offset as usize..][..count].copy_from_slice(&bytes[..count]);
        whole
    }

    fn sync(&self) -> io::Result<()> {
        self.spend()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.spend()?;
        self.bytes.lock().unwrap().resize(bytes as usize, 0);
        Ok(())
    }
}
