//! The program `age`, if the machine has it; `AGENT_BACKUP_AGE` names another place of it.

use std::process::Command;

use super::*;

fn tool() -> Option<String> {
    let tool = std::env::var("AGENT_BACKUP_AGE").unwrap_or_else(|_| "age".into());
    let found = Command::new(&tool).arg("--version").output().is_ok();
    if !found {
        eprintln!("{tool} is not installed: skipped");
    }
    found.then_some(tool)
}

#[test]
fn age_opens_what_is_sealed_here() {
    let Some(age) = tool() else { return };
    let (key, other) = (key(), key());
    let directory = tempfile::tempdir().unwrap();
    let (keys, file) = (directory.path().join("keys"), directory.path().join("file.age"));
    std::fs::write(&keys, format!("{}\n", key.identity)).unwrap();
    let recipients = Recipients::parse(&format!("{}\n{}", other.recipient, key.recipient)).unwrap();
    for length in [0, 5, 65_536, 300_000] {
        let content = plain(length);
        std::fs::write(&file, seal(&content, &recipients)).unwrap();
        let output = Command::new(&age).arg("-d").arg("-i").arg(&keys).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.stdout, content);
    }
}

#[test]
fn what_age_seals_opens_here() {
    let Some(age) = tool() else { return };
    let key = key();
    let content = plain(300_000);
    let directory = tempfile::tempdir().unwrap();
    let (file, sealed) = (directory.path().join("file"), directory.path().join("file.age"));
    std::fs::write(&file, &content).unwrap();
    let status = Command::new(&age).args(["-r", &key.recipient, "-o"]).args([&sealed, &file]).status().unwrap();
    assert!(status.success());
    let sealed = std::fs::read(&sealed).unwrap();
    let opened = open(&sealed, &key).unwrap();
    assert_eq!(read_all(&opened).unwrap(), content);
    assert!(opened.key_ids().is_empty());
    let error = open(&sealed, &super::key()).err().unwrap();
    assert!(error.to_string().contains("keys it does not name"), "{error}");
}
