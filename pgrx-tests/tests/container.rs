//! A backup's files are what any tool reads: tar, gzip, zstd, Python, jq, sha256sum; and the manifest says where to look.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use agent_backup_suite::{
    Database, assert_no_trash, assert_same_bytes, copy_csv, csv_digest, database, json_array, json_digest, pin,
};
use postgres::Client;

/// Runs a program to its end and returns what it wrote; a failure is a panic with what it said.
fn output(program: &str, args: &[&str]) -> Vec<u8> {
    let output =
        Command::new(program).args(args).stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A shell line with `$1` and so on; its output without the last line end.
fn shell(line: &str, args: &[&str]) -> String {
    let mut all = vec!["-c", line, "sh"];
    all.extend(args);
    let pipefail = format!("set -o pipefail; {line}");
    all[1] = &pipefail;
    String::from_utf8(output("bash", &all)).expect("UTF-8").trim_end().to_owned()
}

/// One number or word of a manifest.
fn jq(filter: &str, file: &Path) -> Vec<String> {
    let text = output("jq", &["-r", filter, file.to_str().expect("a path")]);
    String::from_utf8(text).expect("UTF-8").lines().map(str::to_owned).collect()
}

/// A backup of three tables in all formats, many chunks in one of them.
struct Backup {
    db: Database<'static>,
    client: Client,
    container: PathBuf,
    manifest: PathBuf,
    /// The container's entries, extracted by GNU tar.
    out: PathBuf,
}

const TABLES: &[&str] = &["many", "\"Quoted, \"\"name\"\"\"", "empty"];

fn backup(compression: &str) -> Backup {
    let db = database();
    let mut client = db.client();
    client
        .batch_execute(&format!(
            "CREATE TABLE many AS SELECT n, md5(n::text) AS h, repeat('é\"\n', n % 9) AS t, jsonb_build_object('n', n) AS j FROM generate_series(1, 20000) n;
             CREATE TABLE \"Quoted, \"\"name\"\"\" AS SELECT 'it''s \\' AS \"a,b\", NULL AS c; CREATE TABLE empty (a int PRIMARY KEY, b text);
             SELECT agent_backup.create_set('set', formats => '{{csv,json,sql}}', compression => '{compression}');
             SELECT agent_backup.add_table('set', name) FROM unnest(ARRAY['many', 'Quoted, \"name\"', 'empty']) name;
             SET agent_backup.chunk_size = '256kB'; SELECT agent_backup.backup('set')"
        ))
        .unwrap();
    let row = client.query_one("SELECT backup_file, manifest_file, status FROM agent_backup.backups", &[]).unwrap();
    assert_eq!(row.get::<_, String>(2), "complete");
    let out = db.cluster().dir().join(format!("{}_out", db.name()));
    std::fs::create_dir(&out).unwrap();
    let (container, manifest): (String, String) = (row.get(0), row.get(1));
    let option = if compression == "gzip" { "-xzf" } else { "--zstd -xf" };
    shell(&format!("tar {option} \"$1\" -C \"$2\""), &[&container, out.to_str().unwrap()]);
    Backup { db, client, container: container.into(), manifest: manifest.into(), out }
}

impl Backup {
    fn container(&self) -> &str {
        self.container.to_str().unwrap()
    }

    /// The files that the manifest names, with their plain lengths.
    fn entries(&self) -> BTreeMap<String, String> {
        let lines = jq(".entries[] | \"\\(.plain_bytes) \\(.name)\"", &self.manifest);
        lines.iter().map(|line| line.split_once(' ').unwrap()).map(|(size, name)| (name.into(), size.into())).collect()
    }

    /// One column of the entries of the manifest, keyed by name.
    fn of_entries(&self, field: &str) -> BTreeMap<String, String> {
        let lines = jq(&format!(".entries[] | \"\\(.{field}) \\(.name)\""), &self.manifest);
        lines
            .iter()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(value, name)| (name.into(), value.into()))
            .collect()
    }
}

/// Names and sizes of the members of a tar, as Python's tarfile reads it.
const PYTHON: &str = "import sys, tarfile
with tarfile.open(fileobj=sys.stdin.buffer, mode='r|') as tar:
    for member in tar:
        data = tar.extractfile(member).read()
        assert member.isreg() and len(data) == member.size
        print(member.size, oct(member.mode), member.name)";

fn check_readers(backup: &Backup, plain: &str) {
    let mut expected = backup.entries();
    let manifest_size = std::fs::metadata(backup.out.join("manifest.json")).unwrap().len().to_string();
    expected.insert("manifest.json".into(), manifest_size);
    // schema.sql, three formats of three tables, the filter of the keys of one, the manifest.
    assert_eq!(expected.len(), 12);
    for (name, size) in &expected {
        let found = std::fs::metadata(backup.out.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(&found.len().to_string(), size, "{name}");
    }
    assert_eq!(std::fs::read_dir(&backup.out).unwrap().count(), expected.len());
    let listed = shell(&format!("{plain} \"$1\" | python3 -c \"$2\""), &[backup.container(), PYTHON]);
    let listed: BTreeMap<String, String> = listed
        .lines()
        .map(|line| {
            let mut parts = line.splitn(3, ' ');
            let (size, mode, name) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
            assert!(["0o600", "0o644", "0o640"].contains(&mode), "{line}");
            (name.to_owned(), size.to_owned())
        })
        .collect();
    assert_eq!(listed, expected);
    assert!(listed.keys().all(|name| !name.contains('/') && !name.starts_with('.')));
}

/// The extracted files are what the server writes, jq counts their rows, and digests and catalogue agree.
fn check_contents(backup: &mut Backup) {
    let mut reference = backup.db.client();
    pin(&mut reference);
    let query = "SELECT entry_name, checksum, row_count, plain_bytes, size_bytes, sha256 FROM agent_backup.backup_files WHERE format = $1
                 AND table_name = (SELECT relname FROM pg_class WHERE oid = $2::text::regclass)";
    for table in TABLES {
        let name = format!("public.{table}");
        let csv = copy_csv(&mut reference, &name, "UTF8");
        let json = json_array(&mut reference, &name);
        let digests = [csv_digest(&mut reference, &csv), json_digest(&mut reference, &name)];
        let rows: i64 = reference.query_one(&format!("SELECT count(*) FROM {name}"), &[]).unwrap().get(0);
        for (format, (bytes, digest)) in ["csv", "json"].into_iter().zip([csv, json].iter().zip(digests)) {
            let row = backup.client.query_one(query, &[&format, &table]).unwrap();
            let entry: String = row.get(0);
            assert_same_bytes(&entry, &std::fs::read(backup.out.join(&entry)).unwrap(), bytes);
            assert_eq!((row.get::<_, String>(1), row.get::<_, i64>(2)), (digest, rows), "{entry}");
            for (column, field) in
                [(1, "row_digest"), (2, "rows"), (3, "plain_bytes"), (4, "stored_bytes"), (5, "sha256")]
            {
                let ours =
                    row.try_get::<_, i64>(column).map_or_else(|_| row.get::<_, String>(column), |n| n.to_string());
                assert_eq!(backup.of_entries(field)[&entry], ours, "{field} of {entry}");
            }
            if format == "json" {
                assert_eq!(jq("length", &backup.out.join(&entry)), [rows.to_string()], "{entry}");
            }
        }
    }
    for file in std::fs::read_dir(&backup.out).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "json") {
            output("jq", &["-e", ".", path.to_str().unwrap()]);
        }
    }
}

/// The manifest beside is the one inside, its last line is the hash of what is before, and the hashes of ranges hold.
fn check_manifest(backup: &Backup) {
    let beside = std::fs::read(&backup.manifest).unwrap();
    assert_same_bytes("the manifest", &beside, &std::fs::read(backup.out.join("manifest.json")).unwrap());
    let manifest = backup.manifest.to_str().unwrap();
    let hash = shell("head -n -2 \"$1\" | sha256sum | cut -d' ' -f1", &[manifest]);
    assert_eq!(jq(".manifest_sha256", &backup.manifest), [hash]);
    let content = jq(".content_bytes, .content_sha256", &backup.manifest);
    let hash = shell("head -c \"$2\" \"$1\" | sha256sum | cut -d' ' -f1", &[backup.container(), &content[0]]);
    assert_eq!(hash, content[1]);
    let (offsets, lengths) = (backup.of_entries("data_offset"), backup.of_entries("stored_bytes"));
    for (name, sha256) in backup.of_entries("sha256") {
        let line = "tail -c +$(($2 + 1)) \"$1\" | head -c \"$3\" | sha256sum | cut -d' ' -f1";
        // A reader that has enough closes the pipe.
        let hash = shell(&format!("set +o pipefail; {line}"), &[backup.container(), &offsets[&name], &lengths[&name]]);
        assert_eq!(hash, sha256, "{name}");
    }
}

/// The chunks of the entry `many.csv`, each inflated by itself, are the file without its header.
fn check_chunks(backup: &Backup, plain: &str) {
    for entry in ["many.csv", "many.json", "many.sql"] {
        let filter = format!(".entries[] | select(.name == \"{entry}\") | .chunks[] | map(tostring) | join(\" \")");
        let chunks = jq(&filter, &backup.manifest);
        assert!(chunks.len() > 4, "{entry} has {} chunks", chunks.len());
        let whole = std::fs::read(backup.out.join(entry)).unwrap();
        let (mut at, mut next_row) = (0, 0);
        for chunk in &chunks {
            let numbers: Vec<u64> = chunk.split(' ').map(|number| number.parse().unwrap()).collect();
            let line = format!("set +o pipefail; tail -c +$(($2 + 1)) \"$1\" | head -c \"$3\" | {plain}");
            let (offset, stored) = (numbers[0].to_string(), numbers[1].to_string());
            let part = output("bash", &["-c", &line, "sh", backup.container(), &offset, &stored]);
            assert_eq!(part.len() as u64, numbers[2], "{entry}: {chunk}");
            let found =
                whole[at..].windows(part.len()).position(|window| window == part).expect("the chunk in its file");
            assert!(found < 500, "{entry}: {found} bytes before a chunk");
            at += found + part.len();
            assert_eq!(numbers[3], next_row, "{entry}: first row");
            next_row += numbers[4];
        }
        assert_eq!(next_row, 20000, "{entry}");
        assert!(whole.len() - at < 10, "{entry}: {} bytes after the last chunk", whole.len() - at);
    }
}

#[test]
fn a_gzip_backup_is_read_by_tar_zcat_python_jq_and_sha256sum() {
    let mut backup = backup("gzip");
    assert!(backup.container().ends_with(".tar.gz"));
    output("gzip", &["-t", backup.container()]);
    check_readers(&backup, "zcat");
    check_contents(&mut backup);
    check_manifest(&backup);
    check_chunks(&backup, "zcat");
    // Python's own gzip, and nothing after what tar needs that it would choke on.
    let python = "import sys, tarfile; print(len(tarfile.open(sys.argv[1], 'r:gz').getnames()))";
    assert_eq!(shell("python3 -c \"$1\" \"$2\"", &[python, backup.container()]), "12");
    drop(backup.client);
    assert_no_trash(&backup.db, &[]);
}

#[test]
fn a_zstd_backup_is_read_by_tar_zstd_python_jq_and_sha256sum() {
    let mut backup = backup("zstd");
    assert!(backup.container().ends_with(".tar.zst"));
    output("zstd", &["-q", "-t", backup.container()]);
    check_readers(&backup, "zstd -dcq");
    check_contents(&mut backup);
    check_manifest(&backup);
    check_chunks(&backup, "zstd -dcq");
    drop(backup.client);
    assert_no_trash(&backup.db, &[]);
}

#[test]
fn the_views_agree_with_the_manifest() {
    let mut backup = backup("gzip");
    let row = backup
        .client
        .query_one(
            "SELECT backup_id, set_name, kind, tables::text, row_count::text, size_bytes::text, status FROM agent_backup.backups",
            &[],
        )
        .unwrap();
    let found: Vec<String> = (0..7).map(|column| row.get(column)).collect();
    let told = jq(".backup_id, .set_name, .kind, (.members | length), ([.members[].rows] | add)", &backup.manifest);
    assert_eq!(found[..5], told);
    let size =
        [&backup.container, &backup.manifest].map(|file| std::fs::metadata(file).unwrap().len()).iter().sum::<u64>();
    assert_eq!(found[5], size.to_string());
    let files: i64 = backup.client.query_one("SELECT count(*) FROM agent_backup.backup_files", &[]).unwrap().get(0);
    assert_eq!(files, 9);
    let settings = jq(".settings | to_entries[] | \"\\(.key)=\\(.value)\"", &backup.manifest);
    assert!(
        settings.contains(&"TimeZone=UTC".to_owned()) && settings.contains(&"row_security=off".to_owned()),
        "{settings:?}"
    );
    let version: String = backup.client.query_one("SHOW server_version_num", &[]).unwrap().get(0);
    assert_eq!(jq(".server.version_num", &backup.manifest), [version]);
    drop(backup.client);
    assert_no_trash(&backup.db, &[]);
}

#[test]
fn exports_compressed_by_suffix_hold_the_same_bytes() {
    let db = database();
    db.run("CREATE TABLE t AS SELECT n, md5(n::text) AS h FROM generate_series(1, 5000) n");
    let mut client = db.client();
    for format in ["csv", "json", "sql"] {
        let mut written = Vec::new();
        for (ending, plain) in [("", "cat"), (".gz", "zcat"), (".zst", "zstd -dcq")] {
            let destination = format!("there/t.{format}{ending}");
            let query = "SELECT export_file, row_count, checksum FROM agent_backup.export_table('t', $1, $2)";
            let row = client.query_one(query, &[&format, &destination]).unwrap();
            let path: String = row.get(0);
            assert_eq!(Path::new(&path), db.backup_dir().join(&destination));
            let text = output("bash", &["-c", &format!("{plain} \"$1\""), "sh", &path]);
            written.push((text, row.get::<_, i64>(1), row.get::<_, String>(2)));
        }
        assert!(written[0].1 == 5000 && written.iter().all(|one| *one == written[0]), "{format}");
    }
    drop(client);
    assert_no_trash(&db, &[]);
}
