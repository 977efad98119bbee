//! What jobs tell in one line.

use std::time::Duration;

use crate::run::say;

/// `8 tables`, `1 table`.
pub fn count(number: usize, one: &str, several: &str) -> String {
    format!("{} {}", digits(number as u64), if number == 1 { one } else { several })
}

/// `8 tables, 26,635 rows, 4.5 MB in 0.8 s`.
pub fn saved(tables: usize, rows: u64, bytes: Option<u64>, took: Duration) -> String {
    let rows = format!("{} {}", digits(rows), if rows == 1 { "row" } else { "rows" });
    let bytes = bytes.map(|bytes| format!(", {}", say::bytes(bytes as f64))).unwrap_or_default();
    format!("{}, {rows}{bytes} in {:.1} s", count(tables, "table", "tables"), took.as_secs_f64())
}

/// `2 of 8 tables failed: a (why), b (why)`; none where none did.
pub fn failed(of: usize, failures: &[(String, String)]) -> Option<String> {
    let told: Vec<String> = failures.iter().map(|(table, why)| format!("{table} ({why})")).collect();
    let are = count(of, "table", "tables");
    (!failures.is_empty()).then(|| format!("{} of {are} failed: {}", failures.len(), told.join(", ")))
}

/// A number with a comma before each three digits.
fn digits(number: u64) -> String {
    let plain = number.to_string();
    let mut told = String::new();
    for (place, digit) in plain.chars().enumerate() {
        if place > 0 && (plain.len() - place).is_multiple_of(3) {
            told.push(',');
        }
        told.push(digit);
    }
    told
}
