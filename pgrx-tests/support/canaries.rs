//! A role that is no superuser and owns tables, and functions of it that tell in the log who runs them.

use crate::database::{Database, database};
use crate::trash::assert_no_trash;

/// A database with a set `s`, such a role, and its functions `evil_immutable`, `evil_stable`, `evil_volatile`.
pub fn with_mallory() -> (Database<'static>, String) {
    let db = database();
    let mallory = format!("{}_mallory", db.name());
    let canary = |volatility: &str| {
        format!(
            "CREATE FUNCTION evil_{volatility}(tag text) RETURNS int LANGUAGE plpgsql {volatility} AS $f$ BEGIN
                 RAISE LOG 'canary % sings as %', tag, current_user; RETURN 1; END $f$;"
        )
    };
    db.run(&format!(
        "CREATE ROLE {mallory} LOGIN; GRANT CREATE ON SCHEMA public TO {mallory}; SELECT agent_backup.create_set('s'); SET ROLE {mallory};
         {} {} {}",
        canary("immutable"),
        canary("stable"),
        canary("volatile")
    ));
    db.let_call(&mallory);
    (db, mallory)
}

/// The roles that canaries sang as while `work` ran.
pub fn singers(db: &Database, work: impl FnOnce()) -> Vec<String> {
    let before = db.log().len();
    work();
    let log = db.log();
    let sang =
        log[before..].iter().filter_map(|line| Some(line.split_once(" sings as ")?.1.split(' ').next()?.to_owned()));
    let mut sang: Vec<String> = sang.collect();
    sang.sort();
    sang.dedup();
    sang
}

/// Drops the roles with all that is theirs, and looks for trash.
#[track_caller]
pub fn end_with(db: &Database, roles: &[&str], expected: &[&str]) {
    for role in roles {
        db.run(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}"));
    }
    assert_no_trash(db, expected);
}
