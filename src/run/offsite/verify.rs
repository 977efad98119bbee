//! Whether the copies of a set are there and whole, level by level, and young enough. What is wrong is a row and no error, so
//! that what is written down of it stays; a place that cannot be reached says nothing of a copy.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use agent_backup_core::stream::sha256_hex;
use chrono::TimeDelta;

use crate::error::{Error, Result};
use crate::journal_checks::{self, LogRow};
use crate::journal_offsite::{self, Copy, LocalBackup, Verdict};
use crate::run::offsite::access::{self, Store, raised};
use crate::run::offsite::destination::{self, Destination};
use crate::run::offsite::retain;
use crate::run::offsite::upload::{concerns_all, unless_cancelled};
use crate::run::source::{self, Location, Source};
use crate::run::{say, unpack};
use crate::server::{clock, facts, interrupt, privilege, snapshot};

/// How much is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Both objects are listed.
    Exists,
    /// The container has its bytes.
    Size,
    /// The manifest is the very one, and the container has the noted SHA-256.
    Checksum,
    /// Some chunks are read back and inflated.
    Sample,
    /// All is read back and hashed.
    Read,
}

/// Chunks that the level `sample` reads of a copy.
const SAMPLE: usize = 8;

impl Level {
    const ALL: [Level; 5] = [Level::Exists, Level::Size, Level::Checksum, Level::Sample, Level::Read];

    /// Reads a level's name. Errors: `InvalidOption`.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = || Error::InvalidOption {
            option: "level",
            reason: format!("\"{text}\" is none of exists, size, checksum, sample, read"),
        };
        Level::ALL.into_iter().find(|level| level.name() == text).ok_or_else(invalid)
    }

    pub fn name(self) -> &'static str {
        match self {
            Level::Exists => "exists",
            Level::Size => "size",
            Level::Checksum => "checksum",
            Level::Sample => "sample",
            Level::Read => "read",
        }
    }

    /// What `backup_verification_log` calls it.
    fn logged(self) -> &'static str {
        match self {
            Level::Exists | Level::Size => "exists",
            Level::Checksum | Level::Sample | Level::Read => "hash",
        }
    }
}

/// What was found of one copy, or of a destination as a whole.
pub struct Finding {
    pub destination: String,
    pub backup_id: Option<String>,
    pub level: Level,
    pub is_ok: bool,
    pub size: Option<u64>,
    pub took: Duration,
    pub details: String,
}

/// Verifies the copies of a set at its destinations, or at one.
pub fn run(set: &str, only: Option<&str>, level: Level) -> Result<Vec<Finding>> {
    privilege::require_operator()?;
    let destinations = destination::of_set(set, only)?;
    let writes = snapshot::read_only();
    if let Some(reason) = writes {
        say::not_logged(reason);
    }
    let mut all = Vec::new();
    for destination in &destinations {
        let mut check = Check { destination, level, keeps: writes.is_none(), findings: Vec::new() };
        if let Err(error) = check.all() {
            let error = unless_cancelled(error)?.to_string();
            check.tell(None, Err(error), None, Instant::now());
        }
        all.extend(check.findings);
    }
    Ok(all)
}

struct Check<'a> {
    destination: &'a Destination,
    level: Level,
    /// Verdicts are written down.
    keeps: bool,
    findings: Vec<Finding>,
}

/// What is wrong with a copy, in words; a word of its own where it is not there.
enum Flawed {
    Missing(String),
    Damaged(String),
}

impl Check<'_> {
    fn all(&mut self) -> Result<()> {
        let url = &self.destination.url;
        let store = access::open(url, self.destination.server.as_deref())?;
        let copies = journal_offsite::copies(url, &self.destination.set)?;
        let mut sizes = HashMap::new();
        let mut seen: Vec<&str> = Vec::new();
        for copy in &copies {
            let below = copy.object_key.rsplit_once('/').map_or("", |(below, _)| below);
            if !seen.contains(&below) {
                seen.push(below);
                sizes.extend(store.sizes(below)?);
            }
        }
        for copy in copies.iter().filter(|copy| copy.status != "failed") {
            self.one(&store, copy, &sizes)?;
        }
        self.not_there(&copies)?;
        self.age(&copies)
    }

    fn one(&mut self, store: &Store, copy: &Copy, sizes: &HashMap<String, u64>) -> Result<()> {
        let begun = Instant::now();
        let outcome = match self.look(store, copy, sizes) {
            Ok(outcome) => outcome,
            Err(error) if concerns_all(&error) => return Err(error),
            Err(error) => Err(Flawed::Damaged(unless_cancelled(error)?.to_string())),
        };
        if self.keeps {
            let (error, is_missing) = match &outcome {
                Ok(_) => (None, false),
                Err(Flawed::Missing(text)) => (Some(text.as_str()), true),
                Err(Flawed::Damaged(text)) => (Some(text.as_str()), false),
            };
            let verdict = Verdict { level: self.level.name(), error, is_missing };
            journal_offsite::record_verdict(&self.destination.url, &copy.backup_id, &verdict)?;
            journal_checks::log(&self.log_rows(copy, error, begun.elapsed())?)?;
        }
        let told = outcome.map_err(|flaw| match flaw {
            Flawed::Missing(text) | Flawed::Damaged(text) => text,
        });
        self.tell(Some(&copy.backup_id), told, copy.size_bytes, begun);
        Ok(())
    }

    fn look(
        &self,
        store: &Store,
        copy: &Copy,
        sizes: &HashMap<String, u64>,
    ) -> Result<std::result::Result<String, Flawed>> {
        for key in [&copy.manifest_key, &copy.object_key] {
            if !sizes.contains_key(key) {
                return Ok(Err(Flawed::Missing(format!("missing: object \"{key}\" is not there"))));
            }
        }
        let damaged = |text: String| Ok(Err(Flawed::Damaged(text)));
        let size = sizes.get(&copy.object_key).copied().unwrap_or_default();
        if self.level >= Level::Size && copy.size_bytes.is_some_and(|wanted| wanted != size) {
            let wanted = copy.size_bytes.unwrap_or_default();
            return damaged(format!("changed: object \"{}\" has {size} bytes, not {wanted}", copy.object_key));
        }
        let mut told = vec![match self.level {
            Level::Exists => "container and manifest are there".to_owned(),
            _ => format!("container and manifest are there, {size} bytes"),
        }];
        if self.level >= Level::Checksum {
            let manifest = store.read(&copy.manifest_key)?;
            if sha256_hex(&manifest) != copy.manifest_sha256 {
                return damaged(format!("changed: object \"{}\" is not the listed manifest", copy.manifest_key));
            }
            match self.content(store, copy, &manifest)? {
                Ok(text) => told.push(text),
                Err(text) => return damaged(text),
            }
        }
        Ok(Ok(told.join("; ")))
    }

    /// The bytes of the container, as far as the level goes.
    fn content(&self, store: &Store, copy: &Copy, manifest: &[u8]) -> Result<std::result::Result<String, String>> {
        let key = &copy.object_key;
        if self.level < Level::Read {
            let info = store.store.head(key, &mut interrupt::watch).map_err(raised)?;
            let noted = info.sha256.map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
            match (&copy.file_sha256, noted) {
                (Some(wanted), Some(noted)) if *wanted != noted => {
                    return Ok(Err(format!("changed: object \"{key}\" is noted with SHA-256 {noted}, not {wanted}")));
                }
                // A store that notes none is read.
                (Some(wanted), None) => {
                    if let Err(text) = self.hash(store, key, Some(wanted))? {
                        return Ok(Err(text));
                    }
                }
                _ => (),
            }
            if self.level == Level::Checksum {
                return Ok(Ok("the noted SHA-256 fits".into()));
            }
        }
        let hashed = match self.level {
            Level::Read => match self.hash(store, key, copy.file_sha256.as_deref())? {
                Ok(text) => Some(text),
                Err(text) => return Ok(Err(text)),
            },
            _ => None,
        };
        let opened = self.open(copy).and_then(|source| self.inflate(&source, manifest));
        let text = match opened {
            Ok(Ok(text)) => text,
            Ok(Err(text)) => return Ok(Err(text)),
            Err(Error::Encryption(error)) if error.is_locked() => {
                format!("its content was not looked into: {error}")
            }
            Err(error) => return Err(error),
        };
        Ok(Ok(hashed.into_iter().chain([text]).collect::<Vec<_>>().join("; ")))
    }

    /// Reads all of an object.
    fn hash(&self, store: &Store, key: &str, wanted: Option<&str>) -> Result<std::result::Result<String, String>> {
        let found = store.store.measure(key, &mut interrupt::watch).map_err(raised)?.hex();
        Ok(match wanted {
            Some(wanted) if wanted != found => {
                Err(format!("changed: what is read of object \"{key}\" has SHA-256 {found}, not {wanted}"))
            }
            _ => Ok("all bytes were read back and hashed".into()),
        })
    }

    fn open(&self, copy: &Copy) -> Result<Source> {
        let (below, name) = copy.object_key.rsplit_once('/').unwrap_or(("", &copy.object_key));
        let directory = PathBuf::from(format!("{}/{below}", self.destination.url));
        source::open(Location { listed: None, directory, file_name: name.to_owned() })
    }

    /// Some chunks of the container, or at the level `read` its own hashes.
    fn inflate(&self, source: &Source, manifest: &[u8]) -> Result<std::result::Result<String, String>> {
        if source.container.manifest_bytes != manifest {
            return Ok(Err(format!("changed: container \"{}\" holds another manifest", source.location.file_name)));
        }
        if self.level == Level::Read {
            let problem = source.container.verify_content().0.into_iter().next();
            source.directory.trouble()?;
            return Ok(match problem {
                Some(problem) => Err(format!("changed: {problem}")),
                None => Ok("the container's own hashes fit".into()),
            });
        }
        let chunks =
            source.manifest().entries.iter().flat_map(|entry| (0..entry.chunks.len()).map(move |n| (entry, n)));
        let mut chunks: Vec<_> = chunks.collect();
        let mut read = 0;
        while read < SAMPLE && !chunks.is_empty() {
            let (entry, number) = chunks.swap_remove(facts::random() as usize % chunks.len());
            let mut problem = None;
            unpack::chunks(
                source,
                entry,
                vec![number],
                |_, plain| Ok(plain.len()),
                |_, done| {
                    problem = done.err();
                    Ok(std::ops::ControlFlow::Continue(()))
                },
            )?;
            if let Some(problem) = problem {
                source.directory.trouble()?;
                return Ok(Err(format!("changed: {problem}")));
            }
            read += 1;
        }
        Ok(Ok(format!("{read} chunks were read back and inflated")))
    }

    /// Backups of this machine that should be there and are not.
    fn not_there(&mut self, copies: &[Copy]) -> Result<()> {
        let local = journal_offsite::local_backups(&self.destination.set)?;
        let known: HashMap<String, Copy> = copies.iter().map(|copy| (copy.backup_id.clone(), copy.clone())).collect();
        let unwanted = retain::not_wanted(self.destination, &local, &known, &[])?;
        let is_due = |backup: &&LocalBackup| {
            known.get(&backup.backup_id).is_none_or(|copy| copy.status == "failed")
                && !unwanted.contains(&backup.backup_id)
        };
        for backup in local.iter().filter(is_due) {
            let text = "missing: it was not uploaded; run agent_backup.upload()".to_owned();
            self.tell(Some(&backup.backup_id), Err(text), None, Instant::now());
        }
        Ok(())
    }

    /// A newest copy that is too old is as bad as none.
    fn age(&mut self, copies: &[Copy]) -> Result<()> {
        let Some(interval) = journal_offsite::backup_interval(&self.destination.set)? else { return Ok(()) };
        let bad: Vec<&str> =
            self.findings.iter().filter(|it| !it.is_ok).filter_map(|it| it.backup_id.as_deref()).collect();
        let good = copies.iter().filter(|copy| copy.status != "failed" && !bad.contains(&copy.backup_id.as_str()));
        let newest = good.map(|copy| copy.started_at).max();
        let now = clock::now()?;
        // A tenth of grace, as the health of backups has.
        let limit = TimeDelta::seconds((interval * 1.1) as i64);
        let told = match newest {
            None => Err("missing: no good copy is there".to_owned()),
            Some(newest) if now - newest > limit => {
                Err(format!("too old: the newest good copy is of {}", newest.format("%Y-%m-%d %H:%M:%S UTC")))
            }
            Some(newest) => Ok(format!("the newest good copy is of {}", newest.format("%Y-%m-%d %H:%M:%S UTC"))),
        };
        self.tell(None, told, None, Instant::now());
        Ok(())
    }

    fn tell(&mut self, id: Option<&str>, told: std::result::Result<String, String>, size: Option<u64>, begun: Instant) {
        self.findings.push(Finding {
            destination: self.destination.url.clone(),
            backup_id: id.map(str::to_owned),
            level: self.level,
            is_ok: told.is_ok(),
            size,
            took: begun.elapsed(),
            details: told.unwrap_or_else(|text| text),
        });
    }

    fn log_rows(&self, copy: &Copy, error: Option<&str>, took: Duration) -> Result<Vec<LogRow>> {
        let day = copy.started_at.format("%Y-%m-%d").to_string();
        let parts = journal_checks::entries(&copy.backup_id)?;
        let row = |part: crate::run::verify::finding::Part| LogRow {
            table: part.table.clone(),
            status: if error.is_some() { "failed" } else { "success" },
            day: error.is_none().then(|| day.clone()),
            rows: None,
            size: part.stored_bytes,
            checksum: None,
            error: error.map(str::to_owned),
            backup_id: Some(copy.backup_id.clone()),
            format: part.format.clone(),
            level: self.level.logged(),
            took,
            details: serde_json::json!({
                "set_name": copy.set_name,
                "schema_name": part.table.schema,
                "table_name": part.table.name,
                "destination": self.destination.url,
                "offsite_level": self.level.name(),
            }),
        };
        Ok(parts.into_iter().map(row).collect())
    }
}
