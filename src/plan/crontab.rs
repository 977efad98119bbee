//! A file for `/etc/cron.d` that runs the jobs of a set by psql, for a server without pg_cron.

use thiserror::Error;

use super::jobs::{self, Job};
use super::names;

/// What the file is made from.
pub struct Crontab<'a> {
    pub set: &'a str,
    pub database: &'a str,
    /// Role of the database that the jobs run as.
    pub role: &'a str,
    /// User of the system that the jobs run as.
    pub user: &'a str,
    /// Directory of the socket, or a host.
    pub host: &'a str,
    pub port: &'a str,
    /// Path of psql.
    pub psql: &'a str,
    /// Where the log and the locks are.
    pub log_directory: &'a str,
    /// When each job runs, checked.
    pub jobs: &'a [(Job, String)],
}

/// Why there is no file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CrontabError {
    #[error("\"{0}\" cannot stand in a crontab")]
    Path(String),
    #[error("the line of job \"{0}\" is longer than the {LONGEST} bytes that cron reads")]
    TooLong(&'static str),
}

/// Longest command that cron on Debian takes, with its final NUL.
const LONGEST: usize = 999;

impl Crontab<'_> {
    /// The whole file.
    pub fn text(&self) -> Result<String, CrontabError> {
        let mut text = self.header()?;
        for (job, schedule) in self.jobs {
            let command = self.command(*job)?.replace('%', "\\%");
            if command.len() > LONGEST {
                return Err(CrontabError::TooLong(job.name()));
            }
            text += &format!("\n# {}: {}\n{schedule} {} {command}\n", job.name(), job.does(), self.user);
        }
        Ok(text)
    }

    fn header(&self) -> Result<String, CrontabError> {
        let (set, database) = (names::encode(self.set), names::encode(self.database));
        Ok(format!(
            "# Jobs of agent_backup for the backup set {set} of the database {database}: a file for /etc/cron.d, mode 0644, owned by root.\n\
             # The times are in the time zone of this machine. Each run is written to {log} with its exit code\n\
             # (0: done, 1: failed, 2: no connection, 75: the same job is still running); agent_backup.job_runs has them, too.\n\
             # psql connects without a password: give {role} peer or trust authentication, or a ~/.pgpass of {user}.\n\
             SHELL=/bin/sh\n\
             PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
            log = self.log()?,
            role = names::encode(self.role),
            user = self.user,
        ))
    }

    /// The command of a job as a shell takes it.
    fn command(&self, job: Job) -> Result<String, CrontabError> {
        let lock = format!("{}/agent_backup.{}.lock", line(self.log_directory)?, self.place(job));
        let (log, psql) = (shell(&self.log()?), shell(line(self.psql)?));
        let told = double_quoted(&format!("{} {}", names::encode(self.set), job.name()));
        Ok(format!(
            "{{ echo \"$(date +%FT%T%z) {told} begins\"; \
             flock -n -E 75 {lock} {psql} -X -q -v ON_ERROR_STOP=1 -d {uri} -c \"{call}\"; code=$?; \
             echo \"$(date +%FT%T%z) {told} ended with exit code $code\"; exit $code; }} >> {log} 2>&1",
            lock = shell(&lock),
            uri = shell(&self.uri()),
            call = double_quoted(&jobs::command(job, self.set)),
        ))
    }

    fn log(&self) -> Result<String, CrontabError> {
        Ok(format!("{}/agent_backup.log", line(self.log_directory)?))
    }

    /// Job, set and database as a part of a file name.
    fn place(&self, job: Job) -> String {
        format!("{}.{}.{}", names::encode(self.database), names::encode(self.set), job.name())
    }

    /// Where and as whom to connect: as a URI any name is one word without a letter that a shell knows.
    fn uri(&self) -> String {
        let host = if self.host.starts_with('/') {
            self.host.split('/').map(names::encode).collect::<Vec<_>>().join("/")
        } else {
            self.host.to_owned()
        };
        let part = names::encode;
        format!("postgresql:///{}?host={host}&port={}&user={}", part(self.database), self.port, part(self.role))
    }
}

/// A path that stays on its line.
fn line(path: &str) -> Result<&str, CrontabError> {
    if path.chars().any(char::is_control) {
        Err(CrontabError::Path(path.escape_default().to_string()))
    } else {
        Ok(path)
    }
}

/// A word of a shell.
fn shell(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A text between the double quotes of a shell.
fn double_quoted(text: &str) -> String {
    let escaped = |letter: char| if "\\\"$`".contains(letter) { format!("\\{letter}") } else { letter.to_string() };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file<'a>(set: &'a str, jobs: &'a [(Job, String)]) -> Crontab<'a> {
        Crontab {
            set,
            database: "demo",
            role: "postgres",
            user: "postgres",
            host: "/run/postgresql",
            port: "5432",
            psql: "/usr/lib/postgresql/15/bin/psql",
            log_directory: "/var/log/postgresql",
            jobs,
        }
    }

    #[test]
    fn a_line_is_schedule_user_and_command() {
        let text = file("agent_sdk", &[(Job::Daily, "0 2 * * *".into())]).text().unwrap();
        let last = text.lines().last().unwrap();
        assert_eq!(
            last,
            "0 2 * * * postgres { echo \"$(date +\\%FT\\%T\\%z) agent_sdk daily begins\"; \
             flock -n -E 75 /var/log/postgresql/agent_backup.demo.agent_sdk.daily.lock /usr/lib/postgresql/15/bin/psql \
             -X -q -v ON_ERROR_STOP=1 -d 'postgresql:///demo?host=/run/postgresql&port=5432&user=postgres' \
             -c \"CALL agent_backup.run_job('daily', 'agent_sdk')\"; code=$?; \
             echo \"$(date +\\%FT\\%T\\%z) agent_sdk daily ended with exit code $code\"; exit $code; } \
             >> /var/log/postgresql/agent_backup.log 2>&1"
        );
    }

    #[test]
    fn a_name_is_no_command() {
        let nasty = "a'b\"c$(touch x)`d`\\ %s\nM * * * * root e";
        let text = file(nasty, &[(Job::Daily, "0 2 * * *".into())]).text().unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        assert_eq!(lines.len(), 3, "{text}");
        let command = lines[2].replace("\\%", "%");
        assert!(command.contains(r#"\$(touch x)\`d\`"#) && command.contains(r#"b\"c"#), "{command}");
        assert!(!lines[2].replace("\\%", "").contains('%'), "{text}");
    }

    #[test]
    fn what_cron_would_cut_or_break_is_refused() {
        let jobs = [(Job::Daily, "0 2 * * *".to_owned())];
        let long = "é".repeat(63);
        let psql = format!("/{}/psql", "x".repeat(500));
        let with_long = Crontab { psql: &psql, ..file(&long, &jobs) };
        assert_eq!(with_long.text(), Err(CrontabError::TooLong("daily")));
        let with_line = Crontab { log_directory: "/var/log\n* * * * * root x", ..file("s", &jobs) };
        assert!(matches!(with_line.text(), Err(CrontabError::Path(_))));
    }
}
