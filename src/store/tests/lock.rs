//! The lock dies with its holder (T28) and leaves nothing behind.

use std::io::{BufRead, BufReader};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;

#[test]
fn a_second_lock_is_refused_until_the_first_is_dropped() {
    let (_temp, directory) = place();
    let first = directory.lock_exclusive().unwrap();
    assert!(matches!(directory.lock_exclusive(), Err(StoreError::Busy { .. })));
    drop(first);
    assert!(directory.lock_exclusive().is_ok());
    assert!(names(&directory).is_empty());
}

#[test]
fn a_stopped_holder_is_named_and_a_killed_one_holds_nothing() {
    let (temp, directory) = place();
    let mut holder = acts::command(&["env"], "hold", temp.path()).spawn().unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    let line = lines.find_map(|line| line.unwrap().split_once("OUTCOME ").map(|(_, pid)| pid.to_owned())).unwrap();
    let child = Pid::from_raw(line.parse().unwrap());
    wait_for_exec(child);

    kill(Pid::from_raw(holder.id() as i32), Signal::SIGSTOP).unwrap();
    let busy = directory.lock_exclusive().unwrap_err();
    assert!(matches!(busy, StoreError::Busy { holder: Some(pid), .. } if pid == holder.id()), "{busy:?}");

    holder.kill().unwrap();
    holder.wait().unwrap();
    let alive = kill(child, None);
    let free = directory.lock_exclusive();
    kill(child, Signal::SIGKILL).unwrap();
    assert!(alive.is_ok(), "the holder's child must outlive it for this test");
    assert!(free.is_ok(), "a child must not inherit the lock: {free:?}");
}

/// A spawned child closes what it must not inherit a moment after its parent goes on; its name changes after that.
fn wait_for_exec(child: Pid) {
    let started = std::time::Instant::now();
    while std::fs::read_to_string(format!("/proc/{child}/comm")).unwrap() != "sleep\n" {
        assert!(started.elapsed().as_secs() < 10, "the child did not start");
        std::thread::yield_now();
    }
}
