//! What every store promises of objects whose size nobody knows before.

use super::conformance::{folder, memory};
use super::live::{in_process, named};
use super::*;

/// Each store that is to be had.
fn each(claim: impl Fn(&Arc<dyn ObjectStore>)) {
    for open in [memory, folder, in_process, named] {
        if let Some(place) = open() {
            claim(&place.store);
        }
    }
}

fn begin(store: &Arc<dyn ObjectStore>, key: &str) -> Box<dyn Growing> {
    Arc::clone(store).begin(key).unwrap()
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 % 251) as u8).collect()
}

#[test]
fn what_grows_is_got_whole_whatever_its_pieces_were() {
    each(|store| {
        for (key, length, piece) in [("empty", 0, 1), ("a/small", 1000, 7), ("b/parts", (12 << 20) + 5, 999_999)] {
            let (all, mut growing) = (bytes(length), begin(store, key));
            for (number, piece) in all.chunks(piece).enumerate() {
                growing.append(piece, &mut patient()).unwrap();
                if number % 5 == 4 {
                    growing.settle(&mut patient()).unwrap();
                }
            }
            assert_eq!(growing.finish(&mut patient()).unwrap(), Content::of(&all), "{key}");
            assert!(get(&**store, key).unwrap() == all, "{key}");
        }
    });
}

#[test]
fn what_is_dropped_or_cancelled_is_no_object() {
    each(|store| {
        for length in [1000, 12 << 20] {
            let mut growing = begin(store, "dropped");
            growing.append(&bytes(length), &mut patient()).unwrap();
            drop(growing);
            let mut growing = begin(store, "cancelled");
            growing.append(&bytes(length), &mut patient()).unwrap();
            assert!(matches!(growing.finish(&mut || Err(Cancelled)), Err(ObjectError::Cancelled)));
            assert!(keys(&**store, "").unwrap().is_empty(), "{length}");
        }
    });
}

#[test]
fn a_key_that_means_something_else_is_refused_before_anything_is_sent() {
    each(|store| {
        for key in ["", "/a", "a//b", "a/../b"] {
            assert!(matches!(Arc::clone(store).begin(key), Err(ObjectError::BadKey { .. })), "{key:?}");
        }
    });
}
