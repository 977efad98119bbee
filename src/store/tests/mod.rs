//! Real faults, no mocks: links, pipes, devices, small file systems, limits, signals, and strace for what a disk does.

mod acts; // what a child process does under a fault
mod crash; // killed at every system call
mod disk; // full, read-only, limited, lying
mod entries;
mod lock;
mod paths;
mod publish;
mod removal;
mod report; // every error speaks

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::*;

/// A directory with mode 0700 that is gone after the test.
fn place() -> (TempDir, Directory) {
    let temp = tempfile::tempdir().unwrap();
    let directory = Directory::open(temp.path(), DirectoryRule::default()).unwrap();
    (temp, directory)
}

fn names(directory: &Directory) -> Vec<String> {
    directory.list().unwrap().into_iter().map(|info| info.name.into_string().unwrap()).collect()
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Fails with a clear message where a test needs root.
fn need_root() {
    assert!(nix::unistd::geteuid().is_root(), "this test must run as root");
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status();
    assert!(status.as_ref().is_ok_and(|s| s.success()), "cannot run {program} {arguments:?}: {status:?}");
}
