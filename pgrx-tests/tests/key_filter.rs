//! A record is found in a backup without reading all of it, by the filters of its chunks' keys; and without them, too.

use std::fs;
use std::path::PathBuf;

use agent_backup_core::container::Manifest;
use agent_backup_suite::{Database, assert_no_trash, back_up, database};

/// A backup of a table in many chunks, of which a row is missing since.
struct Lost {
    db: Database<'static>,
    container: PathBuf,
    manifest: Manifest,
}

impl Lost {
    fn new() -> Self {
        let db = database();
        db.run(
            "CREATE TABLE t (v text, a int, b uuid, PRIMARY KEY (b, a));
             INSERT INTO t SELECT repeat(md5(n::text), 20), n, md5(n::text)::uuid FROM generate_series(1, 20000) n;
             SELECT agent_backup.create_set('s')",
        );
        db.run(&format!("ALTER DATABASE {} SET agent_backup.chunk_size = '64kB'", db.name()));
        back_up(&db, &["t"]);
        let files = db.client().query_one("SELECT backup_file, manifest_file FROM agent_backup.backups", &[]).unwrap();
        let [container, manifest] = [0, 1].map(|column| db.backup_dir().join(files.get::<_, String>(column)));
        let manifest = Manifest::parse(&fs::read(manifest).unwrap()).unwrap();
        assert!(manifest.entry("t.csv").unwrap().chunks.len() > 20);
        db.run("DELETE FROM t WHERE a = 19999");
        Lost { db, container, manifest }
    }

    /// Changes a byte in the middle of what lies at this place.
    fn damage(&self, offset: u64, length: u64) {
        let mut bytes = fs::read(&self.container).unwrap();
        bytes[(offset + length / 2) as usize] ^= 1;
        fs::write(&self.container, bytes).unwrap();
    }

    fn damage_first_chunk(&self) {
        let chunk = self.manifest.entry("t.csv").unwrap().chunks[0];
        self.damage(chunk.offset, chunk.stored_len);
    }

    fn damage_filters(&self) {
        let keys = self.manifest.entry("t.csv.keys").unwrap();
        self.damage(keys.data_offset, keys.stored_bytes);
    }

    fn restore(&self) -> Result<String, postgres::Error> {
        let query = "SELECT status FROM agent_backup.restore_record('t',
            jsonb_build_object('a', 19999, 'b', md5('19999')::uuid), set_name => 's')";
        let status = self.db.client().query_one(query, &[]).map(|row| row.get(0));
        assert_no_trash(&self.db, &[]);
        status
    }
}

#[test]
fn the_manifest_says_where_the_filters_are_and_of_what() {
    let lost = Lost::new();
    let (rows, keys) = (lost.manifest.entry("t.csv").unwrap(), lost.manifest.entry("t.csv.keys").unwrap());
    let told = rows.keys.as_ref().unwrap();
    assert_eq!((told.entry.as_str(), told.columns.join(",").as_str()), ("t.csv.keys", "a,b"));
    assert_eq!(rows.chunks.len(), keys.chunks.len());
    assert!(keys.stored_bytes < 20_000 * 2, "{}", keys.stored_bytes);
}

#[test]
fn a_record_is_restored_without_reading_the_chunks_that_have_it_not() {
    let lost = Lost::new();
    lost.damage_first_chunk();
    assert_eq!(lost.restore().unwrap(), "restored");
}

#[test]
fn a_record_is_restored_where_the_filters_are_damaged() {
    let lost = Lost::new();
    lost.damage_filters();
    assert_eq!(lost.restore().unwrap(), "restored");
}

#[test]
fn without_filters_all_chunks_are_read() {
    let lost = Lost::new();
    lost.damage_filters();
    lost.damage_first_chunk();
    let error = lost.restore().expect_err("the first chunk is damaged");
    assert_eq!(error.code().map(|code| code.code().to_owned()).as_deref(), Some("XX001"), "{error:?}");
}
