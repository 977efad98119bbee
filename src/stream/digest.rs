//! The row digest: MD5 of each row's exact bytes in its format, summed modulo 2^128.
//!
//! The sum does not depend on the order of the rows, so chunks are digested on any thread and added up, and anybody
//! can compute it without this program, for JSON in one line of SQL over `md5(row_to_json(t)::text)`.

use std::fmt;
use std::str::FromStr;

use md5::{Digest, Md5};

use super::md5_lanes;

/// The digest of a set of rows; that of no rows is zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowDigest(u128);

impl RowDigest {
    /// The digest of one row.
    pub fn of_row(row: &[u8]) -> Self {
        let mut digest = RowDigest::default();
        digest.add_row(row);
        digest
    }

    /// Adds one row: its bytes without line end or separator.
    pub fn add_row(&mut self, row: &[u8]) {
        self.0 = self.0.wrapping_add(u128::from_be_bytes(Md5::digest(row).into()));
    }

    /// Adds many rows, several at a time.
    pub fn add_rows<'a>(&mut self, rows: impl Iterator<Item = &'a [u8]>) {
        self.0 = self.0.wrapping_add(md5_lanes::sum(rows));
    }

    /// Takes away rows that were added.
    pub fn remove(&mut self, other: RowDigest) {
        self.0 = self.0.wrapping_sub(other.0);
    }

    /// Adds all rows of another part of the same set.
    pub fn merge(&mut self, other: RowDigest) {
        self.0 = self.0.wrapping_add(other.0);
    }
}

/// SHA-256 of bytes, in hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(sha2::Sha256::digest(bytes))
}

/// 32 lower-case hex digits.
impl fmt::Display for RowDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for RowDigest {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(RowDigest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_rows_are_zero() {
        assert_eq!(RowDigest::default().to_string(), "0".repeat(32));
    }

    #[test]
    fn one_row_is_its_md5() {
        let mut digest = RowDigest::default();
        digest.add_row(b"abc");
        assert_eq!(digest.to_string(), "900150983cd24fb0d6963f7d28e17f72");
    }

    #[test]
    fn order_does_not_matter_but_repetition_does() {
        let of = |rows: &[&[u8]]| {
            let mut digest = RowDigest::default();
            rows.iter().for_each(|row| digest.add_row(row));
            digest
        };
        assert_eq!(of(&[b"a", b"b"]), of(&[b"b", b"a"]));
        assert_ne!(of(&[b"a", b"a"]), of(&[b"b", b"b"]));
        assert_ne!(of(&[b"a"]), of(&[b"a", b"a"]));
    }

    #[test]
    fn text_comes_back() {
        let mut digest = RowDigest::default();
        digest.add_row(b"x");
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }
}
