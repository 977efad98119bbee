//! Stops a cluster when the tests are over, however they end.
//!
//! A `Drop` does not run for a static, nor after `kill -9`. So each cluster has a small shell beside it that waits for
//! the end of a pipe which only the test process holds, then stops the server by its pid and removes the directory.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use std::os::unix::process::CommandExt;

/// Reads nothing but the end of its input; `$1` is the cluster's directory.
const SCRIPT: &str = r#"
trap '' INT HUP TERM
read -r _
pid=$(head -n1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ] && [ "$(readlink "/proc/$pid/cwd")" = "$(readlink -f "$1/data")" ]; then
    kill -CONT "$pid"
    kill -INT "$pid"
    tries=0
    while [ -d "/proc/$pid" ] && [ $tries -lt 200 ]; do
        tries=$((tries + 1))
        [ $tries != 100 ] || kill -QUIT "$pid"
        sleep 0.1
    done
    [ ! -d "/proc/$pid" ] || kill -KILL "$pid"
fi
rm -rf "$1"
"#;

pub(crate) struct Reaper(Child);

impl Reaper {
    pub(crate) fn watch(dir: &Path) -> Reaper {
        let child = Command::new("sh")
            .args(["-c", SCRIPT, "reaper"])
            .arg(dir)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a shell");
        Reaper(child)
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        if let Err(error) = self.0.wait() {
            eprintln!("the cluster may still run: {error}");
        }
    }
}

/// Reaps what a machine that went down left: directories whose test process is gone.
pub(crate) fn sweep(clusters: &Path) {
    let Ok(entries) = std::fs::read_dir(clusters) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_string_lossy().split('-').next().and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            drop(Reaper::watch(&entry.path()));
        }
    }
}
