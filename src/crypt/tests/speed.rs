//! How fast a core seals: `cargo test --release -p agent_backup_core -- --ignored --nocapture crypt::tests::speed`.

use std::time::Instant;

use super::*;

#[test]
#[ignore = "measures, and says nothing in a debug build"]
fn speed() {
    let key = key();
    let content = plain(256 << 20);
    let megabytes = content.len() as f64 / 1e6;
    let best = |work: &mut dyn FnMut()| {
        (0..3).fold(f64::MAX, |best, _| {
            let start = Instant::now();
            work();
            best.min(start.elapsed().as_secs_f64())
        })
    };
    let sealing = best(&mut || {
        let mut sealer = Sealer::new(io::sink(), &key.recipients()).unwrap();
        content.chunks(1 << 20).for_each(|chunk| sealer.write_all(chunk).unwrap());
        sealer.finish().unwrap();
    });
    let opened = open(&seal(&content, &key.recipients()), &key).unwrap();
    let mut block = vec![0; 1 << 20];
    let opening = best(&mut || {
        for at in (0..content.len() as u64).step_by(1 << 20) {
            opened.read_exact_at(at, &mut block).unwrap();
        }
    });
    println!("seal {:.0} MB/s, open {:.0} MB/s, one thread", megabytes / sealing, megabytes / opening);
}
