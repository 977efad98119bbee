//! Erasing rows from containers in memory: what comes out is, row for row, what a backup without them would be.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Mutex;

use chrono::DateTime;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::manifest::{ColumnInfo, Member};
use super::patch_memory::Memory;
use super::redo::Place;
use super::search::{Look, candidates};
use super::tests::manifest;
use super::*;
use crate::codec::subject::Subject;
use crate::codec::wire::{Column, RowBatch, ValueKind};
use crate::codec::{CsvFields, Encoder, keys, split};
use crate::plan::{Compression, Format};
use crate::stream::{ChunkEncoder, ChunkMeta, Compressor, Frame, RowDigest, Spool, Spooled};

const METHODS: [Compression; 3] = [Compression::Gzip(1), Compression::Zstd(3), Compression::None];
const SUBJECT: &str = "data->>'email'";

/// Who, and a text that may hold anything.
type Row = (u8, String);

fn columns() -> Vec<Column> {
    let column = |name: &str, kind| Column { name: name.into(), kind, generated: false };
    vec![column("id", ValueKind::Int8), column("note", ValueKind::Text), column("data", ValueKind::Json)]
}

/// Sixteen letters that do not compress to nothing.
fn random(number: u64) -> String {
    hex::encode(&Sha256::digest(number.to_le_bytes())[..8])
}

fn email(person: u8) -> String {
    format!("p{person}@x.org")
}

fn batch(first_row: u64, rows: &[Row]) -> RowBatch {
    let mut batch = RowBatch { first_row, ..RowBatch::default() };
    for (number, (person, note)) in rows.iter().enumerate() {
        batch.push_value(&(first_row as i64 + number as i64).to_ne_bytes()).unwrap();
        batch.push_value(note.as_bytes()).unwrap();
        batch.push_value(format!("{{\"email\": \"{}\", \"n\":\n 1}}", email(*person)).as_bytes()).unwrap();
        batch.end_row();
    }
    batch
}

fn spool(method: Compression, encoder: &dyn ChunkEncoder, chunks: &[Vec<Row>]) -> Spooled {
    let spool = Spool::new(1 << 20, Box::new(tempfile::tempfile));
    let mut first_row = 0;
    for (sequence, rows) in chunks.iter().enumerate() {
        let (mut plain, mut digest, mut stored) = (Vec::new(), RowDigest::default(), Vec::new());
        encoder.encode(&batch(first_row, rows), &mut digest, &mut plain).unwrap();
        Compressor::new(method).unwrap().compress(&plain, &mut stored).unwrap();
        let rows = rows.len() as u64;
        let meta = ChunkMeta { sequence: sequence as u64, first_row, rows, plain_len: plain.len() as u64, digest };
        spool.append(meta, &stored).unwrap();
        first_row += rows;
    }
    spool.finish().unwrap()
}

fn base(rows: u64) -> Manifest {
    let mut manifest = manifest();
    let column = |name: &str| ColumnInfo { name: name.into(), r#type: "text".into(), ..ColumnInfo::default() };
    let member = Member {
        rows,
        columns: columns().iter().map(|known| column(&known.name)).collect(),
        ..manifest.members[0].clone()
    };
    manifest.members = vec![member.clone(), Member { name: "other".into(), ..member }];
    manifest
}

/// A container of two tables: one of the rows given in all formats with filters, and one that nothing is erased from.
fn container(method: Compression, chunks: &[Vec<Row>]) -> Written<Vec<u8>> {
    let time = DateTime::from_timestamp(1_760_227_200, 0).unwrap();
    let mut writer = ContainerWriter::new(Vec::new(), method, time).unwrap();
    let columns = columns();
    let (csv, json, sql) = (Encoder::csv(&columns), Encoder::json(&columns), Encoder::sql(&columns, "public.t"));
    let other = [vec![(1, "kept".to_string()), (2, "kept too".to_string())]];
    for (name, number, chunks) in [("t", 0, chunks), ("other", 1, &other[..])] {
        for encoder in [&csv, &json, &sql] {
            let entry = format!("{name}.{}", encoder.format());
            let rows = spool(method, encoder, chunks);
            writer.add_spooled(&entry, number, encoder.format(), &rows, &Frame::of(encoder)).unwrap();
            if encoder.format() == Format::Csv {
                let key = keys::KeyFilter::new(&columns, &["id".into()]);
                writer.add_keys(&["id".into()], &spool(method, &key, chunks)).unwrap();
                let subject = keys::SubjectFilter::new(&columns, &Subject::parse(SUBJECT).unwrap());
                writer.add_subject(&entry, SUBJECT, &spool(method, &subject, chunks)).unwrap();
            }
        }
    }
    writer.add_bytes("schema.sql", b"CREATE TABLE t ();\n").unwrap();
    writer.finish(base(chunks.iter().map(|chunk| chunk.len() as u64).sum())).unwrap()
}

fn note() -> Erasure {
    Erasure {
        erasure_id: "e1".into(),
        erased_at: DateTime::from_timestamp(1_760_300_000, 0).unwrap(),
        rows: 1,
        replaced_sha256: "0".repeat(64),
    }
}

fn look() -> Look {
    Look { subject: Subject::parse(SUBJECT).unwrap(), place: 2 }
}

/// The rows that the search finds.
fn found(bytes: &[u8], person: u8) -> Vec<u64> {
    let container = Container::open(bytes).unwrap();
    let entry = container.entry("t.csv").unwrap();
    let value = email(person).into_bytes();
    let some = candidates(&container, entry, &entry.subjects[0], keys::hash(&value)).unwrap();
    let mut rows = Vec::new();
    let mut chunks = container.chunks(entry).unwrap();
    for number in 0..entry.chunks.len() {
        let (chunk, plain) = chunks.next_chunk().unwrap().unwrap();
        let here = look().find(Format::Csv, plain, &value).unwrap();
        assert!(here.is_empty() || some.contains(&number), "the filters hide a row");
        rows.extend(here.into_iter().map(|row| row + chunk.first_row));
    }
    rows
}

/// What erasing does to the bytes of a container, in place or by writing anew.
fn erase(bytes: &[u8], rows: Vec<u64>) -> (Vec<u8>, bool) {
    let container = Container::open(bytes).unwrap();
    let erased = [Erased { member: 0, rows }];
    let mut redo = Vec::new();
    match patch(&container, &erased, note(), &mut redo).unwrap() {
        Some(patch) => {
            let applied = apply(bytes, &patch, redo);
            assert_eq!(Sha256::digest(&applied)[..], patch.file_sha256[..]);
            assert_eq!(applied.len() as u64, patch.new_bytes);
            (applied, true)
        }
        None => (rewrite(&container, &erased, note(), None, Vec::new()).unwrap().out, false),
    }
}

/// The redo file of a patch.
fn sealed(patch: &Patch, mut redo: Vec<u8>) -> Vec<u8> {
    let at = redo.len() as u64;
    redo.extend_from_slice(&patch.manifest_bytes);
    let manifest = Place {
        offset: 0,
        length: patch.manifest_bytes.len() as u64,
        at,
        sha256: hex::encode(Sha256::digest(&patch.manifest_bytes)),
    };
    let plan = Redo {
        file: "f".into(),
        manifest_file: "m".into(),
        erasure_id: "e1".into(),
        backup_id: "b1".into(),
        old_manifest_sha256: String::new(),
        new_manifest_sha256: manifest.sha256.clone(),
        old_bytes: patch.old_bytes,
        new_bytes: patch.new_bytes,
        manifest,
        ranges: patch.ranges.iter().map(Place::from).collect(),
    };
    let at = redo.len() as u64;
    plan.seal(at, &mut redo).unwrap();
    assert_eq!(Redo::open(&redo).unwrap(), plan);
    redo
}

/// The patch applied, after it died at every step.
fn apply(bytes: &[u8], patch: &Patch, redo: Vec<u8>) -> Vec<u8> {
    let redo = sealed(patch, redo);
    let plan = Redo::open(&redo).unwrap();
    let whole = Memory { bytes: Mutex::new(bytes.to_vec()), left: Mutex::new(usize::MAX) };
    plan.apply(&redo, &whole).unwrap();
    let expected = whole.bytes.into_inner().unwrap();
    for step in 0.. {
        let file = Memory { bytes: Mutex::new(bytes.to_vec()), left: Mutex::new(step) };
        let is_done = plan.apply(&redo, &file).is_ok();
        *file.left.lock().unwrap() = usize::MAX;
        plan.apply(&redo, &file).unwrap();
        assert_eq!(file.bytes.into_inner().unwrap(), expected, "died at step {step}");
        if is_done {
            break;
        }
    }
    expected
}

fn texts(bytes: &[u8], name: &str) -> (Vec<Vec<u8>>, String) {
    let container = Container::open(bytes).unwrap();
    let entry = container.entry(name).unwrap();
    let format = entry.format.unwrap();
    let mut chunks = container.chunks(entry).unwrap();
    let mut rows = Vec::new();
    while let Some((_, plain)) = chunks.next_chunk().unwrap() {
        rows.extend(split::rows(format, plain).map(<[u8]>::to_vec));
    }
    let mut text = String::new();
    container.plain(entry).unwrap().read_to_string(&mut text).unwrap();
    (rows, text)
}

/// All that must hold of a container without the rows, `before` being the one with them.
fn check(before: &[u8], after: &[u8], gone: &BTreeSet<u64>, in_place: bool) {
    let (old, new) = (Container::open(before).unwrap(), Container::open(after).unwrap());
    assert!(new.verify_content().is_clean(), "{:?}", new.verify_content());
    assert_eq!(new.manifest.generation, old.manifest.generation + 1);
    assert_eq!(new.manifest.members[0].rows, old.manifest.members[0].rows - gone.len() as u64);
    for entry in &new.manifest.entries {
        let Some(format) = entry.format else { continue };
        let verdict = new.verify_decoded(entry, |plain| Ok(split::digest(format, plain)));
        assert!(verdict.is_clean(), "{}: {verdict:?}", entry.name);
        let is_left = |(number, row): (usize, Vec<u8>)| {
            (entry.table != Some(0) || !gone.contains(&(number as u64))).then_some(row)
        };
        let expected: Vec<_> = texts(before, &entry.name).0.into_iter().enumerate().filter_map(is_left).collect();
        let (rows, text) = texts(after, &entry.name);
        assert_eq!(rows, expected, "{}", entry.name);
        assert_eq!(text.len() as u64, entry.plain_bytes);
        if format == Format::Json {
            let items: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
            assert_eq!(items.len(), rows.len());
        }
    }
    if in_place {
        assert_eq!(new.manifest.content_bytes, old.manifest.content_bytes);
        chunks_stay(&old, &new, gone);
    }
    reads_as_a_tar(after, &new.manifest);
}

/// Chunks of which no row went are bit-identical, and where they were.
fn chunks_stay(old: &Container<&[u8]>, new: &Container<&[u8]>, gone: &BTreeSet<u64>) {
    for (old_entry, new_entry) in old.manifest.entries.iter().zip(&new.manifest.entries) {
        if old_entry.format.is_none() {
            continue;
        }
        for (a, b) in old_entry.chunks.iter().zip(&new_entry.chunks) {
            if old_entry.table == Some(0) && gone.range(a.first_row..a.first_row + a.rows).next().is_some() {
                continue;
            }
            assert_eq!((a.offset, a.stored_len, a.plain_len, a.rows), (b.offset, b.stored_len, b.plain_len, b.rows));
            let span = a.offset as usize..(a.offset + a.stored_len) as usize;
            assert_eq!(old.source[span.clone()], new.source[span]);
        }
    }
}

fn reads_as_a_tar(bytes: &[u8], manifest: &Manifest) {
    let mut plain = Vec::new();
    crate::stream::plain_reader(bytes, 1 << 30).unwrap().read_to_end(&mut plain).unwrap();
    let mut archive = tar::Archive::new(&plain[..]);
    let mut names = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let (name, size) = (entry.path().unwrap().display().to_string(), entry.size());
        let mut text = Vec::new();
        entry.read_to_end(&mut text).unwrap();
        assert_eq!(text.len() as u64, size);
        names.push((name, size));
    }
    let mut expected: Vec<_> = manifest.entries.iter().map(|entry| (entry.name.clone(), entry.plain_bytes)).collect();
    expected.push((MANIFEST_NAME.into(), names.last().unwrap().1));
    assert_eq!(names, expected);
}

fn rows_of(chunks: &[Vec<Row>], person: u8) -> Vec<u64> {
    let all = chunks.iter().flatten().zip(0..);
    all.filter(|((who, _), _)| *who == person).map(|(_, number)| number).collect()
}

#[test]
fn a_person_in_many_rows_is_erased_in_place() {
    let chunks: Vec<Vec<Row>> =
        (0..20_u64).map(|chunk| (0..300).map(|row| ((row % 97) as u8, random(chunk * 300 + row))).collect()).collect();
    for method in [Compression::Gzip(1), Compression::Zstd(1), Compression::Gzip(6)] {
        let written = container(method, &chunks);
        let rows = found(&written.out, 13);
        assert_eq!(rows, rows_of(&chunks, 13));
        let (after, in_place) = erase(&written.out, rows.clone());
        assert!(in_place, "{method:?}");
        check(&written.out, &after, &rows.into_iter().collect(), true);
        assert!(found(&after, 13).is_empty());
        // Nor do the filters know of the person any more.
        let container = Container::open(&after[..]).unwrap();
        let entry = container.entry("t.csv").unwrap();
        let maybe = candidates(&container, entry, &entry.subjects[0], keys::hash(email(13).as_bytes())).unwrap();
        assert!(maybe.len() < 3, "{maybe:?}");
    }
}

#[test]
fn generations_follow_one_another_until_nothing_is_left() {
    let chunks: Vec<Vec<Row>> =
        (0..5).map(|chunk| (0..40).map(|row| ((row % 4) as u8, format!("note {chunk} {row}"))).collect()).collect();
    for method in METHODS {
        let mut bytes = container(method, &chunks).out;
        for person in 0..4 {
            let rows = found(&bytes, person);
            assert_eq!(rows.len(), 50);
            let (after, in_place) = erase(&bytes, rows.clone());
            check(&bytes, &after, &rows.into_iter().collect(), in_place);
            bytes = after;
        }
        let text = texts(&bytes, "t.json").1;
        assert_eq!(serde_json::from_str::<Vec<serde_json::Value>>(&text).unwrap().len(), 0, "{method:?}");
    }
}

#[test]
fn rows_that_are_not_there_are_an_error_and_nothing_is_guessed() {
    let written = container(Compression::Gzip(1), &[vec![(1, "a".into()), (2, "b".into())]]);
    let container = Container::open(&written.out[..]).unwrap();
    let mut other = container.manifest.clone();
    other.entries[0].chunks[0].rows = 3;
    let lying = Container { source: &written.out[..], manifest: other, ..Container::open(&written.out[..]).unwrap() };
    let erased = [Erased { member: 0, rows: vec![2] }];
    assert!(patch(&lying, &erased, note(), &mut Vec::new()).is_err());
}

#[test]
fn a_redo_file_that_was_changed_or_cut_is_refused() {
    let written = container(Compression::Gzip(1), &[(0..50).map(|row| (row % 3, "x".repeat(row as usize))).collect()]);
    let container = Container::open(&written.out[..]).unwrap();
    let mut redo = Vec::new();
    let patch = patch(&container, &[Erased { member: 0, rows: vec![3, 6] }], note(), &mut redo).unwrap().unwrap();
    let whole = sealed(&patch, redo);
    for at in (0..whole.len()).step_by(37) {
        let mut changed = whole.clone();
        changed[at] ^= 4;
        assert!(Redo::open(&changed).is_err(), "byte {at}");
        assert!(Redo::open(&whole[..at].to_vec()).is_err(), "cut at {at}");
    }
}

fn any_chunks() -> impl Strategy<Value = Vec<Vec<Row>>> {
    let row = (0..4_u8, "[a-z,\"'\\\\\n{}\\[\\]é]{0,12}");
    prop::collection::vec(prop::collection::vec(row, 0..8), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 150 } else { 2000 }))]
    #[test]
    fn what_is_left_is_what_a_backup_without_the_rows_has(chunks in any_chunks(), method in 0..3_usize, people in prop::collection::vec(0..4_u8, 1..3)) {
        let mut bytes = container(METHODS[method], &chunks).out;
        for person in people {
            let rows = found(&bytes, person);
            if rows.is_empty() {
                continue;
            }
            let (after, in_place) = erase(&bytes, rows.clone());
            check(&bytes, &after, &rows.into_iter().collect(), in_place);
            prop_assert!(found(&after, person).is_empty());
            bytes = after;
        }
    }
}

#[test]
fn fields_are_looked_at_as_they_are() {
    let mut fields = CsvFields::default();
    let look = Look { subject: Subject::parse("email").unwrap(), place: 1 };
    for (row, value) in [
        (&b"1,a@b"[..], Some("a@b")),
        (b"1,\"a@b\"", Some("a@b")),
        (b"1,A@b", Some("A@b")),
        (b"1,", None),
        (b"1,\"\"", Some("")),
    ] {
        let found = look.value(Format::Csv, row, &mut fields).unwrap();
        assert_eq!(found.as_deref(), value.map(str::as_bytes));
    }
    assert_eq!(look.find(Format::Csv, b"1,a@b\n2,a@bc\n3,a@b \n4,A@B\n5,\"a@b\"\n", b"a@b").unwrap(), [0, 4]);
}
