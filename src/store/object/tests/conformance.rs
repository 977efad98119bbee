//! What every store promises.

use std::io::{self, Read};

use chrono::Utc;

use super::*;

pub(super) fn memory() -> Option<Place> {
    Some(Place { store: Arc::new(Memory::default()), _kept: None })
}

pub(super) fn folder() -> Option<Place> {
    let directory = tempfile::tempdir().unwrap();
    let store = Folder::open(directory.path(), Default::default()).unwrap();
    Some(Place { store: Arc::new(store), _kept: Some(directory) })
}

/// A module of tests for each store; a store that is not to be had is passed over.
macro_rules! suite {
    ($($claim:ident)*) => {
        suite!(@store memory, super::memory; $($claim)*);
        suite!(@store folder, super::folder; $($claim)*);
        suite!(@store s3_in_process, super::super::live::in_process; $($claim)*);
        suite!(@store live, super::super::live::named; $($claim)*);
    };
    (@store $module:ident, $open:path; $($claim:ident)*) => {
        mod $module {
            $(#[test]
            fn $claim() {
                if let Some(place) = $open() {
                    super::$claim(&*place.store);
                }
            })*
        }
    };
}

suite! {
    what_is_put_is_got
    a_range_is_got_alone
    a_range_beyond_the_end_is_an_error
    what_is_not_there_is_missing
    the_head_tells_size_and_time
    who_comes_late_claims_nothing
    what_is_put_again_replaces
    many_parts_make_one_object
    a_source_that_is_not_as_announced_leaves_nothing
    a_source_that_fails_leaves_nothing
    lists_are_in_order_and_can_go_on
    a_list_can_be_ended
    a_prefix_ends_at_a_slash
    deleting_twice_is_fine
    keys_that_mean_different_things_are_refused
    odd_keys_come_back
    a_cancel_ends_every_call
    a_sweep_takes_nothing_that_is_complete
}

// Of S3 servers only those promise it that keep order among writers.
mod at_once {
    suite!(@store memory, super::super::memory; one_of_all_who_create_at_once_succeeds);
    suite!(@store folder, super::super::folder; one_of_all_who_create_at_once_succeeds);
    suite!(@store s3_in_process, crate::store::object::tests::live::in_process; one_of_all_who_create_at_once_succeeds);
    suite!(@store live, crate::store::object::tests::live::named_and_atomic; one_of_all_who_create_at_once_succeeds);
    use super::one_of_all_who_create_at_once_succeeds;
}

fn what_is_put_is_got(store: &dyn ObjectStore) {
    for (key, length) in [("empty", 0), ("one", 1), ("a/b/c", 100_000)] {
        put(store, key, &content(length)).unwrap();
        assert_eq!(get(store, key).unwrap(), content(length), "{key}");
    }
}

fn a_range_is_got_alone(store: &dyn ObjectStore) {
    let bytes = content(200_000);
    put(store, "k", &bytes).unwrap();
    for range in [0..1, 0..200_000, 5..5, 199_999..200_000, 65_535..131_073] {
        let found = store.get_range("k", range.clone(), &mut patient()).unwrap();
        assert_eq!(found, bytes[range.start as usize..range.end as usize], "{range:?}");
    }
}

fn a_range_beyond_the_end_is_an_error(store: &dyn ObjectStore) {
    put(store, "k", b"abc").unwrap();
    for range in [0..4, 3..4, 10..20] {
        let error = store.get_range("k", range.clone(), &mut patient()).unwrap_err();
        assert!(matches!(error, ObjectError::Damaged { .. }), "{range:?}: {error:?}");
    }
}

fn what_is_not_there_is_missing(store: &dyn ObjectStore) {
    for key in ["none", "no/such/place"] {
        assert!(matches!(store.head(key, &mut patient()), Err(ObjectError::Missing { .. })));
        assert!(matches!(store.get_range(key, 0..1, &mut patient()), Err(ObjectError::Missing { .. })));
        assert!(matches!(get(store, key), Err(ObjectError::Missing { key: told }) if told == key));
    }
    assert!(keys(store, "no/such/place").unwrap().is_empty());
}

fn the_head_tells_size_and_time(store: &dyn ObjectStore) {
    let before = Utc::now() - chrono::TimeDelta::seconds(60);
    put(store, "a/k", &content(1234)).unwrap();
    let info = store.head("a/k", &mut patient()).unwrap();
    assert_eq!((info.key.as_str(), info.size), ("a/k", 1234));
    assert!(info.modified > before && info.modified < Utc::now() + chrono::TimeDelta::seconds(60));
    assert!(info.sha256.is_none_or(|sha256| sha256 == Content::of(&content(1234)).sha256));
}

fn one_of_all_who_create_at_once_succeeds(store: &dyn ObjectStore) {
    let claims: Vec<Claim> = std::thread::scope(|scope| {
        let claim = |number: u8| move || store.put_new("lock", &[number], &mut patient()).unwrap();
        let threads: Vec<_> = (0..4).map(|number| scope.spawn(claim(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(claims.iter().filter(|claim| **claim == Claim::Ours).count(), 1, "{claims:?}");
    let winner = claims.iter().position(|claim| *claim == Claim::Ours).unwrap();
    assert_eq!(get(store, "lock").unwrap(), [winner as u8]);
}

fn who_comes_late_claims_nothing(store: &dyn ObjectStore) {
    assert_eq!(store.put_new("lock", b"first", &mut patient()).unwrap(), Claim::Ours);
    assert_eq!(store.put_new("lock", b"late", &mut patient()).unwrap(), Claim::Taken);
    assert_eq!(get(store, "lock").unwrap(), b"first");
}

fn what_is_put_again_replaces(store: &dyn ObjectStore) {
    put(store, "k", b"one and more").unwrap();
    put(store, "k", b"two").unwrap();
    assert_eq!(get(store, "k").unwrap(), b"two");
    assert_eq!(keys(store, "").unwrap(), ["k"]);
}

fn many_parts_make_one_object(store: &dyn ObjectStore) {
    let bytes = content((23 << 20) + 7);
    put(store, "large", &bytes).unwrap();
    assert!(get(store, "large").unwrap() == bytes);
    let info = store.head("large", &mut patient()).unwrap();
    assert_eq!(info.size, bytes.len() as u64);
}

fn a_source_that_is_not_as_announced_leaves_nothing(store: &dyn ObjectStore) {
    for length in [100, 12 << 20] {
        let right = content(length);
        let mut wrong = right.clone();
        wrong[length - 1] ^= 1;
        let longer = [right.as_slice(), b"x"].concat();
        for source in [wrong.as_slice(), &right[..length - 1], &longer] {
            let mut reader = source;
            let error = store.put("k", Content::of(&right), &mut reader, &mut patient()).unwrap_err();
            assert!(matches!(error, ObjectError::Damaged { .. }), "{error:?}");
            assert!(keys(store, "").unwrap().is_empty());
        }
    }
}

fn a_source_that_fails_leaves_nothing(store: &dyn ObjectStore) {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::NotConnected.into())
        }
    }
    for length in [100, 12 << 20] {
        let bytes = content(length);
        let mut source = bytes[..length / 2].chain(Failing);
        let error = store.put("k", Content::of(&bytes), &mut source, &mut patient()).unwrap_err();
        assert!(matches!(error, ObjectError::Source { .. }), "{error:?}");
        assert!(keys(store, "").unwrap().is_empty());
    }
}

fn lists_are_in_order_and_can_go_on(store: &dyn ObjectStore) {
    let mut all: Vec<String> = (0..25).map(|number| format!("set/f{:03}", number * 37 % 101)).collect();
    all.extend(["set-b/x", "set/a/deep/er", "set.c"].map(String::from));
    all.iter().for_each(|key| put(store, key, key.as_bytes()).unwrap());
    all.sort();
    assert_eq!(keys(store, "").unwrap(), all);
    let below: Vec<_> = all.iter().filter(|key| key.starts_with("set/")).cloned().collect();
    assert_eq!(keys(store, "set").unwrap(), below);
    let mut rest = Vec::new();
    let mut each = |info: ObjectInfo| {
        assert_eq!(info.size, info.key.len() as u64);
        rest.push(info.key);
        ControlFlow::Continue(())
    };
    store.list("set", Some(&below[9]), &mut each, &mut patient()).unwrap();
    assert_eq!(rest, below[10..]);
}

fn a_list_can_be_ended(store: &dyn ObjectStore) {
    ["a", "b", "c"].iter().for_each(|key| put(store, key, b"x").unwrap());
    let mut count = 0;
    let mut each = |_| {
        count += 1;
        if count == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    store.list("", None, &mut each, &mut patient()).unwrap();
    assert_eq!(count, 2);
}

fn a_prefix_ends_at_a_slash(store: &dyn ObjectStore) {
    ["one/x", "one2/x", "one"].iter().take(2).for_each(|key| put(store, key, b"x").unwrap());
    assert_eq!(keys(store, "one").unwrap(), ["one/x"]);
}

fn deleting_twice_is_fine(store: &dyn ObjectStore) {
    put(store, "a/k", b"x").unwrap();
    for _ in 0..2 {
        assert_eq!(store.delete("a/k", &mut patient()).unwrap(), Removal::Gone);
        assert!(matches!(store.head("a/k", &mut patient()), Err(ObjectError::Missing { .. })));
    }
    assert_eq!(store.delete("no/such/place", &mut patient()).unwrap(), Removal::Gone);
}

fn keys_that_mean_different_things_are_refused(store: &dyn ObjectStore) {
    let long = "x".repeat(201);
    for key in ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\nb", "a\0b", "é", long.as_str()] {
        assert!(matches!(put(store, key, b"x"), Err(ObjectError::BadKey { .. })), "{key:?}");
        assert!(matches!(store.head(key, &mut patient()), Err(ObjectError::BadKey { .. })), "{key:?}");
        assert!(matches!(store.delete(key, &mut patient()), Err(ObjectError::BadKey { .. })), "{key:?}");
    }
}

fn odd_keys_come_back(store: &dyn ObjectStore) {
    let mut odd = ["50%", "a%20b", "a b", "a+b", "a=b&c", "it's", "tab%09", "~x", "q?#"].map(String::from);
    odd.iter().for_each(|key| put(store, key, key.as_bytes()).unwrap());
    odd.sort();
    assert_eq!(keys(store, "").unwrap(), odd);
    odd.iter().for_each(|key| assert_eq!(get(store, key).unwrap(), key.as_bytes()));
}

fn a_cancel_ends_every_call(store: &dyn ObjectStore) {
    put(store, "k", b"x").unwrap();
    let mut no = || Err(Cancelled);
    let large = content(12 << 20);
    assert!(matches!(store.put_new("n", b"x", &mut no), Err(ObjectError::Cancelled)));
    assert!(matches!(store.put("n", Content::of(&large), &mut large.as_slice(), &mut no), Err(ObjectError::Cancelled)));
    assert!(matches!(store.head("k", &mut no), Err(ObjectError::Cancelled)));
    assert!(matches!(store.get_range("k", 0..1, &mut no), Err(ObjectError::Cancelled)));
    assert!(matches!(store.delete("k", &mut no), Err(ObjectError::Cancelled)));
    let mut each = |_| ControlFlow::Continue(());
    assert!(matches!(store.list("", None, &mut each, &mut no), Err(ObjectError::Cancelled)));
    assert_eq!(keys(store, "").unwrap(), ["k"]);
}

fn a_sweep_takes_nothing_that_is_complete(store: &dyn ObjectStore) {
    put(store, "a/k", b"x").unwrap();
    match store.sweep("", Utc::now() + chrono::TimeDelta::days(1), &mut patient()) {
        // The server in this process does not list uploads.
        Err(ObjectError::Unsupported { .. }) => {}
        swept => assert!(swept.unwrap().is_empty()),
    }
    assert_eq!(get(store, "a/k").unwrap(), b"x");
}
