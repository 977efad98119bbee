//! The one way to publish, without faults of the disk.

use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};

use super::*;

fn staged(directory: &Directory, text: &[u8]) -> StagedFile {
    let mut staged = directory.stage("final").unwrap();
    staged.write_all(text).unwrap();
    staged
}

/// The path of the one staging file.
fn staging_path(temp: &TempDir, directory: &Directory) -> std::path::PathBuf {
    let name = names(directory).into_iter().find(|name| name.ends_with(".staging")).unwrap();
    temp.path().join(name)
}

#[test]
fn a_published_file_is_what_was_written() {
    let (temp, directory) = place();
    let text: Vec<u8> = (0..700_000u32).map(|i| (i % 251) as u8).collect();
    let published = staged(&directory, &text).publish("final").unwrap();
    let path = temp.path().join("final");
    assert_eq!(std::fs::read(&path).unwrap(), text);
    assert_eq!(published.size, 700_000);
    assert_eq!(published.sha256.as_slice(), Sha256::digest(&text).as_slice());
    assert_eq!(published.inode, std::fs::metadata(&path).unwrap().ino());
    assert_eq!(mode(&path), 0o600);
    assert_eq!(names(&directory), ["final"]);
}

#[test]
fn a_hash_of_the_callers_is_held_against_what_is_read_back() {
    let (temp, directory) = place();
    let write = |text: &[u8]| {
        let mut file = directory.stage("final").unwrap().hashed_by_caller();
        file.write_all(text).unwrap();
        file
    };
    let published = write(b"abc").publish_hashed("final", Sha256::digest(b"abc").into()).unwrap();
    assert_eq!(published.sha256.as_slice(), Sha256::digest(b"abc").as_slice());
    let error = write(b"abc").publish_hashed("other", Sha256::digest(b"abd").into()).unwrap_err();
    assert!(matches!(error, StoreError::ReadBackDigest { .. }), "{error}");
    let error = write(b"abc").publish("other").unwrap_err();
    assert!(matches!(error, StoreError::ReadBackDigest { .. }), "{error}");
    assert_eq!(std::fs::read(temp.path().join("final")).unwrap(), b"abc");
    assert_eq!(names(&directory), ["final"]);
}

#[test]
fn an_empty_file_can_be_published() {
    let (_temp, directory) = place();
    assert_eq!(staged(&directory, b"").publish("empty").unwrap().size, 0);
}

#[test]
fn a_staging_file_is_private_and_gone_when_dropped() {
    let (temp, directory) = place();
    let file = staged(&directory, b"secret");
    let path = staging_path(&temp, &directory);
    assert_eq!(mode(&path), 0o600);
    assert!(path.file_name().unwrap().to_str().unwrap().starts_with(".final."));
    drop(file);
    assert!(names(&directory).is_empty());
}

#[test]
fn the_longest_name_can_be_staged_and_published() {
    let (_temp, directory) = place();
    let name = "é".repeat(127);
    directory.stage(&name).unwrap().publish(&name).unwrap();
    assert_eq!(names(&directory), [name]);
}

#[test]
fn a_taken_name_is_never_overwritten() {
    let (temp, directory) = place();
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("target");
    std::fs::write(&target, "untouched").unwrap();
    std::fs::write(temp.path().join("file"), "first").unwrap();
    std::fs::hard_link(&target, temp.path().join("hardlink")).unwrap();
    symlink(&target, temp.path().join("symlink")).unwrap();
    std::fs::create_dir(temp.path().join("dir")).unwrap();
    nix::unistd::mkfifo(&temp.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let before = names(&directory);
    for name in ["file", "hardlink", "symlink", "dir", "pipe"] {
        let error = staged(&directory, b"second").publish(name).unwrap_err();
        assert!(matches!(error, StoreError::Exists { path } if path.ends_with(name)));
    }
    assert_eq!(names(&directory), before);
    assert_eq!(std::fs::read(&target).unwrap(), b"untouched");
    assert_eq!(std::fs::read(temp.path().join("file")).unwrap(), b"first");
}

#[test]
fn the_first_free_name_is_taken() {
    let (temp, directory) = place();
    std::fs::write(temp.path().join("day"), "").unwrap();
    let candidates = || ["day", "day_1", "day_2"].map(str::to_owned);
    assert_eq!(staged(&directory, b"x").publish_unique(candidates()).unwrap().name, "day_1");
    assert_eq!(staged(&directory, b"x").publish_unique(candidates()).unwrap().name, "day_2");
    let full = staged(&directory, b"x").publish_unique(candidates()).unwrap_err();
    assert!(matches!(full, StoreError::Exists { path } if path.ends_with("day_2")));
    let none = staged(&directory, b"x").publish_unique([]).unwrap_err();
    assert!(matches!(none, StoreError::NoName { .. }));
    assert_eq!(names(&directory), ["day", "day_1", "day_2"]);
}

#[test]
fn a_bad_final_name_leaves_nothing() {
    let (_temp, directory) = place();
    for name in ["../x", "", "..", "a/b"] {
        assert!(matches!(staged(&directory, b"x").publish(name), Err(StoreError::BadName { .. })));
    }
    assert!(names(&directory).is_empty());
}

#[test]
fn what_changed_behind_our_back_is_not_published() {
    let (temp, directory) = place();
    let text = b"the truth";

    let file = staged(&directory, text);
    std::fs::write(staging_path(&temp, &directory), b"the lie!!").unwrap();
    assert!(matches!(file.publish("a"), Err(StoreError::ReadBackDigest { .. })));

    let file = staged(&directory, text);
    std::fs::write(staging_path(&temp, &directory), b"short").unwrap();
    assert!(matches!(file.publish("b"), Err(StoreError::ReadBackSize { written: 9, found: 5, .. })));

    let file = staged(&directory, text);
    let path = staging_path(&temp, &directory);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, text).unwrap();
    assert!(matches!(file.publish("c"), Err(StoreError::Replaced { .. })));

    let file = staged(&directory, text);
    let path = staging_path(&temp, &directory);
    std::fs::remove_file(&path).unwrap();
    symlink("/etc/passwd", &path).unwrap();
    assert!(matches!(file.publish("d"), Err(StoreError::Replaced { .. })));

    let outside = tempfile::tempdir().unwrap();
    let file = staged(&directory, text);
    std::fs::hard_link(staging_path(&temp, &directory), outside.path().join("second")).unwrap();
    assert!(matches!(file.publish("e"), Err(StoreError::Replaced { .. })));

    assert!(names(&directory).is_empty());
}

#[test]
fn a_directory_swapped_meanwhile_is_noticed() {
    let (temp, above) = place();
    let directory = above.subdirectory("set").unwrap();
    let file = staged(&directory, b"x");
    let (set, moved, evil) = (temp.path().join("set"), temp.path().join("moved"), temp.path().join("evil"));
    std::fs::rename(&set, &moved).unwrap();
    std::fs::create_dir(&evil).unwrap();
    symlink(&evil, &set).unwrap();
    assert!(matches!(file.publish("final"), Err(StoreError::DirectorySwapped { .. })));
    assert_eq!(std::fs::read_dir(&evil).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(&moved).unwrap().count(), 0);
}

#[test]
fn a_cancel_ends_writing_and_publishing() {
    let (_temp, directory) = place();
    let flag = Arc::new(AtomicBool::new(false));
    let mut writing = staged(&directory, b"x").cancelled_by(flag.clone());
    let reading = staged(&directory, b"x").cancelled_by(flag.clone());
    writing.append(b"more").unwrap();
    flag.store(true, Ordering::Relaxed);
    assert!(matches!(writing.append(b"more"), Err(StoreError::Cancelled { .. })));
    assert!(matches!(writing.append(b"more"), Err(StoreError::AlreadyFailed { .. })));
    assert!(matches!(writing.publish("a"), Err(StoreError::AlreadyFailed { .. })));
    assert!(matches!(reading.publish("b"), Err(StoreError::Cancelled { .. })));
    assert!(names(&directory).is_empty());
}

#[test]
fn an_error_travels_through_io_write() {
    let (_temp, directory) = place();
    let mut file = staged(&directory, b"x").cancelled_by(Arc::new(AtomicBool::new(true)));
    let error = file.write_all(b"more").unwrap_err();
    assert!(matches!(StoreError::unwrap_io(error), Ok(StoreError::Cancelled { .. })));
    assert!(StoreError::unwrap_io(std::io::Error::from_raw_os_error(5)).is_err());
}

#[test]
fn a_scratch_file_has_no_name() {
    let (_temp, directory) = place();
    let mut file = directory.scratch_file().unwrap();
    assert!(names(&directory).is_empty());
    file.write_all(b"spool").unwrap();
    file.rewind().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "spool");
}

#[test]
fn an_abrupt_exit_can_remove_what_is_staged() {
    let (temp, directory) = place();
    let report = acts::outcome(&["env"], "abandon", temp.path());
    assert!(report.starts_with("[0, 0] kept [\"kept\"] Err(Replaced"), "{report}");
    assert_eq!(names(&directory), ["kept"]);
}
