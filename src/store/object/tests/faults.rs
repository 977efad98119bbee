//! T83 to T86: what goes wrong on the line and in the store, each as it shows to the caller.

use chrono::{DateTime, Utc};

use super::script::{Act, Request, Server, ok, say};
use super::*;

/// First these, then all goes well.
fn first(faults: Vec<Act>) -> impl FnMut(usize, &Request) -> Act {
    move |number, request| match faults.get(number) {
        Some(fault) => fault.clone(),
        None if request.line.starts_with("PUT") => Act::Store,
        None => Act::Give,
    }
}

fn always(act: Act) -> impl FnMut(usize, &Request) -> Act {
    move |_, _| act.clone()
}

#[test]
fn what_passes_is_tried_again() {
    for fault in [
        say(500, "InternalError"),
        say(502, ""),
        say(503, "SlowDown"),
        say(429, "TooManyRequests"),
        say(408, "RequestTimeout"),
        Act::Reset,
    ] {
        let server = Server::start(first(vec![fault.clone(), fault.clone()]));
        let store = server.store();
        put(&store, "k", b"bytes").unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(get(&store, "k").unwrap(), b"bytes");
        assert_eq!(server.lines()[..3], ["PUT /bucket/p/k"; 3], "{fault:?}");
    }
}

#[test]
fn tries_end_and_the_error_says_whether_it_passes() {
    for (fault, tries) in [(say(503, "SlowDown"), 4), (say(500, "InternalError"), 4), (Act::Reset, 4)] {
        let server = Server::start(always(fault.clone()));
        let error = put(&server.store(), "k", b"x").unwrap_err();
        assert!(error.is_passing(), "{fault:?}: {error:?}");
        assert_eq!(server.requests().len(), tries, "{fault:?}");
    }
    let server = Server::start(always(say(503, "SlowDown")));
    let error = put(&server.store(), "k", b"x").unwrap_err();
    assert_eq!(error.to_string(), "the store is too busy to put \"k\" (503 SlowDown)");
}

#[test]
fn what_does_not_pass_is_not_tried_again() {
    let server = Server::start(always(say(403, "RequestTimeTooSkewed")));
    let error = put(&server.store(), "k", b"x").unwrap_err();
    assert_eq!(error.to_string(), "permission denied to put \"k\" (403 RequestTimeTooSkewed)");
    assert!(error.hint().unwrap().contains("clock"));
    assert_eq!(server.requests().len(), 1);

    for (act, expected) in [
        (say(400, "ExpiredToken"), "permission denied to put \"k\" (400 ExpiredToken)"),
        (say(404, "NoSuchBucket"), "the store is not set up to put \"k\": the bucket does not exist"),
        (say(400, "BadDigest"), "object \"k\" is damaged: other bytes arrived than were sent (400 BadDigest)"),
        (say(400, "EntityTooLarge"), "the store failed to put \"k\" (400 EntityTooLarge)"),
        (say(501, "NotImplemented"), "the store is not able to put \"k\""),
    ] {
        let server = Server::start(always(act));
        assert_eq!(put(&server.store(), "k", b"x").unwrap_err().to_string(), expected);
        assert_eq!(server.requests().len(), 1, "{expected}");
    }
}

#[test]
fn a_body_that_repeats_a_secret_is_not_told() {
    let body =
        format!("<Error><Code>{SECRET}</Code><Message>{SECRET}</Message><StringToSign>{SECRET}</StringToSign></Error>");
    for status in [400, 403, 404, 409, 418, 500] {
        let server =
            Server::start(always(Act::Say(status, format!("x-amz-bucket-region: {SECRET}\r\n"), body.clone().into())));
        let store = server.store();
        let mut each = |_| ControlFlow::Continue(());
        for error in [
            put(&store, "k", b"x").unwrap_err(),
            store.put_new("k", b"x", &mut patient()).unwrap_err(),
            get(&store, "k").unwrap_err(),
            store.list("", None, &mut each, &mut patient()).unwrap_err(),
        ] {
            let shown = format!("{error} {error:?} {:?}", error.hint()) + &io_chain(error);
            assert!(!shown.contains(&SECRET[..10]) && !shown.contains("Signature"), "{shown}");
        }
    }
}

/// All that `ReadAt` would let through.
fn io_chain(error: ObjectError) -> String {
    let error = std::io::Error::from(error);
    let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    causes.map(|cause| format!("{cause} {cause:?}")).collect()
}

#[test]
fn a_redirection_is_not_followed() {
    let elsewhere = Server::start(always(ok("")));
    drop(elsewhere.store());
    for status in [301, 307] {
        let header = "Location: http://127.0.0.1:9/\r\nx-amz-bucket-region: eu-west-1\r\n".to_owned();
        let server = Server::start(always(Act::Say(status, header, Vec::new())));
        let error = put(&server.store(), "k", b"x").unwrap_err();
        assert!(error.to_string().ends_with("the bucket is in region \"eu-west-1\""), "{error}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn a_body_that_breaks_off_is_never_taken_for_the_object() {
    let server = Server::start(|number, _| match number {
        0 => Act::Say(200, "Last-Modified: Sun, 12 Oct 2025 00:00:00 GMT\r\n".into(), vec![1; 100]),
        _ => Act::Short(vec![1; 50], 100),
    });
    let error = get(&server.store(), "k").unwrap_err();
    assert!(
        matches!(error, ObjectError::Unreachable { .. } | ObjectError::Damaged { .. } | ObjectError::Failed { .. }),
        "{error:?}"
    );
}

#[test]
fn a_store_that_cannot_be_reached_says_why() {
    let store = |endpoint: &str| S3::new("bucket", "", &options(endpoint), Limits { retries: 1, ..limits() }).unwrap();
    let reason = |endpoint: &str| match store(endpoint).head("k", &mut patient()) {
        Err(ObjectError::Unreachable { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(reason(&format!("http://{free}")), "the connection was refused");
    assert_eq!(reason("http://no-such-host.invalid"), "its name cannot be resolved");
}

#[test]
fn a_put_whose_reply_was_lost_succeeds() {
    let server = Server::start(first(vec![Act::Lose(Box::new(Act::Store))]));
    let store = server.store();
    put(&store, "k", b"bytes").unwrap();
    assert_eq!(get(&store, "k").unwrap(), b"bytes");
}

#[test]
fn a_claim_whose_reply_was_lost_is_recognised_as_ours() {
    let server = Server::start(first(vec![say(404, "NoSuchKey"), Act::Lose(Box::new(Act::Store))]));
    let store = server.store();
    assert_eq!(store.put_new("lock", b"me", &mut patient()).unwrap(), Claim::Ours);
    assert_eq!(store.put_new("lock", b"me", &mut patient()).unwrap(), Claim::Taken, "the same bytes of another call");
}

#[test]
fn a_claim_that_meets_another_at_work_is_tried_again() {
    // What is there is looked at first.
    let conflict = || say(409, "ConditionalRequestConflict");
    let server = Server::start(first(vec![say(404, "NoSuchKey"), conflict(), conflict()]));
    assert_eq!(server.store().put_new("lock", b"me", &mut patient()).unwrap(), Claim::Ours);
    let server = Server::start(move |n, _: &Request| if n == 0 { say(404, "NoSuchKey") } else { conflict() });
    assert!(matches!(server.store().put_new("lock", b"me", &mut patient()), Err(ObjectError::Busy { .. })));
}

#[test]
fn a_claim_sends_its_condition_and_a_put_its_checksum() {
    let server = Server::start(first(vec![]));
    let store = server.store();
    let _ = store.put_new("lock", b"me", &mut patient()).unwrap();
    put(&store, "k", b"bytes").unwrap();
    let requests = server.requests();
    assert!(requests[1].headers.contains("if-none-match: *"), "{}", requests[1].headers);
    let put = requests.last().unwrap();
    let sha256 = hex::encode(Content::of(b"bytes").sha256);
    assert!(put.headers.contains("x-amz-checksum-sha256: "), "{}", put.headers);
    assert!(put.headers.contains(&format!("x-amz-meta-sha256: {sha256}")), "{}", put.headers);
    assert!(put.headers.contains(&format!("x-amz-content-sha256: {sha256}")), "{}", put.headers);
}

#[test]
fn an_object_that_a_lock_keeps_is_retained() {
    let body = "<Error><Code>AccessDenied</Code><Message>Access Denied because object protected by object lock.</Message></Error>";
    let server = Server::start(always(Act::Say(403, String::new(), body.into())));
    let store = server.store();
    assert_eq!(store.delete("k", &mut patient()).unwrap(), Removal::Retained);
    assert!(matches!(put(&store, "k", b"x"), Err(ObjectError::Retained { .. })));
    let server = Server::start(always(say(403, "AccessDenied")));
    assert!(matches!(server.store().delete("k", &mut patient()), Err(ObjectError::Denied { .. })));
}

#[test]
fn a_store_that_gives_other_bytes_is_found_out_by_their_hash() {
    let headers = "Content-Range: bytes 0-4/5\r\nLast-Modified: Sun, 12 Oct 2025 00:00:00 GMT\r\n";
    let server = Server::start(always(Act::Say(206, headers.into(), b"other".to_vec())));
    let found = server.store().get_range("k", 0..5, &mut patient()).unwrap();
    assert_ne!(Content::of(&found), Content::of(b"bytes"));
}

#[test]
fn a_whole_object_in_the_place_of_a_range_is_not_taken() {
    let headers = "Last-Modified: Sun, 12 Oct 2025 00:00:00 GMT\r\n";
    let server = Server::start(always(Act::Say(200, headers.into(), b"a whole object".to_vec())));
    let error = server.store().get_range("k", 2..7, &mut patient()).unwrap_err();
    assert!(matches!(error, ObjectError::Failed { .. } | ObjectError::Damaged { .. }), "{error:?}");
}

#[test]
fn a_list_that_lags_is_an_empty_list() {
    let empty = "<ListBucketResult><Name>bucket</Name><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>";
    let server = Server::start(always(ok(empty)));
    assert!(keys(&server.store(), "").unwrap().is_empty());
}

const STARTED: &str = "<InitiateMultipartUploadResult><Bucket>bucket</Bucket><Key>p/k</Key><UploadId>u1</UploadId></InitiateMultipartUploadResult>";
const COMPLETED: &str = "<CompleteMultipartUploadResult><ETag>\"e\"</ETag></CompleteMultipartUploadResult>";

/// Answers an upload; `other` may answer instead.
fn upload(mut other: impl FnMut(&Request) -> Option<Act> + Send) -> impl FnMut(usize, &Request) -> Act + Send {
    move |_, request| {
        other(request).unwrap_or_else(|| match request.line.as_str() {
            line if line.starts_with("POST") && line.contains("uploads") => ok(STARTED),
            line if line.starts_with("POST") => ok(COMPLETED),
            line if line.starts_with("PUT") => ok(""),
            line if line.starts_with("DELETE") => Act::Say(204, String::new(), Vec::new()),
            _ => say(404, "NoSuchKey"),
        })
    }
}

fn is_part(request: &Request, number: u32) -> bool {
    request.line.starts_with("PUT") && request.line.contains(&format!("partNumber={number}&"))
}

fn aborts(server: &Server) -> usize {
    server.lines().iter().filter(|line| line.starts_with("DELETE") && line.contains("uploadId=u1")).count()
}

fn completions(server: &Server) -> usize {
    server.lines().iter().filter(|line| line.starts_with("POST") && line.contains("uploadId=u1")).count()
}

#[test]
fn an_upload_that_fails_at_part_three_is_aborted_and_never_completed() {
    let server = Server::start(upload(|request| is_part(request, 3).then(|| say(403, "AccessDenied"))));
    let error = put(&server.store(), "k", &content(20 << 20)).unwrap_err();
    assert!(matches!(error, ObjectError::Denied { .. }), "{error:?}");
    assert_eq!((aborts(&server), completions(&server)), (1, 0));
}

#[test]
fn a_part_that_passes_is_tried_again() {
    let mut left = 2;
    let server = Server::start(upload(move |request| {
        let fails = is_part(request, 2) && left > 0;
        left -= i32::from(fails);
        fails.then_some(Act::Reset)
    }));
    put(&server.store(), "k", &content(12 << 20)).unwrap();
    assert_eq!((aborts(&server), completions(&server)), (0, 1));
}

#[test]
fn an_upload_that_is_cancelled_is_aborted() {
    let server = Server::start(upload(|request| is_part(request, 2).then_some(Act::Stall)));
    let store = server.store();
    let bytes = content(12 << 20);
    let start = std::time::Instant::now();
    let mut watch = || if start.elapsed() > Duration::from_millis(700) { Err(Cancelled) } else { Ok(()) };
    let error = store.put("k", Content::of(&bytes), &mut bytes.as_slice(), &mut watch).unwrap_err();
    assert!(matches!(error, ObjectError::Cancelled), "{error:?}");
    assert_eq!((aborts(&server), completions(&server)), (1, 0));
}

#[test]
fn an_abort_that_fails_does_not_hide_the_cause() {
    let server = Server::start(upload(|request| match request.line.starts_with("DELETE") {
        true => Some(say(500, "InternalError")),
        false => is_part(request, 1).then(|| say(403, "AccessDenied")),
    }));
    let error = put(&server.store(), "k", &content(12 << 20)).unwrap_err();
    assert!(matches!(error, ObjectError::Denied { .. }), "{error:?}");
    assert!(aborts(&server) >= 1);
}

#[test]
fn a_completion_whose_reply_was_lost_succeeds() {
    let mut call = String::new();
    let mut lost = false;
    let server = Server::start(upload(move |request| {
        let note = |name| request.headers.lines().find(|line| line.starts_with(name)).map(str::to_owned);
        if request.line.contains("?uploads") {
            call = note("x-amz-meta-agent-backup-call").unwrap();
        }
        if request.line.starts_with("HEAD") {
            return Some(Act::Say(
                200,
                format!("{call}\r\nLast-Modified: Sun, 12 Oct 2025 00:00:00 GMT\r\n"),
                Vec::new(),
            ));
        }
        if request.line.starts_with("POST") && request.line.contains("uploadId") {
            return Some(if std::mem::replace(&mut lost, true) { say(404, "NoSuchUpload") } else { Act::Reset });
        }
        None
    }));
    put(&server.store(), "k", &content(12 << 20)).unwrap();
    assert_eq!(aborts(&server), 0);
}

#[test]
fn a_completion_that_fails_within_a_success_is_an_error() {
    let body = "<Error><Code>InternalError</Code><Message>m</Message></Error>";
    let server = Server::start(upload(move |request| {
        (request.line.starts_with("POST") && request.line.contains("uploadId")).then(|| ok(body))
    }));
    put(&server.store(), "k", &content(12 << 20)).unwrap_err();
    assert_eq!(aborts(&server), 1);
}

#[test]
fn the_sweep_aborts_old_uploads_of_its_prefix_only() {
    let item = |key: &str, id: &str, at: &str| {
        format!("<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiated>{at}</Initiated></Upload>")
    };
    let page =
        |more: &str, items: String| format!("<ListMultipartUploadsResult>{more}{items}</ListMultipartUploadsResult>");
    let more =
        "<IsTruncated>true</IsTruncated><NextKeyMarker>p/a</NextKeyMarker><NextUploadIdMarker>u1</NextUploadIdMarker>";
    let one =
        page(more, item("p/a", "u1", "2025-10-10T00:00:00.000Z") + &item("p/b", "u2", "2025-10-12T12:00:00.000Z"));
    let two = page("", item("p2/c", "u3", "2025-10-10T00:00:00.000Z") + &item("p/d", "u4", "2025-10-10T00:00:00.000Z"));
    let server = Server::start(move |number, request| match request.line.starts_with("DELETE") {
        true => Act::Say(204, String::new(), Vec::new()),
        false if number == 0 => say(503, "SlowDown"),
        false if request.line.contains("key-marker=p%2Fa") => ok(&two),
        false => ok(&one),
    });
    let before: DateTime<Utc> = "2025-10-12T00:00:00Z".parse().unwrap();
    let swept = server.store().sweep("", before, &mut patient()).unwrap();
    assert_eq!(swept, ["a", "d"]);
    let deletes: Vec<_> = server.lines().into_iter().filter(|line| line.starts_with("DELETE")).collect();
    assert_eq!(deletes, ["DELETE /bucket/p/a?uploadId=u1", "DELETE /bucket/p/d?uploadId=u4"]);
}
