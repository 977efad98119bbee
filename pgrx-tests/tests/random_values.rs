//! Random tables of random types with random rows: the files hold the bytes that COPY and row_to_json write, and come
//! back as the same rows. A failure prints the seed; `AGENT_BACKUP_SEED` runs that one again.

use std::time::{SystemTime, UNIX_EPOCH};

use agent_backup_suite::{Reads, assert_equal_tables, assert_exact, assert_no_trash, database, export, long, pin};

/// Makes `rnd.t` from a seed: columns of random types, some dropped again, rows of random values and NULLs.
const GENERATOR: &str = include_str!("values/random.sql");

fn seeds() -> Vec<i64> {
    if let Ok(seed) = std::env::var("AGENT_BACKUP_SEED") {
        return vec![seed.parse().expect("a number in AGENT_BACKUP_SEED")];
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_millis() as i64;
    let first = now % 1_000_000_000;
    (first..first + if long() { 5000 } else { 200 }).collect()
}

#[test]
fn random_tables_are_exact_and_come_back() {
    let db = database();
    db.run(GENERATOR);
    let (mut client, mut reference) = (db.client(), db.client());
    pin(&mut reference);
    let (mut rows, mut with_rows) = (0, 0);
    for seed in seeds() {
        // Shown only when the test fails.
        println!("AGENT_BACKUP_SEED={seed}");
        client.execute("CALL rnd.make($1)", &[&seed]).unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        let count = assert_exact(&mut client, &mut reference, "rnd.t", Reads::Table);
        rows += count;
        if count == 0 || seed % 5 != 0 {
            continue;
        }
        with_rows += 1;
        let sql = export(&mut client, "rnd.t", "sql");
        let clone = "ALTER TABLE rnd.t RENAME TO saved; CREATE TABLE rnd.t (LIKE rnd.saved INCLUDING ALL);";
        let output = db.psql(&format!("{clone}\n\\i '{}'\n", sql.path.display()));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_equal_tables(&mut client, "rnd.t", "rnd.saved");
    }
    assert!(rows > 0 && (with_rows > 0 || seeds().len() < 5), "{rows} rows in all, {with_rows} tables replayed");
    assert_no_trash(&db, &[]);
}
