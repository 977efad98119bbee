//! What tests of restores share: a call and its steps, the state that a refused one must leave as it was, and whether a
//! table that got rows is sound.

use std::fmt::Write;
use std::fs;

use postgres::{Client, Error};

use crate::database::{Database, database};
use crate::{lines, one};

/// One row of a restore or its plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub table: Option<String>,
    pub action: String,
    pub rows: Option<i64>,
    pub status: String,
    pub details: String,
}

/// A database with a set `s` of the tables that `script` makes, backed up, each with a copy `kept.<name>`.
pub fn saved(script: &str, tables: &[&str]) -> Database<'static> {
    let db = database();
    db.run(&format!("{script}; SELECT agent_backup.create_set('s'); CREATE SCHEMA kept"));
    for table in tables {
        db.run(&format!("CREATE TABLE kept.{table} AS SELECT * FROM ONLY {table}"));
    }
    back_up(&db, tables);
    db
}

/// Adds tables to the set `s` and backs it up; each must be saved.
#[track_caller]
pub fn back_up(db: &Database, tables: &[&str]) {
    for table in tables {
        db.run(&format!("SELECT agent_backup.add_table('s', '{table}')"));
    }
    let statuses = lines(
        &mut db.client(),
        "SELECT table_name, status, error_message FROM agent_backup.backup('s') WHERE status <> 'ok'",
    );
    assert!(statuses.is_empty(), "{statuses:?}");
}

/// Runs `agent_backup.<call>` of `restore`, `restore_table`, `restore_plan` or `undo_restore`.
pub fn try_restore(client: &mut Client, call: &str) -> Result<Vec<Step>, Error> {
    let query = format!("SELECT table_name, action, row_count, status, details FROM agent_backup.{call}");
    let step = |row: &postgres::Row| Step {
        table: row.get(0),
        action: row.get(1),
        rows: row.get(2),
        status: row.get(3),
        details: row.get(4),
    };
    Ok(client.query(&query, &[])?.iter().map(step).collect())
}

/// As [`try_restore`], of a call that must end well and leave nothing undone.
#[track_caller]
pub fn restore(client: &mut Client, call: &str) -> Vec<Step> {
    let steps = try_restore(client, call).unwrap_or_else(|error| panic!("{call}: {error:?}"));
    assert!(steps.iter().any(|step| step.action == "restored" && step.status == "done"), "{call}: {steps:#?}");
    steps
}

/// The texts of the steps of a status, as `warning`.
pub fn said(steps: &[Step], status: &str) -> Vec<String> {
    steps.iter().filter(|step| step.status == status).map(|step| step.details.clone()).collect()
}

/// All that a restore could change, a line each: every user table's storage, rows with the transactions that wrote them,
/// sequences, what the catalogue lists, and the files of backups that it lists.
pub fn state(db: &Database) -> String {
    let mut client = db.client();
    let mut all = String::new();
    let tables = lines(
        &mut client,
        "SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'm')
            AND (nspname !~ '^pg_|^information_schema|^agent_backup$' OR (nspname = 'agent_backup' AND relname ~ '^restore'))
          ORDER BY 1::text",
    );
    for table in tables {
        let query = format!(
            "SELECT pg_relation_filenode('{table}'), count(*), md5(coalesce(string_agg(concat_ws('|', t.xmin, t.ctid, t.*), ',' ORDER BY t.ctid), '')) FROM ONLY {table} AS t"
        );
        writeln!(all, "{table}: {}", lines(&mut client, &query).join(";")).expect("a text");
    }
    let sequences = "SELECT format('%I.%I', schemaname, sequencename), last_value FROM pg_sequences WHERE schemaname <> 'agent_backup' ORDER BY 1";
    writeln!(all, "sequences: {:?}", lines(&mut client, sequences)).expect("a text");
    let objects = "SELECT count(*), count(*) FILTER (WHERE relkind = 'r') FROM pg_class WHERE oid >= 16384 AND relkind <> 't' AND relkind <> 'i'";
    writeln!(all, "objects: {:?}", lines(&mut client, objects)).expect("a text");
    let listed = "SELECT backup_id, file_name, status FROM agent_backup.backup_catalog ORDER BY 1";
    writeln!(all, "backups: {:?}", lines(&mut client, listed)).expect("a text");
    writeln!(all, "files: {:?}", backup_files(db)).expect("a text");
    all
}

/// Every file below the backup directory.
pub fn backup_files(db: &Database) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![db.backup_dir().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { found.push(path.display().to_string()) }
        }
    }
    found.sort();
    found
}

/// The container of the newest complete backup of a set.
pub fn newest_container(client: &mut Client, set: &str) -> String {
    one(
        client,
        &format!(
            "SELECT directory || '/' || file_name FROM agent_backup.backup_catalog WHERE set_name = '{set}' AND file_name IS NOT NULL
             ORDER BY started_at DESC, backup_id DESC LIMIT 1"
        ),
    )
}

/// Panics unless heap and indexes of a table agree, by `amcheck`, and it can be read by each of them, rewritten and vacuumed.
/// Makes the extension `amcheck` where it is not there.
#[track_caller]
pub fn assert_sound(client: &mut Client, table: &str) {
    client.batch_execute("CREATE EXTENSION IF NOT EXISTS amcheck").expect("amcheck");
    let broken = lines(client, &format!("SELECT * FROM verify_heapam('{table}', check_toast => true)"));
    assert!(broken.is_empty(), "{table}: {broken:?}");
    let indexes = format!(
        "SELECT bt_index_check(i.indexrelid, true) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
         WHERE i.indrelid = '{table}'::regclass AND a.amname = 'btree' AND i.indisvalid"
    );
    client.batch_execute(&indexes).unwrap_or_else(|error| panic!("{table}: {error:?}"));
    let frozen = format!(
        "SELECT age(relfrozenxid) < 1000000 AND relfrozenxid <> '0' AND mxid_age(relminmxid) < 1000000 FROM pg_class WHERE oid = '{table}'::regclass"
    );
    assert!(one::<bool>(client, &frozen), "{table}: its horizon of frozen rows is not sane");
    let rows = format!(
        "SELECT md5(coalesce(string_agg(ROW(t.*)::text, ',' ORDER BY ROW(t.*)::text), '')) FROM ONLY {table} AS t"
    );
    let before: String = one(client, &rows);
    for statement in ["VACUUM", "VACUUM FREEZE", "VACUUM FULL", "ANALYZE"] {
        client
            .batch_execute(&format!("{statement} {table}"))
            .unwrap_or_else(|error| panic!("{statement} {table}: {error:?}"));
    }
    assert_eq!(before, one::<String>(client, &rows), "{table} reads otherwise after VACUUM");
}
