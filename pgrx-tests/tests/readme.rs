//! The README is run: its SQL blocks in order on a fresh database with the demo application, its bash blocks in the
//! directory of the set `agent_sdk`, and each output compared with the text block that follows. What differs from run to
//! run (sizes, times, paths, ids) is compared by shape. `AGENT_BACKUP_BLESS=1` writes the README's outputs anew.

use std::path::{Path, PathBuf};
use std::process::Command;

use agent_backup_suite::{Database, assert_no_trash, database, pg_config};

/// One block that runs, and what follows it.
#[derive(Debug, PartialEq)]
struct Block {
    language: String,
    body: String,
    /// Where the expected output stands in the README, if there is one.
    output: Option<std::ops::Range<usize>>,
}

/// The fenced blocks of languages `sql` and `bash`.
fn blocks(readme: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut at = 0;
    let mut previous_end = usize::MAX;
    while let Some(open) = readme[at..].find("```").map(|offset| at + offset) {
        let body_start = open + readme[open..].find('\n').expect("a fence has a line end") + 1;
        let close = body_start + readme[body_start..].find("```").expect("a fence is closed");
        let language = readme[open + 3..body_start].trim();
        match language {
            "sql" | "bash" => {
                found.push(Block { language: language.into(), body: readme[body_start..close].into(), output: None });
                previous_end = close + 4;
            }
            "text" if open == previous_end => found.last_mut().expect("a block").output = Some(body_start..close),
            _ => {}
        }
        at = close + 3;
    }
    found
}

/// Columns whose values differ from run to run.
const VOLATILE: &[&str] = &[
    "backup_id",
    "size_bytes",
    "stored_bytes",
    "duration",
    "took",
    "checksum",
    "started_at",
    "finished_at",
    "backup_file",
    "export_file",
    "manifest_file",
    "backup_size",
    "file_name",
];

/// An output with its volatile values replaced by `#`, so that two runs can be compared.
fn shape(language: &str, output: &str) -> Vec<String> {
    let mut header: Vec<String> = Vec::new();
    let mut previous = String::new();
    let mut lines = Vec::new();
    for line in output.lines().map(str::trim_end) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let is_rule = !line.is_empty() && line.chars().all(|c| c == '-' || c == '+');
        if is_rule {
            header = previous.split('|').map(|name| name.trim().to_owned()).collect();
            lines.push("---".to_owned());
        } else if language == "bash" || line.starts_with("NOTICE:") {
            lines.push(without_numbers(line));
        } else if !header.is_empty() && cells.len() == header.len() && !line.starts_with('(') && !line.is_empty() {
            let shown = cells.iter().zip(&header).map(|(cell, name)| match VOLATILE.contains(&name.as_str()) {
                true if !cell.is_empty() => "#".to_owned(),
                // Ages are told in it.
                _ if name == "reason" => without_numbers(cell),
                _ => (*cell).to_owned(),
            });
            lines.push(shown.collect::<Vec<_>>().join(" | "));
        } else {
            lines.push(cells.join(" | "));
        }
        if line.is_empty() {
            header.clear();
        }
        previous = line.to_owned();
    }
    lines
}

/// Hashes, numbers and units of bytes as `#`, runs of blanks as one.
fn without_numbers(line: &str) -> String {
    let mut plain = String::new();
    for word in line.split_whitespace() {
        let is_hash = word.len() >= 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let word = if is_hash { "#" } else { word };
        let mut in_number = false;
        for c in word.chars() {
            let digit = c.is_ascii_digit() || (in_number && c == '.');
            if digit && !in_number {
                plain.push('#');
            } else if !digit {
                plain.push(c);
            }
            in_number = digit;
        }
        plain.push(' ');
    }
    for unit in ["kB", "MB"] {
        plain = plain.replace(&format!("# {unit}"), "# B");
    }
    plain.trim_end().to_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package stands in a workspace").to_owned()
}

/// A database with the demo application and without the extension, which the README creates.
fn with_demo() -> Database<'static> {
    let db = database();
    db.run("DROP EXTENSION agent_backup");
    for (file, arguments) in [("schema.sql", vec![]), ("data.sql", vec!["-v", "rows=10000"])] {
        let file = root().join("demo").join(file);
        let output =
            psql(&db).args(["-q", "-v", "ON_ERROR_STOP=1"]).args(arguments).arg("-f").arg(&file).output().unwrap();
        assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
    }
    db
}

fn psql(db: &Database) -> Command {
    let bin = Command::new(pg_config()).arg("--bindir").output().unwrap();
    let mut command = Command::new(Path::new(String::from_utf8(bin.stdout).unwrap().trim()).join("psql"));
    command.args(["-X", "-U", "postgres", "-h"]).arg(db.cluster().socket_dir()).args(["-d", db.name()]);
    command.env("PGCLIENTENCODING", "UTF8");
    command
}

/// What a person sees who types the block: output and messages in their order.
fn run(db: &Database, block: &Block) -> String {
    let mut shell = Command::new("bash");
    if block.language == "sql" {
        // One -c for each statement, or all of them would be one transaction; a shell to join both outputs.
        let mut typed = vec![];
        for statement in block.body.split_inclusive(";\n").filter(|statement| !statement.trim().is_empty()) {
            typed.extend(["-c".to_owned(), statement.trim().to_owned()]);
        }
        let psql = psql(db);
        shell.args(["-c", "exec \"$@\" 2>&1", "bash"]).arg(psql.get_program()).args(psql.get_args()).args(typed);
    } else {
        shell
            .args(["-c", &format!("exec 2>&1; set -o pipefail; {}", block.body)])
            .current_dir(db.backup_dir().join("agent_sdk"));
    }
    let output = shell.output().expect("bash");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.trim_end().lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[test]
fn the_blocks_of_the_readme_do_what_it_says() {
    let path = root().join("README.md");
    let readme = std::fs::read_to_string(&path).expect("README.md");
    let blocks = blocks(&readme);
    assert!(
        blocks.iter().filter(|block| block.language == "sql" && block.output.is_some()).count() >= 3,
        "{blocks:#?}"
    );
    assert!(blocks.iter().any(|block| block.language == "bash"));
    let bless = std::env::var_os("AGENT_BACKUP_BLESS").is_some();
    let db = with_demo();
    let (mut blessed, mut written, mut differing) = (String::new(), 0, Vec::new());
    for block in &blocks {
        let output = run(&db, block);
        let Some(expected) = &block.output else {
            assert!(!output.contains("ERROR:"), "{}\n{output}", block.body);
            continue;
        };
        let (real, said) = (shape(&block.language, &output), shape(&block.language, &readme[expected.clone()]));
        if real != said {
            differing.push(format!("{}gives\n{output}but the README says\n{}", block.body, &readme[expected.clone()]));
        }
        blessed.push_str(&readme[written..expected.start]);
        blessed.push_str(&output);
        written = expected.end;
    }
    if bless {
        blessed.push_str(&readme[written..]);
        std::fs::write(&path, blessed).expect("README.md");
    } else {
        assert!(differing.is_empty(), "{}", differing.join("\n\n"));
    }
    assert_no_trash(&db, &[]);
}

#[test]
fn the_first_block_creates_backs_up_and_lists() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let first = &blocks(&readme)[0];
    for part in ["CREATE EXTENSION agent_backup", "agent_backup.backup()", "agent_backup.backups"] {
        assert!(first.body.contains(part), "{part} is not in\n{}", first.body);
    }
    let start = readme.find("```sql").expect("a block");
    assert!(readme[..start].lines().count() <= 8, "the first block is not on the first screen");
}

#[test]
fn a_readme_without_blocks_or_with_a_wrong_output_is_noticed() {
    assert_eq!(blocks("# nothing\n```sh\nls\n```\n"), []);
    let table = " n | size_bytes\n---+------------\n 1 |         20\n(1 row)\n";
    assert_eq!(shape("sql", table), shape("sql", &table.replace("20", "31")));
    assert_ne!(shape("sql", table), shape("sql", &table.replace(" 1 |", " 2 |")));
    assert_ne!(shape("sql", table), shape("sql", &table.replace("(1 row)", "(2 rows)")));
    assert_ne!(shape("sql", table), shape("sql", &table.replace(" n |", " m |")));
    let (small, large) =
        ("NOTICE:  t: 5 rows, 3.1 kB stored in 0.01 s (9 MB/s)", "NOTICE:  t: 5 rows, 12 MB stored in 1 s (9.5 kB/s)");
    assert_eq!(shape("sql", small), shape("sql", large));
    assert_ne!(shape("sql", small), shape("sql", &small.replace("stored", "lost")));
}

#[test]
fn the_settings_that_the_readme_names_are_those_that_are_there() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let db = database();
    let mut client = db.client();
    let settings = "SELECT name FROM pg_settings WHERE name LIKE 'agent_backup.%' AND name NOT LIKE '%debug%'";
    client.batch_execute("SELECT agent_backup.lock_key('x')").unwrap();
    let settings: Vec<String> = client.query(settings, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert!(!settings.is_empty());
    for setting in settings {
        assert!(readme.contains(&format!("| `{setting}` |")), "the README does not name {setting}");
    }
}

#[test]
fn the_functions_of_the_extension_are_in_the_readme() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let functions =
        "SELECT proname::text FROM pg_depend JOIN pg_proc p ON p.oid = objid AND classid = 'pg_proc'::regclass
        WHERE deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'agent_backup') AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype) AND proname <> 'lock_key'
          AND obj_description(p.oid) NOT LIKE 'Part of %'";
    let db = database();
    let functions: Vec<String> = db.client().query(functions, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert!(functions.len() >= 8, "{functions:?}");
    for function in functions {
        assert!(readme.contains(&format!("| `{function}(")), "the README does not name {function}");
    }
}

#[test]
fn the_story_of_the_demo_is_told_twice_and_fits_a_terminal() {
    let db = with_demo();
    db.run("CREATE EXTENSION agent_backup");
    for _ in 0..2 {
        let story = std::fs::File::open(root().join("demo/story.sql")).expect("the story");
        let output = psql(&db).args(["-q", "-v", "ON_ERROR_STOP=1", "-e"]).stdin(story).output().unwrap();
        let (told, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success(), "{said}");
        let errors: Vec<&str> = said.lines().filter(|line| line.contains("ERROR")).collect();
        assert_eq!(errors, ["ERROR:  table \"agent_feedbak\" does not exist"]);
        assert!(said.contains("HINT:  Did you mean \"AgentFeedback\"?"), "{said}");
        let wide: Vec<&str> = told.lines().chain(said.lines()).filter(|line| line.chars().count() > 110).collect();
        assert!(wide.is_empty(), "{wide:#?}");
        assert!(told.contains("VERIFIED") && told.contains("within the RTO"), "{told}");
        let bad: Vec<&str> =
            ["| failed", "| warning", "| blocked"].into_iter().filter(|bad| told.contains(bad)).collect();
        assert!(bad.is_empty() && told.matches("| ok     |").count() > 9, "{bad:?} in {told}");
    }
}
