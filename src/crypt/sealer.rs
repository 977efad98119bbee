//! Seals what is written.

use std::io::{self, Write};

use age::Encryptor;
use age::stream::StreamWriter;

use super::error::CryptError;
use super::recipients::Recipients;

/// A writer that seals for its recipients what passes, 64 KiB at a time. What it has written is of no use until
/// [`Sealer::finish`]: a file without its last block does not open.
#[must_use = "a sealed file is complete only after finish"]
pub struct Sealer<W: Write> {
    inner: StreamWriter<W>,
}

impl<W: Write> Sealer<W> {
    /// Writes the header. `out` gets writes of 64 KiB and a few small ones.
    ///
    /// # Errors
    /// `Seal`, `Io`.
    pub fn new(out: W, recipients: &Recipients) -> Result<Self, CryptError> {
        let encryptor = Encryptor::with_recipients(recipients.iter()).map_err(|error| match error {
            age::EncryptError::Io(source) => CryptError::Io(source),
            age::EncryptError::MissingRecipients => CryptError::NoRecipient,
            _ => CryptError::Seal("the recipients cannot be used together"),
        })?;
        Ok(Sealer { inner: encryptor.wrap_output(out).map_err(CryptError::Io)? })
    }

    /// Seals the rest, marks it as the last, and gives back what was written to, not flushed.
    pub fn finish(self) -> Result<W, CryptError> {
        self.inner.finish().map_err(CryptError::Io)
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes)
    }

    /// Flushes what is behind; a block that is not full stays here.
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
