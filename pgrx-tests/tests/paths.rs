//! Directories and destinations that are fails_with, and the modes of what is made (T77, T78).

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use agent_backup_suite::{
    Cluster, Database, Options, Set, assert_backups_whole, assert_clean, assert_no_trash, backup, database, fails_with,
    files, statuses,
};

/// Backs up with another directory; what it said, with the SQLSTATE `state`.
#[track_caller]
fn refused_directory(db: &Database, directory: &str, state: &str) -> String {
    let mut client = db.client();
    client.execute("SELECT set_config('agent_backup.directory', $1, false)", &[&directory]).unwrap();
    let said = fails_with(backup(&mut client), state);
    fails_with(client.batch_execute("SELECT agent_backup.reconcile('s')"), state);
    fails_with(client.batch_execute("SELECT agent_backup.export_table('t1')"), state);
    said
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_directory_that_is_no_plain_absolute_path_is_refused() {
    let db = database();
    Set::create(&db, 1, 10);
    let root = db.backup_dir().display().to_string();
    let long = format!("{root}/{}", "x/".repeat(2_500));
    let name = format!("{root}/{}", "y".repeat(256));
    for (directory, reason) in [
        ("backups", "not absolute"),
        ("../backups", "not absolute"),
        (&format!("{root}/../elsewhere"), "\"..\""),
        (&format!("{root}/.."), "\"..\""),
        (&long, "longer than"),
        (&name, "longer than 255"),
    ] {
        let said = refused_directory(&db, directory, "22023");
        assert!(said.contains(reason), "{directory:.80}: {said:.300}");
    }
    assert_eq!(fs::read_dir(db.backup_dir()).unwrap().count(), 0);
    assert!(!db.backup_dir().parent().unwrap().join("elsewhere").exists());
    assert_clean(&db, &[]);
}

#[test]
fn a_directory_that_is_something_else_is_refused_and_untouched() {
    let db = database();
    Set::create(&db, 1, 10);
    let root = db.backup_dir();
    let target = db.cluster().create_dir(&format!("{}_target", db.name()));
    symlink(&target, root.join("link")).unwrap();
    fs::write(root.join("file"), "mine").unwrap();
    nix::unistd::mkfifo(&root.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (name, reason) in
        [("link", "symbolic link"), ("file", "regular file"), ("pipe", "named pipe"), ("file/below", "")]
    {
        let said = refused_directory(&db, &root.join(name).display().to_string(), "22023");
        assert!(said.contains(reason), "{name}: {said}");
    }
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
    assert_eq!(fs::read_to_string(root.join("file")).unwrap(), "mine");
    assert_clean(&db, &[]);
}

#[test]
fn a_link_in_place_of_the_sets_directory_is_refused_and_not_followed() {
    let db = database();
    Set::create(&db, 1, 10);
    let target = db.cluster().create_dir(&format!("{}_target", db.name()));
    symlink(&target, db.backup_dir().join("s")).unwrap();
    let said = fails_with(backup(&mut db.client()), "22023");
    assert!(said.contains("symbolic link"), "{said}");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
    fs::remove_file(db.backup_dir().join("s")).unwrap();
    assert_clean(&db, &[]);
}

#[test]
fn a_directory_that_others_may_write_or_own_is_refused() {
    let db = database();
    Set::create(&db, 1, 10);
    for bad in [0o777, 0o770, 0o1777, 0o702] {
        fs::set_permissions(db.backup_dir(), fs::Permissions::from_mode(bad)).unwrap();
        let said = fails_with(backup(&mut db.client()), "22023");
        assert!(said.contains("can be written by group or others") && said.contains("chmod go-w"), "{bad:o}: {said}");
    }
    fs::set_permissions(db.backup_dir(), fs::Permissions::from_mode(0o700)).unwrap();
    if nix::unistd::geteuid().is_root() {
        let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(db.backup_dir()).unwrap());
        fs::set_permissions(db.backup_dir(), fs::Permissions::from_mode(0o755)).unwrap();
        chown(db.backup_dir(), Some(65_534), None).unwrap();
        let said = fails_with(backup(&mut db.client()), "22023");
        assert!(said.contains("belongs to user id 65534") && said.contains("chown"), "{said}");
        chown(db.backup_dir(), Some(owner), None).unwrap();
    }
    assert_eq!(files(&db).len(), 0);
    assert_clean(&db, &[]);
}

#[test]
fn nothing_is_written_inside_the_data_directory_but_in_agent_backup() {
    let cluster = Cluster::start(Options::default());
    let db = cluster.database();
    Set::create(&db, 1, 10);
    let data = cluster.data_dir();
    symlink(&data, db.backup_dir().join("data")).unwrap();
    for directory in [data.clone(), data.join("base"), data.join("agent_backup_2"), db.backup_dir().join("data/base")] {
        let said = refused_directory(&db, &directory.display().to_string(), "22023");
        assert!(said.contains("inside"), "{said}");
    }
    assert!(!data.join("agent_backup_2").exists() && !data.join("base/s").exists());
    for directory in ["", &data.join("agent_backup/deeper").display().to_string()] {
        let mut client = db.client();
        client.execute("SELECT set_config('agent_backup.directory', $1, false)", &[&directory]).unwrap();
        let rows = backup(&mut client).unwrap();
        let below = data.join("agent_backup");
        assert!(Path::new(rows[0].file.as_deref().unwrap()).starts_with(&below), "{rows:?}");
        assert_eq!(mode(&below), 0o700);
    }
}

#[test]
fn an_export_refuses_a_destination_that_is_no_free_file_name() {
    let db = database();
    Set::create(&db, 1, 10);
    let root = db.backup_dir();
    let outside = db.cluster().create_dir(&format!("{}_outside", db.name()));
    fs::write(root.join("taken.csv"), "mine").unwrap();
    symlink(outside.join("victim"), root.join("dangling.csv")).unwrap();
    symlink(&outside, root.join("dir")).unwrap();
    nix::unistd::mkfifo(&root.join("pipe.csv"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let before = fs::read_dir(root).unwrap().count();
    let too_long = format!("{}.csv", "n".repeat(252));
    let bad = [
        "taken.csv",
        "dangling.csv",
        "pipe.csv",
        "dir/x.csv",
        "../x.csv",
        "a/../x.csv",
        "a/..",
        "/",
        "",
        ".",
        &too_long,
    ];
    let mut client = db.client();
    for destination in bad {
        let call = "SELECT agent_backup.export_table('t1', 'csv', $1)";
        let error = client.query(call, &[&destination]).expect_err(destination);
        let state = agent_backup_suite::sqlstate(&error);
        assert!(["22023", "58P02", "42710"].contains(&state.as_str()), "{destination:?}: {error:?}");
    }
    assert_eq!(fs::read_to_string(root.join("taken.csv")).unwrap(), "mine");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(fs::read_dir(root).unwrap().count(), before, "something was made");
    assert!(!root.parent().unwrap().join("x.csv").exists());
    drop(client);
    assert_no_trash(&db, &[]);
}

/// Every file is 0600 and every directory 0700 below `path`.
fn assert_modes(path: &Path) {
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(&path), expected, "{}", path.display());
        if path.is_dir() {
            assert_modes(&path);
        }
    }
}

#[test]
fn files_and_directories_are_closed_to_others_whatever_the_umask() {
    let cluster = Cluster::start(Options::default());
    let db = cluster.database();
    Set::create(&db, 1, 10);
    // A data directory open to its group makes the server's umask 027 in place of 077.
    for data_mode in [0o700, 0o750] {
        cluster.stop("fast");
        fs::set_permissions(cluster.data_dir(), fs::Permissions::from_mode(data_mode)).unwrap();
        cluster.start_again();
        assert_eq!(statuses(&backup(&mut db.client()).unwrap()), ["ok"]);
        db.run("SELECT agent_backup.export_table('t1'), backup_agent_table_to_json('t1')");
        db.run(&format!(
            "SELECT agent_backup.export_table('t1', 'csv', '{}/a{data_mode:o}/b/t1.csv')",
            db.backup_dir().display()
        ));
        assert_modes(db.backup_dir());
    }
    assert!(assert_backups_whole(&db) == 2);
    assert_clean(&db, &["due to administrator command"]);
}

#[test]
fn a_directory_swapped_in_mid_run_gets_nothing() {
    let db = database();
    Set::create(&db, 1, 60_000);
    let target = db.cluster().create_dir(&format!("{}_target", db.name()));
    backup(&mut db.client()).unwrap();
    let (s, away) = (db.backup_dir().join("s"), db.backup_dir().join("away"));
    for _ in 0..3 {
        let (_, run) = agent_backup_suite::begun(db.client(), "SELECT agent_backup.backup('s')");
        agent_backup_suite::wait_until("a staging file", std::time::Duration::from_secs(20), || {
            (run.is_finished() || files(&db).iter().any(|name| name.ends_with(".staging"))).then_some(())
        });
        fs::rename(&s, &away).unwrap();
        symlink(&target, &s).unwrap();
        let outcome = run.join().unwrap().1;
        fs::remove_file(&s).unwrap();
        fs::rename(&away, &s).unwrap();
        if let Err(error) = outcome {
            let said = fails_with(Err::<(), _>(error), "22023");
            assert!(said.contains("no longer leads to the directory"), "{said}");
        }
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
        db.run("SELECT agent_backup.reconcile('s')");
        assert_backups_whole(&db);
    }
    assert_clean(&db, &[]);
}
