//! What stays of a set, why, and that nothing else goes: `retention_plan`, `prune`, `pin`, `set_retention`.

use agent_backup_suite::{
    Database, Set, assert_backups_whole, assert_clean, assert_no_trash, backups_at, database, files, lines,
    listed_days, noted, one, prune, refused, set_clock,
};

/// A set `s` that keeps two days, with backups of four.
fn four_days() -> (Database<'static>, Vec<String>) {
    let db = database();
    Set::create(&db, 1, 10);
    keep_days(&db, "s", 2);
    let ids = backups_at(&db, "s", "full", &["2026-03-01", "2026-03-02", "2026-03-03", "2026-03-04"]);
    (db, ids)
}

fn keep_days(db: &Database, set: &str, days: u32) {
    db.run(&format!(
        "SELECT agent_backup.set_retention('{set}', keep_daily => {days}, keep_weekly => 0, keep_monthly => 0)"
    ));
}

const PLAN: &str = "SELECT to_char(started_at AT TIME ZONE 'UTC', 'MM-DD'), kind, keep, array_to_string(reasons, '; ') FROM agent_backup.retention_plan";

/// The plan of a set on a day.
fn plan(db: &Database, set: &str, day: &str) -> Vec<String> {
    let mut client = db.client();
    set_clock(&mut client, day);
    lines(&mut client, &format!("{PLAN}({set})"))
}

#[test]
fn the_plan_tells_of_every_backup_and_removes_none() {
    let (db, ids) = four_days();
    assert_eq!(
        plan(&db, "'s'", "2026-03-04"),
        [
            "03-04|full|t|daily 1 of 2; the newest good backup",
            "03-03|full|t|daily 2 of 2",
            "03-02|full|f|no rule keeps it",
            "03-01|full|f|no rule keeps it",
        ]
    );
    let mut client = db.client();
    set_clock(&mut client, "2026-03-04");
    let sizes = "SELECT count(*) FROM agent_backup.retention_plan('s') p JOIN agent_backup.backups b USING (backup_id, size_bytes)";
    assert_eq!(one::<i64>(&mut client, sizes), 4);
    let rows = prune(&mut client, "'s'");
    assert_eq!(rows.iter().map(|row| row.backup_id.as_deref().unwrap()).collect::<Vec<_>>(), [&ids[1], &ids[0]]);
    assert!(rows.iter().all(|row| row.action == "remove" && row.set == "s"), "{rows:?}");
    drop(client);
    assert_eq!((files(&db).len(), noted(&db), assert_backups_whole(&db)), (8, 0, 4));
    assert_no_trash(&db, &[]);
}

#[test]
fn a_confirmed_prune_removes_both_files_and_notes_what_went() {
    let (db, ids) = four_days();
    let mut client = db.client();
    set_clock(&mut client, "2026-03-04");
    let rows = prune(&mut client, "'s', confirm => true");
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row.action == "removed" && row.reasons == ["no rule keeps it"]), "{rows:?}");
    assert_eq!(listed_days(&db, "s"), ["2026-03-03", "2026-03-04"]);
    assert_eq!((files(&db).len(), assert_backups_whole(&db)), (4, 2));
    let note = "SELECT backup_id, set_name, kind, status, was_good, row_count, backup_file LIKE '%/s/s_backup_%', reasons, pruned_at, pruned_by
                FROM agent_backup.pruned_backups ORDER BY started_at LIMIT 1";
    client.batch_execute("SET TimeZone = 'UTC'").unwrap();
    assert_eq!(
        lines(&mut client, note),
        [format!("{}|s|full|complete|t|10|t|{{\"no rule keeps it\"}}|2026-03-04 02:00:00+00|postgres", ids[0])]
    );
    // Again there is nothing to do, and nothing comes back.
    assert!(prune(&mut client, "'s', confirm => true").is_empty());
    assert!(lines(&mut client, "SELECT * FROM agent_backup.reconcile('s')").is_empty());
    drop(client);
    assert_clean(&db, &[]);
}

#[test]
fn who_may_not_write_backups_prunes_and_pins_none() {
    let (db, ids) = four_days();
    let (nobody, operator) = (format!("{}_nobody", db.name()), format!("{}_op", db.name()));
    db.run(&format!(
        "CREATE ROLE {nobody} LOGIN; CREATE ROLE {operator} LOGIN; GRANT agent_backup_operator TO {operator}"
    ));
    db.let_call(&nobody);
    for call in [
        "prune('s')".to_owned(),
        "prune('s', confirm => true)".to_owned(),
        "retention_plan('s')".to_owned(),
        format!("pin('{}')", ids[0]),
        format!("unpin('{}')", ids[0]),
        "set_retention('s', keep_daily => 1)".to_owned(),
        "disk_space()".to_owned(),
        "room_for('s')".to_owned(),
    ] {
        let refusal = refused(&mut db.client_as(&nobody), &format!("SELECT agent_backup.{call}"));
        assert_eq!(refusal.code, "42501", "{call}: {refusal:?}");
    }
    assert_eq!(assert_backups_whole(&db), 4);
    let mut client = db.client_as(&operator);
    assert_eq!(prune(&mut client, "'s', confirm => true").len(), 2);
    assert_eq!(
        one::<i64>(&mut client, "SELECT count(*) FROM agent_backup.pruned_backups WHERE pruned_by = session_user"),
        2
    );
    client
        .batch_execute("BEGIN READ ONLY; SELECT agent_backup.prune('s'); SELECT agent_backup.retention_plan('s')")
        .unwrap();
    assert_eq!(refused(&mut client, "SELECT agent_backup.prune('s', confirm => true)").code, "25006");
    drop(client);
    db.run(&format!("DROP OWNED BY {nobody}, {operator}; DROP ROLE {nobody}, {operator}"));
    assert_no_trash(&db, &[]);
}

#[test]
fn what_is_not_good_counts_for_nothing() {
    let (db, ids) = four_days();
    // The newest is damaged, and the verification says so.
    let name: String =
        one(&mut db.client(), &format!("SELECT backup_file FROM agent_backup.backups WHERE backup_id = '{}'", ids[3]));
    let mut bytes = std::fs::read(&name).unwrap();
    let at = bytes.len() / 3;
    bytes[at] ^= 1;
    std::fs::write(&name, bytes).unwrap();
    db.run(&format!("SELECT agent_backup.verify('{}', set_name => 's')", ids[3]));
    assert_eq!(
        plan(&db, "'s'", "2026-03-05"),
        [
            "03-04|full|t|failed its verification, and no newer good backup exists",
            "03-03|full|t|daily 1 of 2; the newest good backup",
            "03-02|full|t|daily 2 of 2",
            "03-01|full|f|no rule keeps it",
        ]
    );
    // A failed one has no file; a newer good one makes both go.
    let mut client = db.client();
    set_clock(&mut client, "2026-03-05");
    client.batch_execute("SET agent_backup.debug_failpoint = 'scan=error'; SELECT agent_backup.backup('s'); RESET agent_backup.debug_failpoint").unwrap();
    backups_at(&db, "s", "full", &["2026-03-06"]);
    set_clock(&mut client, "2026-03-06");
    let gone: Vec<_> = prune(&mut client, "'s', true").into_iter().map(|row| row.reasons.join("; ")).collect();
    assert_eq!(
        gone,
        [
            "failed, and a newer good backup exists",
            "failed its verification, and a newer good backup exists",
            "no rule keeps it",
            "no rule keeps it"
        ]
    );
    assert_eq!(listed_days(&db, "s"), ["2026-03-03", "2026-03-06"]);
    assert_eq!(
        lines(
            &mut client,
            "SELECT status, was_good, backup_file IS NULL FROM agent_backup.pruned_backups ORDER BY started_at DESC LIMIT 2"
        ),
        ["failed|f|t", "complete|f|f"]
    );
    drop(client);
    assert_clean(&db, &["was made to fail"]);
}

#[test]
fn two_sets_that_take_turns_do_not_count_for_each_other() {
    let db = database();
    Set::create(&db, 1, 10);
    db.run("SELECT agent_backup.create_set('s2'); SELECT agent_backup.add_table('s2', 't1')");
    keep_days(&db, "s", 1);
    keep_days(&db, "s2", 2);
    for day in 1..=6 {
        backups_at(&db, if day % 2 == 0 { "s" } else { "s2" }, "full", &[&format!("2026-03-0{day}")]);
    }
    let mut client = db.client();
    set_clock(&mut client, "2026-03-06");
    assert_eq!(prune(&mut client, "'s', confirm => true").len(), 2);
    assert_eq!((listed_days(&db, "s").len(), listed_days(&db, "s2").len()), (1, 3));
    assert_eq!(prune(&mut client, "NULL, confirm => true").len(), 1);
    assert_eq!(listed_days(&db, "s"), ["2026-03-06"]);
    assert_eq!(listed_days(&db, "s2"), ["2026-03-03", "2026-03-05"]);
    assert_eq!(lines(&mut client, &format!("{PLAN}(NULL)")).len(), 3);
    drop(client);
    assert_clean(&db, &[]);
}

#[test]
fn a_pin_keeps_through_prune_and_adoption_and_says_why() {
    let (db, ids) = four_days();
    db.run(&format!("SELECT agent_backup.pin('{}', 'before the migration')", ids[0]));
    db.run(&format!("SELECT agent_backup.pin('{}')", ids[1]));
    assert_eq!(plan(&db, "'s'", "2026-03-04")[2..], ["03-02|full|t|pinned", "03-01|full|t|pinned"]);
    // The row is lost in part, and made anew from the manifest: the pin stays.
    db.run("DELETE FROM agent_backup.backup_entry; SELECT agent_backup.reconcile('s')");
    let pins = "SELECT pinned, pin_reason FROM agent_backup.backups WHERE set_name = 's' ORDER BY started_at";
    assert_eq!(lines(&mut db.client(), pins), ["t|before the migration", "t|", "f|", "f|"]);
    let mut client = db.client();
    set_clock(&mut client, "2026-03-04");
    assert!(prune(&mut client, "'s', confirm => true").is_empty());
    client.batch_execute(&format!("SELECT agent_backup.unpin('{}')", ids[0])).unwrap();
    assert_eq!(prune(&mut client, "'s', confirm => true").len(), 1);
    assert_eq!(lines(&mut client, pins), ["t|", "f|", "f|"]);
    let refusal = refused(&mut client, "SELECT agent_backup.pin('20260302T020000Z')");
    assert!(refusal.code == "42704" && refusal.message == "backup \"20260302T020000Z\" does not exist", "{refusal:?}");
    assert_eq!(refused(&mut client, "SELECT agent_backup.pin(NULL)").code, "22004");
    drop(client);
    assert_clean(&db, &[]);
}

#[test]
fn the_maximum_age_wins_over_pins_and_a_notice_says_when() {
    let (db, ids) = four_days();
    db.run("SELECT agent_backup.set_retention('s', keep_daily => 30, max_age => '10 days')");
    let output = db.psql(&format!("SELECT agent_backup.pin('{}')", ids[0]));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("goes on 2026-03-11 all the same: no backup of set \"s\" is kept longer than 10 days"),
        "{said}"
    );
    assert_eq!(
        plan(&db, "'s'", "2026-03-12")[2..],
        [
            "03-02|full|t|daily 3 of 30",
            "03-01|full|f|older than the maximum age of 10 days, which wins over: daily 4 of 30, pinned",
        ]
    );
    // Of what is all too old the newest good one alone stays.
    let mut client = db.client();
    set_clock(&mut client, "2027-01-01");
    assert_eq!(prune(&mut client, "'s', confirm => true").len(), 3);
    assert_eq!(
        plan(&db, "'s'", "2027-01-01"),
        ["03-04|full|t|older than the maximum age of 10 days, but the newest good backup: a new one is due"]
    );
    drop(client);
    assert_clean(&db, &[]);
}

#[test]
fn incrementals_go_with_the_backup_that_they_extend() {
    let db = database();
    Set::create(&db, 1, 10);
    keep_days(&db, "s", 1);
    let mut client = db.client();
    for day in 1..=3 {
        backups_at(&db, "s", "full", &[&format!("2026-03-0{day}")]);
        set_clock(&mut client, &format!("2026-03-0{day}T12:00:00Z"));
        client.batch_execute("UPDATE t1 SET a = a || 'x' WHERE id < 4; SELECT agent_backup.incremental('s')").unwrap();
    }
    set_clock(&mut client, "2026-03-03T13:00:00Z");
    for (arguments, action) in [("'s'", "remove"), ("'s', confirm => true", "removed")] {
        let rows = prune(&mut client, arguments);
        let kinds: Vec<_> = rows.iter().map(|row| (row.kind.as_deref().unwrap(), row.action.as_str())).collect();
        // What extends a backup comes before it.
        assert_eq!(kinds, [("incremental", action), ("incremental", action), ("full", action), ("full", action)]);
        assert!(rows[..2].iter().all(|row| row.reasons[0].ends_with("which it extends, is gone")), "{rows:?}");
        assert!(rows[..2].iter().all(|row| row.file.as_ref().unwrap().contains("/s/incremental/t1_inc_2026030")));
    }
    let left = std::fs::read_dir(db.backup_dir().join("s/incremental")).unwrap().count();
    assert_eq!(left, 2);
    assert!(prune(&mut client, "'s', true").is_empty());
    drop(client);
    assert_clean(&db, &[]);
}

#[test]
fn set_retention_changes_what_is_given_and_refuses_what_keeps_nothing() {
    let db = database();
    let rules = "SELECT keep_daily, keep_weekly, keep_monthly, keep_last, keep_within, max_age, backup_interval, seeded FROM agent_backup.sets";
    let mut client = db.client();
    let mut set = |arguments: &str| {
        client.batch_execute(&format!("SELECT agent_backup.set_retention('agent_sdk', {arguments})")).unwrap();
        lines(&mut client, rules).remove(0)
    };
    assert_eq!(set("keep_daily => 14"), "14|4|12|0|||1 day|f");
    assert_eq!(
        set("keep_within => '3 days', max_age => '1 year', backup_interval => '12 hours'"),
        "14|4|12|0|3 days|1 year|12:00:00|f"
    );
    assert_eq!(set("keep_daily => 0, keep_weekly => 0, keep_monthly => 0"), "0|0|0|0|3 days|1 year|12:00:00|f");
    assert_eq!(set("max_age => '0'"), "0|0|0|0|3 days||12:00:00|f");
    for (call, option) in [
        ("set_retention('agent_sdk', keep_within => '0')", "keep_daily"),
        ("set_retention('agent_sdk', keep_daily => -1)", "keep_daily"),
        ("set_retention('agent_sdk', keep_last => 2147483647)", "keep_last"),
        ("set_retention('agent_sdk', keep_within => '-1 day')", "keep_within"),
        ("set_retention('agent_sdk', max_age => '1 hour')", "max_age"),
        ("set_retention('agent_sdk', backup_interval => '0')", "backup_interval"),
        ("create_set('x', keep_within => '-1 day')", "keep_within"),
        ("create_set('x', max_age => '23 hours')", "max_age"),
        ("create_set('x', backup_interval => '-1 hour')", "backup_interval"),
        ("create_set('x', keep_monthly => 2147483647)", "keep_monthly"),
        ("create_set('x', rto => '0')", "rto"),
        ("create_set('x', keep_daily => 0, keep_weekly => 0, keep_monthly => 0)", "keep_daily"),
    ] {
        let refusal = refused(&mut client, &format!("SELECT agent_backup.{call}"));
        let named = refusal.message.starts_with(&format!("invalid {option}: "));
        assert!(refusal.code == "22023" && named, "{call}: {refusal:?}");
    }
    assert_eq!(
        refused(&mut client, "SELECT agent_backup.set_retention('agent_sdq', 1)").hint,
        "Did you mean agent_sdk?"
    );
    assert_eq!(refused(&mut client, "SELECT agent_backup.prune('agent_sdq')").hint, "Did you mean agent_sdk?");
    assert_eq!(lines(&mut client, rules), ["0|0|0|0|3 days||12:00:00|f"]);
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_set_that_was_dropped_keeps_all_of_its_backups() {
    let (db, _) = four_days();
    db.run("SELECT agent_backup.drop_set('s', confirm => true)");
    let plan = plan(&db, "'s'", "2030-01-01");
    assert!(
        plan.len() == 4
            && plan.iter().all(|row| row.ends_with("|t|backup set \"s\" was dropped: no policy says when it may go")),
        "{plan:?}"
    );
    let mut client = db.client();
    set_clock(&mut client, "2030-01-01");
    assert!(prune(&mut client, "'s', confirm => true").is_empty() && prune(&mut client, "NULL, true").is_empty());
    assert_eq!(refused(&mut client, "SELECT agent_backup.retention_plan('nosuch')").code, "42704");
    drop(client);
    assert_eq!(assert_backups_whole(&db), 4);
    assert_no_trash(&db, &[]);
}

#[test]
fn safety_backups_stay_30_days_and_baselines_as_long_as_their_tables_are_tracked() {
    let db = database();
    db.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 5); CREATE TABLE u (LIKE t INCLUDING ALL);
        SELECT agent_backup.create_set('s'); SELECT agent_backup.add_table('s', 't')");
    backups_at(&db, "s", "full", &["2026-03-01"]);
    let mut client = db.client();
    set_clock(&mut client, "2026-03-01T03:00:00Z");
    client.batch_execute("INSERT INTO t VALUES (9); SELECT agent_backup.restore('latest', confirm => true, set_name => 's'); SELECT agent_backup.track('t'); SELECT agent_backup.track('u')").unwrap();
    client.batch_execute("UPDATE agent_backup.tracked SET since = '2026-03-01 03:00:00Z', ended_at = CASE table_name WHEN 'u' THEN timestamptz '2026-06-01 03:00:00Z' END").unwrap();
    assert_eq!(
        plan(&db, "'restore_safety'", "2026-03-30"),
        ["03-01|safety|t|made before a restore less than 30 days ago"]
    );
    // Both began in one moment.
    let mut baselines = plan(&db, "'capture_baseline'", "2026-06-20");
    baselines.sort();
    assert_eq!(
        baselines,
        ["03-01|full|t|its table is tracked", "03-01|full|t|tracking of its table ended less than 30 days ago"]
    );
    // A prune of the set itself touches neither.
    set_clock(&mut client, "2030-01-01");
    assert!(prune(&mut client, "'s', true").is_empty());
    let gone: Vec<_> = prune(&mut client, "NULL, true")
        .into_iter()
        .map(|row| (row.set, row.kind.unwrap(), row.reasons.join("; ")))
        .collect();
    let row = |set: &str, kind: &str, reason: &str| (set.to_owned(), kind.to_owned(), reason.to_owned());
    assert_eq!(
        gone,
        [
            row("capture_baseline", "full", "tracking of its table ended 30 days ago or more"),
            row("restore_safety", "safety", "made before a restore 30 days ago or more"),
        ]
    );
    assert_eq!(listed_days(&db, "capture_baseline").len(), 1);
    assert!(prune(&mut client, "'restore_safety'").is_empty());
    drop(client);
    assert_no_trash(&db, &[]);
}

#[test]
fn what_another_database_made_is_never_touched() {
    let (db, _) = four_days();
    let other = db.cluster().database();
    other.run(&format!("ALTER DATABASE {} SET agent_backup.directory = '{}'", other.name(), db.backup_dir().display()));
    Set::create(&other, 1, 10);
    keep_days(&other, "s", 1);
    // It lists them, as a server that takes over does, and makes two of its own.
    other.run("SELECT agent_backup.reconcile('s', elsewhere => true)");
    backups_at(&other, "s", "full", &["2026-03-05", "2026-03-06"]);
    let mut client = other.client();
    set_clock(&mut client, "2026-03-06");
    let plan = lines(
        &mut client,
        &format!(
            "{PLAN}('s') WHERE keep AND reasons[1] LIKE 'made by database \"{}\" of cluster %, which alone removes it'",
            db.name()
        ),
    );
    assert_eq!(plan.len(), 4, "{plan:?}");
    assert_eq!(prune(&mut client, "'s', true").len(), 1);
    drop(client);
    assert_eq!((listed_days(&db, "s").len(), files(&db).len()), (4, 10));
    assert!(lines(&mut db.client(), "SELECT * FROM agent_backup.reconcile('s') WHERE action <> 'foreign'").is_empty());
    assert_no_trash(&other, &[]);
}
