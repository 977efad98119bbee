//! A headless Chromium, driven over the protocol that its driver speaks. `scripts/browser` installs both.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// A browser with one window and a profile of its own.
pub struct Browser {
    driver: Child,
    /// Open as long as it runs: it may have more to say.
    _output: BufReader<ChildStdout>,
    port: u16,
    session: String,
    /// The browser itself, which outlives a driver that is killed.
    process: i32,
    profile: PathBuf,
}

impl Browser {
    /// Starts it with a profile in `directory`; none where no browser is installed, unless one must be there, as
    /// `AGENT_BACKUP_BROWSER=required` says.
    pub fn start(directory: &Path) -> Option<Self> {
        let started = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut driver = match started {
            Ok(driver) => driver,
            Err(error) => {
                let is_required = std::env::var("AGENT_BACKUP_BROWSER").is_ok_and(|value| value == "required");
                assert!(!is_required, "chromedriver: {error}: run scripts/browser");
                eprintln!("skipped: there is no chromedriver ({error}); scripts/browser installs it");
                return None;
            }
        };
        let mut output = BufReader::new(driver.stdout.take().unwrap());
        let port = output.by_ref().lines().map_while(Result::ok).find_map(|line| {
            line.split_once("successfully on port ").and_then(|(_, rest)| rest.trim_end_matches('.').parse().ok())
        });
        let profile = directory.join(format!("chromium-{}", driver.id()));
        let mut browser = Browser {
            driver,
            _output: output,
            port: port.expect("a port"),
            session: String::new(),
            process: 0,
            profile,
        };
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            "--hide-scrollbars",
            &format!("--user-data-dir={}", browser.profile.display()),
        ];
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}});
        let session = browser.call("POST", "/session", &capabilities);
        browser.session = session["sessionId"].as_str().expect("a session").to_owned();
        browser.process = session["capabilities"]["goog:processID"]
            .as_i64()
            .and_then(|id| i32::try_from(id).ok())
            .expect("the browser has a process");
        Some(browser)
    }

    /// Leaves what it shows.
    pub fn blank(&self) {
        self.command("POST", "/url", &json!({"url": "about:blank"}));
    }

    /// Opens a file.
    pub fn open(&self, page: &Path) {
        self.command("POST", "/url", &json!({"url": format!("file://{}", page.display())}));
    }

    /// What a script returns.
    pub fn script(&self, script: &str) -> Value {
        self.command("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    /// A command of the browser's own protocol.
    pub fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.command("POST", "/goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    /// Lines of a log since it was last asked for: `browser` or `performance`.
    pub fn log(&self, kind: &str) -> Vec<Value> {
        self.command("POST", "/se/log", &json!({"type": kind})).as_array().expect("a log").clone()
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        self.call(method, &format!("/session/{}{path}", self.session), body)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the driver listens");
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let body = body.to_string();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        // The driver leaves the connection open, so its answer is as long as it says.
        let mut answer = BufReader::new(stream);
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let start = head.len();
            assert_ne!(answer.read_line(&mut head).unwrap(), 0, "{path}: the driver hung up: {head}");
            let line = head[start..].to_ascii_lowercase();
            length = line.strip_prefix("content-length:").map_or(length, |length| length.trim().parse().unwrap());
        }
        let mut body = vec![0; length];
        answer.read_exact(&mut body).unwrap();
        let answer = String::from_utf8(body).expect("an answer in UTF-8");
        let value: Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{path}: {error}: {answer}"));
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {}", value["value"]);
        value["value"].clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !std::thread::panicking() && !self.session.is_empty() {
            self.command("DELETE", "", &json!({}));
        } else if self.process > 0 {
            // Best effort: it may have ended by itself.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.process), nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

/// Writes what the browser gave in base64 into a file.
pub fn save(base64: &Value, file: &Path) {
    let mut decoder = Command::new("base64")
        .arg("-d")
        .stdin(Stdio::piped())
        .stdout(std::fs::File::create(file).unwrap())
        .spawn()
        .unwrap();
    decoder.stdin.take().unwrap().write_all(base64.as_str().expect("base64").as_bytes()).unwrap();
    assert!(decoder.wait().unwrap().success());
}
