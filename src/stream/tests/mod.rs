//! Tests of compressor and spool; those of the pool stand in `pool`.

mod pool;

use std::io::{Read, Write};

use super::compress::PIECE;
use super::spool::OpenSpill;
use super::*;
use crate::plan::Compression;

const METHODS: [Compression; 3] = [Compression::None, Compression::Gzip(1), Compression::Zstd(1)];

fn spill() -> OpenSpill {
    Box::new(tempfile::tempfile)
}

fn never() -> OpenSpill {
    Box::new(|| Err(std::io::Error::other("no file was expected")))
}

fn noise(length: usize) -> Vec<u8> {
    let mut seed = 1_u64;
    let mut next = || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn check_round_trip(method: Compression, plain: &[u8]) {
    let (mut stored, mut back, mut streamed) = (Vec::new(), Vec::new(), Vec::new());
    Compressor::new(method).unwrap().compress(plain, &mut stored).unwrap();
    Inflater::new(method).unwrap().inflate(&stored, plain.len() as u64, &mut back).unwrap();
    assert!(back == plain, "{method:?} {}", plain.len());
    plain_reader(&stored[..], plain.len() as u64).unwrap().read_to_end(&mut streamed).unwrap();
    assert!(streamed == plain, "{method:?} {}", plain.len());
}

#[test]
fn every_method_gives_back_what_it_was_given() {
    for method in METHODS.into_iter().chain([Compression::Gzip(6), Compression::Zstd(19)]) {
        for plain in [noise(1), noise(100_000), vec![b'a'; 30_000]] {
            check_round_trip(method, &plain);
        }
    }
}

#[test]
fn more_than_a_piece_comes_back_too() {
    for method in METHODS {
        check_round_trip(method, &vec![b'a'; PIECE]);
        check_round_trip(method, &vec![b'a'; PIECE + 9]);
    }
}

#[test]
fn a_member_and_its_twin_are_not_taken_for_one() {
    for method in METHODS {
        let (mut twice, mut out) = (Vec::new(), Vec::new());
        let mut compressor = Compressor::new(method).unwrap();
        (0..2).for_each(|_| compressor.compress(b"twin", &mut twice).unwrap());
        assert!(Inflater::new(method).unwrap().inflate(&twice, 4, &mut out).is_err(), "{method:?}");
        Inflater::new(method).unwrap().inflate(&twice[..twice.len() / 2], 4, &mut out).unwrap();
    }
}

#[test]
fn a_level_that_does_not_exist_is_refused() {
    for method in [Compression::Gzip(13), Compression::Zstd(0), Compression::Zstd(20)] {
        assert!(matches!(Compressor::new(method), Err(StreamError::Level { .. })), "{method:?}");
    }
}

#[test]
fn the_check_finds_every_flipped_byte() {
    let plain = b"some text, some text, some more text";
    for method in METHODS {
        let mut compressor = Compressor::new(method).unwrap();
        let mut stored = Vec::new();
        compressor.compress(plain, &mut stored).unwrap();
        compressor.check(plain, &stored).unwrap();
        let header = if matches!(method, Compression::Gzip(_)) { 10 } else { 0 }; // time and system: no data
        for at in header..stored.len() {
            let mut wrong = stored.clone();
            wrong[at] ^= 0x11;
            assert!(compressor.check(plain, &wrong).is_err(), "{method:?} byte {at}");
        }
        assert!(compressor.check(&plain[1..], &stored).is_err());
        assert!(compressor.check(plain, &[&stored[..], b"x"].concat()).is_err());
        assert!(compressor.check(plain, &stored[..stored.len() - 1]).is_err());
    }
}

#[test]
fn inflating_stops_at_the_announced_length() {
    let bomb = vec![0; 3 * PIECE];
    for method in METHODS {
        let mut stored = Vec::new();
        Compressor::new(method).unwrap().compress(&bomb, &mut stored).unwrap();
        for announced in [0, 10, PIECE as u64, 2 * PIECE as u64 + 1] {
            let mut out = Vec::new();
            Inflater::new(method).unwrap().inflate(&stored, announced, &mut out).unwrap_err();
            assert!(out.len() as u64 <= announced + 1, "{method:?} {announced} {}", out.len());
        }
        let mut out = Vec::new();
        plain_reader(&stored[..], 1000).unwrap().read_to_end(&mut out).unwrap_err();
        assert!(out.len() <= 64 << 10);
    }
}

#[test]
fn a_forged_length_costs_no_memory() {
    for method in METHODS {
        let (mut stored, mut out) = (Vec::new(), Vec::new());
        Compressor::new(method).unwrap().compress(b"little", &mut stored).unwrap();
        Inflater::new(method).unwrap().inflate(&stored, 1 << 50, &mut out).unwrap_err();
        assert!(out.capacity() < 1 << 20, "{method:?}");
    }
}

#[test]
fn bytes_after_the_last_member_are_an_error() {
    for method in [Compression::Gzip(1), Compression::Zstd(1)] {
        let mut stored = Vec::new();
        Compressor::new(method).unwrap().compress(b"text", &mut stored).unwrap();
        stored.extend_from_slice(b"garbage");
        assert!(plain_reader(&stored[..], 1000).unwrap().read_to_end(&mut Vec::new()).is_err(), "{method:?}");
    }
}

fn meta(sequence: u64, plain: &[u8]) -> ChunkMeta {
    ChunkMeta { sequence, first_row: sequence, rows: 1, plain_len: plain.len() as u64, digest: RowDigest::default() }
}

fn copy(spooled: &Spooled, frame: &Frame, method: Compression) -> (Copied, Vec<u8>) {
    let mut out = Vec::new();
    let copied = spooled.copy_stream(frame, &mut Compressor::new(method).unwrap(), &mut out).unwrap();
    (copied, out)
}

#[test]
fn chunks_come_back_in_order_from_memory_and_from_disk() {
    for limit in [0, 50, 1 << 20] {
        let spool = Spool::new(limit, if limit > 1000 { never() } else { spill() });
        let texts: Vec<Vec<u8>> = (0..20).map(|number| noise(number * 3)).collect();
        for sequence in [7, 3, 0, 1, 2, 6, 5, 4, 19, 18, 17, 16, 15, 8, 9, 10, 11, 12, 13, 14] {
            spool.append(meta(sequence, &texts[sequence as usize]), &texts[sequence as usize]).unwrap();
        }
        let frame = Frame { prologue: b"<".to_vec(), separator: b"|".to_vec(), epilogue: b">".to_vec() };
        let (copied, out) = copy(&spool.finish().unwrap(), &frame, Compression::None);
        let expected = [b"<".to_vec(), texts[1..].join(&b'|'), b">".to_vec()].concat();
        assert_eq!(out, expected, "limit {limit}");
        assert_eq!(copied.plain_bytes, expected.len() as u64);
        for (chunk, text) in copied.chunks.iter().zip(&texts) {
            assert_eq!(&out[chunk.offset as usize..][..chunk.stored_len as usize], &text[..]);
        }
    }
}

#[test]
fn a_spool_with_a_gap_does_not_finish() {
    for sequences in [vec![1], vec![0, 2], vec![0, 0, 1]] {
        let spool = Spool::new(100, never());
        sequences.iter().for_each(|&sequence| spool.append(meta(sequence, b"x"), b"x").unwrap());
        assert!(matches!(spool.finish(), Err(StreamError::Gap { .. })), "{sequences:?}");
    }
}

#[test]
fn a_spool_keeps_its_memory_bounded() {
    let spool = Spool::new(1 << 20, spill());
    let chunk = noise(100_000);
    for sequence in 0..500 {
        spool.append(meta(sequence, &chunk), &chunk).unwrap();
        assert!(spool.in_memory() <= 2 << 20);
    }
    assert_eq!(spool.finish().unwrap().stored_bytes, 50_000_000);
}

#[test]
fn a_full_disk_is_an_error_and_leaves_a_gap() {
    let spool = Spool::new(0, Box::new(|| Err(std::io::Error::from_raw_os_error(28))));
    let error = spool.append(meta(0, b"x"), b"x").unwrap_err();
    assert!(matches!(error, StreamError::Spill { source, .. } if source.raw_os_error() == Some(28)));
}

#[test]
fn a_spill_file_that_lies_is_found() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_path_buf();
    let open = move || std::fs::File::options().read(true).write(true).open(&path);
    let spool = Spool::new(0, Box::new(open));
    spool.append(meta(0, b"hello"), b"hello").unwrap();
    std::fs::File::options().write(true).open(file.path()).unwrap().write_all(b"j").unwrap();
    let error = spool
        .finish()
        .unwrap()
        .copy_to(&Frame::default(), &mut Compressor::new(Compression::None).unwrap(), &mut Vec::new())
        .unwrap_err();
    assert!(matches!(error, StreamError::SpillChanged { sequence: 0 }), "{error}");
}

#[test]
fn no_rows_still_make_a_file_that_tools_can_read() {
    for method in METHODS {
        let spooled = Spool::new(0, never()).finish().unwrap();
        let (copied, out) = copy(&spooled, &Frame::default(), method);
        assert_eq!((copied.plain_bytes, copied.stored_bytes), (0, out.len() as u64));
        assert_eq!(out.is_empty(), method == Compression::None);
        let mut plain = Vec::new();
        plain_reader(&out[..], 0).unwrap().read_to_end(&mut plain).unwrap();
        assert!(plain.is_empty());
    }
}
