//! A disk that is full, read-only or out of inodes, and limits of the process (T06, T07): a clean error with the bytes
//! needed, all space given back, and never a short file.

use std::path::{Path, PathBuf};
use std::process::Command;

use agent_backup_suite::{
    Cluster, Database, Options, Set, assert_backups_whole, assert_clean, assert_no_trash, backup, backups_at, database,
    fails_with, files, lines, listed_days, long, one, prune, set_clock, statuses,
};

/// A tmpfs of the server's user, unmounted when dropped.
struct Small {
    path: PathBuf,
}

impl Small {
    /// Mounts it as the backup directory of `db`. Only root may mount: everyone else gets `None`.
    fn mount(db: &Database, options: &str) -> Option<Small> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("not tested, since only root may mount a small file system");
            return None;
        }
        let small = Small { path: db.backup_dir().to_owned() };
        command(
            "mount",
            &["-t", "tmpfs", "-o", &format!("{options},uid=postgres,gid=postgres,mode=0700"), "tmpfs"],
            &small.path,
        );
        Some(small)
    }

    /// Fills it but for `free` bytes.
    fn fill(&self, free: u64) {
        let filler = self.path.join("filler");
        drop(std::fs::remove_file(&filler));
        let left = self.free();
        assert!(left >= free, "{left} bytes are free, not {free}");
        std::fs::write(&filler, vec![b'x'; (left - free) as usize]).unwrap();
    }

    fn unfill(&self) {
        std::fs::remove_file(self.path.join("filler")).unwrap();
    }

    fn free(&self) -> u64 {
        let output = Command::new("stat").args(["-f", "-c", "%f %S"]).arg(&self.path).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_whitespace().map(|number| number.parse::<u64>().unwrap()).product()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily, since a session may still hold the directory.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

fn command(program: &str, args: &[&str], path: &Path) {
    let output = Command::new(program).args(args).arg(path).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The bytes that the message says are needed.
fn needed(said: &str) -> u64 {
    let number = said.split_once("at least ").and_then(|(_, rest)| rest.split_once(" bytes are needed"));
    number.unwrap_or_else(|| panic!("no bytes needed in: {said}")).0.parse().unwrap()
}

/// Bytes of the largest container.
fn container_size(db: &Database) -> u64 {
    let size = |name: &String| std::fs::metadata(db.backup_dir().join("s").join(name)).unwrap().len();
    files(db).iter().map(size).max().unwrap()
}

#[test]
fn a_disk_that_fills_up_anywhere_fails_cleanly_and_gives_all_back() {
    let db = database();
    let Some(small) = Small::mount(&db, "size=8m") else { return };
    Set::create(&db, 2, 5_000);
    backup(&mut db.client()).unwrap();
    let (size, mut seed) = (container_size(&db), std::process::id() as u64);
    assert!((500_000..4_000_000).contains(&size), "{size}");
    println!("seed {seed}");
    let mut client = db.client();
    let mut refusals = 0;
    for round in 0..if long() { 50 } else { 12 } {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let free = if round == 0 { 0 } else { (seed >> 33) % (size + 8192) / 4096 * 4096 };
        small.fill(free);
        let (before, left) = (files(&db), small.free());
        match backup(&mut client) {
            Ok(rows) => assert_eq!(statuses(&rows), ["ok", "ok"], "{free} bytes free"),
            Err(error) => {
                refusals += 1;
                let said = fails_with(Err::<(), _>(error), "53100");
                // What a file needs is told; the manifest's comes on top of a container that had room.
                let told = needed(&said) > free || said.contains(".metadata.");
                assert!(told && said.contains("Free space"), "{free} bytes free: {said}");
                assert_eq!((files(&db), small.free()), (before, left), "{free} bytes free");
            }
        }
        small.unfill();
        assert_backups_whole(&db);
    }
    assert!(refusals > 0, "the disk was never full");
    drop(client);
    assert_clean(&db, &[]);
    drop(small);
}

#[test]
fn a_disk_that_has_room_for_the_container_only_fails_in_the_manifest() {
    let db = database();
    let Some(small) = Small::mount(&db, "size=8m") else { return };
    Set::create(&db, 2, 5_000);
    backup(&mut db.client()).unwrap();
    let (before, size) = (files(&db), container_size(&db).next_multiple_of(4096));
    let mut in_manifest = 0;
    for free in [size - 4096, size, size + 4096] {
        small.fill(free);
        if let Err(error) = backup(&mut db.client()) {
            let said = fails_with(Err::<(), _>(error), "53100");
            in_manifest += usize::from(said.contains(".metadata.") && needed(&said) > 0);
            assert_eq!(files(&db), before, "{said}");
        }
        small.unfill();
        for name in files(&db).iter().filter(|name| !before.contains(name)) {
            std::fs::remove_file(db.backup_dir().join("s").join(name)).unwrap();
        }
        db.run("DELETE FROM agent_backup.backup_catalog WHERE backup_id <> (SELECT min(backup_id) FROM agent_backup.backup_catalog)");
    }
    assert!(in_manifest > 0, "the manifest always had room");
    assert_clean(&db, &[]);
    drop(small);
}

#[test]
fn a_disk_that_fills_up_while_rows_are_spilled_fails_the_backup() {
    let db = database();
    let Some(small) = Small::mount(&db, "size=64m") else { return };
    Set::create(&db, 1, 150_000);
    small.fill(2 << 20);
    let said = fails_with(backup(&mut db.client()), "53100");
    assert!(needed(&said) > 0 && said.contains("Free space"), "{said}");
    assert_eq!(files(&db).len(), 0);
    assert_eq!(small.free(), 2 << 20);
    small.unfill();
    assert_clean(&db, &[]);
    drop(small);
}

/// A set that keeps one day, with backups of two; the clock of the session is at the third.
fn with_one_to_prune(db: &Database) -> postgres::Client {
    Set::create(db, 2, 5_000);
    db.run("SELECT agent_backup.set_retention('s', keep_daily => 1, keep_weekly => 0, keep_monthly => 0)");
    backups_at(db, "s", "full", &["2026-03-01", "2026-03-02"]);
    let mut client = db.client();
    set_clock(&mut client, "2026-03-03");
    client
}

/// T71: what a job does when there is no room.
#[test]
fn a_prune_makes_room_on_a_full_disk_and_keeps_the_last_good_backup() {
    let db = database();
    let Some(small) = Small::mount(&db, "size=8m") else { return };
    let mut client = with_one_to_prune(&db);
    let room = "SELECT is_enough, needed_bytes > 0, free_bytes FROM agent_backup.room_for('s')";
    assert_eq!(lines(&mut client, room), [format!("t|t|{}", small.free())]);
    small.fill(container_size(&db) / 2);
    let disk = "SELECT free_bytes, total_bytes, used_by_backups_bytes = (SELECT sum(size_bytes) FROM agent_backup.backups) + \
                       (pg_stat_file(directory || '/filler')).size, same_disk_as_database FROM agent_backup.disk_space()";
    assert_eq!(lines(&mut client, disk), [format!("{}|{}|t|f", small.free(), 8 << 20)]);
    assert!(lines(&mut client, room)[0].starts_with("f|t|"));
    fails_with(backup(&mut client), "53100");
    assert_eq!(prune(&mut client, "'s', confirm => true").len(), 1);
    assert_eq!(listed_days(&db, "s"), ["2026-03-02"]);
    assert!(one::<bool>(&mut client, "SELECT is_enough FROM agent_backup.room_for('s')"));
    assert_eq!(statuses(&backup(&mut client).unwrap()), ["ok", "ok"]);
    small.unfill();
    drop(client);
    assert_clean(&db, &[]);
    drop(small);
}

/// T71 and T34: the nightly job itself.
#[test]
fn a_daily_job_prunes_first_when_the_disk_has_no_room_and_a_disk_that_stays_full_fails_it() {
    let db = database();
    let Some(small) = Small::mount(&db, "size=8m") else { return };
    let mut client = with_one_to_prune(&db);
    small.fill(container_size(&db) / 2);
    client.batch_execute("CALL agent_backup.run_job('daily', 's')").unwrap();
    assert_eq!(listed_days(&db, "s"), ["2026-03-02", "2026-03-03"]);
    let summary: String = one(&mut client, "SELECT summary FROM agent_backup.job_runs");
    assert!(summary.starts_with("little room: 1 backup "), "{summary}");
    assert_eq!(prune(&mut client, "'s', confirm => true").len(), 1);
    small.fill(0);
    set_clock(&mut client, "2026-03-04");
    fails_with(client.batch_execute("CALL agent_backup.run_job('daily', 's')"), "53100");
    let runs = lines(&mut client, "SELECT status, error_code FROM agent_backup.job_runs ORDER BY run_id");
    assert_eq!(runs, ["success|", "failed|53100"]);
    assert_eq!(listed_days(&db, "s"), ["2026-03-03"]);
    small.unfill();
    drop(client);
    assert_clean(&db, &[]);
    drop(small);
}

#[test]
fn a_disk_without_inodes_fails_cleanly() {
    let db = database();
    // The root, the set's directory, and one more.
    let Some(small) = Small::mount(&db, "size=8m,nr_inodes=3") else { return };
    Set::create(&db, 1, 100);
    let said = fails_with(backup(&mut db.client()), "53100");
    assert!(!said.contains("at least 0 bytes"), "{said}");
    assert_eq!(files(&db).len(), 0);
    command("mount", &["-o", "remount,nr_inodes=100"], &small.path);
    assert_clean(&db, &[]);
    drop(small);
}

#[test]
fn a_read_only_disk_is_refused_by_name() {
    let db = database();
    let Some(small) = Small::mount(&db, "size=8m") else { return };
    Set::create(&db, 1, 100);
    backup(&mut db.client()).unwrap();
    let before = files(&db);
    command("mount", &["-o", "remount,ro"], &small.path);
    let said = fails_with(backup(&mut db.client()), "58030");
    assert!(said.contains("read-only file system") && said.contains("Mount it read-write"), "{said}");
    command("mount", &["-o", "remount,rw"], &small.path);
    assert_eq!(files(&db), before);
    assert_clean(&db, &[]);
    drop(small);
}

#[test]
fn an_export_to_a_full_disk_leaves_nothing() {
    let db = database();
    let Some(small) = Small::mount(&db, "size=4m") else { return };
    Set::create(&db, 1, 5_000);
    for (format, file) in [("csv", "a.csv"), ("json", "a.json.gz"), ("sql", "a.sql.zst")] {
        small.fill(64 << 10);
        let call = format!("SELECT agent_backup.export_table('t1', '{format}', '{}')", small.path.join(file).display());
        let said = fails_with(db.client().batch_execute(&call), "53100");
        assert!(needed(&said) > 64 << 10, "{said}");
        assert!(!small.path.join(file).exists());
        assert_eq!(small.free(), 64 << 10);
        small.unfill();
        db.run(&call);
        std::fs::remove_file(small.path.join(file)).unwrap();
    }
    assert_clean(&db, &[]);
    drop(small);
}

/// Sets a soft limit of a running process, as its own user may.
fn limit(pid: i32, limit: &str) {
    let mut command = Command::new("prlimit");
    if nix::unistd::geteuid().is_root() {
        command = Command::new("runuser");
        command.args(["-u", "postgres", "--", "prlimit"]);
    }
    let output = command.args(["--pid", &pid.to_string(), limit]).output().expect("prlimit");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_no_end_of_the_server() {
    // Alone: a session that has to write out the log of another one's changes meets the limit too, and the server ends.
    let cluster = Cluster::start(Options::default().setting("wal_buffers = '16MB'").setting("autovacuum = off"));
    let db = cluster.database();
    Set::create(&db, 2, 5_000);
    let mut client = db.client();
    let pid = db.cluster().backend_pid(&mut client);
    limit(pid, "--fsize=100000:");
    let said = fails_with(backup(&mut client), "54000");
    assert!(said.contains("grows beyond the size allowed") && said.contains("ulimit -f"), "{said}");
    assert!(needed(&said) > 100_000, "{said}");
    limit(pid, "--fsize=unlimited:");
    assert_eq!(files(&db).len(), 0);
    assert_eq!(statuses(&backup(&mut client).unwrap()), ["ok", "ok"]);
    assert_clean(&db, &[]);
}

#[test]
fn a_limit_on_open_files_is_an_error() {
    let db = database();
    Set::create(&db, 1, 100);
    let mut client = db.client();
    backup(&mut client).unwrap();
    let pid = db.cluster().backend_pid(&mut client);
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    // The server closes files of its own when it is short of descriptors, so that some of these limits are enough.
    let refused = (8..open + 4).rev().find(|most| {
        limit(pid, &format!("--nofile={most}:"));
        let before = files(&db);
        let outcome = backup(&mut client);
        if let Ok(rows) = &outcome {
            assert_eq!(statuses(rows), ["ok"]);
            return false;
        }
        let said = fails_with(outcome, "53000");
        assert!(said.contains("open files"), "{said}");
        assert_eq!(files(&db), before);
        true
    });
    assert!(refused.is_some(), "no limit was too low");
    limit(pid, "--nofile=1000:");
    assert_eq!(statuses(&backup(&mut client).unwrap()), ["ok"]);
    assert_no_trash(&db, &[]);
    assert_clean(&db, &[]);
}
