//! The evidence of a period: who may have it, that the file is exact, and that its numbers are those of the views.

use std::collections::HashMap;

use agent_backup_suite::{assert_no_trash, database, history, lines, one, refused};
use postgres::Client;

const PERIOD: &str = "'2026-03-01', '2026-04-15'";

fn page_of(client: &mut Client, period: &str) -> String {
    client.batch_execute("SET TimeZone = 'UTC'").unwrap();
    one(client, &format!("SELECT agent_backup.evidence_report({period})"))
}

/// The numbers that have a name on the page.
fn numbers(page: &str) -> HashMap<String, i64> {
    let parts = page.split("<data id=\"").skip(1);
    let number = |part: &str| {
        let (id, rest) = part.split_once("\" value=\"").expect("a value");
        (id.to_owned(), rest.split('"').next().unwrap().parse().expect("a number"))
    };
    parts.map(number).collect()
}

/// The rows of a table of the page: of each cell its exact value where it has one, else its words.
fn rows(page: &str, id: &str) -> Vec<Vec<String>> {
    let Some((_, rest)) = page.split_once(&format!("<table id=\"{id}\">")) else { return vec![] };
    let body = rest.split("</table>").next().unwrap().split("<tbody>").nth(1).unwrap();
    let cell = |cell: &str| {
        let (tag, inside) = cell.split_once('>').unwrap_or_default();
        assert!(tag.contains("class="), "{tag}");
        let exact = ["value=\"", "datetime=\""].iter().find_map(|name| inside.split_once(name));
        match exact {
            Some((_, value)) => value.split('"').next().unwrap().to_owned(),
            None => words(inside.split("</td>").next().unwrap().split("</th>").next().unwrap()),
        }
    };
    let row = |row: &str| {
        row.split(" class=\"t\"")
            .flat_map(|part| part.split(" class=\"n\""))
            .skip(1)
            .map(|rest| cell(&format!("class={rest}")))
            .collect()
    };
    body.split("<tr>").skip(1).map(row).collect()
}

/// What is read of markup, with its references put back.
fn words(markup: &str) -> String {
    let mut text = String::new();
    for part in markup.split('<') {
        text.push_str(part.split_once('>').map_or(part, |(_, text)| text));
    }
    let named = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
    let mut plain = String::new();
    let mut rest = named.as_str();
    while let Some((before, after)) = rest.split_once("&#x") {
        plain.push_str(before);
        let (code, after) = after.split_once(';').expect("the end of a reference");
        plain.push(char::from_u32(u32::from_str_radix(code, 16).unwrap()).unwrap());
        rest = after;
    }
    plain + rest
}

/// The rows of a query in the form of [`rows`].
fn queried(client: &mut Client, query: &str) -> Vec<Vec<String>> {
    lines(client, query).into_iter().map(|line| line.split('|').map(str::to_owned).collect()).collect()
}

fn columns(rows: Vec<Vec<String>>, places: &[usize]) -> Vec<Vec<String>> {
    rows.into_iter().map(|row| places.iter().map(|place| row[*place].clone()).collect()).collect()
}

#[track_caller]
fn assert_table(client: &mut Client, page: &str, id: &str, places: &[usize], query: &str) {
    let shown = columns(rows(page, id), places);
    let expected = queried(client, query);
    assert!(!expected.is_empty(), "{query} has no row");
    assert_eq!(shown, expected, "{id}");
}

const MADE: &str = "(SELECT backup_id, set_name, kind, status, verification_status, started_at, size_bytes FROM agent_backup.backups
    UNION ALL SELECT backup_id, set_name, kind, status, CASE WHEN status = 'complete' AND NOT was_good THEN 'failed' END, started_at, size_bytes FROM agent_backup.pruned_backups) AS made
    WHERE kind <> 'safety' AND set_name NOT IN ('restore_safety', 'capture_baseline') AND started_at >= '2026-03-01' AND started_at < '2026-04-15'";

const IN_PERIOD: &str = ">= '2026-03-01' AND started_at < '2026-04-15'";

#[test]
fn every_number_is_that_of_the_views() {
    let db = database();
    history::live_through(&db);
    let mut client = db.client();
    let page = page_of(&mut client, PERIOD);
    let numbers = numbers(&page);
    for (id, query) in [
        ("good-backups", format!("SELECT count(*) FROM {MADE} AND status = 'complete' AND verification_status IS DISTINCT FROM 'failed'")),
        ("bad-backups", format!("SELECT count(*) FROM {MADE} AND NOT (status = 'complete' AND verification_status IS DISTINCT FROM 'failed')")),
        ("verified-backups", "SELECT count(DISTINCT l.backup_id) FROM backup_verification_log l
            WHERE NOT EXISTS (SELECT FROM backup_verification_log f WHERE f.backup_id = l.backup_id AND f.verification_status = 'failed')".into()),
        ("drill-count", format!("SELECT count(*) FROM agent_backup.drills WHERE started_at {IN_PERIOD}")),
        ("objectives-met", "SELECT count(*) FROM agent_backup.rpo_rto_report WHERE met".into()),
        ("pruned-backups", "SELECT count(*) FROM agent_backup.pruned_backups WHERE pruned_at >= '2026-03-01' AND pruned_at < '2026-04-15'".into()),
        ("pruned-bytes", "SELECT sum(size_bytes)::bigint FROM agent_backup.pruned_backups WHERE pruned_at >= '2026-03-01' AND pruned_at < '2026-04-15'".into()),
        ("safety-backups", format!("SELECT count(*) FROM agent_backup.backups WHERE set_name IN ('restore_safety', 'capture_baseline') AND started_at {IN_PERIOD}")),
        ("tracked-tables", "SELECT count(*) FROM agent_backup.tracked_tables WHERE source = 'capture' AND set_name = 'support'".into()),
        ("capture-gaps", "SELECT count(*) FROM agent_backup.capture_gaps WHERE noted_at >= '2026-03-01' AND noted_at < '2026-04-15'".into()),
        ("health-ok", "SELECT count(*) FROM agent_backup.health WHERE severity = 'OK'".into()),
        ("health-warning", "SELECT count(*) FROM agent_backup.health WHERE severity = 'WARNING'".into()),
        ("health-failed", "SELECT count(*) FROM agent_backup.health WHERE severity = 'FAILED'".into()),
    ] {
        let expected: i64 = one(&mut client, &query);
        assert_eq!(numbers.get(id), Some(&expected), "{id}");
    }
    assert!(numbers["good-backups"] > 80 && numbers["bad-backups"] == 4, "{numbers:?}");
    tables(&mut client, &page);
    assert_no_trash(&db, &["was made to fail", "could not lock table", "damaged"]);
}

fn tables(client: &mut Client, page: &str) {
    assert_table(
        client,
        page,
        "days-1",
        &[0, 2, 4, 5, 6, 8],
        &format!(
            "SELECT started_at::date, count(*) FILTER (WHERE good), count(*) FILTER (WHERE status = 'incomplete'),
                    count(*) FILTER (WHERE status = 'failed'), count(*) FILTER (WHERE status = 'complete' AND NOT good), sum(size_bytes)
               FROM (SELECT *, status = 'complete' AND verification_status IS DISTINCT FROM 'failed' AS good FROM {MADE}) x
              WHERE set_name = (SELECT min(set_name COLLATE \"C\") FROM agent_backup.sets) GROUP BY 1 ORDER BY 1"
        ),
    );
    let drills = format!(
        "SELECT drill_id, set_name, status, to_char(extract(epoch FROM duration), 'FM999990.000'), row_count
           FROM agent_backup.drills WHERE started_at {IN_PERIOD} ORDER BY started_at DESC"
    );
    let marked =
        |query: &str, column: &str, mark: &str| query.replace(&format!(", {column}"), &format!(", {mark} || {column}"));
    let mark = "CASE status WHEN 'success' THEN '\u{2713} ' WHEN 'failed' THEN '\u{2717} ' ELSE '! ' END";
    assert_table(client, page, "drills-table", &[0, 2, 3, 4, 7], &marked(&drills, "status", mark));
    let restores = format!(
        "SELECT restore_id, array_to_string(tables, ', '), row_count, restored_by FROM agent_backup.restores WHERE started_at {IN_PERIOD}"
    );
    assert_table(client, page, "restores", &[0, 3, 4, 8], &restores);
    let levels = "SELECT level, count(*) FILTER (WHERE verification_status = 'success'), count(*) FILTER (WHERE verification_status = 'warning'),
        count(*) FILTER (WHERE verification_status = 'failed') FROM backup_verification_log GROUP BY 1 ORDER BY array_position('{exists,hash,decode}', level)";
    assert_table(client, page, "levels", &[0, 1, 2, 3], levels);
    let objectives = "SELECT scenario, to_char(extract(epoch FROM rto_objective), 'FM999990.000'), to_char(extract(epoch FROM rpo_objective), 'FM999990.000')
        FROM agent_backup.rpo_rto_report WHERE set_name <> 'agent_sdk'";
    assert_table(client, page, "objectives-table", &[1, 3, 6], objectives);
    let plan = "SELECT count(*) FILTER (WHERE keep), count(*) FILTER (WHERE NOT keep), sum(p.size_bytes)
        FROM agent_backup.retention_plan(NULL) p JOIN agent_backup.backups b USING (backup_id) GROUP BY b.set_name ORDER BY b.set_name COLLATE \"C\"";
    assert_table(client, page, "plan", &[1, 2, 3], plan);
    let pruned = "SELECT backup_id, size_bytes, array_to_string(reasons, '; '), pruned_by FROM agent_backup.pruned_backups ORDER BY pruned_at DESC, backup_id COLLATE \"C\" DESC LIMIT 60";
    assert_table(client, page, "pruned", &[2, 4, 5, 6], pruned);
    assert_table(
        client,
        page,
        "jobs",
        &[0, 1, 3, 4],
        "SELECT job, set_name, count(*) FILTER (WHERE status = 'success'), count(*) FILTER (WHERE status = 'failed') FROM agent_backup.job_runs GROUP BY 1, 2",
    );
}

#[test]
fn an_auditor_an_operator_and_a_superuser_have_it_and_nobody_else() {
    let db = database();
    let (name, call) = (db.name().to_owned(), "SELECT agent_backup.evidence_report()");
    db.run(&format!(
        "CREATE ROLE {name}_op LOGIN; CREATE ROLE {name}_nobody LOGIN; GRANT agent_backup_operator TO {name}_op"
    ));
    let page: String = one(&mut db.client_as(&format!("{name}_op")), call);
    assert!(page.contains(&format!("<bdi>{name}_op</bdi>")), "it says who made it");
    let refusal = refused(&mut db.client_as(&format!("{name}_nobody")), call);
    assert_eq!(refusal.code, "42501", "{refusal:?}");
    db.run(&format!("GRANT agent_backup_auditor TO {name}_nobody"));
    let page: String = one(&mut db.client_as(&format!("{name}_nobody")), call);
    assert!(page.starts_with("<!DOCTYPE html>"));
    db.run(&format!("DROP OWNED BY {name}_op, {name}_nobody; DROP ROLE {name}_op; DROP ROLE {name}_nobody"));
}

#[test]
fn acts_are_counted_by_how_they_ended_and_the_chain_is_checked() {
    let db = database();
    db.run(
        "CREATE TABLE t (id int PRIMARY KEY); SELECT agent_backup.create_set('s'), agent_backup.add_table('s', 't')",
    );
    db.run("SELECT agent_backup.backup('s')");
    refused(&mut db.client(), "SELECT agent_backup.pin('nosuch')");
    let call = "SELECT agent_backup.evidence_report(to_time => now() + interval '1 hour')";
    let page: String = one(&mut db.client(), call);
    // The report is an act itself, entered after it was written.
    let acts = "SELECT action, count(*) FILTER (WHERE status = 'ok'), count(*) FILTER (WHERE status = 'failed'),
        count(*) FILTER (WHERE status = 'denied') FROM agent_backup.audit_log WHERE action <> 'evidence_report'
        GROUP BY 1 ORDER BY 1";
    assert_table(&mut db.client(), &page, "acts-table", &[0, 1, 2, 3], acts);
    let count: i64 = one(&mut db.client(), "SELECT count(*) - 1 FROM agent_backup.audit_log");
    assert_eq!(numbers(&page)["acts"], count);
    assert!(count > 3, "{count}");
    assert_eq!(columns(rows(&page, "chain"), &[0, 1]), [["chain", "\u{2713} ok"]]);
    let objects = "SELECT count(*) FROM (SELECT DISTINCT object_name, object_kind FROM agent_backup.access_matrix) o";
    let objects: i64 = one(&mut db.client(), objects);
    assert_eq!(rows(&page, "matrix").len() as i64, objects);
    assert_no_trash(&db, &[]);
}

#[test]
fn a_period_is_from_one_moment_to_a_later_one() {
    let db = database();
    let mut client = db.client();
    for (period, code) in [
        ("'2026-04-15', '2026-03-01'", "22023"),
        ("now(), now()", "22023"),
        ("'-infinity', now()", "22023"),
        ("now(), 'infinity'", "22023"),
        ("NULL", "22004"),
        ("now() - interval '1 day', NULL", "22004"),
    ] {
        let refusal = refused(&mut client, &format!("SELECT agent_backup.evidence_report({period})"));
        assert_eq!(refusal.code, code, "{period}: {refusal:?}");
    }
    for period in
        ["'4713-01-01 BC', '200000-01-01'", "'3000-01-01', '4000-01-01'", "now() - interval '1 microsecond', now()"]
    {
        let page = page_of(&mut client, period);
        assert!(page.len() < 100_000, "{period}");
    }
}

#[test]
fn plain_copy_writes_the_page_and_a_line_end() {
    let db = database();
    let name = "a\tb\\n\n<i>\u{202E}\u{5E9}\u{65E5}";
    db.client().execute("SELECT agent_backup.create_set($1)", &[&name]).unwrap();
    db.run("CREATE TABLE t (id int PRIMARY KEY)");
    for call in ["SELECT agent_backup.add_table($1, 't')", "SELECT agent_backup.backup($1)"] {
        db.client().execute(call, &[&name]).unwrap();
    }
    let file = db.backup_dir().join("evidence.html");
    let copy = |query: &str| {
        let output = db.psql(&format!("\\copy ({query}) TO '{}'", file.display()));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read_to_string(&file).unwrap()
    };
    let made = copy("SELECT agent_backup.evidence_report()");
    assert!(made.starts_with("<!DOCTYPE html>") && made.ends_with("</html>\n"));
    assert_eq!(made.matches(['\n', '\t', '\r', '\\']).count(), 1, "its end");
    assert!(made.contains("a&#x2409;b&#x5C;n&#x240A;&lt;i&gt;[U+202E]&#x5E9;&#x65E5;"), "the set is named");
    // The room on the disk differs from call to call: byte for byte it is compared with one that was kept.
    db.run("CREATE TABLE kept AS SELECT agent_backup.evidence_report() AS page");
    let kept: String = one(&mut db.client(), "SELECT page FROM kept");
    assert_eq!(copy("SELECT page FROM kept"), kept.clone() + "\n");
    let shown = db.psql("\\pset format unaligned\n\\pset tuples_only on\nSELECT page FROM kept");
    assert_eq!(String::from_utf8(shown.stdout).unwrap().lines().last(), Some(kept.as_str()));
}

#[test]
fn a_log_of_the_application_is_read_with_the_rights_of_its_owner() {
    let db = database();
    let owner = format!("{}_owner", db.name());
    db.run(&format!(
        "DROP EXTENSION agent_backup; CREATE ROLE {owner} LOGIN; GRANT CREATE ON SCHEMA public TO {owner}; SET ROLE {owner};
         CREATE TYPE verdict AS ENUM ('success', 'failed', 'warning');
         CREATE TABLE backup_verification_log (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), backup_date date NOT NULL,
             table_name text NOT NULL, verification_status text, row_count integer, size_bytes bigint, checksum text,
             verified_at timestamp DEFAULT now(), error_message text);
         RESET ROLE; SET client_min_messages = warning; CREATE EXTENSION agent_backup; SET ROLE {owner};
         CREATE FUNCTION told(verdict) RETURNS text LANGUAGE plpgsql AS $$
         BEGIN RETURN CASE current_user WHEN '{owner}' THEN 'success' ELSE 'failed' END; END $$;
         CREATE CAST (verdict AS text) WITH FUNCTION told(verdict);
         ALTER TABLE backup_verification_log ALTER verification_status TYPE verdict USING 'success'::verdict;
         INSERT INTO backup_verification_log (backup_date, table_name, verification_status) VALUES (current_date, 'x', 'failed')"
    ));
    let page: String =
        one(&mut db.client(), "SELECT agent_backup.evidence_report(to_time => now() + interval '1 day')");
    assert_eq!(columns(rows(&page, "levels"), &[0, 1, 3]), [["not told", "1", "0"]], "the cast ran as the log's owner");
    db.run("DROP TABLE backup_verification_log");
    let page: String = one(&mut db.client(), "SELECT agent_backup.evidence_report()");
    assert!(page.contains("The table backup_verification_log is gone."));
    db.run(&format!("DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}"));
}
