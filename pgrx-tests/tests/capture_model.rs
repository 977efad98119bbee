//! Random statements of two sessions on tracked tables of four kinds. At random moments the tables are copied and a mark is
//! made; the log must give back each copy, from wherever it is asked. A failure prints the seed; `AGENT_BACKUP_SEED` runs
//! that one again.

mod tracked;

use std::time::{SystemTime, UNIX_EPOCH};

use agent_backup_suite::{Database, assert_no_trash, lines, long, one, try_restore};
use postgres::Client;
use tracked::tracked;

const TABLES: [&str; 4] = ["k", "c", "u", "p"];

const SCRIPT: &str = "
    CREATE TABLE k (id int PRIMARY KEY, v text, n numeric);
    CREATE TABLE c (v text, id int, part text DEFAULT 'x,\"y', n int, PRIMARY KEY (id, part));
    CREATE TABLE u (id int, v text, n int);
    CREATE TABLE p (id int PRIMARY KEY, v text, n int) PARTITION BY RANGE (id);
    CREATE TABLE p_low PARTITION OF p FOR VALUES FROM (0) TO (10);
    CREATE TABLE p_high (n int, gone int, id int NOT NULL, v text); ALTER TABLE p_high DROP gone;
    ALTER TABLE p ATTACH PARTITION p_high FOR VALUES FROM (10) TO (20);
    CREATE TABLE p_rest PARTITION OF p DEFAULT;
    INSERT INTO k SELECT g, 'k' || g, g FROM generate_series(1, 20) g; INSERT INTO c SELECT 'c' || g, g % 7, g::text, g FROM generate_series(1, 20) g;
    INSERT INTO u SELECT g % 5, 'u' || g % 3 FROM generate_series(1, 20) g; INSERT INTO p SELECT g, 'p' || g FROM generate_series(1, 20) g;
    CREATE SCHEMA copies";

/// Numbers that are the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// A change of one table; it may fail for a key that is there, which is as good as any.
fn change(random: &mut Random, table: &str) -> String {
    let (a, b, n) = (random.below(25), random.below(25), random.below(5));
    let v = random.of(&["a", "", "x,\"y\"", "it''s", "long", "\u{e9}\n"]);
    let some = match random.below(3) {
        0 => format!("id = {a}"),
        1 => format!("id BETWEEN {} AND {}", a.min(b), a.max(b)),
        _ => format!("id % 3 = {n} AND n IS DISTINCT FROM {a}"),
    };
    let conflict = match (table, random.below(3)) {
        (_, 0) | ("u", _) => String::new(),
        (_, 1) => " ON CONFLICT DO NOTHING".to_owned(),
        ("c", _) => format!(" ON CONFLICT (id, part) DO UPDATE SET v = excluded.v, n = {n}"),
        _ => " ON CONFLICT (id) DO UPDATE SET v = excluded.v".to_owned(),
    };
    match random.below(20) {
        0..=3 => format!("INSERT INTO {table} (id, v, n) VALUES ({a}, '{v}', {n}){conflict}"),
        4..=5 => format!(
            "INSERT INTO {table} (id, v) SELECT g, '{v}' || g FROM generate_series({a}, {a} + {n} * {n}) g{conflict}"
        ),
        6..=9 => format!("UPDATE {table} SET v = '{v}', n = coalesce(n, 0) + {n} WHERE {some}"),
        10 => format!("UPDATE {table} SET n = n WHERE {some}"),
        11..=12 => format!("UPDATE {table} SET id = {b}, v = v || '{v}' WHERE id = {a}"),
        13 => format!("UPDATE {table} SET id = id + 25 WHERE {some}"),
        14 => format!("UPDATE {table} SET id = id % 25 WHERE id >= 25 AND id % 4 = {n}"),
        15..=16 => format!("DELETE FROM {table} WHERE {some}"),
        17 => format!(
            "WITH gone AS (DELETE FROM {table} WHERE {some} RETURNING *) INSERT INTO {table} (id, v, n) SELECT DISTINCT ON (id) id + 50, v, n FROM gone{conflict}"
        ),
        18 if table == "u" => format!("DELETE FROM u WHERE ctid IN (SELECT ctid FROM u WHERE {some} LIMIT 1)"),
        18 if table == "p" => format!("UPDATE p_low SET v = '{v}'; DELETE FROM p_high WHERE {some}"),
        18 => format!(
            "WITH one AS (UPDATE {table} SET n = {a} WHERE id = {a} RETURNING 1) UPDATE {table} SET n = {b} WHERE id = {b} AND id <> {a}"
        ),
        _ if random.chance(30) => {
            format!("TRUNCATE {}", if table == "p" { random.of(&["p", "p_low", "p_high"]) } else { table })
        }
        _ => format!(
            "INSERT INTO {table} (id, v, n) SELECT g, v, n FROM (SELECT row_number() OVER () + {a} AS g, v, n FROM {table} LIMIT 3) AS s{conflict}"
        ),
    }
}

/// A column that comes or goes, of those that no change names.
fn ddl(random: &mut Random, table: &str) -> String {
    let column = format!("x{}", random.below(3));
    match random.below(4) {
        0 => format!("ALTER TABLE {table} ADD IF NOT EXISTS {column} int"),
        1 => format!("ALTER TABLE {table} ADD IF NOT EXISTS {column} text DEFAULT 'd'"),
        _ => format!("ALTER TABLE {table} DROP IF EXISTS {column}"),
    }
}

/// A session that may be inside of a transaction.
struct Session {
    client: Client,
    is_open: bool,
}

impl Session {
    fn step(&mut self, random: &mut Random, with_ddl: bool) -> bool {
        let table = random.of(&TABLES);
        let statement = match random.below(12) {
            0 if !self.is_open => random.of(&["BEGIN", "BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ"]).to_owned(),
            0 | 1 if self.is_open => random.of(&["COMMIT", "COMMIT", "ROLLBACK"]).to_owned(),
            2 if self.is_open => random.of(&["SAVEPOINT s", "ROLLBACK TO s", "RELEASE s"]).to_owned(),
            3 if with_ddl && random.chance(30) => ddl(random, table),
            _ => change(random, table),
        };
        match self.client.batch_execute(&statement) {
            Ok(()) => {
                self.is_open = (self.is_open || statement.starts_with("BEGIN"))
                    && !["COMMIT", "ROLLBACK"].contains(&statement.as_str())
            }
            Err(error) => {
                let code = error.code().unwrap_or_else(|| panic!("{statement}: {error:?}")).code().to_owned();
                // A key that is there, a lock, a serialization failure, a savepoint that is not there, the transaction they left.
                let usual = ["23505", "55P03", "40001", "40P01", "3B001", "25P02"].contains(&code.as_str());
                assert!(usual, "{statement}: {error:?}");
                self.end("ROLLBACK");
                return false;
            }
        }
        true
    }

    fn end(&mut self, how: &str) {
        if std::mem::take(&mut self.is_open) {
            self.client.batch_execute(how).unwrap();
        }
    }
}

/// Makes a mark and copies all tables: nothing commits in between. False where a lock is in the way.
fn copy(watch: &mut Client, number: usize) -> bool {
    let mark = format!("m{number}");
    watch.batch_execute(&format!("SELECT agent_backup.mark('{mark}')")).unwrap();
    let copies: String =
        TABLES.iter().map(|table| format!("CREATE TABLE copies.{table}{number} AS TABLE {table};")).collect();
    let is_copied = watch.batch_execute(&copies).is_ok();
    if !is_copied {
        watch.batch_execute(&format!("SELECT agent_backup.drop_mark('{mark}')")).unwrap();
    }
    is_copied
}

/// The rows behind `from` are those of the copy, over the columns that both have.
fn assert_same(watch: &mut Client, from: &str, table: &str, number: usize, context: &str) {
    let common = format!(
        "SELECT string_agg(quote_ident(l.attname), ', ' ORDER BY l.attnum) FROM pg_attribute l JOIN pg_attribute k ON k.attname = l.attname AND k.atttypid = l.atttypid
         WHERE l.attrelid = '{table}'::regclass AND k.attrelid = 'copies.{table}{number}'::regclass AND l.attnum > 0 AND l.attname !~ '^x'"
    );
    let columns: String = one(watch, &common);
    let left = format!("SELECT ROW({columns})::text FROM {from} AS t");
    let right = format!("SELECT ROW({columns})::text FROM copies.{table}{number} AS t");
    let counts =
        lines(watch, &format!("SELECT (SELECT count(*) FROM ({left}) AS l), (SELECT count(*) FROM ({right}) AS r)"));
    let differ = lines(
        watch,
        &format!(
            "(SELECT 'too many', l.* FROM ({left} EXCEPT ALL {right}) AS l) UNION ALL (SELECT 'missing', r.* FROM ({right} EXCEPT ALL {left}) AS r) LIMIT 6"
        ),
    );
    let (here, there) = counts[0].split_once('|').expect("two counts");
    assert!(here == there && differ.is_empty(), "{context}: {table} at m{number}: {counts:?}: {differ:?}");
}

fn assert_as_of(watch: &mut Client, table: &str, number: usize, context: &str) {
    let from = format!("agent_backup.read_as_of(NULL::{table}, mark => 'm{number}')");
    // Without a key, rows of before and after a change of columns cannot be told to be the same: that is said, no more.
    match watch.batch_execute(&format!("SELECT FROM {from}")) {
        Err(error) if table == "u" && said_that_columns_changed(&error) => (),
        _ => assert_same(watch, &from, table, number, context),
    }
}

fn said_that_columns_changed(error: &postgres::Error) -> bool {
    error
        .as_db_error()
        .is_some_and(|error| error.code().code() == "55000" && error.message().contains("its columns changed"))
}

/// Brings a table back to a copy, if no other session is in the way.
fn bring_back(watch: &mut Client, table: &str, number: usize, context: &str) -> bool {
    match try_restore(watch, &format!("restore_table_as_of('{table}', mark => 'm{number}', confirm => true)")) {
        Ok(steps) => {
            assert!(!steps.iter().any(|step| step.action == "conflict"), "{context}: {table} to m{number}: {steps:#?}");
            assert_same(watch, table, table, number, &format!("{context}, restored"));
            true
        }
        Err(error) => {
            let usual = error.code().is_some_and(|code| code.code() == "55P03");
            let known = usual || (table == "u" && said_that_columns_changed(&error));
            assert!(known, "{context}: {table} to m{number}: {error:?}");
            false
        }
    }
}

fn run(db: &Database, seed: u64, statements: usize, with_ddl: bool) {
    println!("AGENT_BACKUP_SEED={seed}");
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    db.run("SET client_min_messages = error; SELECT agent_backup.mark('warm'); UPDATE k SET n = n; UPDATE c SET n = n; UPDATE u SET n = n; UPDATE p SET n = n");
    let mut sessions: Vec<Session> = (0..2).map(|_| Session { client: db.client(), is_open: false }).collect();
    let mut watch = db.client();
    watch
        .batch_execute(
            "SET client_min_messages = error; SET agent_backup.lock_timeout = '20ms'; SET lock_timeout = '20ms'",
        )
        .unwrap();
    for session in &mut sessions {
        session.client.batch_execute("SET client_min_messages = error; SET lock_timeout = '20ms'").unwrap();
    }
    let (mut done, mut restored, mut copies) = (0, 0, Vec::new());
    for step in 0..statements {
        let session = &mut sessions[random.below(2) as usize];
        done += usize::from(session.step(&mut random, with_ddl));
        let context = format!("seed {seed}, step {step}");
        if random.chance(10) && copy(&mut watch, step) {
            copies.push(step);
        }
        if copies.is_empty() || !random.chance(8) {
            continue;
        }
        let (table, number) = (random.of(&TABLES), copies[random.below(copies.len() as u64) as usize]);
        if random.chance(30) {
            restored += usize::from(bring_back(&mut watch, table, number, &context));
        } else if is_free(&mut watch, table) {
            assert_as_of(&mut watch, table, number, &context);
        }
    }
    sessions.iter_mut().for_each(|session| session.end("ROLLBACK"));
    for number in &copies {
        TABLES.iter().for_each(|table| assert_as_of(&mut watch, table, *number, &format!("seed {seed}, at the end")));
    }
    for (at, table) in TABLES.iter().enumerate() {
        let number = copies[random.below(copies.len() as u64) as usize];
        restored += usize::from(bring_back(&mut watch, table, number, &format!("seed {seed}, at the end {at}")));
    }
    let entries: i64 = one(&mut watch, "SELECT count(*) FROM agent_backup.change_log");
    eprintln!("{done} of {statements} statements, {} copies, {restored} restores, {entries} entries", copies.len());
    assert!(done > statements / 2 && copies.len() >= 3 && restored >= 3, "too little was tried");
}

/// Whether the table can be read now.
fn is_free(watch: &mut Client, table: &str) -> bool {
    watch.batch_execute(&format!("SELECT FROM {table} LIMIT 0")).is_ok()
}

fn seed() -> u64 {
    match std::env::var("AGENT_BACKUP_SEED") {
        Ok(seed) => seed.parse().expect("a number in AGENT_BACKUP_SEED"),
        Err(_) => {
            SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_millis() as u64 % 1_000_000_000
        }
    }
}

/// Statements in all, some hundred on a database.
fn try_all(with_ddl: bool) {
    let (runs, statements) = if long() { (20, 500) } else { (2, 200) };
    let first = seed();
    for seed in first..first + runs {
        let db = tracked(SCRIPT, &TABLES);
        run(&db, seed, statements, with_ddl);
        assert_no_trash(&db, &[]);
    }
}

#[test]
fn random_changes_are_told_apart() {
    try_all(false);
}

#[test]
fn random_changes_and_columns_are_told_apart() {
    try_all(true);
}
