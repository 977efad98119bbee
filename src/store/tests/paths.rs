//! Which paths are refused (T77) and what a created directory looks like (T78).

use std::os::unix::fs::{chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use super::*;

fn open(path: impl AsRef<Path>) -> StoreError {
    Directory::open(path.as_ref(), DirectoryRule::default()).unwrap_err()
}

fn create(path: impl AsRef<Path>) -> Result<Directory, StoreError> {
    Directory::open_or_create(path.as_ref(), DirectoryRule::default())
}

#[test]
fn a_path_of_bad_form_is_refused() {
    assert!(matches!(open("relative/dir"), StoreError::NotAbsolute { .. }));
    assert!(matches!(open(""), StoreError::NotAbsolute { .. }));
    assert!(matches!(open("/tmp/\0x"), StoreError::NulInPath { .. }));
    assert!(matches!(open("/tmp/../etc"), StoreError::ParentComponent { .. }));
    assert!(matches!(open(format!("/{}", "a/".repeat(2500))), StoreError::PathTooLong { bytes: 5001, .. }));
    assert!(matches!(open(format!("/tmp/{}", "a".repeat(256))), StoreError::BadName { .. }));
    assert!(matches!(create(format!("/{}", "a".repeat(300))), Err(StoreError::BadName { .. })));
}

#[test]
fn a_missing_directory_is_named() {
    let (temp, _) = place();
    let missing = temp.path().join("no/such");
    assert!(matches!(open(&missing), StoreError::DirectoryMissing { path } if path == missing));
}

#[test]
fn what_is_no_directory_is_refused_by_its_kind() {
    let (temp, _) = place();
    let at = |name: &str| temp.path().join(name);
    std::fs::write(at("file"), "x").unwrap();
    nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    let found = |path: PathBuf| match open(path) {
        StoreError::NotADirectory { found, .. } => found,
        other => panic!("{other:?}"),
    };
    assert_eq!(found(at("file")), "regular file");
    assert_eq!(found(at("pipe")), "named pipe");
    assert_eq!(found(at("socket")), "socket");
    assert_eq!(found("/dev/null".into()), "character device");
    assert_eq!(found(at("file/below")), "path below a file");
    assert!(matches!(create(at("file/below")), Err(StoreError::NotADirectory { .. })));
    assert!(matches!(create(at("pipe")), Err(StoreError::NotADirectory { .. })));
}

#[test]
fn a_final_symlink_is_refused_and_its_target_named() {
    let (temp, _) = place();
    let (target, link) = (temp.path().join("target"), temp.path().join("link"));
    std::fs::create_dir(&target).unwrap();
    set_mode(&target, 0o700);
    symlink(&target, &link).unwrap();
    let error = open(&link);
    assert!(matches!(&error, StoreError::SymbolicLink { target: t, .. } if *t == target), "{error:?}");
    assert!(error.hint().unwrap().contains(target.to_str().unwrap()));
    let with_slash = PathBuf::from(format!("{}/", link.display()));
    assert!(matches!(open(&with_slash), StoreError::SymbolicLink { .. }));
    assert!(matches!(create(&with_slash), Err(StoreError::SymbolicLink { .. })));
    assert!(create(link.join("new")).is_ok(), "a link above the directory is an administrator's choice");
}

#[test]
fn a_dangling_symlink_creates_nothing() {
    let (temp, directory) = place();
    let outside = temp.path().join("outside");
    symlink(&outside, temp.path().join("link")).unwrap();
    assert!(create(temp.path().join("link")).is_err());
    assert!(create(temp.path().join("link/below")).is_err());
    assert!(matches!(directory.subdirectory("link"), Err(StoreError::SymbolicLink { .. })));
    assert!(!outside.exists());
}

#[test]
fn a_directory_of_another_user_is_refused() {
    need_root();
    let (temp, _) = place();
    chown(temp.path(), Some(65534), None).unwrap();
    assert!(matches!(open(temp.path()), StoreError::ForeignOwner { owner: 65534, expected: 0, .. }));
    assert!(matches!(create(temp.path().join("new")), Err(StoreError::ForeignOwner { .. })));
    assert!(!temp.path().join("new").exists());
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    for bits in [0o720, 0o702, 0o777, 0o1777] {
        let (temp, _) = place();
        set_mode(temp.path(), bits);
        assert!(matches!(open(temp.path()), StoreError::WritableByOthers { mode, .. } if mode == bits));
    }
}

#[test]
fn a_writable_parent_is_accepted_only_when_sticky() {
    let (temp, _) = place();
    set_mode(temp.path(), 0o777);
    assert!(matches!(create(temp.path().join("new")), Err(StoreError::WritableByOthers { .. })));
    assert!(!temp.path().join("new").exists());
    set_mode(temp.path(), 0o1777);
    assert!(create(temp.path().join("new")).is_ok());
}

#[test]
fn the_data_directory_is_forbidden_but_for_its_exceptions() {
    let (temp, _) = place();
    let data = temp.path().join("data");
    std::fs::create_dir_all(data.join("base")).unwrap();
    [&data, &data.join("base")].iter().for_each(|path| set_mode(path, 0o700));
    symlink(&data, temp.path().join("alias")).unwrap();
    let rule = || DirectoryRule {
        forbidden_root: Some(temp.path().join("alias")),
        allowed_below: vec![temp.path().join("alias/agent_backup")],
    };
    let create = |path: &str| Directory::open_or_create(&temp.path().join(path), rule());
    for path in ["data", "data/base", "data/base/new", "alias/base", "data/agent_backup_2"] {
        assert!(matches!(create(path), Err(StoreError::Forbidden { .. })), "{path}");
    }
    assert!(!data.join("base/new").exists());
    assert!(!data.join("agent_backup_2").exists());
    assert!(create("data/agent_backup").is_ok());
    assert!(create("alias/agent_backup/agent_sdk").is_ok());
    assert!(create("data2").is_ok());
    let above = Directory::open(temp.path(), rule()).unwrap();
    assert!(matches!(above.subdirectory("data"), Err(StoreError::Forbidden { .. })));
}

#[test]
fn a_subdirectory_must_be_one_plain_name() {
    let (temp, directory) = place();
    let long = "n".repeat(256);
    for name in ["", ".", "..", "a/b", "/etc", "a\0b", long.as_str()] {
        assert!(matches!(directory.subdirectory(name), Err(StoreError::BadName { .. })), "{name:?}");
        assert!(matches!(directory.open_file(name), Err(StoreError::BadName { .. })), "{name:?}");
        assert!(matches!(directory.remove(name), Err(StoreError::BadName { .. })), "{name:?}");
        assert!(matches!(directory.stage(name), Err(StoreError::BadName { .. })), "{name:?}");
    }
    assert!(directory.subdirectory(&long[..255]).is_ok());
    assert!(directory.subdirectory("set").is_ok());
    assert!(directory.subdirectory("set").is_ok(), "an existing one is opened");
    set_mode(&temp.path().join("set"), 0o770);
    assert!(matches!(directory.subdirectory("set"), Err(StoreError::WritableByOthers { .. })));
}

#[test]
fn modes_are_exact_whatever_the_umask() {
    for umask in ["000", "077", "777"] {
        let (temp, _) = place();
        let shell = format!("umask {umask}; exec \"$0\" \"$@\"");
        let wrapper = ["sh", "-c", shell.as_str()];
        assert_eq!(acts::outcome(&wrapper, "create", temp.path()), "created");
        for path in ["a", "a/b", "a/b/c"] {
            assert_eq!(mode(&temp.path().join(path)), 0o700, "{path} under umask {umask}");
        }
        assert!(acts::outcome(&wrapper, "publish", temp.path()).starts_with("published"));
        assert_eq!(mode(&temp.path().join("final")), 0o600, "file under umask {umask}");
    }
}
