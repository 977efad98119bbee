//! Metrics and what contrib/ has for Prometheus, checked by the real programs: the parser of prometheus_client, promtool,
//! and postgres_exporter against a server. `scripts/exporters` fetches them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use agent_backup_suite::{Database, database, one, wait_until};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package stands in a workspace").to_owned()
}

/// A program that `scripts/exporters` fetched.
fn program(path: &str) -> PathBuf {
    let program = root().join("target/exporters").join(path);
    assert!(program.exists(), "{} is missing: run scripts/exporters", program.display());
    program
}

fn fed(command: &mut Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// Everything there is something to measure of, in a set whose name needs escapes.
fn with_all() -> Database<'static> {
    let db = database();
    db.run(
        r#"SELECT agent_backup.create_set(E'a "set" \\ of\nmine'); CREATE TABLE "T ""1""" (id int PRIMARY KEY); CREATE TABLE agent_approvals ();
         SELECT agent_backup.add_table(set_name, 'T "1"') FROM agent_backup.sets WHERE set_name LIKE 'a %';
         SELECT agent_backup.backup(set_name), agent_backup.verify('latest', 'decode', set_name), agent_backup.drill(set_name) FROM agent_backup.sets WHERE set_name LIKE 'a %';
         SELECT agent_backup.track('T "1"');
         INSERT INTO agent_backup.job_runs (set_name, job, status, started_at, finished_at, error_message, pid, run_by)
         VALUES ('agent_sdk', 'daily', 'success', now(), now(), NULL, 1, 'me'), ('agent_sdk', 'daily', 'failed', now(), now(), 'why', 1, 'me')"#,
    );
    db
}

/// Prints each sample as `name{labels} value`, and fails where the text is no OpenMetrics.
const PARSER: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    assert family.documentation, family
    for sample in family.samples:
        print(sample.name, sorted(sample.labels.items()), sample.value)
";

fn parsed(metrics: &str) -> Output {
    fed(Command::new(program("venv/bin/python3")).args(["-c", PARSER]), metrics)
}

#[test]
fn metrics_are_open_metrics_with_labels_as_they_are() {
    let db = with_all();
    let metrics: String = one(&mut db.client(), "SELECT agent_backup.metrics()");
    let output = parsed(&metrics);
    assert!(output.status.success(), "{}\n{metrics}", String::from_utf8_lossy(&output.stderr));
    let samples = String::from_utf8(output.stdout).unwrap();
    let sets = r#"('set', 'a "set" \\ of\nmine')"#;
    for sample in [
        format!("agent_backup_backups [('kind', 'full'), {sets}, ('status', 'complete')] 1"),
        format!("agent_backup_last_verification_passed [{sets}] 1"),
        format!("agent_backup_drill_passed [{sets}] 1"),
        "agent_backup_last_good_age_seconds [('set', 'agent_sdk')] inf".into(),
        "agent_backup_table_rpo_seconds [('set', 'agent_sdk'), ('table', 'agent_approvals')] inf".into(),
        "agent_backup_job_runs_total [('job', 'daily'), ('set', 'agent_sdk'), ('status', 'failed')] 1".into(),
        format!("agent_backup_table_rpo_seconds [{sets}, ('table', 'T \"1\"')] 0"),
        "agent_backup_disk_free_bytes [] ".into(),
        "agent_backup_capture_gaps [('table', 'T \"1\"')] 0".into(),
        "agent_backup_health [('severity', 'WARNING')]".into(),
    ] {
        assert!(samples.contains(&sample), "{sample} is not in\n{samples}");
    }
    let broken = parsed(&metrics.replace("# EOF\n", ""));
    assert!(!broken.status.success(), "a text without its end passes");
}

#[test]
fn promtool_finds_no_fault_in_the_metrics() {
    let db = with_all();
    let metrics: String = one(&mut db.client(), "SELECT agent_backup.metrics()");
    // The older format, which promtool reads, has _total in the name of the family too.
    let older = metrics.replace("agent_backup_job_runs ", "agent_backup_job_runs_total ");
    let output = fed(Command::new(program("usr/bin/promtool")).args(["check", "metrics"]), &older);
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn promtool_passes_the_rules_and_their_test() {
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]] {
        let output = Command::new(program("usr/bin/promtool"))
            .args(arguments)
            .current_dir(root().join("contrib"))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// postgres_exporter with our queries, over a database's socket; stopped when dropped.
struct Exporter {
    child: Child,
    port: u16,
}

impl Exporter {
    fn start(db: &Database, role: &str) -> Exporter {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dsn =
            format!("user={role} host={} dbname={} sslmode=disable", db.cluster().socket_dir().display(), db.name());
        let child = Command::new(program("usr/bin/prometheus-postgres-exporter"))
            .args(["--disable-default-metrics", "--disable-settings-metrics", "--extend.query-path"])
            .arg(root().join("contrib/postgres_exporter.yaml"))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .env("DATA_SOURCE_NAME", dsn)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Exporter { child, port }
    }

    fn try_scrape(&self) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.starts_with("HTTP/1.0 200").then_some(answer)
    }

    fn scrape(&self) -> String {
        wait_until("postgres_exporter", Duration::from_secs(60), || self.try_scrape())
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The metrics that the exporter's queries declare: `agent_backup_<query>_<column>`.
fn declared() -> Vec<String> {
    let yaml = std::fs::read_to_string(root().join("contrib/postgres_exporter.yaml")).unwrap();
    let mut names = Vec::new();
    let mut query = "";
    for line in yaml.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|name| name.starts_with("agent_backup_")) {
            query = name;
        } else if let Some((column, rest)) = line.strip_prefix("    - ").and_then(|item| item.split_once(": {usage: "))
            && !rest.starts_with("LABEL")
        {
            names.push(format!("{query}_{column}"));
        }
    }
    names
}

#[test]
fn postgres_exporter_gives_each_of_our_metrics() {
    let db = with_all();
    let role = format!("{}_exporter", db.name());
    db.run(&format!("CREATE ROLE {role} LOGIN; GRANT agent_backup_operator TO {role}"));
    let exporter = Exporter::start(&db, &role);
    let scraped = exporter.scrape();
    drop(exporter);
    let declared = declared();
    assert!(declared.len() > 15, "{declared:?}");
    for name in declared {
        assert!(
            scraped.lines().any(|line| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} "))),
            "{name} is not in\n{scraped}"
        );
    }
    for error in ["pg_exporter_last_scrape_error", "pg_exporter_user_queries_load_error"] {
        let line = scraped.lines().find(|line| line.starts_with(error));
        assert!(line.is_some_and(|line| line.ends_with(" 0")), "{line:?} in\n{scraped}");
    }
    db.run(&format!("DROP ROLE {role}"));
}

#[test]
fn rules_and_dashboard_name_only_metrics_that_there_are() {
    let declared = declared();
    for file in ["alerts.yml", "alerts_test.yml", "grafana.json"] {
        let text = std::fs::read_to_string(root().join("contrib").join(file)).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let named: Vec<&str> = words.filter(|word| word.starts_with("agent_backup_")).collect();
        assert!(named.len() > 5, "{file} names nothing");
        for name in named {
            assert!(declared.iter().any(|declared| declared == name), "{file} names {name}");
        }
    }
}

#[test]
fn the_dashboard_is_json_with_a_query_in_each_panel() {
    let text = std::fs::read_to_string(root().join("contrib/grafana.json")).unwrap();
    let check = "
import json, sys
board = json.load(sys.stdin)
panels = board['panels']
assert len(panels) >= 8, len(panels)
assert len({p['id'] for p in panels}) == len(panels)
for p in panels:
    assert p['title'] and p['targets'] and all(t['expr'] for t in p['targets']), p
";
    let output = fed(Command::new("python3").args(["-c", check]), &text);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
