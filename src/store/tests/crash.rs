//! Killed at every file system call (T01): nothing is listed, or a complete file is; the next run needs no help.

use super::acts::outcome;
use super::*;

const CALLS: [&str; 11] =
    ["openat", "newfstatat", "fstat", "fchmod", "write", "fsync", "close", "read", "renameat2", "unlinkat", "readlink"];
const FEW: usize = 40; // more calls of one kind than the act makes

#[test]
fn killed_at_any_call_the_directory_stays_sound() {
    let (mut killed, mut leftovers, mut published) = (0, 0, 0);
    for call in CALLS {
        for nth in 1..FEW {
            let (temp, directory) = place();
            let inject = format!("inject={call}:signal=KILL:when={nth}");
            let trace = format!("trace={call}");
            let wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
            let report = outcome(&wrapper, "publish", temp.path());
            if report == "published final 500" && temp.path().join("final").exists() {
                break; // past the last call of this kind
            }
            assert_eq!(report, "", "{call} {nth}");
            killed += 1;
            check_complete_or_absent(&temp, &directory, &mut published);
            leftovers += sweep(&directory);
        }
    }
    println!("killed {killed} times: {leftovers} leftovers swept, {published} complete files");
    assert!(killed >= 30, "only {killed} crash points were reached; is strace installed?");
    assert!(leftovers >= 5, "only {leftovers} crashes left a staging file");
    assert!(published >= 1, "no crash came after the rename");
}

fn check_complete_or_absent(temp: &TempDir, directory: &Directory, published: &mut usize) {
    let listed: Vec<FileInfo> =
        directory.list().unwrap().into_iter().filter(|info| info.kind != FileKind::Staging).collect();
    if let [file] = listed.as_slice() {
        assert_eq!(file.name, "final");
        assert_eq!(std::fs::read(temp.path().join("final")).unwrap(), acts::complete());
        *published += 1;
    } else {
        assert!(listed.is_empty(), "{listed:?}");
    }
}

/// The next run: takes the lock, sweeps, and publishes.
fn sweep(directory: &Directory) -> usize {
    let lock = directory.lock_exclusive().unwrap();
    let swept = directory.sweep_staging(&lock).unwrap().len();
    assert!(directory.list().unwrap().iter().all(|info| info.kind != FileKind::Staging));
    directory.stage("next").unwrap().publish("next").unwrap();
    swept
}
