//! Digits: decimal pairs, hexadecimal pairs, uuid, and what counts as a number in JSON.

const fn decimal_pairs() -> [[u8; 2]; 100] {
    let mut table = [[0; 2]; 100];
    let mut value = 0;
    while value < 100 {
        table[value] = [b'0' + (value / 10) as u8, b'0' + (value % 10) as u8];
        value += 1;
    }
    table
}

const fn hex_pairs() -> [[u8; 2]; 256] {
    let digits = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut value = 0;
    while value < 256 {
        table[value] = [digits[value >> 4], digits[value & 15]];
        value += 1;
    }
    table
}

static DECIMAL: [[u8; 2]; 100] = decimal_pairs();
static HEX: [[u8; 2]; 256] = hex_pairs();

/// `value` modulo 100 as two digits.
#[inline]
pub(super) fn two(value: u32) -> [u8; 2] {
    DECIMAL[(value % 100) as usize]
}

/// `value` modulo 10000 as four digits.
#[inline]
pub(super) fn four(value: u32) -> [u8; 4] {
    let ([a, b], [c, d]) = (two(value / 100), two(value));
    [a, b, c, d]
}

/// An integer in decimal.
#[inline]
pub(super) fn integer(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Two lower-case hex digits a byte.
pub(super) fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len().saturating_mul(2));
    let mut block = [[0; 2]; 64];
    for chunk in bytes.chunks(block.len()) {
        for (pair, byte) in block.iter_mut().zip(chunk) {
            *pair = HEX[usize::from(*byte)];
        }
        out.extend_from_slice(block[..chunk.len()].as_flattened());
    }
}

/// A uuid in its 36 characters.
#[inline]
pub(super) fn uuid(bytes: [u8; 16], out: &mut Vec<u8>) {
    let mut text = [b'-'; 36];
    let places = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    for (place, byte) in places.into_iter().zip(bytes) {
        [text[place], text[place + 1]] = HEX[usize::from(byte)];
    }
    out.extend_from_slice(&text);
}

/// Whether `text` is a number by the grammar of JSON (so `NaN`, `Infinity`, `1.` and `01` are none).
pub(super) fn is_json_number(text: &[u8]) -> bool {
    let unsigned = text.strip_prefix(b"-").unwrap_or(text);
    let Some(mut rest) = after_digits(unsigned) else { return false };
    if unsigned.len() - rest.len() > 1 && unsigned.starts_with(b"0") {
        return false;
    }
    if let Some(fraction) = rest.strip_prefix(b".") {
        let Some(after) = after_digits(fraction) else { return false };
        rest = after;
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let digits = exponent.strip_prefix(b"-").or(exponent.strip_prefix(b"+")).unwrap_or(exponent);
        let Some(after) = after_digits(digits) else { return false };
        rest = after;
    }
    rest.is_empty()
}

/// What follows a run of at least one digit.
fn after_digits(text: &[u8]) -> Option<&[u8]> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 { None } else { text.get(digits..) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_numbers_are_told_from_other_texts() {
        for good in ["0", "-0", "1.5", "1e-07", "-1.25E+10", "1e+300", "10", "0.1"] {
            assert!(is_json_number(good.as_bytes()), "{good}");
        }
        for bad in ["", "-", "NaN", "Infinity", "-Infinity", "01", "-01", "1.", ".5", "1e", "1e+", "1 ", "+1", "--1"] {
            assert!(!is_json_number(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn hex_has_two_digits_for_every_byte() {
        let bytes: Vec<u8> = (0..=255).chain(0..=40).collect();
        let mut out = vec![];
        hex(&bytes, &mut out);
        assert_eq!(out, ::hex::encode(&bytes).into_bytes());
    }

    #[test]
    fn a_uuid_has_its_dashes() {
        let mut out = vec![];
        uuid(*b"\x12\x3e\x45\x67\xe8\x9b\x12\xd3\xa4\x56\x42\x66\x14\x17\x40\x00", &mut out);
        assert_eq!(out, b"123e4567-e89b-12d3-a456-426614174000");
    }
}
