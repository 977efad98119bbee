//! What stands beside a backup, or in its place (T16 to T18, T20, T21, T23 to T25): strays, swapped and forged files, a directory that
//! is gone, files that may not be opened, bombs, running backups, and backups of earlier releases.

mod damaged;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use agent_backup_core::stream::sha256_hex;
use agent_backup_suite::{Set, assert_no_trash, begun, database, kill_backend, refused, wait_for_pause};
use agent_backup_suite::{Signal, one};

use damaged::{Backup, Line, name, verify, words};

#[test]
fn files_of_no_backup_are_warned_of_and_left_alone() {
    let backup = Backup::new();
    let directory = backup.db.backup_dir().join("s");
    let strays = ["s_backup_20200101.tar.gz", "metadata_20200101.json", "notes.txt", ".s.0123456789abcdef.staging"];
    strays.iter().for_each(|stray| fs::write(directory.join(stray), "x").unwrap());
    std::os::unix::fs::symlink("/etc/passwd", directory.join("link")).unwrap();
    fs::create_dir(directory.join("incremental")).unwrap();
    let lines = backup.verify("decode");
    let warned: Vec<&Line> = lines.iter().filter(|line| line.status != "ok").collect();
    assert!(
        warned.iter().all(|l| l.status == "warning" && l.check == "directory" && l.word() == "extra"),
        "{warned:#?}"
    );
    assert_eq!(warned.len(), 5, "{warned:#?}");
    for stray in strays.iter().chain(&["link"]) {
        assert!(warned.iter().any(|line| line.details.contains(stray)), "{stray}: {warned:#?}");
        assert!(directory.join(stray).symlink_metadata().is_ok());
        fs::remove_file(directory.join(stray)).unwrap();
    }
    let verdict: String = one(&mut backup.db.client(), "SELECT verification_status FROM agent_backup.backups");
    assert_eq!(verdict, "success");
    fs::remove_dir(directory.join("incremental")).unwrap();
    backup.assert_mended();
}

#[test]
fn a_backup_that_is_not_listed_is_warned_of_and_that_of_another_database_is_not() {
    let backup = Backup::next(Backup::new().db);
    let mut client = backup.db.client();
    let others = format!("DELETE FROM agent_backup.backup_catalog WHERE backup_id <> '{}'", backup.id);
    client.batch_execute(&others).unwrap();
    let strays = |lines: Vec<Line>| lines.into_iter().filter(|line| line.check == "directory").collect::<Vec<_>>();
    let warned = strays(backup.verify("exists"));
    assert!(warned.len() == 1 && warned[0].details.contains("is not listed"), "{warned:#?}");
    client.batch_execute("SELECT agent_backup.reconcile('s')").unwrap();
    assert_eq!(strays(backup.verify("exists")), []);
    // A second database that writes into the same directory.
    let other = database();
    Set::create(&other, 1, 10);
    let directory = backup.db.backup_dir().display();
    let mut there = other.client();
    there.batch_execute(&format!("SELECT agent_backup.lock_key('x'); SET agent_backup.directory = '{directory}'; SELECT agent_backup.backup('s')")).unwrap();
    drop(there);
    assert_eq!(strays(backup.verify("exists")), []);
    drop(client);
    assert_no_trash(&backup.db, &[]);
}

#[test]
fn two_files_that_changed_places_are_found() {
    let first = Backup::new();
    let (container, manifest, good, id) =
        (first.container.clone(), first.manifest.clone(), first.good.clone(), first.id.clone());
    let second = Backup::next(first.db);
    fs::write(&container, &second.good.0).unwrap();
    fs::write(&second.container, &good.0).unwrap();
    for (backup, other) in [(&id, &second.id), (&second.id, &id)] {
        let failed = verify(&second.db, backup, "decode");
        let failed: Vec<Line> = failed.into_iter().filter(|line| line.status == "failed").collect();
        assert!(failed.iter().all(|l| l.word() == "changed" && l.details.contains(other.as_str())), "{failed:#?}");
        // Every table of the listed backup has its line.
        assert_eq!(words(&failed), ["changed", "t1 changed", "t2 changed"]);
    }
    fs::write(&container, &good.0).unwrap();
    // The manifest alone of another backup: its container has the listed one.
    fs::write(&manifest, &second.good.1).unwrap();
    let failed = verify(&second.db, &id, "decode");
    let failed: Vec<Line> = failed.into_iter().filter(|line| line.status == "failed").collect();
    assert!(failed.len() == 1 && failed[0].details.contains(name(&manifest)), "{failed:#?}");
    fs::write(&manifest, &good.1).unwrap();
    second.assert_mended();
}

#[test]
fn a_file_and_its_manifest_replaced_together_are_caught_by_the_catalogue() {
    let backup = Backup::new();
    // Whole files of a backup with the very same id: only the catalogue knows better.
    let other = Backup::new();
    let replace = |from: &[u8]| -> Vec<u8> { from.to_vec() };
    fs::write(&backup.container, replace(&other.good.0)).unwrap();
    fs::write(&backup.manifest, replace(&other.good.1)).unwrap();
    let failed = backup.failed("decode");
    assert_eq!(words(&failed), ["changed", "t1 changed", "t2 changed"], "{failed:#?}");
    assert!(failed.iter().all(|line| line.details.contains(&backup.id)), "{failed:#?}");
    drop(other);
    // The same id, and a row more than the truth.
    backup.mend();
    let forged =
        String::from_utf8(backup.good.1.clone()).unwrap().replacen("\"kind\": \"full\"", "\"kind\": \"fuII\"", 1);
    fs::write(&backup.manifest, hashed(&forged)).unwrap();
    let failed = backup.failed("decode");
    assert!(failed.len() == 1 && failed[0].details.contains("its manifest differs"), "{failed:#?}");
    backup.assert_mended();
}

/// A manifest's text with the hash that it should have at its end.
fn hashed(text: &str) -> String {
    let body = &text[..text.find("  \"manifest_sha256\"").unwrap()];
    format!("{body}  \"manifest_sha256\": \"{}\"\n}}\n", sha256_hex(body.as_bytes()))
}

#[test]
fn a_manifest_that_is_nonsense_is_named_and_not_believed() {
    let backup = Backup::new();
    let good = String::from_utf8(backup.good.1.clone()).unwrap();
    for (word, text) in [
        ("unsupported", good.replacen("\"version\": 1,", "\"version\": 7,", 1)),
        ("unreadable", good.replacen("\"version\": 1,", "\"version\": \"one\",", 1)),
        ("unreadable", good.replacen("\"set_name\"", "\"set_name\": \"twice\", \"set_name\"", 1)),
        ("unreadable", good.replacen("\"t1.csv\"", "\"../t1.csv\"", 1)),
        ("unreadable", good.replacen("\"content_bytes\": ", "\"content_bytes\": -", 1)),
    ] {
        assert_ne!(text, good, "{word}");
        fs::write(&backup.manifest, hashed(&text)).unwrap();
        let failed = backup.failed("decode");
        assert!(
            failed.len() == 1 && failed[0].word() == word && failed[0].details.contains(name(&backup.manifest)),
            "{failed:#?}"
        );
        // The container has its own: the rows were checked all the same.
        assert_eq!(backup.verify("decode").iter().filter(|l| l.check == "decode" && l.status == "ok").count(), 7);
    }
    backup.assert_mended();
}

#[test]
fn a_directory_that_is_gone_is_an_answer_for_every_table() {
    let backup = Backup::new();
    let directory = backup.db.backup_dir().join("s");
    let away = backup.db.backup_dir().join("away");
    fs::rename(&directory, &away).unwrap();
    let failed = backup.failed("decode");
    assert_eq!(words(&failed), ["missing", "t1 missing", "t2 missing"], "{failed:#?}");
    assert!(failed.iter().all(|line| line.details.contains(directory.to_str().unwrap())), "{failed:#?}");
    let kept = "SELECT verification_status || ' ' || status FROM agent_backup.backups";
    assert_eq!(one::<String>(&mut backup.db.client(), kept), "failed complete");
    fs::rename(&away, &directory).unwrap();
    backup.assert_mended();
}

#[test]
fn what_may_not_be_opened_is_not_called_corrupt() {
    let backup = Backup::new();
    let directory = backup.db.backup_dir().join("s");
    for (path, mode) in [(&backup.container, 0o600), (&backup.manifest, 0o600), (&directory, 0o700)] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
        let failed = backup.failed("decode");
        assert!(
            !failed.is_empty() && failed.iter().all(|l| l.word() == "cannot open"),
            "{}: {failed:#?}",
            path.display()
        );
        assert!(
            failed[0].details.contains("Permission denied") && failed[0].details.contains(name(path)),
            "{failed:#?}"
        );
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    let failed = backup.failed("decode");
    assert!(failed.iter().all(|l| l.word() == "cannot open" && l.details.contains("can be written by")), "{failed:#?}");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    backup.assert_mended();
}

/// One gzip member of `plain`, made as long as `length` by a comment-free extra field.
fn member(plain: &[u8], length: usize) -> Vec<u8> {
    use std::io::Write;
    let mut child = std::process::Command::new("gzip")
        .args(["-9", "-n", "-c"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let plain = plain.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&plain).unwrap());
    let packed = child.wait_with_output().unwrap().stdout;
    writer.join().unwrap();
    let extra = length - packed.len() - 2;
    let mut member = packed[..10].to_vec();
    member[3] |= 4;
    member.extend_from_slice(&u16::try_from(extra).unwrap().to_le_bytes());
    member.resize(12 + extra, 0);
    member.extend_from_slice(&packed[10..]);
    assert_eq!(member.len(), length);
    member
}

#[test]
fn a_bomb_in_place_of_a_chunk_takes_no_memory_and_is_damage() {
    let backup = Backup::new();
    let entry = backup.entry("t1.csv");
    let chunk = entry.chunks.iter().max_by_key(|chunk| chunk.stored_len).unwrap();
    let (start, length) = (chunk.offset as usize, chunk.stored_len as usize);
    // As large as fits: deflate makes a thousandfold of it.
    let mut plain = vec![0; 900 * length];
    let bomb = loop {
        if let Ok(bomb) = std::panic::catch_unwind(|| member(&plain, length)) {
            break bomb;
        }
        plain.truncate(plain.len() / 10 * 9);
    };
    assert!(plain.len() as u64 > 20 * chunk.plain_len, "{} bytes are no bomb", plain.len());
    let short = member(b"t", length);
    let garbage = {
        let mut bytes = backup.good.0[start..start + length].to_vec();
        let whole = member(b"", 40);
        bytes[length - 40..].copy_from_slice(&whole);
        bytes
    };
    for (what, bytes) in [("bomb", bomb), ("too short", short), ("garbage", garbage)] {
        let mut damaged = backup.good.0.clone();
        damaged[start..start + length].copy_from_slice(&bytes);
        fs::write(&backup.container, &damaged).unwrap();
        let mut client = backup.db.client();
        let pid = backup.db.cluster().backend_pid(&mut client);
        client.batch_execute(&format!("SELECT agent_backup.verify('{}', 'exists', 's')", backup.id)).unwrap();
        let before = peak(pid);
        let query = format!(
            "SELECT count(*) FROM agent_backup.verify('{}', set_name => 's') WHERE check_name = 'decode' AND status = 'failed' AND details LIKE 'changed: %'",
            backup.id
        );
        assert_eq!(one::<i64>(&mut client, &query), 1, "{what}");
        assert!(peak(pid) - before < 16 << 10, "{what}: {} kB more", peak(pid) - before);
    }
    backup.assert_mended();
}

/// The most memory that a process ever held, in kB.
fn peak(pid: i32) -> i64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_running_backup_raises_no_alarm() {
    let backup = Backup::new();
    for step in ["scan", "manifest", "publish_manifest"] {
        let mut client = backup.db.client();
        client
            .batch_execute(&format!(
                "SELECT agent_backup.lock_key('x'); SET agent_backup.debug_failpoint = '{step}=pause'"
            ))
            .unwrap();
        let (pid, run) = begun(client, "SELECT agent_backup.backup('s')");
        wait_for_pause(&backup.db, pid, step);
        let lines = backup.verify("decode");
        assert!(lines.iter().all(|line| line.status == "ok"), "{step}: {lines:#?}");
        // Not even when it has committed nothing and only its rows are waited for.
        kill_backend(pid, Signal::SIGINT);
        assert!(run.join().unwrap().1.is_err());
    }
    let mut open = backup.db.client();
    open.batch_execute("BEGIN; SELECT agent_backup.backup('s')").unwrap();
    let lines = backup.verify("decode");
    assert!(lines.iter().all(|line| line.status == "ok"), "uncommitted: {lines:#?}");
    open.batch_execute("COMMIT").unwrap();
    drop(open);
    backup.assert_mended();
}

#[test]
fn a_transaction_with_an_old_snapshot_takes_no_newer_backup_for_a_stray() {
    let backup = Backup::new();
    let mut old = backup.db.client();
    old.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1").unwrap();
    let newer = Backup::next(backup.db);
    let query = format!("SELECT count(*) FROM agent_backup.verify('{}', 'hash', 's') WHERE status <> 'ok'", backup.id);
    assert_eq!(one::<i64>(&mut old, &query), 0);
    drop(old);
    newer.assert_mended();
}

#[test]
fn a_file_that_is_not_listed_is_verified_by_its_path() {
    let backup = Backup::new();
    let copy = backup.db.cluster().create_dir(&format!("{}_copy", backup.db.name()));
    for file in [&backup.container, &backup.manifest] {
        fs::copy(file, copy.join(name(file))).unwrap();
        chown(copy.join(name(file)), Some(fs::metadata(&copy).unwrap().uid()), None).unwrap();
    }
    let path = copy.join(name(&backup.container));
    let lines = verify(&backup.db, path.to_str().unwrap(), "decode");
    assert!(lines.iter().all(|line| line.status == "ok"), "{lines:#?}");
    fs::remove_file(copy.join(name(&backup.manifest))).unwrap();
    let warned = verify(&backup.db, path.to_str().unwrap(), "hash");
    let warned: Vec<&Line> = warned.iter().filter(|line| line.status != "ok").collect();
    assert!(warned.len() == 1 && warned[0].status == "warning" && warned[0].word() == "missing", "{warned:#?}");
    fs::write(&path, &backup.good.0[..backup.good.0.len() / 2]).unwrap();
    let failed = verify(&backup.db, path.to_str().unwrap(), "hash");
    assert!(failed.iter().any(|line| line.status == "failed" && line.word() == "truncated"), "{failed:#?}");
    assert_eq!(one::<i64>(&mut backup.db.client(), "SELECT count(*) FROM backup_verification_log"), 0);
    backup.assert_mended();
}

/// A container and its manifest as version 0.1.0 wrote them: two tables in csv and json.
const RELEASES: [&str; 1] = ["0.1.0"];

#[test]
fn a_backup_of_each_release_verifies() {
    let db = database();
    for release in RELEASES {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(release);
        let directory = db.cluster().create_dir(&format!("{}_{release}", db.name()));
        for file in fs::read_dir(&fixture).unwrap() {
            let file = file.unwrap();
            let to = directory.join(file.file_name());
            fs::copy(file.path(), &to).unwrap();
            chown(&to, Some(fs::metadata(&directory).unwrap().uid()), None).unwrap();
        }
        let path = directory.join("s_backup_20251012.tar.gz");
        let lines = verify(&db, path.to_str().unwrap(), "decode");
        assert!(lines.iter().all(|line| line.status == "ok"), "{release}: {lines:#?}");
        assert_eq!(lines.iter().filter(|line| line.table.is_some()).count(), 4, "{release}: {lines:#?}");
    }
    assert_no_trash(&db, &[]);
}

#[test]
fn a_backup_that_nobody_made_is_an_error() {
    let backup = Backup::new();
    for (call, code) in [
        ("verify('nonsense', set_name => 's')", "42704"),
        ("verify(set_name => 'nonsense')", "42704"),
        ("verify('latest', 'nonsense', 's')", "22023"),
        ("verify(NULL, set_name => 's')", "22004"),
    ] {
        let refusal = refused(&mut backup.db.client(), &format!("SELECT agent_backup.{call}"));
        assert_eq!(refusal.code, code, "{call}: {refusal:?}");
    }
    backup.assert_mended();
}
