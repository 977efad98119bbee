//! Measures compression with its check on a file: `cargo run --release -p agent_backup_core --example compression FILE`.
#![allow(clippy::unwrap_used, reason = "a measurement may stop at the first surprise")]

use std::time::Instant;

use agent_backup_core::plan::Compression;
use agent_backup_core::stream::{Compressor, Inflater};

fn main() {
    let path = std::env::args().nth(1).unwrap_or_default();
    let plain = std::fs::read(&path).unwrap();
    println!("{path}: {} MB in chunks of 1 MiB, one thread", plain.len() / 1_000_000);
    println!("{:>10} {:>8} {:>14} {:>12} {:>12}", "method", "ratio", "compress MB/s", "check MB/s", "both MB/s");
    let gzip = [1, 2, 3, 4, 6].map(Compression::Gzip);
    for method in gzip.into_iter().chain([1, 3].map(Compression::Zstd)) {
        let mut compressor = Compressor::new(method).unwrap();
        let mut inflater = Inflater::new(method).unwrap();
        let (mut stored, mut back) = (Vec::new(), Vec::new());
        let (mut total, mut write, mut check) = (0, Vec::new(), Vec::new());
        for chunk in plain.chunks(1 << 20) {
            stored.clear();
            let start = Instant::now();
            compressor.compress(chunk, &mut stored).unwrap();
            write.push(start.elapsed().as_secs_f64());
            let start = Instant::now();
            inflater.inflate(&stored, chunk.len() as u64, &mut back).unwrap();
            assert!(back == chunk);
            check.push(start.elapsed().as_secs_f64());
            total += stored.len();
        }
        let bytes = plain.len() as f64;
        let (write, check) = (median(write), median(check));
        let speed = |seconds: f64| f64::from(1 << 20) / seconds / 1e6;
        let name = format!("{method:?}");
        let ratio = bytes / total as f64;
        println!(
            "{name:>10} {ratio:>8.2} {:>14.0} {:>12.0} {:>12.0}",
            speed(write),
            speed(check),
            speed(write + check)
        );
    }
}

/// The median over the chunks, so that another program's turn on the core does not count.
fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
