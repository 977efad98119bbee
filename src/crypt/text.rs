//! A few bytes as an age file in text form, which `age -d` takes too: for a field of a manifest.

use std::io::{Read, Write};

use age::armor::{ArmoredReader, ArmoredWriter, Format};

use super::error::CryptError;
use super::identities::Identities;
use super::opened::Opened;
use super::recipients::Recipients;
use super::sealer::Sealer;
use crate::container::ReadAt;

/// Seals `plain`.
///
/// # Errors
/// `Seal`, `Io`.
pub fn seal_text(plain: &[u8], recipients: &Recipients) -> Result<String, CryptError> {
    let armor = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor).map_err(CryptError::Io)?;
    let mut sealer = Sealer::new(armor, recipients)?;
    sealer.write_all(plain).map_err(CryptError::Io)?;
    let text = sealer.finish()?.finish().map_err(CryptError::Io)?;
    String::from_utf8(text).map_err(|_| CryptError::Seal("it is no text"))
}

/// What `seal_text` sealed.
///
/// # Errors
/// As `Opened::new`.
pub fn open_text(text: &str, identities: &Identities) -> Result<Vec<u8>, CryptError> {
    let mut sealed = Vec::new();
    let damaged = |_| CryptError::Damaged { reason: "its text" };
    ArmoredReader::new(text.as_bytes()).read_to_end(&mut sealed).map_err(damaged)?;
    let opened = Opened::new(sealed, identities)?;
    let mut plain = vec![0; opened.len().map_err(CryptError::Io)? as usize];
    opened.read_exact_at(0, &mut plain).map_err(|error| CryptError::unwrap_io(error).unwrap_or_else(CryptError::Io))?;
    Ok(plain)
}
