//! `numeric` as stored: a header that says sign, display scale and weight in 2 bytes (short) or 4 (long), then
//! base-10000 digits, the first of which counts 10000^weight.

use super::error::{Fault, Outcome};
use super::number::{four, integer};
use super::raw::{take, u16_at};

const KIND: u16 = 0xc000;
const NEGATIVE: u16 = 0x4000;
const SHORT: u16 = 0x8000;
const SPECIAL: u16 = 0xc000;
const SPECIAL_SIGN: u16 = 0xf000;

/// Whether the value is NaN or an infinity, whose text is no number to JSON and SQL.
#[inline]
pub(super) fn is_special(bytes: &[u8]) -> Result<bool, Fault> {
    Ok(u16_at(bytes, 0)? & KIND == SPECIAL)
}

/// The text of the value, with all digits of its display scale.
pub(super) fn write(bytes: &[u8], out: &mut Vec<u8>) -> Outcome {
    let head = u16_at(bytes, 0)?;
    let (negative, scale, weight, start) = match head & KIND {
        SPECIAL => {
            out.extend_from_slice(special(head)?);
            return Ok(());
        }
        SHORT => (head & 0x2000 != 0, (head >> 7) & 0x3f, short_weight(head), 2),
        sign => {
            let weight = take(bytes, 2).map(i16::from_ne_bytes)?;
            (sign == NEGATIVE, head & 0x3fff, i32::from(weight), 4)
        }
    };
    let (digits, odd) = bytes.get(start..).unwrap_or_default().as_chunks::<2>();
    if !odd.is_empty() {
        return Err(Fault::Malformed("a numeric has half a digit"));
    }
    if negative {
        out.push(b'-');
    }
    whole_part(digits, weight, out)?;
    if scale > 0 {
        fraction(digits, weight, usize::from(scale), out)?;
    }
    Ok(())
}

fn special(head: u16) -> Result<&'static [u8], Fault> {
    match head & SPECIAL_SIGN {
        0xc000 => Ok(b"NaN"),
        0xd000 => Ok(b"Infinity"),
        0xf000 => Ok(b"-Infinity"),
        _ => Err(Fault::Malformed("a numeric has an unknown sign")),
    }
}

/// 6 bits and a sign bit.
fn short_weight(head: u16) -> i32 {
    let low = i32::from(head & 0x3f);
    if head & 0x40 != 0 { low - 64 } else { low }
}

/// The digit that counts 10000^(weight - place); 0 where none is stored.
#[inline]
fn digit(digits: &[[u8; 2]], place: i32) -> Result<u32, Fault> {
    let stored = usize::try_from(place).ok().and_then(|place| digits.get(place));
    match stored.map(|pair| u16::from_ne_bytes(*pair)) {
        None => Ok(0),
        Some(value @ 0..=9999) => Ok(u32::from(value)),
        Some(_) => Err(Fault::Malformed("a numeric has a digit above 9999")),
    }
}

#[inline]
fn whole_part(digits: &[[u8; 2]], weight: i32, out: &mut Vec<u8>) -> Outcome {
    if weight < 0 {
        out.push(b'0');
        return Ok(());
    }
    integer(digit(digits, 0)?, out);
    for place in 1..=weight {
        out.extend_from_slice(&four(digit(digits, place)?));
    }
    Ok(())
}

#[inline]
fn fraction(digits: &[[u8; 2]], weight: i32, scale: usize, out: &mut Vec<u8>) -> Outcome {
    out.push(b'.');
    let end = out.len() + scale;
    let mut place = weight + 1;
    while out.len() < end {
        out.extend_from_slice(&four(digit(digits, place)?));
        place += 1;
    }
    out.truncate(end);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(words: &[u16]) -> Result<String, Fault> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut out = vec![];
        write(&bytes, &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn short_and_long_headers_read_alike() {
        for (words, expected) in [
            (&[0x8000u16][..], "0"),
            (&[0x8000 | 2 << 7], "0.00"),
            (&[0x8000, 7], "7"),
            (&[0xa000 | 2 << 7, 12, 3400], "-12.34"),
            (&[0x8000 | 6 << 7 | 0x7f, 12], "0.001200"),
            (&[0x8000 | 5 << 7 | 0x7e, 9000], "0.00009"),
            (&[0x8001, 1], "10000"),
            (&[0x8002 | 1 << 7, 1, 0, 42], "100000042.0"),
            (&[0x0002, 0, 12, 3400], "12.34"),
            (&[0x4000, 1, 9999, 1], "-99990001"),
        ] {
            assert_eq!(text(words).as_deref(), Ok(expected), "{words:x?}");
        }
    }

    #[test]
    fn special_values_have_names() {
        assert_eq!(text(&[0xc000]).as_deref(), Ok("NaN"));
        assert_eq!(text(&[0xd000]).as_deref(), Ok("Infinity"));
        assert_eq!(text(&[0xf000]).as_deref(), Ok("-Infinity"));
        assert!(text(&[0xe000]).is_err());
    }

    #[test]
    fn what_no_numeric_stores_is_refused() {
        assert!(text(&[]).is_err());
        assert!(text(&[0x0002]).is_err());
        assert!(text(&[0x8000, 10000]).is_err());
        let mut out = vec![];
        assert!(write(&[0, 0x80, 1], &mut out).is_err());
    }
}
