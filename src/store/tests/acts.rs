//! What a child process does while the test that started it breaks its world. The child is this same test binary.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::*;

const ACT: &str = "STORE_TEST_ACT";
const PLACE: &str = "STORE_TEST_PLACE";
/// `publish` writes this many blocks of this many bytes.
pub const BLOCKS: usize = 5;
pub const BLOCK: usize = 100;
/// More calls of any kind than the main thread makes before an act.
pub const MAIN_CALLS: usize = 60;

/// A command that runs one act in `place`, behind `wrapper` (a program and its arguments, or nothing).
pub fn command(wrapper: &[&str], act: &str, place: &Path) -> Command {
    let binary = std::env::current_exe().unwrap();
    let mut words: Vec<&str> = wrapper.to_vec();
    words.extend([binary.to_str().unwrap(), "store::tests::acts::act", "--exact", "--ignored", "--nocapture"]);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env_remove("LD_LIBRARY_PATH").env(ACT, act).env(PLACE, place);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs an act to its end and returns what it reported; a killed act reports an empty text.
pub fn outcome(wrapper: &[&str], act: &str, place: &Path) -> String {
    let output = command(wrapper, act, place).output();
    let output: Output = output.unwrap_or_else(|e| panic!("cannot run {wrapper:?}, is it installed? {e}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split("OUTCOME ").nth(1).and_then(|rest| rest.lines().next()).unwrap_or_default().to_owned()
}

#[test]
#[ignore = "not a test: what the other tests run in a child process"]
fn act() {
    let (Ok(act), Ok(place)) = (std::env::var(ACT), std::env::var(PLACE)) else { return };
    let report = match perform(&act, Path::new(&place)) {
        Ok(done) => done,
        Err(error) => format!("{error:?}"),
    };
    println!("OUTCOME {report}");
}

fn perform(act: &str, place: &Path) -> Result<String, StoreError> {
    let rule = DirectoryRule::default;
    match act {
        "create" => Directory::open_or_create(&place.join("a/b"), rule())?.subdirectory("c").map(|_| "created".into()),
        "open" => Directory::open(place, rule())?.open_file("secret").map(|_| "opened".into()),
        "publish" => publish(&Directory::open(place, rule())?, BLOCKS, BLOCK),
        "crash" => {
            outnumber_the_main_thread();
            publish(&Directory::open(place, rule())?, BLOCKS, BLOCK)
        }
        "publish-33-mib" => publish(&Directory::open(place, rule())?, 33, 1024 * 1024),
        "scratch" => {
            let mut file = Directory::open(place, rule())?.scratch_file()?;
            file.write_all(b"spool").unwrap();
            Ok(format!("scratch {}", file.metadata().unwrap().len()))
        }
        "stage-many" => {
            let directory = Directory::open(place, rule())?;
            let staged: Result<Vec<_>, _> = (0..1000).map(|_| directory.stage("many")).collect();
            staged.map(|files| files.len().to_string())
        }
        "abandon" => {
            let directory = Directory::open(place, rule())?;
            std::mem::forget(directory.stage("one")?);
            let two = directory.stage("two")?;
            let kept = directory.stage("three")?.publish("kept")?;
            let failures = [remove_all_staged().len(), remove_all_staged().len()];
            let late = two.publish("late").map(|published| published.name);
            Ok(format!("{failures:?} {} {:?} {late:?}", kept.name, names(&directory)))
        }
        "hold" => {
            let lock = Directory::open(place, rule())?.lock_exclusive()?;
            let mut sleep = Command::new("sleep");
            let mut child = sleep.arg("30").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            println!("OUTCOME {}", child.id());
            child.wait().unwrap();
            drop(lock);
            Ok("ended".into())
        }
        other => panic!("unknown act {other}"),
    }
}

/// strace counts each thread's calls, and kills the first thread to come to the number. After this the main thread's few
/// calls at the start cannot be that.
fn outnumber_the_main_thread() {
    use nix::fcntl::{AT_FDCWD, AtFlags, readlink};
    for _ in 0..MAIN_CALLS {
        let mut file = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
        file.write_all(b"x").unwrap();
        std::io::Read::read(&mut file, &mut [0]).unwrap();
        nix::sys::stat::fstatat(AT_FDCWD, "/dev/null", AtFlags::empty()).unwrap();
        assert!(readlink("/dev/null").is_err());
    }
}

fn publish(directory: &Directory, blocks: usize, size: usize) -> Result<String, StoreError> {
    let mut staged = directory.stage("final")?;
    for block in 0..blocks {
        staged.append(&vec![b'a' + (block % 26) as u8; size])?;
    }
    staged.publish("final").map(|published| format!("published {} {}", published.name, published.size))
}

/// The bytes that the act `publish` leaves.
pub fn complete() -> Vec<u8> {
    (0..BLOCKS).flat_map(|block| vec![b'a' + block as u8; BLOCK]).collect()
}
