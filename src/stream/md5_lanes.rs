//! MD5 of many short messages at a time. One message's MD5 is a chain in which each step waits for the one before; eight
//! chains side by side keep a core busy, and the compiler turns each step into vector instructions.
//!
//! The md-5 crate has one message at a time only; the tests hold this against it.

use md5::{Digest, Md5};

const LANES: usize = 8;
const BLOCK: usize = 64;
/// Longer messages go one by one: with few of them most lanes would idle.
const LONG: usize = 16 << 10;

/// One word of each lane.
type Words = [u32; LANES];

const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// Sums the MD5 of each of `rows`, read as big-endian numbers, modulo 2^128.
pub(super) fn sum<'a>(rows: impl Iterator<Item = &'a [u8]>) -> u128 {
    let mut long = 0u128;
    let mut short = rows.filter(|row| {
        if row.len() > LONG {
            long = long.wrapping_add(u128::from_be_bytes(Md5::digest(row).into()));
        }
        row.len() <= LONG
    });
    let sum = sum_short(&mut short);
    drop(short);
    long.wrapping_add(sum)
}

fn sum_short<'a>(rows: &mut impl Iterator<Item = &'a [u8]>) -> u128 {
    let mut sum = 0u128;
    let mut lanes: [Option<Message>; LANES] = std::array::from_fn(|_| rows.next().map(Message::new));
    let mut state = START.map(|word| [word; LANES]);
    let mut blocks = [[0; BLOCK]; LANES];
    while lanes.iter().any(Option::is_some) {
        for (lane, block) in lanes.iter_mut().zip(&mut blocks) {
            if let Some(message) = lane {
                message.next_block(block);
            }
        }
        compress(&mut state, &words(&blocks));
        for (number, lane) in lanes.iter_mut().enumerate() {
            if lane.as_ref().is_some_and(Message::is_done) {
                sum = sum.wrapping_add(number_of(&state, number));
                state.iter_mut().zip(START).for_each(|(words, start)| words[number] = start);
                *lane = rows.next().map(Message::new);
            }
        }
    }
    sum
}

/// The digest in one lane as a big-endian number.
fn number_of(state: &[Words; 4], lane: usize) -> u128 {
    state.iter().fold(0, |number, words| number << 32 | u128::from(words[lane].swap_bytes()))
}

/// What is left of a message, and how long it was.
struct Message<'a> {
    rest: &'a [u8],
    bits: u64,
    ended: Ended,
}

#[derive(PartialEq, Eq)]
enum Ended {
    No,
    /// The byte after the last is written, the length is not.
    Marked,
    Done,
}

impl<'a> Message<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Message { rest: bytes, bits: bytes.len() as u64 * 8, ended: Ended::No }
    }

    fn is_done(&self) -> bool {
        self.ended == Ended::Done
    }

    fn next_block(&mut self, block: &mut [u8; BLOCK]) {
        if let Some((full, rest)) = self.rest.split_first_chunk::<BLOCK>() {
            *block = *full;
            self.rest = rest;
            return;
        }
        let length = self.rest.len();
        *block = [0; BLOCK];
        block[..length].copy_from_slice(self.rest);
        self.rest = &[];
        if self.ended == Ended::No {
            block[length] = 0x80;
            self.ended = Ended::Marked;
        }
        if length < BLOCK - 8 {
            block[BLOCK - 8..].copy_from_slice(&self.bits.to_le_bytes());
            self.ended = Ended::Done;
        }
    }
}

/// Word by word what the blocks hold lane by lane.
fn words(blocks: &[[u8; BLOCK]; LANES]) -> [Words; 16] {
    let mut words = [[0; LANES]; 16];
    for (lane, block) in blocks.iter().enumerate() {
        for (word, bytes) in words.iter_mut().zip(block.as_chunks::<4>().0) {
            word[lane] = u32::from_le_bytes(*bytes);
        }
    }
    words
}

/// Sixteen steps for two lanes at a time, whose chains fill each other's waits. Written out, since a loop or an array
/// here would keep the loop over the lanes from becoming vectors. `$word` times the step's number plus `$plus` is the
/// word that a step takes.
macro_rules! round {
    ($mix:expr, $low:tt, $high:tt, $m:ident, $lane:ident, $first:literal, $shifts:tt, $word:literal, $plus:literal) => {
        round!(@four $mix, $low, $high, $m, $lane, $first, 0, $shifts, $word, $plus);
        round!(@four $mix, $low, $high, $m, $lane, $first, 4, $shifts, $word, $plus);
        round!(@four $mix, $low, $high, $m, $lane, $first, 8, $shifts, $word, $plus);
        round!(@four $mix, $low, $high, $m, $lane, $first, 12, $shifts, $word, $plus);
    };
    (@four $mix:expr, ($a:ident $b:ident $c:ident $d:ident), ($e:ident $f:ident $g:ident $h:ident), $m:ident, $lane:ident,
     $first:literal, $at:literal, [$s0:literal $s1:literal $s2:literal $s3:literal], $word:literal, $plus:literal) => {
        round!(@step $mix, $a $b $c $d, $e $f $g $h, $m[($word * $at + $plus) % 16], $lane, $first + $at, $s0);
        round!(@step $mix, $d $a $b $c, $h $e $f $g, $m[($word * ($at + 1) + $plus) % 16], $lane, $first + $at + 1, $s1);
        round!(@step $mix, $c $d $a $b, $g $h $e $f, $m[($word * ($at + 2) + $plus) % 16], $lane, $first + $at + 2, $s2);
        round!(@step $mix, $b $c $d $a, $f $g $h $e, $m[($word * ($at + 3) + $plus) % 16], $lane, $first + $at + 3, $s3);
    };
    (@step $mix:expr, $a:ident $b:ident $c:ident $d:ident, $e:ident $f:ident $g:ident $h:ident,
     $words:expr, $lane:ident, $step:expr, $shift:literal) => {
        $a = step($a, $b, $mix($b, $c, $d), $words[$lane], K[$step], $shift);
        $e = step($e, $f, $mix($f, $g, $h), $words[$lane + LANES / 2], K[$step], $shift);
    };
}

#[inline(always)]
fn step(a: u32, b: u32, mixed: u32, word: u32, k: u32, shift: u32) -> u32 {
    b.wrapping_add(a.wrapping_add(word).wrapping_add(k).wrapping_add(mixed).rotate_left(shift))
}

/// RFC 1321, 3.4: four rounds of sixteen steps, in every lane.
fn compress([sa, sb, sc, sd]: &mut [Words; 4], m: &[Words; 16]) {
    for low in 0..LANES / 2 {
        let high = low + LANES / 2;
        let (mut a, mut b, mut c, mut d) = (sa[low], sb[low], sc[low], sd[low]);
        let (mut e, mut f, mut g, mut h) = (sa[high], sb[high], sc[high], sd[high]);
        round!(|x: u32, y: u32, z: u32| z ^ (x & (y ^ z)), (a b c d), (e f g h), m, low, 0, [7 12 17 22], 1, 0);
        round!(|x: u32, y: u32, z: u32| y ^ (z & (x ^ y)), (a b c d), (e f g h), m, low, 16, [5 9 14 20], 5, 1);
        round!(|x: u32, y: u32, z: u32| x ^ y ^ z, (a b c d), (e f g h), m, low, 32, [4 11 16 23], 3, 5);
        round!(|x: u32, y: u32, z: u32| y ^ (x | !z), (a b c d), (e f g h), m, low, 48, [6 10 15 21], 7, 0);
        for (words, low_end, high_end) in [(&mut *sa, a, e), (&mut *sb, b, f), (&mut *sc, c, g), (&mut *sd, d, h)] {
            words[low] = words[low].wrapping_add(low_end);
            words[high] = words[high].wrapping_add(high_end);
        }
    }
}

/// The whole parts of 2^32 · |sin(n)| for n from 1 to 64.
const K: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one_by_one(rows: &[Vec<u8>]) -> u128 {
        rows.iter().fold(0, |sum, row| sum.wrapping_add(u128::from_be_bytes(Md5::digest(row).into())))
    }

    fn together(rows: &[Vec<u8>]) -> u128 {
        sum(rows.iter().map(Vec::as_slice))
    }

    #[test]
    fn every_length_around_two_blocks_is_as_the_crate_has_it() {
        for length in 0..=3 * BLOCK {
            let rows = [vec![0xa5; length]];
            assert_eq!(together(&rows), one_by_one(&rows), "{length} bytes");
        }
    }

    #[test]
    fn long_rows_count_among_short_ones() {
        let rows: Vec<Vec<u8>> = [3, LONG + 1, 0, LONG, 700, 3 * LONG].map(|length| vec![7; length]).into();
        assert_eq!(together(&rows), one_by_one(&rows));
    }

    proptest! {
        #[test]
        fn any_rows_sum_up_as_one_by_one(
            rows in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 0..40),
        ) {
            prop_assert_eq!(together(&rows), one_by_one(&rows));
        }
    }
}
