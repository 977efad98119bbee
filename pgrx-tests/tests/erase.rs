//! A person is erased from every copy, nobody else is touched, and the person does not come back (T88, T89, T91, T92).

use std::process::Command;

use agent_backup_suite::{
    CANARY, Database, assert_backups_whole, assert_no_trash, backup, database, erase, fails_with, files, files_with,
    lines, one, summed, with_person,
};

const ERASE: &str = "'email', 'canary.person@example.org', 'request 1', 's', confirm => true";

fn backups(db: &Database, count: usize) {
    for _ in 0..count {
        backup(&mut db.client()).unwrap();
    }
}

fn delete_live(db: &Database) {
    db.run(&format!("DELETE FROM t WHERE email = '{CANARY}'; CHECKPOINT"));
}

fn place(sums: &[(String, String, i64)], name: &str, action: &str) -> i64 {
    sums.iter().filter(|(place, did, _)| place == name && did == action).map(|(_, _, rows)| rows).sum()
}

#[test]
fn the_plan_shows_where_the_person_is_and_changes_nothing() {
    let db = with_person(5_000, "");
    backups(&db, 2);
    let before: Vec<Vec<u8>> =
        files(&db).iter().map(|f| std::fs::read(db.backup_dir().join("s").join(f)).unwrap()).collect();
    let plan = erase(&mut db.client(), "NULL, 'canary.person@example.org', 'request 1', 's'").unwrap();
    let sums = summed(&plan);
    assert_eq!(place(&sums, "backup", "found"), 10, "{plan:?}");
    assert_eq!(place(&sums, "live", "found"), 5, "{plan:?}");
    let after: Vec<Vec<u8>> =
        files(&db).iter().map(|f| std::fs::read(db.backup_dir().join("s").join(f)).unwrap()).collect();
    assert!(before == after);
    assert_eq!(one::<i64>(&mut db.client(), "SELECT count(*) FROM agent_backup.erasure_log"), 0);
    assert_no_trash(&db, &[]);
}

#[test]
fn nothing_of_the_person_is_left_in_any_byte() {
    for options in ["", ", compression => 'zstd'", ", formats => '{csv,json,sql}'"] {
        let db = with_person(20_000, options);
        backups(&db, 3);
        delete_live(&db);
        assert_eq!(files_with(db.backup_dir(), CANARY).len(), 3, "{options}");
        let sizes = |db: &Database| -> Vec<u64> {
            let in_set = |name: &String| std::fs::metadata(db.backup_dir().join("s").join(name)).unwrap().len();
            files(db).iter().filter(|name| name.contains(".tar.")).map(in_set).collect()
        };
        let before = sizes(&db);
        let erased = erase(&mut db.client(), ERASE).unwrap();
        let sums = summed(&erased);
        assert_eq!(place(&sums, "backup", "erased"), 60, "{erased:?}");
        assert!(!sums.iter().any(|(_, action, _)| action == "left" || action == "found"), "{erased:?}");
        assert!(
            erased.iter().filter(|row| row.place == "backup").all(|row| row.chunks.is_some()),
            "in place: {erased:?}"
        );
        assert_eq!(files_with(db.backup_dir(), CANARY), Vec::<std::path::PathBuf>::new(), "{options}");
        let text = lines(&mut db.client(), "SELECT erasure_id || certificate FROM agent_backup.erasure_log; ").join("");
        assert!(text.contains("not_reachable") && !text.contains(CANARY), "{text}");
        assert_eq!(assert_backups_whole(&db), 3);
        assert!(sizes(&db).iter().zip(before).all(|(after, before)| after.abs_diff(before) < 4096));
        for level in ["exists", "hash", "decode", "restore"] {
            let verify = format!(
                "SELECT count(*) FROM agent_backup.backups b, agent_backup.verify(b.backup_id, '{level}', 's') v WHERE v.status <> 'ok'"
            );
            assert_eq!(one::<i64>(&mut db.client(), &verify), 0, "{level}");
        }
        standard_tools_read_it(&db);
        assert_no_trash(&db, &[]);
    }
}

/// GNU tar, jq, Python and sha256sum, which know nothing of us.
fn standard_tools_read_it(db: &Database) {
    let newest = files(db).into_iter().rfind(|name| name.contains(".tar.")).unwrap();
    let path = db.backup_dir().join("s").join(&newest);
    let out = db.cluster().create_dir(&format!("{}_out", db.name()));
    let tar = Command::new("tar").arg("-xf").arg(&path).arg("-C").arg(&out).output().unwrap();
    assert!(tar.status.success(), "{tar:?}");
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    assert_eq!(read("t.csv").lines().count(), 20_000 - 20 + 1);
    let jq = Command::new("jq").arg("length").arg(out.join("t.json")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&jq.stdout).trim(), "19980");
    if newest.ends_with(".gz") {
        let script =
            "import sys, tarfile; t = tarfile.open(sys.argv[1]); print(sum(1 for l in t.extractfile('t.csv')))";
        let python = Command::new("python3").args(["-c", script]).arg(&path).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&python.stdout).trim(), "19981", "{python:?}");
    }
    let manifest = read("manifest.json");
    let (body, hash) = manifest.trim_end().rsplit_once("  \"manifest_sha256\": \"").unwrap();
    std::fs::write(out.join("body"), body).unwrap();
    let sum = Command::new("sha256sum").arg(out.join("body")).output().unwrap();
    assert_eq!(sum.stdout[..64], hash.as_bytes()[..64]);
    let checksum = one::<String>(
        &mut db.client(),
        "SELECT checksum FROM agent_backup.backup_entry WHERE format = 'json' ORDER BY backup_id DESC LIMIT 1",
    );
    assert_eq!(checksum, agent_backup_suite::json_digest(&mut db.client(), "t"));
}

#[test]
fn only_the_exact_value_in_this_column_is_meant() {
    let db = database();
    db.run(
        "CREATE TABLE t (a int, b text, v text, PRIMARY KEY (a, b));
         CREATE TABLE other (a int PRIMARY KEY, b text, email text);
         INSERT INTO t VALUES (1, 'ann', 'x'), (1, 'Ann', 'x'), (1, 'ann ', 'x'), (1, ' ann', 'x'), (1, 'anna', 'x'), (1, 'an', 'x'),
             (1, 'ann,', 'x'), (1, '\"ann\"', 'x'), (2, 'ann', 'y'), (3, 'bob', 'ann'), (4, '', 'z');
         INSERT INTO other SELECT a, 'ann', 'ann' FROM generate_series(1, 3) a;
         SELECT agent_backup.create_set('s', formats => '{csv,json,sql}'), agent_backup.create_set('o');
         SELECT agent_backup.add_table('s', 't', subject_columns => '{b}'), agent_backup.add_table('o', 'other');
         SELECT agent_backup.backup('o')",
    );
    backups(&db, 1);
    let other =
        std::fs::read_dir(db.backup_dir().join("o")).unwrap().map(|f| std::fs::read(f.unwrap().path()).unwrap());
    let other: Vec<_> = other.collect();
    let erased = erase(&mut db.client(), "'b', 'ann', 'why', 's', confirm => true").unwrap();
    assert_eq!(place(&summed(&erased), "backup", "erased"), 2, "{erased:?}");
    let left = lines(
        &mut db.client(),
        "SELECT r FROM agent_backup.read_backup(NULL::t, 'latest', set_name => 's') r ORDER BY 1",
    );
    assert_eq!(left.len(), 9, "{left:?}");
    assert!(!left.iter().any(|row| row.contains(",ann,")), "{left:?}");
    let now = std::fs::read_dir(db.backup_dir().join("o")).unwrap().map(|f| std::fs::read(f.unwrap().path()).unwrap());
    assert!(other == now.collect::<Vec<_>>());
    assert_eq!(assert_backups_whole(&db), 1);
    assert_no_trash(&db, &[]);
}

/// An older copy of the files, as one that comes from elsewhere.
fn old_copy(db: &Database) -> std::path::PathBuf {
    let copy = db.cluster().create_dir(&format!("{}_copy", db.name()));
    for name in files(db) {
        std::fs::copy(db.backup_dir().join("s").join(&name), copy.join(&name)).unwrap();
    }
    Command::new("chown").args(["-R", "--reference"]).arg(db.backup_dir()).arg(&copy).status().unwrap();
    copy
}

/// Puts older files in the place of those that were rewritten, as who restores a directory from elsewhere does.
fn bring_back(db: &Database, copy: &std::path::Path) {
    db.run("DELETE FROM agent_backup.backup_catalog");
    for name in files(db) {
        let target = db.backup_dir().join("s").join(&name);
        if copy.join(&name).exists() {
            std::fs::write(&target, std::fs::read(copy.join(&name)).unwrap()).unwrap();
        }
    }
    db.run("SELECT agent_backup.reconcile('s')");
}

#[test]
fn an_older_copy_does_not_bring_the_person_back() {
    let db = with_person(3_000, "");
    backups(&db, 1);
    let copy = old_copy(&db);
    delete_live(&db);
    erase(&mut db.client(), ERASE).unwrap();
    db.run("DELETE FROM agent_backup.erased_backups");
    bring_back(&db, &copy);
    assert_eq!(files_with(db.backup_dir(), CANARY).len(), 1, "the older copy is there");
    let none = |query: &str| assert_eq!(one::<i64>(&mut db.client(), query), 0, "{query}");
    let canaries = format!("FROM t WHERE email = '{CANARY}' OR data->>'email' = '{CANARY}'");
    none(&format!(
        "SELECT count(*) FROM agent_backup.read_backup(NULL::t, 'latest', set_name => 's') r WHERE r.email = '{CANARY}'"
    ));
    assert_eq!(
        one::<i64>(
            &mut db.client(),
            "SELECT count(*) FROM agent_backup.read_backup(NULL::t, 'latest', set_name => 's')"
        ),
        2_997
    );
    for mode in ["replace", "merge", "missing_only"] {
        db.run(&format!(
            "SELECT agent_backup.restore_table('t', 'latest', mode => '{mode}', set_name => 's', confirm => true)"
        ));
        none(&format!("SELECT count(*) {canaries}"));
        assert_eq!(one::<i64>(&mut db.client(), "SELECT count(*) FROM t"), 2_997, "{mode}");
    }
    let record = db.client().query("SELECT * FROM agent_backup.restore_record('t', '7', set_name => 's')", &[]);
    fails_with(record, "P0002");
    none(&format!("SELECT count(*) {canaries}"));
    let differences = "SELECT count(*) FROM agent_backup.diff('t', 'latest', set_name => 's')";
    none(differences);
    db.run("SELECT agent_backup.restore('latest', set_name => 's', confirm => true)");
    none(&format!("SELECT count(*) {canaries}"));
    let drill = "SELECT count(*) FROM agent_backup.drill('s') d WHERE d.status <> 'ok' AND d.status <> 'success'";
    none(drill);
    let verify = "SELECT count(*) FROM agent_backup.verify('latest', 'restore', 's') WHERE status <> 'ok'";
    none(verify);
    // The next erasure takes the older copy too.
    let again = erase(&mut db.client(), ERASE).unwrap();
    assert_eq!(place(&summed(&again), "backup", "erased"), 3, "{again:?}");
    assert_eq!(files_with(&db.backup_dir().join("s"), CANARY).len(), 0);
    assert_no_trash(&db, &[]);
}

#[test]
fn tombstones_outlive_their_table_and_who_comes_back_stays() {
    let db = with_person(2_000, "");
    backups(&db, 1);
    let copy = old_copy(&db);
    delete_live(&db);
    erase(&mut db.client(), ERASE).unwrap();
    let stones = db.backup_dir().join("tombstones");
    let texts: Vec<String> =
        std::fs::read_dir(&stones).unwrap().map(|f| std::fs::read_to_string(f.unwrap().path()).unwrap()).collect();
    assert!(texts.len() == 1 && !texts[0].contains(CANARY), "{texts:?}");
    // As after a restore of the database to a moment before.
    db.run("DELETE FROM agent_backup.tombstones; DELETE FROM agent_backup.erasures; DELETE FROM agent_backup.erased_backups");
    bring_back(&db, &copy);
    assert_eq!(one::<i64>(&mut db.client(), "SELECT count(*) FROM agent_backup.tombstones"), 1);
    let shown = format!(
        "SELECT count(*) FROM agent_backup.read_backup(NULL::t, 'latest', set_name => 's') r WHERE r.email = '{CANARY}'"
    );
    assert_eq!(one::<i64>(&mut db.client(), &shown), 0);
    // The table alone has it, too.
    std::fs::remove_dir_all(&stones).unwrap();
    assert_eq!(one::<i64>(&mut db.client(), &shown), 0);
    db.run("SELECT agent_backup.reconcile('s')");
    assert_eq!(std::fs::read_dir(&stones).unwrap().count(), 1);
    // The person comes back, and is in what is backed up from then on.
    db.run(&format!("INSERT INTO t VALUES (100000, '{CANARY}', 'new', '{{}}')"));
    backups(&db, 1);
    assert_eq!(one::<i64>(&mut db.client(), &shown), 1);
    assert_no_trash(&db, &[]);
}

#[test]
fn the_catalogue_brought_back_to_before_still_opens_what_was_rewritten() {
    let db = with_person(2_000, "");
    backups(&db, 2);
    db.run("CREATE TABLE kept AS SELECT backup_id, manifest_sha256, file_sha256, size_bytes, row_count FROM agent_backup.backup_catalog");
    erase(&mut db.client(), ERASE).unwrap();
    db.run("UPDATE agent_backup.backup_catalog c SET manifest_sha256 = k.manifest_sha256, file_sha256 = k.file_sha256, size_bytes = k.size_bytes, row_count = k.row_count FROM kept k WHERE k.backup_id = c.backup_id");
    let read = "SELECT count(*) FROM agent_backup.read_backup(NULL::t, 'latest', set_name => 's')";
    assert_eq!(one::<i64>(&mut db.client(), read), 1_998);
    let found = lines(&mut db.client(), "SELECT action FROM agent_backup.reconcile('s')");
    assert_eq!(found, ["erased", "erased"]);
    assert_eq!(assert_backups_whole(&db), 2);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_rollback_leaves_everything_as_it_was() {
    let db = with_person(2_000, "");
    backups(&db, 2);
    let state = |db: &Database| -> Vec<(String, Vec<u8>)> {
        files(db).into_iter().map(|f| (f.clone(), std::fs::read(db.backup_dir().join("s").join(&f)).unwrap())).collect()
    };
    let before = state(&db);
    let mut client = db.client();
    client.batch_execute("BEGIN").unwrap();
    erase(&mut client, ERASE).unwrap();
    let error = client.query("SELECT * FROM agent_backup.read_backup(NULL::t, 'latest', set_name => 's')", &[]);
    fails_with(error, "55000");
    client.batch_execute("ROLLBACK").unwrap();
    assert!(state(&db) == before);
    db.run(&format!("DO $$ BEGIN PERFORM * FROM agent_backup.erase_subject({ERASE}); RAISE EXCEPTION 'no'; EXCEPTION WHEN raise_exception THEN NULL; END $$"));
    assert!(state(&db) == before);
    assert_eq!(one::<i64>(&mut db.client(), "SELECT count(*) FROM agent_backup.tombstones"), 0);
    assert_eq!(std::fs::read_dir(db.backup_dir().join("tombstones")).unwrap().count(), 0);
    assert_eq!(place(&summed(&erase(&mut db.client(), ERASE).unwrap()), "backup", "erased"), 4);
    assert_no_trash(&db, &[]);
}

#[test]
fn what_is_wrong_is_said_and_the_value_is_never_shown() {
    let db = with_person(100, "");
    let mut client = db.client();
    for (arguments, state) in [
        ("'nope', 'secret value', 'r', 's'", "42703"),
        ("'lower(email)', 'secret value', 'r', 's'", "22023"),
        ("'email', '', 'r', 's'", "22023"),
        ("'email', 'secret value', '', 's'", "22023"),
        ("'email', NULL, 'r', 's'", "22004"),
        ("'email', 'secret value', 'r', 'nope'", "42704"),
    ] {
        let said = fails_with(erase(&mut client, arguments), state);
        assert!(!said.contains("secret"), "{said}");
    }
    db.run("SELECT agent_backup.create_set('empty')");
    fails_with(erase(&mut client, "NULL, 'secret value', 'r', 'empty'"), "55000");
    let subjects = client.query("SELECT agent_backup.set_subject_columns('s', 't', '{emial}')", &[]);
    assert!(fails_with(subjects, "42703").contains("email"));
    assert_no_trash(&db, &[]);
}
