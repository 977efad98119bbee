//! One suite that every store passes, and a server that does what a real one cannot be made to do.

mod cancel; // and deadlines
mod conformance; // the suite
mod faults; // what goes wrong on the line and in the store
mod growing; // objects of a size that is not known before
mod live; // S3 stores: in this process, or the one that the environment names
mod location;
mod profile;
mod remote; // containers read from a store
mod script; // the scripted server

use std::sync::Arc;
use std::time::Duration;

use super::*;
use age::secrecy::SecretString;

/// A store with what keeps it alive.
struct Place {
    store: Arc<dyn ObjectStore>,
    _kept: Option<tempfile::TempDir>,
}

const SECRET: &str = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLESECRET";

fn options(endpoint: &str) -> S3Options {
    S3Options {
        endpoint: Some(endpoint.into()),
        region: Some("us-east-1".into()),
        credentials: Some(Credentials {
            key_id: "AKIAEXAMPLEKEYID".into(),
            secret: SecretString::from(SECRET.to_owned()),
            token: Some(SecretString::from("EXAMPLESESSIONTOKEN".to_owned())),
        }),
        ..S3Options::default()
    }
}

/// Short, for servers of this machine.
fn limits() -> Limits {
    Limits {
        connect: Duration::from_secs(2),
        request: Duration::from_secs(5),
        call: Duration::from_secs(20),
        slowest: 1 << 20,
        retries: 3,
        pause: Duration::from_millis(5),
        part: 5 << 20,
        parallel: 3,
    }
}

/// Waits as long as it takes.
fn patient() -> impl FnMut() -> Result<(), Cancelled> {
    || Ok(())
}

fn put(store: &dyn ObjectStore, key: &str, bytes: &[u8]) -> Result<(), ObjectError> {
    store.put(key, Content::of(bytes), &mut &*bytes, &mut patient())
}

fn get(store: &dyn ObjectStore, key: &str) -> Result<Vec<u8>, ObjectError> {
    let mut all = Vec::new();
    let mut each = |bytes: &[u8]| {
        all.extend_from_slice(bytes);
        Ok(())
    };
    store.get(key, &mut each, &mut patient())?;
    Ok(all)
}

fn keys(store: &dyn ObjectStore, prefix: &str) -> Result<Vec<String>, ObjectError> {
    let mut keys = Vec::new();
    let mut each = |info: ObjectInfo| {
        keys.push(info.key);
        ControlFlow::Continue(())
    };
    store.list(prefix, None, &mut each, &mut patient())?;
    Ok(keys)
}

/// Bytes that differ from place to place.
fn content(length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

#[test]
fn a_message_never_holds_a_secret() {
    let options = options("http://127.0.0.1:1");
    let store = S3::new("bucket", "p", &options, Limits { retries: 0, ..limits() }).unwrap();
    let error = put(&store, "k", b"x").unwrap_err();
    let shown = format!("{options:?} {store:?} {error} {error:?} {:?}", error.hint());
    assert!(!shown.contains(SECRET) && !shown.contains("EXAMPLESESSIONTOKEN"), "{shown}");
    assert!(!shown.contains("Signature"), "{shown}");
}
