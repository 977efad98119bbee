//! Which server is tested, who runs it, and where its clusters stand.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The server's `pg_config`: `AGENT_BACKUP_PG_CONFIG`, else the private PostgreSQL 15 of `make setup`.
pub fn pg_config() -> PathBuf {
    std::env::var_os("AGENT_BACKUP_PG_CONFIG")
        .map_or_else(|| state_dir().join("postgresql-15/lib/postgresql/15/bin/pg_config"), PathBuf::from)
}

/// The server's major version, as 15.
pub fn server_major() -> u32 {
    static MAJOR: OnceLock<u32> = OnceLock::new();
    *MAJOR.get_or_init(|| {
        let version = ask_pg_config("--version");
        let number = version.trim_start_matches("PostgreSQL ");
        let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
        number[..digits].parse().unwrap_or_else(|_| panic!("no major version in {version:?}"))
    })
}

/// Where the server's programs are.
pub(crate) fn bin_dir() -> &'static Path {
    static BIN: OnceLock<PathBuf> = OnceLock::new();
    BIN.get_or_init(|| PathBuf::from(ask_pg_config("--bindir")))
}

/// A directory that the server's user can reach: target/, or the one that `make setup` chose instead.
pub(crate) fn state_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("AGENT_BACKUP_STATE") {
        return dir.into();
    }
    let target =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package stands in a workspace").join("target");
    match std::fs::read_to_string(target.join("outside")) {
        Ok(outside) => outside.trim().into(),
        Err(_) => target,
    }
}

/// The user that runs servers when we are root, since a server refuses to be.
pub(crate) fn server_user() -> Option<nix::unistd::User> {
    nix::unistd::geteuid()
        .is_root()
        .then(|| nix::unistd::User::from_name("postgres").expect("the user database").expect("a user named postgres"))
}

/// `program` of the server, to be run by the user that runs servers.
pub(crate) fn as_server(program: &str) -> Command {
    let path = bin_dir().join(program);
    let mut command = match server_user() {
        Some(user) => {
            let mut command = Command::new("runuser");
            command.args(["-u", &user.name, "--"]).arg(path);
            command
        }
        None => Command::new(path),
    };
    command.current_dir("/").env_remove("PGDATA");
    command
}

/// Runs to the end; a failure of the program is a panic with what it said.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} did not start: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn ask_pg_config(option: &str) -> String {
    let output = run(Command::new(pg_config()).arg(option));
    String::from_utf8(output.stdout).expect("pg_config speaks UTF-8").trim().to_owned()
}
