//! Tests of the pool with real compressors and spools.

use std::error::Error;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{METHODS, copy, spill};
use crate::codec::RowBatch;
use crate::plan::Compression;
use crate::stream::{
    ChunkEncoder, Compressor, EntryPlan, Finish, Frame, Job, Pool, RowDigest, Spool, StreamError, Submit, plain_reader,
};

const LONG: Duration = Duration::from_secs(20);

/// A row is a batch byte; its text is the byte's number and a line end.
struct Numbers;

impl ChunkEncoder for Numbers {
    fn prologue(&self) -> Vec<u8> {
        b"[\n".to_vec()
    }
    fn epilogue(&self) -> Vec<u8> {
        b"\n]\n".to_vec()
    }
    fn separator(&self) -> &'static [u8] {
        b",\n"
    }
    fn encode(
        &self,
        batch: &RowBatch,
        digest: &mut RowDigest,
        out: &mut Vec<u8>,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        for (index, byte) in batch.bytes.iter().enumerate() {
            let row = byte.to_string();
            digest.add_row(row.as_bytes());
            out.extend_from_slice(if index == 0 { b"" } else { b",\n" });
            out.extend_from_slice(row.as_bytes());
        }
        Ok(())
    }
}

/// Calls a function for each batch, and encodes nothing.
struct Calls<F>(F);

impl<F: Fn(&RowBatch) -> Result<(), Box<dyn Error + Send + Sync>> + Send + Sync> ChunkEncoder for Calls<F> {
    fn prologue(&self) -> Vec<u8> {
        Vec::new()
    }
    fn epilogue(&self) -> Vec<u8> {
        Vec::new()
    }
    fn separator(&self) -> &'static [u8] {
        b""
    }
    fn encode(
        &self,
        batch: &RowBatch,
        _: &mut RowDigest,
        out: &mut Vec<u8>,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        out.push(b'x');
        (self.0)(batch)
    }
}

fn plan(encoder: impl ChunkEncoder + 'static, compression: Compression, limit: usize) -> EntryPlan {
    EntryPlan { encoder: Arc::new(encoder), compression, spool: Arc::new(Spool::new(limit, spill())) }
}

fn batch(sequence: u64, rows: &[u8]) -> RowBatch {
    RowBatch { sequence, first_row: 3 * sequence, rows: rows.len() as u32, bytes: rows.to_vec() }
}

fn submit(job: &Job, batch: RowBatch) -> Result<(), StreamError> {
    match job.submit(batch, LONG)? {
        Submit::Taken => Ok(()),
        Submit::Full(_) => panic!("no room for {LONG:?}"),
    }
}

/// Submits until the job has an error.
fn failure(job: &Job) -> StreamError {
    for sequence in 0..1000 {
        if let Err(error) = submit(job, batch(sequence, &[1, 2, 3])) {
            return error;
        }
    }
    job.finish(LONG).expect_err("the job should have failed")
}

#[test]
fn a_pool_writes_every_format_in_the_order_of_the_scan() {
    for (method, threads) in METHODS.into_iter().zip([1, 2, 5]) {
        let entries = vec![plan(Numbers, method, 100), plan(Numbers, Compression::None, 1 << 20)];
        let pool = Pool::start(threads, 2).unwrap();
        let job = pool.job(entries.clone());
        let mut expected = RowDigest::default();
        for sequence in 0..200_u8 {
            let rows = [sequence, 0, 9];
            rows.iter().for_each(|row| expected.add_row(row.to_string().as_bytes()));
            submit(&job, batch(sequence.into(), &rows)).unwrap();
        }
        assert_eq!(job.finish(LONG).unwrap(), Finish::Done);
        let rows: Vec<String> = (0..200).map(|number| format!("{number},\n0,\n9")).collect();
        for entry in entries {
            let spooled = entry.spool.finish().unwrap();
            assert_eq!((spooled.rows, spooled.digest), (600, expected));
            let (copied, out) = copy(&spooled, &Frame::of(&Numbers), entry.compression);
            let mut text = String::new();
            plain_reader(&out[..], copied.plain_bytes).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, format!("[\n{}\n]\n", rows.join(",\n")));
        }
    }
}

#[test]
fn a_compressor_that_returns_wrong_bytes_is_caught() {
    let entries = vec![plan(Numbers, Compression::Gzip(1), 100)];
    let pool = Pool::start_with(2, 2, Box::new(|_| Ok(Compressor::lying()))).unwrap();
    let error = failure(&pool.job(entries));
    assert!(matches!(error, StreamError::WrongBytes { piece: 0, .. }), "{error}");
}

#[test]
fn a_panic_of_the_encoder_is_an_error_with_its_message() {
    let encoder = Calls(|batch: &RowBatch| if batch.sequence == 3 { panic!("row {} is odd", 9) } else { Ok(()) });
    let pool = Pool::start(2, 2).unwrap();
    let error = failure(&pool.job(vec![plan(encoder, Compression::Gzip(1), 100)]));
    assert!(matches!(&error, StreamError::Panicked(text) if text == "row 9 is odd"), "{error}");
}

#[test]
fn an_error_of_the_encoder_tells_the_rows() {
    let encoder = Calls(|batch: &RowBatch| if batch.sequence == 3 { Err("bad value".into()) } else { Ok(()) });
    let pool = Pool::start(2, 2).unwrap();
    let error = failure(&pool.job(vec![plan(encoder, Compression::Gzip(1), 100)]));
    assert_eq!(error.to_string(), "the encoder failed on rows 9 to 11: bad value");
}

#[test]
fn a_full_queue_gives_the_batch_back() {
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let encoder = Calls(move |_: &RowBatch| Ok(wait.lock().unwrap().recv()?));
    let pool = Pool::start(1, 1).unwrap();
    let job = pool.job(vec![plan(encoder, Compression::None, 100)]);
    submit(&job, batch(0, b"abc")).unwrap();
    submit(&job, batch(1, b"abc")).unwrap();
    let Submit::Full(back) = job.submit(batch(2, b"xyz"), Duration::from_millis(20)).unwrap() else {
        panic!("there was no room")
    };
    assert_eq!(back.bytes, b"xyz");
    assert_eq!(job.finish(Duration::from_millis(20)).unwrap(), Finish::Pending);
    (0..2).for_each(|_| release.send(()).unwrap());
    assert_eq!(job.finish(LONG).unwrap(), Finish::Done);
    assert!(pool.take_buffer().capacity() > 0);
}

#[test]
fn a_cancel_ends_within_200_milliseconds() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let encoder = Calls(move |_: &RowBatch| {
        count.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(50));
        Ok(())
    });
    let pool = Pool::start(2, 50).unwrap();
    let job = pool.job(vec![plan(encoder, Compression::Gzip(1), 100)]);
    (0..50).for_each(|sequence| submit(&job, batch(sequence, b"abc")).unwrap());
    let start = Instant::now();
    pool.cancel();
    assert!(matches!(job.submit(batch(50, b"abc"), LONG), Err(StreamError::Cancelled)));
    drop(pool);
    assert!(start.elapsed() < Duration::from_millis(200), "{:?}", start.elapsed());
    assert!(seen.load(Ordering::SeqCst) < 10);
}

#[test]
fn worker_threads_block_every_signal_and_the_caller_none() {
    let status = |path: &str, key: &str| {
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_string()
    };
    let before = status("/proc/thread-self/status", "SigBlk:");
    let (send, masks) = std::sync::mpsc::channel();
    let encoder = Calls(move |_: &RowBatch| {
        send.send(status("/proc/thread-self/status", "SigBlk:"))?;
        Ok(())
    });
    let pool = Pool::start(1, 1).unwrap();
    let job = pool.job(vec![plan(encoder, Compression::None, 100)]);
    submit(&job, batch(0, b"abc")).unwrap();
    let mask = u64::from_str_radix(&masks.recv_timeout(LONG).unwrap(), 16).unwrap();
    // SIGKILL and SIGSTOP cannot be blocked, 32 and 33 belong to the C library.
    let possible = !(1 << 8 | 1 << 18 | 1 << 31 | 1 << 32);
    assert_eq!(mask & possible, possible, "{mask:x}");
    assert_eq!(status("/proc/thread-self/status", "SigBlk:"), before);
    assert_eq!(job.finish(LONG).unwrap(), Finish::Done);
}

#[test]
fn a_job_that_fails_costs_no_other() {
    let pool = Pool::start(2, 3).unwrap();
    let good = vec![plan(Numbers, Compression::Gzip(1), 100)];
    let (first, second) = (pool.job(good.clone()), pool.job(vec![plan(Numbers, Compression::Gzip(99), 100)]));
    for sequence in 0..20 {
        submit(&first, batch(sequence, &[1, 2, 3])).unwrap();
        // Refused as soon as a thread has said so; until then taken.
        drop(submit(&second, batch(sequence, &[1, 2, 3])));
    }
    assert!(matches!(failure(&second), StreamError::Level { level: 99, .. } | StreamError::Cancelled));
    drop(second);
    assert_eq!(first.finish(LONG).unwrap(), Finish::Done);
    assert_eq!(good[0].spool.finish().unwrap().rows, 60);
}

#[test]
fn a_job_that_is_dropped_leaves_the_queue_to_the_next() {
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let encoder = Calls(move |_: &RowBatch| Ok(wait.lock().unwrap().recv()?));
    let pool = Pool::start(1, 2).unwrap();
    let first = pool.job(vec![plan(encoder, Compression::None, 100)]);
    (0..3).for_each(|sequence| submit(&first, batch(sequence, b"abc")).unwrap());
    drop(first);
    release.send(()).unwrap();
    let entries = vec![plan(Numbers, Compression::None, 100)];
    let second = pool.job(entries.clone());
    (0..5).for_each(|sequence| submit(&second, batch(sequence, &[1, 2, 3])).unwrap());
    assert_eq!(second.finish(LONG).unwrap(), Finish::Done);
    assert_eq!(entries[0].spool.finish().unwrap().rows, 15);
}
