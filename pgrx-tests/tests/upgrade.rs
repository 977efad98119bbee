//! ALTER EXTENSION UPDATE (T99): from the first version's own install script to what CREATE EXTENSION makes now.

use std::path::PathBuf;
use std::process::Command;

use agent_backup_suite::{
    Cluster, Database, Options, assert_no_trash, database, difference, lines, of_project, one, pg_config, refused,
};
use postgres::Client;

/// Versions whose install script is kept, to upgrade from.
const RELEASES: [&str; 1] = ["0.1.0"];

/// Puts the install script of an old version where the server finds it.
fn install_script(version: &str) {
    let packed = of_project(&format!("pgrx-tests/fixtures/{version}/agent_backup--{version}.sql.gz"));
    let unpacked = Command::new("gzip").arg("-dc").arg(packed).output().unwrap();
    assert!(unpacked.status.success() && unpacked.stdout.len() > 100_000, "{unpacked:?}");
    let output = Command::new(pg_config()).arg("--sharedir").output().unwrap();
    let share = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    let file = share.join(format!("extension/agent_backup--{version}.sql"));
    // Another test may read it at this moment.
    let staged = file.with_extension(format!("{}.staged", std::process::id()));
    std::fs::write(&staged, unpacked.stdout).unwrap();
    std::fs::rename(staged, file).unwrap();
}

/// A database with the extension as a version made it.
fn with_version<'a>(cluster: &'a Cluster, version: &str) -> Database<'a> {
    install_script(version);
    let db = cluster.database();
    db.run(&format!("DROP EXTENSION agent_backup; CREATE EXTENSION agent_backup VERSION '{version}'"));
    db
}

/// What acts of that version left, written as it wrote it: the library of today does not serve its functions any more.
const FILLED: &str = r#"
    CREATE TABLE t (id int PRIMARY KEY, note text);
    INSERT INTO agent_backup.sets (set_name, formats, keep_daily) VALUES ('s', '{csv,json}', 3);
    INSERT INTO agent_backup.set_tables (set_name, schema_name, table_name, ordinal, row_filter, defined_by) VALUES ('s', 'public', 't', 1, 'id > 0', 'postgres');
    UPDATE agent_backup.sets SET seeded = false, keep_weekly = 9 WHERE set_name = 'agent_sdk';
    INSERT INTO agent_backup.marks (mark_name, snapshot) VALUES ('m', pg_current_snapshot());
    INSERT INTO agent_training_archive (original_table, original_id, data) VALUES ('t', '1', '{"id": 1}');
    INSERT INTO backup_verification_log (backup_date, table_name, verification_status) VALUES ('2025-10-12', 't', 'success');
    INSERT INTO agent_backup.job_runs (set_name, job, status, started_at, finished_at, summary, pid, run_by) VALUES ('s', 'daily', 'success', now(), now(), 'done', 1, 'postgres');
    INSERT INTO agent_backup.pruned_backups (backup_id, set_name, kind, status, was_good, started_at, finished_at, row_count, size_bytes, reasons, pruned_at, pruned_by)
        VALUES ('b', 's', 'full', 'complete', true, now(), now(), 1, 1, '{old}', now(), 'postgres');
    INSERT INTO agent_backup.backup_catalog (backup_id, set_name, kind, status, started_at, finished_at, tables, row_count, size_bytes, directory, error_message, system_identifier, database_name)
        VALUES ('f', 's', 'full', 'failed', now(), now(), 0, 0, 0, '/gone', 'nothing was backed up', '1', 'd')"#;

/// Fills it, with a backup of that version on disk.
fn fill(db: &Database, version: &str) {
    db.run(FILLED);
    let directory = db.cluster().create_dir(&format!("{}_backups/s", db.name()));
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&directory).unwrap());
    for name in ["s_backup_20251012.tar.gz", "metadata_20251012.json"] {
        let file = directory.join(name);
        std::fs::copy(of_project(&format!("pgrx-tests/fixtures/{version}/{name}")), &file).unwrap();
        std::os::unix::fs::chown(&file, Some(owner), None).unwrap();
    }
}

/// All that makes up the extension, a line each. Lists of rights are in order. The order of a table's columns is left out:
/// new ones come last. So are the numbers that the server gives checks without a name.
const CATALOGUE: &str = r#"
WITH e AS (SELECT * FROM pg_extension WHERE extname = 'agent_backup'),
member AS (SELECT d.classid, d.objid FROM pg_depend d JOIN e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid WHERE d.deptype = 'e'),
rel AS (SELECT c.* FROM pg_class c JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid),
acl(of, text) AS (
    SELECT a.oid, string_agg(a.item::text, ' ' ORDER BY a.item::text)
      FROM (SELECT oid, unnest(proacl) AS item FROM pg_proc UNION ALL SELECT oid, unnest(relacl) FROM pg_class) a GROUP BY a.oid)
SELECT 'version ' || extversion || ' relocatable ' || extrelocatable FROM e
UNION ALL SELECT 'member ' || pg_describe_object(classid, objid, 0) FROM member
UNION ALL SELECT 'function ' || p.oid::regprocedure || ': ' || pg_get_functiondef(p.oid) || ' acl ' || coalesce(acl.text, '-') || ' comment ' || coalesce(obj_description(p.oid, 'pg_proc'), '-')
  FROM pg_proc p JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid LEFT JOIN acl ON acl.of = p.oid
UNION ALL SELECT 'relation ' || r.oid::regclass || ' kind ' || r.relkind::text || ' persistence ' || r.relpersistence::text || ' options ' || coalesce(r.reloptions::text, '-') || ' rls ' || r.relrowsecurity
         || ' acl ' || coalesce(acl.text, '-') || ' comment ' || coalesce(obj_description(r.oid, 'pg_class'), '-') FROM rel r LEFT JOIN acl ON acl.of = r.oid
UNION ALL SELECT 'column ' || r.oid::regclass || '.' || a.attname || ' type ' || format_type(a.atttypid, a.atttypmod)
         || ' not null ' || a.attnotnull || ' identity ' || a.attidentity::text || ' generated ' || a.attgenerated::text || ' default ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '-')
         || ' comment ' || coalesce(col_description(r.oid, a.attnum), '-')
  FROM rel r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped LEFT JOIN pg_attrdef d ON d.adrelid = r.oid AND d.adnum = a.attnum
 WHERE r.relkind <> 'S'
UNION ALL SELECT 'constraint ' || c.conrelid::regclass || ' ' || regexp_replace(c.conname, '_check[0-9]*$', '_check') || ' ' || pg_get_constraintdef(c.oid) FROM pg_constraint c JOIN rel r ON r.oid = c.conrelid
UNION ALL SELECT 'index ' || pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN rel r ON r.oid = i.indrelid
UNION ALL SELECT 'view ' || r.oid::regclass || ' ' || pg_get_viewdef(r.oid) FROM rel r WHERE r.relkind = 'v'
UNION ALL SELECT 'trigger ' || pg_get_triggerdef(t.oid) || ' enabled ' || t.tgenabled::text || ' comment ' || coalesce(obj_description(t.oid, 'pg_trigger'), '-')
  FROM pg_trigger t JOIN rel r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal
UNION ALL SELECT 'event trigger ' || t.evtname || ' on ' || t.evtevent || ' ' || t.evtfoid::regproc || ' enabled ' || t.evtenabled::text || ' tags ' || coalesce(t.evttags::text, '-')
         || ' comment ' || coalesce(obj_description(t.oid, 'pg_event_trigger'), '-') FROM pg_event_trigger t
UNION ALL SELECT 'rule ' || pg_get_ruledef(w.oid) FROM pg_rewrite w JOIN rel r ON r.oid = w.ev_class WHERE r.relkind <> 'v'
UNION ALL SELECT 'policy ' || p.polname FROM pg_policy p JOIN rel r ON r.oid = p.polrelid
UNION ALL SELECT 'sequence ' || s.seqrelid::regclass || ' ' || ROW(s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmax, s.seqmin, s.seqcache, s.seqcycle)::text FROM pg_sequence s JOIN rel r ON r.oid = s.seqrelid
UNION ALL SELECT 'dumped ' || c.oid::regclass || ' where ' || c.condition FROM e, unnest(e.extconfig, e.extcondition) AS c(oid, condition)
ORDER BY 1"#;

/// Partitions of the log belong to days.
fn catalogue(client: &mut Client) -> String {
    client.batch_execute("SET search_path = pg_catalog").unwrap();
    let rows = client.query(CATALOGUE, &[]).unwrap();
    let all: Vec<String> = rows.iter().map(|row| row.get::<_, String>(0)).collect();
    all.into_iter().filter(|line| !line.contains("change_log_20")).collect::<Vec<_>>().join("\n") + "\n"
}

#[test]
fn an_upgraded_extension_is_in_everything_a_fresh_one() {
    for version in RELEASES {
        let cluster = Cluster::start(Options::default());
        let (old, fresh) = (with_version(&cluster, version), cluster.database());
        let mut client = old.client();
        fill(&old, version);
        client.batch_execute("ALTER EXTENSION agent_backup UPDATE").unwrap();
        let (upgraded, fresh) = (catalogue(&mut client), catalogue(&mut fresh.client()));
        assert!(fresh.lines().count() > 1000, "{fresh}");
        let difference = difference(&fresh, &upgraded);
        assert!(
            difference.is_empty(),
            "from {version}, - is a fresh installation, + is what the update made:\n{difference}"
        );
    }
}

#[test]
fn what_was_there_before_an_upgrade_is_there_after_it_and_all_goes_on() {
    for version in RELEASES {
        let cluster = Cluster::start(Options::default());
        let db = with_version(&cluster, version);
        fill(&db, version);
        let mut client = db.client();
        let tables = "SELECT c.oid::regclass FROM pg_extension e, unnest(extconfig) AS c(oid) JOIN pg_class k ON k.oid = c.oid WHERE extname = 'agent_backup' AND k.relkind = 'r' ORDER BY 1";
        let tables = lines(&mut client, tables);
        let rows = |client: &mut Client| {
            let count = |table: &String| one::<i64>(client, &format!("SELECT count(*) FROM {table}"));
            tables.iter().map(count).collect::<Vec<_>>()
        };
        let before = rows(&mut client);
        assert!(before.iter().filter(|count| **count > 0).count() >= 8, "{tables:?} {before:?}");
        client.batch_execute("ALTER EXTENSION agent_backup UPDATE").unwrap();
        assert_eq!(rows(&mut client), before);
        let kept = "SELECT keep_weekly, (SELECT row_filter FROM agent_backup.set_tables WHERE set_name = 's') FROM agent_backup.sets WHERE set_name = 'agent_sdk'";
        assert_eq!(lines(&mut client, kept), ["9|id > 0"]);
        // Its backup is found and is whole.
        client.batch_execute("SELECT agent_backup.reconcile('s', true)").unwrap();
        let verdict =
            "SELECT DISTINCT status FROM agent_backup.verify('latest', set_name => 's') WHERE table_name IS NOT NULL";
        assert_eq!(lines(&mut client, verdict), ["ok"]);
        client.batch_execute("INSERT INTO t SELECT n, 'row ' || n FROM generate_series(1, 100) n; SELECT agent_backup.track('t'); SELECT agent_backup.backup('s'); DELETE FROM t").unwrap();
        client.batch_execute("SELECT agent_backup.restore_table('t', set_name => 's', confirm => true)").unwrap();
        client.batch_execute("CALL agent_backup.run_job('verify', 's')").unwrap();
        assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM t"), 100);
        assert_eq!(lines(&mut client, "SELECT check_name, status FROM agent_backup.verify_audit_log()"), ["chain|ok"]);
        drop(client);
        assert_no_trash(&db, &[]);
    }
}

#[test]
fn until_it_is_updated_an_old_extension_asks_for_that() {
    let cluster = Cluster::start(Options::default());
    let db = with_version(&cluster, "0.1.0");
    let calls =
        ["backup('s')", "create_set('s')", "add_table('s', 't')", "verify(set_name => 's')", "prune('s')", "diff('t')"];
    for call in calls {
        let refusal = refused(&mut db.client(), &format!("SELECT agent_backup.{call}"));
        assert_eq!(refusal.code, "55000", "{call}: {refusal:?}");
        assert!(refusal.hint.contains("ALTER EXTENSION agent_backup UPDATE;"), "{refusal:?}");
    }
    db.run("ALTER EXTENSION agent_backup UPDATE; SELECT agent_backup.create_set('later')");
    assert_eq!(
        lines(&mut db.client(), "SELECT action, set_name, status FROM agent_backup.audit_log"),
        ["create_set|later|ok"]
    );
}

#[test]
fn there_is_no_way_back_but_a_dump() {
    install_script("0.1.0");
    let db = database();
    let error = db.client().batch_execute("ALTER EXTENSION agent_backup UPDATE TO '0.1.0'").unwrap_err();
    assert!(
        error.to_string().contains("no update path") || format!("{error:?}").contains("no update path"),
        "{error:?}"
    );
}
