//! A cluster with pg_cron: one database that it is in, and others that it serves.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use agent_backup_suite::{Cluster, Database, Options, pg_config, server_major, wait_until};

/// A cluster of its own whose server has pg_cron.
pub struct Cron {
    cluster: Cluster,
}

/// None where the server has no pg_cron; then the test passes and says so.
pub fn cron_or_skip() -> Option<Cron> {
    let directory = Command::new(pg_config()).arg("--pkglibdir").output().expect("pg_config").stdout;
    let library = format!("{}/pg_cron.so", String::from_utf8(directory).expect("a path").trim());
    if !std::fs::exists(&library).expect("the library's directory") {
        eprintln!("skipped: PostgreSQL {} here has no pg_cron", server_major());
        return None;
    }
    Some(Cron { cluster: Cluster::start(Options::default().setting("max_worker_processes = 20")) })
}

impl Cron {
    /// The database that pg_cron is in; its jobs run in background workers.
    pub fn here(&self) -> Database<'_> {
        self.with(&["cron.use_background_workers = on".to_owned()])
    }

    /// The same; its jobs run in sessions that come by the socket.
    #[allow(dead_code, reason = "for the tests that wait for pg_cron")]
    pub fn here_by_socket(&self) -> Database<'_> {
        self.with(&[format!("cron.host = '{}'", self.cluster.socket_dir().display())])
    }

    /// A database that pg_cron is not in.
    pub fn elsewhere(&self) -> Database<'_> {
        self.cluster.database()
    }

    /// Waits for something that pg_cron does: two minutes, since it begins with a minute.
    pub fn wait<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
        wait_until(what, Duration::from_secs(130), ask)
    }

    fn with(&self, settings: &[String]) -> Database<'_> {
        let db = self.cluster.database();
        self.cluster.stop("smart");
        let path = self.cluster.data_dir().join("postgresql.conf");
        let mut file = std::fs::OpenOptions::new().append(true).open(path).expect("postgresql.conf");
        writeln!(file, "shared_preload_libraries = 'pg_cron'\ncron.database_name = '{}'", db.name())
            .expect("the settings");
        settings.iter().for_each(|line| writeln!(file, "{line}").expect("the settings"));
        drop(file);
        self.cluster.start_again();
        db.run("CREATE EXTENSION pg_cron");
        db
    }
}
