//! A table's changes are captured from now on, or no longer.

use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::ident;
use crate::journal;
use crate::journal_tracking::{self, NewTracking};
use crate::run::{export, safety};
use crate::server::pin::Pinned;
use crate::server::{lock, privilege, snapshot, sql};
use crate::table::catalog::{Kind, Table};

/// What to do with changes that cannot be captured, and with large TRUNCATEs.
pub struct Policies<'a> {
    pub on_failure: &'a str,
    pub on_truncate: &'a str,
    /// Bytes.
    pub truncate_limit: i64,
}

/// A table that is tracked.
pub struct Begun {
    pub table: String,
    pub level: &'static str,
    pub backup_id: Option<String>,
    pub details: String,
}

/// Tracks a table, and backs it up first, so that every moment from now on can be reached. One that is tracked already
/// gets the policies.
pub fn track(table: &str, policies: &Policies, baseline: bool) -> Result<Begun> {
    snapshot::require_writable()?;
    if snapshot::is_fixed() {
        return Err(Error::FixedSnapshot);
    }
    let oid = ident::resolve(table)?;
    let display = ident::name_of(oid)?.display();
    let plans = Pinned::nothing();
    plans.set("jit", "off")?;
    // No writer is between the baseline and the first captured change.
    lock::table(oid, pg_sys::ShareRowExclusiveLock, &display)?;
    let table = export::lock_and_describe(oid)?;
    privilege::require_owner(table.owner, &display)?;
    require_trackable(&table)?;
    let level = level(&table)?;
    let new = NewTracking {
        relation: oid,
        table: &table.name,
        level,
        on_failure: policies.on_failure,
        on_truncate: policies.on_truncate,
        truncate_limit: policies.truncate_limit,
    };
    if let Some(elsewhere) = going_on(oid)?.filter(|tracking| !tracking.is_here) {
        // Restored from a dump: what its triggers wrote before tells of transactions of another database.
        journal_tracking::end(elsewhere.id)?;
        drop_triggers(elsewhere.id)?;
    }
    if let Some(going_on) = going_on(oid)? {
        // While the triggers are made anew the watch over them looks away.
        journal_tracking::change_policies(going_on.id, &new)?;
        drop_triggers(going_on.id)?;
        make_triggers(&new, &table, going_on.id)?;
        let mut details = "it was tracked already; its policies are as given".to_owned();
        let was_broken = journal_tracking::watched(going_on.id)?;
        if was_broken {
            journal_tracking::mended(going_on.id)?;
            save(going_on.id, &table, baseline)?;
            details.push_str("; its triggers were missing and are there again, which leaves a gap");
        }
        return Ok(Begun { table: display, level, backup_id: going_on.backup_id, details });
    }
    require_alone(&table)?;
    let id = journal_tracking::next_id()?;
    make_triggers(&new, &table, id)?;
    journal_tracking::begin(id, &new)?;
    let backup_id = save(id, &table, baseline)?;
    let details = match table.primary_key.is_empty() {
        true => "it has no primary key: its rows are told apart by all of their values".to_owned(),
        false => "every change from now on is in the log".to_owned(),
    };
    Ok(Begun { table: display, level, backup_id, details })
}

/// Backs the table up as it is when its changes are captured from then on, if that is wanted; the backup's id.
fn save(id: i32, table: &Table, baseline: bool) -> Result<Option<String>> {
    if !baseline {
        return Ok(None);
    }
    let backup_id = safety::baseline(&table.name)?;
    journal_tracking::note_baseline(id, &backup_id)?;
    Ok(Some(backup_id))
}

/// Ends the tracking of a table; what was captured stays. Its name.
pub fn untrack(table: &str) -> Result<String> {
    snapshot::require_writable()?;
    let oid = ident::resolve(table)?;
    let name = ident::name_of(oid)?;
    lock::table(oid, pg_sys::ShareRowExclusiveLock, &name.display())?;
    privilege::require_owner(export::lock_and_describe(oid)?.owner, &name.display())?;
    let tracking = going_on(oid)?.ok_or_else(|| Error::NotTracked { table: name.display() })?;
    journal_tracking::end(tracking.id)?;
    drop_triggers(tracking.id)?;
    Ok(name.display())
}

fn drop_triggers(id: i32) -> Result<()> {
    journal::as_owner(|| {
        for (trigger, table) in triggers(id)? {
            sql::execute(&format!("DROP TRIGGER {trigger} ON {table}"), &[])?;
        }
        Ok(())
    })
}

fn going_on(oid: pg_sys::Oid) -> Result<Option<journal_tracking::Tracking>> {
    Ok(journal_tracking::trackings(Some(oid), "")?.into_iter().find(|tracking| tracking.ended_at.is_none()))
}

/// The triggers of a tracking that were made for it, not those that partitions have from their parent; both names quoted.
fn triggers(id: i32) -> Result<Vec<(String, String)>> {
    // A zero byte ends each argument of a trigger; the first is the number.
    let query = "SELECT pg_catalog.quote_ident(t.tgname), pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_trigger t \
         JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE t.tgfoid = 'agent_backup.capture()'::pg_catalog.regprocedure AND t.tgparentid = 0 \
           AND pg_catalog.substring(t.tgargs, 1, pg_catalog.octet_length($1) + 1) \
               = pg_catalog.decode(pg_catalog.encode($1::pg_catalog.bytea, 'hex') || '00', 'hex')";
    sql::rows(query, &[id.to_string().as_str().into()], |row| Ok((row.required(1)?, row.required(2)?)))
}

fn make_triggers(new: &NewTracking, table: &Table, id: i32) -> Result<()> {
    let name = table.name.qualified();
    let NewTracking { level, on_failure, on_truncate, truncate_limit, .. } = new;
    let capture =
        format!("EXECUTE FUNCTION agent_backup.capture('{id}', '{on_failure}', '{on_truncate}', '{truncate_limit}')");
    let mut statements = Vec::new();
    let mut make = |on: &str, trigger: &str, definition: String| {
        statements.push(format!("CREATE TRIGGER {trigger} {definition} {capture}"));
        statements.push(format!("ALTER TABLE {on} ENABLE ALWAYS TRIGGER {trigger}"));
    };
    if *level == "row" {
        make(&name, "agent_backup_rows", format!("AFTER INSERT OR UPDATE OR DELETE ON {name} FOR EACH ROW"));
    } else {
        for (event, tables) in [
            ("INSERT", "NEW TABLE AS \"new rows\""),
            ("UPDATE", "OLD TABLE AS \"old rows\" NEW TABLE AS \"new rows\""),
            ("DELETE", "OLD TABLE AS \"old rows\""),
        ] {
            let definition = format!("AFTER {event} ON {name} REFERENCING {tables} FOR EACH STATEMENT");
            make(&name, &format!("agent_backup_{}", event.to_lowercase()), definition);
        }
    }
    for target in emptied(table)? {
        make(&target, "agent_backup_truncate", format!("BEFORE TRUNCATE ON {target} FOR EACH STATEMENT"));
    }
    journal::as_owner(|| statements.iter().try_for_each(|statement| sql::execute(statement, &[]).map(drop)))
}

/// What TRUNCATE may be told to empty: the table and its partitions, qualified and quoted.
fn emptied(table: &Table) -> Result<Vec<String>> {
    let query = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_partition_tree($1) AS t \
                 JOIN pg_catalog.pg_class c ON c.oid = t.relid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace";
    match table.kind {
        Kind::Partitioned => sql::rows(query, &[table.oid.into()], |row| row.required(1)),
        _ => Ok(vec![table.name.qualified()]),
    }
}

/// By rows where statements do not see all: partitions, inheritance, and rows that a subscription brings.
fn level(table: &Table) -> Result<&'static str> {
    let query = "SELECT EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhrelid = $1 OR inhparent = $1) \
                     OR EXISTS (SELECT FROM pg_catalog.pg_subscription_rel WHERE srrelid = $1)";
    let by_rows = journal::as_owner(|| sql::rows(query, &[table.oid.into()], |row| row.required::<bool>(1)))?;
    Ok(if table.kind == Kind::Partitioned || by_rows == [true] { "row" } else { "statement" })
}

/// A table and its partitions are tracked once.
fn require_alone(table: &Table) -> Result<()> {
    let query = "SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgfoid = 'agent_backup.capture()'::pg_catalog.regprocedure \
                     AND (t.tgrelid = $1 OR t.tgrelid IN (SELECT relid FROM pg_catalog.pg_partition_tree($1))))";
    if sql::rows(query, &[table.oid.into()], |row| row.required::<bool>(1))? != [true] {
        return Ok(());
    }
    let kind = "tracked already with the table that it is a part of, or through one of its partitions";
    let hint = "Untrack that one first: SELECT agent_backup.untrack(…); agent_backup.tracked lists what is tracked.";
    Err(Error::NotTrackable { table: table.name.display(), kind, hint })
}

fn require_trackable(table: &Table) -> Result<()> {
    let refuse = |kind, hint| Err(Error::NotTrackable { table: table.name.display(), kind, hint });
    if ["agent_backup", "pg_catalog", "information_schema"].contains(&table.name.schema.as_str()) {
        return refuse("a table of the extension or the server", "Track the tables of your application.");
    }
    if table.is_unlogged {
        return refuse("unlogged", "A crash empties it unseen; make it logged first: ALTER TABLE … SET LOGGED.");
    }
    let query = "SELECT EXISTS (SELECT FROM pg_catalog.pg_partition_tree($1) AS t \
                 JOIN pg_catalog.pg_class c ON c.oid = t.relid WHERE c.relkind = 'f')";
    let remote = table.kind == Kind::Partitioned
        && sql::rows(query, &[table.oid.into()], |row| row.required::<bool>(1))? == [true];
    if table.kind == Kind::Foreign || remote {
        return refuse(
            "a foreign table, or has one as a partition",
            "Changes that others make there are not seen here; track it on its own server.",
        );
    }
    match table.kind {
        Kind::MaterializedView => refuse("a materialized view", "Track the tables that it reads."),
        _ => Ok(()),
    }
}
