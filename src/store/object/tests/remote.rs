use super::*;
use crate::container::ReadAt;

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
