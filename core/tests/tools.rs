//! A container is a plain tar for GNU tar, gzip, zstd and Python; an export is a plain file for them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::Command;

use agent_backup_core::container::manifest::{Manifest, Server, VERSION};
use agent_backup_core::container::{Container, ContainerWriter};
use agent_backup_core::plan::{Compression, Format};
use agent_backup_core::stream::compress::PIECE;
use agent_backup_core::stream::{ChunkMeta, Compressor, Frame, RowDigest, Spool, Spooled};
use chrono::{DateTime, Utc};

fn time() -> DateTime<Utc> {
    DateTime::from_timestamp(1_760_227_200, 0).unwrap()
}

fn manifest() -> Manifest {
    Manifest {
        version: VERSION,
        backup_id: "b1".into(),
        set_name: "agent_sdk".into(),
        kind: "full".into(),
        server: Server::default(),
        extension_version: "0.1.0".into(),
        snapshot: String::new(),
        started_at: time(),
        finished_at: time(),
        settings: BTreeMap::new(),
        compression: Compression::None,
        members: vec![agent_backup_core::container::manifest::Member {
            schema: "public".into(),
            name: "t".into(),
            display: "public.t".into(),
            relation_kind: 'r',
            status: agent_backup_core::container::manifest::MemberStatus::Ok,
            error: None,
            rows: 0,
            columns: vec![],
            excluded_columns: vec![],
            row_filter: None,
            primary_key: vec![],
            ddl_sha256: None,
            sequences: vec![],
        }],
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

fn spooled(method: Compression, chunks: &[Vec<u8>]) -> Spooled {
    let spool = Spool::new(1 << 20, Box::new(tempfile::tempfile));
    for (sequence, plain) in (0..).zip(chunks) {
        let mut stored = Vec::new();
        Compressor::new(method).unwrap().compress(plain, &mut stored).unwrap();
        let plain_len = plain.len() as u64;
        let meta = ChunkMeta { sequence, first_row: sequence, rows: 1, plain_len, digest: RowDigest::default() };
        spool.append(meta, &stored).unwrap();
    }
    spool.finish().unwrap()
}

/// Entry names and texts: an ordinary table, an empty one, none of a block's length, a long name, one huge row.
fn tables() -> Vec<(String, Vec<Vec<u8>>)> {
    let huge = (0..2 * PIECE as u32 / 4 + 9).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes());
    vec![
        ("agent_approvals.csv".into(), vec![b"1,a\n".to_vec(), vec![], b"2,b\n".to_vec()]),
        ("empty.csv".into(), vec![]),
        ("block.csv".into(), vec![vec![b'x'; 512 - 4]]),
        (format!("{}.csv", "%C3%A4".repeat(40)), vec![b"long\n".to_vec()]),
        ("huge.csv".into(), vec![huge.collect(), b"after\n".to_vec()]),
    ]
}

fn frame() -> Frame {
    Frame { prologue: b"h,\n".to_vec(), separator: vec![], epilogue: b"\n".to_vec() }
}

fn text(chunks: &[Vec<u8>]) -> Vec<u8> {
    [b"h,\n".to_vec(), chunks.concat(), b"\n".to_vec()].concat()
}

fn write(path: &Path, method: Compression) {
    let mut writer = ContainerWriter::new(File::create(path).unwrap(), method, time()).unwrap();
    for (name, chunks) in tables() {
        writer.add_spooled(&name, 0, Format::Csv, &spooled(method, &chunks), &frame()).unwrap();
    }
    writer.add_bytes("schema.sql", b"CREATE TABLE t ();\n").unwrap();
    writer.finish(manifest()).unwrap();
}

fn run(directory: &Path, script: &str) -> Vec<u8> {
    let output = Command::new("bash").args(["-euo", "pipefail", "-c", script]).current_dir(directory).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaint.is_empty(), "{script}: {complaint}");
    output.stdout
}

fn check_extracted(directory: &Path) {
    let mut count = 0;
    for (name, chunks) in tables() {
        assert!(std::fs::read(directory.join(&name)).unwrap() == text(&chunks), "{name}");
        count += 1;
    }
    assert_eq!(std::fs::read(directory.join("schema.sql")).unwrap(), b"CREATE TABLE t ();\n");
    assert_eq!(std::fs::read_dir(directory).unwrap().count(), count + 2);
}

/// Makes a container in a new directory and reads it by a script that extracts into `out`.
fn extracted_by(method: Compression, script: &str) {
    let directory = tempfile::tempdir().unwrap();
    write(&directory.path().join("b"), method);
    std::fs::create_dir(directory.path().join("out")).unwrap();
    run(directory.path(), script);
    check_extracted(&directory.path().join("out"));
}

#[test]
fn gnu_tar_extracts_gzip() {
    extracted_by(Compression::Gzip(1), "tar -xzf b -C out");
}

#[test]
fn gnu_tar_extracts_what_zcat_gives() {
    extracted_by(Compression::Gzip(6), "gzip -t < b; zcat < b | tar -x -C out");
}

#[test]
fn gnu_tar_extracts_zstd() {
    extracted_by(Compression::Zstd(1), "zstd -dc < b | tar -x -C out");
}

#[test]
fn gnu_tar_extracts_a_plain_container() {
    extracted_by(Compression::None, "tar -xf b -C out");
}

#[test]
fn python_extracts_gzip() {
    extracted_by(
        Compression::Gzip(1),
        "python3 -c 'import tarfile; tarfile.open(\"b\", \"r:gz\").extractall(\"out\", filter=\"data\")'",
    );
}

#[test]
fn python_reads_every_member_of_gzip() {
    extracted_by(
        Compression::Gzip(1),
        "python3 -c 'import gzip,sys; sys.stdout.buffer.write(gzip.open(\"b\").read())' | tar -x -C out",
    );
}

#[test]
fn tar_lists_the_names_in_order_with_the_manifest_last() {
    let directory = tempfile::tempdir().unwrap();
    write(&directory.path().join("b"), Compression::Gzip(1));
    let listed = String::from_utf8(run(directory.path(), "tar -tzf b")).unwrap();
    let mut expected: Vec<String> = tables().into_iter().map(|(name, _)| name).collect();
    expected.extend(["schema.sql".to_string(), "manifest.json".to_string()]);
    assert_eq!(listed.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn the_manifest_is_checked_by_head_and_sha256sum() {
    let directory = tempfile::tempdir().unwrap();
    write(&directory.path().join("b"), Compression::Gzip(1));
    let script = "tar -xzf b manifest.json; python3 -m json.tool manifest.json > /dev/null; \
                  test \"$(head -n -2 manifest.json | sha256sum | cut -c 1-64)\" = \
                  \"$(tail -n 2 manifest.json | head -n 1 | cut -d '\"' -f 4)\"";
    run(directory.path(), script);
}

#[test]
fn a_huge_row_is_read_by_offset_over_several_members() {
    for method in [Compression::None, Compression::Gzip(1), Compression::Zstd(1)] {
        let directory = tempfile::tempdir().unwrap();
        write(&directory.path().join("b"), method);
        let container = Container::open(File::open(directory.path().join("b")).unwrap()).unwrap();
        assert!(container.verify_content().is_clean());
        for (name, expected) in tables() {
            let mut chunks = container.chunks(container.entry(&name).unwrap()).unwrap();
            for plain in &expected {
                assert!(chunks.next_chunk().unwrap().unwrap().1 == plain, "{name}");
            }
        }
    }
}

#[test]
fn an_export_is_a_plain_file_for_its_tool() {
    for (method, tool) in
        [(Compression::None, "cat"), (Compression::Gzip(1), "zcat"), (Compression::Zstd(1), "zstd -dc")]
    {
        for (name, chunks) in tables() {
            let directory = tempfile::tempdir().unwrap();
            let mut file = File::create(directory.path().join("b")).unwrap();
            let mut compressor = Compressor::new(method).unwrap();
            spooled(method, &chunks).copy_stream(&frame(), &mut compressor, &mut file).unwrap();
            assert!(run(directory.path(), &format!("{tool} < b")) == text(&chunks), "{tool} {name}");
        }
    }
}

#[test]
fn an_export_of_nothing_is_still_a_file_of_its_kind() {
    for (method, tool) in [(Compression::Gzip(1), "zcat"), (Compression::Zstd(1), "zstd -dc")] {
        let directory = tempfile::tempdir().unwrap();
        let mut file = File::create(directory.path().join("b")).unwrap();
        let mut compressor = Compressor::new(method).unwrap();
        spooled(method, &[]).copy_stream(&Frame::default(), &mut compressor, &mut file).unwrap();
        assert!(run(directory.path(), &format!("test -s b; {tool} < b")).is_empty());
    }
}
