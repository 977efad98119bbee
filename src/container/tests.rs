//! Tests of writer, reader and manifest on containers in memory.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::LazyLock;

use chrono::DateTime;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::manifest::{ColumnInfo, Ddl, LeftOut, Member, MemberStatus, SequenceValue, Server, VERSION};
use super::*;
use crate::plan::{Compression, Format};
use crate::stream::{ChunkMeta, Compressor, Frame, RowDigest, Spool, Spooled};

const METHODS: [Compression; 3] = [Compression::None, Compression::Gzip(1), Compression::Zstd(1)];

pub(super) fn manifest() -> Manifest {
    let time = DateTime::from_timestamp(1_760_227_200, 0).unwrap();
    Manifest {
        version: VERSION,
        backup_id: "b1".into(),
        set_name: "agent_sdk".into(),
        kind: "full".into(),
        server: Server { version: "15.4".into(), version_num: 150_004, ..Server::default() },
        extension_version: "0.1.0".into(),
        snapshot: "10:20:11,12".into(),
        started_at: time,
        finished_at: time,
        settings: BTreeMap::from([("TimeZone".into(), "UTC".into())]),
        compression: Compression::Gzip(1),
        members: vec![Member {
            schema: "public".into(),
            name: "AgentApproval".into(),
            display: "public.\"AgentApproval\"".into(),
            relation_kind: 'r',
            status: MemberStatus::Ok,
            error: None,
            rows: 4,
            columns: vec![ColumnInfo { name: "line\nbreak \"".into(), r#type: "text".into(), ..ColumnInfo::default() }],
            excluded_columns: vec![],
            row_filter: None,
            primary_key: vec!["id".into()],
            ddl_sha256: None,
            sequences: vec![SequenceValue { name: "public.s".into(), last_value: Some(-5), is_called: true }],
        }],
        ddl: vec![Ddl { section: "table".into(), object: "t".into(), statement: "CREATE TABLE t (\n)".into() }],
        left_out: vec![LeftOut { object: "large object 1".into(), reason: "not part of a table".into() }],
        ddl_fingerprint: None,
        encryption: None,
        notes: vec!["note".into()],
        generation: 0,
        erasures: vec![],
        audit_head: None,
        audit_entry: None,
        content_sha256: String::new(),
        content_bytes: 0,
        entries: vec![],
    }
}

fn digest_of(rows: &str) -> (u64, RowDigest) {
    let mut digest = RowDigest::default();
    rows.lines().for_each(|row| digest.add_row(row.as_bytes()));
    (rows.lines().count() as u64, digest)
}

fn spooled(method: Compression, chunks: &[&str]) -> Spooled {
    let spool = Spool::new(1 << 20, Box::new(tempfile::tempfile));
    let mut first_row = 0;
    for (sequence, text) in chunks.iter().enumerate() {
        let (rows, digest) = digest_of(text);
        let mut stored = Vec::new();
        Compressor::new(method).unwrap().compress(text.as_bytes(), &mut stored).unwrap();
        let meta = ChunkMeta { sequence: sequence as u64, first_row, rows, plain_len: text.len() as u64, digest };
        spool.append(meta, &stored).unwrap();
        first_row += rows;
    }
    spool.finish().unwrap()
}

fn frame() -> Frame {
    Frame { prologue: b"h\n".to_vec(), separator: vec![], epilogue: b"e\n".to_vec() }
}

fn container(method: Compression) -> Written<Vec<u8>> {
    let time = DateTime::from_timestamp(1_760_227_200, 0).unwrap();
    let mut writer = ContainerWriter::new(Vec::new(), method, time).unwrap();
    let rows = spooled(method, &["a\nb\n", "", "c\nd\n"]);
    writer.add_spooled("t.csv", 0, Format::Csv, &rows, &frame()).unwrap();
    writer.add_bytes("schema.sql", b"CREATE TABLE t ();\n").unwrap();
    writer.finish(manifest()).unwrap()
}

/// Everything a careful reader asks of a container; None if all is well.
fn damage(bytes: &[u8]) -> Option<String> {
    let container = match Container::open(bytes) {
        Ok(container) => container,
        Err(error) => return Some(error.to_string()),
    };
    container.verify_content().0.first().map(ToString::to_string)
}

#[test]
fn a_container_gives_back_each_entry_by_its_offset() {
    for method in METHODS {
        let written = container(method);
        let container = Container::open(&written.out[..]).unwrap();
        assert_eq!(container.manifest, written.manifest);
        assert_eq!(container.manifest_bytes, written.manifest_bytes);
        let entry = container.entry("t.csv").unwrap();
        let mut chunks = container.chunks(entry).unwrap();
        for expected in ["a\nb\n", "", "c\nd\n"] {
            assert_eq!(chunks.next_chunk().unwrap().unwrap().1, expected.as_bytes());
        }
        assert!(chunks.next_chunk().unwrap().is_none());
        let mut text = String::new();
        container.plain(entry).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "h\na\nb\nc\nd\ne\n");
        assert_eq!(written.sha256[..], Sha256::digest(&written.out)[..]);
        assert_eq!(written.bytes, written.out.len() as u64);
    }
}

#[test]
fn a_whole_container_has_no_findings() {
    for method in METHODS {
        let written = container(method);
        assert_eq!(damage(&written.out), None);
        let container = Container::open(&written.out[..]).unwrap();
        for entry in &container.manifest.entries {
            assert!(container.verify_stored(entry).is_clean());
        }
        let read = |plain: &[u8]| Ok(digest_of(std::str::from_utf8(plain).unwrap()));
        assert!(container.verify_decoded(container.entry("t.csv").unwrap(), read).is_clean());
    }
}

#[test]
fn a_flip_of_any_byte_is_found() {
    for method in METHODS {
        let mut bytes = container(method).out;
        for at in 0..bytes.len() {
            bytes[at] ^= 0x20;
            assert!(damage(&bytes).is_some(), "{method:?} byte {at} of {}", bytes.len());
            bytes[at] ^= 0x20;
        }
    }
}

#[test]
fn a_container_cut_at_any_length_is_an_error() {
    for method in METHODS {
        let bytes = container(method).out;
        for length in 0..bytes.len() {
            let error = Container::open(&bytes[..length]).err().unwrap_or_else(|| panic!("{method:?} {length}"));
            match (length, error) {
                (0, error) => assert!(matches!(error, ContainerError::Missing { .. }), "{error}"),
                (4.., ContainerError::Truncated { .. } | ContainerError::Changed { .. }) | (..4, _) => {}
                (_, error) => panic!("{method:?} {length}: {error}"),
            }
        }
    }
}

#[test]
fn appended_bytes_are_told_from_a_cut() {
    for method in METHODS {
        let bytes = [container(method).out, b"xyz".to_vec()].concat();
        assert_eq!(damage(&bytes).unwrap(), "the container has changed: 3 bytes follow its end");
    }
}

#[test]
fn all_damage_is_told_not_the_first_only() {
    let mut bytes = container(Compression::Gzip(1)).out;
    let manifest = Container::open(&bytes[..]).unwrap().manifest;
    for entry in &manifest.entries {
        bytes[(entry.data_offset + entry.stored_bytes / 2) as usize] ^= 1;
    }
    assert_eq!(Container::open(&bytes[..]).unwrap().verify_content().0.len(), 2);
}

#[test]
fn decoding_finds_wrong_rows_and_wrong_digests() {
    let written = container(Compression::Gzip(1));
    let container = Container::open(&written.out[..]).unwrap();
    let entry = container.entry("t.csv").unwrap();
    assert!(!container.verify_decoded(entry, |_| Ok((2, RowDigest::default()))).is_clean());
    assert_eq!(container.verify_decoded(entry, |_| Ok((7, RowDigest::default()))).0.len(), 3);
    assert_eq!(container.verify_decoded(entry, |_| Err("not a row".into())).0.len(), 3);
}

#[test]
fn a_name_is_taken_once() {
    let time = DateTime::from_timestamp(0, 0).unwrap();
    let mut writer = ContainerWriter::new(Vec::new(), Compression::Gzip(1), time).unwrap();
    writer.add_bytes("a", b"1").unwrap();
    for name in ["a", "manifest.json", "../a"] {
        assert!(matches!(writer.add_bytes(name, b"2"), Err(ContainerError::Name(_))), "{name}");
    }
}

#[test]
fn a_manifest_comes_back() {
    let written = container(Compression::Zstd(3));
    assert_eq!(Manifest::parse(&written.manifest_bytes).unwrap(), written.manifest);
}

#[test]
fn a_manifest_has_a_chunk_on_a_line_and_its_hash_at_the_end() {
    let text = String::from_utf8(container(Compression::Gzip(1)).manifest_bytes).unwrap();
    assert!(text.lines().any(|line| line.trim().trim_end_matches(',').ends_with(",4,2,2]")), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    let body = lines[..lines.len() - 2].iter().map(|line| format!("{line}\n")).collect::<String>();
    let hash = hex::encode(Sha256::digest(body));
    assert_eq!(lines[lines.len() - 2..], [format!("  \"manifest_sha256\": \"{hash}\"").as_str(), "}"]);
}

/// The manifest's text after a change, with a hash that fits.
fn forged(from: &str, to: &str) -> ContainerError {
    let text = String::from_utf8(container(Compression::Gzip(1)).manifest_bytes).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    let text = text.replacen(from, to, 1);
    let body = &text[..text.find("  \"manifest_sha256\"").unwrap()];
    let hash = hex::encode(Sha256::digest(body));
    Manifest::parse(format!("{body}  \"manifest_sha256\": \"{hash}\"\n}}\n").as_bytes()).unwrap_err()
}

#[test]
fn a_forged_manifest_is_refused() {
    for (from, to) in [
        ("\"name\": \"t.csv\"", "\"name\": \"../t.csv\""),
        ("\"name\": \"t.csv\"", "\"name\": \"/t.csv\""),
        ("\"name\": \"t.csv\"", "\"name\": \"schema.sql\""),
        ("\"name\": \"t.csv\"", "\"name\": 5"),
        ("\"rows\": 4,\n      \"row_digest\"", "\"rows\": 5,\n      \"row_digest\""),
        ("\"header_offset\": 0", "\"header_offset\": -1"),
        ("\"header_offset\": 0", "\"header_offset\": 9223372036854775808"),
        ("\"header_offset\": 0", "\"header_offset\": 1e400"),
        ("\"header_offset\": 0", "\"header_offset\": 0, \"header_offset\": 0"),
        ("\"stored_bytes\": ", "\"stored_bytes\": 9"),
        (",4,0,2]", ",99999999,0,2]"),
        (",4,0,2]", ",4,0]"),
        ("\"table\": 0", "\"table\": 1"),
        ("\"TimeZone\": \"UTC\"", "\"TimeZone\": \"UTC\", \"TimeZone\": \"UTC\""),
        ("\"set_name\": \"agent_sdk\"", "\"set_name\": \"agent_sdk\", \"set_name\": \"x\""),
        ("\"members\": [", "\"members\": {"),
        ("\"set_name\": \"agent_sdk\"", "\"set_name\": \"agent\\u0000sdk\""),
    ] {
        let error = forged(from, to);
        assert!(matches!(error, ContainerError::Unreadable { .. }), "{to}: {error}");
    }
}

#[test]
fn an_unknown_version_is_told() {
    let error = forged("\"version\": 1", "\"version\": 7");
    assert_eq!(error.to_string(), "the manifest has version 7, and this program knows versions up to 1");
}

#[test]
fn a_manifest_that_is_missing_cut_changed_or_foreign_has_distinct_words() {
    let bytes = container(Compression::Gzip(1)).manifest_bytes;
    assert!(matches!(Manifest::parse(b""), Err(ContainerError::Missing { .. })));
    assert!(matches!(Manifest::parse(&bytes[..bytes.len() - 9]), Err(ContainerError::Truncated { .. })));
    assert!(matches!(Manifest::parse(b"{}\n"), Err(ContainerError::Unreadable { .. })));
    let mut changed = bytes.clone();
    changed[20] ^= 1;
    assert!(matches!(Manifest::parse(&changed), Err(ContainerError::Changed { .. })));
}

proptest! {
    #[test]
    fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Manifest::parse(&bytes).is_err());
        prop_assert!(Container::open(&bytes[..]).is_err());
        let hash = hex::encode(Sha256::digest(&bytes));
        let end = format!("  \"manifest_sha256\": \"{hash}\"\n}}\n");
        prop_assert!(Manifest::parse(&[&bytes[..], end.as_bytes()].concat()).is_err());
    }

    #[test]
    fn a_text_with_any_change_and_a_hash_that_fits_does_not_panic(at in 0_usize..2000, byte in any::<u8>()) {
        static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| container(Compression::Gzip(1)).manifest_bytes);
        let mut text = TEXT.clone();
        let body = text.len() - 89;
        let at = at % body;
        text[at] = byte;
        let hash = hex::encode(Sha256::digest(&text[..body]));
        text.truncate(body);
        text.extend_from_slice(format!("  \"manifest_sha256\": \"{hash}\"\n}}\n").as_bytes());
        let _outcome = Manifest::parse(&text);
    }
}

/// All that the hashes say of bytes that open; None if nothing is wrong.
fn hashed(bytes: Vec<u8>, threads: usize) -> Option<String> {
    let container = std::sync::Arc::new(Container::open(bytes).unwrap());
    let hashing = Hashing::start(&container, threads).unwrap();
    let hashes = hashing.wait(&container, std::time::Duration::from_secs(60)).unwrap();
    assert_eq!(hashes.file_sha256.unwrap(), hex::encode(Sha256::digest(&container.source)));
    let found = hashes.entries.into_iter().filter_map(Result::err).chain(hashes.between.0);
    found.map(|error| error.to_string()).reduce(|all, one| format!("{all}; {one}"))
}

#[test]
fn hashing_on_threads_finds_every_changed_byte_before_the_manifest() {
    for method in METHODS {
        let written = container(method);
        assert_eq!(hashed(written.out.clone(), 3), None);
        for at in 0..written.manifest.content_bytes as usize {
            let mut changed = written.out.clone();
            changed[at] ^= 1;
            // The first bytes tell the method: with another one it does not open.
            if Container::open(&changed[..]).is_ok() {
                let found = hashed(changed, 2).unwrap_or_else(|| panic!("{method:?}: byte {at} is not noticed"));
                let entry =
                    written.manifest.entries.iter().find(|entry| {
                        (entry.data_offset..entry.data_offset + entry.stored_bytes).contains(&(at as u64))
                    });
                let named = entry.map_or("the container".to_owned(), |entry| format!("entry \"{}\"", entry.name));
                assert!(found.starts_with(&named), "{method:?}: byte {at}: {found}");
            }
        }
    }
}

#[test]
fn a_container_cut_off_still_tells_its_whole_entries_by_the_manifest_beside() {
    let written = container(Compression::Gzip(1));
    let entry = written.manifest.entry("t.csv").unwrap();
    let cut = written.out[..(entry.data_offset + entry.stored_bytes) as usize].to_vec();
    assert!(Container::open(&cut[..]).is_err());
    let opened = std::sync::Arc::new(Container::open_by(cut, written.manifest_bytes).unwrap());
    let hashing = Hashing::start(&opened, 1).unwrap();
    let hashes = hashing.wait(&opened, std::time::Duration::from_secs(60)).unwrap();
    assert!(hashes.entries[0].is_ok());
    assert!(matches!(hashes.entries[1], Err(ContainerError::Truncated { .. })), "{:?}", hashes.entries[1]);
    assert!(matches!(hashes.between.0[..], [ContainerError::Truncated { .. }]) && hashes.file_sha256.is_none());
}

#[test]
fn hashing_that_nobody_waits_for_ends() {
    let opened = std::sync::Arc::new(Container::open(container(Compression::Gzip(1)).out).unwrap());
    drop(Hashing::start(&opened, 2).unwrap());
    assert_eq!(std::sync::Arc::strong_count(&opened), 1, "a thread is left");
}

#[test]
fn a_copy_has_the_same_entries_and_another_manifest_and_damage_is_not_copied() {
    for method in METHODS {
        let written = container(method);
        let from = Container::open(&written.out[..]).unwrap();
        let copied = ContainerWriter::copy_of(&from, Vec::new(), &mut || ()).unwrap();
        let changed = Manifest { notes: vec!["copied".into()], ..from.manifest.clone() };
        let copy = copied.finish(changed.clone()).unwrap();
        assert_eq!(copy.manifest, changed);
        assert_eq!(damage(&copy.out), None);
        let content = from.manifest.content_bytes as usize;
        assert_eq!(copy.out[..content], written.out[..content]);
        let mut damaged = written.out.clone();
        damaged[content / 2] ^= 1;
        let from = Container::open(damaged).unwrap();
        assert!(ContainerWriter::copy_of(&from, Vec::new(), &mut || ()).is_err());
    }
}
