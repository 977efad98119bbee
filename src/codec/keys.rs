//! Which chunks may hold a key: a Bloom filter of the keys of each chunk of a CSV entry, in an entry of its own beside it,
//! whose chunk n is the filter of chunk n. It only ever says where a key is not: who cannot read it reads all chunks.
//!
//! A key is the texts of its columns as they stand in the CSV, in the order of the table, joined by commas. Its hash h is
//! the 64-bit FNV-1a of that, through the finaliser of SplitMix64. With g the finaliser of h + 0x9e3779b97f4a7c15 (mod
//! 2^64), its lowest bit set, the key has eight bits: for i from 0 to 7, number ((h + i * g) mod 2^64) * m / 2^64 of the m
//! bits of the filter, counted from the lowest of its first byte. A filter of no bytes says nothing.

use std::error::Error;

use super::error::EncodeError;
use super::subject::Subject;
use super::value::{self, Scratch};
use super::wire::{Column, Fields, RowBatch, ValueKind};
use crate::stream::{ChunkEncoder, RowDigest};

/// One key in 300 that is not there is taken to be.
const BITS_PER_KEY: usize = 12;
const BITS_SET: u64 = 8;

/// The hash of a key's text.
pub fn hash(key: &[u8]) -> u64 {
    let fnv = key
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    finish(fnv)
}

fn finish(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

fn places(hash: u64, bytes: usize) -> impl Iterator<Item = (usize, u8)> {
    let step = finish(hash.wrapping_add(0x9e37_79b9_7f4a_7c15)) | 1;
    let bits = bytes as u128 * 8;
    (0..BITS_SET).map(move |number| {
        let spread = hash.wrapping_add(number.wrapping_mul(step));
        let bit = ((u128::from(spread) * bits) >> 64) as usize;
        (bit / 8, 1 << (bit % 8))
    })
}

/// The filter of the keys with these hashes.
fn filter(hashes: &[u64]) -> Vec<u8> {
    filter_of_size(hashes, (hashes.len() * BITS_PER_KEY).div_ceil(8))
}

/// As `filter`, of this many bytes: to take the place of one of more keys.
pub fn filter_of_size(hashes: &[u64], bytes: usize) -> Vec<u8> {
    let mut filter = vec![0; bytes];
    for &hash in hashes {
        places(hash, bytes).for_each(|(byte, bit)| filter[byte] |= bit);
    }
    filter
}

/// Whether a chunk with this filter may hold the key with this hash.
pub fn may_hold(filter: &[u8], hash: u64) -> bool {
    filter.is_empty()
        || places(hash, filter.len()).all(|(byte, bit)| filter.get(byte).is_none_or(|held| held & bit != 0))
}

/// Makes the filter of a batch, as the text of its rows is made.
#[derive(Debug)]
pub struct KeyFilter(Vec<(ValueKind, bool)>);

impl KeyFilter {
    /// Of rows of `columns`, whose key is told by those named `key`.
    pub fn new(columns: &[Column], key: &[String]) -> Self {
        KeyFilter(columns.iter().map(|column| (column.kind.clone(), key.contains(&column.name))).collect())
    }

    fn hashes(&self, batch: &RowBatch) -> Result<Vec<u64>, EncodeError> {
        let broken = |_| EncodeError::BrokenBatch { sequence: batch.sequence, reason: "a key in it cannot be read" };
        let (mut fields, mut scratch, mut text) = (Fields::new(batch), Scratch::default(), Vec::new());
        let mut hashes = Vec::with_capacity(batch.rows as usize);
        for _ in 0..batch.rows {
            text.clear();
            let mut is_first = true;
            for (kind, is_key) in &self.0 {
                let field = fields.take().map_err(broken)?;
                if !is_key {
                    continue;
                }
                if !std::mem::replace(&mut is_first, false) {
                    text.push(b',');
                }
                if let Some(bytes) = field {
                    value::text(kind, bytes, &mut scratch, &mut text).map_err(broken)?;
                }
            }
            hashes.push(hash(&text));
        }
        Ok(hashes)
    }
}

impl ChunkEncoder for KeyFilter {
    fn encode(
        &self,
        batch: &RowBatch,
        _digest: &mut RowDigest,
        out: &mut Vec<u8>,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        out.extend_from_slice(&filter(&self.hashes(batch)?));
        Ok(())
    }
}

/// Makes the filter of the values that a subject has in a batch. A row in which it is NULL is not in it.
#[derive(Debug)]
pub struct SubjectFilter {
    subject: Subject,
    kinds: Vec<(ValueKind, bool)>,
}

impl SubjectFilter {
    /// Of rows of `columns`, in which the subject is one.
    pub fn new(columns: &[Column], subject: &Subject) -> Self {
        let kinds = columns.iter().map(|column| (column.kind.clone(), column.name == subject.column));
        SubjectFilter { subject: subject.clone(), kinds: kinds.collect() }
    }

    fn hashes(&self, batch: &RowBatch) -> Result<Vec<u64>, EncodeError> {
        let broken = |_| EncodeError::BrokenBatch { sequence: batch.sequence, reason: "a value in it cannot be read" };
        let (mut fields, mut scratch, mut text) = (Fields::new(batch), Scratch::default(), Vec::new());
        let mut hashes = Vec::with_capacity(batch.rows as usize);
        for _ in 0..batch.rows {
            for (kind, is_it) in &self.kinds {
                let field = fields.take().map_err(broken)?;
                let (true, Some(bytes)) = (is_it, field) else { continue };
                text.clear();
                value::text(kind, bytes, &mut scratch, &mut text).map_err(broken)?;
                if self.subject.steps.is_empty() {
                    hashes.push(hash(&text));
                } else {
                    hashes.extend(self.subject.in_text(&text).map(|value| hash(&value)));
                }
            }
        }
        Ok(hashes)
    }
}

impl ChunkEncoder for SubjectFilter {
    /// A filter of no keys still has a byte, since one of none says nothing.
    fn encode(
        &self,
        batch: &RowBatch,
        _digest: &mut RowDigest,
        out: &mut Vec<u8>,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let hashes = self.hashes(batch)?;
        out.extend_from_slice(&filter_of_size(&hashes, (hashes.len() * BITS_PER_KEY).div_ceil(8).max(1)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_hash_is_the_one_that_is_documented() {
        assert_eq!(hash(b""), finish(0xcbf2_9ce4_8422_2325));
        assert_eq!(hash(b"a"), finish(0xaf63_dc4c_8601_ec8c));
    }

    fn batch(keys: std::ops::Range<u64>) -> RowBatch {
        let mut batch = RowBatch::default();
        for key in keys {
            batch.push_value(b"other").unwrap();
            batch.push_value(&(key as i64).to_ne_bytes()).unwrap();
            batch.push_value(&[1]).unwrap();
            batch.end_row();
        }
        batch
    }

    fn filter_of(keys: std::ops::Range<u64>) -> Vec<u8> {
        let column = |name: &str, kind| Column { name: name.into(), kind, generated: false };
        let columns = [column("v", ValueKind::Text), column("n", ValueKind::Int8), column("b", ValueKind::Bool)];
        let mut out = vec![];
        let encoder = KeyFilter::new(&columns, &["b".into(), "n".into()]);
        encoder.encode(&batch(keys), &mut RowDigest::default(), &mut out).unwrap();
        out
    }

    #[test]
    fn a_key_is_in_its_chunk_and_hardly_in_another() {
        let filters: Vec<_> = (0..20).map(|chunk| filter_of(chunk * 1000..(chunk + 1) * 1000)).collect();
        let mut wrong = 0;
        for key in 0..20_000_usize {
            let hash = hash(format!("{key},t").as_bytes());
            assert!(may_hold(&filters[key / 1000], hash));
            wrong += filters.iter().filter(|filter| may_hold(filter, hash)).count() - 1;
        }
        assert!(wrong < 20_000 * 19 / 200, "{wrong}");
    }

    #[test]
    fn a_batch_that_is_cut_is_an_error() {
        let mut cut = batch(0..3);
        cut.bytes.truncate(20);
        let encoder = KeyFilter(vec![(ValueKind::Text, false), (ValueKind::Int8, true), (ValueKind::Bool, false)]);
        assert!(encoder.hashes(&cut).is_err());
    }

    proptest! {
        #[test]
        fn no_key_is_missed(hashes in prop::collection::vec(any::<u64>(), 1..40)) {
            let filter = filter(&hashes);
            prop_assert!(hashes.iter().all(|hash| may_hold(&filter, *hash)));
        }

        #[test]
        fn no_bytes_break_it(filter in prop::collection::vec(any::<u8>(), 0..80), hash in any::<u64>()) {
            let _ = may_hold(&filter, hash);
        }
    }
}
