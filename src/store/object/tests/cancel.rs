use std::time::Instant;

use super::script::{Act, Server, say};
use super::*;

#[test]
fn a_cancel_is_seen_while_a_request_stalls() {
    let server = Server::start(|_, _| Act::Stall);
    let store = server.store();
    let (start, mut last, mut longest) = (Instant::now(), Instant::now(), Duration::ZERO);
    let mut watch = || {
        longest = longest.max(last.elapsed());
        last = Instant::now();
        if start.elapsed() > Duration::from_millis(500) { Err(Cancelled) } else { Ok(()) }
    };
    let error = store.get_range("k", 0..5, &mut watch).unwrap_err();
    assert!(matches!(error, ObjectError::Cancelled), "{error:?}");
    assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
    // 50 ms on a machine that has nothing else to do.
    assert!(longest < Duration::from_millis(250), "{longest:?}");
}

#[test]
fn a_cancel_is_seen_between_tries() {
    let server = Server::start(|_, _| say(503, "SlowDown"));
    let store = server.store_with(Limits { retries: 100, pause: Duration::from_millis(400), ..limits() });
    let start = Instant::now();
    let mut watch = || if start.elapsed() > Duration::from_millis(300) { Err(Cancelled) } else { Ok(()) };
    assert!(matches!(store.get_range("k", 0..5, &mut watch), Err(ObjectError::Cancelled)));
    assert!(start.elapsed() < Duration::from_millis(700), "{:?}", start.elapsed());
}

#[test]
fn a_call_ends_at_its_deadline_however_it_is_going() {
    for act in [Act::Stall, say(503, "SlowDown")] {
        let server = Server::start(move |_, _| act.clone());
        let call = Duration::from_secs(1);
        let store = server.store_with(Limits { call, retries: 1000, pause: Duration::from_millis(50), ..limits() });
        let start = Instant::now();
        let error = store.get_range("k", 0..5, &mut patient()).unwrap_err();
        assert!(error.is_passing(), "{error:?}");
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    }
}

#[test]
fn a_stalled_request_is_given_up_and_tried_again() {
    let server = Server::start(|number, request| match request.line.starts_with("PUT") {
        true if number == 0 => Act::Stall,
        true => Act::Store,
        false => Act::Give,
    });
    let store = server.store_with(Limits { request: Duration::from_millis(500), slowest: 1 << 30, ..limits() });
    put(&store, "k", b"x").unwrap();
    assert_eq!(get(&store, "k").unwrap(), b"x");
}

#[test]
fn a_store_works_on_after_a_cancel() {
    let server = Server::start(|number, request| match request.line.starts_with("PUT") {
        _ if number == 0 => Act::Stall,
        true => Act::Store,
        false => Act::Give,
    });
    let store = server.store();
    let start = Instant::now();
    let mut watch = || if start.elapsed() > Duration::from_millis(100) { Err(Cancelled) } else { Ok(()) };
    assert!(store.put_new("k", b"x", &mut watch).is_err());
    put(&store, "k", b"y").unwrap();
    assert_eq!(get(&store, "k").unwrap(), b"y");
}

#[test]
fn signals_are_as_they_were_after_a_call() {
    use nix::sys::signal::SigSet;
    let server = Server::start(|_, _| say(404, "NoSuchKey"));
    let before = SigSet::thread_get_mask().unwrap();
    assert!(server.store().head("k", &mut patient()).is_err());
    assert_eq!(SigSet::thread_get_mask().unwrap(), before);
}
