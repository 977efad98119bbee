//! Where the copies of a set go, and who may say so: sending rows to a place is as much as writing a file of the server.

use agent_backup_core::store::object::Location;
use pgrx::datum::Interval;

use crate::error::{Error, OffsiteError, Result};
use crate::ident;
use crate::journal;
use crate::journal_offsite::{self, Numbers};
use crate::run::audit;
use crate::run::offsite::access;
use crate::server::privilege;
use crate::server::{foreign, snapshot};
use crate::settings;

pub use crate::journal_offsite::Destination;

/// A destination as it is asked for.
pub struct NewDestination<'a> {
    pub set: &'a str,
    pub url: &'a str,
    pub server: Option<&'a str>,
    /// Null takes the set's own.
    pub keep: [Option<i32>; 4],
    pub max_age: Option<Interval>,
}

/// Adds a destination to a set; the place as it is kept. Nothing is sent to it yet.
pub fn add(new: NewDestination) -> Result<String> {
    snapshot::require_writable()?;
    privilege::require_operator()?;
    if !journal::has_set(new.set)? {
        return Err(journal::unknown_set(new.set)?);
    }
    let (location, url) = access::parse(new.url)?;
    audit::object(&url);
    require_sender(&location, &url)?;
    if let Some(server) = new.server {
        if let Location::File { .. } = location {
            let reason = "a directory is reached by no server".into();
            return Err(Error::InvalidOption { option: "server_name", reason });
        }
        foreign::server(server)?;
    }
    let own = journal_offsite::numbers_of_set(new.set)?;
    let keep = std::array::from_fn(|place| new.keep[place].unwrap_or(own.keep[place]));
    let numbers = Numbers { keep, max_age: new.max_age.or(own.max_age) };
    if keep.iter().any(|number| *number < 0) || keep.iter().all(|number| *number == 0) {
        let reason = "a destination keeps at least one copy, and no number is below zero".into();
        return Err(Error::InvalidOption { option: "retention", reason });
    }
    if !journal_offsite::add(new.set, &url, new.server, &numbers)? {
        return Err(OffsiteError::DestinationExists { set: new.set.to_owned(), url }.into());
    }
    Ok(url)
}

/// Takes a destination from a set; what is there stays.
pub fn remove(set: &str, url: &str) -> Result<()> {
    snapshot::require_writable()?;
    privilege::require_operator()?;
    let (_, kept) = access::parse(url)?;
    audit::object(&kept);
    if journal_offsite::remove(set, &kept)? {
        return Ok(());
    }
    let all = journal_offsite::destinations(set)?;
    let near = ident::near(&kept, all.into_iter().map(|known| known.url));
    Err(OffsiteError::UnknownDestination { set: set.to_owned(), url: kept, near }.into())
}

/// Where copies of a set go: its own destinations, else that of `agent_backup.offsite_url`.
pub fn all_of_set(set: &str) -> Result<Vec<Destination>> {
    let own = journal_offsite::destinations(set)?;
    match settings::offsite_url() {
        Some(url) if own.is_empty() => {
            let (_, url) = access::parse(&url)?;
            Ok(vec![Destination { set: set.to_owned(), url, server: None, numbers: None }])
        }
        _ => Ok(own),
    }
}

/// The same, or the one that is named. Errors: `NoDestination`, `UnknownDestination`, `UnknownSet`.
pub fn of_set(set: &str, only: Option<&str>) -> Result<Vec<Destination>> {
    let mut all = all_of_set(set)?;
    if all.is_empty() {
        if !journal::has_set(set)? && journal_offsite::local_backups(set)?.is_empty() {
            return Err(journal::unknown_set(set)?);
        }
        return Err(OffsiteError::NoDestination { set: set.to_owned() }.into());
    }
    let Some(only) = only else { return Ok(all) };
    let (_, url) = access::parse(only)?;
    let near = ident::near(&url, all.iter().map(|known| known.url.clone()));
    all.retain(|known| known.url == url);
    if all.is_empty() {
        return Err(OffsiteError::UnknownDestination { set: set.to_owned(), url, near }.into());
    }
    Ok(all)
}

/// Where backups of a set are written straight to: one of its destinations or `agent_backup.backup_url`; any place, for who
/// may send backups anywhere.
pub fn to_write(set: &str, url: &str) -> Result<Destination> {
    privilege::require_operator()?;
    let (location, url) = access::parse(url)?;
    if let Some(known) = all_of_set(set)?.into_iter().find(|known| known.url == url) {
        return Ok(known);
    }
    let configured = settings::backup_url().map(|known| access::parse(&known)).transpose()?;
    if configured.is_none_or(|(_, known)| known != url) {
        require_sender(&location, &url)?;
    }
    Ok(Destination { set: set.to_owned(), url, server: None, numbers: None })
}

/// Whether copies of a set go anywhere.
pub fn has_any(set: &str) -> Result<bool> {
    Ok(!all_of_set(set)?.is_empty())
}

/// Refuses where copies of a set go nowhere.
pub fn require_any(set: &str) -> Result<()> {
    if has_any(set)? { Ok(()) } else { Err(OffsiteError::NoDestination { set: set.to_owned() }.into()) }
}

/// The caller may have backups sent to a place: as for writing a file of the server outside the backup directory.
fn require_sender(location: &Location, url: &str) -> Result<()> {
    match location {
        Location::File { path } => {
            privilege::require_file_writer(path)?;
            if path.starts_with(settings::directory()) {
                let reason = "it lies within agent_backup.directory, on the same disk".into();
                return Err(Error::InvalidOption { option: "url", reason });
            }
            Ok(())
        }
        Location::S3 { .. } if privilege::is_file_writer() => Ok(()),
        Location::S3 { .. } => Err(OffsiteError::MayNotReach {
            what: "send backups to",
            url: url.to_owned(),
            grantable: "pg_write_server_files",
        }
        .into()),
    }
}
