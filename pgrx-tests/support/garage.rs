//! Garage, an S3 store of several nodes, by `scripts/garage`: nodes can be killed and come back.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::server::run;

/// A store of some nodes, each with all objects; gone when this is dropped.
pub struct Garage {
    dir: PathBuf,
    settings: String,
}

impl Garage {
    /// Starts one of `nodes` nodes, numbered from 1. Builds Garage where it is not installed.
    pub fn start(nodes: usize) -> Garage {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("target/garage/suite-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut garage = Garage { dir: root().join(name), settings: String::new() };
        let told = run(garage.script("start").arg(nodes.to_string()).stdin(Stdio::null()));
        garage.settings = String::from_utf8(told.stdout).expect("UTF-8");
        garage
    }

    /// Statements that make the foreign server `offsite` of a node, a mapping for the caller, and the setting that names it.
    pub fn setup(&self, node: usize) -> String {
        crate::s3::connection(
            &self.endpoint(node),
            &self.setting("REGION"),
            &self.setting("KEY_ID"),
            &self.setting("SECRET"),
        )
    }

    /// Where a node answers.
    pub fn endpoint(&self, node: usize) -> String {
        let all = self.setting("ENDPOINTS");
        all.split_whitespace().nth(node - 1).unwrap_or_else(|| panic!("no node {node} in {all}")).to_owned()
    }

    /// `s3://<bucket>/<prefix>`
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{}/{prefix}", self.setting("BUCKET"))
    }

    /// A crash of a node.
    pub fn kill(&self, node: usize) {
        run(self.script("kill").arg(node.to_string()));
    }

    /// Starts a node that was killed, and waits until it has caught up.
    pub fn revive(&self, node: usize) {
        run(self.script("revive").arg(node.to_string()).stdin(Stdio::null()));
    }

    /// Bytes that a node keeps.
    pub fn kept(&self, node: usize) -> u64 {
        let mut folders = vec![self.dir.join(node.to_string()).join("data")];
        let mut bytes = 0;
        while let Some(folder) = folders.pop() {
            // A node may move a file while it is looked at.
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                match entry.metadata() {
                    Ok(facts) if facts.is_dir() => folders.push(entry.path()),
                    Ok(facts) => bytes += facts.len(),
                    Err(_) => (),
                }
            }
        }
        bytes
    }

    fn script(&self, verb: &str) -> Command {
        let mut command = Command::new(root().join("scripts/garage"));
        command.arg(verb).arg(&self.dir);
        command
    }

    fn setting(&self, name: &str) -> String {
        let start = format!("export AGENT_BACKUP_S3_{name}=");
        let line = self.settings.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.settings)).trim_matches('\'').to_owned()
    }
}

impl Drop for Garage {
    fn drop(&mut self) {
        // A store that does not stop has said so.
        let _ = self.script("stop").status();
    }
}

fn root() -> PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package stands in a workspace").to_owned()
}
