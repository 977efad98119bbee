//! The same plain bytes for other recipients.
//!
//! The whole is encrypted anew, with a new file key. A new header over the old payload would be quicker, but whoever could
//! read the file before knows its key, and would go on reading every copy; and the crate does not offer it.

use std::io::Write;

use super::error::CryptError;
use super::opened::Opened;
use super::recipients::Recipients;
use super::sealer::Sealer;
use crate::container::ReadAt;

/// Bytes between two calls of `watch`.
const STEP: u64 = 1 << 20;

/// Writes what `opened` holds to `out`, sealed for `recipients`, and gives `out` back. `watch` is called between the steps;
/// what it answers with ends the work.
///
/// # Errors
/// `Damaged`, `Seal`, `Io`, as reading and writing say; what `watch` says, as `Io`.
pub fn reseal<R: ReadAt, W: Write>(
    opened: &Opened<R>,
    recipients: &Recipients,
    out: W,
    watch: &mut dyn FnMut() -> std::io::Result<()>,
) -> Result<W, CryptError> {
    let mut sealer = Sealer::new(out, recipients)?;
    let length = opened.len().map_err(CryptError::Io)?;
    let mut block = vec![0; STEP.min(length) as usize];
    let mut at = 0;
    while at < length {
        watch().map_err(CryptError::Io)?;
        let count = STEP.min(length - at) as usize;
        let bytes = &mut block[..count];
        opened.read_exact_at(at, bytes).map_err(|error| CryptError::unwrap_io(error).unwrap_or_else(CryptError::Io))?;
        sealer.write_all(bytes).map_err(CryptError::Io)?;
        at += count as u64;
    }
    sealer.finish()
}
