//! Killed at every file system call (T01): nothing is listed, or a complete file is; the next run needs no help.

use std::collections::HashMap;

use super::acts::outcome;
use super::*;

const DONE: &str = "published final 500";

#[test]
fn killed_at_any_call_the_directory_stays_sound() {
    let points = crash_points();
    let (mut leftovers, mut published) = (0, 0);
    for (call, nth) in &points {
        let (temp, directory) = place();
        let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=KILL:when={nth}"));
        let wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
        let report = outcome(&wrapper, "crash", temp.path());
        assert_eq!(report, "", "{call} {nth} was not the end of it");
        published += usize::from(is_complete(&temp, &directory));
        leftovers += next_run(&directory);
    }
    println!("{} crash points: {leftovers} leftovers swept, {published} complete files", points.len());
    // Create, five writes, sync, reopen, read back, rename: at each of them a staging file is left.
    assert!(leftovers >= 12, "only {leftovers} crashes left a staging file");
    assert!(published >= 1, "no crash came after the rename");
}

/// Every call on files or descriptors from the first that names the place: its name, and which of its kind it is.
fn crash_points() -> Vec<(String, usize)> {
    let (temp, _directory) = place();
    let log = tempfile::NamedTempFile::new().unwrap();
    let wrapper = ["strace", "-f", "-qq", "-y", "-o", log.path().to_str().unwrap(), "-e", "trace=%file,%desc"];
    assert_eq!(outcome(&wrapper, "crash", temp.path()), DONE);
    let log = std::fs::read_to_string(log.path()).unwrap();
    let (mut counts, mut points, mut ours) = (HashMap::new(), Vec::new(), None);
    for line in log.lines().filter(|line| !line.contains(" execve(")) {
        let Some((head, _)) = line.split_once('(') else { continue };
        let Some((thread, call)) = head.split_once(' ') else { continue };
        let nth = *counts.entry((thread, call.trim())).and_modify(|nth| *nth += 1).or_insert(1);
        if ours.is_none() && line.contains(temp.path().to_str().unwrap()) {
            ours = Some(thread);
        }
        if ours == Some(thread) && !line.contains("OUTCOME") && !call.contains("mmap") {
            points.push((call.trim().to_owned(), nth));
        }
    }
    let main_thread = counts.iter().filter(|((thread, _), _)| Some(*thread) != ours);
    for ((_, call), count) in main_thread.filter(|((_, call), _)| !call.contains("mmap")) {
        assert!(*count < acts::MAIN_CALLS, "{call} {count}: another thread would be killed first");
    }
    points
}

/// Whether the file is listed; if so it must be whole.
fn is_complete(temp: &TempDir, directory: &Directory) -> bool {
    let mut listed = directory.list().unwrap();
    listed.retain(|info| info.kind != FileKind::Staging);
    if listed.is_empty() {
        return false;
    }
    assert_eq!((listed.len(), listed[0].name.to_str()), (1, Some("final")));
    assert_eq!(std::fs::read(temp.path().join("final")).unwrap(), acts::complete());
    true
}

/// Takes the lock, sweeps, and publishes; returns how many leftovers there were.
fn next_run(directory: &Directory) -> usize {
    let lock = directory.lock_exclusive().unwrap();
    let swept = directory.sweep_staging(&lock).unwrap().len();
    assert!(directory.list().unwrap().iter().all(|info| info.kind != FileKind::Staging));
    directory.stage("next").unwrap().publish("next").unwrap();
    swept
}
