//! How fast a core encodes: `cargo test --release -p agent_backup_core -- --ignored --nocapture speed`.

use std::sync::Arc;

use super::encoder::Encoder;
use super::wire::{Column, Element, RowBatch, ValueKind};
use super::{split, stored};
use crate::stream::RowDigest;

const ROWS: u32 = 20_000;
const ROUNDS: u32 = 50;

fn columns() -> Vec<Column> {
    let labels = [(1, "pending".into()), (2, "approved".into())].into_iter().collect();
    let tags = Element { kind: ValueKind::Text, length: -1, align: 4, delimiter: b',' };
    [
        ("id", ValueKind::Int8),
        ("public_id", ValueKind::Uuid),
        ("agent_name", ValueKind::Text),
        ("title", ValueKind::Text),
        ("description", ValueKind::Text),
        ("status", ValueKind::Enum(Arc::new(labels))),
        ("priority", ValueKind::Int4),
        ("attempts", ValueKind::Int4),
        ("amount", ValueKind::Numeric),
        ("payload", ValueKind::Jsonb),
        ("tags", ValueKind::Array(Arc::new(tags))),
        ("created_at", ValueKind::TimestampTz),
        ("updated_at", ValueKind::TimestampTz),
        ("active", ValueKind::Bool),
        ("note", ValueKind::Text),
    ]
    .map(|(name, kind)| Column { name: name.into(), kind, generated: false })
    .to_vec()
}

fn batch() -> RowBatch {
    let mut batch = RowBatch::default();
    let mut put = |bytes: &[u8]| batch.push_value(bytes).unwrap();
    for row in 0..ROWS {
        put(&i64::from(row).to_ne_bytes());
        put(&(u128::from(row) * 0x1234_5678_9abc_def0_1234_5678_9abc_def1).to_ne_bytes());
        put(format!("agent-{}", row % 97).as_bytes());
        put(format!("Approve the transfer number {row}, please").as_bytes());
        put(format!("The agent asks to move {row} units from one account to another, since the balance is low")
            .as_bytes());
        put(&(row % 2 + 1).to_ne_bytes());
        put(&(row % 10).to_ne_bytes());
        put(&(row % 1000).to_ne_bytes());
        put(&stored::numeric(&format!("{}.{:02}", row % 100_000, row % 100)));
        let payload = serde_json::json!({
            "tool": "transfer", "score": row % 100, "args": { "from": format!("acc-{row}"), "to": "acc-2", "dry": false }, "steps": [1, 2, 3],
        });
        put(&stored::jsonb(&payload));
        put(&stored::text_array(1, &["finance", "urgent", "eu-west"].map(|tag| Some(tag.to_owned()))));
        put(&(800_000_000_000_000 + i64::from(row) * 1_234_567).to_ne_bytes());
        put(&(800_100_000_000_000 + i64::from(row) * 7_654_321).to_ne_bytes());
        put(&[(row % 2) as u8]);
        put(if row % 3 == 0 { b"a \"quoted\" remark" } else { b"nothing to add here" });
    }
    batch.rows = ROWS;
    batch
}

/// Time that this thread has spent on a core, which a busy machine disturbs less than the clock.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

#[test]
#[ignore = "measures, and says nothing in a debug build"]
fn speed() {
    let batch = batch();
    let encoders = [
        Encoder::csv(&columns()),
        Encoder::json(&columns()),
        Encoder::sql(&columns(), "\"public\".\"agent_approvals\""),
    ];
    for encoder in encoders {
        let mut out = vec![];
        let rows = encoder.encode_rows(&batch, &mut out).unwrap();
        let best = |mut work: Box<dyn FnMut() + '_>| {
            let mut best = f64::MAX;
            for _ in 0..ROUNDS {
                let start = cpu_seconds();
                work();
                best = best.min(cpu_seconds() - start);
            }
            best
        };
        let length = out.len();
        let splitting = best(Box::new(|| assert_eq!(split::rows(encoder.format(), &out).count(), ROWS as usize)));
        let mut buffer = Vec::with_capacity(length + 16);
        let encoding = best(Box::new(|| {
            buffer.clear();
            encoder.encode_rows(&batch, &mut buffer).unwrap();
        }));
        let digesting = best(Box::new(|| RowDigest::default().add_rows(rows.iter().map(|row| &out[row.clone()]))));
        println!(
            "{}: {} bytes a row; encode {:.0} MB/s, {:.3} s a million rows; split {:.0} MB/s; digest {:.0} MB/s",
            encoder.format(),
            length / ROWS as usize,
            length as f64 / encoding / 1e6,
            encoding / f64::from(ROWS) * 1e6,
            length as f64 / splitting / 1e6,
            length as f64 / digesting / 1e6,
        );
    }
}
