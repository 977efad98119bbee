//! Checked reads from stored bytes: whatever the bytes are, the answer is a value or a `Fault`.

use super::error::Fault;

/// The `N` bytes at `at`.
#[inline]
pub(super) fn take<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Fault> {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().ok_or(Fault::Malformed("it ends too early"))
}

/// All of `bytes`, which must be `N`.
#[inline]
pub(super) fn whole<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Fault> {
    bytes.try_into().map_err(|_| Fault::Malformed("its length is not that of its type"))
}

#[inline]
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Result<u16, Fault> {
    take(bytes, at).map(u16::from_ne_bytes)
}

#[inline]
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Result<u32, Fault> {
    take(bytes, at).map(u32::from_ne_bytes)
}

#[inline]
pub(super) fn i32_at(bytes: &[u8], at: usize) -> Result<i32, Fault> {
    take(bytes, at).map(i32::from_ne_bytes)
}

/// `bytes[from..to]`.
#[inline]
pub(super) fn part(bytes: &[u8], from: usize, to: usize) -> Result<&[u8], Fault> {
    bytes.get(from..to).ok_or(Fault::Malformed("a part of it lies outside"))
}

/// `at` rounded up to a multiple of `align`, a power of two.
#[inline]
pub(super) fn aligned(at: usize, align: usize) -> usize {
    at.wrapping_add(align - 1) & !(align - 1)
}

/// The payload of the inline varlena whose header is at `at`, and the position after it.
#[inline]
pub(super) fn varlena(bytes: &[u8], at: usize) -> Result<(&[u8], usize), Fault> {
    let [first] = take::<1>(bytes, at)?;
    let (header, total) = if is_short(first) {
        (1, short_length(first))
    } else {
        let word = u32_at(bytes, at)?;
        if is_compressed(first) {
            return Err(Fault::Malformed("a part of it is compressed"));
        }
        (4, long_length(word))
    };
    if total < header {
        return Err(Fault::Malformed("a part of it is toasted"));
    }
    let end = at.checked_add(total).ok_or(Fault::Malformed("a part of it lies outside"))?;
    Ok((part(bytes, at + header, end)?, end))
}

const LITTLE: bool = cfg!(target_endian = "little");

fn is_short(first: u8) -> bool {
    if LITTLE { first & 0x01 != 0 } else { first & 0x80 != 0 }
}

/// 0 for a TOAST pointer, whose header carries no length.
fn short_length(first: u8) -> usize {
    usize::from(if LITTLE { first >> 1 } else { first & 0x7f })
}

fn is_compressed(first: u8) -> bool {
    if LITTLE { first & 0x03 == 0x02 } else { first & 0xc0 == 0x40 }
}

fn long_length(word: u32) -> usize {
    (if LITTLE { word >> 2 } else { word & 0x3fff_ffff }) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn both_varlena_headers_are_read() {
        assert_eq!(varlena(&[7, b'a', b'b', 9], 0), Ok((&b"ab"[..], 3)));
        assert_eq!(varlena(&[0, 24, 0, 0, 0, b'a', b'b'], 1), Ok((&b"ab"[..], 7)));
    }

    #[test]
    fn a_toasted_compressed_or_cut_varlena_is_refused() {
        for bytes in [&[1u8, 18, 0, 0][..], &[26, 0, 0, 0, 1, 2], &[9, 1], &[40, 0, 0, 0, 1], &[40, 0], &[]] {
            assert!(varlena(bytes, 0).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn positions_round_up() {
        assert_eq!([0, 1, 4, 5].map(|at| aligned(at, 4)), [0, 4, 4, 8]);
    }
}
