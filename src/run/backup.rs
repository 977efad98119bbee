//! A set into a container: lock the tables, take one snapshot, read each table, put the files into place, record it.

use std::path::PathBuf;

use agent_backup_core::container::Manifest;
use agent_backup_core::container::manifest::Encryption;
use agent_backup_core::crypt::Recipients;
use agent_backup_core::plan::{Compression, Format, names};
use agent_backup_core::store::Directory;
use chrono::{DateTime, Utc};
use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::ident;
use crate::journal::{self, Member, Set};
use crate::journal_archive;
use crate::journal_audit;
use crate::run::members::{Locked, Reader};
use crate::run::offsite::direct::{self, Direct};
use crate::run::outcome::{self, Outcome};
use crate::run::publish::{Placed, Writing};
use crate::run::say;
use crate::run::shelf::Shelf;
use crate::run::site::{self, Site};
use crate::run::{adopt, audit, keys, sealing};
use crate::server::pin::{self, Pinned};
use crate::server::snapshot::{self, Snapshot};
use crate::server::{clock, facts, lock};
use crate::settings;
use crate::table::catalog;
use crate::table::ddl::{self, Definitions};

/// What to back up.
pub struct Request<'a> {
    pub set: &'a str,
    pub kind: &'a str,
    /// In place of the set's own.
    pub formats: Option<Vec<String>>,
    /// Some of the members only.
    pub tables: Option<Vec<String>>,
    /// A place in a store that it is written straight to; none for `agent_backup.backup_url`, and without that the directory.
    pub destination: Option<&'a str>,
}

/// A backup that ended: its members, and its files unless nothing could be read.
pub struct Report {
    pub outcomes: Vec<Outcome>,
    pub placed: Option<Placed>,
    /// Path or URL of the place of its files.
    pub path: PathBuf,
}

/// Backs up a set. One member that fails costs that member; the backup is then incomplete, and says so. On a standby no
/// row is written: the files tell the primary of the backup.
pub fn run(request: &Request) -> Result<Report> {
    snapshot::require_writable_files()?;
    check_request(request)?;
    let set = journal::set(request.set)?;
    let prepared = prepare(request, &set)?;
    let site = match request.destination.map(str::to_owned).or_else(settings::backup_url) {
        None => Site::Here(site::directory_of(&set.name)?),
        Some(url) => {
            direct::require_place(&url)?;
            audit::note("destination", url.as_str());
            Site::There(Direct::open(&set.name, &url)?)
        }
    };
    let report = run_set(request, &set, prepared, &site)?;
    report.note(request.kind);
    Ok(report)
}

impl Report {
    /// What the log of acts has of it.
    fn note(&self, kind: &str) {
        let failed = self.outcomes.iter().filter(|outcome| outcome.error().is_some()).count();
        audit::note("kind", kind);
        audit::note("tables", self.outcomes.iter().filter(|outcome| outcome.is_done()).count());
        if let Some(placed) = &self.placed {
            audit::note("backup_id", placed.manifest.backup_id.as_str());
        }
        if failed > 0 {
            audit::failed(&format!("{failed} of {} tables failed", self.outcomes.len()));
        }
    }
}

/// What can be found wanting before anything is opened or written.
pub struct Prepared {
    members: Vec<Member>,
    compression: Compression,
    recipients: Option<Recipients>,
}

pub fn prepare(request: &Request, set: &Set) -> Result<Prepared> {
    let members = wanted_members(set, request)?;
    let compression = Compression::parse(&set.compression, set.level).ok_or_else(|| Error::InvalidOption {
        option: "compression",
        reason: format!("{} has no level {}", set.compression, set.level),
    })?;
    Ok(Prepared { members, compression, recipients: keys::recipients(&set.recipients_files)? })
}

pub fn run_set(request: &Request, set: &Set, prepared: Prepared, site: &Site) -> Result<Report> {
    let Prepared { members, compression, recipients } = prepared;
    let lists = !snapshot::is_standby();
    let started = clock::now()?;
    let formats = Pinned::formats()?;
    // The catalogue queries are wide and return little: compiling them would take many times their run.
    formats.set("jit", "off")?;
    let locked = lock_members(members)?;
    let snapshot = Snapshot::push()?;
    failpoint_after_snapshot()?;
    let mut writing = Writing::start(site.goal(), &set.name, started, compression, recipients.as_ref())?;
    let spools = site.spools(sealing::form(recipients.as_ref()))?;
    let places = Places { set: &site.shelf(), spools: &spools };
    let read = read_members(locked, request, set, compression, places, &mut writing)?;
    let manifest = new_manifest(set, request, started, &read, recipients.as_ref())?;
    let manifest = Manifest { snapshot: snapshot.name().to_owned(), ..manifest };
    drop(snapshot);

    let placed = if read.outcomes.iter().any(Outcome::is_done) {
        let schema = ddl::script(&manifest.ddl);
        Some(writing.finish(&schema, manifest.clone())?)
    } else {
        None
    };
    match &placed {
        _ if lists => record(&manifest, placed.as_ref(), &read.outcomes, site)?,
        Some(placed) => say::not_listed(&set.name, &placed.manifest.backup_id),
        None => (),
    }
    Ok(Report { outcomes: read.outcomes, placed, path: site.path() })
}

/// What is wrong with a request is said before anything is locked or written.
fn check_request(request: &Request) -> Result<()> {
    let invalid = |option, reason: String| Err(Error::InvalidOption { option, reason });
    if !["full", "archive"].contains(&request.kind) {
        return invalid("kind", format!("\"{}\" is neither full nor archive", request.kind));
    }
    if let Some(formats) = &request.formats {
        parse_formats(formats)?;
    }
    match &request.tables {
        Some(tables) if tables.is_empty() => invalid("tables", "it is empty; null means all of the set".into()),
        _ => Ok(()),
    }
}

fn failpoint_after_snapshot() -> Result<()> {
    crate::server::failpoint::reach("snapshot")
}

/// The members asked for. A name that is no member of the set is an error.
fn wanted_members(set: &Set, request: &Request) -> Result<Vec<Member>> {
    let Some(tables) = &request.tables else { return Ok(set.members.clone()) };
    let find = |typed: &String| {
        let resolved = ident::find(typed)?.map(ident::name_of).transpose()?;
        set.members.iter().find(|member| member.table.is_meant(typed, resolved.as_ref())).cloned().ok_or_else(|| {
            Error::NotMember {
                set: set.name.clone(),
                table: typed.clone(),
                near: ident::near(typed, set.members.iter().map(|member| member.table.display())),
            }
        })
    };
    let mut wanted: Vec<Member> = Vec::new();
    for member in tables.iter().map(find) {
        let member = member?;
        if !wanted.iter().any(|known| known.table == member.table) {
            wanted.push(member);
        }
    }
    Ok(wanted)
}

/// Locks before the snapshot is taken, so that no table can change its shape between the two.
pub fn lock_members(members: Vec<Member>) -> Result<Vec<Locked>> {
    let own_view = journal_archive::own_view()?;
    let lock = |member: &Member| {
        let Some(oid) = ident::oid_of(&member.table) else { return Ok(None) };
        if own_view == Some(oid) {
            return Err(journal_archive::is_no_table(&member.table));
        }
        lock::table_for_reading(oid, &member.table.display())?;
        // While we waited the name may have come to mean another table.
        if ident::oid_of(&member.table) == Some(oid) {
            Ok(Some(oid))
        } else {
            Err(Error::Replaced { table: member.table.display() })
        }
    };
    Ok(members.into_iter().map(|member| Locked { oid: lock(&member), member }).collect())
}

/// Where the last backup is looked for, and where rows wait.
#[derive(Clone, Copy)]
struct Places<'a> {
    set: &'a Shelf,
    spools: &'a Directory,
}

/// What was read of all members.
struct Read {
    outcomes: Vec<Outcome>,
    definitions: Definitions,
}

fn read_members(
    locked: Vec<Locked>,
    request: &Request,
    set: &Set,
    compression: Compression,
    places: Places,
    writing: &mut Writing,
) -> Result<Read> {
    let oids: Vec<pg_sys::Oid> =
        locked.iter().filter_map(|member| member.oid.as_ref().ok().copied().flatten()).collect();
    let mut described = catalog::describe(&oids)?.into_iter();
    let mut reader = Reader::start(compression, places.spools, writing)?;
    for Locked { member, oid } in locked {
        let table = match oid {
            Ok(None) => Ok(None),
            Ok(Some(_)) => described.next().transpose(),
            Err(error) => Err(error),
        };
        let formats = request.formats.as_ref().or(member.formats.as_ref()).unwrap_or(&set.formats).clone();
        reader.read(member, table, &formats)?;
    }
    // Read while the threads are still at work; anew if a member then fails after all.
    let definitions_of = |tables: &[pg_sys::Oid]| {
        if tables.is_empty() {
            return Ok(Definitions::default());
        }
        ddl::definitions(tables, || adopt::newest(&set.name, places.set))
    };
    let scanned = reader.scanned();
    let mut definitions = definitions_of(&scanned)?;
    let outcomes = reader.finish()?;
    let done: Vec<pg_sys::Oid> = outcomes.iter().filter_map(Outcome::oid).collect();
    if done != scanned {
        definitions = definitions_of(&done)?;
    }
    Ok(Read { outcomes, definitions })
}

/// Reads names of formats; each once.
pub fn parse_formats(formats: &[String]) -> Result<Vec<Format>> {
    let parse = |name: &String| {
        Format::parse(name).ok_or_else(|| Error::InvalidOption {
            option: "formats",
            reason: format!("\"{name}\" is none of csv, json, sql"),
        })
    };
    let mut parsed = formats.iter().map(parse).collect::<Result<Vec<_>>>()?;
    parsed.sort();
    parsed.dedup();
    if parsed.is_empty() {
        return Err(Error::InvalidOption {
            option: "formats",
            reason: "at least one of csv, json, sql is needed".into(),
        });
    }
    Ok(parsed)
}

fn new_manifest(
    set: &Set,
    request: &Request,
    started: DateTime<Utc>,
    read: &Read,
    recipients: Option<&Recipients>,
) -> Result<Manifest> {
    let mut members: Vec<_> = read.outcomes.iter().map(Outcome::to_manifest).collect();
    if recipients.is_some() {
        outcome::withhold_errors(&mut members);
    }
    let (audit_head, audit_entry) = journal_audit::head()?.map(|head| (head.entry_hash, head.entry_id)).unzip();
    Ok(Manifest {
        version: agent_backup_core::container::manifest::VERSION,
        backup_id: names::backup_id(started, facts::random()),
        set_name: set.name.clone(),
        kind: request.kind.to_owned(),
        server: facts::server()?,
        extension_version: env!("CARGO_PKG_VERSION").to_owned(),
        snapshot: String::new(),
        started_at: started,
        finished_at: clock::now()?,
        settings: pin::recorded(),
        compression: Compression::None,
        encryption: recipients.map(Encryption::of),
        members,
        ddl: read.definitions.statements.clone(),
        left_out: read.definitions.left_out.clone(),
        ddl_fingerprint: read.definitions.fingerprint.clone(),
        notes: Vec::new(),
        generation: 0,
        erasures: Vec::new(),
        audit_head,
        audit_entry,
        content_sha256: String::new(),
        content_bytes: 0,
        entries: Vec::new(),
    })
}

fn record(manifest: &Manifest, placed: Option<&Placed>, outcomes: &[Outcome], site: &Site) -> Result<()> {
    let failed: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.error().is_some()).collect();
    let error = match placed {
        None if failed.is_empty() => Some("none of the set's tables exists here".to_owned()),
        _ if failed.is_empty() => None,
        _ => Some(
            failed
                .iter()
                .map(|outcome| format!("{}: {}", outcome.table.display(), outcome.error().unwrap_or_default()))
                .collect::<Vec<_>>()
                .join("; "),
        ),
    };
    let record = match placed {
        Some(placed) => {
            journal::from_manifest(&placed.manifest, &site.path(), &placed.container, &placed.manifest_file, error)
        }
        None => journal::of_failure(manifest, &site.path(), error),
    };
    journal::record(&record)?;
    match (site, placed) {
        (Site::There(direct), Some(placed)) => direct.note(&placed.manifest, &placed.container, &placed.manifest_file),
        _ => Ok(()),
    }
}
