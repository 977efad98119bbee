//! Numbers, uuids and bytes from the texts that the encoder writes; other forms are for the server to read.

/// `t` or `f`.
#[inline]
pub(super) fn boolean(text: &[u8]) -> Option<bool> {
    match text {
        b"t" => Some(true),
        b"f" => Some(false),
        _ => None,
    }
}

/// At most 18 digits, which cannot overflow.
#[inline]
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    let unsigned = text.strip_prefix(b"-").unwrap_or(text);
    if unsigned.is_empty() || unsigned.len() > 18 {
        return None;
    }
    let mut value = 0i64;
    for byte in unsigned {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if unsigned.len() < text.len() { -value } else { value })
}

const NO_HEX: u8 = 0xff;
static HEX: [u8; 256] = {
    let mut table = [NO_HEX; 256];
    let mut value = 0;
    while value < 16 {
        table[b"0123456789abcdef"[value] as usize] = value as u8;
        table[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    table
};

/// 36 characters with dashes.
#[inline]
pub(super) fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    let text: &[u8; 36] = text.try_into().ok()?;
    if [8, 13, 18, 23].iter().any(|dash| text[*dash] != b'-') {
        return None;
    }
    let places = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let mut value = [0; 16];
    let mut all = 0;
    for (byte, place) in value.iter_mut().zip(places) {
        let (high, low) = (HEX[usize::from(text[place])], HEX[usize::from(text[place + 1])]);
        all |= high | low;
        *byte = high << 4 | low & 0x0f;
    }
    (all < 16).then_some(value)
}

/// Whether it is pairs of hexadecimal digits.
pub(super) fn is_hex(text: &[u8]) -> bool {
    text.len().is_multiple_of(2) && text.iter().all(|byte| HEX[usize::from(*byte)] != NO_HEX)
}

/// Appends the bytes of pairs of digits that `is_hex` found to be such.
pub(super) fn bytes(hex: &[u8], out: &mut Vec<u8>) {
    out.extend(hex.as_chunks::<2>().0.iter().map(|[high, low]| HEX[usize::from(*high)] << 4 | HEX[usize::from(*low)]));
}

/// Base-10000 digits that a value made here has at most.
const MOST: usize = 24;

/// A `numeric` in its short form: base-10000 digits without zeros at either end, the first of which counts 10000^weight.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number {
    negative: bool,
    scale: u16,
    weight: i32,
    /// Decimal digits before the point, without leading zeros.
    whole: i32,
    digits: [u16; MOST],
    count: usize,
}

impl Number {
    /// Digits, perhaps with a sign before and a point and more digits behind.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let unsigned = text.strip_prefix(b"-").unwrap_or(text);
        let point = unsigned.iter().position(|byte| *byte == b'.');
        let (whole, fraction) = match point {
            None => (unsigned, &b""[..]),
            Some(at) => (unsigned.get(..at)?, unsigned.get(at + 1..).filter(|fraction| !fraction.is_empty())?),
        };
        if whole.is_empty() || !whole.iter().chain(fraction).all(u8::is_ascii_digit) || fraction.len() > 40 {
            return None;
        }
        let zeros = whole.iter().take_while(|digit| **digit == b'0').count();
        let whole = &whole[zeros..];
        if whole.len() > 40 {
            return None;
        }
        let mut number = Number {
            negative: unsigned.len() < text.len(),
            scale: fraction.len() as u16,
            weight: whole.len().div_ceil(4) as i32 - 1,
            whole: whole.len() as i32,
            digits: [0; MOST],
            count: 0,
        };
        let group = |digits: &[u8]| digits.iter().fold(0, |value, digit| value * 10 + u16::from(digit - b'0'));
        let (first, groups) = whole.split_at(whole.len() % 4);
        if !first.is_empty() {
            number.push(group(first));
        }
        groups.chunks(4).for_each(|digits| number.push(group(digits)));
        for digits in fraction.chunks(4) {
            number.push(group(digits) * 10_u16.pow(4 - digits.len() as u32));
        }
        number.strip();
        Some(number)
    }

    fn push(&mut self, digit: u16) {
        self.digits[self.count] = digit;
        self.count += 1;
    }

    fn strip(&mut self) {
        while self.count > 0 && self.digits[self.count - 1] == 0 {
            self.count -= 1;
        }
        let zeros = self.digits[..self.count].iter().take_while(|digit| **digit == 0).count();
        self.digits.copy_within(zeros..self.count, 0);
        self.count -= zeros;
        self.weight -= zeros as i32;
        if self.count == 0 {
            (self.weight, self.negative) = (0, false);
        }
    }

    /// Whether a column of this precision and scale keeps it as it is.
    pub(super) fn fits(&self, precision: i32, scale: i32) -> bool {
        i32::from(self.scale) == scale && self.whole <= precision - scale
    }

    pub(super) fn stored_len(&self) -> usize {
        2 + 2 * self.count
    }

    /// Appends header and digits.
    pub(super) fn store(&self, out: &mut Vec<u8>) {
        let sign = if self.negative { 0x2000 } else { 0 };
        // 6 bits and the sign's.
        let weight = (self.weight & 0x7f) as u16;
        let header = 0x8000 | sign | self.scale << 7 | weight;
        out.extend_from_slice(&header.to_ne_bytes());
        for digit in &self.digits[..self.count] {
            out.extend_from_slice(&digit.to_ne_bytes());
        }
    }
}
