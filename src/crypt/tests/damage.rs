use super::*;

/// The first error of opening and reading all, if any.
fn fault(sealed: &[u8], key: &Key) -> Option<CryptError> {
    open(sealed, key).and_then(|opened| read_all(&opened)).err()
}

fn is_clear(error: &CryptError) -> bool {
    matches!(
        error,
        CryptError::Damaged { .. }
            | CryptError::WrongKey { .. }
            | CryptError::NotEncrypted
            | CryptError::Unsupported { .. }
    )
}

#[test]
fn lengths_around_a_block_come_back() {
    let key = key();
    let block = BLOCK as usize;
    for length in [0, 1, block - 1, block, block + 1, 2 * block, 2 * block + 7] {
        let content = plain(length);
        let opened = open(&seal(&content, &key.recipients()), &key).unwrap();
        assert_eq!(read_all(&opened).unwrap(), content, "{length}");
    }
}

#[test]
fn a_flipped_bit_is_found_wherever_it_is() {
    let key = key();
    let sealed = seal(&plain(300_000), &key.recipients());
    for step in 0..64 {
        for bit in [0, 7] {
            let mut bad = sealed.clone();
            let at = step * (bad.len() - 1) / 63;
            bad[at] ^= 1 << bit;
            let error = fault(&bad, &key).unwrap_or_else(|| panic!("bit {bit} of byte {at} went unseen"));
            assert!(is_clear(&error), "{at}: {error:?}");
        }
    }
    assert!(fault(&sealed, &key).is_none());
}

#[test]
fn every_byte_of_the_header_counts() {
    let key = key();
    let sealed = seal(b"x", &key.recipients());
    for at in 0..sealed.len() {
        let mut bad = sealed.clone();
        bad[at] ^= 1;
        let error = fault(&bad, &key).unwrap_or_else(|| panic!("byte {at} went unseen"));
        assert!(is_clear(&error), "{at}: {error:?}");
    }
}

#[test]
fn a_file_cut_anywhere_is_refused_on_opening() {
    let key = key();
    let sealed = seal(&plain(300_000), &key.recipients());
    let start = open(&sealed, &key).unwrap().stored_range(0..1).start;
    let block = BLOCK + TAG;
    let blocks = (0..4).map(|number| start + number * block);
    let elsewhere = (0..64).map(|step| step * sealed.len() as u64 / 64);
    for length in blocks.chain(elsewhere).chain([sealed.len() as u64 - 1]) {
        let error = open(&sealed[..length as usize], &key).err().unwrap_or_else(|| panic!("cut at {length}"));
        assert!(is_clear(&error), "{length}: {error:?}");
    }
}

#[test]
fn bytes_after_the_end_are_refused_on_opening() {
    let key = key();
    let sealed = seal(&plain(100_000), &key.recipients());
    for more in [1, 16, 17, 70_000] {
        let longer = [sealed.clone(), vec![0; more]].concat();
        assert!(matches!(open(&longer, &key), Err(CryptError::Damaged { .. })), "{more}");
    }
}

#[test]
fn blocks_that_changed_places_are_found_and_the_others_still_read() {
    let key = key();
    let content = plain(5 * BLOCK as usize);
    let mut sealed = seal(&content, &key.recipients());
    let start = open(&sealed, &key).unwrap().stored_range(0..1).start as usize;
    let block = (BLOCK + TAG) as usize;
    let (one, two) = sealed[start..].split_at_mut(2 * block);
    one[block..].swap_with_slice(&mut two[..block]);
    let opened = open(&sealed, &key).unwrap();
    for number in [0_u64, 1, 2, 3, 4, 1, 0] {
        let at = number * BLOCK;
        let mut bytes = vec![0; BLOCK as usize];
        let outcome = opened.read_exact_at(at, &mut bytes);
        if matches!(number, 1 | 2) {
            let error = CryptError::unwrap_io(outcome.unwrap_err()).unwrap();
            assert!(matches!(error, CryptError::Damaged { .. }), "{error}");
        } else {
            outcome.unwrap();
            assert_eq!(bytes, content[at as usize..][..BLOCK as usize]);
        }
    }
}

/// Where a plain range is stored. Headers differ in length, for the format puts something random in each.
fn stored(sealed: &[u8], key: &Key, plain: std::ops::Range<u64>) -> std::ops::Range<usize> {
    let range = open(sealed, key).unwrap().stored_range(plain);
    range.start as usize..range.end as usize
}

#[test]
fn a_block_of_another_file_for_the_same_key_is_found() {
    let key = key();
    let (mut one, two) = (seal(&plain(200_000), &key.recipients()), seal(&plain(200_000), &key.recipients()));
    let (here, there) = (stored(&one, &key, BLOCK..BLOCK + 1), stored(&two, &key, BLOCK..BLOCK + 1));
    one[here].copy_from_slice(&two[there]);
    assert!(matches!(fault(&one, &key), Some(CryptError::Damaged { .. })));
}

#[test]
fn the_header_of_another_file_for_the_same_key_does_not_fit() {
    let key = key();
    let (one, two) = (seal(&plain(200_000), &key.recipients()), seal(&plain(200_000), &key.recipients()));
    let (here, there) = (stored(&one, &key, 0..1).start, stored(&two, &key, 0..1).start);
    let mixed = [&one[..here], &two[there..]].concat();
    assert!(matches!(fault(&mixed, &key), Some(CryptError::Damaged { .. })));
}

#[test]
fn a_plain_file_in_the_place_of_a_sealed_one_is_refused() {
    let key = key();
    for plain in [b"".as_slice(), b"\x1f\x8b\x08plain", b"age-encryption", b"{\"version\": 1}"] {
        assert!(matches!(open(plain, &key), Err(CryptError::NotEncrypted)), "{plain:?}");
        assert!(!is_sealed(&plain.to_vec()).unwrap());
    }
    assert!(is_sealed(&seal(b"x", &key.recipients())).unwrap());
}

#[test]
fn other_forms_of_age_are_refused_by_name() {
    let armor = b"-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n".as_slice();
    let later = b"age-encryption.org/v2\n-> X25519 abc\n".as_slice();
    for sealed in [armor, later] {
        assert!(matches!(open(sealed, &key()), Err(CryptError::Unsupported { .. })));
    }
}

#[test]
fn a_source_that_fails_is_not_called_damaged() {
    struct Failing;
    impl ReadAt for Failing {
        fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
        fn len(&self) -> io::Result<u64> {
            Ok(1000)
        }
    }
    let error = Opened::new(Failing, &key().identities()).err().unwrap();
    assert!(matches!(&error, CryptError::Io(source) if source.kind() == io::ErrorKind::ConnectionReset), "{error:?}");
}

#[test]
fn a_sealed_file_that_was_not_finished_does_not_open() {
    let key = key();
    let mut out = Vec::new();
    let mut sealer = Sealer::new(&mut out, &key.recipients()).unwrap();
    sealer.write_all(&plain(200_000)).unwrap();
    drop(sealer);
    assert!(matches!(open(&out, &key), Err(CryptError::Damaged { .. })));
}
