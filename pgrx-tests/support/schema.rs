//! Two databases with the same schema: what pg_dump says of each, and how they differ.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::database::Database;
use crate::server::pg_config;

/// What `pg_dump --schema-only` leaves out or settles: sequence values, and the inner state of constraints and columns.
pub const SCHEMA_STATE: &str = "
    SELECT concat_ws('|', 'sequence', schemaname, sequencename, last_value) FROM pg_sequences
    UNION ALL SELECT concat_ws('|', 'constraint', conrelid::regclass, contypid::regtype, conname, contype, convalidated, conislocal, coninhcount, condeferrable)
    FROM pg_constraint WHERE connamespace >= 16384 OR conrelid >= 16384
    UNION ALL SELECT concat_ws('|', 'column', attrelid::regclass, attname, attislocal, attinhcount, attnotnull, atthasdef, attidentity)
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid WHERE pg_class.oid >= 16384 AND relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped
    ORDER BY 1";

/// A file of the project.
pub fn of_project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join(path)
}

/// An empty database in the same cluster, with the same roles.
pub fn empty_database(db: &Database, suffix: &str) -> String {
    let name = format!("{}_{suffix}", db.name());
    let mut client = db.cluster().client("postgres");
    client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0")).unwrap();
    name
}

/// `pg_dump --schema-only` of a database, without what differs from run to run.
pub fn pg_dump(db: &Database, name: &str) -> String {
    let output = Command::new(pg_config().with_file_name("pg_dump"))
        .args(["--schema-only", "-U", "postgres", "-h"])
        .arg(db.cluster().socket_dir())
        .arg(name)
        .output()
        .expect("pg_dump");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let noise = ["-- Dumped ", "\\restrict ", "\\unrestrict "];
    text.lines()
        .filter(|line| !noise.iter().any(|start| line.starts_with(start)))
        .fold(String::new(), |all, line| all + line + "\n")
}

/// The only column of a query in a database.
pub fn column_of(db: &Database, name: &str, query: &str) -> Vec<String> {
    db.cluster().client(name).query(query, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

/// The lines of `left` and `right` that the other has not, as a diff tells them; empty if they are equal.
pub fn difference(left: &str, right: &str) -> String {
    if left == right {
        return String::new();
    }
    let dir = std::env::temp_dir().join(format!("schema_sql_{}_{}", std::process::id(), left.len()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("source"), left).unwrap();
    std::fs::write(dir.join("target"), right).unwrap();
    let output = Command::new("diff").args(["-U2", "source", "target"]).current_dir(&dir).output().expect("diff");
    std::fs::remove_dir_all(&dir).unwrap();
    String::from_utf8_lossy(&output.stdout).chars().take(6000).collect()
}
