//! Who may do what: write files, change sets, read the catalogue, and read the tables that are backed up.

use agent_backup_suite::{Database, Refusal, assert_no_trash, database, lines, one, refused};
use postgres::Client;

/// Roles of one test; roles belong to the cluster, so they carry the database's name and go with this.
struct Roles<'d> {
    db: &'d Database<'static>,
}

const OPERATOR: &str = "op";
const WRITER: &str = "writer";
const NOBODY: &str = "nobody";
const OWNER: &str = "owner";

impl<'d> Roles<'d> {
    fn new(db: &'d Database<'static>) -> Self {
        let roles = Roles { db };
        for role in [OPERATOR, WRITER, NOBODY, OWNER] {
            db.run(&format!("CREATE ROLE {} LOGIN", roles.name(role)));
            db.let_call(&roles.name(role));
        }
        db.run(&format!(
            "GRANT agent_backup_operator TO {}; GRANT pg_write_server_files TO {}; GRANT CREATE ON SCHEMA public TO {}",
            roles.name(OPERATOR),
            roles.name(WRITER),
            roles.name(OWNER)
        ));
        roles
    }

    fn name(&self, role: &str) -> String {
        format!("{}_{role}", self.db.name())
    }

    fn client(&self, role: &str) -> Client {
        self.db.client_as(&self.name(role))
    }

    fn refused(&self, role: &str, statement: &str) -> Refusal {
        refused(&mut self.client(role), statement)
    }
}

impl Drop for Roles<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for role in [OPERATOR, WRITER, NOBODY, OWNER] {
            self.db.run(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}", role = self.name(role)));
        }
    }
}

const TABLES: &str = "
    CREATE TABLE open AS SELECT n FROM generate_series(1, 3) n;
    GRANT SELECT ON open TO PUBLIC;
    CREATE TABLE closed AS TABLE open;
    SELECT agent_backup.create_set('s');
    SELECT agent_backup.add_table('s', 'open');";

fn with_tables() -> Database<'static> {
    let db = database();
    db.run(TABLES);
    db
}

#[test]
fn nobody_else_writes_files_and_the_hint_names_the_role_to_grant() {
    let db = with_tables();
    let roles = Roles::new(&db);
    let hint = format!("Ask a superuser to run: GRANT agent_backup_operator TO {};", roles.name(NOBODY));
    for call in [
        "agent_backup.backup('s')",
        "agent_backup.reconcile('s')",
        "agent_backup.export_table('open')",
        "backup_agent_table_to_json('open')",
    ] {
        let refusal = roles.refused(NOBODY, &format!("SELECT * FROM {call}"));
        assert_eq!((refusal.code.as_str(), refusal.hint.as_str()), ("42501", hint.as_str()), "{call}: {refusal:?}");
    }
    let refusal =
        roles.refused(NOBODY, "SELECT * FROM agent_backup.export_table('open', destination => '/var/tmp/x.csv')");
    assert_eq!(refusal.hint, format!("Ask a superuser to run: GRANT pg_write_server_files TO {};", roles.name(NOBODY)));
    assert!(std::fs::read_dir(db.backup_dir()).unwrap().next().is_none(), "somebody wrote something");
    drop(roles);
    assert_no_trash(&db, &[]);
}

#[test]
fn nobody_else_changes_sets() {
    let db = with_tables();
    let roles = Roles::new(&db);
    for call in [
        "create_set('x')",
        "drop_set('s')",
        "drop_set('s', true)",
        "add_table('s', 'open')",
        "remove_table('s', 'open')",
    ] {
        let refusal = roles.refused(NOBODY, &format!("SELECT agent_backup.{call}"));
        assert_eq!(refusal.code, "42501", "{call}: {refusal:?}");
        assert!(refusal.hint.contains("GRANT agent_backup_operator TO"), "{refusal:?}");
    }
}

#[test]
fn the_operator_backs_up_what_it_may_read_inside_the_directory() {
    let db = with_tables();
    let roles = Roles::new(&db);
    db.run("SELECT agent_backup.add_table('s', 'closed')");
    let rows = lines(
        &mut roles.client(OPERATOR),
        "SELECT table_name, status, row_count, error_message FROM agent_backup.backup('s')",
    );
    assert_eq!(rows, ["open|ok|3|", "closed|failed||permission denied for table \"closed\""]);
    let inside = format!("{}/mine/open.csv", db.backup_dir().display());
    assert_eq!(
        one::<String>(
            &mut roles.client(OPERATOR),
            &format!("SELECT export_file FROM agent_backup.export_table('open', 'csv', '{inside}')")
        ),
        inside
    );
    let sets = "SELECT agent_backup.create_set('mine'); SELECT agent_backup.add_table('mine', 'open'); SELECT agent_backup.remove_table('mine', 'open'); SELECT agent_backup.drop_set('mine')";
    roles.client(OPERATOR).batch_execute(sets).unwrap();
    drop(roles);
    assert_no_trash(&db, &["permission denied for table \"closed\""]);
}

#[test]
fn the_operator_writes_nowhere_else() {
    let db = with_tables();
    let roles = Roles::new(&db);
    let inside = db.backup_dir().display().to_string();
    let beside = db.cluster().create_dir(&format!("{}_elsewhere", db.name()));
    for destination in [
        format!("{}/x.csv", beside.display()),
        format!("{inside}_elsewhere/x.csv"),
        "/tmp/x.csv".to_owned(),
        format!("{inside}/../{}/x.csv", beside.file_name().unwrap().display()),
        "../x.csv".to_owned(),
        "a/../../x.csv".to_owned(),
    ] {
        let refusal = roles
            .refused(OPERATOR, &format!("SELECT * FROM agent_backup.export_table('open', 'csv', '{destination}')"));
        // 22023 where the path itself is refused.
        assert!(["42501", "22023"].contains(&refusal.code.as_str()), "{destination}: {refusal:?}");
    }
    // A link inside the directory does not lead out of it.
    std::os::unix::fs::symlink(&beside, db.backup_dir().join("link")).unwrap();
    for destination in ["link/x.csv", "link/deeper/x.csv"] {
        let refusal = roles
            .refused(OPERATOR, &format!("SELECT * FROM agent_backup.export_table('open', 'csv', '{destination}')"));
        assert_eq!(refusal.code, "42501", "{destination}: {refusal:?}");
    }
    assert!(std::fs::read_dir(&beside).unwrap().next().is_none(), "the operator wrote outside");
    drop(roles);
    assert_no_trash(&db, &[]);
}

#[test]
fn the_operator_lists_what_it_backed_up() {
    let db = with_tables();
    let roles = Roles::new(&db);
    let mut client = roles.client(OPERATOR);
    client.batch_execute("SELECT agent_backup.backup('s')").unwrap();
    let listed = client.query(
        "SELECT set_name FROM agent_backup.backups JOIN agent_backup.backup_files USING (backup_id, set_name)",
        &[],
    );
    assert_eq!(listed.map(|rows| rows.len()).map_err(|error| error.to_string()), Ok(2));
}

#[test]
fn a_writer_of_server_files_writes_where_copy_would() {
    let db = with_tables();
    let roles = Roles::new(&db);
    let dir = db.cluster().create_dir(&format!("{}_w", db.name()));
    let mut client = roles.client(WRITER);
    client
        .batch_execute(&format!(
            "SELECT agent_backup.export_table('open', 'csv', '{}/x.csv'); SELECT agent_backup.backup('s')",
            dir.display()
        ))
        .unwrap();
    assert_eq!(std::fs::read_to_string(dir.join("x.csv")).unwrap(), "n\n1\n2\n3\n");
}

#[test]
fn the_directory_role_is_the_one_that_the_superuser_set() {
    let db = with_tables();
    let roles = Roles::new(&db);
    db.run(&format!("ALTER DATABASE {} SET agent_backup.directory_role = '{}'", db.name(), roles.name(OWNER)));
    roles.client(OWNER).batch_execute("SELECT agent_backup.backup('s')").unwrap();
    let refusal = roles.refused(OPERATOR, "SELECT agent_backup.backup('s')");
    assert_eq!(
        refusal.hint,
        format!("Ask a superuser to run: GRANT {} TO {};", roles.name(OWNER), roles.name(OPERATOR))
    );
}

#[test]
fn only_a_superuser_sets_where_files_go() {
    let db = with_tables();
    let roles = Roles::new(&db);
    for setting in [
        "agent_backup.directory = '/tmp'",
        "agent_backup.directory_role = 'public'",
        "agent_backup.debug_failpoint = 'scan=error'",
    ] {
        for role in [OPERATOR, WRITER, NOBODY] {
            let refusal = roles.refused(role, &format!("SELECT agent_backup.lock_key('x'); SET {setting}"));
            assert_eq!(refusal.code, "42501", "{setting}: {refusal:?}");
        }
    }
    let refusal = roles.refused(NOBODY, "SELECT agent_backup.lock_key('x'); SET agent_backup.no_such_setting = 1");
    assert_eq!(refusal.code, "42602", "{refusal:?}");
}

#[test]
fn a_setting_made_before_the_library_is_loaded_moves_nothing() {
    let db = with_tables();
    let roles = Roles::new(&db);
    let elsewhere = db.cluster().create_dir(&format!("{}_elsewhere", db.name()));
    let mut client = roles.client(OPERATOR);
    client.batch_execute(&format!("SET agent_backup.directory = '{}'", elsewhere.display())).unwrap();
    let file: String = one(&mut client, "SELECT export_file FROM agent_backup.export_table('open')");
    assert!(std::path::Path::new(&file).starts_with(db.backup_dir()), "{file}");
    let mut client = roles.client(NOBODY);
    client.batch_execute(&format!("SET agent_backup.directory_role = '{}'", roles.name(NOBODY))).unwrap();
    assert_eq!(refused(&mut client, "SELECT agent_backup.backup('s')").code, "42501");
    assert!(std::fs::read_dir(&elsewhere).unwrap().next().is_none());
    drop(roles);
    assert_no_trash(&db, &["permission denied to set parameter"]);
}

#[test]
fn the_catalogue_is_closed_to_public() {
    let db = with_tables();
    let roles = Roles::new(&db);
    db.run("SELECT agent_backup.backup('s')");
    for relation in ["sets", "set_tables", "backup_catalog", "backup_entry", "backups", "backup_files", "running"] {
        let refusal = roles.refused(NOBODY, &format!("SELECT * FROM agent_backup.{relation}"));
        assert_eq!(refusal.code, "42501", "{relation}");
        for statement in ["DELETE FROM", "TRUNCATE"] {
            // 42501, or that a view cannot be written at all.
            roles.refused(OPERATOR, &format!("{statement} agent_backup.{relation}"));
        }
    }
    assert_eq!(roles.refused(NOBODY, "CREATE TABLE agent_backup.mine ()").code, "42501");
}

#[test]
fn a_table_that_the_caller_may_not_select_is_not_exported() {
    let db = with_tables();
    let roles = Roles::new(&db);
    let refusal = roles.refused(OPERATOR, "SELECT agent_backup.export_table('closed')");
    assert_eq!((refusal.code.as_str(), refusal.message.as_str()), ("42501", "permission denied for table \"closed\""));
    assert_eq!(refusal.hint, format!("Ask the owner to run: GRANT SELECT ON closed TO {};", roles.name(OPERATOR)));
    // A right to one column is no right to the table.
    db.run(&format!("GRANT SELECT (n) ON closed TO {}", roles.name(OPERATOR)));
    assert_eq!(roles.refused(OPERATOR, "SELECT agent_backup.export_table('closed')").code, "42501");
    assert_eq!(roles.refused(OPERATOR, "SELECT agent_backup.add_table('s', 'closed')").code, "42501");
    assert!(!db.backup_dir().join("exports").read_dir().is_ok_and(|mut files| files.next().is_some()));
}

// Row-level security (T73) ------------------------------------------------------------------------------------------

const HALF_HIDDEN: &str = "
    CREATE TABLE half AS SELECT n FROM generate_series(1, 10) n;
    ALTER TABLE half ENABLE ROW LEVEL SECURITY;
    CREATE POLICY even ON half USING (n % 2 = 0);
    GRANT SELECT ON half TO PUBLIC;
    SELECT agent_backup.add_table('s', 'half');";

#[test]
fn rows_that_a_policy_hides_are_an_error_and_never_a_subset() {
    let db = with_tables();
    let roles = Roles::new(&db);
    db.run(HALF_HIDDEN);
    for setting in ["on", "off"] {
        let mut client = roles.client(OPERATOR);
        client.batch_execute(&format!("SET row_security = {setting}")).unwrap();
        let refusal = refused(&mut client, "SELECT agent_backup.export_table('half')");
        assert_eq!(
            (refusal.code.as_str(), refusal.message.as_str()),
            ("42501", "row-level security would hide rows of table \"half\"")
        );
        assert!(refusal.hint.contains("BYPASSRLS"), "{refusal:?}");
        let rows = lines(&mut client, "SELECT table_name, status, row_count FROM agent_backup.backup('s')");
        assert_eq!(rows, ["open|ok|3", "half|failed|"]);
        assert_eq!(one::<String>(&mut client, "SHOW row_security"), setting);
    }
    drop(roles);
    assert_no_trash(&db, &["row-level security would hide rows"]);
}

#[test]
fn the_superuser_the_owner_and_bypassrls_see_every_row() {
    let db = with_tables();
    let roles = Roles::new(&db);
    db.run(HALF_HIDDEN);
    assert_eq!(one::<i64>(&mut db.client(), "SELECT row_count FROM agent_backup.export_table('half')"), 10);
    db.run(&format!("ALTER TABLE half OWNER TO {o}; GRANT agent_backup_operator TO {o}", o = roles.name(OWNER)));
    assert_eq!(one::<i64>(&mut roles.client(OWNER), "SELECT row_count FROM agent_backup.export_table('half')"), 10);
    db.run(&format!("ALTER ROLE {} BYPASSRLS", roles.name(OPERATOR)));
    assert_eq!(one::<i64>(&mut roles.client(OPERATOR), "SELECT row_count FROM agent_backup.export_table('half')"), 10);
}

#[test]
fn forced_row_security_binds_the_owner_and_not_the_superuser() {
    let db = with_tables();
    let roles = Roles::new(&db);
    db.run(HALF_HIDDEN);
    db.run(&format!(
        "ALTER TABLE half OWNER TO {o}; ALTER TABLE half FORCE ROW LEVEL SECURITY; GRANT agent_backup_operator TO {o}",
        o = roles.name(OWNER)
    ));
    assert_eq!(roles.refused(OWNER, "SELECT agent_backup.export_table('half')").code, "42501");
    assert_eq!(one::<i64>(&mut db.client(), "SELECT row_count FROM agent_backup.export_table('half')"), 10);
    let rows = lines(&mut db.client(), "SELECT table_name, status, row_count FROM agent_backup.backup('s')");
    assert_eq!(rows, ["open|ok|3", "half|ok|10"]);
}
