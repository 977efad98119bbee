//! Damage of every kind (T15 to T21, T23 to T25) is found, all of it, each with its own word and the place named.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use agent_backup_core::container::{Container, Entry};
use agent_backup_core::stream::sha256_hex;
use agent_backup_suite::{
    Database, Set, assert_clean, assert_no_trash, backup, begun, database, kill_backend, long, refused, wait_for_pause,
};
use agent_backup_suite::{Signal, one};

/// A line of `verify`.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    table: Option<String>,
    format: Option<String>,
    check: String,
    status: String,
    details: String,
}

impl Line {
    fn word(&self) -> &str {
        self.details.split(": ").next().unwrap()
    }
}

/// A backup of two tables of the set `s` with chunks of 16 kB, and its files as they were written.
struct Backup {
    db: Database<'static>,
    id: String,
    container: PathBuf,
    manifest: PathBuf,
    good: (Vec<u8>, Vec<u8>),
}

impl Backup {
    fn new() -> Self {
        Self::of(1_000)
    }

    /// As `new`, with this number of rows in each table.
    fn of(rows: usize) -> Self {
        let db = database();
        Set::create(&db, 2, rows);
        Self::next(db)
    }

    /// One more backup in the same database.
    fn next(db: Database<'static>) -> Self {
        let mut client = db.client();
        client.batch_execute("SELECT agent_backup.lock_key('x'); SET agent_backup.chunk_size = '16kB'").unwrap();
        backup(&mut client).unwrap();
        let query = "SELECT backup_id, backup_file, manifest_file FROM agent_backup.backups ORDER BY started_at DESC, backup_id DESC LIMIT 1";
        let row = client.query_one(query, &[]).unwrap();
        let (container, manifest) = (PathBuf::from(row.get::<_, String>(1)), PathBuf::from(row.get::<_, String>(2)));
        let good = (fs::read(&container).unwrap(), fs::read(&manifest).unwrap());
        Backup { db, id: row.get(0), container, manifest, good }
    }

    fn verify(&self, level: &str) -> Vec<Line> {
        verify(&self.db, &self.id, level)
    }

    /// The lines that say failed.
    fn failed(&self, level: &str) -> Vec<Line> {
        self.verify(level).into_iter().filter(|line| line.status == "failed").collect()
    }

    fn mend(&self) {
        fs::write(&self.container, &self.good.0).unwrap();
        fs::write(&self.manifest, &self.good.1).unwrap();
        let owner = fs::metadata(self.db.backup_dir()).unwrap().uid();
        for file in [&self.container, &self.manifest] {
            chown(file, Some(owner), None).unwrap();
        }
    }

    fn entry(&self, name: &str) -> Entry {
        Container::open(&self.good.0[..]).unwrap().entry(name).unwrap().clone()
    }

    /// The end of a test: mended, it verifies, and the next backup works.
    #[track_caller]
    fn assert_mended(&self) {
        self.mend();
        assert_eq!(self.failed("decode"), []);
        let verdict: String = one(
            &mut self.db.client(),
            &format!("SELECT verification_status FROM agent_backup.backups WHERE backup_id = '{}'", self.id),
        );
        assert_eq!(verdict, "success");
        assert_clean(&self.db, &[]);
    }
}

fn verify(db: &Database, backup: &str, level: &str) -> Vec<Line> {
    let query = "SELECT table_name, format, check_name, status, details FROM agent_backup.verify($1, $2, 's')";
    let rows = db.client().query(query, &[&backup, &level]).unwrap();
    let line = |row: &postgres::Row| Line {
        table: row.get(0),
        format: row.get(1),
        check: row.get(2),
        status: row.get(3),
        details: row.get(4),
    };
    rows.iter().map(line).collect()
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// What verification knows of a damage: its words, with the table where there is one.
fn words(lines: &[Line]) -> Vec<String> {
    let mut words: Vec<String> = lines
        .iter()
        .map(|line| format!("{}{}", line.table.clone().map_or(String::new(), |t| t + " "), line.word()))
        .collect();
    words.dedup();
    words
}

#[test]
fn a_good_backup_has_no_finding_and_a_bad_one_is_noticed() {
    let backup = Backup::new();
    let lines = backup.verify("decode");
    assert!(lines.iter().all(|line| line.status == "ok"), "{lines:#?}");
    let tables: Vec<_> =
        lines.iter().filter_map(|l| Some((l.table.clone()?, l.format.clone()?, l.check.as_str()))).collect();
    let expected = [("t1", "csv"), ("t1", "json"), ("t2", "csv"), ("t2", "json")];
    assert_eq!(tables, expected.map(|(table, format)| (table.to_owned(), format.to_owned(), "decode")));
    assert_eq!(lines.last().unwrap().check, "scope");
    fs::write(&backup.container, &backup.good.0[..100]).unwrap();
    assert!(!backup.failed("exists").is_empty());
    backup.assert_mended();
}

#[test]
fn a_bit_that_flipped_anywhere_is_found_and_its_file_is_named() {
    let backup = Backup::new();
    let steps = if long() { 64 } else { 12 };
    let (container, manifest) = &backup.good;
    for (file, bytes) in [(&backup.container, container), (&backup.manifest, manifest)] {
        for step in 0..=steps {
            let at = (bytes.len() - 1) * step / steps;
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (step % 8);
            fs::write(file, &flipped).unwrap();
            let failed = backup.failed("hash");
            assert!(!failed.is_empty(), "byte {at} of {} is not noticed", file.display());
            assert!(failed.iter().all(|line| line.details.contains(name(file))), "byte {at}: {failed:#?}");
            assert!(
                failed.iter().any(|line| ["changed", "truncated", "unreadable"].contains(&line.word())),
                "byte {at}: {failed:#?}"
            );
        }
        backup.mend();
    }
    backup.assert_mended();
}

#[test]
fn a_bit_that_flipped_in_a_table_costs_that_table_and_names_the_chunk() {
    let backup = Backup::new();
    let entry = backup.entry("t2.csv");
    assert!(entry.chunks.len() > 3);
    let mut flipped = backup.good.0.clone();
    flipped[entry.chunks[2].offset as usize + 300] ^= 1;
    fs::write(&backup.container, &flipped).unwrap();
    let lines = backup.verify("decode");
    let failed: Vec<&Line> = lines.iter().filter(|line| line.status == "failed").collect();
    assert!(
        failed.iter().all(|l| l.table.as_deref().is_none_or(|t| t == "t2") && l.word() == "changed"),
        "{failed:#?}"
    );
    let chunk = format!("chunk 2 of \"t2.csv\" at offset {}", entry.chunks[2].offset);
    assert!(failed.iter().any(|line| line.check == "decode" && line.details.contains(&chunk)), "{failed:#?}");
    assert!(failed.iter().any(|line| line.check == "hash" && line.format.as_deref() == Some("csv")), "{failed:#?}");
    let whole = lines.iter().filter(|line| line.table.is_some() && line.check == "decode" && line.status == "ok");
    assert_eq!(whole.count(), 3, "{lines:#?}");
    backup.assert_mended();
}

#[test]
fn each_kind_of_damage_has_a_word_of_its_own() {
    let backup = Backup::new();
    let mut words_seen = Vec::new();
    for (file, good) in [(&backup.container, &backup.good.0), (&backup.manifest, &backup.good.1)] {
        let mut replaced = good.clone();
        let middle = good.len() / 2;
        replaced[middle - 50..middle + 50].iter_mut().for_each(|byte| *byte ^= 0x55);
        let appended = [&good[..], b"more"].concat();
        let cases: [(&str, Option<&[u8]>); 5] = [
            ("missing", None),
            ("truncated", Some(&good[..good.len() - 1])),
            ("empty", Some(b"")),
            ("extra", Some(&appended)),
            ("changed", Some(&replaced)),
        ];
        for (word, bytes) in cases {
            match bytes {
                None => fs::remove_file(file).unwrap(),
                Some(bytes) => fs::write(file, bytes).unwrap(),
            }
            let failed = backup.failed("decode");
            // A manifest with more behind its last line has no hash to be checked by.
            let expected = if word == "extra" && file == &backup.manifest { "truncated" } else { word };
            let of_file: Vec<&Line> = failed.iter().filter(|line| line.table.is_none()).collect();
            assert!(
                of_file.iter().any(|l| l.word() == expected && l.details.contains(name(file))),
                "{word}: {failed:#?}"
            );
            if file == &backup.container {
                words_seen.push(word);
            }
            backup.mend();
        }
    }
    assert_eq!(words_seen, ["missing", "truncated", "empty", "extra", "changed"]);
    backup.assert_mended();
}

#[test]
fn all_damage_is_told_and_not_the_first_only() {
    let backup = Backup::new();
    let mut bytes = backup.good.0.clone();
    for entry in ["t1.csv", "t1.json", "t2.json", "schema.sql"] {
        bytes[backup.entry(entry).chunks[0].offset as usize + 40] ^= 1;
    }
    // And a header between the entries.
    fs::write(&backup.container, &bytes).unwrap();
    fs::remove_file(&backup.manifest).unwrap();
    let failed = backup.failed("decode");
    let damaged = |table: &str, format: &str| {
        failed
            .iter()
            .any(|l| l.table.as_deref() == Some(table) && l.format.as_deref() == Some(format) && l.check == "decode")
    };
    assert!(
        damaged("t1", "csv") && damaged("t1", "json") && damaged("t2", "json") && !damaged("t2", "csv"),
        "{failed:#?}"
    );
    assert!(failed.iter().any(|line| line.table.is_none() && line.details.contains("schema.sql")), "{failed:#?}");
    assert!(
        failed.iter().any(|line| line.word() == "missing" && line.details.contains(name(&backup.manifest))),
        "{failed:#?}"
    );
    backup.assert_mended();
}

#[test]
fn many_damaged_chunks_are_twenty_lines_and_a_number() {
    let backup = Backup::of(3_000);
    let (entry, mut bytes) = (backup.entry("t1.json"), backup.good.0.clone());
    assert!(entry.chunks.len() > 21, "{} chunks", entry.chunks.len());
    entry.chunks.iter().for_each(|chunk| bytes[chunk.offset as usize + 60] ^= 1);
    fs::write(&backup.container, &bytes).unwrap();
    let decode: Vec<Line> = backup.failed("decode").into_iter().filter(|line| line.check == "decode").collect();
    assert_eq!(decode.len(), 21);
    let more = format!("{} more chunks", entry.chunks.len() - 20);
    assert!(decode[20].details.contains(&more), "{decode:#?}");
    backup.assert_mended();
}

#[test]
fn a_container_cut_in_half_still_tells_which_tables_are_whole() {
    let backup = Backup::new();
    let end = backup.entry("t1.json");
    let end = end.data_offset + end.stored_bytes;
    fs::write(&backup.container, &backup.good.0[..end as usize]).unwrap();
    let lines = backup.verify("decode");
    let whole: Vec<_> =
        lines.iter().filter(|l| l.status == "ok" && l.table.is_some()).map(|l| l.table.as_deref()).collect();
    assert_eq!(whole, [Some("t1"), Some("t1")], "{lines:#?}");
    let cut: Vec<&Line> = lines.iter().filter(|line| line.table.as_deref() == Some("t2")).collect();
    assert!(!cut.is_empty() && cut.iter().all(|l| l.status == "failed" && l.word() == "truncated"), "{cut:#?}");
    // The log does not call a table good that cannot be restored from this file as it is.
    let good: i64 = one(
        &mut backup.db.client(),
        "SELECT count(*) FROM backup_verification_log WHERE verification_status <> 'failed'",
    );
    assert_eq!(good, 0);
    backup.assert_mended();
}

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
