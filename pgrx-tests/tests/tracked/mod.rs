//! What the tests of change capture share: tracked tables, their rows at a mark, and the way back to it and forth again.
#![allow(dead_code, reason = "each test file uses some of it")]

use agent_backup_suite::{Database, Step, database, lines, one, try_restore};
use postgres::Client;

/// Five rows with a key.
pub const FIVE: &str = "CREATE TABLE t (id int PRIMARY KEY, v text, n int DEFAULT 0);
    INSERT INTO t SELECT g, 'v' || g, g FROM generate_series(1, 5) g";

/// A database with tables of a script, tracked without a backup.
pub fn tracked(script: &str, tables: &[&str]) -> Database<'static> {
    let db = database();
    // A writer that waits for ever is a failure, too.
    db.run(&format!("ALTER DATABASE {} SET lock_timeout = '20s'", db.name()));
    db.run(script);
    tables.iter().for_each(|table| track(&db, table));
    db
}

pub fn track(db: &Database, table: &str) {
    db.run(&format!("SELECT agent_backup.track({}, baseline => false)", literal(table)));
}

pub fn mark(db: &Database, name: &str) {
    db.run(&format!("SELECT agent_backup.mark('{name}')"));
}

pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The rows of what stands behind FROM, as texts, sorted.
#[track_caller]
pub fn rows(client: &mut Client, from: &str) -> Vec<String> {
    let mut rows = lines(client, &format!("SELECT ROW(t.*)::text FROM {from} AS t"));
    rows.sort();
    rows
}

/// The rows of tables, each with the table's name before it; of a plain table without those of its children.
#[track_caller]
pub fn all(client: &mut Client, tables: &[&str]) -> Vec<String> {
    let mut all = Vec::new();
    for table in tables {
        let plain: bool =
            one(client, &format!("SELECT relkind = 'r' FROM pg_class WHERE oid = {}::regclass", literal(table)));
        let from = if plain { format!("ONLY {table}") } else { (*table).to_owned() };
        all.extend(rows(client, &from).into_iter().map(|row| format!("{table}: {row}")));
    }
    all
}

/// The rows of tables as they were at a mark.
#[track_caller]
pub fn as_of(client: &mut Client, tables: &[&str], mark: &str) -> Vec<String> {
    let mut all = Vec::new();
    for table in tables {
        let read = rows(client, &format!("agent_backup.read_as_of(NULL::{table}, mark => '{mark}')"));
        all.extend(read.into_iter().map(|row| format!("{table}: {row}")));
    }
    all
}

/// What the log says, oldest first: operation, key, image, changed columns and their values before.
#[track_caller]
pub fn log(client: &mut Client) -> Vec<String> {
    let query = "SELECT operation, row_key, image, array_to_string(old_columns, ','), old_values FROM agent_backup.change_log ORDER BY seq";
    lines(client, query)
}

/// Brings tables back by a call of `undo` or `restore_table_as_of`; there must be no conflict.
#[track_caller]
pub fn back(client: &mut Client, call: &str) -> Vec<Step> {
    let steps = try_restore(client, call).unwrap_or_else(|error| panic!("{call}: {error:?}"));
    let conflicts: Vec<&Step> = steps.iter().filter(|step| step.action == "conflict").collect();
    assert!(conflicts.is_empty(), "{call}: {conflicts:#?}");
    steps
}

/// The statements change tracked tables, and the log knows how: as of before them the rows are those before them, `undo`
/// brings these back and, since it is captured too, can be undone.
#[track_caller]
pub fn assert_captured(db: &Database, tables: &[&str], statements: &str) {
    assert_captured_while(db, tables, || db.run(statements));
}

/// The same, of any work.
#[track_caller]
pub fn assert_captured_while(db: &Database, tables: &[&str], work: impl FnOnce()) {
    let mut client = db.client();
    let before = all(&mut client, tables);
    mark(db, "before");
    work();
    let after = all(&mut client, tables);
    assert_ne!(before, after, "nothing changed, so nothing is proved");
    mark(db, "after");
    assert_eq!(as_of(&mut client, tables, "before"), before, "as of before; the log: {:#?}", log(&mut client));
    assert_eq!(as_of(&mut client, tables, "after"), after, "as of after");
    back(&mut client, "undo('before', confirm => true)");
    assert_eq!(all(&mut client, tables), before, "undone; the log: {:#?}", log(&mut client));
    back(&mut client, "undo('after', confirm => true)");
    assert_eq!(all(&mut client, tables), after, "the undo undone");
    assert_eq!(as_of(&mut client, tables, "before"), before, "as of before, once all is there again");
    db.run("SELECT agent_backup.drop_mark('before'), agent_backup.drop_mark('after')");
}
