//! A backup takes the definitions of an earlier one while the catalogue has not changed, and never when it has.

use agent_backup_core::container::Manifest;
use agent_backup_core::container::manifest::{Ddl, LeftOut};
use agent_backup_suite::{Database, database};
use postgres::Client;

/// Backs up a set and reads its manifest's definitions.
fn definitions(client: &mut Client, set: &str) -> (Vec<Ddl>, Vec<LeftOut>) {
    client.execute("SELECT count(*) FROM agent_backup.backup($1)", &[&set]).expect("a backup");
    let query = "SELECT manifest_file FROM agent_backup.backups WHERE set_name = $1 AND status = 'complete' \
                 ORDER BY finished_at DESC LIMIT 1";
    let path: String = client.query_one(query, &[&set]).expect("it is listed").get(0);
    let manifest = Manifest::parse(&std::fs::read(path).expect("a manifest")).expect("a sound manifest");
    (manifest.ddl, manifest.left_out)
}

fn make_set(db: &Database, set: &str) {
    db.run(&format!(
        "SELECT agent_backup.create_set('{set}', formats => '{{csv}}');
         SELECT agent_backup.add_table('{set}', name) FROM unnest('{{customer,invoice}}'::text[]) name"
    ));
}

fn application() -> Database<'static> {
    let db = database();
    db.run(&format!(
        "CREATE TYPE state AS ENUM ('open', 'paid'); CREATE DOMAIN amount AS numeric(12, 2) CHECK (VALUE >= 0);
         CREATE ROLE {0}_reader;
         CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
         CREATE TABLE customer (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text);
         CREATE TABLE invoice (id int PRIMARY KEY, customer int REFERENCES customer, total amount, state state);
         CREATE SEQUENCE loose; CREATE TRIGGER stamp BEFORE UPDATE ON invoice FOR EACH ROW EXECUTE FUNCTION stamp();
         INSERT INTO customer (name) SELECT 'c' || n FROM generate_series(1, 10) n",
        db.name()
    ));
    make_set(&db, "s");
    db
}

#[test]
fn every_change_to_a_definition_is_in_the_next_backup() {
    let db = application();
    let mut client = db.client();
    let mut before = definitions(&mut client, "s");
    let role = format!("{}_reader", db.name());
    let changes = [
        "COMMENT ON COLUMN invoice.total IS 'with tax'".to_owned(),
        "COMMENT ON COLUMN invoice.total IS NULL".to_owned(),
        "ALTER TYPE state ADD VALUE 'void'".to_owned(),
        "ALTER TYPE state RENAME VALUE 'void' TO 'gone'".to_owned(),
        "CREATE OR REPLACE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$"
            .to_owned(),
        "ALTER TABLE invoice DISABLE TRIGGER stamp".to_owned(),
        "ALTER TABLE invoice ADD note text DEFAULT 'x'".to_owned(),
        "ALTER TABLE invoice ALTER note SET DEFAULT 'y'".to_owned(),
        "ALTER TABLE invoice ALTER note SET STATISTICS 7".to_owned(),
        "CREATE INDEX ON invoice (state)".to_owned(),
        "ALTER DOMAIN amount ADD CONSTRAINT small CHECK (VALUE < 1000000)".to_owned(),
        "ALTER TABLE invoice ENABLE ROW LEVEL SECURITY".to_owned(),
        "CREATE POLICY all_of_it ON invoice USING (true)".to_owned(),
        format!("GRANT SELECT ON invoice TO {role}"),
        format!("GRANT UPDATE (note) ON invoice TO {role}"),
        format!("ALTER ROLE {role} RENAME TO {role}_2"),
        "ALTER SEQUENCE loose OWNED BY invoice.note".to_owned(),
        "CREATE STATISTICS pair (dependencies) ON customer, state FROM invoice".to_owned(),
        "ALTER TABLE invoice DROP COLUMN note".to_owned(),
        "ALTER TABLE invoice RENAME CONSTRAINT invoice_pkey TO invoice_key".to_owned(),
        "GRANT USAGE ON SCHEMA public TO pg_monitor".to_owned(),
    ];
    for (number, change) in changes.iter().enumerate() {
        client.batch_execute(change).unwrap_or_else(|error| panic!("{change}: {error:?}"));
        let after = definitions(&mut client, "s");
        let fresh = format!("fresh{number}");
        make_set(&db, &fresh);
        assert!(after == definitions(&mut client, &fresh), "not in the next backup: {change}");
        assert!(after.0 != before.0, "it changes no statement, so it proves nothing: {change}");
        before = after;
    }
    db.run(&format!("DROP OWNED BY {role}_2; DROP ROLE {role}_2"));
}

#[test]
fn a_sequence_has_its_present_value_though_nothing_else_changed() {
    let db = application();
    let mut client = db.client();
    let before = definitions(&mut client, "s");
    db.run("INSERT INTO customer (name) VALUES ('one more')");
    let after = definitions(&mut client, "s");
    make_set(&db, "fresh");
    assert!(after == definitions(&mut client, "fresh"));
    let differing: Vec<_> = before.0.iter().zip(&after.0).filter(|(one, other)| one != other).collect();
    assert_eq!(before.0.len(), after.0.len());
    assert!(matches!(differing.as_slice(), [(one, _)] if one.section == "sequence_value"), "{differing:?}");
}

#[test]
fn an_altered_manifest_lends_nothing_to_the_next_backup() {
    let db = application();
    let mut client = db.client();
    let honest = definitions(&mut client, "s");
    let path: String = client.query_one("SELECT manifest_file FROM agent_backup.backups", &[]).unwrap().get(0);
    let mut manifest = Manifest::parse(&std::fs::read(&path).unwrap()).unwrap();
    manifest.ddl[3].statement = "DROP TABLE customer".into();
    std::fs::write(&path, manifest.to_bytes().unwrap()).unwrap();
    assert!(definitions(&mut client, "s") == honest);
}
