//! What a file of rows is written through: as it is, or sealed for its recipients before a byte of it reaches the disk.

use std::io::{self, Write};

use agent_backup_core::crypt::{self, CryptError, Recipients, Sealer};
use agent_backup_core::plan::names::Form;
use agent_backup_core::store::StagedFile;

use crate::error::{EncryptionError, Error, Result};
use crate::run::publish;

/// What is written to: a staged file, unless it says otherwise.
pub enum Out<T: Write = StagedFile> {
    Plain(T),
    Sealed(Box<Sealer<T>>),
}

impl<T: Write> Out<T> {
    /// Sealed where there are recipients.
    pub fn start(target: T, recipients: Option<&Recipients>) -> Result<Self> {
        Ok(match recipients {
            None => Out::Plain(target),
            Some(recipients) => Out::Sealed(Box::new(Sealer::new(target, recipients).map_err(failed)?)),
        })
    }

    /// What was written to, with all of it.
    pub fn finish(self) -> Result<T> {
        match self {
            Out::Plain(target) => Ok(target),
            Out::Sealed(sealer) => sealer.finish().map_err(failed),
        }
    }
}

impl<T: Write> Write for Out<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Out::Plain(target) => target.write(bytes),
            Out::Sealed(sealer) => sealer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Out::Plain(target) => target.flush(),
            Out::Sealed(sealer) => sealer.flush(),
        }
    }
}

/// Of what is written for these recipients.
pub fn form(recipients: Option<&Recipients>) -> Form {
    if recipients.is_some() { Form::Sealed } else { Form::Plain }
}

/// Keys of rows that are gone, as the field of a manifest; none where there are none.
pub fn tombstones(keys: &[String], recipients: &Recipients) -> Result<Option<String>> {
    if keys.is_empty() {
        return Ok(None);
    }
    let text = serde_json::to_vec(keys).map_err(|error| Error::Write(io::Error::other(error)))?;
    crypt::seal_text(&text, recipients).map(Some).map_err(failed)
}

/// A failed act of sealing; a failed write is one as of any file.
pub fn failed(problem: CryptError) -> Error {
    match problem {
        CryptError::Io(source) => publish::write_error(source),
        other => EncryptionError::Seal(other).into(),
    }
}
