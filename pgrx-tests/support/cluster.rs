//! A private cluster: its own data, its own socket, no TCP port.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use postgres::{Client, Config, NoTls};

use crate::database::Database;
use crate::reaper::{Reaper, sweep};
use crate::server::{as_server, bin_dir, run, server_user, state_dir};
use crate::wait_until;

/// How a cluster is made. `Options::default()` is UTF-8, locale C, fsync off, pg_cron not loaded.
#[derive(Clone)]
pub struct Options {
    encoding: String,
    locale: String,
    fsync: bool,
    settings: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options { encoding: "UTF8".into(), locale: "C".into(), fsync: false, settings: Vec::new() }
    }
}

impl Options {
    /// The server encoding, as initdb names it: `SQL_ASCII`, `LATIN1`, `EUC_JP`.
    pub fn encoding(mut self, encoding: &str) -> Self {
        self.encoding = encoding.into();
        self
    }

    /// The locale of the operating system, as `C.UTF-8`.
    pub fn locale(mut self, locale: &str) -> Self {
        self.locale = locale.into();
        self
    }

    /// With fsync the cluster is as slow and as safe as a real one.
    pub fn fsync(mut self) -> Self {
        self.fsync = true;
        self
    }

    /// One line of postgresql.conf, as `work_mem = '1MB'`; a later line wins.
    pub fn setting(mut self, line: &str) -> Self {
        self.settings.push(line.into());
        self
    }
}

/// A running server, stopped and removed when dropped or when the test process ends.
pub struct Cluster {
    dir: PathBuf,
    // Last, so that everything else is still there when the reaper is dropped.
    _reaper: Reaper,
}

impl Cluster {
    /// Makes a cluster by initdb and starts it.
    pub fn start(options: Options) -> Cluster {
        let cluster = Cluster::reserve();
        run(as_server("initdb")
            .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding", &options.encoding])
            .args(["--locale", &options.locale, "-D"])
            .arg(cluster.data_dir()));
        let mut settings = vec![
            "listen_addresses = ''".to_owned(),
            "log_line_prefix = '%m [%p] %q%u@%d '".to_owned(),
            "max_connections = 50".to_owned(),
            "shared_buffers = '64MB'".to_owned(),
            format!("fsync = {}", if options.fsync { "on" } else { "off" }),
        ];
        settings.extend(options.settings);
        cluster.configure(&settings);
        cluster.start_again();
        cluster
    }

    /// A hot standby that streams from this cluster and has replayed what is committed now.
    pub fn create_standby(&self) -> Cluster {
        let standby = Cluster::reserve();
        run(as_server("pg_basebackup")
            .args(["-U", "postgres", "-c", "fast", "-X", "stream", "-R", "--no-sync", "-h"])
            .arg(self.socket_dir())
            .arg("-D")
            .arg(standby.data_dir()));
        standby.configure(&[]);
        standby.start_again();
        let now: String = self.one("SELECT pg_current_wal_lsn()::text");
        wait_until("the standby to catch up", Duration::from_secs(60), || {
            let replayed: bool = standby.one(&format!("SELECT pg_last_wal_replay_lsn() >= '{now}'"));
            replayed.then_some(())
        });
        standby
    }

    /// A connection as the superuser `postgres`.
    pub fn client(&self, database: &str) -> Client {
        self.client_as("postgres", database)
    }

    /// A connection as `role`.
    pub fn client_as(&self, role: &str, database: &str) -> Client {
        self.config(role, database)
            .connect(NoTls)
            .unwrap_or_else(|error| panic!("{role} cannot connect to {database}: {error:?}"))
    }

    /// The connection's parameters, for a test that expects the connection to fail or wants to set more.
    pub fn config(&self, role: &str, database: &str) -> Config {
        let mut config = Config::new();
        config.host_path(self.socket_dir()).user(role).dbname(database).application_name("suite");
        config
    }

    /// Feeds `script` to psql as a file is fed: stopped at the first error, no start-up file. The caller looks at the status.
    pub fn psql(&self, database: &str, script: &str) -> Output {
        use std::io::Write;
        let mut child = Command::new(bin_dir().join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"])
            .arg(self.socket_dir())
            .args(["-d", database, "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("psql");
        let mut stdin = child.stdin.take().expect("a pipe");
        let script = script.to_owned();
        let writer = std::thread::spawn(move || {
            // psql that stopped at an error closes the pipe; what it said is in its output.
            let _ = stdin.write_all(script.as_bytes());
        });
        let output = child.wait_with_output().expect("psql's output");
        writer.join().expect("the writer");
        output
    }

    /// The server process of a connection.
    pub fn backend_pid(&self, client: &mut Client) -> i32 {
        client.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get(0)
    }

    /// A fresh database with the extension and a backup directory of its own.
    pub fn database(&self) -> Database<'_> {
        Database::create(self)
    }

    /// Stops by `pg_ctl -m mode`: `smart`, `fast`, or `immediate`, which is a crash.
    pub fn stop(&self, mode: &str) {
        run(as_server("pg_ctl").args(["-w", "-s", "-m", mode, "-D"]).arg(self.data_dir()).arg("stop"));
    }

    /// Starts it again after [`Cluster::stop`], and waits until it takes connections.
    pub fn start_again(&self) {
        let mut command = as_server("pg_ctl");
        command.args(["-w", "-s", "-D"]).arg(self.data_dir()).arg("-l").arg(self.log_file()).arg("start");
        // The server must not hold the pipes of `run` open for ever.
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("pg_ctl");
        assert!(status.success(), "the server did not start:\n{}", self.log());
    }

    /// The directory of everything of this cluster; the server's user may write in it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes a directory of mode 0700 under [`Cluster::dir`] that belongs to the server's user.
    pub fn create_dir(&self, name: &str) -> PathBuf {
        let dir = self.dir.join(name);
        make_dir(&dir);
        dir
    }

    /// PGDATA.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Where the socket is; connect with `psql -h` to it.
    pub fn socket_dir(&self) -> PathBuf {
        self.dir.join("s")
    }

    /// All that the server logged so far.
    pub fn log(&self) -> String {
        fs::read(self.log_file()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    pub(crate) fn one<T: for<'a> postgres::types::FromSql<'a>>(&self, query: &str) -> T {
        self.client("postgres").query_one(query, &[]).unwrap_or_else(|error| panic!("{query}: {error:?}")).get(0)
    }

    /// A directory that is watched before anything is in it.
    fn reserve() -> Cluster {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let clusters = state_dir().join("clusters");
        fs::create_dir_all(&clusters).unwrap_or_else(|error| panic!("{}: {error}", clusters.display()));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            sweep(&clusters);
        }
        let dir = clusters.join(format!("{}-{number}", std::process::id()));
        let reaper = Reaper::watch(&dir);
        make_dir(&dir);
        make_dir(&dir.join("s"));
        let longest = dir.join("s/.s.PGSQL.5432");
        assert!(
            longest.as_os_str().len() < 107,
            "too long for a socket's name, use a shorter AGENT_BACKUP_STATE: {}",
            longest.display()
        );
        Cluster { dir, _reaper: reaper }
    }

    /// Adds lines to postgresql.conf; the socket's directory is always this cluster's.
    fn configure(&self, settings: &[String]) {
        use std::io::Write;
        let path = self.data_dir().join("postgresql.conf");
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        writeln!(file, "unix_socket_directories = '{}'", self.socket_dir().display()).expect("the settings");
        for line in settings {
            writeln!(file, "{line}").expect("the settings");
        }
    }
}

fn make_dir(dir: &Path) {
    fs::DirBuilder::new().mode(0o700).create(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    if let Some(user) = server_user() {
        chown(dir, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
            .unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    }
}
