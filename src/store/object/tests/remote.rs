use std::io::Write;

use age_core::secrecy::ExposeSecret;

use super::*;
use crate::container::ReadAt;
use crate::crypt::{Identities, Opened, Recipients, Sealer};

fn stored(bytes: &[u8]) -> RemoteFile {
    let store = Arc::new(Memory::default());
    put(&*store, "k", bytes).unwrap();
    RemoteFile::open(store, "k", Box::new(patient())).unwrap()
}

#[test]
fn a_read_moves_what_it_asks_for() {
    let bytes = content(1_000_000);
    let file = stored(&bytes);
    let mut found = vec![0; 1000];
    for at in [5_u64, 900_000, 999_500] {
        let count = file.read_at(at, &mut found).unwrap();
        assert_eq!(found[..count], bytes[at as usize..][..count]);
    }
    assert_eq!(file.moved(), 1000 + 1000 + 500);
    assert_eq!(file.read_at(1_000_000, &mut found).unwrap(), 0);
}

#[test]
fn an_announced_range_is_fetched_at_once_and_not_beyond() {
    let bytes = content(1_000_000);
    let file = stored(&bytes);
    file.announce(100_000..300_000);
    let mut found = vec![0; 10_000];
    for at in (100_000..300_000).step_by(10_000) {
        file.read_exact_at(at, &mut found).unwrap();
        assert_eq!(found, bytes[at as usize..][..10_000]);
    }
    assert_eq!(file.moved(), 200_000);
}

#[test]
fn a_cancel_comes_through_a_read() {
    let store = Arc::new(Memory::default());
    put(&*store, "k", b"abc").unwrap();
    let mut calls = 0;
    let watch = move || {
        calls += 1;
        if calls > 1 { Err(Cancelled) } else { Ok(()) }
    };
    let file = RemoteFile::open(store, "k", Box::new(watch)).unwrap();
    let error = file.read_at(0, &mut [0; 3]).unwrap_err();
    assert!(matches!(ObjectError::unwrap_io(error), Ok(ObjectError::Cancelled)));
}

#[test]
fn a_part_of_a_sealed_object_moves_its_blocks_only() {
    let key = age::x25519::Identity::generate();
    let recipients = Recipients::parse(&key.to_public().to_string()).unwrap();
    let identities = Identities::parse(key.to_string().expose_secret()).unwrap();
    let bytes = content(8 << 20);
    let mut sealer = Sealer::new(Vec::new(), &recipients).unwrap();
    sealer.write_all(&bytes).unwrap();
    let file = Arc::new(stored(&sealer.finish().unwrap()));
    let opened = Opened::new(file.clone(), &identities).unwrap();
    let before = file.moved();
    let table = 3_000_000..5_000_000_u64;
    file.announce(opened.stored_range(table.clone()));
    let mut found = vec![0; 50_000];
    for at in table.clone().step_by(50_000) {
        opened.read_exact_at(at, &mut found).unwrap();
        assert_eq!(found, bytes[at as usize..][..50_000]);
    }
    let (moved, wanted) = (file.moved() - before, table.end - table.start);
    assert!(moved <= wanted * 11 / 10, "{moved} bytes moved for {wanted}");
}
