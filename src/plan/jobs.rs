//! The jobs that run by themselves: their names, the command of each, and what a scheduler calls them.

use super::names;

/// A job of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Job {
    Daily,
    Hourly,
    Verify,
    Weekly,
    Monthly,
    Prune,
    Offsite,
}

impl Job {
    pub const ALL: [Job; 7] =
        [Job::Daily, Job::Hourly, Job::Verify, Job::Weekly, Job::Monthly, Job::Prune, Job::Offsite];

    /// What SQL calls it.
    pub fn name(self) -> &'static str {
        match self {
            Job::Daily => "daily",
            Job::Hourly => "hourly",
            Job::Verify => "verify",
            Job::Weekly => "weekly",
            Job::Monthly => "monthly",
            Job::Prune => "prune",
            Job::Offsite => "offsite",
        }
    }

    /// What it does, in words.
    pub fn does(self) -> &'static str {
        match self {
            Job::Daily => "full backup",
            Job::Hourly => "incremental backup",
            Job::Verify => "verification of the day's backup",
            Job::Weekly => "archive backup",
            Job::Monthly => "recovery drill",
            Job::Prune => "removal of old backups",
            Job::Offsite => "copy to another place",
        }
    }

    /// The job of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Job::ALL.into_iter().find(|job| job.name() == name)
    }
}

/// The statement that runs a job.
pub fn command(job: Job, set: &str) -> String {
    format!("CALL agent_backup.run_job({}, {})", literal(job.name()), literal(set))
}

/// An SQL literal in printable ASCII, so that it means the same in every encoding, and on one line.
pub fn literal(text: &str) -> String {
    let plain = |letter: char| matches!(letter, ' '..='~') && letter != '\\';
    if text.chars().all(plain) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let escaped = text.chars().map(|letter| match letter {
        '\'' => "''".to_owned(),
        '\\' => "\\\\".to_owned(),
        letter if plain(letter) => letter.to_string(),
        letter if u32::from(letter) <= 0xFFFF => format!("\\u{:04x}", u32::from(letter)),
        letter => format!("\\U{:08x}", u32::from(letter)),
    });
    format!("E'{}'", escaped.collect::<String>())
}

/// Longest name of a job in pg_cron, whose column may be a `name`.
const LONGEST: usize = 63;

/// What pg_cron calls a job: unique among the databases of a cluster, in printable ASCII.
pub fn cron_name(database: &str, set: &str, job: Job) -> String {
    let place = format!("{}/{}", names::encode(database), names::encode(set));
    let name = format!("agent_backup/{place}/{}", job.name());
    if name.len() <= LONGEST {
        return name;
    }
    // FNV-1a; no encoded name has a tilde, so a cut one meets no whole one.
    let hash = place
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let kept: String = place.chars().take(25).collect();
    format!("agent_backup/{kept}~{hash:016x}/{}", job.name())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_command_is_what_a_person_would_write() {
        assert_eq!(command(Job::Daily, "agent_sdk"), "CALL agent_backup.run_job('daily', 'agent_sdk')");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("日\n\\'😀"), r"E'\u65e5\u000a\\''\U0001f600'");
    }

    #[test]
    fn names_in_pg_cron_are_readable_and_part_databases_and_sets() {
        assert_eq!(cron_name("demo", "agent_sdk", Job::Verify), "agent_backup/demo/agent_sdk/verify");
        assert_ne!(cron_name("a", "b/c", Job::Daily), cron_name("a/b", "c", Job::Daily));
        assert_ne!(cron_name("a", "B", Job::Daily), cron_name("a", "b", Job::Daily));
    }

    proptest! {
        #[test]
        fn a_name_in_pg_cron_is_short_ascii_and_its_own(
            one in (".{1,40}", ".{1,40}"), other in (".{1,40}", ".{1,40}"), job in 0_usize..7, other_job in 0_usize..7,
        ) {
            let name = cron_name(&one.0, &one.1, Job::ALL[job]);
            prop_assert!(name.len() <= LONGEST && name.bytes().all(|byte| byte.is_ascii_graphic()));
            let second = cron_name(&other.0, &other.1, Job::ALL[other_job]);
            prop_assert_eq!(name == second, one == other && job == other_job);
        }

        #[test]
        fn a_literal_is_one_line_of_ascii_and_closes_itself(text in ".*") {
            let literal = literal(&text);
            prop_assert!(literal.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            let inner = literal.trim_start_matches('E');
            let inner = &inner[1..inner.len() - 1];
            prop_assert!(!inner.replace("\\\\", "").replace("''", "").contains('\''));
        }
    }
}
