//! How a store is reached: by a foreign server and the caller's mapping there, else by what the server's process was given.

use std::path::Path;
use std::sync::Arc;

use agent_backup_core::store::DirectoryRule;
use agent_backup_core::store::object::{
    Credentials, Environment, Folder, Limits, Location, ObjectError, ObjectStore, S3, S3Options,
};

use crate::error::{Error, OffsiteError, Result};
use crate::run::place;
use crate::server::foreign::{self, Foreign, Options};
use crate::settings;
use crate::{journal_offsite, server::interrupt};

/// Options of a server, and of a mapping.
pub const OF_SERVER: [&str; 5] = ["endpoint", "region", "path_style", "ca_bundle", "allow_http"];
pub const OF_MAPPING: [&str; 3] = ["access_key_id", "secret_access_key", "session_token"];

/// An open store and the place that it is.
#[derive(Clone)]
pub struct Store {
    pub store: Arc<dyn ObjectStore>,
    pub url: String,
}

/// Reads a place as a person gives it; as it is kept, in the second part.
pub fn parse(url: &str) -> Result<(Location, String)> {
    let location = Location::parse(url).map_err(OffsiteError::from)?;
    let kept = location.to_string();
    Ok((location, kept.strip_suffix('/').map_or(kept.clone(), str::to_owned)))
}

/// Opens the store at a place. Nothing is sent yet. `server` none: the one that is known for the place, else that of
/// `agent_backup.offsite_server`, else the environment.
pub fn open(url: &str, server: Option<&str>) -> Result<Store> {
    let (location, url) = parse(url)?;
    let store: Arc<dyn ObjectStore> = match &location {
        Location::File { path } => Arc::new(folder(path)?),
        Location::S3 { bucket, prefix } => {
            let known = match server {
                Some(server) => Some(server.to_owned()),
                None => journal_offsite::server_of(&url)?.or_else(settings::offsite_server),
            };
            let options = match known {
                Some(server) => of_server(foreign::server(&server)?)?,
                None => S3Options::from_environment(&Environment::of_process()).map_err(OffsiteError::from)?,
            };
            Arc::new(S3::new(bucket, prefix, &options, Limits::default()).map_err(OffsiteError::from)?)
        }
    };
    Ok(Store { store, url })
}

fn folder(path: &Path) -> Result<Folder> {
    let rule = DirectoryRule { forbidden_root: Some(settings::data_directory()), allowed_below: Vec::new() };
    Folder::open(path, rule).map_err(place::object_error)
}

fn of_server(Foreign { options, mapping }: Foreign) -> Result<S3Options> {
    let process = || S3Options::from_environment(&Environment::of_process()).map_err(OffsiteError::from);
    let (credentials, chain) = match mapping.and_then(credentials) {
        Some(own) => (Some(own), Default::default()),
        None => {
            let process = process()?;
            (process.credentials, process.chain)
        }
    };
    let get = |name: &str| options.get(name).filter(|value| !value.is_empty()).cloned();
    Ok(S3Options {
        endpoint: get("endpoint"),
        region: get("region"),
        path_style: get("path_style").map(|value| truth(&value).unwrap_or(true)),
        ca_bundle: get("ca_bundle").map(Into::into),
        credentials,
        chain,
    })
}

fn credentials(mut mapping: Options) -> Option<Credentials> {
    let (key_id, secret) = mapping.remove("access_key_id").zip(mapping.remove("secret_access_key"))?;
    Some(Credentials::new(key_id, secret, mapping.remove("session_token")))
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Some(true),
        "false" | "off" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// What a wrapper's options can be given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Wrapper,
    Server,
    Mapping,
}

/// Checks options as CREATE and ALTER give them, `name=value` each. No value is told: it may be a secret.
pub fn check_options(owner: Owner, options: &[String]) -> Result<()> {
    let (valid, what): (&[&str], _) = match owner {
        Owner::Server => (&OF_SERVER, "foreign server of agent_backup_s3"),
        Owner::Mapping => (&OF_MAPPING, "user mapping of agent_backup_s3"),
        Owner::Wrapper => (&[], "foreign-data wrapper or foreign table of agent_backup_s3"),
    };
    let given: Options = options
        .iter()
        .map(|option| option.split_once('=').unwrap_or((option, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    if let Some(option) = given.keys().find(|name| !valid.contains(&name.as_str())) {
        let valid = if valid.is_empty() { "none".to_owned() } else { valid.join(", ") };
        return Err(OffsiteError::UnknownOption { option: option.clone(), what, valid }.into());
    }
    let invalid = |option: &str, reason| Err(OffsiteError::InvalidOption { option: option.to_owned(), reason }.into());
    for name in ["path_style", "allow_http"] {
        if given.get(name).is_some_and(|value| truth(value).is_none()) {
            return invalid(name, "it is neither true nor false");
        }
    }
    if owner == Owner::Mapping && given.contains_key("access_key_id") != given.contains_key("secret_access_key") {
        return invalid("access_key_id", "it goes with secret_access_key, and that with it");
    }
    if let Some(endpoint) = given.get("endpoint") {
        let plain = given.get("allow_http").and_then(|value| truth(value)) == Some(true);
        if endpoint.contains('@') {
            return invalid("endpoint", "credentials do not belong there");
        }
        if endpoint.starts_with("http://") && !plain {
            return invalid("endpoint", "it is not encrypted, which allow_http must allow");
        }
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            return invalid("endpoint", "it begins neither with https:// nor with http://");
        }
    }
    Ok(())
}

/// An error of a store as ours. A cancel is raised as the server raises it.
pub fn raised(error: ObjectError) -> Error {
    if matches!(error, ObjectError::Cancelled) {
        interrupt::answer();
        return OffsiteError::Cancelled.into();
    }
    place::object_error(error)
}
