//! CREATE EXTENSION and DROP EXTENSION.

use agent_backup_suite::{assert_no_trash, database};

/// Every member of the extension that a person can see, with the comment that it has or not.
const MEMBERS: &str = "
    SELECT pg_describe_object(classid, objid, 0) AS object,
           coalesce(obj_description(objid, classid::regclass::name), '') AS comment
    FROM pg_depend
    WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
      AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'agent_backup')
      AND NOT (classid = 'pg_class'::regclass AND (SELECT relkind IN ('i', 'I', 'S', 't') FROM pg_class WHERE oid = objid))
      AND NOT (classid = 'pg_type'::regclass AND (SELECT typrelid <> 0 OR typcategory = 'A' FROM pg_type WHERE oid = objid))
    UNION ALL
    SELECT format('column %s of %s', attname, attrelid::regclass), coalesce(col_description(attrelid, attnum), '')
    FROM pg_depend JOIN pg_attribute ON attrelid = objid
    WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_extension'::regclass AND deptype = 'e'
      AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'agent_backup')
      AND (SELECT relkind IN ('r', 'p', 'v', 'm', 'f') FROM pg_class WHERE oid = objid)
      AND attnum > 0 AND NOT attisdropped
    ORDER BY 1";

/// Everything in the database that CREATE EXTENSION could have made, outside the catalogue of extensions.
const OBJECTS: &str = "
    SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname !~ '^pg_(temp|toast_temp)'
    UNION ALL SELECT 'relation ' || oid::regclass FROM pg_class WHERE relnamespace <> 'pg_toast'::regnamespace
    UNION ALL SELECT 'function ' || oid::regprocedure FROM pg_proc
    UNION ALL SELECT 'type ' || oid::regtype FROM pg_type WHERE typnamespace <> 'pg_toast'::regnamespace
    UNION ALL SELECT 'event trigger ' || evtname FROM pg_event_trigger
    UNION ALL SELECT 'default privileges of ' || defaclrole::regrole FROM pg_default_acl
    ORDER BY 1";

#[test]
fn create_extension_installs_the_version_of_the_control_file() {
    let db = database();
    let row = db.client().query_one(
        "SELECT extversion, default_version FROM pg_extension JOIN pg_available_extensions ON name = extname WHERE extname = 'agent_backup'",
        &[],
    );
    let row = row.unwrap();
    assert_eq!(row.get::<_, String>(0), row.get::<_, String>(1));
    assert_eq!(row.get::<_, String>(0), env!("CARGO_PKG_VERSION"));
    assert_no_trash(&db, &[]);
}

#[test]
fn every_object_and_column_has_a_comment() {
    let db = database();
    let members = db.client().query(MEMBERS, &[]).unwrap();
    let bare: Vec<&str> =
        members.iter().filter(|row| row.get::<_, &str>(1).trim().is_empty()).map(|row| row.get(0)).collect();
    assert!(bare.is_empty(), "no comment on:\n{}", bare.join("\n"));
}

#[test]
fn drop_extension_leaves_nothing() {
    let db = database();
    let objects = || -> Vec<String> { db.client().query(OBJECTS, &[]).unwrap().iter().map(|row| row.get(0)).collect() };
    let installed = objects();
    db.run("DROP EXTENSION agent_backup");
    let before = objects();
    db.run("CREATE EXTENSION agent_backup; DROP EXTENSION agent_backup");
    assert_eq!(objects(), before);
    let left: Vec<&String> =
        before.iter().filter(|object| object.contains("agent_backup") || object.contains("verify_")).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    assert!(installed.len() >= before.len());
}
