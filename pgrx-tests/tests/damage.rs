//! Damage of every kind (T15 to T21, T23 to T25) is found, all of it, each with its own word and the place named.

mod damaged;

use std::fs;

use agent_backup_suite::long;
use agent_backup_suite::one;

use damaged::{Backup, Line, name};

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
