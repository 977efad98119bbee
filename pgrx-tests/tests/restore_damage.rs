//! Damaged, missing and swapped files (T15–T18): a restore refuses before the target changes, and names the file.

use std::fs;

use agent_backup_suite::{
    Database, assert_equal_tables, assert_no_trash, back_up, lines, long, newest_container, refused, restore, saved,
    sqlstate, state, try_restore,
};

const TABLES: &str = "CREATE TABLE t (id int PRIMARY KEY, v text, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
    INSERT INTO t SELECT n, md5(n::text), CASE WHEN n % 100 = 0 THEN repeat(md5(n::text), 300) END FROM generate_series(1, 3000) n; CREATE INDEX ON t (v);
    CREATE TABLE u (id int PRIMARY KEY, t int REFERENCES t, v text); INSERT INTO u SELECT n, n, md5('u' || n) FROM generate_series(1, 2000) n";
const ALL: &str = "restore('latest', confirm => true, safety_backup => false, set_name => 's')";

/// A restore of each mode either is refused and changes nothing, or gives the very rows.
#[track_caller]
fn assert_refused_or_right(db: &Database, what: &str, before: &str) -> bool {
    let mut client = db.client();
    match try_restore(&mut client, &format!("{ALL} WHERE true")) {
        Err(error) => {
            assert!(["XX001", "58030", "22023"].contains(&sqlstate(&error).as_str()), "{what}: {error:?}");
            let shown = error.as_db_error().map(|error| error.message().to_owned()).unwrap_or_default();
            assert!(shown.contains("s_backup_"), "{what}: it does not name the file: {error:?}");
            assert_eq!(state(db), before, "{what}");
            true
        }
        Ok(_) => {
            assert_equal_tables(&mut client, "t", "kept.t");
            assert_equal_tables(&mut client, "u", "kept.u");
            client.batch_execute("UPDATE t SET v = 'x' WHERE id = 1").expect("an update");
            false
        }
    }
}

#[test]
fn a_changed_byte_anywhere_is_refused_or_does_not_matter() {
    let db = saved(TABLES, &["t", "u"]);
    db.run("UPDATE t SET v = 'x' WHERE id = 1");
    let path = newest_container(&mut db.client(), "s");
    let whole = fs::read(&path).unwrap();
    let points = if long() { 512 } else { 64 };
    let mut refusals = 0;
    for point in 0..points {
        let mut bytes = whole.clone();
        let place = whole.len() * point / points + point % 7;
        bytes[place.min(whole.len() - 1)] ^= 1 << (point % 8);
        fs::write(&path, &bytes).unwrap();
        let before = state(&db);
        refusals += usize::from(assert_refused_or_right(&db, &format!("bit {} of byte {place}", point % 8), &before));
    }
    fs::write(&path, &whole).unwrap();
    // What lies in entries of other forms than CSV is not read.
    assert!(refusals > points / 4, "only {refusals} of {points} were refused");
    restore(&mut db.client(), ALL);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_file_of_another_length_or_another_backup_is_refused() {
    let db = saved(TABLES, &["t", "u"]);
    let other = newest_container(&mut db.client(), "s");
    db.run("UPDATE t SET v = v || '!'");
    back_up(&db, &[]);
    let path = newest_container(&mut db.client(), "s");
    assert_ne!(path, other);
    db.run("UPDATE t SET v = 'x'");
    let (whole, of_other) = (fs::read(&path).unwrap(), fs::read(&other).unwrap());
    let before = state(&db);
    let zeroes = vec![0; whole.len()];
    let cases: [(&str, Vec<u8>); 7] = [
        ("a byte less", whole[..whole.len() - 1].to_vec()),
        ("half", whole[..whole.len() / 2].to_vec()),
        ("nothing", Vec::new()),
        ("zeroes", zeroes),
        ("of another backup", of_other.clone()),
        ("the start of one, the end of another", [&whole[..whole.len() / 3], &of_other[of_other.len() / 3..]].concat()),
        ("a repeated part", [&whole[..4096], &whole[..]].concat()),
    ];
    for (what, bytes) in cases {
        fs::write(&path, bytes).unwrap();
        let refusal = refused(&mut db.client(), &format!("SELECT * FROM agent_backup.{ALL}"));
        assert_eq!((refusal.code.as_str(), refusal.hint.is_empty()), ("XX001", false), "{what}: {refusal:?}");
        assert!(refusal.message.contains(&path), "{what}: {refusal:?}");
        assert_eq!(state(&db), before, "{what}");
    }
    fs::remove_file(&path).unwrap();
    let refusal = refused(&mut db.client(), &format!("SELECT * FROM agent_backup.{ALL}"));
    assert!(refusal.message.contains(&path), "{refusal:?}");
    // Both files of another backup in the place of this one's.
    fs::write(&path, &of_other).unwrap();
    let beside = |client: &mut postgres::Client| -> Vec<String> {
        lines(
            client,
            "SELECT directory || '/' || manifest_name FROM agent_backup.backup_catalog WHERE set_name = 's' ORDER BY started_at",
        )
    };
    let manifests = beside(&mut db.client());
    fs::copy(&manifests[0], &manifests[1]).unwrap();
    let refusal = refused(&mut db.client(), &format!("SELECT * FROM agent_backup.{ALL}"));
    assert_eq!(refusal.code, "XX001", "{refusal:?}");
    assert!(refusal.message.contains("not the one"), "{refusal:?}");
    assert_no_trash(&db, &[]);
}

#[test]
fn extra_files_beside_a_backup_are_never_restored() {
    let db = saved(TABLES, &["t", "u"]);
    db.run("UPDATE t SET v = 'x'");
    let path = newest_container(&mut db.client(), "s");
    let dir = std::path::Path::new(&path).parent().unwrap();
    for name in ["s_backup_29990101.tar.gz", "zz", ".hidden"] {
        fs::write(dir.join(name), b"no backup").unwrap();
    }
    let mut client = db.client();
    restore(&mut client, ALL);
    assert_equal_tables(&mut client, "t", "kept.t");
    assert_no_trash(&db, &[]);
}

#[test]
fn a_container_that_is_gone_is_an_undefined_file_with_a_hint() {
    let db = saved(TABLES, &["t", "u"]);
    fs::remove_file(newest_container(&mut db.client(), "s")).unwrap();
    let refusal = refused(&mut db.client(), &format!("SELECT * FROM agent_backup.{ALL}"));
    assert_eq!((refusal.code.as_str(), refusal.hint.is_empty()), ("58P01", false), "{refusal:?}");
    assert_no_trash(&db, &[]);
}
