//! An S3 server on loopback, in a thread of the test process: the crate `s3s-fs`, so that objects are files that a test
//! can look at and damage, and around it what a test wants to know and to break.
//!
//! ```text
//! let store = S3::start();
//! db.run(&store.setup());                                   // server "offsite" and a mapping of the caller
//! db.run(&format!("SET agent_backup.offsite_url = '{}'", store.url("backups")));
//! ```

mod service; // the calls, noted and perhaps broken

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::sync::oneshot;

use crate::reaper::{Reaper, sweep};
use crate::server::state_dir;
use crate::wait_until;
use service::Watched;

/// The only bucket.
pub const BUCKET: &str = "bucket";
/// Of the key that the server knows.
pub const KEY_ID: &str = "AKIASUITEEXAMPLEKEYID";
/// Its secret: no text of the server or the extension may hold it.
pub const SECRET: &str = "canarySUITEsecretEXAMPLEdoNotShow0123456";

/// A call that the server was asked for: `PutObject`, `GetObject`, …, its key, and the bytes of a body that it gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub name: &'static str,
    pub key: String,
    pub bytes: u64,
}

/// What a test knows of the server and does to it.
#[derive(Default)]
struct State {
    calls: Vec<Call>,
    /// Calls that get no answer while they are in it.
    stalled: BTreeSet<&'static str>,
    /// Calls that fail while they are in it, by an error of the server.
    failing: BTreeSet<&'static str>,
    /// Objects whose keys begin so are kept by a lock.
    locked: Vec<String>,
    /// Uploads that were begun: id, key, when.
    uploads: Vec<(String, String, chrono::DateTime<chrono::Utc>)>,
}

type Shared = Arc<Mutex<State>>;

/// A running server; it and its objects are gone when this is dropped, or with the test process.
pub struct S3 {
    address: SocketAddr,
    dir: PathBuf,
    state: Shared,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    // Last: it removes the directory.
    _reaper: Reaper,
}

impl S3 {
    /// Starts one, with the bucket [`BUCKET`].
    pub fn start() -> S3 {
        let (dir, reaper) = reserve();
        std::fs::create_dir_all(dir.join(BUCKET)).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        let state = Shared::default();
        let service = Watched::new(&dir, Arc::clone(&state));
        let (told, tell) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
                told.send(listener.local_addr().expect("an address")).expect("somebody who waits");
                tokio::select! {
                    () = serve(listener, service) => (),
                    _ = stopped => (),
                }
            });
        });
        let address = tell.recv().expect("the server's address");
        S3 { address, dir, state, stop: Some(stop), thread: Some(thread), _reaper: reaper }
    }

    /// `http://127.0.0.1:<port>`
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `s3://bucket/<prefix>`
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}")
    }

    /// Statements that make the foreign server `offsite` with this store's endpoint, a mapping for the caller, and the
    /// setting that names it. The extension must be there.
    pub fn setup(&self) -> String {
        connection(&self.endpoint(), "us-east-1", KEY_ID, SECRET)
    }

    /// Where the objects of a prefix are, as files.
    pub fn path(&self, key: &str) -> PathBuf {
        self.dir.join(BUCKET).join(key)
    }

    /// The keys of all objects below a prefix, in their order.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let root = self.dir.join(BUCKET);
        let mut found = Vec::new();
        walk(&root, &root, &mut found);
        found.retain(|key| key.starts_with(prefix));
        found.sort();
        found
    }

    /// The calls since the start, or since [`S3::forget`].
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// Waits until a call of this name came.
    pub fn wait_for(&self, name: &str) {
        wait_until(name, Duration::from_secs(30), || self.calls().iter().any(|call| call.name == name).then_some(()));
    }

    /// Bytes that the server gave of objects since the start, or since [`S3::forget`].
    pub fn given(&self) -> u64 {
        self.state().calls.iter().map(|call| call.bytes).sum()
    }

    /// Forgets the calls so far.
    pub fn forget(&self) {
        self.state().calls.clear();
    }

    /// Calls of this name get no answer until [`S3::release`].
    pub fn stall(&self, name: &'static str) {
        self.state().stalled.insert(name);
    }

    /// Calls of this name fail by the server's fault until [`S3::release`].
    pub fn fail(&self, name: &'static str) {
        self.state().failing.insert(name);
    }

    /// Answers all calls again.
    pub fn release(&self) {
        let mut state = self.state();
        state.stalled.clear();
        state.failing.clear();
    }

    /// Keeps objects whose keys begin so from being removed.
    pub fn lock(&self, prefix: &str) {
        self.state().locked.push(prefix.into());
    }

    /// Keys of uploads in parts that were begun and neither completed nor aborted.
    pub fn unfinished(&self) -> Vec<String> {
        self.state().uploads.iter().map(|(_, key, _)| key.clone()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

/// Statements that make the foreign server `offsite`, a mapping for the caller, and the setting that names it.
pub fn connection(endpoint: &str, region: &str, key_id: &str, secret: &str) -> String {
    format!(
        "CREATE SERVER offsite FOREIGN DATA WRAPPER agent_backup_s3
             OPTIONS (endpoint '{endpoint}', region '{region}', path_style 'true', allow_http 'true');
         CREATE USER MAPPING FOR CURRENT_USER SERVER offsite OPTIONS (access_key_id '{key_id}', secret_access_key '{secret}');
         DO $do$ BEGIN EXECUTE format('ALTER DATABASE %I SET agent_backup.offsite_server = offsite', current_database()); END $do$"
    )
}

impl Drop for S3 {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A server that panicked has said so.
            let _ = thread.join();
        }
    }
}

fn locked(state: &Shared) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: tokio::net::TcpListener, store: Watched) {
    let mut builder = S3ServiceBuilder::new(store);
    builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
    let service = builder.build();
    loop {
        let (socket, _) = listener.accept().await.expect("a connection");
        let service = service.clone();
        tokio::spawn(async move {
            // A client that went away is no error here.
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

fn walk(root: &Path, at: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(at).unwrap_or_else(|error| panic!("{}: {error}", at.display())) {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(root, &path, found);
        } else {
            found.push(path.strip_prefix(root).expect("a path below").display().to_string());
        }
    }
}

/// A directory that goes with the test process.
fn reserve() -> (PathBuf, Reaper) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let stores = state_dir().join("stores");
    std::fs::create_dir_all(&stores).unwrap_or_else(|error| panic!("{}: {error}", stores.display()));
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    if number == 0 {
        sweep(&stores);
    }
    let dir = stores.join(format!("{}-{number}", std::process::id()));
    let reaper = Reaper::watch(&dir);
    (dir, reaper)
}
