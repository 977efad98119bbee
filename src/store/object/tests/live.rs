//! S3 servers. In every run the one of the crate `s3s-fs`, in this process. Any other, such as Garage, when the
//! environment names it:
//!
//! ```text
//! AGENT_BACKUP_S3_ENDPOINT=http://127.0.0.1:3900 AGENT_BACKUP_S3_BUCKET=test AGENT_BACKUP_S3_REGION=garage
//! AGENT_BACKUP_S3_KEY_ID=… AGENT_BACKUP_S3_SECRET=…  cargo test -p agent_backup_core live
//! ```

use std::net::SocketAddr;
use std::sync::OnceLock;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;

use super::*;

/// One server for all tests of a process, with one bucket.
fn server() -> SocketAddr {
    static SERVER: OnceLock<SocketAddr> = OnceLock::new();
    *SERVER.get_or_init(|| {
        let (told, tell) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let directory = tempfile::tempdir().unwrap();
            std::fs::create_dir(directory.path().join("bucket")).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(directory.path()).unwrap());
                builder.set_auth(SimpleAuth::from_single("AKIAEXAMPLEKEYID", SECRET));
                let service = builder.build();
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                told.send(listener.local_addr().unwrap()).unwrap();
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    let service = service.clone();
                    tokio::spawn(async move {
                        // A client that went away is no error here.
                        let _ =
                            Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
                    });
                }
            });
        });
        tell.recv().unwrap()
    })
}

/// A prefix that nobody else has.
fn prefix() -> String {
    format!("t{:016x}", std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0))
}

pub(super) fn in_process() -> Option<Place> {
    let mut options = options(&format!("http://{}", server()));
    if let Some(credentials) = &mut options.credentials {
        credentials.token = None;
    }
    let store = S3::new("bucket", &prefix(), &options, limits()).unwrap();
    Some(Place { store: Arc::new(store), _kept: None })
}

/// The store that the environment names, if it names one.
pub(super) fn named() -> Option<Place> {
    let variable = |name: &str| std::env::var(format!("AGENT_BACKUP_S3_{name}")).ok();
    let mut options = options(&variable("ENDPOINT")?);
    options.region = variable("REGION");
    options.credentials = Some(Credentials {
        key_id: variable("KEY_ID").unwrap(),
        secret: SecretString::from(variable("SECRET").unwrap()),
        token: None,
    });
    let store = S3::new(&variable("BUCKET").unwrap(), &prefix(), &options, limits()).unwrap();
    Some(Place { store: Arc::new(store), _kept: None })
}

/// The same, unless the environment says that of several who create at once more than one may succeed.
pub(super) fn named_and_atomic() -> Option<Place> {
    if std::env::var_os("AGENT_BACKUP_S3_ATOMIC").is_some_and(|value| value == "no") { None } else { named() }
}

#[test]
fn a_bucket_that_is_not_there_is_said_to_be_so() {
    let mut options = options(&format!("http://{}", server()));
    options.credentials.as_mut().unwrap().token = None;
    let store = S3::new("nobucket", "", &options, limits()).unwrap();
    let error = keys(&store, "").unwrap_err();
    assert!(matches!(&error, ObjectError::Misconfigured { reason, .. } if reason.contains("bucket")), "{error:?}");
}

#[test]
fn a_wrong_secret_is_denied() {
    let mut options = options(&format!("http://{}", server()));
    let credentials = options.credentials.as_mut().unwrap();
    (credentials.token, credentials.secret) = (None, SecretString::from("another".to_owned()));
    let store = S3::new("bucket", "", &options, limits()).unwrap();
    let error = store.get_range("none", 0..5, &mut patient()).unwrap_err();
    assert!(matches!(&error, ObjectError::Denied { code, .. } if code == "403 SignatureDoesNotMatch"), "{error:?}");
}
