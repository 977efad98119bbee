//! A database per test, in a cluster that the test binary shares.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use postgres::Client;

use crate::cluster::{Cluster, Options};

/// The cluster that the tests of one binary share.
pub fn shared() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(|| Cluster::start(Options::default()))
}

/// A fresh database with the extension in the shared cluster.
pub fn database() -> Database<'static> {
    shared().database()
}

/// A database of one test: the extension is in it, and its backups go to [`Database::backup_dir`].
pub struct Database<'a> {
    cluster: &'a Cluster,
    name: String,
    backup_dir: PathBuf,
    log_start: usize,
}

impl<'a> Database<'a> {
    pub(crate) fn create(cluster: &'a Cluster) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let log_start = cluster.log().len();
        let backup_dir = cluster.create_dir(&format!("{name}_backups"));
        let directory = backup_dir.display();
        let statements = [
            format!("CREATE DATABASE {name} TEMPLATE template0"),
            format!("ALTER DATABASE {name} SET agent_backup.directory = '{directory}'"),
        ];
        let mut client = cluster.client("postgres");
        for statement in statements {
            client.batch_execute(&statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        }
        let database = Database { cluster, name, backup_dir, log_start };
        database.run("CREATE EXTENSION agent_backup");
        database
    }

    /// A connection as the superuser.
    pub fn client(&self) -> Client {
        self.cluster.client(&self.name)
    }

    /// A connection as `role`.
    pub fn client_as(&self, role: &str) -> Client {
        self.cluster.client_as(role, &self.name)
    }

    /// Runs statements in a connection of their own; an error is a panic with the statement.
    pub fn run(&self, statements: &str) {
        self.client().batch_execute(statements).unwrap_or_else(|error| panic!("{statements}: {error:?}"));
    }

    /// Lets `role`, as SQL names it, call every function, as no role of the extension may: what a function itself then
    /// refuses is what a test is about.
    pub fn let_call(&self, role: &str) {
        self.run(&format!("GRANT EXECUTE ON ALL ROUTINES IN SCHEMA agent_backup, public TO {role}"));
    }

    /// See [`Cluster::psql`].
    pub fn psql(&self, script: &str) -> Output {
        self.cluster.psql(&self.name, script)
    }

    /// What `agent_backup.directory` is in this database; empty at first.
    pub fn backup_dir(&self) -> &Path {
        &self.backup_dir
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster that it is in.
    pub fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    /// The server's log lines since this database was made: its own, and those of no database.
    pub fn log(&self) -> Vec<String> {
        let log = self.cluster.log();
        let own = format!("@{} ", self.name);
        let lines = log.get(self.log_start..).unwrap_or_default().lines();
        lines.filter(|line| line.contains(&own) || !line.contains('@')).map(str::to_owned).collect()
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("-- the server's log for {}:\n{}", self.name, self.log().join("\n"));
        }
        // Best effort: the cluster goes with the test binary, and a test may have stopped it.
        if let Ok(mut client) = self.cluster.config("postgres", "postgres").connect(postgres::NoTls) {
            let _ = client.batch_execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        }
    }
}
