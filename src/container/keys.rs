//! Which chunks may hold a key: a Bloom filter of the keys of each chunk of a CSV entry, in an entry of its own beside it.
//! It only ever says where a key is not; who cannot read it, or finds it damaged, reads all chunks.
//!
//! The entry's bytes: `agent_backup keys 1` and a line end; then for each chunk, in their order, a u32 (little-endian), the
//! number of bytes of its filter, and the filter. A key is the texts of its columns as they stand in the CSV, joined by
//! commas. Its hash h is the 64-bit FNV-1a of that, through the finaliser of SplitMix64. With g = splitmix64(h) | 1, bit i of
//! the eight of a key is number ((h + i·g) mod 2^64) · m / 2^64 of the m bits of the filter, counted from the lowest of the
//! first byte. A filter of no bytes says nothing.

const MAGIC: &[u8] = b"agent_backup keys 1\n";
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
        let bit = (u128::from(spread) * bits >> 64) as usize;
        (bit / 8, 1 << (bit % 8))
    })
}

/// The filter of the keys with these hashes.
pub fn filter(hashes: &[u64]) -> Vec<u8> {
    let mut filter = vec![0; (hashes.len() * BITS_PER_KEY).div_ceil(8)];
    let bytes = filter.len();
    for &hash in hashes {
        places(hash, bytes).for_each(|(byte, bit)| filter[byte] |= bit);
    }
    filter
}

fn may_hold(filter: &[u8], hash: u64) -> bool {
    filter.is_empty() || places(hash, filter.len()).all(|(byte, bit)| filter.get(byte).is_none_or(|held| held & bit != 0))
}

/// The bytes of the entry, of the filters of all chunks in their order.
pub fn to_bytes<'a>(filters: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for filter in filters {
        // A chunk of more rows than this has no filter.
        let filter = if u32::try_from(filter.len()).is_ok() { filter } else { &[] };
        bytes.extend_from_slice(&(filter.len() as u32).to_le_bytes());
        bytes.extend_from_slice(filter);
    }
    bytes
}

/// The chunks that may hold the key, by number; none where the bytes are not those of `chunks` filters.
pub fn chunks_with(bytes: &[u8], chunks: usize, hash: u64) -> Option<Vec<usize>> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let mut found = Vec::new();
    for number in 0..chunks {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (filter, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        if may_hold(filter, hash) {
            found.push(number);
        }
        rest = after;
    }
    rest.is_empty().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filters(sizes: &[u64]) -> Vec<Vec<u8>> {
        let mut next = 0u64..;
        let mut of = |size: &u64| next.by_ref().take(*size as usize).map(|n| hash(n.to_string().as_bytes())).collect::<Vec<_>>();
        sizes.iter().map(|size| filter(&of(size))).collect()
    }

    #[test]
    fn the_hash_is_the_one_that_is_documented() {
        assert_eq!(hash(b""), finish(0xcbf2_9ce4_8422_2325));
        assert_eq!(hash(b"a"), finish(0xaf63_dc4c_8601_ec8c));
    }

    #[test]
    fn a_key_is_in_its_chunk_and_hardly_in_another() {
        let all = filters(&[1000; 50]);
        let bytes = to_bytes(all.iter().map(Vec::as_slice));
        let mut chunks = 0;
        for key in 0..50_000_usize {
            let found = chunks_with(&bytes, 50, hash(key.to_string().as_bytes())).unwrap();
            assert!(found.contains(&(key / 1000)));
            chunks += found.len();
        }
        assert!(chunks - 50_000 < 50_000 * 49 / 200, "{chunks}");
    }

    #[test]
    fn bytes_that_are_no_filters_say_nothing() {
        let bytes = to_bytes(filters(&[3, 0, 5]).iter().map(Vec::as_slice));
        assert!(chunks_with(&bytes, 3, 1).is_some_and(|found| found.contains(&1)));
        assert!([2, 4].iter().all(|chunks| chunks_with(&bytes, *chunks, 1).is_none()));
        assert!((0..bytes.len()).all(|end| chunks_with(&bytes[..end], 3, 1).is_none()));
    }

    proptest! {
        #[test]
        fn no_key_is_missed(keys in prop::collection::vec("[a-z,]{0,9}", 1..40)) {
            let hashes: Vec<u64> = keys.iter().map(|key| hash(key.as_bytes())).collect();
            let bytes = to_bytes([filter(&hashes)].iter().map(Vec::as_slice));
            for hash in hashes {
                prop_assert_eq!(chunks_with(&bytes, 1, hash), Some(vec![0]));
            }
        }

        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..80), key in any::<u64>()) {
            let _ = chunks_with(&[MAGIC, &bytes].concat(), 2, key);
            let _ = chunks_with(&bytes, 2, key);
        }
    }
}
