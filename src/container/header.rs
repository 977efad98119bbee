//! The bytes of a tar header, by the `tar` crate: GNU form, which carries long names and sizes of 8 GiB and more.

use std::io;

use super::error::ContainerError;
use super::parse::is_plain_name;

/// Bytes of a tar block.
pub const BLOCK: usize = 512;

/// The header of a plain file of `size` bytes: one block, or three and more for a name of over 100 bytes. Mode 0600,
/// user and group 0. `mtime` is in seconds since 1970. Errors: `Name`.
pub fn tar_header(name: &str, size: u64, mtime: u64) -> Result<Vec<u8>, ContainerError> {
    if !is_plain_name(name) {
        return Err(ContainerError::Name(name.into()));
    }
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o600);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(mtime);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(size);
    // With no data behind it, the builder writes the header and a long name's blocks, and nothing else.
    let mut builder = tar::Builder::new(Vec::new());
    builder
        .append_data(&mut header, name, io::empty())
        .map_err(|source| ContainerError::Write { what: format!("the header of \"{name}\""), source })?;
    Ok(builder.get_ref().clone())
}

/// How many zeros follow `size` bytes of data.
pub fn padding(size: u64) -> usize {
    let used = (size % BLOCK as u64) as usize;
    if used == 0 { 0 } else { BLOCK - used }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_gib_and_more_are_told_in_full() {
        for size in [0, 511, (8 << 30) - 1, 8 << 30, 5 << 40] {
            let bytes = tar_header("a.csv", size, 7).unwrap();
            assert_eq!(bytes.len(), BLOCK);
            assert_eq!(tar::Header::from_byte_slice(&bytes).entry_size().unwrap(), size);
        }
    }

    #[test]
    fn a_header_names_nobody_and_is_private() {
        let bytes = tar_header("a.csv", 1, 7).unwrap();
        let header = tar::Header::from_byte_slice(&bytes);
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        assert_eq!((header.mode().unwrap(), header.mtime().unwrap()), (0o600, 7));
    }

    #[test]
    fn a_name_that_leaves_the_directory_is_refused() {
        for name in ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a\nb", "a\\b", "a\0b", &"n".repeat(256)] {
            assert!(matches!(tar_header(name, 1, 0), Err(ContainerError::Name(_))), "{name:?}");
        }
    }

    #[test]
    fn padding_fills_a_block() {
        assert_eq!([0, 1, 511, 512, 513].map(padding), [0, 511, 1, 0, 511]);
    }
}
