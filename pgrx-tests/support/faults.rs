//! Faults done to a live backend: signals, and system calls that fail.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use postgres::{Client, NoTls};

use crate::{Cluster, wait_until};

/// Sends `signal` to a process of the server: SIGKILL for a crash, SIGINT for a cancel, SIGTERM for a terminated session.
pub fn kill_backend(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap_or_else(|error| panic!("cannot send {signal} to {pid}: {error}"));
}

/// A connection to `database` once the server has recovered from the end of its process `pid`.
/// Until the process is reaped the server does not know that it crashed, and takes connections that it ends a moment later.
pub fn wait_for_recovery(cluster: &Cluster, database: &str, pid: i32) -> Client {
    wait_until("the server to see the end of its process", Duration::from_secs(60), || {
        (!PathBuf::from(format!("/proc/{pid}")).exists()).then_some(())
    });
    wait_until("the server to recover", Duration::from_secs(60), || {
        let mut client = cluster.config("postgres", database).connect(NoTls).ok()?;
        client.simple_query("SELECT 1").ok().map(|_| client)
    })
}

/// Attaches strace to a backend and its threads (the backend alone if it shall kill); `args` are strace's, as `["-e", "inject=fsync:error=EIO:when=2"]`.
/// `output` is the trace's file. Returns when strace is attached; it lets go when the guard is dropped.
pub fn strace_backend(pid: i32, output: PathBuf, args: &[&str]) -> Strace {
    // A strace that kills waits for the backend's end; that end waits for its threads to be let go, were they traced.
    let kills = args.iter().any(|arg| arg.contains("signal=KILL"));
    let mut child = Command::new("strace")
        .args(if kills { &[][..] } else { &["-f"] })
        .args(["-q", "-y"])
        .args(args)
        .arg("-o")
        .arg(&output)
        .args(["-p", &pid.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("strace (run make setup)");
    wait_until("strace to attach", Duration::from_secs(10), || {
        if let Some(status) = child.try_wait().expect("strace's status") {
            let mut said = String::new();
            if let Some(mut stderr) = child.stderr.take() {
                std::io::Read::read_to_string(&mut stderr, &mut said).expect("what strace said");
            }
            panic!("strace ended ({status}): {said}");
        }
        is_traced(pid).then_some(())
    });
    Strace { child, pid, output }
}

/// A strace that is attached while this lives.
pub struct Strace {
    child: Child,
    pid: i32,
    output: PathBuf,
}

impl Strace {
    /// Detaches and returns the trace, a system call a line.
    pub fn finish(mut self) -> String {
        self.detach();
        fs::read(&self.output).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).expect("the trace")
    }

    fn detach(&mut self) {
        // ESRCH is fine: strace ends by itself when the backend does.
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT);
        let _ = self.child.wait();
        wait_until("strace to let go", Duration::from_secs(10), || (!is_traced(self.pid)).then_some(()));
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.detach();
        }
    }
}

fn is_traced(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
}
