//! A server that does what it is told, answer by answer: one thread, no library. It notes what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::*;

/// What to do with a request.
#[derive(Debug, Clone)]
pub(super) enum Act {
    /// Status, headers, body.
    Say(u16, String, Vec<u8>),
    /// An answer that announces more bytes than come.
    Short(Vec<u8>, usize),
    /// The line is cut without a word.
    Reset,
    /// Nothing comes, and the line stays.
    Stall,
    /// The request is done, and the line cut before the reply.
    Lose(Box<Act>),
    /// The object is stored with its metadata; `If-None-Match` counts.
    Store,
    /// The object stored is given: all or a range, or its head.
    Give,
}

pub(super) fn say(status: u16, code: &str) -> Act {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>m</Message></Error>");
    Act::Say(status, String::new(), body.into_bytes())
}

pub(super) fn ok(body: &str) -> Act {
    Act::Say(200, "ETag: \"e\"\r\n".into(), body.as_bytes().to_vec())
}

/// A request, as it was noted.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// `PUT /bucket/key?query`
    pub line: String,
    pub headers: String,
    pub body: Vec<u8>,
}

type Script = Box<dyn FnMut(usize, &Request) -> Act + Send>;

pub(super) struct Server {
    address: std::net::SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    script: Script,
    requests: Arc<Mutex<Vec<Request>>>,
    /// Headers of the metadata, and the bytes.
    stored: Option<(String, Vec<u8>)>,
    stalled: Vec<TcpStream>,
}

impl Server {
    /// `script` is asked with the number of the request and the request.
    pub(super) fn start(script: impl FnMut(usize, &Request) -> Act + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let mut state =
            State { script: Box::new(script), requests: requests.clone(), stored: None, stalled: Vec::new() };
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if !state.serve(stream.unwrap()) {
                    break;
                }
            }
        });
        Server { address, requests, thread: Some(thread) }
    }

    pub(super) fn store(&self) -> S3 {
        self.store_with(limits())
    }

    pub(super) fn store_with(&self, limits: Limits) -> S3 {
        S3::new("bucket", "p", &options(&format!("http://{}", self.address)), limits).unwrap()
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.line).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(mut stream) = TcpStream::connect(self.address) {
            let _ = stream.write_all(b"QUIT / HTTP/1.1\r\n\r\n");
        }
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl State {
    /// One request a connection. False at the end of all.
    fn serve(&mut self, stream: TcpStream) -> bool {
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let Some(request) = read(&stream) else { return true };
        if request.line.starts_with("QUIT") {
            return false;
        }
        let number = {
            let mut requests = self.requests.lock().unwrap();
            requests.push(request.clone());
            requests.len() - 1
        };
        let act = (self.script)(number, &request);
        self.act(act, &request, stream);
        true
    }

    fn act(&mut self, act: Act, request: &Request, mut stream: TcpStream) {
        match act {
            Act::Say(status, headers, body) => answer(&mut stream, status, &headers, &body, body.len(), request),
            Act::Short(body, announced) => answer(&mut stream, 200, "", &body, announced, request),
            Act::Reset => drop(stream),
            Act::Stall => self.stalled.push(stream),
            Act::Lose(act) => {
                // Its reply goes to nobody.
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let nobody = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                self.act(*act, request, nobody);
                drop(stream);
            }
            Act::Store => {
                if request.headers.contains("if-none-match: *") && self.stored.is_some() {
                    return self.act(say(412, "PreconditionFailed"), request, stream);
                }
                let kept = request.headers.lines().filter(|line| line.starts_with("x-amz-meta-"));
                let kept: String = kept.map(|line| format!("{line}\r\n")).collect();
                self.stored = Some((kept, request.body.clone()));
                self.act(ok(""), request, stream);
            }
            Act::Give => {
                let Some((headers, bytes)) = &self.stored else {
                    return self.act(say(404, "NoSuchKey"), request, stream);
                };
                let headers = format!("{headers}ETag: \"e\"\r\nLast-Modified: Sun, 12 Oct 2025 00:00:00 GMT\r\n");
                give(&mut stream, &headers, bytes, request);
            }
        }
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let (line, headers) = head.split_once("\r\n")?;
    let length = headers.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).ok()?;
    let line = line.trim_end_matches(" HTTP/1.1").to_owned();
    Some(Request { line, headers: headers.to_owned(), body })
}

fn answer(stream: &mut TcpStream, status: u16, headers: &str, body: &[u8], announced: usize, request: &Request) {
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {announced}\r\nConnection: close\r\n{headers}\r\n");
    // The client may have gone away.
    let _ = stream.write_all(head.as_bytes());
    if !request.line.starts_with("HEAD") {
        let _ = stream.write_all(body);
    }
}

/// All, or the range that was asked for.
pub(super) fn give(stream: &mut TcpStream, headers: &str, bytes: &[u8], request: &Request) {
    let range = request.headers.lines().find_map(|line| line.strip_prefix("range: bytes="));
    let Some((from, to)) = range.and_then(|range| range.split_once('-')) else {
        return answer(stream, 200, headers, bytes, bytes.len(), request);
    };
    let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse::<usize>().unwrap().min(bytes.len() - 1));
    let headers = format!("{headers}Content-Range: bytes {from}-{to}/{}\r\n", bytes.len());
    let bytes = &bytes[from..=to];
    answer(stream, 206, &headers, bytes, bytes.len(), request);
}
