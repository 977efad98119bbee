//! Roles (T72): each function is called and each table is touched as each role, and what happens is what access_matrix says.

use std::collections::{BTreeMap, BTreeSet};

use agent_backup_suite::{Database, assert_equal_tables, database, lines, of_project, one, refused};
use postgres::Client;

const ROLES: [&str; 4] =
    ["agent_backup_operator", "agent_backup_restorer", "agent_backup_auditor", "agent_backup_admin"];

/// A login role for each of ours, and one that has none of them.
struct Users<'a> {
    db: &'a Database<'a>,
    names: Vec<(String, &'static str)>,
}

impl<'a> Users<'a> {
    fn new(db: &'a Database<'a>) -> Self {
        let short = |role: &str| role.trim_start_matches("agent_backup_").to_owned();
        let mut names: Vec<(String, &'static str)> =
            ROLES.iter().map(|role| (format!("{}_{}", db.name(), short(role)), *role)).collect();
        names.push((format!("{}_nobody", db.name()), "PUBLIC"));
        for (user, role) in &names {
            db.run(&format!("CREATE ROLE {user} LOGIN"));
            if *role != "PUBLIC" {
                db.run(&format!("GRANT {role} TO {user}"));
            }
        }
        Users { db, names }
    }

    fn name(&self, role: &str) -> &str {
        &self.names.iter().find(|(_, of)| *of == role).unwrap().0
    }

    fn client(&self, role: &str) -> Client {
        self.db.client_as(self.name(role))
    }
}

impl Drop for Users<'_> {
    fn drop(&mut self) {
        for (user, _) in &self.names {
            let _ = self.db.client().batch_execute(&format!("DROP OWNED BY {user} CASCADE; DROP ROLE {user}"));
        }
    }
}

/// What access_matrix has, as `role|object|privilege`.
fn matrix(db: &Database) -> BTreeSet<String> {
    lines(&mut db.client(), "SELECT role_name, object_name, privilege FROM agent_backup.access_matrix")
        .into_iter()
        .collect()
}

/// How a statement ended: the SQLSTATE, and the message; none where it was carried out. It leaves nothing behind.
fn tried(client: &mut Client, statement: &str) -> Option<(String, String)> {
    client.batch_execute("BEGIN").unwrap();
    let outcome = client.batch_execute(statement);
    client.batch_execute("ROLLBACK").unwrap();
    let error = outcome.err()?;
    let error = error.as_db_error().unwrap_or_else(|| panic!("{statement}: {error:?}"));
    Some((error.code().code().to_owned(), error.message().to_owned()))
}

#[test]
fn every_function_lets_in_whom_the_matrix_names_and_nobody_else() {
    let db = database();
    let users = Users::new(&db);
    let matrix = matrix(&db);
    // The arguments are nulls that the planner does not see: it would not call a strict function at all.
    let calls = lines(
        &mut db.client(),
        "SELECT CASE WHEN n.nspname = 'agent_backup' THEN 'agent_backup.' ELSE '' END || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
                p.proname,
                CASE p.prokind WHEN 'p' THEN 'CALL ' ELSE 'SELECT ' END || p.oid::regproc::text || '(' ||
                coalesce((SELECT string_agg(CASE p.prokind WHEN 'p' THEN format('NULL::%s', t) ELSE format('(SELECT NULL::%s OFFSET 0)', CASE t::regtype::text WHEN 'anyelement' THEN 'text' ELSE t::regtype::text END) END, ', ' ORDER BY i)
                            FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a(t, i)), '') || ')'
         FROM pg_depend d JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid JOIN pg_namespace n ON n.oid = p.pronamespace
         WHERE d.deptype = 'e' AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'agent_backup') ORDER BY 1"
            .replace("format('NULL::%s', t)", "format('NULL::%s', t::regtype)").as_str(),
    );
    assert!(calls.len() > 70, "{calls:?}");
    let mut wrong = Vec::new();
    for (_, role) in &users.names {
        let mut client = users.client(role);
        for line in &calls {
            let [object, name, call] = line.splitn(3, '|').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let outcome = tried(&mut client, call);
            let denied = outcome.as_ref().is_some_and(|(code, message)| {
                code == "42501"
                    && [
                        format!("permission denied for function {name}"),
                        format!("permission denied for procedure {name}"),
                    ]
                    .contains(message)
            });
            if denied == matrix.contains(&format!("{role}|{object}|EXECUTE")) {
                wrong.push(format!("{role}: {call}: {outcome:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_table_and_view_is_read_by_whom_the_matrix_names_and_changed_by_nobody() {
    let db = database();
    let users = Users::new(&db);
    let matrix = matrix(&db);
    let objects = lines(
        &mut db.client(),
        "SELECT CASE WHEN n.nspname = 'agent_backup' THEN 'agent_backup.' ELSE '' END || c.relname, c.oid::regclass, c.relkind,
                (SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND attidentity = '' ORDER BY attnum LIMIT 1)
         FROM pg_depend d JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE d.deptype = 'e' AND c.relkind IN ('r', 'p', 'v', 'S')
           AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'agent_backup') ORDER BY 1",
    );
    assert!(objects.len() > 40, "{objects:?}");
    let mut wrong = Vec::new();
    for (_, role) in &users.names {
        let mut client = users.client(role);
        for line in &objects {
            let [object, name, kind, column] = line.split('|').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let read = tried(&mut client, &format!("SELECT * FROM {name} LIMIT 1"));
            let may_read = matrix.contains(&format!("{role}|{object}|SELECT"));
            if read.as_ref().map(|(code, _)| code.as_str()) != (!may_read).then_some("42501") {
                wrong.push(format!("{role}: SELECT from {object}: {read:?}"));
            }
            let mut changes = vec![
                ("INSERT", format!("INSERT INTO {name} DEFAULT VALUES")),
                ("UPDATE", format!("UPDATE {name} SET {column} = {column} WHERE false")),
                ("DELETE", format!("DELETE FROM {name} WHERE false")),
                ("TRUNCATE", format!("TRUNCATE {name}")),
            ];
            if kind == "S" {
                changes = vec![
                    ("UPDATE", format!("SELECT nextval('{name}')")),
                    ("UPDATE", format!("SELECT setval('{name}', 1)")),
                ];
            }
            for (privilege, change) in changes {
                assert!(
                    !matrix.contains(&format!("{role}|{object}|{privilege}")),
                    "{role} has {privilege} on {object}"
                );
                // 42501, or that a view cannot be changed at all.
                match tried(&mut client, &change) {
                    Some((code, _))
                        if code == "42501" || (kind == "v" && ["55000", "42809", "0A000"].contains(&code.as_str())) => {
                    }
                    outcome => wrong.push(format!("{role}: {change}: {outcome:?}")),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn public_has_nothing_and_the_admin_all_that_the_others_have() {
    let db = database();
    let mut client = db.client();
    assert_eq!(
        one::<i64>(
            &mut client,
            "SELECT count(*) FROM agent_backup.access_matrix WHERE role_name NOT LIKE 'agent\\_backup\\_%'"
        ),
        0
    );
    let more = "SELECT object_name, privilege FROM agent_backup.access_matrix EXCEPT SELECT object_name, privilege FROM agent_backup.access_matrix WHERE role_name = 'agent_backup_admin'";
    assert_eq!(lines(&mut client, more), [""; 0]);
    for role in ROLES {
        let query = format!(
            "SELECT rolcanlogin OR rolsuper OR rolbypassrls, pg_has_role('agent_backup_admin', oid, 'USAGE') FROM pg_roles WHERE rolname = '{role}'"
        );
        assert_eq!(lines(&mut client, &query), ["f|t"], "{role}");
    }
    // What somebody is granted besides shows.
    client.batch_execute("GRANT EXECUTE ON FUNCTION agent_backup.clock() TO PUBLIC").unwrap();
    let granted =
        "SELECT object_name, role_name FROM agent_backup.access_matrix WHERE role_name NOT LIKE 'agent\\_backup\\_%'";
    assert_eq!(lines(&mut client, granted), ["agent_backup.clock()|PUBLIC"]);
}

#[test]
fn an_object_that_no_rule_names_cannot_be_installed() {
    let db = database();
    let mut client = db.client();
    client.batch_execute("CREATE FUNCTION agent_backup.stray() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER EXTENSION agent_backup ADD FUNCTION agent_backup.stray()").unwrap();
    let refusal = refused(&mut client, "SELECT agent_backup.grant_access()");
    assert_eq!(refusal.message, "function \"stray\" is in no rule of agent_backup.access_rules()");
    client.batch_execute("ALTER EXTENSION agent_backup DROP FUNCTION agent_backup.stray(); DROP FUNCTION agent_backup.stray(); CREATE TABLE agent_backup.stray (); ALTER EXTENSION agent_backup ADD TABLE agent_backup.stray").unwrap();
    let refusal = refused(&mut client, "SELECT agent_backup.grant_access()");
    assert_eq!(refusal.message, "relation \"stray\" is in no rule of agent_backup.access_rules()");
}

#[test]
fn grant_access_takes_back_what_was_granted_besides_the_rules() {
    let db = database();
    let before = matrix(&db);
    db.run("GRANT ALL ON ALL TABLES IN SCHEMA agent_backup TO PUBLIC, agent_backup_operator; GRANT ALL ON ALL ROUTINES IN SCHEMA agent_backup TO PUBLIC");
    assert!(matrix(&db).len() > before.len());
    db.run("SELECT agent_backup.grant_access()");
    assert_eq!(matrix(&db), before);
}

#[test]
fn whoever_defines_functions_for_others_pins_the_search_path_and_is_the_owner() {
    let db = database();
    let definers = lines(
        &mut db.client(),
        "SELECT p.proname, p.proconfig, p.proowner = e.extowner, has_function_privilege('public', p.oid, 'EXECUTE'), p.prorettype::regtype
         FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
         JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'agent_backup' WHERE p.prosecdef ORDER BY 1",
    );
    let pinned = |name: &str, returns: &str| format!("{name}|{{\"search_path=pg_catalog, pg_temp\"}}|t|f|{returns}");
    assert_eq!(
        definers,
        [
            pinned("change_archive", "trigger"),
            pinned("keep_archive_rows", "trigger"),
            // Its rule names the operator alone, and what it touches is the extension's own log.
            pinned("maintain_log", "record"),
            pinned("watch_tracked", "event_trigger"),
        ]
    );
}

// What each role is for ------------------------------------------------------------------------------------------------

#[test]
fn the_restorer_restores_what_it_has_the_rights_on_and_makes_no_backups() {
    let db = database();
    let users = Users::new(&db);
    let restorer = users.name("agent_backup_restorer").to_owned();
    db.run(&format!(
        "CREATE TABLE mine AS SELECT n AS id FROM generate_series(1, 50) n; CREATE TABLE other AS TABLE mine; CREATE TABLE copy AS TABLE mine;
         ALTER TABLE mine OWNER TO {restorer}; GRANT SELECT ON other TO {restorer};
         SELECT agent_backup.create_set('s'); SELECT agent_backup.add_table('s', 'mine'); SELECT agent_backup.add_table('s', 'other'); SELECT agent_backup.backup('s');
         DELETE FROM mine WHERE id > 7; DELETE FROM other"
    ));
    let mut client = users.client("agent_backup_restorer");
    assert_eq!(
        one::<i64>(&mut client, "SELECT count(*) FROM agent_backup.read_backup(NULL::other, set_name => 's')"),
        50
    );
    client.batch_execute("SELECT agent_backup.restore_table('mine', set_name => 's', confirm => true)").unwrap();
    assert_equal_tables(&mut db.client(), "mine", "copy");
    let refusal = refused(&mut client, "SELECT agent_backup.restore_table('other', set_name => 's', confirm => true)");
    assert_eq!(
        (refusal.code.as_str(), refusal.message.as_str()),
        ("42501", "must be owner of table \"other\" to restore it")
    );
    for call in ["backup('s')", "prune('s', true)", "create_set('x')", "export_table('mine')", "verify_audit_log()"] {
        assert_eq!(refused(&mut client, &format!("SELECT agent_backup.{call}")).code, "42501", "{call}");
    }
    drop(client);
    db.run("ALTER TABLE mine OWNER TO postgres");
}

#[test]
fn the_auditor_reads_everything_that_was_done_and_no_rows() {
    let db = database();
    let users = Users::new(&db);
    db.run("CREATE TABLE t AS SELECT 1 AS id; SELECT agent_backup.create_set('s'); SELECT agent_backup.add_table('s', 't'); SELECT agent_backup.backup('s'); SELECT agent_backup.track('t')");
    let mut client = users.client("agent_backup_auditor");
    for query in [
        "SELECT count(*) FROM agent_backup.audit_log",
        "SELECT count(*) FROM agent_backup.backup_catalog",
        "SELECT count(*) FROM agent_backup.health",
        "SELECT count(*) FROM agent_backup.rpo_rto_report",
        "SELECT count(*) FROM agent_backup.checklist",
        "SELECT count(*) FROM agent_backup.verify_audit_log()",
        "SELECT count(*) FROM agent_backup.disk_space()",
        "SELECT count(*) FROM agent_backup.retention_plan('s')",
        "SELECT count(*) FROM agent_backup.runbook()",
        "SELECT count(*) FROM agent_backup.platform_report()",
        "SELECT count(*) FROM agent_backup.access_matrix",
        "SELECT length(agent_backup.metrics())::bigint",
    ] {
        assert!(one::<i64>(&mut client, query) > 0, "{query}");
    }
    let shown = "SELECT reason FROM agent_backup.health WHERE reason LIKE '%permission denied%'";
    assert_eq!(lines(&mut client, shown), [""; 0]);
    for call in [
        "SELECT * FROM agent_backup.read_backup(NULL::t, set_name => 's')",
        "SELECT * FROM agent_backup.diff('t')",
        "SELECT * FROM agent_backup.change_log",
        "SELECT * FROM agent_backup.archive_rows",
        "SELECT * FROM agent_training_archive",
        "SELECT agent_backup.record_history('t', '1')",
        "SELECT agent_backup.backup('s')",
        "SELECT agent_backup.verify('latest', set_name => 's')",
        "CALL agent_backup.run_job('daily', 's')",
    ] {
        assert_eq!(refused(&mut client, call).code, "42501", "{call}");
    }
}

#[test]
fn who_writes_to_a_tracked_table_needs_no_role() {
    let db = database();
    let users = Users::new(&db);
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE p (id int, v int, PRIMARY KEY (id)) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100);
            GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON t, p TO PUBLIC; SELECT agent_backup.track('t'); SELECT agent_backup.track('p')");
    let mut client = users.client("PUBLIC");
    for table in ["t", "p"] {
        client.batch_execute(&format!("INSERT INTO {table} VALUES (1, 1), (2, 2); UPDATE {table} SET v = 3; DELETE FROM {table} WHERE id = 1; TRUNCATE {table}")).unwrap();
    }
    let captured = "SELECT count(*) > 0, bool_and(session_user_name = 'x') FROM (SELECT 'x' AS session_user_name FROM agent_backup.change_log) c";
    assert_eq!(lines(&mut db.client(), captured), ["t|t"]);
    assert_eq!(refused(&mut client, "SELECT * FROM agent_backup.change_log").code, "42501");
    // DDL of ordinary users goes past the event trigger.
    db.run(&format!("GRANT CREATE ON SCHEMA public TO {}", users.name("PUBLIC")));
    client.batch_execute("CREATE TABLE own (a int); ALTER TABLE own ADD b int; DROP TABLE own").unwrap();
    db.run(&format!("REVOKE CREATE ON SCHEMA public FROM {}", users.name("PUBLIC")));
}

// In the docs ----------------------------------------------------------------------------------------------------------

fn page(db: &Database) -> String {
    let rows = lines(
        &mut db.client(),
        "SELECT object_kind, split_part(object_name, '(', 1), role_name, privilege FROM agent_backup.access_matrix
         UNION SELECT CASE p.prokind WHEN 'p' THEN 'procedure' ELSE 'function' END, 'agent_backup.' || r.name, '', '' FROM agent_backup.access_rules() r JOIN pg_proc p ON p.proname = r.name WHERE r.roles = '{}'
         UNION SELECT CASE c.relkind WHEN 'v' THEN 'view' ELSE 'table' END, CASE WHEN n.nspname = 'public' THEN '' ELSE 'agent_backup.' END || r.name, '', ''
           FROM agent_backup.access_rules() r JOIN pg_class c ON c.relname = r.name JOIN pg_namespace n ON n.oid = c.relnamespace WHERE r.kind = 'relation' AND r.roles = '{}'",
    );
    let mut objects: BTreeMap<(bool, String), BTreeSet<String>> = BTreeMap::new();
    for row in rows {
        let [kind, name, role, _] = row.split('|').collect::<Vec<_>>()[..] else { panic!("{row}") };
        objects.entry((["table", "view"].contains(&kind), name.to_owned())).or_default().insert(role.to_owned());
    }
    let mut page = include_str!("access/head.md").to_owned();
    for (relations, title) in [(false, "Functions"), (true, "Tables and views")] {
        page += &format!("\n## {title}\n| | operator | restorer | auditor | admin |\n|---|---|---|---|---|\n");
        for ((_, name), roles) in objects.iter().filter(|((is_relation, _), _)| *is_relation == relations) {
            let cells =
                ROLES.map(|role| if roles.contains(role) { if relations { "reads" } else { "calls" } } else { "" });
            page += &format!("| `{name}` | {} |\n", cells.join(" | "));
        }
    }
    page
}

#[test]
fn the_page_of_rights_is_true() {
    let page = page(&database());
    let file = of_project("docs/access.md");
    if std::env::var_os("AGENT_BACKUP_BLESS").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(written == page, "docs/access.md is not true any more: AGENT_BACKUP_BLESS=1 writes it anew");
}
