use chrono::DateTime;
use proptest::prelude::*;

use super::*;
use crate::container::manifest::{Manifest, Server, VERSION};
use crate::container::{Container, ContainerWriter};
use crate::plan::Compression;

#[test]
fn opening_reads_the_header_and_the_last_block_only() {
    let key = key();
    let source = Counted::new(seal(&plain(10 << 20), &key.recipients()));
    drop(Opened::new(&source, &key.identities()).unwrap());
    let (reads, bytes) = source.take();
    assert!(reads <= 4 && bytes < 80_000, "{reads} reads of {bytes} bytes");
}

#[test]
fn a_range_is_one_read_of_its_blocks() {
    let key = key();
    let content = plain(10 << 20);
    let source = Counted::new(seal(&content, &key.recipients()));
    let opened = Opened::new(&source, &key.identities()).unwrap();
    for (from, length) in [(0_u64, 1_usize), (5_000_000, 1_000_000), (65_536 * 7, 65_536), (9 << 20, 1 << 20)] {
        source.take();
        let mut bytes = vec![0; length];
        opened.read_exact_at(from, &mut bytes).unwrap();
        assert_eq!(bytes, content[from as usize..][..length]);
        let (reads, read) = source.take();
        let stored = opened.stored_range(from..from + length as u64);
        assert!(reads <= 1, "{reads} reads for {length} bytes");
        assert!(read <= stored.end - stored.start, "{read} bytes for {length}");
    }
}

#[test]
fn one_file_of_a_sealed_container_is_reached_without_the_rest() {
    let key = key();
    let time = DateTime::from_timestamp(1_760_227_200, 0).unwrap();
    let sealer = Sealer::new(Vec::new(), &key.recipients()).unwrap();
    let mut writer = ContainerWriter::new(sealer, Compression::Gzip(1), time).unwrap();
    let content = plain(3 << 20);
    for number in 0..8 {
        writer.add_bytes(&format!("file{number}"), &content).unwrap();
    }
    let written = writer.finish(manifest(time)).unwrap();
    let source = Counted::new(written.out.finish().unwrap());
    let container = Container::open(Opened::new(&source, &key.identities()).unwrap()).unwrap();
    source.take();
    let entry = container.entry("file5").unwrap().clone();
    let mut chunks = container.chunks(&entry).unwrap();
    let mut found = Vec::new();
    while let Some((_, bytes)) = chunks.next_chunk().unwrap() {
        found.extend_from_slice(bytes);
    }
    assert_eq!(found, content);
    let (reads, bytes) = source.take();
    assert!(bytes <= entry.stored_bytes * 11 / 10, "{bytes} bytes read for {} stored", entry.stored_bytes);
    assert!(reads <= 2 * entry.chunks.len() as u64, "{reads} reads");
}

fn manifest(time: DateTime<chrono::Utc>) -> Manifest {
    Manifest {
        version: VERSION,
        backup_id: "b1".into(),
        set_name: "s".into(),
        kind: "full".into(),
        server: Server::default(),
        extension_version: "0.1.0".into(),
        snapshot: String::new(),
        started_at: time,
        finished_at: time,
        settings: Default::default(),
        compression: Compression::None,
        members: vec![],
        ddl: vec![],
        left_out: vec![],
        ddl_fingerprint: None,
        encryption: None,
        notes: vec![],
        generation: 0,
        erasures: vec![],
        audit_head: None,
        audit_entry: None,
        content_sha256: String::new(),
        content_bytes: 0,
        entries: vec![],
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_reads_in_any_order_give_the_plain_bytes(
        length in 0_usize..400_000,
        reads in prop::collection::vec((0_u64..420_000, 0_usize..150_000), 1..12),
    ) {
        let key = key();
        let content = plain(length);
        let opened = open(&seal(&content, &key.recipients()), &key).unwrap();
        prop_assert_eq!(opened.len().unwrap(), length as u64);
        for (from, count) in reads {
            let mut bytes = vec![0; count];
            let read = opened.read_at(from, &mut bytes).unwrap();
            let start = (from as usize).min(length);
            prop_assert_eq!(&bytes[..read], &content[start..(start + count).min(length)]);
        }
    }
}

#[test]
fn threads_may_share_what_is_opened() {
    let key = key();
    let content = plain(1 << 20);
    let opened = open(&seal(&content, &key.recipients()), &key).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (opened, content) = (&opened, &content);
            scope.spawn(move || {
                for step in 0..16 {
                    let at = (thread * 131_071 + step * 65_000) % 1_000_000;
                    let mut bytes = [0; 1000];
                    opened.read_exact_at(at, &mut bytes).unwrap();
                    assert_eq!(bytes, content[at as usize..][..1000]);
                }
            });
        }
    });
}
