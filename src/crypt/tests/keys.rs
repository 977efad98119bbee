use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

#[test]
fn what_is_sealed_for_several_keys_opens_with_each() {
    let (one, two) = (key(), key());
    let file = format!("# our two keys\n\n{}\n  {}\n{}\n", one.recipient, two.recipient, one.recipient);
    let recipients = Recipients::parse(&file).unwrap();
    assert_eq!(recipients.key_ids().len(), 2, "a key given twice counts once");
    let sealed = seal(b"secret", &recipients);
    for key in [&one, &two] {
        assert_eq!(read_all(&open(&sealed, key).unwrap()).unwrap(), b"secret");
    }
    assert_eq!(key_ids(sealed.clone()).unwrap(), recipients.key_ids());
    assert_eq!(open(&sealed, &one).unwrap().key_ids(), recipients.key_ids());
}

#[test]
fn any_identity_of_a_file_opens() {
    let (old, new) = (key(), key());
    let both = Identities::parse(&format!("# old\n{}\n# new\n{}\n", old.identity, new.identity)).unwrap();
    for key in [&old, &new] {
        let opened = Opened::new(seal(b"x", &key.recipients()), &both).unwrap();
        assert_eq!(read_all(&opened).unwrap(), b"x");
    }
    assert_eq!(both.key_ids(), [old.recipients().key_ids(), new.recipients().key_ids()].concat());
}

#[test]
fn a_wrong_key_is_told_which_are_wanted() {
    let (right, wrong) = (key(), key());
    let error = open(&seal(b"x", &right.recipients()), &wrong).err().unwrap();
    let id = right.recipients().key_ids().remove(0);
    assert!(matches!(&error, CryptError::WrongKey { wanted } if wanted == std::slice::from_ref(&id)), "{error}");
    assert_eq!(error.to_string(), format!("no identity given opens it, it is sealed for key {id}"));
    assert!(error.hint().is_some());
}

#[test]
fn a_line_that_is_no_key_is_named_by_its_number() {
    let key = key();
    for (bad, why) in [
        (key.identity.as_str(), "secret key"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHs", "SSH"),
        ("age1pq1qqqq", "not supported"),
        ("age1qqqq", "misspelt"),
        ("hello", "does not begin"),
    ] {
        let error = Recipients::parse(&format!("# c\n{}\n{bad}\n", key.recipient)).unwrap_err();
        let CryptError::BadRecipient { line: 3, reason } = error else { panic!("{error}") };
        assert!(reason.contains(why), "{reason}");
    }
    for (bad, why) in [
        (key.recipient.as_str(), "public key"),
        ("AGE-PLUGIN-YUBIKEY-1", "plugins"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "SSH"),
        ("AGE-SECRET-KEY-1QQQQ", "misspelt"),
    ] {
        let error = Identities::parse(&format!("{}\n\n{bad}\n", key.identity)).unwrap_err();
        let CryptError::BadIdentity { line: 3, reason } = error else { panic!("{error}") };
        assert!(reason.contains(why), "{reason}");
    }
}

#[test]
fn a_file_without_keys_is_refused() {
    assert!(matches!(Recipients::parse("# nobody\n\n"), Err(CryptError::NoRecipient)));
    assert!(matches!(Identities::parse("# nobody\n\n"), Err(CryptError::NoIdentity)));
}

#[test]
fn an_identity_behind_a_passphrase_is_refused() {
    for text in ["age-encryption.org/v1\n-> scrypt x 18\n", "-----BEGIN AGE ENCRYPTED FILE-----\n"] {
        let error = Identities::parse(text).unwrap_err();
        assert!(matches!(error, CryptError::Unsupported { what } if what.contains("passphrase")), "{error}");
    }
}

#[test]
fn a_file_behind_a_passphrase_is_refused() {
    let encryptor = age::Encryptor::with_user_passphrase("correct horse".to_owned().into());
    let mut writer = encryptor.wrap_output(Vec::new()).unwrap();
    writer.write_all(b"x").unwrap();
    let error = open(&writer.finish().unwrap(), &key()).err().unwrap();
    assert!(matches!(error, CryptError::Unsupported { .. }), "{error}");
}

#[test]
fn an_identity_file_is_read_only_if_nobody_else_can_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let (path, link) = (directory.path().join("keys"), directory.path().join("link"));
    let key = key();
    std::fs::write(&path, format!("# made today\n{}\n", key.identity)).unwrap();
    symlink(&path, &link).unwrap();
    let set_mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    for mode in [0o644, 0o640, 0o604, 0o620] {
        set_mode(mode);
        assert!(matches!(Identities::from_file(&path), Err(CryptError::KeyFile { .. })), "{mode:o}");
    }
    for mode in [0o600, 0o400] {
        set_mode(mode);
        assert_eq!(Identities::from_file(&path).unwrap().key_ids(), key.recipients().key_ids());
    }
    assert!(matches!(Identities::from_file(&link), Err(CryptError::KeyFile { .. })));
    assert!(matches!(Identities::from_file(directory.path()), Err(CryptError::KeyFile { .. })));
    assert!(matches!(Identities::from_file(&directory.path().join("none")), Err(CryptError::CannotRead(_))));
}

#[test]
fn nothing_shows_a_secret_key() {
    let key = key();
    let shown = format!("{:?}", key.identities());
    assert!(!shown.contains("SECRET") && shown.contains(&key.recipients().key_ids()[0].to_string()), "{shown}");
    let broken = key.identity.replace("1Q", "1P") + "X";
    let error = Identities::parse(&broken).unwrap_err();
    let told = format!("{error} {error:?} {:?}", error.hint());
    assert!(!told.contains(&broken[20..30]), "{told}");
}

#[test]
fn a_recipients_file_is_read_only_if_nobody_else_can_write_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recipients");
    let key = key();
    std::fs::write(&path, format!("# ours\n{}\n", key.recipient)).unwrap();
    let set_mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    for mode in [0o620, 0o602, 0o666] {
        set_mode(mode);
        assert!(matches!(Recipients::from_file(&path), Err(CryptError::KeyFile { .. })), "{mode:o}");
    }
    set_mode(0o644);
    assert_eq!(Recipients::from_file(&path).unwrap().key_ids(), key.recipients().key_ids());
    let relative = Recipients::from_file(std::path::Path::new("recipients"));
    assert!(matches!(relative, Err(CryptError::KeyFile { reason: "its path is not absolute", .. })));
    assert!(matches!(Recipients::from_file(&directory.path().join("none")), Err(CryptError::CannotRead(_))));
}

#[test]
fn recipients_of_two_files_are_joined_each_once() {
    let (one, two) = (key(), key());
    let both = one.recipients().and(two.recipients()).and(one.recipients());
    assert_eq!(both.key_ids(), [one.recipients().key_ids(), two.recipients().key_ids()].concat());
}

#[test]
fn a_text_is_sealed_as_text_and_opened() {
    let (key, other) = (key(), key());
    let text = seal_text(b"[\"7\"]", &key.recipients()).unwrap();
    assert!(text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----") && text.is_ascii(), "{text}");
    assert_eq!(open_text(&text, &key.identities()).unwrap(), b"[\"7\"]");
    assert!(matches!(open_text(&text, &other.identities()), Err(CryptError::WrongKey { .. })));
    let altered = text.replacen(&text[200..201], if &text[200..201] == "A" { "B" } else { "A" }, 1);
    assert!(open_text(&altered, &key.identities()).is_err() && open_text("", &key.identities()).is_err());
}
