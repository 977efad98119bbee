//! The jobs of a set as a file for cron, for this server.

use std::path::Path;

use agent_backup_core::plan::cron::Dialect;
use agent_backup_core::plan::crontab::Crontab;
use agent_backup_core::plan::jobs::Job;
use agent_backup_core::store;

use crate::error::{Error, Result};
use crate::run::offsite::destination;
use crate::run::schedule::{self, Wanted};
use crate::server::encoding;
use crate::{ident, settings};

/// The text of the file.
pub fn file(set: &str, wanted: &Wanted, log_directory: Option<&str>) -> Result<String> {
    schedule::require_set(set)?;
    schedule::check(wanted, Dialect::Crontab)?;
    let jobs: Vec<(Job, String)> =
        wanted.iter().filter_map(|(job, schedule)| Some((*job, schedule.clone()?))).collect();
    if jobs.iter().any(|(job, _)| *job == Job::Offsite) {
        destination::require_any(set)?;
    }
    let log_directory = log_directory.map_or_else(default_log_directory, str::to_owned);
    if !log_directory.starts_with('/') {
        return Err(Error::InvalidOption { option: "log_directory", reason: "it is no absolute path".into() });
    }
    let file = Crontab {
        set,
        database: &ident::current_database()?,
        role: &ident::current_role()?,
        user: &store::system_user(),
        host: &socket_directory(),
        port: &setting("port"),
        psql: &psql()?,
        log_directory: &log_directory,
        jobs: &jobs,
    };
    file.text().map_err(|error| Error::InvalidOption { option: "crontab", reason: error.to_string() })
}

fn setting(name: &str) -> String {
    settings::of_server(name).map(|value| encoding::shown(value.as_bytes())).unwrap_or_default()
}

/// The first directory of sockets, or this machine where the server has none.
fn socket_directory() -> String {
    let directories = setting("unix_socket_directories");
    let first = directories.split(',').next().unwrap_or_default().trim().trim_matches('"').to_owned();
    if first.is_empty() { "localhost".to_owned() } else { first }
}

/// psql beside the server's own program.
fn psql() -> Result<String> {
    let server = std::env::current_exe();
    let server = server.map_err(|error| Error::Internal { object: "program", reason: error.to_string() })?;
    Ok(server.with_file_name("psql").display().to_string())
}

/// Where Debian has the server's log, if it is so here.
fn default_log_directory() -> String {
    let debian = Path::new("/var/log/postgresql");
    let directory = if store::may_write(debian) { debian.to_owned() } else { settings::data_directory() };
    directory.display().to_string()
}
