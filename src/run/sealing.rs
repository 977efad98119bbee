//! What a file of rows is written through: as it is, or sealed for its recipients before a byte of it reaches the disk.

use std::io::{self, Write};

use agent_backup_core::crypt::{self, CryptError, Recipients, Sealer};
use agent_backup_core::plan::names::Form;
use agent_backup_core::store::StagedFile;

use crate::error::{EncryptionError, Error, Result};
use crate::run::publish;

/// A staged file that is written to.
pub enum Out {
    Plain(StagedFile),
    Sealed(Box<Sealer<StagedFile>>),
}

impl Out {
    /// Sealed where there are recipients.
    pub fn start(staged: StagedFile, recipients: Option<&Recipients>) -> Result<Self> {
        Ok(match recipients {
            None => Out::Plain(staged),
            Some(recipients) => Out::Sealed(Box::new(Sealer::new(staged, recipients).map_err(failed)?)),
        })
    }

    /// The file, with all that was written in it.
    pub fn finish(self) -> Result<StagedFile> {
        match self {
            Out::Plain(staged) => Ok(staged),
            Out::Sealed(sealer) => sealer.finish().map_err(failed),
        }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Out::Plain(staged) => staged.write(bytes),
            Out::Sealed(sealer) => sealer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Out::Plain(staged) => staged.flush(),
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
