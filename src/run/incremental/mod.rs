//! What changed in the tables of a set since the last time: lock the tables, take one snapshot, read the changed rows of
//! each, put them into the archive and into a file, and write down how far each table was copied.

mod choice;
mod deletes;
pub mod expire;
mod files;
mod keys;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use agent_backup_core::codec::split;
use agent_backup_core::container::increment::Watermark as ManifestWatermark;
use agent_backup_core::container::manifest::Server;
use agent_backup_core::crypt::Recipients;
use agent_backup_core::plan::names::{self, Form};
use agent_backup_core::plan::{Compression, Format};
use agent_backup_core::store::Directory;
use agent_backup_core::stream::{Inflater, Pool};
use chrono::{DateTime, Utc};
use pgrx::datum::TimestampWithTimeZone;

use crate::error::{Error, Result};
use crate::ident::{self, TableName};
use crate::journal::{self, Member};
use crate::journal_archive::{self, Archive, Batch};
use crate::journal_checks::plain_name;
use crate::journal_watermarks::{self, Copied, Moment, Now, Tally, Watermark};
use crate::run::members::selection_of;
use crate::run::place::{self, SetPlace};
use crate::run::source::Source;
use crate::run::{backup, keys as key_files, pipeline, say, sealing};
use crate::server::pin::Pinned;
use crate::server::snapshot::{self, Snapshot};
use crate::server::subtransaction::{Failure, attempt, is_for_the_call};
use crate::server::{clock, facts, failpoint, privilege, sql};
use crate::table::catalog::{self, Table};
use crate::table::select::Selection;
use choice::{Choice, Known};

/// What to copy.
pub struct Request<'a> {
    pub set: &'a str,
    /// Rows since then at the least; none means since the last time.
    pub since: Option<TimestampWithTimeZone>,
    /// Whether rows of the newest backup that are gone are looked for.
    pub with_deletes: bool,
}

/// What became of a table.
pub struct Incremented {
    pub table: TableName,
    /// `ok`, `failed` or `absent`.
    pub status: &'static str,
    pub source: Option<&'static str>,
    pub rows: Option<u64>,
    pub tombstones: Option<u64>,
    /// None where nothing had changed.
    pub file: Option<String>,
    pub details: Option<String>,
}

const COMPRESSION: Compression = Compression::Gzip(1);

/// Copies what changed in a set. One table that fails costs that table, whose watermark stays where it is.
pub fn run(request: &Request) -> Result<Vec<Incremented>> {
    snapshot::require_writable()?;
    privilege::require_operator()?;
    let set = journal::set(request.set)?;
    let recipients = key_files::recipients(&set.recipients_files)?;
    let place = place::of_incrementals(&set.name)?;
    let spools = place::of_spools(&place.directory, sealing::form(recipients.as_ref()))?;
    let time_zone = sql::text("SELECT pg_catalog.current_setting('TimeZone')", &[])?.unwrap_or_default();
    let archive = journal_archive::find(&time_zone)?;
    let formats = Pinned::formats()?;
    formats.set("jit", "off")?;
    let since = request.since.map(journal_watermarks::moment).transpose()?;
    let newest = if request.with_deletes { Some(deletes::newest(&set.name)?) } else { None };
    let locked = backup::lock_members(set.members)?;
    let (watermarks, sources) = (journal_watermarks::of_set(&set.name)?, journal_watermarks::sources(&set.name)?);
    let now = journal_watermarks::now()?;
    let snapshot = Snapshot::push()?;
    failpoint::reach("snapshot")?;
    let oids: Vec<_> = locked.iter().filter_map(|member| member.oid.as_ref().ok().copied().flatten()).collect();
    let mut described = catalog::describe(&oids)?.into_iter();
    let run = Run {
        set: &set.name,
        place: &place,
        recipients,
        spools,
        pool: pipeline::start_pool()?,
        archive,
        since,
        watermarks,
        sources,
        now,
        snapshot: snapshot.name(),
        time_zone: &time_zone,
        started: clock::now()?,
        server: facts::server()?,
        extends: journal::listed(Some(&set.name))?
            .into_iter()
            .find(|backup| backup.status == "complete")
            .map(|b| b.backup_id),
        newest,
    };
    let mut all = Vec::new();
    for member in locked {
        let table = match member.oid {
            Ok(None) => Ok(None),
            Ok(Some(_)) => described.next().transpose(),
            Err(error) => Err(error),
        };
        all.push(run.member(&member.member, table)?);
    }
    let started = journal::timestamp(run.started);
    drop(snapshot);
    journal_watermarks::record_run(&set.name, started, journal::timestamp(clock::now()?), &tally(&all))?;
    Ok(all)
}

fn tally(all: &[Incremented]) -> Tally {
    let count = |status| all.iter().filter(|one| one.status == status).count();
    let rows: u64 = all.iter().map(|one| one.rows.unwrap_or(0) + one.tombstones.unwrap_or(0)).sum();
    Tally { tables: count("ok"), failed: count("failed"), rows: rows.cast_signed() }
}

/// A run over the tables of a set.
struct Run<'a> {
    set: &'a str,
    place: &'a SetPlace,
    /// For whom the files are sealed; none where anybody can read them.
    recipients: Option<Recipients>,
    spools: Directory,
    pool: Pool,
    archive: Option<Archive>,
    since: Option<Moment>,
    watermarks: HashMap<TableName, Watermark>,
    sources: HashMap<TableName, String>,
    now: Now,
    snapshot: &'a str,
    time_zone: &'a str,
    started: DateTime<Utc>,
    server: Server,
    /// The newest complete backup.
    extends: Option<String>,
    /// The same, open, where deletes are looked for.
    newest: Option<std::result::Result<Rc<Source>, String>>,
}

impl Run<'_> {
    fn form(&self) -> Form {
        sealing::form(self.recipients.as_ref())
    }

    fn member(&self, member: &Member, table: Result<Option<Table>>) -> Result<Incremented> {
        let not = |status, details: Option<String>| Incremented {
            table: member.table.clone(),
            status,
            source: None,
            rows: None,
            tombstones: None,
            file: None,
            details,
        };
        let failed = |reason: String| {
            say::table_failed(&member.table.display(), &reason);
            Ok(not("failed", Some(reason)))
        };
        let table = match table {
            Ok(None) => return Ok(not("absent", None)),
            Err(Error::NotBackedUp { kind: kind @ journal_archive::OWN_VIEW, .. }) => {
                return Ok(not("absent", Some(kind.into())));
            }
            Err(error) => return failed(error.to_string()),
            Ok(Some(table)) => table,
        };
        if self.archive.as_ref().is_some_and(|archive| archive.is(table.oid, &table.name)) {
            return Ok(not("absent", Some("it is the archive itself, into which the others are copied".into())));
        }
        match attempt(|| self.table(&table, &selection_of(member))) {
            Ok(done) => Ok(done),
            Err(Failure { error: Some(error), code, .. }) if is_for_the_call(code) => Err(error),
            Err(failure) => failed(failure.message),
        }
    }

    fn table(&self, table: &Table, selection: &Selection) -> Result<Incremented> {
        let begun = Instant::now();
        if snapshot::is_fixed() {
            catalog::refuse_rewritten(&[table.oid])?;
        }
        pipeline::require_rights(table, selection)?;
        let choice = choice::choose(
            table,
            selection,
            &Known {
                watermark: self.watermarks.get(&table.name),
                chosen: self.sources.get(&table.name).map(String::as_str),
                since: self.since.as_ref(),
                snapshot: self.snapshot,
                time_zone: self.time_zone,
            },
        )?;
        let (tombstones, mut notes) = self.tombstones(table, selection, &choice)?;
        let changed = Selection { changed: choice.condition.clone(), ..selection.clone() };
        let key = keys::columns(table, selection);
        let directory = &self.place.directory;
        let scanned = pipeline::scan_with_keys(&self.pool, table, &changed, &key, COMPRESSION, &self.spools)?;
        let data = scanned.settle(table)?;
        if !(choice.is_in_log && self.archive.as_ref().is_some_and(|archive| archive.is_own_view)) {
            notes.extend(self.archive(table, &key, &data)?);
        }
        failpoint::reach("archived")?;
        let stem =
            (data.rows > 0 || !tombstones.is_empty()).then(|| files::free_stem(directory, &table.name, self.started));
        let stem = stem.transpose()?;
        let (rows, gone) = (data.rows, tombstones.len() as u64);
        let watermark = self.watermark(table, &choice);
        let file = stem.as_deref().map(|stem| names::incremental_data(stem, self.form()));
        let copied = Copied {
            set: self.set,
            table: &table.name,
            source: choice.source.name(),
            watermark: &watermark,
            rows,
            tombstones: gone,
            file: file.as_deref(),
        };
        journal_watermarks::record(&copied)?;
        if let Some(stem) = &stem {
            let told = files::Told { run: self, table, selection, choice: &choice, watermark: &watermark, tombstones };
            let written = told.write(stem, &data)?;
            say::table_done(&table.name.display(), rows, written.plain, written.stored, begun.elapsed());
        }
        notes.insert(0, choice.said);
        Ok(Incremented {
            table: table.name.clone(),
            status: "ok",
            source: Some(choice.source.name()),
            rows: Some(rows),
            tombstones: Some(gone),
            file,
            details: Some(notes.join("; ")),
        })
    }

    /// Keys of rows that are gone, and what else is to be said of them.
    fn tombstones(&self, table: &Table, selection: &Selection, choice: &Choice) -> Result<(Vec<String>, Vec<String>)> {
        let mut tombstones = choice.tombstones.clone();
        let told = match &self.newest {
            None => return Ok((tombstones, Vec::new())),
            Some(Err(reason)) => Err(reason.clone()),
            Some(Ok(_)) if !keys::are_shown(table, selection) => Err("the set shows no primary key".into()),
            Some(Ok(source)) => deletes::gone(table, source)?,
        };
        match told {
            Ok(gone) => tombstones.extend(gone),
            Err(reason) => return Ok((tombstones, vec![format!("deleted rows were not looked for: {reason}")])),
        }
        tombstones.sort();
        tombstones.dedup();
        Ok((tombstones, Vec::new()))
    }

    /// Puts the rows into the archive; what is to be said of it.
    fn archive(&self, table: &Table, key: &[String], data: &pipeline::TableData) -> Result<Option<String>> {
        let Some(archive) = &self.archive else { return Ok(Some("there is no agent_training_archive".into())) };
        if data.rows == 0 {
            return Ok(None);
        }
        archive.require_may_hold(table.oid, &table.name)?;
        let lost = || Error::Internal { object: "incremental", reason: "rows and keys do not fit together".into() };
        let json = &data.entries.first().ok_or_else(lost)?.spooled;
        let (_, texts) = data.keys.as_ref().ok_or_else(lost)?;
        let inflater = |method| Inflater::new(method).map_err(Error::Write);
        let (mut of_json, mut of_texts) = (inflater(COMPRESSION)?, inflater(Compression::None)?);
        let in_order: Vec<String> =
            table.columns.iter().map(|column| column.name.clone()).filter(|name| key.contains(name)).collect();
        let mut reader = keys::KeyReader::new(&in_order, key);
        let (mut rows, mut lines) = (Vec::new(), Vec::new());
        let (mut refused, mut why) = (0, None);
        let fault = |error| pipeline::stream_error(table, error);
        for chunk in 0.. {
            if !json.read(chunk, &mut of_json, &mut rows).map_err(fault)? {
                break;
            }
            texts.read(chunk, &mut of_texts, &mut lines).map_err(fault)?;
            let keys = split::rows(Format::Csv, &lines).map(|line| reader.key(line)).collect::<Result<Vec<_>>>()?;
            let batch = Batch { keys, rows: split::rows(Format::Json, &rows).collect() };
            if batch.keys.len() != batch.rows.len() {
                return Err(lost());
            }
            let (more, reason) = archive.insert(&plain_name(&table.name), &batch)?;
            (refused, why) = (refused + more, why.or(reason));
        }
        Ok(why.map(|reason| format!("{refused} rows are in the file and not in agent_training_archive: {reason}")))
    }

    fn watermark(&self, table: &Table, choice: &Choice) -> Watermark {
        let before = self.watermarks.get(&table.name);
        let oldest = match (self.now.is_unsure, before) {
            (false, _) => self.now.oldest.clone(),
            (true, Some(before)) => before.oldest.clone(),
            (true, None) => Moment { at: i64::MIN, text: "-infinity".into() },
        };
        Watermark {
            relation: table.oid,
            storage: choice.storage.iter().map(|storage| storage.oid).collect(),
            snapshot: self.snapshot.to_owned(),
            oldest,
            taken_at: self.now.taken_at.clone(),
        }
    }
}

/// A watermark as a manifest tells of it.
fn in_manifest(watermark: &Watermark) -> ManifestWatermark {
    ManifestWatermark { snapshot: watermark.snapshot.clone(), taken_at: watermark.taken_at.text.clone() }
}

/// Chooses by what changed rows of a member are told; none leaves it to be chosen.
pub fn set_source(table: &str, source: Option<&str>, set: &str) -> Result<()> {
    snapshot::require_writable()?;
    privilege::require_operator()?;
    if let Some(other) = source.filter(|source| !["timestamp", "snapshot"].contains(source)) {
        let reason = format!("\"{other}\" is neither timestamp nor snapshot");
        return Err(Error::InvalidOption { option: "source", reason });
    }
    let members = journal::set(set)?.members;
    let resolved = ident::find(table)?.map(ident::name_of).transpose()?;
    let Some(member) = members.iter().find(|member| member.table.is_meant(table, resolved.as_ref())) else {
        let near = ident::near(table, members.iter().map(|member| member.table.display()));
        return Err(Error::NotMember { set: set.to_owned(), table: table.to_owned(), near });
    };
    journal_watermarks::set_source(set, &member.table, source)
}
