//! Removing backups, and room on the disk.

use super::*;
use crate::store::{Doomed, Space, bytes_below};

fn doomed(number: u32) -> Doomed {
    Doomed { manifest: format!("m{number}"), data: format!("d{number}") }
}

fn backup(temp: &Path, number: u32) {
    std::fs::write(temp.join(format!("m{number}")), "manifest").unwrap();
    std::fs::write(temp.join(format!("d{number}")), "data").unwrap();
}

#[test]
fn both_files_go_and_what_is_gone_already_is_fine() {
    let (temp, directory) = place();
    (1..=3).for_each(|number| backup(temp.path(), number));
    std::fs::remove_file(temp.path().join("m1")).unwrap();
    std::fs::remove_file(temp.path().join("d2")).unwrap();
    directory.check_writable().unwrap();
    assert!(directory.remove_backups(&[doomed(1), doomed(2), doomed(9)]).is_empty());
    assert_eq!(names(&directory), ["d3", "m3"]);
}

#[test]
fn where_a_manifest_stays_its_data_does_too() {
    let (temp, directory) = place();
    backup(temp.path(), 1);
    std::fs::create_dir(temp.path().join("m2")).unwrap();
    std::fs::write(temp.path().join("d2"), "data").unwrap();
    let errors = directory.remove_backups(&[doomed(2), doomed(1)]);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(names(&directory), ["d2", "m2"]);
    let outside = Doomed { manifest: "../m".into(), data: "d2".into() };
    assert!(matches!(directory.remove_backups(&[outside])[..], [StoreError::BadName { .. }]));
    assert_eq!(names(&directory), ["d2", "m2"]);
}

#[test]
fn room_is_that_of_the_nearest_directory_and_links_take_none() {
    let (temp, directory) = place();
    backup(temp.path(), 1);
    std::fs::create_dir(temp.path().join("sub")).unwrap();
    std::fs::write(temp.path().join("sub/x"), [0; 100]).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", temp.path().join("link")).unwrap();
    assert_eq!(bytes_below(directory.path()).unwrap(), 8 + 4 + 100);
    assert_eq!(bytes_below(&temp.path().join("none")).unwrap(), 0);
    let (here, below) = (Space::of(temp.path()).unwrap(), Space::of(&temp.path().join("a/b/c")).unwrap());
    assert!(here.is_shared_with(&below) && here.total == below.total && here.free <= here.total);
    assert!(!Space::of(Path::new("/proc")).unwrap().is_shared_with(&here));
}
