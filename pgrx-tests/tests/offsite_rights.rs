//! Who may have backups sent where, read from where, and what a server and a mapping may say.

use std::sync::OnceLock;

use agent_backup_suite::{S3, SECRET, Set, backup, database, fails_with, lines, one};

fn store() -> &'static S3 {
    static STORE: OnceLock<S3> = OnceLock::new();
    STORE.get_or_init(S3::start)
}

#[test]
fn an_operator_sends_to_a_destination_and_chooses_none() {
    let db = database();
    db.run(&store().setup());
    Set::create(&db, 1, 100);
    let (operator, nobody) = (format!("{}_operator", db.name()), format!("{}_nobody", db.name()));
    db.run(&format!("CREATE ROLE {operator} LOGIN IN ROLE agent_backup_operator; CREATE ROLE {nobody} LOGIN; GRANT SELECT ON t1 TO {operator}"));
    let url = store().url(db.name());
    let mut client = db.client_as(&operator);
    let add = format!("SELECT agent_backup.add_destination('s', '{url}')");
    let told = fails_with(client.batch_execute(&add), "42501");
    assert!(told.contains("send backups to") && told.contains("GRANT pg_write_server_files"), "{told}");
    fails_with(client.batch_execute("SELECT agent_backup.add_destination('s', 'file:///tmp/x')"), "42501");
    fails_with(client.batch_execute(&format!("SELECT * FROM agent_backup.import_offsite('{url}')")), "42501");
    db.run(&add);
    backup(&mut client).unwrap();
    // By the mapping of the extension's owner, whose secret it never sees.
    let sent = lines(&mut client, "SELECT action FROM agent_backup.upload('s')");
    assert_eq!(sent, ["uploaded", "uploaded"]);
    assert_eq!(
        lines(&mut client, "SELECT status FROM agent_backup.verify_offsite('s', level => 'read')"),
        ["ok", "ok"]
    );
    assert!(lines(&mut client, &format!("SELECT details FROM agent_backup.import_offsite('{url}')")).is_empty());
    let shown = lines(&mut client, "SELECT umoptions::text FROM pg_user_mappings");
    assert!(!shown.join(" ").contains(SECRET), "{shown:?}");
    let mut client = db.client_as(&nobody);
    for call in ["upload('s')", "verify_offsite('s')", "prune_offsite('s')", "remove_destination('s', 's3://bucket/x')"]
    {
        fails_with(client.batch_execute(&format!("SELECT agent_backup.{call}")), "42501");
    }
    fails_with(client.batch_execute("SELECT * FROM agent_backup.offsite_copies"), "42501");
    db.run(&format!("DROP OWNED BY {operator}, {nobody}; DROP ROLE {operator}, {nobody}"));
}

#[test]
fn a_place_is_refused_for_what_is_wrong_with_it() {
    let db = database();
    Set::create(&db, 1, 10);
    let mut client = db.client();
    let inside = db.backup_dir().join("copies");
    for (url, server, code, part) in [
        ("ftp://x".to_owned(), None, "22023", "begins neither with"),
        (format!("s3://key:{SECRET}@bucket/x"), None, "22023", "holds credentials"),
        ("s3://bucket/x?versionId=1".into(), None, "22023", "a query"),
        (format!("file://{}", inside.display()), None, "22023", "lies within agent_backup.directory"),
        ("s3://bucket/x".into(), Some("nowhere"), "42704", "foreign server \"nowhere\" does not exist"),
    ] {
        let server = server.map_or("NULL".to_owned(), |name| format!("'{name}'"));
        let call = format!("SELECT agent_backup.add_destination('s', '{url}', {server})");
        let told = fails_with(client.batch_execute(&call), code);
        assert!(told.contains(part) && !told.contains(SECRET), "{told}");
    }
    client.batch_execute("SELECT agent_backup.add_destination('s', 's3://bucket/x/')").unwrap();
    fails_with(client.batch_execute("SELECT agent_backup.add_destination('s', 's3://bucket/x')"), "42710");
    fails_with(client.batch_execute("SELECT agent_backup.add_destination('s', 's3://bucket/y', keep_daily => 0, keep_weekly => 0, keep_monthly => 0)"), "22023");
    let near = fails_with(client.batch_execute("SELECT agent_backup.upload('s', 's3://bucket/xx')"), "42704");
    assert!(near.contains("Did you mean s3://bucket/x?"), "{near}");
    assert_eq!(one::<String>(&mut client, "SELECT url FROM agent_backup.offsite_destinations"), "s3://bucket/x");
}

#[test]
fn options_are_checked_and_no_value_is_told() {
    let db = database();
    let mut client = db.client();
    let server = "CREATE SERVER s FOREIGN DATA WRAPPER agent_backup_s3";
    for (options, code, part) in [
        (
            "endpont 'https://x'".to_owned(),
            "HV00D",
            "Valid options are endpoint, region, path_style, ca_bundle, allow_http.",
        ),
        (format!("secret_access_key '{SECRET}'"), "HV00D", "invalid option \"secret_access_key\""),
        ("endpoint 'http://x'".into(), "22023", "allow_http"),
        (format!("endpoint 'https://k:{SECRET}@x'"), "22023", "credentials do not belong there"),
        ("path_style 'perhaps'".into(), "22023", "neither true nor false"),
    ] {
        let told = fails_with(client.batch_execute(&format!("{server} OPTIONS ({options})")), code);
        assert!(told.contains(part) && !told.contains(SECRET), "{told}");
    }
    client.batch_execute(&format!("{server} OPTIONS (endpoint 'http://x', allow_http 'on')")).unwrap();
    let mapping = "CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS";
    let told = fails_with(client.batch_execute(&format!("{mapping} (secret_access_key '{SECRET}')")), "22023");
    assert!(!told.contains(SECRET), "{told}");
    let told = fails_with(client.batch_execute(&format!("{mapping} (password '{SECRET}')")), "HV00D");
    assert!(told.contains("access_key_id, secret_access_key, session_token") && !told.contains(SECRET), "{told}");
    client
        .batch_execute("CREATE EXTENSION postgres_fdw; CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw")
        .unwrap();
    Set::create(&db, 1, 10);
    let call = "SELECT agent_backup.add_destination('s', 's3://bucket/x', 'other')";
    fails_with(client.batch_execute(call), "42809");
}

#[test]
fn a_store_without_credentials_says_so() {
    let db = database();
    Set::create(&db, 1, 10);
    let endpoint = store().endpoint();
    db.run(&format!(
        "CREATE SERVER bare FOREIGN DATA WRAPPER agent_backup_s3 OPTIONS (endpoint '{endpoint}', region 'us-east-1', allow_http 'true');
         CREATE USER MAPPING FOR CURRENT_USER SERVER bare OPTIONS (access_key_id 'AKIAWRONG', secret_access_key 'wrong');
         SELECT agent_backup.add_destination('s', 's3://bucket/x', 'bare')"
    ));
    let mut client = db.client();
    backup(&mut client).unwrap();
    let told = lines(&mut client, "SELECT action || ' ' || error_message FROM agent_backup.upload('s')");
    assert!(told.len() == 1 && told[0].starts_with("failed permission denied to "), "{told:?}");
}
