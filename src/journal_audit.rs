//! The journal's part for the log of acts: entries are added at the end of the chain, and read to prove it. Who adds holds
//! the chain's lock.

use std::cell::Cell;

use agent_backup_core::plan::audit::{Anchor, Entry, Head, Link};
use pgrx::pg_sys;

use crate::error::Result;
use crate::ident;
use crate::journal::{self, as_owner};
use crate::server::{encoding, sql};

thread_local! {
    /// Whether a statement of this module is running, which the triggers of the log ask for.
    static WRITING: Cell<bool> = const { Cell::new(false) };
}

/// What the hash of an entry is made of, in SQL: the hash before it and, as a JSON array, all that it says. The README shows it.
const HASH: &str = "pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(coalesce(e.previous_hash, '') || E'\\n' || \
    pg_catalog.jsonb_build_array(e.entry_id, \
        pg_catalog.to_char(e.happened_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), \
        e.action, e.object, e.set_name, e.status, e.session_user_name, e.current_user_name, \
        pg_catalog.host(e.client_addr), e.application_name, e.backend_pid, e.transaction::text, e.details, \
        e.error_code, e.error_message)::text, 'UTF8')), 'hex')";

/// Whether the statement that a trigger of the log was called for is one of ours.
pub fn is_writing() -> bool {
    WRITING.get()
}

/// Whether the log is there: not before ALTER EXTENSION UPDATE, where an older version was installed, nor after DROP EXTENSION.
pub fn is_there() -> bool {
    // SAFETY: look up the catalogue by NUL-terminated names; missing_ok makes an unknown one invalid.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"agent_backup".as_ptr(), true);
        schema != pg_sys::InvalidOid && pg_sys::get_relname_relid(c"audit_log".as_ptr(), schema) != pg_sys::InvalidOid
    }
}

/// Whether an act was written down here: until then a dump may be loaded.
pub fn has_begun() -> Result<bool> {
    as_owner(|| {
        let query = "SELECT EXISTS (SELECT FROM agent_backup.audit_chain)";
        Ok(sql::rows(query, &[], |row| row.required(1))?.contains(&true))
    })
}

/// The newest entry; none in an empty log.
pub fn head() -> Result<Option<Head>> {
    if !is_there() {
        return Ok(None);
    }
    as_owner(|| {
        let query = "SELECT entry_id, entry_hash FROM agent_backup.audit_log ORDER BY entry_id DESC LIMIT 1";
        let found = sql::rows(query, &[], |row| Ok(Head { entry_id: row.required(1)?, entry_hash: row.required(2)? }))?;
        Ok(found.into_iter().next())
    })
}

/// Adds entries to the chain. One that is there already, since the process died before it could forget it, is not added again.
pub fn append(entries: &[Entry]) -> Result<()> {
    as_owner(|| {
        ours(|| {
            let statement = "INSERT INTO agent_backup.audit_chain (last_entry, head) \
                SELECT coalesce(l.entry_id, 0), l.entry_hash FROM (SELECT) one \
                  LEFT JOIN (SELECT entry_id, entry_hash FROM agent_backup.audit_log ORDER BY entry_id DESC LIMIT 1) l ON true \
                ON CONFLICT DO NOTHING";
            sql::execute(statement, &[])?;
            entries.iter().try_for_each(append_one)
        })
    })
}

fn append_one(entry: &Entry) -> Result<()> {
    let statement = format!(
        "WITH e AS (SELECT c.last_entry + 1 AS entry_id, $1::timestamptz AS happened_at, $2 AS action, $3 AS object, $4 AS set_name, \
                $5 AS status, $6 AS session_user_name, $7 AS current_user_name, $8::inet AS client_addr, $9 AS application_name, \
                $10::integer AS backend_pid, $11::xid8 AS transaction, $12::jsonb AS details, $13 AS error_code, \
                $14 AS error_message, c.head AS previous_hash \
           FROM agent_backup.audit_chain c \
          WHERE NOT EXISTS (SELECT FROM agent_backup.audit_log l WHERE l.happened_at = $1::timestamptz \
                               AND l.backend_pid = $10 AND l.action = $2 AND l.object IS NOT DISTINCT FROM $3)), \
        added AS (INSERT INTO agent_backup.audit_log (entry_id, happened_at, action, object, set_name, status, session_user_name, \
                current_user_name, client_addr, application_name, backend_pid, transaction, details, error_code, error_message, \
                previous_hash, entry_hash) \
           SELECT e.*, {HASH} FROM e RETURNING entry_id, entry_hash) \
        UPDATE agent_backup.audit_chain SET last_entry = a.entry_id, head = a.entry_hash FROM added a"
    );
    let transaction = entry.transaction.map(|transaction| transaction.to_string());
    let [action, object, set, session, current, application, message] = [
        Some(&entry.action),
        entry.object.as_ref(),
        entry.set_name.as_ref(),
        Some(&entry.session_user),
        Some(&entry.current_user),
        Some(&entry.application_name),
        entry.error_message.as_ref(),
    ]
    .map(|text| text.map(|text| storable(text)));
    let details = storable(&serde_json::Value::Object(entry.details.clone()).to_string().replace("\\u0000", ""));
    let arguments = [
        journal::timestamp(entry.happened_at).into(),
        action.as_deref().into(),
        object.as_deref().into(),
        set.as_deref().into(),
        entry.status.name().into(),
        session.as_deref().into(),
        current.as_deref().into(),
        entry.client_addr.as_deref().into(),
        application.as_deref().into(),
        entry.backend_pid.into(),
        transaction.as_deref().into(),
        details.as_str().into(),
        entry.error_code.as_deref().into(),
        message.as_deref().into(),
    ];
    sql::execute(&statement, &arguments).map(drop)
}

/// A text as the database can keep it: a letter that it has not stands as `\u{65E5}`, for nothing may keep an act out of the log.
fn storable(text: &str) -> String {
    let text = text.replace('\0', "");
    match encoding::to_server(&text) {
        Ok(_) => text,
        Err(_) => String::from_utf8_lossy(&encoding::to_show(&text)).into_owned(),
    }
}

/// Passes every entry on, the oldest first.
pub fn each_link(mut link: impl FnMut(Link) -> Result<()>) -> Result<()> {
    as_owner(|| {
        let query = format!(
            "SELECT e.entry_id, e.previous_hash, e.entry_hash, {HASH} FROM agent_backup.audit_log e ORDER BY e.entry_id"
        );
        sql::each(&query, &[], |row| {
            link(Link {
                entry_id: row.required(1)?,
                previous_hash: row.optional(2)?,
                entry_hash: row.required(3)?,
                computed: row.required(4)?,
            })
        })
    })
}

/// What the database itself noted of the end of the chain: where it is, and where it was when it was verified.
pub fn noted_heads() -> Result<Vec<Anchor>> {
    as_owner(|| {
        let query = "SELECT 'the end of the chain' AS noted_by, last_entry, head FROM agent_backup.audit_chain WHERE last_entry > 0 \
            UNION ALL SELECT 'the verification of ' || pg_catalog.to_char(checked_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC', \
                   last_entry, head FROM agent_backup.audit_checks WHERE last_entry > 0 AND status = 'ok'";
        sql::rows(query, &[], |row| {
            let head = Head { entry_id: row.required(2)?, entry_hash: row.required(3)? };
            Ok(Anchor { noted_by: row.required(1)?, head })
        })
    })
}

/// Tables of the log whose trigger is gone, switched off or another one.
pub fn unguarded() -> Result<Vec<String>> {
    as_owner(|| {
        let query = "SELECT c.name FROM pg_catalog.unnest('{audit_chain,audit_checks,audit_log}'::text[]) AS c(name) \
            WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid \
                JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
               WHERE t.tgrelid = ('agent_backup.' || c.name)::regclass AND t.tgname = 'guard_audit' AND t.tgenabled = 'A' \
                 AND t.tgtype = 62 AND l.lanname = 'c' AND p.prosrc = 'agent_backup_guard_audit') \
               OR EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = ('agent_backup.' || c.name)::regclass)";
        sql::rows(query, &[], |row| row.required(1))
    })
}

/// Writes a verification down.
pub fn note_check(head: Option<&Head>, entries: u64, problems: Vec<String>) -> Result<()> {
    let who = ident::session_role()?;
    as_owner(|| {
        ours(|| {
            let statement = "INSERT INTO agent_backup.audit_checks (checked_at, checked_by, status, last_entry, head, entries, problems) \
                VALUES (agent_backup.clock(), $1, CASE WHEN pg_catalog.cardinality($5) = 0 THEN 'ok' ELSE 'failed' END, $2, $3, $4, $5)";
            let arguments = [
                who.as_str().into(),
                head.map_or(0, |head| head.entry_id).into(),
                head.map(|head| head.entry_hash.as_str()).into(),
                entries.cast_signed().into(),
                problems.into(),
            ];
            sql::execute(statement, &arguments).map(drop)
        })
    })
}

/// Runs statements that the triggers of the log let pass. None of them runs code of others.
fn ours<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    /// Also when an error unwinds.
    struct Ended;
    impl Drop for Ended {
        fn drop(&mut self) {
            WRITING.set(false);
        }
    }
    WRITING.set(true);
    let _ended = Ended;
    work()
}
