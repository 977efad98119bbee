//! Disks that are full, read-only or limited, and disks that lie (T04–T08).

use super::acts::outcome;
use super::*;

/// A small tmpfs, unmounted after the test.
struct Small(TempDir);

impl Small {
    fn mount(options: &str) -> Option<Self> {
        let temp = tempfile::tempdir().unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(temp.path()).output();
        match mount {
            Ok(output) if output.status.success() => Some(Self(temp)),
            why => {
                println!("skipped: cannot mount a tmpfs: {why:?}");
                None
            }
        }
    }

    fn directory(&self) -> Directory {
        Directory::open(self.0.path(), DirectoryRule::default()).unwrap()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        run("umount", &["-l", self.0.path().to_str().unwrap()]);
    }
}

/// Runs an act under strace; returns its report and the log of file system calls, descriptors shown as paths.
fn traced(injection: &str, act: &str, place: &Path) -> (String, Vec<String>) {
    let log = tempfile::NamedTempFile::new().unwrap();
    let calls = "trace=openat,write,fsync,fdatasync,renameat2,linkat,unlinkat";
    let mut wrapper = vec!["strace", "-f", "-y", "-o", log.path().to_str().unwrap(), "-e", calls];
    if !injection.is_empty() {
        wrapper.extend(["-e", injection]);
    }
    let report = outcome(&wrapper, act, place);
    let log = std::fs::read_to_string(log.path()).unwrap();
    (report, log.lines().map(str::to_owned).collect())
}

fn count(log: &[String], call: &str, what: &str) -> usize {
    log.iter().filter(|line| line.contains(&format!(" {call}(")) && line.contains(what)).count()
}

#[test]
fn a_full_disk_is_a_clean_error_with_the_bytes_needed() {
    let Some(small) = Small::mount("size=1m,mode=700") else { return };
    let directory = small.directory();
    let mut staged = directory.stage("big").unwrap();
    let error = staged.append(&vec![7; 3 << 20]).unwrap_err();
    assert!(matches!(error, StoreError::NoSpace { needed: 3145728, .. }), "{error:?}");
    assert_eq!(error.errno(), Some(28));
    assert!(matches!(staged.publish("big"), Err(StoreError::AlreadyFailed { .. })));
    assert!(names(&directory).is_empty());
    // A program that another test starts just now holds our descriptors until its exec closes them.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    let fits = loop {
        let mut fits = directory.stage("fits").unwrap();
        match fits.append(&vec![7; 1 << 19]) {
            Ok(()) => break fits,
            Err(error) if std::time::Instant::now() > deadline => panic!("the space is not free again: {error:?}"),
            Err(_) => drop(fits),
        }
    };
    assert_eq!(fits.publish("fits").unwrap().size, 1 << 19);
}

#[test]
fn a_disk_without_inodes_is_a_clean_error() {
    let Some(small) = Small::mount("nr_inodes=2,mode=700") else { return };
    let directory = small.directory();
    directory.stage("one").unwrap().publish("one").unwrap();
    assert!(matches!(directory.stage("two"), Err(StoreError::NoSpace { .. })));
    assert!(matches!(directory.subdirectory("sub"), Err(StoreError::NoSpace { .. })));
    assert_eq!(names(&directory), ["one"]);
}

#[test]
fn a_read_only_disk_is_a_clean_error() {
    let Some(small) = Small::mount("size=1m,mode=700") else { return };
    let directory = small.directory();
    directory.stage("one").unwrap().publish("one").unwrap();
    run("mount", &["-o", "remount,ro", small.0.path().to_str().unwrap()]);
    assert!(matches!(directory.stage("two"), Err(StoreError::ReadOnly { .. })));
    assert!(matches!(directory.remove("one"), Err(StoreError::ReadOnly { .. })));
    assert!(directory.open_file("one").is_ok());
}

#[test]
fn a_file_size_limit_is_a_clean_error() {
    let (temp, directory) = place();
    let shell = "trap '' XFSZ; exec prlimit --fsize=250 \"$0\" \"$@\"";
    let report = outcome(&["sh", "-c", shell], "publish", temp.path());
    assert!(report.starts_with("FileTooLarge") && report.contains("needed: 300"), "{report}");
    assert!(names(&directory).is_empty());
}

#[test]
fn a_descriptor_limit_is_a_clean_error() {
    let (temp, directory) = place();
    let report = outcome(&["prlimit", "--nofile=64"], "stage-many", temp.path());
    assert!(report.starts_with("TooManyOpenFiles"), "{report}");
    assert!(names(&directory).is_empty());
}

#[test]
fn a_used_up_quota_is_a_clean_error() {
    let (temp, directory) = place();
    let (report, _) = traced("inject=write:error=EDQUOT:when=3", "publish", temp.path());
    assert!(report.starts_with("Quota") && report.contains("needed: 300"), "{report}");
    assert!(names(&directory).is_empty());
}

#[test]
fn the_order_is_sync_rename_sync_of_the_directory() {
    let (temp, _) = place();
    let (report, log) = traced("", "publish", temp.path());
    assert_eq!(report, "published final 500");
    let steps: Vec<&String> = log.iter().filter(|l| l.contains(" fsync(") || l.contains(" renameat2(")).collect();
    assert_eq!(steps.len(), 3, "{steps:?}");
    assert!(steps[0].contains(" fsync(") && steps[0].contains(".staging>"), "{steps:?}");
    assert!(steps[1].contains(" renameat2(") && steps[1].contains("RENAME_NOREPLACE"), "{steps:?}");
    assert!(steps[2].contains(" fsync(") && steps[2].contains(&format!("{}>)", temp.path().display())), "{steps:?}");
}

#[test]
fn a_failed_sync_is_final_for_the_file() {
    for error in ["EIO", "EINTR"] {
        let (temp, directory) = place();
        let (report, log) = traced(&format!("inject=fsync:error={error}:when=1"), "publish", temp.path());
        assert!(report.starts_with("Sync"), "{report}");
        assert_eq!(count(&log, "fsync", "staging") + count(&log, "fdatasync", "staging"), 1, "{log:?}");
        assert_eq!(count(&log, "renameat2", ""), 0);
        assert!(names(&directory).is_empty());
    }
}

#[test]
fn a_failed_sync_on_the_way_is_final_for_the_file() {
    let (temp, directory) = place();
    let (report, log) = traced("inject=fdatasync:error=EIO:when=1", "publish-33-mib", temp.path());
    assert!(report.starts_with("Sync"), "{report}");
    assert_eq!(count(&log, "fdatasync", "staging"), 1);
    assert_eq!(count(&log, "fsync", ""), 0);
    assert!(names(&directory).is_empty());
}

#[test]
fn a_failed_sync_of_the_directory_takes_the_name_back() {
    let (temp, directory) = place();
    let (report, log) = traced("inject=fsync:error=EIO:when=2", "publish", temp.path());
    assert!(report.starts_with("Sync"), "{report}");
    assert_eq!((count(&log, "renameat2", ""), count(&log, "fsync", "")), (1, 2));
    assert!(names(&directory).is_empty());
}

#[test]
fn space_that_runs_out_at_the_sync_is_told_as_such() {
    let (temp, directory) = place();
    let (report, _) = traced("inject=fsync:error=ENOSPC:when=1", "publish", temp.path());
    assert!(report.starts_with("NoSpace") && report.contains("needed: 500"), "{report}");
    assert!(names(&directory).is_empty());
}

#[test]
fn a_write_that_lies_is_caught() {
    for (retval, found) in [(10, "found: 490"), (100, "found: 400")] {
        let (temp, directory) = place();
        let (report, _) = traced(&format!("inject=write:retval={retval}:when=3"), "publish", temp.path());
        assert!(report.starts_with("ReadBackSize") && report.contains(found), "{report}");
        assert!(names(&directory).is_empty());
    }
}

#[test]
fn an_interrupted_write_is_taken_up_again() {
    let (temp, directory) = place();
    let (report, _) = traced("inject=write:error=EINTR:when=2", "publish", temp.path());
    assert_eq!(report, "published final 500");
    assert_eq!(std::fs::read(temp.path().join("final")).unwrap(), acts::complete());
    assert_eq!(names(&directory), ["final"]);
}

#[test]
fn a_file_system_without_noreplace_still_overwrites_nothing() {
    let (temp, directory) = place();
    let without = "inject=renameat2:error=EINVAL";
    let (report, log) = traced(without, "publish", temp.path());
    assert_eq!(report, "published final 500");
    assert_eq!(count(&log, "linkat", ""), 1);
    let (report, _) = traced(without, "publish", temp.path());
    assert!(report.starts_with("Exists"), "{report}");
    assert_eq!(std::fs::read(temp.path().join("final")).unwrap(), acts::complete());
    assert_eq!(names(&directory), ["final"]);
}

#[test]
fn a_file_system_without_anonymous_files_still_gives_scratch() {
    let (temp, directory) = place();
    let (_, log) = traced("", "scratch", temp.path());
    assert_eq!(count(&log, "openat", "O_TMPFILE"), 1);
    let which = own_call(&log, "openat", "O_TMPFILE");
    let (report, log) = traced(&format!("inject=openat:error=EOPNOTSUPP:when={which}"), "scratch", temp.path());
    assert_eq!(report, "scratch 5");
    assert_eq!(count(&log, "unlinkat", "staging"), 1);
    assert!(names(&directory).is_empty());
}

/// Which of its thread's calls (from 1) the first one with `what` is, as strace counts them.
fn own_call(log: &[String], call: &str, what: &str) -> usize {
    let call = format!(" {call}(");
    let line = log.iter().find(|line| line.contains(&call) && line.contains(what)).unwrap();
    let thread = line.split(' ').next().unwrap();
    let own: Vec<&String> = log.iter().filter(|l| l.starts_with(thread) && l.contains(&call)).collect();
    own.iter().position(|l| l.contains(what)).unwrap() + 1
}
