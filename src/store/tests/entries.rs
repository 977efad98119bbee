//! Listing, opening, removing and sweeping.

use std::io::Read;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;

use super::*;

const LEFTOVER: &str = ".old.0123456789abcdef.staging";

#[test]
fn a_listing_tells_kinds_apart() {
    let (temp, directory) = place();
    directory.stage("x").unwrap().publish("backup").unwrap();
    let _live = directory.stage("x").unwrap();
    directory.subdirectory("sub").unwrap();
    symlink("backup", temp.path().join("link")).unwrap();
    nix::unistd::mkfifo(&temp.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let kinds: Vec<FileKind> = directory.list().unwrap().iter().map(|info| info.kind).collect();
    use FileKind::*;
    assert_eq!(kinds, [Staging, Regular, Symlink, Other, Directory]);
}

#[test]
fn a_listing_starts_anew_each_time() {
    let (_temp, directory) = place();
    assert!(directory.list().unwrap().is_empty());
    directory.stage("x").unwrap().publish("x").unwrap();
    let first = directory.list().unwrap();
    assert_eq!((first.len(), first[0].size), (1, 0));
    assert_eq!(directory.list().unwrap(), first);
    assert!(first[0].modified.elapsed().unwrap().as_secs() < 60);
}

#[test]
fn only_a_regular_file_is_opened() {
    let (temp, directory) = place();
    std::fs::write(temp.path().join("file"), "text").unwrap();
    symlink("file", temp.path().join("link")).unwrap();
    nix::unistd::mkfifo(&temp.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    directory.subdirectory("sub").unwrap();
    let mut text = String::new();
    directory.open_file("file").unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "text");
    for (name, kind) in [("link", "symbolic link"), ("pipe", "named pipe"), ("sub", "directory")] {
        let error = directory.open_file(name).unwrap_err();
        assert!(matches!(&error, StoreError::NotRegular { found, .. } if *found == kind), "{error:?}");
    }
    assert!(matches!(directory.open_file("none"), Err(StoreError::Missing { .. })));
}

#[test]
fn a_device_is_not_opened() {
    need_root();
    let device = Directory::open(Path::new("/dev"), DirectoryRule::default()).unwrap();
    assert!(matches!(device.open_file("null"), Err(StoreError::NotRegular { found: "character device", .. })));
}

#[test]
fn an_unreadable_file_is_not_called_missing() {
    need_root(); // to become another user, since root reads everything
    let (temp, _) = place();
    std::fs::write(temp.path().join("secret"), "x").unwrap();
    set_mode(&temp.path().join("secret"), 0o000);
    set_mode(temp.path(), 0o755);
    let as_nobody = |place: &Path| {
        let output = acts::command(&["env"], "open", place).uid(65534).gid(65534).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let report = as_nobody(temp.path());
    assert!(report.contains("OUTCOME CannotOpen") && report.contains("secret") && report.contains("13"), "{report}");
    set_mode(temp.path(), 0o000);
    assert!(as_nobody(temp.path()).contains("OUTCOME CannotOpen"));
}

#[test]
fn removing_removes_a_link_and_not_its_target() {
    let (temp, directory) = place();
    let outside = tempfile::NamedTempFile::new().unwrap();
    symlink(outside.path(), temp.path().join("link")).unwrap();
    directory.subdirectory("sub").unwrap();
    directory.remove("link").unwrap();
    assert!(outside.path().exists());
    assert!(matches!(directory.remove("link"), Err(StoreError::Missing { .. })));
    assert!(matches!(directory.remove("sub"), Err(StoreError::NotRegular { .. })));
    assert_eq!(names(&directory), ["sub"]);
}

#[test]
fn a_sweep_removes_leftovers_and_nothing_else() {
    let (temp, directory) = place();
    let spared = [".old.short.staging", "old.0123456789abcdef.staging", ".hidden", "backup"];
    for name in spared.iter().chain([&LEFTOVER]) {
        std::fs::write(temp.path().join(name), "").unwrap();
    }
    let live = directory.stage("live").unwrap();
    let lock = directory.lock_exclusive().unwrap();
    assert_eq!(directory.sweep_staging(&lock).unwrap(), [LEFTOVER]);
    assert_eq!(directory.sweep_staging(&lock).unwrap(), [""; 0]);
    live.publish("live").unwrap();
    let left = names(&directory);
    assert!(spared.iter().all(|name| left.iter().any(|other| other == name)), "{left:?}");
    assert_eq!(left.len(), spared.len() + 1);
}

#[test]
fn a_sweep_needs_the_lock_of_that_directory() {
    let (temp, directory) = place();
    std::fs::write(temp.path().join(LEFTOVER), "").unwrap();
    let lock = directory.subdirectory("other").unwrap().lock_exclusive().unwrap();
    assert!(matches!(directory.sweep_staging(&lock), Err(StoreError::WrongLock { .. })));
    assert!(temp.path().join(LEFTOVER).exists());
}
